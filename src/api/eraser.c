/* SPDX-License-Identifier: Apache-2.0 */
#include "api/eraser.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRY_COUNT_MAX 100u

struct doomed {
    char tenant[BLOB_TENANT_SIZE_MAX + 1];
    uint8_t sha256[BLOB_SHA256_SIZE];
    uint64_t due_ns; /* monotonic */
    uint32_t try_count;
};

struct eraser {
    struct eraser_config config;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    bool ending;
    uint32_t count;
    uint32_t first; /* the first that is due: all wait equally long */
    struct doomed waiting[];
};

/* True: that was it, the picture is gone or is needed again. */
static bool erase_now(struct eraser *eraser, const struct doomed *one)
{
    /* Taken before the look: a request that commits after the look put its picture less than
     * grace_ms before it, and blob_delete() leaves that alone. */
    uint64_t now_ms = clock_wall_ms();
    bool used = true;
    struct error err = {0};
    enum rc rc = results_picture_used(eraser->config.results, bytes_of(one->tenant), one->sha256,
                                      &used, &err);
    if (rc != RC_OK)
        return false;
    if (used)
        return true;
    rc = blob_delete(eraser->config.blob, one->tenant, one->sha256,
                     now_ms - eraser->config.grace_ms, &err);
    return rc == RC_OK || rc == RC_NOT_FOUND;
}

/* Under the lock. One that finds no room is left to the sweep. */
static void wait_again(struct eraser *eraser, struct doomed *one)
{
    if (eraser->count == eraser->config.waiting_max || ++one->try_count == TRY_COUNT_MAX)
        return;
    one->due_ns = clock_monotonic_ns() + (eraser->config.grace_ms + 1) * NS_PER_MS;
    eraser->waiting[(eraser->first + eraser->count) % eraser->config.waiting_max] = *one;
    eraser->count++;
    pthread_cond_signal(&eraser->more);
}

static void wait_for_work(struct eraser *eraser)
{
    if (eraser->count == 0) {
        pthread_cond_wait(&eraser->more, &eraser->lock);
        return;
    }
    uint64_t due_ns = eraser->waiting[eraser->first].due_ns;
    struct timespec until = {.tv_sec = (time_t)(due_ns / NS_PER_S),
                             .tv_nsec = (long)(due_ns % NS_PER_S)};
    (void)pthread_cond_timedwait(&eraser->more, &eraser->lock, &until);
}

static void *eraser_main(void *argument)
{
    struct eraser *eraser = argument;
    pthread_mutex_lock(&eraser->lock);
    while (!eraser->ending) {
        if (eraser->count == 0 || eraser->waiting[eraser->first].due_ns > clock_monotonic_ns()) {
            wait_for_work(eraser);
            continue;
        }
        struct doomed one = eraser->waiting[eraser->first];
        eraser->first = (eraser->first + 1) % eraser->config.waiting_max;
        eraser->count--;
        pthread_mutex_unlock(&eraser->lock);
        bool done = erase_now(eraser, &one);
        pthread_mutex_lock(&eraser->lock);
        if (!done)
            wait_again(eraser, &one);
    }
    pthread_mutex_unlock(&eraser->lock);
    return NULL;
}

void eraser_erase(struct eraser *eraser, const char *tenant, const uint8_t sha256[32])
{
    struct doomed one = {0};
    memcpy(one.tenant, tenant, strnlen(tenant, sizeof(one.tenant) - 1));
    memcpy(one.sha256, sha256, sizeof(one.sha256));
    if (erase_now(eraser, &one))
        return;
    pthread_mutex_lock(&eraser->lock);
    wait_again(eraser, &one);
    pthread_mutex_unlock(&eraser->lock);
}

enum rc eraser_open(const struct eraser_config *config, struct eraser **ret_eraser,
                    struct error *err)
{
    struct eraser *eraser =
        calloc(1, sizeof(*eraser) + config->waiting_max * sizeof(struct doomed));
    if (eraser == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the eraser");
    eraser->config = *config;
    (void)pthread_mutex_init(&eraser->lock, NULL);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&eraser->more, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    int failed = pthread_create(&eraser->thread, NULL, eraser_main, eraser);
    if (failed == 0) {
        *ret_eraser = eraser;
        return RC_OK;
    }
    pthread_cond_destroy(&eraser->more);
    pthread_mutex_destroy(&eraser->lock);
    free(eraser);
    return error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed));
}

void eraser_free(struct eraser *eraser)
{
    if (eraser == NULL)
        return;
    pthread_mutex_lock(&eraser->lock);
    eraser->ending = true;
    pthread_cond_signal(&eraser->more);
    pthread_mutex_unlock(&eraser->lock);
    pthread_join(eraser->thread, NULL);
    pthread_cond_destroy(&eraser->more);
    pthread_mutex_destroy(&eraser->lock);
    free(eraser);
}
