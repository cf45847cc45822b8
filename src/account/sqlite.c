/* SPDX-License-Identifier: Apache-2.0
 * sqlite.c - the SQLite driver: opening, tenants, plans, and the table of its functions.
 *   sqlite_key.c      keys
 *   sqlite_quota.c    reservations, counts, alerts
 *   sqlite_webhook.c  secrets of webhooks */
#include "account/sqlite.h"
#include "account/sqlite_schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char *const statements[] = {
#define STATEMENT(name, sql) [STMT_##name] = sql,
#include "account/sqlite_statements.def"
#undef STATEMENT
};

struct sqlite *account_db_of(struct account *account)
{
    assert(account->ops == &account_sqlite);
    return ((struct account_sqlite *)account)->db;
}

static enum rc open_db(const struct account_config *config, struct account **ret_account,
                       struct error *err)
{
    struct sqlite_config how = {
        .url = config->url,
        .module = "account",
        .migrations = account_migrations,
        .migration_count = sizeof(account_migrations) / sizeof(account_migrations[0]),
        .statements = statements,
        .statement_count = STMT_COUNT,
    };
    struct account_sqlite *account = calloc(1, sizeof(*account));
    if (account == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory to open %.100s", config->url);
    account->base.ops = &account_sqlite;
    enum rc rc = sqlite_open(&how, &account->db, err);
    if (rc != RC_OK) {
        free(account);
        return rc;
    }
    *ret_account = &account->base;
    return RC_OK;
}

static void free_db(struct account *account)
{
    sqlite_free(account_db_of(account));
    free(account);
}

void account_column_copy(struct sqlite_stmt *stmt, int column, char *into, size_t into_size)
{
    struct bytes text = sqlite_column_text(stmt, column);
    size_t size = text.size < into_size ? text.size : into_size - 1;
    if (size > 0)
        memcpy(into, text.data, size);
    memset(into + size, 0, into_size - size);
}

static uint32_t column_u32(struct sqlite_stmt *stmt, int column)
{
    uint64_t value = sqlite_column_u64(stmt, column);
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

int account_rule_read(struct sqlite_stmt *stmt, int first, struct limits_rule *ret_rule)
{
    *ret_rule = (struct limits_rule){
        .requests = column_u32(stmt, first),
        .window_s = column_u32(stmt, first + 1),
        .burst = column_u32(stmt, first + 2),
        .concurrent = column_u32(stmt, first + 3),
        .bytes_per_day = sqlite_column_u64(stmt, first + 4),
        .images_per_day = sqlite_column_u64(stmt, first + 5),
    };
    return 6;
}

int account_rule_bind(struct sqlite_stmt *stmt, int first, const struct limits_rule *rule)
{
    sqlite_bind_u64(stmt, first, rule->requests);
    sqlite_bind_u64(stmt, first + 1, rule->window_s);
    sqlite_bind_u64(stmt, first + 2, rule->burst);
    sqlite_bind_u64(stmt, first + 3, rule->concurrent);
    sqlite_bind_u64(stmt, first + 4, rule->bytes_per_day);
    sqlite_bind_u64(stmt, first + 5, rule->images_per_day);
    return 6;
}

void account_tenant_read(struct sqlite_stmt *stmt, int first, struct account_tenant *ret_tenant)
{
    struct account_tenant tenant = {
        .created_ms = sqlite_column_u64(stmt, first + 1),
        .revision = column_u32(stmt, first + 2),
        .suspended = sqlite_column_u64(stmt, first + 3) != 0,
        .image_days = column_u32(stmt, first + 4),
        .result_days = column_u32(stmt, first + 5),
        .plan_version = column_u32(stmt, first + 7),
        .budget_micro = sqlite_column_u64(stmt, first + 8),
        .hard_cap_micro = sqlite_column_u64(stmt, first + 9),
    };
    account_column_copy(stmt, first, tenant.id, sizeof(tenant.id));
    account_column_copy(stmt, first + 6, tenant.plan, sizeof(tenant.plan));
    struct bytes percents = sqlite_column_blob(stmt, first + 10);
    if (percents.size == ACCOUNT_ALERT_MAX)
        memcpy(tenant.alert_percents, percents.data, ACCOUNT_ALERT_MAX);
    account_column_copy(stmt, first + 11, tenant.alert_webhook, sizeof(tenant.alert_webhook));
    (void)account_rule_read(stmt, first + 12, &tenant.rule);
    *ret_tenant = tenant;
}

static void tenant_bind(struct sqlite_stmt *stmt, const struct account_tenant *tenant)
{
    sqlite_bind_text(stmt, 1, bytes_of(tenant->id));
    sqlite_bind_u64(stmt, 2, tenant->created_ms);
    sqlite_bind_u64(stmt, 3, tenant->revision);
    sqlite_bind_u64(stmt, 4, tenant->suspended);
    sqlite_bind_u64(stmt, 5, tenant->image_days);
    sqlite_bind_u64(stmt, 6, tenant->result_days);
    sqlite_bind_text(stmt, 7, bytes_of(tenant->plan));
    sqlite_bind_u64(stmt, 8, tenant->plan_version);
    sqlite_bind_u64(stmt, 9, tenant->budget_micro);
    sqlite_bind_u64(stmt, 10, tenant->hard_cap_micro);
    sqlite_bind_blob(stmt, 11, (struct bytes){tenant->alert_percents, ACCOUNT_ALERT_MAX});
    (void)account_rule_bind(stmt, 12, &tenant->rule);
    sqlite_bind_text(stmt, 18, bytes_of(tenant->alert_webhook));
}

static enum rc tenure_add(struct sqlite_conn *conn, const struct account_tenant *tenant,
                          uint64_t now_ms, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_TENURE_ADD);
    sqlite_bind_text(stmt, 1, bytes_of(tenant->id));
    sqlite_bind_u64(stmt, 2, now_ms);
    sqlite_bind_text(stmt, 3, bytes_of(tenant->plan));
    sqlite_bind_u64(stmt, 4, tenant->plan_version);
    return sqlite_run(stmt, err);
}

static enum rc ever(struct account *account, bool *ret_ever, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    rc = sqlite_step(sqlite_use(conn, STMT_EVER), ret_ever, err);
    sqlite_read_end(conn);
    return rc;
}

static enum rc ever_set(struct account *account, struct error *err)
{
    /* At each start: a write only the first time. */
    bool set = false;
    enum rc rc = ever(account, &set, err);
    if (rc != RC_OK || set)
        return rc;
    struct sqlite_conn *conn = NULL;
    rc = sqlite_write(account_db_of(account), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    return sqlite_end(conn, sqlite_run(sqlite_use(conn, STMT_EVER_SET), err), err);
}

enum rc account_tenant_find(struct sqlite_conn *conn, const char *id,
                            struct account_tenant *ret_tenant, struct error *err)
{
    bool row = false;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_TENANT_GET);
    sqlite_bind_text(stmt, 1, bytes_of(id));
    enum rc rc = sqlite_step(stmt, &row, err);
    if (rc == RC_OK && row)
        account_tenant_read(stmt, 0, ret_tenant);
    else if (rc == RC_OK)
        rc = error_set(err, RC_NOT_FOUND, "there is no tenant '%.63s'", id);
    sqlite_reset(stmt);
    return rc;
}

static enum rc tenant_create(struct account *account, const struct account_tenant *tenant,
                             bool *ret_taken, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_TENANT_CREATE);
    tenant_bind(stmt, tenant);
    rc = sqlite_run(stmt, err);
    bool taken = rc == RC_OK && sqlite_changed(conn) == 0;
    if (rc == RC_OK && !taken)
        rc = tenure_add(conn, tenant, tenant->created_ms, err);
    rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK)
        *ret_taken = taken;
    return rc;
}

