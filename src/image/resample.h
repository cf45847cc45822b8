/* SPDX-License-Identifier: Apache-2.0
 * resample.h - separable antialiased resizing of 8-bit RGB rows, bit for bit what Pillow gives.
 *
 * A `struct taps` is one axis of one resize: for each output, where its inputs start and their
 * weights, of 22 bits after the point. A kernel set applies taps: horizontally to RESAMPLE_ROWS
 * rows at once, vertically to one output row. SIMD sets multiply in int16: a weight is high * 256 +
 * low. Threads: taps are read-only once built; kernels have no state. Adding a set:
 * resample_<name>.c, one row in resample_kernels.def, one line in meson.build.
 */
#ifndef IMAGE_RESAMPLE_H
#define IMAGE_RESAMPLE_H
#include "image/image.h"

#define RESAMPLE_ROWS        4u   /* rows per horizontal call */
#define RESAMPLE_PAD         256u /* bytes past a row's end that a kernel may read or write */
#define RESAMPLE_BLOCK       16u  /* outputs per entry of the block tables */
#define RESAMPLE_BITS        22u  /* of a weight, after the point */
#define RESAMPLE_WINDOW      128u
#define RESAMPLE_WINDOWS_MAX 4u

/* One axis: the box's `in_size` inputs become `out_size`, of which `out_count` from `out_from` on
 * are wanted. */
struct axis {
    uint32_t in_size;
    uint32_t out_size;
    uint32_t out_from;
    uint32_t out_count;
};

/* Sixteen outputs for kernels that gather their taps from windows of RESAMPLE_WINDOW bytes of the
 * row; the outputs are split evenly among as many windows as they need. */
struct taps_block {
    uint32_t window[RESAMPLE_WINDOWS_MAX]; /* first input of each */
    uint8_t index[64]; /* bytes of an RGB row, relative to the window, of the first two taps */
};

struct taps {
    struct axis axis;
    enum image_filter filter;
    uint32_t in_from; /* the inputs that are read at all: in_from <= i < in_to */
    uint32_t in_to;
    uint32_t tap_max; /* even; weights per output, zero-padded */
    uint32_t *start;  /* [out_count], relative to in_from */
    uint32_t *pairs;  /* [out_count], pairs of taps in use */
    int32_t *weight;  /* [out_count][tap_max] */
    int32_t
        *pair_weight; /* [out_count][tap_max / 2][2]: the high parts of two taps, the low ones */
    uint32_t window_count; /* 1, 2 or 4; 0 where the scale is too large for windows */
    struct taps_block *blocks;
    int32_t *block_weight; /* [block][tap_max / 2][2][16], as pair_weight */
    void *storage;         /* one allocation behind it all */
};

NODISCARD enum rc taps_init(struct taps *taps, const struct axis *axis, enum image_filter filter,
                            struct error *err);
void taps_done(struct taps *taps); /* a zeroed one is fine */
/* Upper bound of tap_max without building the table, for memory estimates. */
uint32_t taps_bound(const struct axis *axis, enum image_filter filter);

struct kernels {
    const char *name;
    bool (*usable)(void);
    /* Rows start at taps->in_from; each `in` and `out` has RESAMPLE_PAD bytes to spare. */
    void (*horizontal)(const struct taps *taps, const uint8_t *const in[RESAMPLE_ROWS],
                       uint8_t *const out[RESAMPLE_ROWS]);
    /* One output row of `size` bytes from 2 * taps->pairs[index] rows; the padding rows are
     * readable too. `out` has no bytes to spare. */
    void (*vertical)(const struct taps *taps, uint32_t index, const uint8_t *const rows[],
                     size_t size, uint8_t *out);
};

/* The fastest set that this CPU can run, chosen at start. IMAGO_KERNELS=name overrides it. */
const struct kernels *kernels_best(void);
/* Every set built in, slowest first; NULL past the end. Some may not be usable here. */
const struct kernels *kernels_at(size_t index);

#define KERNELS(name) extern const struct kernels kernels_##name;
#include "image/resample_kernels.def"
#undef KERNELS
#endif
