/* SPDX-License-Identifier: Apache-2.0
 * forget.c - an LD_PRELOAD library that knows what a loss of power would leave of a folder, and
 * that can make its disk full, read-only or broken.
 *
 *   FORGET_ROOT     the folder; the file system it lies on is the "disk"
 *   FORGET_SHADOW   where the memory of what is durable goes: files/INODE, folders/INODE
 *   FORGET_IGNORE   "files", "folders" or "all": syncs of these do nothing, as in a program that
 *                   forgot them
 *   FORGET_TROUBLE  a file; while its first letter is f, the disk is full; r, read-only; s, it
 *                   fails to sync
 *
 * Durable is what was there at the start, the content of a file when it was synced, and the names
 * in a folder when the folder was synced; power.py makes a folder of that again. Nothing is really
 * synced: a kill leaves the kernel's cache alone. A file is known by its inode number, which a
 * tmpfs does not use twice.
 *
 * A write is noted after it was done: a sync in between counts as one before it. Descriptors of
 * files are never closed here, because that would drop the locks that SQLite holds on them. */

/* open() and open64() are two functions here, as in the library. */
#undef _FILE_OFFSET_BITS
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define VISIBLE       __attribute__((visibility("default")))
#define DIRTY_MAX     4096u
#define COPY_SIZE     65536u
#define TO_THE_END    UINT64_MAX
#define CREATES(flag) (((flag)&O_CREAT) != 0 || ((flag)&O_TMPFILE) == O_TMPFILE)

