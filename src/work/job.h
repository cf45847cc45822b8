/* SPDX-License-Identifier: Apache-2.0
 * job.h - what a job asks for, and how it looks to clients.
 *
 * A job is up to 1,000 stored pictures for one model. Its record in the results store says what was
 * asked for and how it ended, its items what became of each picture, its message in the queue who
 * works on it. The record's body is written and read here. Pure: no store, no clock, no thread.
 */
#ifndef WORK_JOB_H
#define WORK_JOB_H
#include "queue/job_state.h"
#include "results/jobs.h"

#include <jansson.h>

struct job {
    struct bytes model; /* both were chosen when the job was accepted: all pictures get the same */
    struct bytes version;
    struct bytes reference; /* the client's own, of every prediction */
    struct bytes metadata;
    struct bytes plan;
    uint32_t plan_version;
    uint32_t top_k;
    float min_score;
    bool reserves;           /* its pictures are reserved, under the job's id */
    uint64_t images_per_day; /* the limit that they are reserved against */
    struct bytes webhook;    /* who is told of the end; empty: nobody */
};

/* `into` has a cap of at least RESULT_JOB_BODY_SIZE_MAX. TOO_LARGE: a text is over its limit. */
NODISCARD enum rc job_write(const struct job *job, struct buf *into, struct error *err);
/* The texts point into `body`. INTERNAL: job_write() cannot have written it, at least not that of
 * this version. */
NODISCARD enum rc job_read(struct bytes body, struct job *ret_job, struct error *err);

/* What clients are told of its state: how it ended or, while it is open, whether a worker has it.
 */
const char *job_told(const struct result_job *record, bool running);
/* The object of GET /v1/jobs/{id} and of webhooks, without results. NULL: out of memory. */
json_t *job_json(const struct result_job *record, const struct job *job, bool running);
#endif
