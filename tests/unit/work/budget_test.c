/* SPDX-License-Identifier: Apache-2.0
 * Alerts of budgets under faults of the store: each is told once, and none is lost. */
#include "check.h"
#include "account/quota.h"
#include "base/clock.h"
#include "results/fault.h"
#include "work/budget.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_NS (60 * NS_PER_S)

static const char plan_text[] =
    "{\"name\":\"flat\",\"version\":1,\"currency\":\"USD\",\"prices\":[{"
    "\"model\":\"*\",\"tiers\":[{\"price_micro\":1000}]}]}";

struct world {
    char folder[64];
    char path[128];
    struct account *account;
    struct results *results;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under `lock`. */
    uint32_t told[256];
    uint32_t told_count;
    uint32_t failure_count;
    int put_failures; /* how many of the next messages are not written */
    bool after;       /* or are, and only the answer is lost */
};

static enum rc fault(void *ctx, enum results_op op, bool after)
{
    struct world *world = ctx;
    if (op != RESULTS_PUT)
        return RC_OK;
    pthread_mutex_lock(&world->lock);
    bool fails = world->put_failures > 0 && after == world->after;
    world->put_failures -= fails;
    pthread_mutex_unlock(&world->lock);
    return fails ? RC_UNAVAILABLE : RC_OK;
}

static void on_alert(void *ctx, const struct budget_alert *alert)
{
    struct world *world = ctx;
    assert_string_equal(alert->tenant, "acme");
    assert_string_equal(alert->currency, "USD");
    pthread_mutex_lock(&world->lock);
    world->told[alert->percent]++;
    world->told_count++;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
}

static void on_failure(void *ctx, const struct error *err)
{
    (void)err;
    struct world *world = ctx;
    pthread_mutex_lock(&world->lock);
    world->failure_count++;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
}

static void wait_told(struct world *world, uint32_t count)
{
    struct timespec end;
    (void)clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += (time_t)(PATIENCE_NS / NS_PER_S);
    int failed = 0;
    pthread_mutex_lock(&world->lock);
    while (world->told_count < count && failed == 0)
        failed = pthread_cond_timedwait(&world->changed, &world->lock, &end);
    pthread_mutex_unlock(&world->lock);
    assert_int_equal(failed, 0);
}

static void use(struct world *world, uint32_t images)
{
    uint64_t now_ms = clock_wall_ms();
    struct result_commit commit = {.kind = RESULT_BILLED,
                                   .tenant = bytes_of("acme"),
                                   .prediction = {.request_id = id_new(now_ms),
                                                  .created_ms = now_ms,
                                                  .model = bytes_of("m"),
                                                  .version = bytes_of("1")},
                                   .units = images,
                                   .requests = 1,
                                   .plan = bytes_of("flat"),
                                   .plan_version = 1};
    struct result_commit *const commits[] = {&commit};
    assert_int_equal(results_put(world->results, commits, 1, NULL), RC_OK);
}

static void open_world(struct world *world)
{
    *world = (struct world){.folder = "/tmp/budget-XXXXXX"};
    assert_non_null(mkdtemp(world->folder));
    (void)snprintf(world->path, sizeof(world->path), "%s/imago.db", world->folder);
    char url[160];
    (void)snprintf(url, sizeof(url), "sqlite:%s", world->path);
    struct account_config account = {.url = url};
    assert_int_equal(account_open(&account, &world->account, NULL), RC_OK);
    (void)snprintf(url, sizeof(url), "fault:sqlite:%s", world->path);
    assert_int_equal(results_open(url, &world->results, NULL), RC_OK);
    (void)pthread_mutex_init(&world->lock, NULL);
    (void)pthread_cond_init(&world->changed, NULL);
    struct plan plan;
    assert_int_equal(plan_parse(bytes_of(plan_text), &plan, NULL), RC_OK);
    assert_int_equal(account_plan_put(world->account, &plan, 1, NULL), RC_OK);
    struct account_tenant tenant = {.id = "acme",
                                    .plan = "flat",
                                    .plan_version = 1,
                                    .budget_micro = 10000,
                                    .hard_cap_micro = 90000,
                                    .alert_percents = {50, 100, 200},
                                    .alert_webhook = "https://a.example/"};
    assert_int_equal(account_tenant_create(world->account, &tenant, 1, NULL), RC_OK);
}

