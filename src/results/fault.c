/* SPDX-License-Identifier: Apache-2.0
 * fault.c - a decorator that makes another driver's calls fail. */
#include "results/fault.h"
#include "results/driver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SCHEME "fault:"

struct results_fault {
    struct results base;
    struct results *inner;
    results_fault_fn fault;
    void *ctx;
};

static struct results_fault *fault_of(struct results *results)
{
    assert(results->ops == &results_fault);
    return (struct results_fault *)results;
}

void results_fault_set(struct results *results, results_fault_fn fault, void *ctx)
{
    struct results_fault *of = fault_of(results);
    of->fault = fault;
    of->ctx = ctx;
}

static enum rc ask(struct results_fault *of, enum results_op op, bool after, struct error *err)
{
    enum rc rc = of->fault != NULL ? of->fault(of->ctx, op, after) : RC_OK;
    return rc == RC_OK ? RC_OK
                       : error_set(err, rc, "injected %s the call", after ? "after" : "before");
}

/* Each function: ask, call the same of the inner driver, ask again. */
#define FORWARD(op, name, ...)                                                                     \
    struct results_fault *of = fault_of(results);                                                  \
    enum rc rc = ask(of, op, false, err);                                                          \
    if (rc == RC_OK)                                                                               \
        rc = of->inner->ops->name(of->inner, __VA_ARGS__);                                         \
    return rc == RC_OK ? ask(of, op, true, err) : rc

