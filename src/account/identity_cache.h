/* SPDX-License-Identifier: Apache-2.0
 * identity_cache.h - credentials seen a moment ago, by the SHA-256 of what was shown. For key.c.
 *
 * Two tables of fixed size, apart from each other: those that were right, and those that were
 * wrong. So a stranger who shows any number of wrong ones pushes out nothing but other wrong ones.
 * What is remembered ends after config.cache_ms, at its own end (expiry), and with every change of
 * keys and tenants that this process makes (the epoch). */
#ifndef ACCOUNT_IDENTITY_CACHE_H
#define ACCOUNT_IDENTITY_CACHE_H
#include "account/key.h"

#include <stdatomic.h>

#define TOKEN_HASH_SIZE 32

struct identity_cache;

/* Why a credential is wrong. */
enum identity_wrong { WRONG_NO, WRONG_UNKNOWN, WRONG_EXPIRED, WRONG_REVOKED, WRONG_SUSPENDED };

struct identity_entry {
    enum identity_wrong wrong;
    uint64_t valid_until_ms;          /* UINT64_MAX: no end of its own */
    struct account_identity identity; /* unless `wrong` */
};

NODISCARD enum rc identity_cache_open(uint32_t count_max, uint32_t fresh_ms,
                                      struct identity_cache **ret_cache, struct error *err);
void identity_cache_free(struct identity_cache *cache); /* NULL is fine */
/* Taken before the storage is read: what was read before a change must not be kept after it. */
uint64_t identity_cache_epoch(struct identity_cache *cache);
void identity_cache_drop_all(struct identity_cache *cache);
bool identity_cache_get(struct identity_cache *cache, const uint8_t hash[TOKEN_HASH_SIZE],
                        uint64_t now_ms, struct identity_entry *ret_entry);
void identity_cache_put(struct identity_cache *cache, const uint8_t hash[TOKEN_HASH_SIZE],
                        uint64_t epoch, uint64_t now_ms, const struct identity_entry *entry);

struct identity_use {
    char tenant[ACCOUNT_TENANT_SIZE];
    char key[IDENTITY_KEY_SIZE];
    uint64_t used_ms;
};
/* Keys of ours (no tokens) used since they were last taken, if that is `every_ms` ago. */
void identity_cache_take_uses(struct identity_cache *cache, uint64_t now_ms, uint64_t every_ms,
                              struct identity_use *into, uint32_t count_max, uint32_t *ret_count);
#endif
