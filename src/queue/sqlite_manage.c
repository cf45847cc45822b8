/* SPDX-License-Identifier: Apache-2.0
 * sqlite_manage.c - by name rather than by receipt: cancel, look up, the dead, numbers. */
#include "queue/sqlite_queue.h"

#include <string.h>

struct named_op {
    struct op op;
    const char *tenant;
    struct id id;
    uint64_t now_ms;
    enum rc outcome;
    enum job_state state;  /* purge: what to purge */
    uint32_t purged_count; /* purge */
};

static enum rc not_found(struct id id, struct error *err)
{
    char text[ID_TEXT_SIZE];
    id_text(id, text);
    return error_set(err, RC_NOT_FOUND, "there is no message %s", text);
}

/* The op's outcome is NOT_FOUND if there is none. */
static enum rc find_named(struct tx *tx, struct named_op *work, struct row *ret_row,
                          bool *ret_found, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_FIND);
    sqlite_bind_text(stmt, 1, bytes_of(work->tenant));
    sqlite_bind_id(stmt, 2, work->id);
    enum rc rc = row_find(stmt, ret_row, ret_found, err);
    if (rc == RC_OK)
        work->outcome = *ret_found ? RC_OK : not_found(work->id, work->op.err);
    return rc;
}

/* `statement` takes the row into work->state and leaves the rest of it. */
static enum rc change_state(struct tx *tx, const struct named_op *work, const struct row *row,
                            enum statement statement, int64_t ready_more, struct error *err)
{
    struct tenant_delta *delta;
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, statement);
    sqlite_bind_u64(stmt, 1, row->seq);
    sqlite_bind_u64(stmt, 2, work->state);
    sqlite_bind_u64(stmt, 3, work->now_ms);
    enum rc rc = sqlite_run(stmt, err);
    if (rc == RC_OK)
        rc = tx_delta(tx, row->tenant, &delta, err);
    if (rc == RC_OK) {
        delta->ready += ready_more;
        delta->counts[row->state]--;
        delta->counts[work->state]++;
    }
    return rc;
}

static enum rc run_named(struct queue *queue, struct named_op *work)
{
    enum rc rc = op_submit(sqlite_queue_of(queue), &work->op);
    return rc != RC_OK ? rc : work->outcome;
}

static enum rc cancel_run(struct tx *tx, struct op *op, struct error *err)
{
    struct named_op *work = (struct named_op *)op;
    struct row row;
    bool found;
    enum rc rc = find_named(tx, work, &row, &found, err);
    if (rc != RC_OK || !found)
        return rc;
    work->state = row.state;
    if (!job_next(row.state, JOB_EVENT_CANCEL, &work->state) || work->state == row.state)
        return RC_OK;
    if (work->state != JOB_CANCELLING)
        return row_move(tx, &row, work->state, 0, work->now_ms, NULL, err);
    /* The lease goes on as it was: only the state changes. */
    return change_state(tx, work, &row, S_CANCELLING, 0, err);
}

enum rc sqlite_queue_cancel(struct queue *queue, const char *tenant, struct id id, uint64_t now_ms,
                            enum job_state *ret_state, struct error *err)
{
    struct named_op work = {.op = {.run = cancel_run, .durability = DURABLE, .err = err},
                            .tenant = tenant,
                            .id = id,
                            .now_ms = now_ms};
    enum rc rc = run_named(queue, &work);
    *ret_state = work.state;
    return rc;
}

static enum rc revive_run(struct tx *tx, struct op *op, struct error *err)
{
    struct named_op *work = (struct named_op *)op;
    struct row row;
    bool found;
    enum rc rc = find_named(tx, work, &row, &found, err);
    if (rc != RC_OK || !found)
        return rc;
    if (!job_next(row.state, JOB_EVENT_REVIVE, &work->state)) {
        work->outcome = error_set(op->err, RC_INVALID, "the message is %s, not dead",
                                  job_state_text(row.state));
        return RC_OK;
    }
    return change_state(tx, work, &row, S_REVIVE, 1, err);
}

