/* SPDX-License-Identifier: Apache-2.0
 * usage.c - GET /v1/usage: what was billed, summed by day, model, version and key. */
#include "api/exchange.h"

#include "api/moment.h"
#include "base/clock.h"
#include "net/query.h"

#include <string.h>

#define ANSWER_SIZE_MAX (16u << 20)
#define ROW_COUNT_MAX   10000u
#define QUERY_SIZE_MAX  (1u << 20)

/* In the order of the columns. */
static const struct {
    const char *name;
    uint32_t bit;
} groups[] = {
    {"day", RESULTS_BY_DAY},
    {"model", RESULTS_BY_MODEL},
    {"version", RESULTS_BY_VERSION},
    {"key", RESULTS_BY_KEY},
};
#define GROUP_COUNT (sizeof(groups) / sizeof(groups[0]))

struct usage {
    bool has_from;
    bool has_to;
    uint32_t from_day;
    uint32_t to_day; /* not in it */
    uint32_t group;
    enum answer_format format;
    struct buf rows;
    uint32_t row_count;
    uint64_t requests;
    uint64_t images;
    struct error *err;
};

static enum rc read_group(struct bytes text, uint32_t *ret_group, struct error *err)
{
    uint32_t group = 0;
    while (text.size > 0) {
        const uint8_t *comma = memchr(text.data, ',', text.size);
        struct bytes name = {text.data, comma != NULL ? (size_t)(comma - text.data) : text.size};
        size_t used = name.size + (comma != NULL);
        text = (struct bytes){text.data + used, text.size - used};
        uint32_t bit = 0;
        for (size_t i = 0; i < GROUP_COUNT; i++)
            if (bytes_equal(name, bytes_of(groups[i].name)))
                bit = groups[i].bit;
        if (bit == 0)
            return error_set(err, RC_INVALID,
                             "group has '%.*s'; it is a list of day, model, version and key, "
                             "separated by commas",
                             (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
        group |= bit;
    }
    *ret_group = group;
    return RC_OK;
}

static enum rc set_member(void *ctx, struct bytes name, struct bytes value, struct error *err)
{
    struct usage *usage = ctx;
    if (bytes_equal(name, bytes_of("from"))) {
        usage->has_from = true;
        return day_read("from", value, &usage->from_day, err);
    }
    if (bytes_equal(name, bytes_of("to"))) {
        usage->has_to = true;
        return day_read("to", value, &usage->to_day, err);
    }
    if (bytes_equal(name, bytes_of("group")))
        return read_group(value, &usage->group, err);
    return error_set(err, RC_INVALID, "there is no parameter '%.*s'; there are from, to and group",
                     (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
}

static enum rc read_query(struct usage *usage, struct bytes rest, struct error *err)
{
    enum rc rc = query_each(rest, QUERY_SIZE_MAX, set_member, usage, err);
    if (rc != RC_OK)
        return rc;
    if (!usage->has_to)
        usage->to_day = (uint32_t)(clock_wall_ms() / MS_PER_DAY) + 1;
    if (!usage->has_from)
        usage->from_day = usage->to_day > 30 ? usage->to_day - 30 : 0;
    if (usage->from_day > usage->to_day)
        return error_set(err, RC_INVALID, "from is after to; to is the day after the last one");
    return RC_OK;
}

static json_t *text_of(struct bytes text)
{
    return json_stringn((const char *)text.data, text.size);
}

static enum rc print_json(const struct usage *usage, const struct results_quantity *row,
                          struct buf *into)
{
    char day[DAY_TEXT_SIZE];
    day_text(row->day, day);
    json_t *value = json_object();
    if (usage->group & RESULTS_BY_DAY)
        json_object_set_new(value, "day", json_string(day));
    if (usage->group & RESULTS_BY_MODEL)
        json_object_set_new(value, "model", text_of(row->model));
    if (usage->group & RESULTS_BY_VERSION)
        json_object_set_new(value, "version", text_of(row->version));
    if (usage->group & RESULTS_BY_KEY)
        json_object_set_new(value, "key", text_of(row->key));
    json_object_set_new(value, "requests", json_integer((json_int_t)row->requests));
    json_object_set_new(value, "images", json_integer((json_int_t)row->images));
    enum rc rc = answer_dump(value, into);
    json_decref(value);
    return rc;
}

static enum rc print_csv(const struct usage *usage, const struct results_quantity *row,
                         struct buf *into)
{
    char day[DAY_TEXT_SIZE];
    day_text(row->day, day);
    const struct bytes texts[GROUP_COUNT] = {bytes_of(day), row->model, row->version, row->key};
    enum rc rc = RC_OK;
    for (size_t i = 0; i < GROUP_COUNT && rc == RC_OK; i++) {
        if ((usage->group & groups[i].bit) == 0)
            continue;
        rc = answer_csv_field(texts[i], into);
        if (rc == RC_OK)
            rc = buf_append(into, bytes_of(","));
    }
    return rc == RC_OK ? buf_printf(into, "%llu,%llu\r\n", (unsigned long long)row->requests,
                                    (unsigned long long)row->images)
                       : rc;
}

static enum rc print_row(void *ctx, const struct results_quantity *row)
{
    struct usage *usage = ctx;
    if (usage->row_count++ == ROW_COUNT_MAX)
        return error_set(usage->err, RC_INVALID,
                         "over %u rows; ask for fewer days, or group by less", ROW_COUNT_MAX);
    usage->requests += row->requests;
    usage->images += row->images;
    if (usage->format == ANSWER_CSV)
        return print_csv(usage, row, &usage->rows);
    enum rc rc = RC_OK;
    if (usage->format == ANSWER_JSON && usage->row_count > 1)
        rc = buf_append(&usage->rows, bytes_of(","));
    if (rc == RC_OK)
        rc = print_json(usage, row, &usage->rows);
    if (rc == RC_OK && usage->format == ANSWER_JSON)
        usage->rows.size--; /* the line feed */
    return rc;
}

static enum rc print_head(const struct usage *usage, struct buf *into)
{
    char from[DAY_TEXT_SIZE];
    char to[DAY_TEXT_SIZE];
    day_text(usage->from_day, from);
    day_text(usage->to_day, to);
    if (usage->format == ANSWER_JSON)
        return buf_printf(into, "{\"from\":\"%s\",\"to\":\"%s\",\"rows\":[", from, to);
    enum rc rc = RC_OK;
    for (size_t i = 0; i < GROUP_COUNT && rc == RC_OK && usage->format == ANSWER_CSV; i++)
        if (usage->group & groups[i].bit)
            rc = buf_printf(into, "%s,", groups[i].name);
    return rc == RC_OK && usage->format == ANSWER_CSV
               ? buf_append(into, bytes_of("requests,images\r\n"))
               : rc;
}

static enum rc read_usage(const struct exchange *exchange, struct usage *usage)
{
    enum rc rc = read_query(usage, http_query(exchange->http), usage->err);
    if (rc == RC_OK)
        rc = print_head(usage, &usage->rows);
    if (rc == RC_OK)
        rc = results_usage(exchange->api->config.results, bytes_of(exchange->tenant),
                           usage->from_day, usage->to_day, usage->group, print_row, usage,
                           usage->err);
    if (rc == RC_OK && usage->format == ANSWER_JSON)
        rc = buf_printf(&usage->rows, "],\"total\":{\"requests\":%llu,\"images\":%llu}}\n",
                        (unsigned long long)usage->requests, (unsigned long long)usage->images);
    return rc;
}

static void usage_get(struct exchange *exchange)
{
    struct error err = {0};
    struct usage usage = {.group = RESULTS_BY_DAY,
                          .format = exchange->format,
                          .rows = BUF_INIT(ANSWER_SIZE_MAX),
                          .err = &err};
    enum rc rc = read_usage(exchange, &usage);
    if (rc == RC_OK) {
        exchange_answer(exchange, 200, answer_media_type(exchange->format), &usage.rows);
        return;
    }
    buf_done(&usage.rows);
    exchange_fail_store(exchange, rc, &err);
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
