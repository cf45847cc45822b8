/* SPDX-License-Identifier: Apache-2.0
 * id.h - UUIDv7 (RFC 9562, section 5.7): the edge mints a request's id, the rest derive from it. */
#ifndef BASE_ID_H
#define BASE_ID_H
#include "base/bytes.h"

struct id {
    uint8_t octets[16];
};

#define ID_TEXT_SIZE 37

/* A new id: Unix milliseconds, then random bits. Ids of one process and millisecond are unordered.
 */
struct id id_new(uint64_t wall_ms);
/* The id of item `index` of request `request`: the same pair always gives the same id. Index 0
 * is the request's own id, so that a request of one image has one id. */
struct id id_derive(struct id request, uint32_t index);
bool id_is_zero(struct id id); /* none */
void id_text(struct id id, char into[ID_TEXT_SIZE]);
/* RC_INVALID unless `text` is 36 characters of a UUID in lower case. */
NODISCARD enum rc id_parse(struct bytes text, struct id *ret_id);
#endif
