/* SPDX-License-Identifier: Apache-2.0
 * The promises of quota.h, run against every driver. */
#include "check.h"
#include "fixture.h"
#include "random.h"

#include <stdio.h>
#include <string.h>

#define HOLD_MS 60000u

static struct account *begin(void)
{
    fixture_fresh();
    return fixture_open();
}

static struct quota_request request_of(uint64_t number, uint64_t images, uint64_t per_day)
{
    return (struct quota_request){.id = fixture_id(number),
                                  .tenant = "default",
                                  .key = "key",
                                  .images_per_day = per_day,
                                  .model = "lite",
                                  .image_count = images};
}

static struct quota_request reserve_at(struct account *account, uint64_t number, uint64_t images,
                                       uint64_t per_day, uint64_t now_ms)
{
    struct quota_request request = request_of(number, images, per_day);
    struct error err = {0};
    if (account_reserve(account, &request, 1, HOLD_MS, now_ms, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_int_equal(request.rc, RC_OK);
    return request;
}

static struct quota_request reserve(struct account *account, uint64_t number, uint64_t images,
                                    uint64_t per_day)
{
    return reserve_at(account, number, images, per_day, NOW_MS);
}

static enum rc settle_at(struct account *account, uint64_t number, uint64_t images,
                         uint64_t committed_ms)
{
    struct quota_settlement settlement = {.id = fixture_id(number),
                                          .tenant = "default",
                                          .image_count = images,
                                          .committed_ms = committed_ms};
    assert_int_equal(account_settle(account, &settlement, 1, NULL), RC_OK);
    return settlement.rc;
}

static enum rc settle(struct account *account, uint64_t number, uint64_t images)
{
    return settle_at(account, number, images, NOW_MS);
}

static void assert_day(struct account *account, uint64_t at_ms, uint64_t used, uint64_t held)
{
    struct quota_day day;
    assert_int_equal(account_quota_day(account, "default", "key", at_ms, &day, NULL), RC_OK);
    assert_int_equal(day.used, used);
    assert_int_equal(day.held, held);
}

static void cap(struct account *account, uint64_t micro)
{
    fixture_plan(account);
    struct account_tenant tenant = fixture_get(account, "default");
    (void)snprintf(tenant.plan, sizeof(tenant.plan), "flat");
    tenant.plan_version = 1;
    tenant.hard_cap_micro = micro;
    fixture_set(account, &tenant);
}

TEST(a_days_images_are_held_used_and_given_back)
{
    struct account *account = begin();
    struct quota_request request = reserve(account, 1, 6, 10);
    assert_int_equal(request.refusal, QUOTA_PASS);
    assert_int_equal(request.day_remaining, 4);
    assert_day(account, NOW_MS, 0, 6);
    request = reserve(account, 2, 5, 10);
    assert_int_equal(request.refusal, QUOTA_DAY);
    assert_int_equal(request.day_remaining, 4);
    assert_int_equal(request.retry_at_ms, NOW_MS / DAY_MS * DAY_MS + DAY_MS);
    assert_true(quota_refusal_text(request.refusal)[0] != '\0');
    assert_day(account, NOW_MS, 0, 6);
    assert_int_equal(settle(account, 1, 3), RC_OK); /* 3 of the 6 failed */
    assert_day(account, NOW_MS, 3, 0);
    assert_int_equal(reserve(account, 2, 7, 10).refusal, QUOTA_PASS);
    assert_int_equal(settle(account, 2, 0), RC_OK);
    assert_day(account, NOW_MS, 3, 0);
    /* Another key and another day have their own. */
    assert_int_equal(reserve_at(account, 3, 10, 10, NOW_MS + DAY_MS).refusal, QUOTA_PASS);
    struct quota_request other = request_of(4, 10, 10);
    other.key = "other";
    assert_int_equal(account_reserve(account, &other, 1, HOLD_MS, NOW_MS, NULL), RC_OK);
    assert_int_equal(other.refusal, QUOTA_PASS);
    account_free(account);
}

TEST(reserving_and_settling_again_change_nothing)
{
    struct account *account = begin();
    assert_int_equal(reserve(account, 1, 6, 10).refusal, QUOTA_PASS);
    struct quota_request again = reserve(account, 1, 6, 10);
    assert_int_equal(again.refusal, QUOTA_PASS);
    assert_int_equal(again.day_remaining, 4);
    assert_day(account, NOW_MS, 0, 6);
    for (int i = 0; i < 3; i++)
        assert_int_equal(settle(account, 1, 6), RC_OK);
    assert_int_equal(settle(account, 1, 0), RC_OK);
    assert_day(account, NOW_MS, 6, 0);
    assert_int_equal(reserve(account, 1, 6, 10).refusal, QUOTA_PASS); /* the work was done */
    assert_day(account, NOW_MS, 6, 0);
    /* Given back, then wanted again: a new reservation, with a new decision. */
    assert_int_equal(reserve(account, 2, 4, 10).refusal, QUOTA_PASS);
    assert_int_equal(settle(account, 2, 0), RC_OK);
    assert_int_equal(settle(account, 2, 0), RC_OK);
    assert_int_equal(reserve(account, 3, 2, 10).refusal, QUOTA_PASS);
    assert_int_equal(reserve(account, 2, 4, 10).refusal, QUOTA_DAY);
    assert_int_equal(reserve(account, 2, 2, 10).refusal, QUOTA_PASS);
    assert_day(account, NOW_MS, 6, 4);
    assert_int_equal(settle(account, 99, 1), RC_NOT_FOUND);
    account_free(account);
}

TEST(use_counts_where_it_was_committed)
{
    struct account *account = begin();
    uint64_t midnight = 1796083200000ull; /* 2026-12-01 */
    assert_int_equal(reserve_at(account, 1, 5, 10, midnight - 1).refusal, QUOTA_PASS);
    assert_day(account, midnight - 1, 0, 5);
    assert_int_equal(settle_at(account, 1, 5, midnight + 1), RC_OK);
    assert_day(account, midnight - 1, 0, 0);
    assert_day(account, midnight, 5, 0);
    struct quota_usage rows[4];
    uint32_t count = 0;
    assert_int_equal(account_quota_month(account, "default", midnight, rows, 4, &count, NULL),
                     RC_OK);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].used, 5);
    assert_int_equal(account_quota_month(account, "default", midnight - 1, rows, 4, &count, NULL),
                     RC_OK);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].used + rows[0].held, 0);
    account_free(account);
}

