/* SPDX-License-Identifier: Apache-2.0
 * http_body.c - buffers of request bodies. Fresh memory costs a page fault per 4 kB: where malloc
 * returns memory to the kernel, 54 of the 71 us of CPU time of a 107 kB upload. So each loop keeps
 * some recently used buffers, in sizes of powers of two. */
#include "net/http_internal.h"

#include <stdlib.h>

#define TOUCH_STEP (16u << 10)

static size_t class_size(uint32_t rank) { return (size_t)BODY_CLASS_SIZE_MIN << rank; }

/* BODY_CLASS_COUNT: too large to be kept. */
static uint32_t class_of(size_t size)
{
    uint32_t rank = 0;
    while (rank < BODY_CLASS_COUNT && class_size(rank) < size)
        rank++;
    return rank;
}

enum rc body_open(struct body_pool *pool, size_t size, struct body *ret_body)
{
    uint32_t rank = class_of(size);
    if (rank < BODY_CLASS_COUNT) {
        size = class_size(rank);
        if (pool->spare_count[rank] > 0) {
            *ret_body = pool->spare[rank][--pool->spare_count[rank]];
            pool->spare_size -= size;
            return RC_OK;
        }
    }
    uint8_t *data = malloc(size);
    if (data == NULL)
        return RC_NO_MEMORY;
    *ret_body = (struct body){.data = data, .room = size};
    return RC_OK;
}

enum rc body_grow(struct body_pool *pool, size_t size, struct body *body)
{
    if (size <= body->room)
        return RC_OK;
    uint32_t rank = class_of(size);
    if (rank < BODY_CLASS_COUNT)
        size = class_size(rank);
    (void)pool;
    uint8_t *grown = realloc(body->data, size);
    if (grown == NULL)
        return RC_NO_MEMORY;
    body->data = grown;
    body->room = size;
    return RC_OK;
}

bool body_affordable(const struct body_pool *pool, size_t size)
{
    size_t used = atomic_load_explicit(pool->used, memory_order_relaxed);
    return used <= pool->used_max && size <= pool->used_max - used;
}

enum rc body_touch(struct body_pool *pool, struct body *body, size_t end)
{
    if (end <= body->touched)
        return RC_OK;
    size_t touched = (end + TOUCH_STEP - 1) / TOUCH_STEP * TOUCH_STEP;
    if (touched > body->room)
        touched = body->room;
    size_t more = touched - body->touched;
    size_t used = atomic_fetch_add_explicit(pool->used, more, memory_order_relaxed) + more;
    if (used > pool->used_max) {
        atomic_fetch_sub_explicit(pool->used, more, memory_order_relaxed);
        return RC_BUSY;
    }
    body->touched = touched;
    return RC_OK;
}

void body_free(struct body_pool *pool, struct body *body)
{
    if (body->data == NULL)
        return;
    uint32_t rank = class_of(body->room);
    if (rank < BODY_CLASS_COUNT && class_size(rank) == body->room &&
        pool->spare_count[rank] < BODY_SPARE_COUNT_MAX &&
        pool->spare_size + body->room <= pool->spare_size_max) {
        body->size = 0; /* `touched` stays counted: a kept buffer is memory in use */
        pool->spare[rank][pool->spare_count[rank]++] = *body;
        pool->spare_size += body->room;
    } else {
        atomic_fetch_sub_explicit(pool->used, body->touched, memory_order_relaxed);
        free(body->data);
    }
    *body = (struct body){0};
}

void body_pool_done(struct body_pool *pool)
{
    for (uint32_t rank = 0; rank < BODY_CLASS_COUNT; rank++)
        while (pool->spare_count[rank] > 0)
            free(pool->spare[rank][--pool->spare_count[rank]].data);
    pool->spare_size = 0;
}
