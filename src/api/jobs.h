/* SPDX-License-Identifier: Apache-2.0
 * jobs.h - what the files about jobs share. Included by api/ only. */
#ifndef API_JOBS_H
#define API_JOBS_H
#include "api/exchange.h"
#include "work/job_end.h"

#define JOB_WAIT_S_MAX 60u

struct job_stores job_stores_of(const struct exchange *exchange);
/* What a client is told of a job that is absent or another's; other codes are left as they are. */
NODISCARD enum rc job_absent(enum rc rc, struct error *err);
/* A worker has it. False if the queue does not answer: it is asked for the state of an answer
 * alone.
 */
bool job_is_running(const struct exchange *exchange, const struct result_job *record);
/* Answers with the job as it is now, without results. */
void job_answer(struct exchange *exchange, int status, struct id id);
/* The results first .. first + limit - 1 as a JSON array; *ret_next: how far it came, since a page
 * ends when it is large. */
NODISCARD enum rc job_results_print(const struct exchange *exchange,
                                    const struct result_job *record, uint32_t first, uint32_t limit,
                                    uint32_t *ret_next, struct buf *into, struct error *err);
/* Goes on when the job has ended or the time is over; on the stores' threads. */
void job_wait_over(struct exchange *exchange);
/* POST /v1/predict with `Prefer: respond-async`: takes the pictures of `work`. */
void jobs_accept_pictures(struct exchange *exchange, struct work_request *work);
bool prefers_async(const struct exchange *exchange);
#endif
