/* SPDX-License-Identifier: Apache-2.0
 * jobs.c - GET /v1/jobs and GET, DELETE /v1/jobs/{id}, on the stores' threads. */
#include "api/jobs.h"

#include "base/clock.h"
#include "net/query.h"
#include "queue/queue.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_SIZE_MAX  (64u << 20)
#define QUERY_SIZE_MAX   (1u << 20)
#define JOBS_PAGE_PRESET 50u

struct job_stores job_stores_of(const struct exchange *exchange)
{
    const struct api_config *config = &exchange->api->config;
    return (struct job_stores){config->results, config->queue, config->account};
}

static struct bytes tenant_of(const struct exchange *exchange)
{
    return bytes_of(exchange->tenant);
}

enum rc job_absent(enum rc rc, struct error *err)
{
    return rc == RC_NOT_FOUND ? error_set(err, rc, "there is no job with this id") : rc;
}

bool job_is_running(const struct exchange *exchange, const struct result_job *record)
{
    struct queue_info info;
    return record->ended == RESULT_JOB_OPEN &&
           queue_get(exchange->api->config.queue, exchange->tenant, record->id, &info, NULL) ==
               RC_OK &&
           (info.state == JOB_LEASED || info.state == JOB_CANCELLING);
}

/* --- the query ------------------------------------------------------------------------------- */

struct jobs_query {
    uint32_t wait_s;
    uint32_t first;
    uint32_t limit;
    char cursor[RESULTS_CURSOR_SIZE];
    bool list;
};

static enum rc number_read(const char *name, const char *text, uint32_t min, uint32_t max,
                           uint32_t *ret_number, struct error *err)
{
    char *end = NULL;
    unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || number < min || number > max)
        return error_set(err, RC_INVALID, "%s is '%.40s'; it must be a whole number from %u to %u",
                         name, text, min, max);
    *ret_number = (uint32_t)number;
    return RC_OK;
}

static enum rc set_member(void *ctx, struct bytes name, struct bytes value, struct error *err)
{
    struct jobs_query *query = ctx;
    char text[RESULTS_CURSOR_SIZE] = "";
    if (value.size > 0 && value.size < sizeof(text))
        memcpy(text, value.data, value.size);
    if (bytes_equal(name, bytes_of("limit")))
        return query->list ? number_read("limit", text, 1, RESULTS_JOB_PAGE_MAX, &query->limit, err)
                           : number_read("limit", text, 0, RESULT_JOB_PICTURE_COUNT_MAX,
                                         &query->limit, err);
    if (query->list && bytes_equal(name, bytes_of("cursor"))) {
        if (value.size == 0 || value.size >= sizeof(text))
            return error_set(err, RC_INVALID, "cursor is not one that this server gave");
        memcpy(query->cursor, text, sizeof(query->cursor));
        return RC_OK;
    }
    if (!query->list && bytes_equal(name, bytes_of("wait")))
        return number_read("wait", text, 0, JOB_WAIT_S_MAX, &query->wait_s, err);
    if (!query->list && bytes_equal(name, bytes_of("first")))
        return number_read("first", text, 0, RESULT_JOB_PICTURE_COUNT_MAX, &query->first, err);
    return error_set(err, RC_INVALID, "there is no parameter '%.*s'; there are %s",
                     (int)(name.size < 40 ? name.size : 40), (const char *)name.data,
                     query->list ? "limit and cursor" : "wait, first and limit");
}

static enum rc read_query(const struct exchange *exchange, bool list, struct jobs_query *query,
                          struct error *err)
{
    *query = (struct jobs_query){.list = list,
                                 .limit = list ? JOBS_PAGE_PRESET : RESULT_JOB_PICTURE_COUNT_MAX};
    return query_each(http_query(exchange->http), QUERY_SIZE_MAX, set_member, query, err);
}

/* What is no id names nothing, like an id that was never given. */
static enum rc read_id(const struct exchange *exchange, struct id *ret_id, struct error *err)
{
    struct bytes text = {exchange->segments[0].data, exchange->segments[0].size};
    return id_parse(text, ret_id) == RC_OK ? RC_OK : job_absent(RC_NOT_FOUND, err);
}

