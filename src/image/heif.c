/* SPDX-License-Identifier: Apache-2.0
 * heif.c - AVIF and HEIC through libheif, where it is built in (-Dheif=enabled).
 *
 * libheif applies the container's own rotation and mirroring, so the sides given here are upright
 * and there is no orientation left; EXIF inside such files is only a copy of it. The whole picture
 * is decoded at once: the deadline is looked at before and after, not within.
 *
 * Known of libheif 1.15 with libdav1d 1.0, found by fuzzing: a damaged AVIF leaks 40 bytes, and a
 * line may go to standard error. A server that takes files from strangers can build without. */
#include "image/codec.h"

#include <string.h>

static bool heif_matches(struct bytes file)
{
    static const char *const brands[] = {"avif", "avis", "heic", "heix", "heim",
                                         "heis", "hevc", "hevx", "mif1", "msf1"};
    if (file.size < 12 || memcmp(file.data + 4, "ftyp", 4) != 0)
        return false;
    for (size_t i = 0; i < sizeof(brands) / sizeof(brands[0]); i++)
        if (memcmp(file.data + 8, brands[i], 4) == 0)
            return true;
    return false;
}

#ifdef IMAGO_HEIF
#include <libheif/heif.h>

#define DECODER_MEMORY  4194304u
#define BYTES_PER_PIXEL 12u /* planes, their upsampled copy, RGB */

__attribute__((constructor)) static void heif_start(void) { (void)heif_init(NULL); }
__attribute__((destructor)) static void heif_end(void) { heif_deinit(); }

static enum rc damaged(struct heif_error error, struct error *err)
{
    if (error.code == heif_error_Memory_allocation_error)
        return error_set(
            err,
            error.subcode == heif_suberror_Security_limit_exceeded ? RC_IMAGE_LIMIT : RC_NO_MEMORY,
            "the AVIF or HEIC picture needs too much memory: %.120s; send a smaller one",
            error.message);
    return error_set(err,
                     error.code == heif_error_Unsupported_filetype ||
                             error.code == heif_error_Unsupported_feature
                         ? RC_UNSUPPORTED
                         : RC_BAD_IMAGE,
                     "the AVIF or HEIC file cannot be decoded: %.120s; send the original file",
                     error.message);
}

/* Top-level boxes must end inside the file; libheif alone would take a shortened one. */
static bool boxes_complete(struct bytes file)
{
    size_t at = 0;
    while (at < file.size) {
        size_t left = file.size - at;
        if (left < 8)
            return false;
        const uint8_t *p = file.data + at;
        uint64_t size = (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
        if (size == 0)
            return true;
        if (size == 1) {
            if (left < 16)
                return false;
            size = 0;
            for (size_t i = 8; i < 16; i++)
                size = size << 8 | p[i];
        }
        if (size < 8 || size > left)
            return false;
        at += (size_t)size;
    }
    return true;
}

static enum rc open_picture(struct bytes file, struct heif_context **ret_context,
                            struct heif_image_handle **ret_handle, struct error *err)
{
    if (!boxes_complete(file))
        return error_set(err, RC_BAD_IMAGE,
                         "the AVIF or HEIC file is cut short, after %zu bytes: send the whole file",
                         file.size);
    struct heif_context *context = heif_context_alloc();
    if (context == NULL)
        return error_set(err, RC_NO_MEMORY, "an AVIF decoder");
    heif_context_set_max_decoding_threads(context, 0);
    struct heif_error error =
        heif_context_read_from_memory_without_copy(context, file.data, file.size, NULL);
    if (error.code == heif_error_Ok)
        error = heif_context_get_primary_image_handle(context, ret_handle);
    if (error.code != heif_error_Ok) {
        enum rc rc = damaged(error, err);
        heif_context_free(context);
        return rc;
    }
    *ret_context = context;
    return RC_OK;
}

static uint64_t positive(int value) { return value > 0 ? (uint64_t)value : 0; }

static enum rc heif_probe(struct bytes file, const struct image_limits *limits,
                          struct header *ret_header, struct error *err)
{
    struct heif_context *context = NULL;
    struct heif_image_handle *handle = NULL;
    enum rc rc = open_picture(file, &context, &handle, err);
    if (rc != RC_OK)
        return rc;
    uint64_t width = positive(heif_image_handle_get_width(handle));
    uint64_t height = positive(heif_image_handle_get_height(handle));
    /* What the coded picture measures before cropping and turning is allocated as well. */
    uint64_t coded = positive(heif_image_handle_get_ispe_width(handle)) *
                     positive(heif_image_handle_get_ispe_height(handle));
    rc = header_check_sides(limits, width, height, err);
    if (rc == RC_OK && coded > limits->pixels_max)
        rc = error_set(err, RC_IMAGE_LIMIT,
                       "the picture is cropped from %llu pixels; at most %llu are accepted: send a "
                       "smaller one",
                       (unsigned long long)coded, (unsigned long long)limits->pixels_max);
    if (rc == RC_OK)
        *ret_header = (struct header){
            .width = (uint32_t)width,
            .height = (uint32_t)height,
            .memory = DECODER_MEMORY +
                      (size_t)(coded > width * height ? coded : width * height) * BYTES_PER_PIXEL,
            .slow = true,
        };
    heif_image_handle_release(handle);
    heif_context_free(context);
    return rc;
}

static enum rc fit_image(const struct heif_image *image, const struct image_info *info,
                         struct fitter *fitter, struct error *err)
{
    int stride = 0;
    const uint8_t *pixels = heif_image_get_plane_readonly(image, heif_channel_interleaved, &stride);
    uint64_t width = positive(heif_image_get_width(image, heif_channel_interleaved));
    uint64_t height = positive(heif_image_get_height(image, heif_channel_interleaved));
    if (pixels == NULL || width != info->width || height != info->height || stride < 0)
        return error_set(err, RC_BAD_IMAGE,
                         "the AVIF or HEIC file has two different sizes in it: save it anew");
    enum rc rc = fitter_poll(fitter, err);
    if (rc != RC_OK)
        return rc;
    return fitter_frame(fitter, pixels, (size_t)stride, err);
}

static enum rc heif_decode(struct bytes file, const struct image_info *info, struct fitter *fitter,
                           struct error *err)
{
    struct heif_context *context = NULL;
    struct heif_image_handle *handle = NULL;
    enum rc rc = open_picture(file, &context, &handle, err);
    if (rc != RC_OK)
        return rc;
    struct heif_image *image = NULL;
    struct heif_error error =
        heif_decode_image(handle, &image, heif_colorspace_RGB, heif_chroma_interleaved_RGB, NULL);
    rc = error.code == heif_error_Ok ? fit_image(image, info, fitter, err) : damaged(error, err);
    heif_image_release(image);
    heif_image_handle_release(handle);
    heif_context_free(context);
    return rc;
}

const struct codec codec_HEIF = {
    .matches = heif_matches,
    .probe = heif_probe,
    .decode = heif_decode,
};
#else
const struct codec codec_HEIF = {.matches = heif_matches};
#endif
