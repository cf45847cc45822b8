/* SPDX-License-Identifier: Apache-2.0
 * png.c - PNG through libspng, a row at a time.
 *
 * The decoder is shown only the chunks that make the picture: text, profiles and the like are
 * passed over, so that nothing compressed in them is ever inflated. Checksums are verified here, a
 * chunk at a time as it is entered, because the decoder stops before the end of the last one. Alpha
 * and tRNS are dropped, samples of 16 bits keep their upper 8. */
#include "image/codec.h"
#include "image/exif.h"

#include <string.h>
#include <spng.h>
#include <zlib.h>

#define SLOW_PIXELS      2000000u
#define SIGNATURE        "\x89PNG\r\n\x1a\n"
#define SIGNATURE_SIZE   8u
#define CHUNK_EXTRA_SIZE 12u /* length, type, checksum */
#define DECODER_MEMORY   262144u

static uint32_t u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool png_matches(struct bytes file)
{
    return file.size >= SIGNATURE_SIZE && memcmp(file.data, SIGNATURE, SIGNATURE_SIZE) == 0;
}

struct chunk {
    const uint8_t *type;
    struct bytes data;
    size_t size; /* with length, type and checksum */
};

/* False where the file ends inside the chunk. */
static bool chunk_at(struct bytes file, size_t at, struct chunk *ret_chunk)
{
    if (at > file.size || file.size - at < CHUNK_EXTRA_SIZE)
        return false;
    uint32_t length = u32(file.data + at);
    if (length > file.size - at - CHUNK_EXTRA_SIZE)
        return false;
    *ret_chunk = (struct chunk){
        file.data + at + 4, {file.data + at + 8, length}, (size_t)length + CHUNK_EXTRA_SIZE};
    return true;
}

static bool chunk_is(const struct chunk *chunk, const char *type)
{
    return memcmp(chunk->type, type, 4) == 0;
}

static enum rc read_ihdr(const struct chunk *chunk, const struct image_limits *limits,
                         struct header *header, struct error *err)
{
    if (!chunk_is(chunk, "IHDR") || chunk->data.size != 13)
        return error_set(err, RC_BAD_IMAGE,
                         "the PNG file does not start with its header (IHDR): save it anew");
    const uint8_t *data = chunk->data.data;
    header->width = u32(data);
    header->height = u32(data + 4);
    enum rc rc = header_check_sides(limits, header->width, header->height, err);
    if (rc != RC_OK)
        return rc;
    uint64_t pixels = (uint64_t)header->width * header->height;
    bool interlaced = data[12] != 0;
    /* libspng: two rows of up to 8 bytes a pixel; the whole picture where rows come in passes. */
    header->memory = DECODER_MEMORY + (size_t)header->width * 24;
    if (interlaced)
        header->memory += (size_t)pixels * 3;
    header->slow = interlaced || pixels > SLOW_PIXELS;
    return RC_OK;
}

static enum rc png_probe(struct bytes file, const struct image_limits *limits,
                         struct header *ret_header, struct error *err)
{
    struct header header = {0};
    bool data_seen = false;
    struct chunk chunk;
    for (size_t at = SIGNATURE_SIZE; chunk_at(file, at, &chunk); at += chunk.size) {
        if (header.width == 0) {
            enum rc rc = read_ihdr(&chunk, limits, &header, err);
            if (rc != RC_OK)
                return rc;
        } else if (chunk_is(&chunk, "eXIf")) {
            header.orientation = exif_orientation(chunk.data);
        } else if (chunk_is(&chunk, "IDAT")) {
            data_seen = true;
        } else if (chunk_is(&chunk, "IEND")) {
            if (!data_seen)
                return error_set(err, RC_BAD_IMAGE,
                                 "the PNG file has no picture data (IDAT): save it anew");
            *ret_header = header;
            return RC_OK;
        }
    }
    return error_set(err, RC_BAD_IMAGE,
                     "the PNG file is cut short, after %zu bytes: send the whole file", file.size);
}

/* What libspng reads: the file without the chunks that it has no need of. */
struct reader {
    struct bytes file;
    size_t at;         /* next byte to hand out */
    size_t left;       /* of the stretch being handed out */
    size_t damaged_at; /* the chunk with a wrong checksum; 0: none */
};

static bool checksum_right(const struct chunk *chunk)
{
    uint32_t told = u32(chunk->data.data + chunk->data.size);
    uint32_t size = (uint32_t)chunk->data.size + 4; /* the type is covered too */
    return crc32(0, chunk->type, size) == told;
}

static bool next_stretch(struct reader *reader)
{
    struct chunk chunk;
    while (chunk_at(reader->file, reader->at, &chunk)) {
        if (chunk_is(&chunk, "IHDR") || chunk_is(&chunk, "PLTE") || chunk_is(&chunk, "IDAT") ||
            chunk_is(&chunk, "IEND")) {
            reader->left = chunk.size;
            reader->damaged_at = checksum_right(&chunk) ? 0 : reader->at;
            return reader->damaged_at == 0;
        }
        reader->at += chunk.size;
    }
    return false;
}

