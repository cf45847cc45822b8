/* SPDX-License-Identifier: Apache-2.0
 * The promises of key.h, run against every driver. */
#include "check.h"
#include "fixture.h"
#include "tokens.h"
#include "account/jwt.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct account *begin(void)
{
    fixture_fresh();
    return fixture_open();
}

static enum rc authenticate(struct account *account, const char *token, uint64_t now_ms,
                            struct account_identity *identity)
{
    return account_authenticate(account, bytes_of(token), now_ms, identity, NULL);
}

TEST(a_key_is_shown_once_and_lets_in)
{
    struct account *account = begin();
    fixture_tenant(account, "acme");
    struct account_key request = {.tenant = "acme",
                                  .name = "café, the laptop",
                                  .scopes = SCOPE_PREDICT | SCOPE_READ,
                                  .expires_ms = NOW_MS + 1000,
                                  .rule_own = true,
                                  .rule = {.requests = 3, .images_per_day = 9}};
    struct account_key key;
    char token[KEY_TOKEN_SIZE];
    assert_int_equal(account_key_create(account, &request, NOW_MS, &key, token, NULL), RC_OK);
    assert_int_equal(strlen(token), KEY_TOKEN_SIZE - 1);
    assert_memory_equal(token, "imago_", 6);
    assert_memory_equal(token + 6, key.id, 8);
    assert_int_equal(token[14], '_');
    struct account_identity identity;
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_OK);
    assert_string_equal(identity.tenant, "acme");
    assert_string_equal(identity.key, key.id);
    assert_int_equal(identity.scopes, SCOPE_PREDICT | SCOPE_READ);
    assert_int_equal(identity.rule.requests, 3);
    assert_true(identity.reserves);
    account_free(account);
    account = fixture_open();
    struct account_key stored;
    assert_int_equal(account_key_get(account, "acme", key.id, &stored, NULL), RC_OK);
    assert_memory_equal(&stored, &key, sizeof(key));
    assert_int_equal(authenticate(account, token, NOW_MS + 999, &identity), RC_OK);
    assert_int_equal(authenticate(account, token, NOW_MS + 1000, &identity), RC_UNAUTHENTICATED);
    account_free(account);
}

TEST(the_secret_is_nowhere_in_the_files)
{
    struct account *account = begin();
    char token[KEY_TOKEN_SIZE];
    (void)fixture_key(account, "default", token);
    account_free(account);
    const char *url = fixture_url();
    if (strncmp(url, "sqlite:", 7) != 0)
        return;
    static const char *const tails[] = {"", "-wal"};
    for (size_t i = 0; i < 2; i++) {
        char path[600];
        (void)snprintf(path, sizeof(path), "%s%s", url + 7, tails[i]);
        FILE *file = fopen(path, "rb");
        if (file == NULL)
            continue;
        static char data[1 << 20];
        size_t size = fread(data, 1, sizeof(data), file);
        (void)fclose(file);
        assert_null(memmem(data, size, token + 15, 52));
        assert_non_null(
            memmem(data, size, token + 6, 8)); /* the id is: the file is the right one */
    }
}

