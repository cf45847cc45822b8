/* SPDX-License-Identifier: Apache-2.0 */
#include "api/exchange.h"
#include "api/job_waiters.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS        1000u
#define LOOK_COUNT_MAX 64u
/* Between a request's look at the record and its coming here the job may end: these are remembered.
 */
#define RECENT_COUNT 256u
/* Not for longer: it may have been revived. */
#define RECENT_MS (2 * LOOK_MS)

struct waiter {
    struct exchange *exchange;
    struct id id;
    uint64_t until_ns;
    bool over;
};

struct recent {
    struct id id;
    uint64_t until_ns;
};

struct job_waiters {
    struct job_waiters_config config;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool looking;
    bool draining;
    bool ending;
    struct recent recent[RECENT_COUNT];
    uint32_t recent_next;
    uint32_t look_next; /* whose record is looked at next */
    uint32_t count;
    struct waiter waiting[];
};

static bool same_id(struct id a, struct id b)
{
    return memcmp(a.octets, b.octets, sizeof(a.octets)) == 0;
}

static bool is_over(const struct job_waiters *waiters, const struct waiter *waiter, uint64_t now_ns)
{
    return waiter->over || waiters->draining || waiter->until_ns <= now_ns ||
           atomic_load(&waiter->exchange->gone);
}

/* Takes one out that is not to wait any more; NULL: the others wait until *ret_until_ns. Locked. */
static struct exchange *take_one(struct job_waiters *waiters, uint64_t now_ns,
                                 uint64_t *ret_until_ns)
{
    *ret_until_ns = UINT64_MAX;
    for (uint32_t i = 0; i < waiters->count; i++) {
        struct waiter *waiter = &waiters->waiting[i];
        if (is_over(waiters, waiter, now_ns)) {
            struct exchange *exchange = waiter->exchange;
            *waiter = waiters->waiting[--waiters->count];
            return exchange;
        }
        if (waiter->until_ns < *ret_until_ns)
            *ret_until_ns = waiter->until_ns;
    }
    return NULL;
}

static void mark_ended(struct job_waiters *waiters, struct id id)
{
    for (uint32_t i = 0; i < waiters->count; i++)
        waiters->waiting[i].over |= same_id(waiters->waiting[i].id, id);
}

struct looked {
    struct id id;
    char tenant[RESULT_TENANT_SIZE_MAX + 1];
};

/* Some of those that wait, by turns. Locked. */
static uint32_t choose(struct job_waiters *waiters, struct looked into[LOOK_COUNT_MAX])
{
    uint32_t count = waiters->count < LOOK_COUNT_MAX ? waiters->count : LOOK_COUNT_MAX;
    for (uint32_t i = 0; i < count; i++) {
        const struct waiter *waiter = &waiters->waiting[(waiters->look_next + i) % waiters->count];
        into[i].id = waiter->id;
        memset(into[i].tenant, 0, sizeof(into[i].tenant));
        memcpy(into[i].tenant, waiter->exchange->tenant,
               strnlen(waiter->exchange->tenant, RESULT_TENANT_SIZE_MAX));
    }
    waiters->look_next += count;
    return count;
}

/* What another process ended. A store that does not answer is asked again a second later. */
static void look_at_records(struct job_waiters *waiters, const struct looked looked[],
                            uint32_t count)
{
    struct result_job_set set = {0};
    for (uint32_t i = 0; i < count; i++) {
        enum rc rc = results_job_get(waiters->config.results, bytes_of(looked[i].tenant),
                                     looked[i].id, &set, NULL);
        if (rc == RC_NOT_FOUND || (rc == RC_OK && set.items[0].ended != RESULT_JOB_OPEN)) {
            pthread_mutex_lock(&waiters->lock);
            mark_ended(waiters, looked[i].id);
            pthread_mutex_unlock(&waiters->lock);
        }
    }
    results_job_set_done(&set);
}

static void wait_until(struct job_waiters *waiters, uint64_t until_ns)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_S),
                             .tv_nsec = (long)(until_ns % NS_PER_S)};
    (void)pthread_cond_timedwait(&waiters->changed, &waiters->lock, &until);
}

