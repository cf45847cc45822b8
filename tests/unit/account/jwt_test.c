/* SPDX-License-Identifier: Apache-2.0
 * Tokens: good ones of both algorithms, every way of tampering refused, and the keys' coming and
 * going. */
#include "check.h"
#include "random.h"
#include "tokens.h"
#include "account/account.h"
#include "account/jwt.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW_S  1800000000ull
#define NOW_MS (NOW_S * 1000)
#define ISSUER "https://issuer.example/pool"

/* What an issuer serves, and what was asked of it. */
static struct {
    const char *jwks;
    enum rc rc;
    uint32_t fetch_count;
    uint32_t wake_count;
} issuer;

static enum rc fetch(void *ctx, struct buf *into, struct error *err)
{
    assert_ptr_equal(ctx, &issuer);
    issuer.fetch_count++;
    if (issuer.rc != RC_OK)
        return error_set(err, issuer.rc, "the issuer does not answer");
    return buf_append(into, bytes_of(issuer.jwks));
}

static void wake(void *ctx)
{
    assert_ptr_equal(ctx, &issuer);
    issuer.wake_count++;
}

static EVP_PKEY *rsa;
static EVP_PKEY *ec;
static char *jwks;

static void keys_once(void)
{
    if (rsa != NULL)
        return;
    rsa = token_key_rsa(2048);
    ec = token_key_ec("P-256");
    char *first = token_jwk(rsa, "r1");
    char *second = token_jwk(ec, "e1");
    jwks = token_jwks(first, second);
    free(first);
    free(second);
}

static struct jwt *open_jwt(void)
{
    keys_once();
    memset(&issuer, 0, sizeof(issuer));
    issuer.jwks = jwks;
    struct jwt_config config = {.issuer = ISSUER,
                                .audience = "imago",
                                .tenant_claim = "custom:tenant",
                                .scope_prefix = "imago/",
                                .group_prefix = "imago-",
                                .fetch = fetch,
                                .wake = wake,
                                .ctx = &issuer,
                                .fresh_ms = 600000,
                                .refetch_ms_min = 30000,
                                .stale_ms_max = 3600000};
    struct jwt *jwt = NULL;
    assert_int_equal(jwt_open(&config, &jwt, NULL), RC_OK);
    return jwt;
}

static struct jwt *ready_jwt(void)
{
    struct jwt *jwt = open_jwt();
    assert_int_equal(jwt_refresh(jwt, NOW_MS, NULL), RC_OK);
    return jwt;
}

#define RS_HEADER    "{\"alg\":\"RS256\",\"kid\":\"r1\",\"typ\":\"JWT\"}"
#define ES_HEADER    "{\"alg\":\"ES256\",\"kid\":\"e1\"}"
#define CLAIMS(more) "{\"iss\":\"" ISSUER "\",\"sub\":\"u1\",\"custom:tenant\":\"acme\"" more "}"
#define USUAL        ",\"aud\":\"imago\",\"exp\":1800000600,\"scope\":\"imago/predict imago/read\""

static enum rc verify_at(struct jwt *jwt, const char *token, uint64_t now_ms,
                         struct jwt_claims *claims, struct error *err)
{
    return jwt_verify(jwt, bytes_of(token), now_ms, claims, err);
}

static enum rc try_claims(struct jwt *jwt, const char *payload, uint64_t now_ms,
                          struct jwt_claims *claims)
{
    char token[TOKEN_TEXT_MAX];
    token_sign(ec, ES_HEADER, payload, token);
    return verify_at(jwt, token, now_ms, claims, NULL);
}

