/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define START_MS      1800000000000ull
#define ASK_COUNT_MAX 200

static void fill_url(struct fixture *fix)
{
    const char *pattern = getenv("QUEUE_URL");
    if (pattern == NULL)
        pattern = "sqlite:{dir}/imago.db";
    const char *mark = strstr(pattern, "{dir}");
    int before = mark != NULL ? (int)(mark - pattern) : (int)strlen(pattern);
    (void)snprintf(fix->url, sizeof(fix->url), "%.*s%s%s", before, pattern,
                   mark != NULL ? fix->dir : "", mark != NULL ? mark + 5 : "");
}

struct fixture fixture_open(const struct queue_config *config)
{
    struct fixture fix = {.now_ms = START_MS};
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(fix.dir, sizeof(fix.dir), "%.40s/imago-queue-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(fix.dir));
    fill_url(&fix);
    if (config != NULL)
        fix.config = *config;
    fix.leased = queue_leased_open();
    fix.other = queue_leased_open();
    assert_non_null(fix.leased);
    assert_non_null(fix.other);
    fixture_reopen(&fix);
    if (queue_traits(fix.queue).service_clock)
        fix.now_ms = clock_wall_ms();
    return fix;
}

void fixture_reopen(struct fixture *fix)
{
    struct error err = {0};
    queue_free(fix->queue);
    fix->config.url = fix->url;
    enum rc rc = queue_open(&fix->config, &fix->queue, &err);
    if (rc != RC_OK)
        fail_msg("%s: %s", fix->url, err.text);
}

void fixture_done(struct fixture *fix)
{
    char command[128];
    queue_free(fix->queue);
    queue_leased_free(fix->leased);
    queue_leased_free(fix->other);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", fix->dir);
    assert_int_equal(system(command), 0);
}

struct id test_id(uint32_t number)
{
    struct id id = {{0x01, 0x99, 0, 0, 0, 0, 0x70, 0, 0x80}};
    for (int i = 0; i < 4; i++)
        id.octets[2 + i] = (uint8_t)(number >> (24 - 8 * i));
    return id;
}

void pass_ms(struct fixture *fix, uint64_t ms)
{
    fix->now_ms += ms;
    if (queue_traits(fix->queue).service_clock)
        (void)nanosleep(&(struct timespec){.tv_sec = (time_t)(ms / 1000 + 1)}, NULL);
}

enum rc push(struct fixture *fix, const char *tenant, uint32_t number)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "payload %u", number);
    struct queue_message message = {
        .id = test_id(number), .tenant = tenant, .payload = bytes_of(text)};
    return queue_push(fix->queue, &message, 1, fix->now_ms, NULL, NULL);
}

void push_ok(struct fixture *fix, const char *tenant, uint32_t number)
{
    assert_int_equal(push(fix, tenant, number), RC_OK);
}

static enum rc lease(struct fixture *fix, struct queue_leased *into, uint32_t count)
{
    struct error err = {0};
    enum rc rc = queue_lease(fix->queue, count, LEASE_MS, fix->now_ms, into, &err);
    if (rc != RC_OK)
        fail_msg("lease: %s: %s", rc_name(rc), err.text);
    return rc;
}

void lease_exactly(struct fixture *fix, struct queue_leased *into, uint32_t count)
{
    assert_int_equal(lease(fix, into, count), RC_OK);
    /* A service may answer with less than there is: nothing at all is asked again. */
    for (int i = 0; into->count == 0 && i < ASK_COUNT_MAX; i++)
        if (queue_traits(fix->queue).service_clock)
            assert_int_equal(lease(fix, into, count), RC_OK);
    assert_int_equal(into->count, count);
}

void lease_none(struct fixture *fix)
{
    assert_int_equal(lease(fix, fix->other, QUEUE_LEASE_COUNT_MAX), RC_OK);
    assert_int_equal(fix->other->count, 0);
}

enum job_state state_of(struct fixture *fix, const char *tenant, uint32_t number)
{
    struct queue_info info;
    struct error err = {0};
    enum rc rc = queue_get(fix->queue, tenant, test_id(number), &info, &err);
    if (rc != RC_OK)
        fail_msg("message %u: %s: %s", number, rc_name(rc), err.text);
    return info.state;
}

enum rc ack(struct fixture *fix, const struct queue_leased *leased, uint32_t index)
{
    assert_true(index < leased->count);
    return queue_ack(fix->queue, &leased->items[index].receipt, 1, fix->now_ms, NULL, NULL);
}
