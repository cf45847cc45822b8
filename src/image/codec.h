/* SPDX-License-Identifier: Apache-2.0
 * codec.h - what a picture format implements. Included by image.c and the formats' files only. */
#ifndef IMAGE_CODEC_H
#define IMAGE_CODEC_H
#include "image/fitter.h"

/* Most that a decoder may need beside the fitter; checked against the limits by image.c. */
struct header {
    uint32_t width;
    uint32_t height;
    uint32_t orientation; /* 0 is taken as 1 */
    size_t memory;        /* of the decoder */
    bool slow;
};

struct codec {
    bool (*matches)(struct bytes file);
    /* Read the header and find truncation; image.c checks sides, pixels and memory afterwards. */
    enum rc (*probe)(struct bytes file, const struct image_limits *limits,
                     struct header *ret_header, struct error *err);
    /* Deliver the fitter's window. */
    enum rc (*decode)(struct bytes file, const struct image_info *info, struct fitter *fitter,
                      struct error *err);
};

#define FORMAT(name, text, media_type) extern const struct codec codec_##name;
#include "image/formats.def"
#undef FORMAT

/* Sides before anything is done with their product: shared by probes that go on after the header.
 */
NODISCARD enum rc header_check_sides(const struct image_limits *limits, uint64_t width,
                                     uint64_t height, struct error *err);
#endif
