/* SPDX-License-Identifier: Apache-2.0
 * result.h - what the results store keeps of one picture: prediction, ledger entry, and the rows
 * that go with them. Limits are checked by results.c before a driver sees anything. */
#ifndef RESULTS_RESULT_H
#define RESULTS_RESULT_H
#include "base/id.h"

#define RESULTS_PUT_MAX 1024u /* commits in one call */

#define RESULT_NAME_SIZE_MAX      128u /* model, version, key, plan */
#define RESULT_LABEL_SIZE_MAX     256u
#define RESULT_REFERENCE_SIZE_MAX 256u
#define RESULT_METADATA_SIZE_MAX  4096u
#define RESULT_NOTE_SIZE_MAX      1024u
#define RESULT_FORMAT_SIZE_MAX    16u
#define RESULT_REASON_SIZE_MAX    240u
#define RESULT_SCORE_COUNT_MAX    1000u
#define RESULT_PAYLOAD_SIZE_MAX   (64u << 10)
#define RESULT_ANSWER_SIZE_MAX    (300u << 10)
#define RESULT_KEY_SIZE_MAX       255u
#define RESULT_TENANT_SIZE_MAX    63u
#define RESULT_UNITS_MAX          1000000u
#define RESULT_TIME_MS_MAX        253402300799999ull /* the end of the year 9999 */

/* Scores travel and are stored packed, each 8 bytes, little endian: class_id (u32), score (f32). */
#define RESULT_SCORE_SIZE 8u
struct result_score {
    uint32_t class_id;
    float score;
};
void result_score_pack(struct result_score score, uint8_t into[RESULT_SCORE_SIZE]);
/* Score `index` of packed bytes; index < scores.size / RESULT_SCORE_SIZE. */
struct result_score result_score_at(struct bytes scores, uint32_t index);

struct result_timing {
    uint32_t queue_us;
    uint32_t decode_us;
    uint32_t fit_us;
    uint32_t infer_us;
    uint32_t total_us;
};

struct result_picture {
    uint8_t sha256[32];
    struct bytes format; /* "jpeg" */
    uint32_t width;
    uint32_t height;
};

/* What somebody who knows says the picture shows. One of class_id and label is enough. */
#define RESULT_CLASS_NONE UINT32_MAX
struct result_feedback {
    uint32_t class_id; /* or RESULT_CLASS_NONE */
    struct bytes label;
    struct bytes note;
    uint64_t time_ms;
    bool correct; /* filled by the store: the prediction's best class was this one */
};

/* A stored prediction. */
struct result {
    struct id request_id;
    uint32_t index; /* of the picture in its request */
    struct id id;   /* id_derive(request_id, index); filled by the store */
    uint64_t created_ms;
    struct id job_id; /* all zero: none; `index` is the job's item then, see jobs.h */
    struct bytes key; /* who asked: an API key's id, a token's client; may be empty */
    struct bytes model;
    struct bytes version;
    struct bytes label;  /* of the best class; empty when there are no scores */
    struct bytes scores; /* packed, best first */
    struct result_picture picture;
    struct result_timing timing;
    struct bytes reference; /* the client's own; empty: none */
    struct bytes metadata;  /* opaque; empty: none */
    bool has_feedback;      /* filled by the store */
    struct result_feedback feedback;
};

enum result_kind {
    RESULT_STORED,  /* a prediction and its ledger entry */
    RESULT_BILLED,  /* a ledger entry alone: raw tensors, whose contents nobody keeps */
    RESULT_UNBILLED /* neither: a failed picture; for job item, outbox and completion */
};

/* A commit: one picture's rows, written together or not at all. Only `prediction`, with its
 * request_id, index, created_ms, job_id, key, model and version is for every kind. */
struct result_commit {
    enum result_kind kind;
    struct bytes tenant;
    struct result prediction;

    /* The ledger entry; not for RESULT_UNBILLED. */
    uint32_t units;    /* images to bill */
    uint32_t requests; /* 1 on one picture of each request, 0 on the others: see usage */
    struct bytes plan; /* name; may be empty */
    uint32_t plan_version;

    /* The job item's outcome, if there is a job_id (of a job that has a record): RC_OK, or why
     * there is no prediction. */
    enum rc outcome;
    struct bytes reason;

    /* A message to deliver; payload empty: none. outbox_id names it for ever: equal ids are one. */
    struct id outbox_id;
    struct bytes payload;
    uint64_t payload_due_ms;

    /* Completes a reservation; idempotency_key empty: none. `answer` comes back from every later
     * results_reserve(); what is not in it can be read by the request's id. */
    struct bytes idempotency_key;
    uint8_t fingerprint[32];
    struct bytes answer;
    uint64_t answer_until_ms;

    /* Filled by results_put(). */
    enum rc rc;
    bool known; /* it had been committed before, and this changed nothing */
};
#endif
