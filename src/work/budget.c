/* SPDX-License-Identifier: Apache-2.0 */
#include "work/budget.h"

#include "account/bill.h"
#include "account/quota.h"
#include "base/clock.h"
#include "work/webhook.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTERVAL_MS 2000u
#define FAILURE_NS  (60 * NS_PER_S) /* the same one is told again after this time */
#define REST_SHARE  20u             /* how many times as long as a look it rests */

struct budget_watch {
    struct budget_config config;
    pthread_t thread;
    pthread_mutex_t lock; /* of `ending` */
    pthread_cond_t ended;
    bool ending;
    struct error failure; /* the last that was told, and when: the thread's, like what follows */
    uint64_t failure_ns;
    struct account_tenant page[ACCOUNT_LIST_MAX];
};

static bool is_ending(struct budget_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    bool ending = watch->ending;
    pthread_mutex_unlock(&watch->lock);
    return ending;
}

/* --- alerts ---------------------------------------------------------------------------------- */

static enum rc alert_id(const struct budget_alert *alert, uint64_t month_ms, struct id *ret_id,
                        struct error *err)
{
    char name[ACCOUNT_TENANT_SIZE + 80];
    uint8_t digest[32];
    int size = snprintf(name, sizeof(name), "budget.alert %s %s %u %llu", alert->tenant,
                        alert->month, alert->percent, (unsigned long long)alert->budget_micro);
    if (EVP_Digest(name, (size_t)size, digest, NULL, EVP_sha256(), NULL) != 1)
        return error_set(err, RC_INTERNAL, "SHA-256 failed");
    *ret_id = id_new(month_ms);
    memcpy(ret_id->octets + 9, digest, 7);
    memcpy(ret_id->octets + 7, digest + 7, 1);
    ret_id->octets[6] = 0x70;
    ret_id->octets[8] = 0x80;
    return RC_OK;
}

static json_t *alert_json(const struct budget_alert *alert)
{
    char budget[MONEY_TEXT_SIZE];
    char spent[MONEY_TEXT_SIZE];
    money_text(alert->budget_micro, budget);
    money_text(alert->spent_micro, spent);
    return json_pack("{s:s, s:s, s:i, s:s, s:I, s:s, s:I, s:s}", "tenant", alert->tenant, "month",
                     alert->month, "percent", (int)alert->percent, "currency", alert->currency,
                     "budget_micro", (json_int_t)alert->budget_micro, "budget", budget,
                     "spent_micro", (json_int_t)alert->spent_micro, "spent", spent);
}

/* Without a picture there is neither prediction nor entry in the ledger, only the message. */
static enum rc put_message(struct budget_watch *watch, const struct account_tenant *tenant,
                           const struct budget_alert *alert, uint64_t now_ms, struct error *err)
{
    struct buf payload = BUF_INIT(RESULT_PAYLOAD_SIZE_MAX);
    json_t *data = alert_json(alert);
    struct id id;
    uint64_t month_ms = 0;
    uint64_t end_ms = 0;
    enum rc rc = data == NULL ? error_set(err, RC_NO_MEMORY, "an alert") : RC_OK;
    if (rc == RC_OK)
        rc = month_parse(alert->month, &month_ms, &end_ms);
    if (rc == RC_OK)
        rc = alert_id(alert, month_ms, &id, err);
    if (rc == RC_OK)
        rc = webhook_message_write(bytes_of(tenant->alert_webhook), "budget.alert", now_ms, data,
                                   &payload, err);
    struct result_commit commit = {
        .kind = RESULT_UNBILLED,
        .tenant = bytes_of(tenant->id),
        .prediction = {.created_ms = now_ms, .model = bytes_of("-"), .version = bytes_of("-")},
        .payload = {payload.data, payload.size},
        .payload_due_ms = now_ms};
    struct result_commit *const commits[] = {&commit};
    if (rc == RC_OK) {
        commit.prediction.request_id = id;
        commit.outbox_id = id;
        rc = results_put(watch->config.results, commits, 1, err);
    }
    if (rc == RC_OK)
        rc = commit.rc;
    json_decref(data);
    buf_done(&payload);
    return rc;
}

