/* SPDX-License-Identifier: Apache-2.0
 * sqlite_jobs.c - jobs' records, their pictures while those are in use, and outcomes of items. */
#include "results/sqlite.h"

#include <string.h>

#define SHA256_SIZE         32u
#define JOB_NUMBER_COLUMN   9
#define JOB_PICTURES_COLUMN 10

static enum rc no_memory(struct error *err)
{
    return error_set(err, RC_NO_MEMORY, "no memory for a page of jobs");
}

/* Each picture of `pictures` with the statement that puts or deletes one. */
static enum rc for_pictures(struct sqlite_conn *conn, enum statement statement, struct bytes tenant,
                            struct id id, struct bytes pictures, struct error *err)
{
    enum rc rc = RC_OK;
    for (size_t at = 0; at + SHA256_SIZE <= pictures.size && rc == RC_OK; at += SHA256_SIZE) {
        struct sqlite_stmt *stmt = use_tenant_id(conn, statement, tenant, id);
        sqlite_bind_blob(stmt, 3, (struct bytes){pictures.data + at, SHA256_SIZE});
        rc = sqlite_run(stmt, err);
    }
    return rc;
}

enum rc sqlite_results_job_put(struct results *results, struct bytes tenant,
                               const struct result_job *job, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    struct bytes pictures = {job->pictures, (size_t)job->picture_count * SHA256_SIZE};
    enum rc rc = sqlite_write(db_of(results), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_JOB_PUT, tenant, job->id);
    sqlite_bind_u64(stmt, 3, job->created_ms);
    sqlite_bind_text(stmt, 4, job->key);
    sqlite_bind_blob(stmt, 5, job->body);
    sqlite_bind_blob(stmt, 6, pictures);
    rc = sqlite_run(stmt, err);
    if (rc == RC_OK && sqlite_changed(conn) > 0)
        rc = for_pictures(conn, STMT_JOB_PICTURE_PUT, tenant, job->id, pictures, err);
    if (rc == RC_OK && job->idempotency_key.size > 0)
        rc = complete_reservation(conn, tenant, job->id,
                                  &(struct completion){.key = job->idempotency_key,
                                                       .fingerprint = job->fingerprint,
                                                       .answer = job->answer,
                                                       .until_ms = job->answer_until_ms},
                                  err);
    return sqlite_end(conn, rc, err);
}

static enum rc progress(struct sqlite_conn *conn, struct bytes tenant, struct id job_id,
                        uint64_t *ret_done, uint64_t *ret_failed, struct error *err)
{
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_JOB_PROGRESS, tenant, job_id);
    bool row = false;
    enum rc rc = sqlite_step(stmt, &row, err);
    if (rc == RC_OK) {
        *ret_done = row ? sqlite_column_u64(stmt, 0) : 0;
        *ret_failed = row ? sqlite_column_u64(stmt, 1) : 0;
    }
    sqlite_reset(stmt);
    return rc;
}

/* Appends the current row of a statement that selects JOB. */
static enum rc read_job(struct sqlite_conn *conn, struct bytes tenant, struct sqlite_stmt *stmt,
                        struct result_job_set *set, struct error *err)
{
    struct result_job *job = result_job_set_add(set);
    if (job == NULL)
        return no_memory(err);
    job->id = sqlite_column_id(stmt, 0);
    job->created_ms = sqlite_column_u64(stmt, 1);
    job->ended = (enum result_job_end)sqlite_column_u64(stmt, 2);
    job->ended_ms = sqlite_column_u64(stmt, 3);
    job->reopened = (uint32_t)sqlite_column_u64(stmt, 4);
    job->picture_count = (uint32_t)sqlite_column_u64(stmt, 8);
    enum rc rc = result_copy(&set->chunks, sqlite_column_text(stmt, 5), &job->reason);
    if (rc == RC_OK)
        rc = result_copy(&set->chunks, sqlite_column_text(stmt, 6), &job->key);
    if (rc == RC_OK)
        rc = result_copy(&set->chunks, sqlite_column_blob(stmt, 7), &job->body);
    if (rc != RC_OK)
        return no_memory(err);
    return progress(conn, tenant, job->id, &job->done_count, &job->failed_count, err);
}

/* At the job's row, which is reset by the next use of the statement. NOT_FOUND. */
static enum rc find_job(struct sqlite_conn *conn, struct bytes tenant, struct id id,
                        struct sqlite_stmt **ret_stmt, struct error *err)
{
    *ret_stmt = use_tenant_id(conn, STMT_JOB_GET, tenant, id);
    bool row = false;
    enum rc rc = sqlite_step(*ret_stmt, &row, err);
    return rc != RC_OK || row ? rc : error_set(err, RC_NOT_FOUND, "there is no job with that id");
}

