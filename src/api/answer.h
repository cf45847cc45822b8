/* SPDX-License-Identifier: Apache-2.0
 * answer.h - predictions and problems as JSON, NDJSON and CSV.
 *
 * The HTTP API and the command line write the same objects.
 */
#ifndef API_ANSWER_H
#define API_ANSWER_H
#include "work/work.h"

#include <jansson.h>

/* Enough for a score's float and for microseconds in a timing of ten seconds. */
#define ANSWER_REAL_DIGITS 7

enum answer_format { ANSWER_JSON, ANSWER_NDJSON, ANSWER_CSV };
const char *answer_media_type(enum answer_format format);
/* By an Accept header (data NULL: none was sent). NOT_ACCEPTABLE names what there is. */
NODISCARD enum rc answer_choose(struct bytes accept, enum answer_format *ret_format,
                                struct error *err);

/* The same among other types, the first of which is the preset. */
#define ANSWER_TYPE_MAX 4u
NODISCARD enum rc answer_choose_type(struct bytes accept, const char *const types[], uint32_t count,
                                     uint32_t *ret_index, struct error *err);

#define SHA256_TEXT_SIZE 65
void sha256_text(const uint8_t sha256[32], char into[SHA256_TEXT_SIZE]); /* hex, lower case */

/* One of `predictions`, and the object of a picture around them (`classes` is taken): the same from
 * the work and from the store. NULL: out of memory. */
json_t *answer_class(struct result_score score, const char *label);
json_t *answer_prediction(const struct result *result, json_t *classes);
/* A picture's prediction, or its problem. NULL: out of memory. */
json_t *answer_result(const struct work_request *request, const struct work_result *result);
/* RFC 9457. `instance` may be NULL. */
json_t *answer_problem(enum rc rc, const char *detail, const char *request_id,
                       const char *instance);
/* The whole answer; `several` wraps JSON into {"results": [...]}. What the pictures' predictions
 * and problems are comes from the work, or from a source. */
struct answer_source {
    void *ctx;
    json_t *(*object)(void *ctx, uint32_t index); /* NULL: failed, or out of memory */
    enum rc (*csv_rows)(void *ctx, uint32_t index, struct buf *into);
};
NODISCARD enum rc answer_print_source(enum answer_format format, const struct answer_source *source,
                                      uint32_t count, bool several, struct buf *into);
NODISCARD enum rc answer_print(enum answer_format format, struct work_request *request,
                               bool several, struct buf *into);
/* Compact JSON and a line feed. */
NODISCARD enum rc answer_dump(const json_t *value, struct buf *into);

/* CSV (RFC 4180): one row for each class, or one with the problem. `key` is the first column. */
NODISCARD enum rc answer_csv_head(const char *key_name, struct buf *into);
NODISCARD enum rc answer_csv_field(struct bytes text, struct buf *into);
NODISCARD enum rc answer_csv_class(const char *key, uint32_t rank, struct result_score score,
                                   const char *label, struct buf *into);
NODISCARD enum rc answer_csv_problem(const char *key, enum rc problem, const char *text,
                                     struct buf *into);
NODISCARD enum rc answer_csv_rows(const char *key, const struct work_request *request,
                                  const struct work_result *result, struct buf *into);
#endif