TEST(a_good_token_of_either_algorithm_is_taken)
{
    struct jwt *jwt = ready_jwt();
    char token[TOKEN_TEXT_MAX];
    struct jwt_claims first;
    struct jwt_claims second;
    struct error err = {0};
    token_sign(rsa, RS_HEADER, CLAIMS(USUAL), token);
    if (verify_at(jwt, token, NOW_MS, &first, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_string_equal(first.tenant, "acme");
    assert_int_equal(first.scopes, SCOPE_PREDICT | SCOPE_READ);
    assert_int_equal(first.expires_ms, 1800000660000);
    token_sign(ec, ES_HEADER, CLAIMS(USUAL), token);
    assert_int_equal(verify_at(jwt, token, NOW_MS, &second, NULL), RC_OK);
    assert_string_equal(first.subject, second.subject);
    assert_int_equal(strlen(first.subject), JWT_SUBJECT_SIZE - 1);
    jwt_free(jwt);
}

TEST(times_hold_with_a_minute_of_leeway)
{
    struct jwt *jwt = ready_jwt();
    struct jwt_claims claims;
    static const char *const payload =
        CLAIMS(",\"aud\":\"imago\",\"nbf\":1799999000,\"exp\":1800000000");
    assert_int_equal(try_claims(jwt, payload, 1800000059999, &claims), RC_OK);
    assert_int_equal(try_claims(jwt, payload, 1800000060000, &claims), RC_UNAUTHENTICATED);
    jwt_free(jwt);
    jwt = open_jwt();
    assert_int_equal(jwt_refresh(jwt, 1799998000000, NULL), RC_OK);
    assert_int_equal(try_claims(jwt, payload, 1799998940000, &claims), RC_OK);
    assert_int_equal(try_claims(jwt, payload, 1799998939999, &claims), RC_UNAUTHENTICATED);
    /* A fraction is a number too. */
    assert_int_equal(
        try_claims(jwt, CLAIMS(",\"aud\":\"imago\",\"exp\":1800000000.5"), 1799998000000, &claims),
        RC_OK);
    assert_int_equal(claims.expires_ms, 1800000060500);
    jwt_free(jwt);
}

TEST(claims_that_do_not_fit_are_refused)
{
    static const char *const bad[] = {
        CLAIMS(",\"aud\":\"imago\""),                        /* no end */
        CLAIMS(",\"aud\":\"imago\",\"exp\":\"1800000600\""), /* not a number */
        CLAIMS(",\"aud\":\"imago\",\"exp\":-1"),
        CLAIMS(",\"aud\":\"imago\",\"exp\":1e300"),
        CLAIMS(",\"aud\":\"imago\",\"exp\":1800000600,\"nbf\":\"x\""),
        CLAIMS(",\"aud\":\"imago\",\"exp\":1800000600,\"nbf\":1800000061"),
        CLAIMS(",\"exp\":1800000600"), /* no audience */
        CLAIMS(",\"aud\":\"imago2\",\"exp\":1800000600"),
        CLAIMS(",\"aud\":[],\"exp\":1800000600"),
        CLAIMS(",\"aud\":{\"imago\":1},\"exp\":1800000600"),
        CLAIMS(",\"aud\":\"other\",\"client_id\":\"imago\",\"exp\":1800000600"),
        CLAIMS(",\"aud\":\"imago\\u0000\",\"exp\":1800000600"),
        CLAIMS(USUAL ",\"exp\":1900000000"), /* a key twice */
        "{\"iss\":\"https://issuer.example/poo\",\"sub\":\"u\",\"custom:tenant\":\"acme\"" USUAL
        "}",
        "{\"sub\":\"u\",\"custom:tenant\":\"acme\"" USUAL "}",
        "{\"iss\":\"" ISSUER "\",\"custom:tenant\":\"acme\"" USUAL "}",
        "{\"iss\":\"" ISSUER "\",\"sub\":\"\",\"custom:tenant\":\"acme\"" USUAL "}",
        "{\"iss\":\"" ISSUER "\",\"sub\":7,\"custom:tenant\":\"acme\"" USUAL "}",
        "{\"iss\":\"" ISSUER "\",\"sub\":\"u\",\"tenant\":\"acme\"" USUAL "}",
        "{\"iss\":\"" ISSUER "\",\"sub\":\"u\",\"custom:tenant\":\"../acme\"" USUAL "}",
        "{\"iss\":\"" ISSUER "\",\"sub\":\"u\",\"custom:tenant\":\"acme\\u0000x\"" USUAL "}",
        "{\"iss\":\"" ISSUER "\",\"sub\":\"u\",\"custom:tenant\":[\"acme\"]" USUAL "}",
        "[]",
        "\"text\"",
        "",
        "{",
    };
    struct jwt *jwt = ready_jwt();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct jwt_claims claims = {.scopes = 99};
        if (try_claims(jwt, bad[i], NOW_MS, &claims) != RC_UNAUTHENTICATED)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(claims.scopes, 99);
    }
    jwt_free(jwt);
}

TEST(scopes_come_from_all_three_claims_by_their_prefix)
{
    static const struct {
        const char *payload;
        uint32_t scopes;
    } rows[] = {
        {CLAIMS(",\"aud\":\"imago\",\"exp\":1800000600"), 0},
        {CLAIMS(",\"aud\":\"imago\",\"exp\":1800000600,\"scope\":\"predict read admin\""), 0},
        {CLAIMS(",\"aud\":\"imago\",\"exp\":1800000600,\"scope\":\"  imago/feedback \""),
         SCOPE_FEEDBACK},
        {CLAIMS(",\"aud\":\"imago\",\"exp\":1800000600,\"scope\":\"imago/adminx ximago/admin\""),
         0},
        {CLAIMS(",\"aud\":[\"a\",\"imago\"],\"exp\":1800000600,\"scp\":[\"imago/read\",5]"),
         SCOPE_READ},
        {CLAIMS(",\"aud\":\"imago\",\"exp\":1800000600,\"scp\":\"imago/read imago/predict\""),
         SCOPE_READ | SCOPE_PREDICT},
        {CLAIMS(",\"client_id\":\"imago\",\"exp\":1800000600,"
                "\"cognito:groups\":[\"imago-admin\",\"admin\",\"imago/read\"]"),
         SCOPE_ADMIN},
        {CLAIMS(",\"aud\":\"imago\",\"exp\":1800000600,\"scope\":\"imago/read\","
                "\"cognito:groups\":[\"imago-predict\"]"),
         SCOPE_READ | SCOPE_PREDICT},
        {CLAIMS(",\"aud\":\"imago\",\"exp\":1800000600,\"scope\":{\"imago/read\":1}"), 0},
    };
    struct jwt *jwt = ready_jwt();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct jwt_claims claims;
        assert_int_equal(try_claims(jwt, rows[i].payload, NOW_MS, &claims), RC_OK);
        if (claims.scopes != rows[i].scopes)
            fail_msg("%u: %s", claims.scopes, rows[i].payload);
    }
    jwt_free(jwt);
}

