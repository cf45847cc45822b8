/* SPDX-License-Identifier: Apache-2.0
 * The sweep over real stores in a fresh folder, with times from here. */
#include "check.h"

#include "results/jobs.h"
#include "work/sweep.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS_PER_DAY 86400000ull
#define START_MS   1764000000000ull
#define DAYS(n)    (START_MS + (n)*MS_PER_DAY)

struct world {
    char dir[128];
    struct results *results;
    struct blob *blob;
    struct account *account;
    struct sweep *sweep;
};

static void must(enum rc rc, const struct error *err)
{
    if (rc != RC_OK)
        fail_msg("%s: %s", rc_name(rc), err->text);
}

static void world_open(struct world *world, bool with_accounts)
{
    char url[160];
    struct error err = {0};
    memset(world, 0, sizeof(*world));
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(world->dir, sizeof(world->dir), "%s/imago-sweep-XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(world->dir));
    (void)snprintf(url, sizeof(url), "sqlite:%s/imago.db", world->dir);
    must(results_open(url, &world->results, &err), &err);
    struct account_config account = {.url = url};
    if (with_accounts)
        must(account_open(&account, &world->account, &err), &err);
    char images[160];
    (void)snprintf(images, sizeof(images), "file:%s/images", world->dir);
    struct blob_config blob = {.url = images};
    must(blob_open(&blob, &world->blob, &err), &err);
    struct sweep_config config = {
        .results = world->results, .blob = world->blob, .account = world->account};
    must(sweep_open(&config, &world->sweep, &err), &err);
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void world_close(struct world *world)
{
    sweep_free(world->sweep);
    blob_free(world->blob);
    account_free(world->account);
    results_free(world->results);
    (void)nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void keep(struct world *world, const char *tenant, uint32_t image_days, uint32_t result_days)
{
    struct account_tenant set = {.image_days = image_days, .result_days = result_days};
    struct error err = {0};
    (void)snprintf(set.id, sizeof(set.id), "%s", tenant);
    must(account_tenant_create(world->account, &set, START_MS, &err), &err);
}

/* The picture called `name`, sent at that time. Its hash is not checked by the store. */
static void hash_of(uint32_t name, uint8_t into[32])
{
    memset(into, 0, 32);
    memcpy(into, &name, sizeof(name));
}
static void send(struct world *world, const char *tenant, uint32_t name, uint64_t now_ms)
{
    struct blob_item item = {.tenant = tenant, .content = bytes_of("a picture")};
    struct error err = {0};
    hash_of(name, item.sha256);
    must(blob_put(world->blob, &item, 1, now_ms, &err), &err);
}

static bool there(struct world *world, const char *tenant, uint32_t name)
{
    uint8_t sha256[32];
    struct blob_info info;
    hash_of(name, sha256);
    enum rc rc = blob_stat(world->blob, tenant, sha256, &info, NULL);
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND);
    return rc == RC_OK;
}

/* A prediction of the picture `name`, which is sent along. */
static struct id predict(struct world *world, const char *tenant, uint32_t name, uint64_t now_ms)
{
    struct result_commit commit = {.kind = RESULT_STORED,
                                   .tenant = bytes_of(tenant),
                                   .prediction = {.request_id = id_new(now_ms),
                                                  .created_ms = now_ms,
                                                  .model = bytes_of("m"),
                                                  .version = bytes_of("1")},
                                   .units = 1,
                                   .requests = 1};
    struct result_commit *pointer = &commit;
    struct error err = {0};
    send(world, tenant, name, now_ms);
    hash_of(name, commit.prediction.picture.sha256);
    must(results_put(world->results, &pointer, 1, &err), &err);
    return commit.prediction.id;
}

static enum rc state_of(struct world *world, const char *tenant, struct id id)
{
    struct result_set set = {0};
    enum rc rc = results_get(world->results, bytes_of(tenant), id, &set, NULL);
    results_set_done(&set);
    return rc;
}

static struct id put_job(struct world *world, const char *tenant, uint32_t name, uint64_t now_ms)
{
    uint8_t sha256[32];
    struct error err = {0};
    hash_of(name, sha256);
    send(world, tenant, name, now_ms);
    struct result_job job = {
        .id = id_new(now_ms), .created_ms = now_ms, .picture_count = 1, .pictures = sha256};
    must(results_job_put(world->results, bytes_of(tenant), &job, &err), &err);
    return job.id;
}

static void end_job(struct world *world, const char *tenant, struct id id, enum result_job_end end,
                    uint64_t now_ms)
{
    bool first = false;
    struct error err = {0};
    must(results_job_end(world->results, bytes_of(tenant), id, end, bytes_of(""), now_ms,
                         (struct bytes){0}, 0, &first, &err),
         &err);
}

static bool has_job(struct world *world, const char *tenant, struct id id)
{
    struct result_job_set set = {0};
    enum rc rc = results_job_get(world->results, bytes_of(tenant), id, &set, NULL);
    results_job_set_done(&set);
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND);
    return rc == RC_OK;
}

static struct sweep_counts pass(struct world *world, uint64_t now_ms)
{
    bool done = false;
    struct error err = {0};
    while (!done)
        must(sweep_step(world->sweep, now_ms, &done, &err), &err);
    return *sweep_counts(world->sweep);
}

TEST(predictions_go_after_their_tenants_days_and_stay_proven)
{
    struct world world;
    world_open(&world, true);
    keep(&world, "short", 0, 10);
    keep(&world, "long", 0, 0);
    struct id old_short = predict(&world, "short", 1, DAYS(0));
    struct id old_long = predict(&world, "long", 1, DAYS(0));
    struct id new_short = predict(&world, "short", 2, DAYS(5));
    struct id shared = predict(&world, "short", 3, DAYS(1));
    struct id sharing = predict(&world, "short", 3, DAYS(9));

    assert_int_equal(pass(&world, DAYS(10) - 1).prediction_count, 0);
    assert_int_equal(state_of(&world, "short", old_short), RC_OK);
    struct sweep_counts counts = pass(&world, DAYS(12));
    assert_int_equal(counts.prediction_count, 2);
    assert_int_equal(counts.picture_count, 1);
    assert_int_equal(counts.picture_size, strlen("a picture"));
    assert_int_equal(state_of(&world, "short", old_short), RC_GONE);
    assert_int_equal(state_of(&world, "short", shared), RC_GONE);
    assert_int_equal(state_of(&world, "short", new_short), RC_OK);
    assert_int_equal(state_of(&world, "short", sharing), RC_OK);
    assert_int_equal(state_of(&world, "long", old_long), RC_OK);
    assert_false(there(&world, "short", 1));
    assert_true(there(&world, "short", 2) && there(&world, "short", 3));
    assert_true(there(&world, "long", 1));

    struct results_proof proof;
    assert_int_equal(results_verify(world.results, bytes_of("short"), NULL, &proof, NULL), RC_OK);
    assert_int_equal(proof.difference_count, 0);
    assert_int_equal(proof.ledger_count, 4);
    assert_int_equal(proof.prediction_count, 2);
    assert_int_equal(proof.tombstone_count, 2);
    assert_int_equal(pass(&world, DAYS(12)).prediction_count, 0);
    world_close(&world);
}

TEST(many_rows_go_in_one_pass_of_many_steps)
{
    struct world world;
    world_open(&world, true);
    keep(&world, "busy", 0, 1);
    for (uint32_t i = 0; i < 300; i++)
        (void)predict(&world, "busy", i, DAYS(0) + i);
    uint32_t steps = 0;
    bool done = false;
    struct error err = {0};
    for (; !done; steps++)
        must(sweep_step(world.sweep, DAYS(2), &done, &err), &err);
    assert_true(steps > 5);
    assert_int_equal(sweep_counts(world.sweep)->prediction_count, 300);
    assert_int_equal(sweep_counts(world.sweep)->picture_count, 300);
    world_close(&world);
}

TEST(pictures_go_after_their_days_though_predictions_have_them)
{
    struct world world;
    world_open(&world, true);
    keep(&world, "lean", 3, 0);
    struct id id = predict(&world, "lean", 1, DAYS(0));
    (void)predict(&world, "lean", 2, DAYS(2));
    struct id job = put_job(&world, "lean", 3, DAYS(0));
    (void)pass(&world, DAYS(3) - 1);
    assert_true(there(&world, "lean", 1));
    assert_int_equal(pass(&world, DAYS(3)).picture_count, 1);
    assert_false(there(&world, "lean", 1));
    assert_true(there(&world, "lean", 2));
    assert_int_equal(state_of(&world, "lean", id), RC_OK);
    /* An open job needs its picture, a dead one does not. */
    assert_true(there(&world, "lean", 3));
    end_job(&world, "lean", job, RESULT_JOB_DEAD, DAYS(3));
    (void)pass(&world, DAYS(4));
    assert_false(there(&world, "lean", 3));
    /* Sent again, its days begin anew. */
    send(&world, "lean", 2, DAYS(4));
    (void)pass(&world, DAYS(6));
    assert_true(there(&world, "lean", 2));
    world_close(&world);
}

TEST(unreferenced_pictures_go_after_a_day_without_accounts_too)
{
    struct world world;
    world_open(&world, false);
    send(&world, "default", 1, DAYS(0));
    struct id kept = predict(&world, "default", 2, DAYS(0));
    struct id job = put_job(&world, "default", 3, DAYS(0));
    assert_int_equal(pass(&world, DAYS(1) - 1).picture_count, 0);
    assert_int_equal(pass(&world, DAYS(1)).picture_count, 1);
    assert_false(there(&world, "default", 1));
    (void)pass(&world, DAYS(4000));
    assert_true(there(&world, "default", 2) && there(&world, "default", 3));
    assert_int_equal(state_of(&world, "default", kept), RC_OK);
    end_job(&world, "default", job, RESULT_JOB_DONE, DAYS(4000));
    (void)pass(&world, DAYS(4000));
    assert_false(there(&world, "default", 3));
    world_close(&world);
}

TEST(jobs_go_when_they_ended_long_enough_ago)
{
    struct world world;
    world_open(&world, true);
    keep(&world, "t", 0, 2);
    struct id open = put_job(&world, "t", 1, DAYS(0));
    struct id late = put_job(&world, "t", 2, DAYS(0));
    struct id early = put_job(&world, "t", 3, DAYS(0));
    end_job(&world, "t", early, RESULT_JOB_CANCELLED, DAYS(1));
    end_job(&world, "t", late, RESULT_JOB_DONE, DAYS(4));
    assert_int_equal(pass(&world, DAYS(5)).job_row_count, 1);
    assert_true(has_job(&world, "t", open) && has_job(&world, "t", late));
    assert_false(has_job(&world, "t", early));
    world_close(&world);
}

TEST(expired_keys_are_forgotten)
{
    struct world world;
    world_open(&world, false);
    struct results_reservation reservation = {.answer = BUF_INIT(RESULT_ANSWER_SIZE_MAX)};
    const uint8_t fingerprint[32] = {1};
    assert_int_equal(results_reserve(world.results, bytes_of("default"), bytes_of("k"), fingerprint,
                                     id_new(START_MS), START_MS, START_MS + 1, DAYS(1),
                                     &reservation, NULL),
                     RC_OK);
    assert_int_equal(pass(&world, DAYS(1) - 1).key_count, 0);
    assert_int_equal(pass(&world, DAYS(1)).key_count, 1);
    buf_done(&reservation.answer);
    world_close(&world);
}

TEST(a_thread_is_stopped_at_once)
{
    struct world world;
    world_open(&world, true);
    struct error err = {0};
    sweep_free(world.sweep);
    struct sweep_config config = {.results = world.results,
                                  .blob = world.blob,
                                  .account = world.account,
                                  .interval_ms = 86400000};
    must(sweep_open(&config, &world.sweep, &err), &err);
    must(sweep_start(world.sweep, &err), &err);
    world_close(&world); /* within the test's time limit, not after a day */
}

TEST_MAIN("work: sweep")
