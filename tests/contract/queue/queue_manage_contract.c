/* SPDX-License-Identifier: Apache-2.0
 * The promise of queue.h for those who cancel, look and repair, run against every driver. */
#include "check.h"
#include "fixture.h"

#include <stdio.h>
#include <string.h>

static enum rc cancel(struct fixture *fix, const char *tenant, uint32_t number,
                      enum job_state *ret_state)
{
    return queue_cancel(fix->queue, tenant, test_id(number), fix->now_ms, ret_state, NULL);
}

TEST(a_waiting_message_that_is_cancelled_is_never_delivered)
{
    struct fixture fix = fixture_open(NULL);
    enum job_state became;
    push_ok(&fix, "a", 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cancel(&fix, "a", 1, &became), RC_OK);
        assert_int_equal(became, JOB_CANCELLED);
    }
    lease_none(&fix);
    push_ok(&fix, "a", 1); /* known: stays cancelled */
    lease_none(&fix);
    assert_int_equal(state_of(&fix, "a", 1), JOB_CANCELLED);
    fixture_done(&fix);
}

TEST(a_delayed_and_a_failed_message_can_be_cancelled)
{
    struct fixture fix = fixture_open(NULL);
    enum job_state became;
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    assert_int_equal(queue_fail(fix.queue, &fix.leased->items[0].receipt, "no", fix.now_ms + 5000,
                                fix.now_ms, NULL, NULL),
                     RC_OK);
    struct queue_message later = {
        .id = test_id(2), .tenant = "a", .not_before_ms = fix.now_ms + 5000};
    assert_int_equal(queue_push(fix.queue, &later, 1, fix.now_ms, NULL, NULL), RC_OK);
    for (uint32_t i = 1; i <= 2; i++) {
        assert_int_equal(cancel(&fix, "a", i, &became), RC_OK);
        assert_int_equal(became, JOB_CANCELLED);
    }
    pass_ms(&fix, 6000);
    lease_none(&fix);
    fixture_done(&fix);
}

/* Cancelled while leased: each of the ways it can go on. */
TEST(a_worker_learns_of_a_cancellation_when_it_extends)
{
    struct fixture fix = fixture_open(NULL);
    enum job_state became;
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    const struct queue_receipt *receipt = &fix.leased->items[0].receipt;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cancel(&fix, "a", 1, &became), RC_OK);
        assert_int_equal(became, JOB_CANCELLING);
    }
    assert_int_equal(
        queue_extend(fix.queue, receipt, 1, fix.now_ms + LEASE_MS, fix.now_ms, NULL, NULL),
        RC_CANCELLED);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            queue_fail(fix.queue, receipt, "cancelled", fix.now_ms + 1, fix.now_ms, &became, NULL),
            RC_OK);
        assert_int_equal(became, JOB_CANCELLED);
    }
    pass_ms(&fix, LEASE_MS);
    lease_none(&fix);
    fixture_done(&fix);
}

TEST(a_commit_that_began_before_the_cancellation_stands)
{
    struct fixture fix = fixture_open(NULL);
    enum job_state became;
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    assert_int_equal(cancel(&fix, "a", 1, NULL), RC_OK);
    assert_int_equal(ack(&fix, fix.leased, 0), RC_OK);
    assert_int_equal(cancel(&fix, "a", 1, &became), RC_OK);
    assert_int_equal(became, JOB_DONE);
    fixture_done(&fix);
}

TEST(a_cancelled_message_whose_worker_died_is_not_delivered_again)
{
    struct fixture fix = fixture_open(NULL);
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    assert_int_equal(cancel(&fix, "a", 1, NULL), RC_OK);
    pass_ms(&fix, LEASE_MS);
    lease_none(&fix);
    assert_int_equal(state_of(&fix, "a", 1), JOB_CANCELLED);
    assert_int_equal(ack(&fix, fix.leased, 0), RC_GONE);
    fixture_done(&fix);
}