static enum rc read_record(const struct exchange *exchange, struct id id,
                           struct result_job_set *set, struct error *err)
{
    return job_absent(
        results_job_get(exchange->api->config.results, tenant_of(exchange), id, set, err), err);
}

/* --- answers --------------------------------------------------------------------------------- */

/* The object, open at its end: members can follow. */
static enum rc print_open(const struct exchange *exchange, const struct result_job *record,
                          struct buf *into, struct error *err)
{
    struct job job;
    enum rc rc = job_read(record->body, &job, err);
    if (rc != RC_OK)
        return rc;
    json_t *object = job_json(record, &job, job_is_running(exchange, record));
    rc = answer_dump(object, into);
    json_decref(object);
    if (rc != RC_OK)
        return error_set(err, rc, "no memory for the job; try again later");
    into->size -= sizeof("}\n") - 1;
    return RC_OK;
}

static enum rc print_whole(struct exchange *exchange, const struct result_job *record,
                           const struct jobs_query *query, struct buf *into, struct error *err)
{
    uint32_t next = 0;
    enum rc rc = print_open(exchange, record, into, err);
    if (rc == RC_OK)
        rc = buf_append(into, bytes_of(",\"results\":"));
    if (rc == RC_OK)
        rc = job_results_print(exchange, record, query->first, query->limit, &next, into, err);
    if (rc == RC_OK && next < record->picture_count)
        rc = buf_printf(into, ",\"next\":%u}\n", next);
    else if (rc == RC_OK)
        rc = buf_append(into, bytes_of(",\"next\":null}\n"));
    return rc == RC_OK ? exchange_hold(exchange, into->size, err) : rc;
}

void job_answer(struct exchange *exchange, int status, struct id id)
{
    struct error err = {0};
    struct result_job_set set = {0};
    struct buf body = BUF_INIT(ANSWER_SIZE_MAX);
    enum rc rc = read_record(exchange, id, &set, &err);
    if (rc == RC_OK)
        rc = print_open(exchange, &set.items[0], &body, &err);
    if (rc == RC_OK)
        rc = buf_append(&body, bytes_of("}\n"));
    results_job_set_done(&set);
    exchange_answer_store(exchange, rc, status, answer_media_type(ANSWER_JSON), &body, &err);
}

/* --- GET /v1/jobs/{id} ----------------------------------------------------------------------- */

/* With `may_wait` an open job's request may go to those who wait: then *ret_waits. */
static enum rc get_job(struct exchange *exchange, bool may_wait, struct buf *into, bool *ret_waits,
                       struct error *err)
{
    struct id id;
    struct jobs_query query;
    struct result_job_set set = {0};
    *ret_waits = false;
    enum rc rc = read_query(exchange, false, &query, err);
    if (rc == RC_OK)
        rc = read_id(exchange, &id, err);
    if (rc == RC_OK)
        rc = read_record(exchange, id, &set, err);
    if (rc == RC_OK && may_wait && query.wait_s > 0 && set.items[0].ended == RESULT_JOB_OPEN) {
        results_job_set_done(&set);
        rc = job_waiters_add(exchange->api->waiters, exchange, id,
                             clock_monotonic_ns() + query.wait_s * NS_PER_S, err);
        *ret_waits = rc == RC_OK;
        return rc;
    }
    if (rc == RC_OK)
        rc = print_whole(exchange, &set.items[0], &query, into, err);
    results_job_set_done(&set);
    return rc;
}

static void answer_get(struct exchange *exchange, bool may_wait)
{
    struct error err = {0};
    struct buf body = BUF_INIT(ANSWER_SIZE_MAX);
    bool waits = false;
    enum rc rc = get_job(exchange, may_wait, &body, &waits, &err);
    /* The exchange is in other hands, and may be gone. */
    if (waits)
        return;
    exchange_answer_store(exchange, rc, 200, answer_media_type(ANSWER_JSON), &body, &err);
}

static void job_get(struct exchange *exchange) { answer_get(exchange, true); }

void job_wait_over(struct exchange *exchange) { answer_get(exchange, false); }

/* --- GET /v1/jobs ---------------------------------------------------------------------------- */

