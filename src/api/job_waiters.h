/* SPDX-License-Identifier: Apache-2.0
 * job_waiters.h - requests that wait for a job to end (GET /v1/jobs/{id}?wait=20). Included by api/
 * only.
 *
 * A request that waits holds a connection and a place in a list, no thread. It goes on when the job
 * has ended, its time is over, its client has left or the server drains. A job that this process
 * ends is told of at once (job_runner_listen()); for those that other processes end, the records
 * are looked at once a second.
 *
 * Threads: all calls but open and free from any; none waits for a store.
 */
#ifndef API_JOB_WAITERS_H
#define API_JOB_WAITERS_H
#include "base/id.h"
#include "results/jobs.h"

struct exchange;
struct job_waiters;
struct store_pool;

struct job_waiters_config {
    struct results *results;
    struct store_pool *stores;
    uint32_t waiting_max;
    void (*go_on)(struct exchange *exchange); /* runs on the stores' threads */
};

NODISCARD enum rc job_waiters_open(const struct job_waiters_config *config,
                                   struct job_waiters **ret_waiters, struct error *err);
/* The exchange is in its hands until go_on. BUSY: too many wait. `id` belongs to its tenant. */
NODISCARD enum rc job_waiters_add(struct job_waiters *waiters, struct exchange *exchange,
                                  struct id id, uint64_t until_ns, struct error *err);
void job_waiters_ended(void *waiters, struct id id);
/* A client left: look who it was. */
void job_waiters_look(struct job_waiters *waiters);
/* From now on nobody waits. */
void job_waiters_drain(struct job_waiters *waiters);
/* Nobody may be waiting. NULL is fine. */
void job_waiters_free(struct job_waiters *waiters);
#endif
