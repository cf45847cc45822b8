/* SPDX-License-Identifier: Apache-2.0
 * geometry.h - which part of a picture becomes which part of the tensor. Arithmetic only. */
#ifndef IMAGE_GEOMETRY_H
#define IMAGE_GEOMETRY_H
#include "image/resample.h"

/* One direction: a box of the picture, the resize of it, and where the result lies in the tensor.
 */
struct placement {
    uint32_t box_from; /* first pixel of the box */
    struct axis axis;
    uint32_t into_from;
};

struct layout {
    struct placement x; /* along stored rows */
    struct placement y;
    bool transposed;     /* stored rows become columns of the tensor */
    bool vertical_first; /* the pass along stored columns comes first */
    bool flip_x;         /* stored columns run against the tensor's */
    bool flip_y;
    uint8_t pad; /* fills what no pixel covers */
};

/* Pillow 13's choice of the first pass, for upright axes: the vertical one where the height shrinks
 * by more than twice what the width does. The order shows where a pass clips its overshoot. */
bool layout_vertical_first(const struct axis *x, const struct axis *y);

/* The layout in stored coordinates, orientation taken into account. */
struct layout layout_plan(const struct image_info *info, const struct image_geometry *geometry);
#endif
