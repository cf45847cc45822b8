/* SPDX-License-Identifier: Apache-2.0
 * The promise of results.h on commits, erasure, feedback, usage and proof, for every driver. */
#include "check.h"
#include "results_world.h"

#include "results/fault.h"

#include <stdio.h>
#include <string.h>

static void assert_bytes(struct bytes got, struct bytes wanted)
{
    assert_int_equal(got.size, wanted.size);
    if (wanted.size > 0)
        assert_memory_equal(got.data, wanted.data, wanted.size);
}

TEST(what_was_put_comes_back_whole)
{
    struct world world;
    world_open(&world);
    struct result_commit commit = commit_of(world.tenant, id_new(WORLD_NOW_MS), 7, WORLD_NOW_MS);
    commit.prediction.job_id = id_new(WORLD_NOW_MS);
    commit.prediction.reference = bytes_of("order 17/\xc3\xa9");
    commit.prediction.metadata = (struct bytes){(const uint8_t *)"{\"a\":\0}", 7};
    uint8_t scores[3 * RESULT_SCORE_SIZE];
    for (uint32_t i = 0; i < 3; i++)
        result_score_pack((struct result_score){i * 1000000000u, 1.0f / (float)(i + 1)},
                          scores + (size_t)i * RESULT_SCORE_SIZE);
    commit.prediction.scores = (struct bytes){scores, sizeof(scores)};
    struct id id = must_put(&world, &commit);
    world_reopen(&world);

    struct result_set set = {0};
    assert_int_equal(results_get(world.results, world.tenant, id, &set, NULL), RC_OK);
    assert_int_equal(set.count, 1);
    const struct result *got = &set.items[0];
    const struct result *put = &commit.prediction;
    assert_memory_equal(&got->id, &id, sizeof(id));
    assert_memory_equal(&got->request_id, &put->request_id, sizeof(id));
    assert_memory_equal(&got->job_id, &put->job_id, sizeof(id));
    assert_int_equal(got->index, 7);
    assert_int_equal(got->created_ms, WORLD_NOW_MS);
    assert_bytes(got->key, put->key);
    assert_bytes(got->model, put->model);
    assert_bytes(got->version, put->version);
    assert_bytes(got->label, put->label);
    assert_bytes(got->scores, put->scores);
    assert_bytes(got->reference, put->reference);
    assert_bytes(got->metadata, put->metadata);
    assert_bytes(got->picture.format, put->picture.format);
    assert_memory_equal(got->picture.sha256, put->picture.sha256, 32);
    assert_int_equal(got->picture.width, 500);
    assert_int_equal(got->picture.height, 375);
    assert_memory_equal(&got->timing, &put->timing, sizeof(got->timing));
    assert_false(got->has_feedback);
    assert_int_equal(result_score_at(got->scores, 2).class_id, 2000000000u);
    results_set_done(&set);
    world_close(&world);
}

TEST(a_known_commit_changes_nothing)
{
    struct world world;
    world_open(&world);
    struct id request = id_new(WORLD_NOW_MS);
    struct result_commit first = commit_of(world.tenant, request, 0, WORLD_NOW_MS);
    struct id id = must_put(&world, &first);
    assert_false(first.known);
    struct result_commit again = commit_of(world.tenant, request, 0, WORLD_NOW_MS + MS_PER_DAY);
    again.prediction.label = bytes_of("siamese");
    again.units = 5;
    /* In one call twice, too. */
    struct result_commit third = again;
    struct result_commit *both[] = {&again, &third};
    assert_int_equal(results_put(world.results, both, 2, NULL), RC_OK);
    assert_int_equal(again.rc, RC_OK);
    assert_true(again.known && third.known);
    struct result_set set = {0};
    assert_int_equal(results_get(world.results, world.tenant, id, &set, NULL), RC_OK);
    assert_bytes(set.items[0].label, bytes_of("tabby"));
    assert_int_equal(set.items[0].created_ms, WORLD_NOW_MS);
    results_set_done(&set);
    must_verify(&world, world.tenant, 1, 1, 0);
    /* The same id of another tenant is another prediction. */
    struct result_commit foreign = commit_of(world.other, request, 0, WORLD_NOW_MS);
    (void)must_put(&world, &foreign);
    assert_false(foreign.known);
    must_verify(&world, world.other, 1, 1, 0);
    world_close(&world);
}

