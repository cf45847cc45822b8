/* SPDX-License-Identifier: Apache-2.0
 * The promise of queue.h for producers and workers, run against every driver. */
#include "check.h"
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

TEST(a_pushed_message_is_leased_with_everything_it_had)
{
    struct fixture fix = fixture_open(NULL);
    uint8_t data[256];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    struct queue_message message = {
        .id = test_id(7), .tenant = "acme-2", .payload = {data, sizeof(data)}};
    assert_int_equal(queue_push(fix.queue, &message, 1, fix.now_ms, NULL, NULL), RC_OK);
    assert_int_equal(state_of(&fix, "acme-2", 7), JOB_QUEUED);
    lease_exactly(&fix, fix.leased, 1);
    const struct queue_delivery *item = &fix.leased->items[0];
    assert_memory_equal(&item->receipt.id, &message.id, sizeof(message.id));
    assert_string_equal(item->tenant, "acme-2");
    assert_true(bytes_equal(item->payload, message.payload));
    assert_int_equal(item->delivery_count, 1);
    assert_true(item->lease_until_ms >= fix.now_ms + LEASE_MS);
    assert_int_equal(state_of(&fix, "acme-2", 7), JOB_LEASED);
    assert_int_equal(ack(&fix, fix.leased, 0), RC_OK);
    assert_int_equal(state_of(&fix, "acme-2", 7), JOB_DONE);
    lease_none(&fix);
    fixture_done(&fix);
}

TEST(an_empty_payload_and_the_largest_come_back)
{
    struct fixture fix = fixture_open(NULL);
    uint8_t *large = malloc(QUEUE_PAYLOAD_SIZE_MAX);
    assert_non_null(large);
    for (size_t i = 0; i < QUEUE_PAYLOAD_SIZE_MAX; i++)
        large[i] = (uint8_t)(i * 31 >> 3);
    struct queue_message messages[] = {
        {.id = test_id(1), .tenant = "a"},
        {.id = test_id(2), .tenant = "a", .payload = {large, QUEUE_PAYLOAD_SIZE_MAX}}};
    assert_int_equal(queue_push(fix.queue, messages, 2, fix.now_ms, NULL, NULL), RC_OK);
    lease_exactly(&fix, fix.leased, 2);
    bool swapped = fix.leased->items[0].payload.size > 0;
    assert_int_equal(fix.leased->items[swapped].payload.size, 0);
    assert_true(bytes_equal(fix.leased->items[!swapped].payload, messages[1].payload));
    free(large);
    fixture_done(&fix);
}

TEST(a_known_id_changes_nothing_while_it_waits_is_worked_on_or_is_done)
{
    struct fixture fix = fixture_open(NULL);
    struct queue_message again = {
        .id = test_id(1), .tenant = "a", .payload = bytes_of("another payload")};
    push_ok(&fix, "a", 1);
    assert_int_equal(queue_push(fix.queue, &again, 1, fix.now_ms, NULL, NULL), RC_OK);
    lease_exactly(&fix, fix.leased, 1);
    assert_true(bytes_equal(fix.leased->items[0].payload, bytes_of("payload 1")));
    assert_int_equal(queue_push(fix.queue, &again, 1, fix.now_ms, NULL, NULL), RC_OK);
    lease_none(&fix);
    assert_int_equal(ack(&fix, fix.leased, 0), RC_OK);
    assert_int_equal(queue_push(fix.queue, &again, 1, fix.now_ms, NULL, NULL), RC_OK);
    lease_none(&fix);
    assert_int_equal(state_of(&fix, "a", 1), JOB_DONE);
    fixture_done(&fix);
}

TEST(the_same_id_twice_in_one_call_is_one_message)
{
    struct fixture fix = fixture_open(NULL);
    struct queue_message messages[] = {{.id = test_id(1), .tenant = "a"},
                                       {.id = test_id(1), .tenant = "a"}};
    assert_int_equal(queue_push(fix.queue, messages, 2, fix.now_ms, NULL, NULL), RC_OK);
    lease_exactly(&fix, fix.leased, 1);
    lease_none(&fix);
    fixture_done(&fix);
}

