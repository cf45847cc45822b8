/* SPDX-License-Identifier: Apache-2.0
 * The promise of jobs.h, for every driver. */
#include "check.h"
#include "results_world.h"

#include "results/fault.h"
#include "results/jobs.h"

#include <pthread.h>
#include <string.h>

static bool same_id(struct id a, struct id b) { return memcmp(&a, &b, sizeof(a)) == 0; }

/* A job of `count` pictures, whose hashes begin with `mark` and their number. */
#define PICTURES_MAX 8u
struct wanted {
    uint8_t pictures[PICTURES_MAX][32];
    struct result_job job;
};
static void wanted_init(struct wanted *wanted, uint8_t mark, uint32_t count, uint64_t created_ms)
{
    memset(wanted, 0, sizeof(*wanted));
    for (uint32_t i = 0; i < count; i++) {
        wanted->pictures[i][0] = mark;
        wanted->pictures[i][1] = (uint8_t)i;
    }
    wanted->job = (struct result_job){
        .id = id_new(created_ms),
        .created_ms = created_ms,
        .key = bytes_of("key-1"),
        .body = bytes_of("{\"model\":\"m\"}"),
        .picture_count = count,
        .pictures = wanted->pictures[0],
    };
}

static void put_job(struct world *world, const struct result_job *job)
{
    struct error err = {0};
    if (results_job_put(world->results, world->tenant, job, &err) != RC_OK)
        fail_msg("%s", err.text);
}

static bool end_job(struct world *world, struct id id, enum result_job_end end, const char *reason,
                    uint64_t now_ms, const char *payload)
{
    struct error err = {0};
    bool first = false;
    if (results_job_end(world->results, world->tenant, id, end, bytes_of(reason), now_ms,
                        bytes_of(payload), now_ms, &first, &err) != RC_OK)
        fail_msg("%s", err.text);
    return first;
}

static bool used(struct world *world, const uint8_t sha256[32])
{
    bool is_used = false;
    assert_int_equal(results_picture_used(world->results, world->tenant, sha256, &is_used, NULL),
                     RC_OK);
    return is_used;
}

static bool needed(struct world *world, const uint8_t sha256[32])
{
    bool is_needed = false;
    assert_int_equal(
        results_job_needs_picture(world->results, world->tenant, sha256, &is_needed, NULL), RC_OK);
    return is_needed;
}

TEST(a_job_comes_back_whole_and_a_known_id_changes_nothing)
{
    struct world world;
    world_open(&world);
    struct wanted wanted;
    wanted_init(&wanted, 1, 3, WORLD_NOW_MS);
    memcpy(wanted.pictures[2], wanted.pictures[0], 32); /* one picture twice */
    put_job(&world, &wanted.job);
    struct wanted again;
    wanted_init(&again, 2, 1, WORLD_NOW_MS + 5);
    again.job.id = wanted.job.id;
    again.job.body = bytes_of("other");
    put_job(&world, &again.job);
    assert_false(used(&world, again.pictures[0]));
    world_reopen(&world);

    struct result_job_set set = {0};
    assert_int_equal(results_job_get(world.results, world.tenant, wanted.job.id, &set, NULL),
                     RC_OK);
    assert_int_equal(set.count, 1);
    const struct result_job *job = &set.items[0];
    assert_true(same_id(job->id, wanted.job.id));
    assert_int_equal(job->created_ms, WORLD_NOW_MS);
    assert_true(bytes_equal(job->key, wanted.job.key));
    assert_true(bytes_equal(job->body, wanted.job.body));
    assert_int_equal(job->picture_count, 3);
    assert_memory_equal(job->pictures, wanted.pictures, 3 * 32);
    assert_int_equal(job->ended, RESULT_JOB_OPEN);
    assert_int_equal(job->ended_ms, 0);
    assert_int_equal(job->reason.size, 0);
    assert_int_equal(job->reopened, 0);
    assert_int_equal(job->done_count + job->failed_count, 0);
    results_job_set_done(&set);
    world_close(&world);
}

