/* SPDX-License-Identifier: Apache-2.0
 * sqlite_webhook.c - the SQLite driver: secrets of webhooks. */
#include "account/sqlite.h"

#include <string.h>

static bool read_blob(struct sqlite_stmt *stmt, int column, uint8_t into[WEBHOOK_SECRET_SIZE])
{
    struct bytes blob = sqlite_column_blob(stmt, column);
    if (blob.size != WEBHOOK_SECRET_SIZE)
        return false;
    memcpy(into, blob.data, WEBHOOK_SECRET_SIZE);
    return true;
}

static enum rc find(struct sqlite_conn *conn, const char *tenant,
                    struct account_webhook_secret *ret_secret, bool *ret_found, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_WEBHOOK_GET);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    enum rc rc = sqlite_step(stmt, ret_found, err);
    if (rc == RC_OK && *ret_found) {
        struct account_webhook_secret secret = {.created_ms = sqlite_column_u64(stmt, 1),
                                                .old_until_ms = sqlite_column_u64(stmt, 3)};
        secret.has_old = read_blob(stmt, 2, secret.old);
        if (read_blob(stmt, 0, secret.current))
            *ret_secret = secret;
        else
            rc = error_set(err, RC_INTERNAL, "the webhook secret of %s is damaged", tenant);
    }
    sqlite_reset(stmt);
    return rc;
}

enum rc sqlite_webhook_secret_get(struct account *account, const char *tenant,
                                  struct account_webhook_secret *ret_secret, bool *ret_found,
                                  struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct account_tenant owner;
    rc = find(conn, tenant, ret_secret, ret_found, err);
    if (rc == RC_OK && !*ret_found)
        rc = account_tenant_find(conn, tenant, &owner, err);
    sqlite_read_end(conn);
    return rc;
}

enum rc sqlite_webhook_secret_put(struct account *account, const char *tenant,
                                  const uint8_t fresh[WEBHOOK_SECRET_SIZE], bool rotate,
                                  uint64_t old_until_ms, uint64_t now_ms,
                                  struct account_webhook_secret *ret_secret, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct account_tenant owner;
    struct account_webhook_secret secret = {0};
    bool found = false;
    rc = account_tenant_find(conn, tenant, &owner, err);
    if (rc == RC_OK) {
        struct sqlite_stmt *stmt =
            sqlite_use(conn, rotate ? STMT_WEBHOOK_ROTATE : STMT_WEBHOOK_CREATE);
        sqlite_bind_text(stmt, 1, bytes_of(tenant));
        sqlite_bind_blob(stmt, 2, (struct bytes){fresh, WEBHOOK_SECRET_SIZE});
        sqlite_bind_u64(stmt, 3, now_ms);
        if (rotate)
            sqlite_bind_u64(stmt, 4, old_until_ms);
        rc = sqlite_run(stmt, err);
    }
    if (rc == RC_OK)
        rc = find(conn, tenant, &secret, &found, err);
    rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK)
        *ret_secret = secret;
    return rc;
}
