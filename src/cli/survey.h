/* SPDX-License-Identifier: Apache-2.0
 * survey.h - goes through what is stored: has every prediction its picture, is every picture whole?
 * For backup, restore and doctor. Threads: one. */
#ifndef CLI_SURVEY_H
#define CLI_SURVEY_H
#include "cli/stores.h"

struct survey {
    struct results *results;
    struct blob *blob;
    struct account *account; /* says how long pictures are kept; NULL: for ever */
    uint64_t now_ms;
    uint64_t limit; /* of each tenant; 0: all */
    /* A picture is not there. True: it is in order. NULL: it never is. */
    bool (*excuse)(void *ctx, const char *tenant, const struct result *result);
    void *ctx;

    /* Filled. */
    uint64_t prediction_count;
    uint64_t expired_count; /* without a picture, which was kept as long as the tenant wants */
    uint64_t missing_count; /* without a picture */
    uint64_t picture_count;
    uint64_t damaged_count;
    char first[sizeof(((struct error *)0)->text)]; /* the first that is missing or damaged */
};

/* With `limit` the newest of each tenant. RC_OK whatever it finds. */
NODISCARD enum rc survey_predictions(struct survey *survey, struct error *err);
/* Reads every picture and compares its hash; with `limit` some of each tenant. */
NODISCARD enum rc survey_pictures(struct survey *survey, struct error *err);

/* results_verify() of every tenant: how much was counted, and the first difference, "" if none. */
struct survey_ledger {
    uint64_t tenant_count;
    uint64_t entry_count;
    uint64_t difference_count;
    char first[160];
};
NODISCARD enum rc survey_verify(struct results *results, struct survey_ledger *ret_ledger,
                                struct error *err);
#endif