TEST(an_absent_and_a_foreign_job_are_the_same)
{
    struct world world;
    world_open(&world);
    struct wanted wanted;
    wanted_init(&wanted, 1, 1, WORLD_NOW_MS);
    put_job(&world, &wanted.job);
    struct id ids[] = {wanted.job.id, id_new(WORLD_NOW_MS)};
    for (int i = 0; i < 2; i++) {
        struct error err = {0};
        struct result_job_set set = {0};
        bool first = false;
        assert_int_equal(results_job_get(world.results, world.other, ids[i], &set, &err),
                         RC_NOT_FOUND);
        assert_string_equal(err.text, "there is no job with that id");
        assert_int_equal(results_job_end(world.results, world.other, ids[i], RESULT_JOB_DONE,
                                         bytes_of(""), WORLD_NOW_MS, bytes_of("{}"), 0, &first,
                                         &err),
                         RC_NOT_FOUND);
        assert_string_equal(err.text, "there is no job with that id");
        assert_false(first);
        assert_int_equal(results_job_reopen(world.results, world.other, ids[i], &err),
                         RC_NOT_FOUND);
        results_job_set_done(&set);
    }
    bool is_used = true;
    assert_int_equal(
        results_picture_used(world.results, world.other, wanted.pictures[0], &is_used, NULL),
        RC_OK);
    assert_false(is_used);
    is_used = true;
    assert_int_equal(
        results_job_needs_picture(world.results, world.other, wanted.pictures[0], &is_used, NULL),
        RC_OK);
    assert_false(is_used);
    struct result_job_set set = {0};
    assert_int_equal(
        results_job_list(world.results, world.other, (struct bytes){0}, 10, &set, NULL), RC_OK);
    assert_int_equal(set.count, 0);
    uint32_t count = 1;
    assert_int_equal(
        results_job_sweep(world.results, world.other, WORLD_NOW_MS * 2, 10, &count, NULL), RC_OK);
    assert_int_equal(count, 0);
    /* The same id of another tenant is another job. */
    assert_int_equal(results_job_put(world.results, world.other, &wanted.job, NULL), RC_OK);
    (void)end_job(&world, wanted.job.id, RESULT_JOB_DONE, "", WORLD_NOW_MS + 1, "");
    assert_int_equal(results_job_get(world.results, world.other, wanted.job.id, &set, NULL), RC_OK);
    assert_int_equal(set.items[0].ended, RESULT_JOB_OPEN);
    results_job_set_done(&set);
    world_close(&world);
}

TEST(the_first_end_wins_and_has_the_message)
{
    struct world world;
    world_open(&world);
    struct mailbox mailbox = {0};
    struct wanted wanted;
    wanted_init(&wanted, 1, 2, WORLD_NOW_MS);
    put_job(&world, &wanted.job);
    assert_true(end_job(&world, wanted.job.id, RESULT_JOB_CANCELLED, "by its owner",
                        WORLD_NOW_MS + 5, "{\"type\":\"job.cancelled\"}"));
    assert_false(end_job(&world, wanted.job.id, RESULT_JOB_DONE, "", WORLD_NOW_MS + 6,
                         "{\"type\":\"job.done\"}"));
    world_reopen(&world);
    struct result_job_set set = {0};
    assert_int_equal(results_job_get(world.results, world.tenant, wanted.job.id, &set, NULL),
                     RC_OK);
    assert_int_equal(set.items[0].ended, RESULT_JOB_CANCELLED);
    assert_int_equal(set.items[0].ended_ms, WORLD_NOW_MS + 5);
    assert_true(bytes_equal(set.items[0].reason, bytes_of("by its owner")));
    results_job_set_done(&set);
    mailbox_take(&world, &mailbox, WORLD_NOW_MS + 10);
    assert_int_equal(mailbox.count, 1);
    struct results_message *message = &mailbox.messages[0];
    assert_true(same_id(message->outbox_id, wanted.job.id));
    assert_int_equal(message->created_ms, WORLD_NOW_MS + 5);
    assert_true(bytes_equal((struct bytes){message->payload.data, message->payload.size},
                            bytes_of("{\"type\":\"job.cancelled\"}")));
    mailbox_done(&mailbox);
    world_close(&world);
}

