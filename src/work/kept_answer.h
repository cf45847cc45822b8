/* SPDX-License-Identifier: Apache-2.0
 * kept_answer.h - what is kept beside an Idempotency-Key, so that the first answer can be given
 * again: which pictures failed, and why. All else is in the stored predictions. Included by work/
 * only.
 *
 * A byte 1, then of each failed picture its index (u16, little endian), the failure's name and text
 * (each a byte with the size, then the bytes). */
#ifndef WORK_KEPT_ANSWER_H
#define WORK_KEPT_ANSWER_H
#include "work/work.h"

#define KEPT_ANSWER_IMAGES_MAX 1024u
/* Of any request with so many pictures. */
#define KEPT_ANSWER_SIZE_MAX                                                                       \
    (1 + KEPT_ANSWER_IMAGES_MAX * (4 + 32 + sizeof(((struct error *)0)->text)))

/* Errors: NO_MEMORY, TOO_LARGE. */
NODISCARD enum rc kept_answer_write(const struct work_request *request, struct buf *into);
/* Gives the pictures their failures, and the others RC_OK. INTERNAL: not written by the above for a
 * request like this. */
NODISCARD enum rc kept_answer_read(struct bytes kept, struct work_request *request,
                                   struct error *err);
#endif
