/* SPDX-License-Identifier: Apache-2.0
 * geometry.c - boxes and rounding as Pillow and torchvision do them, then turned into the
 * coordinates of the picture as stored. */
#include "image/geometry.h"

#include <math.h>

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint32_t at_least_1(uint32_t value) { return value == 0 ? 1 : value; }

/* Python's round(): halves go to the even neighbour. */
static uint32_t round_even(double value) { return at_least_1((uint32_t)nearbyint(value)); }

static struct placement whole(uint32_t side, uint32_t out)
{
    return (struct placement){.axis = {.in_size = side, .out_size = out, .out_count = out}};
}

static struct placement cropped(uint32_t side, uint32_t crop, uint32_t out)
{
    struct placement place = whole(crop, out);
    place.box_from = (side - crop + 1) / 2;
    return place;
}

/* torchvision's CenterCrop of a side resized to `resized`: round(), or padding where too small. */
static struct placement centered(uint32_t side, uint32_t resized, uint32_t out)
{
    struct placement place = whole(side, resized);
    if (resized <= out) {
        place.into_from = (out - resized) / 2;
        return place;
    }
    place.axis.out_from = (uint32_t)nearbyint((double)(resized - out) / 2.0);
    place.axis.out_count = out;
    return place;
}

static void plan_center_crop(uint32_t width, uint32_t height, const struct image_geometry *geometry,
                             struct layout *layout)
{
    uint32_t shorter = min_u32(width, height);
    double size = (double)shorter * geometry->crop_fraction;
    uint32_t crop = size >= 1.0 ? (uint32_t)size : 1;
    crop = min_u32(crop, shorter);
    layout->x = cropped(width, crop, geometry->width);
    layout->y = cropped(height, crop, geometry->height);
}

static void plan_resize_crop(uint32_t width, uint32_t height, const struct image_geometry *geometry,
                             struct layout *layout)
{
    uint32_t shorter = min_u32(width, height);
    uint64_t side = at_least_1(geometry->resize_side);
    uint32_t resized_width = at_least_1((uint32_t)(side * width / shorter));
    uint32_t resized_height = at_least_1((uint32_t)(side * height / shorter));
    layout->x = centered(width, resized_width, geometry->width);
    layout->y = centered(height, resized_height, geometry->height);
    layout->pad = 0;
}

/* Pillow's ImageOps.pad(). */
static void plan_letterbox(uint32_t width, uint32_t height, const struct image_geometry *geometry,
                           struct layout *layout)
{
    uint32_t out_width = geometry->width;
    uint32_t out_height = geometry->height;
    double ratio = (double)width / (double)height;
    double wanted = (double)geometry->width / (double)geometry->height;
    if (ratio > wanted)
        out_height = round_even((double)height / (double)width * (double)geometry->width);
    else if (ratio < wanted)
        out_width = round_even((double)width / (double)height * (double)geometry->height);
    layout->x = whole(width, min_u32(out_width, geometry->width));
    layout->y = whole(height, min_u32(out_height, geometry->height));
    layout->x.into_from = (uint32_t)nearbyint((double)(geometry->width - out_width) * 0.5);
    layout->y.into_from = (uint32_t)nearbyint((double)(geometry->height - out_height) * 0.5);
}

static void mirror(struct placement *place, uint32_t side)
{
    struct axis *axis = &place->axis;
    place->box_from = side - place->box_from - axis->in_size;
    axis->out_from = axis->out_size - axis->out_from - axis->out_count;
}

bool layout_vertical_first(const struct axis *x, const struct axis *y)
{
    int64_t less_x = (int64_t)x->in_size - x->out_size;
    int64_t less_y = (int64_t)y->in_size - y->out_size;
    return less_y > 0 && less_y > 2 * less_x;
}

struct layout layout_plan(const struct image_info *info, const struct image_geometry *geometry)
{
    uint32_t orientation = info->orientation;
    struct layout layout = {
        .transposed = orientation >= 5,
        .flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8,
        .flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7,
        .pad = geometry->pad,
    };
    uint32_t width = image_upright_width(info);
    uint32_t height = image_upright_height(info);
    switch (geometry->mode) {
    case IMAGE_CENTER_CROP:
        plan_center_crop(width, height, geometry, &layout);
        break;
    case IMAGE_RESIZE_CROP:
        plan_resize_crop(width, height, geometry, &layout);
        break;
    case IMAGE_STRETCH:
        layout.x = whole(width, geometry->width);
        layout.y = whole(height, geometry->height);
        break;
    case IMAGE_LETTERBOX:
        plan_letterbox(width, height, geometry, &layout);
        break;
    }
    layout.vertical_first = layout_vertical_first(&layout.x.axis, &layout.y.axis);
    if (layout.transposed) {
        layout.vertical_first = !layout.vertical_first;
        struct placement x = layout.x;
        layout.x = layout.y;
        layout.y = x;
    }
    if (layout.flip_x)
        mirror(&layout.x, info->width);
    if (layout.flip_y)
        mirror(&layout.y, info->height);
    return layout;
}
