/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BUF_ROOM_MIN 256u

struct bytes bytes_of(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool bytes_equal_nocase(struct bytes a, struct bytes b)
{
    return a.size == b.size &&
           (a.size == 0 || strncasecmp((const char *)a.data, (const char *)b.data, a.size) == 0);
}

enum rc buf_reserve(struct buf *buf, size_t more)
{
    assert(buf->size <= buf->size_max);
    if (more > buf->size_max - buf->size)
        return RC_TOO_LARGE;
    size_t needed = buf->size + more;
    if (needed <= buf->room)
        return RC_OK;
    size_t room = buf->room < BUF_ROOM_MIN ? BUF_ROOM_MIN : buf->room;
    while (room < needed)
        room = room > SIZE_MAX / 2 ? needed : room * 2;
    if (room > buf->size_max)
        room = buf->size_max;
    uint8_t *grown = realloc(buf->data, room);
    if (grown == NULL)
        return RC_NO_MEMORY;
    buf->data = grown;
    buf->room = room;
    return RC_OK;
}

enum rc buf_append(struct buf *buf, struct bytes more)
{
    if (more.size == 0)
        return RC_OK;
    enum rc rc = buf_reserve(buf, more.size);
    if (rc != RC_OK)
        return rc;
    memcpy(buf->data + buf->size, more.data, more.size);
    buf->size += more.size;
    return RC_OK;
}

enum rc buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    /* One byte more than counted: vsnprintf writes a terminator that is not kept. */
    enum rc rc = size < 0 ? RC_INTERNAL : buf_reserve(buf, (size_t)size + 1);
    if (rc == RC_OK) {
        (void)vsnprintf((char *)buf->data + buf->size, (size_t)size + 1, format, again);
        buf->size += (size_t)size;
    }
    va_end(again);
    return rc;
}

void buf_clear(struct buf *buf) { buf->size = 0; }

void buf_done(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.size_max = buf->size_max};
}
