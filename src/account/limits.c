/* SPDX-License-Identifier: Apache-2.0
 * limits.c - the places of keys, in shards; the arithmetic of one place is in limits_bucket.c. */
#include "account/limits_bucket.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_COUNT       16u
#define KEY_COUNT_DEFAULT 65536u
#define KEY_COUNT_MAX     (1u << 24)
#define NONE              UINT32_MAX
#define EVICT_LOOK_MAX    64u /* places looked at for one that can be given up */

struct limits_ticket {
    char key[LIMITS_KEY_SIZE];
    struct limits_count count;
    uint32_t shard;
    uint32_t next_hash;
    uint32_t newer; /* by the last request */
    uint32_t older;
};

struct shard {
    pthread_mutex_t mutex;
    struct limits_ticket *places;
    uint32_t *heads; /* of the hash chains: as many as places */
    uint32_t place_count;
    uint32_t used_count;
    uint32_t newest;
    uint32_t oldest;
};

struct limits {
    uint32_t shard_ready_count;
    struct shard shards[SHARD_COUNT];
};

static enum rc shard_init(struct shard *shard, uint32_t place_count)
{
    shard->places = calloc(place_count, sizeof(shard->places[0]));
    shard->heads = malloc(place_count * sizeof(shard->heads[0]));
    if (shard->places == NULL || shard->heads == NULL ||
        pthread_mutex_init(&shard->mutex, NULL) != 0)
        return RC_NO_MEMORY; /* limits_free() gives back what there is */
    memset(shard->heads, 0xff, place_count * sizeof(shard->heads[0]));
    shard->place_count = place_count;
    shard->newest = NONE;
    shard->oldest = NONE;
    return RC_OK;
}

enum rc limits_open(const struct limits_config *config, struct limits **ret_limits,
                    struct error *err)
{
    assert(config != NULL && ret_limits != NULL);
    uint32_t count = config->key_count_max == 0 ? KEY_COUNT_DEFAULT : config->key_count_max;
    if (count > KEY_COUNT_MAX)
        return error_set(err, RC_INVALID, "%u keys; at most %u", count, KEY_COUNT_MAX);
    struct limits *limits = calloc(1, sizeof(*limits));
    if (limits == NULL)
        return error_set(err, RC_NO_MEMORY, "limits of %u keys", count);
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        if (shard_init(&limits->shards[i], (count + SHARD_COUNT - 1) / SHARD_COUNT) != RC_OK) {
            limits_free(limits);
            return error_set(err, RC_NO_MEMORY, "limits of %u keys", count);
        }
        limits->shard_ready_count++;
    }
    *ret_limits = limits;
    return RC_OK;
}

void limits_free(struct limits *limits)
{
    if (limits == NULL)
        return;
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        free(limits->shards[i].places);
        free(limits->shards[i].heads);
        if (i < limits->shard_ready_count)
            (void)pthread_mutex_destroy(&limits->shards[i].mutex);
    }
    free(limits);
}

/* FNV-1a: keys are ids that we made, so nobody can choose them to collide. */
static uint32_t hash_of(const char *key)
{
    uint32_t hash = 2166136261u;
    for (const char *c = key; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * 16777619u;
    return hash ^ hash >> 16;
}

static uint32_t *head_of(struct shard *shard, uint32_t hash)
{
    return &shard->heads[hash / SHARD_COUNT % shard->place_count];
}

static void unlink_age(struct shard *shard, uint32_t index)
{
    struct limits_ticket *place = &shard->places[index];
    *(place->newer == NONE ? &shard->newest : &shard->places[place->newer].older) = place->older;
    *(place->older == NONE ? &shard->oldest : &shard->places[place->older].newer) = place->newer;
}

static void link_newest(struct shard *shard, uint32_t index)
{
    struct limits_ticket *place = &shard->places[index];
    place->newer = NONE;
    place->older = shard->newest;
    *(shard->newest == NONE ? &shard->oldest : &shard->places[shard->newest].newer) = index;
    shard->newest = index;
}

static void unlink_hash(struct shard *shard, uint32_t index)
{
    uint32_t *at = head_of(shard, hash_of(shard->places[index].key));
    while (*at != index)
        at = &shard->places[*at].next_hash;
    *at = shard->places[index].next_hash;
}

/* A place for a new key; NONE if requests are in work on all that are old enough to look at. */
static uint32_t take_place(struct shard *shard)
{
    if (shard->used_count < shard->place_count)
        return shard->used_count++;
    uint32_t index = shard->oldest;
    for (uint32_t i = 0; i < EVICT_LOOK_MAX && index != NONE; i++) {
        if (shard->places[index].count.in_work == 0) {
            unlink_hash(shard, index);
            unlink_age(shard, index);
            return index;
        }
        index = shard->places[index].newer;
    }
    return NONE;
}

static struct limits_ticket *find_place(struct shard *shard, const char *key, uint32_t hash)
{
    uint32_t *head = head_of(shard, hash);
    uint32_t index = *head;
    while (index != NONE && strcmp(shard->places[index].key, key) != 0)
        index = shard->places[index].next_hash;
    if (index != NONE) {
        unlink_age(shard, index);
        link_newest(shard, index);
        return &shard->places[index];
    }
    index = take_place(shard);
    if (index == NONE)
        return NULL;
    struct limits_ticket *place = &shard->places[index];
    *place = (struct limits_ticket){.shard = hash % SHARD_COUNT, .next_hash = *head};
    memcpy(place->key, key, strlen(key) + 1);
    *head = index;
    link_newest(shard, index);
    return place;
}

struct limits_ticket *limits_admit(struct limits *limits, const struct limits_rule *rule,
                                   const struct limits_request *request,
                                   struct limits_verdict *ret_verdict)
{
    assert(limits != NULL && ret_verdict != NULL);
    assert(strnlen(request->key, LIMITS_KEY_SIZE) < LIMITS_KEY_SIZE);
    *ret_verdict = (struct limits_verdict){0};
    if (rule->requests == 0 && rule->concurrent == 0 && rule->bytes_per_day == 0 &&
        rule->images_per_day == 0)
        return NULL;
    uint32_t hash = hash_of(request->key);
    struct shard *shard = &limits->shards[hash % SHARD_COUNT];
    (void)pthread_mutex_lock(&shard->mutex);
    struct limits_ticket *place = find_place(shard, request->key, hash);
    if (place != NULL)
        limits_count_admit(&place->count, rule, request, ret_verdict);
    else
        *ret_verdict = (struct limits_verdict){.refusal = LIMITS_FULL, .retry_after_s = 1};
    (void)pthread_mutex_unlock(&shard->mutex);
    return ret_verdict->refusal == LIMITS_PASS ? place : NULL;
}

void limits_charge(struct limits *limits, struct limits_ticket *ticket, uint64_t bytes,
                   uint64_t images)
{
    if (ticket == NULL)
        return;
    struct shard *shard = &limits->shards[ticket->shard];
    (void)pthread_mutex_lock(&shard->mutex);
    limits_count_charge(&ticket->count, bytes, images);
    (void)pthread_mutex_unlock(&shard->mutex);
}

void limits_release(struct limits *limits, struct limits_ticket *ticket, uint64_t images_unused)
{
    if (ticket == NULL)
        return;
    /* A place with a request in work keeps its key, so the ticket is still this key's. */
    struct shard *shard = &limits->shards[ticket->shard];
    (void)pthread_mutex_lock(&shard->mutex);
    assert(ticket->count.in_work > 0);
    limits_count_release(&ticket->count, images_unused);
    (void)pthread_mutex_unlock(&shard->mutex);
}
