/* SPDX-License-Identifier: Apache-2.0
 * The promise of blob.h, run against every driver: BLOB_URL picks which; "%s" in it is a new
 * folder. */
#include "check.h"
#include "pictures.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char root[PATH_MAX];

static struct blob *open_again(void)
{
    char url[PATH_MAX + 64];
    const char *form = getenv("BLOB_URL");
    if (form == NULL)
        form = "file:%s";
    const char *place = strstr(form, "%s");
    assert_non_null(place);
    (void)snprintf(url, sizeof(url), "%.*s%s%s", (int)(place - form), form, root, place + 2);
    struct blob *blob = NULL;
    struct error err = {0};
    if (blob_open(&(struct blob_config){.url = url}, &blob, &err) != RC_OK)
        fail_msg("%s", err.text);
    return blob;
}

static struct blob *open_new(void)
{
    folder_new(NULL, root);
    return open_again();
}

static void close_all(struct blob *blob)
{
    blob_free(blob);
    folder_remove(root);
}

static void put(struct blob *blob, const char *tenant, uint32_t number, uint64_t now_ms,
                bool existed)
{
    struct picture picture;
    struct error err = {0};
    picture_draw(number, &picture);
    struct blob_item item = picture_item(tenant, &picture);
    if (blob_put(blob, &item, 1, now_ms, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_int_equal(item.rc, RC_OK);
    assert_int_equal(item.existed, existed);
}

/* RC_OK only with the very bytes. */
static enum rc get(struct blob *blob, const char *tenant, uint32_t number)
{
    struct picture picture;
    struct buf into = BUF_INIT(PICTURE_SIZE_MAX);
    picture_draw(number, &picture);
    enum rc rc = blob_get(blob, tenant, picture.sha256, &into, NULL);
    if (rc == RC_OK) {
        assert_int_equal(into.size, picture.size);
        assert_memory_equal(into.data, picture.data, picture.size);
    } else {
        assert_int_equal(into.size, 0);
    }
    buf_done(&into);
    return rc;
}

static uint64_t renewed(struct blob *blob, const char *tenant, uint32_t number)
{
    struct picture picture;
    struct blob_info info = {0};
    picture_draw(number, &picture);
    assert_int_equal(blob_stat(blob, tenant, picture.sha256, &info, NULL), RC_OK);
    assert_int_equal(info.size, picture.size);
    return info.renewed_ms;
}

static enum rc delete_before(struct blob *blob, const char *tenant, uint32_t number,
                             uint64_t renewed_before_ms)
{
    struct picture picture;
    picture_draw(number, &picture);
    return blob_delete(blob, tenant, picture.sha256, renewed_before_ms, NULL);
}

TEST(what_was_put_is_got)
{
    struct blob *blob = open_new();
    put(blob, "default", 1, NOON_MS + 7, false);
    assert_int_equal(get(blob, "default", 1), RC_OK);
    assert_int_equal(renewed(blob, "default", 1), NOON_MS + 7);
    close_all(blob);
}

TEST(it_is_there_after_reopening_and_in_another_handle)
{
    struct blob *blob = open_new();
    struct blob *other = open_again();
    put(blob, "default", 1, NOON_MS, false);
    assert_int_equal(get(other, "default", 1), RC_OK);
    put(other, "default", 1, NOON_MS, true);
    assert_int_equal(delete_before(other, "default", 1, UINT64_MAX), RC_OK);
    assert_int_equal(get(blob, "default", 1), RC_NOT_FOUND);
    put(blob, "default", 1, NOON_MS, false);
    blob_free(blob);
    blob_free(other);
    blob = open_again();
    assert_int_equal(get(blob, "default", 1), RC_OK);
    close_all(blob);
}

TEST(another_tenants_picture_is_as_absent_as_none)
{
    struct blob *blob = open_new();
    struct picture picture, none;
    struct blob_info info = {.size = 77};
    struct error foreign = {0}, absent = {0};
    picture_draw(1, &picture);
    picture_draw(2, &none);
    put(blob, "alpha", 1, NOON_MS, false);
    put(blob, "beta", 3, NOON_MS, false);
    assert_int_equal(blob_stat(blob, "beta", picture.sha256, &info, &foreign), RC_NOT_FOUND);
    assert_int_equal(blob_stat(blob, "beta", none.sha256, &info, &absent), RC_NOT_FOUND);
    assert_string_equal(foreign.text, absent.text);
    assert_int_equal(info.size, 77);
    assert_int_equal(get(blob, "beta", 1), RC_NOT_FOUND);
    assert_int_equal(delete_before(blob, "beta", 1, UINT64_MAX), RC_NOT_FOUND);
    put(blob, "beta", 1, NOON_MS, false);
    assert_int_equal(delete_before(blob, "alpha", 1, UINT64_MAX), RC_OK);
    assert_int_equal(get(blob, "beta", 1), RC_OK);
    assert_int_equal(get(blob, "gamma", 1), RC_NOT_FOUND);
    close_all(blob);
}

TEST(a_second_put_renews_the_age_and_never_makes_it_older)
{
    struct blob *blob = open_new();
    put(blob, "default", 1, NOON_MS, false);
    put(blob, "default", 1, NOON_MS + 5, true);
    assert_int_equal(renewed(blob, "default", 1), NOON_MS + 5);
    put(blob, "default", 1, NOON_MS + 1, true);
    assert_int_equal(renewed(blob, "default", 1), NOON_MS + 5);
    assert_int_equal(get(blob, "default", 1), RC_OK);
    close_all(blob);
}

TEST(an_age_can_be_renewed_without_the_content)
{
    struct blob *blob = open_new();
    struct picture picture;
    picture_draw(1, &picture);
    struct blob_item item = picture_item("default", &picture);
    item.content = (struct bytes){NULL, 0};
    item.renew_only = true;
    assert_int_equal(blob_put(blob, &item, 1, NOON_MS, NULL), RC_NOT_FOUND);
    assert_int_equal(get(blob, "default", 1), RC_NOT_FOUND);
    put(blob, "default", 1, NOON_MS, false);
    assert_int_equal(blob_put(blob, &item, 1, NOON_MS + HOUR_MS, NULL), RC_OK);
    assert_true(item.existed);
    assert_int_equal(renewed(blob, "default", 1), NOON_MS + HOUR_MS);
    close_all(blob);
}

TEST(items_fail_one_by_one)
{
    struct blob *blob = open_new();
    struct picture pictures[6];
    struct blob_item items[6];
    struct error err = {0};
    for (uint32_t i = 0; i < 6; i++) {
        picture_draw(i, &pictures[i]);
        items[i] = picture_item("default", &pictures[i]);
    }
    items[1].tenant = "../default";
    items[2].content.size = 0;
    items[3].media_type = "image/jpeg\r\nx: y";
    items[4].renew_only = true;
    assert_int_equal(blob_put(blob, items, 6, NOON_MS, &err), RC_INVALID);
    assert_string_equal(err.text, items[1].err.text);
    static const enum rc expected[] = {RC_OK,      RC_INVALID,   RC_INVALID,
                                       RC_INVALID, RC_NOT_FOUND, RC_OK};
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(items[i].rc, expected[i]);
        assert_int_equal(get(blob, "default", i), expected[i] == RC_OK ? RC_OK : RC_NOT_FOUND);
    }
    assert_int_equal(blob_put(blob, items, 0, NOON_MS, NULL), RC_OK);
    close_all(blob);
}

TEST(a_large_group_with_repetitions)
{
    enum { COUNT = 200, DIFFERENT = 90 };
    struct blob *blob = open_new();
    struct picture *pictures = calloc(DIFFERENT, sizeof(*pictures));
    struct blob_item *items = calloc(COUNT, sizeof(*items));
    assert_non_null(pictures);
    assert_non_null(items);
    for (uint32_t i = 0; i < DIFFERENT; i++)
        picture_draw(i, &pictures[i]);
    for (uint32_t i = 0; i < COUNT; i++)
        items[i] = picture_item(i % 3 == 0 ? "three" : "default", &pictures[i % DIFFERENT]);
    assert_int_equal(blob_put(blob, items, COUNT, NOON_MS, NULL), RC_OK);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(get(blob, items[i].tenant, i % DIFFERENT), RC_OK);
    assert_int_equal(get(blob, "default", 0), RC_NOT_FOUND); /* its number is divisible by 3 */
    free(pictures);
    free(items);
    close_all(blob);
}

TEST(a_picture_over_the_callers_cap_is_too_large)
{
    struct blob *blob = open_new();
    struct picture picture;
    picture_draw(1, &picture);
    put(blob, "default", 1, NOON_MS, false);
    struct buf into = BUF_INIT(picture.size - 1);
    assert_int_equal(blob_get(blob, "default", picture.sha256, &into, NULL), RC_TOO_LARGE);
    assert_int_equal(into.size, 0);
    buf_done(&into);
    close_all(blob);
}

TEST(delete_spares_what_was_renewed)
{
    struct blob *blob = open_new();
    assert_int_equal(delete_before(blob, "default", 1, UINT64_MAX), RC_NOT_FOUND);
    put(blob, "default", 1, NOON_MS, false);
    assert_int_equal(delete_before(blob, "default", 1, NOON_MS), RC_BUSY);
    assert_int_equal(get(blob, "default", 1), RC_OK);
    assert_int_equal(delete_before(blob, "default", 1, NOON_MS + 1), RC_OK);
    assert_int_equal(get(blob, "default", 1), RC_NOT_FOUND);
    assert_int_equal(delete_before(blob, "default", 1, NOON_MS + 1), RC_NOT_FOUND);
    close_all(blob);
}

static enum rc nothing_refers(void *ctx, const char *tenant, const uint8_t *sha256,
                              const struct blob_info *info, bool *ret_referenced, struct error *err)
{
    (void)ctx, (void)tenant, (void)sha256, (void)info, (void)err;
    *ret_referenced = false;
    return RC_OK;
}

TEST(tenants_that_could_be_paths_are_refused)
{
    static const char *const bad[] = {"",    ".",   "..",  "a/b", "/a",   "-a", "A",
                                      "a.b", "a_b", "a b", "ä",   "../a", "a\n"};
    struct blob *blob = open_new();
    char longest[65];
    struct blob_entry entry;
    uint32_t count = 77;
    memset(longest, 'a', 64);
    longest[64] = '\0';
    for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
        const char *tenant = i < sizeof(bad) / sizeof(bad[0]) ? bad[i] : longest;
        struct blob_sweep sweep = {.tenant = tenant, .is_referenced = nothing_refers};
        struct blob_info info;
        struct picture picture;
        picture_draw(1, &picture);
        assert_int_equal(get(blob, tenant, 1), RC_INVALID);
        assert_int_equal(blob_stat(blob, tenant, picture.sha256, &info, NULL), RC_INVALID);
        assert_int_equal(delete_before(blob, tenant, 1, UINT64_MAX), RC_INVALID);
        assert_int_equal(blob_list(blob, tenant, NULL, &entry, 1, &count, NULL), RC_INVALID);
        assert_int_equal(blob_sweep(blob, &sweep, NOON_MS, NULL), RC_INVALID);
    }
    assert_int_equal(count, 77);
    longest[63] = '\0';
    put(blob, longest, 1, NOON_MS, false);
    put(blob, "0-", 1, NOON_MS, false);
    close_all(blob);
}

