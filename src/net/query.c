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

enum rc query_next(struct bytes *rest, struct buf *name, struct buf *value, bool *ret_found,
                   struct error *err)
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
    buf_clear(name);
    buf_clear(value);
    *ret_found = false;
    if (pair.size == 0)
        return RC_OK;
    struct bytes left = pair, right = {0};
    const uint8_t *equals = memchr(pair.data, '=', pair.size);
    if (equals != NULL) {
        left.size = (size_t)(equals - pair.data);
        right = (struct bytes){equals + 1, pair.size - left.size - 1};
    }
    enum rc rc = decode(left, true, name, err);
    if (rc == RC_OK)
        rc = decode(right, true, value, err);
    *ret_found = rc == RC_OK;
    return rc;
}

enum rc query_decode_segment(struct bytes segment, struct buf *into, struct error *err)
{
    buf_clear(into);
    return decode(segment, false, into, err);
}
