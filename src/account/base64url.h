/* SPDX-License-Identifier: Apache-2.0
 * base64url.h - the encodings of credentials: base64url as JWTs use it, base32 as our keys do. */
#ifndef ACCOUNT_BASE64URL_H
#define ACCOUNT_BASE64URL_H
#include "base/bytes.h"

/* Without padding, as RFC 7515 has it. Strict: bits left over must be zero, so that no two texts
 * stand for the same bytes. INVALID, or TOO_LARGE for `into_size_max`. */
NODISCARD enum rc base64url_decode(struct bytes text, uint8_t *into, size_t into_size_max,
                                   size_t *ret_size);
/* a-z 2-7, no padding: (size * 8 + 4) / 5 characters and a terminator. */
void base32_encode(struct bytes data, char *into);
bool base32_fits(struct bytes text); /* only characters of the alphabet */
#endif