enum rc sqlite_results_job_get(struct results *results, struct bytes tenant, struct id id,
                               struct result_job_set *set, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    struct sqlite_stmt *stmt = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    rc = find_job(conn, tenant, id, &stmt, err);
    if (rc == RC_OK)
        rc = read_job(conn, tenant, stmt, set, err);
    if (rc == RC_OK) {
        struct bytes pictures;
        rc = result_copy(&set->chunks, sqlite_column_blob(stmt, JOB_PICTURES_COLUMN), &pictures);
        set->items[0].pictures = pictures.data;
        if (rc != RC_OK)
            rc = no_memory(err);
    }
    sqlite_read_end(conn);
    return rc;
}

enum rc sqlite_results_job_list(struct results *results, struct bytes tenant,
                                struct results_position before, uint32_t limit,
                                struct result_job_set *set, bool *ret_more, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_JOB_LIST);
    sqlite_bind_text(stmt, 1, tenant);
    sqlite_bind_u64(stmt, 2, before.created_ms);
    sqlite_bind_id(stmt, 3, before.id);
    bool row = false;
    rc = sqlite_step(stmt, &row, err);
    while (rc == RC_OK && row && set->count < limit) {
        rc = read_job(conn, tenant, stmt, set, err);
        if (rc == RC_OK)
            rc = sqlite_step(stmt, &row, err);
    }
    *ret_more = row;
    sqlite_read_end(conn);
    return rc;
}

static enum rc write_end(struct sqlite_conn *conn, uint64_t number, enum result_job_end end,
                         struct bytes reason, uint64_t now_ms, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_JOB_END);
    sqlite_bind_u64(stmt, 1, number);
    sqlite_bind_u64(stmt, 2, end);
    sqlite_bind_u64(stmt, 3, now_ms);
    sqlite_bind_text(stmt, 4, reason);
    return sqlite_run(stmt, err);
}

enum rc sqlite_results_job_end(struct results *results, struct bytes tenant, struct id id,
                               enum result_job_end end, struct bytes reason, uint64_t now_ms,
                               struct bytes payload, uint64_t payload_due_ms, bool *ret_first,
                               struct error *err)
{
    struct sqlite_conn *conn = NULL;
    struct sqlite_stmt *stmt = NULL;
    enum rc rc = sqlite_write(db_of(results), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    rc = find_job(conn, tenant, id, &stmt, err);
    bool open = rc == RC_OK && sqlite_column_u64(stmt, 2) == RESULT_JOB_OPEN;
    if (!open) {
        sqlite_rollback(conn);
        if (rc == RC_OK)
            *ret_first = false;
        return rc;
    }
    uint64_t number = sqlite_column_u64(stmt, JOB_NUMBER_COLUMN);
    uint32_t reopened = (uint32_t)sqlite_column_u64(stmt, 4);
    if (end != RESULT_JOB_DEAD)
        rc = for_pictures(conn, STMT_JOB_PICTURE_DELETE, tenant, id,
                          sqlite_column_blob(stmt, JOB_PICTURES_COLUMN), err);
    sqlite_reset(stmt);
    if (rc == RC_OK)
        rc = write_end(conn, number, end, reason, now_ms, err);
    if (rc == RC_OK && payload.size > 0)
        rc = put_message(conn, tenant, id_derive(id, reopened), now_ms, payload_due_ms, payload,
                         err);
    rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK)
        *ret_first = true;
    return rc;
}

enum rc sqlite_results_job_reopen(struct results *results, struct bytes tenant, struct id id,
                                  struct error *err)
{
    struct sqlite_conn *conn = NULL;
    struct sqlite_stmt *stmt = NULL;
    enum rc rc = sqlite_write(db_of(results), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    rc = find_job(conn, tenant, id, &stmt, err);
    uint64_t ended = rc == RC_OK ? sqlite_column_u64(stmt, 2) : RESULT_JOB_OPEN;
    if (ended == RESULT_JOB_DONE || ended == RESULT_JOB_CANCELLED)
        rc = error_set(err, RC_INVALID, "the job is %s; only a dead one can be tried again",
                       ended == RESULT_JOB_DONE ? "done" : "cancelled");
    if (rc != RC_OK || ended == RESULT_JOB_OPEN) {
        sqlite_rollback(conn);
        return rc;
    }
    uint64_t number = sqlite_column_u64(stmt, JOB_NUMBER_COLUMN);
    sqlite_reset(stmt);
    stmt = sqlite_use(conn, STMT_JOB_REOPEN);
    sqlite_bind_u64(stmt, 1, number);
    return sqlite_end(conn, sqlite_run(stmt, err), err);
}

enum rc sqlite_results_job_open_list(struct results *results, const struct results_job_open *after,
                                     uint32_t limit, struct results_job_open *into,
                                     uint32_t *ret_count, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_JOB_OPEN_LIST);
    if (after != NULL)
        sqlite_bind_id(stmt, 1, after->id);
    else
        sqlite_bind_blob(stmt, 1, (struct bytes){0});
    sqlite_bind_text(stmt, 2, bytes_of(after != NULL ? after->tenant : ""));
    uint32_t count = 0;
    bool row = false;
    rc = sqlite_step(stmt, &row, err);
    while (rc == RC_OK && row && count < limit) {
        struct results_job_open *job = &into[count++];
        struct bytes tenant = sqlite_column_text(stmt, 1);
        *job = (struct results_job_open){.id = sqlite_column_id(stmt, 0),
                                         .created_ms = sqlite_column_u64(stmt, 2)};
        if (tenant.size < sizeof(job->tenant))
            memcpy(job->tenant, tenant.data, tenant.size);
        rc = sqlite_step(stmt, &row, err);
    }
    sqlite_read_end(conn);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

enum rc sqlite_results_job_needs_picture(struct results *results, struct bytes tenant,
                                         const uint8_t sha256[32], bool *ret_needed,
                                         struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_JOB_NEEDS_PICTURE);
    sqlite_bind_text(stmt, 1, tenant);
    sqlite_bind_blob(stmt, 2, (struct bytes){sha256, SHA256_SIZE});
    rc = sqlite_step(stmt, ret_needed, err);
    sqlite_read_end(conn);
    return rc;
}

