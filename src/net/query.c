/* SPDX-License-Identifier: Apache-2.0 */
#include "net/query.h"

#include <string.h>

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum rc decode(struct bytes text, bool plus_is_space, struct buf *into, struct error *err)
{
    /* Decoding never grows a text, so this is the one place that may fail for its size. */
    enum rc rc = buf_reserve(into, text.size);
    if (rc == RC_TOO_LARGE)
        return error_set(err, RC_INVALID, "%zu bytes are over the limit of %zu", text.size,
                         into->size_max);
    if (rc != RC_OK)
        return error_set(err, rc, "%zu bytes", text.size);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < text.size ? hex_digit(text.data[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text.data[i + 2]) : -1;
            if (low < 0)
                return error_set(err, RC_INVALID, "byte %zu: '%%' needs two hex digits", i);
            c = (uint8_t)(high * 16 + low);
            i += 2;
        }
        if (c == 0)
            return error_set(err, RC_INVALID, "byte %zu: a NUL", i);
        into->data[into->size++] = c;
    }
    return RC_OK;
}

/* Off the front of `*rest`; empty: nothing is left. */
static struct bytes take_pair(struct bytes *rest)
{
    struct bytes pair = {0};
    while (rest->size > 0 && pair.size == 0) { /* "a&&b" is a and b */
        const uint8_t *end = memchr(rest->data, '&', rest->size);
        pair = *rest;
        if (end != NULL)
            pair.size = (size_t)(end - rest->data);
        size_t taken = end != NULL ? pair.size + 1 : pair.size;
        rest->data += taken;
        rest->size -= taken;
    }
    return pair;
}

static enum rc decode_pair(struct bytes pair, struct buf *name, struct buf *value,
                           struct error *err)
{
    struct bytes left = pair, right = {0};
    const uint8_t *equals = memchr(pair.data, '=', pair.size);
    if (equals != NULL) {
        left.size = (size_t)(equals - pair.data);
        right = (struct bytes){equals + 1, pair.size - left.size - 1};
    }
    buf_clear(name);
    buf_clear(value);
    enum rc rc = decode(left, true, name, err);
    return rc == RC_OK ? decode(right, true, value, err) : rc;
}

enum rc query_each(struct bytes query, size_t size_max, query_fn each, void *ctx, struct error *err)
{
    struct buf name = BUF_INIT(size_max);
    struct buf value = BUF_INIT(size_max);
    enum rc rc = RC_OK;
    struct bytes pair;
    while (rc == RC_OK && (pair = take_pair(&query)).size > 0) {
        rc = decode_pair(pair, &name, &value, err);
        if (rc == RC_OK)
            rc = each(ctx, (struct bytes){name.data, name.size},
                      (struct bytes){value.data, value.size}, err);
    }
    buf_done(&name);
    buf_done(&value);
    return rc;
}

enum rc query_decode_segment(struct bytes segment, struct buf *into, struct error *err)
{
    buf_clear(into);
    return decode(segment, false, into, err);
}