TEST(a_hard_cap_holds_for_what_is_used_and_held)
{
    struct account *account = begin();
    cap(account, 10000); /* ten images */
    assert_int_equal(reserve(account, 1, 6, 0).refusal, QUOTA_PASS);
    struct quota_request request = reserve(account, 2, 5, 0);
    assert_int_equal(request.refusal, QUOTA_CAP);
    assert_int_equal(request.retry_at_ms, 1796083200000ull);
    assert_int_equal(reserve(account, 3, 4, 0).refusal, QUOTA_PASS);
    assert_int_equal(reserve(account, 4, 1, 0).refusal, QUOTA_CAP);
    assert_int_equal(settle(account, 1, 2), RC_OK);
    assert_int_equal(reserve(account, 4, 4, 0).refusal, QUOTA_PASS);
    assert_int_equal(reserve(account, 5, 1, 0).refusal, QUOTA_CAP);
    /* With a day's limit as well, both must hold and nothing is taken when one does not. */
    assert_int_equal(reserve(account, 5, 1, 100).refusal, QUOTA_CAP);
    assert_day(account, NOW_MS, 2, 8);
    assert_int_equal(reserve_at(account, 6, 10, 0, 1796083200000ull).refusal, QUOTA_PASS);
    account_free(account);
}

TEST(tiers_and_free_images_count_towards_the_cap_as_on_the_statement)
{
    struct account *account = begin();
    struct plan plan = {
        .name = "tiers",
        .version = 1,
        .currency = "USD",
        .minimum_micro = 1000000, /* is no usage */
        .price_count = 2,
        .prices = {
            {.model = "big", .tier_count = 1, .tiers = {{.image_last = UINT64_MAX, .micro = 100}}},
            {.model = "*",
             .image_free = 10,
             .tier_count = 2,
             .tiers = {{.image_last = 20, .micro = 10}, {.image_last = UINT64_MAX, .micro = 1}}}}};
    assert_int_equal(account_plan_put(account, &plan, NOW_MS, NULL), RC_OK);
    struct account_tenant tenant = fixture_get(account, "default");
    (void)snprintf(tenant.plan, sizeof(tenant.plan), "tiers");
    tenant.plan_version = 1;
    tenant.hard_cap_micro = 205;
    fixture_set(account, &tenant);
    assert_int_equal(reserve(account, 1, 20, 0).refusal, QUOTA_PASS); /* 10 free, 10 * 10 */
    struct quota_request big = request_of(2, 1, 0);
    big.model = "big";
    assert_int_equal(account_reserve(account, &big, 1, HOLD_MS, NOW_MS, NULL), RC_OK);
    assert_int_equal(big.refusal, QUOTA_PASS); /* 200 */
    assert_int_equal(reserve(account, 3, 6, 0).refusal, QUOTA_CAP);
    assert_int_equal(reserve(account, 3, 5, 0).refusal, QUOTA_PASS); /* 205 */
    assert_int_equal(settle(account, 1, 20), RC_OK);
    assert_int_equal(settle(account, 2, 1), RC_OK);
    assert_int_equal(reserve(account, 4, 1, 0).refusal, QUOTA_CAP);
    account_free(account);
}

