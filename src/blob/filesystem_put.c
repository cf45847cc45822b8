/* SPDX-License-Identifier: Apache-2.0
 * filesystem_put.c - a group of pictures onto the disk, together.
 *
 * Four steps: write every picture into a file without a name; sync the files; give them their
 * names; sync the folders. A name therefore never leads to a file that is not whole, whatever stops
 * us, and all that syncing costs is shared by the group: two syncfs() where that is sound, else an
 * fsync() for each file and once for each folder.
 *
 * Which: ?sync=auto takes syncfs() at every group size wherever filesystem.c finds it sound.
 * Measured on ext4 for photos of 107 kB, wall time a photo: alone 5-11 ms against 12-16 with
 * fsync() of each, in groups of 8 about 1 against 12, of 32 about 0.5 against 12. Its price: what
 * others have written to the same disk is waited for too, and a failure of theirs fails our group,
 * which may be repeated.
 */
#include "blob/filesystem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROUND_COUNT         64u /* two open files for each item of a round */
#define TEMPORARY_NAME_SIZE 48
#define NAME_TRIES_MAX      8

struct step {
    struct blob_item *item;
    int folder;
    int file;
    bool is_new;  /* to be placed; else renewed */
    bool replace; /* over a file of the wrong size */
    char name[PICTURE_NAME_SIZE];
    char temporary[TEMPORARY_NAME_SIZE]; /* "": the file has no name yet */
};

static bool is_alive(const struct step *step) { return step->item->rc == RC_OK; }

static void fail(struct filesystem *fs, struct step *step, int number)
{
    struct blob_item *item = step->item;
    item->existed = false;
    item->rc = disk_error(fs, number, item->renew_only ? "renewing" : "storing", item->tenant,
                          item->sha256, &item->err);
}

static void name_temporary(struct filesystem *fs, char into[TEMPORARY_NAME_SIZE])
{
    (void)snprintf(into, TEMPORARY_NAME_SIZE, TEMPORARY_PREFIX "%016" PRIx64 "-%" PRIuFAST64,
                   fs->nonce, atomic_fetch_add(&fs->next, 1));
}

/* errno's of kernels and file systems that have no O_TMPFILE. */
static bool is_unsupported(int number)
{
    return number == EOPNOTSUPP || number == EISDIR || number == EINVAL;
}

static int open_temporary(struct filesystem *fs, struct step *step)
{
    if (!atomic_load(&fs->is_named)) {
        int fd = fs->disk->open(step->folder, ".", O_TMPFILE | O_WRONLY, 0600);
        if (fd >= 0 || !is_unsupported(errno))
            return fd;
        atomic_store(&fs->is_named, true);
    }
    name_temporary(fs, step->temporary);
    int fd = fs->disk->open(step->folder, step->temporary, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW,
                            0600);
    if (fd < 0)
        step->temporary[0] = '\0';
    return fd;
}

static bool set_age(struct filesystem *fs, int fd, uint64_t now_ms)
{
    struct timespec now = {.tv_sec = (time_t)(now_ms / 1000),
                           .tv_nsec = (long)(now_ms % 1000) * 1000000};
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, now};
    return fs->disk->set_times(fd, times) == 0;
}

