/* SPDX-License-Identifier: Apache-2.0
 * What the S3 driver does beyond the contract, beside a server that stands in for S3 (S3_ENDPOINT).
 */
#include "check.h"
#include "pictures.h"

#include "base/clock.h"
#include "blob/s3.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1u << 20)

static enum rc open_url(const char *rest, struct blob **ret_blob, struct error *err)
{
    char url[1024];
    const char *endpoint = getenv("S3_ENDPOINT");
    assert_non_null(endpoint);
    (void)snprintf(url, sizeof(url), "s3://%s%sendpoint=%s", rest,
                   strchr(rest, '?') != NULL ? "&" : "?", endpoint);
    return blob_open(&(struct blob_config){.url = url}, ret_blob, err);
}

static struct blob *open_at(const char *rest)
{
    struct blob *blob = NULL;
    struct error err = {0};
    if (open_url(rest, &blob, &err) != RC_OK)
        fail_msg("%s", err.text);
    return blob;
}

/* A picture of `size` bytes. The content is the caller's to free. */
static struct blob_item large(size_t size, uint64_t seed)
{
    uint8_t *content = malloc(size);
    struct blob_item item = {.tenant = "default", .content = {content, size}};
    assert_non_null(content);
    for (size_t i = 0; i < size; i += 4) {
        uint32_t word = random_next(&seed);
        memcpy(content + i, &word, size - i < 4 ? size - i : 4);
    }
    assert_int_equal(EVP_Digest(content, size, item.sha256, NULL, EVP_sha256(), NULL), 1);
    return item;
}

TEST(a_large_picture_goes_in_parts_and_comes_back_whole)
{
    static const size_t sizes[] = {8 * MIB, 8 * MIB + 1, 16 * MIB, 21 * MIB + 12345};
    struct blob *blob = open_at("pictures/large");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct blob_item item = large(sizes[i], i);
        struct buf into = BUF_INIT(BLOB_SIZE_MAX);
        struct blob_info info;
        struct error err = {0};
        if (blob_put(blob, &item, 1, NOON_MS, &err) != RC_OK)
            fail_msg("%s", err.text);
        assert_false(item.existed);
        assert_int_equal(blob_get(blob, "default", item.sha256, &into, &err), RC_OK);
        assert_int_equal(into.size, sizes[i]);
        assert_memory_equal(into.data, item.content.data, into.size);
        assert_int_equal(blob_put(blob, &item, 1, NOON_MS + 5, &err), RC_OK);
        assert_true(item.existed);
        assert_int_equal(blob_stat(blob, "default", item.sha256, &info, &err), RC_OK);
        assert_int_equal(info.size, sizes[i]);
        assert_int_equal(info.renewed_ms, NOON_MS + 5);
        buf_done(&into);
        free((void *)(uintptr_t)item.content.data);
    }
    blob_free(blob);
}

TEST(large_and_small_ones_in_one_group)
{
    struct blob *blob = open_at("pictures/mixed");
    struct picture picture;
    struct blob_item items[4] = {large(9 * MIB, 1), {0}, large(10 * MIB, 2), {0}};
    picture_draw(1, &picture);
    items[1] = picture_item("default", &picture);
    items[3] = items[0];
    struct error err = {0};
    if (blob_put(blob, items, 4, NOON_MS, &err) != RC_OK)
        fail_msg("%s", err.text);
    struct blob_entry entries[4];
    uint32_t count = 0;
    assert_int_equal(blob_list(blob, "default", NULL, entries, 4, &count, &err), RC_OK);
    assert_int_equal(count, 3);
    free((void *)(uintptr_t)items[0].content.data);
    free((void *)(uintptr_t)items[2].content.data);
    blob_free(blob);
}

TEST(what_was_put_under_a_wrong_hash_is_refused)
{
    struct blob *blob = open_at("pictures/wrong");
    struct picture picture;
    struct error err = {0};
    picture_draw(1, &picture);
    struct blob_item item = picture_item("default", &picture);
    item.sha256[0] ^= 1;
    assert_int_equal(blob_put(blob, &item, 1, NOON_MS, &err), RC_UNAVAILABLE);
    assert_int_equal(blob_stat(blob, "default", item.sha256, &(struct blob_info){0}, NULL),
                     RC_NOT_FOUND);
    blob_free(blob);
}

TEST(prefixes_are_apart)
{
    struct blob *all = open_at("pictures");
    struct blob *one = open_at("pictures/apart/one");
    struct blob *two = open_at("pictures/apart/two");
    struct picture picture;
    picture_draw(1, &picture);
    struct blob_item item = picture_item("default", &picture);
    assert_int_equal(blob_put(one, &item, 1, NOON_MS, NULL), RC_OK);
    struct blob_info info;
    assert_int_equal(blob_stat(one, "default", item.sha256, &info, NULL), RC_OK);
    assert_int_equal(blob_stat(two, "default", item.sha256, &info, NULL), RC_NOT_FOUND);
    assert_int_equal(blob_stat(all, "default", item.sha256, &info, NULL), RC_NOT_FOUND);
    blob_free(all);
    blob_free(one);
    blob_free(two);
}

