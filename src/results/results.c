/* SPDX-License-Identifier: Apache-2.0
 * results.c - the public functions: limits once for all drivers, then the driver. Those of jobs are
 * in jobs.c. */
#include "results/cursor.h"
#include "results/driver.h"
#include "results/limits.h"

#include <assert.h>
#include <string.h>

static const struct results_ops *const drivers[] = {
#define DRIVER(name) &results_##name,
#include "results/drivers.def"
#undef DRIVER
};

enum rc results_open(const char *url, struct results **ret_results, struct error *err)
{
    assert(url != NULL && ret_results != NULL);
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
        if (strncmp(url, drivers[i]->scheme, strlen(drivers[i]->scheme)) == 0)
            return drivers[i]->open(url, ret_results, err);
    return error_set(err, RC_INVALID, "there is no results driver for '%s'", url);
}

void results_free(struct results *results)
{
    if (results != NULL)
        results->ops->free(results);
}

enum rc results_put(struct results *results, struct result_commit *const commits[], uint32_t count,
                    struct error *err)
{
    assert(results != NULL && commits != NULL);
    assert(count > 0 && count <= RESULTS_PUT_MAX);
    uint32_t good_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct result *result = &commits[i]->prediction;
        result->id = id_derive(result->request_id, result->index);
        commits[i]->known = false;
        commits[i]->rc = check_commit(commits[i], err);
        good_count += commits[i]->rc == RC_OK;
    }
    if (good_count == 0)
        return RC_OK;
    enum rc rc = results->ops->put(results, commits, count, err);
    for (uint32_t i = 0; i < count && rc != RC_OK; i++)
        if (commits[i]->rc == RC_OK || commits[i]->rc == RC_GONE) {
            commits[i]->rc = rc;
            commits[i]->known = false;
        }
    return rc;
}

enum rc results_get(struct results *results, struct bytes tenant, struct id id,
                    struct result_set *set, struct error *err)
{
    assert(results != NULL && set != NULL);
    result_set_clear(set);
    enum rc rc = check_tenant(tenant, err);
    return rc != RC_OK ? rc : results->ops->get(results, tenant, id, set, err);
}

enum rc results_query(struct results *results, struct bytes tenant,
                      const struct results_filter *filter, struct bytes cursor, uint32_t limit,
                      struct result_set *set, struct error *err)
{
    assert(results != NULL && filter != NULL && set != NULL);
    result_set_clear(set);
    if (limit == 0 || limit > RESULTS_PAGE_MAX)
        return error_set(err, RC_INVALID, "a page has 1 to %u predictions", RESULTS_PAGE_MAX);
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK)
        rc = check_filter(filter, err);
    if (rc != RC_OK)
        return rc;
    uint64_t digest = cursor_digest(tenant, filter);
    /* Below (to_ms, zeros) is all that is before to_ms. */
    struct results_position position = {.created_ms = filter->to_ms != 0 ? filter->to_ms
                                                                         : RESULT_TIME_MS_MAX + 1};
    if (cursor.size > 0) {
        uint64_t end_ms = position.created_ms;
        rc = cursor_read(cursor, digest, &position, err);
        if (rc == RC_OK && (position.created_ms < filter->from_ms || position.created_ms >= end_ms))
            rc = error_set(err, RC_INVALID, "the cursor is outside the range of time");
        if (rc != RC_OK)
            return rc;
    }
    bool more = false;
    rc = results->ops->query(results, tenant, filter, position, limit, set, &position, &more, err);
    if (rc != RC_OK)
        result_set_clear(set);
    else if (more)
        cursor_write(digest, position, set->next);
    return rc;
}

enum rc results_erase(struct results *results, struct bytes tenant, struct id id, uint64_t now_ms,
                      struct results_removed *ret_removed, struct error *err)
{
    assert(results != NULL && ret_removed != NULL);
    *ret_removed = (struct results_removed){.id = id};
    enum rc rc = check_tenant(tenant, err);
    return rc != RC_OK ? rc : results->ops->erase(results, tenant, id, now_ms, ret_removed, err);
}

enum rc results_sweep(struct results *results, struct bytes tenant, uint64_t before_ms,
                      uint32_t limit, uint64_t now_ms, struct results_removed *into,
                      uint32_t *ret_count, struct error *err)
{
    assert(results != NULL && into != NULL && ret_count != NULL);
    assert(limit > 0 && limit <= RESULTS_PUT_MAX);
    enum rc rc = check_tenant(tenant, err);
    if (rc != RC_OK)
        return rc;
    return results->ops->sweep(results, tenant, before_ms, limit, now_ms, into, ret_count, err);
}

enum rc results_picture_used(struct results *results, struct bytes tenant, const uint8_t sha256[32],
                             bool *ret_used, struct error *err)
{
    assert(results != NULL && ret_used != NULL);
    enum rc rc = check_tenant(tenant, err);
    return rc != RC_OK ? rc : results->ops->picture_used(results, tenant, sha256, ret_used, err);
}

enum rc results_feedback_put(struct results *results, struct bytes tenant, struct id id,
                             const struct result_feedback *feedback, struct error *err)
{
    assert(results != NULL && feedback != NULL);
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK)
        rc = check_feedback(feedback, err);
    return rc != RC_OK ? rc : results->ops->feedback_put(results, tenant, id, feedback, err);
}

