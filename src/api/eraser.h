/* SPDX-License-Identifier: Apache-2.0
 * eraser.h - erases pictures whose last prediction was erased. Included by api/ only.
 *
 * A picture that was sent a moment ago may belong to a request that is about to be committed, so it
 * is left alone until the longest request is over, and then erased unless a prediction has it. What
 * waits when the process ends is left to the sweep of unreferenced pictures.
 */
#ifndef API_ERASER_H
#define API_ERASER_H
#include "blob/blob.h"
#include "results/results.h"

struct eraser;

struct eraser_config {
    struct results *results;
    struct blob *blob;
    uint32_t grace_ms; /* the longest that a request takes from its picture's put to its commit */
    uint32_t waiting_max;
};
NODISCARD enum rc eraser_open(const struct eraser_config *config, struct eraser **ret_eraser,
                              struct error *err);
/* At once if it is old enough, else when it is. Blocks on the disk. */
void eraser_erase(struct eraser *eraser, const char *tenant, const uint8_t sha256[32]);
void eraser_free(struct eraser *eraser); /* NULL is fine */
#endif