TEST(another_plan_within_the_month_goes_on_from_the_first)
{
    struct account *account = begin();
    cap(account, 10000);
    assert_int_equal(reserve(account, 1, 6, 0).refusal, QUOTA_PASS);
    assert_int_equal(settle(account, 1, 6), RC_OK);
    struct plan plan;
    assert_int_equal(account_plan_get(account, "flat", 1, &plan, NULL), RC_OK);
    plan.version = 2;
    plan.prices[0].tiers[0].micro = 2000;
    assert_int_equal(account_plan_put(account, &plan, NOW_MS, NULL), RC_OK);
    struct account_tenant tenant = fixture_get(account, "default");
    tenant.plan_version = 2;
    fixture_set(account, &tenant);
    assert_int_equal(reserve(account, 2, 3, 0).refusal, QUOTA_CAP);
    assert_int_equal(reserve(account, 2, 2, 0).refusal, QUOTA_PASS);
    struct quota_usage rows[4];
    uint32_t count = 0;
    assert_int_equal(account_quota_month(account, "default", NOW_MS, rows, 4, &count, NULL), RC_OK);
    assert_int_equal(count, 2);
    account_free(account);
}

TEST(a_batch_is_decided_in_order_each_item_alone)
{
    struct account *account = begin();
    struct quota_request requests[5];
    for (uint64_t i = 0; i < 5; i++)
        requests[i] = request_of(i + 1, 4, 10);
    requests[1].tenant = "nobody";
    requests[3].image_count = 0;
    assert_int_equal(account_reserve(account, requests, 5, HOLD_MS, NOW_MS, NULL), RC_OK);
    assert_int_equal(requests[0].refusal, QUOTA_PASS);
    assert_int_equal(requests[1].rc, RC_NOT_FOUND);
    assert_int_equal(requests[2].refusal, QUOTA_PASS);
    assert_int_equal(requests[3].rc, RC_INVALID);
    assert_int_equal(requests[4].refusal, QUOTA_DAY);
    assert_day(account, NOW_MS, 0, 8);
    assert_int_equal(account_reserve(account, requests, 0, HOLD_MS, NOW_MS, NULL), RC_INVALID);
    assert_int_equal(account_reserve(account, requests, QUOTA_BATCH_MAX + 1, HOLD_MS, NOW_MS, NULL),
                     RC_INVALID);
    assert_int_equal(account_reserve(account, requests, 1, 0, NOW_MS, NULL), RC_INVALID);
    account_free(account);
}

