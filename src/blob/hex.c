/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/hex.h"

#include <string.h>

void hex_text(const uint8_t *octets, size_t size, char *into)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        into[2 * i] = digits[octets[i] >> 4];
        into[2 * i + 1] = digits[octets[i] & 15];
    }
    into[2 * size] = '\0';
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_parse(const char *text, uint8_t *into, size_t size)
{
    if (strnlen(text, 2 * size + 1) != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        into[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
