/* SPDX-License-Identifier: Apache-2.0
 * queue.c - the public functions: limits and waking, once for all drivers. */
#include "queue/driver.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DELIVERY_COUNT_MAX_DEFAULT 5u
#define TENANT_COUNT_MAX_DEFAULT   1000000u
#define RETENTION_MS_DEFAULT       (24ull * 3600 * 1000)
#define DEAD_RETENTION_MS_DEFAULT  (30ull * 24 * 3600 * 1000)
#define TIME_MS_MAX                253402300799999ull /* the end of the year 9999 */

static const struct queue_ops *const drivers[] = {
#define DRIVER(name) &queue_##name,
#include "queue/drivers.def"
#undef DRIVER
};

struct queue_leased *queue_leased_open(void)
{
    struct queue_leased *leased = calloc(1, sizeof(*leased));
    if (leased != NULL)
        leased->payloads.size_max = QUEUE_LEASE_SIZE_MAX;
    return leased;
}

void queue_leased_free(struct queue_leased *leased)
{
    if (leased == NULL)
        return;
    buf_done(&leased->payloads);
    free(leased);
}

enum rc queue_leased_add(struct queue_leased *leased, struct bytes payload,
                         struct queue_delivery **ret_item)
{
    assert(leased->count < QUEUE_LEASE_COUNT_MAX);
    enum rc rc = buf_append(&leased->payloads, payload);
    if (rc != RC_OK)
        return rc;
    struct queue_delivery *item = &leased->items[leased->count++];
    *item = (struct queue_delivery){.payload = {.size = payload.size}};
    *ret_item = item;
    return RC_OK;
}

static enum rc bell_init(struct queue *queue)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int failed = pthread_cond_init(&queue->bell_rung, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    if (failed == 0 && pthread_mutex_init(&queue->bell_lock, NULL) != 0) {
        (void)pthread_cond_destroy(&queue->bell_rung);
        failed = 1;
    }
    queue->bell = 1;
    return failed == 0 ? RC_OK : RC_NO_MEMORY;
}

enum rc queue_open(const struct queue_config *config, struct queue **ret_queue, struct error *err)
{
    assert(config != NULL && config->url != NULL && ret_queue != NULL);
    struct queue_config full = *config;
    if (full.delivery_count_max == 0)
        full.delivery_count_max = DELIVERY_COUNT_MAX_DEFAULT;
    if (full.tenant_count_max == 0)
        full.tenant_count_max = TENANT_COUNT_MAX_DEFAULT;
    if (full.retention_ms == 0)
        full.retention_ms = RETENTION_MS_DEFAULT;
    if (full.dead_retention_ms == 0)
        full.dead_retention_ms = DEAD_RETENTION_MS_DEFAULT;
    if (full.retention_ms > TIME_MS_MAX || full.dead_retention_ms > TIME_MS_MAX)
        return error_set(err, RC_INVALID, "a queue's retention ends at the year 9999");
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        if (strncmp(full.url, drivers[i]->scheme, strlen(drivers[i]->scheme)) != 0)
            continue;
        struct queue *queue = NULL;
        enum rc rc = drivers[i]->open(&full, &queue, err);
        if (rc != RC_OK)
            return rc;
        queue->ops = drivers[i];
        if (bell_init(queue) != RC_OK) {
            drivers[i]->free(queue);
            return error_set(err, RC_NO_MEMORY, "opening the queue '%s'", full.url);
        }
        *ret_queue = queue;
        return RC_OK;
    }
    return error_set(err, RC_INVALID, "there is no queue driver for '%s' in this build", full.url);
}

void queue_free(struct queue *queue)
{
    if (queue == NULL)
        return;
    (void)pthread_cond_destroy(&queue->bell_rung);
    (void)pthread_mutex_destroy(&queue->bell_lock);
    queue->ops->free(queue);
}

struct queue_traits queue_traits(const struct queue *queue) { return queue->ops->traits; }

void queue_wake(struct queue *queue)
{
    (void)pthread_mutex_lock(&queue->bell_lock);
    queue->bell++;
    (void)pthread_cond_broadcast(&queue->bell_rung);
    (void)pthread_mutex_unlock(&queue->bell_lock);
}

uint64_t queue_bell(struct queue *queue)
{
    (void)pthread_mutex_lock(&queue->bell_lock);
    uint64_t bell = queue->bell;
    (void)pthread_mutex_unlock(&queue->bell_lock);
    return bell;
}

bool queue_wait(struct queue *queue, uint64_t bell, uint32_t timeout_ms)
{
    uint64_t until_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;
    struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_S),
                             .tv_nsec = (long)(until_ns % NS_PER_S)};
    (void)pthread_mutex_lock(&queue->bell_lock);
    int failed = 0;
    while (queue->bell == bell && failed != ETIMEDOUT)
        failed = pthread_cond_timedwait(&queue->bell_rung, &queue->bell_lock, &until);
    bool rung = queue->bell != bell;
    (void)pthread_mutex_unlock(&queue->bell_lock);
    return rung;
}

