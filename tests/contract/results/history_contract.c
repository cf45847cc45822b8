/* SPDX-License-Identifier: Apache-2.0
 * The promise of results.h on the history: every query against a plain model of it. */
#include "check.h"
#include "results_world.h"

#include <stdlib.h>
#include <string.h>

#define ROW_COUNT 400u

static const char *const words[] = {"ant", "bee", "cat"};

struct row {
    struct id id;
    uint64_t created_ms;
    uint32_t label, model, reference, version; /* into words; reference 2: none */
    float score;
};

static int newest_first(const void *a, const void *b)
{
    const struct row *x = a;
    const struct row *y = b;
    if (x->created_ms != y->created_ms)
        return x->created_ms < y->created_ms ? 1 : -1;
    return -memcmp(&x->id, &y->id, sizeof(x->id));
}

#define GROUP_SIZE 20u /* rooms of scores_of() last for 64 */

static struct result_commit generate(struct world *world, struct row *row, uint64_t *random)
{
    /* Few milliseconds, so that many share one. */
    uint64_t created_ms = WORLD_NOW_MS + random_next(random) % 40;
    struct result_commit commit = commit_new(world->tenant, created_ms);
    uint32_t bits = (uint32_t)random_next(random);
    *row = (struct row){.id = commit.prediction.request_id,
                        .created_ms = created_ms,
                        .label = bits % 3,
                        .model = bits / 3 % 3,
                        .reference = bits / 9 % 3,
                        .version = bits / 27 % 3,
                        .score = (float)(bits / 81 % 11) / 10.0f};
    commit.prediction.label = bytes_of(words[row->label]);
    commit.prediction.model = bytes_of(words[row->model]);
    commit.prediction.version = bytes_of(words[row->version]);
    if (row->reference < 2)
        commit.prediction.reference = bytes_of(words[row->reference]);
    commit.prediction.scores = scores_of(row->label, row->score);
    return commit;
}

/* Each as two tenants'. */
static void fill(struct world *world, struct row *rows, uint64_t *random)
{
    for (uint32_t i = 0; i < ROW_COUNT; i += GROUP_SIZE) {
        struct result_commit commits[2 * GROUP_SIZE];
        struct result_commit *pointers[2 * GROUP_SIZE];
        for (uint32_t j = 0; j < 2 * GROUP_SIZE; j++)
            pointers[j] = &commits[j];
        for (uint32_t j = 0; j < GROUP_SIZE; j++) {
            commits[2 * j] = generate(world, &rows[i + j], random);
            commits[2 * j + 1] = commits[2 * j];
            commits[2 * j + 1].tenant = world->other;
        }
        assert_int_equal(results_put(world->results, pointers, 2 * GROUP_SIZE, NULL), RC_OK);
    }
    qsort(rows, ROW_COUNT, sizeof(*rows), newest_first);
}

static bool equal_or_any(struct bytes wanted, uint32_t word)
{
    return wanted.size == 0 || (word < 3 && bytes_equal(wanted, bytes_of(words[word])));
}

static bool passes(const struct results_filter *filter, const struct row *row)
{
    return row->created_ms >= filter->from_ms &&
           (filter->to_ms == 0 || row->created_ms < filter->to_ms) &&
           equal_or_any(filter->label, row->label) && equal_or_any(filter->model, row->model) &&
           equal_or_any(filter->reference, row->reference < 2 ? row->reference : 3) &&
           equal_or_any(filter->version, row->version) && row->score >= filter->min_score &&
           (filter->max_score <= 0.0f || row->score <= filter->max_score);
}

