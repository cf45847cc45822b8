/* SPDX-License-Identifier: Apache-2.0
 * webp.c - WebP through libwebp: one picture or the first frame of an animation.
 *
 * The container is walked here, without memory of its own, and the bitstream alone goes to the
 * decoder: alpha is dropped, so its chunk is never read. An animation's canvas is black where the
 * first frame does not reach, as it is for Pillow. */
#include "image/codec.h"
#include "image/exif.h"

#include <string.h>
#include <webp/decode.h>

#define SLOW_PIXELS       2000000u
#define CHUNK_HEADER_SIZE 8u
#define FRAME_HEADER_SIZE 16u
#define MARGIN            4u /* even; chroma at the window's edge needs its neighbours */
#define FEED_SIZE         32768u
#define DECODER_MEMORY    524288u

struct frame {
    uint32_t x; /* on the canvas */
    uint32_t y;
    uint32_t width;
    uint32_t height;
    struct bytes bitstream; /* with its chunk's header */
    bool lossless;
};

struct container {
    uint32_t width;
    uint32_t height;
    uint32_t orientation;
    struct frame frame;
};

static uint32_t u24(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
}

static uint32_t u32(const uint8_t *p) { return u24(p) | (uint32_t)p[3] << 24; }

static bool webp_matches(struct bytes file)
{
    return file.size >= 12 && memcmp(file.data, "RIFF", 4) == 0 &&
           memcmp(file.data + 8, "WEBP", 4) == 0;
}

struct chunk {
    struct bytes all; /* with the header, without padding */
    struct bytes data;
};

/* The first chunk of `rest`, which moves past it. False where `rest` ends inside it. */
static bool next_chunk(struct bytes *rest, struct chunk *ret_chunk)
{
    if (rest->size < CHUNK_HEADER_SIZE)
        return false;
    size_t size = u32(rest->data + 4);
    if (size > rest->size - CHUNK_HEADER_SIZE)
        return false;
    ret_chunk->all = (struct bytes){rest->data, size + CHUNK_HEADER_SIZE};
    ret_chunk->data = (struct bytes){rest->data + CHUNK_HEADER_SIZE, size};
    size_t step = ret_chunk->all.size + (size & 1u);
    step = step > rest->size ? rest->size : step;
    rest->data += step;
    rest->size -= step;
    return true;
}

static bool chunk_is(const struct chunk *chunk, const char *type)
{
    return memcmp(chunk->all.data, type, 4) == 0;
}

static enum rc read_bitstream(const struct chunk *chunk, struct frame *frame, struct error *err)
{
    WebPBitstreamFeatures features;
    if (WebPGetFeatures(chunk->all.data, chunk->all.size, &features) != VP8_STATUS_OK)
        return error_set(err, RC_BAD_IMAGE,
                         "the WebP picture's header is damaged: send the original file");
    frame->width = (uint32_t)features.width;
    frame->height = (uint32_t)features.height;
    frame->lossless = chunk_is(chunk, "VP8L");
    frame->bitstream = chunk->all;
    return RC_OK;
}

/* The bitstream inside an ANMF chunk. */
static enum rc read_animation_frame(struct bytes data, struct frame *frame, struct error *err)
{
    if (data.size < FRAME_HEADER_SIZE)
        return error_set(err, RC_BAD_IMAGE, "the WebP animation's first frame is too short");
    frame->x = u24(data.data) * 2;
    frame->y = u24(data.data + 3) * 2;
    struct bytes rest = {data.data + FRAME_HEADER_SIZE, data.size - FRAME_HEADER_SIZE};
    struct chunk chunk;
    while (next_chunk(&rest, &chunk))
        if (chunk_is(&chunk, "VP8 ") || chunk_is(&chunk, "VP8L"))
            return read_bitstream(&chunk, frame, err);
    return error_set(
        err, RC_BAD_IMAGE,
        "the WebP animation's first frame has no picture in it: send the original file");
}