static enum rc tenant_get(struct account *account, const char *id,
                          struct account_tenant *ret_tenant, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    rc = account_tenant_find(conn, id, ret_tenant, err);
    sqlite_read_end(conn);
    return rc;
}

static enum rc tenant_set(struct account *account, const struct account_tenant *tenant,
                          uint64_t now_ms, bool *ret_stale, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_ALERT_FORGET);
    sqlite_bind_text(stmt, 1, bytes_of(tenant->id));
    sqlite_bind_u64(stmt, 2, tenant->revision);
    sqlite_bind_u64(stmt, 3, tenant->budget_micro);
    rc = sqlite_run(stmt, err);
    stmt = sqlite_use(conn, STMT_TENANT_SET);
    tenant_bind(stmt, tenant);
    if (rc == RC_OK)
        rc = sqlite_run(stmt, err);
    bool stale = rc == RC_OK && sqlite_changed(conn) == 0;
    struct account_tenant stored;
    if (stale)
        rc = account_tenant_find(conn, tenant->id, &stored, err);
    else if (rc == RC_OK)
        rc = tenure_add(conn, tenant, now_ms, err);
    rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK)
        *ret_stale = stale;
    return rc;
}

static enum rc tenure_list(struct account *account, const char *tenant, uint64_t from_ms,
                           struct account_tenure *into, uint32_t count_max, uint32_t *ret_count,
                           struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_TENURE_LIST);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_u64(stmt, 2, from_ms);
    sqlite_bind_u64(stmt, 3, count_max);
    uint32_t count = 0;
    bool row = false;
    while ((rc = sqlite_step(stmt, &row, err)) == RC_OK && row && count < count_max) {
        into[count].since_ms = sqlite_column_u64(stmt, 0);
        account_column_copy(stmt, 1, into[count].plan, sizeof(into[count].plan));
        into[count].plan_version = column_u32(stmt, 2);
        count++;
    }
    sqlite_read_end(conn);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