TEST(an_id_is_forgotten_when_its_retention_is_over)
{
    struct fixture fix = fixture_open(&(struct queue_config){.retention_ms = 3000});
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    assert_int_equal(ack(&fix, fix.leased, 0), RC_OK);
    pass_ms(&fix, 3001);
    lease_none(&fix);
    struct queue_info info;
    assert_int_equal(queue_get(fix.queue, "a", test_id(1), &info, NULL), RC_NOT_FOUND);
    push_ok(&fix, "a", 1);
    struct queue_receipt old = fix.leased->items[0].receipt;
    lease_exactly(&fix, fix.leased, 1);
    assert_int_equal(fix.leased->items[0].delivery_count, 1);
    /* The old life's receipt is not the new one's. */
    assert_int_equal(queue_ack(fix.queue, &old, 1, fix.now_ms, NULL, NULL), RC_GONE);
    fixture_done(&fix);
}

TEST(not_before_is_kept)
{
    struct fixture fix = fixture_open(NULL);
    struct queue_message message = {
        .id = test_id(1), .tenant = "a", .not_before_ms = fix.now_ms + 2000};
    assert_int_equal(queue_push(fix.queue, &message, 1, fix.now_ms, NULL, NULL), RC_OK);
    lease_none(&fix);
    pass_ms(&fix, 2000);
    lease_exactly(&fix, fix.leased, 1);
    fixture_done(&fix);
}

TEST(an_expired_lease_is_delivered_again_and_its_receipt_does_nothing)
{
    struct fixture fix = fixture_open(NULL);
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    lease_none(&fix);
    pass_ms(&fix, LEASE_MS);
    lease_exactly(&fix, fix.other, 1);
    assert_int_equal(fix.other->items[0].delivery_count, 2);
    const struct queue_receipt *stale = &fix.leased->items[0].receipt;
    struct error err = {0};
    assert_int_equal(queue_ack(fix.queue, stale, 1, fix.now_ms, NULL, &err), RC_GONE);
    assert_true(err.text[0] != '\0');
    assert_int_equal(queue_extend(fix.queue, stale, 1, fix.now_ms + 1000, fix.now_ms, NULL, NULL),
                     RC_GONE);
    assert_int_equal(queue_fail(fix.queue, stale, "late", 0, fix.now_ms, NULL, NULL), RC_GONE);
    assert_int_equal(state_of(&fix, "a", 1), JOB_LEASED);
    assert_int_equal(ack(&fix, fix.other, 0), RC_OK);
    assert_int_equal(queue_ack(fix.queue, stale, 1, fix.now_ms, NULL, NULL), RC_GONE);
    fixture_done(&fix);
}

TEST(a_late_ack_before_the_next_delivery_is_taken_or_refused_whole)
{
    struct fixture fix = fixture_open(NULL);
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    pass_ms(&fix, LEASE_MS + 1000);
    enum rc rc = ack(&fix, fix.leased, 0);
    assert_true(rc == RC_OK || rc == RC_GONE);
    assert_true((state_of(&fix, "a", 1) == JOB_DONE) == (rc == RC_OK));
    fixture_done(&fix);
}

TEST(an_extended_lease_lasts)
{
    struct fixture fix = fixture_open(NULL);
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    pass_ms(&fix, LEASE_MS / 2);
    assert_int_equal(queue_extend(fix.queue, &fix.leased->items[0].receipt, 1,
                                  fix.now_ms + LEASE_MS, fix.now_ms, NULL, NULL),
                     RC_OK);
    pass_ms(&fix, LEASE_MS - 2000);
    lease_none(&fix);
    assert_int_equal(ack(&fix, fix.leased, 0), RC_OK);
    fixture_done(&fix);
}

TEST(acks_of_one_call_stand_alone_and_can_be_repeated)
{
    struct fixture fix = fixture_open(NULL);
    for (uint32_t i = 1; i <= 3; i++)
        push_ok(&fix, "a", i);
    lease_exactly(&fix, fix.leased, 3);
    struct queue_receipt receipts[4];
    for (int i = 0; i < 3; i++)
        receipts[i] = fix.leased->items[i].receipt;
    receipts[3] = (struct queue_receipt){.id = test_id(99)};
    enum rc rcs[4];
    for (int round = 0; round < 2; round++) {
        assert_int_equal(queue_ack(fix.queue, receipts, 4, fix.now_ms, rcs, NULL), RC_GONE);
        for (int i = 0; i < 3; i++)
            assert_int_equal(rcs[i], RC_OK);
        assert_int_equal(rcs[3], RC_GONE);
    }
    for (uint32_t i = 1; i <= 3; i++)
        assert_int_equal(state_of(&fix, "a", i), JOB_DONE);
    fixture_done(&fix);
}

