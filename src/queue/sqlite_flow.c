/* SPDX-License-Identifier: Apache-2.0
 * sqlite_flow.c - push and lease. */
#include "queue/sqlite_queue.h"

#include <string.h>

/* Bounds of what one lease does for others before it hands out. Forgetting keeps up because a call
 * forgets more than it can lease. */
#define DUE_MAX          256u
#define FORGET_PER_LEASE 2u
#define FORGET_MORE      16u

struct push_op {
    struct op op;
    const struct queue_message *messages;
    uint32_t count;
    uint64_t now_ms;
    enum rc *rcs;
};

/* A tenant's number and how many more messages it may have. */
static enum rc tenant_load(struct tx *tx, const char *name, int64_t *ret_no, int64_t *ret_room,
                           struct error *err)
{
    bool found = false;
    /* Its counts are the row's and the pending ones: the latter go in first. */
    enum rc rc = tx_flush(tx, err);
    for (int attempt = 0; rc == RC_OK && !found && attempt < 2; attempt++) {
        if (attempt > 0) {
            struct sqlite_stmt *add = sqlite_use(tx->conn, S_TENANT_ADD);
            sqlite_bind_text(add, 1, bytes_of(name));
            if ((rc = sqlite_run(add, err)) != RC_OK)
                break;
        }
        struct sqlite_stmt *find = sqlite_use(tx->conn, S_TENANT_FIND);
        sqlite_bind_text(find, 1, bytes_of(name));
        rc = sqlite_step(find, &found, err);
        if (rc == RC_OK && found) {
            *ret_no = sqlite_column_i64(find, 0);
            *ret_room = (int64_t)tx->queue->tenant_count_max - sqlite_column_i64(find, 1);
        }
        sqlite_reset(find);
    }
    if (rc == RC_OK && !found)
        rc = error_set(err, RC_INTERNAL, "the tenant '%s' cannot be added to the queue", name);
    return rc;
}

/* Whether the tenant has the id already: it may be pushed again although the backlog is full. */
static enum rc is_known(struct tx *tx, const struct queue_message *message, bool *ret_known,
                        struct error *err)
{
    struct row row;
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_FIND);
    sqlite_bind_text(stmt, 1, bytes_of(message->tenant));
    sqlite_bind_id(stmt, 2, message->id);
    return row_find(stmt, &row, ret_known, err);
}

static enum rc push_one(struct tx *tx, const struct queue_message *message, int64_t no,
                        uint64_t now_ms, bool *ret_added, struct error *err)
{
    bool later = message->not_before_ms > now_ms;
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_PUSH);
    sqlite_bind_i64(stmt, 1, no);
    sqlite_bind_id(stmt, 2, message->id);
    if (later)
        sqlite_bind_u64(stmt, 3, message->not_before_ms);
    sqlite_bind_u64(stmt, 4, now_ms);
    enum rc rc = sqlite_run(stmt, err);
    *ret_added = rc == RC_OK && sqlite_changed(tx->conn) > 0;
    if (!*ret_added)
        return rc;
    stmt = sqlite_use(tx->conn, S_PAYLOAD_ADD);
    sqlite_bind_u64(stmt, 1, sqlite_last_row(tx->conn));
    sqlite_bind_blob(stmt, 2, message->payload);
    rc = sqlite_run(stmt, err);
    struct tenant_delta *delta;
    if (rc == RC_OK)
        rc = tx_delta(tx, no, &delta, err);
    if (rc == RC_OK) {
        delta->counts[JOB_QUEUED]++;
        delta->ready += !later;
    }
    return rc;
}

static enum rc push_run(struct tx *tx, struct op *op, struct error *err)
{
    struct push_op *push = (struct push_op *)op;
    const char *tenant = NULL;
    int64_t no = 0;
    int64_t room = 0;
    enum rc rc = RC_OK;
    for (uint32_t i = 0; rc == RC_OK && i < push->count; i++) {
        const struct queue_message *message = &push->messages[i];
        bool added = false;
        push->rcs[i] = RC_OK;
        if (tenant == NULL || strcmp(tenant, message->tenant) != 0) {
            rc = tenant_load(tx, message->tenant, &no, &room, err);
            tenant = message->tenant;
        }
        if (rc == RC_OK && room <= 0) {
            rc = is_known(tx, message, &added, err);
            if (rc == RC_OK && !added)
                push->rcs[i] = error_set(push->op.err, RC_BUSY,
                                         "the tenant '%s' has %u messages waiting; try again later",
                                         message->tenant, tx->queue->tenant_count_max);
            continue;
        }
        if (rc == RC_OK)
            rc = push_one(tx, message, no, push->now_ms, &added, err);
        room -= added;
    }
    return rc;
}

