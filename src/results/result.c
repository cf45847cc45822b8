/* SPDX-License-Identifier: Apache-2.0
 * result.c - packed scores, sets of predictions and jobs and their memory, the filters without an
 * index. */
#include "results/driver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE    (32u << 10)
#define ITEM_ROOM_MIN 16u

struct result_chunk {
    struct result_chunk *next;
    size_t size; /* used */
    size_t room;
    uint8_t data[];
};

void result_score_pack(struct result_score score, uint8_t into[RESULT_SCORE_SIZE])
{
    uint32_t words[2] = {score.class_id, 0};
    memcpy(&words[1], &score.score, sizeof(words[1]));
    for (size_t i = 0; i < RESULT_SCORE_SIZE; i++)
        into[i] = (uint8_t)(words[i / 4] >> (8 * (i % 4)));
}

struct result_score result_score_at(struct bytes scores, uint32_t index)
{
    size_t at = (size_t)index * RESULT_SCORE_SIZE;
    assert(at + RESULT_SCORE_SIZE <= scores.size);
    uint32_t words[2] = {0, 0};
    for (size_t i = 0; i < RESULT_SCORE_SIZE; i++)
        words[i / 4] |= (uint32_t)scores.data[at + i] << (8 * (i % 4));
    struct result_score score = {.class_id = words[0]};
    memcpy(&score.score, &words[1], sizeof(words[1]));
    return score;
}

/* Room for one more of `size` bytes; NULL: out of memory. */
static void *grow(void *items, uint32_t count, uint32_t *room, size_t size)
{
    if (count < *room)
        return items;
    uint32_t more = *room < ITEM_ROOM_MIN ? ITEM_ROOM_MIN : *room * 2;
    void *grown = realloc(items, more * size);
    if (grown != NULL)
        *room = more;
    return grown;
}

struct result *result_set_add(struct result_set *set)
{
    struct result *items = grow(set->items, set->count, &set->items_room, sizeof(*items));
    if (items == NULL)
        return NULL;
    set->items = items;
    struct result *item = &items[set->count++];
    memset(item, 0, sizeof(*item));
    return item;
}

struct result_job *result_job_set_add(struct result_job_set *set)
{
    struct result_job *items = grow(set->items, set->count, &set->items_room, sizeof(*items));
    if (items == NULL)
        return NULL;
    set->items = items;
    struct result_job *item = &items[set->count++];
    memset(item, 0, sizeof(*item));
    return item;
}

enum rc result_copy(struct result_chunk **chunks, struct bytes bytes, struct bytes *ret_copy)
{
    *ret_copy = (struct bytes){0};
    if (bytes.size == 0)
        return RC_OK;
    struct result_chunk *chunk = *chunks;
    if (chunk == NULL || bytes.size > chunk->room - chunk->size) {
        size_t room = bytes.size > CHUNK_SIZE ? bytes.size : CHUNK_SIZE;
        chunk = malloc(sizeof(*chunk) + room);
        if (chunk == NULL)
            return RC_NO_MEMORY;
        chunk->next = *chunks;
        chunk->size = 0;
        chunk->room = room;
        *chunks = chunk;
    }
    memcpy(chunk->data + chunk->size, bytes.data, bytes.size);
    *ret_copy = (struct bytes){chunk->data + chunk->size, bytes.size};
    chunk->size += bytes.size;
    return RC_OK;
}

static void drop_chunks(struct result_chunk **chunks, struct result_chunk *kept)
{
    while (*chunks != kept) {
        struct result_chunk *next = (*chunks)->next;
        free(*chunks);
        *chunks = next;
    }
}

static void clear_chunks(struct result_chunk **chunks)
{
    struct result_chunk *first = *chunks;
    if (first == NULL)
        return;
    while (first->next != NULL)
        first = first->next;
    drop_chunks(chunks, first);
    first->size = 0;
}

void result_set_clear(struct result_set *set)
{
    clear_chunks(&set->chunks);
    set->count = 0;
    set->next[0] = '\0';
}

void results_set_done(struct result_set *set)
{
    drop_chunks(&set->chunks, NULL);
    free(set->items);
    *set = (struct result_set){0};
}

void result_job_set_clear(struct result_job_set *set)
{
    clear_chunks(&set->chunks);
    set->count = 0;
    set->next[0] = '\0';
}

void results_job_set_done(struct result_job_set *set)
{
    drop_chunks(&set->chunks, NULL);
    free(set->items);
    *set = (struct result_job_set){0};
}

bool results_filter_passes(const struct results_filter *filter, struct bytes version,
                           struct bytes scores)
{
    if (filter->version.size > 0 && !bytes_equal(filter->version, version))
        return false;
    if (filter->min_score <= 0.0f && filter->max_score <= 0.0f)
        return true;
    if (scores.size < RESULT_SCORE_SIZE)
        return false;
    float best = result_score_at(scores, 0).score;
    return best >= filter->min_score && (filter->max_score <= 0.0f || best <= filter->max_score);
}

bool result_feedback_correct(const struct result_feedback *feedback, struct bytes label,
                             struct bytes scores)
{
    if (scores.size < RESULT_SCORE_SIZE)
        return false;
    if (feedback->class_id != RESULT_CLASS_NONE)
        return result_score_at(scores, 0).class_id == feedback->class_id;
    return bytes_equal(feedback->label, label);
}
