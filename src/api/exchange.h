/* SPDX-License-Identifier: Apache-2.0
 * exchange.h - one request and its answer, as the resources see it. Included by api/ only. */
#ifndef API_EXCHANGE_H
#define API_EXCHANGE_H
#include "api/answer.h"
#include "api/api.h"
#include "api/auth.h"
#include "api/eraser.h"
#include "api/job_waiters.h"
#include "api/store_pool.h"

#include <jansson.h>
#include <pthread.h>

#define PATH_PARAMETER_MAX 2u

/* What failed inside is for the log, since it may name files. */
#define EXCHANGE_INTERNAL_DETAIL                                                                   \
    "the server could not do this; its log has the reason under the request id"

struct exchange;

enum route_port { PORT_PUBLIC, PORT_ADMIN };
enum route_body { BODY_NONE, BODY_JSON, BODY_LIST, BODY_PICTURES };

struct route {
    enum route_port port;
    const char *method;
    const char *path;
    uint32_t scope; /* of enum account_scope: a key needs one of them; SCOPE_NONE: no key */
    enum route_body body;
    /* Must lead to exactly one exchange_answer() or exchange_fail(), now or later. */
    void (*handler)(struct exchange *exchange);
};

struct api {
    struct api_config config;
    struct auth *auth;
    atomic_bool ready;
    atomic_bool draining;

    /* The reader: one thread that turns large JSON bodies into pictures (reader.c). */
    pthread_t reader;
    bool reader_running;
    pthread_mutex_t lock;
    pthread_cond_t readable;
    struct exchange *unread_head;
    struct exchange *unread_tail;
    bool ending;

    struct store_pool *stores;
    struct eraser *eraser;       /* NULL: nothing is stored */
    struct job_waiters *waiters; /* NULL: there are no jobs */
    atomic_size_t answers_size;  /* of pages and pictures that clients are receiving */
};

/* Of an answer, beside those that every one has; the texts are copied. */
#define EXCHANGE_HEADER_MAX  8u
#define EXCHANGE_HEADER_SIZE 96u

struct exchange {
    struct api *api;
    struct http_request *http;
    const struct route *route; /* NULL: refused before one was found */
    struct id id;
    struct account_identity identity; /* all zero until auth_admit() has let it in */
    struct auth_state auth;
    const char *tenant;                      /* whose data it is about: identity.tenant */
    const char *key;                         /* who asks: identity.key; "": nobody in particular */
    struct buf segments[PATH_PARAMETER_MAX]; /* what `{x}` matched, decoded */

    enum rc rc;
    char detail[sizeof(((struct error *)0)->text)]; /* of a failure, for the log */
    struct {
        const char *name;
        char value[EXCHANGE_HEADER_SIZE];
    } headers[EXCHANGE_HEADER_MAX];
    uint32_t header_count;
    struct buf idempotency_key; /* empty: none was sent */
    struct keyed *keyed;        /* what runs under it; NULL: nothing */
    json_t *problem_members;    /* of the problem that it is answered with; NULL: the usual ones */
    const char *cache_control;  /* of a success; NULL: no-store */
    size_t answer_size;         /* what it holds of api->answers_size */

    /* POST /v1/predict. */
    struct predict_parameters {
        struct buf model;
        struct buf version;
        struct buf reference; /* the client's own */
        struct buf metadata;  /* JSON */
        struct buf webhook;   /* of a job */
        uint32_t top_k;
        float min_score;
    } parameters;
    uint64_t deadline_ns;
    bool several; /* the answer is {"results": [...]} */
    enum answer_format format;
    uint8_t *decoded; /* pictures that came in base64 */
    struct work_request *_Atomic work;
    struct job_post *job_post; /* a job to be accepted; NULL: none */
    uint64_t retry_at_ms;      /* when there is room for its images */
    atomic_bool gone;
    struct exchange *next_unread;
};

/* Find the row; fills segments. NOT_FOUND, or METHOD with the methods there are in `allow`. */
NODISCARD enum rc route_find(struct exchange *exchange, enum route_port port, char *allow,
                             size_t allow_size, struct error *err);

/* Send `body` (moved) and end. */
void exchange_answer(struct exchange *exchange, int status, const char *content_type,
                     struct buf *body);