static bool write_all(struct filesystem *fs, int fd, struct bytes content)
{
    while (content.size > 0) {
        ssize_t done = fs->disk->write(fd, content.data, content.size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return false;
        content.data += done;
        content.size -= (size_t)done;
    }
    return true;
}

enum found { FOUND, FOUND_NONE, FOUND_WRONG, FOUND_ERROR };

/* Under the lock: is the picture there? Then its age begins anew, and step->file is its file. */
static enum found renew(struct filesystem *fs, struct step *step, uint64_t now_ms)
{
    struct stat status;
    int fd = fs->disk->open(step->folder, step->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return errno == ENOENT ? FOUND_NONE : FOUND_ERROR;
    enum found found = FOUND;
    if (fstat(fd, &status) != 0)
        found = FOUND_ERROR;
    else if (!S_ISREG(status.st_mode))
        found = (errno = EISDIR, FOUND_ERROR);
    else if (!step->item->renew_only && (uint64_t)status.st_size != step->item->content.size)
        found = FOUND_WRONG;
    else if (info_of(&status).renewed_ms < now_ms && !set_age(fs, fd, now_ms))
        found = FOUND_ERROR;
    int number = errno;
    if (found != FOUND) {
        (void)close(fd);
    } else {
        if (step->file >= 0)
            (void)close(step->file);
        step->file = fd;
        step->is_new = false;
        step->item->existed = true;
    }
    errno = number;
    return found;
}

/* A file without a name goes with its last descriptor. */
static void close_file(struct filesystem *fs, struct step *step)
{
    if (step->temporary[0] != '\0')
        (void)fs->disk->unlink(step->folder, step->temporary);
    step->temporary[0] = '\0';
    if (step->file >= 0)
        (void)close(step->file);
    step->file = -1;
}

/* Step 1: the picture is renewed, or written without a name. */
static void begin(struct filesystem *fs, struct step *step, uint64_t now_ms)
{
    struct blob_item *item = step->item;
    hex_text(item->sha256, BLOB_SHA256_SIZE, step->name);
    step->folder = folder_open(fs, item->tenant, item->sha256, LEVEL_LAST, !item->renew_only);
    enum found found = FOUND_ERROR;
    int number = errno;
    if (step->folder < 0) {
        if (item->renew_only && number == ENOENT)
            found = FOUND_NONE;
    } else if (folder_lock(step->folder, false)) {
        found = renew(fs, step, now_ms);
        number = errno;
        folder_unlock(step->folder);
    } else {
        number = errno;
    }
    if (found == FOUND_ERROR) {
        fail(fs, step, number);
    } else if (found == FOUND_NONE && item->renew_only) {
        item->rc =
            error_set(&item->err, RC_NOT_FOUND, "tenant %s has no such picture", item->tenant);
    } else if (found != FOUND) {
        step->is_new = true;
        step->replace = found == FOUND_WRONG;
        step->file = open_temporary(fs, step);
        if (step->file < 0 || !write_all(fs, step->file, item->content) ||
            !set_age(fs, step->file, now_ms)) {
            fail(fs, step, errno);
            close_file(fs, step); /* on a full disk, what it took helps the next one */
        }
    }
}

/* Step 2. */
static void sync_files(struct filesystem *fs, struct step steps[], uint32_t count, int all)
{
    bool any = false;
    for (uint32_t i = 0; i < count; i++)
        any |= is_alive(&steps[i]) && steps[i].is_new;
    /* What is only renewed is synced with the folders: its content has been durable since it got
     * its name. */
    int number = any && all >= 0 && fs->disk->sync_all(all) != 0 ? errno : 0;
    for (uint32_t i = 0; i < count; i++)
        if (is_alive(&steps[i])) {
            if (all < 0 && fs->disk->sync(steps[i].file) != 0)
                fail(fs, &steps[i], errno);
            else if (number != 0)
                fail(fs, &steps[i], number);
        }
}

/* Over what is there: a file of the wrong size, or the same picture. */
static bool place_over(struct filesystem *fs, struct step *step)
{
    if (step->temporary[0] == '\0') {
        char temporary[TEMPORARY_NAME_SIZE];
        name_temporary(fs, temporary);
        if (fs->disk->link(step->file, step->folder, temporary) != 0)
            return false;
        memcpy(step->temporary, temporary, sizeof(temporary));
    }
    if (fs->disk->rename(step->folder, step->temporary, step->name) != 0)
        return false;
    step->temporary[0] = '\0';
    return true;
}

/* Step 3, under the lock. Another put may have come first: then its file is renewed. */
static bool place(struct filesystem *fs, struct step *step, uint64_t now_ms)
{
    if (step->replace || step->temporary[0] != '\0')
        return place_over(fs, step);
    for (int i = 0; i < NAME_TRIES_MAX; i++) {
        if (fs->disk->link(step->file, step->folder, step->name) == 0)
            return true;
        if (errno != EEXIST)
            return false;
        switch (renew(fs, step, now_ms)) {
        case FOUND:
            return fs->sync_all || fs->disk->sync(step->file) == 0;
        case FOUND_WRONG:
            return place_over(fs, step);
        case FOUND_NONE: /* removed by someone who does not know our lock */
            break;
        case FOUND_ERROR:
            return false;
        }
    }
    return false;
}

static void place_locked(struct filesystem *fs, struct step *step, uint64_t now_ms)
{
    if (!folder_lock(step->folder, false)) {
        fail(fs, step, errno);
        return;
    }
    bool placed = place(fs, step, now_ms);
    int number = errno;
    folder_unlock(step->folder);
    if (!placed)
        fail(fs, step, number);
}

static bool same_folder(const struct step *a, const struct step *b, enum level level)
{
    if (level > LEVEL_ROOT && strcmp(a->item->tenant, b->item->tenant) != 0)
        return false;
    return level < LEVEL_FIRST || memcmp(a->item->sha256, b->item->sha256, level - 1) == 0;
}

static int sync_folder(struct filesystem *fs, const struct step *step, enum level level)
{
    int fd = level == LEVEL_LAST
                 ? step->folder
                 : folder_open(fs, step->item->tenant, step->item->sha256, level, false);
    int number = fd >= 0 && fs->disk->sync(fd) == 0 ? 0 : errno;
    if (fd >= 0 && level != LEVEL_LAST)
        (void)close(fd);
    return number;
}

static struct settled *settled_slot(struct filesystem *fs, const struct blob_item *item)
{
    uint32_t slot = item->sha256[0];
    for (const char *c = item->tenant; *c != '\0'; c++)
        slot = slot * 31 + (uint8_t)*c;
    return &fs->settled[slot % SETTLED_COUNT];
}

static bool is_settled(struct filesystem *fs, const struct blob_item *item)
{
    (void)pthread_mutex_lock(&fs->mutex);
    const struct settled *slot = settled_slot(fs, item);
    bool yes = slot->first == item->sha256[0] && strcmp(slot->tenant, item->tenant) == 0;
    (void)pthread_mutex_unlock(&fs->mutex);
    return yes;
}

static void settle(struct filesystem *fs, const struct blob_item *item)
{
    (void)pthread_mutex_lock(&fs->mutex);
    struct settled *slot = settled_slot(fs, item);
    (void)snprintf(slot->tenant, sizeof(slot->tenant), "%s", item->tenant);
    slot->first = item->sha256[0];
    (void)pthread_mutex_unlock(&fs->mutex);
}

/* Step 4 without syncfs(): the last folder for the picture's name, the one above for the last
 * folder's own, which another process may have made a moment ago without having synced it; those
 * above that once in the life of this handle, as folders are never removed. */
static void sync_folders_each(struct filesystem *fs, struct step steps[], uint32_t count)
{
    int numbers[ROUND_COUNT][LEVEL_LAST + 1];
    for (uint32_t i = 0; i < count; i++) {
        if (!is_alive(&steps[i]))
            continue;
        int failed = 0;
        int highest = is_settled(fs, steps[i].item) ? LEVEL_FIRST : LEVEL_ROOT;
        for (int level = LEVEL_LAST; level >= 0; level--) {
            numbers[i][level] = -1;
            for (uint32_t j = 0; j < i && numbers[i][level] < 0; j++)
                if (is_alive(&steps[j]) && same_folder(&steps[i], &steps[j], (enum level)level))
                    numbers[i][level] = numbers[j][level];
            if (numbers[i][level] < 0 && level >= highest)
                numbers[i][level] = sync_folder(fs, &steps[i], (enum level)level);
            if (numbers[i][level] > 0)
                failed = numbers[i][level];
        }
        if (failed != 0)
            fail(fs, &steps[i], failed);
        else
            settle(fs, steps[i].item);
    }
}

static void sync_folders(struct filesystem *fs, struct step steps[], uint32_t count, int all)
{
    bool any = false;
    for (uint32_t i = 0; i < count; i++)
        any |= is_alive(&steps[i]);
    if (!any)
        return;
    if (all < 0) {
        sync_folders_each(fs, steps, count);
        return;
    }
    if (fs->disk->sync_all(all) == 0)
        return;
    int number = errno;
    for (uint32_t i = 0; i < count; i++)
        if (is_alive(&steps[i]))
            fail(fs, &steps[i], number);
}

static void finish(struct filesystem *fs, struct step *step)
{
    close_file(fs, step);
    if (step->folder >= 0)
        (void)close(step->folder);
}

static void put_round(struct filesystem *fs, struct step steps[], uint32_t count, uint64_t now_ms)
{
    /* A descriptor of this round's own, opened before anything is written: syncfs() reports a
     * failure of writing back once for each descriptor, and another thread's call must not swallow
     * ours. */
    int all = fs->sync_all ? fs->disk->open(fs->root, ".", O_RDONLY | O_DIRECTORY, 0) : -1;
    if (fs->sync_all && all < 0) {
        int number = errno;
        for (uint32_t i = 0; i < count; i++)
            fail(fs, &steps[i], number);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        begin(fs, &steps[i], now_ms);
    sync_files(fs, steps, count, all);
    for (uint32_t i = 0; i < count; i++)
        if (is_alive(&steps[i]) && steps[i].is_new)
            place_locked(fs, &steps[i], now_ms);
    sync_folders(fs, steps, count, all);
    for (uint32_t i = 0; i < count; i++)
        finish(fs, &steps[i]);
    if (all >= 0)
        (void)close(all);
}

void filesystem_put(struct blob *blob, struct blob_item items[], uint32_t count, uint64_t now_ms)
{
    struct filesystem *fs = filesystem_of(blob);
    struct step steps[ROUND_COUNT];
    for (uint32_t at = 0; at < count;) {
        uint32_t step_count = 0;
        for (; at < count && step_count < ROUND_COUNT; at++)
            if (items[at].rc == RC_OK)
                steps[step_count++] = (struct step){.item = &items[at], .folder = -1, .file = -1};
        if (step_count > 0)
            put_round(fs, steps, step_count, now_ms);
    }
}
