/* SPDX-License-Identifier: Apache-2.0
 * limits.c - sizes, ranges and texts, checked before a driver sees them. */
#include "results/limits.h"
#include "results/driver.h"

#include <math.h>

static bool tenant_octet(uint8_t c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

enum rc check_tenant(struct bytes tenant, struct error *err)
{
    bool right =
        tenant.size > 0 && tenant.size <= RESULT_TENANT_SIZE_MAX && tenant_octet(tenant.data[0]);
    for (size_t i = 1; right && i < tenant.size; i++)
        right = tenant_octet(tenant.data[i]) || tenant.data[i] == '-';
    if (!right)
        return error_set(err, RC_INVALID,
                         "a tenant is 1 to %u of a-z, 0-9 and '-', and does not start with '-'",
                         RESULT_TENANT_SIZE_MAX);
    return RC_OK;
}

/* Bytes of the character at `at`, 0 if it is none that we take (RFC 3629, table 3-7 of Unicode). */
static size_t utf8_size(struct bytes text, size_t at)
{
    uint8_t first = text.data[at];
    if (first < 0x80)
        return first >= 0x20 && first != 0x7f ? 1 : 0;
    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || size > text.size - at)
        return 0;
    uint8_t second = text.data[at + 1];
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (second < low || second > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((text.data[at + i] & 0xc0) != 0x80)
            return 0;
    return size;
}

enum rc check_text(const char *what, struct bytes text, size_t size_max, struct error *err)
{
    if (text.size > size_max)
        return error_set(err, RC_TOO_LARGE, "%s has %zu bytes; %zu is the most", what, text.size,
                         size_max);
    for (size_t at = 0; at < text.size;) {
        size_t size = utf8_size(text, at);
        if (size == 0)
            return error_set(err, RC_INVALID, "%s is not UTF-8 text in one line (byte %zu)", what,
                             at);
        at += size;
    }
    return RC_OK;
}

static enum rc check_size(const char *what, size_t size, size_t size_max, struct error *err)
{
    if (size <= size_max)
        return RC_OK;
    return error_set(err, RC_TOO_LARGE, "%s has %zu bytes; %zu is the most", what, size, size_max);
}

enum rc check_key(struct bytes key, struct error *err)
{
    if (key.size == 0)
        return error_set(err, RC_INVALID, "the idempotency key is empty");
    return check_text("the idempotency key", key, RESULT_KEY_SIZE_MAX, err);
}

static enum rc check_prediction(const struct result *result, struct error *err)
{
    const struct {
        const char *what;
        struct bytes text;
        size_t size_max;
    } texts[] = {
        {"the key's id", result->key, RESULT_NAME_SIZE_MAX},
        {"the model's name", result->model, RESULT_NAME_SIZE_MAX},
        {"the model's version", result->version, RESULT_NAME_SIZE_MAX},
        {"the label", result->label, RESULT_LABEL_SIZE_MAX},
        {"the format", result->picture.format, RESULT_FORMAT_SIZE_MAX},
        {"the reference", result->reference, RESULT_REFERENCE_SIZE_MAX},
    };
    enum rc rc = RC_OK;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && rc == RC_OK; i++)
        rc = check_text(texts[i].what, texts[i].text, texts[i].size_max, err);
    if (rc == RC_OK)
        rc = check_size("the metadata", result->metadata.size, RESULT_METADATA_SIZE_MAX, err);
    if (rc == RC_OK)
        rc = check_size("the list of scores", result->scores.size,
                        RESULT_SCORE_COUNT_MAX * RESULT_SCORE_SIZE, err);
    if (rc != RC_OK)
        return rc;
    if (result->scores.size % RESULT_SCORE_SIZE != 0)
        return error_set(err, RC_INVALID, "%zu bytes are not packed scores", result->scores.size);
    if (result->model.size == 0 || result->version.size == 0)
        return error_set(err, RC_INVALID, "a prediction without model or version");
    if (result->created_ms > RESULT_TIME_MS_MAX)
        return error_set(err, RC_INVALID, "a time after the year 9999");
    return RC_OK;
}

