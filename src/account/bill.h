/* SPDX-License-Identifier: Apache-2.0
 * bill.h - what a tenant's usage costs: quantities of the ledger at the prices of its plans.
 *
 * A month's plans are ordered by when they became the tenant's. Plans of several currencies make
 * several statements: what is used under one of them does not count in another. What is used
 * without a price belongs to the currency that the month ended with.
 *
 * It only reads (but bill_counts_follow()), and may do so while servers write. Each call sees the
 * ledger at some moment of the call. Errors: INVALID and NOT_FOUND as said; TOO_LARGE (sums that do
 * not fit, over STATEMENT_PLAN_MAX plans in a month); INTERNAL (a plan that was used is gone);
 * those of the stores. Threads: any.
 */
#ifndef ACCOUNT_BILL_H
#define ACCOUNT_BILL_H
#include "account/account.h"
#include "results/results.h"

struct bill_source {         /* borrowed */
    struct account *account; /* NULL: there are no plans, and nothing costs anything */
    struct results *results;
    const char *tenant;
};

#define BILL_CURRENCY_MAX 8u
struct bill {
    uint32_t count;                                 /* of statements; at least one */
    struct statement statements[BILL_CURRENCY_MAX]; /* the currency the month ended with is last */
};
/* Of "2026-11". INVALID: no month, or one that has not begun by `now_ms`. */
NODISCARD enum rc bill_month(const struct bill_source *source, const char *month, uint64_t now_ms,
                             struct bill *ret_bill, struct error *err);
void bill_done(struct bill *bill); /* all zero is fine */

/* A month's statement's usage in the currency of its last plan: what budget and cap are about. */
NODISCARD enum rc bill_spent(const struct bill_source *source, uint64_t at_ms, uint64_t *ret_micro,
                             char ret_currency[4], struct error *err);

/* Brings the counts that a hard cap is compared with (quota.h) up to the ledger: what is used and
 * held of each model and plan is never less, and where nothing is held, exactly that. For when a
 * cap was set in the middle of a month, and now and then. BUSY: they moved at every attempt. */
NODISCARD enum rc bill_counts_follow(const struct bill_source *source, uint64_t at_ms,
                                     struct error *err);

/* Usage in days from <= day < to, summed by columns of enum results_group but RESULTS_BY_PLAN, and
 * by currency; in the order of the columns. The texts live as long as the callback's call. Each
 * image costs what it adds to its month's statement, in the order of day, model, version and key:
 * so the costs of a whole month add up to its statements' usage. */
struct bill_row {
    struct results_quantity quantity;
    char currency[4];
    uint64_t micro;
};
typedef enum rc (*bill_row_fn)(void *ctx, const struct bill_row *row);
/* INVALID: over `row_max` rows. */
NODISCARD enum rc bill_usage(const struct bill_source *source, uint32_t from_day, uint32_t to_day,
                             uint32_t group, uint32_t row_max, bill_row_fn each, void *ctx,
                             struct error *err);
#endif
