/* SPDX-License-Identifier: Apache-2.0
 * gif.c - the first frame of a GIF, on its canvas, through giflib.
 *
 * As Pillow has it: the canvas is as large as the frame needs; where the frame does not reach it
 * has the transparent colour, or else colour 0; a colour the palette lacks is the grey of its
 * number. */
#include "image/codec.h"

#include <stdlib.h>
#include <string.h>
#include <gif_lib.h>

#define SLOW_PIXELS       2000000u
#define SCREEN_SIZE       13u
#define DESCRIPTOR_SIZE   10u
#define DECODER_MEMORY    131072u
#define MARK_EXTENSION    0x21
#define MARK_DESCRIPTOR   0x2C
#define EXTENSION_CONTROL 0xF9

/* The first frame, as found by the walk. */
struct frame {
    uint32_t canvas_width;
    uint32_t canvas_height;
    uint32_t x;
    uint32_t y;
    uint32_t width;
    uint32_t height;
    bool interlaced;
    uint8_t background;
    struct bytes palette; /* 3 bytes a colour; may be empty */
};

struct cursor {
    struct bytes file;
    size_t at;
};

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }

static bool gif_matches(struct bytes file)
{
    return file.size >= 6 &&
           (memcmp(file.data, "GIF87a", 6) == 0 || memcmp(file.data, "GIF89a", 6) == 0);
}

/* The next `size` bytes, or NULL where the file ends before. */
static const uint8_t *take(struct cursor *cursor, size_t size)
{
    if (size > cursor->file.size - cursor->at)
        return NULL;
    const uint8_t *taken = cursor->file.data + cursor->at;
    cursor->at += size;
    return taken;
}

static bool take_palette(struct cursor *cursor, uint8_t flags, struct bytes *palette)
{
    if ((flags & 0x80) == 0)
        return true;
    size_t size = (size_t)3 << ((flags & 7u) + 1u);
    const uint8_t *data = take(cursor, size);
    if (data == NULL)
        return false;
    *palette = (struct bytes){data, size};
    return true;
}

/* Past a chain of sub-blocks and the empty one that ends it. */
static bool skip_blocks(struct cursor *cursor)
{
    for (;;) {
        const uint8_t *size = take(cursor, 1);
        if (size == NULL)
            return false;
        if (*size == 0)
            return true;
        if (take(cursor, *size) == NULL)
            return false;
    }
}

static bool take_extension(struct cursor *cursor, struct frame *frame)
{
    const uint8_t *kind = take(cursor, 1);
    if (kind == NULL)
        return false;
    const uint8_t *next = cursor->file.data + cursor->at;
    bool control =
        *kind == EXTENSION_CONTROL && cursor->file.size - cursor->at >= 5 && next[0] >= 4;
    if (control && (next[1] & 1) != 0)
        frame->background = next[4];
    return skip_blocks(cursor);
}

static bool take_descriptor(struct cursor *cursor, struct frame *frame)
{
    const uint8_t *data = take(cursor, DESCRIPTOR_SIZE - 1);
    if (data == NULL || !take_palette(cursor, data[8], &frame->palette))
        return false;
    frame->x = u16(data);
    frame->y = u16(data + 2);
    frame->width = u16(data + 4);
    frame->height = u16(data + 6);
    frame->interlaced = (data[8] & 0x40) != 0;
    if (frame->x + frame->width > frame->canvas_width)
        frame->canvas_width = frame->x + frame->width;
    if (frame->y + frame->height > frame->canvas_height)
        frame->canvas_height = frame->y + frame->height;
    return true;
}

static enum rc cut_short(struct bytes file, struct error *err)
{
    return error_set(err, RC_BAD_IMAGE,
                     "the GIF file is cut short, after %zu bytes: send the whole file", file.size);
}

