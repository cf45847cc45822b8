/* SPDX-License-Identifier: Apache-2.0
 * budget.h - one thread that watches what the tenants' months cost: it tells when a month has
 * reached a part of its tenant's budget, and keeps what a hard cap is compared with at what the
 * ledger says.
 *
 * An alert is told once in a month for each percentage, by whichever server comes first: to the
 * caller, and to the tenant's webhook as a message `budget.alert` in the outbox. The message is
 * written before the alert is marked as told, so that a crash loses none; its id is that of its
 * tenant, month, percentage and budget, so that none is there twice.
 *
 * Ownership: account and results are borrowed until budget_watch_close().
 */
#ifndef WORK_BUDGET_H
#define WORK_BUDGET_H
#include "account/account.h"
#include "results/results.h"

struct budget_watch;

struct budget_alert {
    const char *tenant;
    const char *month; /* "2026-11" */
    const char *currency;
    uint8_t percent;
    uint64_t budget_micro;
    uint64_t spent_micro;
};

struct budget_config {
    struct account *account;
    struct results *results;
    uint32_t interval_ms; /* between looks, or twenty times as long as a look takes; 0: 2,000 */
    /* On the watch's thread. */
    void (*alert)(void *ctx, const struct budget_alert *alert);
    void (*failed)(void *ctx,
                   const struct error
                       *err); /* it goes on at the next look; the same one is told once a minute */
    void *ctx;
};
NODISCARD enum rc budget_watch_open(const struct budget_config *config,
                                    struct budget_watch **ret_watch, struct error *err);
void budget_watch_close(struct budget_watch *watch); /* NULL is fine */
#endif