/* Send `value` (taken) as JSON. */
void exchange_answer_json(struct exchange *exchange, int status, json_t *value);
/* Send a problem (RFC 9457). */
void exchange_fail(struct exchange *exchange, enum rc rc, const struct error *err);
/* The same for what a store reported: its own failures are told to the log alone, since their
 * texts hold paths. */
void exchange_fail_store(struct exchange *exchange, enum rc rc, const struct error *err);
/* Either of both, by `rc`; takes `body` in any case. */
void exchange_answer_store(struct exchange *exchange, enum rc rc, int status,
                           const char *content_type, struct buf *body, const struct error *err);
/* A header for the answer to come; `name` is a literal. */
void exchange_add_header(struct exchange *exchange, const char *name, const char *value);
/* Count `size` bytes of an answer that may be large until it has been received. BUSY: too much is
 * under way. */
NODISCARD enum rc exchange_hold(struct exchange *exchange, size_t size, struct error *err);

/* Run `job` where it may wait for the stores; NOT_FOUND where nothing is stored. */
void exchange_push_store(struct exchange *exchange, void (*job)(struct exchange *exchange));
/* The same for what is about jobs; NOT_FOUND without a queue. */
void exchange_push_jobs(struct exchange *exchange, void (*job)(struct exchange *exchange));
/* The prediction that the path names. */
NODISCARD enum rc prediction_id_read(const struct exchange *exchange, struct id *ret_id,
                                     struct error *err);
/* What a client is told of a NOT_FOUND or GONE; other codes are left as they are. */
NODISCARD enum rc prediction_absent(enum rc rc, struct error *err);
bool media_type_is(struct bytes type, const char *want);
/* The Content-Type of a picture as it is, or one that says nothing. */
bool media_type_is_picture(struct bytes type);
/* What sha256_text() writes; false if it is none. */
bool sha256_parse(struct bytes text, uint8_t into[32]);
/* A JSON object; the route bounds its size. The caller's to free. */
NODISCARD enum rc body_object_read(struct exchange *exchange, json_t **ret_root, struct error *err);
/* A number as it would stand in a query. INVALID: neither text nor a number. */
#define SCALAR_TEXT_SIZE 40
NODISCARD enum rc scalar_text(const char *name, const json_t *value, char room[SCALAR_TEXT_SIZE],
                              struct bytes *ret_text, struct error *err);

void job_post_free(struct job_post *post); /* NULL is fine */

/* Read the body of a JSON request on the reader's thread, where it may take its time. */
void reader_push(struct exchange *exchange);
NODISCARD enum rc reader_open(struct api *api, struct error *err);
void reader_close(struct api *api);

/* {"image": base64} or {"images": [...]} with the parameters: fills parameters, and pictures. */
NODISCARD enum rc body_json_read(struct exchange *exchange, struct work_request **ret_work,
                                 struct error *err);
NODISCARD enum rc body_multipart_read(struct exchange *exchange, struct work_request **ret_work,
                                      struct error *err);

/* One of those of POST /v1/predict, but metadata from JSON; INVALID names what is wrong. */
NODISCARD enum rc parameter_set(struct predict_parameters *parameters, struct bytes name,
                                struct bytes value, struct error *err);
NODISCARD enum rc metadata_set(struct predict_parameters *parameters, const json_t *value,
                               struct error *err);
/* 1 .. max, and 0 to 1; `name` is for the error. */
NODISCARD enum rc count_read(const char *name, const char *text, uint32_t max, uint32_t *ret_count,
                             struct error *err);
NODISCARD enum rc score_read(const char *name, const char *text, float *ret_score,
                             struct error *err);
NODISCARD enum rc parameters_read_query(struct exchange *exchange, struct error *err);
/* Submit what the body held, or fail; takes `work`. */
void predict_go(struct exchange *exchange, enum rc rc, struct work_request *work,
                struct error *err);
/* Submit exchange->work as it is. */
void predict_submit_work(struct exchange *exchange, struct work_request *work);

#define ROUTE(port, method, path, scope, body, handler) void handler(struct exchange *exchange);
#include "api/routes.def"
#undef ROUTE
#endif
