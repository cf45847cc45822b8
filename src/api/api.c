/* SPDX-License-Identifier: Apache-2.0
 * api.c - from the HTTP server's callbacks to the routes and back. */
#include "api/jobs.h"
#include "api/idempotency.h"

#include "base/clock.h"
#include "telemetry/log.h"
#include "work/webhook.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_SIZE_MAX 256u
#define ANSWER_SIZE_MAX  (64u << 20)
#define SMALL_BODY_MAX   4096u /* ignored on a GET, as RFC 9110 allows a client to send one */
#define RETRY_AFTER_TEXT "1"

#define JSON_BODY_MAX      (64u * 1024)
#define LIST_BODY_MAX      (256u * 1024) /* 1,000 SHA-256 and what comes with them */
#define JOB_WAITING_MAX    1024u
#define STORE_THREADS      4u
#define STORE_WAITING_MAX  1024u
#define ERASER_WAITING_MAX 4096u

static struct exchange *exchange_open(struct api *api, struct http_request *http)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    if (exchange == NULL)
        return NULL;
    exchange->api = api;
    exchange->http = http;
    exchange->id = id_new(clock_wall_ms());
    for (size_t i = 0; i < PATH_PARAMETER_MAX; i++)
        exchange->segments[i].size_max = SEGMENT_SIZE_MAX;
    exchange->parameters.model.size_max = SEGMENT_SIZE_MAX;
    exchange->parameters.version.size_max = SEGMENT_SIZE_MAX;
    exchange->parameters.reference.size_max = RESULT_REFERENCE_SIZE_MAX;
    exchange->parameters.metadata.size_max = RESULT_METADATA_SIZE_MAX;
    exchange->parameters.webhook.size_max = WEBHOOK_URL_SIZE_MAX;
    exchange->tenant = exchange->identity.tenant;
    exchange->key = exchange->identity.key;
    http_set_context(http, exchange);
    return exchange;
}

static void exchange_free(struct exchange *exchange)
{
    for (size_t i = 0; i < PATH_PARAMETER_MAX; i++)
        buf_done(&exchange->segments[i]);
    buf_done(&exchange->parameters.model);
    buf_done(&exchange->parameters.version);
    buf_done(&exchange->parameters.reference);
    buf_done(&exchange->parameters.metadata);
    buf_done(&exchange->parameters.webhook);
    job_post_free(exchange->job_post);
    json_decref(exchange->problem_members);
    atomic_fetch_sub(&exchange->api->answers_size, exchange->answer_size);
    keyed_done(exchange);
    buf_done(&exchange->idempotency_key);
    work_request_free(atomic_load(&exchange->work));
    free(exchange->decoded);
    free(exchange);
}

static void add_header(struct http_response *response, const char *name, const char *value)
{
    response->headers[response->header_count++] = (struct http_header){name, value};
}

void exchange_add_header(struct exchange *exchange, const char *name, const char *value)
{
    assert(exchange->header_count < EXCHANGE_HEADER_MAX && strlen(value) < EXCHANGE_HEADER_SIZE);
    exchange->headers[exchange->header_count].name = name;
    (void)snprintf(exchange->headers[exchange->header_count].value, EXCHANGE_HEADER_SIZE, "%s",
                   value);
    exchange->header_count++;
}

/* `fields` must live until http_respond(). */
static void add_own_headers(const struct exchange *exchange, struct http_response *response,
                            struct auth_fields *fields)
{
    auth_fields_fill(exchange, fields);
    if (fields->challenge[0] != '\0')
        add_header(response, "WWW-Authenticate", fields->challenge);
    if (fields->policy[0] != '\0')
        add_header(response, "RateLimit-Policy", fields->policy);
    if (fields->state[0] != '\0')
        add_header(response, "RateLimit", fields->state);
    if (fields->retry_after[0] != '\0')
        add_header(response, "Retry-After", fields->retry_after);
    for (uint32_t i = 0; i < exchange->header_count; i++)
        add_header(response, exchange->headers[i].name, exchange->headers[i].value);
}

enum rc exchange_hold(struct exchange *exchange, size_t size, struct error *err)
{
    struct api *api = exchange->api;
    size_t before = atomic_fetch_add(&api->answers_size, size);
    exchange->answer_size += size;
    if (before <= api->config.answer_memory_max && size <= api->config.answer_memory_max - before)
        return RC_OK;
    return error_set(err, RC_BUSY, "too many large answers are being received; try again later");
}

