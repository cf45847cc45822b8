/* SPDX-License-Identifier: Apache-2.0
 * pictures.h - what the tests of the store of pictures share: contents, keys and folders. */
#ifndef TESTS_BLOB_PICTURES_H
#define TESTS_BLOB_PICTURES_H
#include "blob/blob.h"

#define PICTURE_SIZE_MAX 8192u
#define HOUR_MS          3600000ull
#define DAY_MS           (24 * HOUR_MS)
#define NOON_MS          1795521600000ull /* some day of 2026 */

/* Picture `number`: always the same bytes, of a size of its own. */
struct picture {
    uint8_t sha256[BLOB_SHA256_SIZE];
    uint8_t data[PICTURE_SIZE_MAX];
    size_t size;
};
void picture_draw(uint32_t number, struct picture *into);
struct blob_item picture_item(const char *tenant, const struct picture *picture);
/* The same sequence for the same state, on every machine. */
uint32_t random_next(uint64_t *state);

/* A new folder below `where` (NULL: /tmp); `into` has PATH_MAX characters. */
void folder_new(const char *where, char *into);
void folder_remove(const char *path);
uint32_t folder_hidden_count(const char *path); /* files below whose names begin with '.' */
#endif
