/* SPDX-License-Identifier: Apache-2.0 */
#include "pictures.h"

#include <ftw.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t random_next(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ull;
    uint64_t x = *state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return (uint32_t)(x >> 32);
}

void picture_draw(uint32_t number, struct picture *into)
{
    uint64_t state = number;
    into->size = 1 + random_next(&state) % PICTURE_SIZE_MAX;
    for (size_t i = 0; i < into->size; i++)
        into->data[i] = (uint8_t)random_next(&state);
    if (EVP_Digest(into->data, into->size, into->sha256, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

struct blob_item picture_item(const char *tenant, const struct picture *picture)
{
    struct blob_item item = {
        .tenant = tenant, .content = {picture->data, picture->size}, .media_type = "image/jpeg"};
    memcpy(item.sha256, picture->sha256, sizeof(item.sha256));
    return item;
}

void folder_new(const char *where, char *into)
{
    (void)snprintf(into, PATH_MAX, "%s/imago-blob-XXXXXX", where != NULL ? where : "/tmp");
    if (mkdtemp(into) == NULL)
        abort();
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status, (void)type, (void)ftw;
    return remove(path);
}

void folder_remove(const char *path)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        abort();
}

static uint32_t hidden_count;

static int count_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    hidden_count += type == FTW_F && path[ftw->base] == '.';
    return 0;
}

uint32_t folder_hidden_count(const char *path)
{
    hidden_count = 0;
    if (nftw(path, count_one, 16, FTW_PHYS) != 0)
        abort();
    return hidden_count;
}
