/* SPDX-License-Identifier: Apache-2.0
 * The promises of account.h, run against every driver. */
#include "check.h"
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct account *begin(void)
{
    fixture_fresh();
    return fixture_open();
}

TEST(the_default_tenant_is_built_in)
{
    struct account *account = begin();
    struct account_tenant tenant = fixture_get(account, ACCOUNT_TENANT_DEFAULT);
    assert_string_equal(tenant.id, "default");
    assert_int_equal(tenant.image_days, 0);
    struct account_identity identity;
    assert_int_equal(account_open_identity(account, &identity, NULL), RC_OK);
    assert_string_equal(identity.tenant, "default");
    assert_int_equal(identity.scopes, SCOPE_ALL);
    assert_false(identity.reserves);
    account_free(account);
    account = fixture_open(); /* and stays one when opened again */
    struct account_tenant list[4];
    uint32_t count = 0;
    assert_int_equal(account_tenant_list(account, "", list, 4, &count, NULL), RC_OK);
    assert_int_equal(count, 1);
    account_free(account);
}

TEST(a_tenant_is_kept_with_all_that_was_set)
{
    struct account *account = begin();
    fixture_plan(account);
    struct account_tenant tenant = {.id = "acme",
                                    .suspended = false,
                                    .image_days = 30,
                                    .result_days = 365,
                                    .plan = "flat",
                                    .plan_version = 1,
                                    .budget_micro = 5000000,
                                    .hard_cap_micro = MICRO_MAX,
                                    .alert_percents = {50, 80, 100},
                                    .alert_webhook = "https://a.example/alerts",
                                    .rule = {.requests = 10,
                                             .window_s = 2,
                                             .burst = 20,
                                             .concurrent = 4,
                                             .bytes_per_day = INT64_MAX,
                                             .images_per_day = 7}};
    assert_int_equal(account_tenant_create(account, &tenant, NOW_MS, NULL), RC_OK);
    tenant.created_ms = NOW_MS;
    tenant.revision = 1;
    account_free(account);
    account = fixture_open();
    struct account_tenant stored = fixture_get(account, "acme");
    assert_memory_equal(&stored, &tenant, sizeof(stored));
    stored.suspended = true;
    stored.plan[0] = '\0';
    stored.plan_version = 0;
    memset(stored.plan, 0, sizeof(stored.plan));
    fixture_set(account, &stored);
    struct account_tenant again = fixture_get(account, "acme");
    stored.revision = 2;
    assert_memory_equal(&stored, &again, sizeof(stored));
    account_free(account);
}

