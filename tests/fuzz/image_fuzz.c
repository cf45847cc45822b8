/* SPDX-License-Identifier: Apache-2.0
 * image_fuzz.c - any bytes through image_probe() and image_fit(), one target a format.
 *
 * IMAGE_FUZZ_FORMAT names the format; inputs of another are passed over, so that each target spends
 * its time on its own decoder. The first bytes' sum picks the geometry. */
#include "image/fitter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 24u

static const struct image_limits limits = {
    .bytes_max = 1u << 20,
    .side_min = 1,
    .side_max = 2048,
    .pixels_max = 1u << 18,
    .jpeg_scans_max = 20,
    .memory_max = 64u << 20,
};

static enum rc check(void *ctx)
{
    uint32_t *polls_left = ctx;
    return *polls_left == 0 ? RC_DEADLINE : (--*polls_left, RC_OK);
}

/* The faster Huffman decoder must give what libjpeg's gives, on damaged files too. */
static void compare_with_plain(struct image_scratch *scratch, struct bytes file,
                               const struct image_info *info, const struct image_geometry *geometry,
                               const uint8_t *got, enum rc rc)
{
    size_t size = (size_t)geometry->width * geometry->height * 3;
    uint8_t *plain = malloc(size);
    if (plain == NULL)
        abort();
    scratch->jpeg_plain = true;
    enum rc plain_rc = image_fit(scratch, file, info, geometry, NULL, plain, NULL, NULL);
    scratch->jpeg_plain = false;
    assert(rc == plain_rc);
    assert(rc != RC_OK || memcmp(got, plain, size) == 0);
    free(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct image_scratch *scratch;
    if (scratch == NULL && image_scratch_open(&scratch, NULL) != RC_OK)
        abort();
    struct image_info info;
    struct error err;
    struct bytes file = {data, size};
    if (image_probe(file, &limits, &info, &err) != RC_OK)
        return 0;
    if (info.format != IMAGE_FUZZ_FORMAT)
        return 0;
    assert(info.width <= limits.side_max && info.height <= limits.side_max);
    assert(info.orientation >= 1 && info.orientation <= 8);
    uint32_t choice = 0;
    for (size_t i = 0; i < size; i++)
        choice += data[i];
    struct image_geometry geometry = {
        .width = 1 + choice % SIDE,
        .height = 1 + choice / 7 % SIDE,
        .mode = (enum image_mode)(choice / 3 % 4),
        .filter = (enum image_filter)(choice / 5 % 2),
        .crop_fraction = (1 + choice % 8) / 8.0,
        .resize_side = 1 + choice / 11 % 64,
        .bgr = choice / 13 % 2 == 1,
    };
    uint32_t polls_left = choice % 17 == 0 ? choice % 5 : UINT32_MAX;
    struct image_poll poll = {check, &polls_left};
    /* Exactly as large as promised, on the heap: a byte too many is seen. */
    uint8_t *into = malloc((size_t)geometry.width * geometry.height * 3);
    if (into == NULL)
        abort();
    enum rc rc = image_fit(scratch, file, &info, &geometry, &poll, into, NULL, &err);
    assert(rc == RC_OK || rc == RC_BAD_IMAGE || rc == RC_DEADLINE || rc == RC_NO_MEMORY ||
           rc == RC_UNSUPPORTED || rc == RC_IMAGE_LIMIT);
    if (info.format == IMAGE_JPEG && rc != RC_DEADLINE)
        compare_with_plain(scratch, file, &info, &geometry, into, rc);
    free(into);
    return 0;
}
