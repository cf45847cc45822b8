/* SPDX-License-Identifier: Apache-2.0
 * world.h - producers, workers, a clock and a results store around the real queue, with a model of
 * the queue beside it. Everything that happens is decided by the caller through world_choose, so
 * that a run can be repeated, or all runs of a small world be tried.
 *
 * After every action the state of every message in the queue is compared with the model's. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H
#include "queue/fault.h"
#include "queue/queue.h"

#define WORLD_MESSAGES_MAX 16u
#define WORLD_WORKERS_MAX  4u
#define WORLD_TENANT_COUNT 3u
#define WORLD_LEASE_MS     10000u
#define WORLD_RETRY_MS     3000u
#define WORLD_TRACE_MAX    60u

/* A message as it must be. */
struct model {
    bool sent;     /* the queue may know it: a push was carried out */
    bool accepted; /* a push was answered with success */
    enum job_state state;
    uint32_t delivery_count;
    uint64_t due_ms;              /* waiting: not before; held: the lease's end */
    struct queue_receipt receipt; /* of the last delivery; zero if the answer was lost */
    uint32_t rest_count;          /* how often it came to rest */
    uint32_t revival_count;
    uint32_t commit_count; /* in the results store, which ignores a known id */
};

enum phase { PHASE_IDLE, PHASE_HOLDS, PHASE_COMMITTED, PHASE_TOLD };

struct worker {
    enum phase phase; /* of the first item */
    uint32_t count;
    struct queue_receipt receipts[2];
};

struct world {
    struct queue *queue;
    struct queue_leased *leased;
    uint64_t now_ms;
    uint32_t delivery_count_max;
    uint32_t first_number; /* ids of this world begin here */
    char tenants[WORLD_TENANT_COUNT][24];
    uint32_t message_count;
    uint32_t worker_count;
    struct model messages[WORLD_MESSAGES_MAX];
    struct worker workers[WORLD_WORKERS_MAX];

    uint32_t fault_budget; /* each fault takes one; UINT32_MAX: no end */
    uint32_t fault_odds;   /* one call in so many has a fault; 1: ask for each call */
    enum queue_fault fault;

    uint32_t (*choose)(void *ctx, uint32_t count); /* 0..count-1 */
    void *ctx;
    char name[48]; /* how to repeat it, printed when something is wrong */
    uint32_t step_count;
    char trace[WORLD_TRACE_MAX][100];
};

/* Prints what happened last and fails the test. */
__attribute__((format(printf, 2, 3))) void world_broken(struct world *world, const char *format,
                                                        ...);

/* Messages and workers are fresh; queue, clock and chooser are the caller's. */
void world_begin(struct world *world, uint32_t message_count, uint32_t worker_count,
                 uint32_t first_number);

void world_push(struct world *world, uint32_t first, uint32_t count, uint64_t delay_ms);
/* One step: lease up to `count_max`, or commit, or acknowledge. */
void world_work(struct world *world, uint32_t worker, uint32_t count_max);
void world_extend(struct world *world, uint32_t worker);
/* The worker gives its first message back. */
void world_fail(struct world *world, uint32_t worker, bool retry);
/* The same, untried. */
void world_release(struct world *world, uint32_t worker);
void world_crash(struct world *world, uint32_t worker);
/* The process dies with every worker; `queue` is the same one, opened again. */
void world_restart(struct world *world, struct queue *queue);
void world_cancel(struct world *world, uint32_t message);
void world_revive(struct world *world, uint32_t message);
void world_pass(struct world *world, uint64_t ms);

bool world_at_rest(const struct world *world); /* every message that was sent */
/* Something could be leased now. */
uint32_t world_leasable(const struct world *world);
/* Let it run out without faults, then check that each message ended once. */
void world_finish(struct world *world);
/* Totals of the queue against the model's: when the queue has this world's messages only. */
void world_check_stats(struct world *world);
#endif
