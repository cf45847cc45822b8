/* SPDX-License-Identifier: Apache-2.0
 * jobs_results.c - the results of a job: predictions, problems, and null for what is still open. */
#include "api/history_json.h"
#include "api/jobs.h"

#include <stdlib.h>
#include <string.h>

/* Where a page is cut short: 1,000 predictions of 1,000 classes each would be 70 MB. */
#define PAGE_SIZE_MAX (8u << 20)

struct item {
    bool there;
    enum rc outcome;
    struct id prediction_id;
    char reason[RESULT_REASON_SIZE_MAX + 1];
};

struct page {
    struct item *items;
    uint32_t first;
    uint32_t count;
};

static enum rc add_item(void *ctx, const struct results_job_item *row)
{
    struct page *page = ctx;
    if (row->index < page->first || row->index - page->first >= page->count)
        return RC_OK;
    struct item *item = &page->items[row->index - page->first];
    item->there = true;
    item->outcome = row->outcome;
    item->prediction_id = row->prediction_id;
    if (row->reason.size > 0 && row->reason.size < sizeof(item->reason))
        memcpy(item->reason, row->reason.data, row->reason.size);
    return RC_OK;
}

static enum rc print_problem(enum rc problem, const char *text, const char *job_id,
                             struct buf *into)
{
    json_t *value = answer_problem(problem, text, job_id, NULL);
    enum rc rc = answer_dump(value, into);
    json_decref(value);
    if (rc == RC_OK)
        into->size--; /* the line feed */
    return rc;
}

static enum rc print_item(const struct exchange *exchange, const struct item *item,
                          const char *job_id, struct result_set *set, struct buf *into,
                          struct error *err)
{
    if (!item->there)
        return buf_append(into, bytes_of("null"));
    if (item->outcome != RC_OK)
        return print_problem(item->outcome, item->reason, job_id, into);
    const struct api_config *config = &exchange->api->config;
    enum rc rc = prediction_absent(
        results_get(config->results, bytes_of(exchange->tenant), item->prediction_id, set, err),
        err);
    if (rc == RC_GONE || rc == RC_NOT_FOUND)
        return print_problem(rc, err->text, job_id, into);
    struct history_printer printer = {.repository = config->repository, .format = ANSWER_JSON};
    return rc == RC_OK ? history_print(&printer, &set->items[0], into) : rc;
}

static enum rc print_page(const struct exchange *exchange, const struct page *page,
                          const char *job_id, uint32_t *ret_next, struct buf *into,
                          struct error *err)
{
    struct result_set set = {0};
    size_t size_before = into->size;
    uint32_t i = 0;
    enum rc rc = buf_append(into, bytes_of("["));
    while (rc == RC_OK && i < page->count && into->size - size_before < PAGE_SIZE_MAX) {
        if (i > 0)
            rc = buf_append(into, bytes_of(","));
        if (rc == RC_OK)
            rc = print_item(exchange, &page->items[i++], job_id, &set, into, err);
    }
    results_set_done(&set);
    *ret_next = page->first + i;
    return rc == RC_OK ? buf_append(into, bytes_of("]")) : rc;
}

enum rc job_results_print(const struct exchange *exchange, const struct result_job *record,
                          uint32_t first, uint32_t limit, uint32_t *ret_next, struct buf *into,
                          struct error *err)
{
    uint32_t left = first < record->picture_count ? record->picture_count - first : 0;
    struct page page = {.first = first, .count = limit < left ? limit : left};
    *ret_next = first;
    if (page.count == 0)
        return buf_append(into, bytes_of("[]"));
    char job_id[ID_TEXT_SIZE];
    id_text(record->id, job_id);
    page.items = calloc(page.count, sizeof(*page.items));
    if (page.items == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the job's results; try again later");
    enum rc rc = results_job_items(exchange->api->config.results, bytes_of(exchange->tenant),
                                   record->id, first, page.count, add_item, &page, err);
    if (rc == RC_OK)
        rc = print_page(exchange, &page, job_id, ret_next, into, err);
    free(page.items);
    return rc;
}
