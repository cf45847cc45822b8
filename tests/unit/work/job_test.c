/* SPDX-License-Identifier: Apache-2.0
 * A job's description: what was written is read, and nothing else is taken for one. */
#include "check.h"
#include "predict/predict.h"
#include "work/job.h"
#include "work/webhook.h"

#include <stdlib.h>
#include <string.h>

static const struct job whole = {
    .model = {(const uint8_t *)"efficientnet-lite0", 18},
    .version = {(const uint8_t *)"12", 2},
    .reference = {(const uint8_t *)"Auftrag 7", 9},
    .metadata = {(const uint8_t *)"{\"a\":0.1}", 9},
    .plan = {(const uint8_t *)"gold", 4},
    .plan_version = 0xfedcba98,
    .top_k = 1000,
    .min_score = 0.125f,
    .reserves = true,
    .images_per_day = 0x123456789abcdef0,
    .webhook = {(const uint8_t *)"https://example.com/x", 21},
};

static void assert_same(const struct job *a, const struct job *b)
{
    assert_true(bytes_equal(a->model, b->model));
    assert_true(bytes_equal(a->version, b->version));
    assert_true(bytes_equal(a->reference, b->reference));
    assert_true(bytes_equal(a->metadata, b->metadata));
    assert_true(bytes_equal(a->plan, b->plan));
    assert_true(bytes_equal(a->webhook, b->webhook));
    assert_int_equal(a->plan_version, b->plan_version);
    assert_int_equal(a->top_k, b->top_k);
    assert_true(a->min_score >= b->min_score && a->min_score <= b->min_score);
    assert_int_equal(a->reserves, b->reserves);
    assert_int_equal(a->images_per_day, b->images_per_day);
}

static struct bytes written(const struct job *job, struct buf *into)
{
    struct error err = {0};
    *into = (struct buf)BUF_INIT(RESULT_JOB_BODY_SIZE_MAX);
    assert_int_equal(job_write(job, into, &err), RC_OK);
    return (struct bytes){into->data, into->size};
}

TEST(what_was_written_is_read)
{
    const struct job least = {.model = whole.model, .version = whole.version, .top_k = 1};
    const struct job *const jobs[] = {&whole, &least};
    for (size_t i = 0; i < 2; i++) {
        struct buf body;
        struct job job;
        assert_int_equal(job_read(written(jobs[i], &body), &job, NULL), RC_OK);
        assert_same(&job, jobs[i]);
        buf_done(&body);
    }
}

TEST(the_largest_job_fits_into_its_record_and_a_larger_text_is_refused)
{
    static uint8_t text[RESULT_METADATA_SIZE_MAX + 1];
    memset(text, 'x', sizeof(text));
    struct job job = whole;
    struct buf body = BUF_INIT(RESULT_JOB_BODY_SIZE_MAX);
    struct bytes *const texts[] = {&job.model,    &job.version, &job.reference,
                                   &job.metadata, &job.plan,    &job.webhook};
    const size_t sizes[] = {RESULT_NAME_SIZE_MAX,      RESULT_NAME_SIZE_MAX,
                            RESULT_REFERENCE_SIZE_MAX, RESULT_METADATA_SIZE_MAX,
                            RESULT_NAME_SIZE_MAX,      WEBHOOK_URL_SIZE_MAX};
    for (size_t i = 0; i < 6; i++)
        *texts[i] = (struct bytes){text, sizes[i]};
    assert_int_equal(job_write(&job, &body, NULL), RC_OK);
    struct job again;
    assert_int_equal(job_read((struct bytes){body.data, body.size}, &again, NULL), RC_OK);
    assert_same(&again, &job);
    for (size_t i = 0; i < 6; i++) {
        struct error err = {0};
        texts[i]->size++;
        buf_clear(&body);
        assert_int_equal(job_write(&job, &body, &err), RC_TOO_LARGE);
        assert_true(err.text[0] != '\0');
        texts[i]->size--;
    }
    buf_done(&body);
}