static struct results_filter random_filter(uint64_t *random)
{
    struct results_filter filter = {0};
    uint32_t bits = (uint32_t)random_next(random);
    struct bytes *const indexed[] = {&filter.label, &filter.model, &filter.reference, NULL};
    if (indexed[bits % 4] != NULL)
        *indexed[bits % 4] = bytes_of(words[bits / 4 % 3]);
    if (bits / 12 % 2 != 0)
        filter.version = bytes_of(words[bits / 24 % 3]);
    if (bits / 72 % 2 != 0)
        filter.min_score = (float)(bits / 144 % 11) / 10.0f;
    if (bits / 1584 % 3 == 0)
        filter.max_score = 0.5f;
    if (bits / 4752 % 2 != 0)
        filter.from_ms = WORLD_NOW_MS + random_next(random) % 40;
    if (bits / 9504 % 2 != 0)
        filter.to_ms = WORLD_NOW_MS + random_next(random) % 45;
    return filter;
}

/* All pages together are exactly the rows that pass, in order. */
static void check_pages(struct world *world, const struct row *rows,
                        const struct results_filter *filter, uint32_t limit)
{
    struct result_set set = {0};
    char cursor[RESULTS_CURSOR_SIZE] = "";
    uint32_t at = 0;
    do {
        struct error err = {0};
        if (results_query(world->results, world->tenant, filter, bytes_of(cursor), limit, &set,
                          &err) != RC_OK)
            fail_msg("%s", err.text);
        assert_true(set.count <= limit);
        for (uint32_t i = 0; i < set.count; i++) {
            while (at < ROW_COUNT && !passes(filter, &rows[at]))
                at++;
            assert_true(at < ROW_COUNT);
            assert_memory_equal(&set.items[i].id, &rows[at].id, sizeof(rows[at].id));
            assert_true(bytes_equal(set.items[i].label, bytes_of(words[rows[at].label])));
            at++;
        }
        memcpy(cursor, set.next, sizeof(cursor));
    } while (cursor[0] != '\0');
    while (at < ROW_COUNT && !passes(filter, &rows[at]))
        at++;
    assert_int_equal(at, ROW_COUNT);
    results_set_done(&set);
}

TEST(every_query_agrees_with_a_plain_model)
{
    struct world world;
    world_open(&world);
    static struct row rows[ROW_COUNT];
    uint64_t random = seed_start();
    fill(&world, rows, &random);
    struct results_filter all = {0};
    check_pages(&world, rows, &all, RESULTS_PAGE_MAX);
    check_pages(&world, rows, &all, 1);
    for (int i = 0; i < 300; i++) {
        struct results_filter filter = random_filter(&random);
        check_pages(&world, rows, &filter, 1 + (uint32_t)(random_next(&random) % 60));
    }
    world_close(&world);
}

TEST(a_cursor_stays_where_it_is_while_others_write_and_erase)
{
    struct world world;
    world_open(&world);
    struct id ids[20];
    for (uint32_t i = 0; i < 20; i++) {
        struct result_commit commit = commit_new(world.tenant, WORLD_NOW_MS + i);
        ids[i] = must_put(&world, &commit);
    }
    struct results_filter filter = {0};
    struct result_set set = {0};
    assert_int_equal(
        results_query(world.results, world.tenant, &filter, (struct bytes){0}, 10, &set, NULL),
        RC_OK);
    assert_int_equal(set.count, 10);
    char cursor[RESULTS_CURSOR_SIZE];
    memcpy(cursor, set.next, sizeof(cursor));
    struct result_commit newer = commit_new(world.tenant, WORLD_NOW_MS + 100);
    (void)must_put(&world, &newer);
    struct results_removed removed;
    /* The last one read, where the cursor points, and one still to come. */
    assert_int_equal(results_erase(world.results, world.tenant, ids[10], 1, &removed, NULL), RC_OK);
    assert_int_equal(results_erase(world.results, world.tenant, ids[5], 1, &removed, NULL), RC_OK);
    assert_int_equal(
        results_query(world.results, world.tenant, &filter, bytes_of(cursor), 100, &set, NULL),
        RC_OK);
    assert_int_equal(set.count, 9);
    assert_memory_equal(&set.items[0].id, &ids[9], sizeof(ids[9]));
    assert_memory_equal(&set.items[4].id, &ids[4], sizeof(ids[4]));
    assert_string_equal(set.next, "");
    results_set_done(&set);
    world_close(&world);
}

