/* SPDX-License-Identifier: Apache-2.0 */
#include "work/sweep.h"

#include "base/clock.h"
#include "results/jobs.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS_PER_DAY       86400000ull
#define ROW_COUNT_MAX    64u  /* in one transaction: how long a write may have to wait */
#define VISIT_COUNT_MAX  128u /* pictures and folders of one step */
#define REST_FACTOR      4u   /* of a step's time */
#define REST_MS_MIN      5u
#define FAILED_COUNT_MAX 16u /* steps of a pass; then it waits for the next */

enum stage { STAGE_KEYS, STAGE_TENANT, STAGE_PREDICTIONS, STAGE_JOBS, STAGE_PICTURES };

struct sweep {
    struct sweep_config config;
    struct sweep_counts counts;
    enum stage stage;
    bool under_way; /* else the next step begins a pass */
    struct account_tenant
        tenant; /* whose predictions and jobs are looked at; "" before the first */
    struct blob_sweep pictures;
    /* Of the tenant that the walk over the pictures is at; "": to be asked for. */
    char days_tenant[ACCOUNT_TENANT_SIZE];
    uint32_t image_days;
    uint64_t now_ms; /* of the step */

    bool started;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    bool ending;
    bool troubled;
};

/* The start of `days` before now, which are more than 0. */
static uint64_t days_before(uint64_t now_ms, uint32_t days)
{
    uint64_t age_ms = days * MS_PER_DAY;
    return now_ms > age_ms ? now_ms - age_ms : 0;
}

static enum rc step_keys(struct sweep *sweep, struct error *err)
{
    uint32_t count = 0;
    enum rc rc = results_expire(sweep->config.results, sweep->now_ms, ROW_COUNT_MAX, &count, err);
    if (rc != RC_OK)
        return rc;
    sweep->counts.key_count += count;
    if (count < ROW_COUNT_MAX)
        sweep->stage = sweep->config.account != NULL ? STAGE_TENANT : STAGE_PICTURES;
    return RC_OK;
}

static enum rc step_tenant(struct sweep *sweep, struct error *err)
{
    uint32_t count = 0;
    char after[ACCOUNT_TENANT_SIZE];
    memcpy(after, sweep->tenant.id, sizeof(after));
    enum rc rc = account_tenant_list(sweep->config.account, after, &sweep->tenant, 1, &count, err);
    if (rc != RC_OK)
        return rc;
    if (count == 0)
        sweep->stage = STAGE_PICTURES;
    else if (sweep->tenant.result_days > 0)
        sweep->stage = STAGE_PREDICTIONS;
    return RC_OK;
}

/* The picture of a prediction that went. Left to the walk over all if it was sent again lately. */
static enum rc erase_picture(struct sweep *sweep, const uint8_t sha256[32], struct error *err)
{
    struct blob_info info;
    const char *tenant = sweep->tenant.id;
    uint64_t before_ms = sweep->now_ms > BLOB_SWEEP_AGE_MS ? sweep->now_ms - BLOB_SWEEP_AGE_MS : 0;
    enum rc rc = blob_stat(sweep->config.blob, tenant, sha256, &info, err);
    if (rc == RC_OK)
        rc = blob_delete(sweep->config.blob, tenant, sha256, before_ms, err);
    if (rc == RC_OK) {
        sweep->counts.picture_count++;
        sweep->counts.picture_size += info.size;
    }
    return rc == RC_NOT_FOUND || rc == RC_BUSY ? RC_OK : rc;
}

static enum rc step_predictions(struct sweep *sweep, struct error *err)
{
    struct results_removed removed[ROW_COUNT_MAX];
    uint32_t count = 0;
    const char *tenant = sweep->tenant.id;
    enum rc rc = results_sweep(sweep->config.results, bytes_of(tenant),
                               days_before(sweep->now_ms, sweep->tenant.result_days), ROW_COUNT_MAX,
                               sweep->now_ms, removed, &count, err);
    if (rc != RC_OK)
        return rc;
    sweep->counts.prediction_count += count;
    if (count < ROW_COUNT_MAX)
        sweep->stage = STAGE_JOBS;
    /* One that fails does not keep the others; the walk over all pictures finds it again. */
    for (uint32_t i = 0; i < count; i++)
        if (removed[i].picture_free) {
            enum rc erased = erase_picture(sweep, removed[i].sha256, err);
            rc = rc == RC_OK ? erased : rc;
        }
    return rc;
}

