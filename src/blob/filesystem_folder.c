/* SPDX-License-Identifier: Apache-2.0
 * filesystem_folder.c - names, folders, locks and the sentences of failures. */
#include "blob/filesystem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define ROOT_PART_SIZE_MAX 80

struct blob_info info_of(const struct stat *status)
{
    int64_t ms = (int64_t)status->st_mtim.tv_sec * 1000 + status->st_mtim.tv_nsec / 1000000;
    return (struct blob_info){.size = (uint64_t)status->st_size,
                              .renewed_ms = ms > 0 ? (uint64_t)ms : 0};
}

int folder_step(struct filesystem *fs, int at, const char *name, bool make)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    int fd = fs->disk->open(at, name, flags, 0);
    if (fd >= 0 || errno != ENOENT || !make)
        return fd;
    if (fs->disk->make_folder(at, name, 0700) != 0 && errno != EEXIST)
        return -1;
    return fs->disk->open(at, name, flags, 0);
}

int folder_open(struct filesystem *fs, const char *tenant, const uint8_t *sha256, enum level level,
                bool make)
{
    assert(level <= LEVEL_LAST);
    char names[2][3];
    hex_text(sha256, 1, names[0]);
    hex_text(sha256 + 1, 1, names[1]);
    const char *steps[] = {".", tenant, names[0], names[1]};
    int at = fs->root;
    for (int i = level == LEVEL_ROOT ? 0 : 1; i <= (int)level; i++) {
        int next = folder_step(fs, at, steps[i], make);
        int number = errno;
        if (at != fs->root)
            (void)close(at);
        errno = number;
        if (next < 0)
            return -1;
        at = next;
    }
    return at;
}

bool folder_lock(int folder, bool alone)
{
    int result;
    do
        result = flock(folder, alone ? LOCK_EX : LOCK_SH);
    while (result != 0 && errno == EINTR);
    return result == 0;
}

void folder_unlock(int folder) { (void)flock(folder, LOCK_UN); }

void picture_path(const struct filesystem *fs, const char *tenant, const uint8_t *sha256,
                  char *into, size_t size)
{
    char name[PICTURE_NAME_SIZE];
    size_t root_size = strlen(fs->root_path);
    size_t skipped = root_size > ROOT_PART_SIZE_MAX ? root_size - ROOT_PART_SIZE_MAX : 0;
    const char *dots = skipped > 0 ? "..." : "";
    if (tenant == NULL || sha256 == NULL) {
        (void)snprintf(into, size, "%s%s/%s", dots, fs->root_path + skipped,
                       tenant != NULL ? tenant : "");
        return;
    }
    hex_text(sha256, BLOB_SHA256_SIZE, name);
    (void)snprintf(into, size, "%s%s/%s/%.2s/%.2s/%s", dots, fs->root_path + skipped, tenant, name,
                   name + 2, name);
}

/* What is wrong, and what to do. */
static const char *explain(int number)
{
    switch (number) {
    case ENOSPC:
        return "the disk is full; free some space or enlarge it";
    case EDQUOT:
        return "the disk quota is used up; raise it or free some space";
    case EROFS:
        return "the disk is read-only; see the kernel's log, repair and remount it";
    case EIO:
        return "the disk fails; see the kernel's log and replace it";
    case EMFILE:
        return "too many open files; raise the limit (ulimit -n)";
    case ENFILE:
        return "the machine has too many open files; raise fs.file-max";
    case EACCES:
    case EPERM:
        return "permission denied; the folder must belong to the user imago runs as";
    case ENOENT:
        return "the folder is gone; mount or restore it";
    case ENOTDIR:
    case ELOOP:
    case EISDIR:
        return "something that is not ours is in its place; move it away";
    default:
        return NULL;
    }
}

enum rc disk_error(const struct filesystem *fs, int number, const char *doing, const char *tenant,
                   const uint8_t *sha256, struct error *err)
{
    char path[256], text[64];
    if (number == ENOMEM)
        return error_set(err, RC_NO_MEMORY, "%s a picture: the kernel is out of memory", doing);
    const char *sentence = explain(number);
    if (sentence == NULL)
        sentence = strerror_r(number, text, sizeof(text));
    picture_path(fs, tenant, sha256, path, sizeof(path));
    return error_set(err, RC_UNAVAILABLE, "%s a picture: %s: %s", doing, sentence, path);
}