TEST(a_dead_job_can_be_opened_again_and_ends_with_a_message_of_its_own)
{
    struct world world;
    world_open(&world);
    struct mailbox mailbox = {0};
    struct wanted wanted;
    wanted_init(&wanted, 1, 1, WORLD_NOW_MS);
    put_job(&world, &wanted.job);
    struct id id = wanted.job.id;
    assert_true(end_job(&world, id, RESULT_JOB_DEAD, "5 attempts", WORLD_NOW_MS + 1, "dead"));
    assert_int_equal(results_job_reopen(world.results, world.tenant, id, NULL), RC_OK);
    assert_int_equal(results_job_reopen(world.results, world.tenant, id, NULL), RC_OK);
    struct result_job_set set = {0};
    assert_int_equal(results_job_get(world.results, world.tenant, id, &set, NULL), RC_OK);
    assert_int_equal(set.items[0].ended, RESULT_JOB_OPEN);
    assert_int_equal(set.items[0].ended_ms, 0);
    assert_int_equal(set.items[0].reason.size, 0);
    assert_int_equal(set.items[0].reopened, 1);
    results_job_set_done(&set);
    assert_true(end_job(&world, id, RESULT_JOB_DONE, "", WORLD_NOW_MS + 2, "done"));
    struct error err = {0};
    assert_int_equal(results_job_reopen(world.results, world.tenant, id, &err), RC_INVALID);
    assert_string_equal(err.text, "the job is done; only a dead one can be tried again");
    mailbox_take(&world, &mailbox, WORLD_NOW_MS + 10);
    assert_int_equal(mailbox.count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        struct results_message *message = &mailbox.messages[i];
        struct bytes payload = {message->payload.data, message->payload.size};
        uint32_t reopened = bytes_equal(payload, bytes_of("done"));
        assert_true(same_id(message->outbox_id, id_derive(id, reopened)));
    }
    mailbox_done(&mailbox);
    world_close(&world);
}

struct racer {
    struct world *world;
    struct id id;
    bool first;
};
static void *race(void *ctx)
{
    struct racer *racer = ctx;
    racer->first = end_job(racer->world, racer->id, RESULT_JOB_DONE, "", WORLD_NOW_MS, "one");
    return NULL;
}

TEST(of_many_ends_at_once_one_is_first)
{
    struct world world;
    world_open(&world);
    struct mailbox mailbox = {0};
    struct wanted wanted;
    wanted_init(&wanted, 1, 1, WORLD_NOW_MS);
    put_job(&world, &wanted.job);
    struct racer racers[8];
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        racers[i] = (struct racer){.world = &world, .id = wanted.job.id};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    int first_count = 0;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        first_count += racers[i].first;
    }
    assert_int_equal(first_count, 1);
    mailbox_take(&world, &mailbox, WORLD_NOW_MS);
    assert_int_equal(mailbox.count, 1);
    mailbox_done(&mailbox);
    world_close(&world);
}

TEST(pictures_are_in_use_until_the_job_is_done_or_cancelled)
{
    struct world world;
    world_open(&world);
    struct wanted first;
    struct wanted second;
    wanted_init(&first, 1, 2, WORLD_NOW_MS);
    wanted_init(&second, 1, 1, WORLD_NOW_MS);
    put_job(&world, &first.job);
    put_job(&world, &second.job);
    assert_true(used(&world, first.pictures[1]) && needed(&world, first.pictures[1]));
    assert_false(used(&world, (const uint8_t[32]){9}) || needed(&world, (const uint8_t[32]){9}));

    (void)end_job(&world, first.job.id, RESULT_JOB_DEAD, "", WORLD_NOW_MS + 1, "");
    assert_true(used(&world, first.pictures[1]));
    assert_false(needed(&world, first.pictures[1]));
    assert_true(needed(&world, first.pictures[0])); /* the other job's */
    assert_int_equal(results_job_reopen(world.results, world.tenant, first.job.id, NULL), RC_OK);
    assert_true(needed(&world, first.pictures[1]));

    (void)end_job(&world, first.job.id, RESULT_JOB_DONE, "", WORLD_NOW_MS + 2, "");
    assert_false(used(&world, first.pictures[1]) || needed(&world, first.pictures[1]));
    assert_true(used(&world, first.pictures[0]) && needed(&world, first.pictures[0]));
    /* A prediction of the picture is erased: the open job still has it. */
    struct result_commit commit = commit_new(world.tenant, WORLD_NOW_MS);
    memcpy(commit.prediction.picture.sha256, second.pictures[0], 32);
    struct id id = must_put(&world, &commit);
    struct results_removed removed;
    assert_int_equal(results_erase(world.results, world.tenant, id, WORLD_NOW_MS, &removed, NULL),
                     RC_OK);
    assert_false(removed.picture_free);
    (void)end_job(&world, second.job.id, RESULT_JOB_CANCELLED, "", WORLD_NOW_MS + 3, "");
    assert_false(used(&world, first.pictures[0]) || needed(&world, first.pictures[0]));
    world_close(&world);
}