TEST(another_tenants_reservation_is_an_absent_one)
{
    struct account *account = begin();
    fixture_tenant(account, "rival");
    assert_int_equal(reserve(account, 1, 4, 10).refusal, QUOTA_PASS);
    struct quota_settlement foreign = {
        .id = fixture_id(1), .tenant = "rival", .image_count = 4, .committed_ms = NOW_MS};
    struct quota_settlement absent = foreign;
    absent.id = fixture_id(2);
    assert_int_equal(account_settle(account, &foreign, 1, NULL), RC_OK);
    assert_int_equal(account_settle(account, &absent, 1, NULL), RC_OK);
    assert_int_equal(foreign.rc, RC_NOT_FOUND);
    assert_int_equal(absent.rc, RC_NOT_FOUND);
    assert_day(account, NOW_MS, 0, 4);
    /* The same id is free for the other tenant. */
    struct quota_request request = request_of(1, 9, 10);
    request.tenant = "rival";
    assert_int_equal(account_reserve(account, &request, 1, HOLD_MS, NOW_MS, NULL), RC_OK);
    assert_int_equal(request.refusal, QUOTA_PASS);
    assert_int_equal(request.day_remaining, 1);
    account_free(account);
}

/* Requests 1 .. committed_count were committed, with 2 images each. */
struct ledger {
    uint64_t committed_count;
    enum rc rc;
    uint32_t ask_count;
    uint64_t reserved_count; /* images, of the last one asked for */
};
static enum rc ledger_find(void *ctx, const char *tenant, struct id request, uint64_t image_count,
                           uint64_t *ret_image_count, uint64_t *ret_committed_ms, struct error *err)
{
    struct ledger *ledger = ctx;
    uint64_t number;
    assert_string_equal(tenant, "default");
    memcpy(&number, request.octets, sizeof(number));
    ledger->ask_count++;
    ledger->reserved_count = image_count;
    if (ledger->rc != RC_OK)
        return error_set(err, ledger->rc, "the ledger does not answer");
    if (number > ledger->committed_count)
        return error_set(err, RC_NOT_FOUND, "never committed");
    *ret_image_count = 2;
    *ret_committed_ms = NOW_MS + 100;
    return RC_OK;
}

static void maintain(struct account *account, struct ledger *ledger, uint64_t now_ms)
{
    const struct account_ledger how = {.find = ledger_find, .ctx = ledger};
    bool more = true;
    struct error err = {0};
    while (more)
        if (account_maintain(account, ledger != NULL ? &how : NULL, now_ms, &more, &err) != RC_OK)
            fail_msg("%s", err.text);
}

TEST(what_ran_out_becomes_what_the_ledger_says)
{
    struct account *account = begin();
    struct ledger ledger = {.committed_count = 3};
    for (uint64_t i = 1; i <= 5; i++)
        assert_int_equal(reserve(account, i, 3, 100).refusal, QUOTA_PASS);
    maintain(account, &ledger, NOW_MS + HOLD_MS - 1);
    assert_int_equal(ledger.ask_count, 0);
    assert_day(account, NOW_MS, 0, 15);
    account_free(account);
    account = fixture_open(); /* a restart in between */
    maintain(account, &ledger, NOW_MS + HOLD_MS);
    assert_int_equal(ledger.ask_count, 5);
    assert_int_equal(ledger.reserved_count, 3);
    assert_day(account, NOW_MS, 6, 0);
    /* Somebody was only slow: what it commits later counts, once. */
    assert_int_equal(settle(account, 4, 3), RC_OK);
    assert_int_equal(settle(account, 4, 3), RC_OK);
    assert_int_equal(settle(account, 3, 3), RC_OK);
    assert_day(account, NOW_MS, 9, 0);
    account_free(account);
}

