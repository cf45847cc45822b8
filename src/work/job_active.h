/* SPDX-License-Identifier: Apache-2.0
 * job_active.h - a job that the runner holds, and its pictures in work. Included by the runner
 * only, whose thread calls everything but flight_done(). */
#ifndef WORK_JOB_ACTIVE_H
#define WORK_JOB_ACTIVE_H
#include "work/job_runner.h"

#include <pthread.h>

#define ACTIVE_COUNT_MAX 8u
/* Then the attempt is given up: a full disk fails them all. */
#define FAILURE_COUNT_MAX 16u

enum active_state {
    ACTIVE_WORKING,
    ACTIVE_YIELDING, /* its turn is over: given back when its pictures in work have landed */
    ACTIVE_CANCELLED,
    ACTIVE_LOST /* the lease */
};

struct active {
    struct queue_receipt receipt;
    char tenant[QUEUE_TENANT_SIZE];
    uint32_t delivery_count;
    struct result_job_set set; /* its record */
    struct job job;            /* points into the record */
    char key[RESULT_NAME_SIZE_MAX + 1];
    char plan[RESULT_NAME_SIZE_MAX + 1];
    enum active_state state;
    uint64_t since_ns;                        /* held since */
    bool known[RESULT_JOB_PICTURE_COUNT_MAX]; /* the item has an outcome */
    uint32_t known_count;
    uint32_t next; /* the first picture that was not looked at in this attempt */
    uint32_t flight_count;
    uint32_t failure_count; /* of this attempt: what may pass */
    struct error failure;   /* the first one */
    uint64_t retry_ns;      /* ending it failed: not before this */
    struct active *following;
};

/* A picture in work. */
struct flight {
    struct job_runner *runner;
    struct active *active;
    struct work_request *request;
    struct buf picture;
    uint32_t index;
    struct flight *next; /* in the list of the finished, or of the free */
    struct flight *prev_flying, *next_flying;
};

struct job_runner {
    struct job_runner_config config;
    pthread_t thread;
    struct queue_leased *leased;
    struct active *actives; /* the one whose turn it is first */
    uint32_t active_count;
    struct flight *flights; /* window of them */
    struct flight *idle;
    struct flight *flying;
    uint32_t flight_count;
    size_t flight_size;
    uint64_t lease_bell; /* what rang before the last lease */
    uint64_t lease_ns;   /* when to lease, heartbeat and look through open jobs next */
    uint64_t heartbeat_ns;
    uint64_t caretaker_ns;
    struct results_job_open seen; /* how far the looking through is */

    pthread_mutex_t lock; /* of what follows */
    struct flight *finished;
    bool looking;
    bool draining;
    void (*ended)(void *ctx, struct id id);
    void *ended_ctx;
};

static inline struct result_job *active_record(const struct active *active)
{
    return &active->set.items[0];
}

/* A delivery becomes a job in work, or is dealt with at once: *ret_active NULL. A failure is that
 * of the attempt. */
NODISCARD enum rc active_open(struct job_runner *runner, const struct queue_delivery *delivery,
                              struct active **ret_active, struct error *err);
void active_free(struct active *active);
/* Nothing more can be begun for it. */
bool active_is_spent(const struct active *active);
/* Begins the next picture, or finds its outcome without beginning it. BUSY: later. */
NODISCARD enum rc active_begin_next(struct job_runner *runner, struct active *active,
                                    struct error *err);
/* Takes in a finished picture and lets it go. */
void active_land(struct job_runner *runner, struct flight *flight);
void active_cancel_flights(struct job_runner *runner, struct active *active);
#endif
