/* SPDX-License-Identifier: Apache-2.0
 * sqlite.h - what the files of the SQLite driver share; sqlite.c says which file does what. */
#ifndef RESULTS_SQLITE_H
#define RESULTS_SQLITE_H
#include "results/driver.h"
#include "sqlite/sqlite.h"

enum statement {
#define STATEMENT(name, sql) STMT_##name,
#include "results/sqlite_statements.def"
#undef STATEMENT
    STMT_COUNT
};

struct results_db {
    struct results base;
    struct sqlite *db;
};

/* The one place that casts; the table's address is the type tag. */
struct sqlite *db_of(struct results *results);

/* A statement with tenant and id at ?1 and ?2: how nearly all are asked. */
struct sqlite_stmt *use_tenant_id(struct sqlite_conn *conn, enum statement statement,
                                  struct bytes tenant, struct id id);
/* GONE or NOT_FOUND, for an id without a prediction. */
NODISCARD enum rc why_absent(struct sqlite_conn *conn, struct bytes tenant, struct id id,
                             struct error *err);
/* Appends the current row of a statement that selects PREDICTION. */
NODISCARD enum rc read_prediction(struct sqlite_stmt *stmt, struct result_set *set,
                                  struct error *err);
/* The prediction alone, its number in *ret_number. GONE, NOT_FOUND. */
NODISCARD enum rc find_prediction(struct sqlite_conn *conn, struct bytes tenant, struct id id,
                                  struct result_set *set, uint64_t *ret_number, struct error *err);
#define PREDICTION_NUMBER_COLUMN 20
/* Within a transaction of the caller's: an idempotency key is done, a message waits. */
struct completion {
    struct bytes key;
    const uint8_t *fingerprint; /* 32 bytes */
    struct bytes answer;
    uint64_t until_ms;
};
NODISCARD enum rc complete_reservation(struct sqlite_conn *conn, struct bytes tenant,
                                       struct id request_id, const struct completion *completion,
                                       struct error *err);
NODISCARD enum rc put_message(struct sqlite_conn *conn, struct bytes tenant, struct id outbox_id,
                              uint64_t created_ms, uint64_t due_ms, struct bytes payload,
                              struct error *err);

enum rc sqlite_results_put(struct results *results, struct result_commit *const commits[],
                           uint32_t count, struct error *err);
enum rc sqlite_results_get(struct results *results, struct bytes tenant, struct id id,
                           struct result_set *set, struct error *err);
enum rc sqlite_results_query(struct results *results, struct bytes tenant,
                             const struct results_filter *filter, struct results_position before,
                             uint32_t limit, struct result_set *set,
                             struct results_position *ret_next, bool *ret_more, struct error *err);
enum rc sqlite_results_erase(struct results *results, struct bytes tenant, struct id id,
                             uint64_t now_ms, struct results_removed *ret_removed,
                             struct error *err);
enum rc sqlite_results_sweep(struct results *results, struct bytes tenant, uint64_t before_ms,
                             uint32_t limit, uint64_t now_ms, struct results_removed *into,
                             uint32_t *ret_count, struct error *err);
enum rc sqlite_results_picture_used(struct results *results, struct bytes tenant,
                                    const uint8_t sha256[32], bool *ret_used, struct error *err);
enum rc sqlite_results_feedback_put(struct results *results, struct bytes tenant, struct id id,
                                    const struct result_feedback *feedback, struct error *err);
enum rc sqlite_results_accuracy(struct results *results, struct bytes tenant, uint64_t from_ms,
                                uint64_t to_ms, results_accuracy_fn each, void *ctx,
                                struct error *err);
enum rc sqlite_results_reserve(struct results *results, struct bytes tenant, struct bytes key,
                               const uint8_t fingerprint[32], struct id request_id, uint64_t now_ms,
                               uint64_t lease_until_ms, uint64_t expires_ms,
                               struct results_reservation *reservation, struct error *err);
enum rc sqlite_results_release(struct results *results, struct bytes tenant, struct bytes key,
                               uint32_t attempt, uint64_t now_ms, struct error *err);
enum rc sqlite_results_expire(struct results *results, uint64_t now_ms, uint32_t limit,
                              uint32_t *ret_count, struct error *err);
enum rc sqlite_results_job_put(struct results *results, struct bytes tenant,
                               const struct result_job *job, struct error *err);
enum rc sqlite_results_job_get(struct results *results, struct bytes tenant, struct id id,
                               struct result_job_set *set, struct error *err);
enum rc sqlite_results_job_list(struct results *results, struct bytes tenant,
                                struct results_position before, uint32_t limit,
                                struct result_job_set *set, bool *ret_more, struct error *err);
enum rc sqlite_results_job_end(struct results *results, struct bytes tenant, struct id id,
                               enum result_job_end end, struct bytes reason, uint64_t now_ms,
                               struct bytes payload, uint64_t payload_due_ms, bool *ret_first,
                               struct error *err);
enum rc sqlite_results_job_reopen(struct results *results, struct bytes tenant, struct id id,
                                  struct error *err);
enum rc sqlite_results_job_open_list(struct results *results, const struct results_job_open *after,
                                     uint32_t limit, struct results_job_open *into,
                                     uint32_t *ret_count, struct error *err);
enum rc sqlite_results_job_needs_picture(struct results *results, struct bytes tenant,
                                         const uint8_t sha256[32], bool *ret_needed,
                                         struct error *err);
enum rc sqlite_results_job_sweep(struct results *results, struct bytes tenant, uint64_t before_ms,
                                 uint32_t limit, uint32_t *ret_count, struct error *err);
enum rc sqlite_results_job_items(struct results *results, struct bytes tenant, struct id job_id,
                                 uint32_t first_index, uint32_t limit, results_job_item_fn each,
                                 void *ctx, struct error *err);
enum rc sqlite_results_job_progress(struct results *results, struct bytes tenant, struct id job_id,
                                    uint64_t *ret_done, uint64_t *ret_failed, struct error *err);
enum rc sqlite_results_usage(struct results *results, struct bytes tenant, uint32_t from_day,
                             uint32_t to_day, uint32_t group, results_quantity_fn each, void *ctx,
                             struct error *err);
enum rc sqlite_results_tenant_next(struct results *results, const char *after, char *into,
                                   struct error *err);
enum rc sqlite_results_ledger_find(struct results *results, struct bytes tenant,
                                   struct id request_id, uint32_t index_count, uint64_t *ret_images,
                                   uint64_t *ret_last_ms, struct error *err);
enum rc sqlite_results_verify(struct results *results, struct bytes tenant,
                              const struct results_verifier *verifier,
                              struct results_proof *ret_proof, struct error *err);
enum rc sqlite_results_outbox_take(struct results *results, uint64_t now_ms,
                                   uint64_t lease_until_ms, uint32_t limit,
                                   struct results_message *into, uint32_t *ret_count,
                                   struct error *err);
enum rc sqlite_results_outbox_done(struct results *results, uint64_t number, struct error *err);
enum rc sqlite_results_outbox_retry_at(struct results *results, uint64_t number, uint32_t attempt,
                                       uint64_t due_ms, struct error *err);
#endif
