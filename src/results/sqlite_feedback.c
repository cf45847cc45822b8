/* SPDX-License-Identifier: Apache-2.0
 * sqlite_feedback.c - what a picture really shows, and how often the model had said so. */
#include "results/sqlite.h"

enum rc sqlite_results_feedback_put(struct results *results, struct bytes tenant, struct id id,
                                    const struct result_feedback *feedback, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    struct result_set found = {0};
    uint64_t number = 0;
    enum rc rc = sqlite_write(db_of(results), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    rc = find_prediction(conn, tenant, id, &found, &number, err);
    if (rc == RC_OK) {
        const struct result *result = &found.items[0];
        struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_FEEDBACK_PUT, tenant, id);
        sqlite_bind_u64(stmt, 3, result->created_ms);
        sqlite_bind_text(stmt, 4, result->model);
        sqlite_bind_text(stmt, 5, result->version);
        if (feedback->class_id != RESULT_CLASS_NONE)
            sqlite_bind_u64(stmt, 6, feedback->class_id);
        sqlite_bind_text(stmt, 7, feedback->label);
        sqlite_bind_text(stmt, 8, feedback->note);
        sqlite_bind_u64(stmt, 9, feedback->time_ms);
        sqlite_bind_u64(stmt, 10, result_feedback_correct(feedback, result->label, result->scores));
        rc = sqlite_run(stmt, err);
    }
    rc = sqlite_end(conn, rc, err);
    results_set_done(&found);
    return rc;
}

enum rc sqlite_results_accuracy(struct results *results, struct bytes tenant, uint64_t from_ms,
                                uint64_t to_ms, results_accuracy_fn each, void *ctx,
                                struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_ACCURACY);
    sqlite_bind_text(stmt, 1, tenant);
    sqlite_bind_u64(stmt, 2, from_ms);
    sqlite_bind_u64(stmt, 3, to_ms);
    bool row = true;
    while (rc == RC_OK && row) {
        rc = sqlite_step(stmt, &row, err);
        if (rc != RC_OK || !row)
            continue;
        struct results_accuracy accuracy = {
            .model = sqlite_column_text(stmt, 0),
            .version = sqlite_column_text(stmt, 1),
            .feedback_count = sqlite_column_u64(stmt, 2),
            .correct_count = sqlite_column_u64(stmt, 3),
        };
        rc = each(ctx, &accuracy);
    }
    sqlite_read_end(conn);
    return rc;
}
