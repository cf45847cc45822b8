/* SPDX-License-Identifier: Apache-2.0
 * What is the filesystem driver's own: layout, damage, links, full and read-only disks, kill -9. */
#include "base/clock.h"
#include "blob/filesystem.h"
#include "check.h"
#include "pictures.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[PATH_MAX];

static struct blob *open_at(const char *folder)
{
    char url[PATH_MAX + 16];
    struct blob *blob = NULL;
    struct error err = {0};
    (void)snprintf(url, sizeof(url), "file:%s", folder);
    if (blob_open(&(struct blob_config){.url = url}, &blob, &err) != RC_OK)
        fail_msg("%s", err.text);
    return blob;
}

static struct blob *open_new(void)
{
    folder_new(NULL, root);
    return open_at(root);
}

static void close_all(struct blob *blob)
{
    blob_free(blob);
    folder_remove(root);
}

static enum rc put(struct blob *blob, const char *tenant, uint32_t number, uint64_t now_ms,
                   struct error *err)
{
    struct picture picture;
    picture_draw(number, &picture);
    struct blob_item item = picture_item(tenant, &picture);
    return blob_put(blob, &item, 1, now_ms, err);
}

static enum rc get(struct blob *blob, const char *tenant, uint32_t number, struct error *err)
{
    struct picture picture;
    struct buf into = BUF_INIT(PICTURE_SIZE_MAX);
    picture_draw(number, &picture);
    enum rc rc = blob_get(blob, tenant, picture.sha256, &into, err);
    assert_true(rc == RC_OK ? into.size == picture.size &&
                                  memcmp(into.data, picture.data, picture.size) == 0
                            : into.size == 0);
    buf_done(&into);
    return rc;
}

static void path_of(const char *tenant, uint32_t number, char into[PATH_MAX])
{
    struct picture picture;
    char name[PICTURE_NAME_SIZE];
    picture_draw(number, &picture);
    hex_text(picture.sha256, BLOB_SHA256_SIZE, name);
    (void)snprintf(into, PATH_MAX, "%.200s/%s/%.2s/%.2s/%s", root, tenant, name, name + 2, name);
}

static void assert_mode(const char *path, mode_t mode)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, mode);
}

TEST(files_lie_by_tenant_and_hash_for_nobody_else_to_read)
{
    struct blob *blob = open_new();
    char path[PATH_MAX];
    assert_int_equal(put(blob, "default", 1, NOON_MS, NULL), RC_OK);
    path_of("default", 1, path);
    assert_mode(path, 0600);
    for (int level = 0; level < 3; level++) {
        *strrchr(path, '/') = '\0';
        assert_mode(path, 0700);
    }
    assert_int_equal(folder_hidden_count(root), 0);
    close_all(blob);
}

TEST(the_folder_is_made_and_its_parent_is_not)
{
    char path[PATH_MAX + 32], url[PATH_MAX + 64];
    struct blob *blob = NULL;
    struct error err = {0};
    folder_new(NULL, root);
    (void)snprintf(path, sizeof(path), "%s/pictures", root);
    (void)snprintf(url, sizeof(url), "file:%s/", path);
    assert_int_equal(blob_open(&(struct blob_config){.url = url}, &blob, NULL), RC_OK);
    assert_mode(path, 0700);
    blob_free(blob);
    blob = NULL;
    (void)snprintf(url, sizeof(url), "file:%s/no/such", root);
    assert_int_equal(blob_open(&(struct blob_config){.url = url}, &blob, &err), RC_UNAVAILABLE);
    assert_null(blob);
    assert_non_null(strstr(err.text, "/no/such"));
    (void)snprintf(path, sizeof(path), "%s/file", root);
    assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
    (void)snprintf(url, sizeof(url), "file:%s", path);
    assert_int_equal(blob_open(&(struct blob_config){.url = url}, &blob, &err), RC_UNAVAILABLE);
    folder_remove(root);
}

