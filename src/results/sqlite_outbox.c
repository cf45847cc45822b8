/* SPDX-License-Identifier: Apache-2.0
 * sqlite_outbox.c - messages waiting to be delivered. */
#include "results/sqlite.h"

#include <string.h>

enum rc put_message(struct sqlite_conn *conn, struct bytes tenant, struct id outbox_id,
                    uint64_t created_ms, uint64_t due_ms, struct bytes payload, struct error *err)
{
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_OUTBOX_PUT, tenant, outbox_id);
    sqlite_bind_u64(stmt, 3, created_ms);
    sqlite_bind_u64(stmt, 4, due_ms);
    sqlite_bind_blob(stmt, 5, payload);
    return sqlite_run(stmt, err);
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
