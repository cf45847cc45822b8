/* SPDX-License-Identifier: Apache-2.0
 * probe_test.c - what image_probe() accepts, and each way in which it says no. */
#include "check.h"
#include "pictures.h"

#include <string.h>

static enum rc probe(struct bytes file, const struct image_limits *limits, struct error *err)
{
    struct image_info info;
    memset(err, 0, sizeof(*err));
    return image_probe(file, limits, &info, err);
}

static void refuses(struct bytes file, const struct image_limits *limits, enum rc rc,
                    const char *part)
{
    struct error err;
    assert_int_equal(probe(file, limits, &err), rc);
    assert_int_equal(err.rc, rc);
    if (strstr(err.text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, part);
}

TEST(every_format_is_recognised)
{
    struct buf files[] = {picture_jpeg(40, 30, false, (struct bytes){0}),
                          picture_png(40, 30, false), picture_webp(40, 30),
                          picture_gif(40, 30, 40, 30)};
    static const enum image_format formats[] = {IMAGE_JPEG, IMAGE_PNG, IMAGE_WEBP, IMAGE_GIF};
    for (size_t i = 0; i < 4; i++) {
        struct image_info info;
        assert_int_equal(image_probe(view(&files[i]), &test_limits, &info, NULL), RC_OK);
        assert_int_equal(info.format, formats[i]);
        assert_int_equal(info.width, 40);
        assert_int_equal(info.height, 30);
        assert_int_equal(info.orientation, 1);
        assert_false(info.slow);
        assert_true(info.memory > 0);
        buf_done(&files[i]);
    }
}

TEST(names_and_media_types)
{
    assert_string_equal(image_format_text(IMAGE_WEBP), "webp");
    assert_string_equal(image_format_media_type(IMAGE_JPEG), "image/jpeg");
    assert_true(image_format_built_in(IMAGE_PNG));
}

TEST(nothing_text_and_unknown_bytes)
{
    refuses((struct bytes){0}, &test_limits, RC_INVALID, "empty");
    refuses(bytes_of("hello, this is text"), &test_limits, RC_UNSUPPORTED, "JPEG, PNG");
    refuses(bytes_of("\xFF"), &test_limits, RC_UNSUPPORTED, "no picture format");
}

TEST(a_file_over_the_byte_limit)
{
    struct buf file = picture_png(40, 30, false);
    struct image_limits limits = test_limits;
    limits.bytes_max = file.size - 1;
    refuses(view(&file), &limits, RC_TOO_LARGE, "at most");
    limits.bytes_max = file.size;
    struct error err;
    assert_int_equal(probe(view(&file), &limits, &err), RC_OK);
    buf_done(&file);
}

TEST(sides_pixels_and_memory_over_the_limit)
{
    struct buf files[] = {picture_jpeg(40, 30, true, (struct bytes){0}), picture_png(40, 30, true),
                          picture_webp(40, 30), picture_gif(40, 30, 8, 8)};
    for (size_t i = 0; i < 4; i++) {
        struct image_limits limits = test_limits;
        limits.side_max = 39;
        refuses(view(&files[i]), &limits, RC_IMAGE_LIMIT, "40 x 30 pixels; at most 39");
        limits = test_limits;
        limits.side_min = 31;
        refuses(view(&files[i]), &limits, RC_IMAGE_LIMIT, "at least 31");
        limits = test_limits;
        limits.pixels_max = 1199;
        refuses(view(&files[i]), &limits, RC_IMAGE_LIMIT, "1200 pixels; at most 1199");
        limits = test_limits;
        limits.memory_max = 1000;
        refuses(view(&files[i]), &limits, RC_IMAGE_LIMIT, "memory");
        buf_done(&files[i]);
    }
}

/* Bytes that only claim a size. */
TEST(headers_of_bombs)
{
    uint8_t jpeg[] = {0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, 0xFD, 0xE8, 0xFD, 0xE8, 1, 1, 0x11, 0};
    refuses((struct bytes){jpeg, sizeof(jpeg)}, &test_limits, RC_IMAGE_LIMIT,
            "65000 x 65000 pixels; at most 16384 a side");
    jpeg[7] = jpeg[9] = 0x32;
    jpeg[8] = jpeg[10] = 0xC8;
    refuses((struct bytes){jpeg, sizeof(jpeg)}, &test_limits, RC_IMAGE_LIMIT, "169000000 pixels");
    struct buf png = picture_png(40, 30, false);
    memset(png.data + 16, 0x7F, 8);
    refuses(view(&png), &test_limits, RC_IMAGE_LIMIT, "2139062143 x 2139062143");
    struct buf gif = picture_gif(65535, 65535, 4, 4);
    refuses(view(&gif), &test_limits, RC_IMAGE_LIMIT, "65535 x 65535");
    buf_done(&png);
    buf_done(&gif);
}

TEST(a_jpeg_of_two_thousand_scans)
{
    struct buf file = picture_jpeg(40, 30, true, (struct bytes){0});
    struct error err;
    assert_int_equal(probe(view(&file), &test_limits, &err), RC_OK);
    struct image_limits limits = test_limits;
    limits.jpeg_scans_max = 5;
    refuses(view(&file), &limits, RC_IMAGE_LIMIT, "more than 5 scans");

    struct buf bomb = BUF_INIT(1u << 20);
    static const uint8_t scan[] = {0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 0, 0};
    assert_int_equal(buf_append(&bomb, (struct bytes){file.data, file.size - 2}), RC_OK);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(buf_append(&bomb, (struct bytes){scan, sizeof(scan)}), RC_OK);
    assert_int_equal(buf_append(&bomb, bytes_of("\xFF\xD9")), RC_OK);
    refuses(view(&bomb), &test_limits, RC_IMAGE_LIMIT, "more than 100 scans");
    buf_done(&file);
    buf_done(&bomb);
}

TEST(cut_short_at_every_byte)
{
    struct buf files[] = {picture_jpeg(40, 30, false, (struct bytes){0}),
                          picture_jpeg(40, 30, true, (struct bytes){0}),
                          picture_png(20, 10, false),
                          picture_png(20, 10, true),
                          picture_webp(40, 30),
                          picture_gif(12, 10, 12, 10)};
    for (size_t i = 0; i < 6; i++) {
        /* A GIF needs no trailer: its last byte may go. */
        size_t whole = i == 5 ? files[i].size - 1 : files[i].size;
        for (size_t size = 12; size < whole; size++) {
            struct error err;
            enum rc rc = probe((struct bytes){files[i].data, size}, &test_limits, &err);
            if (rc != RC_BAD_IMAGE)
                fail_msg("file %zu of %zu bytes: %s %s", i, size, rc_name(rc), err.text);
            assert_non_null(strstr(err.text, "send the"));
        }
        buf_done(&files[i]);
    }
}

TEST(jpegs_that_are_not_read)
{
    struct buf file = picture_jpeg(40, 30, false, (struct bytes){0});
    uint8_t *sof = memmem(file.data, file.size, "\xFF\xC0", 2);
    assert_non_null(sof);
    sof[1] = 0xC3;
    refuses(view(&file), &test_limits, RC_UNSUPPORTED, "lossless");
    sof[1] = 0xC0;
    sof[4] = 12;
    refuses(view(&file), &test_limits, RC_UNSUPPORTED, "12 bits");
    sof[4] = 8;
    sof[9] = 2;
    refuses(view(&file), &test_limits, RC_UNSUPPORTED, "2 colour components");
    sof[9] = 3;
    sof[11] = 0x51;
    refuses(view(&file), &test_limits, RC_BAD_IMAGE, "sampling factors 5 x 1");
    sof[11] = 0x22;
    sof[2] = 0;
    sof[3] = 1;
    refuses(view(&file), &test_limits, RC_BAD_IMAGE, "length 1");
    buf_done(&file);
}

TEST(a_jpeg_without_a_picture)
{
    refuses((struct bytes){(const uint8_t *)"\xFF\xD8\xFF\xD9", 4}, &test_limits, RC_BAD_IMAGE,
            "without a picture");
    refuses((struct bytes){(const uint8_t *)"\xFF\xD8\xFF\xDA\0\x03\x01\xFF\xD9", 9}, &test_limits,
            RC_BAD_IMAGE, "no frame header");
}

TEST(orientation_is_read_and_swaps_the_sides)
{
    for (uint16_t orientation = 1; orientation <= 8; orientation++) {
        struct buf exif = picture_exif(orientation, orientation % 2 == 0);
        struct buf file = picture_jpeg(40, 30, false, view(&exif));
        struct image_info info;
        assert_int_equal(image_probe(view(&file), &test_limits, &info, NULL), RC_OK);
        assert_int_equal(info.orientation, orientation);
        assert_int_equal(info.width, 40);
        assert_int_equal(image_upright_width(&info), orientation >= 5 ? 30 : 40);
        assert_int_equal(image_upright_height(&info), orientation >= 5 ? 40 : 30);
        buf_done(&exif);
        buf_done(&file);
    }
}

TEST(progressive_interlaced_and_large_are_slow)
{
    struct image_info info;
    struct buf file = picture_jpeg(40, 30, true, (struct bytes){0});
    assert_int_equal(image_probe(view(&file), &test_limits, &info, NULL), RC_OK);
    assert_true(info.slow);
    buf_done(&file);
    file = picture_png(40, 30, true);
    assert_int_equal(image_probe(view(&file), &test_limits, &info, NULL), RC_OK);
    assert_true(info.slow);
    buf_done(&file);
    file = picture_jpeg(2000, 1500, false, (struct bytes){0});
    assert_int_equal(image_probe(view(&file), &test_limits, &info, NULL), RC_OK);
    assert_true(info.slow);
    buf_done(&file);
}

TEST(png_without_header_or_data)
{
    struct buf file = picture_png(20, 10, false);
    file.data[12] = 'X';
    refuses(view(&file), &test_limits, RC_BAD_IMAGE, "IHDR");
    file.data[12] = 'I';
    for (uint8_t *idat; (idat = memmem(file.data, file.size, "IDAT", 4)) != NULL;)
        idat[0] = 'x';
    refuses(view(&file), &test_limits, RC_BAD_IMAGE, "IDAT");
    buf_done(&file);
}

TEST_MAIN("image probe")