TEST(jobs_are_listed_newest_first_in_pages)
{
    struct world world;
    world_open(&world);
    struct wanted wanted[7];
    for (uint32_t i = 0; i < 7; i++) {
        wanted_init(&wanted[i], (uint8_t)i, 1 + i, WORLD_NOW_MS + (i * 3) % 7);
        put_job(&world, &wanted[i].job);
    }
    struct result_job_set set = {0};
    char cursor[RESULTS_CURSOR_SIZE] = "";
    uint32_t seen = 0;
    uint64_t last_ms = UINT64_MAX;
    do {
        assert_int_equal(
            results_job_list(world.results, world.tenant, bytes_of(cursor), 3, &set, NULL), RC_OK);
        for (uint32_t i = 0; i < set.count; i++, seen++) {
            assert_true(set.items[i].created_ms < last_ms);
            last_ms = set.items[i].created_ms;
            uint64_t of = last_ms - WORLD_NOW_MS;
            uint32_t number = (uint32_t)(of * 5 % 7); /* 3 * 5 = 1 modulo 7 */
            assert_true(same_id(set.items[i].id, wanted[number].job.id));
            assert_int_equal(set.items[i].picture_count, 1 + number);
            assert_null(set.items[i].pictures);
        }
        memcpy(cursor, set.next, sizeof(cursor));
        /* One that comes meanwhile is no part of the pages that follow. */
        struct wanted newer;
        wanted_init(&newer, 99, 1, WORLD_NOW_MS + 100);
        put_job(&world, &newer.job);
    } while (cursor[0] != '\0');
    assert_int_equal(seen, 7);
    assert_int_equal(
        results_job_list(world.results, world.tenant, (struct bytes){0}, 1, &set, NULL), RC_OK);
    memcpy(cursor, set.next, sizeof(cursor));
    assert_int_equal(results_job_list(world.results, world.other, bytes_of(cursor), 1, &set, NULL),
                     RC_INVALID);
    struct results_filter filter = {0};
    struct result_set predictions = {0};
    assert_int_equal(results_query(world.results, world.tenant, &filter, bytes_of(cursor), 1,
                                   &predictions, NULL),
                     RC_INVALID);
    assert_int_equal(
        results_job_list(world.results, world.tenant, (struct bytes){0}, 0, &set, NULL),
        RC_INVALID);
    results_set_done(&predictions);
    results_job_set_done(&set);
    world_close(&world);
}

TEST(open_jobs_are_found_whoever_they_belong_to)
{
    struct world world;
    world_open(&world);
    struct wanted wanted[5];
    for (uint32_t i = 0; i < 5; i++) {
        wanted_init(&wanted[i], (uint8_t)i, 1, WORLD_NOW_MS + i);
        put_job(&world, &wanted[i].job);
    }
    assert_int_equal(results_job_put(world.results, world.other, &wanted[1].job, NULL), RC_OK);
    (void)end_job(&world, wanted[3].job.id, RESULT_JOB_DONE, "", WORLD_NOW_MS + 9, "");
    struct results_job_open page[2];
    struct results_job_open after;
    uint32_t count = 0;
    uint32_t ours = 0;
    uint32_t others = 0;
    bool begun = false;
    do {
        assert_int_equal(
            results_job_open_list(world.results, begun ? &after : NULL, 2, page, &count, NULL),
            RC_OK);
        for (uint32_t i = 0; i < count; i++) {
            assert_false(same_id(page[i].id, wanted[3].job.id));
            ours += strcmp(page[i].tenant, world.tenant_text) == 0;
            others += strcmp(page[i].tenant, world.other_text) == 0;
        }
        if (count > 0)
            after = page[count - 1];
        begun = true;
    } while (count == 2);
    assert_int_equal(ours, 4);
    assert_int_equal(others, 1);
    world_close(&world);
}

