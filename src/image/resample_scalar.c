/* SPDX-License-Identifier: Apache-2.0
 * resample_scalar.c - the reference: every other set must give these bits. */
#include "image/resample.h"

#define HALF (1 << (RESAMPLE_BITS - 1))

static bool scalar_usable(void) { return true; }

static uint8_t clamp_u8(int32_t value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void scalar_horizontal(const struct taps *taps, const uint8_t *const in[RESAMPLE_ROWS],
                              uint8_t *const out[RESAMPLE_ROWS])
{
    for (uint32_t row = 0; row < RESAMPLE_ROWS; row++) {
        for (uint32_t i = 0; i < taps->axis.out_count; i++) {
            const int32_t *weight = taps->weight + (size_t)i * taps->tap_max;
            const uint8_t *pixel = in[row] + (size_t)taps->start[i] * 3;
            int32_t sum[3] = {HALF, HALF, HALF};
            for (uint32_t tap = 0; tap < taps->pairs[i] * 2; tap++)
                for (uint32_t channel = 0; channel < 3; channel++)
                    sum[channel] += weight[tap] * pixel[tap * 3 + channel];
            for (uint32_t channel = 0; channel < 3; channel++)
                out[row][i * 3 + channel] = clamp_u8(sum[channel] >> RESAMPLE_BITS);
        }
    }
}

static void scalar_vertical(const struct taps *taps, uint32_t index, const uint8_t *const rows[],
                            size_t size, uint8_t *out)
{
    const int32_t *weight = taps->weight + (size_t)index * taps->tap_max;
    for (size_t i = 0; i < size; i++) {
        int32_t sum = HALF;
        for (uint32_t tap = 0; tap < taps->pairs[index] * 2; tap++)
            sum += weight[tap] * rows[tap][i];
        out[i] = clamp_u8(sum >> RESAMPLE_BITS);
    }
}

const struct kernels kernels_scalar = {
    .name = "scalar",
    .usable = scalar_usable,
    .horizontal = scalar_horizontal,
    .vertical = scalar_vertical,
};
