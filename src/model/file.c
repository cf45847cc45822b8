/* SPDX-License-Identifier: Apache-2.0 */
#include "model/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum rc file_read(const char *path, struct buf *into, struct error *err)
{
    uint8_t chunk[8192];
    struct stat stat;
    enum rc rc = RC_OK;
    /* Not blocking: a pipe of that name must not hang the start. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, RC_NOT_FOUND, "%s: %s", path, strerror(errno));
    if (fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode))
        rc = error_set(err, RC_INVALID, "%s: this is not a file", path);
    while (rc == RC_OK) {
        ssize_t size = read(fd, chunk, sizeof(chunk));
        if (size == 0)
            break;
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            rc = error_set(err, RC_INVALID, "%s: %s", path, strerror(errno));
        else if (buf_append(into, (struct bytes){chunk, (size_t)size}) != RC_OK)
            rc = error_set(err, RC_INVALID, "%s: the file is over the limit of %zu bytes", path,
                           into->size_max);
    }
    (void)close(fd);
    return rc;
}
