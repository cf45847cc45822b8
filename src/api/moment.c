/* SPDX-License-Identifier: Apache-2.0 */
#include "api/moment.h"

#include "base/clock.h"

#include <string.h>

/* The number in `count` digits at the front of `*text`; -1 if they are not digits. */
static int take_number(struct bytes *text, size_t count)
{
    int number = 0;
    if (text->size < count)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (text->data[i] < '0' || text->data[i] > '9')
            return -1;
        number = number * 10 + (text->data[i] - '0');
    }
    *text = (struct bytes){text->data + count, text->size - count};
    return number;
}

static bool take_one_of(struct bytes *text, const char *wanted, char *ret_found)
{
    if (text->size == 0 || text->data[0] == '\0' || strchr(wanted, text->data[0]) == NULL)
        return false;
    *ret_found = (char)text->data[0];
    *text = (struct bytes){text->data + 1, text->size - 1};
    return true;
}

/* Days since 1970 in the Gregorian calendar: years begin in March, so that a leap day is the last
 * of its year. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + of_year - 719468;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool take_date(struct bytes *text, int64_t *ret_day)
{
    char dash;
    int year = take_number(text, 4);
    if (year < 1 || !take_one_of(text, "-", &dash))
        return false;
    int month = take_number(text, 2);
    if (month < 1 || month > 12 || !take_one_of(text, "-", &dash))
        return false;
    int day = take_number(text, 2);
    if (day < 1 || day > days_in(year, month))
        return false;
    *ret_day = days_of(year, month, day);
    return true;
}

/* Digits after the point beyond the third are dropped. */
static bool take_fraction(struct bytes *text, int64_t *ret_ms)
{
    static const int64_t weights[] = {100, 10, 1};
    char point;
    *ret_ms = 0;
    if (!take_one_of(text, ".", &point))
        return true;
    int digit = take_number(text, 1);
    if (digit < 0)
        return false;
    for (size_t i = 0; digit >= 0; i++, digit = take_number(text, 1))
        if (i < sizeof(weights) / sizeof(weights[0]))
            *ret_ms += digit * weights[i];
    return true;
}

static bool take_offset(struct bytes *text, int64_t *ret_minutes)
{
    char sign;
    *ret_minutes = 0;
    if (take_one_of(text, "Zz", &sign))
        return true;
    if (!take_one_of(text, "+-", &sign))
        return false;
    char colon;
    int hours = take_number(text, 2);
    if (hours < 0 || hours > 23 || !take_one_of(text, ":", &colon))
        return false;
    int minutes = take_number(text, 2);
    if (minutes < 0 || minutes > 59)
        return false;
    *ret_minutes = (sign == '-' ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

static bool take_time(struct bytes *text, int64_t *ret_ms)
{
    char mark;
    int hours = take_number(text, 2);
    if (hours < 0 || hours > 23 || !take_one_of(text, ":", &mark))
        return false;
    int minutes = take_number(text, 2);
    if (minutes < 0 || minutes > 59 || !take_one_of(text, ":", &mark))
        return false;
    int seconds = take_number(text, 2); /* 60: a leap second is the next minute's first */
    int64_t ms = 0;
    int64_t offset = 0;
    if (seconds < 0 || seconds > 60 || !take_fraction(text, &ms) || !take_offset(text, &offset))
        return false;
    *ret_ms = ((hours * 60 + minutes - offset) * 60 + seconds) * 1000 + ms;
    return true;
}

static int shown(struct bytes text) { return (int)(text.size < 40 ? text.size : 40); }

enum rc moment_read(const char *name, struct bytes text, uint64_t *ret_ms, struct error *err)
{
    struct bytes rest = text;
    int64_t day = 0;
    int64_t ms = 0;
    char mark;
    if (!take_date(&rest, &day) || !take_one_of(&rest, "Tt", &mark) || !take_time(&rest, &ms) ||
        rest.size > 0)
        return error_set(err, RC_INVALID,
                         "%s is '%.*s'; it must be a time like 2026-11-24T03:30:00Z (RFC 3339; in "
                         "a URL, write '+' as %%2B)",
                         name, shown(text), (const char *)text.data);
    ms += day * (int64_t)MS_PER_DAY;
    if (ms < 0)
        return error_set(err, RC_INVALID, "%s is '%.*s', before 1970", name, shown(text),
                         (const char *)text.data);
    *ret_ms = (uint64_t)ms;
    return RC_OK;
}

enum rc day_read(const char *name, struct bytes text, uint32_t *ret_day, struct error *err)
{
    struct bytes rest = text;
    int64_t day = 0;
    if (!take_date(&rest, &day) || rest.size > 0)
        return error_set(err, RC_INVALID, "%s is '%.*s'; it must be a day like 2026-11-24", name,
                         shown(text), (const char *)text.data);
    if (day < 0)
        return error_set(err, RC_INVALID, "%s is '%.*s', before 1970", name, shown(text),
                         (const char *)text.data);
    *ret_day = (uint32_t)day;
    return RC_OK;
}

void day_text(uint32_t day, char into[DAY_TEXT_SIZE])
{
    char text[CLOCK_TEXT_SIZE];
    clock_wall_text(day * MS_PER_DAY, text);
    memcpy(into, text, DAY_TEXT_SIZE - 1);
    into[DAY_TEXT_SIZE - 1] = '\0';
}
