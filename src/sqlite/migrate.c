/* SPDX-License-Identifier: Apache-2.0
 * migrate.c - a module's tables by version, each step and its new number in one transaction. */
#include "sqlite/connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "imgo": other programs' files are refused, not given our tables. */
#define APPLICATION_ID      "1768777583"
#define APPLICATION_ID_NONE "0"

enum rc migrate_version(struct sqlite_conn *conn, const char *module, uint32_t *ret_version,
                        struct error *err)
{
    sqlite3_stmt *raw = NULL;
    int code = sqlite3_prepare_v2(conn->raw, "SELECT version FROM migration WHERE module=?", -1,
                                  &raw, NULL);
    uint32_t version = 0;
    if (code == SQLITE_OK) {
        code = sqlite3_bind_text(raw, 1, module, -1, SQLITE_STATIC);
        if (code == SQLITE_OK)
            code = sqlite3_step(raw);
        if (code == SQLITE_ROW)
            version = (uint32_t)sqlite3_column_int64(raw, 0);
        code = code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
    }
    enum rc rc = code == SQLITE_OK ? RC_OK : sqlite_fail(conn->db, conn->raw, code, err);
    (void)sqlite3_finalize(raw);
    if (rc == RC_OK)
        *ret_version = version;
    return rc;
}

static enum rc set_version(struct sqlite_conn *conn, const char *module, uint32_t version,
                           struct error *err)
{
    sqlite3_stmt *raw = NULL;
    int code = sqlite3_prepare_v2(conn->raw,
                                  "INSERT INTO migration(module, version) VALUES(?,?) "
                                  "ON CONFLICT(module) DO UPDATE SET version=excluded.version",
                                  -1, &raw, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_bind_text(raw, 1, module, -1, SQLITE_STATIC);
    if (code == SQLITE_OK)
        code = sqlite3_bind_int64(raw, 2, version);
    if (code == SQLITE_OK)
        code = sqlite3_step(raw);
    enum rc rc = code == SQLITE_DONE ? RC_OK : sqlite_fail(conn->db, conn->raw, code, err);
    (void)sqlite3_finalize(raw);
    return rc;
}

/* Ours, or new and empty. */
static enum rc claim(struct sqlite_conn *conn, struct error *err)
{
    char application[16];
    enum rc rc =
        connection_text(conn, "PRAGMA application_id", application, sizeof(application), err);
    if (rc != RC_OK || strcmp(application, APPLICATION_ID) == 0)
        return rc;
    char count[16];
    rc = connection_text(conn, "SELECT count(*) FROM sqlite_schema", count, sizeof(count), err);
    if (rc != RC_OK)
        return rc;
    if (strcmp(application, APPLICATION_ID_NONE) != 0 || strcmp(count, "0") != 0)
        return error_set(err, RC_INTERNAL, "%s: a database of another program", conn->db->path);
    return connection_exec(
        conn,
        "CREATE TABLE migration(module TEXT PRIMARY KEY, version INTEGER NOT NULL)"
        " WITHOUT ROWID;"
        "PRAGMA application_id=" APPLICATION_ID ";",
        err);
}

enum rc migrate(struct sqlite_conn *conn, const struct sqlite_config *config, struct error *err)
{
    enum rc rc = claim(conn, err);
    uint32_t version = 0;
    if (rc == RC_OK)
        rc = migrate_version(conn, config->module, &version, err);
    if (rc == RC_OK && version > config->migration_count)
        rc =
            error_set(err, RC_INTERNAL,
                      "%s: its '%s' tables have version %u, this program knows %u; use a newer one",
                      conn->db->path, config->module, version, config->migration_count);
    if (rc != RC_OK || version == config->migration_count)
        return rc;
    for (; rc == RC_OK && version < config->migration_count; version++)
        rc = connection_exec(conn, config->migrations[version], err);
    return rc == RC_OK ? set_version(conn, config->module, version, err) : rc;
}
