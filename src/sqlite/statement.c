/* SPDX-License-Identifier: Apache-2.0
 * statement.c - cached statements: prepare once, bind, step, read columns. */
#include "sqlite/connection.h"

#include <assert.h>
#include <string.h>

static const uint8_t nothing[1];

enum rc statement_prepare(struct sqlite_conn *conn, uint32_t index, struct error *err)
{
    assert(index < conn->db->statement_count);
    struct sqlite_stmt *stmt = &conn->stmts[index];
    if (stmt->raw != NULL)
        return RC_OK;
    stmt->code = sqlite3_prepare_v3(conn->raw, conn->db->statements[index], -1,
                                    SQLITE_PREPARE_PERSISTENT, &stmt->raw, NULL);
    return stmt->code == SQLITE_OK ? RC_OK : sqlite_fail(conn->db, conn->raw, stmt->code, err);
}

struct sqlite_stmt *sqlite_use(struct sqlite_conn *conn, uint32_t index)
{
    assert(index < conn->db->statement_count);
    struct sqlite_stmt *stmt = &conn->stmts[index];
    if (stmt->raw == NULL) {
        /* The step reports it. */
        if (statement_prepare(conn, index, NULL) != RC_OK)
            return stmt;
    } else {
        (void)sqlite3_reset(stmt->raw);
        (void)sqlite3_clear_bindings(stmt->raw);
    }
    stmt->code = SQLITE_OK;
    stmt->used = true;
    return stmt;
}

void connection_reset(struct sqlite_conn *conn)
{
    for (uint32_t i = 0; i < conn->db->statement_count; i++)
        if (conn->stmts[i].used)
            sqlite_reset(&conn->stmts[i]);
}

static void bound(struct sqlite_stmt *stmt, int code)
{
    if (stmt->code == SQLITE_OK)
        stmt->code = code;
}

void sqlite_bind_i64(struct sqlite_stmt *stmt, int position, int64_t value)
{
    if (stmt->raw != NULL)
        bound(stmt, sqlite3_bind_int64(stmt->raw, position, value));
}

void sqlite_bind_u64(struct sqlite_stmt *stmt, int position, uint64_t value)
{
    sqlite_bind_i64(stmt, position, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

void sqlite_bind_f64(struct sqlite_stmt *stmt, int position, double value)
{
    if (stmt->raw != NULL)
        bound(stmt, sqlite3_bind_double(stmt->raw, position, value));
}

void sqlite_bind_text(struct sqlite_stmt *stmt, int position, struct bytes text)
{
    const void *data = text.data != NULL ? text.data : nothing;
    if (stmt->raw != NULL)
        bound(stmt, sqlite3_bind_text64(stmt->raw, position, data, text.size, SQLITE_STATIC,
                                        SQLITE_UTF8));
}

void sqlite_bind_blob(struct sqlite_stmt *stmt, int position, struct bytes blob)
{
    const void *data = blob.data != NULL ? blob.data : nothing;
    if (stmt->raw != NULL)
        bound(stmt, sqlite3_bind_blob64(stmt->raw, position, data, blob.size, SQLITE_STATIC));
}

void sqlite_bind_id(struct sqlite_stmt *stmt, int position, struct id id)
{
    if (stmt->raw != NULL)
        bound(stmt, sqlite3_bind_blob64(stmt->raw, position, id.octets, sizeof(id.octets),
                                        SQLITE_TRANSIENT));
}

void sqlite_bind_null(struct sqlite_stmt *stmt, int position)
{
    if (stmt->raw != NULL)
        bound(stmt, sqlite3_bind_null(stmt->raw, position));
}

enum rc sqlite_step(struct sqlite_stmt *stmt, bool *ret_row, struct error *err)
{
    struct sqlite_conn *conn = stmt->conn;
    if (stmt->code != SQLITE_OK)
        return sqlite_fail(conn->db, stmt->raw == NULL ? conn->raw : NULL, stmt->code, err);
    int code = sqlite3_step(stmt->raw);
    if (code == SQLITE_ROW) {
        *ret_row = true;
        return RC_OK;
    }
    enum rc rc = code == SQLITE_DONE ? RC_OK : sqlite_fail(conn->db, conn->raw, code, err);
    sqlite_reset(stmt);
    *ret_row = false;
    return rc;
}

enum rc sqlite_run(struct sqlite_stmt *stmt, struct error *err)
{
    bool row = true;
    enum rc rc = RC_OK;
    while (rc == RC_OK && row)
        rc = sqlite_step(stmt, &row, err);
    return rc;
}

void sqlite_reset(struct sqlite_stmt *stmt)
{
    if (stmt->raw != NULL)
        (void)sqlite3_reset(stmt->raw);
    stmt->used = false;
}

uint64_t sqlite_changed(const struct sqlite_conn *conn)
{
    return (uint64_t)sqlite3_changes64(conn->raw);
}

uint64_t sqlite_last_row(const struct sqlite_conn *conn)
{
    return (uint64_t)sqlite3_last_insert_rowid(conn->raw);
}

int64_t sqlite_column_i64(struct sqlite_stmt *stmt, int column)
{
    return sqlite3_column_int64(stmt->raw, column);
}

uint64_t sqlite_column_u64(struct sqlite_stmt *stmt, int column)
{
    int64_t value = sqlite_column_i64(stmt, column);
    return value < 0 ? 0 : (uint64_t)value;
}

double sqlite_column_f64(struct sqlite_stmt *stmt, int column)
{
    return sqlite3_column_double(stmt->raw, column);
}

struct bytes sqlite_column_text(struct sqlite_stmt *stmt, int column)
{
    const uint8_t *data = sqlite3_column_text(stmt->raw, column);
    int size = sqlite3_column_bytes(stmt->raw, column);
    return data == NULL ? (struct bytes){nothing, 0} : (struct bytes){data, (size_t)size};
}

struct bytes sqlite_column_blob(struct sqlite_stmt *stmt, int column)
{
    const uint8_t *data = sqlite3_column_blob(stmt->raw, column);
    int size = sqlite3_column_bytes(stmt->raw, column);
    return data == NULL ? (struct bytes){nothing, 0} : (struct bytes){data, (size_t)size};
}

struct id sqlite_column_id(struct sqlite_stmt *stmt, int column)
{
    struct bytes blob = sqlite_column_blob(stmt, column);
    struct id id = {0};
    if (blob.size == sizeof(id.octets))
        memcpy(id.octets, blob.data, sizeof(id.octets));
    return id;
}

bool sqlite_column_null(struct sqlite_stmt *stmt, int column)
{
    return sqlite3_column_type(stmt->raw, column) == SQLITE_NULL;
}