TEST(a_damaged_picture_is_never_given_out)
{
    struct blob *blob = open_new();
    struct error err = {0};
    char path[PATH_MAX], name[PICTURE_NAME_SIZE];
    struct picture picture;
    picture_draw(1, &picture);
    hex_text(picture.sha256, BLOB_SHA256_SIZE, name);
    assert_int_equal(put(blob, "default", 1, NOON_MS, NULL), RC_OK);
    path_of("default", 1, path);
    int fd = open(path, O_WRONLY);
    uint8_t flipped = picture.data[picture.size / 2] ^ 1;
    assert_int_equal(pwrite(fd, &flipped, 1, (off_t)picture.size / 2), 1);
    assert_int_equal(get(blob, "default", 1, &err), RC_INTERNAL);
    assert_non_null(strstr(err.text, "damaged"));
    assert_non_null(strstr(err.text, name));
    /* A file of the wrong size is seen by the next put, and replaced. */
    assert_int_equal(ftruncate(fd, (off_t)picture.size - 1), 0);
    assert_int_equal(get(blob, "default", 1, &err), RC_INTERNAL);
    assert_int_equal(put(blob, "default", 1, NOON_MS, NULL), RC_OK);
    assert_int_equal(get(blob, "default", 1, NULL), RC_OK);
    assert_int_equal(close(fd), 0);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(get(blob, "default", 1, NULL), RC_INTERNAL);
    assert_int_equal(folder_hidden_count(root), 0);
    close_all(blob);
}

TEST(links_are_not_followed)
{
    struct blob *blob = open_new();
    char path[PATH_MAX], elsewhere[PATH_MAX], link[PATH_MAX + 32];
    struct blob_entry entry;
    uint32_t count = 0;
    assert_int_equal(put(blob, "default", 1, NOON_MS, NULL), RC_OK);
    path_of("default", 1, path);
    folder_new(NULL, elsewhere);
    (void)snprintf(link, sizeof(link), "%s/moved", elsewhere);
    assert_int_equal(rename(path, link), 0);
    assert_int_equal(symlink(link, path), 0);
    assert_int_equal(get(blob, "default", 1, NULL), RC_UNAVAILABLE);
    assert_int_equal(put(blob, "default", 1, NOON_MS, NULL), RC_UNAVAILABLE);
    assert_int_equal(blob_list(blob, "default", NULL, &entry, 1, &count, NULL), RC_OK);
    assert_int_equal(count, 0);
    (void)snprintf(link, sizeof(link), "%s/linked", root);
    assert_int_equal(symlink(elsewhere, link), 0);
    assert_int_equal(put(blob, "linked", 1, NOON_MS, NULL), RC_UNAVAILABLE);
    assert_int_equal(get(blob, "linked", 1, NULL), RC_UNAVAILABLE);
    folder_remove(elsewhere);
    close_all(blob);
}

static enum rc nothing_refers(void *ctx, const char *tenant, const uint8_t *sha256,
                              const struct blob_info *info, bool *ret_referenced, struct error *err)
{
    (void)ctx, (void)tenant, (void)sha256, (void)info, (void)err;
    *ret_referenced = false;
    return RC_OK;
}

TEST(the_sweep_takes_stale_temporary_files_and_leaves_what_is_not_ours)
{
    struct blob *blob = open_new();
    char path[PATH_MAX + 32], folder[PATH_MAX];
    static const char *const names[] = {".put-0-1", "notes.txt", ".put-0-2"};
    assert_int_equal(put(blob, "default", 1, NOON_MS + DAY_MS, NULL), RC_OK);
    path_of("default", 1, folder);
    *strrchr(folder, '/') = '\0';
    for (int i = 0; i < 3; i++) {
        uint64_t s = (NOON_MS + (i == 2 ? DAY_MS : 0)) / 1000;
        struct timespec times[2] = {{.tv_sec = (time_t)s}, {.tv_sec = (time_t)s}};
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        assert_int_equal(futimens(fd, times), 0);
        assert_int_equal(close(fd), 0);
    }
    struct blob_sweep sweep = {.older_than_ms = DAY_MS, .is_referenced = nothing_refers};
    while (!sweep.done)
        assert_int_equal(blob_sweep(blob, &sweep, NOON_MS + DAY_MS, NULL), RC_OK);
    assert_int_equal(sweep.stale_count, 1);
    assert_int_equal(sweep.removed_count, 0);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        assert_int_equal(access(path, F_OK) == 0, i > 0);
    }
    close_all(blob);
}

