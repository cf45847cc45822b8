/* SPDX-License-Identifier: Apache-2.0
 * long_strings.h - takes the long strings out of a JSON text before it is parsed.
 *
 * A JSON parser copies and checks every character of a picture in base64: seconds for a large body.
 * Here each long string that has no escapes is left where it is, and the text that is parsed has a
 * short name in its place. What is parsed is bounded in size and in values.
 */
#ifndef API_LONG_STRINGS_H
#define API_LONG_STRINGS_H
#include "base/bytes.h"

#include <jansson.h>

struct long_strings {
    struct buf text; /* the JSON with names instead of long strings */
    struct bytes *strings;
    uint32_t count;
};

/* TOO_LARGE: over `count_max` long strings, or too much besides them. Views point into `json`. */
NODISCARD enum rc long_strings_cut(struct bytes json, uint32_t count_max,
                                   struct long_strings *ret_strings, struct error *err);
/* What a string of the parsed text stands for: itself, or the long string that it names. */
struct bytes long_strings_value(const struct long_strings *strings, const json_t *string);
void long_strings_done(struct long_strings *strings);
#endif