/* What was written since the last sync, or a folder whose names changed. */
struct dirty {
    ino_t inode;
    uint64_t from, to; /* of a file */
    int folder;        /* a descriptor of our own; of a file -1 */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct dirty dirty[DIRTY_MAX];
static uint32_t dirty_count;
static dev_t disk;
static bool active;
static const char *shadow;
static const char *trouble;
static bool ignores_files, ignores_folders;

static void check(bool fine, const char *what)
{
    if (fine)
        return;
    (void)fprintf(stderr, "forget: %s: %s\n", what, strerror(errno));
    abort();
}

/* The function behind the one of the same name here. */
#define REAL(name)                                                                                 \
    ((union {                                                                                      \
         void *object;                                                                             \
         __typeof__(name) *function;                                                               \
     }){real(#name)}                                                                               \
         .function)
static void *real(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    check(function != NULL, name);
    return function;
}

static bool is_ours(int fd, mode_t kind, struct stat *status)
{
    return active && fstat(fd, status) == 0 && status->st_dev == disk &&
           (status->st_mode & S_IFMT) == kind;
}

static uint32_t find(ino_t inode)
{
    uint32_t at = 0;
    while (at < dirty_count && dirty[at].inode != inode)
        at++;
    return at;
}

static void shadow_path(const char *folder, ino_t inode, char into[PATH_MAX])
{
    (void)snprintf(into, PATH_MAX, "%s/%s/%llu", shadow, folder, (unsigned long long)inode);
}

/* Over what the shadow has, and cut to size last: whenever we are killed, each octet is the synced
 * one or the newer one, which a disk may hold as well. */
static void copy_file(int from, int into, uint64_t at, uint64_t to)
{
    static uint8_t octets[COPY_SIZE];
    while (at < to) {
        size_t size = to - at < COPY_SIZE ? (size_t)(to - at) : COPY_SIZE;
        ssize_t got = pread(from, octets, size, (off_t)at);
        check(got >= 0, "reading");
        if (got == 0)
            break;
        check(REAL(pwrite)(into, octets, (size_t)got, (off_t)at) == got, "writing the shadow");
        at += (uint64_t)got;
    }
}

static void remember_file(int fd, const struct stat *status)
{
    char path[PATH_MAX], link[32];
    uint32_t at = find(status->st_ino);
    shadow_path("files", status->st_ino, path);
    int into = REAL(open)(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    check(into >= 0, path);
    if (at < dirty_count) {
        /* SQLite's files are open for reading, and so not opened again. */
        int from = fd;
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
            from = REAL(open)(link, O_RDONLY | O_CLOEXEC);
        check(from >= 0, link);
        copy_file(from, into, dirty[at].from, dirty[at].to);
        if (from != fd)
            (void)REAL(close)(from);
        dirty[at] = dirty[--dirty_count];
    }
    check(REAL(ftruncate)(into, status->st_size) == 0, path);
    (void)REAL(close)(into);
}

static void remember_folder(int fd, ino_t inode)
{
    char path[PATH_MAX], part[PATH_MAX + 8];
    uint32_t at = find(inode);
    shadow_path("folders", inode, path);
    (void)snprintf(part, sizeof(part), "%s.part", path);
    FILE *into = fopen(part, "we");
    int again = REAL(openat)(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *names = again >= 0 ? fdopendir(again) : NULL;
    check(into != NULL && names != NULL, part);
    for (const struct dirent *entry; (entry = readdir(names)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)fprintf(into, "%llu %s\n", (unsigned long long)entry->d_ino, entry->d_name);
    (void)closedir(names);
    check(fclose(into) == 0 && REAL(rename)(part, path) == 0, path);
    if (at < dirty_count) {
        (void)REAL(close)(dirty[at].folder);
        dirty[at] = dirty[--dirty_count];
    }
}

static struct dirty *note(ino_t inode, int folder)
{
    uint32_t at = find(inode);
    if (at == dirty_count) {
        check(dirty_count < DIRTY_MAX, "too much is not synced");
        dirty[dirty_count++] = (struct dirty){.inode = inode, .from = TO_THE_END, .folder = folder};
    }
    return &dirty[at];
}

static void note_written(int fd, uint64_t from, uint64_t to)
{
    int number = errno;
    struct stat status;
    if (is_ours(fd, S_IFREG, &status)) {
        (void)pthread_mutex_lock(&lock);
        struct dirty *file = note(status.st_ino, -1);
        file->from = from < file->from ? from : file->from;
        file->to = to > file->to ? to : file->to;
        (void)pthread_mutex_unlock(&lock);
    }
    errno = number;
}

/* The folder that `path` lies in; -1 if that is not on our disk. */
static int folder_of(int at, const char *path, struct stat *status)
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    if (!active)
        return -1;
    if (slash != NULL)
        (void)snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path),
                       path);
    int fd = REAL(openat)(at, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && !is_ours(fd, S_IFDIR, status)) {
        (void)REAL(close)(fd);
        fd = -1;
    }
    return fd;
}

static void note_names(int at, const char *path)
{
    int number = errno;
    struct stat status;
    int fd = folder_of(at, path, &status);
    if (fd >= 0) {
        (void)pthread_mutex_lock(&lock);
        if (note(status.st_ino, fd)->folder != fd)
            (void)REAL(close)(fd);
        (void)pthread_mutex_unlock(&lock);
    }
    errno = number;
}

/* The first letter of the trouble there is now; 0: none. */
static char trouble_now(void)
{
    char letter = 0;
    int fd = trouble != NULL ? REAL(open)(trouble, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (read(fd, &letter, 1) != 1)
            letter = 0;
        (void)REAL(close)(fd);
    }
    return letter;
}

static bool refuses(bool takes_room)
{
    char letter = trouble_now();
    if (letter == 'r')
        errno = EROFS;
    else if (letter == 'f' && takes_room)
        errno = ENOSPC;
    else
        return false;
    return true;
}

static bool refuses_file(int fd, bool takes_room)
{
    struct stat status;
    int number = errno;
    bool refused = trouble != NULL && is_ours(fd, S_IFREG, &status) && refuses(takes_room);
    if (!refused)
        errno = number;
    return refused;
}

static bool refuses_name(int at, const char *path, bool takes_room)
{
    struct stat status;
    int number = errno;
    int fd = trouble != NULL ? folder_of(at, path, &status) : -1;
    bool refused = fd >= 0 && refuses(takes_room);
    if (fd >= 0)
        (void)REAL(close)(fd);
    if (!refused)
        errno = number;
    return refused;
}

static int open_and_note(int at, const char *path, int flags, mode_t mode)
{
    if (CREATES(flags) ? refuses_name(at, path, true)
                       : (flags & O_ACCMODE) != O_RDONLY && refuses_name(at, path, false))
        return -1;
    int fd = REAL(openat)(at, path, flags, mode);
    if (fd >= 0 && (flags & O_CREAT) != 0)
        note_names(at, path);
    if (fd >= 0 && (flags & O_TRUNC) != 0)
        note_written(fd, 0, TO_THE_END);
    return fd;
}

#define OPEN(name, at, ...)                                                                        \
    VISIBLE int name(__VA_ARGS__, int flags, ...)                                                  \
    {                                                                                              \
        mode_t mode = 0;                                                                           \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        if (CREATES(flags))                                                                        \
            mode = va_arg(rest, mode_t);                                                           \
        va_end(rest);                                                                              \
        return open_and_note(at, path, flags, mode);                                               \
    }
OPEN(open, AT_FDCWD, const char *path)
OPEN(open64, AT_FDCWD, const char *path)
OPEN(openat, folder, int folder, const char *path)
OPEN(openat64, folder, int folder, const char *path)

/* What was written and is not synced yet stays open: syncfs() comes to it later. */
VISIBLE int close(int fd)
{
    struct stat status;
    if (is_ours(fd, S_IFREG, &status) && status.st_nlink > 0) {
        (void)pthread_mutex_lock(&lock);
        if (find(status.st_ino) < dirty_count)
            check(fcntl(fd, F_DUPFD_CLOEXEC, 3) >= 0, "keeping a file");
        (void)pthread_mutex_unlock(&lock);
    }
    return REAL(close)(fd);
}

VISIBLE ssize_t write(int fd, const void *data, size_t size)
{
    if (refuses_file(fd, true))
        return -1;
    ssize_t done = REAL(write)(fd, data, size);
    if (done > 0 && active) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        if (end >= done)
            note_written(fd, (uint64_t)(end - done), (uint64_t)end);
    }
    return done;
}

VISIBLE ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (refuses_file(fd, true))
        return -1;
    ssize_t done = REAL(writev)(fd, parts, count);
    if (done > 0)
        note_written(fd, 0, TO_THE_END);
    return done;
}

#define PWRITE(name)                                                                               \
    VISIBLE ssize_t name(int fd, const void *data, size_t size, off_t at)                          \
    {                                                                                              \
        if (refuses_file(fd, true))                                                                \
            return -1;                                                                             \
        ssize_t done = REAL(name)(fd, data, size, at);                                             \
        if (done > 0)                                                                              \
            note_written(fd, (uint64_t)at, (uint64_t)(at + done));                                 \
        return done;                                                                               \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define TRUNCATE(name)                                                                             \
    VISIBLE int name(int fd, off_t size)                                                           \
    {                                                                                              \
        if (refuses_file(fd, false))                                                               \
            return -1;                                                                             \
        int result = REAL(name)(fd, size);                                                         \
        if (result == 0)                                                                           \
            note_written(fd, (uint64_t)size, TO_THE_END);                                          \
        return result;                                                                             \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

VISIBLE int futimens(int fd, const struct timespec times[2])
{
    return refuses_file(fd, false) ? -1 : REAL(futimens)(fd, times);
}

static int sync_one(int fd)
{
    struct stat status;
    bool is_file = is_ours(fd, S_IFREG, &status);
    if (!is_file && !is_ours(fd, S_IFDIR, &status))
        return 0;
    if (trouble_now() == 's')
        return errno = EIO, -1;
    (void)pthread_mutex_lock(&lock);
    if (is_file && !ignores_files)
        remember_file(fd, &status);
    else if (!is_file && !ignores_folders)
        remember_folder(fd, status.st_ino);
    (void)pthread_mutex_unlock(&lock);
    return 0;
}

VISIBLE int fsync(int fd) { return sync_one(fd); }
VISIBLE int fdatasync(int fd) { return sync_one(fd); }

/* Files of which some descriptor is open; close() sees to the others. */
static void remember_all_files(void)
{
    DIR *names = opendir("/proc/self/fd");
    check(names != NULL, "/proc/self/fd");
    for (const struct dirent *entry; (entry = readdir(names)) != NULL;) {
        struct stat status;
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && is_ours(fd, S_IFREG, &status) &&
            find(status.st_ino) < dirty_count && (fcntl(fd, F_GETFL) & O_PATH) == 0)
            remember_file(fd, &status);
    }
    (void)closedir(names);
}

VISIBLE int syncfs(int fd)
{
    struct stat status;
    if (!active || fstat(fd, &status) != 0 || status.st_dev != disk)
        return REAL(syncfs)(fd);
    if (trouble_now() == 's')
        return errno = EIO, -1;
    (void)pthread_mutex_lock(&lock);
    if (!ignores_files)
        remember_all_files();
    for (uint32_t at = dirty_count; at-- > 0 && !ignores_folders;)
        if (dirty[at].folder >= 0)
            remember_folder(dirty[at].folder, dirty[at].inode);
    (void)pthread_mutex_unlock(&lock);
    return 0;
}

static int made(int result, int at, const char *path)
{
    if (result == 0)
        note_names(at, path);
    return result;
}

VISIBLE int mkdirat(int at, const char *path, mode_t mode)
{
    return refuses_name(at, path, true) ? -1 : made(REAL(mkdirat)(at, path, mode), at, path);
}

VISIBLE int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

VISIBLE int linkat(int at, const char *from, int to, const char *path, int flags)
{
    return refuses_name(to, path, true) ? -1
                                        : made(REAL(linkat)(at, from, to, path, flags), to, path);
}

VISIBLE int link(const char *from, const char *path)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, path, 0);
}

