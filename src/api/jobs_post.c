/* SPDX-License-Identifier: Apache-2.0
 * jobs_post.c - POST /v1/jobs, and POST /v1/predict with `Prefer: respond-async`: what a job is to
 * do is understood, then accepted: its pictures are there, its images fit into the limits, its
 * record is durable. From then on it is worked on, whatever becomes of this process; the queue is
 * told last, and if it cannot be, the runner finds the record. All on the stores' threads. */
#include "api/idempotency.h"
#include "api/jobs.h"

#include "account/quota.h"
#include "base/clock.h"
#include "queue/queue.h"
#include "work/webhook.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MISSING_SHOWN_MAX 10u
#define REFUSED_MAX       1000u /* records that are looked at for one key */

static const char no_room[] = "too many jobs are waiting";

struct job_post {
    struct job job; /* the texts are the exchange's, and the model's */
    uint32_t picture_count;
    uint8_t pictures[]; /* SHA-256, 32 bytes each */
};

void job_post_free(struct job_post *post) { free(post); }

static struct bytes view(const struct buf *buf) { return (struct bytes){buf->data, buf->size}; }

static uint8_t *hash_at(struct job_post *post, uint32_t index)
{
    return post->pictures + (size_t)index * BLOB_SHA256_SIZE;
}

bool prefers_async(const struct exchange *exchange)
{
    struct bytes text = http_header(exchange->http, "prefer");
    static const char want[] = "respond-async";
    while (text.size > 0) {
        const uint8_t *comma = memchr(text.data, ',', text.size);
        struct bytes part = {text.data, comma != NULL ? (size_t)(comma - text.data) : text.size};
        size_t used = part.size + (comma != NULL);
        text = (struct bytes){text.data + used, text.size - used};
        while (part.size > 0 && (part.data[0] == ' ' || part.data[0] == '\t'))
            part = (struct bytes){part.data + 1, part.size - 1};
        const uint8_t *semicolon = part.size > 0 ? memchr(part.data, ';', part.size) : NULL;
        if (semicolon != NULL)
            part.size = (size_t)(semicolon - part.data);
        while (part.size > 0 &&
               (part.data[part.size - 1] == ' ' || part.data[part.size - 1] == '\t'))
            part.size--;
        if (bytes_equal_nocase(part, bytes_of(want)))
            return true;
    }
    return false;
}

/* --- what is asked for ----------------------------------------------------------------------- */

/* The rest of the parameters has been read; the model is chosen now, for all pictures. */
static enum rc describe(struct exchange *exchange, struct job *job, struct error *err)
{
    const struct predict_parameters *parameters = &exchange->parameters;
    const struct api_config *config = &exchange->api->config;
    const struct model *model = NULL;
    enum rc rc = model_find(config->repository, view(&parameters->model),
                            view(&parameters->version), &model, err);
    if (rc == RC_OK && parameters->webhook.size > 0 && config->account == NULL)
        rc = error_set(err, RC_INVALID,
                       "this server has no accounts, so it has no secret to sign webhooks with; "
                       "leave 'webhook' out and ask for the job");
    struct error why = {0};
    if (rc == RC_OK && parameters->webhook.size > 0 &&
        webhook_url_check(view(&parameters->webhook), config->webhook_internal, &why) != RC_OK)
        rc = error_set(err, RC_INVALID, "webhook: %.200s", why.text);
    if (rc != RC_OK)
        return rc;
    *job = (struct job){.model = bytes_of(model_name(model)),
                        .version = bytes_of(model_version(model)),
                        .reference = view(&parameters->reference),
                        .metadata = view(&parameters->metadata),
                        .plan = bytes_of(exchange->identity.plan),
                        .plan_version = exchange->identity.plan_version,
                        .top_k = parameters->top_k,
                        .min_score = parameters->min_score,
                        .reserves = exchange->identity.reserves && config->account != NULL,
                        .images_per_day = exchange->identity.rule.images_per_day,
                        .webhook = view(&parameters->webhook)};
    return RC_OK;
}