TEST(headers_that_do_not_fit_are_refused)
{
    static const char *const bad[] = {
        "{\"alg\":\"none\",\"kid\":\"r1\"}",
        "{\"alg\":\"None\",\"kid\":\"r1\"}",
        "{\"alg\":\"\",\"kid\":\"r1\"}",
        "{\"kid\":\"r1\"}",
        "{\"alg\":\"RS256\"}", /* no kid */
        "{\"alg\":\"RS256\",\"kid\":\"\"}",
        "{\"alg\":\"RS256\",\"kid\":5}",
        "{\"alg\":\"RS256\",\"kid\":\"r1\\u0000x\"}",
        "{\"alg\":\"RS256\",\"kid\":\"e1\"}", /* the other key's algorithm */
        "{\"alg\":\"ES256\",\"kid\":\"r1\"}",
        "{\"alg\":\"RS384\",\"kid\":\"r1\"}",
        "{\"alg\":\"PS256\",\"kid\":\"r1\"}",
        "{\"alg\":\"HS256\",\"kid\":\"r1\"}",
        "{\"alg\":\"rs256\",\"kid\":\"r1\"}",
        "{\"alg\":[\"RS256\"],\"kid\":\"r1\"}",
        "{\"alg\":\"RS256\",\"alg\":\"RS256\",\"kid\":\"r1\"}",
        "{\"alg\":\"RS256\",\"kid\":\"r1\",\"crit\":[\"b64\"],\"b64\":false}",
        "[]",
        "",
    };
    struct jwt *jwt = ready_jwt();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char token[TOKEN_TEXT_MAX];
        struct jwt_claims claims;
        token_sign(rsa, bad[i], CLAIMS(USUAL), token);
        if (verify_at(jwt, token, NOW_MS, &claims, NULL) != RC_UNAUTHENTICATED)
            fail_msg("taken: %s", bad[i]);
    }
    jwt_free(jwt);
}

