/* SPDX-License-Identifier: Apache-2.0
 * jpeg_entropy.h - a faster Huffman decoder, put in the place of libjpeg's.
 *
 * Two thirds of a photo's decoding is Huffman codes. This decoder takes a code and the bits that
 * follow it from one table, and blocks outside the window are passed over without being stored. It
 * is for sound baseline files alone: at the first oddity it gives up, and the caller starts again
 * with libjpeg's own decoder, so that damaged files look as they do everywhere else.
 */
#ifndef IMAGE_JPEG_ENTROPY_H
#define IMAGE_JPEG_ENTROPY_H
#include "base/bytes.h"

#include <stdio.h>
#define JPEG_INTERNALS /* struct jpeg_entropy_decoder */
#include <jpeglib.h>

#define JPEG_ENTROPY_PEEK 11 /* bits looked up at once */

/* One table: what the next JPEG_ENTROPY_PEEK bits mean. */
struct jpeg_codes {
    int32_t fast[1 << JPEG_ENTROPY_PEEK];  /* one code and its value */
    uint16_t pass[1 << JPEG_ENTROPY_PEEK]; /* as many codes as fit, to be passed over */
    uint32_t code_end[17]; /* by length, left-aligned to 16 bits: the first code that is longer */
    int32_t offset[17];    /* from a code of that length to its index in `symbols` */
    uint8_t symbols[256];
    bool is_dc;
    uint8_t lengths[17]; /* what it was built from */
    bool built;
};

struct jpeg_entropy {
    struct jpeg_entropy_decoder base; /* what libjpeg sees: must be first */
    struct jpeg_codes dc[4];
    struct jpeg_codes ac[4];
    void (*give_up)(j_decompress_ptr jpeg); /* does not return */
    void (*on_row)(j_decompress_ptr jpeg);  /* after each row of MCUs; may not return */

    const uint8_t *next;
    const uint8_t *end;
    uint64_t bits; /* left-aligned */
    int32_t bit_count;
    int32_t last_dc[MAX_COMPS_IN_SCAN];
    uint32_t restart_left; /* MCUs to the next marker */
    uint32_t restart_next; /* its number */
    uint32_t mcu_column;
    uint32_t wanted_from; /* columns of MCUs whose blocks are wanted */
    uint32_t wanted_to;
};

/* Take over after jpeg_start_decompress() and jpeg_crop_scanline(), before the first row. Columns
 * of the picture from `x` on, `width` of them, are wanted. Does nothing where the file is not of
 * the kind it knows, and says so. `entropy` must outlive `jpeg`; its callbacks are set by the
 * caller, its tables are used again by the next file. */
bool jpeg_entropy_attach(struct jpeg_entropy *entropy, j_decompress_ptr jpeg, uint32_t x,
                         uint32_t width);
#endif
