/* SPDX-License-Identifier: Apache-2.0
 * fixture.h - a queue for a test. QUEUE_URL says of which driver; "{dir}" in it is replaced by a
 * folder of the test's own, whose last part is unique and can serve as a prefix elsewhere.
 *
 * The clock is the test's own, so that nothing waits. For a driver that goes by its service's
 * clock, pass_ms() really waits and lease_all() asks until enough came. */
#ifndef QUEUE_FIXTURE_H
#define QUEUE_FIXTURE_H
#include "queue/queue.h"

#define LEASE_MS 30000u

struct fixture {
    struct queue_config config;
    char dir[64];
    char url[256];
    struct queue *queue;
    struct queue_leased *leased;
    struct queue_leased *other; /* a second worker's */
    uint64_t now_ms;
};

/* config: url is filled in. NULL: the defaults. */
struct fixture fixture_open(const struct queue_config *config);
void fixture_reopen(struct fixture *fix);
void fixture_done(struct fixture *fix);

struct id test_id(uint32_t number); /* the same for the same number; later ones are greater */
void pass_ms(struct fixture *fix, uint64_t ms);
enum rc push(struct fixture *fix, const char *tenant, uint32_t number);
void push_ok(struct fixture *fix, const char *tenant, uint32_t number);
/* Lease up to `count` and expect to get as many. */
void lease_exactly(struct fixture *fix, struct queue_leased *into, uint32_t count);
/* Nothing can be leased now. */
void lease_none(struct fixture *fix);
enum job_state state_of(struct fixture *fix, const char *tenant, uint32_t number);
enum rc ack(struct fixture *fix, const struct queue_leased *leased, uint32_t index);
#endif
