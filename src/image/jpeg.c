/* SPDX-License-Identifier: Apache-2.0
 * jpeg.c - decodes the rows and columns of the window only, with the settings Pillow uses (slow
 * integer DCT, smooth chroma), through libjpeg-turbo.
 *
 * Every pixel is what a whole decode gives: chroma at the window's edge needs its neighbours, so
 * the decoder is asked for some rows and columns more than the window has. */
#include "image/jpeg.h"
#include "image/jpeg_entropy.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <jerror.h>

struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf on_error;
    struct fitter *fitter;
    struct error *err;
    enum rc rc; /* why on_error was taken */
    bool plain; /* libjpeg's own Huffman decoder */
    bool again; /* ours gave up: decode again with that one */
    struct bytes file;
};

static struct decoder *decoder_of(j_common_ptr jpeg) { return jpeg->client_data; }

static _Noreturn void fail(struct decoder *decoder, enum rc rc)
{
    decoder->rc = rc;
    longjmp(decoder->on_error, 1);
}

static _Noreturn void on_error(j_common_ptr jpeg)
{
    struct decoder *decoder = decoder_of(jpeg);
    if (jpeg->err->msg_code == JERR_OUT_OF_MEMORY)
        fail(decoder, error_set(decoder->err, RC_NO_MEMORY, "the JPEG decoder ran out of memory"));
    char text[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, text);
    fail(decoder, error_set(decoder->err, RC_BAD_IMAGE,
                            "the JPEG data is damaged: %.150s; send the original file", text));
}

/* Warnings are what Pillow tolerates too, but for data that ends before the picture does. */
static void on_message(j_common_ptr jpeg, int level)
{
    struct decoder *decoder = decoder_of(jpeg);
    if (level < 0 && jpeg->err->msg_code == JWRN_JPEG_EOF)
        fail(decoder, error_set(decoder->err, RC_BAD_IMAGE,
                                "the JPEG file is cut short, after %zu bytes: send the whole file",
                                decoder->file.size));
}

static void on_output(j_common_ptr jpeg) { (void)jpeg; }

/* Called for each row of blocks: by libjpeg while it reads the scans of a progressive file, by our
 * own Huffman decoder otherwise. */
static void on_progress(j_common_ptr jpeg)
{
    struct decoder *decoder = decoder_of(jpeg);
    enum rc rc = fitter_poll(decoder->fitter, decoder->err);
    if (rc != RC_OK)
        fail(decoder, rc);
}

static void on_row(j_decompress_ptr jpeg) { on_progress((j_common_ptr)jpeg); }

static void give_up(j_decompress_ptr jpeg)
{
    struct decoder *decoder = decoder_of((j_common_ptr)jpeg);
    decoder->again = true;
    fail(decoder, RC_INTERNAL);
}

static void open_header(struct decoder *decoder, const struct image_info *info)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    jpeg_mem_src(jpeg, decoder->file.data, decoder->file.size);
    (void)jpeg_read_header(jpeg, TRUE);
    if (jpeg->image_width != info->width || jpeg->image_height != info->height)
        fail(decoder, error_set(decoder->err, RC_BAD_IMAGE,
                                "the JPEG file has two different sizes in it: save it anew"));
    jpeg->out_color_space = jpeg->num_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg->do_fancy_upsampling = TRUE;
    decoder->progress.progress_monitor = on_progress;
    if (jpeg_has_multiple_scans(jpeg))
        jpeg->progress = &decoder->progress;
}

/* Narrow the decoder to the window's columns. Returns the first column it will deliver. */
static uint32_t crop_columns(struct decoder *decoder)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    const struct fitter *fitter = decoder->fitter;
    uint32_t margin = 2 * (uint32_t)jpeg->max_h_samp_factor;
    uint32_t from = fitter->window_x > margin ? fitter->window_x - margin : 0;
    uint32_t to = fitter->window_x_to + margin;
    to = to > jpeg->output_width ? jpeg->output_width : to;
    if (from == 0 && to == jpeg->output_width)
        return 0;
    JDIMENSION x = from;
    JDIMENSION width = to - from;
    jpeg_crop_scanline(jpeg, &x, &width);
    return x;
}