TEST(another_tenants_message_and_an_absent_one_are_the_same)
{
    struct fixture fix = fixture_open(NULL);
    struct error foreign = {0};
    struct error absent = {0};
    struct queue_info info;
    push_ok(&fix, "a", 1);
    push_ok(&fix, "b", 2);
    assert_int_equal(queue_get(fix.queue, "b", test_id(1), &info, &foreign), RC_NOT_FOUND);
    assert_int_equal(queue_get(fix.queue, "unheard-of", test_id(1), &info, &absent), RC_NOT_FOUND);
    assert_string_equal(foreign.text, absent.text);
    assert_int_equal(cancel(&fix, "b", 1, NULL), RC_NOT_FOUND);
    assert_int_equal(cancel(&fix, "b", 9, NULL), RC_NOT_FOUND);
    assert_int_equal(queue_dead_retry(fix.queue, "b", test_id(1), fix.now_ms, NULL), RC_NOT_FOUND);
    assert_int_equal(state_of(&fix, "a", 1), JOB_QUEUED);
    /* The same id of two tenants is two messages. */
    push_ok(&fix, "b", 1);
    assert_int_equal(cancel(&fix, "b", 1, NULL), RC_OK);
    assert_int_equal(state_of(&fix, "a", 1), JOB_QUEUED);
    fixture_done(&fix);
}

static void make_dead(struct fixture *fix, const char *tenant, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        push_ok(fix, tenant, i);
        lease_exactly(fix, fix->leased, 1);
        assert_int_equal(queue_fail(fix->queue, &fix->leased->items[0].receipt, "not a picture", 0,
                                    fix->now_ms, NULL, NULL),
                         RC_OK);
    }
}

TEST(the_dead_are_listed_newest_first_page_by_page)
{
    struct fixture fix = fixture_open(NULL);
    struct queue_info infos[3];
    uint32_t count;
    make_dead(&fix, "a", 1, 5);
    make_dead(&fix, "b", 6, 1);
    push_ok(&fix, "a", 7);
    assert_int_equal(queue_dead_list(fix.queue, "a", NULL, 3, infos, &count, NULL), RC_OK);
    assert_int_equal(count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        struct id id = test_id(5 - i);
        assert_memory_equal(&infos[i].id, &id, sizeof(id));
        assert_int_equal(infos[i].state, JOB_DEAD);
        assert_string_equal(infos[i].reason, "not a picture");
    }
    struct id before = infos[2].id;
    assert_int_equal(queue_dead_list(fix.queue, "a", &before, 3, infos, &count, NULL), RC_OK);
    assert_int_equal(count, 2);
    assert_int_equal(queue_dead_list(fix.queue, "unheard-of", NULL, 3, infos, &count, NULL), RC_OK);
    assert_int_equal(count, 0);
    assert_int_equal(queue_dead_list(fix.queue, "a", NULL, QUEUE_LIST_MAX + 1, infos, &count, NULL),
                     RC_INVALID);
    fixture_done(&fix);
}

TEST(a_dead_message_can_be_tried_again_from_the_start)
{
    struct fixture fix = fixture_open(&(struct queue_config){.delivery_count_max = 1});
    make_dead(&fix, "a", 1, 1);
    struct queue_receipt old = fix.leased->items[0].receipt;
    push_ok(&fix, "a", 1); /* known: stays dead */
    lease_none(&fix);
    assert_int_equal(queue_dead_retry(fix.queue, "a", test_id(1), fix.now_ms, NULL), RC_OK);
    assert_int_equal(queue_ack(fix.queue, &old, 1, fix.now_ms, NULL, NULL), RC_GONE);
    lease_exactly(&fix, fix.leased, 1);
    assert_int_equal(fix.leased->items[0].delivery_count, 1);
    assert_true(bytes_equal(fix.leased->items[0].payload, bytes_of("payload 1")));
    assert_int_equal(queue_ack(fix.queue, &old, 1, fix.now_ms, NULL, NULL), RC_GONE);
    assert_int_equal(ack(&fix, fix.leased, 0), RC_OK);
    assert_int_equal(queue_dead_retry(fix.queue, "a", test_id(1), fix.now_ms, NULL), RC_INVALID);
    fixture_done(&fix);
}

