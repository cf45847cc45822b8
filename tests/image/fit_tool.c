/* SPDX-License-Identifier: Apache-2.0
 * fit_tool.c - image_probe() and image_fit() for tests in other languages.
 *
 * Each line of standard input is a case; the answer is a line, and for "ok" raw RGB after it.
 *   file PATH MODE FILTER WIDTH HEIGHT CROP_FRACTION RESIZE_SIDE PAD BGR
 *     MODE center_crop, resize_crop, stretch or letterbox; FILTER bilinear or bicubic
 *   raw PATH WIDTH HEIGHT BOX_X BOX_Y BOX_WIDTH BOX_HEIGHT FILTER OUT_WIDTH OUT_HEIGHT
 *     PATH holds WIDTH x HEIGHT x 3 bytes
 *   encode PATH WIDTH HEIGHT SPACE H0 V0 H1 V1 PROGRESSIVE ARITHMETIC RESTART QUALITY
 *     makes a JPEG that other writers do not: SPACE grey, rgb, ycc, cmyk or ycck; PATH holds
 *     WIDTH x HEIGHT x 1, 3 or 4 bytes; H0 V0 sample the first component, H1 V1 the others
 * Answers: "ok FORMAT WIDTH HEIGHT ORIENTATION SIZE", or "error RC TEXT". */
#include "image/floor.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>

#define LINE_SIZE_MAX 1024
#define FILE_SIZE_MAX (64u << 20)

static const struct image_limits limits = {
    .bytes_max = 20u << 20,
    .side_min = 1,
    .side_max = 16384,
    .pixels_max = 50000000,
    .jpeg_scans_max = 100,
    .memory_max = 512u << 20,
};

static bool read_file(const char *path, struct buf *into)
{
    buf_clear(into);
    FILE *stream = fopen(path, "rb");
    if (stream == NULL)
        return false;
    uint8_t part[65536];
    size_t count;
    bool fine = true;
    while (fine && (count = fread(part, 1, sizeof(part), stream)) > 0)
        fine = buf_append(into, (struct bytes){part, count}) == RC_OK;
    (void)fclose(stream);
    return fine;
}

static int word_of(const char *const words[], int count, const char *word)
{
    for (int i = 0; i < count; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    return 0;
}

static enum image_filter filter_of(const char *word)
{
    return strcmp(word, "bicubic") == 0 ? IMAGE_BICUBIC : IMAGE_BILINEAR;
}

static enum image_mode mode_of(const char *word)
{
    static const char *const modes[] = {"center_crop", "resize_crop", "stretch", "letterbox"};
    return (enum image_mode)word_of(modes, 4, word);
}

static void answer_error(enum rc rc, const struct error *err)
{
    (void)printf("error %s %s\n", rc_name(rc), err->text);
}

static void answer_picture(const struct image_info *info, const uint8_t *rgb, size_t size)
{
    (void)printf("ok %s %u %u %u %zu\n", image_format_text(info->format), info->width, info->height,
                 info->orientation, size);
    (void)fwrite(rgb, 1, size, stdout);
}

static void run_file(struct image_scratch *scratch, const char *line, struct buf *file)
{
    char path[512];
    char mode[32];
    char filter[32];
    struct image_geometry geometry = {0};
    unsigned pad = 0;
    unsigned bgr = 0;
    struct error err = {.text = "the case cannot be read"};
    if (sscanf(line, "file %511s %31s %31s %u %u %lf %u %u %u", path, mode, filter, &geometry.width,
               &geometry.height, &geometry.crop_fraction, &geometry.resize_side, &pad, &bgr) != 9 ||
        !read_file(path, file)) {
        answer_error(RC_INVALID, &err);
        return;
    }
    geometry.mode = mode_of(mode);
    geometry.filter = filter_of(filter);
    geometry.pad = (uint8_t)pad;
    geometry.bgr = bgr != 0;
    size_t size = (size_t)geometry.width * geometry.height * 3;
    uint8_t *rgb = malloc(size);
    struct image_info info = {0};
    struct bytes bytes = {file->data, file->size};
    enum rc rc = rgb == NULL ? RC_NO_MEMORY : image_probe(bytes, &limits, &info, &err);
    if (rc == RC_OK)
        rc = image_fit(scratch, bytes, &info, &geometry, NULL, rgb, NULL, &err);
    if (rc == RC_OK)
        answer_picture(&info, rgb, size);
    else
        answer_error(rc, &err);
    free(rgb);
}

static void run_raw(struct image_scratch *scratch, const char *line, struct buf *file)
{
    char path[512];
    char filter[32];
    struct floor_picture picture = {0};
    struct floor_box box = {0};
    struct image_geometry geometry = {0};
    struct error err = {.text = "the case cannot be read"};
    if (sscanf(line, "raw %511s %u %u %u %u %u %u %31s %u %u", path, &picture.width,
               &picture.height, &box.x, &box.y, &box.width, &box.height, filter, &geometry.width,
               &geometry.height) != 10 ||
        !read_file(path, file) || file->size != (size_t)picture.width * picture.height * 3) {
        answer_error(RC_INVALID, &err);
        return;
    }
    picture.rgb = file->data;
    geometry.filter = filter_of(filter);
    size_t size = (size_t)geometry.width * geometry.height * 3;
    uint8_t *rgb = malloc(size);
    enum rc rc =
        rgb == NULL ? RC_NO_MEMORY : floor_resize(scratch, &picture, &box, &geometry, rgb, &err);
    struct image_info info = {.width = picture.width, .height = picture.height};
    if (rc == RC_OK)
        answer_picture(&info, rgb, size);
    else
        answer_error(rc, &err);
    free(rgb);
}

struct encoding {
    unsigned width;
    unsigned height;
    unsigned h[2];
    unsigned v[2];
    unsigned progressive;
    unsigned arithmetic;
    unsigned restart; /* MCUs between restart markers; 0: none */
    unsigned quality;
    J_COLOR_SPACE from;
    J_COLOR_SPACE to;
};

static bool space_of(const char *word, struct encoding *encoding)
{
    static const struct {
        const char *word;
        J_COLOR_SPACE from;
        J_COLOR_SPACE to;
    } spaces[] = {{"grey", JCS_GRAYSCALE, JCS_GRAYSCALE},
                  {"rgb", JCS_RGB, JCS_RGB},
                  {"ycc", JCS_RGB, JCS_YCbCr},
                  {"cmyk", JCS_CMYK, JCS_CMYK},
                  {"ycck", JCS_CMYK, JCS_YCCK}};
    for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
        if (strcmp(spaces[i].word, word) != 0)
            continue;
        encoding->from = spaces[i].from;
        encoding->to = spaces[i].to;
        return true;
    }
    return false;
}

