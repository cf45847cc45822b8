/* SPDX-License-Identifier: Apache-2.0
 * floor.h - the parts of image_fit() alone, for measuring: what a decode and a resize must cost.
 * Used by `imago bench --floor` and by tests; the server never calls it. */
#ifndef IMAGE_FLOOR_H
#define IMAGE_FLOOR_H
#include "image/image.h"

/* A whole picture, RGB, rows of width * 3 bytes. */
struct floor_picture {
    uint32_t width;
    uint32_t height;
    uint8_t *rgb; /* floor_picture_done() */
    size_t room;
};

struct floor_decoder; /* the TurboJPEG API, one per thread */
NODISCARD enum rc floor_decoder_open(struct floor_decoder **ret_decoder, struct error *err);
/* The whole JPEG, as `tjDecompress2` gives it. `picture` is grown and used again. */
NODISCARD enum rc floor_decode(struct floor_decoder *decoder, struct bytes file,
                               struct floor_picture *picture, struct error *err);
void floor_decoder_free(struct floor_decoder *decoder); /* NULL is fine */
void floor_picture_done(struct floor_picture *picture);

struct floor_box {
    uint32_t x;
    uint32_t y;
    uint32_t width;
    uint32_t height;
};
/* The centre box that IMAGE_CENTER_CROP would take. */
struct floor_box floor_center_box(const struct floor_picture *picture, double crop_fraction);
/* Resize the box, taps clamped at its edge, to geometry->width x geometry->height. */
NODISCARD enum rc floor_resize(struct image_scratch *scratch, const struct floor_picture *picture,
                               const struct floor_box *box, const struct image_geometry *geometry,
                               uint8_t *into, struct error *err);
#endif
