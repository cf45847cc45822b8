/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "net/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "a=b|c=" of a query, or the failure's name. */
static void expect_pairs(const char *query, const char *expected)
{
    struct bytes rest = bytes_of(query);
    struct buf name = BUF_INIT(64), value = BUF_INIT(64);
    char got[512] = "";
    bool found = true;
    while (found) {
        struct error err = {0};
        enum rc rc = query_next(&rest, &name, &value, &found, &err);
        size_t at = strlen(got);
        if (rc != RC_OK) {
            assert_int_equal(err.rc, rc);
            assert_false(found);
            (void)snprintf(got + at, sizeof(got) - at, "%s", rc_name(rc));
            break;
        }
        if (found)
            (void)snprintf(got + at, sizeof(got) - at, "%.*s=%.*s|", (int)name.size,
                           (const char *)name.data, (int)value.size, (const char *)value.data);
    }
    assert_string_equal(got, expected);
    buf_done(&name);
    buf_done(&value);
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
        struct bytes rest = bytes_of(query);
        struct buf name = BUF_INIT(64), value = BUF_INIT(64);
        bool found;
        assert_int_equal(query_next(&rest, &name, &value, &found, NULL), RC_OK);
        assert_true(found && rest.size == 0 && value.size == size);
        assert_true(size == 0 || memcmp(value.data, raw, size) == 0);
        buf_done(&name);
        buf_done(&value);
    }
}

TEST_MAIN("net query")
