/* SPDX-License-Identifier: Apache-2.0
 * fitter.c - the streaming resize: groups of rows, a ring as tall as the filter, turned output. */
#include "image/fitter.h"
#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_ROWS 8u  /* rows between two looks at the clock; a multiple of RESAMPLE_ROWS */
#define POLL_ROWS  32u /* rows between two polls; a multiple of GROUP_ROWS */

uint8_t *block_room(struct block *block, size_t size)
{
    size = (size + 4095u) & ~(size_t)4095u;
    if (size <= block->room)
        return block->data;
    free(block->data);
    block->data = aligned_alloc(64, size);
    block->room = block->data == NULL ? 0 : size;
    return block->data;
}

static bool same_axis(const struct axis *a, const struct axis *b)
{
    return a->in_size == b->in_size && a->out_size == b->out_size && a->out_from == b->out_from &&
           a->out_count == b->out_count;
}

/* The table for this axis: a cached one, or the least recently used slot filled anew. `keep` is
 * in use and stays. */
static const struct taps *taps_get(struct image_scratch *scratch, const struct axis *axis,
                                   enum image_filter filter, const struct taps *keep,
                                   struct error *err)
{
    size_t oldest = keep == &scratch->taps[0] ? 1 : 0;
    scratch->clock++;
    for (size_t i = 0; i < FITTER_TAPS_CACHED; i++) {
        struct taps *taps = &scratch->taps[i];
        if (taps->storage != NULL && taps->filter == filter && same_axis(&taps->axis, axis)) {
            scratch->taps_used[i] = scratch->clock;
            return taps;
        }
        if (taps != keep && scratch->taps_used[i] < scratch->taps_used[oldest])
            oldest = i;
    }
    struct taps *taps = &scratch->taps[oldest];
    taps_done(taps);
    scratch->taps_used[oldest] = scratch->clock;
    if (taps_init(taps, axis, filter, err) != RC_OK) {
        taps_done(taps);
        return NULL;
    }
    return taps;
}

enum rc fitter_init(struct fitter *fitter, struct image_scratch *scratch,
                    const struct layout *layout, const struct image_geometry *geometry,
                    const struct image_poll *poll, uint8_t *into, struct error *err)
{
    *fitter = (struct fitter){
        .scratch = scratch,
        .poll = poll,
        .kernels = kernels_best(),
        .layout = *layout,
        .into = into,
        .into_width = geometry->width,
        .bgr = geometry->bgr,
    };
    const struct placement *x = &fitter->layout.x;
    const struct placement *y = &fitter->layout.y;
    fitter->x = taps_get(scratch, &x->axis, geometry->filter, NULL, err);
    if (fitter->x == NULL)
        return RC_NO_MEMORY;
    fitter->y = taps_get(scratch, &y->axis, geometry->filter, fitter->x, err);
    if (fitter->y == NULL)
        return RC_NO_MEMORY;
    fitter->window_x = x->box_from + fitter->x->in_from;
    fitter->window_x_to = x->box_from + fitter->x->in_to;
    fitter->window_y = y->box_from + fitter->y->in_from;
    fitter->window_y_to = y->box_from + fitter->y->in_to;
    size_t covered = (size_t)x->axis.out_count * y->axis.out_count;
    size_t pixels = (size_t)geometry->width * geometry->height;
    if (covered < pixels)
        memset(into, fitter->layout.pad, pixels * 3);
    return RC_OK;
}

static size_t row_room(size_t pixels) { return (pixels * 3 + RESAMPLE_PAD + 63u) & ~(size_t)63u; }

/* Rows the ring holds: a filter's height, the group being added, and the pair's padding. */
static uint32_t ring_rows_for(uint32_t tap_max) { return tap_max + GROUP_ROWS + 2; }

struct sizes {
    size_t stride;
    size_t ring_stride;
    size_t line_stride;
    size_t total;
};

static struct sizes measure(const struct layout *layout, uint32_t tap_max, uint32_t width)
{
    struct sizes sizes = {.stride = row_room(width)};
    sizes.line_stride = row_room(layout->x.axis.out_count);
    sizes.ring_stride = layout->vertical_first ? sizes.stride : sizes.line_stride;
    size_t ring_rows = ring_rows_for(tap_max);
    size_t group = layout->vertical_first ? RESAMPLE_ROWS : GROUP_ROWS;
    sizes.total = sizes.stride * group + sizes.ring_stride * ring_rows +
                  sizes.line_stride * RESAMPLE_ROWS + (tap_max + 2u) * sizeof(uint8_t *);
    return sizes;
}

size_t fitter_memory(const struct layout *layout, enum image_filter filter, uint32_t width)
{
    return measure(layout, taps_bound(&layout->y.axis, filter), width).total;
}

