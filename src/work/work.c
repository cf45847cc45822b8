/* SPDX-License-Identifier: Apache-2.0 */
#include "work/commit.h"
#include "work/kept_answer.h"

#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct work {
    struct work_config config;
    struct admission *admission; /* NULL: nothing is stored, and there are no accounts */
    struct committer *committer; /* NULL: nothing is stored */
};

struct work_request *work_request_open(uint32_t image_count, uint32_t top_k)
{
    assert(image_count > 0 && top_k > 0 && top_k <= PREDICT_TOP_K_MAX);
    size_t results_size = image_count * sizeof(struct work_result);
    size_t scores_size = (size_t)image_count * top_k * sizeof(struct class_score);
    struct work_request *request = calloc(1, sizeof(*request) + results_size + scores_size);
    if (request == NULL)
        return NULL;
    request->image_count = image_count;
    request->top_k = top_k;
    struct class_score *scores = (struct class_score *)&request->results[image_count];
    for (uint32_t i = 0; i < image_count; i++) {
        request->results[i].request = request;
        request->results[i].task.top = scores + (size_t)i * top_k;
    }
    return request;
}

void work_request_free(struct work_request *request)
{
    if (request == NULL)
        return;
    buf_done(&request->claim.answer);
    free(request);
}

static uint32_t microseconds(uint64_t ns)
{
    return ns / 1000 < UINT32_MAX ? (uint32_t)(ns / 1000) : UINT32_MAX;
}

struct result work_describe(const struct work_request *request, const struct work_result *result)
{
    const struct predict_task *task = &result->task;
    struct result row = {
        .request_id = request->id,
        .index = request->first_index + (uint32_t)(result - request->results),
        .id = result->id,
        .created_ms = request->finished_ms,
        .job_id = request->job_id,
        .key = bytes_of(request->key != NULL ? request->key : ""),
        .model = bytes_of(model_name(request->model)),
        .version = bytes_of(model_version(request->model)),
        .picture = {.format = bytes_of(image_format_text(task->info.format)),
                    .width = image_upright_width(&task->info),
                    .height = image_upright_height(&task->info)},
        .timing = {.queue_us = microseconds(task->timing.queue_ns),
                   .decode_us = microseconds(task->timing.decode_ns),
                   .fit_us = microseconds(task->timing.fit_ns),
                   .infer_us = microseconds(task->timing.infer_ns),
                   .total_us = microseconds(request->finished_ns - request->submitted_ns)},
        .reference = request->reference,
        .metadata = request->metadata,
    };
    if (task->top_count > 0)
        row.label = bytes_of(model_label(request->model, task->top[0].class_id));
    memcpy(row.picture.sha256, task->sha256, sizeof(row.picture.sha256));
    return row;
}

static uint32_t prediction_count(const struct work_request *request)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < request->image_count; i++)
        count += request->results[i].task.rc == RC_OK;
    return count;
}

/* Ends the claim first: what it gives back is then there for the client's next request. */
static void finish(struct work_request *request)
{
    if (request->claim.hold != NULL) {
        struct claim_outcome *outcome = &request->outcome;
        outcome->image_count = request->rc == RC_OK ? prediction_count(request) : 0;
        outcome->committed_ms = request->finished_ms;
        /* A retry under the key may add to what is stored: then the ledger counts, not the sum of
         * the attempts. */
        if (request->idempotency_key.size > 0 && !outcome->kept && outcome->image_count > 0)
            outcome->counted = false;
        claim_end(request->work->admission, &request->claim, outcome);
    }
    request->done(request);
}

