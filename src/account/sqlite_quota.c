/* SPDX-License-Identifier: Apache-2.0
 * sqlite_quota.c - reservations and counts in SQLite. Decisions are quota_decide()'s. */
#include "account/sqlite.h"

#include <stdlib.h>
#include <string.h>

enum reservation_state { STATE_HELD, STATE_SETTLED, STATE_RETURNED };

struct reservation {
    enum reservation_state state;
    struct quota_period period;
    char key[IDENTITY_KEY_SIZE];
    char plan[PLAN_NAME_SIZE];
    uint32_t plan_version;
    char model[PLAN_MODEL_SIZE];
    uint64_t image_count;
};

static enum rc reservation_get(struct sqlite_conn *conn, const char *tenant, struct id id,
                               bool *ret_found, struct reservation *ret_reservation,
                               struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_RESERVATION_GET);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_id(stmt, 2, id);
    enum rc rc = sqlite_step(stmt, ret_found, err);
    if (rc == RC_OK && *ret_found) {
        struct reservation *into = ret_reservation;
        into->state = (enum reservation_state)sqlite_column_u64(stmt, 0);
        account_column_copy(stmt, 1, into->key, sizeof(into->key));
        into->period.day = (uint32_t)sqlite_column_u64(stmt, 2);
        into->period.month = (uint32_t)sqlite_column_u64(stmt, 3);
        account_column_copy(stmt, 4, into->plan, sizeof(into->plan));
        into->plan_version = (uint32_t)sqlite_column_u64(stmt, 5);
        account_column_copy(stmt, 6, into->model, sizeof(into->model));
        into->image_count = sqlite_column_u64(stmt, 7);
    }
    sqlite_reset(stmt);
    return rc;
}

/* `used` and `held` are changes; held may be negative. */
static enum rc count_add(struct sqlite_conn *conn, const char *tenant,
                         const struct reservation *what, struct quota_period period, uint64_t at_ms,
                         uint64_t used, int64_t held, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_DAY_ADD);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_text(stmt, 2, bytes_of(what->key));
    sqlite_bind_u64(stmt, 3, period.day);
    sqlite_bind_u64(stmt, 4, used);
    sqlite_bind_i64(stmt, 5, held);
    enum rc rc = sqlite_run(stmt, err);
    if (rc != RC_OK)
        return rc;
    stmt = sqlite_use(conn, STMT_MONTH_ADD);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_u64(stmt, 2, period.month);
    sqlite_bind_text(stmt, 3, bytes_of(what->plan));
    sqlite_bind_u64(stmt, 4, what->plan_version);
    sqlite_bind_text(stmt, 5, bytes_of(what->model));
    sqlite_bind_u64(stmt, 6, at_ms);
    sqlite_bind_u64(stmt, 7, used);
    sqlite_bind_i64(stmt, 8, held);
    return sqlite_run(stmt, err);
}

static enum rc day_read(struct sqlite_conn *conn, const char *tenant, const char *key, uint32_t day,
                        struct quota_day *ret_day, struct error *err)
{
    bool row = false;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_DAY_GET);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_text(stmt, 2, bytes_of(key));
    sqlite_bind_u64(stmt, 3, day);
    enum rc rc = sqlite_step(stmt, &row, err);
    *ret_day = (struct quota_day){0};
    if (rc == RC_OK && row)
        *ret_day = (struct quota_day){.used = sqlite_column_u64(stmt, 0),
                                      .held = sqlite_column_u64(stmt, 1)};
    sqlite_reset(stmt);
    return rc;
}

static enum rc month_read(struct sqlite_conn *conn, const char *tenant, uint32_t month,
                          struct quota_usage *into, uint32_t count_max, uint32_t *ret_count,
                          struct error *err)
{
    uint32_t count = 0;
    bool row = false;
    enum rc rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_MONTH_GET);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_u64(stmt, 2, month);
    sqlite_bind_u64(stmt, 3, count_max);
    sqlite_bind_u64(stmt, 4, quota_month_start_ms(month));
    while ((rc = sqlite_step(stmt, &row, err)) == RC_OK && row && count < count_max) {
        struct quota_usage *usage = &into[count++];
        account_column_copy(stmt, 0, usage->plan, sizeof(usage->plan));
        usage->plan_version = (uint32_t)sqlite_column_u64(stmt, 1);
        account_column_copy(stmt, 2, usage->model, sizeof(usage->model));
        usage->used = sqlite_column_u64(stmt, 3);
        usage->held = sqlite_column_u64(stmt, 4);
    }
    sqlite_reset(stmt);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