static enum rc check_container(struct container *container, struct error *err)
{
    const struct frame *frame = &container->frame;
    if (frame->bitstream.size == 0)
        return error_set(err, RC_BAD_IMAGE,
                         "the WebP file has no picture in it: send the original file");
    if (container->width == 0) {
        container->width = frame->width;
        container->height = frame->height;
    }
    if ((uint64_t)frame->x + frame->width > container->width ||
        (uint64_t)frame->y + frame->height > container->height)
        return error_set(
            err, RC_BAD_IMAGE,
            "the WebP picture (%u x %u at %u, %u) is larger than its canvas (%u x %u): "
            "save it anew",
            frame->width, frame->height, frame->x, frame->y, container->width, container->height);
    return RC_OK;
}

static enum rc walk(struct bytes file, struct container *ret_container, struct error *err)
{
    struct container container = {0};
    size_t riff_size = u32(file.data + 4);
    if (riff_size < 4 || riff_size > file.size - CHUNK_HEADER_SIZE)
        return error_set(
            err, RC_BAD_IMAGE,
            "the WebP file is cut short: %zu of its %zu bytes are here; send the whole file",
            file.size, riff_size + CHUNK_HEADER_SIZE);
    struct bytes rest = {file.data + 12, riff_size - 4};
    struct chunk chunk;
    while (rest.size > 0) {
        if (!next_chunk(&rest, &chunk))
            return error_set(
                err, RC_BAD_IMAGE,
                "the WebP file ends inside a chunk, %zu bytes before its end: send the "
                "original file",
                rest.size);
        enum rc rc = RC_OK;
        bool framed = container.frame.bitstream.size > 0;
        if (chunk_is(&chunk, "VP8X") && chunk.data.size >= 10) {
            container.width = u24(chunk.data.data + 4) + 1;
            container.height = u24(chunk.data.data + 7) + 1;
        } else if (chunk_is(&chunk, "ANMF") && !framed) {
            rc = read_animation_frame(chunk.data, &container.frame, err);
        } else if ((chunk_is(&chunk, "VP8 ") || chunk_is(&chunk, "VP8L")) && !framed) {
            rc = read_bitstream(&chunk, &container.frame, err);
        } else if (chunk_is(&chunk, "EXIF") && container.orientation == 0) {
            container.orientation = exif_orientation(chunk.data);
        }
        if (rc != RC_OK)
            return rc;
    }
    *ret_container = container;
    return check_container(ret_container, err);
}

static enum rc webp_probe(struct bytes file, const struct image_limits *limits,
                          struct header *ret_header, struct error *err)
{
    struct container container;
    enum rc rc = walk(file, &container, err);
    if (rc == RC_OK)
        rc = header_check_sides(limits, container.width, container.height, err);
    if (rc != RC_OK)
        return rc;
    const struct frame *frame = &container.frame;
    size_t pixels = (size_t)frame->width * frame->height;
    *ret_header = (struct header){
        .width = container.width,
        .height = container.height,
        .orientation = container.orientation,
        /* The window as RGB; lossless pictures are kept whole by libwebp, 4 bytes a pixel. */
        .memory = DECODER_MEMORY + pixels * (frame->lossless ? 7 : 3) + (size_t)frame->width * 64,
        .slow = pixels > SLOW_PIXELS,
    };
    return RC_OK;
}

/* The part of the frame that is decoded, in the frame's coordinates. */
struct region {
    uint32_t x;
    uint32_t y;
    uint32_t x_to;
    uint32_t y_to;
};

static void clip(uint32_t from, uint32_t to, uint32_t side, uint32_t *ret_from, uint32_t *ret_to)
{
    from = from > MARGIN ? (from - MARGIN) & ~1u : 0;
    to += MARGIN;
    *ret_to = to > side ? side : to;
    *ret_from = from > *ret_to ? *ret_to : from;
}

static uint32_t minus(uint32_t a, uint32_t b) { return a > b ? a - b : 0; }

static struct region region_of(const struct fitter *fitter, const struct frame *frame)
{
    struct region region;
    clip(minus(fitter->window_x, frame->x), minus(fitter->window_x_to, frame->x), frame->width,
         &region.x, &region.x_to);
    clip(minus(fitter->window_y, frame->y), minus(fitter->window_y_to, frame->y), frame->height,
         &region.y, &region.y_to);
    return region;
}