enum rc work_open(const struct work_config *config, struct work **ret_work, struct error *err)
{
    struct work *work = calloc(1, sizeof(*work));
    if (work == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the work");
    work->config = *config;
    enum rc rc = RC_OK;
    if (config->results != NULL || config->account != NULL)
        rc = admission_open(config->results, config->account, &work->admission, err);
    if (rc == RC_OK && config->results != NULL)
        rc = committer_open(config->results, config->blob, finish, &work->committer, err);
    if (rc != RC_OK) {
        work_free(work);
        return rc;
    }
    *ret_work = work;
    return RC_OK;
}

bool work_is_transient(enum rc rc) { return rc_retryable(rc) || rc_http_status(rc) >= 500; }

static void task_done(struct predict_task *task)
{
    struct work_result *result =
        (struct work_result *)((char *)task - offsetof(struct work_result, task));
    struct work_request *request = result->request;
    if (atomic_fetch_sub(&request->pending_count, 1) != 1)
        return;
    request->finished_ns = clock_monotonic_ns();
    request->finished_ms = clock_wall_ms();
    struct committer *committer = request->work->committer;
    if (committer != NULL && commit_needed(request))
        committer_push(committer, request);
    else
        finish(request);
}

static void name_pictures(struct work_request *request)
{
    for (uint32_t i = 0; i < request->image_count; i++)
        request->results[i].id = id_derive(request->id, request->first_index + i);
}

static enum rc begin(struct work_request *request, struct error *err)
{
    struct predict_task **tasks = calloc(request->image_count, sizeof(struct predict_task *));
    if (tasks == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for %u pictures", request->image_count);
    name_pictures(request);
    for (uint32_t i = 0; i < request->image_count; i++) {
        struct work_result *result = &request->results[i];
        result->task.model = request->model;
        result->task.top_k = request->top_k;
        result->task.min_score = request->min_score;
        result->task.deadline_ns = request->deadline_ns;
        result->task.background = !id_is_zero(request->job_id);
        result->task.done = task_done;
        tasks[i] = &result->task;
    }
    atomic_store(&request->pending_count, request->image_count);
    enum rc rc = predict_submit(request->work->config.predict, tasks, request->image_count, err);
    free(tasks);
    return rc;
}

/* On the admission's thread. */
static void admitted(struct claim *claim)
{
    struct work_request *request = claim->ctx;
    request->id = claim->id;
    request->rc = claim->rc;
    request->err = claim->err;
    request->store_err = claim->store_err;
    request->retry_at_ms = claim->retry_at_ms;
    request->day_remaining = claim->day_remaining;
    request->replayed = claim->replayed;
    request->outcome = (struct claim_outcome){.counted = true};
    if (claim->replayed) {
        name_pictures(request);
        struct bytes kept = {claim->answer.data, claim->answer.size};
        request->rc = kept_answer_read(kept, request, &request->err);
    } else if (request->rc == RC_OK) {
        struct error err = {0};
        enum rc rc = begin(request, &err);
        if (rc == RC_OK)
            return; /* it may have ended already */
        request->rc = rc;
        request->err = err;
    }
    finish(request);
}

static enum rc admit(struct work_request *request, struct error *err)
{
    request->claim = (struct claim){
        .tenant = request->tenant,
        .id = request->id,
        .idempotency_key = request->idempotency_key,
        .reserves = request->reserves,
        .key = request->key != NULL ? request->key : "",
        .model = model_name(request->model),
        .images_per_day = request->images_per_day,
        .image_count = request->image_count,
        .deadline_ns = request->deadline_ns,
        .cancelled = &request->results[0].task.cancelled,
        .done = admitted,
        .ctx = request,
    };
    memcpy(request->claim.fingerprint, request->fingerprint, sizeof(request->fingerprint));
    return claim_submit(request->work->admission, &request->claim, err);
}

enum rc work_submit(struct work *work, struct work_request *request, struct error *err)
{
    assert(request->done != NULL);
    assert(request->image_count <= RESULTS_PUT_MAX);
    enum rc rc = model_find(work->config.repository, request->model_name, request->model_version,
                            &request->model, err);
    if (rc != RC_OK)
        return rc;
    request->work = work;
    request->submitted_ns = clock_monotonic_ns();
    if (request->idempotency_key.size > 0 || request->reserves)
        return admit(request, err);
    return begin(request, err);
}

enum rc work_claim(struct work *work, struct claim *claim, struct error *err)
{
    return claim_submit(work->admission, claim, err);
}

void work_claim_end(struct work *work, struct claim *claim, const struct claim_outcome *outcome)
{
    claim_end(work->admission, claim, outcome);
}

void work_cancel(struct work_request *request)
{
    for (uint32_t i = 0; i < request->image_count; i++)
        predict_cancel(&request->results[i].task);
}

void work_free(struct work *work)
{
    if (work == NULL)
        return;
    committer_free(work->committer);
    admission_free(work->admission);
    free(work);
}