static enum rc reservation_put(struct sqlite_conn *conn, const struct quota_request *request,
                               const struct account_tenant *tenant, uint64_t until_ms,
                               uint64_t now_ms, struct error *err)
{
    struct reservation fresh = {.period = quota_period_of(now_ms),
                                .plan_version = tenant->plan_version,
                                .image_count = request->image_count};
    memcpy(fresh.key, request->key, strlen(request->key) + 1);
    memcpy(fresh.plan, tenant->plan, sizeof(fresh.plan));
    memcpy(fresh.model, request->model, strlen(request->model) + 1);
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_RESERVATION_PUT);
    sqlite_bind_text(stmt, 1, bytes_of(request->tenant));
    sqlite_bind_id(stmt, 2, request->id);
    sqlite_bind_u64(stmt, 3, until_ms);
    sqlite_bind_text(stmt, 4, bytes_of(fresh.key));
    sqlite_bind_u64(stmt, 5, fresh.period.day);
    sqlite_bind_u64(stmt, 6, fresh.period.month);
    sqlite_bind_text(stmt, 7, bytes_of(fresh.plan));
    sqlite_bind_u64(stmt, 8, fresh.plan_version);
    sqlite_bind_text(stmt, 9, bytes_of(fresh.model));
    sqlite_bind_u64(stmt, 10, fresh.image_count);
    enum rc rc = sqlite_run(stmt, err);
    if (rc == RC_OK)
        rc = count_add(conn, request->tenant, &fresh, fresh.period, now_ms, 0,
                       (int64_t)fresh.image_count, err);
    return rc;
}

/* What the tenant may, by what it has; room for the month's rows comes from the caller. */
static enum rc decide(struct account *account, struct sqlite_conn *conn,
                      const struct account_tenant *tenant, struct quota_usage *month,
                      struct quota_request *request, uint64_t now_ms, struct error *err)
{
    struct quota_period period = quota_period_of(now_ms);
    struct quota_facts facts = {.tenant = tenant, .month = month};
    enum rc rc = RC_OK;
    if (request->images_per_day > 0)
        rc = day_read(conn, request->tenant, request->key, period.day, &facts.day, err);
    if (rc == RC_OK && tenant->hard_cap_micro > 0)
        rc = month_read(conn, request->tenant, period.month, month, QUOTA_MONTH_ROWS_MAX,
                        &facts.month_count, err);
    return rc == RC_OK ? quota_decide(account, &facts, request, now_ms, err) : rc;
}

static enum rc prolong(struct sqlite_conn *conn, const struct quota_request *request,
                       uint64_t until_ms, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_RESERVATION_PROLONG);
    sqlite_bind_text(stmt, 1, bytes_of(request->tenant));
    sqlite_bind_id(stmt, 2, request->id);
    sqlite_bind_u64(stmt, 3, until_ms);
    return sqlite_run(stmt, err);
}

static enum rc day_remaining(struct sqlite_conn *conn, struct quota_request *request,
                             uint64_t now_ms, struct error *err)
{
    if (request->images_per_day == 0)
        return RC_OK;
    struct quota_day day;
    enum rc rc =
        day_read(conn, request->tenant, request->key, quota_period_of(now_ms).day, &day, err);
    uint64_t taken = day.used + day.held;
    request->day_remaining = request->images_per_day > taken ? request->images_per_day - taken : 0;
    return rc;
}

/* Fails the whole call with what is returned; what concerns the item alone is in request->rc. */
static enum rc reserve_one(struct account *account, struct sqlite_conn *conn,
                           struct quota_usage *month, struct quota_request *request,
                           uint64_t until_ms, uint64_t now_ms, struct error *err)
{
    struct account_tenant tenant;
    enum rc rc = account_tenant_find(conn, request->tenant, &tenant, &request->err);
    if (rc == RC_NOT_FOUND) {
        request->rc = rc;
        return RC_OK;
    }
    struct reservation known;
    bool found = false;
    if (rc == RC_OK)
        rc = reservation_get(conn, request->tenant, request->id, &found, &known, err);
    else if (err != NULL)
        *err = request->err;
    if (rc != RC_OK)
        return rc;
    if (found && known.state != STATE_RETURNED) {
        /* Settled: the work was done and counted; doing it again finds it in the results. */
        rc = known.state == STATE_HELD ? prolong(conn, request, until_ms, err) : RC_OK;
        return rc == RC_OK ? day_remaining(conn, request, now_ms, err) : rc;
    }
    rc = decide(account, conn, &tenant, month, request, now_ms, err);
    if (rc == RC_OK && request->refusal == QUOTA_PASS)
        rc = reservation_put(conn, request, &tenant, until_ms, now_ms, err);
    return rc;
}

