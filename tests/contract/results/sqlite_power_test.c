/* SPDX-License-Identifier: Apache-2.0
 * The SQLite driver on a disk that forgets, is full, or fails: nothing reported is lost, nothing is
 * there twice, and after the trouble the store goes on. */
#include "check.h"
#include "forgetful_vfs.h"
#include "results_world.h"

#include <stdio.h>
#include <string.h>

#define ROUND_COUNT 60u
#define ID_MAX      8192u
#define GROUP_MAX   12u

static struct id reported[ID_MAX];
static struct id erased[ID_MAX];
static uint32_t reported_count;
static uint32_t erased_count;

/* Commits, erasures and reservations, until the power goes or enough is done. */
static void work_until_dark(struct world *world, uint64_t *random)
{
    for (uint32_t turn = 0; turn < 40; turn++) {
        struct result_commit commits[GROUP_MAX];
        struct result_commit *pointers[GROUP_MAX];
        uint32_t count = 1 + (uint32_t)(random_next(random) % GROUP_MAX);
        for (uint32_t i = 0; i < count; i++) {
            commits[i] = commit_new(world->tenant, WORLD_NOW_MS + random_next(random) % 1000);
            pointers[i] = &commits[i];
        }
        struct results_reservation reservation = {.answer = BUF_INIT(RESULT_ANSWER_SIZE_MAX)};
        char key[24];
        (void)snprintf(key, sizeof(key), "key-%u", turn);
        commits[0].idempotency_key = bytes_of(key);
        commits[0].answer_until_ms = WORLD_NOW_MS + MS_PER_DAY;
        (void)!results_reserve(world->results, world->tenant, bytes_of(key), commits[0].fingerprint,
                               commits[0].prediction.request_id, WORLD_NOW_MS, WORLD_NOW_MS + 1,
                               WORLD_NOW_MS + 2, &reservation, NULL);
        buf_done(&reservation.answer);
        if (results_put(world->results, pointers, count, NULL) != RC_OK)
            return;
        for (uint32_t i = 0; i < count && reported_count < ID_MAX; i++)
            reported[reported_count++] = commits[i].prediction.id;
        if (turn % 4 == 3) {
            struct results_removed removed;
            struct id id = reported[--reported_count];
            enum rc rc = results_erase(world->results, world->tenant, id, 1, &removed, NULL);
            /* Unknown otherwise: then it belongs to neither list. */
            if (rc == RC_OK)
                erased[erased_count++] = id;
        }
    }
}

static void check_reported(struct world *world)
{
    struct result_set set = {0};
    for (uint32_t i = 0; i < reported_count; i++)
        if (results_get(world->results, world->tenant, reported[i], &set, NULL) != RC_OK)
            fail_msg("prediction %u of %u is lost", i, reported_count);
    for (uint32_t i = 0; i < erased_count; i++)
        assert_int_equal(results_get(world->results, world->tenant, erased[i], &set, NULL),
                         RC_GONE);
    results_set_done(&set);
    struct results_proof proof;
    assert_int_equal(results_verify(world->results, world->tenant, NULL, &proof, NULL), RC_OK);
    assert_int_equal(proof.difference_count, 0);
    assert_true(proof.ledger_count >= reported_count + erased_count);
}

TEST(power_takes_nothing_that_was_reported)
{
    struct world world;
    uint64_t random = seed_start();
    forgetful_register();
    world_open(&world);
    char plain[sizeof(world.url)];
    memcpy(plain, world.url, sizeof(plain));
    for (uint32_t round = 0; round < ROUND_COUNT; round++) {
        results_free(world.results);
        world.results = NULL;
        (void)snprintf(world.url, sizeof(world.url), "%.200s?vfs=forgetful", plain);
        forgetful_arm(1 + random_next(&random) % (round % 3 == 0 ? 60 : 1500));
        /* Opening may fail as well. */
        if (results_open(world.url, &world.results, NULL) == RC_OK)
            work_until_dark(&world, &random);
        results_free(world.results);
        world.results = NULL;
        forgetful_lose(&random);
        memcpy(world.url, plain, sizeof(world.url));
        world_reopen(&world);
        struct error err = {0};
        if (results_check(world.results, true, &err) != RC_OK)
            fail_msg("round %u: %s", round, err.text);
        check_reported(&world);
    }
    print_message("# %u commits and %u erasures outlived %u losses of power\n", reported_count,
                  erased_count, ROUND_COUNT);
    assert_true(reported_count > 100);
    world_close(&world);
}