enum rc results_accuracy(struct results *results, struct bytes tenant, uint64_t from_ms,
                         uint64_t to_ms, results_accuracy_fn each, void *ctx, struct error *err)
{
    assert(results != NULL && each != NULL);
    enum rc rc = check_tenant(tenant, err);
    if (rc != RC_OK)
        return rc;
    if (to_ms == 0)
        to_ms = RESULT_TIME_MS_MAX + 1;
    return results->ops->accuracy(results, tenant, from_ms, to_ms, each, ctx, err);
}

enum rc results_reserve(struct results *results, struct bytes tenant, struct bytes key,
                        const uint8_t fingerprint[32], struct id request_id, uint64_t now_ms,
                        uint64_t lease_until_ms, uint64_t expires_ms,
                        struct results_reservation *reservation, struct error *err)
{
    assert(results != NULL && reservation != NULL);
    buf_clear(&reservation->answer);
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK)
        rc = check_key(key, err);
    if (rc == RC_OK && (lease_until_ms <= now_ms || expires_ms < lease_until_ms ||
                        expires_ms > RESULT_TIME_MS_MAX))
        rc = error_set(err, RC_INVALID, "a lease ends after now, and not after its reservation");
    if (rc != RC_OK)
        return rc;
    return results->ops->reserve(results, tenant, key, fingerprint, request_id, now_ms,
                                 lease_until_ms, expires_ms, reservation, err);
}

enum rc results_release(struct results *results, struct bytes tenant, struct bytes key,
                        uint32_t attempt, uint64_t now_ms, struct error *err)
{
    assert(results != NULL);
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK)
        rc = check_key(key, err);
    return rc != RC_OK ? rc : results->ops->release(results, tenant, key, attempt, now_ms, err);
}

enum rc results_usage(struct results *results, struct bytes tenant, uint32_t from_day,
                      uint32_t to_day, uint32_t group, results_quantity_fn each, void *ctx,
                      struct error *err)
{
    assert(results != NULL && each != NULL);
    assert(group < 2 * RESULTS_BY_PLAN);
    enum rc rc = check_tenant(tenant, err);
    if (rc != RC_OK)
        return rc;
    return results->ops->usage(results, tenant, from_day, to_day, group, each, ctx, err);
}

enum rc results_ledger_find(struct results *results, struct bytes tenant, struct id request_id,
                            uint32_t index_count, uint64_t *ret_images, uint64_t *ret_last_ms,
                            struct error *err)
{
    assert(results != NULL && ret_images != NULL && ret_last_ms != NULL);
    assert(index_count <= RESULTS_INDEX_MAX);
    enum rc rc = check_tenant(tenant, err);
    if (rc != RC_OK)
        return rc;
    return results->ops->ledger_find(results, tenant, request_id, index_count, ret_images,
                                     ret_last_ms, err);
}

enum rc results_verify(struct results *results, struct bytes tenant,
                       const struct results_verifier *verifier, struct results_proof *ret_proof,
                       struct error *err)
{
    assert(results != NULL && ret_proof != NULL);
    *ret_proof = (struct results_proof){0};
    enum rc rc = check_tenant(tenant, err);
    return rc != RC_OK ? rc : results->ops->verify(results, tenant, verifier, ret_proof, err);
}

enum rc results_outbox_take(struct results *results, uint64_t now_ms, uint64_t lease_until_ms,
                            uint32_t limit, struct results_message *into, uint32_t *ret_count,
                            struct error *err)
{
    assert(results != NULL && into != NULL && ret_count != NULL);
    assert(limit > 0 && limit <= RESULTS_TAKE_MAX && lease_until_ms > now_ms);
    return results->ops->outbox_take(results, now_ms, lease_until_ms, limit, into, ret_count, err);
}

enum rc results_outbox_done(struct results *results, uint64_t number, struct error *err)
{
    assert(results != NULL);
    return results->ops->outbox_done(results, number, err);
}

enum rc results_outbox_retry_at(struct results *results, uint64_t number, uint32_t attempt,
                                uint64_t due_ms, struct error *err)
{
    assert(results != NULL);
    return results->ops->outbox_retry_at(results, number, attempt, due_ms, err);
}

enum rc results_expire(struct results *results, uint64_t now_ms, uint32_t limit,
                       uint32_t *ret_count, struct error *err)
{
    assert(results != NULL && ret_count != NULL);
    return results->ops->expire(results, now_ms, limit, ret_count, err);
}

enum rc results_tenant_next(struct results *results, const char *after,
                            char into[RESULT_TENANT_SIZE_MAX + 1], struct error *err)
{
    assert(results != NULL && after != NULL && into != NULL);
    return results->ops->tenant_next(results, after, into, err);
}

enum rc results_backup(struct results *results, const char *path, struct error *err)
{
    assert(results != NULL && path != NULL);
    return results->ops->backup(results, path, err);
}

enum rc results_check(struct results *results, bool full, struct error *err)
{
    assert(results != NULL);
    return results->ops->check(results, full, err);
}
