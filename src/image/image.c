/* SPDX-License-Identifier: Apache-2.0
 * image.c - the door: recognises the format, enforces the limits, hands over to the codec. */
#include "image/codec.h"
#include "base/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#define USUAL_SIDE    224u
#define ROOM_KEPT_MAX (16u << 20) /* a scratch block larger than this is given back */

static const struct {
    const char *text;
    const char *media_type;
    const struct codec *codec;
} formats[IMAGE_FORMAT_COUNT] = {
#define FORMAT(name, text, media_type) [IMAGE_##name] = {text, media_type, &codec_##name},
#include "image/formats.def"
#undef FORMAT
};

const char *image_format_text(enum image_format format) { return formats[format].text; }

const char *image_format_media_type(enum image_format format) { return formats[format].media_type; }

bool image_format_built_in(enum image_format format)
{
    return formats[format].codec->decode != NULL;
}

uint32_t image_upright_width(const struct image_info *info)
{
    return info->orientation >= 5 ? info->height : info->width;
}

uint32_t image_upright_height(const struct image_info *info)
{
    return info->orientation >= 5 ? info->width : info->height;
}

enum rc header_check_sides(const struct image_limits *limits, uint64_t width, uint64_t height,
                           struct error *err)
{
    if (width > limits->side_max || height > limits->side_max)
        return error_set(err, RC_IMAGE_LIMIT,
                         "the picture is %" PRIu64 " x %" PRIu64
                         " pixels; at most %u a side are accepted: send a smaller one",
                         width, height, limits->side_max);
    if (width < limits->side_min || height < limits->side_min)
        return error_set(err, RC_IMAGE_LIMIT,
                         "the picture is %" PRIu64 " x %" PRIu64
                         " pixels; at least %u a side are needed: send a larger one",
                         width, height, limits->side_min);
    if (width * height > limits->pixels_max)
        return error_set(err, RC_IMAGE_LIMIT,
                         "the picture is %" PRIu64 " x %" PRIu64 ", that is %" PRIu64
                         " pixels; at most %" PRIu64 " are accepted: send a smaller one",
                         width, height, width * height, limits->pixels_max);
    return RC_OK;
}

static enum rc recognise(struct bytes file, enum image_format *ret_format, struct error *err)
{
    for (int format = 0; format < IMAGE_FORMAT_COUNT; format++) {
        if (!formats[format].codec->matches(file))
            continue;
        if (!image_format_built_in((enum image_format)format))
            return error_set(err, RC_UNSUPPORTED,
                             "this build does not read %s pictures: send JPEG, PNG, WebP or GIF",
                             formats[format].text);
        *ret_format = (enum image_format)format;
        return RC_OK;
    }
    return error_set(err, RC_UNSUPPORTED,
                     "the first bytes are of no picture format known here: send JPEG, PNG, WebP%s",
                     image_format_built_in(IMAGE_HEIF) ? ", GIF, AVIF or HEIC" : " or GIF");
}

/* What the resize keeps, were the tensor of the usual side: more where a picture is turned. */
static size_t resize_memory(const struct image_info *info)
{
    struct image_geometry geometry = {
        .width = USUAL_SIDE, .height = USUAL_SIDE, .mode = IMAGE_STRETCH, .filter = IMAGE_BICUBIC};
    struct layout layout = layout_plan(info, &geometry);
    return fitter_memory(&layout, geometry.filter, info->width);
}

enum rc image_probe(struct bytes file, const struct image_limits *limits,
                    struct image_info *ret_info, struct error *err)
{
    if (file.size == 0)
        return error_set(err, RC_INVALID, "the picture is empty (0 bytes): send a picture file");
    if (file.size > limits->bytes_max)
        return error_set(
            err, RC_TOO_LARGE,
            "the picture file has %zu bytes; at most %zu are accepted: send a smaller one",
            file.size, limits->bytes_max);
    enum image_format format = IMAGE_JPEG;
    enum rc rc = recognise(file, &format, err);
    if (rc != RC_OK)
        return rc;
    struct header header = {0};
    rc = formats[format].codec->probe(file, limits, &header, err);
    if (rc != RC_OK)
        return rc;
    rc = header_check_sides(limits, header.width, header.height, err);
    if (rc != RC_OK)
        return rc;
    bool known = header.orientation >= 1 && header.orientation <= 8;
    struct image_info info = {
        .format = format,
        .width = header.width,
        .height = header.height,
        .orientation = known ? header.orientation : 1,
        .slow = header.slow,
    };
    info.memory = header.memory + resize_memory(&info);
    if (info.memory > limits->memory_max)
        return error_set(
            err, RC_IMAGE_LIMIT,
            "decoding this %s of %u x %u pixels takes %zu bytes of memory; at most %zu "
            "are allowed: send a smaller one, or a baseline one",
            formats[format].text, info.width, info.height, info.memory, limits->memory_max);
    *ret_info = info;
    return RC_OK;
}

enum rc image_scratch_open(struct image_scratch **ret_scratch, struct error *err)
{
    struct image_scratch *scratch = calloc(1, sizeof(*scratch));
    if (scratch == NULL)
        return error_set(err, RC_NO_MEMORY, "%zu bytes for a decoder", sizeof(*scratch));
    *ret_scratch = scratch;
    return RC_OK;
}

static void block_done(struct block *block)
{
    free(block->data);
    *block = (struct block){0};
}

void image_scratch_free(struct image_scratch *scratch)
{
    if (scratch == NULL)
        return;
    for (size_t i = 0; i < FITTER_TAPS_CACHED; i++)
        taps_done(&scratch->taps[i]);
    block_done(&scratch->rows);
    block_done(&scratch->frame);
    block_done(&scratch->strip);
    free(scratch->jpeg);
    free(scratch);
}

static void shrink(struct image_scratch *scratch)
{
    struct block *blocks[] = {&scratch->rows, &scratch->frame, &scratch->strip};
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
        if (blocks[i]->room > ROOM_KEPT_MAX)
            block_done(blocks[i]);
}

enum rc image_fit(struct image_scratch *scratch, struct bytes file, const struct image_info *info,
                  const struct image_geometry *geometry, const struct image_poll *poll,
                  uint8_t *into, struct image_timing *ret_timing, struct error *err)
{
    assert(geometry->width > 0 && geometry->height > 0);
    uint64_t start = clock_monotonic_ns();
    struct fitter fitter;
    struct layout layout = layout_plan(info, geometry);
    enum rc rc = fitter_init(&fitter, scratch, &layout, geometry, poll, into, err);
    if (rc == RC_OK)
        rc = fitter_poll(&fitter, err);
    if (rc == RC_OK)
        rc = formats[info->format].codec->decode(file, info, &fitter, err);
    assert(rc != RC_OK || fitter_full(&fitter));
    shrink(scratch);
    if (rc == RC_OK && ret_timing != NULL) {
        uint64_t total = clock_monotonic_ns() - start;
        *ret_timing = (struct image_timing){total - fitter.fit_ns, fitter.fit_ns};
    }
    return rc;
}
