/* SPDX-License-Identifier: Apache-2.0
 * quota.h - what must hold across processes and restarts: images a day, a month's hard cap,
 * budgets.
 *
 * account_reserve() takes room before the work, account_settle() turns it into use after the commit
 * or gives it back. Decision and change are one atomic step in the storage: whatever comes at the
 * same time, from whatever process, used + held never passes a limit.
 *
 * Both are ORDERED (see account.h), so they cost no fsync: a reservation comes before the results'
 * durable commit in the same database, so no commit outlives its reservation. A settlement that is
 * lost leaves a held reservation; when it runs out, account_maintain() asks the ledger what became
 * of it. So the counts end up as the ledger has them, whatever crashed in between.
 *
 * Idempotent by request id: reserving a held id again is the same reservation (its end moves on),
 * settling again changes nothing; a settled or returned id is known for QUOTA_KNOWN_MS after its
 * end. A day and a month are UTC, and use counts where it was committed, not where it was reserved.
 * A request over its limits is refused in `refusal`, with rc RC_OK: that is no failure.
 *
 * The hard cap is compared with the statement's usage (without the monthly minimum) of all that is
 * used and held this month. It sees what was reserved: when a cap is set or a day's limit is given
 * in the middle of a month, account_quota_correct() brings the counts up to the ledger; bill.h does
 * both readings.
 */
#ifndef ACCOUNT_QUOTA_H
#define ACCOUNT_QUOTA_H
#include "account/account.h"
#include "account/key.h"

#define QUOTA_BATCH_MAX      256u
#define QUOTA_HOLD_MS_MAX    (24u * 3600 * 1000)
#define QUOTA_KNOWN_MS       (3600u * 1000)
#define QUOTA_MONTH_ROWS_MAX 1000u /* models times plan versions of a tenant's month */

enum quota_refusal { QUOTA_PASS, QUOTA_DAY, QUOTA_CAP };
const char *quota_refusal_text(enum quota_refusal refusal); /* a sentence; "" for PASS */

struct quota_request {
    struct id id; /* the request's */
    const char *tenant;
    const char *key;         /* identity.key */
    uint64_t images_per_day; /* identity.rule's; 0: none */
    const char *model;
    uint64_t image_count;

    /* Filled. */
    enum rc rc;
    struct error err;
    enum quota_refusal refusal;
    uint64_t day_remaining; /* images, after this one; only with images_per_day */
    uint64_t retry_at_ms;   /* if refused: when the day or month ends */
};
/* All in one transaction, in order, each with its own outcome; the returned code is that of the
 * whole (if it is not RC_OK, nothing was reserved and no item is filled). NOT_FOUND of an item: no
 * such tenant. `hold_ms`: longer than the work can take. */
NODISCARD enum rc account_reserve(struct account *account, struct quota_request requests[],
                                  uint32_t count, uint32_t hold_ms, uint64_t now_ms,
                                  struct error *err);

struct quota_settlement {
    struct id id;
    const char *tenant;
    uint64_t image_count;  /* that the ledger got; 0 gives all back */
    uint64_t committed_ms; /* the ledger's time */
    enum rc rc;            /* filled; NOT_FOUND: never reserved, or too long ago */
};
NODISCARD enum rc account_settle(struct account *account, struct quota_settlement settlements[],
                                 uint32_t count, struct error *err);

struct quota_day {
    uint64_t used;
    uint64_t held;
};
NODISCARD enum rc account_quota_day(struct account *account, const char *tenant, const char *key,
                                    uint64_t now_ms, struct quota_day *ret_day, struct error *err);

struct quota_usage {
    char plan[PLAN_NAME_SIZE];
    uint32_t plan_version;
    char model[PLAN_MODEL_SIZE];
    uint64_t used;
    uint64_t held;
};
/* Of the month that `at_ms` is in; at most QUOTA_MONTH_ROWS_MAX rows, by when each plan became the
 * tenant's (see bill.h), then by name. */
NODISCARD enum rc account_quota_month(struct account *account, const char *tenant, uint64_t at_ms,
                                      struct quota_usage *into, uint32_t count_max,
                                      uint32_t *ret_count, struct error *err);
/* Set a month's `used` to what the ledger says; rows that are not named become 0. What is held
 * stays. Only while the month is as `known` has it, just as account_quota_month() gave it; else
 * nothing is done and *ret_moved is true: read it and the ledger again. */
NODISCARD enum rc account_quota_correct(struct account *account, const char *tenant, uint64_t at_ms,
                                        const struct quota_usage known[], uint32_t known_count,
                                        const struct quota_usage rows[], uint32_t count,
                                        bool *ret_moved, struct error *err);

/* The percentages of its budget that the tenant's month has reached by `spent_micro` and that
 * nobody was told of yet, ascending. ALERTS_TAKE: each is given out once in a month, whoever asks;
 * anew after another budget was set. None without a budget. */
enum alerts_how { ALERTS_LOOK, ALERTS_TAKE };
NODISCARD enum rc account_budget_alerts(struct account *account, const char *tenant, uint64_t at_ms,
                                        uint64_t spent_micro, enum alerts_how how,
                                        uint8_t ret_percents[ACCOUNT_ALERT_MAX],
                                        uint32_t *ret_count, struct error *err);

#define MONTH_TEXT_SIZE 8
void month_text(uint64_t at_ms, char into[MONTH_TEXT_SIZE]); /* "2026-11" */
/* [*ret_start_ms, *ret_end_ms) of "2026-11". INVALID if it is not a month of 1970 to 9999. */
NODISCARD enum rc month_parse(const char *text, uint64_t *ret_start_ms, uint64_t *ret_end_ms);
#endif
