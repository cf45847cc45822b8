/* SPDX-License-Identifier: Apache-2.0
 * sqlite_queue.h - what the files of the SQLite driver share. How it works: sqlite.c. */
#ifndef QUEUE_SQLITE_QUEUE_H
#define QUEUE_SQLITE_QUEUE_H
#include "queue/driver.h"
#include "sqlite/sqlite.h"

enum statement {
#define STATEMENT(name, sql) S_##name,
#include "queue/sqlite_statements.def"
#undef STATEMENT
    STATEMENT_COUNT
};

/* What one transaction changes in a tenant's counts, written once at its end. */
struct tenant_delta {
    int64_t no;
    uint64_t turn; /* 0: had none */
    int64_t ready;
    int64_t counts[JOB_STATE_COUNT];
};

#define DELTA_MAX 32

/* One transaction. */
struct tx {
    struct sqlite_queue *queue;
    struct sqlite_conn *conn;
    uint32_t delta_count;
    struct tenant_delta deltas[DELTA_MAX];
};

/* Work for a transaction, on the stack of the thread that wants it done. `run` may be called again
 * after a rollback. It returns only what must undo the transaction; an item's own failure is a
 * result. */
struct op {
    enum rc (*run)(struct tx *tx, struct op *op, struct error *err);
    enum durability durability;
    struct error *err;
    enum rc rc;
    bool finished;
    struct op *next;
};

struct sqlite_queue {
    struct queue base;
    struct sqlite *db;
    uint32_t delivery_count_max;
    uint32_t tenant_count_max;
    uint64_t retention_ms;
    uint64_t dead_retention_ms;

    pthread_mutex_t lock;
    pthread_cond_t round_over;
    bool leading; /* a thread is committing for the others */
    struct op *first, **last;
};

struct sqlite_queue *sqlite_queue_of(struct queue *queue);
/* Run it in a transaction together with whatever other threads want at that moment. */
NODISCARD enum rc op_submit(struct sqlite_queue *queue, struct op *op);

/* The delta of tenant `no`, valid until the next call of this. */
NODISCARD enum rc tx_delta(struct tx *tx, int64_t no, struct tenant_delta **ret_delta,
                           struct error *err);
NODISCARD enum rc tx_flush(struct tx *tx, struct error *err);

/* One message as a transaction found it. */
struct row {
    uint64_t seq;
    int64_t tenant;
    enum job_state state;
    uint32_t delivery_count;
    bool ready; /* it could be leased: no due time */
    uint64_t token;
};
/* Columns 0..5 of the statements that select rows. INTERNAL: the state is none of ours. */
NODISCARD enum rc row_read(struct sqlite_stmt *stmt, struct row *ret_row, struct error *err);
/* By receipt (S_HELD) or name (S_FIND), already bound. */
NODISCARD enum rc row_find(struct sqlite_stmt *stmt, struct row *ret_row, bool *ret_found,
                           struct error *err);
/* Into state `next`; `due_ms` 0: ready, if it waits. Ends of life set their own due time and drop
 * the payload. reason NULL: keep. */
NODISCARD enum rc row_move(struct tx *tx, const struct row *row, enum job_state next,
                           uint64_t due_ms, uint64_t now_ms, const char *reason, struct error *err);
NODISCARD enum rc row_forget(struct tx *tx, const struct row *row, struct error *err);
NODISCARD enum rc row_payload_delete(struct tx *tx, uint64_t seq, struct error *err);

/* The driver's functions, for the table in sqlite.c. */
enum rc sqlite_queue_push(struct queue *queue, const struct queue_message messages[],
                          uint32_t count, uint64_t now_ms, enum rc ret_rcs[], struct error *err);
enum rc sqlite_queue_lease(struct queue *queue, uint32_t count_max, uint64_t lease_ms,
                           uint64_t now_ms, struct queue_leased *leased, struct error *err);
enum rc sqlite_queue_extend(struct queue *queue, const struct queue_receipt receipts[],
                            uint32_t count, uint64_t until_ms, uint64_t now_ms, enum rc ret_rcs[],
                            struct error *err);
enum rc sqlite_queue_ack(struct queue *queue, const struct queue_receipt receipts[], uint32_t count,
                         uint64_t now_ms, enum rc ret_rcs[], struct error *err);
enum rc sqlite_queue_fail(struct queue *queue, const struct queue_receipt *receipt,
                          const char *reason, uint64_t retry_at_ms, uint64_t now_ms,
                          enum job_state *ret_state, struct error *err);
enum rc sqlite_queue_release(struct queue *queue, const struct queue_receipt *receipt,
                             uint64_t at_ms, uint64_t now_ms, enum job_state *ret_state,
                             struct error *err);
enum rc sqlite_queue_cancel(struct queue *queue, const char *tenant, struct id id, uint64_t now_ms,
                            enum job_state *ret_state, struct error *err);
enum rc sqlite_queue_get(struct queue *queue, const char *tenant, struct id id,
                         struct queue_info *ret_info, struct error *err);
enum rc sqlite_queue_dead_list(struct queue *queue, const char *tenant, const struct id *before,
                               uint32_t max, struct queue_info into[], uint32_t *ret_count,
                               struct error *err);
enum rc sqlite_queue_dead_retry(struct queue *queue, const char *tenant, struct id id,
                                uint64_t now_ms, struct error *err);
enum rc sqlite_queue_purge(struct queue *queue, const char *tenant, enum job_state state,
                           uint64_t now_ms, uint32_t *ret_count, struct error *err);
enum rc sqlite_queue_stats(struct queue *queue, const char *tenant, uint64_t now_ms,
                           struct queue_stats *ret_stats, struct error *err);
enum rc sqlite_queue_tenants(struct queue *queue, const char *after, uint32_t max, uint64_t now_ms,
                             struct queue_stats into[], uint32_t *ret_count, struct error *err);
#endif