TEST(a_ledger_that_does_not_answer_decides_nothing)
{
    struct account *account = begin();
    struct ledger ledger = {.committed_count = 1, .rc = RC_UNAVAILABLE};
    const struct account_ledger how = {.find = ledger_find, .ctx = &ledger};
    assert_int_equal(reserve(account, 1, 2, 100).refusal, QUOTA_PASS);
    bool more = false;
    assert_int_equal(account_maintain(account, &how, NOW_MS + HOLD_MS, &more, NULL),
                     RC_UNAVAILABLE);
    assert_day(account, NOW_MS, 0, 2);
    ledger.rc = RC_OK;
    maintain(account, &ledger, NOW_MS + HOLD_MS);
    assert_day(account, NOW_MS, 2, 0);
    account_free(account);
}

TEST(without_a_ledger_what_ran_out_goes_back_and_a_prolonged_one_stays)
{
    struct account *account = begin();
    for (uint64_t i = 1; i <= 600; i++)
        assert_int_equal(reserve(account, i, 1, 1000).refusal, QUOTA_PASS);
    assert_int_equal(reserve_at(account, 7, 1, 1000, NOW_MS + 10).refusal, QUOTA_PASS);
    maintain(account, NULL, NOW_MS + HOLD_MS);
    assert_day(account, NOW_MS, 0, 1);
    /* Ended ones are known for a while, then forgotten. */
    assert_int_equal(settle(account, 8, 0), RC_OK);
    maintain(account, NULL, NOW_MS + HOLD_MS + QUOTA_KNOWN_MS);
    assert_int_equal(settle(account, 8, 0), RC_OK);
    maintain(account, NULL, NOW_MS + HOLD_MS + QUOTA_KNOWN_MS + 1);
    assert_int_equal(settle(account, 8, 0), RC_NOT_FOUND);
    account_free(account);
}

static enum rc correct(struct account *account, const struct quota_usage *truth, bool *ret_moved)
{
    struct quota_usage known[4];
    uint32_t count = 0;
    assert_int_equal(account_quota_month(account, "default", NOW_MS, known, 4, &count, NULL),
                     RC_OK);
    return account_quota_correct(account, "default", NOW_MS, known, count, truth, 2, ret_moved,
                                 NULL);
}

static void put_on(struct account *account, const char *plan, uint64_t cap_micro, uint64_t at_ms)
{
    struct account_tenant tenant = fixture_get(account, "default");
    (void)snprintf(tenant.plan, sizeof(tenant.plan), "%s", plan);
    tenant.plan_version = 1;
    tenant.hard_cap_micro = cap_micro;
    assert_int_equal(account_tenant_set(account, &tenant, at_ms, NULL), RC_OK);
}

/* The later plan's two free images were used up under the earlier one, whatever their names. */
TEST(a_cap_counts_plans_in_the_order_in_which_they_came)
{
    static const char *const names[][2] = {{"flat", "alpha"}, {"flat", "zeta"}};
    for (size_t i = 0; i < 2; i++) {
        struct account *account = begin();
        fixture_plan(account);
        struct plan plan;
        assert_int_equal(account_plan_get(account, "flat", 1, &plan, NULL), RC_OK);
        (void)snprintf(plan.name, sizeof(plan.name), "%s", names[i][1]);
        plan.prices[0].image_free = 2;
        assert_int_equal(account_plan_put(account, &plan, NOW_MS, NULL), RC_OK);
        put_on(account, names[i][0], 0, NOW_MS);
        put_on(account, names[i][1], 3500, NOW_MS + 1);
        struct quota_usage truth[2] = {{.plan_version = 1, .model = "lite", .used = 2},
                                       {.plan_version = 1, .model = "lite", .used = 1}};
        for (size_t k = 0; k < 2; k++)
            (void)snprintf(truth[k].plan, sizeof(truth[k].plan), "%s", names[i][k]);
        bool moved = true;
        assert_int_equal(correct(account, truth, &moved), RC_OK);
        assert_false(moved);
        struct quota_usage rows[4];
        uint32_t count = 0;
        assert_int_equal(account_quota_month(account, "default", NOW_MS, rows, 4, &count, NULL),
                         RC_OK);
        assert_int_equal(count, 2);
        assert_string_equal(rows[0].plan, names[i][0]);
        assert_int_equal(reserve(account, 1, 1, 0).refusal, QUOTA_CAP);
        put_on(account, names[i][1], 4000, NOW_MS + 2);
        assert_int_equal(reserve(account, 1, 1, 0).refusal, QUOTA_PASS);
        account_free(account);
    }
}

