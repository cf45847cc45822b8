/* SPDX-License-Identifier: Apache-2.0
 * limits_bucket.c - what one key has used, what a rule lets pass, and the numbers to tell.
 *
 * The bucket's level is kept in tokens times nanoseconds of the window, so that a refill is a
 * product of integers and nothing is ever rounded: LIMITS_REQUESTS_MAX * 3,600 s in ns is below
 * 2^62. */
#include "account/limits_bucket.h"
#include "base/clock.h"

#include <assert.h>
#include <inttypes.h>

#define MS_PER_DAY 86400000ull
#define S_PER_DAY  86400u

enum rc limits_rule_check(const struct limits_rule *rule, struct error *err)
{
    if (rule->requests > LIMITS_REQUESTS_MAX || rule->burst > LIMITS_REQUESTS_MAX)
        return error_set(err, RC_INVALID, "requests and burst are at most %u", LIMITS_REQUESTS_MAX);
    if (rule->window_s > LIMITS_WINDOW_S_MAX)
        return error_set(err, RC_INVALID, "the window is at most %u s", LIMITS_WINDOW_S_MAX);
    if (rule->bytes_per_day > INT64_MAX || rule->images_per_day > INT64_MAX)
        return error_set(err, RC_INVALID, "a day's limit is below 2^63");
    return RC_OK;
}

static uint64_t window_ns(const struct limits_count *count) { return count->window_s * NS_PER_S; }

static uint64_t capacity(const struct limits_count *count)
{
    return count->burst * window_ns(count);
}

/* Another rule keeps the whole tokens that there are. */
static void follow_rule(struct limits_count *count, const struct limits_rule *rule, uint64_t now_ns)
{
    uint32_t window_s = rule->window_s == 0 ? 1 : rule->window_s;
    uint32_t burst = rule->burst == 0 ? rule->requests : rule->burst;
    if (count->started && count->requests == rule->requests && count->window_s == window_s &&
        count->burst == burst)
        return;
    uint64_t tokens = burst;
    if (count->started && count->requests > 0)
        tokens = count->level / window_ns(count);
    count->requests = rule->requests;
    count->window_s = window_s;
    count->burst = burst;
    count->level = (tokens < burst ? tokens : burst) * window_ns(count);
    count->level_ns = now_ns;
    count->started = true;
}

static void refill(struct limits_count *count, uint64_t now_ns)
{
    /* Threads read the clock before they take the lock: a time may be a little in the past. */
    if (count->requests == 0 || now_ns <= count->level_ns)
        return;
    uint64_t missing = capacity(count) - count->level;
    uint64_t elapsed = now_ns - count->level_ns;
    if (elapsed > missing / count->requests)
        count->level = capacity(count);
    else
        count->level += elapsed * count->requests;
    count->level_ns = now_ns;
}

static void follow_day(struct limits_count *count, uint64_t wall_ms)
{
    uint64_t day = wall_ms / MS_PER_DAY;
    if (day <= count->day) /* a clock set back does not give the day again */
        return;
    count->day = day;
    count->bytes = 0;
    count->images = 0;
}

static uint64_t left(uint64_t quota, uint64_t used) { return quota > used ? quota - used : 0; }