/* Under ASan: `body` lies at the end of what may be read. */
static enum rc read_exact(const uint8_t *data, size_t size, struct job *ret_job)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, data, size);
    enum rc rc = job_read((struct bytes){copy, size}, ret_job, NULL);
    if (rc == RC_OK) {
        assert_in_range(ret_job->top_k, 1, PREDICT_TOP_K_MAX);
        assert_true(ret_job->min_score >= 0 && ret_job->min_score <= 1);
        assert_true(ret_job->metadata.size <= RESULT_METADATA_SIZE_MAX);
        assert_true(ret_job->webhook.size <= WEBHOOK_URL_SIZE_MAX);
        /* What is taken for a job is one: written again it is the same. */
        struct buf body;
        struct bytes again = written(ret_job, &body);
        assert_int_equal(again.size, size);
        assert_memory_equal(again.data, copy, size);
        buf_done(&body);
    }
    free(copy);
    return rc;
}

TEST(a_part_of_a_job_is_none_and_neither_is_more_than_one)
{
    struct buf body;
    struct bytes text = written(&whole, &body);
    struct job job;
    for (size_t size = 0; size < text.size; size++)
        assert_int_equal(read_exact(text.data, size, &job), RC_INTERNAL);
    assert_int_equal(buf_append(&body, bytes_of("x")), RC_OK);
    assert_int_equal(read_exact(body.data, body.size, &job), RC_INTERNAL);
    buf_done(&body);
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

TEST(whatever_the_bytes_are_a_job_that_is_read_is_within_its_limits)
{
    uint64_t seed = 20261124;
    struct buf body;
    struct bytes text = written(&whole, &body);
    struct job job;
    uint32_t taken_count = 0;
    for (int round = 0; round < 50000; round++) {
        uint8_t changed[512];
        memcpy(changed, text.data, text.size);
        for (uint64_t flips = next_random(&seed) % 4 + 1; flips > 0; flips--)
            changed[next_random(&seed) % text.size] = (uint8_t)next_random(&seed);
        taken_count += read_exact(changed, text.size, &job) == RC_OK;
    }
    for (int round = 0; round < 20000; round++) {
        uint8_t noise[64];
        size_t size = next_random(&seed) % sizeof(noise);
        for (size_t i = 0; i < size; i++)
            noise[i] = (uint8_t)next_random(&seed);
        if (size > 0 && round % 2 == 0)
            noise[0] = 1;
        (void)read_exact(noise, size, &job);
    }
    assert_true(taken_count > 0); /* a changed letter is a letter */
    buf_done(&body);
}

TEST(another_version_is_told_apart_from_damage)
{
    struct buf body;
    (void)written(&whole, &body);
    struct error err = {0};
    struct job job;
    body.data[0] = 2;
    assert_int_equal(job_read((struct bytes){body.data, body.size}, &job, &err), RC_INTERNAL);
    assert_non_null(strstr(err.text, "version"));
    buf_done(&body);
}

TEST(a_job_is_shown_as_its_record_and_the_queue_have_it)
{
    struct result_job record = {
        .created_ms = 1796000000123, .picture_count = 5, .done_count = 3, .failed_count = 1};
    assert_string_equal(job_told(&record, false), "queued");
    assert_string_equal(job_told(&record, true), "running");
    static const char *const texts[] = {"", "done", "dead", "cancelled"};
    record.ended_ms = record.created_ms + 1;
    for (int end = RESULT_JOB_DONE; end <= RESULT_JOB_CANCELLED; end++) {
        record.ended = (enum result_job_end)end;
        assert_string_equal(job_told(&record, true), texts[end]);
        json_t *shown = job_json(&record, &whole, true);
        assert_string_equal(json_string_value(json_object_get(shown, "state")), texts[end]);
        json_t *counts = json_object_get(shown, "counts");
        assert_int_equal(json_integer_value(json_object_get(counts, "done")), 3);
        assert_true(json_is_null(json_object_get(shown, "reason")));
        assert_string_equal(json_string_value(json_object_get(shown, "ended_at")),
                            "2026-11-30T00:53:20.124Z");
        json_decref(shown);
    }
}

TEST_MAIN("job")
