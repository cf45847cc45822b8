/* SPDX-License-Identifier: Apache-2.0
 * kill -9 at random moments: what had been reported is there, with exactly one ledger entry. */
#include "check.h"
#include "results_world.h"

#include "results/jobs.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUND_COUNT 30u
#define GROUP_MAX   16u
#define ID_MAX      65536u

/* What the child tells, after the call has returned: smaller than PIPE_BUF, so never torn. */
struct report {
    uint32_t count;
    bool erased;
    struct id job; /* put and ended with its message */
    struct id ids[GROUP_MAX];
};

static struct id committed[ID_MAX];
static struct id erased[ID_MAX];
static struct id jobs[ID_MAX];
static uint32_t committed_count;
static uint32_t job_count;
static uint32_t erased_count;

/* A job of the first of the pictures. */
static void child_job(struct world *world, struct id id)
{
    const uint8_t picture[32] = {1};
    struct result_job job = {
        .id = id, .created_ms = WORLD_NOW_MS, .picture_count = 1, .pictures = picture};
    bool first = false;
    if (results_job_put(world->results, world->tenant, &job, NULL) != RC_OK)
        _exit(4);
    if (results_job_end(world->results, world->tenant, id, RESULT_JOB_DONE, bytes_of("why"),
                        WORLD_NOW_MS, bytes_of("{}"), WORLD_NOW_MS, &first, NULL) != RC_OK ||
        !first)
        _exit(5);
}

/* Never returns: it is killed. */
static void child_main(struct world *world, int pipe_fd, uint64_t random)
{
    world_reopen(world);
    for (uint32_t turn = 0;; turn++) {
        struct result_commit commits[GROUP_MAX];
        struct result_commit *pointers[GROUP_MAX];
        struct report report = {.count = 1 + (uint32_t)(random_next(&random) % GROUP_MAX)};
        for (uint32_t i = 0; i < report.count; i++) {
            commits[i] = commit_new(world->tenant, WORLD_NOW_MS + random_next(&random) % 100000);
            commits[i].payload = bytes_of("{}");
            commits[i].outbox_id = commits[i].prediction.request_id;
            pointers[i] = &commits[i];
        }
        if (results_put(world->results, pointers, report.count, NULL) != RC_OK)
            _exit(1);
        report.job = id_new(WORLD_NOW_MS);
        child_job(world, report.job);
        for (uint32_t i = 0; i < report.count; i++)
            report.ids[i] = commits[i].prediction.id;
        if (write(pipe_fd, &report, sizeof(report)) != sizeof(report))
            _exit(2);
        if (turn % 3 != 2)
            continue;
        struct results_removed removed;
        report.erased = true;
        report.count = 1;
        /* Announced before: from here on it may be gone. */
        if (write(pipe_fd, &report, sizeof(report)) != sizeof(report))
            _exit(2);
        if (results_erase(world->results, world->tenant, report.ids[0], 1, &removed, NULL) != RC_OK)
            _exit(3);
    }
}

static bool read_report(int fd, struct report *report)
{
    ssize_t size;
    do
        size = read(fd, report, sizeof(*report));
    while (size < 0 && errno == EINTR);
    return size == (ssize_t)sizeof(*report);
}

static void note(const struct report *report)
{
    if (!report->erased) {
        assert_true(job_count < ID_MAX);
        jobs[job_count++] = report->job;
    }
    for (uint32_t i = 0; i < report->count; i++) {
        if (report->erased) {
            assert_true(erased_count < ID_MAX);
            erased[erased_count++] = report->ids[i];
        } else {
            assert_true(committed_count < ID_MAX);
            committed[committed_count++] = report->ids[i];
        }
    }
}

static bool was_erased(struct id id)
{
    for (uint32_t i = 0; i < erased_count; i++)
        if (memcmp(&erased[i], &id, sizeof(id)) == 0)
            return true;
    return false;
}

static void check_jobs(struct world *world)
{
    struct result_job_set set = {0};
    for (uint32_t i = 0; i < job_count; i++) {
        assert_int_equal(results_job_get(world->results, world->tenant, jobs[i], &set, NULL),
                         RC_OK);
        assert_int_equal(set.items[0].ended, RESULT_JOB_DONE);
        assert_true(bytes_equal(set.items[0].reason, bytes_of("why")));
    }
    results_job_set_done(&set);
}

TEST(kill_9_takes_nothing_that_was_reported)
{
    if (!world_has_files())
        return;
    struct world world;
    uint64_t random = seed_start();
    world_open(&world);
    for (uint32_t round = 0; round < ROUND_COUNT; round++) {
        results_free(world.results);
        world.results = NULL;
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)close(fds[0]);
            child_main(&world, fds[1], random + round);
        }
        (void)close(fds[1]);
        struct report report;
        uint64_t reports = 1 + random_next(&random) % 12;
        while (reports-- > 0 && read_report(fds[0], &report))
            note(&report);
        /* Anywhere in the next commit, not only at its start. */
        uint64_t spins = random_next(&random) % 2000000;
        for (volatile uint64_t i = 0; i < spins; i++)
            continue;
        assert_int_equal(kill(child, SIGKILL), 0);
        while (read_report(fds[0], &report))
            note(&report);
        (void)close(fds[0]);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        world_reopen(&world);
    }
    struct result_set set = {0};
    for (uint32_t i = 0; i < committed_count; i++) {
        enum rc rc = results_get(world.results, world.tenant, committed[i], &set, NULL);
        if (rc != RC_OK && !(rc == RC_GONE && was_erased(committed[i])))
            fail_msg("commit %u of %u: %s", i, committed_count, rc_name(rc));
    }
    results_set_done(&set);
    check_jobs(&world);
    struct results_proof proof;
    assert_int_equal(results_verify(world.results, world.tenant, NULL, &proof, NULL), RC_OK);
    assert_int_equal(proof.difference_count, 0);
    assert_true(proof.ledger_count >= committed_count);
    assert_int_equal(proof.ledger_count, proof.prediction_count + proof.tombstone_count);
    assert_int_equal(results_check(world.results, true, NULL), RC_OK);
    print_message("# %u commits outlived %u kills; %llu are there\n", committed_count, ROUND_COUNT,
                  (unsigned long long)proof.ledger_count);
    world_close(&world);
}

TEST_MAIN("results: durability")