TEST(no_signature_and_a_secret_made_of_the_public_key_are_refused)
{
    struct jwt *jwt = ready_jwt();
    char token[TOKEN_TEXT_MAX];
    struct jwt_claims claims;
    token_sign(rsa, "{\"alg\":\"none\",\"kid\":\"r1\"}", CLAIMS(USUAL), token);
    *(strrchr(token, '.') + 1) = '\0';
    assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_UNAUTHENTICATED);
    token_sign(rsa, RS_HEADER, CLAIMS(USUAL), token);
    *(strrchr(token, '.') + 1) = '\0';
    assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_UNAUTHENTICATED);
    char *pem = token_public_pem(rsa);
    static const char *const headers[] = {"{\"alg\":\"HS256\",\"kid\":\"r1\"}", RS_HEADER};
    for (size_t i = 0; i < 2; i++) {
        token_sign_hmac(pem, strlen(pem), headers[i], CLAIMS(USUAL), token);
        assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_UNAUTHENTICATED);
    }
    free(pem);
    /* Another's key, also if the token brings it along. */
    EVP_PKEY *other = token_key_ec("P-256");
    char *jwk = token_jwk(other, "e1");
    char header[2048];
    (void)snprintf(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"e1\",\"jwk\":%s}", jwk);
    token_sign(other, header, CLAIMS(USUAL), token);
    assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_UNAUTHENTICATED);
    free(jwk);
    EVP_PKEY_free(other);
    jwt_free(jwt);
}

static void refuse_every_flip(struct jwt *jwt, const char *good, uint32_t step)
{
    char token[TOKEN_TEXT_MAX];
    size_t size = strlen(good);
    for (size_t bit = 0; bit < size * 8; bit += step) {
        struct jwt_claims claims;
        memcpy(token, good, size + 1);
        token[bit / 8] = (char)(token[bit / 8] ^ (1 << bit % 8));
        enum rc rc = jwt_verify(jwt, (struct bytes){(uint8_t *)token, size}, NOW_MS, &claims, NULL);
        if (rc != RC_UNAUTHENTICATED && rc != RC_UNAVAILABLE) /* a kid may have become unknown */
            fail_msg("bit %zu of %zu: %s", bit, size * 8, rc_name(rc));
    }
}

TEST(every_flipped_bit_is_refused)
{
    struct jwt *jwt = ready_jwt();
    char token[TOKEN_TEXT_MAX];
    token_sign(ec, ES_HEADER, CLAIMS(USUAL), token);
    refuse_every_flip(jwt, token, 1);
    token_sign(rsa, RS_HEADER, CLAIMS(USUAL), token);
    refuse_every_flip(jwt, token, 1);
    jwt_free(jwt);
}

TEST(other_texts_for_the_same_bytes_are_refused)
{
    struct jwt *jwt = ready_jwt();
    char token[TOKEN_TEXT_MAX];
    struct jwt_claims claims;
    token_sign(ec, ES_HEADER, CLAIMS(USUAL), token);
    size_t size = strlen(token);
    static const char *const tails[] = {"=", "==", ".", " ", "\n", "A", ".A"};
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        memcpy(token + size, tails[i], strlen(tails[i]) + 1);
        assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_UNAUTHENTICATED);
    }
    /* 64 bytes leave 4 bits over in the last character: only zeroes are right. */
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    token[size] = '\0';
    char last = token[size - 1];
    size_t value = (size_t)(strchr(digits, last) - digits);
    for (size_t low = 1; low < 16; low++) {
        token[size - 1] = digits[value | low];
        assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_UNAUTHENTICATED);
    }
    token[size - 1] = last;
    assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_OK);
    jwt_free(jwt);
}