TEST(a_folder_of_more_pictures_than_a_page_is_listed_and_swept)
{
    enum { COUNT = 150 }; /* made by hand: finding hashes with one beginning takes too long */
    struct blob *blob = open_new();
    struct blob_entry entries[200];
    char path[PATH_MAX];
    uint32_t count = 0;
    (void)snprintf(path, sizeof(path), "%.200s/default", root);
    for (int i = 0; i < 3; i++, (void)strcat(path, "/ab"))
        assert_int_equal(mkdir(path, 0700), 0);
    path[strlen(path) - 3] = '\0';
    int folder = open(path, O_RDONLY | O_DIRECTORY);
    for (uint32_t i = 0; i < COUNT; i++) {
        char name[PICTURE_NAME_SIZE];
        (void)snprintf(name, sizeof(name), "abab%060x", (i * 77) % COUNT);
        assert_int_equal(close(openat(folder, name, O_CREAT | O_WRONLY, 0600)), 0);
    }
    (void)close(folder);
    assert_int_equal(blob_list(blob, "default", NULL, entries, 200, &count, NULL), RC_OK);
    assert_int_equal(count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(entries[i].sha256[31], i);
    assert_int_equal(blob_list(blob, "default", entries[9].sha256, entries, 100, &count, NULL),
                     RC_OK);
    assert_int_equal(count, 100);
    assert_int_equal(entries[0].sha256[31], 10);
    struct blob_sweep sweep = {.is_referenced = nothing_refers, .visit_count_max = 7};
    while (!sweep.done)
        assert_int_equal(blob_sweep(blob, &sweep, UINT64_MAX / 2, NULL), RC_OK);
    assert_int_equal(sweep.removed_count, COUNT);
    close_all(blob);
}

/* A disk on which every change of a name looks whether the folder is locked as it should be. */
static uint32_t looked_count;

static void assert_locked(int folder, bool alone)
{
    int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(again >= 0);
    assert_int_equal(flock(again, (alone ? LOCK_SH : LOCK_EX) | LOCK_NB), -1);
    assert_int_equal(errno, EWOULDBLOCK);
    (void)close(again);
    looked_count++;
}

static int watched_link(int fd, int at, const char *name)
{
    assert_locked(at, false);
    return disk_kernel.link(fd, at, name);
}

static int watched_rename(int at, const char *from, const char *to)
{
    assert_locked(at, false);
    return disk_kernel.rename(at, from, to);
}

static int watched_unlink(int at, const char *name)
{
    if (name[0] != '.')
        assert_locked(at, true);
    return disk_kernel.unlink(at, name);
}

/* Of a file that has a name already. */
static int watched_set_times(int fd, const struct timespec times[2])
{
    char link[32], path[PATH_MAX] = "";
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    assert_true(readlink(link, path, sizeof(path) - 1) > 0);
    char *name = strrchr(path, '/');
    if (strlen(name + 1) == PICTURE_NAME_SIZE - 1) {
        *name = '\0';
        int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_locked(folder, false);
        (void)close(folder);
    }
    return disk_kernel.set_times(fd, times);
}

TEST(puts_and_removals_exclude_each_other)
{
    struct disk_ops watched = disk_kernel;
    struct blob *blob = NULL;
    struct picture picture;
    char path[PATH_MAX];
    picture_draw(1, &picture);
    watched.link = watched_link;
    watched.rename = watched_rename;
    watched.unlink = watched_unlink;
    watched.set_times = watched_set_times;
    folder_new(NULL, root);
    assert_int_equal(filesystem_open_on(&watched, root, &blob, NULL), RC_OK);
    assert_int_equal(put(blob, "default", 1, NOON_MS, NULL), RC_OK); /* link */
    assert_int_equal(looked_count, 1);
    assert_int_equal(put(blob, "default", 1, NOON_MS + 1, NULL), RC_OK); /* set_times */
    assert_int_equal(looked_count, 2);
    path_of("default", 1, path);
    assert_int_equal(truncate(path, 1), 0);
    assert_int_equal(put(blob, "default", 1, NOON_MS, NULL), RC_OK); /* link, rename */
    assert_int_equal(looked_count, 4);
    struct blob_sweep sweep = {.is_referenced = nothing_refers};
    assert_int_equal(blob_sweep(blob, &sweep, NOON_MS, NULL), RC_OK);
    assert_true(sweep.done && sweep.removed_count == 1);
    assert_int_equal(looked_count, 5);
    assert_int_equal(put(blob, "default", 1, NOON_MS, NULL), RC_OK);
    assert_int_equal(blob_delete(blob, "default", picture.sha256, UINT64_MAX, NULL), RC_OK);
    assert_int_equal(looked_count, 7);
    close_all(blob);
}

static bool mount_small(const char *options)
{
    folder_new(NULL, root);
    return geteuid() == 0 && mount("tmpfs", root, "tmpfs", 0, options) == 0;
}

static void unmount_small(void)
{
    assert_int_equal(umount2(root, MNT_DETACH), 0);
    folder_remove(root);
}

TEST(a_full_disk_is_told_and_stores_no_part)
{
    enum { COUNT = 64 };
    if (!mount_small("size=160k")) {
        folder_remove(root);
        return; /* only root may mount */
    }
    struct blob *blob = open_at(root);
    struct picture *pictures = calloc(COUNT, sizeof(*pictures));
    struct blob_item *items = calloc(COUNT, sizeof(*items));
    assert_true(pictures != NULL && items != NULL);
    uint32_t stored = 0, listed = 0;
    struct error err = {0};
    for (uint32_t i = 0; i < COUNT; i++) {
        picture_draw(i, &pictures[i]);
        items[i] = picture_item("default", &pictures[i]);
    }
    assert_int_equal(blob_put(blob, items, COUNT, NOON_MS, &err), RC_UNAVAILABLE);
    assert_non_null(strstr(err.text, "the disk is full"));
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(items[i].rc == RC_OK || items[i].rc == RC_UNAVAILABLE);
        assert_int_equal(get(blob, "default", i, NULL),
                         items[i].rc == RC_OK ? RC_OK : RC_NOT_FOUND);
        stored += items[i].rc == RC_OK;
    }
    struct blob_entry entries[COUNT];
    assert_int_equal(blob_list(blob, "default", NULL, entries, COUNT, &listed, NULL), RC_OK);
    assert_int_equal(listed, stored);
    assert_true(stored > 0 && stored < COUNT);
    /* Room again: the same group goes in part by part. */
    for (uint32_t i = 0; i < COUNT; i++)
        if (items[i].rc == RC_OK)
            assert_int_equal(blob_delete(blob, "default", items[i].sha256, UINT64_MAX, NULL),
                             RC_OK);
    for (uint32_t i = 0; i < COUNT; i++)
        if (items[i].rc != RC_OK) {
            assert_int_equal(put(blob, "default", i, NOON_MS, NULL), RC_OK);
            break;
        }
    free(pictures);
    free(items);
    blob_free(blob);
    unmount_small();
}

