/* SPDX-License-Identifier: Apache-2.0
 * forgetful_vfs.c - writes go to the real file at once; what each sector held when it was last
 * synced is kept aside, and put back when the power goes. */
#include "forgetful_vfs.h"

#include "results_world.h"

#include <assert.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR_SIZE  512
#define FILE_MAX     16u
#define BUCKET_COUNT 1024u

struct sector {
    struct sector *next;
    sqlite3_int64 number;
    unsigned char synced[SECTOR_SIZE];
};

/* A path with unsynced changes. */
struct shadow {
    char path[512];
    bool used;
    bool ever_synced; /* else its name may be lost */
    sqlite3_int64 synced_size;
    struct sector *buckets[BUCKET_COUNT];
};

struct forgetful_file {
    sqlite3_file base;
    struct shadow *shadow; /* NULL: a temporary file */
    sqlite3_file *real;
};

static struct shadow shadows[FILE_MAX];
static sqlite3_vfs *real_vfs;
static sqlite3_vfs vfs;
static sqlite3_io_methods methods;
static uint64_t ops_left; /* 0: not armed */
static bool off;
static bool full;
static bool sync_fails;

void forgetful_arm(uint64_t op_count) { ops_left = op_count; }
bool forgetful_is_off(void) { return off; }
void forgetful_set_full(bool value) { full = value; }
void forgetful_set_sync_fails(bool value) { sync_fails = value; }

/* False: there is no power for this operation. */
static bool powered(void)
{
    if (ops_left > 0 && --ops_left == 0)
        off = true;
    return !off;
}

static void forget_shadow(struct shadow *shadow)
{
    for (size_t i = 0; i < BUCKET_COUNT; i++)
        while (shadow->buckets[i] != NULL) {
            struct sector *next = shadow->buckets[i]->next;
            free(shadow->buckets[i]);
            shadow->buckets[i] = next;
        }
}

static struct shadow *shadow_of(const char *path, bool create)
{
    struct shadow *free_one = NULL;
    for (size_t i = 0; i < FILE_MAX; i++) {
        if (shadows[i].used && strcmp(shadows[i].path, path) == 0)
            return &shadows[i];
        if (!shadows[i].used)
            free_one = &shadows[i];
    }
    if (!create)
        return NULL;
    assert(free_one != NULL && strlen(path) < sizeof(free_one->path));
    memset(free_one, 0, sizeof(*free_one));
    memcpy(free_one->path, path, strlen(path));
    struct stat stat_of;
    bool exists = stat(path, &stat_of) == 0;
    free_one->used = true;
    free_one->ever_synced = exists;
    free_one->synced_size = exists ? stat_of.st_size : 0;
    return free_one;
}

static struct forgetful_file *file_of(sqlite3_file *file) { return (struct forgetful_file *)file; }

static void keep_sectors(struct forgetful_file *file, sqlite3_int64 from, sqlite3_int64 to)
{
    for (sqlite3_int64 number = from / SECTOR_SIZE; number * SECTOR_SIZE < to; number++) {
        struct sector **bucket = &file->shadow->buckets[(uint64_t)number % BUCKET_COUNT];
        struct sector *sector = *bucket;
        while (sector != NULL && sector->number != number)
            sector = sector->next;
        if (sector != NULL)
            continue;
        sector = calloc(1, sizeof(*sector));
        assert(sector != NULL);
        /* A short read leaves zeros, as SQLite's own does. */
        (void)file->real->pMethods->xRead(file->real, sector->synced, SECTOR_SIZE,
                                          number * SECTOR_SIZE);
        sector->number = number;
        sector->next = *bucket;
        *bucket = sector;
    }
}

static int on_close(sqlite3_file *base)
{
    return file_of(base)->real->pMethods->xClose(file_of(base)->real);
}

static int on_read(sqlite3_file *base, void *into, int size, sqlite3_int64 at)
{
    if (off)
        return SQLITE_IOERR_READ;
    return file_of(base)->real->pMethods->xRead(file_of(base)->real, into, size, at);
}

static int on_write(sqlite3_file *base, const void *data, int size, sqlite3_int64 at)
{
    struct forgetful_file *file = file_of(base);
    if (!powered())
        return SQLITE_IOERR_WRITE;
    if (full)
        return SQLITE_FULL;
    if (file->shadow != NULL)
        keep_sectors(file, at, at + size);
    return file->real->pMethods->xWrite(file->real, data, size, at);
}

static int on_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct forgetful_file *file = file_of(base);
    if (!powered())
        return SQLITE_IOERR_TRUNCATE;
    sqlite3_int64 old = 0;
    (void)file->real->pMethods->xFileSize(file->real, &old);
    if (file->shadow != NULL && size < old)
        keep_sectors(file, size, old);
    return file->real->pMethods->xTruncate(file->real, size);
}

static int on_sync(sqlite3_file *base, int flags)
{
    struct forgetful_file *file = file_of(base);
    (void)flags; /* nothing is really synced: the kernel does not die here */
    if (!powered() || sync_fails)
        return SQLITE_IOERR_FSYNC;
    if (file->shadow != NULL) {
        forget_shadow(file->shadow);
        file->shadow->ever_synced = true;
        (void)file->real->pMethods->xFileSize(file->real, &file->shadow->synced_size);
    }
    return SQLITE_OK;
}

