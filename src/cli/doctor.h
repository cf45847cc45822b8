/* SPDX-License-Identifier: Apache-2.0
 * doctor.h - what the parts of `imago doctor` share: one finding is one line. Nothing here changes
 * anything: databases are opened to be read only, and no model is compiled into the cache. */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H
#include "cli/stores.h"
#include "config/config.h"

enum finding { FINDING_OK, FINDING_WARN, FINDING_FAIL };

struct doctor {
    const struct settings *settings;
    bool full;
    bool json;
    uint64_t now_ms;
    struct stores stores; /* what could be opened */
    bool accounts_unread; /* they are there, and cannot be opened */
    uint64_t newest_ms;   /* of all predictions; 0: none */
    uint32_t counts[FINDING_FAIL + 1];
};

/* A line: what was looked at, what was found, and after OK nothing else than an empty `advice`. */
void doctor_say(struct doctor *doctor, enum finding finding, const char *check, const char *advice,
                const char *format, ...) PRINTF_LIKE(5, 6);

/* doctor_host.c */
void doctor_data(struct doctor *doctor);
void doctor_listen(struct doctor *doctor);
void doctor_limits(struct doctor *doctor);
void doctor_clock(struct doctor *doctor);
void doctor_models(struct doctor *doctor);
/* doctor_stores.c: fills in the stores and newest_ms, for those above. */
void doctor_databases(struct doctor *doctor);
void doctor_pictures(struct doctor *doctor);
#endif
