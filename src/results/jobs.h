/* SPDX-License-Identifier: Apache-2.0
 * jobs.h - a job's record, and the outcomes of its pictures, in the same store as the predictions.
 *
 * The record says what was asked for and how it ended; who works on it, when, and how often it was
 * tried is the queue's. An item is one picture's outcome: results_put() writes it in one commit
 * with the prediction, if the job has a record. results.h says what holds for all: atomicity,
 * idempotency, isolation, durability (here: of put, end, reopen, sweep), errors, threads, times.
 *
 *   OPEN --end--> DONE, DEAD or CANCELLED: the first end wins, later ones change nothing
 *   DEAD --reopen--> OPEN
 *
 * While a job is OPEN or DEAD its pictures are in use (results_picture_used()).
 */
#ifndef RESULTS_JOBS_H
#define RESULTS_JOBS_H
#include "results/results.h"

#define RESULT_JOB_BODY_SIZE_MAX     (16u << 10)
#define RESULT_JOB_PICTURE_COUNT_MAX 1000u
#define RESULTS_JOB_PAGE_MAX         100u

enum result_job_end { /* stored as these numbers */
                      RESULT_JOB_OPEN = 0,
                      RESULT_JOB_DONE = 1,
                      RESULT_JOB_DEAD = 2,
                      RESULT_JOB_CANCELLED = 3
};

struct result_job {
    struct id id;
    uint64_t created_ms;
    struct bytes key;        /* who asked: an API key's id, a token's client; may be empty */
    struct bytes body;       /* opaque: what to do with the pictures */
    uint32_t picture_count;  /* 1 .. RESULT_JOB_PICTURE_COUNT_MAX */
    const uint8_t *pictures; /* their SHA-256, 32 bytes each, in order; a picture may come twice */

    /* Completes a reservation, as in struct result_commit, under the job's id; idempotency_key
     * empty: none. For results_job_put() alone. */
    struct bytes idempotency_key;
    uint8_t fingerprint[32];
    struct bytes answer;
    uint64_t answer_until_ms;

    /* Filled by the store. */
    enum result_job_end ended;
    uint64_t ended_ms;     /* 0 while it is open */
    struct bytes reason;   /* why it ended like that; may be empty */
    uint32_t reopened;     /* how often */
    uint64_t done_count;   /* items with a prediction */
    uint64_t failed_count; /* items without */
};

/* Jobs with memory of their own: {0} before the first use, emptied by each call. */
struct result_job_set {
    struct result_job *items;
    uint32_t count;
    char next[RESULTS_CURSOR_SIZE]; /* "": this was the last page */
    uint32_t items_room;            /* private, like what follows */
    struct result_chunk *chunks;
};
void results_job_set_done(struct result_job_set *set);

/* A known id: RC_OK, and nothing changes but a reservation that it completes. */
NODISCARD enum rc results_job_put(struct results *results, struct bytes tenant,
                                  const struct result_job *job, struct error *err);
/* NOT_FOUND: never there, another tenant's, or swept. */
NODISCARD enum rc results_job_get(struct results *results, struct bytes tenant, struct id id,
                                  struct result_job_set *set, struct error *err);
/* Newest first by (created_ms, id), without the pictures (`pictures` is NULL, the count is there).
 * `cursor` is empty, or `next` of a page of the same tenant (else INVALID). limit: 1 ..
 * RESULTS_JOB_PAGE_MAX. */
NODISCARD enum rc results_job_list(struct results *results, struct bytes tenant,
                                   struct bytes cursor, uint32_t limit, struct result_job_set *set,
                                   struct error *err);
/* `end` is not OPEN. The message (payload empty: none) goes into the outbox in the same
 * transaction, named id_derive(id, reopened): each end of a job has one. *ret_first: this call
 * ended it; else it had ended before, and nothing was changed. NOT_FOUND as above. */
NODISCARD enum rc results_job_end(struct results *results, struct bytes tenant, struct id id,
                                  enum result_job_end end, struct bytes reason, uint64_t now_ms,
                                  struct bytes payload, uint64_t payload_due_ms, bool *ret_first,
                                  struct error *err);
/* A dead job is open again; an open one stays so. INVALID: it is done or cancelled. NOT_FOUND. */
NODISCARD enum rc results_job_reopen(struct results *results, struct bytes tenant, struct id id,
                                     struct error *err);

/* Open jobs of all tenants by (id, tenant), those after `after` (NULL: from the first), at most
 * `limit` (1 .. RESULTS_JOB_PAGE_MAX); fewer: that was the end. For whoever makes sure that the
 * queue knows each of them. */
struct results_job_open {
    struct id id;
    char tenant[RESULT_TENANT_SIZE_MAX + 1];
    uint64_t created_ms;
};
NODISCARD enum rc results_job_open_list(struct results *results,
                                        const struct results_job_open *after, uint32_t limit,
                                        struct results_job_open *into, uint32_t *ret_count,
                                        struct error *err);
/* Does an open job of the tenant have this picture? Retention of pictures waits for it. */
NODISCARD enum rc results_job_needs_picture(struct results *results, struct bytes tenant,
                                            const uint8_t sha256[32], bool *ret_needed,
                                            struct error *err);
/* Forgets jobs that ended before `before_ms`, with their items: up to `limit` (1 ..
 * RESULTS_PUT_MAX) rows of either kind, so a large job may go in several calls. Call again while
 * *ret_count is `limit`. Open jobs stay, however old. */
NODISCARD enum rc results_job_sweep(struct results *results, struct bytes tenant,
                                    uint64_t before_ms, uint32_t limit, uint32_t *ret_count,
                                    struct error *err);

/* Outcomes of a job's items by index, at most `limit` (1 .. RESULTS_PAGE_MAX) from `first_index`
 * on. */
struct results_job_item {
    uint32_t index;
    enum rc outcome;
    struct id prediction_id; /* all zero without a prediction */
    struct bytes reason;
    uint64_t time_ms;
};
typedef enum rc (*results_job_item_fn)(void *ctx, const struct results_job_item *row);
NODISCARD enum rc results_job_items(struct results *results, struct bytes tenant, struct id job_id,
                                    uint32_t first_index, uint32_t limit, results_job_item_fn each,
                                    void *ctx, struct error *err);
/* An unknown job has no items. */
NODISCARD enum rc results_job_progress(struct results *results, struct bytes tenant,
                                       struct id job_id, uint64_t *ret_done, uint64_t *ret_failed,
                                       struct error *err);
#endif