TEST(what_does_not_fit_is_refused)
{
    struct world world;
    world_open(&world);
    static uint8_t large[RESULT_JOB_BODY_SIZE_MAX + 1];
    static uint8_t pictures[(RESULT_JOB_PICTURE_COUNT_MAX + 1) * 32];
    struct wanted wanted;
    wanted_init(&wanted, 1, 1, WORLD_NOW_MS);
    struct result_job job = wanted.job;
    job.body = (struct bytes){large, sizeof(large)};
    assert_int_equal(results_job_put(world.results, world.tenant, &job, NULL), RC_TOO_LARGE);
    job = wanted.job;
    job.pictures = pictures;
    job.picture_count = RESULT_JOB_PICTURE_COUNT_MAX + 1;
    assert_int_equal(results_job_put(world.results, world.tenant, &job, NULL), RC_TOO_LARGE);
    job.picture_count = 0;
    assert_int_equal(results_job_put(world.results, world.tenant, &job, NULL), RC_INVALID);
    job = wanted.job;
    job.id = (struct id){0};
    assert_int_equal(results_job_put(world.results, world.tenant, &job, NULL), RC_INVALID);
    assert_int_equal(results_job_put(world.results, bytes_of("No"), &wanted.job, NULL), RC_INVALID);
    job = wanted.job;
    job.pictures = pictures;
    job.picture_count = RESULT_JOB_PICTURE_COUNT_MAX;
    job.body = (struct bytes){large, RESULT_JOB_BODY_SIZE_MAX};
    put_job(&world, &job);
    bool first = false;
    memset(large, 'r', sizeof(large));
    assert_int_equal(results_job_end(world.results, world.tenant, job.id, RESULT_JOB_DEAD,
                                     (struct bytes){large, RESULT_REASON_SIZE_MAX + 1},
                                     WORLD_NOW_MS, (struct bytes){0}, 0, &first, NULL),
                     RC_TOO_LARGE);
    world_close(&world);
}

struct items {
    uint32_t count;
    struct results_job_item rows[16];
};
static enum rc keep_item(void *ctx, const struct results_job_item *row)
{
    struct items *items = ctx;
    items->rows[items->count++] = *row;
    return items->count < 16 ? RC_OK : RC_TOO_LARGE;
}

static void assert_progress(struct world *world, struct id job, uint64_t done, uint64_t failed)
{
    uint64_t got_done = 0;
    uint64_t got_failed = 0;
    assert_int_equal(
        results_job_progress(world->results, world->tenant, job, &got_done, &got_failed, NULL),
        RC_OK);
    assert_int_equal(got_done, done);
    assert_int_equal(got_failed, failed);
}

/* Picture `index` of the job: done, or failed. */
static void put_item(struct world *world, struct id job, uint32_t index, bool done)
{
    struct result_commit commit = commit_of(world->tenant, job, index, WORLD_NOW_MS + index);
    commit.prediction.job_id = job;
    if (!done) {
        commit.kind = RESULT_UNBILLED;
        commit.outcome = RC_BAD_IMAGE;
        commit.reason = bytes_of("cut short");
    }
    (void)must_put(world, &commit);
}

