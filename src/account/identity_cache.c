/* SPDX-License-Identifier: Apache-2.0
 * identity_cache.c - two set-associative tables under sharded locks. */
#include "account/identity_cache.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WAY_COUNT     4u
#define LOCK_COUNT    32u
#define RIGHT_DEFAULT 8192u
#define WRONG_COUNT   4096u
#define COUNT_MAX     (1u << 22)

struct slot {
    bool taken;
    uint8_t hash[TOKEN_HASH_SIZE];
    uint64_t epoch;
    uint64_t put_ms;
    uint64_t used_ms;       /* the last hit */
    uint64_t used_taken_ms; /* the `used_ms` that was given out; 0: none yet */
    struct identity_entry entry;
};

struct table {
    struct slot *slots; /* set_count * WAY_COUNT */
    uint32_t set_count;
};

struct identity_cache {
    uint64_t fresh_ms;
    atomic_uint_fast64_t epoch;
    uint32_t lock_ready_count;
    pthread_mutex_t locks[LOCK_COUNT];
    struct table right;
    struct table wrong;
};

static bool table_init(struct table *table, uint32_t count)
{
    table->set_count = (count + WAY_COUNT - 1) / WAY_COUNT;
    table->slots = calloc((size_t)table->set_count * WAY_COUNT, sizeof(table->slots[0]));
    return table->slots != NULL;
}

enum rc identity_cache_open(uint32_t count_max, uint32_t fresh_ms,
                            struct identity_cache **ret_cache, struct error *err)
{
    if (count_max > COUNT_MAX)
        return error_set(err, RC_INVALID, "%u credentials; at most %u", count_max, COUNT_MAX);
    struct identity_cache *cache = calloc(1, sizeof(*cache));
    if (cache == NULL)
        return error_set(err, RC_NO_MEMORY, "the cache of credentials");
    cache->fresh_ms = fresh_ms;
    bool good = table_init(&cache->right, count_max == 0 ? RIGHT_DEFAULT : count_max) &&
                table_init(&cache->wrong, WRONG_COUNT);
    while (good && cache->lock_ready_count < LOCK_COUNT) {
        good = pthread_mutex_init(&cache->locks[cache->lock_ready_count], NULL) == 0;
        cache->lock_ready_count += good;
    }
    if (!good) {
        identity_cache_free(cache);
        return error_set(err, RC_NO_MEMORY, "the cache of credentials");
    }
    *ret_cache = cache;
    return RC_OK;
}

void identity_cache_free(struct identity_cache *cache)
{
    if (cache == NULL)
        return;
    for (uint32_t i = 0; i < cache->lock_ready_count; i++)
        (void)pthread_mutex_destroy(&cache->locks[i]);
    free(cache->right.slots);
    free(cache->wrong.slots);
    free(cache);
}

uint64_t identity_cache_epoch(struct identity_cache *cache) { return atomic_load(&cache->epoch); }

void identity_cache_drop_all(struct identity_cache *cache)
{
    (void)atomic_fetch_add(&cache->epoch, 1);
}

static uint32_t place_of(const uint8_t hash[TOKEN_HASH_SIZE])
{
    uint32_t place;
    memcpy(&place, hash, sizeof(place));
    return place;
}

static pthread_mutex_t *lock_of(struct identity_cache *cache, uint32_t set)
{
    return &cache->locks[set % LOCK_COUNT];
}

static bool is_fresh(const struct identity_cache *cache, const struct slot *slot, uint64_t epoch,
                     uint64_t now_ms)
{
    /* A clock set back ends it: it must not prolong it. */
    return slot->epoch == epoch && now_ms >= slot->put_ms &&
           now_ms - slot->put_ms < cache->fresh_ms && now_ms < slot->entry.valid_until_ms;
}

