/* SPDX-License-Identifier: Apache-2.0
 * bench_photos.c - reads a folder of pictures once and keeps them as the requests will send them.
 */
#include "cli/bench.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define PHOTO_COUNT_MAX 100000u
#define PHOTO_SIZE_MAX  (64u << 20)
#define FORM_SIZE_MAX   1024u
#define BOUNDARY        "imago-bench-7d1f3c9a5be24860"

uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

double random_unit(uint64_t *state) { return (double)(random_next(state) >> 11) * 0x1p-53; }

static const char *media_type(const char *name)
{
    static const struct {
        const char *suffix;
        enum image_format format;
    } kinds[] = {{".jpg", IMAGE_JPEG},
                 {".jpeg", IMAGE_JPEG},
                 {".png", IMAGE_PNG},
                 {".webp", IMAGE_WEBP},
                 {".gif", IMAGE_GIF}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcasecmp(dot, kinds[i].suffix) == 0)
            return image_format_media_type(kinds[i].format);
    return NULL;
}

static int is_picture(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && media_type(entry->d_name) != NULL;
}

static enum rc read_photo(const char *path, const char *field, struct photo *photo,
                          struct error *err)
{
    struct buf *body = &photo->body;
    *body = (struct buf)BUF_INIT(PHOTO_SIZE_MAX + 2 * FORM_SIZE_MAX);
    enum rc rc = RC_OK;
    FILE *file = fopen(path, "rb");
    struct stat about;
    if (file == NULL || fstat(fileno(file), &about) != 0) {
        rc = error_set(err, RC_NOT_FOUND, "cannot read '%s': %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(about.st_mode) || about.st_size <= 0 || about.st_size > (off_t)PHOTO_SIZE_MAX) {
        rc = error_set(err, RC_INVALID, "'%s' is no file of 1 byte to 64 MiB", path);
        goto out;
    }
    size_t size = (size_t)about.st_size;
    if (field != NULL)
        rc = buf_printf(body,
                        "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"%s\"; "
                        "filename=\"photo\"\r\nContent-Type: %s\r\n\r\n",
                        field, photo->type);
    size_t at = body->size;
    if (rc == RC_OK)
        rc = buf_reserve(body, size + FORM_SIZE_MAX);
    if (rc != RC_OK) {
        rc = error_set(err, rc, "no memory for '%s'", path);
        goto out;
    }
    if (fread(body->data + at, 1, size, file) != size) {
        rc = error_set(err, RC_INVALID, "cannot read all of '%s'", path);
        goto out;
    }
    body->size += size;
    photo->file = (struct bytes){body->data + at, size};
    if (field != NULL)
        rc = buf_append(body, bytes_of("\r\n--" BOUNDARY "--\r\n"));
out:
    if (file != NULL)
        (void)fclose(file);
    return rc;
}

static void shuffle(struct photos *photos, uint64_t seed)
{
    uint64_t state = seed;
    for (size_t i = photos->count; i > 1; i--) {
        size_t other = (size_t)(random_next(&state) % i);
        struct photo kept = photos->items[i - 1];
        photos->items[i - 1] = photos->items[other];
        photos->items[other] = kept;
    }
}

enum rc photos_load(const char *dir, const char *field, uint64_t seed, struct photos *ret_photos,
                    struct error *err)
{
    struct photos photos = {0};
    struct dirent **entries = NULL;
    /* Sorted, so that a seed gives the same order everywhere. */
    int count = scandir(dir, &entries, is_picture, alphasort);
    enum rc rc = RC_OK;
    if (count < 0)
        return error_set(err, RC_NOT_FOUND, "--photos: cannot read '%s': %s", dir, strerror(errno));
    if (count == 0 || count > (int)PHOTO_COUNT_MAX)
        rc = error_set(err, RC_NOT_FOUND, "--photos: '%s' holds %d pictures; 1 to %u are needed",
                       dir, count, PHOTO_COUNT_MAX);
    if (field != NULL)
        (void)snprintf(photos.content, sizeof(photos.content),
                       "Content-Type: multipart/form-data; boundary=" BOUNDARY);
    photos.items = calloc((size_t)count + 1, sizeof(*photos.items));
    if (photos.items == NULL)
        rc = error_set(err, RC_NO_MEMORY, "no memory for %d photos", count);
    for (int i = 0; i < count && rc == RC_OK; i++) {
        char path[4096];
        struct photo *photo = &photos.items[photos.count++];
        photo->type = media_type(entries[i]->d_name);
        if (snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name) >= (int)sizeof(path))
            rc = error_set(err, RC_INVALID, "--photos: the path of '%s' is too long",
                           entries[i]->d_name);
        else
            rc = read_photo(path, field, photo, err);
        photos.bytes += photo->file.size;
    }
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    if (rc != RC_OK) {
        photos_done(&photos);
        return rc;
    }
    shuffle(&photos, seed);
    *ret_photos = photos;
    return RC_OK;
}

void photos_done(struct photos *photos)
{
    for (size_t i = 0; photos->items != NULL && i < photos->count; i++)
        buf_done(&photos->items[i].body);
    free(photos->items);
    *photos = (struct photos){0};
}