TEST(tenants_come_in_the_order_of_their_names)
{
    static const char *const names[] = {"a", "a-", "a-b", "a-b-c", "a0", "b"};
    struct blob *blob = open_at("pictures/tenants");
    char tenant[BLOB_TENANT_SIZE_MAX + 1] = "";
    struct picture picture;
    picture_draw(1, &picture);
    for (size_t i = 6; i-- > 0;) {
        struct blob_item item = picture_item(names[i], &picture);
        assert_int_equal(blob_put(blob, &item, 1, NOON_MS, NULL), RC_OK);
    }
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(blob_tenant_next(blob, tenant, tenant, NULL), RC_OK);
        assert_string_equal(tenant, names[i]);
    }
    assert_int_equal(blob_tenant_next(blob, tenant, tenant, NULL), RC_NOT_FOUND);
    blob_free(blob);
}

static uint32_t asked_count;

static enum rc nothing_refers(void *ctx, const char *tenant, const uint8_t *sha256,
                              const struct blob_info *info, bool *ret_referenced, struct error *err)
{
    (void)ctx, (void)tenant, (void)sha256, (void)info, (void)err;
    asked_count++;
    *ret_referenced = false;
    return RC_OK;
}

/* The caller's clock is S3's: ages are S3's own times, until the moment of removal. */
TEST(a_sweep_by_the_clock_of_s3)
{
    struct blob *blob = open_at("pictures/clock");
    uint64_t now_ms = clock_wall_ms();
    struct picture old, young;
    picture_draw(1, &old);
    picture_draw(2, &young);
    struct blob_item items[2] = {picture_item("default", &old), picture_item("default", &young)};
    assert_int_equal(blob_put(blob, &items[0], 1, now_ms, NULL), RC_OK);
    assert_int_equal(blob_put(blob, &items[1], 1, now_ms + HOUR_MS, NULL), RC_OK);
    asked_count = 0;
    struct blob_sweep sweep = {.older_than_ms = HOUR_MS, .is_referenced = nothing_refers};
    assert_int_equal(blob_sweep(blob, &sweep, now_ms, NULL), RC_OK);
    assert_int_equal(sweep.visited_count, 2);
    assert_int_equal(asked_count, 0);
    sweep = (struct blob_sweep){.older_than_ms = 0, .is_referenced = nothing_refers};
    assert_int_equal(blob_sweep(blob, &sweep, now_ms + 60000, NULL), RC_OK);
    assert_true(sweep.done);
    assert_int_equal(asked_count, 2);
    assert_int_equal(sweep.removed_count, 1); /* the other one's age is not what S3 thinks */
    struct blob_info info;
    assert_int_equal(blob_stat(blob, "default", young.sha256, &info, NULL), RC_OK);
    assert_int_equal(blob_stat(blob, "default", old.sha256, &info, NULL), RC_NOT_FOUND);
    blob_free(blob);
}

TEST(nothing_is_in_an_archive_here)
{
    struct blob *blob = open_at("pictures/archive");
    struct picture picture;
    const struct blob_restore restore = {.days = 1};
    enum blob_presence presence = BLOB_RESTORED;
    picture_draw(1, &picture);
    struct blob_item item = picture_item("default", &picture);
    assert_int_equal(blob_restore(blob, "default", item.sha256, &restore, &presence, NULL),
                     RC_NOT_FOUND);
    assert_int_equal(blob_put(blob, &item, 1, NOON_MS, NULL), RC_OK);
    assert_int_equal(blob_restore(blob, "default", item.sha256, &restore, &presence, NULL), RC_OK);
    assert_int_equal(presence, BLOB_AT_HAND);
    blob_free(blob);
}