static int compare_keys(const void *a, const void *b) { return memcmp(a, b, BLOB_SHA256_SIZE); }

TEST(a_listing_is_in_order_and_whole_for_every_page_size)
{
    enum { COUNT = 60 };
    struct blob *blob = open_new();
    uint8_t keys[COUNT][BLOB_SHA256_SIZE];
    for (uint32_t i = 0; i < COUNT; i++) {
        struct picture picture;
        picture_draw(i, &picture);
        memcpy(keys[i], picture.sha256, BLOB_SHA256_SIZE);
        put(blob, "default", i, NOON_MS + i, false);
        if (i % 2 == 0)
            put(blob, "other", i + COUNT, NOON_MS, false);
    }
    qsort(keys, COUNT, sizeof(keys[0]), compare_keys);
    for (uint32_t page = 1; page <= COUNT + 1; page += page < 4 ? 1 : 19) {
        struct blob_entry entries[COUNT + 1];
        const uint8_t *after = NULL;
        uint32_t seen = 0, count = page;
        while (count == page) {
            assert_int_equal(blob_list(blob, "default", after, entries, page, &count, NULL), RC_OK);
            assert_true(seen + count <= COUNT);
            for (uint32_t i = 0; i < count; i++) {
                assert_memory_equal(entries[i].sha256, keys[seen + i], BLOB_SHA256_SIZE);
                assert_true(entries[i].info.renewed_ms >= NOON_MS && entries[i].info.size > 0);
            }
            seen += count;
            after = count > 0 ? entries[count - 1].sha256 : after;
        }
        assert_int_equal(seen, COUNT);
    }
    struct blob_entry entry;
    uint32_t count = 77;
    assert_int_equal(blob_list(blob, "nobody", NULL, &entry, 1, &count, NULL), RC_OK);
    assert_int_equal(count, 0);
    close_all(blob);
}

