/* SPDX-License-Identifier: Apache-2.0
 * jpeg_probe.c - walks a JPEG's markers: sides, scans, orientation, and whether its end is there.
 *
 * A file of one scan is walked to that scan only, then searched for its end backwards; a file of
 * several is walked whole, to count them: 2,000 scans in 300 kB would keep the decoder busy for
 * seconds. */
#include "image/jpeg.h"
#include "image/exif.h"

#include <string.h>

#define SLOW_PIXELS 2000000u

enum {
    MARKER_SOF0 = 0xC0,
    MARKER_SOF2 = 0xC2,
    MARKER_SOF9 = 0xC9,
    MARKER_SOF10 = 0xCA,
    MARKER_DHT = 0xC4,
    MARKER_JPG = 0xC8,
    MARKER_DAC = 0xCC,
    MARKER_SOF15 = 0xCF,
    MARKER_RST0 = 0xD0,
    MARKER_RST7 = 0xD7,
    MARKER_SOI = 0xD8,
    MARKER_EOI = 0xD9,
    MARKER_SOS = 0xDA,
    MARKER_APP1 = 0xE1,
    MARKER_TEM = 0x01,
};

struct walk {
    struct bytes file;
    size_t at;
    const struct image_limits *limits;
    struct jpeg_header *header;
    bool framed; /* a SOF was seen */
};

static enum rc cut_short(const struct walk *walk, const char *where, struct error *err)
{
    return error_set(err, RC_BAD_IMAGE,
                     "the JPEG file is cut short %s, after %zu bytes: send the whole file", where,
                     walk->file.size);
}

static bool is_sof(uint8_t marker)
{
    return marker >= MARKER_SOF0 && marker <= MARKER_SOF15 && marker != MARKER_DHT &&
           marker != MARKER_JPG && marker != MARKER_DAC;
}

static enum rc read_sof(struct walk *walk, uint8_t marker, struct bytes segment, struct error *err)
{
    struct jpeg_header *header = walk->header;
    if (walk->framed)
        return error_set(
            err, RC_BAD_IMAGE,
            "the JPEG file has two frame headers (the second before byte %zu): save it anew",
            walk->at);
    if (marker != MARKER_SOF0 && marker != MARKER_SOF0 + 1 && marker != MARKER_SOF2 &&
        marker != MARKER_SOF9 && marker != MARKER_SOF10)
        return error_set(err, RC_UNSUPPORTED,
                         "this is a lossless or hierarchical JPEG (SOF%d), which is not read here: "
                         "save it as a baseline or progressive one",
                         marker - MARKER_SOF0);
    if (segment.size < 6 || segment.size < 6 + (size_t)segment.data[5] * 3)
        return error_set(
            err, RC_BAD_IMAGE,
            "the JPEG frame header before byte %zu is too short: save the picture anew", walk->at);
    if (segment.data[0] != 8)
        return error_set(err, RC_UNSUPPORTED,
                         "this JPEG has %u bits a sample; only 8 are read: save it with 8",
                         segment.data[0]);
    header->height = (uint32_t)segment.data[1] << 8 | segment.data[2];
    header->width = (uint32_t)segment.data[3] << 8 | segment.data[4];
    header->component_count = segment.data[5];
    header->progressive = marker == MARKER_SOF2 || marker == MARKER_SOF10;
    header->arithmetic = marker >= MARKER_SOF9;
    if (header->component_count != 1 && header->component_count != 3 &&
        header->component_count != 4)
        return error_set(err, RC_UNSUPPORTED,
                         "this JPEG has %u colour components; 1, 3 or 4 are read: save it as RGB",
                         header->component_count);
    uint32_t h_max = 1;
    uint32_t v_max = 1;
    uint32_t area = 0;
    for (uint32_t i = 0; i < header->component_count; i++) {
        uint32_t h = segment.data[6 + i * 3 + 1] >> 4;
        uint32_t v = segment.data[6 + i * 3 + 1] & 15u;
        if (h < 1 || h > 4 || v < 1 || v > 4)
            return error_set(err, RC_BAD_IMAGE,
                             "JPEG component %u has sampling factors %u x %u; 1 to 4 are possible: "
                             "save the picture anew",
                             i, h, v);
        h_max = h > h_max ? h : h_max;
        v_max = v > v_max ? v : v_max;
        area += h * v;
    }
    header->h_max = h_max;
    header->v_max = v_max;
    header->mcu_blocks = area;
    walk->framed = true;
    return header_check_sides(walk->limits, header->width, header->height, err);
}

static enum rc read_sos(struct walk *walk, struct bytes segment, struct error *err)
{
    struct jpeg_header *header = walk->header;
    if (!walk->framed)
        return error_set(err, RC_BAD_IMAGE,
                         "the JPEG scan before byte %zu has no frame header: save the picture anew",
                         walk->at);
    if (segment.size < 1)
        return error_set(err, RC_BAD_IMAGE,
                         "the JPEG scan header before byte %zu is empty: save the picture anew",
                         walk->at);
    if (segment.data[0] < header->component_count)
        header->multi_scan = true;
    header->scan_count++;
    if (header->scan_count > walk->limits->jpeg_scans_max)
        return error_set(err, RC_IMAGE_LIMIT,
                         "the JPEG file has more than %u scans: save it as a baseline JPEG",
                         walk->limits->jpeg_scans_max);
    return RC_OK;
}

