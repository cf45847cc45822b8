/* SPDX-License-Identifier: Apache-2.0 */
#include "work/job_end.h"

#include "account/quota.h"
#include "queue/queue.h"
#include "work/webhook.h"

#include <stdio.h>

static enum rc write_message(const struct result_job *record, const struct job *job,
                             uint64_t now_ms, struct buf *into, struct error *err)
{
    char type[32];
    if (job->webhook.size == 0)
        return RC_OK;
    (void)snprintf(type, sizeof(type), "job.%s", job_told(record, false));
    json_t *data = job_json(record, job, false);
    enum rc rc = data != NULL ? webhook_message_write(job->webhook, type, now_ms, data, into, err)
                              : error_set(err, RC_NO_MEMORY, "no memory for the webhook's message");
    json_decref(data);
    return rc;
}

/* A settlement that is lost is made up for by account_maintain(), which asks the ledger. An
 * operator who revives a job has decided that it is to be finished: nothing is reserved for it
 * again. */
static void settle(const struct job_stores *stores, const char *tenant,
                   const struct result_job *record, const struct job *job)
{
    if (!job->reserves || stores->account == NULL || record->reopened > 0)
        return;
    struct quota_settlement settlement = {.id = record->id,
                                          .tenant = tenant,
                                          .image_count = record->done_count,
                                          .committed_ms = record->ended_ms};
    (void)!account_settle(stores->account, &settlement, 1, NULL);
}

enum rc job_end(const struct job_stores *stores, const char *tenant, struct result_job *record,
                const struct job *job, enum result_job_end end, const char *reason, uint64_t now_ms,
                struct error *err)
{
    struct bytes owner = bytes_of(tenant);
    enum rc rc = results_job_progress(stores->results, owner, record->id, &record->done_count,
                                      &record->failed_count, err);
    if (rc != RC_OK)
        return rc;
    struct result_job ended = *record;
    struct buf message = BUF_INIT(RESULT_PAYLOAD_SIZE_MAX);
    ended.ended = end;
    ended.ended_ms = now_ms;
    ended.reason = bytes_of(reason);
    bool first = false;
    rc = write_message(&ended, job, now_ms, &message, err);
    if (rc == RC_OK)
        rc = results_job_end(stores->results, owner, record->id, end, ended.reason, now_ms,
                             (struct bytes){message.data, message.size}, now_ms, &first, err);
    buf_done(&message);
    if (rc != RC_OK)
        return rc;
    settle(stores, tenant, &ended, job);
    return RC_OK;
}

static enum rc push_again(const struct job_stores *stores, const char *tenant, struct id id,
                          uint64_t now_ms, struct error *err)
{
    struct queue_message message = {.id = id, .tenant = tenant};
    return queue_push(stores->queue, &message, 1, now_ms, NULL, err);
}

enum rc job_reconcile(const struct job_stores *stores, const char *tenant, struct id id,
                      uint64_t now_ms, bool *ret_ended, struct error *err)
{
    struct queue_info info;
    *ret_ended = false;
    enum rc rc = queue_get(stores->queue, tenant, id, &info, err);
    if (rc == RC_NOT_FOUND)
        return push_again(stores, tenant, id, now_ms, err);
    if (rc != RC_OK || (info.state != JOB_DEAD && info.state != JOB_CANCELLED))
        return rc;
    struct result_job_set set = {0};
    struct job job;
    rc = results_job_get(stores->results, bytes_of(tenant), id, &set, err);
    if (rc == RC_OK)
        rc = job_read(set.items[0].body, &job, err);
    if (rc == RC_OK && set.items[0].ended == RESULT_JOB_OPEN)
        rc = info.state == JOB_DEAD ? job_end(stores, tenant, &set.items[0], &job, RESULT_JOB_DEAD,
                                              "its attempts are used up", now_ms, err)
                                    : job_end(stores, tenant, &set.items[0], &job,
                                              RESULT_JOB_CANCELLED, "", now_ms, err);
    *ret_ended = rc == RC_OK;
    results_job_set_done(&set);
    return rc;
}