/* Refers to the pictures whose number's bit is set, and does what a test wants meanwhile. */
struct references {
    struct blob *blob;
    uint64_t numbers;
    uint32_t asked_count;
    uint32_t fail_at;   /* the n-th question fails */
    uint32_t put_again; /* this picture is put while it is asked for */
};

static enum rc is_referenced(void *ctx, const char *tenant, const uint8_t *sha256,
                             const struct blob_info *info, bool *ret_referenced, struct error *err)
{
    struct references *references = ctx;
    if (++references->asked_count == references->fail_at)
        return error_set(err, RC_BUSY, "the results are busy");
    assert_true(info->size > 0);
    for (uint32_t i = 0; i < 64; i++) {
        struct picture picture;
        picture_draw(i, &picture);
        if (memcmp(picture.sha256, sha256, BLOB_SHA256_SIZE) != 0)
            continue;
        if (references->put_again == i)
            put(references->blob, tenant, i, NOON_MS + 2 * DAY_MS, true);
        *ret_referenced = (references->numbers >> i & 1) != 0;
        return RC_OK;
    }
    fail_msg("asked for a picture that was never put");
    return RC_INTERNAL;
}

static struct blob_sweep sweep_of(const char *tenant, struct references *references)
{
    return (struct blob_sweep){.tenant = tenant,
                               .older_than_ms = DAY_MS,
                               .is_referenced = is_referenced,
                               .ctx = references};
}

