/* SPDX-License-Identifier: Apache-2.0
 * parameters.c - what POST /v1/predict takes beside pictures, from the query, a form or JSON. */
#include "api/exchange.h"
#include "net/query.h"
#include "work/webhook.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE_MAX  257u       /* with the terminator */
#define QUERY_SIZE_MAX (1u << 20) /* what is too long is named by parameter_set() */

static enum rc set_text(struct buf *into, struct bytes value)
{
    buf_clear(into);
    return buf_append(into, value);
}

enum rc count_read(const char *name, const char *text, uint32_t max, uint32_t *ret_count,
                   struct error *err)
{
    char *end = NULL;
    unsigned long count = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || count < 1 || count > max)
        return error_set(err, RC_INVALID, "%s is '%.40s'; it must be a whole number from 1 to %u",
                         name, text, max);
    *ret_count = (uint32_t)count;
    return RC_OK;
}

enum rc score_read(const char *name, const char *text, float *ret_score, struct error *err)
{
    char *end = NULL;
    double score = strtod(text, &end);
    bool plain = text[0] != '\0' && strspn(text, "0123456789.eE+-") == strlen(text);
    if (!plain || *end != '\0' || !(score >= 0) || score > 1)
        return error_set(err, RC_INVALID, "%s is '%.40s'; it must be a number from 0 to 1", name,
                         text);
    *ret_score = (float)score;
    return RC_OK;
}

static enum rc set_reference(struct predict_parameters *parameters, struct bytes value,
                             struct error *err)
{
    json_t *text = json_stringn(value.size > 0 ? (const char *)value.data : "", value.size);
    if (text == NULL)
        return error_set(err, RC_INVALID, "reference is not UTF-8 text");
    json_decref(text);
    return set_text(&parameters->reference, value);
}

/* What it must look like is webhook_url_check()'s to say. */
static enum rc set_webhook(struct predict_parameters *parameters, struct bytes value,
                           struct error *err)
{
    if (value.size == 0 || value.size > WEBHOOK_URL_SIZE_MAX)
        return error_set(err, RC_INVALID, "webhook must be a URL of 1 to %u bytes",
                         WEBHOOK_URL_SIZE_MAX);
    return set_text(&parameters->webhook, value);
}

/* The shortest text that is read as the same value: seventeen digits would turn 0.1 into
 * 0.10000000000000001. NULL: no memory. */
static char *shortest(const json_t *value)
{
    for (size_t digits = 15;; digits++) {
        char *text =
            json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        if (text == NULL || digits == 17)
            return text;
        json_t *again = json_loads(text, JSON_DECODE_ANY, NULL);
        bool same = again != NULL && json_equal(again, value);
        json_decref(again);
        if (same)
            return text;
        free(text);
    }
}

enum rc metadata_set(struct predict_parameters *parameters, const json_t *value, struct error *err)
{
    char *text = shortest(value);
    if (text == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the metadata; try again later");
    enum rc rc = set_text(&parameters->metadata, bytes_of(text));
    free(text);
    return rc != RC_TOO_LARGE ? rc
                              : error_set(err, RC_INVALID, "metadata is over %u bytes of JSON",
                                          RESULT_METADATA_SIZE_MAX);
}

static enum rc read_metadata(struct predict_parameters *parameters, struct bytes text,
                             struct error *err)
{
    if (text.size > RESULT_METADATA_SIZE_MAX)
        return error_set(err, RC_INVALID, "metadata is over %u bytes of JSON",
                         RESULT_METADATA_SIZE_MAX);
    if (text.size == 0)
        return error_set(err, RC_INVALID, "metadata is empty; it must be JSON");
    json_error_t where;
    json_t *value = json_loadb((const char *)text.data, text.size,
                               JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &where);
    if (value == NULL)
        return error_set(err, RC_INVALID, "metadata is not JSON: line %d, column %d: %.100s",
                         where.line, where.column, where.text);
    enum rc rc = metadata_set(parameters, value, err);
    json_decref(value);
    return rc;
}

enum rc parameter_set(struct predict_parameters *parameters, struct bytes name, struct bytes value,
                      struct error *err)
{
    if (bytes_equal(name, bytes_of("metadata")))
        return read_metadata(parameters, value, err);
    if (bytes_equal(name, bytes_of("webhook")))
        return set_webhook(parameters, value, err);
    if (value.size >= TEXT_SIZE_MAX || (value.size > 0 && memchr(value.data, '\0', value.size)))
        return error_set(err, RC_INVALID, "the value of '%.*s' is over %u bytes or has a NUL",
                         (int)(name.size < 40 ? name.size : 40), (const char *)name.data,
                         TEXT_SIZE_MAX - 1);
    char text[TEXT_SIZE_MAX] = "";
    if (value.size > 0)
        memcpy(text, value.data, value.size);
    if (bytes_equal(name, bytes_of("model")))
        return set_text(&parameters->model, value);
    if (bytes_equal(name, bytes_of("version")))
        return set_text(&parameters->version, value);
    if (bytes_equal(name, bytes_of("top_k")))
        return count_read("top_k", text, PREDICT_TOP_K_MAX, &parameters->top_k, err);
    if (bytes_equal(name, bytes_of("min_score")))
        return score_read("min_score", text, &parameters->min_score, err);
    if (bytes_equal(name, bytes_of("reference")))
        return set_reference(parameters, value, err);
    return error_set(err, RC_INVALID,
                     "there is no parameter '%.*s'; there are model, version, top_k, min_score, "
                     "reference, metadata and webhook",
                     (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
}

static enum rc set_from_query(void *ctx, struct bytes name, struct bytes value, struct error *err)
{
    return parameter_set(ctx, name, value, err);
}

enum rc parameters_read_query(struct exchange *exchange, struct error *err)
{
    return query_each(http_query(exchange->http), QUERY_SIZE_MAX, set_from_query,
                      &exchange->parameters, err);
}