TEST(huge_and_cut_tokens_are_refused)
{
    struct jwt *jwt = ready_jwt();
    static char text[JWT_SIZE_MAX + 2];
    struct jwt_claims claims;
    static const char fill[] = "A.{\"";
    for (size_t f = 0; f < sizeof(fill); f++) {
        memset(text, fill[f], sizeof(text));
        for (size_t size = 0; size <= sizeof(text); size += size < 100 ? 1 : 997) {
            struct bytes token = {(uint8_t *)text, size};
            assert_int_equal(jwt_verify(jwt, token, NOW_MS, &claims, NULL), RC_UNAUTHENTICATED);
        }
    }
    char token[TOKEN_TEXT_MAX];
    token_sign(ec, ES_HEADER, CLAIMS(USUAL), token);
    for (size_t size = 0; size < strlen(token); size++)
        assert_int_equal(
            jwt_verify(jwt, (struct bytes){(uint8_t *)token, size}, NOW_MS, &claims, NULL),
            RC_UNAUTHENTICATED);
    /* Well signed, but over the limits of its parts. */
    char payload[7000];
    memset(payload, ' ', sizeof(payload));
    memcpy(payload, CLAIMS(USUAL), strlen(CLAIMS(USUAL)));
    payload[sizeof(payload) - 1] = '\0';
    token_sign(ec, ES_HEADER, payload, token);
    assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_UNAUTHENTICATED);
    payload[1500] = '\0';
    token_sign(ec, ES_HEADER, payload, token);
    assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_OK);
    char header[1500];
    memset(header, ' ', sizeof(header));
    memcpy(header, ES_HEADER, strlen(ES_HEADER));
    header[sizeof(header) - 1] = '\0';
    token_sign(ec, header, CLAIMS(USUAL), token);
    assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_UNAUTHENTICATED);
    jwt_free(jwt);
}

TEST(keys_are_fetched_first_then_when_old_and_kept_while_fetching_fails)
{
    struct jwt *jwt = open_jwt();
    char token[TOKEN_TEXT_MAX];
    struct jwt_claims claims;
    token_sign(ec, ES_HEADER, CLAIMS(",\"aud\":\"imago\",\"exp\":1900000000"), token);
    assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_UNAVAILABLE);
    assert_int_equal(verify_at(jwt, token, NOW_MS, &claims, NULL), RC_UNAVAILABLE);
    assert_int_equal(issuer.wake_count, 1);
    issuer.rc = RC_UNAVAILABLE;
    assert_int_equal(jwt_refresh(jwt, NOW_MS, NULL), RC_UNAVAILABLE);
    issuer.rc = RC_OK;
    assert_int_equal(jwt_refresh(jwt, NOW_MS + 29999, NULL), RC_OK); /* too soon: nothing */
    assert_int_equal(issuer.fetch_count, 1);
    assert_int_equal(jwt_refresh(jwt, NOW_MS + 30000, NULL), RC_OK);
    assert_int_equal(issuer.fetch_count, 2);
    uint64_t now = NOW_MS + 30000;
    assert_int_equal(verify_at(jwt, token, now, &claims, NULL), RC_OK);
    assert_int_equal(jwt_refresh(jwt, now + 599999, NULL), RC_OK);
    assert_int_equal(issuer.fetch_count, 2);
    issuer.jwks = "not json";
    struct error err = {0};
    assert_int_equal(jwt_refresh(jwt, now + 600000, &err), RC_UNAVAILABLE);
    assert_int_equal(err.rc, RC_UNAVAILABLE);
    assert_int_equal(issuer.fetch_count, 3);
    assert_int_equal(verify_at(jwt, token, now + 600000 + 3599999, &claims, NULL), RC_OK);
    assert_int_equal(verify_at(jwt, token, now + 600000 + 3600000, &claims, NULL), RC_UNAVAILABLE);
    jwt_free(jwt);
}

