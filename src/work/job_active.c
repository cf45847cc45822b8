/* SPDX-License-Identifier: Apache-2.0
 * job_active.c - one job in work: which pictures are left, their reading, their outcomes. */
#include "work/job_active.h"

#include "account/quota.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* A reservation is held for a day: one of a job that waited longer is made again. */
#define RESERVATION_FRESH_MS (12ull * 3600 * 1000)

/* What fits, since the record and the job were checked. */
static void copy_text(struct bytes text, char into[RESULT_NAME_SIZE_MAX + 1])
{
    if (text.size > 0 && text.size <= RESULT_NAME_SIZE_MAX)
        memcpy(into, text.data, text.size);
}

/* What the attempt is said to have failed by is its first failure. */
static void note_failure(struct active *active, enum rc rc, const struct error *err)
{
    if (active->failure_count++ > 0)
        return;
    active->failure = *err;
    active->failure.rc = rc;
}

static void note_outcome(struct active *active, uint32_t index)
{
    if (active->known[index])
        return;
    active->known[index] = true;
    active->known_count++;
}

static enum rc note_item(void *ctx, const struct results_job_item *item)
{
    struct active *active = ctx;
    if (item->index < active_record(active)->picture_count)
        note_outcome(active, item->index);
    return RC_OK;
}

static enum rc reserve_again(struct job_runner *runner, const struct active *active,
                             struct error *err)
{
    struct account *account = runner->config.stores.account;
    const struct result_job *record = active_record(active);
    uint64_t now_ms = clock_wall_ms();
    if (!active->job.reserves || account == NULL || record->reopened > 0 ||
        now_ms - record->created_ms < RESERVATION_FRESH_MS)
        return RC_OK;
    char model[RESULT_NAME_SIZE_MAX + 1] = "";
    copy_text(active->job.model, model);
    struct quota_request request = {.id = record->id,
                                    .tenant = active->tenant,
                                    .key = active->key,
                                    .images_per_day = active->job.images_per_day,
                                    .model = model,
                                    .image_count = record->picture_count};
    enum rc rc = account_reserve(account, &request, 1, QUOTA_HOLD_MS_MAX, now_ms, err);
    if (rc == RC_OK && request.rc != RC_OK) {
        *err = request.err;
        rc = request.rc;
    }
    if (rc == RC_OK && request.refusal != QUOTA_PASS)
        rc = error_set(err, RC_RATE_LIMITED, "%s", quota_refusal_text(request.refusal));
    return rc;
}

/* RC_OK with the record open and readable. GONE: there is nothing to do. */
static enum rc read_record(struct job_runner *runner, struct active *active, struct error *err)
{
    struct results *results = runner->config.stores.results;
    struct bytes tenant = bytes_of(active->tenant);
    struct id id = active->receipt.id;
    enum rc rc = results_job_get(results, tenant, id, &active->set, err);
    if (rc == RC_NOT_FOUND)
        return RC_GONE;
    if (rc != RC_OK)
        return rc;
    enum result_job_end ended = active_record(active)->ended;
    if (ended == RESULT_JOB_DONE || ended == RESULT_JOB_CANCELLED)
        return RC_GONE;
    /* Dead, and yet in the queue: an operator has revived it. */
    if (ended == RESULT_JOB_DEAD) {
        rc = results_job_reopen(results, tenant, id, err);
        if (rc == RC_OK)
            rc = results_job_get(results, tenant, id, &active->set, err);
    }
    if (rc == RC_OK)
        rc = job_read(active_record(active)->body, &active->job, err);
    if (rc != RC_OK)
        return rc;
    copy_text(active_record(active)->key, active->key);
    copy_text(active->job.plan, active->plan);
    rc = results_job_items(results, tenant, id, 0, RESULT_JOB_PICTURE_COUNT_MAX, note_item, active,
                           err);
    return rc == RC_OK ? reserve_again(runner, active, err) : rc;
}