void exchange_answer(struct exchange *exchange, int status, const char *content_type,
                     struct buf *body)
{
    char id[ID_TEXT_SIZE];
    id_text(exchange->id, id);
    struct auth_fields fields;
    struct http_response response = {.status = status, .content_type = content_type, .body = *body};
    *body = (struct buf){0};
    add_header(&response, "X-Request-Id", id);
    add_header(&response, "X-Content-Type-Options", "nosniff");
    add_own_headers(exchange, &response, &fields);
    if (exchange->cache_control != NULL || content_type != NULL)
        add_header(&response, "Cache-Control",
                   exchange->cache_control != NULL ? exchange->cache_control : "no-store");
    http_respond(exchange->http, &response);
}

void exchange_answer_json(struct exchange *exchange, int status, json_t *value)
{
    struct buf body = BUF_INIT(ANSWER_SIZE_MAX);
    enum rc rc = answer_dump(value, &body);
    json_decref(value);
    if (rc == RC_OK) {
        exchange_answer(exchange, status, answer_media_type(ANSWER_JSON), &body);
        return;
    }
    buf_done(&body);
    exchange_fail(exchange, rc, NULL);
}

static void fail_with_allow(struct exchange *exchange, enum rc rc, const struct error *err,
                            const char *allow)
{
    char id[ID_TEXT_SIZE];
    id_text(exchange->id, id);
    exchange->rc = rc;
    const char *detail = err != NULL ? err->text : "";
    if (exchange->detail[0] == '\0')
        (void)snprintf(exchange->detail, sizeof(exchange->detail), "%s", detail);
    struct bytes path = http_path(exchange->http);
    char instance[SEGMENT_SIZE_MAX] = "";
    if (path.size > 0 && path.size < sizeof(instance))
        memcpy(instance, path.data, path.size);
    struct auth_fields fields;
    struct http_response response = {.status = rc_http_status(rc),
                                     .content_type = "application/problem+json",
                                     .body = BUF_INIT(16 * 1024)};
    if (rc == RC_INTERNAL)
        detail = EXCHANGE_INTERNAL_DETAIL;
    json_t *problem = answer_problem(rc, detail, id, instance[0] != '\0' ? instance : NULL);
    /* Out of memory here: the status alone must do. */
    (void)json_object_update(problem, exchange->problem_members);
    if (answer_dump(problem, &response.body) != RC_OK)
        response.content_type = NULL;
    json_decref(problem);
    add_header(&response, "X-Request-Id", id);
    add_header(&response, "X-Content-Type-Options", "nosniff");
    add_header(&response, "Cache-Control", "no-store");
    add_own_headers(exchange, &response, &fields);
    if (rc_retryable(rc) && rc_http_status(rc) == 503)
        add_header(&response, "Retry-After", RETRY_AFTER_TEXT);
    if (allow[0] != '\0')
        add_header(&response, "Allow", allow);
    http_respond(exchange->http, &response);
}

void exchange_fail(struct exchange *exchange, enum rc rc, const struct error *err)
{
    fail_with_allow(exchange, rc, err, "");
}

void exchange_fail_store(struct exchange *exchange, enum rc rc, const struct error *err)
{
    struct error told = *err;
    if (rc_http_status(rc) >= 500) {
        (void)snprintf(exchange->detail, sizeof(exchange->detail), "%s", err->text);
        (void)error_set(&told, rc,
                        rc_retryable(rc) ? "the store cannot do this now; try again later"
                                         : "the store failed");
    }
    exchange_fail(exchange, rc, &told);
}

void exchange_answer_store(struct exchange *exchange, enum rc rc, int status,
                           const char *content_type, struct buf *body, const struct error *err)
{
    if (rc == RC_OK) {
        exchange_answer(exchange, status, content_type, body);
        return;
    }
    buf_done(body);
    exchange_fail_store(exchange, rc, err);
}