static uint32_t run_sweep(struct blob *blob, struct blob_sweep *sweep, uint64_t now_ms)
{
    uint32_t calls = 0;
    while (!sweep->done) {
        uint64_t before = sweep->visited_count;
        assert_int_equal(blob_sweep(blob, sweep, now_ms, NULL), RC_OK);
        assert_true(sweep->visited_count - before <=
                    (sweep->visit_count_max > 0 ? sweep->visit_count_max : 1000));
        assert_true(++calls < 10000);
    }
    return calls;
}

TEST(the_sweep_takes_what_is_old_and_unreferenced)
{
    struct blob *blob = open_new();
    struct references references = {.blob = blob, .numbers = 0x0f, .put_again = 64};
    for (uint32_t i = 0; i < 20; i++)
        put(blob, i % 2 == 0 ? "alpha" : "beta", i, i < 12 ? NOON_MS : NOON_MS + 1, false);
    struct blob_sweep sweep = sweep_of(NULL, &references);
    run_sweep(blob, &sweep, NOON_MS + DAY_MS - 1);
    assert_int_equal(sweep.removed_count, 0);
    assert_int_equal(references.asked_count, 0);
    sweep = sweep_of("beta", &references);
    run_sweep(blob, &sweep, NOON_MS + DAY_MS);
    assert_int_equal(sweep.removed_count, 4); /* 5, 7, 9, 11 */
    assert_true(sweep.removed_size > 0);
    sweep = sweep_of(NULL, &references);
    run_sweep(blob, &sweep, NOON_MS + DAY_MS);
    assert_int_equal(sweep.removed_count, 4); /* 4, 6, 8, 10 */
    assert_int_equal(sweep.failed_count, 0);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(get(blob, i % 2 == 0 ? "alpha" : "beta", i),
                         i >= 4 && i < 12 ? RC_NOT_FOUND : RC_OK);
    close_all(blob);
}