TEST(a_taken_id_and_fields_out_of_range_are_refused)
{
    struct account *account = begin();
    fixture_tenant(account, "acme");
    struct account_tenant taken = {.id = "acme"};
    assert_int_equal(account_tenant_create(account, &taken, NOW_MS, NULL), RC_INVALID);
    static const char *const bad_ids[] = {"", "-a", "A", "a_b", "a/b", "a b", "a.b", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof(bad_ids) / sizeof(bad_ids[0]); i++) {
        struct account_tenant tenant = {0};
        (void)snprintf(tenant.id, sizeof(tenant.id), "%s", bad_ids[i]);
        assert_int_equal(account_tenant_create(account, &tenant, NOW_MS, NULL), RC_INVALID);
        assert_int_equal(account_tenant_get(account, bad_ids[i], &tenant, NULL), RC_NOT_FOUND);
    }
    struct account_tenant longest = {0};
    memset(longest.id, 'a', ACCOUNT_TENANT_SIZE - 1);
    assert_int_equal(account_tenant_create(account, &longest, NOW_MS, NULL), RC_OK);
    const struct account_tenant bad[] = {
        {.id = "b", .image_days = ACCOUNT_DAYS_MAX + 1},
        {.id = "b", .result_days = ACCOUNT_DAYS_MAX + 1},
        {.id = "b", .budget_micro = UINT64_MAX},
        {.id = "b", .hard_cap_micro = UINT64_MAX},
        {.id = "b", .alert_percents = {80, 50}},
        {.id = "b", .alert_percents = {0, 50}},
        {.id = "b", .plan = "flat"},
        {.id = "b", .plan_version = 1},
        {.id = "b", .plan = "flat", .plan_version = 1}, /* there is no such plan */
        {.id = "b", .rule = {.requests = LIMITS_REQUESTS_MAX + 1}},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(account_tenant_create(account, &bad[i], NOW_MS, NULL), RC_INVALID);
    struct account_tenant none;
    assert_int_equal(account_tenant_get(account, "b", &none, NULL), RC_NOT_FOUND);
    assert_int_equal(account_tenant_set(account, &(struct account_tenant){.id = "b"}, NOW_MS, NULL),
                     RC_NOT_FOUND);
    account_free(account);
}

TEST(of_two_changes_from_one_reading_the_second_is_refused)
{
    struct account *account = begin();
    fixture_tenant(account, "acme");
    struct account_tenant first = fixture_get(account, "acme");
    struct account_tenant second = first;
    first.image_days = 1;
    second.result_days = 2;
    fixture_set(account, &first);
    assert_int_equal(account_tenant_set(account, &second, NOW_MS, NULL), RC_INVALID);
    struct account_tenant stored = fixture_get(account, "acme");
    assert_int_equal(stored.image_days, 1);
    assert_int_equal(stored.result_days, 0);
    account_free(account);
}

static void plan_is(struct account *account, uint32_t version, uint64_t at_ms)
{
    struct account_tenant tenant = fixture_get(account, "acme");
    (void)snprintf(tenant.plan, sizeof(tenant.plan), "%s", version > 0 ? "flat" : "");
    tenant.plan_version = version;
    assert_int_equal(account_tenant_set(account, &tenant, at_ms, NULL), RC_OK);
}

TEST(every_change_of_plan_is_remembered)
{
    struct account *account = begin();
    fixture_plan(account);
    struct plan second;
    assert_int_equal(account_plan_get(account, "flat", 1, &second, NULL), RC_OK);
    second.version = 2;
    assert_int_equal(account_plan_put(account, &second, NOW_MS, NULL), RC_OK);
    fixture_tenant(account, "acme");
    plan_is(account, 1, NOW_MS + 10);
    plan_is(account, 1, NOW_MS + 20); /* the same */
    plan_is(account, 2, NOW_MS + 30);
    plan_is(account, 1, NOW_MS + 5); /* a clock that was set back */
    plan_is(account, 0, NOW_MS + 40);
    static const struct {
        uint64_t since_ms;
        const char *plan;
        uint32_t version;
    } rows[] = {{NOW_MS, "", 0},
                {NOW_MS + 10, "flat", 1},
                {NOW_MS + 30, "flat", 2},
                {NOW_MS + 31, "flat", 1},
                {NOW_MS + 40, "", 0}};
    struct account_tenure tenures[10];
    uint32_t count = 0;
    assert_int_equal(account_tenure_list(account, "acme", 0, tenures, 10, &count, NULL), RC_OK);
    assert_int_equal(count, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(tenures[i].since_ms, rows[i].since_ms);
        assert_string_equal(tenures[i].plan, rows[i].plan);
        assert_int_equal(tenures[i].plan_version, rows[i].version);
    }
    assert_int_equal(account_tenure_list(account, "acme", NOW_MS + 11, tenures, 2, &count, NULL),
                     RC_OK);
    assert_int_equal(count, 2);
    assert_int_equal(tenures[0].since_ms, NOW_MS + 30);
    assert_int_equal(account_tenure_list(account, "nobody", 0, tenures, 2, &count, NULL), RC_OK);
    assert_int_equal(count, 0);
    account_free(account);
}

TEST(lists_come_by_id_in_pages)
{
    struct account *account = begin();
    char id[ACCOUNT_TENANT_SIZE];
    for (int i = 0; i < 25; i++) {
        (void)snprintf(id, sizeof(id), "t%02d", i);
        fixture_tenant(account, id);
    }
    struct account_tenant page[10];
    char after[ACCOUNT_TENANT_SIZE] = "default";
    uint32_t count = 10;
    uint32_t total = 0;
    while (count == 10) {
        assert_int_equal(account_tenant_list(account, after, page, 10, &count, NULL), RC_OK);
        for (uint32_t i = 0; i < count; i++) {
            (void)snprintf(id, sizeof(id), "t%02u", total++);
            assert_string_equal(page[i].id, id);
        }
        if (count > 0)
            memcpy(after, page[count - 1].id, sizeof(after));
    }
    assert_int_equal(total, 25);
    assert_int_equal(account_tenant_list(account, "", page, 0, &count, NULL), RC_INVALID);
    assert_int_equal(account_tenant_list(account, "", page, ACCOUNT_LIST_MAX + 1, &count, NULL),
                     RC_INVALID);
    account_free(account);
}

TEST(a_stored_plan_never_changes)
{
    struct account *account = begin();
    fixture_plan(account);
    struct plan plan;
    assert_int_equal(account_plan_get(account, "flat", 1, &plan, NULL), RC_OK);
    assert_int_equal(plan.prices[0].tiers[0].micro, 1000);
    assert_int_equal(account_plan_put(account, &plan, NOW_MS + 1, NULL), RC_OK);
    plan.prices[0].tiers[0].micro = 999;
    assert_int_equal(account_plan_put(account, &plan, NOW_MS, NULL), RC_INVALID);
    plan.version = 2;
    assert_int_equal(account_plan_put(account, &plan, NOW_MS, NULL), RC_OK);
    plan.currency[0] = 'x';
    plan.version = 3;
    assert_int_equal(account_plan_put(account, &plan, NOW_MS, NULL), RC_INVALID);
    assert_int_equal(account_plan_get(account, "flat", 1, &plan, NULL), RC_OK);
    assert_int_equal(plan.prices[0].tiers[0].micro, 1000);
    assert_int_equal(account_plan_get(account, "flat", 0, &plan, NULL), RC_OK);
    assert_int_equal(plan.version, 2);
    assert_int_equal(account_plan_get(account, "flat", 3, &plan, NULL), RC_NOT_FOUND);
    assert_int_equal(account_plan_get(account, "flat2", 0, &plan, NULL), RC_NOT_FOUND);
    assert_int_equal(account_plan_get(account, "", 0, &plan, NULL), RC_OK);
    assert_int_equal(plan.price_count, 0);
    struct account_plan_row rows[4];
    uint32_t count = 0;
    assert_int_equal(account_plan_list(account, "", 0, rows, 4, &count, NULL), RC_OK);
    assert_int_equal(count, 2);
    assert_int_equal(rows[0].created_ms, NOW_MS);
    assert_int_equal(account_plan_list(account, "flat", 1, rows, 4, &count, NULL), RC_OK);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].version, 2);
    account_free(account);
}

