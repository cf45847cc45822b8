/* SPDX-License-Identifier: Apache-2.0
 * usage.c - GET /v1/usage: what was billed and what it costs, summed by day, model, version and
 * key. */
#include "api/usage.h"

#include "api/moment.h"
#include "base/clock.h"
#include "net/query.h"

#include <string.h>

#define ANSWER_SIZE_MAX (16u << 20)
#define ROW_COUNT_MAX   10000u
#define QUERY_SIZE_MAX  (1u << 20)

struct usage {
    bool has_from;
    bool has_to;
    bool has_month;
    struct usage_question question;
};

static enum rc set_member(void *ctx, struct bytes name, struct bytes value, struct error *err)
{
    struct usage *usage = ctx;
    if (bytes_equal(name, bytes_of("from"))) {
        usage->has_from = true;
        return day_read("from", value, &usage->question.from_day, err);
    }
    if (bytes_equal(name, bytes_of("to"))) {
        usage->has_to = true;
        return day_read("to", value, &usage->question.to_day, err);
    }
    if (bytes_equal(name, bytes_of("month"))) {
        char text[MONTH_TEXT_SIZE];
        uint64_t start_ms = 0;
        uint64_t end_ms = 0;
        enum rc rc = usage_month_read(value, text, &start_ms, &end_ms, err);
        usage->has_month = true;
        usage->question.from_day = (uint32_t)(start_ms / MS_PER_DAY);
        usage->question.to_day = (uint32_t)(end_ms / MS_PER_DAY);
        return rc;
    }
    if (bytes_equal(name, bytes_of("group")))
        return usage_group_read(value, &usage->question.group, err);
    return error_set(err, RC_INVALID,
                     "there is no parameter '%.*s'; there are from, to, month and group",
                     (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
}

static enum rc read_query(struct usage *usage, struct bytes rest, struct error *err)
{
    enum rc rc = query_each(rest, QUERY_SIZE_MAX, set_member, usage, err);
    if (rc != RC_OK)
        return rc;
    if (usage->has_month)
        return usage->has_from || usage->has_to
                   ? error_set(err, RC_INVALID, "give month, or from and to; not both")
                   : RC_OK;
    if (!usage->has_to)
        usage->question.to_day = (uint32_t)(clock_wall_ms() / MS_PER_DAY) + 1;
    if (!usage->has_from)
        usage->question.from_day = usage->question.to_day > 30 ? usage->question.to_day - 30 : 0;
    if (usage->question.from_day > usage->question.to_day)
        return error_set(err, RC_INVALID, "from is after to; to is the day after the last one");
    return RC_OK;
}

static void usage_get(struct exchange *exchange)
{
    struct error err = {0};
    struct bill_source source = usage_source(exchange);
    struct buf body = BUF_INIT(ANSWER_SIZE_MAX);
    struct usage usage = {.question = {.group = RESULTS_BY_DAY,
                                       .row_max = ROW_COUNT_MAX,
                                       .format = exchange->format,
                                       .now_ms = clock_wall_ms()}};
    enum rc rc = read_query(&usage, http_query(exchange->http), &err);
    if (rc == RC_OK)
        rc = usage_print(&source, &usage.question, &body, &err);
    exchange_answer_store(exchange, rc, 200, answer_media_type(exchange->format), &body, &err);
}

void route_usage(struct exchange *exchange)
{
    struct error err = {0};
    enum rc rc = answer_choose(http_header(exchange->http, "accept"), &exchange->format, &err);
    if (rc == RC_OK)
        exchange_push_store(exchange, usage_get);
    else
        exchange_fail(exchange, rc, &err);
}
