/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/accounts.h"
#include "cli/cli.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE_MAX (64u * 1024)
#define MS_PER_S      1000ull

enum accounts_form accounts_form_choose(const char *format)
{
    if (strcmp(format, "auto") == 0)
        return isatty(STDOUT_FILENO) ? ACCOUNTS_TABLE : ACCOUNTS_JSON;
    return strcmp(format, "table") == 0 ? ACCOUNTS_TABLE : ACCOUNTS_JSON;
}

bool accounts_is_given(const struct config *config, const char *field)
{
    for (size_t i = 0; i < config->count; i++)
        if (strcmp(config->rows[i].field, field) == 0)
            return config->sources[i] == SOURCE_FLAG;
    return false;
}

enum rc accounts_limits_apply(const struct config *config, const struct accounts_limits *limits,
                              struct limits_rule *rule, bool *ret_given, struct error *err)
{
    if (limits->window % MS_PER_S != 0)
        return error_set(err, RC_INVALID, "--window is in whole seconds");
    *ret_given = false;
    for (size_t i = 0; i < config->count; i++)
        if (strcmp(config->rows[i].group, "Limits") == 0 && config->sources[i] == SOURCE_FLAG)
            *ret_given = true;
    if (accounts_is_given(config, "requests"))
        rule->requests = limits->requests;
    if (accounts_is_given(config, "window"))
        rule->window_s = (uint32_t)(limits->window / MS_PER_S);
    if (accounts_is_given(config, "burst"))
        rule->burst = limits->burst;
    if (accounts_is_given(config, "concurrent"))
        rule->concurrent = limits->concurrent;
    if (accounts_is_given(config, "bytes_per_day"))
        rule->bytes_per_day = limits->bytes_per_day;
    if (accounts_is_given(config, "images_per_day"))
        rule->images_per_day = limits->images_per_day;
    return RC_OK;
}

static bool parse_span(const char *text, uint64_t *ret_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {
        {"s", MS_PER_S}, {"m", 60 * MS_PER_S}, {"h", 3600 * MS_PER_S}, {"d", 86400 * MS_PER_S}};
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (end == text || text[0] < '0' || text[0] > '9' || errno != 0)
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(end, units[i].unit) == 0)
            return !__builtin_mul_overflow(number, units[i].ms, ret_ms);
    return false;
}

static bool parse_time(const char *text, uint64_t *ret_ms)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%d", &tm);
    if (end != NULL && end[0] != '\0')
        end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (end == NULL || end[0] != '\0')
        return false;
    struct tm asked = tm;
    time_t seconds = timegm(&tm);
    /* timegm() takes the 31st of February. */
    if (seconds < 0 || tm.tm_mday != asked.tm_mday || tm.tm_mon != asked.tm_mon)
        return false;
    *ret_ms = (uint64_t)seconds * MS_PER_S;
    return true;
}

enum rc accounts_when(const char *text, uint64_t now_ms, uint64_t *ret_ms, struct error *err)
{
    uint64_t span_ms = 0;
    if (strcmp(text, "never") == 0) {
        *ret_ms = 0;
        return RC_OK;
    }
    if (parse_span(text, &span_ms)) {
        if (__builtin_add_overflow(now_ms, span_ms, ret_ms))
            *ret_ms = UINT64_MAX;
        return RC_OK;
    }
    if (parse_time(text, ret_ms))
        return RC_OK;
    return error_set(err, RC_INVALID,
                     "'%.60s' is no time: write never, 90d, 12h, 30m, or 2027-01-31T12:00:00Z",
                     text);
}

void accounts_time_text(uint64_t ms, char into[ACCOUNTS_TIME_SIZE])
{
    char whole[CLOCK_TEXT_SIZE];
    clock_wall_text(ms, whole);
    if (ms == 0)
        (void)snprintf(into, ACCOUNTS_TIME_SIZE, "-");
    else
        (void)snprintf(into, ACCOUNTS_TIME_SIZE, "%.19sZ", whole);
}

json_t *accounts_time_json(uint64_t ms)
{
    char text[CLOCK_TEXT_SIZE];
    clock_wall_text(ms, text);
    return ms == 0 ? json_null() : json_string(text);
}

static void add(char into[ACCOUNTS_LIMITS_SIZE], const char *text)
{
    size_t used = strlen(into);
    (void)snprintf(into + used, ACCOUNTS_LIMITS_SIZE - used, "%s%s", used > 0 ? ", " : "", text);
}

void accounts_limits_text(const struct limits_rule *rule, char into[ACCOUNTS_LIMITS_SIZE])
{
    char part[80];
    into[0] = '\0';
    if (rule->requests > 0) {
        uint32_t window_s = rule->window_s == 0 ? 1 : rule->window_s;
        char window[16] = "";
        if (window_s > 1)
            (void)snprintf(window, sizeof(window), "%u ", window_s);
        (void)snprintf(part, sizeof(part), "%u/%ss", rule->requests, window);
        add(into, part);
    }
    if (rule->requests > 0 && rule->burst > 0) {
        (void)snprintf(part, sizeof(part), "burst %u", rule->burst);
        add(into, part);
    }
    if (rule->concurrent > 0) {
        (void)snprintf(part, sizeof(part), "%u at a time", rule->concurrent);
        add(into, part);
    }
    if (rule->bytes_per_day > 0) {
        (void)snprintf(part, sizeof(part), "%" PRIu64 " bytes a day", rule->bytes_per_day);
        add(into, part);
    }
    if (rule->images_per_day > 0) {
        (void)snprintf(part, sizeof(part), "%" PRIu64 " images a day", rule->images_per_day);
        add(into, part);
    }
    if (into[0] == '\0')
        add(into, "-");
}

json_t *accounts_limits_json(const struct limits_rule *rule)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "requests", (json_int_t)rule->requests,
                     "window_s", (json_int_t)(rule->window_s == 0 ? 1 : rule->window_s), "burst",
                     (json_int_t)(rule->burst == 0 ? rule->requests : rule->burst), "concurrent",
                     (json_int_t)rule->concurrent, "bytes_per_day", (json_int_t)rule->bytes_per_day,
                     "images_per_day", (json_int_t)rule->images_per_day);
}

enum rc accounts_print_json(json_t *value, struct error *err)
{
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT) : NULL;
    json_decref(value);
    if (text == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory to print");
    bool wrote = puts(text) >= 0 && fflush(stdout) == 0;
    free(text);
    return cli_wrote(wrote, err);
}
