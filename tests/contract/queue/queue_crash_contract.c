/* SPDX-License-Identifier: Apache-2.0
 * What a queue reported survives kill -9 of the processes that use it, and a disk that is full. */
#include "base/clock.h"
#include "check.h"
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUND_COUNT_DEFAULT 12u
#define NUMBER_MAX          100000u
#define CRASH_LEASE_MS      2000u
#define TENANT(number)      ((number) % 3 == 0 ? "a" : "b")

struct event {
    uint32_t kind; /* 'P': pushed, 'A': acknowledged */
    uint32_t number;
};

static bool pushed[NUMBER_MAX];
static bool acked[NUMBER_MAX];
static uint32_t number_next;

static uint32_t number_of(struct id id)
{
    return (uint32_t)id.octets[2] << 24 | (uint32_t)id.octets[3] << 16 |
           (uint32_t)id.octets[4] << 8 | id.octets[5];
}

static void report(int pipe_end, uint32_t kind, uint32_t number)
{
    struct event event = {kind, number};
    if (write(pipe_end, &event, sizeof(event)) != sizeof(event))
        _exit(1);
}

/* Pushes groups of 1 to 5 from `first` on, for ever. */
static void producer(struct fixture *fix, uint32_t first, int pipe_end)
{
    for (uint32_t number = first; number + 5 < NUMBER_MAX;) {
        struct queue_message messages[5];
        enum rc rcs[5];
        uint32_t count = 1 + number % 5;
        for (uint32_t i = 0; i < count; i++)
            messages[i] = (struct queue_message){.id = test_id(number + i),
                                                 .tenant = TENANT(number + i),
                                                 .payload = bytes_of("work")};
        if (queue_push(fix->queue, messages, count, clock_wall_ms(), rcs, NULL) != RC_OK)
            continue;
        for (uint32_t i = 0; i < count; i++)
            report(pipe_end, 'P', number + i);
        number += count;
    }
}

static void worker(struct fixture *fix, int pipe_end)
{
    for (;;) {
        struct queue_receipt receipts[3];
        enum rc rcs[3];
        if (queue_lease(fix->queue, 3, CRASH_LEASE_MS, clock_wall_ms(), fix->leased, NULL) !=
                RC_OK ||
            fix->leased->count == 0)
            continue;
        for (uint32_t i = 0; i < fix->leased->count; i++)
            receipts[i] = fix->leased->items[i].receipt;
        enum rc rc =
            queue_ack(fix->queue, receipts, fix->leased->count, clock_wall_ms(), rcs, NULL);
        for (uint32_t i = 0; i < fix->leased->count; i++)
            if (rc == RC_OK || rcs[i] == RC_OK)
                report(pipe_end, 'A', number_of(receipts[i].id));
    }
}

static pid_t start(struct fixture *fix, bool produces, int ends[2])
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    (void)close(ends[0]);
    fixture_reopen(fix);
    if (produces)
        producer(fix, number_next, ends[1]);
    else
        worker(fix, ends[1]);
    _exit(0);
}

