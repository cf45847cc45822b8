/* SPDX-License-Identifier: Apache-2.0
 * predict.c - the bounded queue in front of the workers, and the watcher of its deadlines. What a
 * worker does with a picture is in worker.c. */
#include "predict/worker.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void predict_finish(struct predict_task *task, enum rc rc)
{
    task->rc = rc;
    task->done(task);
}

/* Whose turn it is; NULL: nothing waits. */
static struct task_list *next_list(struct predict *predict)
{
    if (predict->background.head == NULL)
        return predict->front.head != NULL ? &predict->front : NULL;
    if (predict->front.head != NULL && predict->turn < PREDICT_TURNS - 1)
        return &predict->front;
    return &predict->background;
}

static struct predict_task *pop(struct predict *predict, struct task_list *list)
{
    struct predict_task *task = list->head;
    list->head = task->next;
    if (list->head == NULL)
        list->tail = NULL;
    list->count--;
    bool passed_over = list == &predict->front && predict->background.head != NULL;
    predict->turn = passed_over ? predict->turn + 1 : 0;
    return task;
}

static void append(struct task_list *list, struct predict_task *first, struct predict_task *last,
                   uint32_t count)
{
    if (list->tail != NULL)
        list->tail->next = first;
    else
        list->head = first;
    list->tail = last;
    list->count += count;
}

struct predict_task *predict_take(struct predict *predict)
{
    pthread_mutex_lock(&predict->lock);
    struct task_list *list;
    while ((list = next_list(predict)) == NULL && !predict->ending) {
        predict->idle_count++;
        pthread_cond_wait(&predict->work_there, &predict->lock);
        predict->idle_count--;
    }
    struct predict_task *task = list != NULL ? pop(predict, list) : NULL;
    pthread_mutex_unlock(&predict->lock);
    return task;
}

struct predict_task *predict_take_more(struct predict *predict, const struct model *model)
{
    pthread_mutex_lock(&predict->lock);
    struct predict_task *task = NULL;
    /* What an idle worker was just woken for is left to it: two cores finish two pictures sooner
     * than one core finishes a batch of two. */
    struct task_list *list = next_list(predict);
    bool spare = predict->front.count + predict->background.count > predict->idle_count;
    if (spare && list != NULL && list->head->model == model)
        task = pop(predict, list);
    pthread_mutex_unlock(&predict->lock);
    return task;
}

enum rc predict_submit(struct predict *predict, struct predict_task *const tasks[], uint32_t count,
                       struct error *err)
{
    assert(count > 0);
    uint64_t now = clock_monotonic_ns();
    for (uint32_t i = 0; i < count; i++) {
        assert(tasks[i]->done != NULL && tasks[i]->model != NULL);
        tasks[i]->submitted_ns = now;
        tasks[i]->next = i + 1 < count ? tasks[i + 1] : NULL;
    }
    struct task_list *list = tasks[0]->background ? &predict->background : &predict->front;
    pthread_mutex_lock(&predict->lock);
    enum rc rc = RC_OK;
    if (predict->ending)
        rc = error_set(err, RC_DRAINING, "the server is shutting down; send the request again");
    else if (count > predict->config.queue_max)
        rc = error_set(err, RC_TOO_LARGE, "%u pictures in one request; this server queues %u",
                       count, predict->config.queue_max);
    else if (count > predict->config.queue_max - list->count)
        rc = error_set(err, RC_BUSY, "%u pictures are waiting already; try again later",
                       list->count);
    if (rc == RC_OK) {
        append(list, tasks[0], tasks[count - 1], count);
        /* Busy workers look into the queue by themselves before they run a batch. */
        for (uint32_t i = 0; i < count && i < predict->idle_count; i++)
            pthread_cond_signal(&predict->work_there);
        uint64_t deadline_ns = tasks[0]->deadline_ns;
        if (deadline_ns != 0 && deadline_ns < predict->watch_ns) {
            predict->watch_ns = deadline_ns;
            pthread_cond_signal(&predict->watch_changed);
        }
    }
    pthread_mutex_unlock(&predict->lock);
    return rc;
}

void predict_cancel(struct predict_task *task)
{
    atomic_store_explicit(&task->cancelled, true, memory_order_relaxed);
}

uint32_t predict_queue_size(struct predict *predict)
{
    pthread_mutex_lock(&predict->lock);
    uint32_t size = predict->front.count;
    pthread_mutex_unlock(&predict->lock);
    return size;
}

