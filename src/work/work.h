/* SPDX-License-Identifier: Apache-2.0
 * work.h - work_submit(), the only door between the edges (HTTP, command line) and the work.
 *
 * A request is one or more pictures for one model. It ends exactly once, with one result for each
 * picture in order: a prediction, or the reason why there is none. With stores, a prediction is
 * reported only after its picture, its row and its ledger entry are durable; one that is not is
 * neither kept nor billed.
 *
 * Pictures of a job come in any number of requests, again and again until each has an outcome: the
 * same job and index is the same picture, and is kept and billed once.
 *
 * Threads: any; `done` runs on a worker's, the committer's or the admission's thread and must not
 * block.
 * Ownership: a request belongs to the caller, who frees it after `done`.
 */
#ifndef WORK_WORK_H
#define WORK_WORK_H
#include "blob/blob.h"
#include "predict/predict.h"
#include "work/admission.h"

struct work;

struct work_config {
    struct predict *predict;
    const struct model_repository *repository;
    struct results *results; /* both or neither: NULL stores nothing */
    struct blob *blob;
    struct account *account; /* NULL: no request may reserve */
};

struct work_request;

/* One picture of a request. */
struct work_result {
    struct work_request *request;
    struct id id; /* derived from the request's id, first_index and the index */
    struct predict_task task;
};

struct work_request {
    /* The caller fills these; the names are borrowed for the call of work_submit(), the pictures
     * until `done`. */
    struct id id;
    struct bytes model_name;    /* empty: the default model */
    struct bytes model_version; /* empty: the newest version */
    float min_score;
    uint64_t deadline_ns; /* monotonic; 0: none */
    /* For the stores; borrowed until `done`. */
    const char *tenant;
    const char *key;  /* who asks; NULL: nobody in particular */
    const char *plan; /* NULL: none */
    uint32_t plan_version;
    struct bytes reference; /* the client's own */
    struct bytes metadata;
    /* All zero: none. Of a job's request every outcome is kept but those of a transient failure:
     * picture i is item first_index + i, and id is the job's too. The job counts as one request,
     * with its item 0. */
    struct id job_id;
    uint32_t first_index;
    /* With results: nobody works under the same key at the same time, and a key whose work was done
     * is not worked under again. The same key with another fingerprint is refused. */
    struct bytes idempotency_key; /* empty: none; borrowed until `done` */
    uint8_t fingerprint[32];
    bool reserves; /* the identity's: the images must fit into what is left of limits and caps */
    uint64_t images_per_day;
    void (*done)(struct work_request *request);
    void *ctx;

    /* Filled by work. Not RC_OK: all of the request was refused before any picture was begun, as a
     * claim is (see admission.h), or found no room in the queue. */
    enum rc rc;
    struct error err;
    uint64_t retry_at_ms;
    uint64_t day_remaining; /* with images_per_day */
    /* The outcome is that of the first request with this key, whose id this is now. What its
     * pictures are is in the results, by `results[i].id`; rc and err of those that failed are here.
     */
    bool replayed;
    /* A request that had been begun before, under the same key: some predictions are the stored
     * ones, not those here. */
    bool known;
    const struct model *model;
    uint64_t submitted_ns;
    uint64_t finished_ns;
    uint64_t finished_ms;   /* wall clock: the answer's created_at */
    struct error store_err; /* why a picture's result could not be stored: for the log alone */

    /* Set by work_request_open(). */
    uint32_t top_k;
    uint32_t image_count;
    struct work *work; /* private, like what follows */
    struct work_request *next;
    struct claim claim;
    struct claim_outcome outcome;
    atomic_uint pending_count;
    struct work_result results[];
};

/* Room for `image_count` pictures and the `top_k` best classes of each, in one allocation. NULL:
 * out of memory. */
struct work_request *work_request_open(uint32_t image_count, uint32_t top_k);
void work_request_free(struct work_request *request); /* NULL is fine */

/* What is said and stored of a picture that was predicted: all but scores and tenant. Texts are
 * borrowed from the request. */
struct result work_describe(const struct work_request *request, const struct work_result *result);

/* A failure after which the same picture may succeed: full, late, cancelled, or ours (5xx). */
bool work_is_transient(enum rc rc);

NODISCARD enum rc work_open(const struct work_config *config, struct work **ret_work,
                            struct error *err);
/* Errors: NOT_FOUND (model or version), BUSY, DRAINING, TOO_LARGE, NO_MEMORY; then `done` is not
 * called. After RC_OK it is, exactly once, perhaps before this returns. */
NODISCARD enum rc work_submit(struct work *work, struct work_request *request, struct error *err);
/* Best effort, any time between work_submit() and work_request_free(). */
void work_cancel(struct work_request *request);
/* Idempotency-Key of what is no request for predictions; see admission.h. */
NODISCARD enum rc work_claim(struct work *work, struct claim *claim, struct error *err);
void work_claim_end(struct work *work, struct claim *claim, const struct claim_outcome *outcome);
void work_free(struct work *work); /* every request and claim has ended; NULL is fine */
#endif
