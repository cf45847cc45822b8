/* SPDX-License-Identifier: Apache-2.0
 * sqlite_put.c - commits: all of a call in one transaction, so that they share its fsync, the pages
 * they touch in common, and one update of each sum of usage. */
#include "results/sqlite.h"

#define MS_PER_DAY 86400000u
#define SUM_ROOM   16u

/* What this call adds to one row of usage. Texts are those of a commit. */
struct sum {
    const struct result_commit *like;
    uint64_t day;
    uint64_t requests;
    uint64_t images;
};

struct sums {
    uint32_t count;
    struct sum items[SUM_ROOM];
};

static bool same_sum(const struct sum *sum, const struct result_commit *commit, uint64_t day)
{
    const struct result *a = &sum->like->prediction;
    const struct result *b = &commit->prediction;
    return sum->day == day && sum->like->plan_version == commit->plan_version &&
           bytes_equal(a->key, b->key) && bytes_equal(a->model, b->model) &&
           bytes_equal(a->version, b->version) && bytes_equal(sum->like->plan, commit->plan) &&
           bytes_equal(sum->like->tenant, commit->tenant);
}

static enum rc write_sums(struct sqlite_conn *conn, struct sums *sums, struct error *err)
{
    enum rc rc = RC_OK;
    for (uint32_t i = 0; i < sums->count && rc == RC_OK; i++) {
        const struct sum *sum = &sums->items[i];
        struct sqlite_stmt *stmt = sqlite_use(conn, STMT_USAGE_ADD);
        sqlite_bind_text(stmt, 1, sum->like->tenant);
        sqlite_bind_u64(stmt, 2, sum->day);
        sqlite_bind_text(stmt, 3, sum->like->prediction.model);
        sqlite_bind_text(stmt, 4, sum->like->prediction.version);
        sqlite_bind_text(stmt, 5, sum->like->prediction.key);
        sqlite_bind_text(stmt, 6, sum->like->plan);
        sqlite_bind_u64(stmt, 7, sum->like->plan_version);
        sqlite_bind_u64(stmt, 8, sum->requests);
        sqlite_bind_u64(stmt, 9, sum->images);
        rc = sqlite_run(stmt, err);
    }
    sums->count = 0;
    return rc;
}

static enum rc add_sum(struct sqlite_conn *conn, struct sums *sums,
                       const struct result_commit *commit, struct error *err)
{
    uint64_t day = commit->prediction.created_ms / MS_PER_DAY;
    uint32_t i = 0;
    while (i < sums->count && !same_sum(&sums->items[i], commit, day))
        i++;
    if (i == SUM_ROOM) {
        enum rc rc = write_sums(conn, sums, err);
        if (rc != RC_OK)
            return rc;
        i = 0;
    }
    if (i == sums->count)
        sums->items[sums->count++] = (struct sum){.like = commit, .day = day};
    sums->items[i].requests += commit->requests;
    sums->items[i].images += commit->units;
    return RC_OK;
}

static enum rc put_ledger(struct sqlite_conn *conn, const struct result_commit *commit,
                          bool *ret_known, struct error *err)
{
    const struct result *result = &commit->prediction;
    struct sqlite_stmt *stmt = use_tenant_id(conn, STMT_LEDGER_PUT, commit->tenant, result->id);
    sqlite_bind_u64(stmt, 3, result->created_ms);
    sqlite_bind_u64(stmt, 4, commit->kind == RESULT_STORED);
    sqlite_bind_text(stmt, 5, result->model);
    sqlite_bind_text(stmt, 6, result->version);
    sqlite_bind_text(stmt, 7, result->key);
    sqlite_bind_text(stmt, 8, commit->plan);
    sqlite_bind_u64(stmt, 9, commit->plan_version);
    sqlite_bind_u64(stmt, 10, commit->units);
    sqlite_bind_u64(stmt, 11, commit->requests);
    enum rc rc = sqlite_run(stmt, err);
    if (rc == RC_OK)
        *ret_known = sqlite_changed(conn) == 0;
    return rc;
}