TEST(an_unknown_kid_causes_one_fetch_in_a_while_however_often_it_comes)
{
    struct jwt *jwt = ready_jwt();
    char token[TOKEN_TEXT_MAX];
    struct jwt_claims claims;
    EVP_PKEY *fresh = token_key_ec("P-256");
    token_sign(fresh, "{\"alg\":\"ES256\",\"kid\":\"e2\"}", CLAIMS(USUAL), token);
    /* Right after a fetch nothing newer can be had. */
    assert_int_equal(verify_at(jwt, token, NOW_MS + 1000, &claims, NULL), RC_UNAUTHENTICATED);
    assert_int_equal(issuer.wake_count, 0);
    uint64_t now = NOW_MS + 40000;
    for (int i = 0; i < 50; i++)
        assert_int_equal(verify_at(jwt, token, now, &claims, NULL), RC_UNAVAILABLE);
    assert_int_equal(issuer.wake_count, 1);
    for (int i = 0; i < 50; i++)
        assert_int_equal(jwt_refresh(jwt, now, NULL), RC_OK);
    assert_int_equal(issuer.fetch_count, 2);
    assert_int_equal(verify_at(jwt, token, now, &claims, NULL), RC_UNAUTHENTICATED);
    /* The issuer rotates: within refetch_ms_min the new key is there. */
    char *jwk = token_jwk(fresh, "e2");
    char *rotated = token_jwks(jwk, NULL);
    issuer.jwks = rotated;
    now += 30000;
    assert_int_equal(verify_at(jwt, token, now, &claims, NULL), RC_UNAVAILABLE);
    assert_int_equal(jwt_refresh(jwt, now, NULL), RC_OK);
    assert_int_equal(verify_at(jwt, token, now, &claims, NULL), RC_OK);
    /* The old one is gone. */
    token_sign(ec, ES_HEADER, CLAIMS(USUAL), token);
    assert_int_equal(verify_at(jwt, token, now, &claims, NULL), RC_UNAUTHENTICATED);
    free(jwk);
    free(rotated);
    EVP_PKEY_free(fresh);
    jwt_free(jwt);
}

static struct jwt *raced;
static _Atomic uint32_t raced_count;
static void *verify_many(void *token)
{
    for (int i = 0; i < 200; i++) {
        struct jwt_claims claims;
        raced_count += verify_at(raced, token, NOW_MS, &claims, NULL) == RC_OK;
    }
    return NULL;
}

TEST(a_refresh_takes_no_key_away_from_who_uses_it)
{
    raced = ready_jwt();
    static char token[TOKEN_TEXT_MAX];
    token_sign(rsa, RS_HEADER, CLAIMS(USUAL), token);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, verify_many, token), 0);
    for (uint64_t i = 1; i < 100; i++)
        assert_int_equal(jwt_refresh(raced, NOW_MS + i * 600000, NULL), RC_OK);
    (void)pthread_join(thread, NULL);
    assert_int_equal(issuer.fetch_count, 100);
    assert_int_equal(raced_count, 200);
    jwt_free(raced);
}

TEST(random_bytes_never_pass)
{
    struct jwt *jwt = ready_jwt();
    uint64_t seed = 5;
    for (int i = 0; i < 3000; i++) {
        char text[200];
        static const char alphabet[] = "ABCDabcd0189-_..={}\"";
        size_t size = random_below(&seed, sizeof(text));
        for (size_t k = 0; k < size; k++)
            text[k] = alphabet[random_below(&seed, sizeof(alphabet) - 1)];
        struct jwt_claims claims;
        assert_int_equal(
            jwt_verify(jwt, (struct bytes){(uint8_t *)text, size}, NOW_MS, &claims, NULL),
            RC_UNAUTHENTICATED);
    }
    jwt_free(jwt);
}

TEST(an_unset_configuration_is_refused)
{
    struct jwt *jwt = NULL;
    struct jwt_config config = {.issuer = "", .audience = "a", .tenant_claim = "t", .fetch = fetch};
    assert_int_equal(jwt_open(&config, &jwt, NULL), RC_INVALID);
    config.issuer = "i";
    config.audience = NULL;
    assert_int_equal(jwt_open(&config, &jwt, NULL), RC_INVALID);
    jwt_free(NULL);
}

TEST_MAIN("account jwt")