static enum rc feed(WebPIDecoder *webp, struct bytes bitstream, const struct fitter *fitter,
                    struct error *err)
{
    size_t size = 0;
    VP8StatusCode status = VP8_STATUS_SUSPENDED;
    while (status == VP8_STATUS_SUSPENDED && size < bitstream.size) {
        enum rc rc = fitter_poll(fitter, err);
        if (rc != RC_OK)
            return rc;
        size = bitstream.size - size > FEED_SIZE ? size + FEED_SIZE : bitstream.size;
        status = WebPIUpdate(webp, bitstream.data, size);
    }
    if (status == VP8_STATUS_OK)
        return RC_OK;
    if (status == VP8_STATUS_OUT_OF_MEMORY)
        return error_set(err, RC_NO_MEMORY, "the WebP decoder ran out of memory");
    return error_set(err, RC_BAD_IMAGE, "the WebP data is damaged: %s; send the original file",
                     status == VP8_STATUS_SUSPENDED ? "it ends before the picture does"
                                                    : "it cannot be decoded");
}

static enum rc decode_region(const struct frame *frame, const struct region *region,
                             struct fitter *fitter, const uint8_t **ret_pixels, struct error *err)
{
    size_t stride = (size_t)(region->x_to - region->x) * 3;
    size_t size = stride * (region->y_to - region->y);
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return error_set(err, RC_INTERNAL, "libwebp is of another version than its header");
    uint8_t *pixels = block_room(&fitter->scratch->frame, size);
    if (pixels == NULL)
        return error_set(err, RC_NO_MEMORY, "%zu bytes for a WebP picture", size);
    config.options.use_cropping = 1;
    config.options.crop_left = (int)region->x;
    config.options.crop_top = (int)region->y;
    config.options.crop_width = (int)(region->x_to - region->x);
    config.options.crop_height = (int)(region->y_to - region->y);
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA = (WebPRGBABuffer){pixels, (int)stride, size};
    WebPIDecoder *webp = WebPIDecode(NULL, 0, &config);
    if (webp == NULL)
        return error_set(err, RC_NO_MEMORY, "a WebP decoder");
    enum rc rc = feed(webp, frame->bitstream, fitter, err);
    WebPIDelete(webp);
    WebPFreeDecBuffer(&config.output);
    *ret_pixels = pixels;
    return rc;
}

/* One row of the canvas: black but for what the frame covers. */
static void compose_row(const struct fitter *fitter, const struct frame *frame,
                        const struct region *region, const uint8_t *pixels, uint32_t y,
                        uint8_t *row)
{
    uint32_t from = frame->x + region->x;
    uint32_t to = frame->x + region->x_to;
    size_t stride = (size_t)(region->x_to - region->x) * 3;
    from = from > fitter->window_x ? from : fitter->window_x;
    to = to < fitter->window_x_to ? to : fitter->window_x_to;
    if (from != fitter->window_x || to != fitter->window_x_to)
        memset(row, 0, (size_t)(fitter->window_x_to - fitter->window_x) * 3);
    if (y < frame->y + region->y || y >= frame->y + region->y_to || from >= to) {
        memset(row, 0, (size_t)(fitter->window_x_to - fitter->window_x) * 3);
        return;
    }
    memcpy(row + (size_t)(from - fitter->window_x) * 3,
           pixels + (y - frame->y - region->y) * stride + (size_t)(from - frame->x - region->x) * 3,
           (size_t)(to - from) * 3);
}

static enum rc webp_decode(struct bytes file, const struct image_info *info, struct fitter *fitter,
                           struct error *err)
{
    struct container container;
    enum rc rc = walk(file, &container, err);
    if (rc != RC_OK)
        return rc;
    if (container.width != info->width || container.height != info->height)
        return error_set(err, RC_INVALID, "the probe was of another file");
    const struct frame *frame = &container.frame;
    struct region region = region_of(fitter, frame);
    const uint8_t *pixels = NULL;
    if (region.x < region.x_to && region.y < region.y_to)
        rc = decode_region(frame, &region, fitter, &pixels, err);
    if (rc == RC_OK)
        rc = fitter_begin(fitter, fitter->window_x, fitter->window_x_to - fitter->window_x, err);
    for (uint32_t y = fitter->window_y; rc == RC_OK && !fitter_full(fitter); y++) {
        compose_row(fitter, frame, &region, pixels, y, fitter_row(fitter));
        rc = fitter_advance(fitter, err);
    }
    return rc;
}

const struct codec codec_WEBP = {
    .matches = webp_matches,
    .probe = webp_probe,
    .decode = webp_decode,
};