TEST(what_is_wrong_is_said_at_once)
{
    struct blob *blob = NULL;
    struct error err = {0};
    char *secret = strdup(getenv("AWS_SECRET_ACCESS_KEY"));
    assert_int_equal(open_url("no-such-bucket/x", &blob, &err), RC_UNAVAILABLE);
    assert_non_null(strstr(err.text, "no such bucket"));
    (void)setenv("AWS_SECRET_ACCESS_KEY", "another-secret", 1);
    assert_int_equal(open_url("pictures/x", &blob, &err), RC_UNAVAILABLE);
    assert_non_null(strstr(err.text, "SignatureDoesNotMatch"));
    assert_null(strstr(err.text, "another-secret"));
    (void)unsetenv("AWS_SECRET_ACCESS_KEY");
    assert_int_equal(open_url("pictures/x", &blob, &err), RC_INVALID);
    char *access = strdup(getenv("AWS_ACCESS_KEY_ID"));
    (void)unsetenv("AWS_ACCESS_KEY_ID");
    assert_int_equal(open_url("pictures/x", &blob, &err), RC_UNAUTHENTICATED);
    (void)setenv("AWS_ACCESS_KEY_ID", "AKIDNOBODY", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", secret, 1);
    assert_int_equal(open_url("pictures/x", &blob, &err), RC_UNAVAILABLE);
    assert_null(strstr(err.text, secret));
    (void)setenv("AWS_ACCESS_KEY_ID", access, 1);
    assert_null(blob);
    free(access);
    free(secret);
}

TEST(urls_that_make_no_sense_are_refused)
{
    static const char *const bad[] = {"s3:",
                                      "s3:pictures",
                                      "s3://",
                                      "s3://ab",
                                      "s3://Capital",
                                      "s3://-pictures",
                                      "s3://pictures/a//b",
                                      "s3://pictures//a",
                                      "s3://pictures/../a",
                                      "s3://pictures/a b",
                                      "s3://pictures/%41",
                                      "s3://pictures?retries=3",
                                      "s3://pictures?sse=none",
                                      "s3://pictures?kms-key=abc",
                                      "s3://pictures?storage-class=GLACIER",
                                      "s3://pictures?region=a/b",
                                      "s3://pictures?region=",
                                      "s3://pictures?endpoint=ftp://a",
                                      "s3://pictures?endpoint=http://a/b",
                                      "s3://pictures?endpoint=http://user:word@a"};
    struct blob *blob = NULL;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {0};
        if (blob_open(&(struct blob_config){.url = bad[i]}, &blob, &err) != RC_INVALID)
            fail_msg("%s: %s", bad[i], err.text);
        assert_null(blob);
    }
}

TEST(where_a_bucket_is)
{
    static const struct {
        const char *url;
        const char *origin;
        const char *path_start;
        const char *prefix;
    } all[] = {
        {"//my-pictures/imago", "https://my-pictures.s3.eu-central-1.amazonaws.com", "", "imago/"},
        {"//my-pictures?region=us-east-1", "https://my-pictures.s3.us-east-1.amazonaws.com", "",
         ""},
        {"//my-pictures/a/b/?region=cn-north-1",
         "https://my-pictures.s3.cn-north-1.amazonaws.com.cn", "", "a/b/"},
        /* A certificate for *.s3.region covers no more dots. */
        {"//my.pictures", "https://s3.eu-central-1.amazonaws.com", "/my.pictures", ""},
        {"//my-pictures?endpoint=https://store.example.com:9000/", "https://store.example.com:9000",
         "/my-pictures", ""},
        {"//my-pictures?endpoint=https%3A%2F%2Fstore.example.com", "https://store.example.com",
         "/my-pictures", ""},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct s3_place place;
        struct error err = {0};
        char origin[S3_ORIGIN_SIZE], path_start[S3_BUCKET_SIZE + 2];
        if (s3_place_read(all[i].url, &place, &err) != RC_OK)
            fail_msg("%s: %s", all[i].url, err.text);
        s3_place_origin(&place, origin, path_start);
        assert_string_equal(origin, all[i].origin);
        assert_string_equal(path_start, all[i].path_start);
        assert_string_equal(place.prefix, all[i].prefix);
    }
    (void)setenv("AWS_ENDPOINT_URL", "http://everything.example.com", 1);
    struct s3_place place;
    assert_int_equal(s3_place_read("//my-pictures", &place, NULL), RC_OK);
    assert_string_equal(place.endpoint, "http://everything.example.com");
    (void)setenv("AWS_ENDPOINT_URL_S3", "http://s3.example.com", 1);
    assert_int_equal(s3_place_read("//my-pictures", &place, NULL), RC_OK);
    assert_string_equal(place.endpoint, "http://s3.example.com");
    (void)unsetenv("AWS_ENDPOINT_URL");
    (void)unsetenv("AWS_ENDPOINT_URL_S3");
}

/* Nothing listens on port 1: the start goes on, since S3 may come back; a put says why it failed.
 */
TEST(a_service_that_does_not_answer_is_unavailable)
{
    struct blob *blob = NULL;
    struct picture picture;
    struct error err = {0};
    assert_int_equal(
        blob_open(&(struct blob_config){.url = "s3://pictures/x?endpoint=http://127.0.0.1:1"},
                  &blob, &err),
        RC_OK);
    picture_draw(1, &picture);
    struct blob_item item = picture_item("default", &picture);
    assert_int_equal(blob_put(blob, &item, 1, NOON_MS, &err), RC_UNAVAILABLE);
    assert_non_null(strstr(err.text, "127.0.0.1"));
    struct buf into = BUF_INIT(100);
    assert_int_equal(blob_get(blob, "default", item.sha256, &into, &err), RC_UNAVAILABLE);
    buf_done(&into);
    blob_free(blob);
}

TEST_MAIN("blob s3")