enum rc sqlite_reserve(struct account *account, struct quota_request requests[], uint32_t count,
                       uint64_t until_ms, uint64_t now_ms, struct error *err)
{
    struct quota_usage *month = calloc(QUOTA_MONTH_ROWS_MAX, sizeof(*month));
    if (month == NULL)
        return error_set(err, RC_NO_MEMORY, "a month's counts");
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), ORDERED, &conn, err);
    for (uint32_t i = 0; rc == RC_OK && i < count; i++)
        if (requests[i].rc == RC_OK)
            rc = reserve_one(account, conn, month, &requests[i], until_ms, now_ms, err);
    if (conn != NULL)
        rc = sqlite_end(conn, rc, err);
    free(month);
    return rc;
}

static enum rc settle_one(struct sqlite_conn *conn, struct quota_settlement *settlement,
                          struct error *err)
{
    struct reservation known;
    bool found = false;
    enum rc rc = reservation_get(conn, settlement->tenant, settlement->id, &found, &known, err);
    if (rc != RC_OK)
        return rc;
    if (!found) {
        settlement->rc = RC_NOT_FOUND;
        return RC_OK;
    }
    bool counts = settlement->image_count > 0;
    if (known.state == STATE_SETTLED || (known.state == STATE_RETURNED && !counts))
        return RC_OK;
    if (known.state == STATE_HELD)
        rc = count_add(conn, settlement->tenant, &known, known.period, settlement->committed_ms, 0,
                       -(int64_t)known.image_count, err);
    if (rc == RC_OK && counts)
        rc = count_add(conn, settlement->tenant, &known, quota_period_of(settlement->committed_ms),
                       settlement->committed_ms, settlement->image_count, 0, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_RESERVATION_END);
    sqlite_bind_text(stmt, 1, bytes_of(settlement->tenant));
    sqlite_bind_id(stmt, 2, settlement->id);
    sqlite_bind_u64(stmt, 3, counts ? STATE_SETTLED : STATE_RETURNED);
    return sqlite_run(stmt, err);
}

enum rc sqlite_settle(struct account *account, struct quota_settlement settlements[],
                      uint32_t count, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), ORDERED, &conn, err);
    for (uint32_t i = 0; rc == RC_OK && i < count; i++)
        if (settlements[i].rc == RC_OK)
            rc = settle_one(conn, &settlements[i], err);
    return conn == NULL ? rc : sqlite_end(conn, rc, err);
}

enum rc sqlite_expired(struct account *account, uint64_t now_ms, struct quota_expired *into,
                       uint32_t count_max, uint32_t *ret_count, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_RESERVATION_EXPIRED);
    sqlite_bind_u64(stmt, 1, now_ms);
    sqlite_bind_u64(stmt, 2, count_max);
    uint32_t count = 0;
    bool row = false;
    while ((rc = sqlite_step(stmt, &row, err)) == RC_OK && row && count < count_max) {
        account_column_copy(stmt, 0, into[count].tenant, sizeof(into[count].tenant));
        into[count].image_count = sqlite_column_u64(stmt, 2);
        into[count++].id = sqlite_column_id(stmt, 1);
    }
    sqlite_read_end(conn);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

enum rc sqlite_forget(struct account *account, uint64_t before_ms, uint32_t count_max,
                      uint32_t *ret_count, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), ORDERED, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_RESERVATION_FORGET);
    sqlite_bind_u64(stmt, 1, before_ms);
    sqlite_bind_u64(stmt, 2, count_max);
    rc = sqlite_run(stmt, err);
    uint64_t changed = sqlite_changed(conn);
    rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK)
        *ret_count = (uint32_t)changed;
    return rc;
}

enum rc sqlite_quota_day(struct account *account, const char *tenant, const char *key, uint32_t day,
                         struct quota_day *ret_day, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    rc = day_read(conn, tenant, key, day, ret_day, err);
    sqlite_read_end(conn);
    return rc;
}

enum rc sqlite_quota_month(struct account *account, const char *tenant, uint32_t month,
                           struct quota_usage *into, uint32_t count_max, uint32_t *ret_count,
                           struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    rc = month_read(conn, tenant, month, into, count_max, ret_count, err);
    sqlite_read_end(conn);
    return rc;
}