TEST(a_failure_is_tried_again_at_its_time)
{
    struct fixture fix = fixture_open(NULL);
    enum job_state became;
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(queue_fail(fix.queue, &fix.leased->items[0].receipt, "no model",
                                    fix.now_ms + 4000, fix.now_ms, &became, NULL),
                         RC_OK);
        assert_int_equal(became, JOB_FAILED);
    }
    struct queue_info info;
    assert_int_equal(queue_get(fix.queue, "a", test_id(1), &info, NULL), RC_OK);
    assert_int_equal(info.state, JOB_FAILED);
    assert_string_equal(info.reason, "no model");
    lease_none(&fix);
    pass_ms(&fix, 4000);
    lease_exactly(&fix, fix.other, 1);
    assert_int_equal(fix.other->items[0].delivery_count, 2);
    assert_true(bytes_equal(fix.other->items[0].payload, bytes_of("payload 1")));
    fixture_done(&fix);
}

TEST(a_failure_may_be_tried_again_at_once)
{
    struct fixture fix = fixture_open(NULL);
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    assert_int_equal(queue_fail(fix.queue, &fix.leased->items[0].receipt, "busy", fix.now_ms,
                                fix.now_ms, NULL, NULL),
                     RC_OK);
    lease_exactly(&fix, fix.other, 1);
    fixture_done(&fix);
}

TEST(deliveries_are_counted_whether_failed_or_expired_and_the_last_is_followed_by_death)
{
    struct fixture fix = fixture_open(&(struct queue_config){.delivery_count_max = 3});
    enum job_state became = JOB_QUEUED;
    push_ok(&fix, "a", 1);
    push_ok(&fix, "b", 2);
    for (uint32_t delivery = 1; delivery <= 3; delivery++) {
        lease_exactly(&fix, fix.leased, 2);
        uint32_t a = fix.leased->items[0].tenant[0] == 'a' ? 0 : 1;
        assert_int_equal(fix.leased->items[a].delivery_count, delivery);
        assert_int_equal(queue_fail(fix.queue, &fix.leased->items[a].receipt, "bad luck",
                                    fix.now_ms + 1, fix.now_ms, &became, NULL),
                         RC_OK);
        pass_ms(&fix, LEASE_MS);
    }
    assert_int_equal(became, JOB_DEAD);
    lease_none(&fix);
    struct queue_info info;
    assert_int_equal(queue_get(fix.queue, "a", test_id(1), &info, NULL), RC_OK);
    assert_int_equal(info.state, JOB_DEAD);
    assert_int_equal(info.delivery_count, 3);
    assert_string_equal(info.reason, "bad luck");
    assert_int_equal(queue_get(fix.queue, "b", test_id(2), &info, NULL), RC_OK);
    assert_int_equal(info.state, JOB_DEAD);
    assert_true(info.reason[0] != '\0');
    fixture_done(&fix);
}

TEST(what_is_given_back_untried_waits_again_and_is_not_counted)
{
    struct fixture fix = fixture_open(&(struct queue_config){.delivery_count_max = 2});
    enum job_state became = JOB_STATE_COUNT;
    push_ok(&fix, "a", 1);
    for (uint32_t round = 0; round < 5; round++) {
        lease_exactly(&fix, fix.leased, 1);
        struct queue_receipt *receipt = &fix.leased->items[0].receipt;
        if (!queue_traits(fix.queue).service_clock)
            assert_int_equal(fix.leased->items[0].delivery_count, 1);
        uint64_t at_ms = round == 4 ? fix.now_ms + 2000 : 0;
        for (int again = 0; again < 2; again++)
            assert_int_equal(queue_release(fix.queue, receipt, at_ms, fix.now_ms, &became, NULL),
                             RC_OK);
        assert_int_equal(became, JOB_QUEUED);
        assert_int_equal(
            queue_extend(fix.queue, receipt, 1, fix.now_ms + LEASE_MS, fix.now_ms, NULL, NULL),
            RC_GONE);
    }
    lease_none(&fix);
    pass_ms(&fix, 2000);
    lease_exactly(&fix, fix.leased, 1);
    assert_int_equal(ack(&fix, fix.leased, 0), RC_OK);
    assert_int_equal(
        queue_release(fix.queue, &fix.leased->items[0].receipt, 0, fix.now_ms, NULL, NULL),
        RC_GONE);
    fixture_done(&fix);
}

