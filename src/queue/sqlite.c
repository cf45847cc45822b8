/* SPDX-License-Identifier: Apache-2.0
 * sqlite.c - the embedded driver: opening, the shared transactions, the counts.
 *
 * Every message is a row whose due_ms says when something is to happen to it: NULL, it is ready to
 * be leased; else a queued or failed one becomes ready then, a lease ends then, an ended one is
 * forgotten then. queue_lease() does what has fallen due before it hands out. Each tenant has a row
 * with its counts and its last turn: that is fairness and statistics without counting messages.
 *
 * Commits: a thread that finds nobody committing takes what all threads want at that moment into
 * one transaction; those that come while it commits are the next one. So an fsync is shared by
 * whoever would have waited for it, and nothing is delayed for the sake of sharing.
 *
 * Durability: pushes, cancellations and what operators do are on the disk before the call returns.
 * Leases, extensions, acks and failures survive kill -9 but cost no fsync: if power is lost they
 * may be too, which is a further delivery. */
#include "queue/sqlite_queue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(JOB_QUEUED == 0 && JOB_CANCELLING == 2 && JOB_FAILED == 3 && JOB_DONE == 4 &&
                   JOB_DEAD == 5 && JOB_STATE_COUNT == 7,
               "sqlite_statements.def and the migrations have these numbers");
_Static_assert(QUEUE_LEASE_COUNT_MAX <= 64 && QUEUE_LIST_MAX <= 100,
               "sqlite_statements.def limits what it selects");

static const char *const statements[] = {
#define STATEMENT(name, sql) [S_##name] = (sql),
#include "queue/sqlite_statements.def"
#undef STATEMENT
};

static const char *const migrations[] = {
    "CREATE TABLE queue_tenant(no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " turn INTEGER NOT NULL DEFAULT 0, ready INTEGER NOT NULL DEFAULT 0,"
    " queued INTEGER NOT NULL DEFAULT 0, leased INTEGER NOT NULL DEFAULT 0,"
    " cancelling INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,"
    " done INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0,"
    " cancelled INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX queue_tenant_turn ON queue_tenant(turn, no) WHERE ready > 0;"
    "CREATE TABLE queue_turn(last INTEGER NOT NULL) STRICT;"
    "INSERT INTO queue_turn VALUES(0);"
    "CREATE TABLE queue_message(seq INTEGER PRIMARY KEY, tenant INTEGER NOT NULL,"
    " id BLOB NOT NULL, state INTEGER NOT NULL, due_ms INTEGER, token INTEGER NOT NULL,"
    " delivery_count INTEGER NOT NULL, pushed_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL,"
    " reason TEXT, UNIQUE(tenant, id)) STRICT;"
    "CREATE INDEX queue_message_ready ON queue_message(tenant) WHERE due_ms IS NULL;"
    "CREATE INDEX queue_message_due ON queue_message(due_ms)"
    " WHERE due_ms IS NOT NULL AND state < 4;"
    "CREATE INDEX queue_message_forget ON queue_message(due_ms)"
    " WHERE due_ms IS NOT NULL AND state >= 4;"
    "CREATE INDEX queue_message_dead ON queue_message(tenant, id) WHERE state = 5;"
    "CREATE TABLE queue_payload(seq INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT;",
};

struct sqlite_queue *sqlite_queue_of(struct queue *queue)
{
    assert(queue->ops == &queue_sqlite);
    return (struct sqlite_queue *)queue;
}

static void sqlite_queue_free(struct queue *base)
{
    struct sqlite_queue *queue = (struct sqlite_queue *)base;
    sqlite_free(queue->db);
    (void)pthread_cond_destroy(&queue->round_over);
    (void)pthread_mutex_destroy(&queue->lock);
    free(queue);
}

static enum rc sqlite_queue_open(const struct queue_config *config, struct queue **ret_queue,
                                 struct error *err)
{
    const struct sqlite_config sqlite_config = {
        .url = config->url,
        .module = "queue",
        .migrations = migrations,
        .migration_count = sizeof(migrations) / sizeof(migrations[0]),
        .statements = statements,
        .statement_count = STATEMENT_COUNT,
    };
    struct sqlite_queue *queue = calloc(1, sizeof(*queue));
    if (queue == NULL)
        return error_set(err, RC_NO_MEMORY, "opening '%s'", config->url);
    enum rc rc = sqlite_open(&sqlite_config, &queue->db, err);
    if (rc == RC_OK && (pthread_mutex_init(&queue->lock, NULL) != 0 ||
                        pthread_cond_init(&queue->round_over, NULL) != 0))
        rc = error_set(err, RC_NO_MEMORY, "opening '%s'", config->url);
    if (rc != RC_OK) {
        sqlite_free(queue->db);
        free(queue);
        return rc;
    }
    queue->delivery_count_max = config->delivery_count_max;
    queue->tenant_count_max = config->tenant_count_max;
    queue->retention_ms = config->retention_ms;
    queue->dead_retention_ms = config->dead_retention_ms;
    queue->last = &queue->first;
    *ret_queue = &queue->base;
    return RC_OK;
}