static int on_size(sqlite3_file *base, sqlite3_int64 *size)
{
    return file_of(base)->real->pMethods->xFileSize(file_of(base)->real, size);
}
static int on_lock(sqlite3_file *base, int lock)
{
    return file_of(base)->real->pMethods->xLock(file_of(base)->real, lock);
}
static int on_unlock(sqlite3_file *base, int lock)
{
    return file_of(base)->real->pMethods->xUnlock(file_of(base)->real, lock);
}
static int on_reserved(sqlite3_file *base, int *reserved)
{
    return file_of(base)->real->pMethods->xCheckReservedLock(file_of(base)->real, reserved);
}
static int on_control(sqlite3_file *base, int op, void *arg)
{
    /* These would write behind our back. */
    if (op == SQLITE_FCNTL_SIZE_HINT || op == SQLITE_FCNTL_CHUNK_SIZE)
        return SQLITE_NOTFOUND;
    return file_of(base)->real->pMethods->xFileControl(file_of(base)->real, op, arg);
}
static int on_sector_size(sqlite3_file *base)
{
    return file_of(base)->real->pMethods->xSectorSize(file_of(base)->real);
}
static int on_traits(sqlite3_file *base)
{
    return file_of(base)->real->pMethods->xDeviceCharacteristics(file_of(base)->real);
}
static int on_shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **into)
{
    return file_of(base)->real->pMethods->xShmMap(file_of(base)->real, region, size, extend, into);
}
static int on_shm_lock(sqlite3_file *base, int offset, int count, int flags)
{
    return file_of(base)->real->pMethods->xShmLock(file_of(base)->real, offset, count, flags);
}
static void on_shm_barrier(sqlite3_file *base)
{
    file_of(base)->real->pMethods->xShmBarrier(file_of(base)->real);
}
static int on_shm_unmap(sqlite3_file *base, int remove_it)
{
    return file_of(base)->real->pMethods->xShmUnmap(file_of(base)->real, remove_it);
}

static int on_open(sqlite3_vfs *self, const char *name, sqlite3_file *base, int flags,
                   int *ret_flags)
{
    (void)self;
    struct forgetful_file *file = file_of(base);
    memset(file, 0, sizeof(*file));
    if (off)
        return SQLITE_CANTOPEN;
    file->real = (sqlite3_file *)(file + 1);
    if (name != NULL)
        file->shadow = shadow_of(name, true);
    int code = real_vfs->xOpen(real_vfs, name, file->real, flags, ret_flags);
    if (file->real->pMethods != NULL)
        file->base.pMethods = &methods;
    return code;
}

/* Durable at once: what is deleted here is a log whose contents are in the file, synced. */
static int on_delete(sqlite3_vfs *self, const char *name, int sync_folder)
{
    (void)self;
    if (!powered())
        return SQLITE_IOERR_DELETE;
    struct shadow *shadow = shadow_of(name, false);
    if (shadow != NULL) {
        forget_shadow(shadow);
        shadow->used = false;
    }
    return real_vfs->xDelete(real_vfs, name, sync_folder);
}

void forgetful_register(void)
{
    if (real_vfs != NULL)
        return;
    real_vfs = sqlite3_vfs_find(NULL);
    methods = (sqlite3_io_methods){
        .iVersion = 2,
        .xClose = on_close,
        .xRead = on_read,
        .xWrite = on_write,
        .xTruncate = on_truncate,
        .xSync = on_sync,
        .xFileSize = on_size,
        .xLock = on_lock,
        .xUnlock = on_unlock,
        .xCheckReservedLock = on_reserved,
        .xFileControl = on_control,
        .xSectorSize = on_sector_size,
        .xDeviceCharacteristics = on_traits,
        .xShmMap = on_shm_map,
        .xShmLock = on_shm_lock,
        .xShmBarrier = on_shm_barrier,
        .xShmUnmap = on_shm_unmap,
    };
    vfs = *real_vfs;
    vfs.pNext = NULL;
    vfs.zName = "forgetful";
    vfs.szOsFile = (int)sizeof(struct forgetful_file) + real_vfs->szOsFile;
    vfs.xOpen = on_open;
    vfs.xDelete = on_delete;
    (void)sqlite3_vfs_register(&vfs, 0);
}

static void lose_file(struct shadow *shadow, uint64_t *random)
{
    int fd = open(shadow->path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    bool old_size = random_next(random) % 2 != 0;
    for (size_t i = 0; i < BUCKET_COUNT; i++)
        for (struct sector *sector = shadow->buckets[i]; sector != NULL; sector = sector->next) {
            sqlite3_int64 at = sector->number * SECTOR_SIZE;
            if (random_next(random) % 2 != 0) {
                ssize_t size = pwrite(fd, sector->synced, SECTOR_SIZE, at);
                assert(size == SECTOR_SIZE);
            }
        }
    struct stat now;
    int failed = fstat(fd, &now);
    if (failed == 0 && (old_size || now.st_size < shadow->synced_size))
        failed = ftruncate(fd, shadow->synced_size);
    assert(failed == 0);
    (void)close(fd);
    if (!shadow->ever_synced && random_next(random) % 2 != 0)
        (void)unlink(shadow->path);
}

void forgetful_lose(uint64_t *random)
{
    for (size_t i = 0; i < FILE_MAX; i++) {
        struct shadow *shadow = &shadows[i];
        if (!shadow->used)
            continue;
        lose_file(shadow, random);
        forget_shadow(shadow);
        char index[520];
        (void)snprintf(index, sizeof(index), "%s-shm", shadow->path);
        (void)unlink(index); /* memory */
        shadow->used = false;
    }
    off = false;
    ops_left = 0;
}
