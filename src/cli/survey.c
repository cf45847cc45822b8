/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/survey.h"

#include "api/answer.h"
#include "cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MS_PER_DAY 86400000ull

static enum rc add_images(void *ctx, const struct results_quantity *row)
{
    *(uint64_t *)ctx += row->images;
    return RC_OK;
}

/* For the bar: erased ones are counted as well. */
static uint64_t about(struct results *results, uint64_t limit)
{
    uint64_t sum = 0;
    char tenant[RESULT_TENANT_SIZE_MAX + 1] = "";
    while (results_tenant_next(results, tenant, tenant, NULL) == RC_OK) {
        uint64_t images = 0;
        if (results_usage(results, bytes_of(tenant), 0, UINT32_MAX, 0, add_images, &images, NULL) !=
            RC_OK)
            return 0;
        sum += limit != 0 && images > limit ? limit : images;
    }
    return sum;
}

/* Pictures of the tenant that are older than this may be gone; 0: none may. */
static uint64_t kept_from(const struct survey *survey, const char *tenant)
{
    struct account_tenant row;
    if (survey->account == NULL ||
        account_tenant_get(survey->account, tenant, &row, NULL) != RC_OK || row.image_days == 0)
        return 0;
    uint64_t kept_ms = row.image_days * MS_PER_DAY;
    return kept_ms < survey->now_ms ? survey->now_ms - kept_ms : 0;
}

/* A server may be erasing beside us: the prediction first, then its picture. */
static bool is_gone(const struct survey *survey, const char *tenant, struct id id)
{
    struct result_set set = {0};
    enum rc rc = results_get(survey->results, bytes_of(tenant), id, &set, NULL);
    results_set_done(&set);
    return rc == RC_GONE;
}

static enum rc look(struct survey *survey, const char *tenant, uint64_t kept_from_ms,
                    const struct result *result, struct error *err)
{
    struct blob_info info;
    enum rc rc = blob_stat(survey->blob, tenant, result->picture.sha256, &info, err);
    survey->prediction_count++;
    if (rc != RC_NOT_FOUND)
        return rc;
    if (result->created_ms < kept_from_ms) {
        survey->expired_count++;
    } else if (is_gone(survey, tenant, result->id)) {
        survey->prediction_count--;
    } else if (survey->excuse == NULL || !survey->excuse(survey->ctx, tenant, result)) {
        char hash[SHA256_TEXT_SIZE];
        char id[ID_TEXT_SIZE];
        sha256_text(result->picture.sha256, hash);
        id_text(result->id, id);
        if (survey->missing_count++ == 0)
            (void)snprintf(survey->first, sizeof(survey->first),
                           "%.24s: prediction %s has lost its picture %.16s...", tenant, id, hash);
    }
    return RC_OK;
}

static enum rc tenant_predictions(struct survey *survey, const char *tenant,
                                  struct progress *progress, struct error *err)
{
    const struct results_filter all = {0};
    struct result_set set = {0};
    char cursor[RESULTS_CURSOR_SIZE] = "";
    uint64_t kept_from_ms = kept_from(survey, tenant);
    uint64_t left = survey->limit != 0 ? survey->limit : UINT64_MAX;
    enum rc rc = RC_OK;
    do {
        uint32_t page = left < RESULTS_PAGE_MAX ? (uint32_t)left : RESULTS_PAGE_MAX;
        rc = results_query(survey->results, bytes_of(tenant), &all, bytes_of(cursor), page, &set,
                           err);
        for (uint32_t i = 0; rc == RC_OK && i < set.count; i++) {
            rc = look(survey, tenant, kept_from_ms, &set.items[i], err);
            progress_step(progress, survey->prediction_count);
        }
        left -= rc == RC_OK ? set.count : 0;
        (void)snprintf(cursor, sizeof(cursor), "%s", set.next);
    } while (rc == RC_OK && cursor[0] != '\0' && left > 0);
    results_set_done(&set);
    return rc;
}