TEST(a_key_or_an_issuer_ends_open_mode_for_good)
{
    bool ever = true;
    struct account *account = begin();
    assert_int_equal(account_ever(account, &ever, NULL), RC_OK);
    assert_false(ever);
    fixture_tenant(account, "acme"); /* a tenant does not */
    assert_int_equal(account_ever(account, &ever, NULL), RC_OK);
    assert_false(ever);
    char token[KEY_TOKEN_SIZE];
    struct account_key key = fixture_key(account, "acme", token);
    assert_int_equal(account_key_revoke(account, "acme", key.id, NOW_MS, NULL), RC_OK);
    account_free(account);
    account = fixture_open();
    assert_int_equal(account_ever(account, &ever, NULL), RC_OK);
    assert_true(ever);
    account_free(account);
    account = begin();
    assert_int_equal(account_issuer_seen(account, NULL), RC_OK);
    assert_int_equal(account_issuer_seen(account, NULL), RC_OK);
    account_free(account);
    account = fixture_open();
    assert_int_equal(account_ever(account, &ever, NULL), RC_OK);
    assert_true(ever);
    account_free(account);
}

TEST(scopes_have_names)
{
    char text[ACCOUNT_SCOPES_TEXT_SIZE];
    account_scopes_text(SCOPE_ALL, text);
    assert_string_equal(text, "predict read feedback admin");
    account_scopes_text(SCOPE_FEEDBACK, text);
    assert_string_equal(text, "feedback");
    account_scopes_text(0, text);
    assert_string_equal(text, "");
    assert_int_equal(account_scope_of(bytes_of("imago/read"), "imago/"), SCOPE_READ);
    assert_int_equal(account_scope_of(bytes_of("imago/reader"), "imago/"), 0);
    assert_int_equal(account_scope_of(bytes_of("ima"), "imago/"), 0);
}

TEST(a_backup_is_a_store_of_its_own)
{
    struct account *account = begin();
    char dir[] = "/tmp/imago-account-XXXXXX";
    char path[64];
    char url[80];
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/copy.db", dir);
    (void)snprintf(url, sizeof(url), "sqlite:%s", path);
    assert_int_equal(account_check(account, true, NULL), RC_OK);
    struct account_tenant tenant = {.id = "acme"};
    assert_int_equal(account_tenant_create(account, &tenant, 1, NULL), RC_OK);
    assert_int_equal(account_backup(account, path, NULL), RC_OK);
    assert_int_equal(account_backup(account, path, NULL), RC_INVALID);
    struct account *copy = NULL;
    struct account_config config = {.url = url};
    assert_int_equal(account_open(&config, &copy, NULL), RC_OK);
    assert_int_equal(account_tenant_get(copy, "acme", &tenant, NULL), RC_OK);
    account_free(copy);
    account_free(account);
    assert_int_equal(remove(path), 0);
    assert_int_equal(remove(dir), 0);
}

TEST(what_cannot_be_opened_is_reported)
{
    struct account *account = NULL;
    struct error err = {0};
    struct account_config config = {.url = "paper:/book"};
    assert_int_equal(account_open(&config, &account, &err), RC_INVALID);
    config.url = "sqlite:/no/such/folder/imago.db";
    assert_int_equal(account_open(&config, &account, &err), RC_UNAVAILABLE);
    config.cache_ms = ACCOUNT_CACHE_MS_MAX + 1;
    assert_int_equal(account_open(&config, &account, &err), RC_INVALID);
    assert_null(account);
    account_free(NULL);
}

TEST_MAIN("account contract")
