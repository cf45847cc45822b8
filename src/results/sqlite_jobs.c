/* SPDX-License-Identifier: Apache-2.0
 * sqlite_jobs.c - outcomes of job items, and messages waiting to be delivered. */
#include "results/sqlite.h"

#include <string.h>

static enum rc outcome_of(struct bytes name)
{
    for (int rc = 0; rc < RC_COUNT; rc++)
        if (bytes_equal(name, bytes_of(rc_name((enum rc)rc))))
            return (enum rc)rc;
    return RC_INTERNAL; /* by a version that knew more of them */
}

enum rc sqlite_results_job_items(struct results *results, struct bytes tenant, struct id job_id,
                                 uint32_t first_index, uint32_t limit, results_job_item_fn each,
                                 void *ctx, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_JOB_ITEMS, tenant, job_id);
    sqlite_bind_u64(stmt, 3, first_index);
    sqlite_bind_u64(stmt, 4, limit);
    bool row = true;
    while (rc == RC_OK && row) {
        rc = sqlite_step(stmt, &row, err);
        if (rc != RC_OK || !row)
            continue;
        struct results_job_item item = {
            .index = (uint32_t)sqlite_column_u64(stmt, 0),
            .outcome = outcome_of(sqlite_column_text(stmt, 1)),
            .prediction_id = sqlite_column_id(stmt, 2),
            .reason = sqlite_column_text(stmt, 3),
            .time_ms = sqlite_column_u64(stmt, 4),
        };
        rc = each(ctx, &item);
    }
    sqlite_read_end(conn);
    return rc;
}

enum rc sqlite_results_job_progress(struct results *results, struct bytes tenant, struct id job_id,
                                    uint64_t *ret_done, uint64_t *ret_failed, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_JOB_PROGRESS, tenant, job_id);
    bool row = false;
    rc = sqlite_step(stmt, &row, err);
    if (rc == RC_OK) {
        *ret_done = row ? sqlite_column_u64(stmt, 0) : 0;
        *ret_failed = row ? sqlite_column_u64(stmt, 1) : 0;
    }
    sqlite_read_end(conn);
    return rc;
}

static enum rc read_message(struct sqlite_stmt *stmt, struct results_message *message,
                            struct error *err)
{
    struct bytes tenant = sqlite_column_text(stmt, 1);
    message->number = sqlite_column_u64(stmt, 0);
    message->outbox_id = sqlite_column_id(stmt, 2);
    message->created_ms = sqlite_column_u64(stmt, 3);
    message->attempt = (uint32_t)sqlite_column_u64(stmt, 4) + 1;
    memset(message->tenant, 0, sizeof(message->tenant));
    if (tenant.size > 0 && tenant.size < sizeof(message->tenant))
        memcpy(message->tenant, tenant.data, tenant.size);
    buf_clear(&message->payload);
    enum rc rc = buf_append(&message->payload, sqlite_column_blob(stmt, 5));
    return rc == RC_OK ? RC_OK : error_set(err, rc, "no room for a message");
}

enum rc sqlite_results_outbox_take(struct results *results, uint64_t now_ms,
                                   uint64_t lease_until_ms, uint32_t limit,
                                   struct results_message *into, uint32_t *ret_count,
                                   struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(db_of(results), ORDERED, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_OUTBOX_DUE);
    sqlite_bind_u64(stmt, 1, now_ms);
    sqlite_bind_u64(stmt, 2, limit);
    uint32_t count = 0;
    bool row = true;
    while (rc == RC_OK && row) {
        rc = sqlite_step(stmt, &row, err);
        if (rc == RC_OK && row && count < limit)
            rc = read_message(stmt, &into[count++], err);
    }
    for (uint32_t i = 0; i < count && rc == RC_OK; i++) {
        stmt = sqlite_use(conn, STMT_OUTBOX_LEASE);
        sqlite_bind_u64(stmt, 1, into[i].number);
        sqlite_bind_u64(stmt, 2, lease_until_ms);
        rc = sqlite_run(stmt, err);
    }
    if (rc == RC_OK && count == 0)
        sqlite_rollback(conn); /* an empty outbox is asked often, and nothing is written */
    else
        rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

enum rc sqlite_results_outbox_done(struct results *results, uint64_t number, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(db_of(results), ORDERED, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_OUTBOX_DONE);
    sqlite_bind_u64(stmt, 1, number);
    return sqlite_end(conn, sqlite_run(stmt, err), err);
}

enum rc sqlite_results_outbox_retry_at(struct results *results, uint64_t number, uint32_t attempt,
                                       uint64_t due_ms, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(db_of(results), ORDERED, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_OUTBOX_RETRY);
    sqlite_bind_u64(stmt, 1, number);
    sqlite_bind_u64(stmt, 2, attempt);
    sqlite_bind_u64(stmt, 3, due_ms);
    return sqlite_end(conn, sqlite_run(stmt, err), err);
}