static enum rc print_list(struct exchange *exchange, const struct result_job_set *set,
                          struct buf *into, struct error *err)
{
    enum rc rc = buf_append(into, bytes_of("{\"jobs\":["));
    for (uint32_t i = 0; i < set->count && rc == RC_OK; i++) {
        if (i > 0)
            rc = buf_append(into, bytes_of(","));
        if (rc == RC_OK)
            rc = print_open(exchange, &set->items[i], into, err);
        if (rc == RC_OK)
            rc = buf_append(into, bytes_of("}"));
    }
    if (rc == RC_OK && set->next[0] != '\0')
        rc = buf_printf(into, "],\"next\":\"%s\"}\n", set->next);
    else if (rc == RC_OK)
        rc = buf_append(into, bytes_of("],\"next\":null}\n"));
    return rc;
}

static void jobs_get(struct exchange *exchange)
{
    struct error err = {0};
    struct jobs_query query;
    struct result_job_set set = {0};
    struct buf body = BUF_INIT(ANSWER_SIZE_MAX);
    enum rc rc = read_query(exchange, true, &query, &err);
    if (rc == RC_OK)
        rc = results_job_list(exchange->api->config.results, tenant_of(exchange),
                              bytes_of(query.cursor), query.limit, &set, &err);
    if (rc == RC_OK)
        rc = print_list(exchange, &set, &body, &err);
    results_job_set_done(&set);
    exchange_answer_store(exchange, rc, 200, answer_media_type(ANSWER_JSON), &body, &err);
}

/* --- DELETE /v1/jobs/{id} -------------------------------------------------------------------- */

/* What waits is ended here; what a worker has, by the worker. *ret_status: 200 it has ended, 202 it
 * will. */
static enum rc cancel(struct exchange *exchange, struct result_job *record, int *ret_status,
                      struct error *err)
{
    const struct api_config *config = &exchange->api->config;
    const struct job_stores stores = job_stores_of(exchange);
    enum job_state state = JOB_CANCELLED;
    uint64_t now_ms = clock_wall_ms();
    struct job job;
    *ret_status = 200;
    if (record->ended != RESULT_JOB_OPEN)
        return RC_OK;
    enum rc rc = job_read(record->body, &job, err);
    if (rc == RC_OK)
        rc = queue_cancel(config->queue, exchange->tenant, record->id, now_ms, &state, err);
    /* Its message is still on its way. */
    if (rc == RC_NOT_FOUND)
        rc = RC_OK;
    if (rc != RC_OK || state == JOB_DONE)
        return rc;
    if (state == JOB_CANCELLING) {
        *ret_status = 202;
        job_runner_look(config->jobs);
        return RC_OK;
    }
    rc = state == JOB_DEAD ? job_end(&stores, exchange->tenant, record, &job, RESULT_JOB_DEAD,
                                     "its attempts are used up", now_ms, err)
                           : job_end(&stores, exchange->tenant, record, &job, RESULT_JOB_CANCELLED,
                                     "", now_ms, err);
    if (rc == RC_OK)
        job_waiters_ended(exchange->api->waiters, record->id);
    return rc;
}

static void job_delete(struct exchange *exchange)
{
    struct error err = {0};
    struct id id;
    int status = 200;
    struct result_job_set set = {0};
    enum rc rc = read_id(exchange, &id, &err);
    if (rc == RC_OK)
        rc = read_record(exchange, id, &set, &err);
    if (rc == RC_OK)
        rc = cancel(exchange, &set.items[0], &status, &err);
    results_job_set_done(&set);
    if (rc == RC_OK)
        job_answer(exchange, status, id);
    else
        exchange_fail_store(exchange, rc, &err);
}

/* --- routes ---------------------------------------------------------------------------------- */

void exchange_push_jobs(struct exchange *exchange, void (*job)(struct exchange *exchange))
{
    if (exchange->api->config.queue != NULL) {
        exchange_push_store(exchange, job);
        return;
    }
    struct error err = {0};
    enum rc rc = error_set(&err, RC_NOT_FOUND,
                           "this server takes no jobs; start it with results and a queue");
    exchange_fail(exchange, rc, &err);
}

void route_jobs(struct exchange *exchange) { exchange_push_jobs(exchange, jobs_get); }

void route_job(struct exchange *exchange) { exchange_push_jobs(exchange, job_get); }

void route_job_delete(struct exchange *exchange) { exchange_push_jobs(exchange, job_delete); }
