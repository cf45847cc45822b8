/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/id.h"
#include "check.h"

#include <stdio.h>
#include <string.h>

TEST(every_failure_has_a_status_an_exit_code_and_a_slug)
{
    for (enum rc rc = RC_OK + 1; rc < RC_COUNT; rc++) {
        assert_in_range(rc_http_status(rc), 400, 599);
        assert_in_range(rc_exit_status(rc), 1, 127);
        assert_int_equal(strlen(rc_slug(rc)), strlen(rc_name(rc)));
        assert_null(strchr(rc_slug(rc), '_'));
        assert_true(strlen(rc_text(rc)) > 0);
    }
    assert_string_equal(rc_slug(RC_BAD_IMAGE), "bad-image");
    assert_int_equal(rc_exit_status(RC_OK), 0);
}

TEST(a_long_error_text_is_cut_and_ended)
{
    struct error err = {0};
    char text[1000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(error_set(&err, RC_BUSY, "%s", text), RC_BUSY);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_string_equal(err.where, __func__);
    assert_int_equal(error_set(NULL, RC_BUSY, "nobody listens"), RC_BUSY);
}

TEST(a_buffer_grows_to_its_cap_and_never_over_it)
{
    struct buf buf = BUF_INIT(1000);
    size_t wanted = 0;
    for (size_t size = 0; size < 45; size++) {
        uint8_t more[64];
        memset(more, (int)size, sizeof(more));
        enum rc rc = buf_append(&buf, (struct bytes){more, size});
        assert_int_equal(rc, wanted + size <= 1000 ? RC_OK : RC_TOO_LARGE);
        if (rc == RC_OK)
            wanted += size;
        assert_int_equal(buf.size, wanted);
        assert_true(buf.room <= 1000);
    }
    assert_int_equal(buf_append(&buf, (struct bytes){buf.data, 1001}), RC_TOO_LARGE);
    buf_done(&buf);
    assert_int_equal(buf.size_max, 1000);
    assert_null(buf.data);
}

TEST(printing_into_a_buffer_stops_at_the_cap)
{
    struct buf buf = BUF_INIT(8);
    assert_int_equal(buf_printf(&buf, "%d", 1234), RC_OK);
    assert_int_equal(buf_printf(&buf, "%d", 56789), RC_TOO_LARGE);
    assert_int_equal(buf.size, 4);
    assert_memory_equal(buf.data, "1234", 4);
    buf_done(&buf);
}

TEST(bytes_compare_with_and_without_case)
{
    assert_true(bytes_equal(bytes_of("abc"), bytes_of("abc")));
    assert_false(bytes_equal(bytes_of("abc"), bytes_of("abd")));
    assert_false(bytes_equal(bytes_of("abc"), bytes_of("ab")));
    assert_true(bytes_equal_nocase(bytes_of("Content-Type"), bytes_of("content-type")));
    assert_true(bytes_equal((struct bytes){0}, bytes_of("")));
}

TEST(an_id_is_a_uuid_of_version_7_with_its_time_in_front)
{
    char text[ID_TEXT_SIZE];
    struct id id = id_new(0x0199aabbccddull);
    id_text(id, text);
    assert_int_equal(strlen(text), 36);
    assert_memory_equal(text, "0199aabb-ccdd-7", 15);
    assert_non_null(strchr("89ab", text[19]));
    struct id again;
    assert_int_equal(id_parse(bytes_of(text), &again), RC_OK);
    assert_memory_equal(&again, &id, sizeof(id));
}

TEST(ids_are_distinct_and_derive_one_to_one)
{
    struct id request = id_new(clock_wall_ms());
    struct id other = id_new(clock_wall_ms());
    assert_memory_not_equal(&request, &other, sizeof(request));
    struct id first = id_derive(request, 0);
    assert_memory_equal(&first, &request, sizeof(request));
    for (uint32_t i = 1; i < 300; i++) {
        struct id derived = id_derive(request, i);
        struct id before = id_derive(request, i - 1);
        assert_memory_not_equal(&derived, &before, sizeof(derived));
        struct id same = id_derive(request, i);
        assert_memory_equal(&derived, &same, sizeof(derived));
    }
}

TEST(what_is_no_id_is_refused)
{
    static const char *const wrong[] = {"",
                                        "0199aabb-ccdd-7000-8000-00000000000",
                                        "0199aabb-ccdd-7000-8000-0000000000000",
                                        "0199AABB-ccdd-7000-8000-000000000000",
                                        "0199aabbxccdd-7000-8000-000000000000",
                                        "g199aabb-ccdd-7000-8000-000000000000"};
    struct id id;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(id_parse(bytes_of(wrong[i]), &id), RC_INVALID);
}

TEST(times_are_written_as_rfc_3339)
{
    char text[CLOCK_TEXT_SIZE];
    clock_wall_text(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_wall_text(1795491000123ull, text);
    assert_string_equal(text, "2026-11-24T03:30:00.123Z");
    clock_wall_text(UINT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

TEST_MAIN("base")
