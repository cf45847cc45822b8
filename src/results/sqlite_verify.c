/* SPDX-License-Identifier: Apache-2.0
 * sqlite_verify.c - the proof that ledger, predictions, tombstones and usage agree.
 *
 * One pass over the ledger, each entry beside its prediction and tombstone. An entry meets at most
 * one of each, so when as many were met as there are, none is without an entry; only else a
 * further pass looks for those. Usage is loaded first, and the entries are taken off it: memory
 * grows with the rows of usage, never with the ledger. */
#include "results/sqlite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_MAX 1000u /* of a kind */
#define STEP_COUNT 4096u

enum difference {
    LEDGER_ALONE,
    LEDGER_BOTH,
    LEDGER_EXTRA,
    PREDICTION_OTHER,
    TOMBSTONE_OTHER,
    PREDICTION_ALONE,
    TOMBSTONE_ALONE,
    SUM_OTHER,
    DIFFERENCE_COUNT
};
static const char *const texts[DIFFERENCE_COUNT] = {
    "a ledger entry without its prediction or tombstone",
    "a ledger entry with a prediction and a tombstone",
    "a ledger entry of what was not stored, with a prediction or tombstone",
    "a prediction whose ledger entry has another model or key",
    "a tombstone whose ledger entry says something else",
    "a prediction without its ledger entry",
    "a tombstone without its ledger entry",
    "a day whose usage is not the sum of its ledger entries",
};

/* A row of usage, and what is left of it when the ledger's entries have been taken off. */
struct left {
    struct results_quantity of;
    int64_t requests;
    int64_t images;
};

struct verification {
    struct sqlite_conn *conn;
    struct bytes tenant;
    const struct results_verifier *verifier;
    struct results_proof *proof;
    uint32_t reported[DIFFERENCE_COUNT];
    uint64_t predictions_met;
    uint64_t tombstones_met;
    struct result_set memory; /* of texts */
    struct left *table;       /* open addressing; a free one has no model */
    uint64_t room;            /* a power of two, at least twice what there is */
    struct left *last;        /* entries come in runs of one row of usage */
};

static enum rc report(struct verification *v, enum difference difference, struct id id,
                      uint32_t day)
{
    v->proof->difference_count++;
    if (v->verifier == NULL || v->reported[difference] == REPORT_MAX)
        return RC_OK;
    v->reported[difference]++;
    struct results_difference row = {.what = texts[difference], .id = id, .day = day};
    return v->verifier->difference(v->verifier->ctx, &row);
}

/* The six columns from `column` on that name a row of usage. */
static struct results_quantity read_name(struct sqlite_stmt *stmt, int column)
{
    return (struct results_quantity){
        .day = (uint32_t)sqlite_column_u64(stmt, column),
        .model = sqlite_column_text(stmt, column + 1),
        .version = sqlite_column_text(stmt, column + 2),
        .key = sqlite_column_text(stmt, column + 3),
        .plan = sqlite_column_text(stmt, column + 4),
        .plan_version = (uint32_t)sqlite_column_u64(stmt, column + 5),
    };
}

static bool same_name(const struct results_quantity *a, const struct results_quantity *b)
{
    return a->day == b->day && a->plan_version == b->plan_version && bytes_equal(a->key, b->key) &&
           bytes_equal(a->model, b->model) && bytes_equal(a->version, b->version) &&
           bytes_equal(a->plan, b->plan);
}

static uint64_t hash_bytes(uint64_t hash, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        hash = (hash ^ bytes.data[i]) * 1099511628211ull;
    return (hash ^ 0xff) * 1099511628211ull;
}

/* The row of that name, or the free place for it. */
static struct left *find(struct verification *v, const struct results_quantity *name)
{
    uint64_t hash = hash_bytes(14695981039346656037ull ^ name->day, name->key);
    hash = hash_bytes(hash ^ name->plan_version, name->model);
    hash = hash_bytes(hash, name->version);
    hash = hash_bytes(hash, name->plan);
    hash ^= hash >> 32;
    while (v->table[hash & (v->room - 1)].of.model.size > 0 &&
           !same_name(&v->table[hash & (v->room - 1)].of, name))
        hash++;
    return &v->table[hash & (v->room - 1)];
}

