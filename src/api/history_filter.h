/* SPDX-License-Identifier: Apache-2.0
 * history_filter.h - which stored predictions a client asks for, from a query or a JSON object.
 * Included by api/ only. */
#ifndef API_HISTORY_FILTER_H
#define API_HISTORY_FILTER_H
#include "api/exchange.h"

#define HISTORY_LIMIT_DEFAULT 50u

struct history_filter {
    struct results_filter results; /* its texts are below */
    uint32_t limit;
    bool has_cursor;
    char cursor[RESULTS_CURSOR_SIZE];
    char label[RESULT_LABEL_SIZE_MAX + 1];
    char model[RESULT_NAME_SIZE_MAX + 1];
    char reference[RESULT_REFERENCE_SIZE_MAX + 1];
    char version[RESULT_NAME_SIZE_MAX + 1];
};

/* From the request's query, then from `root`, which may be NULL: a member of it wins. INVALID names
 * what is wrong. */
NODISCARD enum rc history_filter_read(struct history_filter *filter, struct bytes query,
                                      const json_t *root, struct error *err);
#endif
