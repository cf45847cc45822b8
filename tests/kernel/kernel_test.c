/* SPDX-License-Identifier: Apache-2.0
 * kernel_test.c - every set of resize kernels against the scalar one, on random legal parameters.
 */
#include "check.h"
#include "image/resample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CASES 400

/* A small generator of our own: the same cases on every machine. */
static uint64_t seed;

static uint32_t random_below(uint32_t bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % bound;
}

static uint8_t *random_rows(size_t size)
{
    uint8_t *rows = malloc(size);
    assert_non_null(rows);
    bool extreme = random_below(2) == 0;
    for (size_t i = 0; i < size; i++)
        rows[i] = (uint8_t)(extreme ? random_below(2) * 255 : random_below(256));
    return rows;
}

static void random_taps(struct taps *taps)
{
    struct axis axis = {.in_size = 1 + random_below(random_below(4) == 0 ? 3000 : 400),
                        .out_size = 1 + random_below(random_below(4) == 0 ? 500 : 260)};
    axis.out_from = random_below(2) == 0 ? 0 : random_below(axis.out_size);
    axis.out_count = 1 + random_below(axis.out_size - axis.out_from);
    assert_int_equal(
        taps_init(taps, &axis, random_below(2) == 0 ? IMAGE_BILINEAR : IMAGE_BICUBIC, NULL), RC_OK);
}

static void compare_horizontal(const struct kernels *kernels, const struct taps *taps)
{
    size_t in_size = (size_t)(taps->in_to - taps->in_from) * 3 + RESAMPLE_PAD;
    size_t out_size = (size_t)taps->axis.out_count * 3 + RESAMPLE_PAD;
    uint8_t *in_rows = random_rows(in_size * RESAMPLE_ROWS);
    uint8_t *want_rows = calloc(RESAMPLE_ROWS, out_size);
    uint8_t *got_rows = calloc(RESAMPLE_ROWS, out_size);
    const uint8_t *in[RESAMPLE_ROWS];
    uint8_t *want[RESAMPLE_ROWS];
    uint8_t *got[RESAMPLE_ROWS];
    for (uint32_t i = 0; i < RESAMPLE_ROWS; i++) {
        in[i] = in_rows + i * in_size;
        want[i] = want_rows + i * out_size;
        got[i] = got_rows + i * out_size;
    }
    kernels_scalar.horizontal(taps, in, want);
    kernels->horizontal(taps, in, got);
    for (uint32_t i = 0; i < RESAMPLE_ROWS; i++)
        if (memcmp(got[i], want[i], (size_t)taps->axis.out_count * 3) != 0)
            print_message("%s: %u of %u -> %u of %u\n", kernels->name, taps->in_to - taps->in_from,
                          taps->axis.in_size, taps->axis.out_count, taps->axis.out_size);
    for (uint32_t i = 0; i < RESAMPLE_ROWS; i++)
        assert_memory_equal(got[i], want[i], (size_t)taps->axis.out_count * 3);
    free(in_rows);
    free(want_rows);
    free(got_rows);
}

static void compare_vertical(const struct kernels *kernels, const struct taps *taps)
{
    size_t size = 1 + random_below(900);
    size_t stride = size + RESAMPLE_PAD;
    uint32_t index = random_below(taps->axis.out_count);
    uint32_t count = taps->pairs[index] * 2;
    uint8_t *rows = random_rows(stride * count);
    const uint8_t **in = calloc(count, sizeof(*in));
    uint8_t *want = malloc(size);
    uint8_t *got = malloc(size); /* exactly: a sanitizer sees a byte too many */
    assert_non_null(in);
    for (uint32_t i = 0; i < count; i++)
        in[i] = rows + i * stride;
    kernels_scalar.vertical(taps, index, in, size, want);
    kernels->vertical(taps, index, in, size, got);
    assert_memory_equal(got, want, size);
    free(rows);
    free(in);
    free(want);
    free(got);
}

TEST(every_set_gives_the_scalar_bits)
{
    for (size_t set = 0; kernels_at(set) != NULL; set++) {
        const struct kernels *kernels = kernels_at(set);
        if (!kernels->usable()) {
            print_message("%s cannot run on this CPU: not compared\n", kernels->name);
            continue;
        }
        seed = 20261124;
        for (int i = 0; i < CASES; i++) {
            struct taps taps;
            random_taps(&taps);
            compare_horizontal(kernels, &taps);
            compare_vertical(kernels, &taps);
            taps_done(&taps);
        }
    }
}

TEST(weights_sum_to_one)
{
    seed = 7;
    for (int i = 0; i < CASES; i++) {
        struct taps taps;
        random_taps(&taps);
        for (uint32_t out = 0; out < taps.axis.out_count; out++) {
            int32_t sum = 0;
            for (uint32_t tap = 0; tap < taps.tap_max; tap++)
                sum += taps.weight[(size_t)out * taps.tap_max + tap];
            /* A flat area keeps its value: the remainder is far below half a level. */
            assert_in_range(sum + 4096, (1 << RESAMPLE_BITS), (1 << RESAMPLE_BITS) + 8192);
        }
        taps_done(&taps);
    }
}

TEST(taps_stay_inside_the_box)
{
    seed = 11;
    for (int i = 0; i < CASES; i++) {
        struct taps taps;
        random_taps(&taps);
        assert_true(taps.in_to <= taps.axis.in_size);
        assert_true(taps.tap_max <= taps_bound(&taps.axis, taps.filter));
        for (uint32_t out = 0; out < taps.axis.out_count; out++)
            assert_true(taps.in_from + taps.start[out] + taps.pairs[out] * 2 <=
                        taps.in_to + 1); /* one more is an odd count's padding */
        taps_done(&taps);
    }
}

TEST(same_size_is_the_identity)
{
    struct axis axis = {.in_size = 50, .out_size = 50, .out_count = 50};
    struct taps taps;
    assert_int_equal(taps_init(&taps, &axis, IMAGE_BICUBIC, NULL), RC_OK);
    for (uint32_t out = 0; out < 50; out++) {
        assert_int_equal(taps.start[out], out);
        assert_int_equal(taps.weight[(size_t)out * taps.tap_max], 1 << RESAMPLE_BITS);
    }
    taps_done(&taps);
}

TEST_MAIN("kernels")