/* Until they have reported `count` events, then without mercy. */
static void run_and_kill(struct fixture *fix, uint32_t count)
{
    int ends[2];
    struct event event;
    assert_int_equal(pipe(ends), 0);
    pid_t children[] = {start(fix, true, ends), start(fix, false, ends)};
    (void)close(ends[1]);
    for (uint32_t i = 0; read(ends[0], &event, sizeof(event)) == sizeof(event); i++) {
        assert_true(event.number < NUMBER_MAX);
        (event.kind == 'P' ? pushed : acked)[event.number] = true;
        if (event.number >= number_next)
            number_next = event.number + 1;
        if (i == count)
            for (int child = 0; child < 2; child++)
                (void)kill(children[child], SIGKILL);
    }
    (void)close(ends[0]);
    for (int child = 0; child < 2; child++) {
        int status;
        assert_int_equal(waitpid(children[child], &status, 0), children[child]);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    number_next += 5; /* a group that was under way */
}

/* What was reported is so, and the counts are those of the messages. */
static void check_reports(struct fixture *fix)
{
    uint64_t counts[JOB_STATE_COUNT] = {0};
    for (uint32_t number = 0; number < number_next; number++) {
        struct queue_info info;
        enum rc rc = queue_get(fix->queue, TENANT(number), test_id(number), &info, NULL);
        if (pushed[number])
            assert_int_equal(rc, RC_OK);
        if (acked[number])
            assert_true(rc == RC_OK && info.state == JOB_DONE);
        if (rc == RC_OK)
            counts[info.state]++;
    }
    struct queue_stats stats;
    assert_int_equal(queue_stats(fix->queue, NULL, clock_wall_ms(), &stats, NULL), RC_OK);
    assert_memory_equal(stats.counts, counts, sizeof(counts));
}

static void drain(struct fixture *fix)
{
    pass_ms(fix, CRASH_LEASE_MS);
    fix->now_ms = clock_wall_ms() + CRASH_LEASE_MS;
    for (;;) {
        assert_int_equal(queue_lease(fix->queue, QUEUE_LEASE_COUNT_MAX, LEASE_MS, fix->now_ms,
                                     fix->leased, NULL),
                         RC_OK);
        if (fix->leased->count == 0)
            break;
        for (uint32_t i = 0; i < fix->leased->count; i++) {
            uint32_t number = number_of(fix->leased->items[i].receipt.id);
            assert_false(acked[number]);
            assert_int_equal(ack(fix, fix->leased, i), RC_OK);
            acked[number] = true;
        }
    }
}

TEST(what_was_reported_survives_kill_9_and_nothing_is_lost)
{
    struct fixture fix = fixture_open(&(struct queue_config){.delivery_count_max = 1000});
    const char *rounds = getenv("QUEUE_CRASH_ROUNDS");
    uint32_t round_count =
        rounds != NULL ? (uint32_t)strtoul(rounds, NULL, 10) : ROUND_COUNT_DEFAULT;
    unsigned seed = (unsigned)clock_wall_ms();
    print_message("# seed %u\n", seed);
    srandom(seed);
    (void)alarm(300); /* a hang fails rather than waits */
    for (uint32_t round = 0; round < round_count; round++) {
        queue_free(fix.queue);
        fix.queue = NULL;
        run_and_kill(&fix, (uint32_t)random() % 100);
        fixture_reopen(&fix);
        check_reports(&fix);
    }
    drain(&fix);
    check_reports(&fix);
    /* An ack that was not reported any more counts as well. */
    for (uint32_t number = 0; number < number_next; number++)
        if (pushed[number])
            assert_int_equal(state_of(&fix, TENANT(number), number), JOB_DONE);
    (void)alarm(0);
    fixture_done(&fix);
}

/* In a child, because the limit is the process's. */
static int push_until_the_disk_is_full(struct fixture *fix)
{
    static uint8_t data[100000];
    struct rlimit limit;
    uint32_t number = 0;
    enum rc rc = RC_OK;
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)getrlimit(RLIMIT_FSIZE, &limit);
    struct rlimit low = {.rlim_cur = 3000000, .rlim_max = limit.rlim_max};
    (void)setrlimit(RLIMIT_FSIZE, &low);
    struct queue_message message = {.tenant = "a", .payload = {data, sizeof(data)}};
    struct error err = {0};
    for (; rc == RC_OK && number < 200; number += rc == RC_OK) {
        message.id = test_id(number);
        rc = queue_push(fix->queue, &message, 1, fix->now_ms, NULL, &err);
    }
    if (rc != RC_UNAVAILABLE || number == 0 || err.text[0] == '\0')
        return 10 + (int)rc;
    (void)setrlimit(RLIMIT_FSIZE, &limit);
    if (queue_push(fix->queue, &message, 1, fix->now_ms, NULL, NULL) != RC_OK)
        return 2;
    for (uint32_t i = 0; i <= number; i++) {
        struct queue_info info;
        if (queue_get(fix->queue, "a", test_id(i), &info, NULL) != RC_OK)
            return 3;
    }
    return 0;
}

TEST(a_full_disk_is_unavailable_and_passes)
{
    struct fixture fix = fixture_open(NULL);
    if (strstr(fix.url, "sqlite:") != NULL) {
        queue_free(fix.queue);
        fix.queue = NULL;
        pid_t pid = fork();
        if (pid == 0) {
            fixture_reopen(&fix);
            _exit(push_until_the_disk_is_full(&fix));
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        fixture_reopen(&fix);
    }
    fixture_done(&fix);
}

TEST_MAIN("queue crash contract")