TEST(what_was_cancelled_meanwhile_is_given_back_for_good)
{
    struct fixture fix = fixture_open(NULL);
    enum job_state became = JOB_STATE_COUNT;
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    assert_int_equal(queue_cancel(fix.queue, "a", test_id(1), fix.now_ms, &became, NULL), RC_OK);
    assert_int_equal(became, JOB_CANCELLING);
    assert_int_equal(
        queue_release(fix.queue, &fix.leased->items[0].receipt, 0, fix.now_ms, &became, NULL),
        RC_OK);
    assert_int_equal(became, JOB_CANCELLED);
    lease_none(&fix);
    fixture_done(&fix);
}

TEST(what_is_not_worth_repeating_dies_at_once_and_long_reasons_are_cut_between_characters)
{
    struct fixture fix = fixture_open(NULL);
    char reason[2 * QUEUE_REASON_SIZE];
    enum job_state became;
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    reason[0] = 'x';
    for (size_t i = 1; i + 2 < sizeof(reason); i += 2)
        (void)memcpy(reason + i, "\xc3\xa9", 3);
    assert_int_equal(
        queue_fail(fix.queue, &fix.leased->items[0].receipt, reason, 0, fix.now_ms, &became, NULL),
        RC_OK);
    assert_int_equal(became, JOB_DEAD);
    struct queue_info info;
    assert_int_equal(queue_get(fix.queue, "a", test_id(1), &info, NULL), RC_OK);
    assert_int_equal(strlen(info.reason), QUEUE_REASON_SIZE - 2);
    assert_memory_equal(info.reason, reason, strlen(info.reason));
    fixture_done(&fix);
}

TEST(one_tenants_backlog_does_not_starve_another)
{
    struct fixture fix = fixture_open(NULL);
    struct queue_message *many = calloc(1000, sizeof(*many));
    assert_non_null(many);
    for (uint32_t i = 0; i < 1000; i++)
        many[i] = (struct queue_message){.id = test_id(i), .tenant = "large"};
    assert_int_equal(queue_push(fix.queue, many, 1000, fix.now_ms, NULL, NULL), RC_OK);
    for (uint32_t i = 2000; i < 2005; i++)
        push_ok(&fix, "small", i);
    uint32_t small = 0;
    uint32_t large = 0;
    while (small < 5 && large < 1000) {
        lease_exactly(&fix, fix.leased, 1);
        small += strcmp(fix.leased->items[0].tenant, "small") == 0;
        large += strcmp(fix.leased->items[0].tenant, "large") == 0;
    }
    assert_int_equal(small, 5);
    /* By turns; where a service only comes near it, far less than the backlog. */
    assert_true(large <= (queue_traits(fix.queue).service_clock ? 200u : 6u));
    free(many);
    fixture_done(&fix);
}

TEST(a_lease_of_many_is_dealt_out_between_the_tenants)
{
    struct fixture fix = fixture_open(NULL);
    for (uint32_t i = 0; i < 60; i++)
        push_ok(&fix, i < 40 ? "a" : i < 58 ? "b" : "c", i);
    lease_exactly(&fix, fix.leased, 20);
    uint32_t counts[3] = {0};
    for (uint32_t i = 0; i < 20; i++)
        counts[fix.leased->items[i].tenant[0] - 'a']++;
    assert_int_equal(counts[2], 2);
    assert_int_equal(counts[0], 9);
    assert_int_equal(counts[1], 9);
    fixture_done(&fix);
}

TEST(a_lease_stops_at_its_size_and_the_rest_comes_next)
{
    struct fixture fix = fixture_open(NULL);
    uint8_t *large = calloc(1, QUEUE_PAYLOAD_SIZE_MAX);
    assert_non_null(large);
    struct queue_message messages[40];
    for (uint32_t i = 0; i < 40; i++)
        messages[i] = (struct queue_message){.id = test_id(i),
                                             .tenant = i % 2 == 0 ? "a" : "b",
                                             .payload = {large, QUEUE_PAYLOAD_SIZE_MAX}};
    assert_int_equal(queue_push(fix.queue, messages, 40, fix.now_ms, NULL, NULL), RC_OK);
    uint32_t count = 0;
    for (int call = 0; call < 10 && count < 40; call++) {
        assert_int_equal(queue_lease(fix.queue, 40, LEASE_MS, fix.now_ms, fix.leased, NULL), RC_OK);
        assert_true(fix.leased->payloads.size <= QUEUE_LEASE_SIZE_MAX);
        count += fix.leased->count;
    }
    assert_int_equal(count, 40);
    free(large);
    fixture_done(&fix);
}