static int components_of(J_COLOR_SPACE space)
{
    return space == JCS_GRAYSCALE ? 1 : space == JCS_CMYK ? 4 : 3;
}

static _Noreturn void on_error(j_common_ptr jpeg) { longjmp(*(jmp_buf *)jpeg->client_data, 1); }

static void fill_header(struct jpeg_compress_struct *jpeg, const struct encoding *encoding)
{
    jpeg->image_width = encoding->width;
    jpeg->image_height = encoding->height;
    jpeg->input_components = components_of(encoding->from);
    jpeg->in_color_space = encoding->from;
    jpeg_set_defaults(jpeg);
    jpeg_set_colorspace(jpeg, encoding->to);
    jpeg_set_quality(jpeg, (int)encoding->quality, TRUE);
    for (int i = 0; i < jpeg->num_components; i++) {
        bool luma = i == 0 || i == 3;
        jpeg->comp_info[i].h_samp_factor = (int)encoding->h[luma ? 0 : 1];
        jpeg->comp_info[i].v_samp_factor = (int)encoding->v[luma ? 0 : 1];
    }
    jpeg->arith_code = encoding->arithmetic != 0;
    jpeg->restart_interval = encoding->restart;
    if (encoding->progressive != 0)
        jpeg_simple_progression(jpeg);
}

/* False where libjpeg cannot write such a file. */
static bool encode(const struct encoding *encoding, uint8_t *pixels, uint8_t **ret_jpeg,
                   unsigned long *ret_size)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    jmp_buf failed;
    jpeg.err = jpeg_std_error(&errors);
    errors.error_exit = on_error;
    jpeg.client_data = &failed;
    bool fine = setjmp(failed) == 0;
    if (fine) {
        jpeg_create_compress(&jpeg);
        jpeg.client_data = &failed;
        jpeg_mem_dest(&jpeg, ret_jpeg, ret_size);
        fill_header(&jpeg, encoding);
        jpeg_start_compress(&jpeg, TRUE);
        while (jpeg.next_scanline < jpeg.image_height) {
            JSAMPROW row = pixels + (size_t)jpeg.next_scanline * jpeg.image_width *
                                        (size_t)jpeg.input_components;
            (void)jpeg_write_scanlines(&jpeg, &row, 1);
        }
        jpeg_finish_compress(&jpeg);
    }
    jpeg_destroy_compress(&jpeg);
    return fine;
}

static void run_encode(const char *line, struct buf *file)
{
    char path[512];
    char space[32];
    struct encoding encoding = {0};
    struct error err = {.text = "the case cannot be read"};
    if (sscanf(line, "encode %511s %u %u %31s %u %u %u %u %u %u %u %u", path, &encoding.width,
               &encoding.height, space, &encoding.h[0], &encoding.v[0], &encoding.h[1],
               &encoding.v[1], &encoding.progressive, &encoding.arithmetic, &encoding.restart,
               &encoding.quality) != 12 ||
        !space_of(space, &encoding) || !read_file(path, file) ||
        file->size !=
            (size_t)encoding.width * encoding.height * (size_t)components_of(encoding.from)) {
        answer_error(RC_INVALID, &err);
        return;
    }
    uint8_t *jpeg = NULL;
    unsigned long size = 0;
    struct image_info info = {.width = encoding.width, .height = encoding.height};
    if (encode(&encoding, file->data, &jpeg, &size))
        answer_picture(&info, jpeg, size);
    else
        answer_error(RC_INVALID, &err);
    free(jpeg);
}

int main(void)
{
    struct image_scratch *scratch = NULL;
    if (image_scratch_open(&scratch, NULL) != RC_OK)
        return 1;
    struct buf file = BUF_INIT(FILE_SIZE_MAX);
    char line[LINE_SIZE_MAX];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (strncmp(line, "raw ", 4) == 0)
            run_raw(scratch, line, &file);
        else if (strncmp(line, "encode ", 7) == 0)
            run_encode(line, &file);
        else
            run_file(scratch, line, &file);
        (void)fflush(stdout);
    }
    buf_done(&file);
    image_scratch_free(scratch);
    return 0;
}
