/* SPDX-License-Identifier: Apache-2.0
 * The promises of webhook_secret.h, run against every driver. */
#include "check.h"
#include "fixture.h"
#include "account/webhook_secret.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static struct account *begin(void)
{
    fixture_fresh();
    struct account *account = fixture_open();
    fixture_tenant(account, "acme");
    return account;
}

static struct account_webhook_secret get(struct account *account, const char *tenant,
                                         uint64_t now_ms)
{
    struct account_webhook_secret secret;
    struct error err = {0};
    if (account_webhook_secret_get(account, tenant, now_ms, &secret, &err) != RC_OK)
        fail_msg("%s", err.text);
    return secret;
}

static struct account_webhook_secret rotate(struct account *account, uint64_t old_until_ms,
                                            uint64_t now_ms)
{
    struct account_webhook_secret secret;
    struct error err = {0};
    if (account_webhook_secret_rotate(account, "acme", old_until_ms, now_ms, &secret, &err) !=
        RC_OK)
        fail_msg("%s", err.text);
    return secret;
}

static bool same(const uint8_t a[WEBHOOK_SECRET_SIZE], const uint8_t b[WEBHOOK_SECRET_SIZE])
{
    return memcmp(a, b, WEBHOOK_SECRET_SIZE) == 0;
}

TEST(a_secret_is_made_when_first_asked_for_and_stays)
{
    struct account *account = begin();
    struct account_webhook_secret first = get(account, "acme", NOW_MS);
    assert_int_equal(first.created_ms, NOW_MS);
    assert_false(first.has_old);
    account_free(account);
    account = fixture_open();
    struct account_webhook_secret again = get(account, "acme", NOW_MS + 1);
    assert_memory_equal(&again, &first, sizeof(first));
    struct account_webhook_secret other = get(account, "default", NOW_MS);
    assert_false(same(other.current, first.current));
    account_free(account);
}

TEST(a_rotation_keeps_one_before_for_a_while)
{
    struct account *account = begin();
    struct account_webhook_secret first = get(account, "acme", NOW_MS);
    struct account_webhook_secret second = rotate(account, NOW_MS + DAY_MS, NOW_MS);
    assert_true(second.has_old && same(second.old, first.current));
    assert_false(same(second.current, first.current));
    struct account_webhook_secret late = get(account, "acme", NOW_MS + DAY_MS - 1);
    assert_memory_equal(&late, &second, sizeof(late));
    late = get(account, "acme", NOW_MS + DAY_MS);
    assert_false(late.has_old || same(late.old, first.current));
    assert_int_equal(late.old_until_ms, 0);
    assert_true(same(late.current, second.current));
    /* Twice: the first one ends at once. */
    struct account_webhook_secret third = rotate(account, NOW_MS + DAY_MS, NOW_MS + 1);
    assert_true(third.has_old && same(third.old, second.current));
    account_free(account);
}

TEST(a_rotation_may_end_the_one_before_at_once)
{
    struct account *account = begin();
    struct account_webhook_secret first = get(account, "acme", NOW_MS);
    struct account_webhook_secret second = rotate(account, NOW_MS, NOW_MS);
    assert_false(second.has_old);
    assert_false(same(second.current, first.current));
    struct account_webhook_secret secret = get(account, "acme", 0);
    assert_false(secret.has_old);
    account_free(account);
}

TEST(a_rotation_without_a_secret_makes_the_first)
{
    struct account *account = begin();
    struct account_webhook_secret first = rotate(account, NOW_MS + DAY_MS, NOW_MS);
    assert_false(first.has_old);
    struct account_webhook_secret again = get(account, "acme", NOW_MS);
    assert_true(same(again.current, first.current));
    account_free(account);
}

TEST(tenants_that_are_not_there)
{
    struct account *account = begin();
    struct account_webhook_secret secret;
    static const char *const names[] = {"nobody", "", "A", "../x"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(account_webhook_secret_get(account, names[i], NOW_MS, &secret, NULL),
                         RC_NOT_FOUND);
        assert_int_equal(account_webhook_secret_rotate(account, names[i], 0, NOW_MS, &secret, NULL),
                         RC_NOT_FOUND);
    }
    assert_int_equal(
        account_webhook_secret_rotate(account, "acme", UINT64_MAX, NOW_MS, &secret, NULL),
        RC_INVALID);
    account_free(account);
}

static void *get_in_thread(void *argument)
{
    static struct account_webhook_secret secrets[4];
    static atomic_uint next;
    struct account_webhook_secret *mine = &secrets[atomic_fetch_add(&next, 1)];
    return account_webhook_secret_get(argument, "acme", NOW_MS, mine, NULL) == RC_OK ? mine : NULL;
}

TEST(those_who_ask_first_together_get_the_same)
{
    struct account *handles[4];
    pthread_t threads[4];
    handles[0] = begin();
    for (size_t i = 1; i < 4; i++)
        handles[i] = fixture_open();
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_in_thread, handles[i]), 0);
    struct account_webhook_secret want = {0};
    for (size_t i = 0; i < 4; i++) {
        void *got = NULL;
        (void)pthread_join(threads[i], &got);
        assert_non_null(got);
        if (i == 0)
            memcpy(&want, got, sizeof(want));
        assert_memory_equal(got, &want, sizeof(want));
    }
    for (size_t i = 0; i < 4; i++)
        account_free(handles[i]);
}

TEST(the_text_is_what_receivers_take)
{
    uint8_t secret[WEBHOOK_SECRET_SIZE];
    char text[WEBHOOK_SECRET_TEXT_SIZE];
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (uint8_t)(i * 8);
    account_webhook_secret_text(secret, text);
    assert_string_equal(text, "whsec_AAgQGCAoMDhASFBYYGhweICIkJigqLC4wMjQ2ODo8Pg=");
}

TEST_MAIN("webhook")
