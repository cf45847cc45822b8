/* SPDX-License-Identifier: Apache-2.0
 * files.h - the picture files that a command line names. */
#ifndef CLI_FILES_H
#define CLI_FILES_H
#include "base/bytes.h"

struct files {
    char **paths; /* "-" is standard input */
    size_t count;
    size_t room;
};

/* A file or "-" is taken as it is; a folder gives every picture below it (by its name's ending),
 * sorted. NOT_FOUND names the path. */
NODISCARD enum rc files_add(struct files *files, const char *path, struct error *err);
/* The whole of one file; TOO_LARGE over `size_max`. */
NODISCARD enum rc files_read(const char *path, size_t size_max, struct buf *into,
                             struct error *err);
void files_done(struct files *files);
#endif