TEST(counts_are_brought_up_to_the_ledger)
{
    struct account *account = begin();
    cap(account, 10000);
    assert_int_equal(reserve(account, 1, 2, 0).refusal, QUOTA_PASS);
    assert_int_equal(reserve(account, 2, 1, 0).refusal, QUOTA_PASS);
    assert_int_equal(settle(account, 1, 2), RC_OK);
    const struct quota_usage truth[] = {
        {.plan = "flat", .plan_version = 1, .model = "big", .used = 4},
        {.plan = "flat", .plan_version = 1, .model = "lite", .used = 3}};
    bool moved = true;
    assert_int_equal(
        account_quota_correct(account, "default", NOW_MS, truth, 1, truth, 2, &moved, NULL), RC_OK);
    assert_true(moved);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(correct(account, truth, &moved), RC_OK);
        assert_false(moved);
    }
    struct quota_usage rows[4];
    uint32_t count = 0;
    assert_int_equal(account_quota_month(account, "default", NOW_MS, rows, 4, &count, NULL), RC_OK);
    assert_int_equal(count, 2);
    for (uint32_t i = 0; i < count; i++) {
        bool lite = strcmp(rows[i].model, "lite") == 0;
        assert_int_equal(rows[i].used, lite ? 3 : 4);
        assert_int_equal(rows[i].held, lite ? 1 : 0);
    }
    assert_int_equal(reserve(account, 3, 3, 0).refusal, QUOTA_CAP);
    assert_int_equal(reserve(account, 3, 2, 0).refusal, QUOTA_PASS);
    assert_int_equal(
        account_quota_correct(account, "nobody", NOW_MS, NULL, 0, truth, 2, &moved, NULL),
        RC_NOT_FOUND);
    account_free(account);
}

static uint32_t alerts(struct account *account, uint64_t at_ms, uint64_t spent,
                       uint8_t into[ACCOUNT_ALERT_MAX])
{
    uint8_t looked[ACCOUNT_ALERT_MAX];
    uint32_t look_count = 99;
    uint32_t count = 99;
    assert_int_equal(account_budget_alerts(account, "default", at_ms, spent, ALERTS_LOOK, looked,
                                           &look_count, NULL),
                     RC_OK);
    assert_int_equal(
        account_budget_alerts(account, "default", at_ms, spent, ALERTS_TAKE, into, &count, NULL),
        RC_OK);
    assert_int_equal(look_count, count);
    assert_memory_equal(looked, into, count);
    return count;
}

TEST(each_alert_is_given_out_once_a_month)
{
    struct account *account = begin();
    uint8_t percents[ACCOUNT_ALERT_MAX];
    assert_int_equal(alerts(account, NOW_MS, MICRO_MAX, percents), 0); /* no budget */
    struct account_tenant tenant = fixture_get(account, "default");
    tenant.budget_micro = 1001;
    memcpy(tenant.alert_percents, (uint8_t[]){50, 80, 100, 120, 0, 0, 0, 0}, 8);
    fixture_set(account, &tenant);
    assert_int_equal(alerts(account, NOW_MS, 500, percents), 0); /* 50 % is 500.5 */
    assert_int_equal(alerts(account, NOW_MS, 501, percents), 1);
    assert_int_equal(percents[0], 50);
    assert_int_equal(alerts(account, NOW_MS, 501, percents), 0);
    account_free(account);
    account = fixture_open();
    assert_int_equal(alerts(account, NOW_MS, 1001, percents), 2);
    assert_int_equal(percents[0], 80);
    tenant = fixture_get(account, "default");
    fixture_set(account, &tenant); /* the same budget */
    assert_int_equal(alerts(account, NOW_MS, 1001, percents), 0);
    tenant = fixture_get(account, "default");
    tenant.budget_micro = 2000;
    fixture_set(account, &tenant);
    assert_int_equal(alerts(account, NOW_MS, 1001, percents), 1);
    tenant = fixture_get(account, "default");
    tenant.budget_micro = 1001;
    fixture_set(account, &tenant);
    assert_int_equal(alerts(account, NOW_MS, 1001, percents), 3);
    assert_int_equal(percents[2], 100);
    assert_int_equal(alerts(account, NOW_MS, 1001, percents), 0);
    assert_int_equal(alerts(account, NOW_MS, 600, percents), 0); /* and not again on the way */
    assert_int_equal(alerts(account, 1796083200000ull, 801, percents), 2);
    tenant = fixture_get(account, "default");
    tenant.budget_micro = MICRO_MAX;
    fixture_set(account, &tenant);
    assert_int_equal(alerts(account, 1800000000000ull, MICRO_MAX - 1, percents), 2);
    assert_int_equal(alerts(account, 1800000000000ull, MICRO_MAX, percents), 1);
    account_free(account);
}