VISIBLE int unlinkat(int at, const char *path, int flags)
{
    return refuses_name(at, path, false) ? -1 : made(REAL(unlinkat)(at, path, flags), at, path);
}

VISIBLE int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
VISIBLE int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

VISIBLE int renameat(int at, const char *from, int to, const char *path)
{
    if (refuses_name(to, path, true))
        return -1;
    int result = made(REAL(renameat)(at, from, to, path), to, path);
    return result == 0 ? made(result, at, from) : result;
}

VISIBLE int rename(const char *from, const char *path)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, path);
}

/* What is there at the start has been durable for long. */
static void remember_tree(int folder)
{
    struct stat status;
    check(fstat(folder, &status) == 0, "the folder");
    remember_folder(folder, status.st_ino);
    DIR *names = fdopendir(folder);
    check(names != NULL, "the folder");
    for (const struct dirent *entry; (entry = readdir(names)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int fd = REAL(openat)(dirfd(names), entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ELOOP)
            continue;
        check(fd >= 0 && fstat(fd, &status) == 0, entry->d_name);
        if (S_ISDIR(status.st_mode)) {
            remember_tree(fd);
            continue;
        }
        *note(status.st_ino, -1) =
            (struct dirty){.inode = status.st_ino, .to = TO_THE_END, .folder = -1};
        remember_file(fd, &status);
        (void)REAL(close)(fd);
    }
    (void)closedir(names);
}

__attribute__((constructor)) static void begin(void)
{
    char path[PATH_MAX];
    struct stat status;
    const char *root = getenv("FORGET_ROOT");
    const char *ignore = getenv("FORGET_IGNORE");
    shadow = getenv("FORGET_SHADOW");
    trouble = getenv("FORGET_TROUBLE");
    if (root == NULL || shadow == NULL)
        return;
    ignores_files = ignore != NULL && strcmp(ignore, "folders") != 0;
    ignores_folders = ignore != NULL && strcmp(ignore, "files") != 0;
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", shadow, i == 0 ? "files" : "folders");
        check(REAL(mkdirat)(AT_FDCWD, path, 0700) == 0, path);
    }
    int folder = REAL(open)(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(folder >= 0 && fstat(folder, &status) == 0, root);
    disk = status.st_dev;
    active = true;
    remember_tree(folder);
}