static bool tenant_valid(const char *tenant)
{
    size_t size = 0;
    for (; tenant[size] != '\0'; size++) {
        char c = tenant[size];
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && size > 0);
        if (!letter || size == QUEUE_TENANT_SIZE - 1)
            return false;
    }
    return size > 0;
}

static enum rc check_tenant(const char *tenant, struct error *err)
{
    assert(tenant != NULL);
    return tenant_valid(tenant) ? RC_OK : error_set(err, RC_INVALID, "this is not a tenant's name");
}

static enum rc check_times(uint64_t now_ms, uint64_t then_ms, uint64_t delay_ms_max,
                           struct error *err)
{
    if (now_ms > TIME_MS_MAX)
        return error_set(err, RC_INVALID, "the clock is past the year 9999");
    if (then_ms > now_ms && then_ms - now_ms > delay_ms_max)
        return error_set(err, RC_INVALID, "%llu ms ahead; %llu is the most",
                         (unsigned long long)(then_ms - now_ms), (unsigned long long)delay_ms_max);
    return RC_OK;
}

static enum rc check_max(uint32_t count, uint32_t max, struct error *err)
{
    return count > 0 && count <= max
               ? RC_OK
               : error_set(err, RC_INVALID, "%u items in one call; 1..%u can be", count, max);
}

/* The code of the whole call from the driver's and the items'. */
static enum rc conclude(enum rc rc, enum rc rcs[], uint32_t count)
{
    if (rc != RC_OK) {
        for (uint32_t i = 0; i < count; i++)
            rcs[i] = rc;
        return rc;
    }
    for (uint32_t i = 0; i < count && rc == RC_OK; i++)
        rc = rcs[i];
    return rc;
}

static enum rc check_message(const struct queue_message *message, uint64_t now_ms,
                             struct error *err)
{
    enum rc rc = check_tenant(message->tenant, err);
    if (rc == RC_OK)
        rc = check_times(now_ms, message->not_before_ms, QUEUE_DELAY_MS_MAX, err);
    if (rc == RC_OK && message->payload.size > QUEUE_PAYLOAD_SIZE_MAX)
        rc = error_set(err, RC_TOO_LARGE, "a payload of %zu bytes; %u is the most",
                       message->payload.size, QUEUE_PAYLOAD_SIZE_MAX);
    return rc;
}

/* A wrong item is taken out before the driver sees the rest: `good` has the right ones, `places`
 * where they came from. */
static uint32_t sort_out(const struct queue_message messages[], uint32_t count, uint64_t now_ms,
                         enum rc rcs[], struct queue_message good[], uint32_t places[],
                         struct error *err)
{
    uint32_t good_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        rcs[i] = check_message(&messages[i], now_ms, err);
        if (rcs[i] != RC_OK)
            continue;
        good[good_count] = messages[i];
        places[good_count++] = i;
    }
    return good_count;
}

enum rc queue_push(struct queue *queue, const struct queue_message messages[], uint32_t count,
                   uint64_t now_ms, enum rc ret_rcs[], struct error *err)
{
    assert(queue != NULL && messages != NULL);
    struct queue_message *good = NULL;
    enum rc own[2 * QUEUE_PUSH_COUNT_MAX];
    enum rc *driver_rcs = own + QUEUE_PUSH_COUNT_MAX;
    enum rc *rcs = ret_rcs != NULL ? ret_rcs : own;
    uint32_t places[QUEUE_PUSH_COUNT_MAX];
    enum rc rc = check_max(count, QUEUE_PUSH_COUNT_MAX, err);
    if (rc != RC_OK)
        return rc;
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += messages[i].payload.size < QUEUE_PUSH_SIZE_MAX ? messages[i].payload.size : 0;
    rc = check_times(now_ms, now_ms, 0, err);
    if (rc == RC_OK && size > QUEUE_PUSH_SIZE_MAX)
        rc = error_set(err, RC_TOO_LARGE, "payloads of %zu bytes in one call; %u is the most", size,
                       QUEUE_PUSH_SIZE_MAX);
    if (rc == RC_OK && (good = calloc(count, sizeof(good[0]))) == NULL)
        rc = error_set(err, RC_NO_MEMORY, "pushing %u messages", count);
    if (rc != RC_OK)
        return conclude(rc, rcs, count);
    uint32_t good_count = sort_out(messages, count, now_ms, rcs, good, places, err);
    for (uint32_t i = 0; i < good_count; i++)
        driver_rcs[i] = RC_OK;
    if (good_count > 0)
        rc = queue->ops->push(queue, good, good_count, now_ms, driver_rcs, err);
    for (uint32_t i = 0; i < good_count; i++)
        rcs[places[i]] = rc != RC_OK ? rc : driver_rcs[i];
    free(good);
    queue_wake(queue);
    return conclude(RC_OK, rcs, count);
}