TEST(wrong_items_are_refused_one_by_one_and_the_others_stand)
{
    struct fixture fix = fixture_open(NULL);
    static uint8_t large[QUEUE_PAYLOAD_SIZE_MAX + 1];
    char name[66];
    (void)memset(name, 'n', sizeof(name));
    name[64] = '\0';
    struct queue_message messages[] = {
        {.id = test_id(0), .tenant = "a"},
        {.id = test_id(1), .tenant = ""},
        {.id = test_id(2), .tenant = "Upper"},
        {.id = test_id(3), .tenant = "-a"},
        {.id = test_id(4), .tenant = "a'b"},
        {.id = test_id(5), .tenant = name},
        {.id = test_id(6), .tenant = name + 1},
        {.id = test_id(7), .tenant = "a", .payload = {large, sizeof(large)}},
        {.id = test_id(8), .tenant = "a", .not_before_ms = fix.now_ms + QUEUE_DELAY_MS_MAX + 1},
        {.id = test_id(9), .tenant = "a", .not_before_ms = fix.now_ms + QUEUE_DELAY_MS_MAX},
    };
    const enum rc expected[] = {RC_OK,      RC_INVALID, RC_INVALID,   RC_INVALID, RC_INVALID,
                                RC_INVALID, RC_OK,      RC_TOO_LARGE, RC_INVALID, RC_OK};
    enum rc rcs[10];
    struct error err = {0};
    assert_int_equal(queue_push(fix.queue, messages, 10, fix.now_ms, rcs, &err), RC_INVALID);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rcs[i], expected[i]);
    assert_true(err.text[0] != '\0');
    lease_exactly(&fix, fix.leased, 2);
    fixture_done(&fix);
}

TEST(wrong_arguments_are_refused)
{
    struct fixture fix = fixture_open(NULL);
    struct queue_message message = {.id = test_id(1), .tenant = "a"};
    struct queue_leased *leased = fix.leased;
    uint64_t now = fix.now_ms;
    assert_int_equal(queue_push(fix.queue, &message, 0, now, NULL, NULL), RC_INVALID);
    assert_int_equal(queue_push(fix.queue, &message, 1, UINT64_MAX, NULL, NULL), RC_INVALID);
    assert_int_equal(queue_lease(fix.queue, 0, LEASE_MS, now, leased, NULL), RC_INVALID);
    assert_int_equal(queue_lease(fix.queue, 65, LEASE_MS, now, leased, NULL), RC_INVALID);
    assert_int_equal(queue_lease(fix.queue, 1, 0, now, leased, NULL), RC_INVALID);
    assert_int_equal(queue_lease(fix.queue, 1, QUEUE_LEASE_MS_MAX + 1ull, now, leased, NULL),
                     RC_INVALID);
    struct queue_receipt receipt = {.id = test_id(1)};
    assert_int_equal(queue_extend(fix.queue, &receipt, 1, now, now, NULL, NULL), RC_INVALID);
    assert_int_equal(
        queue_fail(fix.queue, &receipt, "", now + QUEUE_DELAY_MS_MAX + 1, now, NULL, NULL),
        RC_INVALID);
    struct queue *none = NULL;
    struct queue_config config = {.url = "carrier-pigeon:"};
    assert_int_equal(queue_open(&config, &none, NULL), RC_INVALID);
    assert_null(none);
    queue_free(NULL);
    fixture_done(&fix);
}

TEST(a_full_backlog_is_busy_for_its_tenant_alone)
{
    struct fixture fix = fixture_open(&(struct queue_config){.tenant_count_max = 3});
    for (uint32_t i = 0; i < 3; i++)
        push_ok(&fix, "a", i);
    assert_int_equal(push(&fix, "a", 3), RC_BUSY);
    push_ok(&fix, "a", 2); /* known: nothing is added */
    push_ok(&fix, "b", 3);
    lease_exactly(&fix, fix.leased, 2);
    assert_int_equal(push(&fix, "a", 3), RC_BUSY); /* being worked on is not ended */
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(ack(&fix, fix.leased, i), RC_OK);
    push_ok(&fix, "a", 3);
    fixture_done(&fix);
}

