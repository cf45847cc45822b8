/* SPDX-License-Identifier: Apache-2.0
 * bill.c - a month's statements, and what has been spent of it. */
#include "account/bill_month.h"
#include "account/quota.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static enum rc open_month(const struct bill_source *source, uint64_t at_ms,
                          struct bill_month **ret_month, struct error *err)
{
    struct bill_month *month = calloc(1, sizeof(*month));
    if (month == NULL)
        return error_set(err, RC_NO_MEMORY, "a month's usage");
    struct bill_tenures tenures = {0};
    enum rc rc = bill_tenures_read(source, &tenures, err);
    if (rc == RC_OK)
        rc = bill_month_open(source, &tenures, at_ms, month, err);
    bill_tenures_done(&tenures);
    if (rc == RC_OK) {
        *ret_month = month;
        return RC_OK;
    }
    bill_month_done(month);
    free(month);
    return rc;
}

enum rc bill_month(const struct bill_source *source, const char *month_name, uint64_t now_ms,
                   struct bill *ret_bill, struct error *err)
{
    assert(ret_bill != NULL);
    uint64_t start_ms = 0;
    uint64_t end_ms = 0;
    if (month_parse(month_name, &start_ms, &end_ms) != RC_OK)
        return error_set(err, RC_INVALID, "'%.20s' is no month: write 2026-11", month_name);
    if (start_ms > now_ms)
        return error_set(err, RC_INVALID, "%s has not begun", month_name);
    struct bill_month *month = NULL;
    enum rc rc = open_month(source, start_ms, &month, err);
    if (rc != RC_OK)
        return rc;
    struct bill bill = {0};
    for (uint32_t i = 0; rc == RC_OK && i < month->currency_count; i++) {
        const struct bill_currency *currency = &month->currencies[i];
        /* A plan that was replaced before it was used has nothing to tell. */
        if (currency->quantity_count == 0 && i + 1 < month->currency_count)
            continue;
        rc = statement_compute(currency->plans, currency->plan_count, currency->quantities,
                               currency->quantity_count, &bill.statements[bill.count], err);
        bill.count += rc == RC_OK;
    }
    bill_month_done(month);
    free(month);
    if (rc == RC_OK)
        *ret_bill = bill;
    else
        bill_done(&bill);
    return rc;
}

void bill_done(struct bill *bill)
{
    for (uint32_t i = 0; i < bill->count; i++)
        statement_done(&bill->statements[i]);
    *bill = (struct bill){0};
}

enum rc bill_spent(const struct bill_source *source, uint64_t at_ms, uint64_t *ret_micro,
                   char ret_currency[4], struct error *err)
{
    assert(ret_micro != NULL);
    struct bill_month *month = NULL;
    enum rc rc = open_month(source, at_ms, &month, err);
    if (rc != RC_OK)
        return rc;
    const struct bill_currency *last = &month->currencies[month->currency_count - 1];
    rc = statement_usage(last->plans, last->plan_count, last->quantities, last->quantity_count,
                         ret_micro, err);
    if (rc == RC_OK)
        memcpy(ret_currency, last->text, sizeof(last->text));
    bill_month_done(month);
    free(month);
    return rc;
}
