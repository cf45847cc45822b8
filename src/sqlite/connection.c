/* SPDX-License-Identifier: Apache-2.0
 * connection.c - opening one connection, and what SQLite's result codes mean to us. */
#include "sqlite/connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum rc sqlite_fail(const struct sqlite *db, sqlite3 *raw, int code, struct error *err)
{
    const char *path = db->path;
    const char *text = raw != NULL ? sqlite3_errmsg(raw) : sqlite3_errstr(code);
    int extended = raw != NULL ? sqlite3_extended_errcode(raw) : code;
    switch (code & 0xff) {
    case SQLITE_FULL:
        return error_set(err, RC_UNAVAILABLE, "%s: the disk is full; make room", path);
    case SQLITE_READONLY:
        return error_set(err, RC_UNAVAILABLE,
                         "%s: the file or its file system is read-only (%d); make it writable",
                         path, extended);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return error_set(err, RC_UNAVAILABLE,
                         "%s: cannot be opened (%s); check that the folder exists and is ours",
                         path, text);
    case SQLITE_IOERR:
        return error_set(err, RC_UNAVAILABLE, "%s: the disk failed (%s, code %d)", path, text,
                         extended);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return error_set(err, RC_BUSY, "%s: another process has held it for too long", path);
    case SQLITE_NOMEM:
        return error_set(err, RC_NO_MEMORY, "%s: no memory", path);
    case SQLITE_TOOBIG:
        return error_set(err, RC_TOO_LARGE, "%s: a value is too large", path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
        return error_set(err, RC_INTERNAL, "%s: damaged (%s); restore a backup", path, text);
    default:
        return error_set(err, RC_INTERNAL, "%s: %s (code %d)", path, text, extended);
    }
}

enum rc connection_exec(struct sqlite_conn *conn, const char *sql, struct error *err)
{
    int code = sqlite3_exec(conn->raw, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? RC_OK : sqlite_fail(conn->db, conn->raw, code, err);
}

enum rc connection_turn(struct sqlite_conn *conn, enum turn turn, struct error *err)
{
    static const char *const texts[TURN_COUNT] = {[TURN_READ] = "BEGIN",
                                                  [TURN_WRITE] = "BEGIN IMMEDIATE",
                                                  [TURN_COMMIT] = "COMMIT",
                                                  [TURN_ROLLBACK] = "ROLLBACK"};
    sqlite3_stmt **raw = &conn->turns[turn];
    int code = SQLITE_OK;
    if (*raw == NULL)
        code = sqlite3_prepare_v3(conn->raw, texts[turn], -1, SQLITE_PREPARE_PERSISTENT, raw, NULL);
    if (code == SQLITE_OK) {
        (void)sqlite3_step(*raw);
        code = sqlite3_reset(*raw); /* what the step came to */
    }
    return code == SQLITE_OK ? RC_OK : sqlite_fail(conn->db, conn->raw, code, err);
}

void connection_undo(struct sqlite_conn *conn)
{
    if (!sqlite3_get_autocommit(conn->raw))
        (void)!connection_turn(conn, TURN_ROLLBACK, NULL);
}

enum rc connection_text(struct sqlite_conn *conn, const char *sql, char *into, size_t size,
                        struct error *err)
{
    sqlite3_stmt *raw = NULL;
    int code = sqlite3_prepare_v2(conn->raw, sql, -1, &raw, NULL);
    into[0] = '\0';
    if (code == SQLITE_OK) {
        code = sqlite3_step(raw);
        const unsigned char *text = code == SQLITE_ROW ? sqlite3_column_text(raw, 0) : NULL;
        if (text != NULL)
            (void)snprintf(into, size, "%s", (const char *)text);
        code = code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
    }
    enum rc rc = code == SQLITE_OK ? RC_OK : sqlite_fail(conn->db, conn->raw, code, err);
    (void)sqlite3_finalize(raw);
    return rc;
}

/* Checkpoints copy the log into the file every 2,000 pages: rare enough that a hot page is written
 * once for many commits, small enough that recovery after a crash reads 8 MB. What was deleted is
 * overwritten where that costs no further write: an erased result does not stay in free space. */
static enum rc apply_pragmas(struct sqlite_conn *conn, struct error *err)
{
    enum rc rc = connection_exec(conn,
                                 "PRAGMA trusted_schema=OFF;"
                                 "PRAGMA cell_size_check=ON;"
                                 "PRAGMA temp_store=MEMORY;"
                                 "PRAGMA secure_delete=FAST;"
                                 "PRAGMA journal_size_limit=33554432;",
                                 err);
    if (rc != RC_OK || !conn->writer)
        return rc != RC_OK
                   ? rc
                   : connection_exec(conn, "PRAGMA query_only=ON; PRAGMA cache_size=-2048;", err);
    char mode[16];
    rc = connection_text(conn, "PRAGMA journal_mode=WAL", mode, sizeof(mode), err);
    if (rc == RC_OK && strcmp(mode, "wal") != 0)
        rc = error_set(err, RC_UNAVAILABLE,
                       "%s: no write-ahead log is possible there (journal mode '%s'); "
                       "use a local file system",
                       conn->db->path, mode);
    if (rc == RC_OK)
        rc = connection_exec(conn,
                             "PRAGMA synchronous=FULL;"
                             "PRAGMA wal_autocheckpoint=2000;"
                             "PRAGMA cache_size=-16384;",
                             err);
    return rc;
}

#define URI_SIZE_MAX 16384u
/* The path as SQLite's URIs have it. */
static void unchanging_uri(const char *path, char into[URI_SIZE_MAX])
{
    size_t at = (size_t)snprintf(into, URI_SIZE_MAX, "file:");
    for (; *path != '\0' && at + 32 < URI_SIZE_MAX; path++)
        at += (size_t)snprintf(into + at, URI_SIZE_MAX - at, strchr("%?#", *path) ? "%%%02X" : "%c",
                               *path);
    (void)snprintf(into + at, URI_SIZE_MAX - at, "?immutable=1");
}

static int open_raw(struct sqlite *db, sqlite3 **ret_raw)
{
    char uri[URI_SIZE_MAX];
    if (!db->read_only)
        return sqlite3_open_v2(db->path, ret_raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                               db->vfs);
    /* One that may write takes away at its end what it made to read, if the log is empty. */
    int flags = SQLITE_OPEN_NOMUTEX |
                (db->unchanging || db->leaves_log ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) |
                (db->unchanging ? SQLITE_OPEN_URI : 0);
    if (db->unchanging)
        unchanging_uri(db->path, uri);
    int code = sqlite3_open_v2(db->unchanging ? uri : db->path, ret_raw, flags, db->vfs);
    /* What a crash left in the log stays there for whoever may write. */
    if (code == SQLITE_OK && db->leaves_log)
        (void)sqlite3_db_config(*ret_raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return code;
}

enum rc connection_open(struct sqlite *db, bool writer, struct sqlite_conn **ret_conn,
                        struct error *err)
{
    struct sqlite_conn *conn = calloc(1, sizeof(*conn));
    /* One more than needed, so that a module without statements is no special case. */
    struct sqlite_stmt *stmts = calloc(db->statement_count + 1u, sizeof(*stmts));
    if (conn == NULL || stmts == NULL) {
        free(conn);
        free(stmts);
        return error_set(err, RC_NO_MEMORY, "%s: no memory for a connection", db->path);
    }
    *conn = (struct sqlite_conn){.db = db, .stmts = stmts, .writer = writer};
    for (uint32_t i = 0; i < db->statement_count; i++)
        stmts[i].conn = conn;
    int code = open_raw(db, &conn->raw);
    enum rc rc = RC_OK;
    if (code != SQLITE_OK)
        rc = sqlite_fail(db, conn->raw, code, err);
    if (rc == RC_OK) {
        (void)sqlite3_extended_result_codes(conn->raw, 1);
        /* A statement stays as it was prepared: else one with a bound LIMIT is compiled again each
         * time when that changes. */
        (void)sqlite3_db_config(conn->raw, SQLITE_DBCONFIG_ENABLE_QPSG, 1, NULL);
        (void)sqlite3_busy_timeout(conn->raw, (int)db->wait_ms_max);
        rc = apply_pragmas(conn, err);
    }
    if (rc != RC_OK) {
        connection_free(conn);
        return rc;
    }
    *ret_conn = conn;
    return RC_OK;
}

void connection_free(struct sqlite_conn *conn)
{
    if (conn == NULL)
        return;
    for (uint32_t i = 0; i < conn->db->statement_count; i++)
        (void)sqlite3_finalize(conn->stmts[i].raw);
    for (int i = 0; i < TURN_COUNT; i++)
        (void)sqlite3_finalize(conn->turns[i]);
    (void)sqlite3_close_v2(conn->raw);
    free(conn->stmts);
    free(conn);
}