TEST(a_sweep_in_small_steps_does_the_same)
{
    for (uint32_t step = 1; step < 8; step += 3) {
        struct blob *blob = open_new();
        struct references references = {.blob = blob, .numbers = 0x01, .put_again = 64};
        for (uint32_t i = 0; i < 30; i++)
            put(blob, i % 3 == 0 ? "alpha" : (i % 3 == 1 ? "beta" : "gamma"), i, NOON_MS, false);
        struct blob_sweep sweep = sweep_of(NULL, &references);
        sweep.visit_count_max = step;
        assert_true(run_sweep(blob, &sweep, NOON_MS + DAY_MS) > 3);
        assert_int_equal(sweep.removed_count, 29);
        assert_int_equal(references.asked_count, 30);
        assert_int_equal(get(blob, "alpha", 0), RC_OK);
        close_all(blob);
    }
}

TEST(tenants_are_told_one_after_another)
{
    struct blob *blob = open_new();
    char tenant[BLOB_TENANT_SIZE_MAX + 1];
    assert_int_equal(blob_tenant_next(blob, "", tenant, NULL), RC_NOT_FOUND);
    put(blob, "zoo", 1, NOON_MS, false);
    put(blob, "alpha", 1, NOON_MS, false);
    assert_int_equal(blob_tenant_next(blob, "", tenant, NULL), RC_OK);
    assert_string_equal(tenant, "alpha");
    assert_int_equal(blob_tenant_next(blob, tenant, tenant, NULL), RC_OK);
    assert_string_equal(tenant, "zoo");
    assert_int_equal(blob_tenant_next(blob, tenant, tenant, NULL), RC_NOT_FOUND);
    close_all(blob);
}

TEST(a_picture_that_is_put_while_it_is_swept_stays)
{
    struct blob *blob = open_new();
    struct references references = {.blob = blob, .put_again = 3};
    for (uint32_t i = 0; i < 6; i++)
        put(blob, "default", i, NOON_MS, false);
    struct blob_sweep sweep = sweep_of(NULL, &references);
    run_sweep(blob, &sweep, NOON_MS + 2 * DAY_MS);
    assert_int_equal(sweep.removed_count, 5);
    assert_int_equal(get(blob, "default", 3), RC_OK);
    close_all(blob);
}

TEST(a_sweep_whose_question_fails_goes_on_with_the_same_picture)
{
    struct blob *blob = open_new();
    struct references references = {.blob = blob, .put_again = 64, .fail_at = 3};
    struct error err = {0};
    for (uint32_t i = 0; i < 6; i++)
        put(blob, "default", i, NOON_MS, false);
    struct blob_sweep sweep = sweep_of(NULL, &references);
    assert_int_equal(blob_sweep(blob, &sweep, NOON_MS + DAY_MS, &err), RC_BUSY);
    assert_string_equal(err.text, "the results are busy");
    assert_false(sweep.done);
    assert_int_equal(sweep.removed_count, 2);
    run_sweep(blob, &sweep, NOON_MS + DAY_MS);
    assert_int_equal(sweep.removed_count, 6);
    assert_int_equal(references.asked_count, 7);
    close_all(blob);
}

