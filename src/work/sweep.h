/* SPDX-License-Identifier: Apache-2.0
 * sweep.h - removes what need not be kept: predictions, jobs and pictures whose tenant's retention
 * is over, pictures that nothing refers to, idempotency keys that have expired.
 *
 * A pass goes through all of it in steps of bounded work; sweep_step() is one of them, with the
 * time as an argument. sweep_start() has a thread make a pass now and after every interval. It
 * rests after each step for several times as long as the step took, so it never takes more than a
 * fraction of a CPU or of the disk, and a write waits for one small batch at most. It has the usual
 * priority: at a low one it would hold writers up for a second while it waits for a CPU itself.
 *
 *   result_days  predictions, their feedback, and jobs that ended so long ago; a tombstone and the
 *                ledger's entry stay, so usage does not change and can still be proven
 *   image_days   pictures last sent so long ago, though predictions refer to them; open jobs keep
 *                theirs
 *
 * A picture sent within BLOB_SWEEP_AGE_MS stays: what refers to it may be about to be written.
 */
#ifndef WORK_SWEEP_H
#define WORK_SWEEP_H
#include "account/account.h"
#include "blob/blob.h"
#include "results/results.h"

/* What a pass has removed. */
struct sweep_counts {
    uint64_t prediction_count;
    uint64_t job_row_count; /* jobs, and outcomes of their pictures */
    uint64_t picture_count;
    uint64_t picture_size;
    uint64_t key_count;   /* idempotency keys */
    uint64_t stale_count; /* temporary files of pictures that a crash left */
};

struct sweep_config {
    struct results *results;
    struct blob *blob;
    struct account *account; /* NULL: everybody's retention is for ever */
    uint32_t interval_ms;    /* from the end of a pass to the start of the next */
    /* On the thread; for logs. A pass that removed something is over, or was given up. */
    void (*note)(void *ctx, const struct sweep_counts *counts);
    /* Something failed, said once until all works again. The next pass tries again. */
    void (*trouble)(void *ctx, const struct error *err);
    void *ctx;
};

struct sweep;

NODISCARD enum rc sweep_open(const struct sweep_config *config, struct sweep **ret_sweep,
                             struct error *err);
/* Not once the thread runs. *ret_done: that was the end of a pass; the next step begins another.
 * After a failure the next step goes on, with the same if it has to be done again. */
NODISCARD enum rc sweep_step(struct sweep *sweep, uint64_t now_ms, bool *ret_done,
                             struct error *err);
/* Of the pass under way, or the last one. Not once the thread runs. */
const struct sweep_counts *sweep_counts(const struct sweep *sweep);

NODISCARD enum rc sweep_start(struct sweep *sweep, struct error *err);
/* Waits for the step under way, no longer. NULL is fine. */
void sweep_free(struct sweep *sweep);
#endif