static struct slot *find(struct table *table, uint32_t set, const uint8_t hash[TOKEN_HASH_SIZE])
{
    struct slot *slots = &table->slots[(size_t)set * WAY_COUNT];
    for (uint32_t i = 0; i < WAY_COUNT; i++)
        if (slots[i].taken && CRYPTO_memcmp(slots[i].hash, hash, TOKEN_HASH_SIZE) == 0)
            return &slots[i];
    return NULL;
}

static bool get_from(struct identity_cache *cache, struct table *table,
                     const uint8_t hash[TOKEN_HASH_SIZE], uint64_t now_ms,
                     struct identity_entry *ret_entry)
{
    uint32_t set = place_of(hash) % table->set_count;
    (void)pthread_mutex_lock(lock_of(cache, set));
    struct slot *slot = find(table, set, hash);
    bool hit = slot != NULL && is_fresh(cache, slot, atomic_load(&cache->epoch), now_ms);
    if (hit) {
        slot->used_ms = now_ms;
        *ret_entry = slot->entry;
    }
    (void)pthread_mutex_unlock(lock_of(cache, set));
    return hit;
}

bool identity_cache_get(struct identity_cache *cache, const uint8_t hash[TOKEN_HASH_SIZE],
                        uint64_t now_ms, struct identity_entry *ret_entry)
{
    return get_from(cache, &cache->right, hash, now_ms, ret_entry) ||
           get_from(cache, &cache->wrong, hash, now_ms, ret_entry);
}

void identity_cache_put(struct identity_cache *cache, const uint8_t hash[TOKEN_HASH_SIZE],
                        uint64_t epoch, uint64_t now_ms, const struct identity_entry *entry)
{
    struct table *table = entry->wrong == WRONG_NO ? &cache->right : &cache->wrong;
    uint32_t set = place_of(hash) % table->set_count;
    (void)pthread_mutex_lock(lock_of(cache, set));
    struct slot *slots = &table->slots[(size_t)set * WAY_COUNT];
    struct slot *slot = find(table, set, hash);
    bool known = slot != NULL;
    for (uint32_t i = 0; !known && i < WAY_COUNT; i++)
        if (slot == NULL || (slot->taken && (!slots[i].taken || slots[i].used_ms < slot->used_ms)))
            slot = &slots[i];
    assert(slot != NULL);
    uint64_t used_taken_ms = known ? slot->used_taken_ms : 0;
    *slot = (struct slot){.taken = true,
                          .epoch = epoch,
                          .put_ms = now_ms,
                          .used_ms = now_ms,
                          .used_taken_ms = used_taken_ms,
                          .entry = *entry};
    memcpy(slot->hash, hash, TOKEN_HASH_SIZE);
    (void)pthread_mutex_unlock(lock_of(cache, set));
}

void identity_cache_take_uses(struct identity_cache *cache, uint64_t now_ms, uint64_t every_ms,
                              struct identity_use *into, uint32_t count_max, uint32_t *ret_count)
{
    uint32_t count = 0;
    for (uint32_t set = 0; set < cache->right.set_count && count < count_max; set++) {
        (void)pthread_mutex_lock(lock_of(cache, set));
        for (uint32_t i = 0; i < WAY_COUNT && count < count_max; i++) {
            struct slot *slot = &cache->right.slots[(size_t)set * WAY_COUNT + i];
            const struct account_identity *identity = &slot->entry.identity;
            if (!slot->taken || slot->used_ms == slot->used_taken_ms ||
                strlen(identity->key) != KEY_ID_SIZE - 1 ||
                (slot->used_taken_ms != 0 && now_ms >= slot->used_taken_ms &&
                 now_ms - slot->used_taken_ms < every_ms))
                continue;
            slot->used_taken_ms = slot->used_ms;
            into[count].used_ms = slot->used_ms;
            memcpy(into[count].tenant, identity->tenant, sizeof(identity->tenant));
            memcpy(into[count].key, identity->key, sizeof(identity->key));
            count++;
        }
        (void)pthread_mutex_unlock(lock_of(cache, set));
    }
    *ret_count = count;
}
