/* SPDX-License-Identifier: Apache-2.0
 * exif_test.c - the orientation out of good, odd and hostile TIFF blocks. */
#include "check.h"
#include "pictures.h"
#include "image/exif.h"

#include <stdlib.h>
#include <string.h>

TEST(both_byte_orders_with_and_without_the_prefix)
{
    for (uint16_t orientation = 1; orientation <= 8; orientation++)
        for (int big = 0; big < 2; big++) {
            struct buf block = picture_exif(orientation, big == 1);
            assert_int_equal(exif_orientation(view(&block)), orientation);
            struct bytes bare = {block.data + 6, block.size - 6};
            assert_int_equal(exif_orientation(bare), orientation);
            buf_done(&block);
        }
}

TEST(values_outside_1_to_8_are_none)
{
    static const uint16_t values[] = {0, 9, 200};
    for (size_t i = 0; i < 3; i++) {
        struct buf block = picture_exif(values[i], true);
        assert_int_equal(exif_orientation(view(&block)), 0);
        buf_done(&block);
    }
}

TEST(cut_anywhere_is_none_and_reads_nothing_outside)
{
    struct buf block = picture_exif(6, true);
    for (size_t size = 0; size < block.size; size++) {
        /* Exactly that many bytes on the heap: a sanitizer sees a byte too many. */
        uint8_t *copy = malloc(size + 1);
        assert_non_null(copy);
        uint8_t *exact = realloc(copy, size == 0 ? 1 : size);
        assert_non_null(exact);
        memcpy(exact, block.data, size);
        uint32_t found = exif_orientation((struct bytes){exact, size});
        assert_true(found == 0 || (found == 6 && size >= block.size - 6));
        free(exact);
    }
    buf_done(&block);
}

TEST(wrong_type_count_offset_and_magic_are_none)
{
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {{6, 'X'}, {9, 43},    {10, 0xFF}, {13, 2}, {13, 200},
                   {15, 0},  {17, 0x13}, {19, 2},    {23, 2}};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct buf block = picture_exif(6, true);
        block.data[changes[i].at] = changes[i].value;
        assert_int_equal(exif_orientation(view(&block)), 0);
        buf_done(&block);
    }
}

TEST_MAIN("image exif")
