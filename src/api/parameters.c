/* SPDX-License-Identifier: Apache-2.0
 * parameters.c - model, version, top_k and min_score, from the query, a form or JSON. */
#include "api/exchange.h"
#include "net/query.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE_MAX  256u
#define QUERY_SIZE_MAX (1u << 20) /* what is too long is named by parameter_set() */

static enum rc set_text(struct buf *into, struct bytes value)
{
    buf_clear(into);
    return buf_append(into, value);
}

static enum rc set_top_k(struct predict_parameters *parameters, const char *text, struct error *err)
{
    char *end = NULL;
    unsigned long top_k = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || top_k < 1 || top_k > PREDICT_TOP_K_MAX)
        return error_set(err, RC_INVALID,
                         "top_k is '%.40s'; it must be a whole number from 1 to %u", text,
                         PREDICT_TOP_K_MAX);
    parameters->top_k = (uint32_t)top_k;
    return RC_OK;
}

static enum rc set_min_score(struct predict_parameters *parameters, const char *text,
                             struct error *err)
{
    char *end = NULL;
    double score = strtod(text, &end);
    bool plain = text[0] != '\0' && strspn(text, "0123456789.eE+-") == strlen(text);
    if (!plain || *end != '\0' || !(score >= 0) || score > 1)
        return error_set(err, RC_INVALID, "min_score is '%.40s'; it must be a number from 0 to 1",
                         text);
    parameters->min_score = (float)score;
    return RC_OK;
}

enum rc parameter_set(struct predict_parameters *parameters, struct bytes name, struct bytes value,
                      struct error *err)
{
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
        return set_top_k(parameters, text, err);
    if (bytes_equal(name, bytes_of("min_score")))
        return set_min_score(parameters, text, err);
    return error_set(err, RC_INVALID,
                     "there is no parameter '%.*s'; there are model, version, top_k and min_score",
                     (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
}

enum rc parameters_read_query(struct exchange *exchange, struct error *err)
{
    struct bytes rest = http_query(exchange->http);
    struct buf name = BUF_INIT(QUERY_SIZE_MAX);
    struct buf value = BUF_INIT(QUERY_SIZE_MAX);
    bool found = true;
    enum rc rc = RC_OK;
    while (rc == RC_OK && found) {
        buf_clear(&name);
        buf_clear(&value);
        rc = query_next(&rest, &name, &value, &found, err);
        if (rc == RC_OK && found)
            rc = parameter_set(&exchange->parameters, (struct bytes){name.data, name.size},
                               (struct bytes){value.data, value.size}, err);
    }
    buf_done(&name);
    buf_done(&value);
    return rc;
}
