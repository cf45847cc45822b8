/* SPDX-License-Identifier: Apache-2.0
 * statement.c - GET /v1/usage/statement: what a month costs, line by line. */
#include "api/usage.h"

#include "base/clock.h"
#include "net/query.h"

#include <string.h>

#define QUERY_SIZE_MAX (64u << 10)

static const char *const statement_types[] = {"application/json", "text/csv", "text/plain"};
static const statement_print_fn statement_printers[] = {statement_json, statement_csv,
                                                        statement_text};
#define STATEMENT_TYPE_COUNT 3u

static enum rc set_statement_month(void *ctx, struct bytes name, struct bytes value,
                                   struct error *err)
{
    uint64_t start_ms = 0;
    uint64_t end_ms = 0;
    if (bytes_equal(name, bytes_of("month")))
        return usage_month_read(value, ctx, &start_ms, &end_ms, err);
    return error_set(err, RC_INVALID, "there is no parameter '%.*s'; there is month",
                     (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
}

static void statement_get(struct exchange *exchange)
{
    struct error err = {0};
    struct bill_source source = usage_source(exchange);
    struct bill bill = {0};
    struct buf body = BUF_INIT(STATEMENT_SIZE_MAX);
    uint64_t now_ms = clock_wall_ms();
    uint64_t start_ms = 0;
    uint64_t end_ms = 0;
    uint32_t type = 0;
    char month[MONTH_TEXT_SIZE];
    month_text(now_ms, month);
    enum rc rc = answer_choose_type(http_header(exchange->http, "accept"), statement_types,
                                    STATEMENT_TYPE_COUNT, &type, &err);
    if (rc == RC_OK)
        rc = query_each(http_query(exchange->http), QUERY_SIZE_MAX, set_statement_month, month,
                        &err);
    if (rc == RC_OK)
        rc = month_parse(month, &start_ms, &end_ms);
    if (rc == RC_OK)
        rc = bill_month(&source, month, now_ms, &bill, &err);
    struct statement_head head = {
        .tenant = exchange->tenant, .month = month, .complete = end_ms <= now_ms};
    if (rc == RC_OK)
        rc = statement_printers[type](bill.statements, bill.count, &head, &body);
    bill_done(&bill);
    exchange_answer_store(exchange, rc, 200, statement_types[type], &body, &err);
}

void route_statement(struct exchange *exchange) { exchange_push_store(exchange, statement_get); }