static enum rc step_jobs(struct sweep *sweep, struct error *err)
{
    uint32_t count = 0;
    const char *tenant = sweep->tenant.id;
    enum rc rc = results_job_sweep(sweep->config.results, bytes_of(tenant),
                                   days_before(sweep->now_ms, sweep->tenant.result_days),
                                   ROW_COUNT_MAX, &count, err);
    if (rc != RC_OK)
        return rc;
    sweep->counts.job_row_count += count;
    if (count < ROW_COUNT_MAX)
        sweep->stage = STAGE_TENANT;
    return RC_OK;
}

/* For how many days the tenant keeps pictures. Asked once a step. */
static enum rc find_image_days(struct sweep *sweep, const char *tenant, struct error *err)
{
    if (strcmp(sweep->days_tenant, tenant) == 0)
        return RC_OK;
    struct account_tenant found = {0};
    if (sweep->config.account != NULL) {
        enum rc rc = account_tenant_get(sweep->config.account, tenant, &found, err);
        if (rc != RC_OK && rc != RC_NOT_FOUND)
            return rc;
    }
    (void)strncpy(sweep->days_tenant, tenant, sizeof(sweep->days_tenant) - 1);
    sweep->image_days = found.image_days;
    return RC_OK;
}

static enum rc is_needed(void *ctx, const char *tenant, const uint8_t sha256[BLOB_SHA256_SIZE],
                         const struct blob_info *info, bool *ret_needed, struct error *err)
{
    struct sweep *sweep = ctx;
    struct results *results = sweep->config.results;
    enum rc rc = find_image_days(sweep, tenant, err);
    if (rc != RC_OK)
        return rc;
    bool is_over =
        sweep->image_days > 0 && info->renewed_ms <= days_before(sweep->now_ms, sweep->image_days);
    return is_over ? results_job_needs_picture(results, bytes_of(tenant), sha256, ret_needed, err)
                   : results_picture_used(results, bytes_of(tenant), sha256, ret_needed, err);
}

static enum rc step_pictures(struct sweep *sweep, bool *ret_done, struct error *err)
{
    struct blob_sweep *pictures = &sweep->pictures;
    struct blob_sweep before = *pictures;
    sweep->days_tenant[0] = '\0';
    enum rc rc = blob_sweep(sweep->config.blob, pictures, sweep->now_ms, err);
    sweep->counts.picture_count += pictures->removed_count - before.removed_count;
    sweep->counts.picture_size += pictures->removed_size - before.removed_size;
    sweep->counts.stale_count += pictures->stale_count - before.stale_count;
    *ret_done = pictures->done;
    sweep->under_way = !pictures->done;
    return rc;
}

static void begin(struct sweep *sweep)
{
    sweep->under_way = true;
    sweep->counts = (struct sweep_counts){0};
    sweep->stage = STAGE_KEYS;
    sweep->tenant = (struct account_tenant){0};
    sweep->pictures = (struct blob_sweep){.older_than_ms = BLOB_SWEEP_AGE_MS,
                                          .visit_count_max = VISIT_COUNT_MAX,
                                          .is_referenced = is_needed,
                                          .ctx = sweep};
}

enum rc sweep_step(struct sweep *sweep, uint64_t now_ms, bool *ret_done, struct error *err)
{
    assert(sweep != NULL && ret_done != NULL);
    if (!sweep->under_way)
        begin(sweep);
    sweep->now_ms = now_ms;
    *ret_done = false;
    switch (sweep->stage) {
    case STAGE_KEYS:
        return step_keys(sweep, err);
    case STAGE_TENANT:
        return step_tenant(sweep, err);
    case STAGE_PREDICTIONS:
        return step_predictions(sweep, err);
    case STAGE_JOBS:
        return step_jobs(sweep, err);
    case STAGE_PICTURES:
        return step_pictures(sweep, ret_done, err);
    }
    abort(); /* no such stage */
}

