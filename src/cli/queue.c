/* SPDX-License-Identifier: Apache-2.0
 * queue.c - `imago queue list|dead|retry|stats`: jobs as operators see them. */
#include "cli/accounts.h"
#include "cli/cli.h"

#include "results/jobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct options {
    struct stores_settings stores;
#define OPTION CONFIG_MEMBER
#include "cli/queue_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/queue_options.def"
#undef OPTION
};

static enum accounts_form form_of(const struct cli_call *call)
{
    const struct options *options = call->options;
    return accounts_form_choose(options->format);
}

/* NULL: all of them. */
static const char *tenant_of(const struct cli_call *call)
{
    return call->argc > 0 ? call->argv[0] : NULL;
}

/* --- list ------------------------------------------------------------------------------------ */

static enum rc print_open(const struct cli_call *call, const struct results_job_open *job,
                          struct error *err)
{
    char id[ID_TEXT_SIZE];
    char created[ACCOUNTS_TIME_SIZE];
    struct queue_info info = {.state = JOB_QUEUED};
    enum rc rc = queue_get(call->stores->queue, job->tenant, job->id, &info, err);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    id_text(job->id, id);
    accounts_time_text(job->created_ms, created);
    if (form_of(call) == ACCOUNTS_JSON)
        return accounts_print_json(
            json_pack("{s:s, s:s, s:s, s:i, s:o, s:s}", "tenant", job->tenant, "job", id, "state",
                      job_state_text(info.state), "attempts", (int)info.delivery_count,
                      "created_at", accounts_time_json(job->created_ms), "reason", info.reason),
            err);
    return cli_wrote(printf("%-24s %-36s %-10s %8u %-21s %.100s\n", job->tenant, id,
                            job_state_text(info.state), info.delivery_count, created,
                            info.reason) >= 0,
                     err);
}

static enum rc list(struct cli_call *call, struct error *err)
{
    struct results_job_open page[RESULTS_JOB_PAGE_MAX];
    struct results_job_open last;
    const char *tenant = tenant_of(call);
    uint32_t count = RESULTS_JOB_PAGE_MAX;
    bool begun = false;
    enum rc rc = RC_OK;
    if (form_of(call) == ACCOUNTS_TABLE)
        (void)printf("%-24s %-36s %-10s %8s %-21s %s\n", "TENANT", "JOB", "STATE", "ATTEMPTS",
                     "CREATED", "LAST FAILURE");
    while (rc == RC_OK && count == RESULTS_JOB_PAGE_MAX) {
        rc = results_job_open_list(call->stores->results, begun ? &last : NULL,
                                   RESULTS_JOB_PAGE_MAX, page, &count, err);
        for (uint32_t i = 0; rc == RC_OK && i < count; i++)
            if (tenant == NULL || strcmp(page[i].tenant, tenant) == 0)
                rc = print_open(call, &page[i], err);
        if (rc == RC_OK && count > 0) {
            last = page[count - 1];
            begun = true;
        }
    }
    return rc;
}

/* --- of each tenant -------------------------------------------------------------------------- */

/* Runs `each` with the tenant that the command line names, or with all that have had jobs. */
static enum rc for_tenants(const struct cli_call *call,
                           enum rc (*each)(const struct cli_call *call,
                                           const struct queue_stats *tenant, struct error *err),
                           struct error *err)
{
    static struct queue_stats page[QUEUE_LIST_MAX];
    struct queue *queue = call->stores->queue;
    char after[QUEUE_TENANT_SIZE] = "";
    uint32_t count = QUEUE_LIST_MAX;
    if (tenant_of(call) != NULL) {
        enum rc rc = queue_stats(queue, tenant_of(call), call->now_ms, &page[0], err);
        (void)snprintf(page[0].tenant, sizeof(page[0].tenant), "%s", tenant_of(call));
        return rc == RC_OK ? each(call, &page[0], err) : rc;
    }
    enum rc rc = RC_OK;
    while (rc == RC_OK && count == QUEUE_LIST_MAX) {
        rc = queue_tenants(queue, after[0] != '\0' ? after : NULL, QUEUE_LIST_MAX, call->now_ms,
                           page, &count, err);
        for (uint32_t i = 0; rc == RC_OK && i < count; i++)
            rc = each(call, &page[i], err);
        if (rc == RC_OK && count > 0)
            memcpy(after, page[count - 1].tenant, sizeof(after));
    }
    return rc;
}