static enum rc open_post(struct exchange *exchange, uint32_t count, struct error *err)
{
    struct job_post *post = calloc(1, sizeof(*post) + (size_t)count * BLOB_SHA256_SIZE);
    if (post == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the job; try again later");
    post->picture_count = count;
    exchange->job_post = post;
    return describe(exchange, &post->job, err);
}

static enum rc read_hashes(struct job_post *post, const json_t *images, struct error *err)
{
    for (uint32_t i = 0; i < post->picture_count; i++) {
        const json_t *image = json_array_get(images, i);
        struct bytes text = {(const uint8_t *)json_string_value(image), json_string_length(image)};
        if (text.data == NULL || !sha256_parse(text, hash_at(post, i)))
            return error_set(err, RC_INVALID,
                             "image %u is no SHA-256: 64 characters 0-9 a-f, as PUT /v1/images "
                             "answered it",
                             i);
    }
    return RC_OK;
}

static enum rc read_members(struct exchange *exchange, const json_t *root,
                            const json_t **ret_images, struct error *err)
{
    const char *name = NULL;
    const json_t *value = NULL;
    *ret_images = json_object_get(root, "images");
    size_t count = json_array_size(*ret_images);
    if (!json_is_array(*ret_images) || count == 0)
        return error_set(err, RC_INVALID,
                         "the object has no 'images': a list of SHA-256, as PUT /v1/images "
                         "answers them");
    if (count > RESULT_JOB_PICTURE_COUNT_MAX)
        return error_set(err, RC_TOO_LARGE, "%zu images in one job; %u is the most", count,
                         RESULT_JOB_PICTURE_COUNT_MAX);
    json_object_foreach((json_t *)(uintptr_t)root, name, value)
    {
        enum rc rc = RC_OK;
        char room[SCALAR_TEXT_SIZE];
        struct bytes text;
        if (value == *ret_images)
            continue;
        if (strcmp(name, "metadata") == 0) {
            rc = metadata_set(&exchange->parameters, value, err);
        } else {
            rc = scalar_text(name, value, room, &text, err);
            if (rc == RC_OK)
                rc = parameter_set(&exchange->parameters, bytes_of(name), text, err);
        }
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc read_post(struct exchange *exchange, struct error *err)
{
    json_t *root = NULL;
    const json_t *images = NULL;
    exchange->parameters.top_k = exchange->api->config.top_k;
    enum rc rc = body_object_read(exchange, &root, err);
    if (rc == RC_OK)
        rc = read_members(exchange, root, &images, err);
    if (rc == RC_OK)
        rc = open_post(exchange, (uint32_t)json_array_size(images), err);
    if (rc == RC_OK)
        rc = read_hashes(exchange->job_post, images, err);
    json_decref(root);
    return rc;
}

/* --- acceptance ------------------------------------------------------------------------------ */

/* A job's pictures are needed from now on: their age begins anew, and those that are not there are
 * named. */
static enum rc renew_pictures(struct exchange *exchange, struct error *err)
{
    struct job_post *post = exchange->job_post;
    struct blob_item *items = calloc(post->picture_count, sizeof(*items));
    if (items == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the job; try again later");
    for (uint32_t i = 0; i < post->picture_count; i++) {
        items[i].tenant = exchange->tenant;
        items[i].renew_only = true;
        memcpy(items[i].sha256, hash_at(post, i), BLOB_SHA256_SIZE);
    }
    enum rc rc =
        blob_put(exchange->api->config.blob, items, post->picture_count, clock_wall_ms(), err);
    uint32_t missing_count = 0;
    json_t *missing = json_array();
    for (uint32_t i = 0; i < post->picture_count && rc != RC_OK; i++) {
        char text[SHA256_TEXT_SIZE];
        if (items[i].rc != RC_OK && items[i].rc != RC_NOT_FOUND) {
            *err = items[i].err;
            rc = items[i].rc;
            break;
        }
        if (items[i].rc != RC_NOT_FOUND || missing_count++ >= MISSING_SHOWN_MAX)
            continue;
        sha256_text(items[i].sha256, text);
        (void)json_array_append_new(missing, json_string(text));
    }
    if (rc == RC_NOT_FOUND) {
        rc = error_set(err, RC_INVALID,
                       "%u of the %u images are not stored; send them with PUT /v1/images first",
                       missing_count, post->picture_count);
        exchange->problem_members = json_pack("{s:O}", "missing", missing);
    }
    json_decref(missing);
    free(items);
    return rc;
}

/* Pictures that came with the request are stored, but for those that are none: their items fail. */
static enum rc store_pictures(struct exchange *exchange, struct error *err)
{
    const struct api_config *config = &exchange->api->config;
    struct job_post *post = exchange->job_post;
    struct work_request *work = atomic_load(&exchange->work);
    struct blob_item *items = calloc(post->picture_count, sizeof(*items));
    if (items == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the job; try again later");
    uint32_t count = 0;
    for (uint32_t i = 0; i < post->picture_count; i++) {
        struct predict_task *task = &work->results[i].task;
        task->rc = image_probe(task->file, &config->limits, &task->info, &task->err);
        if (task->rc != RC_OK)
            continue;
        items[count] = (struct blob_item){.tenant = exchange->tenant,
                                          .content = task->file,
                                          .media_type = image_format_media_type(task->info.format)};
        memcpy(items[count++].sha256, hash_at(post, i), BLOB_SHA256_SIZE);
    }
    enum rc rc = RC_OK;
    if (count == 0 && !exchange->several)
        rc = error_set(err, work->results[0].task.rc, "%s", work->results[0].task.err.text);
    else if (count > 0)
        rc = blob_put(config->blob, items, count, clock_wall_ms(), err);
    free(items);
    return rc;
}

static enum rc reserve(struct exchange *exchange, struct id id, struct error *err)
{
    const struct job_post *post = exchange->job_post;
    if (!post->job.reserves)
        return RC_OK;
    struct quota_request request = {.id = id,
                                    .tenant = exchange->tenant,
                                    .key = exchange->key,
                                    .images_per_day = post->job.images_per_day,
                                    .model = (const char *)post->job.model.data,
                                    .image_count = post->picture_count};
    enum rc rc = account_reserve(exchange->api->config.account, &request, 1, QUOTA_HOLD_MS_MAX,
                                 clock_wall_ms(), err);
    if (rc == RC_OK && request.rc != RC_OK) {
        *err = request.err;
        rc = request.rc;
    }
    if (rc != RC_OK)
        return rc;
    if (request.images_per_day > 0)
        auth_images_left(exchange, request.day_remaining);
    exchange->retry_at_ms = request.retry_at_ms;
    return request.refusal == QUOTA_PASS
               ? RC_OK
               : error_set(err, RC_RATE_LIMITED, "%s", quota_refusal_text(request.refusal));
}

static void give_back(struct exchange *exchange, struct id id)
{
    struct quota_settlement settlement = {
        .id = id, .tenant = exchange->tenant, .committed_ms = clock_wall_ms()};
    if (exchange->job_post->job.reserves)
        (void)!account_settle(exchange->api->config.account, &settlement, 1, NULL);
}

static enum rc put_record(struct exchange *exchange, struct result_job *record, struct error *err)
{
    struct job_post *post = exchange->job_post;
    struct buf body = BUF_INIT(RESULT_JOB_BODY_SIZE_MAX);
    enum rc rc = job_write(&post->job, &body, err);
    record->body = view(&body);
    if (rc == RC_OK)
        rc =
            results_job_put(exchange->api->config.results, bytes_of(exchange->tenant), record, err);
    record->body = (struct bytes){0};
    buf_done(&body);
    return rc;
}

/* Those that store_pictures() found to be none. */
static enum rc put_failures(struct exchange *exchange, const struct result_job *record,
                            struct error *err)
{
    const struct job_post *post = exchange->job_post;
    struct work_request *work = atomic_load(&exchange->work);
    enum rc rc = RC_OK;
    for (uint32_t i = 0; work != NULL && i < work->image_count && rc == RC_OK; i++) {
        const struct predict_task *task = &work->results[i].task;
        if (task->rc == RC_OK)
            continue;
        struct result_commit commit = {.kind = RESULT_UNBILLED,
                                       .tenant = bytes_of(exchange->tenant),
                                       .prediction = {.request_id = record->id,
                                                      .index = i,
                                                      .created_ms = record->created_ms,
                                                      .job_id = record->id,
                                                      .key = record->key,
                                                      .model = post->job.model,
                                                      .version = post->job.version},
                                       .outcome = task->rc,
                                       .reason = bytes_of(task->err.text)};
        struct result_commit *const commits[] = {&commit};
        rc = results_put(exchange->api->config.results, commits, 1, err);
        if (rc == RC_OK)
            rc = commit.rc;
    }
    return rc;
}

static enum rc make_job(struct exchange *exchange, struct result_job *record, struct error *err)
{
    const struct api_config *config = &exchange->api->config;
    const struct job_stores stores = job_stores_of(exchange);
    struct queue_message message = {.id = record->id, .tenant = exchange->tenant};
    enum rc rc = atomic_load(&exchange->work) != NULL ? store_pictures(exchange, err)
                                                      : renew_pictures(exchange, err);
    if (rc == RC_OK)
        rc = reserve(exchange, record->id, err);
    if (rc != RC_OK)
        return rc;
    rc = put_record(exchange, record, err);
    if (rc != RC_OK) {
        give_back(exchange, record->id);
        return rc;
    }
    rc = put_failures(exchange, record, err);
    if (rc == RC_OK)
        rc = queue_push(config->queue, &message, 1, record->created_ms, NULL, err);
    if (rc != RC_BUSY)
        return RC_OK; /* its record is durable: the runner pushes it again */
    struct error end_err = {0};
    struct job untold = exchange->job_post->job; /* the client hears of it now, and no more */
    untold.webhook = (struct bytes){0};
    return job_end(&stores, exchange->tenant, record, &untold, RESULT_JOB_CANCELLED, no_room,
                   clock_wall_ms(), &end_err) == RC_OK
               ? rc
               : RC_OK;
}

/* The job of the request's key, or the id of the one to make: a request may have made it and died
 * before it could note that. One that found no room has left its record, under an id of its own. */
static enum rc find_job(struct exchange *exchange, struct id *ret_id, bool *ret_made,
                        struct error *err)
{
    struct result_job_set set = {0};
    enum rc rc = RC_OK;
    bool refused = exchange->keyed != NULL;
    *ret_id = keyed_id(exchange);
    *ret_made = false;
    for (uint32_t i = 0; refused && rc == RC_OK; i++) {
        if (i == REFUSED_MAX) {
            rc = error_set(err, RC_BUSY, "%u requests with one key found no room", REFUSED_MAX);
            break;
        }
        *ret_id = id_derive(keyed_id(exchange), i);
        rc = results_job_get(exchange->api->config.results, bytes_of(exchange->tenant), *ret_id,
                             &set, err);
        refused = rc == RC_OK && set.items[0].ended == RESULT_JOB_CANCELLED &&
                  bytes_equal(set.items[0].reason, bytes_of(no_room));
        *ret_made = rc == RC_OK && !refused;
    }
    results_job_set_done(&set);
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

static void answer_accepted(struct exchange *exchange, struct id id)
{
    char text[ID_TEXT_SIZE];
    char location[EXCHANGE_HEADER_SIZE];
    id_text(id, text);
    (void)snprintf(location, sizeof(location), "/v1/jobs/%s", text);
    exchange_add_header(exchange, "Location", location);
    if (atomic_load(&exchange->work) != NULL)
        exchange_add_header(exchange, "Preference-Applied", "respond-async");
    job_answer(exchange, 202, id);
}

/* The first request with this key made the job: it is answered as it is by now. */
static void accepted_before(struct exchange *exchange)
{
    struct error err = {0};
    struct id id;
    bool made = false;
    enum rc rc = find_job(exchange, &id, &made, &err);
    if (rc == RC_OK)
        answer_accepted(exchange, id);
    else
        exchange_fail_store(exchange, rc, &err);
}

static void accept(struct exchange *exchange)
{
    struct error err = {0};
    struct job_post *post = exchange->job_post;
    struct result_job record = {.created_ms = clock_wall_ms(),
                                .key = bytes_of(exchange->key),
                                .picture_count = post->picture_count,
                                .pictures = post->pictures};
    bool made = false;
    enum rc rc = find_job(exchange, &record.id, &made, &err);
    if (rc == RC_OK && !made)
        rc = make_job(exchange, &record, &err);
    if (rc == RC_RATE_LIMITED) {
        keyed_refuse(exchange, rc, &err, exchange->retry_at_ms);
        return;
    }
    if (rc != RC_OK) {
        exchange_fail_store(exchange, rc, &err);
        return;
    }
    keyed_complete(exchange);
    answer_accepted(exchange, record.id);
}

/* --- under the key --------------------------------------------------------------------------- */

static enum rc take_fingerprint(const struct exchange *exchange, uint8_t into[32],
                                struct error *err)
{
    const struct predict_parameters *parameters = &exchange->parameters;
    const struct job_post *post = exchange->job_post;
    struct fingerprint *fingerprint = NULL;
    uint32_t score;
    memcpy(&score, &parameters->min_score, sizeof(score));
    enum rc rc = fingerprint_open(exchange, &fingerprint, err);
    if (rc != RC_OK)
        return rc;
    fingerprint_add(fingerprint, bytes_of("job"));
    const struct buf *const texts[] = {&parameters->model, &parameters->version,
                                       &parameters->reference, &parameters->metadata,
                                       &parameters->webhook};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        fingerprint_add(fingerprint, view(texts[i]));
    fingerprint_add_number(fingerprint, parameters->top_k);
    fingerprint_add_number(fingerprint, score);
    fingerprint_add(fingerprint,
                    (struct bytes){post->pictures, (size_t)post->picture_count * BLOB_SHA256_SIZE});
    return fingerprint_take(fingerprint, into, err);
}

static void accept_keyed(struct exchange *exchange, enum rc rc, struct error *err)
{
    uint8_t fingerprint[32];
    if (rc == RC_OK && exchange->idempotency_key.size > 0) {
        rc = take_fingerprint(exchange, fingerprint, err);
        if (rc == RC_OK) {
            keyed_run(exchange, fingerprint, accept, accepted_before);
            return;
        }
    }
    if (rc == RC_OK)
        accept(exchange);
    else
        exchange_fail(exchange, rc, err);
}

static void jobs_post(struct exchange *exchange)
{
    struct error err = {0};
    enum rc rc = read_post(exchange, &err);
    accept_keyed(exchange, rc, &err);
}

static void pictures_post(struct exchange *exchange)
{
    struct error err = {0};
    struct work_request *work = atomic_load(&exchange->work);
    enum rc rc = open_post(exchange, work->image_count, &err);
    for (uint32_t i = 0; i < work->image_count && rc == RC_OK; i++) {
        struct bytes file = work->results[i].task.file;
        if (EVP_Digest(file.data, file.size, hash_at(exchange->job_post, i), NULL, EVP_sha256(),
                       NULL) != 1)
            rc = error_set(&err, RC_NO_MEMORY, "no memory to hash the picture");
    }
    accept_keyed(exchange, rc, &err);
}

void jobs_accept_pictures(struct exchange *exchange, struct work_request *work)
{
    atomic_store(&exchange->work, work);
    exchange_push_jobs(exchange, pictures_post);
}

void route_jobs_post(struct exchange *exchange)
{
    struct error err = {0};
    enum rc rc = idempotency_key_take(exchange, &err);
    if (rc == RC_OK)
        exchange_push_jobs(exchange, jobs_post);
    else
        exchange_fail(exchange, rc, &err);
}
