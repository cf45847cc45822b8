/* SPDX-License-Identifier: Apache-2.0
 * resample_avx512.c - the kernels for x86 CPUs with AVX-512 VBMI and VNNI: sixteen outputs at once,
 * their taps gathered by byte permutation from windows of the row, two registers each. */
#include "image/resample.h"

#include <immintrin.h>

#define EVEN_BYTES 0x5555555555555555u
#define ROWS       2u /* at once: their sums fill the registers */

static bool avx512_usable(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vnni");
}

static __m512i load64(const void *p) { return _mm512_loadu_si512(p); }

/* Sums are kept as high * 256 + low until the end; the rounding half is in the low one. */
static inline __m512i low_start(void) { return _mm512_set1_epi32(1 << (RESAMPLE_BITS - 1)); }

static inline __m512i sum_end(__m512i high, __m512i low)
{
    return _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low), RESAMPLE_BITS);
}

/* Lanes of `index` that window `i` of `count` serves, even bytes alone: samples become int16. */
static inline __mmask64 lanes_of(uint32_t i, uint32_t count)
{
    uint64_t lanes = count == 1 ? EVEN_BYTES : count == 2 ? 0x55555555u : 0x5555u;
    return (__mmask64)(lanes << (i * 64 / count));
}

/* {r g b b} of sixteen outputs, in four lanes of four -> 48 bytes of RGB. */
static const uint8_t interleave[64] = {
    0,  4,  8,  1,  5,  9,  2,  6,  10, 3,  7,  11, 16, 20, 24, 17, 21, 25, 18, 22, 26, 19,
    23, 27, 32, 36, 40, 33, 37, 41, 34, 38, 42, 35, 39, 43, 48, 52, 56, 49, 53, 57, 50, 54,
    58, 51, 55, 59, 0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0};

static inline void store_row(const __m512i high[3], const __m512i low[3], uint8_t *out)
{
    __m512i red = sum_end(high[0], low[0]);
    __m512i green = sum_end(high[1], low[1]);
    __m512i blue = sum_end(high[2], low[2]);
    __m512i packed =
        _mm512_packus_epi16(_mm512_packs_epi32(red, green), _mm512_packs_epi32(blue, blue));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi8(load64(interleave), packed));
}

/* One block of two rows. `window_count` is a constant where this is inlined. */
__attribute__((always_inline)) static inline void
resize_block(const struct taps *taps, uint32_t number, uint32_t window_count,
             const uint8_t *const in[ROWS], uint8_t *const out[ROWS])
{
    const struct taps_block *block = &taps->blocks[number];
    uint32_t pairs = taps->tap_max / 2;
    const int32_t *weight = taps->block_weight + (size_t)number * pairs * 2 * RESAMPLE_BLOCK;
    __m512i index[3] = {load64(block->index)};
    index[1] = _mm512_add_epi8(index[0], _mm512_set1_epi8(1));
    index[2] = _mm512_add_epi8(index[0], _mm512_set1_epi8(2));
    __m512i high[ROWS][3];
    __m512i low[ROWS][3];
    for (uint32_t row = 0; row < ROWS; row++)
        for (uint32_t channel = 0; channel < 3; channel++) {
            high[row][channel] = _mm512_setzero_si512();
            low[row][channel] = low_start();
        }
    for (uint32_t pair = 0; pair < pairs; pair++, weight += 2 * RESAMPLE_BLOCK) {
        __m512i weight_high = load64(weight);
        __m512i weight_low = load64(weight + RESAMPLE_BLOCK);
        for (uint32_t row = 0; row < ROWS; row++) {
            __m512i pixels[3];
            for (uint32_t i = 0; i < window_count; i++) {
                const uint8_t *window = in[row] + (size_t)(block->window[i] + pair * 2) * 3;
                __m512i first = load64(window);
                __m512i second = load64(window + 64);
                for (uint32_t channel = 0; channel < 3; channel++) {
                    __m512i part = _mm512_maskz_permutex2var_epi8(lanes_of(i, window_count), first,
                                                                  index[channel], second);
                    pixels[channel] = i == 0 ? part : _mm512_or_si512(pixels[channel], part);
                }
            }
            for (uint32_t channel = 0; channel < 3; channel++) {
                high[row][channel] =
                    _mm512_dpwssd_epi32(high[row][channel], pixels[channel], weight_high);
                low[row][channel] =
                    _mm512_dpwssd_epi32(low[row][channel], pixels[channel], weight_low);
            }
        }
    }
    for (uint32_t row = 0; row < ROWS; row++)
        store_row(high[row], low[row], out[row] + (size_t)number * RESAMPLE_BLOCK * 3);
}

