/* SPDX-License-Identifier: Apache-2.0
 * resample.c - builds tap tables, and chooses the kernels.
 *
 * Weights are computed and rounded as Pillow does it: in double, normalised, then to 22 bits. */
#include "image/resample.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0)
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

static double filter_support(enum image_filter filter)
{
    return filter == IMAGE_BICUBIC ? 2.0 : 1.0;
}

static double axis_scale(const struct axis *axis)
{
    return (double)axis->in_size / (double)axis->out_size;
}

static uint32_t even(uint32_t count) { return (count + 1u) & ~1u; }

uint32_t taps_bound(const struct axis *axis, enum image_filter filter)
{
    double scale = axis_scale(axis);
    double support = filter_support(filter) * (scale < 1.0 ? 1.0 : scale);
    uint32_t bound = (uint32_t)ceil(support) * 2u + 1u;
    return even(bound < axis->in_size ? bound : axis->in_size);
}

struct range {
    uint32_t from;
    uint32_t count;
};

static int32_t rounded(double weight)
{
    weight *= (double)(1u << RESAMPLE_BITS);
    return (int32_t)(weight < 0.0 ? weight - 0.5 : weight + 0.5);
}

/* The weights of output `index`, without the zeros at either end. `real` has room for as many. */
static struct range weigh(const struct axis *axis, enum image_filter filter, uint32_t index,
                          double *real, int32_t *weight)
{
    double scale = axis_scale(axis);
    double stretch = scale < 1.0 ? 1.0 : scale;
    double squeeze = 1.0 / stretch;
    double support = filter_support(filter) * stretch;
    double center = ((double)index + 0.5) * scale;
    double low = center - support + 0.5;
    double high = center + support + 0.5;
    uint32_t from = low < 0.0 ? 0 : (uint32_t)low;
    uint32_t to = high > (double)axis->in_size ? axis->in_size : (uint32_t)high;
    assert(from < to);
    double sum = 0.0;
    for (uint32_t i = from; i < to; i++) {
        double x = ((double)i - center + 0.5) * squeeze;
        real[i - from] = filter == IMAGE_BICUBIC ? bicubic(x) : bilinear(x);
        sum += real[i - from];
    }
    uint32_t skip = 0;
    uint32_t count = to - from;
    while (count > 1 && rounded(real[count - 1] / sum) == 0)
        count--;
    while (skip + 1 < count && rounded(real[skip] / sum) == 0)
        skip++;
    for (uint32_t i = skip; i < count; i++)
        weight[i - skip] = rounded(real[i] / sum);
    return (struct range){from + skip, count - skip};
}

static uint32_t block_count(const struct axis *axis)
{
    return (axis->out_count + RESAMPLE_BLOCK - 1) / RESAMPLE_BLOCK;
}

static void *carve(uint8_t **at, size_t size)
{
    void *taken = *at;
    *at += (size + 63u) & ~(size_t)63u;
    return taken;
}

static enum rc allocate(struct taps *taps, struct error *err)
{
    size_t outs = taps->axis.out_count;
    size_t blocks = block_count(&taps->axis);
    size_t outs_size = outs * sizeof(uint32_t);
    size_t weight_size = outs * taps->tap_max * sizeof(int32_t);
    size_t block_weight_size = blocks * RESAMPLE_BLOCK * taps->tap_max * sizeof(int32_t);
    size_t blocks_size = blocks * sizeof(*taps->blocks);
    size_t size = 2 * outs_size + 2 * weight_size + block_weight_size + blocks_size + 6 * 64;
    size = (size + 63u) & ~(size_t)63u;
    uint8_t *at = aligned_alloc(64, size);
    if (at == NULL)
        return error_set(err, RC_NO_MEMORY, "%zu bytes for the resize table", size);
    memset(at, 0, size);
    taps->storage = at;
    taps->start = carve(&at, outs_size);
    taps->pairs = carve(&at, outs_size);
    taps->weight = carve(&at, weight_size);
    taps->pair_weight = carve(&at, weight_size);
    taps->block_weight = carve(&at, block_weight_size);
    taps->blocks = carve(&at, blocks_size);
    return RC_OK;
}

static int32_t two_int16(int32_t first, int32_t second)
{
    return (int32_t)((uint32_t)first & 0xFFFFu) | (int32_t)((uint32_t)second << 16);
}

/* weight = high * 256 + low, low being -128..127. */
static int32_t low_part(int32_t weight) { return (int8_t)(weight & 0xFF); }

static int32_t high_part(int32_t weight) { return (weight - low_part(weight)) / 256; }

static void fill_pairs(struct taps *taps, uint32_t out)
{
    const int32_t *weight = taps->weight + (size_t)out * taps->tap_max;
    int32_t *pair = taps->pair_weight + (size_t)out * taps->tap_max;
    for (uint32_t tap = 0; tap < taps->tap_max; tap += 2, pair += 2) {
        pair[0] = two_int16(high_part(weight[tap]), high_part(weight[tap + 1]));
        pair[1] = two_int16(low_part(weight[tap]), low_part(weight[tap + 1]));
    }
}

/* Inputs from the lowest to the highest start of `count` outputs. */
static struct range starts(const struct taps *taps, uint32_t first, uint32_t count)
{
    uint32_t low = UINT32_MAX;
    uint32_t high = 0;
    for (uint32_t out = first; out < first + count && out < taps->axis.out_count; out++) {
        low = taps->start[out] < low ? taps->start[out] : low;
        high = taps->start[out] > high ? taps->start[out] : high;
    }
    return low == UINT32_MAX ? (struct range){0, 0} : (struct range){low, high - low};
}