/* Random calls against a model of maps. */
enum { MODEL_IDS = 40 };
struct model {
    enum { ABSENT, HELD, SETTLED, RETURNED } state[MODEL_IDS];
    uint64_t images[MODEL_IDS];
    uint64_t until[MODEL_IDS];
    uint64_t used;
    uint64_t held;
};

static void model_step(struct account *account, struct model *model, uint64_t *seed,
                       uint64_t now_ms, uint64_t per_day)
{
    uint64_t n = random_below(seed, MODEL_IDS);
    uint64_t images = 1 + random_below(seed, 5);
    switch (random_below(seed, 3)) {
    case 0: {
        struct quota_request request = reserve_at(account, n, images, per_day, now_ms);
        bool known = model->state[n] == HELD || model->state[n] == SETTLED;
        bool fits = model->used + model->held + images <= per_day;
        assert_int_equal(request.refusal, known || fits ? QUOTA_PASS : QUOTA_DAY);
        if (model->state[n] == HELD && now_ms + HOLD_MS > model->until[n])
            model->until[n] = now_ms + HOLD_MS;
        if (!known && fits) {
            model->state[n] = HELD;
            model->images[n] = images;
            model->until[n] = now_ms + HOLD_MS;
            model->held += images;
        }
        assert_int_equal(request.day_remaining, per_day - model->used - model->held);
        break;
    }
    case 1: {
        uint64_t done = random_below(seed, 2) * images;
        if (model->state[n] == HELD) /* never more than was reserved, as the caller promises */
            done = done < model->images[n] ? done : model->images[n];
        else if (model->used + model->held + done > per_day)
            done = 0;
        enum rc rc = settle(account, n, done);
        assert_int_equal(rc, model->state[n] == ABSENT ? RC_NOT_FOUND : RC_OK);
        if (model->state[n] == HELD)
            model->held -= model->images[n];
        if (model->state[n] == HELD || (model->state[n] == RETURNED && done > 0)) {
            model->used += done;
            model->state[n] = done > 0 ? SETTLED : RETURNED;
        }
        break;
    }
    default:
        if (random_below(seed, 4) != 0)
            break;
        maintain(account, NULL, now_ms);
        for (int i = 0; i < MODEL_IDS; i++)
            if (model->state[i] == HELD && model->until[i] <= now_ms) {
                model->state[i] = RETURNED;
                model->held -= model->images[i];
            }
    }
}

TEST(random_calls_agree_with_a_model)
{
    for (uint64_t round = 0; round < 3; round++) {
        uint64_t seed = round;
        struct account *account = begin();
        struct model model = {0};
        uint64_t now_ms = NOW_MS;
        for (int step = 0; step < 400; step++) {
            model_step(account, &model, &seed, now_ms, 60);
            assert_day(account, NOW_MS, model.used, model.held);
            now_ms += random_below(&seed, 3000);
        }
        account_free(account);
    }
}

TEST_MAIN("account quota contract")
