/* SPDX-License-Identifier: Apache-2.0
 * bytes.h - a borrowed view (`struct bytes`) and an owned, capped, growing buffer (`struct buf`).
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H
#include "base/rc.h"
#include <stdint.h>

struct bytes {
    const uint8_t *data;
    size_t size;
};

/* A view of a string literal or a C string, without its terminator. */
struct bytes bytes_of(const char *text);
bool bytes_equal(struct bytes a, struct bytes b);
/* ASCII letters compare without case: header names, media types, boundaries' keywords. */
bool bytes_equal_nocase(struct bytes a, struct bytes b);

struct buf {
    uint8_t *data;
    size_t size;
    size_t room;     /* allocated */
    size_t size_max; /* hard cap: reaching it is RC_TOO_LARGE, never an allocation */
};
#define BUF_INIT(cap)                                                                              \
    {                                                                                              \
        .size_max = (cap)                                                                          \
    }

NODISCARD enum rc buf_append(struct buf *buf, struct bytes more);
NODISCARD enum rc buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
/* Make room for `more` further bytes, so that the appends that follow cannot fail. */
NODISCARD enum rc buf_reserve(struct buf *buf, size_t more);
void buf_clear(struct buf *buf); /* keeps the room */
void buf_done(struct buf *buf);
#endif
