/* SPDX-License-Identifier: Apache-2.0 */
#include "work/commit.h"

#include "base/clock.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

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
    /* The group under way: the thread's alone. */
    struct blob_item *pictures;
    struct result_commit *rows;
    struct result_commit **puts;
    struct work_result **members;
    /* A model without labels.txt makes its labels up, and keeps the last two of a thread only. */
    char (*labels)[RESULT_LABEL_SIZE_MAX];
    uint8_t *scores; /* packed, of all */
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

/* Lay out the group's pictures and rows. Returns how many; 0 with `*ret_rc` NO_MEMORY. */
static uint32_t lay_out(struct committer *committer, struct work_request *group)
{
    uint8_t *scores = committer->scores;
    uint32_t count = 0;
    for (struct work_request *request = group; request != NULL; request = request->next) {
        if (is_cancelled(request))
            fail_request(request, RC_CANCELLED, rc_text(RC_CANCELLED));
        bool first = true;
        for (uint32_t i = 0; i < request->image_count; i++) {
            struct work_result *result = &request->results[i];
            const struct predict_task *task = &result->task;
            if (task->rc != RC_OK)
                continue;
            struct bytes packed = {scores, (size_t)task->top_count * RESULT_SCORE_SIZE};
            for (uint32_t k = 0; k < task->top_count; k++, scores += RESULT_SCORE_SIZE)
                result_score_pack((struct result_score){task->top[k].class_id, task->top[k].score},
                                  scores);
            committer->members[count] = result;
            committer->pictures[count] =
                (struct blob_item){.tenant = request->tenant,
                                   .content = task->file,
                                   .media_type = image_format_media_type(task->info.format)};
            memcpy(committer->pictures[count].sha256, task->sha256, BLOB_SHA256_SIZE);
            committer->rows[count] =
                (struct result_commit){.kind = RESULT_STORED,
                                       .tenant = bytes_of(request->tenant),
                                       .prediction = work_describe(request, result),
                                       .units = 1,
                                       .requests = first,
                                       .plan = text_bytes(request->plan),
                                       .plan_version = request->plan_version};
            struct result *row = &committer->rows[count].prediction;
            row->scores = packed;
            if (row->label.size > 0 && row->label.size <= RESULT_LABEL_SIZE_MAX)
                row->label.data =
                    memcpy(committer->labels[count], row->label.data, row->label.size);
            first = false;
            count++;
        }
    }
    return count;
}

static void store(struct committer *committer, uint32_t count)
{
    struct error err = {0};
    uint32_t put_count = 0;
    /* Its code is that of the first picture that failed; each has its own. */
    (void)!blob_put(committer->blob, committer->pictures, count, clock_wall_ms(), &err);
    for (uint32_t i = 0; i < count; i++) {
        if (committer->pictures[i].rc != RC_OK) {
            committer->members[i]->request->store_err = committer->pictures[i].err;
            fail(committer->members[i], RC_UNAVAILABLE,
                 "the picture could not be stored; nothing was billed, try again later");
        } else
            committer->puts[put_count++] = &committer->rows[i];
    }
    enum rc rc =
        put_count == 0 ? RC_OK : results_put(committer->results, committer->puts, put_count, &err);
    for (uint32_t i = 0; i < count; i++) {
        struct work_result *result = committer->members[i];
        if (result->task.rc != RC_OK)
            continue;
        if (rc == RC_OK && committer->rows[i].rc == RC_OK)
            continue;
        result->request->store_err = err;
        if (rc != RC_OK)
            fail(result, RC_UNAVAILABLE, "the result could not be stored; try again later");
        else
            fail(result, committer->rows[i].rc, rc_text(committer->rows[i].rc));
    }
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
        } else {
            uint32_t count = lay_out(committer, group);
            if (count > 0)
                store(committer, count);
        }
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
    free(committer->pictures);
    free(committer->rows);
    free(committer->puts);
    free(committer->members);
    free(committer->labels);
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
    committer->pictures = calloc(RESULTS_PUT_MAX, sizeof(*committer->pictures));
    committer->rows = calloc(RESULTS_PUT_MAX, sizeof(*committer->rows));
    committer->puts = calloc(RESULTS_PUT_MAX, sizeof(struct result_commit *));
    committer->members = calloc(RESULTS_PUT_MAX, sizeof(struct work_result *));
    committer->labels = calloc(RESULTS_PUT_MAX, RESULT_LABEL_SIZE_MAX);
    bool whole = committer->pictures != NULL && committer->rows != NULL &&
                 committer->puts != NULL && committer->members != NULL && committer->labels != NULL;
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
