/* SPDX-License-Identifier: Apache-2.0
 * exchange.h - one request and its answer, as the resources see it. Included by api/ only. */
#ifndef API_EXCHANGE_H
#define API_EXCHANGE_H
#include "api/answer.h"
#include "api/api.h"

#include <jansson.h>
#include <pthread.h>

#define PATH_PARAMETER_MAX 2u

/* What failed inside is for the log, since it may name files. */
#define EXCHANGE_INTERNAL_DETAIL                                                                   \
    "the server could not do this; its log has the reason under the request id"

struct exchange;

enum route_port { PORT_PUBLIC, PORT_ADMIN };
enum route_body { BODY_NONE, BODY_PICTURES };

struct route {
    enum route_port port;
    const char *method;
    const char *path;
    enum route_body body;
    /* Must lead to exactly one exchange_answer() or exchange_fail(), now or later. */
    void (*handler)(struct exchange *exchange);
};

struct api {
    struct api_config config;
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
};

struct exchange {
    struct api *api;
    struct http_request *http;
    const struct route *route; /* NULL: refused before one was found */
    struct id id;
    struct buf segments[PATH_PARAMETER_MAX]; /* what `{x}` matched, decoded */

    enum rc rc;
    char detail[sizeof(((struct error *)0)->text)]; /* of a failure, for the log */

    /* POST /v1/predict. */
    struct predict_parameters {
        struct buf model;
        struct buf version;
        uint32_t top_k;
        float min_score;
    } parameters;
    uint64_t deadline_ns;
    bool several; /* the answer is {"results": [...]} */
    enum answer_format format;
    uint8_t *decoded; /* pictures that came in base64 */
    struct work_request *_Atomic work;
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

/* Read the body of a JSON request on the reader's thread, where it may take its time. */
void reader_push(struct exchange *exchange);
NODISCARD enum rc reader_open(struct api *api, struct error *err);
void reader_close(struct api *api);

/* {"image": base64} or {"images": [...]} with the parameters: fills parameters, and pictures. */
NODISCARD enum rc body_json_read(struct exchange *exchange, struct work_request **ret_work,
                                 struct error *err);
NODISCARD enum rc body_multipart_read(struct exchange *exchange, struct work_request **ret_work,
                                      struct error *err);

/* One of model, version, top_k, min_score; INVALID names what is wrong. */
NODISCARD enum rc parameter_set(struct predict_parameters *parameters, struct bytes name,
                                struct bytes value, struct error *err);
NODISCARD enum rc parameters_read_query(struct exchange *exchange, struct error *err);
/* Submit what the body held, or fail; takes `work`. */
void predict_go(struct exchange *exchange, enum rc rc, struct work_request *work,
                struct error *err);

#define ROUTE(port, method, path, body, handler) void handler(struct exchange *exchange);
#include "api/routes.def"
#undef ROUTE
#endif
