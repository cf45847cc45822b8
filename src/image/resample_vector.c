/* SPDX-License-Identifier: Apache-2.0
 * resample_vector.c - the kernels in the compiler's portable vectors: NEON on arm, SSE2 on x86. */
#include "image/resample.h"

#include <string.h>

typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint8_t u8x4 __attribute__((vector_size(4)));

#define HALF (1 << (RESAMPLE_BITS - 1))

static bool vector_usable(void) { return true; }

/* Four bytes of a row, a pixel and a neighbour's red, widened; the fourth sum is not used. */
static i32x4 widen4(const uint8_t *p)
{
    u8x4 bytes;
    memcpy(&bytes, p, sizeof(bytes));
    return __builtin_convertvector(bytes, i32x4);
}

/* Vector comparisons give all ones or zero: a mask. */
static u8x4 clamp4(i32x4 value)
{
    value &= value > 0;
    i32x4 over = value > 255;
    value = (value & ~over) | (over & 255);
    return __builtin_convertvector(value, u8x4);
}

static void vector_horizontal(const struct taps *taps, const uint8_t *const in[RESAMPLE_ROWS],
                              uint8_t *const out[RESAMPLE_ROWS])
{
    for (uint32_t i = 0; i < taps->axis.out_count; i++) {
        const int32_t *weight = taps->weight + (size_t)i * taps->tap_max;
        size_t from = (size_t)taps->start[i] * 3;
        i32x4 sum[RESAMPLE_ROWS];
        for (uint32_t row = 0; row < RESAMPLE_ROWS; row++)
            sum[row] = (i32x4){HALF, HALF, HALF, HALF};
        for (uint32_t tap = 0; tap < taps->pairs[i] * 2; tap++)
            for (uint32_t row = 0; row < RESAMPLE_ROWS; row++)
                sum[row] += widen4(in[row] + from + tap * 3) * weight[tap];
        for (uint32_t row = 0; row < RESAMPLE_ROWS; row++) {
            u8x4 pixel = clamp4(sum[row] >> RESAMPLE_BITS);
            memcpy(out[row] + (size_t)i * 3, &pixel, sizeof(pixel));
        }
    }
}

#define STEP 4u /* vectors of four bytes at once */

static void vector_vertical(const struct taps *taps, uint32_t index, const uint8_t *const rows[],
                            size_t size, uint8_t *out)
{
    const int32_t *weight = taps->weight + (size_t)index * taps->tap_max;
    for (size_t at = 0; at < size; at += 4 * STEP) {
        i32x4 sum[STEP];
        for (uint32_t i = 0; i < STEP; i++)
            sum[i] = (i32x4){HALF, HALF, HALF, HALF};
        for (uint32_t tap = 0; tap < taps->pairs[index] * 2; tap++)
            for (uint32_t i = 0; i < STEP; i++)
                sum[i] += widen4(rows[tap] + at + (size_t)i * 4) * weight[tap];
        u8x4 bytes[STEP];
        for (uint32_t i = 0; i < STEP; i++)
            bytes[i] = clamp4(sum[i] >> RESAMPLE_BITS);
        size_t left = size - at;
        memcpy(out + at, bytes, left < sizeof(bytes) ? left : sizeof(bytes));
    }
}

const struct kernels kernels_vector = {
    .name = "vector",
    .usable = vector_usable,
    .horizontal = vector_horizontal,
    .vertical = vector_vertical,
};
