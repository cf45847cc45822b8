/* SPDX-License-Identifier: Apache-2.0
 * The store of pictures on a disk whose power goes, and on one that fails, at every single call. */
#include "base/clock.h"
#include "blob/filesystem.h"
#include "check.h"
#include "pictures.h"
#include "power.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_COUNT 10u /* pictures that share folders, of two tenants */
#define STEP_MS   1000u

static struct picture pictures[KEY_COUNT / 2];
static const char *const tenants[] = {"alpha", "beta"};

/* What may be found of a picture. */
enum state { ABSENT, PRESENT, EITHER };
struct expected {
    enum state state;
    uint64_t renewed_ms; /* PRESENT: not older than that */
};

static const char *where(void) { return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; }

/* Numbers whose hashes begin with one of four pairs of octets, so that folders are shared. */
static void draw_pictures(void)
{
    uint32_t number = 0;
    if (pictures[0].size > 0)
        return;
    for (uint32_t i = 0; i < KEY_COUNT / 2; i++)
        for (bool fits = false; !fits; number++) {
            picture_draw(number, &pictures[i]);
            fits = pictures[i].sha256[0] < 16 && (i < 2 || pictures[i].sha256[0] < 2);
        }
    /* Two in one folder: the search for a common second octet is short. */
    for (bool fits = false; !fits; number++) {
        picture_draw(number, &pictures[1]);
        fits = memcmp(pictures[1].sha256, pictures[0].sha256, 2) == 0;
    }
}

static struct blob *open_power(const char *root, const char *option)
{
    char place[PATH_MAX];
    struct blob *blob = NULL;
    (void)snprintf(place, sizeof(place), "%s%s", root, option);
    enum rc rc = filesystem_open_on(&disk_power, place, &blob, NULL);
    assert_true(rc == RC_OK || rc == RC_UNAVAILABLE);
    return blob;
}

static struct blob_item item_of(uint32_t key)
{
    return picture_item(tenants[key % 2], &pictures[key / 2]);
}

static void step_put(struct blob *blob, struct expected *expected, uint64_t *random,
                     uint64_t now_ms)
{
    struct blob_item items[4];
    uint32_t keys[4], count = 1 + random_next(random) % 4;
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = random_next(random) % KEY_COUNT;
        items[i] = item_of(keys[i]);
    }
    enum rc rc = blob_put(blob, items, count, now_ms, NULL);
    bool all = true;
    for (uint32_t i = 0; i < count; i++) {
        struct expected *one = &expected[keys[i]];
        all &= items[i].rc == RC_OK;
        assert_true(items[i].rc == RC_OK || items[i].rc == RC_UNAVAILABLE);
        if (items[i].rc == RC_OK)
            *one = (struct expected){PRESENT, now_ms};
        else if (one->state == ABSENT)
            one->state = EITHER;
    }
    assert_int_equal(rc == RC_OK, all);
}

static void step_delete(struct blob *blob, struct expected *expected, uint64_t *random)
{
    uint32_t key = random_next(random) % KEY_COUNT;
    struct blob_item item = item_of(key);
    enum rc rc = blob_delete(blob, item.tenant, item.sha256, UINT64_MAX, NULL);
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_UNAVAILABLE);
    assert_false(rc == RC_NOT_FOUND && expected[key].state == PRESENT);
    bool unsure = rc == RC_UNAVAILABLE && expected[key].state != ABSENT;
    expected[key].state = unsure ? EITHER : ABSENT;
}

static enum rc nothing_refers(void *ctx, const char *tenant, const uint8_t *sha256,
                              const struct blob_info *info, bool *ret_referenced, struct error *err)
{
    (void)ctx, (void)tenant, (void)sha256, (void)info, (void)err;
    *ret_referenced = false;
    return RC_OK;
}

static void step_sweep(struct blob *blob, struct expected *expected, uint64_t now_ms)
{
    struct blob_sweep sweep = {.older_than_ms = 4 * STEP_MS, .is_referenced = nothing_refers};
    enum rc rc = RC_OK;
    while (!sweep.done && rc == RC_OK)
        rc = blob_sweep(blob, &sweep, now_ms, NULL);
    for (uint32_t key = 0; key < KEY_COUNT; key++)
        if (expected[key].state == PRESENT && expected[key].renewed_ms + 4 * STEP_MS <= now_ms)
            expected[key].state = EITHER;
}

