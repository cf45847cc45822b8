/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/job_state.h"

#include <assert.h>

/* What is not listed cannot happen. An ack wins over a cancellation that came after the lease: the
 * work is committed by then, and stands. */
static const uint8_t next_plus_1[JOB_STATE_COUNT][JOB_EVENT_COUNT] = {
#define T(from, event, to) [JOB_##from][JOB_EVENT_##event] = (JOB_##to + 1)
    T(QUEUED, LEASE, LEASED),
    T(QUEUED, CANCEL, CANCELLED),
    T(LEASED, ACK, DONE),
    T(LEASED, FAIL, FAILED),
    T(LEASED, GIVE_UP, DEAD),
    T(LEASED, EXPIRE, QUEUED),
    T(LEASED, CANCEL, CANCELLING),
    T(LEASED, RELEASE, QUEUED),
    T(CANCELLING, ACK, DONE),
    T(CANCELLING, FAIL, CANCELLED),
    T(CANCELLING, GIVE_UP, CANCELLED),
    T(CANCELLING, EXPIRE, CANCELLED),
    T(CANCELLING, CANCEL, CANCELLING),
    T(CANCELLING, RELEASE, CANCELLED),
    T(FAILED, LEASE, LEASED),
    T(FAILED, CANCEL, CANCELLED),
    T(DEAD, REVIVE, QUEUED),
#undef T
};

const char *job_state_text(enum job_state state)
{
    static const char *const texts[] = {
#define X(name, text, rest) [JOB_##name] = (text),
        JOB_STATES(X)
#undef X
    };
    assert(state < JOB_STATE_COUNT);
    return texts[state];
}

const char *job_event_text(enum job_event event)
{
    static const char *const texts[] = {"lease",  "acknowledge", "fail",   "give up",
                                        "expire", "cancel",      "revive", "release"};
    assert(event < JOB_EVENT_COUNT);
    return texts[event];
}

bool job_state_at_rest(enum job_state state)
{
    static const bool rests[] = {
#define X(name, text, rest) [JOB_##name] = (rest),
        JOB_STATES(X)
#undef X
    };
    assert(state < JOB_STATE_COUNT);
    return rests[state];
}

bool job_next(enum job_state state, enum job_event event, enum job_state *ret_next)
{
    assert(state < JOB_STATE_COUNT && event < JOB_EVENT_COUNT);
    if (next_plus_1[state][event] == 0)
        return false;
    *ret_next = (enum job_state)(next_plus_1[state][event] - 1);
    return true;
}

enum job_event job_failure(uint32_t delivery_count, uint32_t max, bool retry_wanted)
{
    return retry_wanted && delivery_count < max ? JOB_EVENT_FAIL : JOB_EVENT_GIVE_UP;
}

enum job_event job_expiry(uint32_t delivery_count, uint32_t max)
{
    return delivery_count < max ? JOB_EVENT_EXPIRE : JOB_EVENT_GIVE_UP;
}
