/* SPDX-License-Identifier: Apache-2.0
 * kernel_bench.c - nanoseconds of each set of resize kernels, and of the decode and the whole fit.
 *
 * Usage: kernel_bench [PHOTO.jpg ...]. With photos, the stages of each, meant over all; without,
 * the resize alone on noise. Each figure is the best of several rounds, CPU time of this thread. */
#include "image/floor.h"
#include "image/fitter.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS        7
#define SIDE          224u
#define FILE_SIZE_MAX (32u << 20)

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

struct rows {
    uint8_t *source; /* side rows */
    uint8_t *middle;
    uint8_t *result;
    size_t source_stride;
    size_t middle_stride;
};

static void resize_once(const struct kernels *kernels, const struct taps *taps,
                        const struct rows *rows)
{
    uint32_t side = taps->axis.in_size;
    const uint8_t *tap_rows[4096];
    for (uint32_t y = 0; y + RESAMPLE_ROWS <= side; y += RESAMPLE_ROWS) {
        const uint8_t *in[RESAMPLE_ROWS];
        uint8_t *out[RESAMPLE_ROWS];
        for (uint32_t i = 0; i < RESAMPLE_ROWS; i++) {
            in[i] = rows->source + (y + i) * rows->source_stride;
            out[i] = rows->middle + (y + i) * rows->middle_stride;
        }
        kernels->horizontal(taps, in, out);
    }
    for (uint32_t y = 0; y < SIDE; y++) {
        for (uint32_t tap = 0; tap < taps->pairs[y] * 2; tap++)
            tap_rows[tap] = rows->middle + (taps->start[y] + tap) * rows->middle_stride;
        kernels->vertical(taps, y, tap_rows, SIDE * 3, rows->result + y * SIDE * 3);
    }
}

static void bench_kernels(uint32_t side, enum image_filter filter)
{
    struct axis axis = {.in_size = side, .out_size = SIDE, .out_count = SIDE};
    struct taps taps;
    if (taps_init(&taps, &axis, filter, NULL) != RC_OK)
        return;
    struct rows rows = {.source_stride = side * 3 + RESAMPLE_PAD,
                        .middle_stride = SIDE * 3 + RESAMPLE_PAD};
    rows.source = malloc((side + 2) * rows.source_stride);
    rows.middle = calloc(side + 2, rows.middle_stride);
    rows.result = malloc(SIDE * SIDE * 3 + RESAMPLE_PAD);
    if (rows.source != NULL && rows.middle != NULL && rows.result != NULL) {
        for (size_t i = 0; i < (side + 2) * rows.source_stride; i++)
            rows.source[i] = (uint8_t)(i * 2654435761u >> 13);
        for (size_t set = 0; kernels_at(set) != NULL; set++) {
            const struct kernels *kernels = kernels_at(set);
            if (!kernels->usable())
                continue;
            uint64_t best = UINT64_MAX;
            uint32_t times = side > 1000 ? 10 : 50;
            for (int round = 0; round < ROUNDS; round++) {
                uint64_t start = clock_thread_cpu_ns();
                for (uint32_t i = 0; i < times; i++)
                    resize_once(kernels, &taps, &rows);
                best = least(best, (clock_thread_cpu_ns() - start) / times);
            }
            (void)printf("%-8s %s %4u -> %u: %8llu ns\n", kernels->name,
                         filter == IMAGE_BICUBIC ? "bicubic " : "bilinear", side, SIDE,
                         (unsigned long long)best);
        }
    }
    free(rows.source);
    free(rows.middle);
    free(rows.result);
    taps_done(&taps);
}

struct totals {
    uint64_t turbo_ns;
    uint64_t resize_ns;
    uint64_t probe_ns;
    uint64_t fit_ns; /* decode and resize together */
    uint64_t fit_resize_ns;
    uint32_t count;
};

static const struct image_limits limits = {
    .bytes_max = FILE_SIZE_MAX,
    .side_min = 1,
    .side_max = 65535,
    .pixels_max = 1u << 30,
    .jpeg_scans_max = 100,
    .memory_max = (size_t)1 << 32,
};