static void run_steps(struct blob *blob, struct expected *expected, uint64_t seed, uint64_t *now_ms)
{
    for (uint32_t i = 0; i < 7; i++) {
        *now_ms += STEP_MS;
        uint32_t choice = random_next(&seed) % 8;
        if (choice < 5)
            step_put(blob, expected, &seed, *now_ms);
        else if (choice < 7)
            step_delete(blob, expected, &seed);
        else
            step_sweep(blob, expected, *now_ms);
    }
}

static uint32_t list_count(struct blob *blob, const char *tenant)
{
    struct blob_entry entries[KEY_COUNT];
    uint32_t count = 0;
    assert_int_equal(blob_list(blob, tenant, NULL, entries, KEY_COUNT, &count, NULL), RC_OK);
    return count;
}

/* What is there is whole; what must be there is; what must not is not. Fixes EITHER to what is. */
static void check_found(const char *root, struct expected *expected)
{
    char url[PATH_MAX + 8];
    struct blob *blob = NULL;
    uint32_t present[2] = {0};
    (void)snprintf(url, sizeof(url), "file:%s", root);
    assert_int_equal(blob_open(&(struct blob_config){.url = url}, &blob, NULL), RC_OK);
    for (uint32_t key = 0; key < KEY_COUNT; key++) {
        struct buf into = BUF_INIT(PICTURE_SIZE_MAX);
        struct blob_item item = item_of(key);
        struct blob_info info = {0};
        struct error err = {0};
        enum rc rc = blob_get(blob, item.tenant, item.sha256, &into, &err);
        if (rc != RC_OK && rc != RC_NOT_FOUND)
            fail_msg("%s", err.text);
        if (expected[key].state != EITHER)
            assert_int_equal(rc, expected[key].state == PRESENT ? RC_OK : RC_NOT_FOUND);
        if (rc == RC_OK) {
            present[key % 2]++;
            assert_int_equal(blob_stat(blob, item.tenant, item.sha256, &info, NULL), RC_OK);
            if (expected[key].state == PRESENT)
                assert_true(info.renewed_ms >= expected[key].renewed_ms);
        }
        expected[key] = (struct expected){rc == RC_OK ? PRESENT : ABSENT, info.renewed_ms};
        buf_done(&into);
    }
    assert_int_equal(list_count(blob, tenants[0]), present[0]);
    assert_int_equal(list_count(blob, tenants[1]), present[1]);
    blob_free(blob);
}

/* Ends a life: `root` becomes the folder with what is left. */
static void power_loss(char root[PATH_MAX], uint64_t seed)
{
    char next[PATH_MAX];
    folder_new(where(), next);
    power_rebuild(next, seed);
    power_off();
    folder_remove(root);
    memcpy(root, next, PATH_MAX);
}

/* Lives of one store, one after the other; in each but the last the power goes at a call. Gives the
 * number of calls of the first. */
static uint32_t lives(const char *option, uint64_t seed, uint32_t fail_at, uint32_t life_count)
{
    struct expected expected[KEY_COUNT] = {0};
    char root[PATH_MAX];
    uint64_t now_ms = NOON_MS;
    uint32_t calls = 0;
    folder_new(where(), root);
    for (uint32_t life = 0; life < life_count; life++) {
        power_on(root, fail_at, 0);
        struct blob *blob = open_power(root, option);
        if (blob != NULL)
            run_steps(blob, expected, seed + life, &now_ms);
        blob_free(blob);
        calls = life == 0 ? power_call_count() : calls;
        power_loss(root, seed * 31 + fail_at + life);
        check_found(root, expected);
    }
    folder_remove(root);
    return calls;
}

static void power_loss_at_every_call(const char *option, uint64_t seed_count)
{
    draw_pictures();
    for (uint64_t seed = 1; seed <= seed_count; seed++) {
        uint32_t calls = lives(option, seed * 1000, 0, 1);
        assert_true(calls > 20);
        for (uint32_t at = 1; at <= calls; at++)
            (void)lives(option, seed * 1000, at, at % 8 == 0 ? 2 : 1);
    }
}

TEST(power_loss_at_every_call_with_syncfs) { power_loss_at_every_call("?sync=all", 3); }

TEST(power_loss_at_every_call_with_fsync_of_each) { power_loss_at_every_call("?sync=each", 2); }

