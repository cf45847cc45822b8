/* SPDX-License-Identifier: Apache-2.0
 * query.h - the query string of a URL (application/x-www-form-urlencoded), decoded in place. */
#ifndef NET_QUERY_H
#define NET_QUERY_H
#include "base/bytes.h"

/* What one name=value means; both live for the call. A code other than RC_OK ends the reading. */
typedef enum rc (*query_fn)(void *ctx, struct bytes name, struct bytes value, struct error *err);
/* Calls `each` for every name=value in order, percent-decoded ('+' is a space). INVALID: a broken
 * escape, a NUL, or a name or value over `size_max`. */
NODISCARD enum rc query_each(struct bytes query, size_t size_max, query_fn each, void *ctx,
                             struct error *err);
/* Percent-decode one path segment. */
NODISCARD enum rc query_decode_segment(struct bytes segment, struct buf *into, struct error *err);
#endif