enum rc sqlite_queue_push(struct queue *queue, const struct queue_message messages[],
                          uint32_t count, uint64_t now_ms, enum rc ret_rcs[], struct error *err)
{
    struct push_op push = {.op = {.run = push_run, .durability = DURABLE, .err = err},
                           .messages = messages,
                           .count = count,
                           .now_ms = now_ms,
                           .rcs = ret_rcs};
    return op_submit(sqlite_queue_of(queue), &push.op);
}

struct lease_op {
    struct op op;
    uint32_t count_max;
    uint64_t lease_ms;
    uint64_t now_ms;
    struct queue_leased *leased;
};

/* Rows of S_DUE or S_FORGET_DUE, all read before any is changed: they come from the index that
 * changes. */
static enum rc read_due(struct sqlite_stmt *stmt, uint64_t now_ms, uint32_t max, struct row rows[],
                        uint32_t *ret_count, struct error *err)
{
    bool more = true;
    *ret_count = 0;
    sqlite_bind_u64(stmt, 1, now_ms);
    enum rc rc = sqlite_step(stmt, &more, err);
    while (rc == RC_OK && more && *ret_count < max) {
        rc = row_read(stmt, &rows[(*ret_count)++], err);
        if (rc == RC_OK)
            rc = sqlite_step(stmt, &more, err);
    }
    sqlite_reset(stmt);
    return rc;
}

/* A delay is over, or a lease has run out. */
static enum rc fall_due(struct tx *tx, const struct row *row, uint64_t now_ms, struct error *err)
{
    enum job_state next;
    struct tenant_delta *delta;
    uint32_t max = tx->queue->delivery_count_max;
    if (job_next(row->state, job_expiry(row->delivery_count, max), &next)) {
        struct error why;
        error_set_at(&why, RC_DEADLINE, __func__,
                     "the lease of delivery %u of %u ran out: its worker died or was too slow",
                     row->delivery_count, max);
        return row_move(tx, row, next, 0, now_ms, why.text, err);
    }
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_DUE_SET);
    sqlite_bind_u64(stmt, 1, row->seq);
    enum rc rc = sqlite_run(stmt, err);
    if (rc == RC_OK)
        rc = tx_delta(tx, row->tenant, &delta, err);
    if (rc == RC_OK)
        delta->ready++;
    return rc;
}

static enum rc do_due(struct tx *tx, const struct lease_op *lease, struct error *err)
{
    struct row rows[DUE_MAX];
    uint32_t count = 0;
    uint32_t forget_max = lease->count_max * FORGET_PER_LEASE + FORGET_MORE;
    enum rc rc = read_due(sqlite_use(tx->conn, S_DUE), lease->now_ms, DUE_MAX, rows, &count, err);
    for (uint32_t i = 0; rc == RC_OK && i < count; i++)
        rc = fall_due(tx, &rows[i], lease->now_ms, err);
    if (rc == RC_OK)
        rc = read_due(sqlite_use(tx->conn, S_FORGET_DUE), lease->now_ms, forget_max, rows, &count,
                      err);
    for (uint32_t i = 0; rc == RC_OK && i < count; i++)
        rc = row_forget(tx, &rows[i], err);
    return rc;
}

struct turn {
    int64_t no;
    uint64_t ready;
    uint32_t quota;
    char name[QUEUE_TENANT_SIZE];
};

/* The tenants whose turn it is, and one place after the other dealt out between them. */
static enum rc deal(struct tx *tx, uint32_t count_max, struct turn turns[], uint32_t *ret_count,
                    struct error *err)
{
    bool more = true;
    uint32_t count = 0;
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_TENANT_TURNS);
    enum rc rc = sqlite_step(stmt, &more, err);
    while (rc == RC_OK && more && count < count_max) {
        struct bytes name = sqlite_column_text(stmt, 1);
        struct turn *turn = &turns[count++];
        *turn =
            (struct turn){.no = sqlite_column_i64(stmt, 0), .ready = sqlite_column_u64(stmt, 2)};
        (void)memcpy(turn->name, name.data,
                     name.size < QUEUE_TENANT_SIZE ? name.size : QUEUE_TENANT_SIZE - 1);
        rc = sqlite_step(stmt, &more, err);
    }
    sqlite_reset(stmt);
    *ret_count = count;
    for (uint32_t left = count_max, dealt = 1; left > 0 && dealt > 0;) {
        dealt = 0;
        for (uint32_t i = 0; i < count && left > 0; i++)
            if (turns[i].quota < turns[i].ready) {
                turns[i].quota++;
                dealt++;
                left--;
            }
    }
    return rc;
}