TEST(power_loss_at_every_call_without_o_tmpfile)
{
    power_without_tmpfile(true);
    power_loss_at_every_call("?sync=each", 1);
    power_loss_at_every_call("?sync=all", 1);
    power_without_tmpfile(false);
}

/* One call fails, the disk goes on: what failed says so in a sentence, the rest is stored, nothing
 * is left over, and the same put then succeeds. */
static uint32_t one_failure(const char *option, uint32_t fail_at, int number, const char *says)
{
    char root[PATH_MAX];
    struct blob_item items[4];
    struct expected expected[KEY_COUNT] = {0};
    folder_new(where(), root);
    power_on(root, 0, 0);
    struct blob *blob = open_power(root, option);
    assert_non_null(blob);
    power_off();
    power_on(root, fail_at, number);
    for (uint32_t i = 0; i < 4; i++)
        items[i] = item_of(i);
    struct error err = {0};
    enum rc rc = blob_put(blob, items, 4, NOON_MS, &err);
    uint32_t calls = power_call_count();
    assert_int_equal(rc, fail_at == 0 || fail_at > calls ? RC_OK : RC_UNAVAILABLE);
    for (uint32_t i = 0; i < 4; i++) {
        expected[i] = (struct expected){items[i].rc == RC_OK ? PRESENT : EITHER, NOON_MS};
        if (items[i].rc != RC_OK && says != NULL && strstr(items[i].err.text, says) == NULL)
            fail_msg("'%s' does not say '%s'", items[i].err.text, says);
    }
    check_found(root, expected);
    assert_int_equal(blob_put(blob, items, 4, NOON_MS + 1, NULL), RC_OK);
    for (uint32_t i = 0; i < 4; i++)
        expected[i] = (struct expected){PRESENT, NOON_MS + 1};
    check_found(root, expected);
    assert_int_equal(folder_hidden_count(root), 0);
    blob_free(blob);
    power_loss(root, fail_at);
    check_found(root, expected); /* also what the second put only renewed */
    folder_remove(root);
    return calls;
}

TEST(one_failing_call_is_told_and_leaves_nothing)
{
    static const struct {
        int number;
        const char *says;
    } failures[] = {{ENOSPC, "the disk is full"},
                    {EIO, "the disk fails"},
                    {EROFS, "read-only"},
                    {EMFILE, "too many open files"},
                    {EACCES, "permission"},
                    {EDQUOT, "quota"},
                    {ESTALE, "/"}};
    static const char *const options[] = {"?sync=all", "?sync=each"};
    draw_pictures();
    for (uint32_t named = 0; named < 2; named++) {
        power_without_tmpfile(named == 1);
        for (uint32_t option = 0; option < 2; option++) {
            uint32_t calls = one_failure(options[option], 0, 0, NULL);
            for (uint32_t at = 1; at <= calls; at++) {
                uint32_t i = at % (sizeof(failures) / sizeof(failures[0]));
                (void)one_failure(options[option], at, failures[i].number, failures[i].says);
            }
        }
    }
    power_without_tmpfile(false);
}

TEST(a_delete_that_failed_is_made_good_by_the_next)
{
    enum rc first = RC_UNAVAILABLE;
    draw_pictures();
    for (uint32_t at = 1; first != RC_OK; at++) {
        struct expected expected[KEY_COUNT] = {0};
        struct blob_item item = item_of(0);
        char root[PATH_MAX];
        folder_new(where(), root);
        power_on(root, 0, 0);
        struct blob *blob = open_power(root, "");
        assert_int_equal(blob_put(blob, &item, 1, NOON_MS, NULL), RC_OK);
        power_off();
        power_on(root, at, EIO);
        first = blob_delete(blob, item.tenant, item.sha256, UINT64_MAX, NULL);
        assert_int_equal(first, at <= power_call_count() ? RC_UNAVAILABLE : RC_OK);
        enum rc second = first;
        if (first != RC_OK)
            second = blob_delete(blob, item.tenant, item.sha256, UINT64_MAX, NULL);
        assert_true(second == RC_OK || second == RC_NOT_FOUND);
        blob_free(blob);
        for (uint64_t seed = 0; seed < 4; seed++) { /* absent whichever way the coins fall */
            char next[PATH_MAX];
            folder_new(where(), next);
            power_rebuild(next, seed);
            check_found(next, expected);
            folder_remove(next);
        }
        power_off();
        folder_remove(root);
    }
}

TEST_MAIN("blob power")
