/* SPDX-License-Identifier: Apache-2.0
 * sqlite_erase.c - a prediction goes, a tombstone stays; which pictures nobody refers to. */
#include "results/sqlite.h"

#include <string.h>

static enum rc is_used(struct sqlite_conn *conn, struct bytes tenant, const uint8_t sha256[32],
                       bool *ret_used, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_PICTURE_USED);
    sqlite_bind_text(stmt, 1, tenant);
    sqlite_bind_blob(stmt, 2, (struct bytes){sha256, 32});
    enum rc rc = sqlite_step(stmt, ret_used, err);
    sqlite_reset(stmt);
    return rc;
}

static enum rc bury(struct sqlite_conn *conn, struct bytes tenant, struct id id, uint64_t number,
                    uint64_t now_ms, struct error *err)
{
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_TOMBSTONE_PUT, tenant, id);
    sqlite_bind_u64(stmt, 3, now_ms);
    enum rc rc = sqlite_run(stmt, err);
    if (rc == RC_OK)
        rc = sqlite_run(use_tenant_id(conn, STMT_FEEDBACK_DELETE, tenant, id), err);
    if (rc == RC_OK) {
        stmt = sqlite_use(conn, STMT_PREDICTION_DELETE);
        sqlite_bind_u64(stmt, 1, number);
        rc = sqlite_run(stmt, err);
    }
    return rc;
}

enum rc sqlite_results_erase(struct results *results, struct bytes tenant, struct id id,
                             uint64_t now_ms, struct results_removed *ret_removed,
                             struct error *err)
{
    struct sqlite_conn *conn = NULL;
    struct result_set found = {0};
    enum rc rc = sqlite_write(db_of(results), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    uint64_t number = 0;
    bool used = true;
    rc = find_prediction(conn, tenant, id, &found, &number, err);
    if (rc == RC_OK)
        rc = bury(conn, tenant, id, number, now_ms, err);
    if (rc == RC_OK)
        rc = is_used(conn, tenant, found.items[0].picture.sha256, &used, err);
    rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK) {
        memcpy(ret_removed->sha256, found.items[0].picture.sha256, sizeof(ret_removed->sha256));
        ret_removed->picture_free = !used;
    }
    results_set_done(&found);
    return rc;
}

/* The oldest are read first and deleted then: a statement does not see its table change. */
static enum rc find_oldest(struct sqlite_conn *conn, struct bytes tenant, uint64_t before_ms,
                           uint32_t limit, struct results_removed *into, uint64_t *numbers,
                           uint32_t *ret_count, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_OLDEST);
    sqlite_bind_text(stmt, 1, tenant);
    sqlite_bind_u64(stmt, 2, before_ms);
    sqlite_bind_u64(stmt, 3, limit);
    uint32_t count = 0;
    bool row = true;
    enum rc rc = RC_OK;
    while (rc == RC_OK && row) {
        rc = sqlite_step(stmt, &row, err);
        if (rc != RC_OK || !row || count == limit)
            continue;
        struct bytes sha256 = sqlite_column_blob(stmt, 9);
        into[count] = (struct results_removed){.id = sqlite_column_id(stmt, 0)};
        if (sha256.size == sizeof(into[count].sha256))
            memcpy(into[count].sha256, sha256.data, sha256.size);
        numbers[count++] = sqlite_column_u64(stmt, PREDICTION_NUMBER_COLUMN);
    }
    *ret_count = count;
    return rc;
}

enum rc sqlite_results_sweep(struct results *results, struct bytes tenant, uint64_t before_ms,
                             uint32_t limit, uint64_t now_ms, struct results_removed *into,
                             uint32_t *ret_count, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    uint64_t numbers[RESULTS_PUT_MAX];
    uint32_t count = 0;
    enum rc rc = sqlite_write(db_of(results), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    rc = find_oldest(conn, tenant, before_ms, limit, into, numbers, &count, err);
    for (uint32_t i = 0; i < count && rc == RC_OK; i++)
        rc = bury(conn, tenant, into[i].id, numbers[i], now_ms, err);
    /* After all are gone: one picture may have had several of them. */
    for (uint32_t i = 0; i < count && rc == RC_OK; i++) {
        bool used = true;
        rc = is_used(conn, tenant, into[i].sha256, &used, err);
        into[i].picture_free = !used;
    }
    rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

enum rc sqlite_results_picture_used(struct results *results, struct bytes tenant,
                                    const uint8_t sha256[32], bool *ret_used, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    rc = is_used(conn, tenant, sha256, ret_used, err);
    sqlite_read_end(conn);
    return rc;
}
