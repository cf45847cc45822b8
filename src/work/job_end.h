/* SPDX-License-Identifier: Apache-2.0
 * job_end.h - ends a job: whoever does it, once, with the message to its webhook.
 *
 * The record is ended before the queue is told, and the first end wins. So a crash in between
 * leaves a message whose job has ended, which its next worker only acknowledges, and two that end a
 * job tell the receiver once.
 *
 * Threads: any; blocks on the stores.
 */
#ifndef WORK_JOB_END_H
#define WORK_JOB_END_H
#include "account/account.h"
#include "work/job.h"

struct job_stores {
    struct results *results;
    struct queue *queue;
    struct account *account; /* NULL: nothing is reserved, and nobody is told */
};

/* Ends the record, tells the webhook in the same commit, and turns the reservation into use;
 * nothing of it if it has ended. `reason` is for the client: no paths. The record's counts are
 * filled. */
NODISCARD enum rc job_end(const struct job_stores *stores, const char *tenant,
                          struct result_job *record, const struct job *job, enum result_job_end end,
                          const char *reason, uint64_t now_ms, struct error *err);
/* What an open job's message in the queue says of it: pushes it if the queue does not know it, and
 * ends it if the queue gave it up or cancelled it. *ret_ended: it has ended. */
NODISCARD enum rc job_reconcile(const struct job_stores *stores, const char *tenant, struct id id,
                                uint64_t now_ms, bool *ret_ended, struct error *err);
#endif
