/* SPDX-License-Identifier: Apache-2.0 */
#include "config/value.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *suffix;
    uint64_t factor;
};
/* Largest first: printing takes the first that divides the value. */
static const struct unit size_units[] = {
    {"Gi", 1ull << 30}, {"G", 1000000000}, {"Mi", 1ull << 20}, {"M", 1000000}, {"Ki", 1ull << 10},
    {"k", 1000},        {"", 1},
};
static const struct unit time_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const struct unit *units_of(const struct option *row, size_t *ret_count)
{
    *ret_count = row->type == OPTION_SIZE ? LENGTH(size_units) : LENGTH(time_units);
    return row->type == OPTION_SIZE ? size_units : time_units;
}

static enum rc parse_number(const char *text, const char **ret_end, uint64_t *ret_number)
{
    if (!isdigit((unsigned char)text[0]))
        return RC_INVALID;
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0)
        return RC_INVALID;
    *ret_end = end;
    *ret_number = number;
    return RC_OK;
}

static enum rc parse_units(const struct option *row, const char *text, uint64_t *ret_number)
{
    const char *end = NULL;
    if (parse_number(text, &end, ret_number) != RC_OK)
        return RC_INVALID;
    size_t count = 0;
    const struct unit *units = units_of(row, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(end, units[i].suffix) == 0)
            return __builtin_mul_overflow(*ret_number, units[i].factor, ret_number) ? RC_INVALID
                                                                                    : RC_OK;
    return RC_INVALID;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t size = strlen(text);
    for (const char *at = choices; *at != '\0';) {
        size_t length = strcspn(at, "|");
        if (length == size && strncmp(at, text, size) == 0)
            return true;
        at += length + (at[length] == '|');
    }
    return false;
}

static enum rc parse_text(const struct option *row, const char *text, void *into, char **ret_copy,
                          char *why, size_t why_size)
{
    if (strchr(row->shape, '|') != NULL && !is_choice(row->shape, text)) {
        (void)snprintf(why, why_size, "is none of %s", row->shape);
        return RC_INVALID;
    }
    *ret_copy = strdup(text);
    *(const char **)into = *ret_copy;
    return *ret_copy != NULL ? RC_OK : RC_NO_MEMORY;
}

static enum rc parse_real(const struct option *row, const char *text, void *into, char *why,
                          size_t why_size)
{
    char *end = NULL;
    double real = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(real) || real < (double)row->min ||
        real > (double)row->max) {
        (void)snprintf(why, why_size, "is not a number from %llu to %llu",
                       (unsigned long long)row->min, (unsigned long long)row->max);
        return RC_INVALID;
    }
    *(double *)into = real;
    return RC_OK;
}

static void out_of_range(const struct option *row, char *why, size_t why_size)
{
    char low[32];
    char high[32];
    uint32_t small[2] = {(uint32_t)row->min, (uint32_t)row->max};
    bool wide = row->type == OPTION_SIZE;
    option_value_text(row, wide ? (const void *)&row->min : &small[0], low, sizeof(low));
    option_value_text(row, wide ? (const void *)&row->max : &small[1], high, sizeof(high));
    static const char *const forms[] = {
        [OPTION_COUNT] = "a whole number",
        [OPTION_SIZE] = "a size such as 64Ki or 20M",
        [OPTION_DURATION] = "a time with its unit, such as 250ms or 10s,",
    };
    (void)snprintf(why, why_size, "is not %s from %s to %s", forms[row->type], low, high);
}

enum rc option_value_parse(const struct option *row, const char *text, void *into, char **ret_copy,
                           char *why, size_t why_size)
{
    uint64_t number = 0;
    const char *end = "";
    enum rc rc = RC_OK;
    switch (row->type) {
    case OPTION_TEXT:
        return parse_text(row, text, into, ret_copy, why, why_size);
    case OPTION_REAL:
        return parse_real(row, text, into, why, why_size);
    case OPTION_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            (void)snprintf(why, why_size, "is neither true nor false");
            return RC_INVALID;
        }
        *(bool *)into = text[0] == 't';
        return RC_OK;
    case OPTION_COUNT:
        rc = parse_number(text, &end, &number);
        break;
    case OPTION_SIZE:
    case OPTION_DURATION:
        rc = parse_units(row, text, &number);
        break;
    }
    if (rc != RC_OK || *end != '\0' || number < row->min || number > row->max) {
        out_of_range(row, why, why_size);
        return RC_INVALID;
    }
    if (row->type == OPTION_SIZE)
        *(uint64_t *)into = number;
    else
        *(uint32_t *)into = (uint32_t)number;
    return RC_OK;
}

void option_value_text(const struct option *row, const void *value, char *into, size_t size)
{
    switch (row->type) {
    case OPTION_TEXT:
        (void)snprintf(into, size, "%s", *(const char *const *)value);
        return;
    case OPTION_BOOL:
        (void)snprintf(into, size, "%s", *(const bool *)value ? "true" : "false");
        return;
    case OPTION_REAL:
        (void)snprintf(into, size, "%g", *(const double *)value);
        return;
    case OPTION_COUNT:
        (void)snprintf(into, size, "%u", *(const uint32_t *)value);
        return;
    case OPTION_SIZE:
    case OPTION_DURATION:
        break;
    }
    uint64_t number =
        row->type == OPTION_SIZE ? *(const uint64_t *)value : *(const uint32_t *)value;
    size_t count = 0;
    const struct unit *units = units_of(row, &count);
    size_t i = 0;
    while (number == 0 ? units[i].factor != (row->type == OPTION_SIZE ? 1 : 1000)
                       : number % units[i].factor != 0)
        i++;
    (void)snprintf(into, size, "%llu%s", (unsigned long long)(number / units[i].factor),
                   units[i].suffix);
}

void option_flag(const struct option *row, char *into, size_t size)
{
    (void)snprintf(into, size, "--%s", row->field);
    for (char *at = into; *at != '\0'; at++)
        if (*at == '_')
            *at = '-';
}

void option_variable(const struct option *row, char *into, size_t size)
{
    (void)snprintf(into, size, "IMAGO_%s", row->field);
    for (char *at = into; *at != '\0'; at++)
        *at = (char)toupper((unsigned char)*at);
}