TEST(keys_that_cannot_be_made)
{
    struct account *account = begin();
    struct account_key key;
    char token[KEY_TOKEN_SIZE];
    const struct account_key bad[] = {
        {.tenant = "default"}, /* no scope */
        {.tenant = "default", .scopes = 16},
        {.tenant = "default", .scopes = 1, .expires_ms = NOW_MS},
        {.tenant = "default", .scopes = 1, .expires_ms = UINT64_MAX},
        {.tenant = "default", .scopes = 1, .name = "a\nb"},
        {.tenant = "default", .scopes = 1, .rule = {.window_s = LIMITS_WINDOW_S_MAX + 1}},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(account_key_create(account, &bad[i], NOW_MS, &key, token, NULL),
                         RC_INVALID);
    struct account_key request = {.tenant = "nobody", .scopes = 1};
    assert_int_equal(account_key_create(account, &request, NOW_MS, &key, token, NULL),
                     RC_NOT_FOUND);
    bool ever = true;
    assert_int_equal(account_ever(account, &ever, NULL), RC_OK);
    assert_false(ever);
    account_free(account);
}

TEST(wrong_credentials_get_one_answer)
{
    struct account *account = begin();
    char good[KEY_TOKEN_SIZE];
    char token[KEY_TOKEN_SIZE + 8];
    (void)fixture_key(account, "default", good);
    struct account_identity identity = {.scopes = 99};
    struct error first = {0};
    for (size_t at = 0; at < KEY_TOKEN_SIZE - 1; at++) {
        memcpy(token, good, KEY_TOKEN_SIZE);
        token[at] = token[at] == 'b' ? 'c' : 'b';
        struct error err = {0};
        for (int twice = 0; twice < 2; twice++)
            assert_int_equal(
                account_authenticate(account, bytes_of(token), NOW_MS, &identity, &err),
                RC_UNAUTHENTICATED);
        if (at == 0)
            first = err;
        assert_string_equal(err.text, first.text);
        assert_string_equal(err.where, first.where);
    }
    const char *const others[] = {"", "imago_", "Bearer", "imago_aaaaaaaa_", good + 1, "a.b.c"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(authenticate(account, others[i], NOW_MS, &identity), RC_UNAUTHENTICATED);
    (void)snprintf(token, sizeof(token), "%sa", good);
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_UNAUTHENTICATED);
    assert_int_equal(
        account_authenticate(account, (struct bytes){(uint8_t *)good, 66}, NOW_MS, &identity, NULL),
        RC_UNAUTHENTICATED);
    assert_int_equal(identity.scopes, 99);
    assert_int_equal(authenticate(account, good, NOW_MS, &identity), RC_OK);
    account_free(account);
}

TEST(a_revoked_key_ends_at_once_here_and_within_the_cache_time_elsewhere)
{
    struct account *account = begin();
    struct account *other = fixture_open();
    char token[KEY_TOKEN_SIZE];
    struct account_key key = fixture_key(account, "default", token);
    struct account_identity identity;
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_OK);
    assert_int_equal(authenticate(other, token, NOW_MS, &identity), RC_OK);
    assert_int_equal(account_key_revoke(account, "default", key.id, NOW_MS + 1, NULL), RC_OK);
    struct error err = {0};
    assert_int_equal(account_authenticate(account, bytes_of(token), NOW_MS + 1, &identity, &err),
                     RC_UNAUTHENTICATED);
    assert_non_null(strstr(err.text, "revoked"));
    assert_int_equal(authenticate(other, token, NOW_MS + ACCOUNT_CACHE_MS_MAX, &identity),
                     RC_UNAUTHENTICATED);
    assert_int_equal(account_key_revoke(account, "default", key.id, NOW_MS + 9, NULL), RC_OK);
    assert_int_equal(account_key_get(account, "default", key.id, &key, NULL), RC_OK);
    assert_int_equal(key.revoked_ms, NOW_MS + 1);
    account_free(account);
    account_free(other);
}

TEST(rotation_keeps_the_old_secret_for_a_while)
{
    struct account *account = begin();
    char first[KEY_TOKEN_SIZE];
    char second[KEY_TOKEN_SIZE];
    char third[KEY_TOKEN_SIZE];
    struct account_identity identity;
    struct account_key key = fixture_key(account, "default", first);
    assert_int_equal(authenticate(account, first, NOW_MS, &identity), RC_OK);
    assert_int_equal(
        account_key_rotate(account, "default", key.id, NOW_MS + 5000, NOW_MS, second, NULL), RC_OK);
    assert_string_not_equal(first, second);
    assert_int_equal(authenticate(account, second, NOW_MS, &identity), RC_OK);
    assert_string_equal(identity.key, key.id);
    assert_int_equal(authenticate(account, first, NOW_MS + 3000, &identity), RC_OK);
    assert_int_equal(authenticate(account, first, NOW_MS + 4999, &identity), RC_OK);
    assert_int_equal(authenticate(account, first, NOW_MS + 5000, &identity), RC_UNAUTHENTICATED);
    assert_int_equal(authenticate(account, second, NOW_MS + 5000, &identity), RC_OK);
    /* Again, at once: neither of the earlier ones works. */
    assert_int_equal(account_key_rotate(account, "default", key.id, 0, NOW_MS, third, NULL), RC_OK);
    assert_int_equal(authenticate(account, first, NOW_MS, &identity), RC_UNAUTHENTICATED);
    assert_int_equal(authenticate(account, second, NOW_MS, &identity), RC_UNAUTHENTICATED);
    assert_int_equal(authenticate(account, third, NOW_MS, &identity), RC_OK);
    assert_int_equal(account_key_revoke(account, "default", key.id, NOW_MS, NULL), RC_OK);
    assert_int_equal(account_key_rotate(account, "default", key.id, 0, NOW_MS, third, NULL),
                     RC_INVALID);
    account_free(account);
}