/* Move what is over its deadline to `*expired`, and watch_ns back to the next one that stays. */
static void move_expired(struct predict *predict, struct task_list *list, uint64_t now,
                         struct predict_task **expired)
{
    struct predict_task **link = &list->head;
    list->tail = NULL;
    while (*link != NULL) {
        struct predict_task *task = *link;
        if (task->deadline_ns != 0 && task->deadline_ns <= now) {
            *link = task->next;
            task->next = *expired;
            *expired = task;
            list->count--;
            continue;
        }
        if (task->deadline_ns != 0 && task->deadline_ns < predict->watch_ns)
            predict->watch_ns = task->deadline_ns;
        list->tail = task;
        link = &task->next;
    }
}

/* Called with the lock held. */
static struct predict_task *take_expired(struct predict *predict, uint64_t now)
{
    struct predict_task *expired = NULL;
    predict->watch_ns = UINT64_MAX;
    move_expired(predict, &predict->front, now, &expired);
    move_expired(predict, &predict->background, now, &expired);
    return expired;
}

/* A task whose deadline passes in the queue is answered then, not when a worker gets to it. Sleeps
 * until the earliest deadline that was queued, so an ordinary request never wakes it. */
static void *watcher(void *argument)
{
    struct predict *predict = argument;
    pthread_mutex_lock(&predict->lock);
    while (!predict->ending || next_list(predict) != NULL) {
        if (predict->watch_ns == UINT64_MAX) {
            pthread_cond_wait(&predict->watch_changed, &predict->lock);
            continue;
        }
        struct timespec until = {.tv_sec = (time_t)(predict->watch_ns / NS_PER_S),
                                 .tv_nsec = (long)(predict->watch_ns % NS_PER_S)};
        if (pthread_cond_timedwait(&predict->watch_changed, &predict->lock, &until) != ETIMEDOUT)
            continue;
        struct predict_task *task = take_expired(predict, clock_monotonic_ns());
        pthread_mutex_unlock(&predict->lock);
        while (task != NULL) {
            struct predict_task *next = task->next;
            predict_finish(task,
                           error_set(&task->err, RC_DEADLINE,
                                     "the deadline passed while the picture waited its turn"));
            task = next;
        }
        pthread_mutex_lock(&predict->lock);
    }
    pthread_mutex_unlock(&predict->lock);
    return NULL;
}

static enum rc start(struct predict *predict, struct error *err)
{
    for (uint32_t i = 0; i < predict->config.worker_count; i++) {
        enum rc rc = worker_open(predict, &predict->workers[i], err);
        if (rc != RC_OK)
            return rc;
    }
    int failed = pthread_create(&predict->watcher, NULL, watcher, predict);
    predict->watching = failed == 0;
    for (uint32_t i = 0; i < predict->config.worker_count && failed == 0; i++) {
        failed =
            pthread_create(&predict->workers[i].thread, NULL, worker_main, &predict->workers[i]);
        predict->workers[i].running = failed == 0;
    }
    return failed == 0 ? RC_OK
                       : error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed));
}

enum rc predict_open(const struct predict_config *config, struct predict **ret_predict,
                     struct error *err)
{
    assert(config->batch_max > 0 && config->queue_max > 0);
    uint32_t worker_count = config->worker_count != 0 ? config->worker_count : engine_cpu_count();
    struct predict *predict =
        calloc(1, sizeof(*predict) + worker_count * sizeof(predict->workers[0]));
    if (predict == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for %u workers", worker_count);
    predict->config = *config;
    predict->config.worker_count = worker_count;
    predict->watch_ns = UINT64_MAX;
    (void)pthread_mutex_init(&predict->lock, NULL);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&predict->work_there, NULL);
    (void)pthread_cond_init(&predict->watch_changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    enum rc rc = start(predict, err);
    if (rc != RC_OK) {
        predict_free(predict);
        return rc;
    }
    *ret_predict = predict;
    return RC_OK;
}

void predict_free(struct predict *predict)
{
    if (predict == NULL)
        return;
    pthread_mutex_lock(&predict->lock);
    predict->ending = true;
    pthread_cond_broadcast(&predict->work_there);
    pthread_cond_broadcast(&predict->watch_changed);
    pthread_mutex_unlock(&predict->lock);
    for (uint32_t i = 0; i < predict->config.worker_count; i++)
        if (predict->workers[i].running)
            pthread_join(predict->workers[i].thread, NULL);
    pthread_mutex_lock(&predict->lock);
    pthread_cond_broadcast(&predict->watch_changed);
    pthread_mutex_unlock(&predict->lock);
    if (predict->watching)
        pthread_join(predict->watcher, NULL);
    for (uint32_t i = 0; i < predict->config.worker_count; i++)
        worker_done(&predict->workers[i]);
    pthread_cond_destroy(&predict->work_there);
    pthread_cond_destroy(&predict->watch_changed);
    pthread_mutex_destroy(&predict->lock);
    free(predict);
}