static enum rc fault_open(const char *url, struct results **ret_results, struct error *err)
{
    struct results_fault *of = calloc(1, sizeof(*of));
    if (of == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory to open %s", url);
    of->base.ops = &results_fault;
    enum rc rc = results_open(url + strlen(SCHEME), &of->inner, err);
    if (rc != RC_OK) {
        free(of);
        return rc;
    }
    *ret_results = &of->base;
    return RC_OK;
}

static void fault_free(struct results *results)
{
    results_free(fault_of(results)->inner);
    free(results);
}

static enum rc fault_put(struct results *results, struct result_commit *const commits[],
                         uint32_t count, struct error *err)
{
    FORWARD(RESULTS_PUT, put, commits, count, err);
}

static enum rc fault_get(struct results *results, struct bytes tenant, struct id id,
                         struct result_set *set, struct error *err)
{
    FORWARD(RESULTS_GET, get, tenant, id, set, err);
}

static enum rc fault_query(struct results *results, struct bytes tenant,
                           const struct results_filter *filter, struct results_position before,
                           uint32_t limit, struct result_set *set,
                           struct results_position *ret_next, bool *ret_more, struct error *err)
{
    FORWARD(RESULTS_QUERY, query, tenant, filter, before, limit, set, ret_next, ret_more, err);
}

static enum rc fault_erase(struct results *results, struct bytes tenant, struct id id,
                           uint64_t now_ms, struct results_removed *ret_removed, struct error *err)
{
    FORWARD(RESULTS_ERASE, erase, tenant, id, now_ms, ret_removed, err);
}

static enum rc fault_sweep(struct results *results, struct bytes tenant, uint64_t before_ms,
                           uint32_t limit, uint64_t now_ms, struct results_removed *into,
                           uint32_t *ret_count, struct error *err)
{
    FORWARD(RESULTS_SWEEP, sweep, tenant, before_ms, limit, now_ms, into, ret_count, err);
}

static enum rc fault_picture_used(struct results *results, struct bytes tenant,
                                  const uint8_t sha256[32], bool *ret_used, struct error *err)
{
    FORWARD(RESULTS_PICTURE_USED, picture_used, tenant, sha256, ret_used, err);
}

static enum rc fault_feedback_put(struct results *results, struct bytes tenant, struct id id,
                                  const struct result_feedback *feedback, struct error *err)
{
    FORWARD(RESULTS_FEEDBACK_PUT, feedback_put, tenant, id, feedback, err);
}

static enum rc fault_accuracy(struct results *results, struct bytes tenant, uint64_t from_ms,
                              uint64_t to_ms, results_accuracy_fn each, void *ctx,
                              struct error *err)
{
    FORWARD(RESULTS_ACCURACY, accuracy, tenant, from_ms, to_ms, each, ctx, err);
}

static enum rc fault_reserve(struct results *results, struct bytes tenant, struct bytes key,
                             const uint8_t fingerprint[32], struct id request_id, uint64_t now_ms,
                             uint64_t lease_until_ms, uint64_t expires_ms,
                             struct results_reservation *reservation, struct error *err)
{
    FORWARD(RESULTS_RESERVE, reserve, tenant, key, fingerprint, request_id, now_ms, lease_until_ms,
            expires_ms, reservation, err);
}

static enum rc fault_release(struct results *results, struct bytes tenant, struct bytes key,
                             uint32_t attempt, uint64_t now_ms, struct error *err)
{
    FORWARD(RESULTS_RELEASE, release, tenant, key, attempt, now_ms, err);
}

static enum rc fault_job_put(struct results *results, struct bytes tenant,
                             const struct result_job *job, struct error *err)
{
    FORWARD(RESULTS_JOB_PUT, job_put, tenant, job, err);
}

static enum rc fault_job_get(struct results *results, struct bytes tenant, struct id id,
                             struct result_job_set *set, struct error *err)
{
    FORWARD(RESULTS_JOB_GET, job_get, tenant, id, set, err);
}

static enum rc fault_job_list(struct results *results, struct bytes tenant,
                              struct results_position before, uint32_t limit,
                              struct result_job_set *set, bool *ret_more, struct error *err)
{
    FORWARD(RESULTS_JOB_LIST, job_list, tenant, before, limit, set, ret_more, err);
}

static enum rc fault_job_end(struct results *results, struct bytes tenant, struct id id,
                             enum result_job_end end, struct bytes reason, uint64_t now_ms,
                             struct bytes payload, uint64_t payload_due_ms, bool *ret_first,
                             struct error *err)
{
    FORWARD(RESULTS_JOB_END, job_end, tenant, id, end, reason, now_ms, payload, payload_due_ms,
            ret_first, err);
}

static enum rc fault_job_reopen(struct results *results, struct bytes tenant, struct id id,
                                struct error *err)
{
    FORWARD(RESULTS_JOB_REOPEN, job_reopen, tenant, id, err);
}

static enum rc fault_job_open_list(struct results *results, const struct results_job_open *after,
                                   uint32_t limit, struct results_job_open *into,
                                   uint32_t *ret_count, struct error *err)
{
    FORWARD(RESULTS_JOB_OPEN_LIST, job_open_list, after, limit, into, ret_count, err);
}

static enum rc fault_job_needs_picture(struct results *results, struct bytes tenant,
                                       const uint8_t sha256[32], bool *ret_needed,
                                       struct error *err)
{
    FORWARD(RESULTS_JOB_NEEDS_PICTURE, job_needs_picture, tenant, sha256, ret_needed, err);
}

static enum rc fault_job_sweep(struct results *results, struct bytes tenant, uint64_t before_ms,
                               uint32_t limit, uint32_t *ret_count, struct error *err)
{
    FORWARD(RESULTS_JOB_SWEEP, job_sweep, tenant, before_ms, limit, ret_count, err);
}

static enum rc fault_job_items(struct results *results, struct bytes tenant, struct id job_id,
                               uint32_t first_index, uint32_t limit, results_job_item_fn each,
                               void *ctx, struct error *err)
{
    FORWARD(RESULTS_JOB_ITEMS, job_items, tenant, job_id, first_index, limit, each, ctx, err);
}

static enum rc fault_job_progress(struct results *results, struct bytes tenant, struct id job_id,
                                  uint64_t *ret_done, uint64_t *ret_failed, struct error *err)
{
    FORWARD(RESULTS_JOB_PROGRESS, job_progress, tenant, job_id, ret_done, ret_failed, err);
}

static enum rc fault_usage(struct results *results, struct bytes tenant, uint32_t from_day,
                           uint32_t to_day, uint32_t group, results_quantity_fn each, void *ctx,
                           struct error *err)
{
    FORWARD(RESULTS_USAGE, usage, tenant, from_day, to_day, group, each, ctx, err);
}

static enum rc fault_ledger_find(struct results *results, struct bytes tenant, struct id request_id,
                                 uint32_t index_count, uint64_t *ret_images, uint64_t *ret_last_ms,
                                 struct error *err)
{
    FORWARD(RESULTS_LEDGER_FIND, ledger_find, tenant, request_id, index_count, ret_images,
            ret_last_ms, err);
}

static enum rc fault_verify(struct results *results, struct bytes tenant,
                            const struct results_verifier *verifier,
                            struct results_proof *ret_proof, struct error *err)
{
    FORWARD(RESULTS_VERIFY, verify, tenant, verifier, ret_proof, err);
}

static enum rc fault_outbox_take(struct results *results, uint64_t now_ms, uint64_t lease_until_ms,
                                 uint32_t limit, struct results_message *into, uint32_t *ret_count,
                                 struct error *err)
{
    FORWARD(RESULTS_OUTBOX_TAKE, outbox_take, now_ms, lease_until_ms, limit, into, ret_count, err);
}

static enum rc fault_outbox_done(struct results *results, uint64_t number, struct error *err)
{
    FORWARD(RESULTS_OUTBOX_DONE, outbox_done, number, err);
}

static enum rc fault_outbox_retry_at(struct results *results, uint64_t number, uint32_t attempt,
                                     uint64_t due_ms, struct error *err)
{
    FORWARD(RESULTS_OUTBOX_RETRY_AT, outbox_retry_at, number, attempt, due_ms, err);
}

static enum rc fault_expire(struct results *results, uint64_t now_ms, uint32_t limit,
                            uint32_t *ret_count, struct error *err)
{
    FORWARD(RESULTS_EXPIRE, expire, now_ms, limit, ret_count, err);
}

static enum rc fault_tenant_next(struct results *results, const char *after, char *into,
                                 struct error *err)
{
    FORWARD(RESULTS_TENANT_NEXT, tenant_next, after, into, err);
}

static enum rc fault_backup(struct results *results, const char *path, struct error *err)
{
    FORWARD(RESULTS_BACKUP, backup, path, err);
}

static enum rc fault_check(struct results *results, bool full, struct error *err)
{
    FORWARD(RESULTS_CHECK, check, full, err);
}

const struct results_ops results_fault = {
    .scheme = SCHEME,
    .open = fault_open,
    .free = fault_free,
    .put = fault_put,
    .get = fault_get,
    .query = fault_query,
    .erase = fault_erase,
    .sweep = fault_sweep,
    .picture_used = fault_picture_used,
    .feedback_put = fault_feedback_put,
    .accuracy = fault_accuracy,
    .reserve = fault_reserve,
    .release = fault_release,
    .job_put = fault_job_put,
    .job_get = fault_job_get,
    .job_list = fault_job_list,
    .job_end = fault_job_end,
    .job_reopen = fault_job_reopen,
    .job_open_list = fault_job_open_list,
    .job_needs_picture = fault_job_needs_picture,
    .job_sweep = fault_job_sweep,
    .job_items = fault_job_items,
    .job_progress = fault_job_progress,
    .usage = fault_usage,
    .ledger_find = fault_ledger_find,
    .verify = fault_verify,
    .outbox_take = fault_outbox_take,
    .outbox_done = fault_outbox_done,
    .outbox_retry_at = fault_outbox_retry_at,
    .expire = fault_expire,
    .tenant_next = fault_tenant_next,
    .backup = fault_backup,
    .check = fault_check,
};
