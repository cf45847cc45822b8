/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/serve_jobs.h"

#include "engine/engine.h"
#include "telemetry/log.h"

/* Each worker has its next batch waiting while it runs one. */
#define BATCHES_PER_WORKER 2u
#define RETRY_MS_MAX       (60u * 60 * 1000)

static void log_note(void *ctx, const struct job_note *note)
{
    static const struct {
        enum log_level level;
        const char *event;
    } kinds[] = {[JOB_NOTE_ENDED] = {LOG_INFO, "job_ended"},
                 [JOB_NOTE_ATTEMPT_FAILED] = {LOG_WARNING, "job_attempt_failed"},
                 [JOB_NOTE_DEAD] = {LOG_ERROR, "job_dead"},
                 [JOB_NOTE_LEASE_LOST] = {LOG_WARNING, "job_lease_lost"},
                 [JOB_NOTE_NOT_BEGUN] = {LOG_WARNING, "job_not_begun"},
                 [JOB_NOTE_NOT_ENDED] = {LOG_WARNING, "job_not_ended"},
                 [JOB_NOTE_TROUBLE] = {LOG_WARNING, "jobs"}};
    (void)ctx;
    char id[ID_TEXT_SIZE];
    id_text(note->id, id);
    log_event(kinds[note->what].level, kinds[note->what].event,
              json_pack("{s:s*, s:s*, s:s*}", "job", note->tenant[0] != '\0' ? id : NULL, "tenant",
                        note->tenant[0] != '\0' ? note->tenant : NULL, "detail",
                        note->text[0] != '\0' ? note->text : NULL));
}

enum rc serve_jobs_open(const struct settings *settings, const struct stores *stores,
                        struct work *work, struct job_runner **ret_runner, struct error *err)
{
    if (stores->queue == NULL)
        return RC_OK;
    uint32_t worker_count = settings->workers != 0 ? settings->workers : engine_cpu_count();
    uint32_t window = worker_count * settings->batch * BATCHES_PER_WORKER;
    struct job_runner_config config = {
        .stores = {stores->results, stores->queue, stores->account},
        .blob = stores->blob,
        .work = work,
        .window = window < settings->waiting ? window : settings->waiting,
        .memory_max = settings->job_memory,
        .picture_max = settings->image_size,
        .lease_ms = settings->job_lease,
        .retry = {.delay_ms = settings->job_retry, .delay_ms_max = RETRY_MS_MAX},
        .note = log_note};
    return job_runner_open(&config, ret_runner, err);
}