TEST(another_tenants_key_is_an_absent_one)
{
    struct account *account = begin();
    fixture_tenant(account, "acme");
    fixture_tenant(account, "rival");
    char token[KEY_TOKEN_SIZE];
    struct account_key key = fixture_key(account, "acme", token);
    const char *const ids[] = {key.id, UNKNOWN, "short", "muchtoolongforanid", ""};
    struct error errs[5][3];
    for (size_t i = 0; i < 5; i++) {
        struct account_key got = {.scopes = 77};
        char fresh[KEY_TOKEN_SIZE];
        assert_int_equal(account_key_get(account, "rival", ids[i], &got, &errs[i][0]),
                         RC_NOT_FOUND);
        assert_int_equal(account_key_revoke(account, "rival", ids[i], NOW_MS, &errs[i][1]),
                         RC_NOT_FOUND);
        assert_int_equal(
            account_key_rotate(account, "rival", ids[i], 0, NOW_MS, fresh, &errs[i][2]),
            RC_NOT_FOUND);
        assert_int_equal(got.scopes, 77);
        for (size_t k = 0; k < 3; k++)
            assert_string_equal(errs[i][k].text, errs[0][k].text);
    }
    struct account_key list[4];
    uint32_t count = 9;
    assert_int_equal(account_key_list(account, "rival", "", "", list, 4, &count, NULL), RC_OK);
    assert_int_equal(count, 0);
    struct account_identity identity;
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_OK);
    account_free(account);
}

/* Bytes from a list, so that keys have the ids that a test wants. */
static struct {
    const uint8_t *bytes;
    size_t count;
    size_t at;
} script;
static void scripted(void *ctx, uint8_t *into, size_t size)
{
    (void)ctx;
    for (size_t i = 0; i < size; i++)
        into[i] = script.bytes[script.at++ % script.count];
}

TEST(keys_are_listed_by_id_and_found_by_their_beginning)
{
    fixture_fresh();
    static uint8_t bytes[37 * 6];
    for (size_t i = 0; i < 6; i++)
        memset(bytes + i * 37, (int)(i * 0x11 + (i == 5)), 37);
    script.bytes = bytes;
    script.count = sizeof(bytes);
    script.at = 0;
    struct account *account = fixture_open_with(&(struct account_config){.random = scripted});
    char token[KEY_TOKEN_SIZE];
    struct account_key made[6];
    for (size_t i = 0; i < 6; i++)
        made[i] = fixture_key(account, "default", token);
    struct account_key list[10];
    uint32_t count = 0;
    assert_int_equal(account_key_list(account, "default", "", "", list, 10, &count, NULL), RC_OK);
    assert_int_equal(count, 6);
    for (uint32_t i = 1; i < count; i++)
        assert_true(strcmp(list[i - 1].id, list[i].id) < 0);
    assert_int_equal(account_key_list(account, "default", "", list[1].id, list, 2, &count, NULL),
                     RC_OK);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < 6; i++)
        for (size_t size = 1; size <= 8; size++) {
            char prefix[KEY_ID_SIZE] = "";
            uint32_t right = 0;
            memcpy(prefix, made[i].id, size);
            for (size_t k = 0; k < 6; k++)
                right += strncmp(made[k].id, prefix, size) == 0;
            assert_int_equal(
                account_key_list(account, "default", prefix, "", list, 10, &count, NULL), RC_OK);
            assert_int_equal(count, right);
            for (uint32_t k = 0; k < count; k++)
                assert_memory_equal(list[k].id, prefix, size);
        }
    static const char *const strange[] = {"*", "%", "A", "a?", "[a-z]", "_"};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(
            account_key_list(account, "default", strange[i], "", list, 10, &count, NULL), RC_OK);
        assert_int_equal(count, 0);
    }
    account_free(account);
}

TEST(a_taken_key_id_is_drawn_again_and_a_broken_source_reported)
{
    fixture_fresh();
    static uint8_t zeroes[37];
    static uint8_t later[37 * 3];
    memset(later + 37 * 2, 7, 37);
    script.bytes = zeroes;
    script.count = sizeof(zeroes);
    script.at = 0;
    struct account *account = fixture_open_with(&(struct account_config){.random = scripted});
    char token[KEY_TOKEN_SIZE];
    struct account_key key = fixture_key(account, "default", token);
    assert_string_equal(key.id, "aaaaaaaa");
    struct account_key request = {.tenant = "default", .scopes = 1};
    assert_int_equal(account_key_create(account, &request, NOW_MS, &key, token, NULL), RC_INTERNAL);
    script.bytes = later;
    script.count = sizeof(later);
    script.at = 0;
    key = fixture_key(account, "default", token);
    assert_string_not_equal(key.id, "aaaaaaaa");
    account_free(account);
}