TEST(the_dead_are_forgotten_after_their_retention)
{
    struct fixture fix = fixture_open(&(struct queue_config){.dead_retention_ms = 3000});
    make_dead(&fix, "a", 1, 1);
    pass_ms(&fix, 3001);
    lease_none(&fix);
    struct queue_info info;
    assert_int_equal(queue_get(fix.queue, "a", test_id(1), &info, NULL), RC_NOT_FOUND);
    fixture_done(&fix);
}

TEST(purging_takes_what_waits_or_what_is_dead_of_one_tenant)
{
    struct fixture fix = fixture_open(NULL);
    uint32_t count;
    struct queue_info info;
    make_dead(&fix, "a", 1, 3);
    push_ok(&fix, "a", 10);
    lease_exactly(&fix, fix.leased, 1);
    for (uint32_t i = 11; i < 14; i++)
        push_ok(&fix, "a", i);
    struct queue_message later = {
        .id = test_id(14), .tenant = "a", .not_before_ms = fix.now_ms + 5000};
    assert_int_equal(queue_push(fix.queue, &later, 1, fix.now_ms, NULL, NULL), RC_OK);
    push_ok(&fix, "b", 20);

    assert_int_equal(queue_purge(fix.queue, "a", JOB_DEAD, fix.now_ms, &count, NULL), RC_OK);
    assert_int_equal(count, 3);
    assert_int_equal(queue_get(fix.queue, "a", test_id(1), &info, NULL), RC_NOT_FOUND);
    assert_int_equal(queue_purge(fix.queue, "a", JOB_QUEUED, fix.now_ms, &count, NULL), RC_OK);
    assert_int_equal(count, 4);
    assert_int_equal(queue_purge(fix.queue, "a", JOB_QUEUED, fix.now_ms, &count, NULL), RC_OK);
    assert_int_equal(count, 0);
    assert_int_equal(state_of(&fix, "a", 14), JOB_CANCELLED);
    assert_int_equal(state_of(&fix, "a", 10), JOB_LEASED);
    assert_int_equal(state_of(&fix, "b", 20), JOB_QUEUED);
    assert_int_equal(queue_purge(fix.queue, "a", JOB_LEASED, fix.now_ms, &count, NULL), RC_INVALID);
    fixture_done(&fix);
}

TEST(a_large_backlog_is_purged_in_bounded_calls)
{
    struct fixture fix = fixture_open(NULL);
    struct queue_message messages[QUEUE_PUSH_COUNT_MAX];
    uint32_t total = 0;
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < QUEUE_PUSH_COUNT_MAX; i++)
            messages[i] = (struct queue_message){.id = test_id(round * QUEUE_PUSH_COUNT_MAX + i),
                                                 .tenant = "a"};
        assert_int_equal(
            queue_push(fix.queue, messages, QUEUE_PUSH_COUNT_MAX, fix.now_ms, NULL, NULL), RC_OK);
    }
    for (uint32_t count = 1; count > 0; total += count) {
        assert_int_equal(queue_purge(fix.queue, "a", JOB_QUEUED, fix.now_ms, &count, NULL), RC_OK);
        assert_true(count <= 1000);
    }
    assert_int_equal(total, 2 * QUEUE_PUSH_COUNT_MAX);
    fixture_done(&fix);
}