/* *ret_spoiled: it failed because of one of the operations, not as a transaction. */
static enum rc run_all(struct sqlite_queue *queue, struct op *ops, enum durability durability,
                       bool *ret_spoiled, struct error *err)
{
    struct tx tx = {.queue = queue};
    *ret_spoiled = false;
    enum rc rc = sqlite_write(queue->db, durability, &tx.conn, err);
    if (rc != RC_OK)
        return rc;
    for (struct op *op = ops; rc == RC_OK && op != NULL; op = op->next)
        rc = op->run(&tx, op, err);
    *ret_spoiled = rc != RC_OK;
    if (rc == RC_OK)
        rc = tx_flush(&tx, err);
    return sqlite_end(tx.conn, rc, err);
}

static void run_round(struct sqlite_queue *queue, struct op *ops)
{
    assert(ops != NULL); /* its caller is among them */
    bool spoiled = false;
    enum durability durability = ORDERED;
    for (struct op *op = ops; op != NULL; op = op->next)
        if (op->durability == DURABLE)
            durability = DURABLE;
    struct error err = {0};
    enum rc rc = run_all(queue, ops, durability, &spoiled, &err);
    bool alone = spoiled && ops->next != NULL;
    for (struct op *op = ops; op != NULL; op = op->next) {
        /* One of several spoiled it: each by itself, so that it takes only itself down. */
        struct op *next = op->next;
        op->next = NULL;
        op->rc = alone ? run_all(queue, op, op->durability, &spoiled, &err) : rc;
        if (op->rc != RC_OK && op->err != NULL)
            *op->err = err;
        op->next = next;
    }
}

enum rc op_submit(struct sqlite_queue *queue, struct op *op)
{
    op->next = NULL;
    op->finished = false;
    (void)pthread_mutex_lock(&queue->lock);
    *queue->last = op;
    queue->last = &op->next;
    while (!op->finished && queue->leading)
        (void)pthread_cond_wait(&queue->round_over, &queue->lock);
    if (!op->finished) {
        struct op *round = queue->first;
        queue->first = NULL;
        queue->last = &queue->first;
        queue->leading = true;
        (void)pthread_mutex_unlock(&queue->lock);
        run_round(queue, round);
        (void)pthread_mutex_lock(&queue->lock);
        /* A finished operation's owner may be gone as soon as the lock is. */
        while (round != NULL) {
            struct op *next = round->next;
            round->finished = true;
            round = next;
        }
        queue->leading = false;
        (void)pthread_cond_broadcast(&queue->round_over);
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return op->rc;
}

enum rc tx_flush(struct tx *tx, struct error *err)
{
    enum rc rc = RC_OK;
    for (uint32_t i = 0; rc == RC_OK && i < tx->delta_count; i++) {
        const struct tenant_delta *delta = &tx->deltas[i];
        struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_TENANT_COUNT);
        sqlite_bind_i64(stmt, 1, delta->no);
        sqlite_bind_u64(stmt, 2, delta->turn);
        sqlite_bind_i64(stmt, 3, delta->ready);
        for (int state = 0; state < JOB_STATE_COUNT; state++)
            sqlite_bind_i64(stmt, 4 + state, delta->counts[state]);
        rc = sqlite_run(stmt, err);
    }
    tx->delta_count = 0;
    return rc;
}

enum rc tx_delta(struct tx *tx, int64_t no, struct tenant_delta **ret_delta, struct error *err)
{
    for (uint32_t i = 0; i < tx->delta_count; i++) {
        *ret_delta = &tx->deltas[i];
        if (tx->deltas[i].no == no)
            return RC_OK;
    }
    enum rc rc = tx->delta_count == DELTA_MAX ? tx_flush(tx, err) : RC_OK;
    if (rc != RC_OK)
        return rc;
    *ret_delta = &tx->deltas[tx->delta_count++];
    **ret_delta = (struct tenant_delta){.no = no};
    return RC_OK;
}

