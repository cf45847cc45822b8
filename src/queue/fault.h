/* SPDX-License-Identifier: Apache-2.0
 * fault.h - a decorator for tests: "fault:" before another driver's URL. Every call asks a function
 * of the test whether to go through, to fail before it did anything, or to do it and lose the
 * answer. Not in releases. */
#ifndef QUEUE_FAULT_H
#define QUEUE_FAULT_H
#include "queue/queue.h"

enum queue_call {
    QUEUE_CALL_PUSH,
    QUEUE_CALL_LEASE,
    QUEUE_CALL_EXTEND,
    QUEUE_CALL_ACK,
    QUEUE_CALL_FAIL,
    QUEUE_CALL_RELEASE,
    QUEUE_CALL_CANCEL,
    QUEUE_CALL_GET,
    QUEUE_CALL_DEAD_LIST,
    QUEUE_CALL_DEAD_RETRY,
    QUEUE_CALL_PURGE,
    QUEUE_CALL_STATS,
    QUEUE_CALL_TENANTS,
    QUEUE_CALL_BACKUP,
    QUEUE_CALL_CHECK,
    QUEUE_CALL_COUNT
};

enum queue_fault { QUEUE_FAULT_NONE, QUEUE_FAULT_BEFORE, QUEUE_FAULT_AFTER };

typedef enum queue_fault queue_fault_fn(void *ctx, enum queue_call call);

/* A failed call is RC_UNAVAILABLE. decide NULL: no faults, as after queue_open(). Not while calls
 * run. */
void queue_fault_set(struct queue *queue, queue_fault_fn *decide, void *ctx);
#endif