const struct sweep_counts *sweep_counts(const struct sweep *sweep) { return &sweep->counts; }

/* True when it is to end. Under the mutex. */
static bool rest(struct sweep *sweep, uint64_t ns)
{
    uint64_t until_ns = clock_monotonic_ns() + ns;
    struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_S),
                             .tv_nsec = (long)(until_ns % NS_PER_S)};
    while (!sweep->ending &&
           pthread_cond_timedwait(&sweep->ended, &sweep->mutex, &until) != ETIMEDOUT)
        ;
    return sweep->ending;
}

static void report(struct sweep *sweep, enum rc rc, const struct error *err)
{
    if (rc != RC_OK && !sweep->troubled)
        sweep->config.trouble(sweep->config.ctx, err);
    if (rc != RC_OK)
        sweep->troubled = true;
}

/* A pass that fails again and again is given up, and its picture walk with it: the next begins at
 * the start. Under the mutex, which it gives up for the steps. */
static void make_pass(struct sweep *sweep)
{
    uint32_t failed_count = 0;
    bool done = false;
    while (!done && failed_count < FAILED_COUNT_MAX && !sweep->ending) {
        pthread_mutex_unlock(&sweep->mutex);
        struct error err = {0};
        uint64_t start_ns = clock_monotonic_ns();
        enum rc rc = sweep_step(sweep, clock_wall_ms(), &done, &err);
        uint64_t taken_ns = clock_monotonic_ns() - start_ns;
        report(sweep, rc, &err);
        failed_count += rc != RC_OK;
        pthread_mutex_lock(&sweep->mutex);
        if (!done)
            (void)rest(sweep, REST_MS_MIN * NS_PER_MS + REST_FACTOR * taken_ns);
    }
    static const struct sweep_counts nothing;
    if (memcmp(&sweep->counts, &nothing, sizeof(nothing)) != 0)
        sweep->config.note(sweep->config.ctx, &sweep->counts);
    if (done && failed_count == 0)
        sweep->troubled = false;
    sweep->under_way = false;
}

static void *sweep_main(void *argument)
{
    struct sweep *sweep = argument;
    pthread_mutex_lock(&sweep->mutex);
    do
        make_pass(sweep);
    while (!rest(sweep, sweep->config.interval_ms * NS_PER_MS));
    pthread_mutex_unlock(&sweep->mutex);
    return NULL;
}

enum rc sweep_open(const struct sweep_config *config, struct sweep **ret_sweep, struct error *err)
{
    assert(config != NULL && config->results != NULL && config->blob != NULL && ret_sweep != NULL);
    struct sweep *sweep = calloc(1, sizeof(*sweep));
    if (sweep == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the sweep");
    sweep->config = *config;
    (void)pthread_mutex_init(&sweep->mutex, NULL);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&sweep->ended, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    *ret_sweep = sweep;
    return RC_OK;
}

enum rc sweep_start(struct sweep *sweep, struct error *err)
{
    assert(!sweep->started);
    int failed = pthread_create(&sweep->thread, NULL, sweep_main, sweep);
    if (failed != 0)
        return error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed));
    sweep->started = true;
    return RC_OK;
}

void sweep_free(struct sweep *sweep)
{
    if (sweep == NULL)
        return;
    if (sweep->started) {
        pthread_mutex_lock(&sweep->mutex);
        sweep->ending = true;
        pthread_cond_signal(&sweep->ended);
        pthread_mutex_unlock(&sweep->mutex);
        pthread_join(sweep->thread, NULL);
    }
    pthread_cond_destroy(&sweep->ended);
    pthread_mutex_destroy(&sweep->mutex);
    free(sweep);
}
