/* SPDX-License-Identifier: Apache-2.0
 * pictures.h - small files to test with, made by the encoders of the libraries or by hand. */
#ifndef TESTS_UNIT_IMAGE_PICTURES_H
#define TESTS_UNIT_IMAGE_PICTURES_H
#include "image/image.h"

/* What the server's defaults are, and a side of 1 allowed. */
extern const struct image_limits test_limits;

/* A baseline or progressive JPEG of a gradient; `exif` may be empty. Freed by the caller. */
struct buf picture_jpeg(uint32_t width, uint32_t height, bool progressive, struct bytes exif);
/* A PNG, 8-bit RGB. */
struct buf picture_png(uint32_t width, uint32_t height, bool interlaced);
struct buf picture_webp(uint32_t width, uint32_t height);
/* A GIF of one frame on a canvas, all of colour 1. */
struct buf picture_gif(uint32_t canvas_width, uint32_t canvas_height, uint32_t width,
                       uint32_t height);
/* "Exif\0\0" and a TIFF block whose only entry is the orientation. */
struct buf picture_exif(uint16_t orientation, bool big_endian);
struct bytes view(const struct buf *buf);
#endif