static enum rc check_budget(struct budget_watch *watch, const struct bill_source *source,
                            const struct account_tenant *tenant, uint64_t now_ms, struct error *err)
{
    char month[MONTH_TEXT_SIZE];
    char currency[4];
    uint8_t percents[ACCOUNT_ALERT_MAX];
    uint32_t count = 0;
    struct budget_alert alert = {.tenant = tenant->id,
                                 .month = month,
                                 .currency = currency,
                                 .budget_micro = tenant->budget_micro};
    month_text(now_ms, month);
    enum rc rc = bill_spent(source, now_ms, &alert.spent_micro, currency, err);
    if (rc == RC_OK)
        rc = account_budget_alerts(watch->config.account, tenant->id, now_ms, alert.spent_micro,
                                   ALERTS_LOOK, percents, &count, err);
    if (rc != RC_OK || count == 0)
        return rc;
    for (uint32_t i = 0; rc == RC_OK && i < count && tenant->alert_webhook[0] != '\0'; i++) {
        alert.percent = percents[i];
        rc = put_message(watch, tenant, &alert, now_ms, err);
    }
    if (rc == RC_OK)
        rc = account_budget_alerts(watch->config.account, tenant->id, now_ms, alert.spent_micro,
                                   ALERTS_TAKE, percents, &count, err);
    for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
        alert.percent = percents[i];
        watch->config.alert(watch->config.ctx, &alert);
    }
    return rc;
}

/* --- the watch ------------------------------------------------------------------------------- */

static enum rc check_tenant(struct budget_watch *watch, const struct account_tenant *tenant,
                            uint64_t now_ms, struct error *err)
{
    struct bill_source source = {watch->config.account, watch->config.results, tenant->id};
    enum rc rc = RC_OK;
    if (tenant->hard_cap_micro > 0)
        rc = bill_counts_follow(&source, now_ms, err);
    if (rc == RC_OK && tenant->budget_micro > 0)
        rc = check_budget(watch, &source, tenant, now_ms, err);
    return rc;
}

static void tell_failure(struct budget_watch *watch, const struct error *err)
{
    uint64_t now_ns = clock_monotonic_ns();
    if (watch->failure_ns != 0 && now_ns - watch->failure_ns < FAILURE_NS &&
        strcmp(watch->failure.text, err->text) == 0)
        return;
    watch->failure = *err;
    watch->failure_ns = now_ns;
    watch->config.failed(watch->config.ctx, err);
}

/* A tenant that cannot be looked at does not keep the others from it. */
static void look(struct budget_watch *watch)
{
    char after[ACCOUNT_TENANT_SIZE] = "";
    uint32_t count = ACCOUNT_LIST_MAX;
    enum rc rc = RC_OK;
    while (rc == RC_OK && count == ACCOUNT_LIST_MAX && !is_ending(watch)) {
        struct error err = {0};
        rc = account_tenant_list(watch->config.account, after, watch->page, ACCOUNT_LIST_MAX,
                                 &count, &err);
        if (rc != RC_OK)
            tell_failure(watch, &err);
        for (uint32_t i = 0; rc == RC_OK && i < count && !is_ending(watch); i++) {
            err = (struct error){0};
            if (check_tenant(watch, &watch->page[i], clock_wall_ms(), &err) != RC_OK)
                tell_failure(watch, &err);
        }
        if (rc == RC_OK && count > 0)
            memcpy(after, watch->page[count - 1].id, sizeof(after));
    }
}

/* False: it ends. */
static bool rest(struct budget_watch *watch, uint64_t until_ns)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_S),
                             .tv_nsec = (long)(until_ns % NS_PER_S)};
    pthread_mutex_lock(&watch->lock);
    while (!watch->ending &&
           pthread_cond_timedwait(&watch->ended, &watch->lock, &until) != ETIMEDOUT)
        ;
    bool ending = watch->ending;
    pthread_mutex_unlock(&watch->lock);
    return !ending;
}

static void *watch_main(void *argument)
{
    struct budget_watch *watch = argument;
    uint64_t rest_ns = 0;
    while (rest(watch, clock_monotonic_ns() + rest_ns)) {
        uint64_t began_ns = clock_monotonic_ns();
        look(watch);
        rest_ns = (clock_monotonic_ns() - began_ns) * REST_SHARE;
        if (rest_ns < watch->config.interval_ms * NS_PER_MS)
            rest_ns = watch->config.interval_ms * NS_PER_MS;
    }
    return NULL;
}

static void release(struct budget_watch *watch)
{
    pthread_cond_destroy(&watch->ended);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}

enum rc budget_watch_open(const struct budget_config *config, struct budget_watch **ret_watch,
                          struct error *err)
{
    struct budget_watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory to watch budgets");
    watch->config = *config;
    if (watch->config.interval_ms == 0)
        watch->config.interval_ms = INTERVAL_MS;
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&watch->lock, NULL);
    (void)pthread_cond_init(&watch->ended, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    int failed = pthread_create(&watch->thread, NULL, watch_main, watch);
    if (failed != 0) {
        release(watch);
        return error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed));
    }
    *ret_watch = watch;
    return RC_OK;
}

void budget_watch_close(struct budget_watch *watch)
{
    if (watch == NULL)
        return;
    pthread_mutex_lock(&watch->lock);
    watch->ending = true;
    pthread_cond_signal(&watch->ended);
    pthread_mutex_unlock(&watch->lock);
    pthread_join(watch->thread, NULL);
    release(watch);
}
