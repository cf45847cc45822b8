/* SPDX-License-Identifier: Apache-2.0
 * The states of a job against what they are for, and when to try again. */
#include "check.h"
#include "queue/queue.h"

#include <string.h>

TEST(done_and_cancelled_are_final_and_only_a_revival_leaves_dead)
{
    for (int from = 0; from < JOB_STATE_COUNT; from++)
        for (int event = 0; event < JOB_EVENT_COUNT; event++) {
            enum job_state next;
            bool can = job_next((enum job_state)from, (enum job_event)event, &next);
            if (job_state_at_rest((enum job_state)from))
                assert_true(can == (from == JOB_DEAD && event == JOB_EVENT_REVIVE));
            else
                assert_false(can && event == JOB_EVENT_REVIVE);
        }
}

TEST(only_a_holder_acknowledges_fails_expires_or_releases)
{
    static const enum job_event holders[] = {JOB_EVENT_ACK, JOB_EVENT_FAIL, JOB_EVENT_GIVE_UP,
                                             JOB_EVENT_EXPIRE, JOB_EVENT_RELEASE};
    for (int from = 0; from < JOB_STATE_COUNT; from++)
        for (size_t i = 0; i < sizeof(holders) / sizeof(holders[0]); i++) {
            enum job_state next;
            bool held = from == JOB_LEASED || from == JOB_CANCELLING;
            assert_true(job_next((enum job_state)from, holders[i], &next) == held);
        }
}

TEST(what_was_cancelled_is_never_tried_again_but_may_still_be_done)
{
    for (int event = 0; event < JOB_EVENT_COUNT; event++) {
        enum job_state next;
        if (job_next(JOB_CANCELLING, (enum job_event)event, &next))
            assert_true(next == JOB_CANCELLED || next == JOB_CANCELLING ||
                        (next == JOB_DONE && event == JOB_EVENT_ACK));
    }
}

/* From every state something at rest can be reached, and every state can be reached. */
TEST(every_state_is_reachable_and_leads_to_rest)
{
    bool reached[JOB_STATE_COUNT] = {[JOB_QUEUED] = true};
    bool ends[JOB_STATE_COUNT] = {false};
    for (int round = 0; round < JOB_STATE_COUNT; round++)
        for (int from = 0; from < JOB_STATE_COUNT; from++)
            for (int event = 0; event < JOB_EVENT_COUNT; event++) {
                enum job_state next;
                if (job_state_at_rest((enum job_state)from))
                    ends[from] = true;
                if (!job_next((enum job_state)from, (enum job_event)event, &next))
                    continue;
                reached[next] |= reached[from];
                ends[from] |= ends[next];
            }
    for (int from = 0; from < JOB_STATE_COUNT; from++) {
        assert_true(reached[from]);
        assert_true(ends[from]);
    }
}

TEST(an_impossible_event_leaves_the_output_alone)
{
    enum job_state next = JOB_FAILED;
    assert_false(job_next(JOB_DONE, JOB_EVENT_ACK, &next));
    assert_int_equal(next, JOB_FAILED);
}

TEST(the_last_delivery_is_the_last)
{
    assert_int_equal(job_failure(2, 3, true), JOB_EVENT_FAIL);
    assert_int_equal(job_failure(3, 3, true), JOB_EVENT_GIVE_UP);
    assert_int_equal(job_failure(4, 3, true), JOB_EVENT_GIVE_UP); /* the limit was lowered */
    assert_int_equal(job_failure(1, 3, false), JOB_EVENT_GIVE_UP);
    assert_int_equal(job_expiry(2, 3), JOB_EVENT_EXPIRE);
    assert_int_equal(job_expiry(3, 3), JOB_EVENT_GIVE_UP);
}

TEST(states_and_events_have_names)
{
    for (int from = 0; from < JOB_STATE_COUNT; from++)
        for (int other = 0; other < from; other++)
            assert_string_not_equal(job_state_text((enum job_state)from),
                                    job_state_text((enum job_state)other));
    for (int event = 0; event < JOB_EVENT_COUNT; event++)
        assert_true(strlen(job_event_text((enum job_event)event)) > 0);
}

TEST(the_retry_delay_doubles_up_to_its_limit_with_half_of_it_random)
{
    const struct queue_retry_policy policy = {.delay_ms = 1000, .delay_ms_max = 60000};
    uint64_t full = 1000;
    for (uint32_t delivery = 1; delivery <= 40; delivery++) {
        uint64_t least = UINT64_MAX;
        uint64_t most = 0;
        for (uint64_t i = 0; i < 1000; i++) {
            uint64_t delay = queue_retry_delay_ms(&policy, delivery, i * 0x9e3779b97f4a7c15u);
            least = delay < least ? delay : least;
            most = delay > most ? delay : most;
        }
        assert_true(least >= full - full / 2 && most <= full);
        assert_true(most - least > full / 4);
        full = full * 2 < policy.delay_ms_max ? full * 2 : policy.delay_ms_max;
    }
}

TEST(the_retry_delay_bears_any_numbers)
{
    const struct queue_retry_policy none = {0};
    const struct queue_retry_policy huge = {UINT64_MAX, UINT64_MAX};
    const struct queue_retry_policy above = {.delay_ms = 100, .delay_ms_max = 10};
    assert_int_equal(queue_retry_delay_ms(&none, UINT32_MAX, 5), 0);
    assert_true(queue_retry_delay_ms(&huge, UINT32_MAX, UINT64_MAX) >= UINT64_MAX / 2);
    assert_true(queue_retry_delay_ms(&above, 1, UINT64_MAX) <= 10);
    assert_true(queue_retry_delay_ms(&above, 0, 0) >= 5);
}

TEST_MAIN("job states")