static int on_read(spng_ctx *spng, void *user, void *into, size_t size)
{
    (void)spng;
    struct reader *reader = user;
    uint8_t *to = into;
    while (size > 0) {
        if (reader->left == 0 && !next_stretch(reader))
            return SPNG_IO_EOF;
        size_t count = size < reader->left ? size : reader->left;
        memcpy(to, reader->file.data + reader->at, count);
        reader->at += count;
        reader->left -= count;
        to += count;
        size -= count;
    }
    return 0;
}

static enum rc damaged(const struct reader *reader, int code, struct error *err)
{
    if (reader->damaged_at != 0)
        return error_set(
            err, RC_BAD_IMAGE,
            "the PNG data is damaged: the checksum of the chunk at byte %zu is wrong; send "
            "the original file",
            reader->damaged_at);
    if (code == SPNG_EMEM)
        return error_set(err, RC_NO_MEMORY, "the PNG decoder ran out of memory");
    return error_set(err, RC_BAD_IMAGE, "the PNG data is damaged: %s; send the original file",
                     spng_strerror(code));
}

static enum rc decode_rows(spng_ctx *spng, const struct reader *reader,
                           const struct image_info *info, struct fitter *fitter, struct error *err)
{
    enum rc rc = fitter_begin(fitter, 0, info->width, err);
    if (rc != RC_OK)
        return rc;
    size_t row_size = (size_t)info->width * 3;
    uint8_t *spare = block_room(&fitter->scratch->strip, row_size);
    if (spare == NULL)
        return error_set(err, RC_NO_MEMORY, "%zu bytes for a PNG row", row_size);
    for (uint32_t y = 0; rc == RC_OK && !fitter_full(fitter); y++) {
        bool wanted = y >= fitter->window_y;
        int code = spng_decode_row(spng, wanted ? fitter_row(fitter) : spare, row_size);
        if (code != 0 && code != SPNG_EOI)
            return damaged(reader, code, err);
        if (wanted)
            rc = fitter_advance(fitter, err);
        else if (y % 64 == 0)
            rc = fitter_poll(fitter, err);
    }
    return rc;
}

/* Interlaced: the rows come in seven passes, each filling some pixels of some rows. */
static enum rc decode_interlaced(spng_ctx *spng, const struct reader *reader,
                                 const struct image_info *info, struct fitter *fitter,
                                 struct error *err)
{
    size_t row_size = (size_t)info->width * 3;
    uint8_t *frame = block_room(&fitter->scratch->frame, row_size * info->height);
    if (frame == NULL)
        return error_set(err, RC_NO_MEMORY, "%zu bytes for an interlaced PNG",
                         row_size * info->height);
    for (uint32_t count = 0;; count++) {
        struct spng_row_info row;
        int code = spng_get_row_info(spng, &row);
        if (code == 0)
            code = spng_decode_row(spng, frame + row_size * row.row_num, row_size);
        if (code == SPNG_EOI)
            break;
        if (code != 0)
            return damaged(reader, code, err);
        if (count % 64 == 0) {
            enum rc rc = fitter_poll(fitter, err);
            if (rc != RC_OK)
                return rc;
        }
    }
    return fitter_frame(fitter, frame, row_size, err);
}

static enum rc png_decode(struct bytes file, const struct image_info *info, struct fitter *fitter,
                          struct error *err)
{
    spng_ctx *spng = spng_ctx_new(SPNG_CTX_IGNORE_ADLER32);
    if (spng == NULL)
        return error_set(err, RC_NO_MEMORY, "a PNG decoder");
    struct reader reader = {.file = file, .left = SIGNATURE_SIZE};
    struct spng_ihdr ihdr;
    enum rc rc;
    int code = spng_set_crc_action(spng, SPNG_CRC_USE, SPNG_CRC_USE);
    if (code == 0)
        code = spng_set_png_stream(spng, on_read, &reader);
    if (code == 0)
        code = spng_get_ihdr(spng, &ihdr);
    if (code == 0)
        code = spng_decode_image(spng, NULL, 0, SPNG_FMT_RGB8, SPNG_DECODE_PROGRESSIVE);
    if (code != 0)
        rc = damaged(&reader, code, err);
    else if (ihdr.width != info->width || ihdr.height != info->height)
        rc = error_set(err, RC_BAD_IMAGE, "the PNG file has two headers: save it anew");
    else if (ihdr.interlace_method != 0)
        rc = decode_interlaced(spng, &reader, info, fitter, err);
    else
        rc = decode_rows(spng, &reader, info, fitter, err);
    spng_ctx_free(spng);
    return rc;
}

const struct codec codec_PNG = {
    .matches = png_matches,
    .probe = png_probe,
    .decode = png_decode,
};
