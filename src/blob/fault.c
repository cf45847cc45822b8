/* SPDX-License-Identifier: Apache-2.0
 * fault.c - a decorator: another driver, and failures when a test asks for them. */
#include "blob/fault.h"
#include "blob/driver.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct fault {
    struct blob base;
    struct blob *inner;
    pthread_mutex_t mutex; /* of what follows */
    struct blob_fault plan;
    uint32_t seen_count;
    uint32_t failed_count;
};

static struct fault *fault_of(struct blob *blob)
{
    assert(blob->ops == &blob_fault);
    return (struct fault *)blob;
}

static enum rc fault_open(const char *place, struct blob **ret_blob, struct error *err)
{
    struct fault *fault = calloc(1, sizeof(*fault));
    if (fault == NULL)
        return error_set(err, RC_NO_MEMORY, "opening the store that fails");
    enum rc rc = blob_open(&(struct blob_config){.url = place}, &fault->inner, err);
    if (rc != RC_OK) {
        free(fault);
        return rc;
    }
    fault->base.ops = &blob_fault;
    (void)pthread_mutex_init(&fault->mutex, NULL);
    *ret_blob = &fault->base;
    return RC_OK;
}

static void fault_free(struct blob *blob)
{
    struct fault *fault = fault_of(blob);
    blob_free(fault->inner);
    (void)pthread_mutex_destroy(&fault->mutex);
    free(fault);
}

void blob_fault_set(struct blob *blob, const struct blob_fault *plan)
{
    struct fault *fault = fault_of(blob);
    (void)pthread_mutex_lock(&fault->mutex);
    fault->plan = plan != NULL ? *plan : (struct blob_fault){0};
    fault->seen_count = fault->failed_count = 0;
    (void)pthread_mutex_unlock(&fault->mutex);
}

uint32_t blob_fault_count(struct blob *blob)
{
    struct fault *fault = fault_of(blob);
    (void)pthread_mutex_lock(&fault->mutex);
    uint32_t count = fault->failed_count;
    (void)pthread_mutex_unlock(&fault->mutex);
    return count;
}

/* What is to happen to one call. RC_OK: nothing. */
struct verdict {
    enum rc rc;
    bool lose_answer;
};

static struct verdict judge(struct fault *fault, enum blob_call call)
{
    struct verdict verdict = {RC_OK, false};
    (void)pthread_mutex_lock(&fault->mutex);
    const struct blob_fault *plan = &fault->plan;
    if (plan->rc != RC_OK && plan->call == call && fault->seen_count++ >= plan->skip_count &&
        (plan->fail_count == UINT32_MAX || fault->failed_count < plan->fail_count)) {
        fault->failed_count++;
        verdict = (struct verdict){plan->rc, plan->lose_answer};
    }
    (void)pthread_mutex_unlock(&fault->mutex);
    return verdict;
}

static enum rc injected(enum rc rc, struct error *err)
{
    return error_set(err, rc, "a failure that a test asked for");
}

/* The call itself, unless it is to fail before it does anything; then perhaps another answer. */
#define CALL(blob, kind, err, call)                                                                \
    __extension__({                                                                                \
        struct verdict verdict = judge(fault_of(blob), (kind));                                    \
        enum rc called_rc = verdict.rc == RC_OK || verdict.lose_answer ? (call) : RC_OK;           \
        verdict.rc != RC_OK ? injected(verdict.rc, (err)) : called_rc;                             \
    })

static void fault_put(struct blob *blob, struct blob_item items[], uint32_t count, uint64_t now_ms)
{
    struct fault *fault = fault_of(blob);
    struct verdict verdicts[BLOB_PUT_COUNT_MAX];
    struct blob_item *passed = calloc(count, sizeof(*passed));
    uint32_t passed_count = 0;
    if (passed == NULL)
        abort(); /* A test program: there is nothing to save. */
    for (uint32_t i = 0; i < count; i++) {
        verdicts[i] = items[i].rc == RC_OK ? judge(fault, BLOB_PUT) : (struct verdict){RC_OK, 0};
        if (items[i].rc == RC_OK && (verdicts[i].rc == RC_OK || verdicts[i].lose_answer))
            passed[passed_count++] = items[i];
    }
    enum rc rc = blob_put(fault->inner, passed, passed_count, now_ms, NULL);
    (void)rc; /* The items say it. */
    passed_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].rc != RC_OK)
            continue;
        if (verdicts[i].rc == RC_OK || verdicts[i].lose_answer)
            items[i] = passed[passed_count++];
        if (verdicts[i].rc != RC_OK)
            items[i].rc = injected(verdicts[i].rc, &items[i].err);
    }
    free(passed);
}

static enum rc fault_get(struct blob *blob, const char *tenant, const uint8_t *sha256,
                         struct buf *into, struct error *err)
{
    enum rc rc =
        CALL(blob, BLOB_GET, err, blob_get(fault_of(blob)->inner, tenant, sha256, into, err));
    if (rc != RC_OK)
        buf_clear(into);
    return rc;
}

static enum rc fault_stat(struct blob *blob, const char *tenant, const uint8_t *sha256,
                          struct blob_info *ret_info, struct error *err)
{
    struct blob_info info = {0};
    enum rc rc =
        CALL(blob, BLOB_STAT, err, blob_stat(fault_of(blob)->inner, tenant, sha256, &info, err));
    if (rc == RC_OK)
        *ret_info = info;
    return rc;
}

static enum rc fault_delete(struct blob *blob, const char *tenant, const uint8_t *sha256,
                            uint64_t renewed_before_ms, struct error *err)
{
    return CALL(blob, BLOB_DELETE, err,
                blob_delete(fault_of(blob)->inner, tenant, sha256, renewed_before_ms, err));
}

static enum rc fault_list(struct blob *blob, const char *tenant, const uint8_t *after,
                          struct blob_entry entries[], uint32_t count_max, uint32_t *ret_count,
                          struct error *err)
{
    uint32_t count = 0;
    enum rc rc =
        CALL(blob, BLOB_LIST, err,
             blob_list(fault_of(blob)->inner, tenant, after, entries, count_max, &count, err));
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

static enum rc fault_tenant_next(struct blob *blob, const char *after, char *into,
                                 struct error *err)
{
    return CALL(blob, BLOB_TENANT_NEXT, err,
                blob_tenant_next(fault_of(blob)->inner, after, into, err));
}

static enum rc fault_sweep(struct blob *blob, struct blob_sweep *sweep, uint64_t now_ms,
                           struct error *err)
{
    return CALL(blob, BLOB_SWEEP, err, blob_sweep(fault_of(blob)->inner, sweep, now_ms, err));
}

static enum rc fault_restore(struct blob *blob, const char *tenant, const uint8_t *sha256,
                             const struct blob_restore *restore, enum blob_presence *ret_presence,
                             struct error *err)
{
    return blob_restore(fault_of(blob)->inner, tenant, sha256, restore, ret_presence, err);
}

const struct blob_ops blob_fault = {
    .scheme = "fault:",
    .open = fault_open,
    .free = fault_free,
    .put = fault_put,
    .get = fault_get,
    .stat = fault_stat,
    .delete = fault_delete,
    .list = fault_list,
    .tenant_next = fault_tenant_next,
    .sweep = fault_sweep,
    .restore = fault_restore,
};
