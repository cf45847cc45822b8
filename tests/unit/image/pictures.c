/* SPDX-License-Identifier: Apache-2.0 */
#include "pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>
#include <spng.h>
#include <webp/encode.h>

const struct image_limits test_limits = {
    .bytes_max = 20u << 20,
    .side_min = 1,
    .side_max = 16384,
    .pixels_max = 50000000,
    .jpeg_scans_max = 100,
    .memory_max = 512u << 20,
};

struct bytes view(const struct buf *buf) { return (struct bytes){buf->data, buf->size}; }

static void must(bool fine)
{
    if (!fine)
        abort();
}

static void add(struct buf *buf, const void *data, size_t size)
{
    must(buf_append(buf, (struct bytes){data, size}) == RC_OK);
}

static void add_u8(struct buf *buf, uint32_t value)
{
    uint8_t byte = (uint8_t)value;
    add(buf, &byte, 1);
}

static struct buf gradient(uint32_t width, uint32_t height)
{
    struct buf rgb = BUF_INIT(64u << 20);
    must(buf_reserve(&rgb, (size_t)width * height * 3) == RC_OK);
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++) {
            add_u8(&rgb, x * 255 / width);
            add_u8(&rgb, y * 255 / height);
            add_u8(&rgb, (x ^ y) & 0xFF);
        }
    return rgb;
}

struct buf picture_jpeg(uint32_t width, uint32_t height, bool progressive, struct bytes exif)
{
    struct buf rgb = gradient(width, height);
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    uint8_t *data = NULL;
    unsigned long size = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &data, &size);
    jpeg.image_width = width;
    jpeg.image_height = height;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    if (progressive)
        jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    if (exif.size > 0)
        jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif.data, (unsigned)exif.size);
    while (jpeg.next_scanline < height) {
        JSAMPROW row = rgb.data + (size_t)jpeg.next_scanline * width * 3;
        (void)jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    struct buf file = BUF_INIT(64u << 20);
    add(&file, data, size);
    free(data);
    buf_done(&rgb);
    return file;
}

struct buf picture_png(uint32_t width, uint32_t height, bool interlaced)
{
    struct buf rgb = gradient(width, height);
    struct spng_ihdr ihdr = {.width = width,
                             .height = height,
                             .bit_depth = 8,
                             .color_type = SPNG_COLOR_TYPE_TRUECOLOR,
                             .interlace_method = interlaced ? 1 : 0};
    spng_ctx *spng = spng_ctx_new(SPNG_CTX_ENCODER);
    must(spng != NULL && spng_set_option(spng, SPNG_ENCODE_TO_BUFFER, 1) == 0);
    must(spng_set_ihdr(spng, &ihdr) == 0);
    must(spng_encode_image(spng, rgb.data, rgb.size, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE) == 0);
    size_t size = 0;
    int code = 0;
    void *data = spng_get_png_buffer(spng, &size, &code);
    must(data != NULL);
    struct buf file = BUF_INIT(64u << 20);
    add(&file, data, size);
    free(data);
    spng_ctx_free(spng);
    buf_done(&rgb);
    return file;
}

struct buf picture_webp(uint32_t width, uint32_t height)
{
    struct buf rgb = gradient(width, height);
    uint8_t *data = NULL;
    size_t size = WebPEncodeRGB(rgb.data, (int)width, (int)height, (int)width * 3, 60.0f, &data);
    must(size > 0);
    struct buf file = BUF_INIT(64u << 20);
    add(&file, data, size);
    WebPFree(data);
    buf_done(&rgb);
    return file;
}

static void add_u16(struct buf *buf, uint32_t value)
{
    add_u8(buf, value);
    add_u8(buf, value >> 8);
}

struct buf picture_gif(uint32_t canvas_width, uint32_t canvas_height, uint32_t width,
                       uint32_t height)
{
    struct buf file = BUF_INIT(1u << 20);
    add(&file, "GIF89a", 6);
    add_u16(&file, canvas_width);
    add_u16(&file, canvas_height);
    add(&file, "\x80\0\0", 3); /* a palette of two colours */
    add(&file, "\x10\x20\x30\xA0\xB0\xC0", 6);
    add(&file, ",\0\0\0\0", 5);
    add_u16(&file, width);
    add_u16(&file, height);
    add(&file, "\0\2", 2);
    /* Codes of 3 bits, a clear code (4) before each pixel, so that they never grow; 5 ends. */
    struct buf data = BUF_INIT(1u << 20);
    uint32_t bits = 0;
    uint32_t bit_count = 0;
    for (size_t i = 0; i <= (size_t)width * height; i++) {
        bool last = i == (size_t)width * height;
        bits |= (last ? 5u : 4u | 1u << 3) << bit_count;
        bit_count += last ? 3 : 6;
        for (; bit_count >= 8 || (last && bit_count > 0); bits >>= 8) {
            add_u8(&data, bits);
            bit_count = bit_count > 8 ? bit_count - 8 : 0;
        }
    }
    for (size_t at = 0; at < data.size; at += 255) {
        size_t part = data.size - at > 255 ? 255 : data.size - at;
        add_u8(&file, (uint32_t)part);
        add(&file, data.data + at, part);
    }
    add(&file, "\0;", 2);
    buf_done(&data);
    return file;
}

struct buf picture_exif(uint16_t orientation, bool big_endian)
{
    struct buf block = BUF_INIT(64);
    add(&block, "Exif\0\0", 6);
    if (big_endian) {
        add(&block, "MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", 19);
        add_u8(&block, orientation);
        add(&block, "\0\0\0\0\0\0", 6);
    } else {
        add(&block, "II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", 18);
        add_u8(&block, orientation);
        add(&block, "\0\0\0\0\0\0\0", 7);
    }
    return block;
}
