/* SPDX-License-Identifier: Apache-2.0
 * filesystem.h - what the files of the filesystem driver share; its tests see it too.
 *
 * <root>/<tenant>/<2 hex>/<2 hex>/<64 hex>: the file is the picture, its mtime the last put.
 * Folders are 0700 and stay; files are 0600. ".put-*" beside them are temporary files, which exist
 * only where O_TMPFILE does not. Every name is taken relative to an open folder, without following
 * links below the root.
 *
 * Lock: flock() on the last folder. A put holds it shared from looking at a picture to having
 * renewed or placed it; sweep and delete hold it alone from reading the age to removing the name.
 * Hence a removal either sees the new age and stops, or is over before the put looks and finds
 * nothing. It is held for a few system calls, never while data is written, synced or a callback
 * runs. */
#ifndef BLOB_FILESYSTEM_H
#define BLOB_FILESYSTEM_H
#include "blob/disk.h"
#include "blob/driver.h"
#include "blob/hex.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define PICTURE_NAME_SIZE HEX_NAME_SIZE
#define TEMPORARY_PREFIX  ".put-"
#define SETTLED_COUNT     256u

/* A folder of the first level that is known to be durable, with all above it. */
struct settled {
    char tenant[BLOB_TENANT_SIZE_MAX + 1]; /* "": a free slot */
    uint8_t first;
};

struct filesystem {
    struct blob base;
    const struct disk_ops *disk;
    char *root_path;
    int root;
    bool sync_all;             /* one syncfs() for a group, else fsync() of each */
    atomic_bool is_named;      /* temporary files need names here */
    atomic_uint_fast64_t next; /* temporary name */
    uint64_t nonce;            /* tells the names of this handle from those of others */
    pthread_mutex_t mutex;     /* of `settled` */
    struct settled settled[SETTLED_COUNT];
};

struct filesystem *filesystem_of(struct blob *blob);

/* filesystem.c's open() over another disk. */
NODISCARD enum rc filesystem_open_on(const struct disk_ops *disk, const char *place,
                                     struct blob **ret_blob, struct error *err);

/* filesystem_folder.c */
enum level { LEVEL_ROOT, LEVEL_TENANT, LEVEL_FIRST, LEVEL_LAST };
/* The folder that holds the picture, or one above it; -1 and errno. `make` makes what is missing.
 */
int folder_open(struct filesystem *fs, const char *tenant, const uint8_t *sha256, enum level level,
                bool make);
/* A folder in an open one. */
int folder_step(struct filesystem *fs, int at, const char *name, bool make);
NODISCARD bool folder_lock(int folder, bool alone); /* errno when false */
void folder_unlock(int folder);
struct blob_info info_of(const struct stat *status);
/* Turns an errno into what a platform engineer needs to know. `doing` is "storing", "reading" ...
 */
enum rc disk_error(const struct filesystem *fs, int number, const char *doing, const char *tenant,
                   const uint8_t *sha256, struct error *err);
void picture_path(const struct filesystem *fs, const char *tenant, const uint8_t *sha256,
                  char *into, size_t size);

/* filesystem_put.c and filesystem_walk.c: the driver's functions. */
void filesystem_put(struct blob *blob, struct blob_item items[], uint32_t count, uint64_t now_ms);
enum rc filesystem_list(struct blob *blob, const char *tenant, const uint8_t *after,
                        struct blob_entry entries[], uint32_t count_max, uint32_t *ret_count,
                        struct error *err);
enum rc filesystem_tenant_next(struct blob *blob, const char *after, char *into, struct error *err);
enum rc filesystem_sweep(struct blob *blob, struct blob_sweep *sweep, uint64_t now_ms,
                         struct error *err);
#endif
