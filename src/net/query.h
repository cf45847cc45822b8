/* SPDX-License-Identifier: Apache-2.0
 * query.h - the query string of a URL (application/x-www-form-urlencoded), decoded in place. */
#ifndef NET_QUERY_H
#define NET_QUERY_H
#include "base/bytes.h"

/* Takes the first name=value off `*rest` into `name` and `value`, percent-decoded ('+' is a space).
 * `*ret_found` false: nothing was left. INVALID: a broken escape, a NUL, or text over `size_max`.
 */
NODISCARD enum rc query_next(struct bytes *rest, struct buf *name, struct buf *value,
                             bool *ret_found, struct error *err);
/* Percent-decode one path segment. */
NODISCARD enum rc query_decode_segment(struct bytes segment, struct buf *into, struct error *err);
#endif
