/* SPDX-License-Identifier: Apache-2.0
 * job_runner.h - works on jobs: leases them, reads their pictures, has them labelled, ends them.
 *
 * One thread. It holds a few jobs at a time, of any tenants, and gives their pictures by turns to
 * work_submit(), a bounded window at a time; each is committed alone, with its outcome as an item
 * of the job. What has an item is left out: after a crash or a failed attempt the next one goes on
 * from there, and nothing is kept or billed twice.
 *
 *   every item has an outcome          the record is ended as done, then the message acknowledged
 *   something failed that may pass     the others are finished, then the attempt fails: again
 * later, or dead when the attempts are used up cancelled                          pictures in work
 * stop, and the record is ended as cancelled the lease was lost                 dropped: another
 * worker has it the server ends                    what is in work is finished, the rest is given
 * back untried
 *
 * With all its places taken it gives one back untried every two seconds, so that others have their
 * turn.
 *
 * It also looks through the open jobs, a page a second, for those that the queue does not know (a
 * crash came between record and message) or gave up (their workers died).
 *
 * Threads: job_runner_*() from any. Ownership: all of the configuration is borrowed.
 */
#ifndef WORK_JOB_RUNNER_H
#define WORK_JOB_RUNNER_H
#include "queue/queue.h"
#include "work/job_end.h"
#include "work/work.h"

struct job_runner;

enum job_note_kind {
    JOB_NOTE_ENDED,          /* text: how */
    JOB_NOTE_ATTEMPT_FAILED, /* it is tried again */
    JOB_NOTE_DEAD,           /* that was the last attempt */
    JOB_NOTE_LEASE_LOST,
    JOB_NOTE_NOT_BEGUN, /* a store did not let it begin: later */
    JOB_NOTE_NOT_ENDED, /* a store did not take its end: again in a second */
    JOB_NOTE_TROUBLE    /* of no job */
};
struct job_note {
    enum job_note_kind what;
    const char *tenant;
    struct id id;
    const char *text; /* may name files: for the log */
};

struct job_runner_config {
    struct job_stores stores;
    struct blob *blob;
    struct work *work;
    uint32_t window;    /* pictures in work at a time */
    size_t memory_max;  /* of them; one picture may be larger */
    size_t picture_max; /* a larger one fails */
    uint32_t lease_ms;
    struct queue_retry_policy retry;
    /* For the log; on the runner's thread. */
    void (*note)(void *ctx, const struct job_note *note);
    void *note_ctx;
};

NODISCARD enum rc job_runner_open(const struct job_runner_config *config,
                                  struct job_runner **ret_runner, struct error *err);
/* A job was cancelled: look whether it is one of those in work, before the next heartbeat. */
void job_runner_look(struct job_runner *runner);
/* `ended` is told of each job that this runner ends, on its thread; NULL: of none any more. */
void job_runner_listen(struct job_runner *runner, void (*ended)(void *ctx, struct id id),
                       void *ctx);
/* Begin nothing any more, finish what is in work, give back the rest. Returns at once. */
void job_runner_drain(struct job_runner *runner);
/* Before the process ends with work that does not: waits for nothing, frees nothing. */
void job_runner_abandon(struct job_runner *runner);
/* Drains, and waits for it. NULL is fine. */
void job_runner_free(struct job_runner *runner);
#endif
