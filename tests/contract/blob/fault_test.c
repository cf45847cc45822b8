/* SPDX-License-Identifier: Apache-2.0
 * The decorator that fails: what tests of callers rely on. */
#include "blob/fault.h"
#include "check.h"
#include "pictures.h"

#include <limits.h>
#include <stdio.h>

#define COUNT 5u

static char root[PATH_MAX];
static struct picture pictures[COUNT];
static struct blob_item items[COUNT];

static struct blob *open_fault(void)
{
    char url[PATH_MAX + 16];
    struct blob *blob = NULL;
    folder_new(NULL, root);
    (void)snprintf(url, sizeof(url), "fault:file:%s", root);
    assert_int_equal(blob_open(&(struct blob_config){.url = url}, &blob, NULL), RC_OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        picture_draw(i, &pictures[i]);
        items[i] = picture_item("default", &pictures[i]);
    }
    return blob;
}

static bool is_there(struct blob *blob, uint32_t i)
{
    struct blob_info info;
    return blob_stat(blob, "default", pictures[i].sha256, &info, NULL) == RC_OK;
}

TEST(chosen_items_of_a_put_fail_and_the_rest_is_stored)
{
    struct blob *blob = open_fault();
    struct blob_fault fault = {.call = BLOB_PUT, .skip_count = 1, .fail_count = 2, .rc = RC_BUSY};
    blob_fault_set(blob, &fault);
    assert_int_equal(blob_put(blob, items, COUNT, NOON_MS, NULL), RC_BUSY);
    for (uint32_t i = 0; i < COUNT; i++) {
        bool fails = i == 1 || i == 2;
        assert_int_equal(items[i].rc, fails ? RC_BUSY : RC_OK);
        assert_int_equal(is_there(blob, i), !fails);
    }
    assert_int_equal(blob_fault_count(blob), 2);
    assert_int_equal(blob_put(blob, items, COUNT, NOON_MS, NULL), RC_OK);
    assert_true(items[0].existed && !items[1].existed);
    blob_free(blob);
    folder_remove(root);
}

TEST(a_lost_answer_is_a_failure_after_the_work)
{
    struct blob *blob = open_fault();
    struct blob_fault fault = {
        .call = BLOB_PUT, .fail_count = UINT32_MAX, .rc = RC_UNAVAILABLE, .lose_answer = true};
    blob_fault_set(blob, &fault);
    for (int i = 0; i < 2; i++)
        assert_int_equal(blob_put(blob, items, COUNT, NOON_MS, NULL), RC_UNAVAILABLE);
    assert_true(is_there(blob, 0) && is_there(blob, COUNT - 1));
    blob_fault_set(blob, NULL);
    assert_int_equal(blob_put(blob, items, COUNT, NOON_MS, NULL), RC_OK);
    assert_true(items[0].existed);
    fault.call = BLOB_DELETE;
    blob_fault_set(blob, &fault);
    assert_int_equal(blob_delete(blob, "default", pictures[0].sha256, UINT64_MAX, NULL),
                     RC_UNAVAILABLE);
    assert_false(is_there(blob, 0));
    blob_free(blob);
    folder_remove(root);
}

TEST(every_other_call_can_fail_and_sets_nothing)
{
    struct blob *blob = open_fault();
    struct buf into = BUF_INIT(PICTURE_SIZE_MAX);
    struct blob_entry entry;
    struct blob_info info = {.size = 77};
    uint32_t count = 77;
    assert_int_equal(blob_put(blob, items, COUNT, NOON_MS, NULL), RC_OK);
    for (uint32_t lost = 0; lost < 2; lost++) {
        struct blob_fault fault = {
            .call = BLOB_GET, .fail_count = 1, .rc = RC_INTERNAL, .lose_answer = lost == 1};
        blob_fault_set(blob, &fault);
        assert_int_equal(blob_get(blob, "default", pictures[0].sha256, &into, NULL), RC_INTERNAL);
        assert_int_equal(into.size, 0);
        fault.call = BLOB_STAT;
        blob_fault_set(blob, &fault);
        assert_int_equal(blob_stat(blob, "default", pictures[0].sha256, &info, NULL), RC_INTERNAL);
        fault.call = BLOB_LIST;
        blob_fault_set(blob, &fault);
        assert_int_equal(blob_list(blob, "default", NULL, &entry, 1, &count, NULL), RC_INTERNAL);
        assert_int_equal(count, 77);
        assert_int_equal(info.size, 77);
    }
    assert_int_equal(blob_get(blob, "default", pictures[0].sha256, &into, NULL), RC_OK);
    buf_done(&into);
    blob_free(blob);
    folder_remove(root);
}

TEST_MAIN("blob fault")
