/* SPDX-License-Identifier: Apache-2.0
 * predict.c - POST /v1/predict: a picture as it is, multipart/form-data, or base64 in JSON. */
#include "api/idempotency.h"
#include "api/jobs.h"

#include "base/clock.h"
#include "telemetry/log.h"

#include <string.h>

#define ANSWER_SIZE_MAX (64u << 20)
/* A larger JSON body is read by the reader's thread: a loop thread has others to serve. */
#define JSON_INLINE_MAX (64u * 1024)

bool media_type_is(struct bytes type, const char *want)
{
    size_t size = strlen(want);
    if (type.size < size || !bytes_equal_nocase((struct bytes){type.data, size}, bytes_of(want)))
        return false;
    return type.size == size || type.data[size] == ';' || type.data[size] == ' ';
}

/* Pictures say what they are by their first bytes; curl's --data-binary says "form" of anything. */
bool media_type_is_picture(struct bytes type)
{
    static const char *const plain[] = {"application/octet-stream", "binary/octet-stream",
                                        "application/x-www-form-urlencoded"};
    if (type.size == 0 || (type.size > 6 && strncasecmp((const char *)type.data, "image/", 6) == 0))
        return true;
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        if (media_type_is(type, plain[i]))
            return true;
    return false;
}

/* A single picture's failure is logged with its request; one of several is logged here. */
static void log_internal(const struct exchange *exchange, struct work_request *work)
{
    char id[ID_TEXT_SIZE];
    id_text(exchange->id, id);
    for (uint32_t i = 0; i < work->image_count; i++) {
        struct predict_task *task = &work->results[i].task;
        if (task->rc != RC_INTERNAL)
            continue;
        log_event(LOG_ERROR, "picture_failed",
                  json_pack("{s:s, s:i, s:o*}", "request_id", id, "index", (int)i, "detail",
                            json_string(task->err.text)));
        (void)error_set(&task->err, RC_INTERNAL, "%s", EXCHANGE_INTERNAL_DETAIL);
    }
}

/* On the thread of a worker, the committer or the admission. The exchange still owns `work`: the
 * client may go away at any moment, and on_gone() looks at it until the server has finished with
 * the request. */
static void work_done(struct work_request *work)
{
    struct exchange *exchange = work->ctx;
    const struct work_result *only = &work->results[0];
    if (work->images_per_day > 0 && (work->rc == RC_OK || work->rc == RC_RATE_LIMITED) &&
        !work->replayed)
        auth_images_left(exchange, work->day_remaining);
    if (work->rc != RC_OK) {
        keyed_refuse(exchange, work->rc, &work->err, work->retry_at_ms);
        return;
    }
    if (!exchange->several && only->task.rc != RC_OK) {
        exchange_fail(exchange, only->task.rc, &only->task.err);
        return;
    }
    log_internal(exchange, work);
    if (work->replayed || work->known) {
        store_pool_push(exchange->api->stores, exchange, predict_again);
        return;
    }
    struct buf body = BUF_INIT(ANSWER_SIZE_MAX);
    enum rc rc = answer_print(exchange->format, work, exchange->several, &body);
    if (rc == RC_OK) {
        exchange_answer(exchange, 200, answer_media_type(exchange->format), &body);
        return;
    }
    buf_done(&body);
    exchange_fail(exchange, rc, NULL);
}

void predict_submit_work(struct exchange *exchange, struct work_request *work)
{
    struct error err = {0};
    enum rc rc;
    /* The client may have gone while the reader read: on_gone() saw no work to cancel then. */
    if (atomic_load(&exchange->gone))
        rc = error_set(&err, RC_CANCELLED, "the client went away before the work began");
    else
        rc = work_submit(exchange->api->config.work, work, &err);
    /* After a submit that succeeded, the exchange may be gone already. */
    if (rc != RC_OK)
        exchange_fail(exchange, rc, &err);
}