static void avx512_horizontal(const struct taps *taps, const uint8_t *const in[RESAMPLE_ROWS],
                              uint8_t *const out[RESAMPLE_ROWS])
{
    uint32_t block_count = (taps->axis.out_count + RESAMPLE_BLOCK - 1) / RESAMPLE_BLOCK;
    if (taps->window_count == 0) {
        kernels_avx2.horizontal(taps, in, out);
        return;
    }
    for (uint32_t row = 0; row < RESAMPLE_ROWS; row += ROWS)
        for (uint32_t number = 0; number < block_count; number++) {
            if (taps->window_count == 1)
                resize_block(taps, number, 1, in + row, out + row);
            else if (taps->window_count == 2)
                resize_block(taps, number, 2, in + row, out + row);
            else
                resize_block(taps, number, 4, in + row, out + row);
        }
}

/* Byte j of rows a and b as int16 pairs, j in the order that the two packs below undo. */
static const uint8_t pair_index[4][64] = {
#define J(j) j, 0, 64 + j, 0
#define LANES(j)                                                                                   \
    {                                                                                              \
        J(j), J(j + 1), J(j + 2), J(j + 3), J(j + 16), J(j + 17), J(j + 18), J(j + 19), J(j + 32), \
            J(j + 33), J(j + 34), J(j + 35), J(j + 48), J(j + 49), J(j + 50), J(j + 51)            \
    }
    LANES(0), LANES(4), LANES(8), LANES(12)
#undef LANES
#undef J
};

static void avx512_vertical(const struct taps *taps, uint32_t index, const uint8_t *const rows[],
                            size_t size, uint8_t *out)
{
    const __m512i order[4] = {load64(pair_index[0]), load64(pair_index[1]), load64(pair_index[2]),
                              load64(pair_index[3])};
    uint32_t pairs = taps->pairs[index];
    for (size_t at = 0; at < size; at += 64) {
        const int32_t *weight = taps->pair_weight + (size_t)index * taps->tap_max;
        __m512i high[4];
        __m512i low[4];
        for (int i = 0; i < 4; i++) {
            high[i] = _mm512_setzero_si512();
            low[i] = low_start();
        }
        for (uint32_t pair = 0; pair < pairs; pair++, weight += 2) {
            __m512i a = load64(rows[pair * 2] + at);
            __m512i b = load64(rows[pair * 2 + 1] + at);
            for (int i = 0; i < 4; i++) {
                __m512i pixels = _mm512_maskz_permutex2var_epi8(EVEN_BYTES, a, order[i], b);
                high[i] = _mm512_dpwssd_epi32(high[i], pixels, _mm512_set1_epi32(weight[0]));
                low[i] = _mm512_dpwssd_epi32(low[i], pixels, _mm512_set1_epi32(weight[1]));
            }
        }
        __m512i first = _mm512_packs_epi32(sum_end(high[0], low[0]), sum_end(high[1], low[1]));
        __m512i second = _mm512_packs_epi32(sum_end(high[2], low[2]), sum_end(high[3], low[3]));
        __m512i packed = _mm512_packus_epi16(first, second);
        size_t left = size - at;
        __mmask64 mask = left >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
        _mm512_mask_storeu_epi8(out + at, mask, packed);
    }
}

const struct kernels kernels_avx512 = {
    .name = "avx512",
    .usable = avx512_usable,
    .horizontal = avx512_horizontal,
    .vertical = avx512_vertical,
};