static struct budget_watch *watch(struct world *world)
{
    struct budget_config config = {.account = world->account,
                                   .results = world->results,
                                   .interval_ms = 1,
                                   .alert = on_alert,
                                   .failed = on_failure,
                                   .ctx = world};
    struct budget_watch *watch = NULL;
    assert_int_equal(budget_watch_open(&config, &watch, NULL), RC_OK);
    return watch;
}

/* How many messages are in the outbox. */
static uint32_t messages(struct world *world)
{
    static struct results_message into[RESULTS_TAKE_MAX];
    uint32_t count = 0;
    for (size_t i = 0; i < RESULTS_TAKE_MAX; i++)
        into[i].payload = (struct buf)BUF_INIT(RESULT_PAYLOAD_SIZE_MAX);
    assert_int_equal(results_outbox_take(world->results, clock_wall_ms() + 60000,
                                         clock_wall_ms() + 120000, RESULTS_TAKE_MAX, into, &count,
                                         NULL),
                     RC_OK);
    for (uint32_t i = 0; i < count; i++)
        assert_string_equal(into[i].tenant, "acme");
    for (size_t i = 0; i < RESULTS_TAKE_MAX; i++)
        buf_done(&into[i].payload);
    return count;
}

static void close_world(struct world *world)
{
    account_free(world->account);
    results_free(world->results);
    pthread_cond_destroy(&world->changed);
    pthread_mutex_destroy(&world->lock);
    char path[160];
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "%s%s", world->path, ends[i]);
        (void)unlink(path);
    }
    (void)rmdir(world->folder);
}

static void run(int failures, bool after)
{
    struct world world;
    open_world(&world);
    use(&world, 5); /* before the faults: the ledger is not what is tried here */
    world.put_failures = failures;
    world.after = after;
    results_fault_set(world.results, fault, &world);
    struct budget_watch *first = watch(&world);
    struct budget_watch *second = watch(&world); /* as another server would */
    wait_told(&world, 1);
    budget_watch_close(first);
    budget_watch_close(second);
    assert_int_equal(world.told[50], 1);
    assert_int_equal(messages(&world), 1);
    results_fault_set(world.results, NULL, NULL);
    use(&world, 15);
    first = watch(&world);
    wait_told(&world, 3);
    budget_watch_close(first);
    assert_int_equal(world.told[100], 1);
    assert_int_equal(world.told[200], 1);
    assert_int_equal(world.told_count, 3);
    assert_int_equal(world.failure_count > 0, failures > 0);
    assert_int_equal(messages(&world), 2); /* the first is leased */
    close_world(&world);
}

TEST(each_is_told_once_by_two_servers) { run(0, false); }

TEST(a_message_that_cannot_be_written_is_tried_again) { run(3, false); }

TEST(a_message_whose_writing_was_not_confirmed_is_there_once) { run(2, true); }

TEST(the_counts_of_a_cap_follow_the_ledger)
{
    struct world world;
    open_world(&world);
    use(&world, 5);
    struct budget_watch *one = watch(&world);
    wait_told(&world, 1); /* the counts come before the budget */
    budget_watch_close(one);
    struct quota_usage rows[4];
    uint32_t count = 0;
    assert_int_equal(
        account_quota_month(world.account, "acme", clock_wall_ms(), rows, 4, &count, NULL), RC_OK);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].used, 5);
    close_world(&world);
}

TEST_MAIN("work budget")