enum rc check_commit(const struct result_commit *commit, struct error *err)
{
    enum rc rc = check_tenant(commit->tenant, err);
    if (rc == RC_OK)
        rc = check_prediction(&commit->prediction, err);
    if (rc == RC_OK)
        rc = check_text("the plan's name", commit->plan, RESULT_NAME_SIZE_MAX, err);
    if (rc == RC_OK)
        rc = check_text("the reason", commit->reason, RESULT_REASON_SIZE_MAX, err);
    if (rc == RC_OK)
        rc = check_size("the message", commit->payload.size, RESULT_PAYLOAD_SIZE_MAX, err);
    if (rc == RC_OK)
        rc = check_size("the kept answer", commit->answer.size, RESULT_ANSWER_SIZE_MAX, err);
    if (rc == RC_OK && commit->idempotency_key.size > 0)
        rc = check_key(commit->idempotency_key, err);
    if (rc != RC_OK)
        return rc;
    if (commit->units > RESULT_UNITS_MAX || commit->requests > 1)
        return error_set(err, RC_INVALID, "%u units and %u requests of one picture", commit->units,
                         commit->requests);
    if ((unsigned)commit->outcome >= RC_COUNT)
        return error_set(err, RC_INVALID, "%u is no outcome", (unsigned)commit->outcome);
    if (commit->kind != RESULT_UNBILLED && commit->outcome != RC_OK)
        return error_set(err, RC_INVALID, "a billed picture with the outcome %s",
                         rc_name(commit->outcome));
    return RC_OK;
}

enum rc check_job(const struct result_job *job, struct error *err)
{
    if (id_is_zero(job->id))
        return error_set(err, RC_INVALID, "a job without an id");
    if (job->picture_count == 0 || job->pictures == NULL)
        return error_set(err, RC_INVALID, "a job without pictures");
    if (job->picture_count > RESULT_JOB_PICTURE_COUNT_MAX)
        return error_set(err, RC_TOO_LARGE, "a job of %u pictures; %u is the most",
                         job->picture_count, RESULT_JOB_PICTURE_COUNT_MAX);
    if (job->created_ms > RESULT_TIME_MS_MAX)
        return error_set(err, RC_INVALID, "a time after the year 9999");
    enum rc rc = check_text("the key's id", job->key, RESULT_NAME_SIZE_MAX, err);
    if (rc == RC_OK)
        rc = check_size("the job", job->body.size, RESULT_JOB_BODY_SIZE_MAX, err);
    if (rc == RC_OK)
        rc = check_size("the kept answer", job->answer.size, RESULT_ANSWER_SIZE_MAX, err);
    if (rc == RC_OK && job->idempotency_key.size > 0)
        rc = check_key(job->idempotency_key, err);
    return rc;
}

enum rc check_job_end(struct bytes reason, uint64_t now_ms, struct bytes payload, struct error *err)
{
    if (now_ms == 0 || now_ms > RESULT_TIME_MS_MAX)
        return error_set(err, RC_INVALID, "a job ends between 1970 and the year 9999");
    enum rc rc = check_text("the reason", reason, RESULT_REASON_SIZE_MAX, err);
    return rc != RC_OK ? rc : check_size("the message", payload.size, RESULT_PAYLOAD_SIZE_MAX, err);
}

enum rc check_feedback(const struct result_feedback *feedback, struct error *err)
{
    if (feedback->class_id == RESULT_CLASS_NONE && feedback->label.size == 0)
        return error_set(err, RC_INVALID, "feedback needs a class_id or a label");
    if (feedback->time_ms > RESULT_TIME_MS_MAX)
        return error_set(err, RC_INVALID, "a time after the year 9999");
    enum rc rc = check_text("the label", feedback->label, RESULT_LABEL_SIZE_MAX, err);
    return rc != RC_OK ? rc : check_text("the note", feedback->note, RESULT_NOTE_SIZE_MAX, err);
}

enum rc check_filter(const struct results_filter *filter, struct error *err)
{
    unsigned indexed = 0;
    indexed += filter->label.size > 0;
    indexed += filter->model.size > 0;
    indexed += filter->reference.size > 0;
    if (indexed > 1)
        return error_set(err, RC_INVALID,
                         "only one of label, model and reference can be asked for");
    if (!isfinite(filter->min_score) || !isfinite(filter->max_score) || filter->min_score < 0.0f ||
        filter->max_score < 0.0f)
        return error_set(err, RC_INVALID, "score limits are numbers from 0 on");
    enum rc rc = check_text("the label", filter->label, RESULT_LABEL_SIZE_MAX, err);
    if (rc == RC_OK)
        rc = check_text("the model's name", filter->model, RESULT_NAME_SIZE_MAX, err);
    if (rc == RC_OK)
        rc = check_text("the model's version", filter->version, RESULT_NAME_SIZE_MAX, err);
    if (rc == RC_OK)
        rc = check_text("the reference", filter->reference, RESULT_REFERENCE_SIZE_MAX, err);
    return rc;
}
