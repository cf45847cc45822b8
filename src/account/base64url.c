/* SPDX-License-Identifier: Apache-2.0 */
#include "account/base64url.h"

static int value_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-')
        return 62;
    return c == '_' ? 63 : -1;
}

enum rc base64url_decode(struct bytes text, uint8_t *into, size_t into_size_max, size_t *ret_size)
{
    if (text.size % 4 == 1)
        return RC_INVALID;
    size_t size = text.size / 4 * 3 + (text.size % 4 == 0 ? 0 : text.size % 4 - 1);
    if (size > into_size_max)
        return RC_TOO_LARGE;
    uint32_t bits = 0;
    uint32_t bit_count = 0;
    size_t at = 0;
    for (size_t i = 0; i < text.size; i++) {
        int value = value_of(text.data[i]);
        if (value < 0)
            return RC_INVALID;
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            into[at++] = (uint8_t)(bits >> bit_count);
            bits &= (1u << bit_count) - 1;
        }
    }
    if (bits != 0)
        return RC_INVALID;
    *ret_size = at;
    return RC_OK;
}

static const char base32_alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

void base32_encode(struct bytes data, char *into)
{
    uint32_t bits = 0;
    uint32_t bit_count = 0;
    for (size_t i = 0; i < data.size; i++) {
        bits = bits << 8 | data.data[i];
        bit_count += 8;
        while (bit_count >= 5) {
            bit_count -= 5;
            *into++ = base32_alphabet[bits >> bit_count & 31];
        }
        bits &= (1u << bit_count) - 1;
    }
    if (bit_count > 0)
        *into++ = base32_alphabet[bits << (5 - bit_count) & 31];
    *into = '\0';
}

bool base32_fits(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '2' && c <= '7'))
            return false;
    }
    return true;
}