static uint32_t windows_needed(const struct taps *taps)
{
    for (uint32_t windows = 1; windows <= RESAMPLE_WINDOWS_MAX; windows *= 2) {
        uint32_t each = RESAMPLE_BLOCK / windows;
        uint32_t span = 0;
        for (uint32_t out = 0; out < taps->axis.out_count; out += each) {
            struct range range = starts(taps, out, each);
            span = range.count > span ? range.count : span;
        }
        if ((span + 2) * 3 <= RESAMPLE_WINDOW)
            return windows;
    }
    return 0;
}

static void fill_block(struct taps *taps, uint32_t number)
{
    struct taps_block *block = &taps->blocks[number];
    uint32_t first = number * RESAMPLE_BLOCK;
    uint32_t each = RESAMPLE_BLOCK / taps->window_count;
    for (uint32_t window = 0; window < taps->window_count; window++)
        block->window[window] = starts(taps, first + window * each, each).from;
    size_t pair_size = 2 * RESAMPLE_BLOCK;
    int32_t *weight = taps->block_weight + (size_t)number * taps->tap_max / 2 * pair_size;
    for (uint32_t lane = 0; lane < RESAMPLE_BLOCK && first + lane < taps->axis.out_count; lane++) {
        uint32_t out = first + lane;
        uint32_t offset = taps->start[out] - block->window[lane / each];
        block->index[lane * 4] = (uint8_t)(offset * 3);
        block->index[lane * 4 + 2] = (uint8_t)((offset + 1) * 3);
        const int32_t *pair = taps->pair_weight + (size_t)out * taps->tap_max;
        for (uint32_t tap = 0; tap < taps->tap_max / 2; tap++) {
            weight[tap * pair_size + lane] = pair[tap * 2];
            weight[tap * pair_size + RESAMPLE_BLOCK + lane] = pair[tap * 2 + 1];
        }
    }
}

/* Everything but the weights themselves, which are in `raw` at `stride` an output. */
static enum rc fill(struct taps *taps, const struct range *ranges, const int32_t *raw,
                    uint32_t stride, struct error *err)
{
    enum rc rc = allocate(taps, err);
    if (rc != RC_OK)
        return rc;
    for (uint32_t out = 0; out < taps->axis.out_count; out++) {
        taps->start[out] = ranges[out].from - taps->in_from;
        taps->pairs[out] = even(ranges[out].count) / 2;
        memcpy(taps->weight + (size_t)out * taps->tap_max, raw + (size_t)out * stride,
               ranges[out].count * sizeof(*raw));
        fill_pairs(taps, out);
    }
    taps->window_count = windows_needed(taps);
    if (taps->window_count > 0)
        for (uint32_t i = 0; i < block_count(&taps->axis); i++)
            fill_block(taps, i);
    return RC_OK;
}

enum rc taps_init(struct taps *taps, const struct axis *axis, enum image_filter filter,
                  struct error *err)
{
    assert(axis->in_size > 0 && axis->out_size > 0 && axis->out_count > 0);
    assert(axis->out_from + axis->out_count <= axis->out_size);
    *taps = (struct taps){.axis = *axis, .filter = filter, .in_from = UINT32_MAX};
    uint32_t bound = taps_bound(axis, filter);
    double *real = malloc(bound * sizeof(*real));
    int32_t *raw = malloc((size_t)axis->out_count * bound * sizeof(*raw));
    struct range *ranges = malloc(axis->out_count * sizeof(*ranges));
    enum rc rc;
    if (real == NULL || raw == NULL || ranges == NULL) {
        rc = error_set(err, RC_NO_MEMORY, "resize weights of %u outputs", axis->out_count);
        goto out;
    }
    for (uint32_t i = 0; i < axis->out_count; i++) {
        ranges[i] = weigh(axis, filter, axis->out_from + i, real, raw + (size_t)i * bound);
        uint32_t to = ranges[i].from + ranges[i].count;
        taps->in_from = ranges[i].from < taps->in_from ? ranges[i].from : taps->in_from;
        taps->in_to = to > taps->in_to ? to : taps->in_to;
        uint32_t count = even(ranges[i].count);
        taps->tap_max = count > taps->tap_max ? count : taps->tap_max;
    }
    rc = fill(taps, ranges, raw, bound, err);
out:
    free(real);
    free(raw);
    free(ranges);
    return rc;
}

void taps_done(struct taps *taps)
{
    free(taps->storage);
    *taps = (struct taps){0};
}

static const struct kernels *const sets[] = {
#define KERNELS(name) &kernels_##name,
#include "image/resample_kernels.def"
#undef KERNELS
};
#define SET_COUNT (sizeof(sets) / sizeof(sets[0]))

static const struct kernels *best = &kernels_scalar;

__attribute__((constructor)) static void choose(void)
{
    const char *wanted = getenv("IMAGO_KERNELS");
    for (size_t i = 0; i < SET_COUNT; i++)
        if (sets[i]->usable() && (wanted == NULL || strcmp(wanted, sets[i]->name) == 0))
            best = sets[i];
}

const struct kernels *kernels_best(void) { return best; }

const struct kernels *kernels_at(size_t index) { return index < SET_COUNT ? sets[index] : NULL; }