static bool bench_file(struct bytes file, struct floor_decoder *turbo,
                       struct image_scratch *scratch, struct totals *totals)
{
    static uint8_t into[SIDE * SIDE * 3];
    struct image_geometry geometry = {.width = SIDE,
                                      .height = SIDE,
                                      .mode = IMAGE_CENTER_CROP,
                                      .filter = IMAGE_BICUBIC,
                                      .crop_fraction = 0.875};
    struct floor_picture picture = {0};
    struct totals best = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0};
    bool fine = true;
    for (int round = 0; fine && round < ROUNDS; round++) {
        struct image_info info;
        struct image_timing timing;
        uint64_t start = clock_thread_cpu_ns();
        fine = floor_decode(turbo, file, &picture, NULL) == RC_OK;
        uint64_t decoded = clock_thread_cpu_ns();
        struct floor_box box = floor_center_box(&picture, geometry.crop_fraction);
        fine = fine && floor_resize(scratch, &picture, &box, &geometry, into, NULL) == RC_OK;
        uint64_t resized = clock_thread_cpu_ns();
        fine = fine && image_probe(file, &limits, &info, NULL) == RC_OK;
        uint64_t probed = clock_thread_cpu_ns();
        fine =
            fine && image_fit(scratch, file, &info, &geometry, NULL, into, &timing, NULL) == RC_OK;
        uint64_t fitted = clock_thread_cpu_ns();
        best.turbo_ns = least(best.turbo_ns, decoded - start);
        best.resize_ns = least(best.resize_ns, resized - decoded);
        best.probe_ns = least(best.probe_ns, probed - resized);
        best.fit_ns = least(best.fit_ns, fitted - probed);
        best.fit_resize_ns = least(best.fit_resize_ns, timing.fit_ns);
    }
    floor_picture_done(&picture);
    if (!fine)
        return false;
    totals->turbo_ns += best.turbo_ns;
    totals->resize_ns += best.resize_ns;
    totals->probe_ns += best.probe_ns;
    totals->fit_ns += best.fit_ns;
    totals->fit_resize_ns += best.fit_resize_ns;
    totals->count++;
    return true;
}

static void bench_photos(int count, char **paths)
{
    struct floor_decoder *turbo = NULL;
    struct image_scratch *scratch = NULL;
    uint8_t *data = malloc(FILE_SIZE_MAX);
    struct totals totals = {0};
    if (data != NULL && floor_decoder_open(&turbo, NULL) == RC_OK &&
        image_scratch_open(&scratch, NULL) == RC_OK) {
        for (int i = 0; i < count; i++) {
            FILE *stream = fopen(paths[i], "rb");
            size_t size = stream == NULL ? 0 : fread(data, 1, FILE_SIZE_MAX, stream);
            if (stream != NULL)
                (void)fclose(stream);
            if (!bench_file((struct bytes){data, size}, turbo, scratch, &totals))
                (void)printf("%s: not measured\n", paths[i]);
        }
    }
    if (totals.count > 0) {
        uint32_t n = totals.count;
        (void)printf("%u photos, mean: turbojpeg whole %llu ns, resize alone %llu ns; "
                     "probe %llu ns, fit %llu ns (of which resize %llu ns)\n",
                     n, (unsigned long long)(totals.turbo_ns / n),
                     (unsigned long long)(totals.resize_ns / n),
                     (unsigned long long)(totals.probe_ns / n),
                     (unsigned long long)(totals.fit_ns / n),
                     (unsigned long long)(totals.fit_resize_ns / n));
    }
    image_scratch_free(scratch);
    floor_decoder_free(turbo);
    free(data);
}

int main(int argc, char **argv)
{
    static const uint32_t sides[] = {160, 328, 500, 1000, 3000};
    if (argc > 1) {
        bench_photos(argc - 1, argv + 1);
        return 0;
    }
    for (size_t i = 0; i < sizeof(sides) / sizeof(sides[0]); i++)
        bench_kernels(sides[i], IMAGE_BICUBIC);
    bench_kernels(328, IMAGE_BILINEAR);
    return 0;
}
