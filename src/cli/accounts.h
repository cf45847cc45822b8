/* SPDX-License-Identifier: Apache-2.0
 * accounts.h - what `imago tenant` and `imago key` share. */
#ifndef CLI_ACCOUNTS_H
#define CLI_ACCOUNTS_H
#include "account/account.h"
#include "config/config.h"

#include <jansson.h>

enum accounts_form { ACCOUNTS_TABLE, ACCOUNTS_JSON };
/* "auto" is a table on a terminal and JSON elsewhere. */
enum accounts_form accounts_form_choose(const char *format);

/* The limits of accounts_limits.def as a command line gave them: those that it names go into
 * `rule`, and *ret_given says whether it names any. */
struct accounts_limits {
    uint32_t requests;
    uint32_t window; /* ms */
    uint32_t burst;
    uint32_t concurrent;
    uint64_t bytes_per_day;
    uint64_t images_per_day;
};
NODISCARD enum rc accounts_limits_apply(const struct config *config,
                                        const struct accounts_limits *limits,
                                        struct limits_rule *rule, bool *ret_given,
                                        struct error *err);
/* The setting called `field` came from the command line. */
bool accounts_is_given(const struct config *config, const char *field);

/* "never" (0), "90d", "12h", "30m", "10s" from now, or "2027-01-31T12:00:00Z". */
NODISCARD enum rc accounts_when(const char *text, uint64_t now_ms, uint64_t *ret_ms,
                                struct error *err);
/* "2027-01-31T12:00:00Z"; "-" for 0. */
#define ACCOUNTS_TIME_SIZE 32
void accounts_time_text(uint64_t ms, char into[ACCOUNTS_TIME_SIZE]);
json_t *accounts_time_json(uint64_t ms); /* null for 0 */

/* "20/s burst 40, 4 at a time, 10 GB a day, 1000 images a day"; "-": none. */
#define ACCOUNTS_LIMITS_SIZE 160
void accounts_limits_text(const struct limits_rule *rule, char into[ACCOUNTS_LIMITS_SIZE]);
json_t *accounts_limits_json(const struct limits_rule *rule);

/* One line of JSON on standard output; takes `value`. */
NODISCARD enum rc accounts_print_json(json_t *value, struct error *err);
#endif