enum rc active_open(struct job_runner *runner, const struct queue_delivery *delivery,
                    struct active **ret_active, struct error *err)
{
    *ret_active = NULL;
    struct active *active = calloc(1, sizeof(*active));
    if (active == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for a job");
    active->receipt = delivery->receipt;
    active->delivery_count = delivery->delivery_count;
    memcpy(active->tenant, delivery->tenant, sizeof(active->tenant));
    enum rc rc = read_record(runner, active, err);
    if (rc == RC_OK)
        *ret_active = active;
    else
        active_free(active);
    return rc;
}

void active_free(struct active *active)
{
    if (active == NULL)
        return;
    results_job_set_done(&active->set);
    free(active);
}

bool active_is_spent(const struct active *active)
{
    return active->state != ACTIVE_WORKING || active->failure_count >= FAILURE_COUNT_MAX ||
           active->next >= active_record(active)->picture_count;
}

static const uint8_t *picture_hash(const struct active *active, uint32_t index)
{
    return active_record(active)->pictures + (size_t)index * BLOB_SHA256_SIZE;
}

/* A picture that cannot even be read has no request: its outcome is written here. */
static void fail_item(struct job_runner *runner, struct active *active, uint32_t index, enum rc rc,
                      const char *text)
{
    struct error err = {0};
    const struct result_job *record = active_record(active);
    struct result_commit commit = {.kind = RESULT_UNBILLED,
                                   .tenant = bytes_of(active->tenant),
                                   .prediction = {.request_id = record->id,
                                                  .index = index,
                                                  .created_ms = clock_wall_ms(),
                                                  .job_id = record->id,
                                                  .key = record->key,
                                                  .model = active->job.model,
                                                  .version = active->job.version},
                                   .outcome = rc,
                                   .reason = bytes_of(text)};
    struct result_commit *const commits[] = {&commit};
    enum rc put = results_put(runner->config.stores.results, commits, 1, &err);
    if (put == RC_OK)
        put = commit.rc;
    if (put == RC_OK)
        note_outcome(active, index);
    else
        note_failure(active, put, &err);
}

/* True: the picture is there. */
static bool read_picture(struct job_runner *runner, struct active *active, struct flight *flight)
{
    struct error err = {0};
    flight->picture = (struct buf)BUF_INIT(runner->config.picture_max);
    enum rc rc = blob_get(runner->config.blob, active->tenant, picture_hash(active, flight->index),
                          &flight->picture, &err);
    if (rc == RC_OK)
        return true;
    buf_done(&flight->picture);
    if (rc == RC_NOT_FOUND)
        fail_item(runner, active, flight->index, rc, "the picture is no longer stored");
    else if (rc == RC_ARCHIVED)
        fail_item(runner, active, flight->index, rc, rc_text(rc));
    else if (rc == RC_TOO_LARGE)
        fail_item(runner, active, flight->index, rc,
                  "the picture is larger than this server takes them");
    else
        note_failure(active, rc, &err);
    return false;
}

/* On a worker's or the committer's thread. */
static void flight_done(struct work_request *request)
{
    struct flight *flight = request->ctx;
    struct job_runner *runner = flight->runner;
    struct queue *queue = runner->config.stores.queue;
    pthread_mutex_lock(&runner->lock);
    flight->next = runner->finished;
    runner->finished = flight;
    pthread_mutex_unlock(&runner->lock);
    /* The runner may have landed it by now, ended and gone; the queue outlives all of them. */
    queue_wake(queue);
}

static struct work_request *make_request(const struct active *active, struct flight *flight)
{
    const struct job *job = &active->job;
    const struct result_job *record = active_record(active);
    struct work_request *request = work_request_open(1, job->top_k);
    if (request == NULL)
        return NULL;
    request->id = record->id;
    request->job_id = record->id;
    request->first_index = flight->index;
    request->model_name = job->model;
    request->model_version = job->version;
    request->min_score = job->min_score;
    request->tenant = active->tenant;
    request->key = active->key;
    request->plan = active->plan;
    request->plan_version = job->plan_version;
    request->reference = job->reference;
    request->metadata = job->metadata;
    request->done = flight_done;
    request->ctx = flight;
    request->results[0].task.file = (struct bytes){flight->picture.data, flight->picture.size};
    return request;
}

static void take_off(struct job_runner *runner, struct flight *flight)
{
    flight->prev_flying = NULL;
    flight->next_flying = runner->flying;
    if (runner->flying != NULL)
        runner->flying->prev_flying = flight;
    runner->flying = flight;
    runner->flight_count++;
    runner->flight_size += flight->picture.size;
    flight->active->flight_count++;
}

static void let_go(struct job_runner *runner, struct flight *flight)
{
    *(flight->prev_flying != NULL ? &flight->prev_flying->next_flying : &runner->flying) =
        flight->next_flying;
    if (flight->next_flying != NULL)
        flight->next_flying->prev_flying = flight->prev_flying;
    runner->flight_count--;
    runner->flight_size -= flight->picture.size;
    flight->active->flight_count--;
    work_request_free(flight->request);
    buf_done(&flight->picture);
    flight->next = runner->idle;
    runner->idle = flight;
}

enum rc active_begin_next(struct job_runner *runner, struct active *active, struct error *err)
{
    struct flight *flight = runner->idle;
    uint32_t count = active_record(active)->picture_count;
    while (active->next < count && active->known[active->next])
        active->next++;
    if (active->next == count)
        return RC_OK;
    flight->active = active;
    flight->index = active->next;
    if (!read_picture(runner, active, flight)) {
        active->next++;
        return RC_OK;
    }
    flight->request = make_request(active, flight);
    if (flight->request == NULL) {
        buf_done(&flight->picture);
        return error_set(err, RC_BUSY, "no memory for a picture's request");
    }
    runner->idle = flight->next;
    take_off(runner, flight);
    enum rc rc = work_submit(runner->config.work, flight->request, err);
    /* After a submit that succeeded, the picture may be finished, and is landed by and by. */
    if (rc == RC_OK) {
        active->next++;
        return RC_OK;
    }
    let_go(runner, flight);
    if (rc == RC_BUSY || rc == RC_DRAINING)
        return RC_BUSY;
    /* The model is gone, and so it is for all the others: the attempt is over. */
    note_failure(active, rc, err);
    active->next = count;
    return RC_OK;
}

void active_land(struct job_runner *runner, struct flight *flight)
{
    struct active *active = flight->active;
    const struct predict_task *task = &flight->request->results[0].task;
    if (task->rc == RC_OK || !work_is_transient(task->rc))
        note_outcome(active, flight->index);
    else if (active->state == ACTIVE_WORKING)
        note_failure(active, task->rc,
                     flight->request->store_err.text[0] != '\0' ? &flight->request->store_err
                                                                : &task->err);
    let_go(runner, flight);
}

void active_cancel_flights(struct job_runner *runner, struct active *active)
{
    for (struct flight *flight = runner->flying; flight != NULL; flight = flight->next_flying)
        if (flight->active == active)
            work_cancel(flight->request);
}