TEST(power_may_go_while_the_file_is_made)
{
    uint64_t random = seed_start();
    forgetful_register();
    for (uint32_t round = 1; round < 60; round += 3) {
        struct world world;
        world_open(&world);
        results_free(world.results);
        world.results = NULL;
        char plain[sizeof(world.url)];
        (void)snprintf(plain, sizeof(plain), "sqlite:%s/fresh.db", world.dir);
        (void)snprintf(world.url, sizeof(world.url), "%.200s?vfs=forgetful", plain);
        forgetful_arm(round);
        if (results_open(world.url, &world.results, NULL) == RC_OK)
            results_free(world.results);
        world.results = NULL;
        forgetful_lose(&random);
        memcpy(world.url, plain, sizeof(world.url));
        world_reopen(&world);
        struct result_commit commit = commit_new(world.tenant, WORLD_NOW_MS);
        (void)must_put(&world, &commit);
        world_close(&world);
    }
}

static void expect_trouble(struct world *world, struct result_commit *commit, const char *word)
{
    struct error err = {0};
    assert_int_equal(results_put(world->results, &commit, 1, &err), RC_UNAVAILABLE);
    assert_int_equal(commit->rc, RC_UNAVAILABLE);
    assert_non_null(strstr(err.text, word));
}

TEST(a_full_disk_is_reported_and_reading_goes_on)
{
    struct world world;
    forgetful_register();
    world_open(&world);
    (void)snprintf(world.url, sizeof(world.url), "sqlite:%.100s/full.db?vfs=forgetful", world.dir);
    world_reopen(&world);
    struct result_commit first = commit_new(world.tenant, WORLD_NOW_MS);
    struct id id = must_put(&world, &first);
    forgetful_set_full(true);
    struct result_commit second = commit_new(world.tenant, WORLD_NOW_MS);
    expect_trouble(&world, &second, "full");
    expect_trouble(&world, &second, "full");
    struct result_set set = {0};
    assert_int_equal(results_get(world.results, world.tenant, id, &set, NULL), RC_OK);
    results_set_done(&set);
    must_verify(&world, world.tenant, 1, 1, 0);
    forgetful_set_full(false);
    (void)must_put(&world, &second);
    assert_false(second.known);
    must_verify(&world, world.tenant, 2, 2, 0);
    world_close(&world);
}

TEST(a_sync_that_fails_is_no_success)
{
    struct world world;
    uint64_t random = seed_start();
    forgetful_register();
    world_open(&world);
    (void)snprintf(world.url, sizeof(world.url), "sqlite:%.100s/sync.db?vfs=forgetful", world.dir);
    world_reopen(&world);
    struct result_commit first = commit_new(world.tenant, WORLD_NOW_MS);
    struct id first_id = must_put(&world, &first);
    struct result_commit second = commit_new(world.tenant, WORLD_NOW_MS);
    forgetful_set_sync_fails(true);
    expect_trouble(&world, &second, "failed");
    forgetful_set_sync_fails(false);
    struct id second_id = must_put(&world, &second);
    /* And then the power goes: what was reported after the failure is there as well. */
    forgetful_arm(1);
    struct result_commit third = commit_new(world.tenant, WORLD_NOW_MS);
    expect_trouble(&world, &third, "failed");
    results_free(world.results);
    world.results = NULL;
    forgetful_lose(&random);
    world_reopen(&world);
    struct result_set set = {0};
    assert_int_equal(results_get(world.results, world.tenant, first_id, &set, NULL), RC_OK);
    assert_int_equal(results_get(world.results, world.tenant, second_id, &set, NULL), RC_OK);
    results_set_done(&set);
    must_verify(&world, world.tenant, 2, 2, 0);
    world_close(&world);
}

TEST_MAIN("results: sqlite without power, room, luck")