enum rc queue_lease(struct queue *queue, uint32_t count_max, uint64_t lease_ms, uint64_t now_ms,
                    struct queue_leased *leased, struct error *err)
{
    assert(queue != NULL && leased != NULL);
    leased->count = 0;
    buf_clear(&leased->payloads);
    leased->bell = queue_bell(queue);
    enum rc rc = check_max(count_max, QUEUE_LEASE_COUNT_MAX, err);
    if (rc == RC_OK && (lease_ms == 0 || lease_ms > QUEUE_LEASE_MS_MAX))
        rc = error_set(err, RC_INVALID, "a lease of %llu ms is outside 1..%u",
                       (unsigned long long)lease_ms, QUEUE_LEASE_MS_MAX);
    if (rc == RC_OK)
        rc = check_times(now_ms, now_ms, 0, err);
    if (rc == RC_OK)
        rc = queue->ops->lease(queue, count_max, lease_ms, now_ms, leased, err);
    if (rc != RC_OK) {
        leased->count = 0;
        return rc;
    }
    const uint8_t *at = leased->payloads.data;
    for (uint32_t i = 0; i < leased->count; i++) {
        leased->items[i].payload.data = at;
        at += leased->items[i].payload.size;
    }
    return RC_OK;
}

enum rc queue_extend(struct queue *queue, const struct queue_receipt receipts[], uint32_t count,
                     uint64_t until_ms, uint64_t now_ms, enum rc ret_rcs[], struct error *err)
{
    assert(queue != NULL && receipts != NULL);
    enum rc own[QUEUE_LEASE_COUNT_MAX] = {RC_OK};
    enum rc *rcs = ret_rcs != NULL ? ret_rcs : own;
    enum rc rc = check_max(count, QUEUE_LEASE_COUNT_MAX, err);
    if (rc != RC_OK)
        return rc;
    (void)memset(rcs, 0, count * sizeof(rcs[0]));
    rc = check_times(now_ms, until_ms, QUEUE_LEASE_MS_MAX, err);
    if (rc == RC_OK && until_ms <= now_ms)
        rc = error_set(err, RC_INVALID, "a lease can only be extended into the future");
    if (rc == RC_OK)
        rc = queue->ops->extend(queue, receipts, count, until_ms, now_ms, rcs, err);
    return conclude(rc, rcs, count);
}

enum rc queue_ack(struct queue *queue, const struct queue_receipt receipts[], uint32_t count,
                  uint64_t now_ms, enum rc ret_rcs[], struct error *err)
{
    assert(queue != NULL && receipts != NULL);
    enum rc own[QUEUE_LEASE_COUNT_MAX] = {RC_OK};
    enum rc *rcs = ret_rcs != NULL ? ret_rcs : own;
    enum rc rc = check_max(count, QUEUE_LEASE_COUNT_MAX, err);
    if (rc != RC_OK)
        return rc;
    (void)memset(rcs, 0, count * sizeof(rcs[0]));
    rc = check_times(now_ms, now_ms, 0, err);
    if (rc == RC_OK)
        rc = queue->ops->ack(queue, receipts, count, now_ms, rcs, err);
    return conclude(rc, rcs, count);
}

/* Cut where a character begins, so that UTF-8 stays UTF-8. */
static void cut_reason(const char *reason, char into[QUEUE_REASON_SIZE])
{
    size_t size = strnlen(reason, QUEUE_REASON_SIZE);
    if (size == QUEUE_REASON_SIZE)
        for (size--; size > 0 && ((unsigned char)reason[size] & 0xc0) == 0x80; size--)
            continue;
    (void)memcpy(into, reason, size);
    into[size] = '\0';
}

enum rc queue_fail(struct queue *queue, const struct queue_receipt *receipt, const char *reason,
                   uint64_t retry_at_ms, uint64_t now_ms, enum job_state *ret_state,
                   struct error *err)
{
    assert(queue != NULL && receipt != NULL && reason != NULL);
    char cut[QUEUE_REASON_SIZE];
    enum job_state state = JOB_FAILED;
    enum rc rc = check_times(now_ms, retry_at_ms, QUEUE_DELAY_MS_MAX, err);
    if (rc != RC_OK)
        return rc;
    cut_reason(reason, cut);
    rc = queue->ops->fail(queue, receipt, cut, retry_at_ms, now_ms, &state, err);
    if (rc != RC_OK)
        return rc;
    if (ret_state != NULL)
        *ret_state = state;
    queue_wake(queue);
    return RC_OK;
}