TEST(statistics_count_states_and_know_the_oldest)
{
    struct fixture fix = fixture_open(NULL);
    struct queue_stats stats;
    uint64_t start_ms = fix.now_ms;
    push_ok(&fix, "a", 1);
    push_ok(&fix, "a", 2);
    pass_ms(&fix, 1000);
    push_ok(&fix, "b", 3);
    assert_int_equal(queue_stats(fix.queue, NULL, fix.now_ms, &stats, NULL), RC_OK);
    assert_string_equal(stats.tenant, "");
    assert_int_equal(stats.counts[JOB_QUEUED], 3);
    if (!queue_traits(fix.queue).service_clock)
        assert_int_equal(stats.oldest_pushed_ms, start_ms);
    lease_exactly(&fix, fix.leased, 2);
    assert_int_equal(cancel(&fix, "b", 3, NULL), RC_OK);
    assert_int_equal(queue_stats(fix.queue, NULL, fix.now_ms, &stats, NULL), RC_OK);
    assert_int_equal(stats.counts[JOB_QUEUED], 1);
    assert_int_equal(stats.counts[JOB_LEASED], 1);
    assert_int_equal(stats.counts[JOB_CANCELLING], 1);
    assert_int_equal(queue_stats(fix.queue, "b", fix.now_ms, &stats, NULL), RC_OK);
    assert_string_equal(stats.tenant, "b");
    assert_int_equal(stats.counts[JOB_QUEUED], 0);
    assert_int_equal(stats.oldest_pushed_ms, 0);
    lease_exactly(&fix, fix.other, 1);
    /* Leases that ran out wait again, whether or not a worker has come to see it. */
    pass_ms(&fix, LEASE_MS);
    assert_int_equal(queue_stats(fix.queue, "a", fix.now_ms, &stats, NULL), RC_OK);
    assert_true(stats.oldest_pushed_ms != 0);
    assert_int_equal(queue_stats(fix.queue, "b", fix.now_ms, &stats, NULL), RC_OK);
    assert_int_equal(stats.oldest_pushed_ms, 0);
    assert_int_equal(queue_stats(fix.queue, "unheard-of", fix.now_ms, &stats, NULL), RC_OK);
    for (int i = 0; i < JOB_STATE_COUNT; i++)
        assert_int_equal(stats.counts[i], 0);
    fixture_done(&fix);
}

TEST(tenants_are_listed_page_by_page)
{
    struct fixture fix = fixture_open(NULL);
    struct queue_stats stats[2];
    uint32_t count;
    push_ok(&fix, "c", 1);
    push_ok(&fix, "a", 2);
    push_ok(&fix, "b", 3);
    push_ok(&fix, "b", 4);
    assert_int_equal(queue_tenants(fix.queue, NULL, 2, fix.now_ms, stats, &count, NULL), RC_OK);
    assert_int_equal(count, 2);
    assert_string_equal(stats[0].tenant, "a");
    assert_string_equal(stats[1].tenant, "b");
    assert_int_equal(stats[1].counts[JOB_QUEUED], 2);
    assert_int_equal(queue_tenants(fix.queue, "b", 2, fix.now_ms, stats, &count, NULL), RC_OK);
    assert_int_equal(count, 1);
    assert_string_equal(stats[0].tenant, "c");
    fixture_done(&fix);
}

TEST(a_backup_is_a_queue_of_its_own)
{
    struct fixture fix = fixture_open(NULL);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/copy.db", fix.dir);
    char url[160];
    (void)snprintf(url, sizeof(url), "sqlite:%s", path);
    push_ok(&fix, "a", 1);
    assert_int_equal(queue_check(fix.queue, true, NULL), RC_OK);
    assert_int_equal(queue_backup(fix.queue, path, NULL), RC_OK);
    assert_int_equal(queue_backup(fix.queue, path, NULL), RC_INVALID);
    struct queue *copy = NULL;
    struct queue_config config = {.url = url};
    struct queue_info info;
    assert_int_equal(queue_open(&config, &copy, NULL), RC_OK);
    assert_int_equal(queue_get(copy, "a", test_id(1), &info, NULL), RC_OK);
    queue_free(copy);
    fixture_done(&fix);
}

TEST_MAIN("queue management contract")
