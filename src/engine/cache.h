/* SPDX-License-Identifier: Apache-2.0
 * cache.h - compiled networks on disk, so that a start need not compile.
 *
 * A file is the engine's own blob and a trailer with its key and digest: what is cut short, damaged
 * or from another version is simply not found, and never reaches the engine. Files appear by
 * rename, so several processes may share a folder. The folder is trusted as the program's own files
 * are.
 */
#ifndef ENGINE_CACHE_H
#define ENGINE_CACHE_H
#include "base/bytes.h"

#define CACHE_DIGEST_SIZE 32

struct cache_key {
    uint8_t digest[CACHE_DIGEST_SIZE]; /* of all that the blob depends on */
    uint64_t place; /* of the model's path: a new blob replaces that of its place */
    uint32_t batch;
};

/* The digest of the graph's content, of its folder's other files (external weights: by name, size
 * and time) and of `settings`. NOT_FOUND: no such file. */
NODISCARD enum rc cache_key_make(const char *path, const char *settings, struct cache_key *ret_key,
                                 struct error *err);

struct cache_blob {
    struct bytes content;
    void *map;
    size_t map_size;
};
/* False: not there, or not whole. */
bool cache_get(const char *dir, const struct cache_key *key, struct cache_blob *ret_blob);
void cache_blob_done(struct cache_blob *blob);

/* `write` puts the blob into the file of that name. False: nothing was kept (a full or read-only
 * disk): the caller goes on without. */
bool cache_put(const char *dir, const struct cache_key *key,
               bool (*write)(const char *path, void *ctx), void *ctx);
#endif
