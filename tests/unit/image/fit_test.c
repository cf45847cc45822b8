/* SPDX-License-Identifier: Apache-2.0
 * fit_test.c - image_fit(): polls, damage, memory, orientation. Agreement with Pillow is in
 * tests/image. */
#include "check.h"
#include "pictures.h"

#include <stdlib.h>
#include <string.h>

#define SIDE 24u

static const struct image_geometry geometry = {.width = SIDE,
                                               .height = SIDE,
                                               .mode = IMAGE_CENTER_CROP,
                                               .filter = IMAGE_BICUBIC,
                                               .crop_fraction = 0.875};

static struct image_scratch *scratch_open(void)
{
    struct image_scratch *scratch = NULL;
    assert_int_equal(image_scratch_open(&scratch, NULL), RC_OK);
    return scratch;
}

static enum rc fit(struct image_scratch *scratch, struct bytes file, const struct image_poll *poll,
                   uint8_t *into, struct error *err)
{
    struct image_info info;
    enum rc rc = image_probe(file, &test_limits, &info, err);
    if (rc != RC_OK)
        return rc;
    struct image_timing timing;
    return image_fit(scratch, file, &info, &geometry, poll, into, &timing, err);
}

struct countdown {
    uint32_t left;
    uint32_t asked;
    enum rc then;
};

static enum rc check_countdown(void *ctx)
{
    struct countdown *countdown = ctx;
    countdown->asked++;
    if (countdown->left == 0)
        return countdown->then;
    countdown->left--;
    return RC_OK;
}

TEST(a_poll_stops_the_decode_wherever_it_is)
{
    struct buf files[] = {picture_jpeg(400, 300, false, (struct bytes){0}),
                          picture_jpeg(400, 300, true, (struct bytes){0}),
                          picture_png(400, 300, false),
                          picture_png(400, 300, true),
                          picture_webp(400, 300),
                          picture_gif(400, 300, 400, 300)};
    struct image_scratch *scratch = scratch_open();
    uint8_t into[SIDE * SIDE * 3];
    for (size_t i = 0; i < 6; i++) {
        struct countdown all = {UINT32_MAX, 0, RC_OK};
        struct image_poll poll = {check_countdown, &all};
        assert_int_equal(fit(scratch, view(&files[i]), &poll, into, NULL), RC_OK);
        assert_true(all.asked > 1);
        for (uint32_t stop = 0; stop < all.asked; stop++) {
            struct countdown some = {stop, 0, stop % 2 == 0 ? RC_DEADLINE : RC_CANCELLED};
            struct error err;
            poll.ctx = &some;
            assert_int_equal(fit(scratch, view(&files[i]), &poll, into, &err), some.then);
            assert_int_equal(err.rc, some.then);
        }
        buf_done(&files[i]);
    }
    image_scratch_free(scratch);
}

TEST(one_scratch_serves_any_order_of_pictures)
{
    struct buf files[] = {picture_jpeg(400, 300, false, (struct bytes){0}),
                          picture_png(31, 77, true), picture_webp(200, 100),
                          picture_gif(50, 40, 50, 40),
                          picture_jpeg(64, 64, true, (struct bytes){0})};
    uint8_t first[5][SIDE * SIDE * 3];
    for (size_t i = 0; i < 5; i++) {
        struct image_scratch *scratch = scratch_open();
        assert_int_equal(fit(scratch, view(&files[i]), NULL, first[i], NULL), RC_OK);
        image_scratch_free(scratch);
    }
    struct image_scratch *scratch = scratch_open();
    for (size_t i = 0; i < 60; i++) {
        uint8_t again[SIDE * SIDE * 3];
        size_t which = i * 7 % 5;
        assert_int_equal(fit(scratch, view(&files[which]), NULL, again, NULL), RC_OK);
        assert_memory_equal(again, first[which], sizeof(again));
    }
    image_scratch_free(scratch);
    for (size_t i = 0; i < 5; i++)
        buf_done(&files[i]);
}

TEST(damage_is_a_bad_image_or_harmless)
{
    struct buf files[] = {picture_jpeg(48, 40, false, (struct bytes){0}),
                          picture_jpeg(48, 40, true, (struct bytes){0}), picture_png(20, 18, false),
                          picture_webp(48, 40), picture_gif(16, 16, 16, 16)};
    struct image_scratch *scratch = scratch_open();
    uint8_t into[SIDE * SIDE * 3];
    for (size_t i = 0; i < 5; i++) {
        for (size_t at = 0; at < files[i].size; at++) {
            uint8_t kept = files[i].data[at];
            files[i].data[at] = (uint8_t)(kept ^ (1u << (at % 8)));
            struct error err = {0};
            enum rc rc = fit(scratch, view(&files[i]), NULL, into, &err);
            if (rc != RC_OK && rc != RC_BAD_IMAGE && rc != RC_UNSUPPORTED && rc != RC_IMAGE_LIMIT)
                fail_msg("file %zu, byte %zu: %s %s", i, at, rc_name(rc), err.text);
            files[i].data[at] = kept;
        }
        buf_done(&files[i]);
    }
    image_scratch_free(scratch);
}

TEST(a_wrong_png_checksum_is_named)
{
    struct buf file = picture_png(20, 18, false);
    uint8_t *idat = memmem(file.data, file.size, "IDAT", 4);
    assert_non_null(idat);
    idat[20] ^= 1;
    struct image_scratch *scratch = scratch_open();
    uint8_t into[SIDE * SIDE * 3];
    struct error err = {0};
    assert_int_equal(fit(scratch, view(&file), NULL, into, &err), RC_BAD_IMAGE);
    assert_non_null(strstr(err.text, "PNG data is damaged"));
    image_scratch_free(scratch);
    buf_done(&file);
}

TEST(all_orientations_show_the_same_corner)
{
    /* The gradient's red grows along x, its green along y. */
    struct image_scratch *scratch = scratch_open();
    for (uint16_t orientation = 1; orientation <= 8; orientation++) {
        struct buf exif = picture_exif(orientation, true);
        struct buf file = picture_jpeg(200, 200, false, view(&exif));
        uint8_t into[SIDE][SIDE][3];
        assert_int_equal(fit(scratch, view(&file), NULL, &into[0][0][0], NULL), RC_OK);
        const uint8_t *low = NULL;
        switch (orientation) { /* where the stored origin lies upright */
        case 1:
        case 5:
            low = into[0][0];
            break;
        case 2:
        case 6:
            low = into[0][SIDE - 1];
            break;
        case 3:
        case 7:
            low = into[SIDE - 1][SIDE - 1];
            break;
        default:
            low = into[SIDE - 1][0];
        }
        assert_in_range(low[0], 0, 40);
        assert_in_range(low[1], 0, 40);
        const uint8_t *right = into[0][SIDE - 1];
        const uint8_t *left = into[0][0];
        bool red_across = orientation <= 4;
        assert_true(abs((red_across ? right[0] - left[0] : right[1] - left[1])) > 150);
        buf_done(&exif);
        buf_done(&file);
    }
    image_scratch_free(scratch);
}

TEST_MAIN("image fit")
