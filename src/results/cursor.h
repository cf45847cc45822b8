/* SPDX-License-Identifier: Apache-2.0
 * cursor.h - a place in a history, of predictions or jobs, as text: version, digest of tenant
 * and filter, time, id. */
#ifndef RESULTS_CURSOR_H
#define RESULTS_CURSOR_H
#include "results/driver.h"

/* The digest ties a cursor to its question; it is no secret: a forged one shows nothing that the
 * same tenant could not ask for. */
uint64_t cursor_digest(struct bytes tenant, const struct results_filter *filter);
uint64_t cursor_digest_jobs(struct bytes tenant);
void cursor_write(uint64_t digest, struct results_position position,
                  char into[RESULTS_CURSOR_SIZE]);
/* INVALID unless cursor_write() could have written `text` with the same digest. */
NODISCARD enum rc cursor_read(struct bytes text, uint64_t digest,
                              struct results_position *ret_position, struct error *err);
#endif
