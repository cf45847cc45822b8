/* SPDX-License-Identifier: Apache-2.0 */
#include "image/exif.h"

#include <string.h>

#define TAG_ORIENTATION 0x0112u
#define TYPE_BYTE       1u
#define TYPE_SHORT      3u
#define TYPE_LONG       4u
#define ENTRY_SIZE      12u

struct tiff {
    struct bytes block;
    bool big_endian;
};

/* Both return 0 outside the block, which no check below takes for a valid value. */
static uint32_t u16(const struct tiff *tiff, size_t at)
{
    if (tiff->block.size < 2 || at > tiff->block.size - 2)
        return 0;
    const uint8_t *p = tiff->block.data + at;
    return tiff->big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t u32(const struct tiff *tiff, size_t at)
{
    uint32_t first = u16(tiff, at);
    uint32_t second = u16(tiff, at + 2);
    return tiff->big_endian ? first << 16 | second : second << 16 | first;
}

static uint32_t entry_value(const struct tiff *tiff, size_t at)
{
    if (u32(tiff, at + 4) != 1)
        return 0;
    uint32_t type = u16(tiff, at + 2);
    uint32_t value = 0;
    if (type == TYPE_SHORT)
        value = u16(tiff, at + 8);
    else if (type == TYPE_LONG)
        value = u32(tiff, at + 8);
    else if (type == TYPE_BYTE && at + 8 < tiff->block.size)
        value = tiff->block.data[at + 8];
    return value >= 1 && value <= 8 ? value : 0;
}

uint32_t exif_orientation(struct bytes block)
{
    if (block.size >= 6 && memcmp(block.data, "Exif\0\0", 6) == 0) {
        block.data += 6;
        block.size -= 6;
    }
    if (block.size < 8)
        return 0;
    struct tiff tiff = {block, false};
    if (memcmp(block.data, "MM", 2) == 0)
        tiff.big_endian = true;
    else if (memcmp(block.data, "II", 2) != 0)
        return 0;
    if (u16(&tiff, 2) != 42)
        return 0;
    size_t directory = u32(&tiff, 4);
    if (directory < 8 || directory >= block.size)
        return 0;
    uint32_t entry_count = u16(&tiff, directory);
    size_t at = directory + 2;
    for (uint32_t i = 0; i < entry_count && at + ENTRY_SIZE <= block.size; i++, at += ENTRY_SIZE)
        if (u16(&tiff, at) == TAG_ORIENTATION)
            return entry_value(&tiff, at);
    return 0;
}
