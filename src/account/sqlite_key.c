/* SPDX-License-Identifier: Apache-2.0
 * sqlite_key.c - keys in SQLite. */
#include "account/sqlite.h"

#include <string.h>

#define KEY_COLUMN_COUNT 16 /* of KEY in sqlite_statements.def */

static void key_read(struct sqlite_stmt *stmt, struct account_key *ret_key)
{
    struct account_key key = {
        .scopes = (uint32_t)sqlite_column_u64(stmt, 3),
        .created_ms = sqlite_column_u64(stmt, 4),
        .expires_ms = sqlite_column_u64(stmt, 5),
        .revoked_ms = sqlite_column_u64(stmt, 6),
        .used_ms = sqlite_column_u64(stmt, 7),
        .old_until_ms = sqlite_column_u64(stmt, 8),
        .rule_own = sqlite_column_u64(stmt, 9) != 0,
    };
    account_column_copy(stmt, 0, key.id, sizeof(key.id));
    account_column_copy(stmt, 1, key.tenant, sizeof(key.tenant));
    account_column_copy(stmt, 2, key.name, sizeof(key.name));
    (void)account_rule_read(stmt, 10, &key.rule);
    *ret_key = key;
}

static enum rc key_insert(struct sqlite_conn *conn, const struct key_record *record,
                          bool *ret_taken, struct error *err)
{
    const struct account_key *key = &record->key;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_KEY_CREATE);
    sqlite_bind_text(stmt, 1, bytes_of(key->id));
    sqlite_bind_text(stmt, 2, bytes_of(key->tenant));
    sqlite_bind_text(stmt, 3, bytes_of(key->name));
    sqlite_bind_u64(stmt, 4, key->scopes);
    sqlite_bind_u64(stmt, 5, key->created_ms);
    sqlite_bind_u64(stmt, 6, key->expires_ms);
    sqlite_bind_blob(stmt, 7, (struct bytes){record->hash, KEY_HASH_SIZE});
    sqlite_bind_u64(stmt, 8, key->rule_own);
    (void)account_rule_bind(stmt, 9, &key->rule);
    enum rc rc = sqlite_run(stmt, err);
    *ret_taken = rc == RC_OK && sqlite_changed(conn) == 0;
    return rc;
}

enum rc sqlite_key_create(struct account *account, const struct key_record *record, bool *ret_taken,
                          bool *ret_full, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct account_tenant tenant;
    bool row = false;
    bool taken = false;
    bool full = false;
    rc = account_tenant_find(conn, record->key.tenant, &tenant, err);
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_KEY_COUNT);
    sqlite_bind_text(stmt, 1, bytes_of(record->key.tenant));
    if (rc == RC_OK)
        rc = sqlite_step(stmt, &row, err);
    full = rc == RC_OK && sqlite_column_u64(stmt, 0) >= KEY_COUNT_MAX;
    sqlite_reset(stmt);
    if (rc == RC_OK && !full)
        rc = key_insert(conn, record, &taken, err);
    if (rc == RC_OK && !full && !taken)
        rc = sqlite_run(sqlite_use(conn, STMT_EVER_SET), err);
    rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK) {
        *ret_taken = taken;
        *ret_full = full;
    }
    return rc;
}

enum rc sqlite_key_find(struct account *account, const char *id, struct key_record *ret_record,
                        struct account_tenant *ret_tenant, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_KEY_FIND);
    sqlite_bind_text(stmt, 1, bytes_of(id));
    bool row = false;
    rc = sqlite_step(stmt, &row, err);
    if (rc == RC_OK && row) {
        struct key_record record = {0};
        key_read(stmt, &record.key);
        struct bytes hash = sqlite_column_blob(stmt, KEY_COLUMN_COUNT);
        struct bytes old = sqlite_column_blob(stmt, KEY_COLUMN_COUNT + 1);
        record.has_old = old.size == KEY_HASH_SIZE;
        if (hash.size == KEY_HASH_SIZE)
            memcpy(record.hash, hash.data, KEY_HASH_SIZE);
        else
            rc = error_set(err, RC_INTERNAL, "the stored key %s is damaged", id);
        if (record.has_old)
            memcpy(record.old_hash, old.data, KEY_HASH_SIZE);
        account_tenant_read(stmt, KEY_COLUMN_COUNT + 2, ret_tenant);
        *ret_record = record;
        if (rc == RC_OK && strcmp(record.key.id, id) != 0)
            rc = RC_NOT_FOUND; /* without a text, which would take time and nobody reads */
    } else if (rc == RC_OK) {
        rc = error_set(err, RC_INTERNAL, "the row that stands for unknown keys is gone");
    }
    sqlite_read_end(conn);
    return rc;
}

