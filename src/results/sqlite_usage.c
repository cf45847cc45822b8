/* SPDX-License-Identifier: Apache-2.0
 * sqlite_usage.c - sums of the ledger, from the table that every commit adds to; one request's part
 * of the ledger itself. */
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

enum rc sqlite_results_ledger_find(struct results *results, struct bytes tenant,
                                   struct id request_id, uint32_t index_count, uint64_t *ret_images,
                                   uint64_t *ret_last_ms, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    uint64_t images = 0;
    uint64_t last_ms = 0;
    bool found = false;
    for (uint32_t i = 0; i < index_count && rc == RC_OK; i++) {
        struct sqlite_stmt *stmt =
            use_tenant_id(conn, STMT_LEDGER_GET, tenant, id_derive(request_id, i));
        bool row = false;
        rc = sqlite_step(stmt, &row, err);
        if (rc != RC_OK || !row)
            continue;
        found = true;
        images += sqlite_column_u64(stmt, 0);
        if (sqlite_column_u64(stmt, 1) > last_ms)
            last_ms = sqlite_column_u64(stmt, 1);
        sqlite_reset(stmt);
    }
    sqlite_read_end(conn);
    if (rc == RC_OK && !found)
        rc = error_set(err, RC_NOT_FOUND, "the ledger has nothing of that request");
    if (rc != RC_OK)
        return rc;
    *ret_images = images;
    *ret_last_ms = last_ms;
    return RC_OK;
}
