/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX  16u
#define CHUNK_SIZE (64u * 1024)

static enum rc push(struct files *files, const char *path, struct error *err)
{
    if (files->count == files->room) {
        size_t room = files->room == 0 ? 64 : files->room * 2;
        char **grown = realloc(files->paths, room * sizeof(char *));
        if (grown == NULL)
            return error_set(err, RC_NO_MEMORY, "no memory for %zu paths", room);
        files->paths = grown;
        files->room = room;
    }
    char *copy = strdup(path);
    if (copy == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for a path");
    files->paths[files->count++] = copy;
    return RC_OK;
}

static bool is_picture_name(const char *name)
{
    static const char *const endings[] = {"jpg",  "jpeg", "jpe",  "jfif", "png",
                                          "webp", "gif",  "heic", "heif", "avif"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof(endings) / sizeof(endings[0]); i++)
        if (strcasecmp(dot + 1, endings[i]) == 0)
            return true;
    return false;
}

static enum rc add_folder(struct files *files, const char *path, unsigned depth, struct error *err)
{
    if (depth > DEPTH_MAX)
        return error_set(err, RC_INVALID, "'%.150s' is over %u folders deep", path, DEPTH_MAX);
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0)
        return error_set(err, RC_NOT_FOUND, "cannot read '%.150s': %s", path, strerror(errno));
    enum rc rc = RC_OK;
    for (int i = 0; i < count; i++) {
        char below[PATH_MAX];
        struct stat what;
        bool hidden = entries[i]->d_name[0] == '.';
        bool fits = snprintf(below, sizeof(below), "%s/%s", path, entries[i]->d_name) < PATH_MAX;
        if (rc == RC_OK && !hidden && fits && lstat(below, &what) == 0) {
            /* Links to folders are not followed: they may lead in a circle. */
            if (S_ISDIR(what.st_mode))
                rc = add_folder(files, below, depth + 1, err);
            else if (is_picture_name(below))
                rc = push(files, below, err);
        }
        free(entries[i]);
    }
    free(entries);
    return rc;
}

enum rc files_add(struct files *files, const char *path, struct error *err)
{
    struct stat what;
    if (strcmp(path, "-") == 0)
        return push(files, path, err);
    if (stat(path, &what) != 0)
        return error_set(err, RC_NOT_FOUND, "cannot read '%.150s': %s", path, strerror(errno));
    return S_ISDIR(what.st_mode) ? add_folder(files, path, 0, err) : push(files, path, err);
}

enum rc files_read(const char *path, size_t size_max, struct buf *into, struct error *err)
{
    bool is_input = strcmp(path, "-") == 0;
    int fd = is_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, RC_NOT_FOUND, "cannot read '%.150s': %s", path, strerror(errno));
    enum rc rc = RC_OK;
    ssize_t got = 1;
    while (rc == RC_OK && got > 0) {
        rc = buf_reserve(into, CHUNK_SIZE);
        if (rc != RC_OK)
            break;
        got = read(fd, into->data + into->size, CHUNK_SIZE);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got < 0)
            rc = error_set(err, RC_NOT_FOUND, "cannot read '%.150s': %s", path, strerror(errno));
        else
            into->size += (size_t)got;
    }
    if (rc == RC_TOO_LARGE || (rc == RC_OK && into->size > size_max))
        rc = error_set(err, RC_TOO_LARGE, "'%.150s' is over %zu bytes; --image-size raises that",
                       path, size_max);
    else if (rc == RC_NO_MEMORY)
        rc = error_set(err, rc, "no memory to read '%.150s'", path);
    if (!is_input)
        (void)close(fd);
    return rc;
}

void files_done(struct files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->paths[i]);
    free(files->paths);
    *files = (struct files){0};
}
