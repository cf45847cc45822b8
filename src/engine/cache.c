/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIBLING_COUNT_MAX 64
#define NAME_SIZE_MAX     160

/* The end of a file: the engine's blob comes first, since the engine writes it from offset 0. */
struct trailer {
    uint8_t magic[8];
    uint64_t content_size;
    uint8_t key[CACHE_DIGEST_SIZE];
    uint8_t content_digest[CACHE_DIGEST_SIZE];
};
static const uint8_t MAGIC[8] = {'i', 'm', 'a', 'g', 'o', 'n', '1', '\n'};

static bool map_file(const char *path, int flags, struct bytes *ret_file)
{
    bool mapped = false;
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_size > 0) {
        void *map = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE | flags, fd, 0);
        mapped = map != MAP_FAILED;
        if (mapped)
            *ret_file = (struct bytes){map, (size_t)stat.st_size};
    }
    (void)close(fd);
    return mapped;
}

static void unmap_file(struct bytes file)
{
    if (file.data != NULL)
        (void)munmap((void *)(uintptr_t)file.data, file.size);
}

static bool digest_of(struct bytes content, uint8_t into[CACHE_DIGEST_SIZE])
{
    return EVP_Digest(content.data, content.size, into, NULL, EVP_sha256(), NULL) == 1;
}

/* XOR of a digest for each file, so that the order in which the folder lists them is no matter. */
static bool add_siblings(const char *path, uint8_t into[CACHE_DIGEST_SIZE])
{
    const char *slash = strrchr(path, '/');
    char dir[PATH_MAX];
    (void)snprintf(dir, sizeof(dir), "%.*s", slash != NULL ? (int)(slash - path + 1) : 2,
                   slash != NULL ? path : "./");
    DIR *folder = opendir(dir);
    if (folder == NULL)
        return false;
    bool ok = true;
    int left = SIBLING_COUNT_MAX;
    for (struct dirent *entry; ok && left > 0 && (entry = readdir(folder)) != NULL; left--) {
        struct stat stat;
        if (entry->d_name[0] == '.' || fstatat(dirfd(folder), entry->d_name, &stat, 0) != 0)
            continue;
        char text[NAME_MAX + 64];
        int size =
            snprintf(text, sizeof(text), "%s %lld %lld.%09ld", entry->d_name,
                     (long long)stat.st_size, (long long)stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec);
        uint8_t digest[CACHE_DIGEST_SIZE];
        ok = digest_of((struct bytes){(const uint8_t *)text, (size_t)size}, digest);
        for (int i = 0; i < CACHE_DIGEST_SIZE; i++)
            into[i] ^= digest[i];
    }
    (void)closedir(folder);
    return ok;
}

enum rc cache_key_make(const char *path, const char *settings, struct cache_key *ret_key,
                       struct error *err)
{
    struct bytes graph = {0};
    if (!map_file(path, 0, &graph))
        return error_set(err, RC_NOT_FOUND, "%s: there is no such file, or it cannot be read",
                         path);
    /* The parts are digested alone and then together. */
    uint8_t parts[3][CACHE_DIGEST_SIZE] = {0}, place[CACHE_DIGEST_SIZE];
    struct cache_key key = {0};
    bool ok = digest_of(graph, parts[0]) && add_siblings(path, parts[1]) &&
              digest_of(bytes_of(settings), parts[2]) && digest_of(bytes_of(path), place) &&
              digest_of((struct bytes){&parts[0][0], sizeof(parts)}, key.digest);
    unmap_file(graph);
    if (!ok)
        return error_set(err, RC_INTERNAL, "%s: its digest could not be computed", path);
    memcpy(&key.place, place, sizeof(key.place));
    *ret_key = key;
    return RC_OK;
}

static void blob_path(const char *dir, const struct cache_key *key, const char *suffix,
                      char into[PATH_MAX])
{
    (void)snprintf(into, PATH_MAX, "%s/%016" PRIx64 "-%u.%s", dir, key->place, key->batch, suffix);
}

bool cache_get(const char *dir, const struct cache_key *key, struct cache_blob *ret_blob)
{
    char path[PATH_MAX];
    struct bytes file = {0};
    blob_path(dir, key, "blob", path);
    if (!map_file(path, MAP_POPULATE, &file))
        return false;
    struct trailer trailer;
    uint8_t digest[CACHE_DIGEST_SIZE];
    if (file.size <= sizeof(trailer))
        goto refuse;
    memcpy(&trailer, file.data + file.size - sizeof(trailer), sizeof(trailer));
    struct bytes content = {file.data, file.size - sizeof(trailer)};
    if (memcmp(trailer.magic, MAGIC, sizeof(MAGIC)) != 0 || trailer.content_size != content.size ||
        memcmp(trailer.key, key->digest, sizeof(trailer.key)) != 0)
        goto refuse;
    if (!digest_of(content, digest) || memcmp(trailer.content_digest, digest, sizeof(digest)) != 0)
        goto refuse;
    *ret_blob = (struct cache_blob){
        .content = content, .map = (void *)(uintptr_t)file.data, .map_size = file.size};
    return true;
refuse:
    unmap_file(file);
    return false;
}

void cache_blob_done(struct cache_blob *blob)
{
    if (blob->map != NULL)
        (void)munmap(blob->map, blob->map_size);
    *blob = (struct cache_blob){0};
}

static bool append_trailer(const char *path, const struct cache_key *key)
{
    struct bytes content = {0};
    struct trailer trailer = {0};
    if (!map_file(path, MAP_POPULATE, &content))
        return false;
    memcpy(trailer.magic, MAGIC, sizeof(MAGIC));
    memcpy(trailer.key, key->digest, sizeof(trailer.key));
    trailer.content_size = content.size;
    bool ok = digest_of(content, trailer.content_digest);
    unmap_file(content);
    int fd = ok ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    ok = fd >= 0 && write(fd, &trailer, sizeof(trailer)) == (ssize_t)sizeof(trailer);
    if (fd >= 0)
        ok = close(fd) == 0 && ok;
    return ok;
}

bool cache_put(const char *dir, const struct cache_key *key,
               bool (*write_blob)(const char *path, void *ctx), void *ctx)
{
    char path[PATH_MAX], fresh[PATH_MAX], suffix[NAME_SIZE_MAX];
    (void)mkdir(dir, 0700); /* If it cannot be made, the first write below says so. */
    /* The process id and the address of this frame: no two writers use one name. */
    (void)snprintf(suffix, sizeof(suffix), "%ld-%" PRIxPTR ".tmp", (long)getpid(),
                   (uintptr_t)&path);
    blob_path(dir, key, "blob", path);
    blob_path(dir, key, suffix, fresh);
    bool ok = write_blob(fresh, ctx) && append_trailer(fresh, key) && rename(fresh, path) == 0;
    if (!ok)
        (void)unlink(fresh);
    return ok;
}
