/* SPDX-License-Identifier: Apache-2.0
 * job.c - the record's body: a version, fixed fields, then texts with their sizes; little endian.
 */
#include "work/job.h"

#include "base/clock.h"
#include "predict/predict.h"
#include "work/webhook.h"

#include <string.h>

#define BODY_VERSION 1u
/* version, flags, top_k (2), min_score (4), plan_version (4), images_per_day (8) */
#define FIXED_SIZE    20u
#define FLAG_RESERVES 1u

#define TEXT_COUNT 6u
static const size_t text_sizes_max[TEXT_COUNT] = {
    RESULT_NAME_SIZE_MAX,     RESULT_NAME_SIZE_MAX, RESULT_REFERENCE_SIZE_MAX,
    RESULT_METADATA_SIZE_MAX, RESULT_NAME_SIZE_MAX, WEBHOOK_URL_SIZE_MAX};

/* In the order in which they are written. */
static void list_texts(struct job *job, struct bytes *texts[TEXT_COUNT])
{
    struct bytes *const list[] = {&job->model,    &job->version, &job->reference,
                                  &job->metadata, &job->plan,    &job->webhook};
    memcpy(texts, list, sizeof(list));
}

static void put_u32(uint8_t *into, uint32_t value)
{
    for (size_t i = 0; i < 4; i++)
        into[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_u32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

static uint16_t get_u16(const uint8_t *from) { return (uint16_t)(from[0] | from[1] << 8); }

enum rc job_write(const struct job *job, struct buf *into, struct error *err)
{
    struct job copy = *job;
    struct bytes *texts[TEXT_COUNT];
    list_texts(&copy, texts);
    uint32_t score_bits;
    memcpy(&score_bits, &job->min_score, sizeof(score_bits));
    uint8_t fixed[FIXED_SIZE] = {BODY_VERSION, job->reserves ? FLAG_RESERVES : 0,
                                 (uint8_t)job->top_k, (uint8_t)(job->top_k >> 8)};
    put_u32(fixed + 4, score_bits);
    put_u32(fixed + 8, job->plan_version);
    put_u32(fixed + 12, (uint32_t)job->images_per_day);
    put_u32(fixed + 16, (uint32_t)(job->images_per_day >> 32));
    enum rc rc = buf_append(into, (struct bytes){fixed, sizeof(fixed)});
    for (size_t i = 0; i < TEXT_COUNT && rc == RC_OK; i++) {
        size_t size = texts[i]->size;
        if (size > text_sizes_max[i])
            return error_set(err, RC_TOO_LARGE, "a text of the job has %zu bytes; %zu is the most",
                             size, text_sizes_max[i]);
        uint8_t head[2] = {(uint8_t)size, (uint8_t)(size >> 8)};
        rc = buf_append(into, (struct bytes){head, sizeof(head)});
        if (rc == RC_OK)
            rc = buf_append(into, *texts[i]);
    }
    return rc == RC_OK ? RC_OK : error_set(err, rc, "no memory for the job");
}

static bool take_text(struct bytes *rest, size_t size_max, struct bytes *ret_text)
{
    if (rest->size < 2)
        return false;
    size_t size = get_u16(rest->data);
    if (size > size_max || size > rest->size - 2)
        return false;
    *ret_text = (struct bytes){rest->data + 2, size};
    *rest = (struct bytes){rest->data + 2 + size, rest->size - 2 - size};
    return true;
}

enum rc job_read(struct bytes body, struct job *ret_job, struct error *err)
{
    struct job job = {0};
    struct bytes *texts[TEXT_COUNT];
    list_texts(&job, texts);
    bool sound = body.size >= FIXED_SIZE;
    if (sound && body.data[0] != BODY_VERSION)
        return error_set(err, RC_INTERNAL, "the job was written by another version of imago (%u)",
                         body.data[0]);
    if (sound) {
        uint32_t score_bits = get_u32(body.data + 4);
        job.reserves = (body.data[1] & FLAG_RESERVES) != 0;
        job.top_k = get_u16(body.data + 2);
        memcpy(&job.min_score, &score_bits, sizeof(job.min_score));
        job.plan_version = get_u32(body.data + 8);
        job.images_per_day = get_u32(body.data + 12) | (uint64_t)get_u32(body.data + 16) << 32;
        /* So written that a NaN is refused. */
        sound = body.data[1] <= FLAG_RESERVES && job.top_k >= 1 && job.top_k <= PREDICT_TOP_K_MAX &&
                job.min_score >= 0 && job.min_score <= 1;
    }
    struct bytes rest = body;
    if (sound)
        rest = (struct bytes){body.data + FIXED_SIZE, body.size - FIXED_SIZE};
    for (size_t i = 0; i < TEXT_COUNT && sound; i++)
        sound = take_text(&rest, text_sizes_max[i], texts[i]);
    if (!sound || rest.size != 0)
        return error_set(err, RC_INTERNAL, "the record of the job is damaged");
    *ret_job = job;
    return RC_OK;
}

const char *job_told(const struct result_job *record, bool running)
{
    switch (record->ended) {
    case RESULT_JOB_DONE:
        return "done";
    case RESULT_JOB_DEAD:
        return "dead";
    case RESULT_JOB_CANCELLED:
        return "cancelled";
    case RESULT_JOB_OPEN:
        break;
    }
    return running ? "running" : "queued";
}

static json_t *text_or_null(struct bytes text)
{
    json_t *value = text.size > 0 ? json_stringn((const char *)text.data, text.size) : NULL;
    return value != NULL ? value : json_null();
}

static json_t *time_or_null(uint64_t ms)
{
    char text[CLOCK_TEXT_SIZE];
    if (ms == 0)
        return json_null();
    clock_wall_text(ms, text);
    return json_string(text);
}

json_t *job_json(const struct result_job *record, const struct job *job, bool running)
{
    char id[ID_TEXT_SIZE];
    id_text(record->id, id);
    json_t *counts =
        json_pack("{s:I, s:I, s:I}", "total", (json_int_t)record->picture_count, "done",
                  (json_int_t)record->done_count, "failed", (json_int_t)record->failed_count);
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", id, "state",
                     job_told(record, running), "created_at", time_or_null(record->created_ms),
                     "ended_at", time_or_null(record->ended_ms), "model", text_or_null(job->model),
                     "version", text_or_null(job->version), "reference",
                     text_or_null(job->reference), "counts", counts, "reason",
                     text_or_null(record->reason));
}
