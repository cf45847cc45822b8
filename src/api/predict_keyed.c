/* SPDX-License-Identifier: Apache-2.0
 * predict_keyed.c - POST /v1/predict with an Idempotency-Key: what makes two requests the same, and
 * the answer of one that had been done before, read back from the store. */
#include "api/history_json.h"
#include "api/idempotency.h"

#include <openssl/evp.h>
#include <string.h>

#define ANSWER_SIZE_MAX (64u << 20)

static struct bytes view(const struct buf *buf) { return (struct bytes){buf->data, buf->size}; }

/* Parameters count as they were understood, pictures by their contents; however they came. */
static enum rc take_fingerprint(const struct exchange *exchange, struct work_request *work,
                                struct error *err)
{
    const struct predict_parameters *parameters = &exchange->parameters;
    struct fingerprint *fingerprint = NULL;
    enum rc rc = fingerprint_open(exchange, &fingerprint, err);
    if (rc != RC_OK)
        return rc;
    uint32_t score;
    memcpy(&score, &parameters->min_score, sizeof(score));
    fingerprint_add(fingerprint, view(&parameters->model));
    fingerprint_add(fingerprint, view(&parameters->version));
    fingerprint_add(fingerprint, view(&parameters->reference));
    fingerprint_add(fingerprint, view(&parameters->metadata));
    fingerprint_add_number(fingerprint, parameters->top_k);
    fingerprint_add_number(fingerprint, score);
    fingerprint_add_number(fingerprint, exchange->several);
    fingerprint_add_number(fingerprint, work->image_count);
    bool hashed = true;
    for (uint32_t i = 0; i < work->image_count && hashed && !atomic_load(&exchange->gone); i++) {
        uint8_t sha256[32];
        struct bytes file = work->results[i].task.file;
        hashed = EVP_Digest(file.data, file.size, sha256, NULL, EVP_sha256(), NULL) == 1;
        fingerprint_add(fingerprint, (struct bytes){sha256, sizeof(sha256)});
    }
    rc = fingerprint_take(fingerprint, work->fingerprint, err);
    return rc != RC_OK || hashed ? rc
                                 : error_set(err, RC_INTERNAL, "SHA-256 of the picture failed");
}

void predict_keyed(struct exchange *exchange)
{
    struct error err = {0};
    struct work_request *work = atomic_load(&exchange->work);
    work->idempotency_key = view(&exchange->idempotency_key);
    enum rc rc = take_fingerprint(exchange, work, &err);
    if (rc == RC_OK)
        predict_submit_work(exchange, work);
    else
        exchange_fail(exchange, rc, &err);
}

/* --- again ----------------------------------------------------------------------------------- */

struct again {
    struct exchange *exchange;
    struct work_request *work;
    struct history_printer printer;
    struct result_set set;
    enum rc rc; /* of the store */
    struct error err;
};

static const struct result *read_stored(struct again *again, struct id id)
{
    struct exchange *exchange = again->exchange;
    again->rc = results_get(exchange->api->config.results, bytes_of(exchange->tenant), id,
                            &again->set, &again->err);
    if (again->rc == RC_GONE || again->rc == RC_NOT_FOUND)
        again->rc = error_set(&again->err, RC_GONE,
                              "what the first request with this Idempotency-Key predicted has been "
                              "erased since");
    return again->rc == RC_OK ? &again->set.items[0] : NULL;
}

static json_t *again_object(void *ctx, uint32_t index)
{
    struct again *again = ctx;
    const struct work_result *result = &again->work->results[index];
    if (result->task.rc != RC_OK)
        return answer_result(again->work, result);
    const struct result *stored = read_stored(again, result->id);
    return stored != NULL ? history_prediction(&again->printer, stored) : NULL;
}

static enum rc again_csv_rows(void *ctx, uint32_t index, struct buf *into)
{
    struct again *again = ctx;
    const struct work_result *result = &again->work->results[index];
    if (result->task.rc != RC_OK) {
        char id[ID_TEXT_SIZE];
        id_text(result->id, id);
        return answer_csv_problem(id, result->task.rc, result->task.err.text, into);
    }
    const struct result *stored = read_stored(again, result->id);
    return stored != NULL ? history_prediction_csv(&again->printer, stored, into) : again->rc;
}

void predict_again(struct exchange *exchange)
{
    struct again again = {.exchange = exchange,
                          .work = atomic_load(&exchange->work),
                          .printer = {.repository = exchange->api->config.repository}};
    const struct answer_source source = {&again, again_object, again_csv_rows};
    struct buf body = BUF_INIT(ANSWER_SIZE_MAX);
    enum rc rc = answer_print_source(exchange->format, &source, again.work->image_count,
                                     exchange->several, &body);
    results_set_done(&again.set);
    if (rc == RC_OK) {
        if (again.work->replayed)
            exchange_add_header(exchange, "Idempotency-Replayed", "true");
        exchange_answer(exchange, 200, answer_media_type(exchange->format), &body);
        return;
    }
    buf_done(&body);
    exchange_fail_store(exchange, again.rc != RC_OK ? again.rc : rc, &again.err);
}