TEST(one_bad_commit_does_not_stop_its_neighbours)
{
    struct world world;
    world_open(&world);
    static uint8_t large[RESULT_METADATA_SIZE_MAX + 1];
    struct result_commit commits[6];
    struct result_commit *pointers[6];
    for (uint32_t i = 0; i < 6; i++) {
        commits[i] = commit_new(world.tenant, WORLD_NOW_MS + i);
        pointers[i] = &commits[i];
    }
    commits[1].prediction.metadata = (struct bytes){large, sizeof(large)};
    commits[2].tenant = bytes_of("Not-A-Tenant");
    commits[3].prediction.label = bytes_of("\xc0\xaf");
    commits[4].prediction.scores.size--;
    assert_int_equal(results_put(world.results, pointers, 6, NULL), RC_OK);
    static const enum rc wanted[] = {RC_OK,      RC_TOO_LARGE, RC_INVALID,
                                     RC_INVALID, RC_INVALID,   RC_OK};
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(commits[i].rc, wanted[i]);
    must_verify(&world, world.tenant, 2, 2, 0);
    world_close(&world);
}

TEST(an_absent_and_a_foreign_id_are_the_same)
{
    struct world world;
    world_open(&world);
    struct result_commit commit = commit_new(world.tenant, WORLD_NOW_MS);
    struct id ids[] = {must_put(&world, &commit), id_new(WORLD_NOW_MS)};
    struct result_feedback feedback = {.class_id = 1};
    for (int i = 0; i < 2; i++) {
        struct error err = {0};
        struct result_set set = {0};
        struct results_removed removed;
        assert_int_equal(results_get(world.results, world.other, ids[i], &set, &err), RC_NOT_FOUND);
        assert_string_equal(err.text, "there is no prediction with that id");
        assert_int_equal(set.count, 0);
        assert_int_equal(
            results_erase(world.results, world.other, ids[i], WORLD_NOW_MS, &removed, NULL),
            RC_NOT_FOUND);
        assert_int_equal(results_feedback_put(world.results, world.other, ids[i], &feedback, NULL),
                         RC_NOT_FOUND);
        bool used = true;
        assert_int_equal(results_picture_used(world.results, world.other,
                                              commit.prediction.picture.sha256, &used, NULL),
                         RC_OK);
        assert_false(used);
        results_set_done(&set);
    }
    must_verify(&world, world.tenant, 1, 1, 0);
    must_verify(&world, world.other, 0, 0, 0);
    world_close(&world);
}

TEST(erasing_leaves_a_tombstone_and_the_ledger)
{
    struct world world;
    world_open(&world);
    /* Two predictions of one picture. */
    struct result_commit first = commit_new(world.tenant, WORLD_NOW_MS);
    struct result_commit second = commit_new(world.tenant, WORLD_NOW_MS + 1);
    memcpy(second.prediction.picture.sha256, first.prediction.picture.sha256, 32);
    struct id id = must_put(&world, &first);
    struct id other_id = must_put(&world, &second);
    struct result_commit foreign = commit_new(world.other, WORLD_NOW_MS);
    memcpy(foreign.prediction.picture.sha256, first.prediction.picture.sha256, 32);
    (void)must_put(&world, &foreign);

    struct results_removed removed;
    assert_int_equal(results_erase(world.results, world.tenant, id, WORLD_NOW_MS, &removed, NULL),
                     RC_OK);
    assert_false(removed.picture_free);
    assert_int_equal(results_erase(world.results, world.tenant, id, WORLD_NOW_MS, &removed, NULL),
                     RC_GONE);
    struct result_set set = {0};
    assert_int_equal(results_get(world.results, world.tenant, id, &set, NULL), RC_GONE);
    results_set_done(&set);
    struct result_commit again = first;
    struct result_commit *pointer = &again;
    assert_int_equal(results_put(world.results, &pointer, 1, NULL), RC_OK);
    assert_int_equal(again.rc, RC_GONE);
    must_verify(&world, world.tenant, 2, 1, 1);

    assert_int_equal(
        results_erase(world.results, world.tenant, other_id, WORLD_NOW_MS, &removed, NULL), RC_OK);
    assert_true(removed.picture_free);
    assert_memory_equal(removed.sha256, first.prediction.picture.sha256, 32);
    must_verify(&world, world.tenant, 2, 0, 2);
    world_close(&world);
}