/* Eight threads put, sweep and delete at once. The clock is a counter that every call advances; who
 * finds that less than the age of the sweep has passed since a put must find the picture. */
#define CROWD_AGE   40u
#define CROWD_COUNT 24u
static atomic_uint_fast64_t ticks;
static atomic_uint removed_count;

static bool crowd_put(struct blob *blob, uint64_t *random, uint32_t own)
{
    struct picture pictures[3];
    struct blob_item items[3];
    for (uint32_t i = 0; i < 3; i++) { /* two that all share, one of its own */
        picture_draw(i < 2 ? random_next(random) % CROWD_COUNT : own, &pictures[i]);
        items[i] = picture_item(i == 0 ? "alpha" : "beta", &pictures[i]);
    }
    uint64_t now_ms = atomic_fetch_add(&ticks, 1);
    bool fine = blob_put(blob, items, 3, now_ms, NULL) == RC_OK;
    for (uint32_t i = 0; i < 3 && fine; i++) {
        struct buf into = BUF_INIT(PICTURE_SIZE_MAX);
        enum rc rc = blob_get(blob, items[i].tenant, items[i].sha256, &into, NULL);
        bool is_young = atomic_load(&ticks) < now_ms + CROWD_AGE;
        fine = rc == RC_OK || (rc == RC_NOT_FOUND && !is_young);
        buf_done(&into);
    }
    return fine;
}

static void *crowd_member(void *ctx)
{
    struct blob *blob = ctx;
    uint64_t now_ms = atomic_fetch_add(&ticks, 1), random = now_ms;
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t choice = random_next(&random) % 8;
        if (choice == 0) {
            struct blob_sweep sweep = {.older_than_ms = CROWD_AGE, .is_referenced = nothing_refers};
            while (!sweep.done)
                if (blob_sweep(blob, &sweep, atomic_fetch_add(&ticks, 1), NULL) != RC_OK)
                    return "a sweep failed";
            atomic_fetch_add(&removed_count, (unsigned)sweep.removed_count);
        } else if (choice == 1) {
            struct picture picture;
            uint64_t now = atomic_fetch_add(&ticks, 1);
            picture_draw(random_next(&random) % CROWD_COUNT, &picture);
            enum rc rc = blob_delete(blob, "alpha", picture.sha256,
                                     now > CROWD_AGE ? now - CROWD_AGE : 0, NULL);
            if (rc != RC_OK && rc != RC_NOT_FOUND && rc != RC_BUSY)
                return "a delete failed";
        } else if (!crowd_put(blob, &random, CROWD_COUNT + (uint32_t)now_ms * 100 + i)) {
            return "a picture was lost";
        }
    }
    return NULL;
}

TEST(eight_threads_put_sweep_and_delete)
{
    enum { THREAD_COUNT = 8 };
    struct blob *blobs[2] = {open_new(), open_again()};
    pthread_t threads[THREAD_COUNT];
    for (uint32_t i = 0; i < THREAD_COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_member, blobs[i % 2]), 0);
    for (uint32_t i = 0; i < THREAD_COUNT; i++) {
        void *complaint = NULL;
        assert_int_equal(pthread_join(threads[i], &complaint), 0);
        if (complaint != NULL)
            fail_msg("%s", (const char *)complaint);
    }
    assert_true(atomic_load(&removed_count) > 0);
    blob_free(blobs[1]);
    close_all(blobs[0]);
}

TEST(urls_that_lead_nowhere_are_refused)
{
    static const char *const bad[] = {"", "/tmp", "files:/tmp", "file:", "file:/tmp?sync=never"};
    struct error err = {0};
    struct blob *blob = NULL;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct blob_config config = {.url = bad[i]};
        assert_int_equal(blob_open(&config, &blob, &err), RC_INVALID);
        assert_null(blob);
    }
    blob_free(NULL);
}

TEST_MAIN("blob contract")