enum rc sqlite_queue_dead_retry(struct queue *queue, const char *tenant, struct id id,
                                uint64_t now_ms, struct error *err)
{
    struct named_op work = {.op = {.run = revive_run, .durability = DURABLE, .err = err},
                            .tenant = tenant,
                            .id = id,
                            .now_ms = now_ms};
    return run_named(queue, &work);
}

/* A part of what there is to purge, read before any of it is changed. */
#define PURGE_CHUNK 100u

static enum rc read_purge(struct tx *tx, const struct named_op *work, struct row rows[],
                          uint32_t *ret_count, struct error *err)
{
    bool more = false;
    *ret_count = 0;
    struct sqlite_stmt *stmt =
        sqlite_use(tx->conn, work->state == JOB_DEAD ? S_PURGE_DEAD : S_PURGE_WAITING);
    sqlite_bind_text(stmt, 1, bytes_of(work->tenant));
    enum rc rc = sqlite_step(stmt, &more, err);
    while (rc == RC_OK && more && *ret_count < PURGE_CHUNK) {
        rc = row_read(stmt, &rows[(*ret_count)++], err);
        if (rc == RC_OK)
            rc = sqlite_step(stmt, &more, err);
    }
    sqlite_reset(stmt);
    return rc;
}

static enum rc purge_run(struct tx *tx, struct op *op, struct error *err)
{
    struct named_op *work = (struct named_op *)op;
    struct row rows[PURGE_CHUNK];
    uint32_t count = PURGE_CHUNK;
    enum rc rc = RC_OK;
    work->purged_count = 0;
    while (rc == RC_OK && count == PURGE_CHUNK && work->purged_count < QUEUE_PURGE_MAX) {
        rc = read_purge(tx, work, rows, &count, err);
        for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
            enum job_state next = rows[i].state;
            if (work->state == JOB_DEAD)
                rc = row_forget(tx, &rows[i], err);
            else if (job_next(rows[i].state, JOB_EVENT_CANCEL, &next))
                rc = row_move(tx, &rows[i], next, 0, work->now_ms, NULL, err);
        }
        work->purged_count += count;
    }
    return rc;
}

enum rc sqlite_queue_purge(struct queue *queue, const char *tenant, enum job_state state,
                           uint64_t now_ms, uint32_t *ret_count, struct error *err)
{
    struct named_op work = {.op = {.run = purge_run, .durability = DURABLE, .err = err},
                            .tenant = tenant,
                            .state = state,
                            .now_ms = now_ms};
    enum rc rc = run_named(queue, &work);
    *ret_count = rc == RC_OK ? work.purged_count : 0;
    return rc;
}

/* The columns of S_GET and S_DEAD_LIST. */
static void info_read(struct sqlite_stmt *stmt, struct queue_info *info)
{
    struct bytes reason = sqlite_column_text(stmt, 5);
    uint64_t state = sqlite_column_u64(stmt, 1);
    *info = (struct queue_info){.id = sqlite_column_id(stmt, 0),
                                .state = state < JOB_STATE_COUNT ? (enum job_state)state : JOB_DEAD,
                                .delivery_count = (uint32_t)sqlite_column_u64(stmt, 2),
                                .pushed_ms = sqlite_column_u64(stmt, 3),
                                .changed_ms = sqlite_column_u64(stmt, 4)};
    if (reason.size > 0)
        (void)memcpy(info->reason, reason.data,
                     reason.size < QUEUE_REASON_SIZE ? reason.size : QUEUE_REASON_SIZE - 1);
}

enum rc sqlite_queue_get(struct queue *queue, const char *tenant, struct id id,
                         struct queue_info *ret_info, struct error *err)
{
    struct sqlite_conn *conn;
    bool found = false;
    enum rc rc = sqlite_read(sqlite_queue_of(queue)->db, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, S_GET);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    sqlite_bind_id(stmt, 2, id);
    rc = sqlite_step(stmt, &found, err);
    if (rc == RC_OK && found)
        info_read(stmt, ret_info);
    sqlite_read_end(conn);
    return rc == RC_OK && !found ? not_found(id, err) : rc;
}

