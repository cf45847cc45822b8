/* SPDX-License-Identifier: Apache-2.0 */
#include "work/commit.h"
#include "work/kept_answer.h"

#include "base/clock.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What is written together. */
struct group {
    struct blob_item *pictures;
    uint32_t picture_count;
    struct result_commit *rows;
    uint32_t row_count;
    struct result_commit **puts; /* the rows whose picture is there */
    uint32_t put_count;
    struct work_result **members; /* of the rows, then of the puts */
    /* A model without labels.txt makes its labels up, and keeps the last two of a thread only. */
    char (*labels)[RESULT_LABEL_SIZE_MAX];
    uint8_t *scores_end;
};

struct committer {
    struct results *results;
    struct blob *blob;
    void (*done)(struct work_request *request);
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct work_request *head; /* oldest first */
    struct work_request *tail;
    bool ending;
    struct group group; /* the thread's alone, like what follows */
    uint8_t *scores;    /* packed, of all */
    size_t scores_room;
};

static bool is_cancelled(const struct work_request *request)
{
    return atomic_load_explicit(&request->results[0].task.cancelled, memory_order_relaxed);
}

static void fail(struct work_result *result, enum rc rc, const char *text)
{
    result->task.rc = error_set(&result->task.err, rc, "%s", text);
}

static void fail_request(struct work_request *request, enum rc rc, const char *text)
{
    for (uint32_t i = 0; i < request->image_count; i++)
        if (request->results[i].task.rc == RC_OK)
            fail(&request->results[i], rc, text);
}

/* As many requests, oldest first, as fit into one call of the stores. Waits for the first. */
static struct work_request *take_group(struct committer *committer)
{
    pthread_mutex_lock(&committer->lock);
    while (committer->head == NULL && !committer->ending)
        pthread_cond_wait(&committer->more, &committer->lock);
    struct work_request *group = committer->head;
    struct work_request **link = &committer->head;
    uint32_t count = 0;
    while (*link != NULL && count + (*link)->image_count <= RESULTS_PUT_MAX) {
        count += (*link)->image_count;
        link = &(*link)->next;
    }
    struct work_request *rest = *link;
    *link = NULL;
    committer->head = rest;
    if (rest == NULL)
        committer->tail = NULL;
    pthread_mutex_unlock(&committer->lock);
    return group;
}

static struct bytes text_bytes(const char *text) { return bytes_of(text != NULL ? text : ""); }

static size_t scores_size(const struct work_request *group)
{
    size_t size = 1;
    for (; group != NULL; group = group->next)
        size += (size_t)group->image_count * group->top_k * RESULT_SCORE_SIZE;
    return size;
}

