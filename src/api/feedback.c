/* SPDX-License-Identifier: Apache-2.0
 * feedback.c - POST /v1/predictions/{id}/feedback: what the picture really shows. */
#include "api/history_json.h"

#include "api/idempotency.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* The texts are those of `root`. */
static enum rc read_text(const json_t *root, const char *name, size_t size_max,
                         struct bytes *ret_text, struct error *err)
{
    const json_t *value = json_object_get(root, name);
    if (value == NULL || json_is_null(value))
        return RC_OK;
    struct bytes text = {(const uint8_t *)json_string_value(value), json_string_length(value)};
    if (text.data == NULL || text.size > size_max)
        return error_set(err, RC_INVALID, "'%s' must be text of at most %zu bytes", name, size_max);
    *ret_text = text;
    return RC_OK;
}

static enum rc read_feedback(const json_t *root, struct result_feedback *feedback,
                             struct error *err)
{
    const char *name = NULL;
    const json_t *value = NULL;
    json_object_foreach((json_t *)root, name, value)
    {
        if (strcmp(name, "class_id") != 0 && strcmp(name, "label") != 0 &&
            strcmp(name, "note") != 0)
            return error_set(err, RC_INVALID,
                             "there is no member '%.40s'; there are class_id, label and note",
                             name);
    }
    const json_t *class_id = json_object_get(root, "class_id");
    feedback->class_id = RESULT_CLASS_NONE;
    if (class_id != NULL && !json_is_null(class_id)) {
        json_int_t number = json_integer_value(class_id);
        if (!json_is_integer(class_id) || number < 0 || number >= RESULT_CLASS_NONE)
            return error_set(err, RC_INVALID, "'class_id' must be the number of a class");
        feedback->class_id = (uint32_t)number;
    }
    enum rc rc = read_text(root, "label", RESULT_LABEL_SIZE_MAX, &feedback->label, err);
    if (rc == RC_OK)
        rc = read_text(root, "note", RESULT_NOTE_SIZE_MAX, &feedback->note, err);
    if (rc == RC_OK && feedback->class_id == RESULT_CLASS_NONE && feedback->label.size == 0)
        rc = error_set(err, RC_INVALID, "say what the picture shows: 'class_id' or 'label'");
    return rc;
}

/* A class must be one of the model's, and a label beside it must be its own. The model may be
 * gone, then nobody knows. */
static enum rc check_class(const struct exchange *exchange, const struct result *result,
                           struct result_feedback *feedback, char room[RESULT_LABEL_SIZE_MAX + 1],
                           struct error *err)
{
    const struct model *model = NULL;
    if (feedback->class_id == RESULT_CLASS_NONE ||
        model_find(exchange->api->config.repository, result->model, result->version, &model,
                   NULL) != RC_OK)
        return RC_OK;
    if (feedback->class_id >= model_class_count(model))
        return error_set(err, RC_INVALID, "class_id is %u; %s has the classes 0 to %u",
                         feedback->class_id, model_name(model), model_class_count(model) - 1);
    struct bytes label = bytes_of(model_label(model, feedback->class_id));
    if (feedback->label.size > 0 && !bytes_equal(feedback->label, label))
        return error_set(err, RC_INVALID, "class %u is '%.100s'; send one of class_id and label",
                         feedback->class_id, (const char *)label.data);
    if (label.size > RESULT_LABEL_SIZE_MAX)
        return RC_OK;
    memcpy(room, label.data, label.size);
    feedback->label = (struct bytes){(const uint8_t *)room, label.size};
    return RC_OK;
}

static enum rc put_feedback(const struct exchange *exchange, const json_t *root, struct id id,
                            struct result_set *set, struct error *err)
{
    struct results *results = exchange->api->config.results;
    struct bytes tenant = bytes_of(exchange->tenant);
    struct result_feedback feedback = {.time_ms = clock_wall_ms()};
    char label[RESULT_LABEL_SIZE_MAX + 1];
    enum rc rc = read_feedback(root, &feedback, err);
    if (rc != RC_OK)
        return rc;
    rc = prediction_absent(results_get(results, tenant, id, set, err), err);
    if (rc == RC_OK)
        rc = check_class(exchange, &set->items[0], &feedback, label, err);
    if (rc == RC_OK)
        rc = prediction_absent(results_feedback_put(results, tenant, id, &feedback, err), err);
    /* Again, for what the store made of it. */
    if (rc == RC_OK)
        rc = prediction_absent(results_get(results, tenant, id, set, err), err);
    return rc;
}

static void answer_feedback(struct exchange *exchange, const struct result *result)
{
    char id[ID_TEXT_SIZE];
    id_text(result->id, id);
    json_t *answer = json_pack("{s:s}", "id", id);
    json_object_update_new(answer, feedback_json(&result->feedback));
    exchange_answer_json(exchange, 200, answer);
}

static void feedback_write(struct exchange *exchange)
{
    struct error err = {0};
    struct id id;
    json_t *root = NULL;
    struct result_set set = {0};
    enum rc rc = prediction_id_read(exchange, &id, &err);
    if (rc == RC_OK)
        rc = body_object_read(exchange, &root, &err);
    if (rc == RC_OK)
        rc = put_feedback(exchange, root, id, &set, &err);
    json_decref(root);
    if (rc == RC_OK) {
        keyed_complete(exchange);
        answer_feedback(exchange, &set.items[0]);
    } else
        exchange_fail_store(exchange, rc, &err);
    results_set_done(&set);
}

/* What is there now: nothing of what was said is kept beside the key, where erasing would miss it.
 */
static void feedback_again(struct exchange *exchange)
{
    struct error err = {0};
    struct id id;
    struct result_set set = {0};
    enum rc rc = prediction_id_read(exchange, &id, &err);
    if (rc == RC_OK)
        rc = prediction_absent(
            results_get(exchange->api->config.results, bytes_of(exchange->tenant), id, &set, &err),
            &err);
    if (rc == RC_OK)
        answer_feedback(exchange, &set.items[0]);
    else
        exchange_fail_store(exchange, rc, &err);
    results_set_done(&set);
}

/* The prediction and what is said of it, however the JSON is written. */
static enum rc take_fingerprint(struct exchange *exchange, uint8_t into[32], struct error *err)
{
    json_t *root = NULL;
    struct fingerprint *fingerprint = NULL;
    enum rc rc = body_object_read(exchange, &root, err);
    if (rc != RC_OK)
        return rc;
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    rc = text != NULL ? fingerprint_open(exchange, &fingerprint, err)
                      : error_set(err, RC_NO_MEMORY, "no memory for the request; try again later");
    if (rc == RC_OK) {
        fingerprint_add(fingerprint,
                        (struct bytes){exchange->segments[0].data, exchange->segments[0].size});
        fingerprint_add(fingerprint, bytes_of(text));
        rc = fingerprint_take(fingerprint, into, err);
    }
    free(text);
    return rc;
}

static void feedback_keyed(struct exchange *exchange)
{
    struct error err = {0};
    uint8_t fingerprint[32];
    enum rc rc = take_fingerprint(exchange, fingerprint, &err);
    if (rc == RC_OK)
        keyed_run(exchange, fingerprint, feedback_write, feedback_again);
    else
        exchange_fail(exchange, rc, &err);
}

void route_feedback(struct exchange *exchange)
{
    struct error err = {0};
    enum rc rc = idempotency_key_take(exchange, &err);
    if (rc != RC_OK)
        exchange_fail(exchange, rc, &err);
    else
        exchange_push_store(exchange,
                            exchange->idempotency_key.size > 0 ? feedback_keyed : feedback_write);
}
