/* SPDX-License-Identifier: Apache-2.0
 * fitter.h - takes a picture's rows one after another and resizes them into the tensor as they
 * come.
 *
 * A decoder asks for the window it must deliver, says how wide its rows are, then fills a row at a
 * time: fitter_row(), fitter_advance(). Only as many rows are kept as the vertical filter is tall.
 * The layout says which pass comes first, so that both round as Pillow does on the upright picture.
 */
#ifndef IMAGE_FITTER_H
#define IMAGE_FITTER_H
#include "image/geometry.h"

#define FITTER_TAPS_CACHED 8u

/* Grows as needed; contents are lost when it does. */
struct block {
    uint8_t *data;
    size_t room;
};
/* `size` bytes aligned for any kernel, or NULL. */
uint8_t *block_room(struct block *block, size_t size);

struct image_scratch {
    struct taps taps[FITTER_TAPS_CACHED];
    uint64_t taps_used[FITTER_TAPS_CACHED]; /* value of `clock` at the last use */
    uint64_t clock;
    struct block rows;         /* the fitter's */
    struct block frame;        /* the decoder's: rows or a whole frame that cannot be streamed */
    struct block strip;        /* the decoder's too */
    struct jpeg_entropy *jpeg; /* Huffman tables; made by the first JPEG */
    bool jpeg_plain;           /* tests: use libjpeg's own Huffman decoder, to compare with */
};

struct fitter {
    struct image_scratch *scratch;
    const struct image_poll *poll;
    const struct kernels *kernels;
    struct layout layout;
    const struct taps *x;
    const struct taps *y;
    uint8_t *into;
    uint32_t into_width; /* of the tensor, pixels */
    bool bgr;
    uint64_t fit_ns;

    /* The window to deliver, in stored pixels: from <= i < to. */
    uint32_t window_x;
    uint32_t window_x_to;
    uint32_t window_y;
    uint32_t window_y_to;

    size_t shift;       /* bytes from a delivered row's start to the window's */
    size_t stride;      /* of delivered rows */
    uint32_t row_count; /* delivered so far */
    uint32_t out_count; /* output rows written, of y->axis.out_count */
    uint8_t *group;     /* delivered rows not yet resized horizontally */
    uint32_t group_count;
    uint8_t *ring;
    size_t ring_stride;
    uint32_t ring_rows;
    const uint8_t **tap_rows;
    uint8_t *lines; /* RESAMPLE_ROWS output rows before they are turned */
    size_t line_stride;
    uint32_t line_count;
};

/* Of `geometry`, only the tensor's sides, the filter and `bgr` matter: the rest is in `layout`.
 * Afterwards the window is known. */
NODISCARD enum rc fitter_init(struct fitter *fitter, struct image_scratch *scratch,
                              const struct layout *layout, const struct image_geometry *geometry,
                              const struct image_poll *poll, uint8_t *into, struct error *err);
/* Delivered rows will be `width` pixels, the first being stored column `x` <= window_x. The first
 * row is window_y. May be called again, to start anew. */
NODISCARD enum rc fitter_begin(struct fitter *fitter, uint32_t x, uint32_t width,
                               struct error *err);
/* Where the next row goes, RGB; RESAMPLE_PAD bytes follow it. */
uint8_t *fitter_row(struct fitter *fitter);
/* The row is filled. Errors: what the poll says. */
NODISCARD enum rc fitter_advance(struct fitter *fitter, struct error *err);
/* All of the tensor is written: further rows are not wanted. */
bool fitter_full(const struct fitter *fitter);
/* Deliver the window from a whole decoded frame, RGB, whose first pixel is stored (0, 0). */
NODISCARD enum rc fitter_frame(struct fitter *fitter, const uint8_t *frame, size_t stride,
                               struct error *err);
/* Ask the poll; for decoders that work long before the first row. */
NODISCARD enum rc fitter_poll(const struct fitter *fitter, struct error *err);
/* What begin will allocate for rows of `width` pixels, from the plan alone. */
size_t fitter_memory(const struct layout *layout, enum image_filter filter, uint32_t width);
#endif
