/* SPDX-License-Identifier: Apache-2.0
 * usage_print.h - usage with its costs as JSON, NDJSON and CSV: the same for the HTTP API and the
 * command line. */
#ifndef API_USAGE_PRINT_H
#define API_USAGE_PRINT_H
#include "account/bill.h"
#include "account/quota.h"
#include "api/answer.h"

struct usage_question {
    uint32_t from_day;
    uint32_t to_day; /* not in it */
    uint32_t group;  /* of enum results_group */
    uint32_t row_max;
    enum answer_format format;
    uint64_t now_ms; /* for the budget of the month */
};
NODISCARD enum rc usage_print(const struct bill_source *source,
                              const struct usage_question *question, struct buf *into,
                              struct error *err);

/* "day,model"; INVALID names what is wrong. */
NODISCARD enum rc usage_group_read(struct bytes text, uint32_t *ret_group, struct error *err);
/* "2026-11". INVALID: it is no month. */
NODISCARD enum rc usage_month_read(struct bytes text, char into[MONTH_TEXT_SIZE],
                                   uint64_t *ret_start_ms, uint64_t *ret_end_ms, struct error *err);
#endif
