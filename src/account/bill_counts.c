/* SPDX-License-Identifier: Apache-2.0
 * bill_counts.c - the counts of a month's hard cap follow the ledger.
 *
 * An image of the ledger is used, or still held, or was never reserved. The counts are read before
 * the ledger and replaced only if they have not moved since: so what the ledger has over them was
 * never reserved. */
#include "account/bill.h"
#include "account/quota.h"

#include <stdlib.h>
#include <string.h>

#define MS_PER_DAY  86400000ull
#define ATTEMPT_MAX 20u

struct counts {
    struct quota_usage known[QUOTA_MONTH_ROWS_MAX];
    uint32_t known_count;
    struct quota_usage ledger[QUOTA_MONTH_ROWS_MAX];
    uint32_t ledger_count;
    bool is_known[QUOTA_MONTH_ROWS_MAX]; /* of ledger[i] */
    struct error *err;
};

static enum rc add_row(void *ctx, const struct results_quantity *row)
{
    struct counts *counts = ctx;
    if (counts->ledger_count == QUOTA_MONTH_ROWS_MAX)
        return error_set(counts->err, RC_TOO_LARGE, "over %u models and plans in a month",
                         QUOTA_MONTH_ROWS_MAX);
    struct quota_usage *into = &counts->ledger[counts->ledger_count++];
    if (row->model.size >= sizeof(into->model) || row->plan.size >= sizeof(into->plan))
        return error_set(counts->err, RC_INTERNAL, "the ledger has a name of %zu bytes",
                         row->model.size);
    *into = (struct quota_usage){.plan_version = row->plan_version, .used = row->images};
    memcpy(into->model, row->model.data, row->model.size);
    if (row->plan.size > 0)
        memcpy(into->plan, row->plan.data, row->plan.size);
    return RC_OK;
}

static struct quota_usage *ledger_row(struct counts *counts, const struct quota_usage *known)
{
    for (uint32_t i = 0; i < counts->ledger_count; i++) {
        struct quota_usage *row = &counts->ledger[i];
        if (row->plan_version == known->plan_version && strcmp(row->plan, known->plan) == 0 &&
            strcmp(row->model, known->model) == 0)
            return row;
    }
    return NULL;
}

/* Makes the ledger's rows what `used` is to be. False: it is that already. */
static bool settle_rows(struct counts *counts)
{
    bool same = true;
    memset(counts->is_known, 0, sizeof(counts->is_known));
    for (uint32_t i = 0; i < counts->known_count; i++) {
        const struct quota_usage *known = &counts->known[i];
        struct quota_usage *row = ledger_row(counts, known);
        if (row == NULL && known->held > 0 && counts->ledger_count < QUOTA_MONTH_ROWS_MAX) {
            row = &counts->ledger[counts->ledger_count++];
            *row = *known;
            row->used = 0;
        }
        if (row == NULL) {
            same = same && known->used == 0;
            continue;
        }
        if (known->held > 0) {
            uint64_t least = row->used > known->held ? row->used - known->held : 0;
            row->used = known->used > least ? known->used : least;
        }
        same = same && row->used == known->used;
        counts->is_known[row - counts->ledger] = true;
    }
    for (uint32_t i = 0; i < counts->ledger_count; i++)
        same = same && counts->is_known[i];
    return !same;
}

static enum rc follow(const struct bill_source *source, struct counts *counts, uint64_t at_ms,
                      bool *ret_moved, struct error *err)
{
    char month[MONTH_TEXT_SIZE];
    uint64_t start_ms = 0;
    uint64_t end_ms = 0;
    counts->ledger_count = 0;
    counts->err = err;
    month_text(at_ms, month);
    enum rc rc = month_parse(month, &start_ms, &end_ms);
    if (rc == RC_OK)
        rc = account_quota_month(source->account, source->tenant, at_ms, counts->known,
                                 QUOTA_MONTH_ROWS_MAX, &counts->known_count, err);
    if (rc == RC_OK)
        rc = results_usage(source->results, bytes_of(source->tenant),
                           (uint32_t)(start_ms / MS_PER_DAY), (uint32_t)(end_ms / MS_PER_DAY),
                           RESULTS_BY_MODEL | RESULTS_BY_PLAN, add_row, counts, err);
    if (rc == RC_OK && settle_rows(counts))
        rc = account_quota_correct(source->account, source->tenant, at_ms, counts->known,
                                   counts->known_count, counts->ledger, counts->ledger_count,
                                   ret_moved, err);
    else
        *ret_moved = false;
    return rc;
}

enum rc bill_counts_follow(const struct bill_source *source, uint64_t at_ms, struct error *err)
{
    struct counts *counts = calloc(1, sizeof(*counts));
    if (counts == NULL)
        return error_set(err, RC_NO_MEMORY, "a month's counts");
    bool moved = true;
    enum rc rc = RC_OK;
    for (uint32_t i = 0; rc == RC_OK && moved && i < ATTEMPT_MAX; i++)
        rc = follow(source, counts, at_ms, &moved, err);
    free(counts);
    return rc == RC_OK && moved
               ? error_set(err, RC_BUSY, "the month's counts move faster than they are read")
               : rc;
}
