/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a query string: every pair is within the limit, and all are no more than came. */
#include "net/query.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PART_SIZE_MAX 100u

static enum rc check(void *ctx, struct bytes name, struct bytes value, struct error *err)
{
    size_t *size = ctx;
    (void)err;
    if (name.size > PART_SIZE_MAX || value.size > PART_SIZE_MAX || name.size + value.size > *size ||
        (name.size > 0 && memchr(name.data, 0, name.size) != NULL))
        abort();
    *size -= name.size + value.size; /* what comes out is never more than what went in */
    return RC_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes query = {data, size};
    struct buf segment = BUF_INIT(1000);
    struct error err;
    size_t left = size;
    (void)!query_each(query, PART_SIZE_MAX, check, &left, &err);
    if (query_decode_segment(query, &segment, &err) == RC_OK && segment.size > size)
        abort();
    buf_done(&segment);
    return 0;
}
