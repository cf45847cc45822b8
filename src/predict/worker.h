/* SPDX-License-Identifier: Apache-2.0
 * worker.h - what predict.c and worker.c share. Included by predict/ only. */
#ifndef PREDICT_WORKER_H
#define PREDICT_WORKER_H
#include "predict/predict.h"

#include <openssl/evp.h>
#include <pthread.h>

struct worker {
    struct predict *predict;
    pthread_t thread;
    bool running;
    struct image_scratch *scratch;
    EVP_MD_CTX *digest;
    struct session **sessions;   /* by model_index(), opened at a model's first picture */
    struct predict_task **batch; /* batch_max of them: who sits in which slot */
    struct predict_task *held;   /* a slow picture that waits for the batch to be run first */
};

/* Oldest first. */
struct task_list {
    struct predict_task *head;
    struct predict_task *tail;
    uint32_t count;
};

struct predict {
    struct predict_config config;
    pthread_mutex_t lock;
    pthread_cond_t work_there;
    pthread_cond_t watch_changed;
    struct task_list front;
    struct task_list background;
    uint32_t turn;       /* pictures taken from the front while the background waited */
    uint32_t idle_count; /* workers that wait */
    uint64_t watch_ns;   /* the earliest deadline in the lists, or earlier; UINT64_MAX: none */
    bool ending;
    bool watching;
    pthread_t watcher;
    struct worker workers[];
};

NODISCARD enum rc worker_open(struct predict *predict, struct worker *worker, struct error *err);
void *worker_main(void *worker);
void worker_done(struct worker *worker);

/* The next task; blocks. NULL: the end. */
struct predict_task *predict_take(struct predict *predict);
/* The next task if it is for `model` and no idle worker is there to take it; never blocks. */
struct predict_task *predict_take_more(struct predict *predict, const struct model *model);
void predict_finish(struct predict_task *task, enum rc rc);
#endif