enum rc sqlite_key_get(struct account *account, const char *tenant, const char *id,
                       struct account_key *ret_key, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_KEY_GET);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_text(stmt, 2, bytes_of(id));
    bool row = false;
    rc = sqlite_step(stmt, &row, err);
    if (rc == RC_OK && row)
        key_read(stmt, ret_key);
    else if (rc == RC_OK)
        rc = error_set(err, RC_NOT_FOUND, "tenant '%.63s' has no such key", tenant);
    sqlite_read_end(conn);
    return rc;
}

enum rc sqlite_key_list(struct account *account, const char *tenant, const char *prefix,
                        const char *after, struct account_key *into, uint32_t count_max,
                        uint32_t *ret_count, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_KEY_LIST);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_text(stmt, 2, bytes_of(after));
    sqlite_bind_text(stmt, 3, bytes_of(prefix));
    sqlite_bind_u64(stmt, 4, count_max);
    uint32_t count = 0;
    bool row = false;
    while ((rc = sqlite_step(stmt, &row, err)) == RC_OK && row && count < count_max)
        key_read(stmt, &into[count++]);
    sqlite_read_end(conn);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

enum rc sqlite_key_revoke(struct account *account, const char *tenant, const char *id,
                          uint64_t now_ms, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_KEY_REVOKE);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_text(stmt, 2, bytes_of(id));
    sqlite_bind_u64(stmt, 3, now_ms == 0 ? 1 : now_ms); /* 0 would be "not revoked" */
    rc = sqlite_run(stmt, err);
    if (rc == RC_OK && sqlite_changed(conn) == 0)
        rc = error_set(err, RC_NOT_FOUND, "tenant '%.63s' has no such key", tenant);
    return sqlite_end(conn, rc, err);
}

enum rc sqlite_key_rotate(struct account *account, const char *tenant, const char *id,
                          const uint8_t hash[KEY_HASH_SIZE], uint64_t old_until_ms, uint64_t now_ms,
                          bool *ret_dead, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_KEY_ROTATE);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_text(stmt, 2, bytes_of(id));
    sqlite_bind_blob(stmt, 3, (struct bytes){hash, KEY_HASH_SIZE});
    sqlite_bind_u64(stmt, 4, old_until_ms);
    sqlite_bind_u64(stmt, 5, now_ms);
    rc = sqlite_run(stmt, err);
    bool dead = rc == RC_OK && sqlite_changed(conn) == 0;
    if (dead) {
        bool row = false;
        stmt = sqlite_use(conn, STMT_KEY_GET);
        sqlite_bind_text(stmt, 1, bytes_of(tenant));
        sqlite_bind_text(stmt, 2, bytes_of(id));
        rc = sqlite_step(stmt, &row, err);
        if (rc == RC_OK && !row)
            rc = error_set(err, RC_NOT_FOUND, "tenant '%.63s' has no such key", tenant);
        sqlite_reset(stmt);
    }
    rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK)
        *ret_dead = dead;
    return rc;
}

enum rc sqlite_keys_used(struct account *account, const struct identity_use uses[], uint32_t count,
                         struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), ORDERED, &conn, err);
    for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
        struct sqlite_stmt *stmt = sqlite_use(conn, STMT_KEY_USED);
        sqlite_bind_text(stmt, 1, bytes_of(uses[i].tenant));
        sqlite_bind_text(stmt, 2, bytes_of(uses[i].key));
        sqlite_bind_u64(stmt, 3, uses[i].used_ms);
        rc = sqlite_run(stmt, err);
    }
    return conn == NULL ? rc : sqlite_end(conn, rc, err);
}
