/* SPDX-License-Identifier: Apache-2.0
 * sqlite_usage.c - sums of the ledger, from the table that every commit adds to. */
#include "results/sqlite.h"

enum rc sqlite_results_usage(struct results *results, struct bytes tenant, uint32_t from_day,
                             uint32_t to_day, uint32_t group, results_quantity_fn each, void *ctx,
                             struct error *err)
{
    static const uint32_t groups[] = {RESULTS_BY_DAY, RESULTS_BY_MODEL, RESULTS_BY_VERSION,
                                      RESULTS_BY_KEY, RESULTS_BY_PLAN};
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_USAGE);
    sqlite_bind_text(stmt, 1, tenant);
    sqlite_bind_u64(stmt, 2, from_day);
    sqlite_bind_u64(stmt, 3, to_day);
    for (int i = 0; i < 5; i++)
        sqlite_bind_u64(stmt, 4 + i, (group & groups[i]) != 0);
    bool row = true;
    while (rc == RC_OK && row) {
        rc = sqlite_step(stmt, &row, err);
        if (rc != RC_OK || !row)
            continue;
        struct results_quantity quantity = {
            .day = (uint32_t)sqlite_column_u64(stmt, 0),
            .model = sqlite_column_text(stmt, 1),
            .version = sqlite_column_text(stmt, 2),
            .key = sqlite_column_text(stmt, 3),
            .plan = sqlite_column_text(stmt, 4),
            .plan_version = (uint32_t)sqlite_column_u64(stmt, 5),
            .requests = sqlite_column_u64(stmt, 6),
            .images = sqlite_column_u64(stmt, 7),
        };
        rc = each(ctx, &quantity);
    }
    sqlite_read_end(conn);
    return rc;
}