/* What the route's body may hold: a raw picture is bounded more tightly than a whole request. */
static size_t body_max(const struct exchange *exchange)
{
    const struct api_config *config = &exchange->api->config;
    if (exchange->route->body == BODY_NONE)
        return SMALL_BODY_MAX;
    if (exchange->route->body == BODY_JSON)
        return JSON_BODY_MAX;
    if (exchange->route->body == BODY_LIST)
        return LIST_BODY_MAX;
    struct bytes type = http_header(exchange->http, "content-type");
    static const char *const wrapped[] = {"multipart/", "application/json"};
    for (size_t i = 0; i < sizeof(wrapped) / sizeof(wrapped[0]); i++) {
        size_t size = strlen(wrapped[i]);
        if (type.size >= size &&
            bytes_equal_nocase((struct bytes){type.data, size}, bytes_of(wrapped[i])))
            return config->body_max;
    }
    return config->image_max < config->body_max ? config->image_max : config->body_max;
}

static enum rc on_headers(struct api *api, struct http_request *http, enum route_port port,
                          size_t *ret_body_max, struct error *err)
{
    struct exchange *exchange = exchange_open(api, http);
    if (exchange == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for another request; try again later");
    char allow[64];
    enum rc rc = route_find(exchange, port, allow, sizeof(allow), err);
    if (rc != RC_OK)
        return rc;
    *ret_body_max = body_max(exchange);
    return auth_admit(exchange, *ret_body_max, err);
}

static enum rc public_headers(void *ctx, struct http_request *http, size_t *ret_body_max,
                              struct error *err)
{
    return on_headers(ctx, http, PORT_PUBLIC, ret_body_max, err);
}

static enum rc admin_headers(void *ctx, struct http_request *http, size_t *ret_body_max,
                             struct error *err)
{
    return on_headers(ctx, http, PORT_ADMIN, ret_body_max, err);
}

static void on_request(void *ctx, struct http_request *http)
{
    (void)ctx;
    struct exchange *exchange = http_context(http);
    auth_body_received(exchange);
    exchange->route->handler(exchange);
}

static void on_gone(void *ctx, struct http_request *http)
{
    (void)ctx;
    struct exchange *exchange = http_context(http);
    if (exchange == NULL)
        return;
    atomic_store(&exchange->gone, true);
    struct work_request *work = atomic_load(&exchange->work);
    if (work != NULL)
        work_cancel(work);
    if (exchange->route != NULL && exchange->route->handler == route_job &&
        exchange->api->waiters != NULL)
        job_waiters_look(exchange->api->waiters);
}

static void on_refuse(struct api *api, struct http_request *http, enum route_port port, enum rc rc,
                      const struct error *err)
{
    struct exchange *exchange = http_context(http);
    if (exchange == NULL)
        exchange = exchange_open(api, http);
    if (exchange == NULL) {
        struct http_response bare = {.status = rc_http_status(rc)};
        http_respond(http, &bare);
        return;
    }
    char allow[64] = "";
    if (rc == RC_METHOD)
        rc = route_find(exchange, port, allow, sizeof(allow), NULL);
    fail_with_allow(exchange, rc, err, allow);
}

static void public_refuse(void *ctx, struct http_request *http, enum rc rc, const struct error *err)
{
    on_refuse(ctx, http, PORT_PUBLIC, rc, err);
}

static void admin_refuse(void *ctx, struct http_request *http, enum rc rc, const struct error *err)
{
    on_refuse(ctx, http, PORT_ADMIN, rc, err);
}

static json_t *text_of(struct bytes text)
{
    return json_stringn((const char *)text.data, text.size);
}

static json_t *work_fields(const struct work_request *work)
{
    uint64_t queue_ns = 0;
    uint64_t infer_ns = 0;
    uint32_t failed_count = 0;
    for (uint32_t i = 0; i < work->image_count; i++) {
        const struct predict_task *task = &work->results[i].task;
        queue_ns = task->timing.queue_ns > queue_ns ? task->timing.queue_ns : queue_ns;
        infer_ns = task->timing.infer_ns > infer_ns ? task->timing.infer_ns : infer_ns;
        failed_count += task->rc != RC_OK;
    }
    return json_pack("{s:s*, s:s*, s:i, s:i, s:f, s:f, s:s*}", "model",
                     work->model != NULL ? model_name(work->model) : NULL, "version",
                     work->model != NULL ? model_version(work->model) : NULL, "images",
                     (int)work->image_count, "failed", (int)failed_count, "queue_ms_max",
                     round((double)queue_ns / 1e3) / 1e3, "infer_ms_max",
                     round((double)infer_ns / 1e3) / 1e3, "store_error",
                     work->store_err.text[0] != '\0' ? work->store_err.text : NULL);
}

static void log_access(const struct exchange *exchange)
{
    const struct http_request *http = exchange->http;
    char id[ID_TEXT_SIZE];
    id_text(exchange->id, id);
    uint64_t duration_us = (clock_monotonic_ns() - http_started_ns(http)) / 1000;
    json_t *line =
        json_pack("{s:s, s:o*, s:o*, s:s*, s:i, s:I, s:I, s:f, s:s}", "request_id", id, "method",
                  text_of(http_method(http)), "path", text_of(http_path(http)), "route",
                  exchange->route != NULL ? exchange->route->path : NULL, "status",
                  http_status_sent(http), "bytes_in", (json_int_t)http_bytes_received(http),
                  "bytes_out", (json_int_t)http_bytes_sent(http), "duration_ms",
                  (double)duration_us / 1000, "peer", http_peer(http));
    if (exchange->tenant[0] != '\0')
        (void)json_object_set_new(line, "tenant", json_string(exchange->tenant));
    if (exchange->key[0] != '\0')
        (void)json_object_set_new(line, "key", json_string(exchange->key));
    /* A detail that quotes what is not UTF-8 is left away. */
    if (exchange->rc != RC_OK)
        (void)json_object_update_new(line,
                                     json_pack("{s:s, s:o*}", "problem", rc_slug(exchange->rc),
                                               "detail", json_string(exchange->detail)));
    const struct work_request *work = atomic_load(&exchange->work);
    if (work != NULL && work->model != NULL)
        (void)json_object_update_new(line, work_fields(work));
    log_event(rc_http_status(exchange->rc) == 500 ? LOG_ERROR : LOG_INFO, "access", line);
}

static void on_finished(void *ctx, struct http_request *http)
{
    struct api *api = ctx;
    struct exchange *exchange = http_context(http);
    if (exchange == NULL)
        return;
    if (api->config.access_log && log_wants(LOG_INFO))
        log_access(exchange);
    auth_finished(exchange);
    exchange_free(exchange);
}

const struct http_handler api_public_handler = {
    .headers = public_headers,
    .request = on_request,
    .gone = on_gone,
    .refuse = public_refuse,
    .finished = on_finished,
};
const struct http_handler api_admin_handler = {
    .headers = admin_headers,
    .request = on_request,
    .gone = on_gone,
    .refuse = admin_refuse,
    .finished = on_finished,
};

enum rc api_open(const struct api_config *config, struct api **ret_api, struct error *err)
{
    struct api *api = calloc(1, sizeof(*api));
    if (api == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the API");
    api->config = *config;
    enum rc rc = reader_open(api, err);
    if (rc == RC_OK)
        rc = auth_open(config->account, config->results, &api->auth, err);
    if (rc == RC_OK)
        rc = store_pool_open(STORE_THREADS, STORE_WAITING_MAX, &api->stores, err);
    struct eraser_config eraser = {.results = config->results,
                                   .blob = config->blob,
                                   .grace_ms = config->request_timeout_ms,
                                   .waiting_max = ERASER_WAITING_MAX};
    if (rc == RC_OK && config->results != NULL)
        rc = eraser_open(&eraser, &api->eraser, err);
    struct job_waiters_config waiters = {.results = config->results,
                                         .stores = api->stores,
                                         .waiting_max = JOB_WAITING_MAX,
                                         .go_on = job_wait_over};
    if (rc == RC_OK && config->queue != NULL)
        rc = job_waiters_open(&waiters, &api->waiters, err);
    if (rc != RC_OK) {
        api_free(api);
        return rc;
    }
    if (config->queue != NULL)
        job_runner_listen(config->jobs, job_waiters_ended, api->waiters);
    *ret_api = api;
    return RC_OK;
}

void api_ready(struct api *api) { atomic_store(&api->ready, true); }

void api_drain(struct api *api)
{
    atomic_store(&api->draining, true);
    if (api->waiters != NULL)
        job_waiters_drain(api->waiters);
}

void api_free(struct api *api)
{
    if (api == NULL)
        return;
    if (api->waiters != NULL)
        job_runner_listen(api->config.jobs, NULL, NULL);
    job_waiters_free(api->waiters);
    reader_close(api);
    store_pool_free(api->stores);
    eraser_free(api->eraser);
    auth_free(api->auth);
    free(api);
}