static enum rc put_prediction(struct sqlite_conn *conn, const struct result_commit *commit,
                              struct error *err)
{
    const struct result *result = &commit->prediction;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_PREDICTION_PUT);
    sqlite_bind_text(stmt, 1, commit->tenant);
    sqlite_bind_u64(stmt, 2, result->created_ms);
    sqlite_bind_id(stmt, 3, result->id);
    sqlite_bind_u64(stmt, 4, result->index);
    if (!id_is_zero(result->job_id))
        sqlite_bind_id(stmt, 5, result->job_id);
    sqlite_bind_text(stmt, 6, result->key);
    sqlite_bind_text(stmt, 7, result->model);
    sqlite_bind_text(stmt, 8, result->version);
    sqlite_bind_text(stmt, 9, result->label);
    sqlite_bind_blob(stmt, 10, result->scores);
    sqlite_bind_blob(stmt, 11,
                     (struct bytes){result->picture.sha256, sizeof(result->picture.sha256)});
    sqlite_bind_text(stmt, 12, result->picture.format);
    sqlite_bind_u64(stmt, 13, result->picture.width);
    sqlite_bind_u64(stmt, 14, result->picture.height);
    sqlite_bind_u64(stmt, 15, result->timing.queue_us);
    sqlite_bind_u64(stmt, 16, result->timing.decode_us);
    sqlite_bind_u64(stmt, 17, result->timing.fit_us);
    sqlite_bind_u64(stmt, 18, result->timing.infer_us);
    sqlite_bind_u64(stmt, 19, result->timing.total_us);
    if (result->reference.size > 0)
        sqlite_bind_text(stmt, 20, result->reference);
    if (result->metadata.size > 0)
        sqlite_bind_blob(stmt, 21, result->metadata);
    return sqlite_run(stmt, err);
}

static enum rc put_job_item(struct sqlite_conn *conn, const struct result_commit *commit,
                            bool *ret_known, struct error *err)
{
    const struct result *result = &commit->prediction;
    struct sqlite_stmt *stmt =
        use_tenant_id(conn, STMT_JOB_ITEM_PUT, commit->tenant, result->job_id);
    sqlite_bind_u64(stmt, 3, result->index);
    /* By name: numbers move when a row is added to rc.def. */
    sqlite_bind_text(stmt, 4, bytes_of(rc_name(commit->outcome)));
    if (commit->kind == RESULT_STORED)
        sqlite_bind_id(stmt, 5, result->id);
    sqlite_bind_text(stmt, 6, commit->reason);
    sqlite_bind_u64(stmt, 7, result->created_ms);
    enum rc rc = sqlite_run(stmt, err);
    if (rc == RC_OK && commit->kind == RESULT_UNBILLED)
        *ret_known = sqlite_changed(conn) == 0;
    return rc;
}

static enum rc erased(struct sqlite_conn *conn, const struct result_commit *commit,
                      bool *ret_erased, struct error *err)
{
    struct sqlite_stmt *stmt =
        use_tenant_id(conn, STMT_TOMBSTONE_GET, commit->tenant, commit->prediction.id);
    enum rc rc = sqlite_step(stmt, ret_erased, err);
    sqlite_reset(stmt);
    return rc;
}

static enum rc put_one(struct sqlite_conn *conn, struct result_commit *commit, struct sums *sums,
                       struct error *err)
{
    const struct result *result = &commit->prediction;
    enum rc rc = RC_OK;
    bool gone = false;
    if (commit->kind != RESULT_UNBILLED) {
        rc = put_ledger(conn, commit, &commit->known, err);
        if (rc == RC_OK && commit->known)
            rc = erased(conn, commit, &gone, err);
        else if (rc == RC_OK)
            rc = add_sum(conn, sums, commit, err);
    }
    if (rc != RC_OK || gone) {
        commit->rc = gone ? RC_GONE : rc;
        return rc;
    }
    if (!commit->known) {
        if (commit->kind == RESULT_STORED)
            rc = put_prediction(conn, commit, err);
        if (rc == RC_OK && !id_is_zero(result->job_id))
            rc = put_job_item(conn, commit, &commit->known, err);
        if (rc == RC_OK && commit->payload.size > 0)
            rc = put_message(conn, commit->tenant, commit->outbox_id, result->created_ms,
                             commit->payload_due_ms, commit->payload, err);
    }
    if (rc == RC_OK && commit->idempotency_key.size > 0)
        rc = complete_reservation(conn, commit->tenant, result->request_id,
                                  &(struct completion){.key = commit->idempotency_key,
                                                       .fingerprint = commit->fingerprint,
                                                       .answer = commit->answer,
                                                       .until_ms = commit->answer_until_ms},
                                  err);
    return rc;
}

enum rc sqlite_results_put(struct results *results, struct result_commit *const commits[],
                           uint32_t count, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    struct sums sums = {.count = 0};
    enum rc rc = sqlite_write(db_of(results), DURABLE, &conn, err);
    if (rc != RC_OK)
        return rc;
    for (uint32_t i = 0; i < count && rc == RC_OK; i++)
        if (commits[i]->rc == RC_OK)
            rc = put_one(conn, commits[i], &sums, err);
    if (rc == RC_OK)
        rc = write_sums(conn, &sums, err);
    return sqlite_end(conn, rc, err);
}
