/* SPDX-License-Identifier: Apache-2.0
 * floor.c - decode alone through TurboJPEG, resize alone through our kernels. */
#include "image/floor.h"
#include "image/fitter.h"

#include <assert.h>
#include <stdlib.h>
#include <turbojpeg.h>

struct floor_decoder {
    tjhandle turbo;
};

enum rc floor_decoder_open(struct floor_decoder **ret_decoder, struct error *err)
{
    struct floor_decoder *decoder = calloc(1, sizeof(*decoder));
    if (decoder == NULL)
        return error_set(err, RC_NO_MEMORY, "a JPEG decoder");
    decoder->turbo = tjInitDecompress();
    if (decoder->turbo == NULL) {
        free(decoder);
        return error_set(err, RC_NO_MEMORY, "a JPEG decoder: %s", tjGetErrorStr2(NULL));
    }
    *ret_decoder = decoder;
    return RC_OK;
}

enum rc floor_decode(struct floor_decoder *decoder, struct bytes file,
                     struct floor_picture *picture, struct error *err)
{
    int width;
    int height;
    int subsampling;
    int colorspace;
    if (tjDecompressHeader3(decoder->turbo, file.data, file.size, &width, &height, &subsampling,
                            &colorspace) != 0)
        return error_set(err, RC_BAD_IMAGE, "%s", tjGetErrorStr2(decoder->turbo));
    size_t size = (size_t)width * (size_t)height * 3;
    if (size > picture->room) {
        uint8_t *grown = realloc(picture->rgb, size);
        if (grown == NULL)
            return error_set(err, RC_NO_MEMORY, "%zu bytes for a picture", size);
        picture->rgb = grown;
        picture->room = size;
    }
    picture->width = (uint32_t)width;
    picture->height = (uint32_t)height;
    if (tjDecompress2(decoder->turbo, file.data, file.size, picture->rgb, width, 0, height,
                      TJPF_RGB, TJFLAG_ACCURATEDCT) != 0)
        return error_set(err, RC_BAD_IMAGE, "%s", tjGetErrorStr2(decoder->turbo));
    return RC_OK;
}

void floor_decoder_free(struct floor_decoder *decoder)
{
    if (decoder == NULL)
        return;
    (void)tjDestroy(decoder->turbo);
    free(decoder);
}

void floor_picture_done(struct floor_picture *picture)
{
    free(picture->rgb);
    *picture = (struct floor_picture){0};
}

struct floor_box floor_center_box(const struct floor_picture *picture, double crop_fraction)
{
    struct image_info info = {.width = picture->width, .height = picture->height};
    struct image_geometry geometry = {
        .width = 1, .height = 1, .mode = IMAGE_CENTER_CROP, .crop_fraction = crop_fraction};
    struct layout layout = layout_plan(&info, &geometry);
    return (struct floor_box){layout.x.box_from, layout.y.box_from, layout.x.axis.in_size,
                              layout.y.axis.in_size};
}

enum rc floor_resize(struct image_scratch *scratch, const struct floor_picture *picture,
                     const struct floor_box *box, const struct image_geometry *geometry,
                     uint8_t *into, struct error *err)
{
    assert(box->width > 0 && box->x + box->width <= picture->width);
    assert(box->height > 0 && box->y + box->height <= picture->height);
    struct layout layout = {
        .x = {box->x, {box->width, geometry->width, 0, geometry->width}, 0},
        .y = {box->y, {box->height, geometry->height, 0, geometry->height}, 0},
    };
    layout.vertical_first = layout_vertical_first(&layout.x.axis, &layout.y.axis);
    struct fitter fitter;
    enum rc rc = fitter_init(&fitter, scratch, &layout, geometry, NULL, into, err);
    if (rc != RC_OK)
        return rc;
    return fitter_frame(&fitter, picture->rgb, (size_t)picture->width * 3, err);
}