TEST(the_sweep_takes_the_oldest_in_bounded_steps)
{
    struct world world;
    world_open(&world);
    for (uint32_t i = 0; i < 10; i++) {
        struct result_commit commit = commit_new(world.tenant, WORLD_NOW_MS + (i * 7) % 10);
        memset(commit.prediction.picture.sha256, i < 5 ? 1 : 2, 32);
        (void)must_put(&world, &commit);
    }
    struct results_removed removed[4];
    uint32_t counts[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(results_sweep(world.results, world.tenant, WORLD_NOW_MS + 6, 4,
                                       WORLD_NOW_MS, removed, &counts[i], NULL),
                         RC_OK);
    assert_int_equal(counts[0], 4);
    assert_int_equal(counts[1], 2);
    assert_int_equal(counts[2], 0);
    must_verify(&world, world.tenant, 10, 4, 6);
    struct results_filter filter = {0};
    struct result_set set = {0};
    assert_int_equal(
        results_query(world.results, world.tenant, &filter, (struct bytes){0}, 10, &set, NULL),
        RC_OK);
    assert_int_equal(set.count, 4);
    assert_int_equal(set.items[3].created_ms, WORLD_NOW_MS + 6);
    results_set_done(&set);
    world_close(&world);
}

struct accuracy_sum {
    uint32_t rows;
    uint64_t count;
    uint64_t correct;
};
static enum rc add_accuracy(void *ctx, const struct results_accuracy *row)
{
    struct accuracy_sum *sum = ctx;
    sum->rows++;
    sum->count += row->feedback_count;
    sum->correct += row->correct_count;
    return RC_OK;
}

TEST(feedback_is_seen_and_counted)
{
    struct world world;
    world_open(&world);
    struct result_commit commit = commit_new(world.tenant, WORLD_NOW_MS);
    struct id id = must_put(&world, &commit);
    struct result_commit newer = commit_new(world.tenant, WORLD_NOW_MS + 5);
    newer.prediction.version = bytes_of("2");
    struct id newer_id = must_put(&world, &newer);
    struct result_feedback wrong = {
        .class_id = 282, .label = bytes_of("tiger cat"), .note = bytes_of("stripes"), .time_ms = 9};
    assert_int_equal(results_feedback_put(world.results, world.tenant, id, &wrong, NULL), RC_OK);
    struct result_set set = {0};
    assert_int_equal(results_get(world.results, world.tenant, id, &set, NULL), RC_OK);
    assert_true(set.items[0].has_feedback);
    assert_int_equal(set.items[0].feedback.class_id, 282);
    assert_bytes(set.items[0].feedback.label, wrong.label);
    assert_bytes(set.items[0].feedback.note, wrong.note);
    assert_int_equal(set.items[0].feedback.time_ms, 9);
    assert_false(set.items[0].feedback.correct);

    struct result_feedback right = {.class_id = RESULT_CLASS_NONE, .label = bytes_of("tabby")};
    assert_int_equal(results_feedback_put(world.results, world.tenant, newer_id, &wrong, NULL),
                     RC_OK);
    assert_int_equal(results_feedback_put(world.results, world.tenant, newer_id, &right, NULL),
                     RC_OK);
    struct results_filter filter = {.version = bytes_of("2")};
    assert_int_equal(
        results_query(world.results, world.tenant, &filter, (struct bytes){0}, 10, &set, NULL),
        RC_OK);
    assert_int_equal(set.count, 1);
    assert_true(set.items[0].feedback.correct);
    assert_int_equal(set.items[0].feedback.class_id, RESULT_CLASS_NONE);
    struct accuracy_sum sum = {0};
    assert_int_equal(results_accuracy(world.results, world.tenant, 0, 0, add_accuracy, &sum, NULL),
                     RC_OK);
    assert_int_equal(sum.rows, 2);
    assert_int_equal(sum.count, 2);
    assert_int_equal(sum.correct, 1);
    sum = (struct accuracy_sum){0};
    assert_int_equal(results_accuracy(world.results, world.tenant, WORLD_NOW_MS + 5,
                                      WORLD_NOW_MS + 6, add_accuracy, &sum, NULL),
                     RC_OK);
    assert_int_equal(sum.count, 1);

    struct result_feedback empty = {.class_id = RESULT_CLASS_NONE};
    assert_int_equal(results_feedback_put(world.results, world.tenant, id, &empty, NULL),
                     RC_INVALID);
    struct results_removed removed;
    assert_int_equal(results_erase(world.results, world.tenant, id, 1, &removed, NULL), RC_OK);
    assert_int_equal(results_feedback_put(world.results, world.tenant, id, &right, NULL), RC_GONE);
    results_set_done(&set);
    world_close(&world);
}

struct usage_sum {
    uint32_t rows;
    struct results_quantity last;
    uint64_t requests;
    uint64_t images;
};
static enum rc add_usage(void *ctx, const struct results_quantity *row)
{
    struct usage_sum *sum = ctx;
    sum->rows++;
    sum->last = *row;
    sum->requests += row->requests;
    sum->images += row->images;
    return RC_OK;
}

TEST(usage_is_the_sum_of_the_ledger_however_grouped)
{
    struct world world;
    world_open(&world);
    uint32_t day = (uint32_t)(WORLD_NOW_MS / MS_PER_DAY);
    static const char *const names[] = {"a", "b", "c"};
    struct result_commit commits[54];
    struct result_commit *pointers[54];
    /* 3 days x 3 models x 2 versions x 3 keys: more sums than a driver may keep at hand. */
    for (uint32_t i = 0; i < 54; i++) {
        commits[i] = commit_of(world.tenant, id_new(WORLD_NOW_MS), i % 2,
                               WORLD_NOW_MS + (i % 3) * MS_PER_DAY);
        commits[i].prediction.model = bytes_of(names[i / 3 % 3]);
        commits[i].prediction.version = bytes_of(i / 9 % 2 != 0 ? "1" : "2");
        commits[i].prediction.key = bytes_of(names[i / 18 % 3]);
        commits[i].units = 2;
        pointers[i] = &commits[i];
    }
    commits[53].kind = RESULT_BILLED;
    commits[52].kind = RESULT_UNBILLED;
    commits[52].outcome = RC_BAD_IMAGE;
    assert_int_equal(results_put(world.results, pointers, 54, NULL), RC_OK);
    static const struct {
        uint32_t group;
        uint32_t rows;
    } cases[] = {{0, 1},
                 {RESULTS_BY_DAY, 3},
                 {RESULTS_BY_MODEL, 3},
                 {RESULTS_BY_DAY | RESULTS_BY_KEY, 9},
                 {RESULTS_BY_PLAN, 1},
                 {RESULTS_BY_MODEL | RESULTS_BY_VERSION, 6}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct usage_sum sum = {0};
        assert_int_equal(results_usage(world.results, world.tenant, day, day + 3, cases[i].group,
                                       add_usage, &sum, NULL),
                         RC_OK);
        assert_int_equal(sum.rows, cases[i].rows);
        assert_int_equal(sum.images, 2 * 53);
        assert_int_equal(sum.requests, 26);
    }
    struct usage_sum sum = {0};
    assert_int_equal(results_usage(world.results, world.tenant, day + 1, day + 2,
                                   RESULTS_BY_DAY | RESULTS_BY_PLAN, add_usage, &sum, NULL),
                     RC_OK);
    assert_int_equal(sum.last.day, day + 1);
    assert_int_equal(sum.last.plan_version, 3);
    assert_int_equal(sum.rows, 1);
    sum = (struct usage_sum){0};
    assert_int_equal(
        results_usage(world.results, world.other, 0, day + 9, 0, add_usage, &sum, NULL), RC_OK);
    assert_int_equal(sum.images, 0);
    struct results_proof proof;
    assert_int_equal(results_verify(world.results, world.tenant, NULL, &proof, NULL), RC_OK);
    assert_int_equal(proof.difference_count, 0);
    assert_int_equal(proof.ledger_count, 53);
    assert_int_equal(proof.billed_only_count, 1);
    world_close(&world);
}

static enum rc lose_answer(void *ctx, enum results_op op, bool after)
{
    uint32_t *left = ctx;
    if (op != RESULTS_PUT || !after || *left == 0)
        return RC_OK;
    (*left)--;
    return RC_UNAVAILABLE;
}

TEST(an_answer_that_got_lost_is_found_by_the_next_try)
{
    struct world world;
    world_open(&world);
    if (strncmp(world.url, "fault:", 6) != 0) {
        world_close(&world);
        return;
    }
    uint32_t left = 1;
    results_fault_set(world.results, lose_answer, &left);
    struct result_commit commit = commit_new(world.tenant, WORLD_NOW_MS);
    struct result_commit *pointer = &commit;
    struct error err = {0};
    assert_int_equal(results_put(world.results, &pointer, 1, &err), RC_UNAVAILABLE);
    assert_int_equal(commit.rc, RC_UNAVAILABLE);
    (void)must_put(&world, &commit);
    assert_true(commit.known);
    must_verify(&world, world.tenant, 1, 1, 0);
    world_close(&world);
}

TEST(tenants_are_told_one_after_another)
{
    struct world world;
    world_open(&world);
    char tenant[RESULT_TENANT_SIZE_MAX + 1];
    assert_int_equal(results_tenant_next(world.results, "", tenant, NULL), RC_NOT_FOUND);
    static const char *const names[] = {"zoo", "a", "a-b"};
    for (size_t i = 0; i < 3; i++) {
        struct result_commit commit = commit_new(bytes_of(names[i]), WORLD_NOW_MS);
        (void)must_put(&world, &commit);
    }
    assert_int_equal(results_tenant_next(world.results, "", tenant, NULL), RC_OK);
    assert_string_equal(tenant, "a");
    assert_int_equal(results_tenant_next(world.results, tenant, tenant, NULL), RC_OK);
    assert_string_equal(tenant, "a-b");
    assert_int_equal(results_tenant_next(world.results, tenant, tenant, NULL), RC_OK);
    assert_string_equal(tenant, "zoo");
    assert_int_equal(results_tenant_next(world.results, tenant, tenant, NULL), RC_NOT_FOUND);
    world_close(&world);
}

TEST(a_backup_is_a_store_of_its_own)
{
    struct world world;
    world_open(&world);
    struct result_commit commit = commit_new(world.tenant, WORLD_NOW_MS);
    struct id id = must_put(&world, &commit);
    char path[200];
    (void)snprintf(path, sizeof(path), "%s/copy.db", world.dir);
    enum rc rc = results_backup(world.results, path, NULL);
    if (rc == RC_NOT_IMPLEMENTED) {
        world_close(&world);
        return;
    }
    assert_int_equal(rc, RC_OK);
    assert_int_equal(results_backup(world.results, path, NULL), RC_INVALID);
    struct result_commit later = commit_new(world.tenant, WORLD_NOW_MS);
    struct id later_id = must_put(&world, &later);
    struct results *copy = NULL;
    char url[220];
    (void)snprintf(url, sizeof(url), "sqlite:%s", path);
    assert_int_equal(results_open(url, &copy, NULL), RC_OK);
    assert_int_equal(results_check(copy, true, NULL), RC_OK);
    struct result_set set = {0};
    assert_int_equal(results_get(copy, world.tenant, id, &set, NULL), RC_OK);
    assert_int_equal(results_get(copy, world.tenant, later_id, &set, NULL), RC_NOT_FOUND);
    results_set_done(&set);
    results_free(copy);
    assert_int_equal(results_check(world.results, false, NULL), RC_OK);
    world_close(&world);
}

TEST(an_unknown_scheme_is_invalid)
{
    struct results *results = NULL;
    assert_int_equal(results_open("papyrus:/shelf", &results, NULL), RC_INVALID);
    results_free(NULL);
}

TEST_MAIN("results: commits")