/* --- stats ----------------------------------------------------------------------------------- */

static enum rc print_stats(const struct cli_call *call, const struct queue_stats *stats,
                           struct error *err)
{
    if (form_of(call) == ACCOUNTS_JSON) {
        json_t *line = json_pack("{s:s}", "tenant", stats->tenant);
        for (int state = 0; state < JOB_STATE_COUNT; state++)
            (void)json_object_set_new(line, job_state_text((enum job_state)state),
                                      json_integer((json_int_t)stats->counts[state]));
        (void)json_object_set_new(line, "oldest_at", accounts_time_json(stats->oldest_pushed_ms));
        return accounts_print_json(line, err);
    }
    char oldest[ACCOUNTS_TIME_SIZE];
    accounts_time_text(stats->oldest_pushed_ms, oldest);
    (void)printf("%-24s", stats->tenant);
    for (int state = 0; state < JOB_STATE_COUNT; state++)
        (void)printf(" %10" PRIu64, stats->counts[state]);
    return cli_wrote(printf(" %s\n", oldest) >= 0, err);
}

static enum rc stats(struct cli_call *call, struct error *err)
{
    if (form_of(call) == ACCOUNTS_TABLE) {
        (void)printf("%-24s", "TENANT");
        for (int state = 0; state < JOB_STATE_COUNT; state++)
            (void)printf(" %10s", job_state_text((enum job_state)state));
        (void)printf(" %s\n", "OLDEST WAITING");
    }
    return for_tenants(call, print_stats, err);
}

/* --- dead ------------------------------------------------------------------------------------ */

typedef enum rc (*dead_fn)(const struct cli_call *call, const char *tenant,
                           const struct queue_info *job, struct error *err);

static enum rc for_dead(const struct cli_call *call, const char *tenant, dead_fn each,
                        struct error *err)
{
    static struct queue_info page[QUEUE_LIST_MAX];
    struct id before;
    uint32_t count = QUEUE_LIST_MAX;
    bool begun = false;
    enum rc rc = RC_OK;
    while (rc == RC_OK && count == QUEUE_LIST_MAX) {
        rc = queue_dead_list(call->stores->queue, tenant, begun ? &before : NULL, QUEUE_LIST_MAX,
                             page, &count, err);
        for (uint32_t i = 0; rc == RC_OK && i < count; i++)
            rc = each(call, tenant, &page[i], err);
        if (rc == RC_OK && count > 0) {
            before = page[count - 1].id;
            begun = true;
        }
    }
    return rc;
}

static enum rc print_dead(const struct cli_call *call, const char *tenant,
                          const struct queue_info *job, struct error *err)
{
    char id[ID_TEXT_SIZE];
    char died[ACCOUNTS_TIME_SIZE];
    id_text(job->id, id);
    accounts_time_text(job->changed_ms, died);
    if (form_of(call) == ACCOUNTS_JSON)
        return accounts_print_json(
            json_pack("{s:s, s:s, s:i, s:o, s:o, s:s}", "tenant", tenant, "job", id, "attempts",
                      (int)job->delivery_count, "created_at", accounts_time_json(job->pushed_ms),
                      "died_at", accounts_time_json(job->changed_ms), "reason", job->reason),
            err);
    return cli_wrote(printf("%-24s %-36s %8u %-21s %s\n", tenant, id, job->delivery_count, died,
                            job->reason) >= 0,
                     err);
}