static void *waiters_main(void *argument)
{
    struct job_waiters *waiters = argument;
    uint64_t look_ns = 0;
    pthread_mutex_lock(&waiters->lock);
    while (!waiters->ending) {
        uint64_t now_ns = clock_monotonic_ns();
        uint64_t until_ns = 0;
        waiters->looking = false;
        struct exchange *exchange = take_one(waiters, now_ns, &until_ns);
        struct looked looked[LOOK_COUNT_MAX];
        if (exchange != NULL) {
            pthread_mutex_unlock(&waiters->lock);
            store_pool_push(waiters->config.stores, exchange, waiters->config.go_on);
            pthread_mutex_lock(&waiters->lock);
        } else if (waiters->count == 0) {
            pthread_cond_wait(&waiters->changed, &waiters->lock);
        } else if (now_ns >= look_ns) {
            uint32_t count = choose(waiters, looked);
            look_ns = now_ns + LOOK_MS * NS_PER_MS;
            pthread_mutex_unlock(&waiters->lock);
            look_at_records(waiters, looked, count);
            pthread_mutex_lock(&waiters->lock);
        } else if (!waiters->looking) {
            wait_until(waiters, until_ns < look_ns ? until_ns : look_ns);
        }
    }
    pthread_mutex_unlock(&waiters->lock);
    return NULL;
}

/* Locked. */
static void look_now(struct job_waiters *waiters)
{
    waiters->looking = true;
    pthread_cond_signal(&waiters->changed);
}

enum rc job_waiters_add(struct job_waiters *waiters, struct exchange *exchange, struct id id,
                        uint64_t until_ns, struct error *err)
{
    enum rc rc = RC_OK;
    pthread_mutex_lock(&waiters->lock);
    if (waiters->count == waiters->config.waiting_max)
        rc = error_set(err, RC_BUSY, "%u requests wait for jobs already; ask again without wait",
                       waiters->count);
    else {
        struct waiter *waiter = &waiters->waiting[waiters->count++];
        *waiter = (struct waiter){.exchange = exchange, .id = id, .until_ns = until_ns};
        uint64_t now_ns = clock_monotonic_ns();
        for (uint32_t i = 0; i < RECENT_COUNT; i++)
            waiter->over |=
                waiters->recent[i].until_ns > now_ns && same_id(waiters->recent[i].id, id);
        look_now(waiters);
    }
    pthread_mutex_unlock(&waiters->lock);
    return rc;
}

void job_waiters_ended(void *argument, struct id id)
{
    struct job_waiters *waiters = argument;
    pthread_mutex_lock(&waiters->lock);
    waiters->recent[waiters->recent_next++ % RECENT_COUNT] =
        (struct recent){id, clock_monotonic_ns() + RECENT_MS * NS_PER_MS};
    mark_ended(waiters, id);
    look_now(waiters);
    pthread_mutex_unlock(&waiters->lock);
}

void job_waiters_look(struct job_waiters *waiters)
{
    pthread_mutex_lock(&waiters->lock);
    look_now(waiters);
    pthread_mutex_unlock(&waiters->lock);
}

void job_waiters_drain(struct job_waiters *waiters)
{
    pthread_mutex_lock(&waiters->lock);
    waiters->draining = true;
    look_now(waiters);
    pthread_mutex_unlock(&waiters->lock);
}

static void release(struct job_waiters *waiters)
{
    pthread_cond_destroy(&waiters->changed);
    pthread_mutex_destroy(&waiters->lock);
    free(waiters);
}

enum rc job_waiters_open(const struct job_waiters_config *config, struct job_waiters **ret_waiters,
                         struct error *err)
{
    struct job_waiters *waiters =
        calloc(1, sizeof(*waiters) + config->waiting_max * sizeof(struct waiter));
    if (waiters == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for those who wait for jobs");
    waiters->config = *config;
    (void)pthread_mutex_init(&waiters->lock, NULL);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&waiters->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    int failed = pthread_create(&waiters->thread, NULL, waiters_main, waiters);
    if (failed != 0) {
        release(waiters);
        return error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed));
    }
    *ret_waiters = waiters;
    return RC_OK;
}

void job_waiters_free(struct job_waiters *waiters)
{
    if (waiters == NULL)
        return;
    pthread_mutex_lock(&waiters->lock);
    waiters->ending = true;
    pthread_cond_signal(&waiters->changed);
    pthread_mutex_unlock(&waiters->lock);
    pthread_join(waiters->thread, NULL);
    release(waiters);
}
