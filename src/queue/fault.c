/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/fault.h"

#include "queue/driver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct fault {
    struct queue base;
    struct queue *inner;
    queue_fault_fn *decide;
    void *ctx;
};

static struct fault *fault_of(struct queue *queue)
{
    assert(queue->ops == &queue_fault);
    return (struct fault *)queue;
}

void queue_fault_set(struct queue *queue, queue_fault_fn *decide, void *ctx)
{
    struct fault *fault = fault_of(queue);
    fault->decide = decide;
    fault->ctx = ctx;
}

static enum rc fault_open(const struct queue_config *config, struct queue **ret_queue,
                          struct error *err)
{
    struct queue_config inner = *config;
    inner.url += strlen(queue_fault.scheme);
    struct fault *fault = calloc(1, sizeof(*fault));
    if (fault == NULL)
        return error_set(err, RC_NO_MEMORY, "opening '%s'", config->url);
    enum rc rc = queue_open(&inner, &fault->inner, err);
    if (rc != RC_OK) {
        free(fault);
        return rc;
    }
    *ret_queue = &fault->base;
    return RC_OK;
}

static void fault_free(struct queue *queue)
{
    struct fault *fault = (struct fault *)queue;
    queue_free(fault->inner);
    free(fault);
}

static enum queue_fault decide(struct queue *queue, enum queue_call call)
{
    struct fault *fault = fault_of(queue);
    return fault->decide != NULL ? fault->decide(fault->ctx, call) : QUEUE_FAULT_NONE;
}

static enum rc verdict(enum queue_fault fault, enum rc rc, struct error *err)
{
    return fault == QUEUE_FAULT_NONE
               ? rc
               : error_set(err, RC_UNAVAILABLE, "a fault of the test, %s the call",
                           fault == QUEUE_FAULT_BEFORE ? "before" : "after");
}

static enum rc fault_push(struct queue *queue, const struct queue_message messages[],
                          uint32_t count, uint64_t now_ms, enum rc ret_rcs[], struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_PUSH);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->push(inner, messages, count, now_ms, ret_rcs, err);
    return verdict(fault, rc, err);
}

static enum rc fault_lease(struct queue *queue, uint32_t count_max, uint64_t lease_ms,
                           uint64_t now_ms, struct queue_leased *leased, struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_LEASE);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->lease(inner, count_max, lease_ms, now_ms, leased, err);
    return verdict(fault, rc, err);
}

static enum rc fault_extend(struct queue *queue, const struct queue_receipt receipts[],
                            uint32_t count, uint64_t until_ms, uint64_t now_ms, enum rc ret_rcs[],
                            struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_EXTEND);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->extend(inner, receipts, count, until_ms, now_ms, ret_rcs, err);
    return verdict(fault, rc, err);
}

static enum rc fault_ack(struct queue *queue, const struct queue_receipt receipts[], uint32_t count,
                         uint64_t now_ms, enum rc ret_rcs[], struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_ACK);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->ack(inner, receipts, count, now_ms, ret_rcs, err);
    return verdict(fault, rc, err);
}

static enum rc fault_fail(struct queue *queue, const struct queue_receipt *receipt,
                          const char *reason, uint64_t retry_at_ms, uint64_t now_ms,
                          enum job_state *ret_state, struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_FAIL);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->fail(inner, receipt, reason, retry_at_ms, now_ms, ret_state, err);
    return verdict(fault, rc, err);
}

static enum rc fault_release(struct queue *queue, const struct queue_receipt *receipt,
                             uint64_t at_ms, uint64_t now_ms, enum job_state *ret_state,
                             struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_RELEASE);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->release(inner, receipt, at_ms, now_ms, ret_state, err);
    return verdict(fault, rc, err);
}

static enum rc fault_cancel(struct queue *queue, const char *tenant, struct id id, uint64_t now_ms,
                            enum job_state *ret_state, struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_CANCEL);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->cancel(inner, tenant, id, now_ms, ret_state, err);
    return verdict(fault, rc, err);
}

static enum rc fault_get(struct queue *queue, const char *tenant, struct id id,
                         struct queue_info *ret_info, struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_GET);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->get(inner, tenant, id, ret_info, err);
    return verdict(fault, rc, err);
}

static enum rc fault_dead_list(struct queue *queue, const char *tenant, const struct id *before,
                               uint32_t max, struct queue_info into[], uint32_t *ret_count,
                               struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_DEAD_LIST);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->dead_list(inner, tenant, before, max, into, ret_count, err);
    return verdict(fault, rc, err);
}

static enum rc fault_dead_retry(struct queue *queue, const char *tenant, struct id id,
                                uint64_t now_ms, struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_DEAD_RETRY);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->dead_retry(inner, tenant, id, now_ms, err);
    return verdict(fault, rc, err);
}

static enum rc fault_purge(struct queue *queue, const char *tenant, enum job_state state,
                           uint64_t now_ms, uint32_t *ret_count, struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_PURGE);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->purge(inner, tenant, state, now_ms, ret_count, err);
    return verdict(fault, rc, err);
}

static enum rc fault_stats(struct queue *queue, const char *tenant, uint64_t now_ms,
                           struct queue_stats *ret_stats, struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_STATS);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->stats(inner, tenant, now_ms, ret_stats, err);
    return verdict(fault, rc, err);
}

static enum rc fault_tenants(struct queue *queue, const char *after, uint32_t max, uint64_t now_ms,
                             struct queue_stats into[], uint32_t *ret_count, struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_TENANTS);
    enum rc rc = RC_OK;
    if (fault != QUEUE_FAULT_BEFORE)
        rc = inner->ops->tenants(inner, after, max, now_ms, into, ret_count, err);
    return verdict(fault, rc, err);
}

/* Traits are the inner driver's when that is SQLite, the only one wrapped so far. */
static enum rc fault_backup(struct queue *queue, const char *path, struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_BACKUP);
    enum rc rc = fault == QUEUE_FAULT_BEFORE ? RC_OK : inner->ops->backup(inner, path, err);
    return verdict(fault, rc, err);
}

static enum rc fault_check(struct queue *queue, bool full, struct error *err)
{
    struct queue *inner = fault_of(queue)->inner;
    enum queue_fault fault = decide(queue, QUEUE_CALL_CHECK);
    enum rc rc = fault == QUEUE_FAULT_BEFORE ? RC_OK : inner->ops->check(inner, full, err);
    return verdict(fault, rc, err);
}

const struct queue_ops queue_fault = {
    .backup = fault_backup,
    .check = fault_check,
    .scheme = "fault:",
    .open = fault_open,
    .free = fault_free,
    .push = fault_push,
    .lease = fault_lease,
    .extend = fault_extend,
    .ack = fault_ack,
    .fail = fault_fail,
    .release = fault_release,
    .cancel = fault_cancel,
    .get = fault_get,
    .dead_list = fault_dead_list,
    .dead_retry = fault_dead_retry,
    .purge = fault_purge,
    .stats = fault_stats,
    .tenants = fault_tenants,
};