/* Copies what one tenant gets. *ret_full: the payloads of this lease have reached their limit. */
static enum rc read_ready(struct tx *tx, const struct lease_op *lease, const struct turn *turn,
                          struct row rows[], bool *ret_full, struct error *err)
{
    struct queue_leased *leased = lease->leased;
    bool more = false;
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_READY);
    sqlite_bind_i64(stmt, 1, turn->no);
    enum rc rc = sqlite_step(stmt, &more, err);
    for (uint32_t left = turn->quota; rc == RC_OK && more && left > 0; left--) {
        struct queue_delivery *item;
        struct row *row = &rows[leased->count];
        enum rc added = queue_leased_add(leased, sqlite_column_blob(stmt, 5), &item);
        if (added == RC_TOO_LARGE) {
            *ret_full = true;
            break;
        }
        if (added != RC_OK) {
            rc = error_set(err, added, "leasing %u messages", lease->count_max);
            break;
        }
        *row = (struct row){.seq = sqlite_column_u64(stmt, 0),
                            .tenant = turn->no,
                            .state = (enum job_state)sqlite_column_u64(stmt, 2)};
        item->receipt.id = sqlite_column_id(stmt, 1);
        item->receipt.token[0] = row->seq;
        item->delivery_count = (uint32_t)sqlite_column_u64(stmt, 3) + 1;
        item->pushed_ms = sqlite_column_u64(stmt, 4);
        item->lease_until_ms = lease->now_ms + lease->lease_ms;
        (void)memcpy(item->tenant, turn->name, sizeof(item->tenant));
        rc = sqlite_step(stmt, &more, err);
    }
    sqlite_reset(stmt);
    return rc;
}

static enum rc take(struct tx *tx, const struct lease_op *lease, const struct row *row,
                    uint64_t token, struct error *err)
{
    enum job_state next;
    struct tenant_delta *delta;
    if (row->state >= JOB_STATE_COUNT || !job_next(row->state, JOB_EVENT_LEASE, &next))
        return error_set(err, RC_INTERNAL,
                         "the queue has a ready message in state %d; run imago doctor",
                         (int)row->state);
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_LEASE);
    sqlite_bind_u64(stmt, 1, row->seq);
    sqlite_bind_u64(stmt, 2, next);
    sqlite_bind_u64(stmt, 3, lease->now_ms + lease->lease_ms);
    sqlite_bind_u64(stmt, 4, token);
    sqlite_bind_u64(stmt, 5, lease->now_ms);
    enum rc rc = sqlite_run(stmt, err);
    if (rc == RC_OK)
        rc = tx_delta(tx, row->tenant, &delta, err);
    if (rc == RC_OK) {
        delta->turn = token;
        delta->ready--;
        delta->counts[row->state]--;
        delta->counts[next]++;
    }
    return rc;
}

/* A number that no lease of this file had before: receipts are told apart by it, and turns ordered.
 */
static enum rc next_turn(struct tx *tx, uint64_t *ret_turn, struct error *err)
{
    bool row = false;
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_TURN_NEXT);
    enum rc rc = sqlite_step(stmt, &row, err);
    if (rc == RC_OK && row)
        *ret_turn = sqlite_column_u64(stmt, 0);
    sqlite_reset(stmt);
    if (rc == RC_OK && !row)
        rc = error_set(err, RC_INTERNAL, "the table queue_turn is empty; run imago doctor");
    return rc;
}

static enum rc lease_run(struct tx *tx, struct op *op, struct error *err)
{
    struct lease_op *lease = (struct lease_op *)op;
    struct queue_leased *leased = lease->leased;
    struct turn turns[QUEUE_LEASE_COUNT_MAX];
    struct row rows[QUEUE_LEASE_COUNT_MAX] = {0};
    uint32_t turn_count = 0;
    uint64_t token = 0;
    bool full = false;
    leased->count = 0;
    buf_clear(&leased->payloads);
    enum rc rc = do_due(tx, lease, err);
    if (rc == RC_OK)
        rc = tx_flush(tx, err);
    if (rc == RC_OK)
        rc = deal(tx, lease->count_max, turns, &turn_count, err);
    if (rc != RC_OK || turn_count == 0)
        return rc;
    rc = next_turn(tx, &token, err);
    for (uint32_t i = 0; rc == RC_OK && !full && i < turn_count; i++)
        rc = read_ready(tx, lease, &turns[i], rows, &full, err);
    for (uint32_t i = 0; rc == RC_OK && i < leased->count; i++) {
        leased->items[i].receipt.token[1] = token;
        rc = take(tx, lease, &rows[i], token, err);
    }
    return rc;
}

enum rc sqlite_queue_lease(struct queue *queue, uint32_t count_max, uint64_t lease_ms,
                           uint64_t now_ms, struct queue_leased *leased, struct error *err)
{
    struct lease_op lease = {.op = {.run = lease_run, .durability = ORDERED, .err = err},
                             .count_max = count_max,
                             .lease_ms = lease_ms,
                             .now_ms = now_ms,
                             .leased = leased};
    return op_submit(sqlite_queue_of(queue), &lease.op);
}