static enum rc walk(struct bytes file, struct frame *ret_frame, struct error *err)
{
    struct cursor cursor = {file, 0};
    struct frame frame = {0};
    const uint8_t *screen = take(&cursor, SCREEN_SIZE);
    if (screen == NULL)
        return cut_short(file, err);
    frame.canvas_width = u16(screen + 6);
    frame.canvas_height = u16(screen + 8);
    if (!take_palette(&cursor, screen[10], &frame.palette))
        return cut_short(file, err);
    for (;;) {
        const uint8_t *mark = take(&cursor, 1);
        if (mark == NULL)
            return cut_short(file, err);
        if (*mark == MARK_DESCRIPTOR)
            break;
        if (*mark != MARK_EXTENSION)
            return error_set(
                err, RC_BAD_IMAGE,
                "the GIF file has no picture: byte %zu is 0x%02X; send the original file",
                cursor.at - 1, *mark);
        if (!take_extension(&cursor, &frame))
            return cut_short(file, err);
    }
    if (!take_descriptor(&cursor, &frame) || take(&cursor, 1) == NULL || !skip_blocks(&cursor))
        return cut_short(file, err);
    if (frame.width == 0 || frame.height == 0)
        return error_set(err, RC_BAD_IMAGE,
                         "the GIF file's first frame is %u x %u pixels: send the original file",
                         frame.width, frame.height);
    *ret_frame = frame;
    return RC_OK;
}

static enum rc gif_probe(struct bytes file, const struct image_limits *limits,
                         struct header *ret_header, struct error *err)
{
    struct frame frame;
    enum rc rc = walk(file, &frame, err);
    if (rc == RC_OK)
        rc = header_check_sides(limits, frame.canvas_width, frame.canvas_height, err);
    if (rc != RC_OK)
        return rc;
    size_t pixels = (size_t)frame.canvas_width * frame.canvas_height;
    size_t kept = frame.interlaced ? (size_t)frame.width * frame.height : frame.width;
    *ret_header = (struct header){
        .width = frame.canvas_width,
        .height = frame.canvas_height,
        .memory = DECODER_MEMORY + kept,
        .slow = frame.interlaced || pixels > SLOW_PIXELS,
    };
    return RC_OK;
}

static int on_read(GifFileType *gif, GifByteType *into, int size)
{
    struct cursor *cursor = gif->UserData;
    size_t left = cursor->file.size - cursor->at;
    size_t count = (size_t)size < left ? (size_t)size : left;
    memcpy(into, cursor->file.data + cursor->at, count);
    cursor->at += count;
    return (int)count;
}

static enum rc damaged(int code, struct error *err)
{
    const char *text = GifErrorString(code);
    if (code == D_GIF_ERR_NOT_ENOUGH_MEM)
        return error_set(err, RC_NO_MEMORY, "the GIF decoder ran out of memory");
    return error_set(err, RC_BAD_IMAGE, "the GIF data is damaged: %s; send the original file",
                     text == NULL ? "it cannot be decoded" : text);
}

/* Up to the first frame's pixels. */
static enum rc seek_frame(GifFileType *gif, struct error *err)
{
    for (;;) {
        GifRecordType record;
        if (DGifGetRecordType(gif, &record) != GIF_OK)
            return damaged(gif->Error, err);
        if (record == IMAGE_DESC_RECORD_TYPE)
            return DGifGetImageDesc(gif) == GIF_OK ? RC_OK : damaged(gif->Error, err);
        int kind;
        GifByteType *extension;
        int code = DGifGetExtension(gif, &kind, &extension);
        while (code == GIF_OK && extension != NULL)
            code = DGifGetExtensionNext(gif, &extension);
        if (code != GIF_OK)
            return damaged(gif->Error, err);
    }
}

struct canvas {
    const struct frame *frame;
    uint8_t colors[256][3];
};

static void load_colors(struct canvas *canvas)
{
    for (uint32_t i = 0; i < 256; i++)
        memset(canvas->colors[i], (int)i, 3);
    struct bytes palette = canvas->frame->palette;
    if (palette.size > 0)
        memcpy(canvas->colors, palette.data, palette.size);
}