/* Up to `limit` (at least 1) rows of the job that ended first; 0: no job ended before. The job's
 * own row goes last, so that what is interrupted is gone on with. */
static enum rc sweep_one(struct sqlite_conn *conn, struct bytes tenant, uint64_t before_ms,
                         uint32_t limit, uint32_t *ret_rows, struct error *err)
{
    *ret_rows = 0;
    struct sqlite_stmt *oldest = sqlite_use(conn, STMT_JOB_OLDEST_END);
    sqlite_bind_text(oldest, 1, tenant);
    sqlite_bind_u64(oldest, 2, before_ms);
    bool row = false;
    enum rc rc = sqlite_step(oldest, &row, err);
    if (rc != RC_OK || !row)
        return rc;
    struct id id = sqlite_column_id(oldest, 0);
    uint64_t number = sqlite_column_u64(oldest, JOB_NUMBER_COLUMN);
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_JOB_ITEM_DELETE, tenant, id);
    sqlite_bind_u64(stmt, 3, limit);
    rc = sqlite_run(stmt, err);
    if (rc == RC_OK)
        *ret_rows = (uint32_t)sqlite_changed(conn);
    bool whole = rc == RC_OK && *ret_rows < limit;
    if (whole && sqlite_column_u64(oldest, 2) == RESULT_JOB_DEAD)
        rc = for_pictures(conn, STMT_JOB_PICTURE_DELETE, tenant, id,
                          sqlite_column_blob(oldest, JOB_PICTURES_COLUMN), err);
    sqlite_reset(oldest);
    if (rc == RC_OK && whole) {
        stmt = sqlite_use(conn, STMT_JOB_DELETE);
        sqlite_bind_u64(stmt, 1, number);
        rc = sqlite_run(stmt, err);
        (*ret_rows)++;
    }
    return rc;
}

enum rc sqlite_results_job_sweep(struct results *results, struct bytes tenant, uint64_t before_ms,
                                 uint32_t limit, uint32_t *ret_count, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(db_of(results), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    uint32_t count = 0;
    uint32_t rows = 1;
    while (rc == RC_OK && rows > 0 && count < limit) {
        rc = sweep_one(conn, tenant, before_ms, limit - count, &rows, err);
        count += rows;
    }
    if (rc == RC_OK && count == 0)
        sqlite_rollback(conn);
    else
        rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

static enum rc outcome_of(struct bytes name)
{
    for (int rc = 0; rc < RC_COUNT; rc++)
        if (bytes_equal(name, bytes_of(rc_name((enum rc)rc))))
            return (enum rc)rc;
    return RC_INTERNAL; /* by a version that knew more of them */
}

enum rc sqlite_results_job_items(struct results *results, struct bytes tenant, struct id job_id,
                                 uint32_t first_index, uint32_t limit, results_job_item_fn each,
                                 void *ctx, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_JOB_ITEMS, tenant, job_id);
    sqlite_bind_u64(stmt, 3, first_index);
    sqlite_bind_u64(stmt, 4, limit);
    bool row = true;
    while (rc == RC_OK && row) {
        rc = sqlite_step(stmt, &row, err);
        if (rc != RC_OK || !row)
            continue;
        struct results_job_item item = {
            .index = (uint32_t)sqlite_column_u64(stmt, 0),
            .outcome = outcome_of(sqlite_column_text(stmt, 1)),
            .prediction_id = sqlite_column_id(stmt, 2),
            .reason = sqlite_column_text(stmt, 3),
            .time_ms = sqlite_column_u64(stmt, 4),
        };
        rc = each(ctx, &item);
    }
    sqlite_read_end(conn);
    return rc;
}

enum rc sqlite_results_job_progress(struct results *results, struct bytes tenant, struct id job_id,
                                    uint64_t *ret_done, uint64_t *ret_failed, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    rc = progress(conn, tenant, job_id, ret_done, ret_failed, err);
    sqlite_read_end(conn);
    return rc;
}