static enum rc print_dead_of(const struct cli_call *call, const struct queue_stats *tenant,
                             struct error *err)
{
    return for_dead(call, tenant->tenant, print_dead, err);
}

static enum rc dead(struct cli_call *call, struct error *err)
{
    if (form_of(call) == ACCOUNTS_TABLE)
        (void)printf("%-24s %-36s %8s %-21s %s\n", "TENANT", "JOB", "ATTEMPTS", "DIED", "REASON");
    return for_tenants(call, print_dead_of, err);
}

/* --- retry ----------------------------------------------------------------------------------- */

/* The record first: a worker that finds a dead record with a message that waits opens it too. */
static enum rc retry_one(const struct cli_call *call, const char *tenant, struct id id,
                         struct error *err)
{
    char text[ID_TEXT_SIZE];
    id_text(id, text);
    enum rc rc = results_job_reopen(call->stores->results, bytes_of(tenant), id, err);
    if (rc == RC_NOT_FOUND)
        return error_set(err, rc, "tenant '%.63s' has no job %s", tenant, text);
    if (rc == RC_INVALID)
        return error_set(err, rc, "job %s is done or was cancelled: there is nothing to retry",
                         text);
    if (rc == RC_OK)
        rc = queue_dead_retry(call->stores->queue, tenant, id, call->now_ms, err);
    /* The queue has forgotten it: the server finds the open record within seconds. */
    if (rc == RC_NOT_FOUND)
        rc = RC_OK;
    if (rc == RC_INVALID)
        return error_set(err, rc, "job %s is not dead: it waits or is worked on", text);
    if (rc != RC_OK)
        return rc;
    if (form_of(call) == ACCOUNTS_JSON)
        return accounts_print_json(json_pack("{s:s, s:s}", "tenant", tenant, "job", text), err);
    return cli_wrote(printf("%s waits again\n", text) >= 0, err);
}

static enum rc retry_dead(const struct cli_call *call, const char *tenant,
                          const struct queue_info *job, struct error *err)
{
    return retry_one(call, tenant, job->id, err);
}

static enum rc retry(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    const char *tenant = call->argv[0];
    struct id id;
    if (options->all != (call->argc == 1))
        return error_set(err, RC_INVALID, "name one job, or give --all");
    if (options->all) {
        struct queue_stats stats;
        enum rc rc = queue_stats(call->stores->queue, tenant, call->now_ms, &stats, err);
        if (rc == RC_OK && stats.counts[JOB_DEAD] == 0)
            (void)fprintf(stderr, "imago: no job of tenant '%.63s' is dead\n", tenant);
        return rc == RC_OK ? for_dead(call, tenant, retry_dead, err) : rc;
    }
    if (id_parse(bytes_of(call->argv[1]), &id) != RC_OK)
        return error_set(err, RC_INVALID, "'%.60s' is no job's id; 'imago queue dead' lists them",
                         call->argv[1]);
    return retry_one(call, tenant, id, err);
}

static const struct cli_verb verbs[] = {
    {"list", "[TENANT]", STORE_RESULTS | STORE_QUEUE, list},
    {"dead", "[TENANT]", STORE_QUEUE, dead},
    {"retry", "TENANT [JOB]", STORE_RESULTS | STORE_QUEUE, retry},
    {"stats", "[TENANT]", STORE_QUEUE, stats}};

int cli_queue(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "queue",
        .prose = "list: jobs that have not ended, with the attempts that have begun.\n"
                 "dead: jobs whose attempts are used up, and why; they are kept for 30 days.\n"
                 "retry: a dead job waits again and goes on where it stopped; a running server "
                 "takes it up.\n"
                 "stats: how many jobs are in which state; those that ended, of the last 24 hours.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = verbs,
        .verb_count = sizeof(verbs) / sizeof(verbs[0])};
    return cli_run(&command, &options, argc, argv);
}
