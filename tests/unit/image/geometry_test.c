/* SPDX-License-Identifier: Apache-2.0
 * geometry_test.c - boxes to the letter. */
#include "check.h"
#include "image/geometry.h"

static struct layout plan(uint32_t width, uint32_t height, uint32_t orientation,
                          struct image_geometry geometry)
{
    struct image_info info = {.width = width, .height = height, .orientation = orientation};
    return layout_plan(&info, &geometry);
}

static const struct image_geometry crop = {
    .width = 224, .height = 224, .mode = IMAGE_CENTER_CROP, .crop_fraction = 0.875};

TEST(center_crop_is_floor_of_seven_eighths_and_rounds_the_margin_up)
{
    for (uint32_t side = 1; side <= 20000; side++) {
        struct layout layout = plan(side + 37, side, 1, crop);
        uint32_t size = side * 224 / 256;
        size = size == 0 ? 1 : size;
        assert_int_equal(layout.x.axis.in_size, size);
        assert_int_equal(layout.y.axis.in_size, size);
        assert_int_equal(layout.x.box_from, (side + 37 - size + 1) / 2);
        assert_int_equal(layout.y.box_from, (side - size + 1) / 2);
    }
}

TEST(orientations_mirror_the_box)
{
    /* 100 x 60: crop 52; left 24, top 4; the other margins are 24 and 4. An odd margin shows. */
    struct layout upright = plan(101, 60, 1, crop);
    struct layout mirrored = plan(101, 60, 2, crop);
    assert_int_equal(upright.x.box_from, 25);
    assert_int_equal(mirrored.x.box_from, 101 - 25 - 52);
    struct layout turned = plan(101, 60, 6, crop);
    assert_true(turned.transposed);
    assert_int_equal(turned.x.axis.in_size, 52);
    assert_int_equal(turned.x.box_from, 25); /* stored x is upright y, not flipped in 6 */
}

TEST(fractions_out_of_range_are_bounded)
{
    struct image_geometry geometry = crop;
    geometry.crop_fraction = 0.0;
    assert_int_equal(plan(50, 50, 1, geometry).x.axis.in_size, 1);
    geometry.crop_fraction = 7.0;
    assert_int_equal(plan(50, 40, 1, geometry).x.axis.in_size, 40);
}

TEST(resize_crop_wants_only_the_centre)
{
    struct image_geometry geometry = {
        .width = 224, .height = 224, .mode = IMAGE_RESIZE_CROP, .resize_side = 256};
    struct layout layout = plan(500, 375, 1, geometry);
    assert_int_equal(layout.x.axis.out_size, 341);
    assert_int_equal(layout.x.axis.out_from, 58); /* round(58.5) to even */
    assert_int_equal(layout.x.axis.out_count, 224);
    assert_int_equal(layout.y.axis.out_from, 16);
}

TEST(letterbox_centres)
{
    struct image_geometry geometry = {.width = 100, .height = 80, .mode = IMAGE_LETTERBOX};
    struct layout layout = plan(300, 100, 1, geometry);
    assert_int_equal(layout.x.axis.out_size, 100);
    assert_int_equal(layout.y.axis.out_size, 33);
    assert_int_equal(layout.y.into_from, 24); /* round(23.5) to even */
}

TEST(a_thin_picture_keeps_one_pixel)
{
    struct image_geometry geometry = {.width = 10, .height = 10, .mode = IMAGE_LETTERBOX};
    assert_int_equal(plan(16000, 1, 1, geometry).y.axis.out_size, 1);
    geometry.mode = IMAGE_RESIZE_CROP;
    geometry.resize_side = 1;
    assert_int_equal(plan(16000, 1, 1, geometry).y.axis.out_count, 1);
}

TEST(the_vertical_pass_is_first_only_where_the_height_shrinks_more_than_twice_as_much)
{
    struct axis same = {.in_size = 300, .out_size = 224};
    struct axis tall = {.in_size = 400, .out_size = 224};
    struct axis grown = {.in_size = 100, .out_size = 224};
    assert_false(layout_vertical_first(&same, &same));
    assert_true(layout_vertical_first(&same, &tall));
    assert_false(layout_vertical_first(&tall, &same));
    assert_true(layout_vertical_first(&grown, &same));
    assert_false(layout_vertical_first(&grown, &grown));
}

TEST_MAIN("image geometry")
