/* SPDX-License-Identifier: Apache-2.0
 * worker.c - one thread's work: decode pictures into the slots of its batch, run it, answer. */
#include "predict/worker.h"

#include "base/clock.h"

#include <stdlib.h>

static enum rc still_wanted(const struct predict_task *task)
{
    if (atomic_load_explicit(&task->cancelled, memory_order_relaxed))
        return RC_CANCELLED;
    if (task->deadline_ns != 0 && clock_monotonic_ns() >= task->deadline_ns)
        return RC_DEADLINE;
    return RC_OK;
}

static enum rc check_task(void *ctx) { return still_wanted(ctx); }

static enum rc worker_session(struct worker *worker, const struct model *model,
                              struct session **ret_session, struct error *err)
{
    struct session **session = &worker->sessions[model_index(model)];
    if (*session == NULL) {
        struct network *network = NULL;
        enum rc rc = model_network(model, &network, err);
        if (rc == RC_OK)
            rc = session_open(network, session, err);
        if (rc != RC_OK)
            return rc;
    }
    *ret_session = *session;
    return RC_OK;
}

static enum rc hash(struct worker *worker, struct predict_task *task)
{
    if (EVP_DigestInit_ex2(worker->digest, NULL, NULL) == 1 &&
        EVP_DigestUpdate(worker->digest, task->file.data, task->file.size) == 1 &&
        EVP_DigestFinal_ex(worker->digest, task->sha256, NULL) == 1)
        return RC_OK;
    return error_set(&task->err, RC_INTERNAL, "SHA-256 of the picture failed");
}

/* Read the header. `*ret_slow`: the picture is to be decoded apart from others. */
static enum rc admit(struct worker *worker, struct predict_task *task, bool *ret_slow)
{
    enum rc rc = still_wanted(task);
    if (rc != RC_OK)
        return error_set(&task->err, rc, "%s", rc_text(rc));
    rc = image_probe(task->file, &worker->predict->config.limits, &task->info, &task->err);
    *ret_slow = rc == RC_OK && task->info.slow;
    return rc;
}

static enum rc fill_slot(struct worker *worker, struct predict_task *task, uint8_t *slot)
{
    struct image_poll poll = {.check = check_task, .ctx = task};
    struct image_timing timing = {0};
    enum rc rc = hash(worker, task);
    if (rc == RC_OK)
        rc = image_fit(worker->scratch, task->file, &task->info, model_geometry(task->model), &poll,
                       slot, &timing, &task->err);
    task->timing.decode_ns = timing.decode_ns;
    task->timing.fit_ns = timing.fit_ns;
    return rc;
}

static void answer_batch(struct worker *worker, struct session *session, uint32_t count)
{
    struct error err = {0};
    uint64_t started_ns = clock_monotonic_ns();
    enum rc rc = session_run(session, count, &err);
    uint64_t infer_ns = clock_monotonic_ns() - started_ns;
    for (uint32_t i = 0; i < count; i++) {
        struct predict_task *task = worker->batch[i];
        task->timing.infer_ns = infer_ns;
        task->timing.batch_size = count;
        if (rc == RC_OK)
            task->top_count = model_top_k(task->model, session_scores(session, i), task->top_k,
                                          task->min_score, task->top);
        else
            task->err = err;
        predict_finish(task, rc);
    }
}

/* Starting with `task`, decode into the batch what waits for the same model, then run it. */
static void work_on_batch(struct worker *worker, struct predict_task *task)
{
    const struct model *model = task->model;
    struct session *session = NULL;
    enum rc opened = worker_session(worker, model, &session, &task->err);
    if (opened != RC_OK) {
        /* The repository's fault, whatever it is: the request named a model that there is. */
        predict_finish(task, opened == RC_NO_MEMORY ? opened : RC_INTERNAL);
        return;
    }
    uint32_t count = 0;
    bool was_held = task == worker->held;
    /* Broken ones count too: a good picture does not wait for every broken one behind it. */
    uint32_t left = worker->predict->config.batch_max;
    worker->held = NULL;
    while (task != NULL) {
        bool slow = false;
        if (!was_held)
            task->timing.queue_ns = clock_monotonic_ns() - task->submitted_ns;
        enum rc rc = was_held ? RC_OK : admit(worker, task, &slow);
        was_held = false;
        if (slow && count > 0) {
            worker->held = task;
            break;
        }
        if (rc == RC_OK)
            rc = fill_slot(worker, task, session_slot(session, count));
        if (rc == RC_OK)
            worker->batch[count++] = task;
        else
            predict_finish(task, rc);
        task = --left > 0 ? predict_take_more(worker->predict, model) : NULL;
    }
    if (count > 0)
        answer_batch(worker, session, count);
}

void *worker_main(void *argument)
{
    struct worker *worker = argument;
    for (;;) {
        struct predict_task *task =
            worker->held != NULL ? worker->held : predict_take(worker->predict);
        if (task == NULL)
            return NULL;
        work_on_batch(worker, task);
    }
}

enum rc worker_open(struct predict *predict, struct worker *worker, struct error *err)
{
    const struct model_repository *repository = predict->config.repository;
    worker->predict = predict;
    worker->sessions = calloc(model_count(repository), sizeof(struct session *));
    worker->batch = calloc(predict->config.batch_max, sizeof(struct predict_task *));
    worker->digest = EVP_MD_CTX_new();
    if (worker->sessions == NULL || worker->batch == NULL || worker->digest == NULL ||
        EVP_DigestInit_ex2(worker->digest, EVP_sha256(), NULL) != 1)
        return error_set(err, RC_NO_MEMORY, "no memory for a worker");
    enum rc rc = image_scratch_open(&worker->scratch, err);
    if (rc != RC_OK)
        return rc;
    /* The default model's first picture should not pay for this. */
    const struct model *model = NULL;
    rc = model_find(repository, (struct bytes){0}, (struct bytes){0}, &model, err);
    if (rc != RC_OK)
        return rc;
    struct session *session = NULL;
    return worker_session(worker, model, &session, err);
}

void worker_done(struct worker *worker)
{
    if (worker->predict == NULL)
        return;
    for (uint32_t i = 0;
         worker->sessions != NULL && i < model_count(worker->predict->config.repository); i++)
        session_free(worker->sessions[i]);
    free(worker->sessions);
    free(worker->batch);
    EVP_MD_CTX_free(worker->digest);
    image_scratch_free(worker->scratch);
}