TEST(a_read_only_disk_is_told_and_still_read)
{
    if (!mount_small("size=1m")) {
        folder_remove(root);
        return; /* only root may mount */
    }
    struct blob *blob = open_at(root);
    struct error err = {0};
    assert_int_equal(put(blob, "default", 1, NOON_MS, NULL), RC_OK);
    assert_int_equal(mount(NULL, root, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    for (uint32_t i = 1; i < 3; i++) { /* one to be renewed, one that is new */
        assert_int_equal(put(blob, "default", i, NOON_MS + 1, &err), RC_UNAVAILABLE);
        assert_non_null(strstr(err.text, "read-only"));
    }
    assert_int_equal(get(blob, "default", 1, NULL), RC_OK);
    assert_int_equal(get(blob, "default", 2, NULL), RC_NOT_FOUND);
    struct blob_sweep sweep = {.is_referenced = nothing_refers};
    assert_int_equal(blob_sweep(blob, &sweep, NOON_MS + 1, &err), RC_UNAVAILABLE);
    assert_true(sweep.done && sweep.failed_count == 1);
    blob_free(blob);
    blob = open_at(root);
    assert_int_equal(get(blob, "default", 1, NULL), RC_OK);
    assert_int_equal(mount(NULL, root, NULL, MS_REMOUNT, NULL), 0);
    assert_int_equal(put(blob, "default", 2, NOON_MS + 1, NULL), RC_OK);
    blob_free(blob);
    unmount_small();
}

TEST(too_many_open_files_fail_some_of_a_group)
{
    enum { COUNT = 40 };
    struct blob *blob = open_new();
    struct picture pictures[COUNT];
    struct blob_item items[COUNT];
    struct rlimit before, low = {0};
    struct error err = {0};
    uint32_t stored = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        picture_draw(i, &pictures[i]);
        items[i] = picture_item("default", &pictures[i]);
    }
    int fd = dup(0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = (struct rlimit){.rlim_cur = (rlim_t)fd + 20, .rlim_max = before.rlim_max};
    (void)close(fd);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    enum rc rc = blob_put(blob, items, COUNT, NOON_MS, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(rc, RC_UNAVAILABLE);
    assert_non_null(strstr(err.text, "too many open files"));
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(get(blob, "default", i, NULL),
                         items[i].rc == RC_OK ? RC_OK : RC_NOT_FOUND);
        stored += items[i].rc == RC_OK;
    }
    assert_true(stored > 0);
    assert_int_equal(blob_put(blob, items, COUNT, NOON_MS, NULL), RC_OK);
    close_all(blob);
}

/* Puts groups for ever and notes, in memory that outlives it, which pictures were answered. */
#define ROUND_PICTURES 20000u
static void put_for_ever(const char *folder, uint8_t *answered, uint64_t seed)
{
    struct blob *blob = NULL;
    char url[PATH_MAX + 32];
    (void)snprintf(url, sizeof(url), "file:%s?sync=%s", folder, seed % 2 == 0 ? "all" : "each");
    if (blob_open(&(struct blob_config){.url = url}, &blob, NULL) != RC_OK)
        _exit(1);
    for (;;) {
        struct picture pictures[6];
        struct blob_item items[6];
        uint32_t numbers[6], count = 1 + random_next(&seed) % 6;
        for (uint32_t i = 0; i < count; i++) {
            numbers[i] = random_next(&seed) % ROUND_PICTURES;
            picture_draw(numbers[i], &pictures[i]);
            items[i] = picture_item("default", &pictures[i]);
        }
        if (blob_put(blob, items, count, NOON_MS + seed % 1000, NULL) != RC_OK)
            _exit(1);
        for (uint32_t i = 0; i < count; i++)
            answered[numbers[i]] = 1;
    }
}

TEST(kill_nine_loses_nothing_that_was_answered)
{
    enum { ROUND_COUNT = 12, CHILD_COUNT = 2 };
    struct blob *blob = open_new();
    uint64_t random = 42;
    uint32_t answered_count = 0, listed = 0, listed_now = 0;
    uint8_t after[BLOB_SHA256_SIZE], *answered = mmap(NULL, ROUND_PICTURES, PROT_READ | PROT_WRITE,
                                                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(answered != MAP_FAILED);
    for (uint32_t round = 0; round < ROUND_COUNT; round++) {
        pid_t children[CHILD_COUNT];
        for (uint32_t i = 0; i < CHILD_COUNT; i++)
            if ((children[i] = fork()) == 0)
                put_for_ever(root, answered, round * CHILD_COUNT + i);
        /* The parent sweeps beside them: everything is young. */
        uint64_t until = clock_monotonic_ns() + NS_PER_MS * (10 + random_next(&random) % 80);
        while (clock_monotonic_ns() < until) {
            struct blob_sweep sweep = {.older_than_ms = DAY_MS, .is_referenced = nothing_refers};
            assert_int_equal(blob_sweep(blob, &sweep, NOON_MS, NULL), RC_OK);
            assert_int_equal(sweep.removed_count, 0);
        }
        for (uint32_t i = 0; i < CHILD_COUNT; i++) {
            int status = 0;
            assert_int_equal(kill(children[i], SIGKILL), 0);
            assert_int_equal(waitpid(children[i], &status, 0), children[i]);
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        }
    }
    for (uint32_t i = 0; i < ROUND_PICTURES; i++) {
        enum rc rc = answered[i] ? get(blob, "default", i, NULL) : RC_NOT_FOUND;
        assert_int_equal(rc, answered[i] ? RC_OK : RC_NOT_FOUND);
        answered_count += answered[i];
    }
    assert_true(answered_count > 0);
    do { /* What is there without having been answered is whole as well. */
        struct blob_entry entries[64];
        assert_int_equal(
            blob_list(blob, "default", listed > 0 ? after : NULL, entries, 64, &listed_now, NULL),
            RC_OK);
        for (uint32_t i = 0; i < listed_now; i++) {
            struct buf into = BUF_INIT(PICTURE_SIZE_MAX);
            assert_int_equal(blob_get(blob, "default", entries[i].sha256, &into, NULL), RC_OK);
            buf_done(&into);
            memcpy(after, entries[i].sha256, sizeof(after));
        }
        listed += listed_now;
    } while (listed_now == 64);
    assert_true(listed >= answered_count);
    assert_int_equal(folder_hidden_count(root), 0);
    assert_int_equal(munmap(answered, ROUND_PICTURES), 0);
    close_all(blob);
}

TEST_MAIN("blob filesystem")
