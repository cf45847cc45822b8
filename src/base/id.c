/* SPDX-License-Identifier: Apache-2.0 */
#include "base/id.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void random_fill(uint8_t *into, size_t size)
{
    while (size > 0) {
        ssize_t got = getrandom(into, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            abort(); /* No kernel that we run on lacks getrandom: there is no safe way on. */
        into += got;
        size -= (size_t)got;
    }
}

struct id id_new(uint64_t wall_ms)
{
    struct id id;
    for (int i = 0; i < 6; i++)
        id.octets[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
    random_fill(id.octets + 6, 10);
    id.octets[6] = (uint8_t)(0x70 | (id.octets[6] & 0x0f));
    id.octets[8] = (uint8_t)(0x80 | (id.octets[8] & 0x3f));
    return id;
}

struct id id_derive(struct id request, uint32_t index)
{
    /* XOR into the random tail: a bijection for each request, and the time prefix stays. */
    for (int i = 0; i < 4; i++)
        request.octets[12 + i] ^= (uint8_t)(index >> (24 - 8 * i));
    return request;
}

void id_text(struct id id, char into[ID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            into[at++] = '-';
        into[at++] = digits[id.octets[i] >> 4];
        into[at++] = digits[id.octets[i] & 15];
    }
    into[at] = '\0';
}

bool id_is_zero(struct id id)
{
    static const struct id zero;
    return memcmp(&id, &zero, sizeof(id)) == 0;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum rc id_parse(struct bytes text, struct id *ret_id)
{
    if (text.size != ID_TEXT_SIZE - 1)
        return RC_INVALID;
    struct id id = {0};
    size_t digit = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text.data[i] != '-')
                return RC_INVALID;
            continue;
        }
        int value = hex_value(text.data[i]);
        if (value < 0)
            return RC_INVALID;
        id.octets[digit / 2] = (uint8_t)(id.octets[digit / 2] << 4 | value);
        digit++;
    }
    *ret_id = id;
    return RC_OK;
}