enum rc fitter_begin(struct fitter *fitter, uint32_t x, uint32_t width, struct error *err)
{
    assert(x <= fitter->window_x && fitter->window_x_to - x <= width);
    struct sizes sizes = measure(&fitter->layout, fitter->y->tap_max, width);
    uint8_t *at = block_room(&fitter->scratch->rows, sizes.total);
    if (at == NULL)
        return error_set(err, RC_NO_MEMORY, "%zu bytes for rows of %u pixels", sizes.total, width);
    fitter->row_count = 0;
    fitter->out_count = 0;
    fitter->group_count = 0;
    fitter->line_count = 0;
    fitter->shift = (size_t)(fitter->window_x - x) * 3;
    fitter->stride = sizes.stride;
    fitter->ring_stride = sizes.ring_stride;
    fitter->line_stride = sizes.line_stride;
    fitter->ring_rows = ring_rows_for(fitter->y->tap_max);
    fitter->group = at;
    at += sizes.stride * (fitter->layout.vertical_first ? RESAMPLE_ROWS : GROUP_ROWS);
    fitter->ring = at;
    at += sizes.ring_stride * fitter->ring_rows;
    fitter->lines = at;
    at += sizes.line_stride * RESAMPLE_ROWS;
    fitter->tap_rows = (const uint8_t **)(void *)at;
    return RC_OK;
}

static uint8_t *ring_row(const struct fitter *fitter, uint32_t row)
{
    return fitter->ring + (size_t)(row % fitter->ring_rows) * fitter->ring_stride;
}

bool fitter_full(const struct fitter *fitter)
{
    return fitter->out_count == fitter->y->axis.out_count;
}

uint8_t *fitter_row(struct fitter *fitter)
{
    if (fitter->layout.vertical_first)
        return ring_row(fitter, fitter->row_count);
    return fitter->group + fitter->group_count * fitter->stride;
}

enum rc fitter_poll(const struct fitter *fitter, struct error *err)
{
    if (fitter->poll == NULL)
        return RC_OK;
    enum rc rc = fitter->poll->check(fitter->poll->ctx);
    if (rc == RC_OK)
        return RC_OK;
    return error_set(err, rc, "stopped while decoding: %s", rc_text(rc));
}

/* Write one finished row of the resize, in stored order, to its place in the tensor. */
static void place_row(const struct fitter *fitter, uint32_t row, const uint8_t *line)
{
    assert(fitter->into != NULL);
    const struct layout *layout = &fitter->layout;
    uint32_t count = layout->x.axis.out_count;
    uint32_t across = layout->flip_y ? layout->y.axis.out_count - 1 - row : row;
    size_t pitch = (size_t)fitter->into_width * 3;
    uint8_t *to;
    ptrdiff_t step;
    if (layout->transposed) {
        to = fitter->into + layout->x.into_from * pitch + (layout->y.into_from + across) * 3u;
        step = (ptrdiff_t)pitch;
    } else {
        to = fitter->into + (layout->y.into_from + across) * pitch + layout->x.into_from * 3u;
        step = 3;
    }
    if (layout->flip_x) {
        to += step * (ptrdiff_t)(count - 1);
        step = -step;
    }
    uint32_t red = fitter->bgr ? 2 : 0;
    for (uint32_t i = 0; i < count; i++, to += step) {
        to[red] = line[i * 3];
        to[1] = line[i * 3 + 1];
        to[2 - red] = line[i * 3 + 2];
    }
}

/* Whether the vertical pass can write straight into the tensor. */
static uint8_t *direct_row(const struct fitter *fitter, uint32_t row)
{
    const struct layout *layout = &fitter->layout;
    if (layout->transposed || layout->flip_x || fitter->bgr)
        return NULL;
    uint32_t across = layout->flip_y ? layout->y.axis.out_count - 1 - row : row;
    return fitter->into +
           ((size_t)(layout->y.into_from + across) * fitter->into_width + layout->x.into_from) * 3;
}

static void gather_tap_rows(const struct fitter *fitter, uint32_t out, uint32_t have)
{
    uint32_t taps = fitter->y->pairs[out] * 2;
    for (uint32_t tap = 0; tap < taps; tap++) {
        uint32_t row = fitter->y->start[out] + tap;
        if (row >= have) /* the padding tap of an odd count: weight 0, any row will do */
            row = have - 1;
        fitter->tap_rows[tap] = ring_row(fitter, row);
    }
}

static bool rows_suffice(const struct fitter *fitter, uint32_t have)
{
    uint32_t total = fitter->y->in_to - fitter->y->in_from;
    if (have >= total)
        return true;
    return fitter->y->start[fitter->out_count] + fitter->y->pairs[fitter->out_count] * 2 <= have;
}