enum rc queue_release(struct queue *queue, const struct queue_receipt *receipt, uint64_t at_ms,
                      uint64_t now_ms, enum job_state *ret_state, struct error *err)
{
    assert(queue != NULL && receipt != NULL);
    enum job_state state = JOB_QUEUED;
    enum rc rc = check_times(now_ms, at_ms != 0 ? at_ms : now_ms, QUEUE_DELAY_MS_MAX, err);
    if (rc == RC_OK)
        rc = queue->ops->release(queue, receipt, at_ms, now_ms, &state, err);
    if (rc != RC_OK)
        return rc;
    if (ret_state != NULL)
        *ret_state = state;
    queue_wake(queue);
    return RC_OK;
}

enum rc queue_cancel(struct queue *queue, const char *tenant, struct id id, uint64_t now_ms,
                     enum job_state *ret_state, struct error *err)
{
    assert(queue != NULL);
    enum job_state state = JOB_CANCELLED;
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK)
        rc = check_times(now_ms, now_ms, 0, err);
    if (rc == RC_OK)
        rc = queue->ops->cancel(queue, tenant, id, now_ms, &state, err);
    if (rc == RC_OK && ret_state != NULL)
        *ret_state = state;
    return rc;
}

enum rc queue_get(struct queue *queue, const char *tenant, struct id id,
                  struct queue_info *ret_info, struct error *err)
{
    assert(queue != NULL && ret_info != NULL);
    enum rc rc = check_tenant(tenant, err);
    return rc == RC_OK ? queue->ops->get(queue, tenant, id, ret_info, err) : rc;
}

enum rc queue_dead_list(struct queue *queue, const char *tenant, const struct id *before,
                        uint32_t max, struct queue_info into[], uint32_t *ret_count,
                        struct error *err)
{
    assert(queue != NULL && into != NULL && ret_count != NULL);
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK)
        rc = check_max(max, QUEUE_LIST_MAX, err);
    return rc == RC_OK ? queue->ops->dead_list(queue, tenant, before, max, into, ret_count, err)
                       : rc;
}

enum rc queue_dead_retry(struct queue *queue, const char *tenant, struct id id, uint64_t now_ms,
                         struct error *err)
{
    assert(queue != NULL);
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK)
        rc = check_times(now_ms, now_ms, 0, err);
    if (rc == RC_OK)
        rc = queue->ops->dead_retry(queue, tenant, id, now_ms, err);
    if (rc == RC_OK)
        queue_wake(queue);
    return rc;
}

enum rc queue_purge(struct queue *queue, const char *tenant, enum job_state state, uint64_t now_ms,
                    uint32_t *ret_count, struct error *err)
{
    assert(queue != NULL && ret_count != NULL);
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK)
        rc = check_times(now_ms, now_ms, 0, err);
    if (rc == RC_OK && state != JOB_QUEUED && state != JOB_DEAD)
        rc = error_set(err, RC_INVALID, "what is %s cannot be purged",
                       state < JOB_STATE_COUNT ? job_state_text(state) : "of no state");
    return rc == RC_OK ? queue->ops->purge(queue, tenant, state, now_ms, ret_count, err) : rc;
}

enum rc queue_stats(struct queue *queue, const char *tenant, uint64_t now_ms,
                    struct queue_stats *ret_stats, struct error *err)
{
    assert(queue != NULL && ret_stats != NULL);
    enum rc rc = tenant != NULL ? check_tenant(tenant, err) : RC_OK;
    if (rc == RC_OK)
        rc = check_times(now_ms, now_ms, 0, err);
    return rc == RC_OK ? queue->ops->stats(queue, tenant, now_ms, ret_stats, err) : rc;
}

enum rc queue_tenants(struct queue *queue, const char *after, uint32_t max, uint64_t now_ms,
                      struct queue_stats into[], uint32_t *ret_count, struct error *err)
{
    assert(queue != NULL && into != NULL && ret_count != NULL);
    enum rc rc = after != NULL ? check_tenant(after, err) : RC_OK;
    if (rc == RC_OK)
        rc = check_max(max, QUEUE_LIST_MAX, err);
    if (rc == RC_OK)
        rc = check_times(now_ms, now_ms, 0, err);
    return rc == RC_OK ? queue->ops->tenants(queue, after, max, now_ms, into, ret_count, err) : rc;
}

enum rc queue_backup(struct queue *queue, const char *path, struct error *err)
{
    assert(queue != NULL && path != NULL);
    return queue->ops->backup(queue, path, err);
}

enum rc queue_check(struct queue *queue, bool full, struct error *err)
{
    assert(queue != NULL);
    return queue->ops->check(queue, full, err);
}
