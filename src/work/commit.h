/* SPDX-License-Identifier: Apache-2.0
 * commit.h - makes finished requests durable before they are answered. Included by work/ only.
 *
 * One thread takes every request that waits, puts their pictures, then commits their predictions
 * and ledger entries, each in one call for all (group commit: no delay is added, a busy server
 * commits many at once). Pictures come first: a crash in between leaves an unreferenced picture,
 * which the sweep removes, never a prediction without one.
 */
#ifndef WORK_COMMIT_H
#define WORK_COMMIT_H
#include "work/work.h"

struct committer;

/* Has the request anything to keep? */
bool commit_needed(const struct work_request *request);

/* `done` gets each pushed request, exactly once, on the committer's thread. */
NODISCARD enum rc committer_open(struct results *results, struct blob *blob,
                                 void (*done)(struct work_request *request),
                                 struct committer **ret_committer, struct error *err);
void committer_push(struct committer *committer, struct work_request *request);
/* Commits what was pushed, then ends. NULL is fine. */
void committer_free(struct committer *committer);
#endif