/* The text of a picture's failure, as the store takes it. */
static struct bytes reason_of(struct predict_task *task)
{
    char *text = task->err.text;
    if (text[0] == '\0')
        return bytes_of(rc_text(task->rc));
    for (char *at = text; *at != '\0'; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    return bytes_of(text);
}

static struct result_commit *add_row(struct group *group, struct work_result *result)
{
    const struct work_request *request = result->request;
    group->members[group->row_count] = result;
    struct result_commit *row = &group->rows[group->row_count++];
    *row = (struct result_commit){.kind = RESULT_UNBILLED,
                                  .tenant = bytes_of(request->tenant),
                                  .prediction = work_describe(request, result),
                                  .plan = text_bytes(request->plan),
                                  .plan_version = request->plan_version};
    return row;
}

static void add_prediction(struct group *group, struct work_result *result)
{
    const struct predict_task *task = &result->task;
    struct bytes packed = {group->scores_end, (size_t)task->top_count * RESULT_SCORE_SIZE};
    for (uint32_t k = 0; k < task->top_count; k++, group->scores_end += RESULT_SCORE_SIZE)
        result_score_pack((struct result_score){task->top[k].class_id, task->top[k].score},
                          group->scores_end);
    struct blob_item *picture = &group->pictures[group->picture_count++];
    *picture = (struct blob_item){.tenant = result->request->tenant,
                                  .content = task->file,
                                  .media_type = image_format_media_type(task->info.format)};
    memcpy(picture->sha256, task->sha256, BLOB_SHA256_SIZE);
    char *label = group->labels[group->row_count];
    struct result_commit *row = add_row(group, result);
    row->kind = RESULT_STORED;
    row->units = 1;
    row->prediction.scores = packed;
    struct bytes *text = &row->prediction.label;
    if (text->size > 0 && text->size <= RESULT_LABEL_SIZE_MAX)
        text->data = memcpy(label, text->data, text->size);
}

static void add_failure(struct group *group, struct work_result *result)
{
    struct bytes reason = reason_of(&result->task);
    struct result_commit *row = add_row(group, result);
    row->outcome = result->task.rc;
    row->reason = reason;
}

static void add_request(struct group *group, struct work_request *request)
{
    bool of_job = !id_is_zero(request->job_id);
    if (is_cancelled(request)) {
        fail_request(request, RC_CANCELLED, rc_text(RC_CANCELLED));
        return;
    }
    for (uint32_t i = 0; i < request->image_count; i++) {
        struct work_result *result = &request->results[i];
        if (result->task.rc == RC_OK)
            add_prediction(group, result);
        else if (of_job && !work_is_transient(result->task.rc))
            add_failure(group, result);
    }
}

/* A request counts with the first picture that is kept of it, a job with its item 0. */
static void count_requests(struct group *group)
{
    const struct work_request *counted = NULL;
    for (uint32_t i = 0; i < group->put_count; i++) {
        const struct work_request *request = group->members[i]->request;
        struct result_commit *row = group->puts[i];
        if (!id_is_zero(request->job_id))
            row->requests = row->kind == RESULT_STORED && row->prediction.index == 0;
        else if (request != counted)
            row->requests = !request->claim.begun;
        counted = request;
    }
}

/* The last row of a request completes its key, so all others are there by then. Unless a picture
 * may succeed when the request is sent again. */
static void complete_key(struct work_request *request, struct result_commit *last)
{
    struct buf *answer = &request->claim.answer;
    answer->size_max = RESULT_ANSWER_SIZE_MAX;
    for (uint32_t i = 0; i < request->image_count; i++)
        if (work_is_transient(request->results[i].task.rc))
            return;
    if (kept_answer_write(request, answer) != RC_OK)
        return;
    last->idempotency_key = request->idempotency_key;
    memcpy(last->fingerprint, request->fingerprint, sizeof(last->fingerprint));
    last->answer = (struct bytes){answer->data, answer->size};
    last->answer_until_ms = request->finished_ms + CLAIM_KEPT_MS;
}

static void complete_keys(struct group *group)
{
    for (uint32_t i = 0; i < group->put_count; i++) {
        struct work_request *request = group->members[i]->request;
        bool last = i + 1 == group->put_count || group->members[i + 1]->request != request;
        if (last && request->idempotency_key.size > 0)
            complete_key(request, group->puts[i]);
    }
}

/* A row whose picture is not durable must not be. */
static void put_pictures(struct committer *committer, struct group *group)
{
    struct error err = {0};
    /* Its code is that of the first picture that failed; each has its own. */
    if (group->picture_count > 0)
        (void)!blob_put(committer->blob, group->pictures, group->picture_count, clock_wall_ms(),
                        &err);
    uint32_t picture = 0;
    for (uint32_t i = 0; i < group->row_count; i++) {
        bool put = true;
        if (group->rows[i].kind == RESULT_STORED) {
            const struct blob_item *item = &group->pictures[picture++];
            put = item->rc == RC_OK;
            if (!put) {
                group->members[i]->request->store_err = item->err;
                fail(group->members[i], RC_UNAVAILABLE,
                     "the picture could not be stored; nothing was billed, try again later");
            }
        }
        if (put) {
            group->puts[group->put_count] = &group->rows[i];
            group->members[group->put_count++] = group->members[i];
        }
    }
}

static void put_rows(struct committer *committer, struct group *group)
{
    struct error err = {0};
    if (group->put_count == 0)
        return;
    enum rc rc = results_put(committer->results, group->puts, group->put_count, &err);
    for (uint32_t i = 0; i < group->put_count; i++) {
        struct work_result *result = group->members[i];
        const struct result_commit *row = group->puts[i];
        if (rc == RC_OK && row->rc == RC_OK) {
            result->request->known |= row->known;
            result->request->outcome.kept |= row->idempotency_key.size > 0;
            continue;
        }
        result->request->store_err = err;
        /* Whether it was written is the ledger's to say. */
        result->request->outcome.counted = false;
        if (rc != RC_OK)
            fail(result, RC_UNAVAILABLE, "the result could not be stored; try again later");
        else
            fail(result, row->rc, rc_text(row->rc));
    }
}

static void commit_group(struct committer *committer, struct work_request *requests)
{
    struct group *group = &committer->group;
    group->row_count = group->picture_count = group->put_count = 0;
    group->scores_end = committer->scores;
    for (struct work_request *request = requests; request != NULL; request = request->next)
        add_request(group, request);
    put_pictures(committer, group);
    count_requests(group);
    complete_keys(group);
    put_rows(committer, group);
}

bool commit_needed(const struct work_request *request)
{
    bool of_job = !id_is_zero(request->job_id);
    for (uint32_t i = 0; i < request->image_count; i++) {
        enum rc rc = request->results[i].task.rc;
        if (rc == RC_OK || (of_job && !work_is_transient(rc)))
            return true;
    }
    return false;
}

static void *committer_main(void *argument)
{
    struct committer *committer = argument;
    struct work_request *group;
    while ((group = take_group(committer)) != NULL) {
        size_t size = scores_size(group);
        if (size > committer->scores_room) {
            free(committer->scores);
            committer->scores = malloc(size);
            committer->scores_room = committer->scores != NULL ? size : 0;
        }
        if (committer->scores == NULL) {
            for (struct work_request *request = group; request != NULL; request = request->next)
                fail_request(request, RC_NO_MEMORY, "no memory to store the result");
        } else
            commit_group(committer, group);
        while (group != NULL) {
            struct work_request *next = group->next;
            committer->done(group);
            group = next;
        }
    }
    return NULL;
}

void committer_push(struct committer *committer, struct work_request *request)
{
    assert(request->image_count <= RESULTS_PUT_MAX);
    request->next = NULL;
    pthread_mutex_lock(&committer->lock);
    if (committer->tail != NULL)
        committer->tail->next = request;
    else
        committer->head = request;
    committer->tail = request;
    pthread_cond_signal(&committer->more);
    pthread_mutex_unlock(&committer->lock);
}

static void release(struct committer *committer)
{
    free(committer->group.pictures);
    free(committer->group.rows);
    free(committer->group.puts);
    free(committer->group.members);
    free(committer->group.labels);
    free(committer->scores);
    pthread_cond_destroy(&committer->more);
    pthread_mutex_destroy(&committer->lock);
    free(committer);
}

enum rc committer_open(struct results *results, struct blob *blob,
                       void (*done)(struct work_request *request), struct committer **ret_committer,
                       struct error *err)
{
    struct committer *committer = calloc(1, sizeof(*committer));
    if (committer == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the committer");
    committer->results = results;
    committer->blob = blob;
    committer->done = done;
    (void)pthread_mutex_init(&committer->lock, NULL);
    (void)pthread_cond_init(&committer->more, NULL);
    struct group *group = &committer->group;
    group->pictures = calloc(RESULTS_PUT_MAX, sizeof(*group->pictures));
    group->rows = calloc(RESULTS_PUT_MAX, sizeof(*group->rows));
    group->puts = calloc(RESULTS_PUT_MAX, sizeof(struct result_commit *));
    group->members = calloc(RESULTS_PUT_MAX, sizeof(struct work_result *));
    group->labels = calloc(RESULTS_PUT_MAX, RESULT_LABEL_SIZE_MAX);
    bool whole = group->pictures != NULL && group->rows != NULL && group->puts != NULL &&
                 group->members != NULL && group->labels != NULL;
    int failed = whole ? pthread_create(&committer->thread, NULL, committer_main, committer) : 0;
    if (!whole || failed != 0) {
        release(committer);
        return whole ? error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed))
                     : error_set(err, RC_NO_MEMORY, "no memory for the committer");
    }
    *ret_committer = committer;
    return RC_OK;
}

void committer_free(struct committer *committer)
{
    if (committer == NULL)
        return;
    pthread_mutex_lock(&committer->lock);
    committer->ending = true;
    pthread_cond_signal(&committer->more);
    pthread_mutex_unlock(&committer->lock);
    pthread_join(committer->thread, NULL);
    release(committer);
}
