/* SPDX-License-Identifier: Apache-2.0
 * history_json.h - stored predictions as JSON, NDJSON and CSV. Included by api/ only. */
#ifndef API_HISTORY_JSON_H
#define API_HISTORY_JSON_H
#include "api/answer.h"

/* Writes one after the other; `{repository, format}` is the caller's. */
struct history_printer {
    const struct model_repository *repository;
    enum answer_format format;
    uint32_t count;            /* printed so far */
    const struct model *model; /* of the last one, which the next one often shares */
};
/* CSV's first line; nothing in the other formats. */
NODISCARD enum rc history_print_head(struct history_printer *printer, struct buf *into);
/* JSON: the object without a line feed, after a comma unless it is the first. */
NODISCARD enum rc history_print(struct history_printer *printer, const struct result *result,
                                struct buf *into);
/* As POST /v1/predict answers it: without what came later. NULL: out of memory. */
json_t *history_prediction(struct history_printer *printer, const struct result *result);
NODISCARD enum rc history_prediction_csv(struct history_printer *printer,
                                         const struct result *result, struct buf *into);
/* What somebody said of a picture; NULL: out of memory. */
json_t *feedback_json(const struct result_feedback *feedback);
#endif