/* Horizontal first: the vertical pass over the ring of horizontally resized rows. */
static void emit_horizontal_first(struct fitter *fitter)
{
    size_t size = (size_t)fitter->x->axis.out_count * 3;
    while (!fitter_full(fitter) && rows_suffice(fitter, fitter->row_count)) {
        uint32_t out = fitter->out_count;
        gather_tap_rows(fitter, out, fitter->row_count);
        uint8_t *direct = direct_row(fitter, out);
        uint8_t *line = direct == NULL ? fitter->lines : direct;
        fitter->kernels->vertical(fitter->y, out, fitter->tap_rows, size, line);
        if (direct == NULL)
            place_row(fitter, out, line);
        fitter->out_count++;
    }
}

static void flush_group(struct fitter *fitter)
{
    const uint8_t *in[RESAMPLE_ROWS];
    uint8_t *out[RESAMPLE_ROWS];
    uint32_t first = fitter->row_count - fitter->group_count;
    for (uint32_t done = 0; done < fitter->group_count; done += RESAMPLE_ROWS) {
        for (uint32_t i = 0; i < RESAMPLE_ROWS; i++) {
            uint32_t row = done + i < fitter->group_count ? done + i : fitter->group_count - 1;
            in[i] = fitter->group + row * fitter->stride + fitter->shift;
            out[i] = ring_row(fitter, first + row);
        }
        fitter->kernels->horizontal(fitter->x, in, out);
    }
    fitter->group_count = 0;
    emit_horizontal_first(fitter);
}

static void flush_lines(struct fitter *fitter)
{
    if (fitter->line_count == 0)
        return;
    const uint8_t *in[RESAMPLE_ROWS];
    uint8_t *out[RESAMPLE_ROWS];
    for (uint32_t i = 0; i < RESAMPLE_ROWS; i++) {
        uint32_t row = i < fitter->line_count ? i : fitter->line_count - 1;
        in[i] = fitter->group + row * fitter->stride;
        out[i] = fitter->lines + row * fitter->line_stride;
    }
    fitter->kernels->horizontal(fitter->x, in, out);
    uint32_t first = fitter->out_count - fitter->line_count;
    for (uint32_t i = 0; i < fitter->line_count; i++)
        place_row(fitter, first + i, out[i]);
    fitter->line_count = 0;
}

/* Vertical first, over the ring of delivered rows, then horizontal, four rows at a time. */
static void emit_vertical_first(struct fitter *fitter)
{
    size_t size = (size_t)(fitter->x->in_to - fitter->x->in_from) * 3;
    while (!fitter_full(fitter) && rows_suffice(fitter, fitter->row_count)) {
        uint32_t out = fitter->out_count;
        gather_tap_rows(fitter, out, fitter->row_count);
        for (uint32_t tap = 0; tap < fitter->y->pairs[out] * 2; tap++)
            fitter->tap_rows[tap] += fitter->shift;
        uint8_t *line = fitter->group + fitter->line_count * fitter->stride;
        fitter->kernels->vertical(fitter->y, out, fitter->tap_rows, size, line);
        fitter->out_count++;
        if (++fitter->line_count == RESAMPLE_ROWS || fitter_full(fitter))
            flush_lines(fitter);
    }
}

enum rc fitter_advance(struct fitter *fitter, struct error *err)
{
    assert(!fitter_full(fitter));
    bool last = ++fitter->row_count == fitter->window_y_to - fitter->window_y;
    if (!fitter->layout.vertical_first)
        fitter->group_count++;
    if (!last && fitter->row_count % GROUP_ROWS != 0)
        return RC_OK;
    uint64_t start = clock_monotonic_ns();
    if (fitter->layout.vertical_first)
        emit_vertical_first(fitter);
    else
        flush_group(fitter);
    fitter->fit_ns += clock_monotonic_ns() - start;
    if (!last && fitter->row_count % POLL_ROWS == 0)
        return fitter_poll(fitter, err);
    return RC_OK;
}

enum rc fitter_frame(struct fitter *fitter, const uint8_t *frame, size_t stride, struct error *err)
{
    uint32_t width = fitter->window_x_to - fitter->window_x;
    enum rc rc = fitter_begin(fitter, fitter->window_x, width, err);
    for (uint32_t y = fitter->window_y; rc == RC_OK && !fitter_full(fitter); y++) {
        memcpy(fitter_row(fitter), frame + y * stride + (size_t)fitter->window_x * 3,
               (size_t)width * 3);
        rc = fitter_advance(fitter, err);
    }
    return rc;
}
