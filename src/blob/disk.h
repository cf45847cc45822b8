/* SPDX-License-Identifier: Apache-2.0
 * disk.h - the calls by which the filesystem driver changes a disk, as the kernel spells them.
 *
 * A table, so that a test can put one in front that fails at the n-th call, or that knows what
 * would be left after a power loss. All return -1 and set errno on failure. What only reads is not
 * here. */
#ifndef BLOB_DISK_H
#define BLOB_DISK_H
#include <sys/types.h>
#include <time.h>

struct disk_ops {
    int (*open)(int at, const char *name, int flags, mode_t mode);
    int (*make_folder)(int at, const char *name, mode_t mode);
    ssize_t (*write)(int fd, const void *data, size_t size);
    int (*set_times)(int fd, const struct timespec times[2]);
    int (*sync)(int fd);
    int (*sync_all)(int fd); /* the whole file system of `fd`: syncfs(2) */
    /* Gives an open file without a name (O_TMPFILE) one; EEXIST if it is taken. */
    int (*link)(int fd, int at, const char *name);
    int (*rename)(int at, const char *from, const char *to);
    int (*unlink)(int at, const char *name);
};

extern const struct disk_ops disk_kernel;
#endif
