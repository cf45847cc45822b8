/* SPDX-License-Identifier: Apache-2.0
 * What a message costs: microseconds of CPU for its push, lease and ack together, by group size,
 * and the same with several threads that do one at a time. Not a test. QUEUE_URL as in fixture.h.
 */
#include "base/clock.h"
#include "fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define PAYLOAD_SIZE 300u
#define THREAD_COUNT 8u

static const uint8_t payload[PAYLOAD_SIZE];
static uint32_t number_next;

static uint32_t take_numbers(uint32_t count)
{
    return __atomic_fetch_add(&number_next, count, __ATOMIC_RELAXED);
}

static void must(enum rc rc, const struct error *err)
{
    if (rc == RC_OK)
        return;
    (void)fprintf(stderr, "%s: %s\n", rc_name(rc), err->text);
    exit(1);
}

struct cost {
    uint64_t push_ns, lease_ns, ack_ns;
};

/* One group through the whole queue. */
static void pass_group(struct queue *queue, uint32_t group, struct queue_leased *leased,
                       struct cost *cost)
{
    struct queue_message messages[QUEUE_LEASE_COUNT_MAX];
    struct queue_receipt receipts[QUEUE_LEASE_COUNT_MAX];
    struct error err = {0};
    uint32_t first = take_numbers(group);
    uint64_t now_ms = clock_wall_ms();
    for (uint32_t i = 0; i < group; i++)
        messages[i] = (struct queue_message){.id = test_id(first + i),
                                             .tenant = (first + i) % 2 == 0 ? "a" : "b",
                                             .payload = {payload, sizeof(payload)}};
    uint64_t times[4];
    times[0] = clock_thread_cpu_ns();
    must(queue_push(queue, messages, group, now_ms, NULL, &err), &err);
    times[1] = clock_thread_cpu_ns();
    must(queue_lease(queue, group, LEASE_MS, now_ms, leased, &err), &err);
    times[2] = clock_thread_cpu_ns();
    for (uint32_t i = 0; i < leased->count; i++)
        receipts[i] = leased->items[i].receipt;
    if (leased->count > 0)
        must(queue_ack(queue, receipts, leased->count, now_ms, NULL, &err), &err);
    times[3] = clock_thread_cpu_ns();
    cost->push_ns += times[1] - times[0];
    cost->lease_ns += times[2] - times[1];
    cost->ack_ns += times[3] - times[2];
}

static void measure_groups(struct queue *queue, uint32_t group, uint32_t message_count)
{
    struct queue_leased *leased = queue_leased_open();
    struct cost cost = {0};
    uint64_t cpu_ns = clock_process_cpu_ns();
    uint64_t wall_ns = clock_monotonic_ns();
    for (uint32_t i = 0; i < message_count; i += group)
        pass_group(queue, group, leased, &cost);
    wall_ns = clock_monotonic_ns() - wall_ns;
    cpu_ns = clock_process_cpu_ns() - cpu_ns;
    double each = 1e3 * message_count;
    (void)printf(
        "group %2u: %6.1f us CPU a message (push %.1f, lease %.1f, ack %.1f), %.0f a second\n",
        group, (double)cpu_ns / each, (double)cost.push_ns / each, (double)cost.lease_ns / each,
        (double)cost.ack_ns / each, 1e9 * message_count / (double)wall_ns);
    queue_leased_free(leased);
}

struct crowd {
    struct queue *queue;
    uint32_t message_count;
};

static void *crowd_member(void *argument)
{
    const struct crowd *crowd = argument;
    struct queue_leased *leased = queue_leased_open();
    struct cost cost = {0};
    for (uint32_t i = 0; i < crowd->message_count; i++)
        pass_group(crowd->queue, 1, leased, &cost);
    queue_leased_free(leased);
    return NULL;
}

static void measure_threads(struct queue *queue, uint32_t message_count)
{
    pthread_t threads[THREAD_COUNT];
    struct crowd crowd = {queue, message_count / THREAD_COUNT};
    uint64_t cpu_ns = clock_process_cpu_ns();
    uint64_t wall_ns = clock_monotonic_ns();
    for (uint32_t i = 0; i < THREAD_COUNT; i++)
        if (pthread_create(&threads[i], NULL, crowd_member, &crowd) != 0)
            exit(1);
    for (uint32_t i = 0; i < THREAD_COUNT; i++)
        (void)pthread_join(threads[i], NULL);
    wall_ns = clock_monotonic_ns() - wall_ns;
    cpu_ns = clock_process_cpu_ns() - cpu_ns;
    (void)printf("%u threads, one at a time: %.1f us CPU a message, %.0f a second\n", THREAD_COUNT,
                 (double)cpu_ns / 1e3 / message_count, 1e9 * message_count / (double)wall_ns);
}

int main(int argc, char **argv)
{
    uint32_t scale = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
    struct fixture fix = fixture_open(NULL);
    measure_groups(fix.queue, 1, 500 * scale);
    measure_groups(fix.queue, 8, 4000 * scale);
    measure_groups(fix.queue, 64, 32000 * scale);
    measure_threads(fix.queue, 2000 * scale);
    fixture_done(&fix);
    return 0;
}