static bool attach(struct decoder *decoder, uint32_t x)
{
    struct jpeg_entropy *entropy = decoder->fitter->scratch->jpeg;
    if (decoder->plain)
        return false;
    entropy->give_up = give_up;
    entropy->on_row = on_row;
    return jpeg_entropy_attach(entropy, &decoder->jpeg, x, decoder->jpeg.output_width);
}

/* Pass over the rows before the window. Without our Huffman decoder, one that asks the poll, the
 * rows of a single scan are decoded and dropped: skipping them would be one long call. */
static enum rc skip_rows(struct decoder *decoder, bool attached, uint8_t *spare)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    uint32_t row = decoder->fitter->window_y;
    uint32_t margin = 2 * (uint32_t)jpeg->max_v_samp_factor;
    if (row > margin && (attached || jpeg_has_multiple_scans(jpeg)))
        (void)jpeg_skip_scanlines(jpeg, row - margin);
    while (jpeg->output_scanline < row) {
        enum rc rc =
            jpeg->output_scanline % 64 == 0 ? fitter_poll(decoder->fitter, decoder->err) : RC_OK;
        if (rc != RC_OK)
            return rc;
        (void)jpeg_read_scanlines(jpeg, &spare, 1);
    }
    return RC_OK;
}

static uint8_t multiply_u8(uint32_t a, uint32_t b)
{
    uint32_t product = a * b + 128;
    return (uint8_t)((product + (product >> 8)) >> 8);
}

/* Adobe stores inverted inks, and Pillow takes every four-colour JPEG for Adobe's. */
static void cmyk_to_rgb(const uint8_t *cmyk, uint32_t count, uint8_t *rgb)
{
    for (uint32_t i = 0; i < count; i++, cmyk += 4, rgb += 3) {
        uint32_t light = cmyk[3];
        for (uint32_t channel = 0; channel < 3; channel++)
            rgb[channel] = (uint8_t)(light - multiply_u8(255u - cmyk[channel], light));
    }
}

static enum rc decode_rows(struct decoder *decoder)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    struct fitter *fitter = decoder->fitter;
    (void)jpeg_start_decompress(jpeg);
    uint32_t x = crop_columns(decoder);
    bool attached = attach(decoder, x);
    enum rc rc = fitter_begin(fitter, x, jpeg->output_width, decoder->err);
    if (rc != RC_OK)
        return rc;
    size_t row_size = (size_t)jpeg->output_width * (size_t)jpeg->output_components;
    uint8_t *strip = block_room(&fitter->scratch->strip, row_size + RESAMPLE_PAD);
    if (strip == NULL)
        return error_set(decoder->err, RC_NO_MEMORY, "%zu bytes for a row", row_size);
    rc = skip_rows(decoder, attached, strip);
    bool cmyk = jpeg->out_color_space == JCS_CMYK;
    while (rc == RC_OK && !fitter_full(fitter)) {
        uint8_t *row = cmyk ? strip : fitter_row(fitter);
        (void)jpeg_read_scanlines(jpeg, &row, 1);
        if (cmyk)
            cmyk_to_rgb(strip, jpeg->output_width, fitter_row(fitter));
        rc = fitter_advance(fitter, decoder->err);
    }
    return rc;
}

static void run(struct decoder *decoder, const struct image_info *info)
{
    decoder->again = false;
    if (setjmp(decoder->on_error) == 0) {
        jpeg_create_decompress(&decoder->jpeg);
        open_header(decoder, info);
        decoder->rc = decode_rows(decoder);
    }
    jpeg_destroy_decompress(&decoder->jpeg);
}

enum rc jpeg_decode(struct bytes file, const struct image_info *info, struct fitter *fitter,
                    struct error *err)
{
    struct image_scratch *scratch = fitter->scratch;
    if (scratch->jpeg == NULL)
        scratch->jpeg = calloc(1, sizeof(*scratch->jpeg));
    struct decoder decoder = {.fitter = fitter,
                              .err = err,
                              .file = file,
                              .plain = scratch->jpeg == NULL || scratch->jpeg_plain};
    decoder.jpeg.err = jpeg_std_error(&decoder.errors);
    decoder.errors.error_exit = on_error;
    decoder.errors.emit_message = on_message;
    decoder.errors.output_message = on_output;
    decoder.jpeg.client_data = &decoder;
    run(&decoder, info);
    if (decoder.again) {
        decoder.plain = true;
        run(&decoder, info);
    }
    return decoder.rc;
}
