/* SPDX-License-Identifier: Apache-2.0
 * predict.h - the pipeline and the dynamic batcher: a picture's bytes -> scores.
 *
 * One bounded queue, one worker per CPU. A worker takes a picture, decodes it into a slot of its
 * own batch, takes the next as long as one waits and there is room, then runs the engine on what it
 * has: a single picture on an idle server starts at once, and batches fill by themselves under
 * load. A picture that fails is answered at once and its slot used again, so that it never costs
 * its neighbours. A slow picture (header says so) is never decoded while others wait in the batch.
 *
 * What is done in the background waits apart, for when nothing else waits; under a load that never
 * ends it still gets every PREDICT_TURNS-th picture.
 *
 * It never stores, and knows neither HTTP nor JSON.
 * Threads: predict_submit() and predict_cancel() from any thread; `done` runs on a worker.
 */
#ifndef PREDICT_PREDICT_H
#define PREDICT_PREDICT_H
#include "model/model.h"

#include <stdatomic.h>

#define PREDICT_TOP_K_MAX 1000u /* the answer lists this many classes at most */
#define PREDICT_TURNS     8u

struct predict;

struct predict_config {
    const struct model_repository *repository;
    struct image_limits limits;
    uint32_t worker_count; /* 0: engine_cpu_count() */
    uint32_t queue_max;    /* pictures waiting, and as many in the background; one more is BUSY */
    uint32_t batch_max;
};

struct predict_timing {
    uint64_t queue_ns; /* submitted -> taken by a worker */
    uint64_t decode_ns;
    uint64_t fit_ns;
    uint64_t infer_ns; /* of the whole batch it was in */
    uint32_t batch_size;
};

/* One picture. The caller owns it and everything it points to until `done` has been called. */
struct predict_task {
    struct bytes file;
    const struct model *model;
    uint32_t top_k;
    float min_score;
    uint64_t deadline_ns;                    /* monotonic; 0: none */
    bool background;                         /* the same for all tasks of a submit */
    void (*done)(struct predict_task *task); /* exactly once for each accepted task */

    /* Filled before `done`. */
    enum rc rc;
    struct error err;
    struct image_info info; /* valid unless the header was refused */
    uint8_t sha256[32];     /* of `file` */
    uint32_t top_count;
    struct class_score *top; /* caller's room for top_k */
    struct predict_timing timing;

    /* Private to predict. */
    atomic_bool cancelled;
    uint64_t submitted_ns;
    struct predict_task *next;
};

NODISCARD enum rc predict_open(const struct predict_config *config, struct predict **ret_predict,
                               struct error *err);
/* Queue all `count` tasks or none. BUSY: no room for them all. DRAINING: predict_drain was called.
 */
NODISCARD enum rc predict_submit(struct predict *predict, struct predict_task *const tasks[],
                                 uint32_t count, struct error *err);
/* Best effort: a task not started ends as RC_CANCELLED; one in the decoder stops at the next rows.
 */
void predict_cancel(struct predict_task *task);
uint32_t predict_queue_size(struct predict *predict); /* without the background */
/* Finishes what was accepted, then ends the workers. NULL is fine. */
void predict_free(struct predict *predict);
#endif