static enum rc keep_name(struct verification *v, const struct results_quantity *name,
                         struct left *into)
{
    into->of = *name;
    const struct bytes *const from[] = {&name->key, &name->version, &name->plan, &name->model};
    struct bytes *const to[] = {&into->of.key, &into->of.version, &into->of.plan, &into->of.model};
    enum rc rc = RC_OK;
    for (int i = 0; i < 4 && rc == RC_OK; i++)
        rc = result_copy(&v->memory.chunks, *from[i], to[i]);
    return rc;
}

static enum rc count_rows(struct verification *v, enum statement statement, uint64_t *ret_count,
                          struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(v->conn, statement);
    sqlite_bind_text(stmt, 1, v->tenant);
    bool row = false;
    enum rc rc = sqlite_step(stmt, &row, err);
    if (rc == RC_OK && row)
        *ret_count = sqlite_column_u64(stmt, 0);
    sqlite_reset(stmt);
    return rc;
}

static enum rc load_usage(struct verification *v, struct error *err)
{
    uint64_t count = 0;
    enum rc rc = count_rows(v, STMT_VERIFY_USAGE_COUNT, &count, err);
    if (rc != RC_OK)
        return rc;
    v->room = 16;
    while (v->room < 2 * count)
        v->room *= 2;
    v->table = calloc(v->room, sizeof(*v->table));
    if (v->table == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for %llu rows of usage",
                         (unsigned long long)count);
    struct sqlite_stmt *stmt = sqlite_use(v->conn, STMT_VERIFY_USAGE);
    sqlite_bind_text(stmt, 1, v->tenant);
    bool row = true;
    while (rc == RC_OK && row) {
        rc = sqlite_step(stmt, &row, err);
        if (rc != RC_OK || !row)
            continue;
        struct results_quantity name = read_name(stmt, 0);
        struct left *left = find(v, &name);
        rc = keep_name(v, &name, left);
        left->requests = sqlite_column_i64(stmt, 6);
        left->images = sqlite_column_i64(stmt, 7);
        if (rc != RC_OK)
            rc = error_set(err, rc, "no memory for rows of usage");
    }
    return rc;
}

static enum rc take_off(struct verification *v, struct sqlite_stmt *stmt, struct id id)
{
    struct results_quantity name = read_name(stmt, 2);
    if (v->last == NULL || !same_name(&v->last->of, &name))
        v->last = find(v, &name);
    if (v->last->of.model.size == 0) {
        v->last = NULL;
        return report(v, SUM_OTHER, id, name.day);
    }
    v->last->requests -= sqlite_column_i64(stmt, 8);
    v->last->images -= sqlite_column_i64(stmt, 9);
    return RC_OK;
}

static enum rc check_entry(struct verification *v, struct sqlite_stmt *stmt)
{
    struct id id = sqlite_column_id(stmt, 0);
    bool stored = sqlite_column_i64(stmt, 1) != 0;
    bool prediction = !sqlite_column_null(stmt, 10);
    bool tombstone = !sqlite_column_null(stmt, 12);
    v->proof->ledger_count++;
    if (v->verifier != NULL && v->verifier->step != NULL &&
        v->proof->ledger_count % STEP_COUNT == 0)
        v->verifier->step(v->verifier->ctx, v->proof->ledger_count);
    v->proof->billed_only_count += !stored;
    v->predictions_met += prediction;
    v->tombstones_met += tombstone;
    enum rc rc = take_off(v, stmt, id);
    if (rc == RC_OK && stored && !prediction && !tombstone)
        rc = report(v, LEDGER_ALONE, id, 0);
    if (rc == RC_OK && prediction && tombstone)
        rc = report(v, LEDGER_BOTH, id, 0);
    if (rc == RC_OK && !stored && (prediction || tombstone))
        rc = report(v, LEDGER_EXTRA, id, 0);
    if (rc == RC_OK && prediction && sqlite_column_i64(stmt, 11) == 0)
        rc = report(v, PREDICTION_OTHER, id, 0);
    if (rc == RC_OK && tombstone && sqlite_column_i64(stmt, 13) == 0)
        rc = report(v, TOMBSTONE_OTHER, id, 0);
    return rc;
}