static enum rc tenant_list(struct account *account, const char *after, struct account_tenant *into,
                           uint32_t count_max, uint32_t *ret_count, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_TENANT_LIST);
    sqlite_bind_text(stmt, 1, bytes_of(after));
    sqlite_bind_u64(stmt, 2, count_max);
    uint32_t count = 0;
    bool row = false;
    while ((rc = sqlite_step(stmt, &row, err)) == RC_OK && row && count < count_max)
        account_tenant_read(stmt, 0, &into[count++]);
    sqlite_read_end(conn);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

static enum rc plan_put(struct account *account, const struct account_plan_row *plan_row,
                        struct bytes body, bool *ret_taken, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_PLAN_PUT);
    sqlite_bind_text(stmt, 1, bytes_of(plan_row->name));
    sqlite_bind_u64(stmt, 2, plan_row->version);
    sqlite_bind_u64(stmt, 3, plan_row->created_ms);
    sqlite_bind_text(stmt, 4, body);
    rc = sqlite_run(stmt, err);
    bool taken = rc == RC_OK && sqlite_changed(conn) == 0;
    rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK)
        *ret_taken = taken;
    return rc;
}

static enum rc plan_get(struct account *account, const char *name, uint32_t version,
                        struct buf *into, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, version == 0 ? STMT_PLAN_NEWEST : STMT_PLAN_GET);
    sqlite_bind_text(stmt, 1, bytes_of(name));
    if (version != 0)
        sqlite_bind_u64(stmt, 2, version);
    bool row = false;
    rc = sqlite_step(stmt, &row, err);
    if (rc == RC_OK && !row)
        rc = error_set(err, RC_NOT_FOUND, "there is no plan '%.63s' version %u", name, version);
    if (rc == RC_OK && (rc = buf_append(into, sqlite_column_text(stmt, 0))) != RC_OK)
        rc = error_set(err, rc, "reading the plan %s", name);
    sqlite_read_end(conn);
    return rc;
}

static enum rc plan_list(struct account *account, const char *after_name, uint32_t after_version,
                         struct account_plan_row *into, uint32_t count_max, uint32_t *ret_count,
                         struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_PLAN_LIST);
    sqlite_bind_text(stmt, 1, bytes_of(after_name));
    sqlite_bind_u64(stmt, 2, after_version);
    sqlite_bind_u64(stmt, 3, count_max);
    uint32_t count = 0;
    bool row = false;
    while ((rc = sqlite_step(stmt, &row, err)) == RC_OK && row && count < count_max) {
        account_column_copy(stmt, 0, into[count].name, sizeof(into[count].name));
        into[count].version = column_u32(stmt, 1);
        into[count].created_ms = sqlite_column_u64(stmt, 2);
        count++;
    }
    sqlite_read_end(conn);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

static enum rc db_backup(struct account *account, const char *path, struct error *err)
{
    return sqlite_backup(account_db_of(account), path, err);
}

static enum rc db_check(struct account *account, bool full, struct error *err)
{
    return sqlite_check(account_db_of(account), full, err);
}

const struct account_ops account_sqlite = {
    .backup = db_backup,
    .check = db_check,
    .scheme = "sqlite:",
    .open = open_db,
    .free = free_db,
    .ever = ever,
    .ever_set = ever_set,
    .tenant_create = tenant_create,
    .tenant_get = tenant_get,
    .tenant_set = tenant_set,
    .tenure_list = tenure_list,
    .tenant_list = tenant_list,
    .plan_put = plan_put,
    .plan_get = plan_get,
    .plan_list = plan_list,
    .key_create = sqlite_key_create,
    .key_find = sqlite_key_find,
    .key_get = sqlite_key_get,
    .key_list = sqlite_key_list,
    .key_revoke = sqlite_key_revoke,
    .key_rotate = sqlite_key_rotate,
    .keys_used = sqlite_keys_used,
    .reserve = sqlite_reserve,
    .settle = sqlite_settle,
    .expired = sqlite_expired,
    .forget = sqlite_forget,
    .quota_day = sqlite_quota_day,
    .quota_month = sqlite_quota_month,
    .quota_correct = sqlite_quota_correct,
    .alerts_fresh = sqlite_alerts_fresh,
    .webhook_secret_get = sqlite_webhook_secret_get,
    .webhook_secret_put = sqlite_webhook_secret_put,
};
