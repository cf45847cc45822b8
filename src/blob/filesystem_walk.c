/* SPDX-License-Identifier: Apache-2.0
 * filesystem_walk.c - pictures in the order of their hashes: listing and sweeping.
 *
 * The order of the folders' names is that of the hashes, so a position is a hash and nothing is
 * kept open between calls. A folder of any size is read with a page of memory: the first names
 * after the position are kept in order, the rest is passed over and read again for the next page.
 */
#include "blob/filesystem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SWEEP_PAGE_COUNT  64u
#define TENANT_PAGE_COUNT 32u
#define FAN_OUT           256u

/* Calls `visit` with every name of a folder. False and errno when it cannot be read. */
static bool each_name(struct filesystem *fs, int folder, void *ctx,
                      void (*visit)(void *ctx, const char *name))
{
    int fd = fs->disk->open(folder, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *names = fd >= 0 ? fdopendir(fd) : NULL;
    int number = errno;
    if (names != NULL) {
        errno = 0;
        for (const struct dirent *entry; (entry = readdir(names)) != NULL; errno = 0)
            visit(ctx, entry->d_name);
        number = errno;
        (void)closedir(names);
    } else if (fd >= 0) {
        (void)close(fd);
    }
    errno = number;
    return names != NULL && number == 0;
}

/* Which of 00 .. ff a folder has. */
struct fan {
    bool has[FAN_OUT];
};

static void note_fan(void *ctx, const char *name)
{
    struct fan *fan = ctx;
    uint8_t octet;
    if (hex_parse(name, &octet, 1))
        fan->has[octet] = true;
}

struct page {
    struct filesystem *fs;
    int folder;
    const uint8_t *prefix; /* of the folder: two octets */
    const uint8_t *after;  /* NULL: from the start */
    struct blob_entry *entries;
    uint32_t count;
    uint32_t count_max;
    struct blob_sweep *sweep; /* removes what crashes left, too; NULL: a listing */
    uint64_t now_ms;
};

static bool is_old(const struct blob_info *info, const struct blob_sweep *sweep, uint64_t now_ms)
{
    return now_ms >= sweep->older_than_ms && info->renewed_ms <= now_ms - sweep->older_than_ms;
}

static void remove_stale(struct page *page, const char *name)
{
    struct stat status;
    if (fstatat(page->folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    struct blob_info info = info_of(&status);
    if (S_ISREG(status.st_mode) && is_old(&info, page->sweep, page->now_ms) &&
        page->fs->disk->unlink(page->folder, name) == 0)
        page->sweep->stale_count++;
}

/* Keeps the page in order: almost every folder has fewer names than a page has places. */
static void note_picture(void *ctx, const char *name)
{
    struct page *page = ctx;
    struct blob_entry entry = {0};
    if (!hex_parse(name, entry.sha256, BLOB_SHA256_SIZE)) {
        if (page->sweep != NULL && strncmp(name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) == 0)
            remove_stale(page, name);
        return;
    }
    if (memcmp(entry.sha256, page->prefix, 2) != 0 ||
        (page->after != NULL && memcmp(entry.sha256, page->after, BLOB_SHA256_SIZE) <= 0))
        return;
    uint32_t at = page->count;
    while (at > 0 && memcmp(page->entries[at - 1].sha256, entry.sha256, BLOB_SHA256_SIZE) > 0)
        at--;
    if (at == page->count_max)
        return;
    if (page->count < page->count_max)
        page->count++;
    memmove(&page->entries[at + 1], &page->entries[at],
            (page->count - at - 1) * sizeof(page->entries[0]));
    page->entries[at] = entry;
}

/* Fills in sizes and ages, and leaves out what has gone since or is no picture. */
static void stat_page(struct page *page)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < page->count; i++) {
        char name[PICTURE_NAME_SIZE];
        struct stat status;
        hex_text(page->entries[i].sha256, BLOB_SHA256_SIZE, name);
        if (fstatat(page->folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(status.st_mode))
            continue;
        page->entries[kept] = page->entries[i];
        page->entries[kept++].info = info_of(&status);
    }
    page->count = kept;
}

/* A walk over a tenant's last folders, in order. */
struct walk {
    struct filesystem *fs;
    const char *tenant;
    const uint8_t *after; /* NULL: from the start */
    void *ctx;
    /* False ends the walk: at a last folder, then at the end of one of the first level. */
    bool (*visit)(struct walk *walk, int folder, const uint8_t prefix[2]);
    bool (*leave)(struct walk *walk, uint8_t first);
    /* What begins with `size` octets of `prefix` cannot be read; `number` is the errno. */
    bool (*fail)(struct walk *walk, int number, const uint8_t *prefix, size_t size);
};

/* Whether `after` is behind all hashes that share its first `size` octets: then it is the cursor of
 * a sweep, which has passed over that folder. */
static bool is_behind(const uint8_t *after, size_t size)
{
    while (size < BLOB_SHA256_SIZE && after[size] == 0xff)
        size++;
    return size == BLOB_SHA256_SIZE;
}

static bool walk_first(struct walk *walk, int tenant_folder, uint8_t first)
{
    struct filesystem *fs = walk->fs;
    struct fan fan = {0};
    char name[3];
    uint8_t prefix[2] = {first, 0};
    bool starts_here = walk->after != NULL && walk->after[0] == first;
    hex_text(&first, 1, name);
    int folder = folder_step(fs, tenant_folder, name, false);
    bool goes_on = true;
    if (folder < 0 || !each_name(fs, folder, &fan, note_fan))
        goes_on = errno == ENOENT || walk->fail(walk, errno, prefix, 1);
    uint32_t last = starts_here ? walk->after[1] + (uint32_t)is_behind(walk->after, 2) : 0;
    for (; last < FAN_OUT && goes_on; last++) {
        if (!fan.has[last])
            continue;
        prefix[1] = (uint8_t)last;
        hex_text(prefix + 1, 1, name);
        int pictures = folder_step(fs, folder, name, false);
        if (pictures < 0) {
            goes_on = errno == ENOENT || walk->fail(walk, errno, prefix, 2);
            continue;
        }
        goes_on = walk->visit(walk, pictures, prefix);
        (void)close(pictures);
    }
    if (folder >= 0)
        (void)close(folder);
    return goes_on && walk->leave(walk, first);
}

/* True when it came to the end. */
static bool walk_run(struct walk *walk)
{
    static const uint8_t none[BLOB_SHA256_SIZE];
    struct fan fan = {0};
    int folder = folder_open(walk->fs, walk->tenant, none, LEVEL_TENANT, false);
    bool goes_on = true;
    if (folder < 0 || !each_name(walk->fs, folder, &fan, note_fan))
        goes_on = errno == ENOENT || walk->fail(walk, errno, none, 0);
    uint32_t first = walk->after != NULL ? walk->after[0] + (uint32_t)is_behind(walk->after, 1) : 0;
    for (; first < FAN_OUT && goes_on; first++)
        if (fan.has[first])
            goes_on = walk_first(walk, folder, (uint8_t)first);
    if (folder >= 0)
        (void)close(folder);
    return goes_on;
}

struct listing {
    struct page page;
    uint32_t count_max;
    enum rc rc;
    struct error *err;
};

static bool list_failed(struct walk *walk, int number, const uint8_t *prefix, size_t size)
{
    struct listing *listing = walk->ctx;
    (void)prefix;
    (void)size;
    listing->rc = disk_error(walk->fs, number, "listing", walk->tenant, NULL, listing->err);
    return false;
}

/* Pages until the folder has no more: a name may have gone between readdir and stat, and a page
 * that is short for that reason must not look like the last. */
static bool list_folder(struct walk *walk, int folder, const uint8_t prefix[2])
{
    struct listing *listing = walk->ctx;
    struct page *page = &listing->page;
    uint8_t after[BLOB_SHA256_SIZE];
    const uint8_t *from = walk->after;
    for (bool is_full = true; is_full && listing->count_max > 0;) {
        page->folder = folder;
        page->prefix = prefix;
        page->after = from;
        page->count = 0;
        page->count_max = listing->count_max;
        if (!each_name(walk->fs, folder, page, note_picture))
            return list_failed(walk, errno, prefix, 2);
        is_full = page->count == page->count_max;
        if (is_full)
            memcpy(after, page->entries[page->count - 1].sha256, sizeof(after));
        from = after;
        stat_page(page);
        page->entries += page->count;
        listing->count_max -= page->count;
    }
    return listing->count_max > 0;
}

static bool list_leave(struct walk *walk, uint8_t first)
{
    (void)walk;
    (void)first;
    return true;
}

enum rc filesystem_list(struct blob *blob, const char *tenant, const uint8_t *after,
                        struct blob_entry entries[], uint32_t count_max, uint32_t *ret_count,
                        struct error *err)
{
    struct listing listing = {
        .page = {.fs = filesystem_of(blob), .entries = entries},
        .count_max = count_max,
        .rc = RC_OK,
        .err = err,
    };
    struct walk walk = {.fs = filesystem_of(blob),
                        .tenant = tenant,
                        .after = after,
                        .ctx = &listing,
                        .visit = list_folder,
                        .leave = list_leave,
                        .fail = list_failed};
    (void)walk_run(&walk);
    if (listing.rc == RC_OK)
        *ret_count = count_max - listing.count_max;
    return listing.rc;
}

struct sweeping {
    struct blob_sweep *sweep;
    uint64_t now_ms;
    uint32_t left; /* visits of this call */
    enum rc rc;    /* the first failure */
    struct error *err;
};

static bool count_visit(struct sweeping *sweeping)
{
    sweeping->sweep->visited_count++;
    return --sweeping->left > 0;
}

/* Moves the cursor behind everything that begins with `prefix`. */
static void pass_over(struct blob_sweep *sweep, const uint8_t *prefix, size_t size)
{
    memset(sweep->at_sha256, 0xff, BLOB_SHA256_SIZE);
    memcpy(sweep->at_sha256, prefix, size);
    sweep->at_picture = true;
}

/* A pass gets to its end whatever cannot be read or removed on the way. */
static bool sweep_failed(struct walk *walk, int number, const uint8_t *prefix, size_t size)
{
    struct sweeping *sweeping = walk->ctx;
    struct error first;
    enum rc rc = disk_error(walk->fs, number, "sweeping", walk->tenant, NULL, &first);
    sweeping->sweep->failed_count++;
    pass_over(sweeping->sweep, prefix, size);
    if (sweeping->rc == RC_OK) {
        sweeping->rc = rc;
        if (sweeping->err != NULL)
            *sweeping->err = first;
    }
    return count_visit(sweeping);
}

/* The age is read again under the lock: a put may have renewed it since. */
static bool remove_old(struct walk *walk, int folder, const struct blob_entry *entry)
{
    struct sweeping *sweeping = walk->ctx;
    char name[PICTURE_NAME_SIZE];
    struct stat status;
    hex_text(entry->sha256, BLOB_SHA256_SIZE, name);
    if (!folder_lock(folder, true))
        return false;
    bool fine = fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
    struct blob_info info = fine ? info_of(&status) : entry->info;
    if (!fine && errno == ENOENT) {
        fine = true;
    } else if (fine && is_old(&info, sweeping->sweep, sweeping->now_ms)) {
        fine = walk->fs->disk->unlink(folder, name) == 0;
        sweeping->sweep->removed_count += fine;
        sweeping->sweep->removed_size += fine ? info.size : 0;
    }
    int number = errno;
    folder_unlock(folder);
    errno = number;
    return fine;
}

/* False ends the call. */
static bool sweep_picture(struct walk *walk, int folder, const struct blob_entry *entry)
{
    struct sweeping *sweeping = walk->ctx;
    struct blob_sweep *sweep = sweeping->sweep;
    bool is_referenced = true;
    if (is_old(&entry->info, sweep, sweeping->now_ms)) {
        enum rc rc = sweep->is_referenced(sweep->ctx, walk->tenant, entry->sha256, &entry->info,
                                          &is_referenced, sweeping->err);
        if (rc != RC_OK) {
            sweeping->rc = rc;
            return false;
        }
    }
    if (!is_referenced && !remove_old(walk, folder, entry))
        return sweep_failed(walk, errno, entry->sha256, BLOB_SHA256_SIZE);
    pass_over(sweep, entry->sha256, BLOB_SHA256_SIZE);
    return count_visit(sweeping);
}

static bool sweep_folder(struct walk *walk, int folder, const uint8_t prefix[2])
{
    struct sweeping *sweeping = walk->ctx;
    struct blob_sweep *sweep = sweeping->sweep;
    struct blob_entry entries[SWEEP_PAGE_COUNT];
    uint8_t after[BLOB_SHA256_SIZE];
    const uint8_t *from = walk->after;
    for (bool is_full = true; is_full;) {
        struct page page = {.fs = walk->fs,
                            .folder = folder,
                            .prefix = prefix,
                            .after = from,
                            .entries = entries,
                            .count_max = SWEEP_PAGE_COUNT,
                            .sweep = sweep,
                            .now_ms = sweeping->now_ms};
        if (!each_name(walk->fs, folder, &page, note_picture))
            return sweep_failed(walk, errno, prefix, 2);
        is_full = page.count == page.count_max;
        if (is_full)
            memcpy(after, entries[page.count - 1].sha256, sizeof(after));
        from = after;
        stat_page(&page);
        for (uint32_t i = 0; i < page.count; i++)
            if (!sweep_picture(walk, folder, &entries[i]))
                return false;
    }
    pass_over(sweep, prefix, 2);
    return count_visit(sweeping);
}

static bool sweep_leave(struct walk *walk, uint8_t first)
{
    struct sweeping *sweeping = walk->ctx;
    pass_over(sweeping->sweep, &first, 1);
    return count_visit(sweeping);
}

/* True when the tenant is done. */
static bool sweep_tenant(struct filesystem *fs, struct sweeping *sweeping)
{
    struct blob_sweep *sweep = sweeping->sweep;
    /* Copies: the cursor moves while the walk goes on. */
    uint8_t after[BLOB_SHA256_SIZE];
    char tenant[BLOB_TENANT_SIZE_MAX + 1];
    memcpy(after, sweep->at_sha256, sizeof(after));
    memcpy(tenant, sweep->at_tenant, sizeof(tenant));
    struct walk walk = {.fs = fs,
                        .tenant = tenant,
                        .after = sweep->at_picture ? after : NULL,
                        .ctx = sweeping,
                        .visit = sweep_folder,
                        .leave = sweep_leave,
                        .fail = sweep_failed};
    if (!walk_run(&walk))
        return false;
    pass_over(sweep, after, 0);
    return true;
}

struct tenants {
    const char *after;
    uint32_t count;
    char names[TENANT_PAGE_COUNT][BLOB_TENANT_SIZE_MAX + 1];
};

/* The first names after `after`, in order. Folders that are no tenant's are not ours. */
static void note_tenant(void *ctx, const char *name)
{
    struct tenants *tenants = ctx;
    size_t size = strnlen(name, BLOB_TENANT_SIZE_MAX + 1);
    if (size > BLOB_TENANT_SIZE_MAX || name[0] == '.' || name[0] == '-' ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != size ||
        strcmp(name, tenants->after) <= 0)
        return;
    uint32_t at = tenants->count;
    while (at > 0 && strcmp(tenants->names[at - 1], name) > 0)
        at--;
    if (at == TENANT_PAGE_COUNT)
        return;
    if (tenants->count < TENANT_PAGE_COUNT)
        tenants->count++;
    memmove(tenants->names[at + 1], tenants->names[at],
            (tenants->count - at - 1) * sizeof(tenants->names[0]));
    memcpy(tenants->names[at], name, size + 1);
}

enum rc filesystem_tenant_next(struct blob *blob, const char *after, char *into, struct error *err)
{
    struct filesystem *fs = filesystem_of(blob);
    struct tenants tenants = {.after = after};
    if (!each_name(fs, fs->root, &tenants, note_tenant))
        return disk_error(fs, errno, "listing", NULL, NULL, err);
    if (tenants.count == 0)
        return error_set(err, RC_NOT_FOUND, "no tenant after '%s'", after);
    memcpy(into, tenants.names[0], sizeof(tenants.names[0]));
    return RC_OK;
}

/* All tenants, a page of names at a time. True when they are all done. */
static bool sweep_all(struct filesystem *fs, struct sweeping *sweeping)
{
    struct blob_sweep *sweep = sweeping->sweep;
    if (sweep->at_tenant[0] != '\0' && !sweep_tenant(fs, sweeping))
        return false;
    for (;;) {
        struct tenants tenants = {.after = sweep->at_tenant};
        if (!each_name(fs, fs->root, &tenants, note_tenant)) {
            sweeping->rc = disk_error(fs, errno, "sweeping", NULL, NULL, sweeping->err);
            return false;
        }
        if (tenants.count == 0)
            return true;
        for (uint32_t i = 0; i < tenants.count; i++) {
            memcpy(sweep->at_tenant, tenants.names[i], sizeof(sweep->at_tenant));
            sweep->at_picture = false;
            if (!sweep_tenant(fs, sweeping) || !count_visit(sweeping))
                return false;
        }
    }
}

enum rc filesystem_sweep(struct blob *blob, struct blob_sweep *sweep, uint64_t now_ms,
                         struct error *err)
{
    struct filesystem *fs = filesystem_of(blob);
    struct sweeping sweeping = {
        .sweep = sweep, .now_ms = now_ms, .left = sweep->visit_count_max, .rc = RC_OK, .err = err};
    if (sweep->tenant != NULL) {
        memcpy(sweep->at_tenant, sweep->tenant, strlen(sweep->tenant) + 1);
        sweep->done = sweep_tenant(fs, &sweeping);
    } else {
        sweep->done = sweep_all(fs, &sweeping);
    }
    return sweeping.rc;
}
