/* SPDX-License-Identifier: Apache-2.0
 * sqlite.c - the SQLite driver: opening, and the table of its functions.
 *   sqlite_put.c      commits, one transaction for a call
 *   sqlite_read.c     one prediction, and the history
 *   sqlite_erase.c    erasure, retention, references to pictures
 *   sqlite_feedback.c true labels, accuracy
 *   sqlite_reserve.c  Idempotency-Key
 *   sqlite_jobs.c     jobs, outcomes of their items
 *   sqlite_outbox.c   messages to deliver
 *   sqlite_usage.c    sums of the ledger
 *   sqlite_verify.c   the proof that all of it agrees */
#include "results/sqlite.h"
#include "results/sqlite_schema.h"

#include <assert.h>
#include <stdlib.h>

static const char *const statements[] = {
#define STATEMENT(name, sql) [STMT_##name] = sql,
#include "results/sqlite_statements.def"
#undef STATEMENT
};

struct sqlite *db_of(struct results *results)
{
    assert(results->ops == &results_sqlite);
    return ((struct results_db *)results)->db;
}

struct sqlite_stmt *use_tenant_id(struct sqlite_conn *conn, enum statement statement,
                                  struct bytes tenant, struct id id)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, statement);
    sqlite_bind_text(stmt, 1, tenant);
    sqlite_bind_id(stmt, 2, id);
    return stmt;
}

static enum rc sqlite_results_open(const char *url, struct results **ret_results, struct error *err)
{
    struct sqlite_config config = {
        .url = url,
        .module = "results",
        .migrations = sqlite_migrations,
        .migration_count = sizeof(sqlite_migrations) / sizeof(sqlite_migrations[0]),
        .statements = statements,
        .statement_count = STMT_COUNT,
    };
    struct results_db *results = calloc(1, sizeof(*results));
    if (results == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory to open %s", url);
    results->base.ops = &results_sqlite;
    enum rc rc = sqlite_open(&config, &results->db, err);
    if (rc != RC_OK) {
        free(results);
        return rc;
    }
    *ret_results = &results->base;
    return RC_OK;
}

static void sqlite_results_free(struct results *results)
{
    sqlite_free(db_of(results));
    free(results);
}

static enum rc sqlite_results_backup(struct results *results, const char *path, struct error *err)
{
    return sqlite_backup(db_of(results), path, err);
}

static enum rc sqlite_results_check(struct results *results, bool full, struct error *err)
{
    return sqlite_check(db_of(results), full, err);
}

const struct results_ops results_sqlite = {
    .scheme = "sqlite:",
    .open = sqlite_results_open,
    .free = sqlite_results_free,
    .put = sqlite_results_put,
    .get = sqlite_results_get,
    .query = sqlite_results_query,
    .erase = sqlite_results_erase,
    .sweep = sqlite_results_sweep,
    .picture_used = sqlite_results_picture_used,
    .feedback_put = sqlite_results_feedback_put,
    .accuracy = sqlite_results_accuracy,
    .reserve = sqlite_results_reserve,
    .release = sqlite_results_release,
    .job_put = sqlite_results_job_put,
    .job_get = sqlite_results_job_get,
    .job_list = sqlite_results_job_list,
    .job_end = sqlite_results_job_end,
    .job_reopen = sqlite_results_job_reopen,
    .job_open_list = sqlite_results_job_open_list,
    .job_needs_picture = sqlite_results_job_needs_picture,
    .job_sweep = sqlite_results_job_sweep,
    .job_items = sqlite_results_job_items,
    .job_progress = sqlite_results_job_progress,
    .usage = sqlite_results_usage,
    .ledger_find = sqlite_results_ledger_find,
    .verify = sqlite_results_verify,
    .outbox_take = sqlite_results_outbox_take,
    .outbox_done = sqlite_results_outbox_done,
    .outbox_retry_at = sqlite_results_outbox_retry_at,
    .expire = sqlite_results_expire,
    .tenant_next = sqlite_results_tenant_next,
    .backup = sqlite_results_backup,
    .check = sqlite_results_check,
};
