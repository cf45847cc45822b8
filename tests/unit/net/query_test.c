/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "net/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct got {
    char text[512];
};

static enum rc note(void *ctx, struct bytes name, struct bytes value, struct error *err)
{
    struct got *got = ctx;
    size_t at = strlen(got->text);
    (void)err;
    (void)snprintf(got->text + at, sizeof(got->text) - at, "%.*s=%.*s|", (int)name.size,
                   (const char *)name.data, (int)value.size, (const char *)value.data);
    return RC_OK;
}

/* "a=b|c=" of a query, or the failure's name. */
static void expect_pairs(const char *query, const char *expected)
{
    struct got got = {""};
    struct error err = {0};
    enum rc rc = query_each(bytes_of(query), 64, note, &got, &err);
    if (rc != RC_OK) {
        assert_int_equal(err.rc, rc);
        strncat(got.text, rc_name(rc), sizeof(got.text) - strlen(got.text) - 1);
    }
    assert_string_equal(got.text, expected);
}

TEST(pairs_come_in_order_and_decoded)
{
    expect_pairs("", "");
    expect_pairs("a=b", "a=b|");
    expect_pairs("a=b&c=d&a=e", "a=b|c=d|a=e|");
    expect_pairs("a", "a=|");
    expect_pairs("a=", "a=|");
    expect_pairs("=b", "=b|");
    expect_pairs("a=b=c", "a=b=c|");
    expect_pairs("&&a=b&&c=d&", "a=b|c=d|");
    expect_pairs("a+b=c+d", "a b=c d|");
    expect_pairs("%61%2b=%26%3D%25", "a+=&=%|");
    expect_pairs("x=%C3%A4%ff", "x=\xc3\xa4\xff|");
}

TEST(broken_escapes_nul_and_long_values_are_invalid)
{
    expect_pairs("a=%", "INVALID");
    expect_pairs("a=%4", "INVALID");
    expect_pairs("a=%4g", "INVALID");
    expect_pairs("a=%g4", "INVALID");
    expect_pairs("a=b&c%=d", "a=b|INVALID");
    expect_pairs("a=%00", "INVALID");
    expect_pairs("a=% 1", "INVALID");
    expect_pairs("a=0123456789012345678901234567890123456789012345678901234567890123456789",
                 "INVALID");
}

TEST(a_path_segment_keeps_its_plus)
{
    struct buf into = BUF_INIT(16);
    assert_int_equal(query_decode_segment(bytes_of("a+b%2Fc"), &into, NULL), RC_OK);
    assert_int_equal(into.size, 5);
    assert_memory_equal(into.data, "a+b/c", 5);
    assert_int_equal(query_decode_segment(bytes_of(""), &into, NULL), RC_OK);
    assert_int_equal(into.size, 0);
    assert_int_equal(query_decode_segment(bytes_of("%00"), &into, NULL), RC_INVALID);
    buf_done(&into);
}

struct raw {
    const uint8_t *data;
    size_t size;
    int count;
};

static enum rc compare(void *ctx, struct bytes name, struct bytes value, struct error *err)
{
    struct raw *raw = ctx;
    (void)err;
    assert_true(bytes_equal(name, bytes_of("k")));
    assert_true(bytes_equal(value, (struct bytes){raw->data, raw->size}));
    raw->count++;
    return RC_OK;
}

static enum rc refuse(void *ctx, struct bytes name, struct bytes value, struct error *err)
{
    (void)name;
    (void)value;
    (void)err;
    ++*(int *)ctx;
    return RC_NOT_FOUND;
}

TEST(a_refusal_ends_the_reading)
{
    int count = 0;
    assert_int_equal(query_each(bytes_of("a=b&c=%"), 64, refuse, &count, NULL), RC_NOT_FOUND);
    assert_int_equal(count, 1);
}

/* What is percent-encoded in full comes back as it was. */
TEST(encoded_random_bytes_come_back)
{
    srand(1);
    for (int round = 0; round < 2000; round++) {
        char query[256] = "";
        uint8_t raw[16];
        size_t size = (size_t)rand() % sizeof(raw), at = 0;
        at += (size_t)snprintf(query, sizeof(query), "k=");
        for (size_t i = 0; i < size; i++) {
            raw[i] = (uint8_t)(1 + rand() % 255);
            at += (size_t)snprintf(query + at, sizeof(query) - at, "%%%02X", raw[i]);
        }
        struct raw expected = {raw, size, 0};
        assert_int_equal(query_each(bytes_of(query), 64, compare, &expected, NULL), RC_OK);
        assert_int_equal(expected.count, 1);
    }
}

TEST_MAIN("net query")
