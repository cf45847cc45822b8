/* SPDX-License-Identifier: Apache-2.0
 * sqlite_receipt.c - what the holder of a receipt does: extend, ack, fail, release. */
#include "queue/sqlite_queue.h"

struct receipt_op {
    struct op op;
    const struct queue_receipt *receipts;
    uint32_t count;
    uint64_t now_ms;
    uint64_t until_ms; /* extend; fail: when to try again, 0 for never; release: not before */
    const char *reason;
    enum rc *rcs;
    enum job_state state; /* after a failure or a release */
};

static enum rc gone(struct receipt_op *work, uint32_t index)
{
    char id[ID_TEXT_SIZE];
    id_text(work->receipts[index].id, id);
    return error_set(work->op.err, RC_GONE,
                     "message %s is no longer held by this receipt: the lease ran out", id);
}

/* The message of receipt `index`. Not held: it belongs to a later delivery, or to nobody any more.
 */
static enum rc find_held(struct tx *tx, const struct receipt_op *work, uint32_t index,
                         struct row *ret_row, bool *ret_held, struct error *err)
{
    const struct queue_receipt *receipt = &work->receipts[index];
    struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_HELD);
    sqlite_bind_u64(stmt, 1, receipt->token[0]);
    sqlite_bind_id(stmt, 2, receipt->id);
    enum rc rc = row_find(stmt, ret_row, ret_held, err);
    if (rc == RC_OK && *ret_held)
        *ret_held = ret_row->token == receipt->token[1];
    return rc;
}

static enum rc extend_run(struct tx *tx, struct op *op, struct error *err)
{
    struct receipt_op *work = (struct receipt_op *)op;
    enum rc rc = RC_OK;
    for (uint32_t i = 0; rc == RC_OK && i < work->count; i++) {
        struct row row = {.state = JOB_QUEUED};
        bool held;
        work->rcs[i] = RC_OK;
        rc = find_held(tx, work, i, &row, &held, err);
        if (rc != RC_OK)
            break;
        if (held && (row.state == JOB_CANCELLING || row.state == JOB_CANCELLED)) {
            work->rcs[i] = error_set(op->err, RC_CANCELLED, "the message has been cancelled");
        } else if (held && row.state == JOB_LEASED) {
            struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_DUE_SET);
            sqlite_bind_u64(stmt, 1, row.seq);
            sqlite_bind_u64(stmt, 2, work->until_ms);
            rc = sqlite_run(stmt, err);
        } else {
            work->rcs[i] = gone(work, i);
        }
    }
    return rc;
}

enum rc sqlite_queue_extend(struct queue *queue, const struct queue_receipt receipts[],
                            uint32_t count, uint64_t until_ms, uint64_t now_ms, enum rc ret_rcs[],
                            struct error *err)
{
    struct receipt_op work = {.op = {.run = extend_run, .durability = ORDERED, .err = err},
                              .receipts = receipts,
                              .count = count,
                              .until_ms = until_ms,
                              .now_ms = now_ms,
                              .rcs = ret_rcs};
    return op_submit(sqlite_queue_of(queue), &work.op);
}

static enum rc ack_run(struct tx *tx, struct op *op, struct error *err)
{
    struct receipt_op *work = (struct receipt_op *)op;
    enum rc rc = RC_OK;
    for (uint32_t i = 0; rc == RC_OK && i < work->count; i++) {
        struct row row = {.state = JOB_QUEUED};
        enum job_state next;
        bool held;
        work->rcs[i] = RC_OK;
        rc = find_held(tx, work, i, &row, &held, err);
        if (rc != RC_OK)
            break;
        if (held && job_next(row.state, JOB_EVENT_ACK, &next))
            rc = row_move(tx, &row, next, 0, work->now_ms, NULL, err);
        else if (!held || row.state != JOB_DONE) /* done by this receipt: the answer got lost */
            work->rcs[i] = gone(work, i);
    }
    return rc;
}