TEST(changes_of_the_tenant_are_seen_by_its_keys)
{
    struct account *account = begin();
    char token[KEY_TOKEN_SIZE];
    struct account_identity identity;
    (void)fixture_key(account, "default", token);
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_OK);
    assert_false(identity.reserves);
    struct account_tenant tenant = fixture_get(account, "default");
    tenant.hard_cap_micro = 5;
    tenant.rule.requests = 8;
    fixture_set(account, &tenant);
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_OK);
    assert_true(identity.reserves);
    assert_int_equal(identity.rule.requests, 8);
    tenant = fixture_get(account, "default");
    tenant.suspended = true;
    fixture_set(account, &tenant);
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_UNAUTHENTICATED);
    tenant = fixture_get(account, "default");
    tenant.suspended = false;
    fixture_set(account, &tenant);
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_OK);
    account_free(account);
}

static uint64_t used_ms(struct account *account, const char *id)
{
    struct account_key key;
    assert_int_equal(account_key_get(account, "default", id, &key, NULL), RC_OK);
    return key.used_ms;
}

TEST(last_use_is_written_by_upkeep_once_a_minute_at_most)
{
    struct account *account = begin();
    char token[KEY_TOKEN_SIZE];
    struct account_identity identity;
    bool more = true;
    struct account_key key = fixture_key(account, "default", token);
    assert_int_equal(account_maintain(account, NULL, NOW_MS, &more, NULL), RC_OK);
    assert_false(more);
    assert_int_equal(used_ms(account, key.id), 0);
    assert_int_equal(authenticate(account, token, NOW_MS + 5, &identity), RC_OK);
    assert_int_equal(used_ms(account, key.id), 0);
    assert_int_equal(account_maintain(account, NULL, NOW_MS + 6, &more, NULL), RC_OK);
    assert_int_equal(used_ms(account, key.id), NOW_MS + 5);
    for (uint64_t at = 1000; at < 60000; at += 1000) {
        assert_int_equal(authenticate(account, token, NOW_MS + at, &identity), RC_OK);
        assert_int_equal(account_maintain(account, NULL, NOW_MS + at, &more, NULL), RC_OK);
        assert_int_equal(used_ms(account, key.id), NOW_MS + 5);
    }
    assert_int_equal(account_maintain(account, NULL, NOW_MS + 61000, &more, NULL), RC_OK);
    assert_int_equal(used_ms(account, key.id), NOW_MS + 59000);
    account_free(account);
}

TEST(strangers_push_no_key_out_of_the_cache)
{
    fixture_fresh();
    struct account *account = fixture_open_with(&(struct account_config){.cache_count_max = 4});
    char token[KEY_TOKEN_SIZE];
    char wrong[KEY_TOKEN_SIZE];
    struct account_identity identity;
    struct account_key key = fixture_key(account, "default", token);
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_OK);
    struct account *other = fixture_open();
    memcpy(wrong, token, sizeof(wrong));
    for (int i = 0; i < 20000; i++) {
        for (int k = 0; k < 4; k++)
            wrong[20 + k] = (char)('a' + (i >> (4 * k) & 15));
        if (strcmp(wrong, token) != 0)
            assert_int_equal(authenticate(account, wrong, NOW_MS, &identity), RC_UNAUTHENTICATED);
    }
    /* Still from memory: what another process changed is not seen before the cache time is over. */
    assert_int_equal(account_key_revoke(other, "default", key.id, NOW_MS, NULL), RC_OK);
    assert_int_equal(authenticate(account, token, NOW_MS + 1, &identity), RC_OK);
    account_free(other);
    account_free(account);
}

static struct account *raced;
static char raced_token[KEY_TOKEN_SIZE];
static _Atomic bool stop;
static _Atomic uint32_t wrong_count;

/* A revocation that has returned is seen by whatever begins after it. */
static _Atomic bool revoked;
static void *authenticate_on(void *unused)
{
    (void)unused;
    while (!stop) {
        struct account_identity identity;
        bool before = revoked;
        enum rc rc = authenticate(raced, raced_token, NOW_MS, &identity);
        wrong_count += before && rc != RC_UNAUTHENTICATED;
    }
    return NULL;
}