TEST(items_are_the_outcomes_of_a_jobs_pictures)
{
    struct world world;
    world_open(&world);
    struct wanted wanted;
    wanted_init(&wanted, 1, 6, WORLD_NOW_MS);
    put_job(&world, &wanted.job);
    struct id job = wanted.job.id;
    for (uint32_t i = 0; i < 6; i++)
        put_item(&world, job, i, i % 2 == 0);
    assert_progress(&world, job, 3, 3);
    struct items items = {0};
    assert_int_equal(
        results_job_items(world.results, world.tenant, job, 1, 3, keep_item, &items, NULL), RC_OK);
    assert_int_equal(items.count, 3);
    assert_int_equal(items.rows[0].index, 1);
    assert_int_equal(items.rows[0].outcome, RC_BAD_IMAGE);
    assert_int_equal(items.rows[0].time_ms, WORLD_NOW_MS + 1);
    assert_int_equal(items.rows[1].outcome, RC_OK);
    assert_true(same_id(items.rows[1].prediction_id, id_derive(job, 2)));
    /* A failure may become a success, but not the other way. */
    put_item(&world, job, 1, true);
    put_item(&world, job, 0, false);
    assert_progress(&world, job, 4, 2);
    struct result_job_set set = {0};
    assert_int_equal(
        results_job_list(world.results, world.tenant, (struct bytes){0}, 1, &set, NULL), RC_OK);
    assert_int_equal(set.items[0].done_count, 4);
    assert_int_equal(set.items[0].failed_count, 2);
    results_job_set_done(&set);
    uint64_t done = 0;
    uint64_t failed = 0;
    assert_int_equal(results_job_progress(world.results, world.other, job, &done, &failed, NULL),
                     RC_OK);
    assert_int_equal(done + failed, 0);
    must_verify(&world, world.tenant, 4, 4, 0);
    /* Items of a job that has no record are not kept; the prediction is. */
    struct id unknown = id_new(WORLD_NOW_MS);
    put_item(&world, unknown, 0, true);
    assert_progress(&world, unknown, 0, 0);
    must_verify(&world, world.tenant, 5, 5, 0);
    world_close(&world);
}

TEST(the_sweep_forgets_ended_jobs_in_bounded_steps)
{
    struct world world;
    world_open(&world);
    struct wanted wanted[4];
    static const enum result_job_end ends[] = {RESULT_JOB_DONE, RESULT_JOB_DEAD, RESULT_JOB_OPEN,
                                               RESULT_JOB_CANCELLED};
    for (uint32_t i = 0; i < 4; i++) {
        wanted_init(&wanted[i], (uint8_t)i, 3, WORLD_NOW_MS);
        put_job(&world, &wanted[i].job);
        for (uint32_t k = 0; k < 3; k++)
            put_item(&world, wanted[i].job.id, k, false);
        if (ends[i] != RESULT_JOB_OPEN)
            (void)end_job(&world, wanted[i].job.id, ends[i], "", WORLD_NOW_MS + 10 + i, "");
    }
    /* 3 items and the job itself of the first two; the third is open, the fourth ended later. */
    static const uint32_t counts[] = {3, 3, 2, 0};
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t count = 9;
        assert_int_equal(
            results_job_sweep(world.results, world.tenant, WORLD_NOW_MS + 12, 3, &count, NULL),
            RC_OK);
        assert_int_equal(count, counts[i]);
    }
    struct result_job_set set = {0};
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(results_job_get(world.results, world.tenant, wanted[i].job.id, &set, NULL),
                         i < 2 ? RC_NOT_FOUND : RC_OK);
        assert_progress(&world, wanted[i].job.id, 0, i < 2 ? 0 : 3);
        assert_int_equal(used(&world, wanted[i].pictures[2]), i == 2);
    }
    results_job_set_done(&set);
    world_close(&world);
}

TEST(a_job_completes_its_reservation)
{
    struct world world;
    world_open(&world);
    struct wanted wanted;
    wanted_init(&wanted, 1, 1, WORLD_NOW_MS);
    struct results_reservation reservation = {.answer = BUF_INIT(RESULT_ANSWER_SIZE_MAX)};
    const uint8_t fingerprint[32] = {7};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(results_reserve(world.results, world.tenant, bytes_of("k"), fingerprint,
                                         wanted.job.id, WORLD_NOW_MS, WORLD_NOW_MS + 10,
                                         WORLD_NOW_MS + MS_PER_DAY, &reservation, NULL),
                         RC_OK);
        assert_int_equal(reservation.state, i == 0 ? RESERVED_NEW : RESERVED_DONE);
        /* The first time without: a known job completes as well. */
        put_job(&world, &wanted.job);
        wanted.job.idempotency_key = bytes_of("k");
        memcpy(wanted.job.fingerprint, fingerprint, sizeof(fingerprint));
        wanted.job.answer = bytes_of("the answer");
        wanted.job.answer_until_ms = WORLD_NOW_MS + MS_PER_DAY;
        put_job(&world, &wanted.job);
    }
    assert_true(same_id(reservation.request_id, wanted.job.id));
    assert_true(bytes_equal((struct bytes){reservation.answer.data, reservation.answer.size},
                            bytes_of("the answer")));
    buf_done(&reservation.answer);
    world_close(&world);
}

