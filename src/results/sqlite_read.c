/* SPDX-License-Identifier: Apache-2.0
 * sqlite_read.c - one prediction, and pages of the history. */
#include "results/sqlite.h"

#include <string.h>

static enum rc no_memory(struct error *err)
{
    return error_set(err, RC_NO_MEMORY, "no memory for a page of predictions");
}

static uint32_t column_u32(struct sqlite_stmt *stmt, int column)
{
    uint64_t value = sqlite_column_u64(stmt, column);
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

enum rc read_prediction(struct sqlite_stmt *stmt, struct result_set *set, struct error *err)
{
    struct result *result = result_set_add(set);
    if (result == NULL)
        return no_memory(err);
    result->id = sqlite_column_id(stmt, 0);
    result->created_ms = sqlite_column_u64(stmt, 1);
    result->index = column_u32(stmt, 2);
    /* XOR is its own inverse. */
    result->request_id = id_derive(result->id, result->index);
    result->job_id = sqlite_column_id(stmt, 3);
    struct bytes sha256 = sqlite_column_blob(stmt, 9);
    if (sha256.size == sizeof(result->picture.sha256))
        memcpy(result->picture.sha256, sha256.data, sha256.size);
    result->picture.width = column_u32(stmt, 11);
    result->picture.height = column_u32(stmt, 12);
    result->timing = (struct result_timing){
        .queue_us = column_u32(stmt, 13),
        .decode_us = column_u32(stmt, 14),
        .fit_us = column_u32(stmt, 15),
        .infer_us = column_u32(stmt, 16),
        .total_us = column_u32(stmt, 17),
    };
    struct bytes *const texts[] = {&result->key, &result->model, &result->version, &result->label};
    enum rc rc = RC_OK;
    for (int i = 0; i < 4 && rc == RC_OK; i++)
        rc = result_copy(&set->chunks, sqlite_column_text(stmt, 4 + i), texts[i]);
    if (rc == RC_OK)
        rc = result_copy(&set->chunks, sqlite_column_blob(stmt, 8), &result->scores);
    if (rc == RC_OK)
        rc = result_copy(&set->chunks, sqlite_column_text(stmt, 10), &result->picture.format);
    if (rc == RC_OK)
        rc = result_copy(&set->chunks, sqlite_column_text(stmt, 18), &result->reference);
    if (rc == RC_OK)
        rc = result_copy(&set->chunks, sqlite_column_blob(stmt, 19), &result->metadata);
    return rc == RC_OK ? RC_OK : no_memory(err);
}

static enum rc read_feedback(struct sqlite_conn *conn, struct bytes tenant, struct result_set *set,
                             struct result *result, struct error *err)
{
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_FEEDBACK_GET, tenant, result->id);
    bool row = false;
    enum rc rc = sqlite_step(stmt, &row, err);
    if (rc != RC_OK || !row)
        return rc;
    result->has_feedback = true;
    result->feedback.class_id =
        sqlite_column_null(stmt, 0) ? RESULT_CLASS_NONE : column_u32(stmt, 0);
    result->feedback.time_ms = sqlite_column_u64(stmt, 3);
    result->feedback.correct = sqlite_column_i64(stmt, 4) != 0;
    rc = result_copy(&set->chunks, sqlite_column_text(stmt, 1), &result->feedback.label);
    if (rc == RC_OK)
        rc = result_copy(&set->chunks, sqlite_column_text(stmt, 2), &result->feedback.note);
    sqlite_reset(stmt);
    return rc == RC_OK ? RC_OK : no_memory(err);
}

enum rc why_absent(struct sqlite_conn *conn, struct bytes tenant, struct id id, struct error *err)
{
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_TOMBSTONE_GET, tenant, id);
    bool row = false;
    enum rc rc = sqlite_step(stmt, &row, err);
    sqlite_reset(stmt);
    if (rc != RC_OK)
        return rc;
    if (row)
        return error_set(err, RC_GONE, "the prediction has been erased");
    return error_set(err, RC_NOT_FOUND, "there is no prediction with that id");
}

enum rc find_prediction(struct sqlite_conn *conn, struct bytes tenant, struct id id,
                        struct result_set *set, uint64_t *ret_number, struct error *err)
{
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_PREDICTION_GET, tenant, id);
    bool row = false;
    enum rc rc = sqlite_step(stmt, &row, err);
    if (rc == RC_OK && row) {
        *ret_number = sqlite_column_u64(stmt, PREDICTION_NUMBER_COLUMN);
        rc = read_prediction(stmt, set, err);
    }
    sqlite_reset(stmt);
    return rc != RC_OK || row ? rc : why_absent(conn, tenant, id, err);
}

enum rc sqlite_results_get(struct results *results, struct bytes tenant, struct id id,
                           struct result_set *set, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    uint64_t number = 0;
    rc = find_prediction(conn, tenant, id, set, &number, err);
    if (rc == RC_OK)
        rc = read_feedback(conn, tenant, set, &set->items[0], err);
    sqlite_read_end(conn);
    return rc;
}

static struct sqlite_stmt *use_history(struct sqlite_conn *conn, struct bytes tenant,
                                       const struct results_filter *filter,
                                       struct results_position before)
{
    enum statement statement = STMT_HISTORY;
    struct bytes equal = {0};
    if (filter->label.size > 0) {
        statement = STMT_HISTORY_LABEL;
        equal = filter->label;
    } else if (filter->model.size > 0) {
        statement = STMT_HISTORY_MODEL;
        equal = filter->model;
    } else if (filter->reference.size > 0) {
        statement = STMT_HISTORY_REFERENCE;
        equal = filter->reference;
    }
    struct sqlite_stmt *stmt = sqlite_use(conn, statement);
    sqlite_bind_text(stmt, 1, tenant);
    if (equal.size > 0)
        sqlite_bind_text(stmt, 2, equal);
    sqlite_bind_u64(stmt, 3, before.created_ms);
    sqlite_bind_id(stmt, 4, before.id);
    sqlite_bind_u64(stmt, 5, filter->from_ms);
    return stmt;
}

static enum rc read_page(struct sqlite_conn *conn, struct bytes tenant,
                         const struct results_filter *filter, struct sqlite_stmt *stmt,
                         uint32_t limit, struct result_set *set, struct results_position *ret_last,
                         bool *ret_more, struct error *err)
{
    bool row = false;
    uint32_t scanned = 0;
    enum rc rc = sqlite_step(stmt, &row, err);
    while (rc == RC_OK && row && set->count < limit && scanned < RESULTS_SCAN_MAX) {
        scanned++;
        *ret_last = (struct results_position){.created_ms = sqlite_column_u64(stmt, 1),
                                              .id = sqlite_column_id(stmt, 0)};
        if (results_filter_passes(filter, sqlite_column_text(stmt, 6),
                                  sqlite_column_blob(stmt, 8))) {
            rc = read_prediction(stmt, set, err);
            if (rc == RC_OK)
                rc = read_feedback(conn, tenant, set, &set->items[set->count - 1], err);
        }
        if (rc == RC_OK)
            rc = sqlite_step(stmt, &row, err);
    }
    *ret_more = row;
    return rc;
}

enum rc sqlite_results_query(struct results *results, struct bytes tenant,
                             const struct results_filter *filter, struct results_position before,
                             uint32_t limit, struct result_set *set,
                             struct results_position *ret_next, bool *ret_more, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = use_history(conn, tenant, filter, before);
    rc = read_page(conn, tenant, filter, stmt, limit, set, ret_next, ret_more, err);
    sqlite_read_end(conn);
    return rc;
}