TEST(no_thread_is_let_in_after_a_revocation)
{
    raced = begin();
    for (int round = 0; round < 5; round++) {
        struct account_key key = fixture_key(raced, "default", raced_token);
        stop = false;
        revoked = false;
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, authenticate_on, NULL), 0);
        assert_int_equal(account_key_revoke(raced, "default", key.id, NOW_MS, NULL), RC_OK);
        revoked = true;
        struct account_identity identity;
        for (int i = 0; i < 2000; i++)
            assert_int_equal(authenticate(raced, raced_token, NOW_MS, &identity),
                             RC_UNAUTHENTICATED);
        stop = true;
        for (int i = 0; i < 2; i++)
            (void)pthread_join(threads[i], NULL);
    }
    assert_int_equal(wrong_count, 0);
    account_free(raced);
}

static char *issuer_keys;
static enum rc fetch(void *ctx, struct buf *into, struct error *err)
{
    (void)ctx;
    (void)err;
    return buf_append(into, bytes_of(issuer_keys));
}

TEST(an_issuers_token_is_its_tenants)
{
    fixture_fresh();
    EVP_PKEY *ec = token_key_ec("P-256");
    char *jwk = token_jwk(ec, "k");
    issuer_keys = token_jwks(jwk, NULL);
    struct jwt_config config = {.issuer = "https://i",
                                .audience = "imago",
                                .tenant_claim = "tenant",
                                .scope_prefix = "",
                                .fetch = fetch};
    struct jwt *jwt = NULL;
    assert_int_equal(jwt_open(&config, &jwt, NULL), RC_OK);
    assert_int_equal(jwt_refresh(jwt, NOW_MS, NULL), RC_OK);
    struct account *account = fixture_open_with(&(struct account_config){.jwt = jwt});
    static const char header[] = "{\"alg\":\"ES256\",\"kid\":\"k\"}";
    static const char payload[] = "{\"iss\":\"https://i\",\"aud\":\"imago\",\"sub\":\"u\","
                                  "\"tenant\":\"acme\",\"scope\":\"read\",\"exp\":1796000002}";
    char token[TOKEN_TEXT_MAX];
    char key[KEY_TOKEN_SIZE];
    struct account_identity identity;
    token_sign(ec, header, payload, token);
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_UNAUTHENTICATED);
    fixture_tenant(account, "acme");
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_OK);
    assert_string_equal(identity.tenant, "acme");
    assert_memory_equal(identity.key, "jwt-", 4);
    assert_int_equal(identity.scopes, SCOPE_READ);
    /* From the cache too, until its end and no longer. */
    assert_int_equal(authenticate(account, token, NOW_MS + 59000, &identity), RC_OK);
    assert_int_equal(authenticate(account, token, NOW_MS + 61999, &identity), RC_OK);
    assert_int_equal(authenticate(account, token, NOW_MS + 62000, &identity), RC_UNAUTHENTICATED);
    token[strlen(token) - 10] ^= 1;
    assert_int_equal(authenticate(account, token, NOW_MS, &identity), RC_UNAUTHENTICATED);
    (void)fixture_key(account, "acme", key);
    assert_int_equal(authenticate(account, key, NOW_MS, &identity), RC_OK);
    bool more = false; /* tokens leave no trace of use in the keys */
    assert_int_equal(account_maintain(account, NULL, NOW_MS, &more, NULL), RC_OK);
    account_free(account);
    jwt_free(jwt);
    free(jwk);
    free(issuer_keys);
    EVP_PKEY_free(ec);
}

/* A child makes keys and says so, until it is killed: what it said is there and works. */
TEST(a_key_that_was_shown_survives_kill)
{
    for (int round = 0; round < 4; round++) {
        fixture_fresh();
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            struct account *account = fixture_open();
            for (;;) {
                char token[KEY_TOKEN_SIZE];
                (void)fixture_key(account, "default", token);
                if (write(ends[1], token, sizeof(token)) != (ssize_t)sizeof(token))
                    _exit(1);
            }
        }
        (void)close(ends[1]);
        char tokens[64][KEY_TOKEN_SIZE];
        int count = 0;
        while (count < 3 + round * 7 &&
               read(ends[0], tokens[count], KEY_TOKEN_SIZE) == KEY_TOKEN_SIZE)
            count++;
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, 0);
        (void)close(ends[0]);
        struct account *account = fixture_open();
        bool ever = false;
        assert_int_equal(account_ever(account, &ever, NULL), RC_OK);
        assert_true(ever);
        for (int i = 0; i < count; i++) {
            struct account_identity identity;
            assert_int_equal(authenticate(account, tokens[i], NOW_MS, &identity), RC_OK);
        }
        account_free(account);
    }
}

TEST_MAIN("account key contract")