TEST(the_ledger_knows_what_a_request_committed)
{
    struct world world;
    world_open(&world);
    struct id request = id_new(WORLD_NOW_MS);
    for (uint32_t i = 0; i < 5; i += 2) {
        struct result_commit commit = commit_of(world.tenant, request, i, WORLD_NOW_MS + 10 - i);
        commit.units = 2;
        (void)must_put(&world, &commit);
    }
    uint64_t images = 0;
    uint64_t last_ms = 0;
    assert_int_equal(
        results_ledger_find(world.results, world.tenant, request, 5, &images, &last_ms, NULL),
        RC_OK);
    assert_int_equal(images, 6);
    assert_int_equal(last_ms, WORLD_NOW_MS + 10);
    assert_int_equal(
        results_ledger_find(world.results, world.tenant, request, 4, &images, &last_ms, NULL),
        RC_OK);
    assert_int_equal(images, 4);
    /* Erased is billed all the same. */
    struct results_removed removed;
    assert_int_equal(
        results_erase(world.results, world.tenant, request, WORLD_NOW_MS, &removed, NULL), RC_OK);
    assert_int_equal(
        results_ledger_find(world.results, world.tenant, request, 5, &images, &last_ms, NULL),
        RC_OK);
    assert_int_equal(images, 6);
    assert_int_equal(
        results_ledger_find(world.results, world.other, request, 5, &images, &last_ms, NULL),
        RC_NOT_FOUND);
    assert_int_equal(
        results_ledger_find(world.results, world.tenant, request, 0, &images, &last_ms, NULL),
        RC_NOT_FOUND);
    world_close(&world);
}

static enum rc lose_answer(void *ctx, enum results_op op, bool after)
{
    const enum results_op *lost = ctx;
    return op == *lost && after ? RC_UNAVAILABLE : RC_OK;
}

TEST(every_call_may_be_repeated_when_its_answer_got_lost)
{
    struct world world;
    world_open(&world);
    if (strncmp(world.url, "fault:", 6) != 0) {
        world_close(&world);
        return;
    }
    struct wanted wanted;
    wanted_init(&wanted, 1, 1, WORLD_NOW_MS);
    enum results_op lost = RESULTS_JOB_PUT;
    results_fault_set(world.results, lose_answer, &lost);
    assert_int_equal(results_job_put(world.results, world.tenant, &wanted.job, NULL),
                     RC_UNAVAILABLE);
    lost = RESULTS_JOB_END;
    put_job(&world, &wanted.job);
    bool first = false;
    assert_int_equal(results_job_end(world.results, world.tenant, wanted.job.id, RESULT_JOB_DEAD,
                                     bytes_of("r"), WORLD_NOW_MS, bytes_of("m"), 0, &first, NULL),
                     RC_UNAVAILABLE);
    lost = RESULTS_JOB_REOPEN;
    assert_false(end_job(&world, wanted.job.id, RESULT_JOB_DEAD, "r", WORLD_NOW_MS, "m"));
    assert_int_equal(results_job_reopen(world.results, world.tenant, wanted.job.id, NULL),
                     RC_UNAVAILABLE);
    lost = RESULTS_OP_COUNT;
    assert_int_equal(results_job_reopen(world.results, world.tenant, wanted.job.id, NULL), RC_OK);
    struct result_job_set set = {0};
    assert_int_equal(results_job_get(world.results, world.tenant, wanted.job.id, &set, NULL),
                     RC_OK);
    assert_int_equal(set.items[0].reopened, 1);
    results_job_set_done(&set);
    struct mailbox mailbox = {0};
    mailbox_take(&world, &mailbox, WORLD_NOW_MS);
    assert_int_equal(mailbox.count, 1);
    mailbox_done(&mailbox);
    world_close(&world);
}

TEST_MAIN("results: jobs")