static bool month_is(const struct quota_usage *stored, uint32_t stored_count,
                     const struct quota_usage *known, uint32_t known_count)
{
    bool same = stored_count == known_count;
    for (uint32_t i = 0; same && i < known_count; i++)
        same = strcmp(stored[i].plan, known[i].plan) == 0 &&
               strcmp(stored[i].model, known[i].model) == 0 &&
               stored[i].plan_version == known[i].plan_version && stored[i].used == known[i].used &&
               stored[i].held == known[i].held;
    return same;
}

static enum rc month_write(struct sqlite_conn *conn, const char *tenant, uint32_t month,
                           uint64_t at_ms, const struct quota_usage rows[], uint32_t count,
                           struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_MONTH_ZERO);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_u64(stmt, 2, month);
    enum rc rc = sqlite_run(stmt, err);
    for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
        stmt = sqlite_use(conn, STMT_MONTH_ADD);
        sqlite_bind_text(stmt, 1, bytes_of(tenant));
        sqlite_bind_u64(stmt, 2, month);
        sqlite_bind_text(stmt, 3, bytes_of(rows[i].plan));
        sqlite_bind_u64(stmt, 4, rows[i].plan_version);
        sqlite_bind_text(stmt, 5, bytes_of(rows[i].model));
        sqlite_bind_u64(stmt, 6, at_ms);
        sqlite_bind_u64(stmt, 7, rows[i].used);
        sqlite_bind_i64(stmt, 8, 0);
        rc = sqlite_run(stmt, err);
    }
    return rc;
}

enum rc sqlite_quota_correct(struct account *account, const char *tenant, uint32_t month,
                             uint64_t at_ms, const struct quota_usage known[], uint32_t known_count,
                             const struct quota_usage rows[], uint32_t count, bool *ret_moved,
                             struct error *err)
{
    struct quota_usage *stored = calloc(QUOTA_MONTH_ROWS_MAX, sizeof(*stored));
    if (stored == NULL)
        return error_set(err, RC_NO_MEMORY, "a month's counts");
    struct sqlite_conn *conn = NULL;
    struct account_tenant tenant_row;
    uint32_t stored_count = 0;
    bool moved = false;
    enum rc rc = sqlite_write(account_db_of(account), DURABLE, &conn, err);
    if (rc == RC_OK)
        rc = account_tenant_find(conn, tenant, &tenant_row, err);
    if (rc == RC_OK)
        rc = month_read(conn, tenant, month, stored, QUOTA_MONTH_ROWS_MAX, &stored_count, err);
    if (rc == RC_OK)
        moved = !month_is(stored, stored_count, known, known_count);
    if (rc == RC_OK && !moved)
        rc = month_write(conn, tenant, month, at_ms, rows, count, err);
    if (conn != NULL)
        rc = sqlite_end(conn, rc, err);
    free(stored);
    if (rc == RC_OK)
        *ret_moved = moved;
    return rc;
}

static enum rc alerts_look(struct account *account, const char *tenant, uint32_t month,
                           const uint8_t percents[], uint32_t count, bool fresh[],
                           struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(account_db_of(account), &conn, err);
    if (rc != RC_OK)
        return rc;
    for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
        struct sqlite_stmt *stmt = sqlite_use(conn, STMT_ALERT_GET);
        sqlite_bind_text(stmt, 1, bytes_of(tenant));
        sqlite_bind_u64(stmt, 2, month);
        sqlite_bind_u64(stmt, 3, percents[i]);
        bool known = false;
        rc = sqlite_step(stmt, &known, err);
        fresh[i] = !known;
        sqlite_reset(stmt);
    }
    sqlite_read_end(conn);
    return rc;
}

enum rc sqlite_alerts_fresh(struct account *account, const char *tenant, uint32_t month,
                            enum alerts_how how, const uint8_t percents[], uint32_t count,
                            bool fresh[], struct error *err)
{
    if (how == ALERTS_LOOK)
        return alerts_look(account, tenant, month, percents, count, fresh, err);
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(account_db_of(account), DURABLE, &conn, err);
    for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
        struct sqlite_stmt *stmt = sqlite_use(conn, STMT_ALERT_MARK);
        sqlite_bind_text(stmt, 1, bytes_of(tenant));
        sqlite_bind_u64(stmt, 2, month);
        sqlite_bind_u64(stmt, 3, percents[i]);
        rc = sqlite_run(stmt, err);
        fresh[i] = rc == RC_OK && sqlite_changed(conn) == 1;
    }
    return conn == NULL ? rc : sqlite_end(conn, rc, err);
}
