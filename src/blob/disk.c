/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int kernel_open(int at, const char *name, int flags, mode_t mode)
{
    return openat(at, name, flags | O_CLOEXEC, mode);
}

/* The name in /proc: linkat() on the descriptor itself needs a capability. */
static int kernel_link(int fd, int at, const char *name)
{
    char path[32];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, path, at, name, AT_SYMLINK_FOLLOW);
}

static int kernel_rename(int at, const char *from, const char *to)
{
    return renameat(at, from, at, to);
}

static int kernel_unlink(int at, const char *name) { return unlinkat(at, name, 0); }

const struct disk_ops disk_kernel = {
    .open = kernel_open,
    .make_folder = mkdirat,
    .write = write,
    .set_times = futimens,
    .sync = fsync,
    .sync_all = syncfs,
    .link = kernel_link,
    .rename = kernel_rename,
    .unlink = kernel_unlink,
};
