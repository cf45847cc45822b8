/* SPDX-License-Identifier: Apache-2.0
 * What callers get when the storage fails, before a call or after it: never a wrong "yes". */
#include "check.h"
#include "fixture.h"
#include "account/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const char *call; /* which fails */
    bool after;
    uint32_t failed_count;
} plan;

static enum rc fail_planned(void *ctx, const char *call, bool after)
{
    (void)ctx;
    if (plan.call == NULL || strcmp(plan.call, call) != 0 || plan.after != after)
        return RC_OK;
    plan.failed_count++;
    return RC_UNAVAILABLE;
}

static struct account *begin(void)
{
    (void)setenv("ACCOUNT_URL", "fault:sqlite:{dir}/imago.db", 1);
    fixture_fresh();
    struct account *account = fixture_open();
    plan.call = NULL;
    plan.failed_count = 0;
    account_fault_set(account, fail_planned, NULL);
    return account;
}

TEST(who_cannot_be_looked_up_is_not_let_in)
{
    for (int after = 0; after < 2; after++) {
        struct account *account = begin();
        char token[KEY_TOKEN_SIZE];
        struct account_identity identity = {.scopes = 99};
        (void)fixture_key(account, "default", token);
        plan.call = "key_find";
        plan.after = after == 1;
        for (int i = 0; i < 3; i++)
            assert_int_equal(
                account_authenticate(account, bytes_of(token), NOW_MS, &identity, NULL),
                RC_UNAVAILABLE);
        assert_int_equal(plan.failed_count, 3); /* a failure is not remembered as an answer */
        assert_int_equal(identity.scopes, 99);
        plan.call = NULL;
        assert_int_equal(account_authenticate(account, bytes_of(token), NOW_MS, &identity, NULL),
                         RC_OK);
        account_free(account);
    }
}

TEST(a_revocation_whose_answer_got_lost_holds_at_once)
{
    struct account *account = begin();
    char token[KEY_TOKEN_SIZE];
    struct account_identity identity;
    struct account_key key = fixture_key(account, "default", token);
    assert_int_equal(account_authenticate(account, bytes_of(token), NOW_MS, &identity, NULL),
                     RC_OK);
    plan.call = "key_revoke";
    plan.after = true;
    assert_int_equal(account_key_revoke(account, "default", key.id, NOW_MS, NULL), RC_UNAVAILABLE);
    assert_int_equal(account_authenticate(account, bytes_of(token), NOW_MS, &identity, NULL),
                     RC_UNAUTHENTICATED);
    account_free(account);
}

TEST(a_lost_key_or_reservation_can_be_asked_for_again)
{
    struct account *account = begin();
    char token[KEY_TOKEN_SIZE] = "";
    struct account_key request = {.tenant = "default", .scopes = 1};
    struct account_key key;
    plan.call = "key_create";
    plan.after = true;
    assert_int_equal(account_key_create(account, &request, NOW_MS, &key, token, NULL),
                     RC_UNAVAILABLE);
    assert_string_equal(token, "");
    plan.call = "reserve";
    struct quota_request reservation = {.id = fixture_id(1),
                                        .tenant = "default",
                                        .key = "k",
                                        .images_per_day = 10,
                                        .model = "m",
                                        .image_count = 6};
    assert_int_equal(account_reserve(account, &reservation, 1, 1000, NOW_MS, NULL), RC_UNAVAILABLE);
    plan.call = NULL;
    assert_int_equal(account_reserve(account, &reservation, 1, 1000, NOW_MS, NULL), RC_OK);
    assert_int_equal(reservation.refusal, QUOTA_PASS);
    struct quota_day day;
    assert_int_equal(account_quota_day(account, "default", "k", NOW_MS, &day, NULL), RC_OK);
    assert_int_equal(day.held, 6); /* once */
    struct quota_settlement settlement = {
        .id = fixture_id(1), .tenant = "default", .image_count = 6, .committed_ms = NOW_MS};
    plan.call = "settle";
    assert_int_equal(account_settle(account, &settlement, 1, NULL), RC_UNAVAILABLE);
    plan.call = NULL;
    assert_int_equal(account_settle(account, &settlement, 1, NULL), RC_OK);
    assert_int_equal(account_quota_day(account, "default", "k", NOW_MS, &day, NULL), RC_OK);
    assert_int_equal(day.used, 6);
    assert_int_equal(day.held, 0);
    account_free(account);
}

TEST(upkeep_that_failed_is_done_the_next_time)
{
    struct account *account = begin();
    char token[KEY_TOKEN_SIZE];
    struct account_identity identity;
    bool more = false;
    struct account_key key = fixture_key(account, "default", token);
    assert_int_equal(account_authenticate(account, bytes_of(token), NOW_MS, &identity, NULL),
                     RC_OK);
    plan.call = "expired";
    plan.after = false;
    assert_int_equal(account_maintain(account, NULL, NOW_MS, &more, NULL), RC_UNAVAILABLE);
    plan.call = NULL;
    assert_int_equal(account_maintain(account, NULL, NOW_MS, &more, NULL), RC_OK);
    assert_int_equal(account_key_get(account, "default", key.id, &key, NULL), RC_OK);
    assert_int_equal(key.used_ms, NOW_MS);
    account_free(account);
}

TEST_MAIN("account fault")
