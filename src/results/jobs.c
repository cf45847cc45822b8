/* SPDX-License-Identifier: Apache-2.0
 * jobs.c - the public functions of jobs: limits once for all drivers, then the driver. */
#include "results/cursor.h"
#include "results/limits.h"

#include <assert.h>

enum rc results_job_put(struct results *results, struct bytes tenant, const struct result_job *job,
                        struct error *err)
{
    assert(results != NULL && job != NULL);
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK)
        rc = check_job(job, err);
    return rc != RC_OK ? rc : results->ops->job_put(results, tenant, job, err);
}

enum rc results_job_get(struct results *results, struct bytes tenant, struct id id,
                        struct result_job_set *set, struct error *err)
{
    assert(results != NULL && set != NULL);
    result_job_set_clear(set);
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK)
        rc = results->ops->job_get(results, tenant, id, set, err);
    if (rc != RC_OK)
        result_job_set_clear(set);
    return rc;
}

enum rc results_job_list(struct results *results, struct bytes tenant, struct bytes cursor,
                         uint32_t limit, struct result_job_set *set, struct error *err)
{
    assert(results != NULL && set != NULL);
    result_job_set_clear(set);
    if (limit == 0 || limit > RESULTS_JOB_PAGE_MAX)
        return error_set(err, RC_INVALID, "a page has 1 to %u jobs", RESULTS_JOB_PAGE_MAX);
    enum rc rc = check_tenant(tenant, err);
    if (rc != RC_OK)
        return rc;
    uint64_t digest = cursor_digest_jobs(tenant);
    struct results_position position = {.created_ms = RESULT_TIME_MS_MAX + 1};
    if (cursor.size > 0) {
        rc = cursor_read(cursor, digest, &position, err);
        if (rc != RC_OK)
            return rc;
    }
    bool more = false;
    rc = results->ops->job_list(results, tenant, position, limit, set, &more, err);
    if (rc != RC_OK) {
        result_job_set_clear(set);
    } else if (more) {
        const struct result_job *last = &set->items[set->count - 1];
        position = (struct results_position){.created_ms = last->created_ms, .id = last->id};
        cursor_write(digest, position, set->next);
    }
    return rc;
}

enum rc results_job_end(struct results *results, struct bytes tenant, struct id id,
                        enum result_job_end end, struct bytes reason, uint64_t now_ms,
                        struct bytes payload, uint64_t payload_due_ms, bool *ret_first,
                        struct error *err)
{
    assert(results != NULL && ret_first != NULL);
    assert(end == RESULT_JOB_DONE || end == RESULT_JOB_DEAD || end == RESULT_JOB_CANCELLED);
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK)
        rc = check_job_end(reason, now_ms, payload, err);
    if (rc != RC_OK)
        return rc;
    return results->ops->job_end(results, tenant, id, end, reason, now_ms, payload, payload_due_ms,
                                 ret_first, err);
}

enum rc results_job_reopen(struct results *results, struct bytes tenant, struct id id,
                           struct error *err)
{
    assert(results != NULL);
    enum rc rc = check_tenant(tenant, err);
    return rc != RC_OK ? rc : results->ops->job_reopen(results, tenant, id, err);
}

enum rc results_job_open_list(struct results *results, const struct results_job_open *after,
                              uint32_t limit, struct results_job_open *into, uint32_t *ret_count,
                              struct error *err)
{
    assert(results != NULL && into != NULL && ret_count != NULL);
    assert(limit > 0 && limit <= RESULTS_JOB_PAGE_MAX);
    return results->ops->job_open_list(results, after, limit, into, ret_count, err);
}

enum rc results_job_needs_picture(struct results *results, struct bytes tenant,
                                  const uint8_t sha256[32], bool *ret_needed, struct error *err)
{
    assert(results != NULL && ret_needed != NULL);
    enum rc rc = check_tenant(tenant, err);
    if (rc != RC_OK)
        return rc;
    return results->ops->job_needs_picture(results, tenant, sha256, ret_needed, err);
}

enum rc results_job_sweep(struct results *results, struct bytes tenant, uint64_t before_ms,
                          uint32_t limit, uint32_t *ret_count, struct error *err)
{
    assert(results != NULL && ret_count != NULL);
    assert(limit > 0 && limit <= RESULTS_PUT_MAX);
    enum rc rc = check_tenant(tenant, err);
    if (rc != RC_OK)
        return rc;
    return results->ops->job_sweep(results, tenant, before_ms, limit, ret_count, err);
}

enum rc results_job_items(struct results *results, struct bytes tenant, struct id job_id,
                          uint32_t first_index, uint32_t limit, results_job_item_fn each, void *ctx,
                          struct error *err)
{
    assert(results != NULL && each != NULL);
    assert(limit > 0 && limit <= RESULTS_PAGE_MAX);
    enum rc rc = check_tenant(tenant, err);
    if (rc != RC_OK)
        return rc;
    return results->ops->job_items(results, tenant, job_id, first_index, limit, each, ctx, err);
}

enum rc results_job_progress(struct results *results, struct bytes tenant, struct id job_id,
                             uint64_t *ret_done, uint64_t *ret_failed, struct error *err)
{
    assert(results != NULL && ret_done != NULL && ret_failed != NULL);
    enum rc rc = check_tenant(tenant, err);
    if (rc != RC_OK)
        return rc;
    return results->ops->job_progress(results, tenant, job_id, ret_done, ret_failed, err);
}
