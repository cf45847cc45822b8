/* SPDX-License-Identifier: Apache-2.0 */
#include "power.h"
#include "pictures.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODE_COUNT_MAX 4096u
#define NAME_COUNT_MAX 64u

struct name {
    char text[80];
    uint32_t node;
};

struct content {
    uint8_t *data;
    size_t size;
    struct timespec time;
};

/* A file or folder. Its descriptor keeps the inode's number from being used again. */
struct node {
    int fd;
    ino_t inode;
    bool is_folder;
    struct content synced; /* of a file; of one that was never synced, empty */
    uint32_t name_count;   /* of a folder: the synced names */
    struct name names[NAME_COUNT_MAX];
};

static struct node *nodes;
static uint32_t node_count;
static uint32_t call_count;
static uint32_t call_to_fail;
static int errno_of_one;
static bool no_tmpfile;

static void check(bool fine)
{
    if (!fine)
        abort();
}

static uint32_t node_at(int at, const char *name);

static int reopen(const struct node *node, int flags)
{
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", node->fd);
    int fd = open(path, flags | O_CLOEXEC);
    check(fd >= 0);
    return fd;
}

static struct content read_content(const struct node *node)
{
    struct stat status;
    int fd = reopen(node, O_RDONLY);
    check(fstat(fd, &status) == 0);
    struct content content = {.size = (size_t)status.st_size, .time = status.st_mtim};
    content.data = malloc(content.size + 1);
    check(content.data != NULL &&
          pread(fd, content.data, content.size, 0) == (ssize_t)content.size);
    (void)close(fd);
    return content;
}

static uint32_t read_names(const struct node *node, struct name names[NAME_COUNT_MAX])
{
    uint32_t count = 0;
    DIR *dir = fdopendir(reopen(node, O_RDONLY | O_DIRECTORY));
    check(dir != NULL);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        check(count < NAME_COUNT_MAX);
        (void)snprintf(names[count].text, sizeof(names[0].text), "%.79s", entry->d_name);
        names[count++].node = node_at(dirfd(dir), entry->d_name);
    }
    (void)closedir(dir);
    return count;
}

static void make_durable(uint32_t index)
{
    if (nodes[index].is_folder) {
        struct name names[NAME_COUNT_MAX];
        uint32_t count = read_names(&nodes[index], names);
        memcpy(nodes[index].names, names, sizeof(names));
        nodes[index].name_count = count;
        return;
    }
    free(nodes[index].synced.data);
    nodes[index].synced = read_content(&nodes[index]);
}

/* Takes `fd` over. */
static uint32_t node_of(int fd)
{
    struct stat status;
    check(fd >= 0 && fstat(fd, &status) == 0);
    for (uint32_t i = 0; i < node_count; i++)
        if (nodes[i].inode == status.st_ino) {
            (void)close(fd);
            return i;
        }
    check(node_count < NODE_COUNT_MAX);
    nodes[node_count] =
        (struct node){.fd = fd, .inode = status.st_ino, .is_folder = S_ISDIR(status.st_mode)};
    return node_count++;
}

