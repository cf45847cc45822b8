/* SPDX-License-Identifier: Apache-2.0
 * job_state.h - the states of a job and what may follow what. Pure: no clock, no storage.
 *
 * Drivers store the numbers, so a new state goes last among its kind and is a migration.
 * Every accepted job comes to rest exactly once, as done, dead or cancelled; only an operator's
 * revival starts it again. Drivers of the queue take every change of state from here. */
#ifndef QUEUE_JOB_STATE_H
#define QUEUE_JOB_STATE_H
#include <stdbool.h>
#include <stdint.h>

/*    name         text         at rest */
#define JOB_STATES(X)                                                                              \
    X(QUEUED, "queued", false)         /* waits for its first attempt, or after a lost one */      \
    X(LEASED, "leased", false)         /* a worker has it */                                       \
    X(CANCELLING, "cancelling", false) /* a worker has it, and somebody wants it cancelled */      \
    X(FAILED, "failed", false)         /* an attempt failed; waits for the next */                 \
    X(DONE, "done", true)                                                                          \
    X(DEAD, "dead", true) /* given up: attempts used up, or not worth repeating */                 \
    X(CANCELLED, "cancelled", true)

enum job_state {
#define X(name, text, rest) JOB_##name,
    JOB_STATES(X)
#undef X
        JOB_STATE_COUNT
};

enum job_event {
    JOB_EVENT_LEASE,
    JOB_EVENT_ACK,
    JOB_EVENT_FAIL,    /* to be tried again */
    JOB_EVENT_GIVE_UP, /* failed or its lease ran out, and there is no further attempt */
    JOB_EVENT_EXPIRE,  /* its lease ran out */
    JOB_EVENT_CANCEL,
    JOB_EVENT_REVIVE,
    JOB_EVENT_RELEASE, /* its worker gives it back untried */
    JOB_EVENT_COUNT
};

const char *job_state_text(enum job_state state); /* "queued" */
const char *job_event_text(enum job_event event);
bool job_state_at_rest(enum job_state state);

/* False when `event` cannot happen in `state`; *ret_next is then left alone. */
bool job_next(enum job_state state, enum job_event event, enum job_state *ret_next);

/* A failed attempt, or an expired lease, that was delivery `delivery_count` of at most `max`. */
enum job_event job_failure(uint32_t delivery_count, uint32_t max, bool retry_wanted);
enum job_event job_expiry(uint32_t delivery_count, uint32_t max);
#endif