void predict_go(struct exchange *exchange, enum rc rc, struct work_request *work, struct error *err)
{
    /* A server without jobs may ignore the preference (RFC 7240, section 2). */
    bool async = exchange->api->config.queue != NULL && prefers_async(exchange);
    if (rc == RC_OK && exchange->parameters.webhook.size > 0 && !async)
        rc = error_set(err, RC_INVALID,
                       "'webhook' is for jobs: send 'Prefer: respond-async' with it");
    if (rc != RC_OK) {
        work_request_free(work);
        exchange_fail(exchange, rc, err);
        return;
    }
    if (async) {
        jobs_accept_pictures(exchange, work);
        return;
    }
    work->id = exchange->id;
    work->model_name =
        (struct bytes){exchange->parameters.model.data, exchange->parameters.model.size};
    work->model_version =
        (struct bytes){exchange->parameters.version.data, exchange->parameters.version.size};
    work->min_score = exchange->parameters.min_score;
    work->deadline_ns = exchange->deadline_ns;
    work->tenant = exchange->tenant;
    work->key = exchange->key;
    work->plan = exchange->identity.plan;
    work->plan_version = exchange->identity.plan_version;
    work->reserves = exchange->identity.reserves;
    work->images_per_day = exchange->identity.rule.images_per_day;
    work->reference =
        (struct bytes){exchange->parameters.reference.data, exchange->parameters.reference.size};
    work->metadata =
        (struct bytes){exchange->parameters.metadata.data, exchange->parameters.metadata.size};
    work->done = work_done;
    work->ctx = exchange;
    auth_images_found(exchange, work->image_count);
    atomic_store(&exchange->work, work);
    if (exchange->idempotency_key.size > 0)
        store_pool_push(exchange->api->stores, exchange, predict_keyed);
    else
        predict_submit_work(exchange, work);
}

static enum rc read_raw(struct exchange *exchange, struct work_request **ret_work,
                        struct error *err)
{
    struct bytes body = http_body(exchange->http);
    if (body.size == 0)
        return error_set(err, RC_INVALID,
                         "the body is empty; send a picture, for example with curl "
                         "--data-binary @photo.jpg");
    struct work_request *work = work_request_open(1, exchange->parameters.top_k);
    if (work == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the request; try again later");
    work->results[0].task.file = body;
    *ret_work = work;
    return RC_OK;
}

void route_predict(struct exchange *exchange)
{
    struct error err = {0};
    struct work_request *work = NULL;
    exchange->parameters.top_k = exchange->api->config.top_k;
    exchange->deadline_ns =
        clock_monotonic_ns() + exchange->api->config.request_timeout_ms * NS_PER_MS;
    enum rc rc = answer_choose(http_header(exchange->http, "accept"), &exchange->format, &err);
    if (rc == RC_OK)
        rc = idempotency_key_take(exchange, &err);
    if (rc == RC_OK)
        rc = parameters_read_query(exchange, &err);
    struct bytes type = http_header(exchange->http, "content-type");
    struct bytes coding = http_header(exchange->http, "content-encoding");
    if (rc == RC_OK && coding.size > 0 && !bytes_equal_nocase(coding, bytes_of("identity")))
        rc = error_set(&err, RC_UNSUPPORTED,
                       "Content-Encoding '%.*s' is not supported; send the "
                       "body as it is",
                       (int)(coding.size < 20 ? coding.size : 20), (const char *)coding.data);
    if (rc != RC_OK) {
        exchange_fail(exchange, rc, &err);
        return;
    }
    if (media_type_is_picture(type)) {
        rc = read_raw(exchange, &work, &err);
    } else if (media_type_is(type, "multipart/form-data")) {
        rc = body_multipart_read(exchange, &work, &err);
    } else if (media_type_is(type, "application/json")) {
        if (http_body(exchange->http).size > JSON_INLINE_MAX) {
            reader_push(exchange);
            return;
        }
        rc = body_json_read(exchange, &work, &err);
    } else {
        rc = error_set(&err, RC_UNSUPPORTED,
                       "Content-Type '%.*s' is not supported; send image/*, multipart/form-data or "
                       "application/json",
                       (int)(type.size < 60 ? type.size : 60), (const char *)type.data);
    }
    predict_go(exchange, rc, work, &err);
}
