/* SPDX-License-Identifier: Apache-2.0
 * jpeg.h - the two halves of the JPEG codec: the marker walk and the decoder. */
#ifndef IMAGE_JPEG_H
#define IMAGE_JPEG_H
#include "image/codec.h"

struct jpeg_header {
    uint32_t width;
    uint32_t height;
    uint32_t component_count;
    uint32_t h_max; /* sampling factors */
    uint32_t v_max;
    uint32_t mcu_blocks;
    uint32_t scan_count;
    uint32_t orientation; /* 0: not said */
    bool progressive;
    bool multi_scan; /* sequential, its components in scans of their own */
    bool arithmetic;
};

NODISCARD enum rc jpeg_walk(struct bytes file, const struct image_limits *limits,
                            struct jpeg_header *ret_header, struct error *err);
NODISCARD enum rc jpeg_decode(struct bytes file, const struct image_info *info,
                              struct fitter *fitter, struct error *err);
#endif
