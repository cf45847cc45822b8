/* SPDX-License-Identifier: Apache-2.0
 * image.h - bytes of a picture file -> pixels as the model was trained on them.
 *
 * Two steps: image_probe() reads the header alone and refuses what is over the limits, before any
 * pixel is allocated; image_fit() decodes, orients, crops and resizes straight into the caller's
 * batch slot, uint8, height x width x 3. It stores nothing, does no I/O and starts no thread.
 *
 * Reference: Pillow's ImageOps.exif_transpose().convert("RGB").crop().resize(), version 13: every
 * sample is the same, bit for bit (AVIF and HEIC: within 2). Where Pillow is wrong we are right:
 * 16-bit samples are v >> 8. Threads: any; one image_scratch serves one thread at a time. Adding a
 * format: image/<name>.c, one row in image/formats.def, one line in meson.build.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H
#include "base/bytes.h"

enum image_format {
#define FORMAT(name, text, media_type) IMAGE_##name,
#include "image/formats.def"
#undef FORMAT
    IMAGE_FORMAT_COUNT
};
const char *image_format_text(enum image_format format);       /* "jpeg" */
const char *image_format_media_type(enum image_format format); /* "image/jpeg" */
bool image_format_built_in(enum image_format format);          /* heif may be left out */

struct image_limits {
    size_t bytes_max;  /* of the file */
    uint32_t side_min; /* pixels, both sides */
    uint32_t side_max;
    uint64_t pixels_max;     /* width x height */
    uint32_t jpeg_scans_max; /* counted by walking the markers, before decoding */
    size_t memory_max;       /* what one decode may allocate, estimated from the header */
};

/* What the header says. Sides are as stored, before `orientation` (EXIF, 1..8) is applied. */
struct image_info {
    enum image_format format;
    uint32_t width;
    uint32_t height;
    uint32_t orientation;
    size_t memory; /* estimate of what image_fit() allocates; also its cost class */
    bool slow;     /* progressive, interlaced or large: more work than a typical photo by far */
};
/* Upright sides: swapped for orientations 5..8. */
uint32_t image_upright_width(const struct image_info *info);
uint32_t image_upright_height(const struct image_info *info);

/* Errors: INVALID (empty), UNSUPPORTED (no picture format we know), TOO_LARGE (file bytes),
 * IMAGE_LIMIT (sides, pixels, scans, memory), BAD_IMAGE (header broken or file cut short). */
NODISCARD enum rc image_probe(struct bytes file, const struct image_limits *limits,
                              struct image_info *ret_info, struct error *err);

enum image_mode {
    IMAGE_CENTER_CROP, /* square of floor(min(w,h) * crop_fraction), resized to width x height */
    IMAGE_RESIZE_CROP, /* shorter side to resize_side, then the centre width x height of that */
    IMAGE_STRETCH,     /* the whole picture to width x height */
    IMAGE_LETTERBOX,   /* the whole picture, aspect kept, centred on `pad` */
};
enum image_filter { IMAGE_BILINEAR, IMAGE_BICUBIC }; /* antialiased, Pillow's kernels */

struct image_geometry {
    uint32_t width; /* of the tensor */
    uint32_t height;
    enum image_mode mode;
    enum image_filter filter;
    double crop_fraction;
    uint32_t resize_side;
    uint8_t pad;
    bool bgr;
};

/* Asked between rows; true stops the decode with RC_DEADLINE or RC_CANCELLED as `stop` says. */
struct image_poll {
    enum rc (*check)(void *ctx); /* RC_OK to go on */
    void *ctx;
};

struct image_timing {
    uint64_t decode_ns;
    uint64_t fit_ns;
};

/* Reusable memory of one worker: grows to what pictures need, shrinks after a very large one. */
struct image_scratch;
NODISCARD enum rc image_scratch_open(struct image_scratch **ret_scratch, struct error *err);
void image_scratch_free(struct image_scratch *scratch); /* NULL is fine */

/* Decode and fit into `into`, geometry->height x geometry->width x 3 bytes. `info` comes from
 * image_probe() of the same bytes. `poll` may be NULL. On failure `into` is unspecified.
 * Errors: BAD_IMAGE, DEADLINE, CANCELLED, NO_MEMORY. */
NODISCARD enum rc image_fit(struct image_scratch *scratch, struct bytes file,
                            const struct image_info *info, const struct image_geometry *geometry,
                            const struct image_poll *poll, uint8_t *into,
                            struct image_timing *ret_timing, struct error *err);
#endif
