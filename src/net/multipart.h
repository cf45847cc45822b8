/* SPDX-License-Identifier: Apache-2.0
 * multipart.h - multipart/form-data (RFC 7578, RFC 2046 section 5.1) of a body in memory.
 *
 * Nothing is copied: parts are views of the body. Strict: a missing final boundary, a part
 * without a name, or more than the caller's number of parts is an error, never a guess.
 */
#ifndef NET_MULTIPART_H
#define NET_MULTIPART_H
#include "base/bytes.h"

struct multipart_part {
    struct bytes name;         /* of the field, unescaped quotes left as sent */
    struct bytes filename;     /* data NULL: none */
    struct bytes content_type; /* data NULL: none */
    struct bytes body;
};

struct multipart {
    struct bytes body;
    struct bytes boundary;
    size_t at;
    bool ended;
};

/* `content_type` is the whole header value. INVALID: not multipart/form-data, no usable boundary.
 */
NODISCARD enum rc multipart_start(struct multipart *multipart, struct bytes content_type,
                                  struct bytes body, struct error *err);
/* The next part; `*ret_found` false after the last. INVALID says at which byte it broke. */
NODISCARD enum rc multipart_next(struct multipart *multipart, struct multipart_part *ret_part,
                                 bool *ret_found, struct error *err);
#endif