enum rc survey_predictions(struct survey *survey, struct error *err)
{
    struct progress progress;
    char tenant[RESULT_TENANT_SIZE_MAX + 1] = "";
    enum rc rc = RC_OK;
    progress_init(&progress, "predictions", about(survey->results, survey->limit));
    while (rc == RC_OK) {
        rc = results_tenant_next(survey->results, tenant, tenant, err);
        if (rc == RC_OK)
            rc = tenant_predictions(survey, tenant, &progress, err);
        else if (rc == RC_NOT_FOUND)
            break;
    }
    progress_done(&progress);
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

static enum rc read_picture(struct survey *survey, const char *tenant,
                            const uint8_t sha256[BLOB_SHA256_SIZE], struct error *err)
{
    struct buf content = BUF_INIT(BLOB_SIZE_MAX);
    struct error why = {0};
    enum rc rc = blob_get(survey->blob, tenant, sha256, &content, &why);
    buf_done(&content);
    if (rc == RC_NOT_FOUND) /* erased since it was listed */
        return RC_OK;
    survey->picture_count++;
    if (rc != RC_INTERNAL && rc != RC_TOO_LARGE && rc != RC_UNAVAILABLE) {
        if (rc != RC_OK && err != NULL)
            *err = why;
        return rc;
    }
    if (survey->damaged_count++ == 0)
        (void)snprintf(survey->first, sizeof(survey->first), "%s", why.text);
    return RC_OK;
}

/* From a random hash on and, behind the last, from the first up to it: some of all, without reading
 * all names. */
static enum rc tenant_pictures(struct survey *survey, const char *tenant, struct progress *progress,
                               struct error *err)
{
    static struct blob_entry page[BLOB_LIST_COUNT_MAX];
    uint8_t start[BLOB_SHA256_SIZE] = {0};
    uint64_t left = survey->limit != 0 ? survey->limit : UINT64_MAX;
    bool from_start =
        survey->limit == 0 || getrandom(start, sizeof(start), 0) != (ssize_t)sizeof(start);
    bool is_whole = from_start; /* one round is all */
    const uint8_t *after = from_start ? NULL : start;
    enum rc rc = RC_OK;
    while (rc == RC_OK && left > 0) {
        uint32_t wanted = left < BLOB_LIST_COUNT_MAX ? (uint32_t)left : BLOB_LIST_COUNT_MAX;
        uint32_t count = 0;
        rc = blob_list(survey->blob, tenant, after, page, wanted, &count, err);
        for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
            if (from_start && !is_whole && memcmp(page[i].sha256, start, sizeof(start)) > 0)
                return RC_OK;
            rc = read_picture(survey, tenant, page[i].sha256, err);
            progress_step(progress, survey->picture_count);
        }
        left -= rc == RC_OK ? count : 0;
        after = count > 0 ? page[count - 1].sha256 : NULL;
        if (rc == RC_OK && count < wanted) {
            if (from_start)
                break;
            from_start = true;
            after = NULL;
        }
    }
    return rc;
}

/* Looking at every name costs little beside reading every picture. */
static uint64_t count_pictures(const struct survey *survey)
{
    static struct blob_entry page[BLOB_LIST_COUNT_MAX];
    uint64_t sum = 0;
    char tenant[BLOB_TENANT_SIZE_MAX + 1] = "";
    while (blob_tenant_next(survey->blob, tenant, tenant, NULL) == RC_OK) {
        uint32_t count = BLOB_LIST_COUNT_MAX;
        uint64_t of_tenant = 0;
        const uint8_t *after = NULL;
        while (count == BLOB_LIST_COUNT_MAX && (survey->limit == 0 || of_tenant < survey->limit)) {
            if (blob_list(survey->blob, tenant, after, page, BLOB_LIST_COUNT_MAX, &count, NULL) !=
                RC_OK)
                return 0;
            of_tenant += count;
            after = count > 0 ? page[count - 1].sha256 : NULL;
        }
        sum += survey->limit != 0 && of_tenant > survey->limit ? survey->limit : of_tenant;
    }
    return sum;
}

enum rc survey_pictures(struct survey *survey, struct error *err)
{
    struct progress progress;
    char tenant[BLOB_TENANT_SIZE_MAX + 1] = "";
    enum rc rc = RC_OK;
    progress_init(&progress, "pictures", 0);
    if (progress.drawing)
        progress.total = count_pictures(survey);
    while (rc == RC_OK) {
        rc = blob_tenant_next(survey->blob, tenant, tenant, err);
        if (rc == RC_OK)
            rc = tenant_pictures(survey, tenant, &progress, err);
        else if (rc == RC_NOT_FOUND)
            break;
    }
    progress_done(&progress);
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

struct verifying {
    struct survey_ledger *ledger;
    struct progress *progress;
};

static void note_step(void *ctx, uint64_t ledger_count)
{
    const struct verifying *verifying = ctx;
    progress_step(verifying->progress, verifying->ledger->entry_count + ledger_count);
}

static enum rc note_difference(void *ctx, const struct results_difference *row)
{
    const struct verifying *verifying = ctx;
    struct survey_ledger *ledger = verifying->ledger;
    char id[ID_TEXT_SIZE];
    id_text(row->id, id);
    if (ledger->first[0] == '\0')
        (void)snprintf(ledger->first, sizeof(ledger->first), "%s (%s)", row->what, id);
    return RC_OK;
}

enum rc survey_verify(struct results *results, struct survey_ledger *ret_ledger, struct error *err)
{
    struct survey_ledger ledger = {0};
    struct progress progress;
    struct verifying verifying = {.ledger = &ledger, .progress = &progress};
    const struct results_verifier verifier = {note_difference, note_step, &verifying};
    char tenant[RESULT_TENANT_SIZE_MAX + 1] = "";
    enum rc rc = RC_OK;
    progress_init(&progress, "ledger", about(results, 0));
    while (rc == RC_OK) {
        struct results_proof proof = {0};
        rc = results_tenant_next(results, tenant, tenant, err);
        if (rc == RC_NOT_FOUND)
            break;
        if (rc == RC_OK)
            rc = results_verify(results, bytes_of(tenant), &verifier, &proof, err);
        ledger.tenant_count++;
        ledger.entry_count += proof.ledger_count;
        ledger.difference_count += proof.difference_count;
    }
    progress_done(&progress);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    *ret_ledger = ledger;
    return RC_OK;
}