enum rc sqlite_queue_ack(struct queue *queue, const struct queue_receipt receipts[], uint32_t count,
                         uint64_t now_ms, enum rc ret_rcs[], struct error *err)
{
    struct receipt_op work = {.op = {.run = ack_run, .durability = ORDERED, .err = err},
                              .receipts = receipts,
                              .count = count,
                              .now_ms = now_ms,
                              .rcs = ret_rcs};
    return op_submit(sqlite_queue_of(queue), &work.op);
}

static enum rc fail_run(struct tx *tx, struct op *op, struct error *err)
{
    struct receipt_op *work = (struct receipt_op *)op;
    struct row row = {.state = JOB_QUEUED};
    bool held;
    work->rcs[0] = RC_OK;
    enum rc rc = find_held(tx, work, 0, &row, &held, err);
    if (rc != RC_OK)
        return rc;
    enum job_event event =
        job_failure(row.delivery_count, tx->queue->delivery_count_max, work->until_ms != 0);
    work->state = row.state;
    if (held && job_next(row.state, event, &work->state)) {
        /* Already time to try again: ready rather than due, so that it needs no second change. */
        uint64_t due_ms = work->until_ms > work->now_ms ? work->until_ms : 0;
        return row_move(tx, &row, work->state, due_ms, work->now_ms, work->reason, err);
    }
    /* Failed, given up or cancelled by this receipt already: the answer got lost. */
    if (!held || row.state == JOB_QUEUED || row.state == JOB_DONE)
        work->rcs[0] = gone(work, 0);
    return RC_OK;
}

/* With one receipt. */
static enum rc submit_one(struct queue *queue, struct receipt_op *work, enum job_state *ret_state)
{
    enum rc outcome = RC_OK;
    work->rcs = &outcome;
    enum rc rc = op_submit(sqlite_queue_of(queue), &work->op);
    work->rcs = NULL;
    if (rc == RC_OK && outcome == RC_OK)
        *ret_state = work->state;
    return rc != RC_OK ? rc : outcome;
}

enum rc sqlite_queue_fail(struct queue *queue, const struct queue_receipt *receipt,
                          const char *reason, uint64_t retry_at_ms, uint64_t now_ms,
                          enum job_state *ret_state, struct error *err)
{
    struct receipt_op work = {.op = {.run = fail_run, .durability = ORDERED, .err = err},
                              .receipts = receipt,
                              .count = 1,
                              .until_ms = retry_at_ms,
                              .now_ms = now_ms,
                              .reason = reason};
    return submit_one(queue, &work, ret_state);
}

static enum rc release_run(struct tx *tx, struct op *op, struct error *err)
{
    struct receipt_op *work = (struct receipt_op *)op;
    struct row row = {.state = JOB_QUEUED};
    bool held;
    work->rcs[0] = RC_OK;
    enum rc rc = find_held(tx, work, 0, &row, &held, err);
    if (rc != RC_OK)
        return rc;
    work->state = row.state;
    if (held && job_next(row.state, JOB_EVENT_RELEASE, &work->state)) {
        struct sqlite_stmt *stmt = sqlite_use(tx->conn, S_UNCOUNT);
        sqlite_bind_u64(stmt, 1, row.seq);
        rc = sqlite_run(stmt, err);
        uint64_t due_ms = work->until_ms > work->now_ms ? work->until_ms : 0;
        return rc == RC_OK ? row_move(tx, &row, work->state, due_ms, work->now_ms, NULL, err) : rc;
    }
    /* Released or cancelled by this receipt already: the answer got lost. */
    if (!held || (row.state != JOB_QUEUED && row.state != JOB_CANCELLED))
        work->rcs[0] = gone(work, 0);
    return RC_OK;
}

enum rc sqlite_queue_release(struct queue *queue, const struct queue_receipt *receipt,
                             uint64_t at_ms, uint64_t now_ms, enum job_state *ret_state,
                             struct error *err)
{
    struct receipt_op work = {.op = {.run = release_run, .durability = ORDERED, .err = err},
                              .receipts = receipt,
                              .count = 1,
                              .until_ms = at_ms,
                              .now_ms = now_ms};
    return submit_one(queue, &work, ret_state);
}