static uint32_t seconds_up(uint64_t ns)
{
    uint64_t seconds = ns / NS_PER_S + (ns % NS_PER_S != 0);
    return seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

/* Until there are `level` units. */
static uint64_t wait_ns(const struct limits_count *count, uint64_t level)
{
    uint64_t missing = left(level, count->level);
    return missing / count->requests + (missing % count->requests != 0);
}

static void tell_numbers(const struct limits_count *count, const struct limits_rule *rule,
                         uint64_t wall_ms, struct limits_verdict *verdict)
{
    uint32_t day_rest_s = (uint32_t)((MS_PER_DAY - wall_ms % MS_PER_DAY + 999) / 1000);
    if (rule->requests > 0)
        verdict->rate =
            (struct limits_number){.quota = count->burst,
                                   .remaining = count->level / window_ns(count),
                                   .window_s = seconds_up(capacity(count) / count->requests),
                                   .reset_s = seconds_up(wait_ns(count, capacity(count)))};
    if (rule->concurrent > 0)
        verdict->concurrent = (struct limits_number){
            .quota = rule->concurrent, .remaining = left(rule->concurrent, count->in_work)};
    if (rule->bytes_per_day > 0)
        verdict->bytes =
            (struct limits_number){.quota = rule->bytes_per_day,
                                   .remaining = left(rule->bytes_per_day, count->bytes),
                                   .window_s = S_PER_DAY,
                                   .reset_s = day_rest_s};
    if (rule->images_per_day > 0)
        verdict->images =
            (struct limits_number){.quota = rule->images_per_day,
                                   .remaining = left(rule->images_per_day, count->images),
                                   .window_s = S_PER_DAY,
                                   .reset_s = day_rest_s};
}

/* Days before the rate: a client told to wait a second would come back in vain until midnight. */
static enum limits_refusal judge(const struct limits_count *count, const struct limits_rule *rule,
                                 const struct limits_request *request)
{
    if (rule->images_per_day > 0 && request->images > left(rule->images_per_day, count->images))
        return LIMITS_IMAGES;
    /* A request without bytes yet (chunked) passes only if some are left. */
    if (rule->bytes_per_day > 0 && (request->bytes > left(rule->bytes_per_day, count->bytes) ||
                                    count->bytes >= rule->bytes_per_day))
        return LIMITS_BYTES;
    if (rule->concurrent > 0 && count->in_work >= rule->concurrent)
        return LIMITS_CONCURRENT;
    if (rule->requests > 0 && count->level < window_ns(count))
        return LIMITS_RATE;
    return LIMITS_PASS;
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

void limits_count_admit(struct limits_count *count, const struct limits_rule *rule,
                        const struct limits_request *request, struct limits_verdict *verdict)
{
    follow_rule(count, rule, request->monotonic_ns);
    refill(count, request->monotonic_ns);
    follow_day(count, request->wall_ms);
    verdict->refusal = judge(count, rule, request);
    if (verdict->refusal == LIMITS_PASS) {
        count->level -= rule->requests > 0 ? window_ns(count) : 0;
        count->in_work++;
        limits_count_charge(count, request->bytes, request->images);
    }
    tell_numbers(count, rule, request->wall_ms, verdict);
    switch (verdict->refusal) {
    case LIMITS_PASS:
        break;
    case LIMITS_RATE:
        verdict->retry_after_s = seconds_up(wait_ns(count, window_ns(count)));
        break;
    case LIMITS_BYTES:
        verdict->retry_after_s = verdict->bytes.reset_s;
        break;
    case LIMITS_IMAGES:
        verdict->retry_after_s = verdict->images.reset_s;
        break;
    case LIMITS_CONCURRENT:
    case LIMITS_FULL:
        verdict->retry_after_s = 1;
        break;
    }
}

void limits_count_charge(struct limits_count *count, uint64_t bytes, uint64_t images)
{
    count->bytes = add_capped(count->bytes, bytes);
    count->images = add_capped(count->images, images);
}

void limits_count_release(struct limits_count *count, uint64_t images_unused)
{
    count->in_work--;
    /* After midnight there may be fewer than were taken before it. */
    count->images = left(count->images, images_unused);
}

const char *limits_refusal_text(enum limits_refusal refusal)
{
    static const char *const texts[] = {
        "",
        "the key's request rate is used up; wait as long as Retry-After says",
        "the key has as many requests in work as it may; wait until one ends",
        "the key's bytes of this day are used up; they come back at midnight UTC",
        "the key's images of this day do not suffice; they come back at midnight UTC",
        "the server counts as many keys as it can; try again",
    };
    assert((size_t)refusal < sizeof(texts) / sizeof(texts[0]));
    return texts[refusal];
}

/* The draft's registry has the units request (the default), content-bytes and concurrent-requests;
 * a client that does not know "images" must ignore that policy, which is right. */
static const struct {
    const char *name;
    const char *unit;
} fields[] = {{"rate", NULL},
              {"concurrent", "concurrent-requests"},
              {"bytes", "content-bytes"},
              {"images", "images"}};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

static const struct limits_number *number_of(const struct limits_verdict *verdict, size_t index)
{
    const struct limits_number *const numbers[FIELD_COUNT] = {&verdict->rate, &verdict->concurrent,
                                                              &verdict->bytes, &verdict->images};
    return numbers[index];
}

/* Structured fields carry at most 15 digits. */
static uint64_t field_integer(uint64_t value)
{
    return value > 999999999999999ull ? 999999999999999ull : value;
}

enum rc limits_policy_field(const struct limits_verdict *verdict, struct buf *into)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < FIELD_COUNT; i++) {
        const struct limits_number *number = number_of(verdict, i);
        if (number->quota == 0)
            continue;
        rc = buf_printf(into, "%s\"%s\";q=%" PRIu64, into->size > 0 ? ", " : "", fields[i].name,
                        field_integer(number->quota));
        if (rc == RC_OK && number->window_s > 0)
            rc = buf_printf(into, ";w=%" PRIu32, number->window_s);
        if (rc == RC_OK && fields[i].unit != NULL)
            rc = buf_printf(into, ";qu=\"%s\"", fields[i].unit);
    }
    return rc;
}

enum rc limits_state_field(const struct limits_verdict *verdict, struct buf *into)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < FIELD_COUNT; i++) {
        const struct limits_number *number = number_of(verdict, i);
        if (number->quota == 0)
            continue;
        rc = buf_printf(into, "%s\"%s\";r=%" PRIu64, into->size > 0 ? ", " : "", fields[i].name,
                        field_integer(number->remaining));
        if (rc == RC_OK && number->window_s > 0)
            rc = buf_printf(into, ";t=%" PRIu32, number->reset_s);
    }
    return rc;
}