static enum rc check_ledger(struct verification *v, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(v->conn, STMT_VERIFY_LEDGER);
    sqlite_bind_text(stmt, 1, v->tenant);
    bool row = true;
    enum rc rc = RC_OK;
    while (rc == RC_OK && row) {
        rc = sqlite_step(stmt, &row, err);
        if (rc == RC_OK && row)
            rc = check_entry(v, stmt);
    }
    for (uint64_t i = 0; i < v->room && rc == RC_OK; i++)
        if (v->table[i].requests != 0 || v->table[i].images != 0)
            rc = report(v, SUM_OTHER, (struct id){0}, v->table[i].of.day);
    return rc;
}

static enum rc check_alone(struct verification *v, enum statement count_statement, uint64_t met,
                           enum statement statement, enum difference difference,
                           uint64_t *ret_count, struct error *err)
{
    enum rc rc = count_rows(v, count_statement, ret_count, err);
    if (rc != RC_OK || *ret_count == met)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(v->conn, statement);
    sqlite_bind_text(stmt, 1, v->tenant);
    bool row = true;
    while (rc == RC_OK && row) {
        rc = sqlite_step(stmt, &row, err);
        if (rc == RC_OK && row)
            rc = report(v, difference, sqlite_column_id(stmt, 0), 0);
    }
    return rc;
}

enum rc sqlite_results_verify(struct results *results, struct bytes tenant,
                              const struct results_verifier *verifier,
                              struct results_proof *ret_proof, struct error *err)
{
    struct results_proof proof = {0};
    struct verification v = {.tenant = tenant, .verifier = verifier, .proof = &proof};
    enum rc rc = sqlite_read(db_of(results), &v.conn, err);
    if (rc != RC_OK)
        return rc;
    rc = load_usage(&v, err);
    if (rc == RC_OK)
        rc = check_ledger(&v, err);
    if (rc == RC_OK)
        rc = check_alone(&v, STMT_VERIFY_PREDICTION_COUNT, v.predictions_met,
                         STMT_VERIFY_PREDICTION_ALONE, PREDICTION_ALONE, &proof.prediction_count,
                         err);
    if (rc == RC_OK)
        rc = check_alone(&v, STMT_VERIFY_TOMBSTONE_COUNT, v.tombstones_met,
                         STMT_VERIFY_TOMBSTONE_ALONE, TOMBSTONE_ALONE, &proof.tombstone_count, err);
    sqlite_read_end(v.conn);
    free(v.table);
    results_set_done(&v.memory);
    if (rc == RC_OK)
        *ret_proof = proof;
    return rc;
}

enum rc sqlite_results_tenant_next(struct results *results, const char *after, char *into,
                                   struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db_of(results), &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_TENANT_NEXT);
    sqlite_bind_text(stmt, 1, (struct bytes){(const uint8_t *)after, strlen(after)});
    bool row = false;
    rc = sqlite_step(stmt, &row, err);
    struct bytes tenant =
        rc == RC_OK && row ? sqlite_column_text(stmt, 0) : (struct bytes){NULL, 0};
    if (rc == RC_OK && tenant.size == 0)
        rc = error_set(err, RC_NOT_FOUND, "no tenant after '%s'", after);
    else if (rc == RC_OK)
        (void)snprintf(into, RESULT_TENANT_SIZE_MAX + 1, "%.*s", (int)tenant.size, tenant.data);
    sqlite_read_end(conn);
    return rc;
}
