/* SPDX-License-Identifier: Apache-2.0
 * blob_bench.c - what storing a photo of 107 kB costs, by the size of the group and the way it is
 * synced. blob_bench FOLDER [GROUPS_EACH] */
#include "base/clock.h"
#include "blob/blob.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PHOTO_SIZE  107000u
#define GROUP_MAX   64u
#define GROUPS_EACH 30u

static uint8_t photos[GROUP_MAX][PHOTO_SIZE];
static uint64_t photo_number;

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* New photos, hashed outside of what is measured. */
static void draw(struct blob_item *items, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        photo_number++;
        memcpy(photos[i], &photo_number, sizeof(photo_number));
        items[i] = (struct blob_item){.tenant = "default", .content = {photos[i], PHOTO_SIZE}};
        if (EVP_Digest(photos[i], PHOTO_SIZE, items[i].sha256, NULL, EVP_sha256(), NULL) != 1)
            abort();
    }
}

static void measure(struct blob *blob, const char *name, uint32_t size, uint32_t group_count)
{
    struct blob_item items[GROUP_MAX];
    struct error err = {0};
    uint64_t *walls = calloc(group_count, sizeof(*walls));
    uint64_t cpu_ns = 0, again_ns = 0;
    if (walls == NULL)
        abort();
    for (uint32_t i = 0; i < group_count; i++) {
        draw(items, size);
        uint64_t started_ns = clock_monotonic_ns(), cpu_started_ns = clock_thread_cpu_ns();
        if (blob_put(blob, items, size, clock_wall_ms(), &err) != RC_OK) {
            (void)fprintf(stderr, "%s\n", err.text);
            exit(1);
        }
        cpu_ns += clock_thread_cpu_ns() - cpu_started_ns;
        walls[i] = clock_monotonic_ns() - started_ns;
    }
    uint64_t cpu_started_ns = clock_thread_cpu_ns();
    if (blob_put(blob, items, size, clock_wall_ms(), &err) != RC_OK)
        exit(1);
    again_ns = clock_thread_cpu_ns() - cpu_started_ns;
    qsort(walls, group_count, sizeof(walls[0]), compare);
    uint64_t p50 = walls[group_count / 2], p90 = walls[group_count * 9 / 10];
    (void)printf("%-5s %6u %12.2f %12.2f %12.3f %12.1f %14.1f\n", name, size, (double)p50 / 1e6,
                 (double)p90 / 1e6, (double)p50 / 1e6 / size,
                 (double)cpu_ns / 1e3 / group_count / size, (double)again_ns / 1e3 / size);
    free(walls);
}

int main(int argc, char **argv)
{
    static const char *const syncs[] = {"all", "each"};
    static const uint32_t sizes[] = {1, 8, 32, 64};
    if (argc < 2) {
        (void)fprintf(stderr, "usage: blob_bench FOLDER [GROUPS_EACH]\n");
        return 2;
    }
    unsigned long groups = argc > 2 ? strtoul(argv[2], NULL, 10) : GROUPS_EACH;
    photo_number = clock_wall_ms() << 20; /* not those of an earlier run */
    (void)printf("%-5s %6s %12s %12s %12s %12s %14s\n", "sync", "group", "wall p50 ms",
                 "wall p90 ms", "ms a put", "CPU us a put", "CPU us, again");
    for (size_t i = 0; i < 8; i++) {
        char url[4096];
        struct blob *blob = NULL;
        struct error err = {0};
        (void)snprintf(url, sizeof(url), "file:%s?sync=%s", argv[1], syncs[i / 4]);
        if (blob_open(&(struct blob_config){.url = url}, &blob, &err) != RC_OK) {
            (void)fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        measure(blob, syncs[i / 4], sizes[i % 4], (uint32_t)groups);
        blob_free(blob);
    }
    return 0;
}