/* From entropy-coded data to the next marker that ends it, or to the end of the file. */
static void skip_entropy(struct walk *walk)
{
    const uint8_t *data = walk->file.data;
    size_t size = walk->file.size;
    while (walk->at < size) {
        const uint8_t *found = memchr(data + walk->at, 0xFF, size - walk->at);
        if (found == NULL)
            break;
        walk->at = (size_t)(found - data);
        if (walk->at + 1 >= size)
            break;
        uint8_t next = data[walk->at + 1];
        if (next != 0 && next != 0xFF && !(next >= MARKER_RST0 && next <= MARKER_RST7))
            return;
        walk->at += next == 0xFF ? 1 : 2;
    }
    walk->at = size;
}

/* Is there an end marker after the only scan? Bytes after it are harmless. */
static bool has_end(struct bytes file, size_t from)
{
    size_t at = file.size;
    while (at > from + 1) {
        const uint8_t *found = memrchr(file.data + from + 1, MARKER_EOI, at - from - 1);
        if (found == NULL)
            return false;
        at = (size_t)(found - file.data);
        if (file.data[at - 1] == 0xFF)
            return true;
    }
    return false;
}

/* Reads the next marker and its segment, from walk->at to after it. */
static enum rc next_segment(struct walk *walk, uint8_t *ret_marker, struct bytes *ret_segment,
                            struct error *err)
{
    const uint8_t *data = walk->file.data;
    size_t size = walk->file.size;
    /* Bytes that belong to no segment are skipped, as libjpeg does. */
    do {
        const uint8_t *found =
            walk->at < size ? memchr(data + walk->at, 0xFF, size - walk->at) : NULL;
        if (found == NULL)
            return cut_short(walk, walk->header->scan_count == 0 ? "in its header" : "in its scans",
                             err);
        walk->at = (size_t)(found - data);
        while (walk->at < size && data[walk->at] == 0xFF)
            walk->at++;
        if (walk->at == size)
            return cut_short(walk, "in a marker", err);
        *ret_marker = data[walk->at++];
    } while (*ret_marker == 0);
    *ret_segment = (struct bytes){0};
    if (*ret_marker == MARKER_EOI || *ret_marker == MARKER_SOI || *ret_marker == MARKER_TEM ||
        (*ret_marker >= MARKER_RST0 && *ret_marker <= MARKER_RST7))
        return RC_OK;
    if (size - walk->at < 2)
        return cut_short(walk, "in its header", err);
    size_t length = (size_t)data[walk->at] << 8 | data[walk->at + 1];
    if (length < 2)
        return error_set(err, RC_BAD_IMAGE,
                         "the JPEG segment at byte %zu has length %zu: save the picture anew",
                         walk->at, length);
    if (length > size - walk->at)
        return cut_short(walk, "in its header", err);
    *ret_segment = (struct bytes){data + walk->at + 2, length - 2};
    walk->at += length;
    return RC_OK;
}

enum rc jpeg_walk(struct bytes file, const struct image_limits *limits,
                  struct jpeg_header *ret_header, struct error *err)
{
    struct jpeg_header header = {0};
    struct walk walk = {.file = file, .at = 2, .limits = limits, .header = &header};
    bool exif_seen = false;
    for (;;) {
        uint8_t marker;
        struct bytes segment;
        enum rc rc = next_segment(&walk, &marker, &segment, err);
        if (rc != RC_OK)
            return rc;
        if (marker == MARKER_EOI)
            break;
        if (is_sof(marker)) {
            rc = read_sof(&walk, marker, segment, err);
        } else if (marker == MARKER_APP1 && !exif_seen && segment.size >= 6 &&
                   memcmp(segment.data, "Exif\0\0", 6) == 0) {
            header.orientation = exif_orientation(segment);
            exif_seen = true;
        } else if (marker == MARKER_SOS) {
            rc = read_sos(&walk, segment, err);
            if (rc == RC_OK && !header.progressive && !header.multi_scan) {
                if (!has_end(file, walk.at))
                    return cut_short(&walk, "in its only scan (no end marker)", err);
                break;
            }
            skip_entropy(&walk);
        }
        if (rc != RC_OK)
            return rc;
    }
    if (header.scan_count == 0)
        return error_set(err, RC_BAD_IMAGE,
                         "the JPEG file ends at byte %zu without a picture in it: save it anew",
                         walk.at);
    *ret_header = header;
    return RC_OK;
}

/* Coefficients of the whole picture are kept where there are several scans; a strip otherwise. */
static size_t decoder_memory(const struct jpeg_header *header)
{
    uint64_t mcu_columns = (header->width + header->h_max * 8 - 1) / (header->h_max * 8);
    uint64_t mcu_rows = (header->height + header->v_max * 8 - 1) / (header->v_max * 8);
    uint64_t mcu_bytes = (uint64_t)header->mcu_blocks * 64;
    uint64_t memory = 65536 + mcu_columns * mcu_bytes * 4 + (uint64_t)header->width * 8 * 4;
    if (header->progressive || header->multi_scan)
        memory += mcu_columns * mcu_rows * mcu_bytes * sizeof(int16_t);
    return (size_t)memory;
}

static enum rc jpeg_probe(struct bytes file, const struct image_limits *limits,
                          struct header *ret_header, struct error *err)
{
    struct jpeg_header header;
    enum rc rc = jpeg_walk(file, limits, &header, err);
    if (rc != RC_OK)
        return rc;
    *ret_header = (struct header){
        .width = header.width,
        .height = header.height,
        .orientation = header.orientation,
        .memory = decoder_memory(&header),
        .slow = header.progressive || header.multi_scan || header.arithmetic ||
                (uint64_t)header.width * header.height > SLOW_PIXELS,
    };
    return RC_OK;
}

static bool jpeg_matches(struct bytes file)
{
    return file.size >= 3 && memcmp(file.data, "\xFF\xD8\xFF", 3) == 0;
}

const struct codec codec_JPEG = {
    .matches = jpeg_matches,
    .probe = jpeg_probe,
    .decode = jpeg_decode,
};
