/* SPDX-License-Identifier: Apache-2.0
 * history.c - GET and POST /v1/predictions: pages of what was predicted; GET and DELETE
 * /v1/predictions/{id}. All but the choice of the form runs on the stores' threads. */
#include "api/history_filter.h"
#include "api/history_json.h"
#include "api/idempotency.h"

#include "base/clock.h"

#include <string.h>

#define ANSWER_SIZE_MAX (64u << 20)
/* Where a page is cut short: 1,000 predictions of 1,000 classes each would be 70 MB. */
#define PAGE_SIZE_MAX (8u << 20)

void exchange_push_store(struct exchange *exchange, void (*job)(struct exchange *exchange))
{
    if (exchange->api->config.results != NULL) {
        store_pool_push(exchange->api->stores, exchange, job);
        return;
    }
    struct error err = {0};
    enum rc rc = error_set(&err, RC_NOT_FOUND,
                           "this server stores nothing; start it without --results none to keep "
                           "predictions and pictures");
    exchange_fail(exchange, rc, &err);
}

static struct bytes tenant_of(const struct exchange *exchange)
{
    return bytes_of(exchange->tenant);
}

enum rc prediction_id_read(const struct exchange *exchange, struct id *ret_id, struct error *err)
{
    struct bytes text = {exchange->segments[0].data, exchange->segments[0].size};
    /* What is no id names nothing, like an id that was never given. */
    return id_parse(text, ret_id) == RC_OK ? RC_OK : prediction_absent(RC_NOT_FOUND, err);
}

enum rc prediction_absent(enum rc rc, struct error *err)
{
    if (rc == RC_GONE)
        return error_set(err, rc, "this prediction was erased");
    if (rc == RC_NOT_FOUND)
        return error_set(err, rc, "there is no prediction with this id");
    return rc;
}

/* Prints rows of `set` until the page is large enough; at least one. */
static enum rc print_page(const struct exchange *exchange, const struct result_set *set,
                          uint32_t *ret_count, struct buf *into)
{
    struct history_printer printer = {.repository = exchange->api->config.repository,
                                      .format = exchange->format};
    bool json = exchange->format == ANSWER_JSON;
    buf_clear(into);
    enum rc rc = json ? buf_append(into, bytes_of("{\"predictions\":["))
                      : history_print_head(&printer, into);
    while (rc == RC_OK && printer.count < set->count && into->size < PAGE_SIZE_MAX)
        rc = history_print(&printer, &set->items[printer.count], into);
    *ret_count = printer.count;
    if (rc != RC_OK || !json)
        return rc;
    if (set->next[0] != '\0')
        return buf_printf(into, "],\"next\":\"%s\"}\n", set->next);
    return buf_append(into, bytes_of("],\"next\":null}\n"));
}

static enum rc read_page(struct exchange *exchange, const struct history_filter *filter,
                         struct result_set *set, struct buf *into, struct error *err)
{
    struct bytes cursor = bytes_of(filter->cursor);
    uint32_t limit = filter->limit;
    for (;;) {
        enum rc rc = results_query(exchange->api->config.results, tenant_of(exchange),
                                   &filter->results, cursor, limit, set, err);
        if (rc != RC_OK)
            return rc;
        uint32_t printed_count = 0;
        rc = print_page(exchange, set, &printed_count, into);
        if (rc != RC_OK)
            return error_set(err, rc, "no memory for the page; try again later");
        if (printed_count == set->count)
            return exchange_hold(exchange, into->size, err);
        /* Only the store can say how to go on from there. */
        limit = printed_count;
    }
}

static void answer_page(struct exchange *exchange, const struct history_filter *filter)
{
    struct error err = {0};
    struct result_set set = {0};
    struct buf body = BUF_INIT(ANSWER_SIZE_MAX);
    enum rc rc = read_page(exchange, filter, &set, &body, &err);
    if (rc == RC_OK && set.next[0] != '\0')
        exchange_add_header(exchange, "X-Next-Cursor", set.next);
    results_set_done(&set);
    exchange_answer_store(exchange, rc, 200, answer_media_type(exchange->format), &body, &err);
}

static void predictions_get(struct exchange *exchange)
{
    struct error err = {0};
    struct history_filter filter;
    enum rc rc = history_filter_read(&filter, http_query(exchange->http), NULL, &err);
    if (rc == RC_OK)
        answer_page(exchange, &filter);
    else
        exchange_fail(exchange, rc, &err);
}

static void predictions_post(struct exchange *exchange)
{
    struct error err = {0};
    struct history_filter filter;
    json_t *root = NULL;
    enum rc rc = body_object_read(exchange, &root, &err);
    if (rc == RC_OK)
        rc = history_filter_read(&filter, http_query(exchange->http), root, &err);
    json_decref(root);
    if (rc == RC_OK)
        answer_page(exchange, &filter);
    else
        exchange_fail(exchange, rc, &err);
}

static void prediction_get(struct exchange *exchange)
{
    struct error err = {0};
    struct id id;
    struct result_set set = {0};
    struct buf body = BUF_INIT(ANSWER_SIZE_MAX);
    struct history_printer printer = {.repository = exchange->api->config.repository,
                                      .format = exchange->format};
    enum rc rc = prediction_id_read(exchange, &id, &err);
    if (rc == RC_OK)
        rc = prediction_absent(
            results_get(exchange->api->config.results, tenant_of(exchange), id, &set, &err), &err);
    if (rc == RC_OK)
        rc = history_print_head(&printer, &body);
    if (rc == RC_OK)
        rc = history_print(&printer, &set.items[0], &body);
    if (rc == RC_OK && exchange->format == ANSWER_JSON)
        rc = buf_append(&body, bytes_of("\n"));
    results_set_done(&set);
    exchange_answer_store(exchange, rc, 200, answer_media_type(exchange->format), &body, &err);
}

static void prediction_delete(struct exchange *exchange)
{
    const struct api_config *config = &exchange->api->config;
    struct error err = {0};
    struct id id;
    struct results_removed removed;
    enum rc rc = prediction_id_read(exchange, &id, &err);
    if (rc == RC_OK)
        rc = prediction_absent(results_erase(config->results, tenant_of(exchange), id,
                                             clock_wall_ms(), &removed, &err),
                               &err);
    if (rc != RC_OK) {
        exchange_fail_store(exchange, rc, &err);
        return;
    }
    if (removed.picture_free)
        eraser_erase(exchange->api->eraser, exchange->tenant, removed.sha256);
    struct buf none = {0};
    exchange_answer(exchange, 204, NULL, &none);
}

/* Choose the form before anything is read. */
static void push_formed(struct exchange *exchange, void (*job)(struct exchange *exchange))
{
    struct error err = {0};
    enum rc rc = answer_choose(http_header(exchange->http, "accept"), &exchange->format, &err);
    if (rc == RC_OK)
        exchange_push_store(exchange, job);
    else
        exchange_fail(exchange, rc, &err);
}

void route_predictions(struct exchange *exchange) { push_formed(exchange, predictions_get); }

/* It writes nothing, so a retry may run it again: the key is right or wrong, and that is all. */
void route_predictions_query(struct exchange *exchange)
{
    struct error err = {0};
    enum rc rc = idempotency_key_read(exchange, &err);
    if (rc == RC_OK)
        push_formed(exchange, predictions_post);
    else
        exchange_fail(exchange, rc, &err);
}

void route_prediction(struct exchange *exchange) { push_formed(exchange, prediction_get); }

void route_prediction_delete(struct exchange *exchange)
{
    exchange_push_store(exchange, prediction_delete);
}
