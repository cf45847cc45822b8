/* SPDX-License-Identifier: Apache-2.0
 * resample_avx2.c - the kernels for x86 CPUs with AVX2: two rows in a register, two taps a
 * multiply. */
#include "image/resample.h"

#include <immintrin.h>
#include <string.h>

static bool avx2_usable(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") != 0;
}

static __m128i load16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static __m256i load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static __m256i two_rows(const uint8_t *a, const uint8_t *b)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(a)), load16(b), 1);
}

/* Two RGB pixels of each row -> {r0 r1 g0 g1 b0 b1 0 0} in int16. */
#define SHUFFLE_PAIR(p)                                                                            \
    _mm256_setr_epi8(p, -1, p + 3, -1, p + 1, -1, p + 4, -1, p + 2, -1, p + 5, -1, -1, -1, -1, -1, \
                     p, -1, p + 3, -1, p + 1, -1, p + 4, -1, p + 2, -1, p + 5, -1, -1, -1, -1, -1)

/* High and low products, kept apart until the end: sum = high * 256 + low. */
struct sum {
    __m256i high;
    __m256i low;
};

static inline void sum_add(struct sum *sum, __m256i pixels, const int32_t *weight)
{
    sum->high =
        _mm256_add_epi32(sum->high, _mm256_madd_epi16(pixels, _mm256_set1_epi32(weight[0])));
    sum->low = _mm256_add_epi32(sum->low, _mm256_madd_epi16(pixels, _mm256_set1_epi32(weight[1])));
}

static inline struct sum sum_start(void)
{
    return (struct sum){_mm256_setzero_si256(), _mm256_set1_epi32(1 << (RESAMPLE_BITS - 1))};
}

static inline __m256i sum_end(const struct sum *sum)
{
    return _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(sum->high, 8), sum->low),
                             RESAMPLE_BITS);
}

static inline void sum_both(struct sum sums[2], const uint8_t *const in[RESAMPLE_ROWS], size_t from,
                            const int32_t *weight, __m256i order)
{
    __m256i first = _mm256_shuffle_epi8(two_rows(in[0] + from, in[1] + from), order);
    __m256i second = _mm256_shuffle_epi8(two_rows(in[2] + from, in[3] + from), order);
    sum_add(&sums[0], first, weight);
    sum_add(&sums[1], second, weight);
}

static void store4(uint8_t *out, int value) { memcpy(out, &value, 4); }

static void avx2_horizontal(const struct taps *taps, const uint8_t *const in[RESAMPLE_ROWS],
                            uint8_t *const out[RESAMPLE_ROWS])
{
    const __m256i order = SHUFFLE_PAIR(0);
    for (uint32_t i = 0; i < taps->axis.out_count; i++) {
        const int32_t *weight = taps->pair_weight + (size_t)i * taps->tap_max;
        size_t from = (size_t)taps->start[i] * 3;
        struct sum sums[2] = {sum_start(), sum_start()};
        for (uint32_t pair = 0; pair < taps->pairs[i]; pair++, from += 6, weight += 2)
            sum_both(sums, in, from, weight, order);
        __m256i both = _mm256_packs_epi32(sum_end(&sums[0]), sum_end(&sums[1]));
        both = _mm256_packus_epi16(both, both);
        __m128i even = _mm256_castsi256_si128(both);
        __m128i odd = _mm256_extracti128_si256(both, 1);
        /* Each store writes a byte too many, which the next output overwrites. */
        store4(out[0] + (size_t)i * 3, _mm_cvtsi128_si32(even));
        store4(out[1] + (size_t)i * 3, _mm_cvtsi128_si32(odd));
        store4(out[2] + (size_t)i * 3, _mm_extract_epi32(even, 1));
        store4(out[3] + (size_t)i * 3, _mm_extract_epi32(odd, 1));
    }
}

static inline __m256i vertical32(const int32_t *weight, uint32_t pairs, const uint8_t *const rows[],
                                 size_t at)
{
    const __m256i zero = _mm256_setzero_si256();
    struct sum sums[4] = {sum_start(), sum_start(), sum_start(), sum_start()};
    for (uint32_t pair = 0; pair < pairs; pair++, weight += 2) {
        __m256i a = load32(rows[pair * 2] + at);
        __m256i b = load32(rows[pair * 2 + 1] + at);
        __m256i low = _mm256_unpacklo_epi8(a, b);
        __m256i high = _mm256_unpackhi_epi8(a, b);
        sum_add(&sums[0], _mm256_unpacklo_epi8(low, zero), weight);
        sum_add(&sums[1], _mm256_unpackhi_epi8(low, zero), weight);
        sum_add(&sums[2], _mm256_unpacklo_epi8(high, zero), weight);
        sum_add(&sums[3], _mm256_unpackhi_epi8(high, zero), weight);
    }
    return _mm256_packus_epi16(_mm256_packs_epi32(sum_end(&sums[0]), sum_end(&sums[1])),
                               _mm256_packs_epi32(sum_end(&sums[2]), sum_end(&sums[3])));
}

static void avx2_vertical(const struct taps *taps, uint32_t index, const uint8_t *const rows[],
                          size_t size, uint8_t *out)
{
    const int32_t *weight = taps->pair_weight + (size_t)index * taps->tap_max;
    size_t at = 0;
    for (; at + 32 <= size; at += 32)
        _mm256_storeu_si256((__m256i *)(void *)(out + at),
                            vertical32(weight, taps->pairs[index], rows, at));
    if (at < size) {
        uint8_t tail[32];
        _mm256_storeu_si256((__m256i *)(void *)tail,
                            vertical32(weight, taps->pairs[index], rows, at));
        memcpy(out + at, tail, size - at);
    }
}

const struct kernels kernels_avx2 = {
    .name = "avx2",
    .usable = avx2_usable,
    .horizontal = avx2_horizontal,
    .vertical = avx2_vertical,
};