/* One row of the window; `line` is the frame's row, or NULL where it has none. */
static void compose_row(const struct canvas *canvas, const struct fitter *fitter,
                        const uint8_t *line, uint8_t *row)
{
    const struct frame *frame = canvas->frame;
    for (uint32_t x = fitter->window_x; x < fitter->window_x_to; x++, row += 3) {
        bool covered = line != NULL && x >= frame->x && x - frame->x < frame->width;
        memcpy(row, canvas->colors[covered ? line[x - frame->x] : frame->background], 3);
    }
}

/* All rows into the scratch's frame, in the four passes of an interlaced GIF. */
static enum rc read_interlaced(GifFileType *gif, const struct frame *frame,
                               const struct fitter *fitter, uint8_t *pixels, struct error *err)
{
    static const uint8_t starts[] = {0, 4, 2, 1};
    static const uint8_t steps[] = {8, 8, 4, 2};
    for (size_t pass = 0; pass < 4; pass++) {
        for (uint32_t y = starts[pass]; y < frame->height; y += steps[pass]) {
            if (DGifGetLine(gif, pixels + (size_t)y * frame->width, (int)frame->width) != GIF_OK)
                return damaged(gif->Error, err);
            enum rc rc = y % 64 == 0 ? fitter_poll(fitter, err) : RC_OK;
            if (rc != RC_OK)
                return rc;
        }
    }
    return RC_OK;
}

static enum rc decode_rows(GifFileType *gif, const struct frame *frame, struct fitter *fitter,
                           struct error *err)
{
    struct canvas canvas = {.frame = frame};
    load_colors(&canvas);
    size_t rows_kept = frame->interlaced ? frame->height : 1;
    uint8_t *pixels = block_room(&fitter->scratch->frame, rows_kept * frame->width);
    if (pixels == NULL)
        return error_set(err, RC_NO_MEMORY, "%zu bytes for a GIF", rows_kept * frame->width);
    enum rc rc =
        fitter_begin(fitter, fitter->window_x, fitter->window_x_to - fitter->window_x, err);
    if (rc == RC_OK && frame->interlaced)
        rc = read_interlaced(gif, frame, fitter, pixels, err);
    for (uint32_t y = 0; rc == RC_OK && !fitter_full(fitter); y++) {
        bool covered = y >= frame->y && y - frame->y < frame->height;
        const uint8_t *line = NULL;
        if (covered && frame->interlaced) {
            line = pixels + (size_t)(y - frame->y) * frame->width;
        } else if (covered) {
            if (DGifGetLine(gif, pixels, (int)frame->width) != GIF_OK)
                return damaged(gif->Error, err);
            line = pixels;
        }
        if (y >= fitter->window_y) {
            compose_row(&canvas, fitter, line, fitter_row(fitter));
            rc = fitter_advance(fitter, err);
        } else if (y % 64 == 0) {
            rc = fitter_poll(fitter, err);
        }
    }
    return rc;
}

static enum rc gif_decode(struct bytes file, const struct image_info *info, struct fitter *fitter,
                          struct error *err)
{
    struct frame frame;
    enum rc rc = walk(file, &frame, err);
    if (rc != RC_OK)
        return rc;
    if (frame.canvas_width != info->width || frame.canvas_height != info->height)
        return error_set(err, RC_INVALID, "the probe was of another file");
    struct cursor cursor = {file, 0};
    int code = 0;
    GifFileType *gif = DGifOpen(&cursor, on_read, &code);
    if (gif == NULL)
        return damaged(code, err);
    rc = seek_frame(gif, err);
    if (rc == RC_OK)
        rc = decode_rows(gif, &frame, fitter, err);
    (void)DGifCloseFile(gif, &code);
    return rc;
}

const struct codec codec_GIF = {
    .matches = gif_matches,
    .probe = gif_probe,
    .decode = gif_decode,
};
