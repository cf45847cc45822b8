/* SPDX-License-Identifier: Apache-2.0
 * bill_month.h - a month's plans in order and by currency, and what was used under each. Included
 * by bill*.c only. */
#ifndef ACCOUNT_BILL_MONTH_H
#define ACCOUNT_BILL_MONTH_H
#include "account/bill.h"

/* The plans of one currency, in order; the last of the last currency's is the month's last. */
struct bill_currency {
    char text[4];
    const struct plan *plans[STATEMENT_PLAN_MAX];
    uint32_t plan_count;
    struct quantity *quantities;
    uint32_t quantity_count;
};

struct bill_month {
    uint64_t start_ms;
    uint64_t end_ms;
    const struct plan *plans[STATEMENT_PLAN_MAX]; /* in order; the last may be there twice */
    uint32_t plan_count;
    /* Where plans[i] went: its currency, and its place there. */
    uint32_t currency_of[STATEMENT_PLAN_MAX];
    uint32_t place_of[STATEMENT_PLAN_MAX];
    struct bill_currency currencies[BILL_CURRENCY_MAX];
    uint32_t currency_count;
    struct bill_used *used; /* private, like what follows */
    uint32_t used_count;
    uint32_t used_room;
};

/* A tenant's changes of plan, all of them. */
struct bill_tenures {
    struct account_tenure *rows;
    uint32_t count;
    uint32_t room;
};
NODISCARD enum rc bill_tenures_read(const struct bill_source *source, struct bill_tenures *tenures,
                                    struct error *err);
void bill_tenures_done(struct bill_tenures *tenures);

/* The month that `at_ms` is in. */
NODISCARD enum rc bill_month_open(const struct bill_source *source,
                                  const struct bill_tenures *tenures, uint64_t at_ms,
                                  struct bill_month *month, struct error *err);
void bill_month_done(struct bill_month *month);
/* The index in month->plans; UINT32_MAX: it is not there. */
uint32_t bill_month_plan(const struct bill_month *month, struct bytes name, uint32_t version);
#endif