TEST(everything_is_there_after_reopening)
{
    struct fixture fix = fixture_open(NULL);
    for (uint32_t i = 0; i < 10; i++)
        push_ok(&fix, "a", i);
    lease_exactly(&fix, fix.leased, 6);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(ack(&fix, fix.leased, i), RC_OK);
    fixture_reopen(&fix);
    struct queue_stats stats;
    assert_int_equal(queue_stats(fix.queue, "a", fix.now_ms, &stats, NULL), RC_OK);
    assert_int_equal(stats.counts[JOB_QUEUED], 4);
    assert_int_equal(stats.counts[JOB_LEASED], 3);
    assert_int_equal(stats.counts[JOB_DONE], 3);
    pass_ms(&fix, LEASE_MS);
    lease_exactly(&fix, fix.leased, 7);
    fixture_done(&fix);
}

static void *push_from_a_thread(void *argument)
{
    return push(argument, "a", 1) == RC_OK ? NULL : argument;
}

static void *wake_from_a_thread(void *argument)
{
    queue_wake(((struct fixture *)argument)->queue);
    return NULL;
}

TEST(waiting_ends_with_a_push_a_wake_or_the_timeout)
{
    struct fixture fix = fixture_open(NULL);
    void *(*const ends[])(void *) = {push_from_a_thread, wake_from_a_thread};
    pthread_t thread;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(queue_lease(fix.queue, 1, LEASE_MS, fix.now_ms, fix.leased, NULL), RC_OK);
        assert_false(queue_wait(fix.queue, fix.leased->bell, 1));
        assert_int_equal(pthread_create(&thread, NULL, ends[i], &fix), 0);
        assert_true(queue_wait(fix.queue, fix.leased->bell, 60000));
        void *failed;
        assert_int_equal(pthread_join(thread, &failed), 0);
        assert_null(failed);
        /* What was pushed before the wait began does not get lost. */
        assert_true(queue_wait(fix.queue, fix.leased->bell, 0));
    }
    fixture_done(&fix);
}

#define THREAD_COUNT  4u
#define MESSAGE_COUNT 400u
struct crowd {
    struct fixture *fix;
    uint32_t number;
    atomic_uint *done_count;
    atomic_uint *deliveries; /* by message */
};

static void *crowd_member(void *argument)
{
    struct crowd *me = argument;
    struct queue *queue = me->fix->queue;
    struct queue_leased *leased = queue_leased_open();
    uint32_t pushed = 0;
    while (atomic_load(me->done_count) < MESSAGE_COUNT) {
        if (pushed < MESSAGE_COUNT / THREAD_COUNT) {
            if (push(me->fix, pushed % 2 == 0 ? "a" : "b",
                     me->number * (MESSAGE_COUNT / THREAD_COUNT) + pushed) != RC_OK)
                break;
            pushed++;
        }
        if (queue_lease(queue, 3, LEASE_MS, me->fix->now_ms, leased, NULL) != RC_OK)
            break;
        for (uint32_t i = 0; i < leased->count; i++) {
            const struct queue_receipt *receipt = &leased->items[i].receipt;
            uint32_t number = (uint32_t)receipt->id.octets[4] << 8 | receipt->id.octets[5];
            atomic_fetch_add(&me->deliveries[number], 1);
            if (queue_ack(queue, receipt, 1, me->fix->now_ms, NULL, NULL) == RC_OK)
                atomic_fetch_add(me->done_count, 1);
        }
    }
    /* Whoever had to give up ends the others as well; the counts below tell. */
    atomic_store(me->done_count, MESSAGE_COUNT);
    queue_leased_free(leased);
    return NULL;
}

TEST(threads_share_a_queue_and_nothing_is_handed_out_twice)
{
    struct fixture fix = fixture_open(NULL);
    static atomic_uint deliveries[MESSAGE_COUNT];
    atomic_uint done_count = 0;
    struct crowd crowd[THREAD_COUNT];
    pthread_t threads[THREAD_COUNT];
    for (uint32_t i = 0; i < THREAD_COUNT; i++) {
        crowd[i] = (struct crowd){&fix, i, &done_count, deliveries};
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_member, &crowd[i]), 0);
    }
    for (uint32_t i = 0; i < THREAD_COUNT; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = 0; i < MESSAGE_COUNT; i++)
        assert_int_equal(deliveries[i], 1);
    fixture_done(&fix);
}

TEST_MAIN("queue contract")