TEST(a_wrong_cursor_is_refused)
{
    struct world world;
    world_open(&world);
    for (uint32_t i = 0; i < 3; i++) {
        struct result_commit commit = commit_new(world.tenant, WORLD_NOW_MS + i);
        (void)must_put(&world, &commit);
    }
    struct results_filter filter = {0};
    struct result_set set = {0};
    assert_int_equal(
        results_query(world.results, world.tenant, &filter, (struct bytes){0}, 1, &set, NULL),
        RC_OK);
    char cursor[RESULTS_CURSOR_SIZE];
    memcpy(cursor, set.next, sizeof(cursor));
    size_t size = strlen(cursor);
    assert_true(size > 0);
    /* Another tenant's, another question's, cut, and each octet of its head changed. */
    assert_int_equal(
        results_query(world.results, world.other, &filter, bytes_of(cursor), 1, &set, NULL),
        RC_INVALID);
    struct results_filter other = {.min_score = 0.5f};
    assert_int_equal(
        results_query(world.results, world.tenant, &other, bytes_of(cursor), 1, &set, NULL),
        RC_INVALID);
    struct bytes cut = {(const uint8_t *)cursor, size - 1};
    assert_int_equal(results_query(world.results, world.tenant, &filter, cut, 1, &set, NULL),
                     RC_INVALID);
    for (size_t i = 0; i < 12; i++) {
        char wrong[RESULTS_CURSOR_SIZE];
        memcpy(wrong, cursor, sizeof(wrong));
        wrong[i] = wrong[i] == 'Z' ? 'Y' : 'Z';
        assert_int_equal(
            results_query(world.results, world.tenant, &filter, bytes_of(wrong), 1, &set, NULL),
            RC_INVALID);
        wrong[i] = i % 2 != 0 ? '=' : '\xff';
        assert_int_equal(
            results_query(world.results, world.tenant, &filter, bytes_of(wrong), 1, &set, NULL),
            RC_INVALID);
    }
    assert_int_equal(
        results_query(world.results, world.tenant, &filter, (struct bytes){0}, 0, &set, NULL),
        RC_INVALID);
    struct results_filter two = {.label = bytes_of("a"), .model = bytes_of("b")};
    assert_int_equal(
        results_query(world.results, world.tenant, &two, (struct bytes){0}, 1, &set, NULL),
        RC_INVALID);
    results_set_done(&set);
    world_close(&world);
}

TEST(a_filter_that_nothing_passes_is_bounded_in_rows)
{
    struct world world;
    world_open(&world);
    static struct result_commit commits[RESULTS_PUT_MAX];
    static struct result_commit *pointers[RESULTS_PUT_MAX];
    uint32_t put_count = 0;
    while (put_count < RESULTS_SCAN_MAX + 100) {
        for (uint32_t i = 0; i < RESULTS_PUT_MAX; i++) {
            commits[i] = commit_new(world.tenant, WORLD_NOW_MS + put_count++);
            pointers[i] = &commits[i];
        }
        assert_int_equal(results_put(world.results, pointers, RESULTS_PUT_MAX, NULL), RC_OK);
    }
    struct results_filter filter = {.min_score = 0.9f};
    struct result_set set = {0};
    assert_int_equal(
        results_query(world.results, world.tenant, &filter, (struct bytes){0}, 5, &set, NULL),
        RC_OK);
    assert_int_equal(set.count, 0);
    assert_string_not_equal(set.next, "");
    char cursor[RESULTS_CURSOR_SIZE];
    memcpy(cursor, set.next, sizeof(cursor));
    assert_int_equal(
        results_query(world.results, world.tenant, &filter, bytes_of(cursor), 5, &set, NULL),
        RC_OK);
    assert_int_equal(set.count, 0);
    assert_string_equal(set.next, "");
    results_set_done(&set);
    world_close(&world);
}

TEST_MAIN("results: history")
