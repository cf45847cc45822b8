/* SPDX-License-Identifier: Apache-2.0 */
#include "api/exchange.h"

#include <stdlib.h>
#include <string.h>

struct waiting {
    struct exchange *exchange;
    void (*job)(struct exchange *exchange);
};

struct store_pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    bool ending;
    uint32_t waiting_max;
    uint32_t waiting_count;
    uint32_t next; /* the one that has waited longest */
    uint32_t thread_count;
    pthread_t *threads;
    struct waiting waiting[];
};

static bool take(struct store_pool *pool, struct waiting *ret_one)
{
    pthread_mutex_lock(&pool->lock);
    while (pool->waiting_count == 0 && !pool->ending)
        pthread_cond_wait(&pool->more, &pool->lock);
    bool found = pool->waiting_count > 0;
    if (found) {
        *ret_one = pool->waiting[pool->next];
        pool->next = (pool->next + 1) % pool->waiting_max;
        pool->waiting_count--;
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}

static void *pool_main(void *argument)
{
    struct waiting one;
    while (take(argument, &one)) {
        if (!atomic_load(&one.exchange->gone)) {
            one.job(one.exchange);
            continue;
        }
        struct error err = {0};
        enum rc rc = error_set(&err, RC_CANCELLED, "the client went away before its turn");
        exchange_fail(one.exchange, rc, &err);
    }
    return NULL;
}

void store_pool_push(struct store_pool *pool, struct exchange *exchange,
                     void (*job)(struct exchange *exchange))
{
    pthread_mutex_lock(&pool->lock);
    bool room = pool->waiting_count < pool->waiting_max;
    if (room) {
        uint32_t at = (pool->next + pool->waiting_count) % pool->waiting_max;
        pool->waiting[at] = (struct waiting){exchange, job};
        pool->waiting_count++;
        pthread_cond_signal(&pool->more);
    }
    pthread_mutex_unlock(&pool->lock);
    if (room)
        return;
    struct error err = {0};
    enum rc rc =
        error_set(&err, RC_BUSY, "too many requests wait for the stores; try again in a second");
    exchange_fail(exchange, rc, &err);
}

enum rc store_pool_open(uint32_t thread_count, uint32_t waiting_max, struct store_pool **ret_pool,
                        struct error *err)
{
    struct store_pool *pool = calloc(1, sizeof(*pool) + waiting_max * sizeof(struct waiting));
    pthread_t *threads = calloc(thread_count, sizeof(pthread_t));
    if (pool == NULL || threads == NULL) {
        free(pool);
        free(threads);
        return error_set(err, RC_NO_MEMORY, "no memory for the stores' threads");
    }
    pool->threads = threads;
    pool->waiting_max = waiting_max;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->more, NULL);
    int failed = 0;
    while (failed == 0 && pool->thread_count < thread_count) {
        failed = pthread_create(&threads[pool->thread_count], NULL, pool_main, pool);
        pool->thread_count += failed == 0;
    }
    if (failed != 0) {
        store_pool_free(pool);
        return error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed));
    }
    *ret_pool = pool;
    return RC_OK;
}

void store_pool_free(struct store_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}