enum rc sqlite_queue_dead_list(struct queue *queue, const char *tenant, const struct id *before,
                               uint32_t max, struct queue_info into[], uint32_t *ret_count,
                               struct error *err)
{
    /* Longer than any id, so above all of them. */
    uint8_t above[sizeof(struct id) + 1];
    (void)memset(above, 0xff, sizeof(above));
    struct sqlite_conn *conn;
    bool more = false;
    uint32_t count = 0;
    enum rc rc = sqlite_read(sqlite_queue_of(queue)->db, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, S_DEAD_LIST);
    sqlite_bind_text(stmt, 1, bytes_of(tenant));
    if (before != NULL)
        sqlite_bind_id(stmt, 2, *before);
    else
        sqlite_bind_blob(stmt, 2, (struct bytes){above, sizeof(above)});
    rc = sqlite_step(stmt, &more, err);
    while (rc == RC_OK && more && count < max) {
        info_read(stmt, &into[count++]);
        rc = sqlite_step(stmt, &more, err);
    }
    sqlite_read_end(conn);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

static enum rc oldest(struct sqlite_conn *conn, uint64_t now_ms, struct queue_stats *stats,
                      struct error *err)
{
    bool row = false;
    struct sqlite_stmt *stmt = sqlite_use(conn, S_OLDEST);
    sqlite_bind_text(stmt, 1, bytes_of(stats->tenant));
    sqlite_bind_u64(stmt, 2, now_ms);
    enum rc rc = sqlite_step(stmt, &row, err);
    if (rc == RC_OK && row)
        stats->oldest_pushed_ms = sqlite_column_u64(stmt, 0);
    sqlite_reset(stmt);
    return rc;
}

/* Rows of the STATS statements, first all of them, then the oldest of each. */
static enum rc stats_read(struct sqlite_conn *conn, struct sqlite_stmt *stmt, uint32_t max,
                          uint64_t now_ms, struct queue_stats into[], uint32_t *ret_count,
                          struct error *err)
{
    bool more = false;
    uint32_t count = 0;
    enum rc rc = sqlite_step(stmt, &more, err);
    while (rc == RC_OK && more && count < max) {
        struct queue_stats *stats = &into[count++];
        struct bytes name = sqlite_column_text(stmt, 0);
        *stats = (struct queue_stats){0};
        if (name.size > 0)
            (void)memcpy(stats->tenant, name.data,
                         name.size < QUEUE_TENANT_SIZE ? name.size : QUEUE_TENANT_SIZE - 1);
        for (int state = 0; state < JOB_STATE_COUNT; state++)
            stats->counts[state] = sqlite_column_u64(stmt, 1 + state);
        rc = sqlite_step(stmt, &more, err);
    }
    sqlite_reset(stmt);
    for (uint32_t i = 0; rc == RC_OK && i < count; i++)
        rc = oldest(conn, now_ms, &into[i], err);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

enum rc sqlite_queue_stats(struct queue *queue, const char *tenant, uint64_t now_ms,
                           struct queue_stats *ret_stats, struct error *err)
{
    struct sqlite_conn *conn;
    uint32_t count = 0;
    enum rc rc = sqlite_read(sqlite_queue_of(queue)->db, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, tenant != NULL ? S_STATS_ONE : S_STATS_ALL);
    if (tenant != NULL)
        sqlite_bind_text(stmt, 1, bytes_of(tenant));
    rc = stats_read(conn, stmt, 1, now_ms, ret_stats, &count, err);
    sqlite_read_end(conn);
    if (rc == RC_OK && count == 0) {
        *ret_stats = (struct queue_stats){0};
        (void)strncpy(ret_stats->tenant, tenant != NULL ? tenant : "", QUEUE_TENANT_SIZE - 1);
    }
    return rc;
}

enum rc sqlite_queue_tenants(struct queue *queue, const char *after, uint32_t max, uint64_t now_ms,
                             struct queue_stats into[], uint32_t *ret_count, struct error *err)
{
    struct sqlite_conn *conn;
    enum rc rc = sqlite_read(sqlite_queue_of(queue)->db, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, S_STATS_LIST);
    sqlite_bind_text(stmt, 1, bytes_of(after != NULL ? after : ""));
    rc = stats_read(conn, stmt, max, now_ms, into, ret_count, err);
    sqlite_read_end(conn);
    return rc;
}
