/* SPDX-License-Identifier: Apache-2.0
 * Months of accounting against the C library's calendar. */
#include "check.h"
#include "account/quota.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_MS 86400000ull

TEST(every_day_is_in_the_month_the_calendar_says)
{
    for (uint64_t day = 0; day < 2932000; day += day < 60000 ? 1 : 13) {
        time_t seconds = (time_t)(day * 86400);
        struct tm tm;
        assert_non_null(gmtime_r(&seconds, &tm));
        if (tm.tm_year + 1900 > 9999)
            break;
        char right[80];
        char got[MONTH_TEXT_SIZE];
        (void)snprintf(right, sizeof(right), "%04d-%02d", tm.tm_year + 1900, tm.tm_mon + 1);
        month_text(day * DAY_MS + DAY_MS - 1, got);
        assert_string_equal(got, right);
        uint64_t start = 0;
        uint64_t end = 0;
        assert_int_equal(month_parse(got, &start, &end), RC_OK);
        assert_int_equal(start, (day - (uint64_t)tm.tm_mday + 1) * DAY_MS);
        assert_true(start <= day * DAY_MS && day * DAY_MS < end);
        char next[MONTH_TEXT_SIZE];
        month_text(end, next);
        assert_true(strcmp(next, got) > 0 || strcmp(got, "9999-12") == 0);
    }
}

TEST(what_is_not_a_month_is_refused)
{
    static const char *const bad[] = {"",        "2026",    "2026-1",  "2026-00", "2026-13",
                                      "1969-12", "2026_11", "2026-1x", " 026-11", "2026-111"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t start = 5;
        uint64_t end = 6;
        assert_int_equal(month_parse(bad[i], &start, &end), RC_INVALID);
        assert_int_equal(start, 5);
    }
}

TEST(times_past_the_calendar_stay_in_its_last_month)
{
    char text[MONTH_TEXT_SIZE];
    month_text(UINT64_MAX, text);
    assert_string_equal(text, "9999-12");
}

TEST_MAIN("account month")