static uint32_t node_at(int at, const char *name)
{
    return node_of(openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
}

static bool fails(void)
{
    call_count++;
    if (call_to_fail == 0 || call_count < call_to_fail ||
        (errno_of_one != 0 && call_count > call_to_fail))
        return false;
    errno = errno_of_one != 0 ? errno_of_one : EIO;
    return true;
}

static int power_open(int at, const char *name, int flags, mode_t mode)
{
    if (no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE)
        return errno = EOPNOTSUPP, -1;
    if (fails())
        return -1;
    int fd = disk_kernel.open(at, name, flags, mode);
    /* By a whole path come the root, which is known, and the folder above it, which is not ours. */
    if (fd >= 0 && at != AT_FDCWD)
        (void)node_of(dup(fd));
    return fd;
}

static int power_make_folder(int at, const char *name, mode_t mode)
{
    if (fails())
        return -1;
    int result = disk_kernel.make_folder(at, name, mode);
    if (result == 0)
        (void)node_at(at, name);
    return result;
}

static ssize_t power_write(int fd, const void *data, size_t size)
{
    /* In parts, as a kernel may: the power can go in the middle of a file. */
    return fails() ? -1 : disk_kernel.write(fd, data, size > 3000 ? size / 2 : size);
}

static int power_set_times(int fd, const struct timespec times[2])
{
    return fails() ? -1 : disk_kernel.set_times(fd, times);
}

static int power_sync(int fd)
{
    if (fails())
        return -1;
    struct stat status;
    check(fstat(fd, &status) == 0);
    for (uint32_t i = 0; i < node_count; i++)
        if (nodes[i].inode == status.st_ino)
            make_durable(i);
    return 0;
}

static int power_sync_all(int fd)
{
    (void)fd;
    if (fails())
        return -1;
    for (uint32_t i = 0; i < node_count; i++)
        make_durable(i);
    return 0;
}

static int power_link(int fd, int at, const char *name)
{
    return fails() ? -1 : disk_kernel.link(fd, at, name);
}

static int power_rename(int at, const char *from, const char *to)
{
    return fails() ? -1 : disk_kernel.rename(at, from, to);
}

static int power_unlink(int at, const char *name)
{
    return fails() ? -1 : disk_kernel.unlink(at, name);
}

const struct disk_ops disk_power = {
    .open = power_open,
    .make_folder = power_make_folder,
    .write = power_write,
    .set_times = power_set_times,
    .sync = power_sync,
    .sync_all = power_sync_all,
    .link = power_link,
    .rename = power_rename,
    .unlink = power_unlink,
};

void power_on(const char *root, uint32_t fail_at, int errno_once)
{
    check(nodes == NULL);
    nodes = calloc(NODE_COUNT_MAX, sizeof(*nodes));
    check(nodes != NULL);
    node_count = call_count = 0;
    call_to_fail = fail_at;
    errno_of_one = errno_once;
    uint32_t first = node_at(AT_FDCWD, root);
    check(first == 0);
    for (uint32_t i = 0; i < node_count; i++) /* grows as the folders are read */
        make_durable(i);
}

void power_without_tmpfile(bool without) { no_tmpfile = without; }

uint32_t power_call_count(void) { return call_count; }

static bool same_content(const struct content *a, const struct content *b)
{
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

static void rebuild_file(const struct node *node, const char *path, uint64_t *random)
{
    struct content live = read_content(node);
    const struct content *synced = &node->synced;
    struct content left = live;
    size_t zeros_from = SIZE_MAX;
    uint32_t coin = random_next(random) % 4;
    if (synced->data != NULL && (same_content(synced, &live) || coin == 0))
        left = *synced;
    else if (coin == 1)
        left.size = random_next(random) % (live.size + 1);
    else if (coin == 2)
        zeros_from = random_next(random) % (live.size + 1);
    for (size_t i = zeros_from; i < live.size; i++)
        live.data[i] = 0;
    left.time = synced->data != NULL && random_next(random) % 2 == 0 ? synced->time : live.time;
    if (synced->data == NULL && random_next(random) % 2 == 0)
        left.time = (struct timespec){.tv_sec = 1};
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    check(fd >= 0 && (left.size == 0 || write(fd, left.data, left.size) == (ssize_t)left.size));
    struct timespec times[2] = {left.time, left.time};
    check(futimens(fd, times) == 0 && close(fd) == 0);
    free(live.data);
}

static const struct name *find(const struct name *names, uint32_t count, const char *text)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(names[i].text, text) == 0)
            return &names[i];
    return NULL;
}

static void rebuild_folder(uint32_t index, const char *path, uint64_t *random);

static void rebuild_name(const struct name *name, const char *folder, uint64_t *random)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name->text);
    if (nodes[name->node].is_folder) {
        check(mkdir(path, 0700) == 0);
        rebuild_folder(name->node, path, random);
    } else {
        rebuild_file(&nodes[name->node], path, random);
    }
}

static void rebuild_folder(uint32_t index, const char *path, uint64_t *random)
{
    struct name live[NAME_COUNT_MAX];
    uint32_t live_count = read_names(&nodes[index], live);
    const struct name *synced = nodes[index].names;
    uint32_t synced_count = nodes[index].name_count;
    for (uint32_t i = 0; i < synced_count; i++) {
        const struct name *now = find(live, live_count, synced[i].text);
        if (now != NULL && now->node == synced[i].node)
            rebuild_name(now, path, random);
        else if (random_next(random) % 2 == 0)
            rebuild_name(&synced[i], path, random);
        else if (now != NULL)
            rebuild_name(now, path, random);
    }
    for (uint32_t i = 0; i < live_count; i++)
        if (find(synced, synced_count, live[i].text) == NULL && random_next(random) % 2 == 0)
            rebuild_name(&live[i], path, random);
}

void power_rebuild(const char *into, uint64_t seed) { rebuild_folder(0, into, &seed); }

void power_off(void)
{
    for (uint32_t i = 0; i < node_count; i++) {
        (void)close(nodes[i].fd);
        free(nodes[i].synced.data);
    }
    free(nodes);
    nodes = NULL;
}