enum rc row_read(struct sqlite_stmt *stmt, struct row *ret_row, struct error *err)
{
    uint64_t state = sqlite_column_u64(stmt, 2);
    if (state >= JOB_STATE_COUNT)
        return error_set(err, RC_INTERNAL,
                         "the queue has a message in state %llu; run imago doctor",
                         (unsigned long long)state);
    *ret_row = (struct row){.seq = sqlite_column_u64(stmt, 0),
                            .tenant = sqlite_column_i64(stmt, 1),
                            .state = (enum job_state)state,
                            .delivery_count = (uint32_t)sqlite_column_u64(stmt, 3),
                            .ready = sqlite_column_i64(stmt, 4) != 0,
                            .token = sqlite_column_u64(stmt, 5)};
    return RC_OK;
}

enum rc row_find(struct sqlite_stmt *stmt, struct row *ret_row, bool *ret_found, struct error *err)
{
    enum rc rc = sqlite_step(stmt, ret_found, err);
    if (rc == RC_OK && *ret_found)
        rc = row_read(stmt, ret_row, err);
    sqlite_reset(stmt);
    return rc;
}

enum rc row_payload_delete(struct tx *tx, uint64_t seq, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_PAYLOAD_DELETE);
    sqlite_bind_u64(stmt, 1, seq);
    return sqlite_run(stmt, err);
}

enum rc row_move(struct tx *tx, const struct row *row, enum job_state next, uint64_t due_ms,
                 uint64_t now_ms, const char *reason, struct error *err)
{
    struct tenant_delta *delta;
    enum rc rc = tx_delta(tx, row->tenant, &delta, err);
    if (rc != RC_OK)
        return rc;
    if (next == JOB_DEAD)
        due_ms = now_ms + tx->queue->dead_retention_ms;
    else if (job_state_at_rest(next))
        due_ms = now_ms + tx->queue->retention_ms;
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, reason != NULL ? S_MOVE_WHY : S_MOVE);
    sqlite_bind_u64(stmt, 1, row->seq);
    sqlite_bind_u64(stmt, 2, next);
    if (due_ms != 0)
        sqlite_bind_u64(stmt, 3, due_ms);
    sqlite_bind_u64(stmt, 4, now_ms);
    if (reason != NULL)
        sqlite_bind_text(stmt, 5, bytes_of(reason));
    rc = sqlite_run(stmt, err);
    if (rc == RC_OK && job_state_at_rest(next) && next != JOB_DEAD)
        rc = row_payload_delete(tx, row->seq, err);
    delta->counts[row->state]--;
    delta->counts[next]++;
    delta->ready += (due_ms == 0) - row->ready;
    return rc;
}

enum rc row_forget(struct tx *tx, const struct row *row, struct error *err)
{
    struct tenant_delta *delta;
    enum rc rc = tx_delta(tx, row->tenant, &delta, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_FORGET);
    sqlite_bind_u64(stmt, 1, row->seq);
    rc = sqlite_run(stmt, err);
    if (rc == RC_OK && row->state == JOB_DEAD)
        rc = row_payload_delete(tx, row->seq, err);
    delta->counts[row->state]--;
    return rc;
}

static enum rc sqlite_queue_backup(struct queue *queue, const char *path, struct error *err)
{
    return sqlite_backup(sqlite_queue_of(queue)->db, path, err);
}

static enum rc sqlite_queue_check(struct queue *queue, bool full, struct error *err)
{
    return sqlite_check(sqlite_queue_of(queue)->db, full, err);
}

const struct queue_ops queue_sqlite = {
    .scheme = "sqlite:",
    .traits = {.service_clock = false},
    .open = sqlite_queue_open,
    .free = sqlite_queue_free,
    .push = sqlite_queue_push,
    .lease = sqlite_queue_lease,
    .extend = sqlite_queue_extend,
    .ack = sqlite_queue_ack,
    .fail = sqlite_queue_fail,
    .release = sqlite_queue_release,
    .cancel = sqlite_queue_cancel,
    .get = sqlite_queue_get,
    .dead_list = sqlite_queue_dead_list,
    .dead_retry = sqlite_queue_dead_retry,
    .purge = sqlite_queue_purge,
    .stats = sqlite_queue_stats,
    .tenants = sqlite_queue_tenants,
    .backup = sqlite_queue_backup,
    .check = sqlite_queue_check,
};
