/* SPDX-License-Identifier: Apache-2.0
 * jwt.c - a token's way: size, three parts, header, key, signature; only then the claims. */
#include "account/jwt.h"
#include "account/account.h"
#include "account/base64url.h"
#include "account/jwk.h"

#include <assert.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_SIZE_MAX  1024u
#define PAYLOAD_SIZE_MAX 6144u
#define TEXT_SIZE_MAX    256u
#define SECONDS_MAX      253402300799.0 /* the year 9999 */

/* One answer of the issuer; lives as long as anybody checks a token with it. */
struct key_set {
    uint32_t ref_count; /* guarded by the mutex of `struct jwt` */
    struct jwks jwks;
};

struct jwt {
    char *issuer, *audience, *tenant_claim, *scope_prefix, *group_prefix;
    struct jwt_config config;

    pthread_mutex_t mutex; /* guards what follows */
    struct key_set *keys;  /* NULL: none yet */
    uint64_t fetched_ms;   /* the last success; 0: never */
    uint64_t tried_ms;
    bool tried;
    bool fetching;
    bool wanted; /* a kid came that is not among the keys */
    bool woken;  /* `wake` was called since the last fetch began */
};

static bool text_copy(const char *text, char **into)
{
    *into = text == NULL ? NULL : strndup(text, TEXT_SIZE_MAX);
    return text == NULL || *into != NULL;
}

enum rc jwt_open(const struct jwt_config *config, struct jwt **ret_jwt, struct error *err)
{
    assert(config != NULL && config->fetch != NULL && ret_jwt != NULL);
    if (config->issuer == NULL || config->issuer[0] == '\0' || config->audience == NULL ||
        config->audience[0] == '\0' || config->tenant_claim == NULL ||
        config->tenant_claim[0] == '\0')
        return error_set(err, RC_INVALID, "issuer, audience and tenant claim must be set");
    struct jwt *jwt = calloc(1, sizeof(*jwt));
    if (jwt == NULL)
        return error_set(err, RC_NO_MEMORY, "token checks");
    if (pthread_mutex_init(&jwt->mutex, NULL) != 0) {
        free(jwt);
        return error_set(err, RC_NO_MEMORY, "token checks");
    }
    jwt->config = *config;
    if (jwt->config.fresh_ms == 0)
        jwt->config.fresh_ms = 10 * 60 * 1000;
    if (jwt->config.refetch_ms_min == 0)
        jwt->config.refetch_ms_min = 30 * 1000;
    if (jwt->config.stale_ms_max == 0)
        jwt->config.stale_ms_max = 60 * 60 * 1000;
    if (!text_copy(config->issuer, &jwt->issuer) || !text_copy(config->audience, &jwt->audience) ||
        !text_copy(config->tenant_claim, &jwt->tenant_claim) ||
        !text_copy(config->scope_prefix, &jwt->scope_prefix) ||
        !text_copy(config->group_prefix, &jwt->group_prefix)) {
        jwt_free(jwt);
        return error_set(err, RC_NO_MEMORY, "token checks");
    }
    *ret_jwt = jwt;
    return RC_OK;
}

static void keys_unref(struct jwt *jwt, struct key_set *keys)
{
    if (keys == NULL)
        return;
    (void)pthread_mutex_lock(&jwt->mutex);
    bool last = --keys->ref_count == 0;
    (void)pthread_mutex_unlock(&jwt->mutex);
    if (last) {
        jwks_done(&keys->jwks);
        free(keys);
    }
}

void jwt_free(struct jwt *jwt)
{
    if (jwt == NULL)
        return;
    keys_unref(jwt, jwt->keys);
    free(jwt->issuer);
    free(jwt->audience);
    free(jwt->tenant_claim);
    free(jwt->scope_prefix);
    free(jwt->group_prefix);
    (void)pthread_mutex_destroy(&jwt->mutex);
    free(jwt);
}

/* A clock that was set back counts as time gone by: better one fetch too many than none. */
static uint64_t since(uint64_t now_ms, uint64_t then_ms)
{
    return now_ms >= then_ms ? now_ms - then_ms : UINT64_MAX;
}

static bool may_fetch(const struct jwt *jwt, uint64_t now_ms)
{
    return !jwt->tried || since(now_ms, jwt->tried_ms) >= jwt->config.refetch_ms_min;
}

static bool is_due(const struct jwt *jwt, uint64_t now_ms)
{
    return may_fetch(jwt, now_ms) && (jwt->fetched_ms == 0 || jwt->wanted ||
                                      since(now_ms, jwt->fetched_ms) >= jwt->config.fresh_ms);
}

static enum rc keys_fetch(struct jwt *jwt, struct key_set **ret_keys, struct error *err)
{
    struct buf body = BUF_INIT(JWKS_SIZE_MAX);
    struct key_set *keys = calloc(1, sizeof(*keys));
    enum rc rc = keys == NULL ? error_set(err, RC_NO_MEMORY, "a set of keys")
                              : jwt->config.fetch(jwt->config.ctx, &body, err);
    if (rc == RC_OK &&
        jwks_parse((struct bytes){body.data, body.size}, &keys->jwks, err) != RC_OK) {
        rc = RC_UNAVAILABLE; /* their fault, not the caller's */
        if (err != NULL)
            err->rc = rc;
    }
    buf_done(&body);
    if (rc != RC_OK) {
        free(keys);
        return rc;
    }
    keys->ref_count = 1;
    *ret_keys = keys;
    return RC_OK;
}

enum rc jwt_refresh(struct jwt *jwt, uint64_t now_ms, struct error *err)
{
    (void)pthread_mutex_lock(&jwt->mutex);
    bool mine = is_due(jwt, now_ms) && !jwt->fetching;
    if (mine) {
        jwt->fetching = true;
        jwt->tried = true;
        jwt->tried_ms = now_ms;
        jwt->wanted = false;
        jwt->woken = false;
    }
    (void)pthread_mutex_unlock(&jwt->mutex);
    if (!mine)
        return RC_OK;
    struct key_set *keys = NULL;
    enum rc rc = keys_fetch(jwt, &keys, err);
    (void)pthread_mutex_lock(&jwt->mutex);
    jwt->fetching = false;
    if (rc == RC_OK) {
        struct key_set *old = jwt->keys;
        jwt->keys = keys;
        keys = old;
        jwt->fetched_ms = now_ms == 0 ? 1 : now_ms;
    }
    (void)pthread_mutex_unlock(&jwt->mutex);
    keys_unref(jwt, keys);
    return rc;
}

/* The set of keys and the one of it; the caller gives the set back. */
static enum rc key_take(struct jwt *jwt, const char *kid, enum jwk_algorithm algorithm,
                        uint64_t now_ms, struct key_set **ret_keys, const struct jwk **ret_jwk,
                        struct error *err)
{
    enum rc rc = RC_OK;
    (void)pthread_mutex_lock(&jwt->mutex);
    /* Behind the fetch (another thread's clock, or one set back): the keys are as new as can be. */
    uint64_t age_ms = now_ms > jwt->fetched_ms ? now_ms - jwt->fetched_ms : 0;
    bool usable =
        jwt->fetched_ms != 0 && age_ms < (uint64_t)jwt->config.fresh_ms + jwt->config.stale_ms_max;
    const struct jwk *jwk = usable ? jwks_find(&jwt->keys->jwks, kid) : NULL;
    bool unknown = usable && jwk == NULL;
    /* Not wanted if nothing could be fetched now: else unknown kids made for it would cause one
     * fetch after the other. */
    if (unknown && may_fetch(jwt, now_ms))
        jwt->wanted = true;
    bool due = is_due(jwt, now_ms) && !jwt->fetching;
    bool pending = due || jwt->fetching;
    bool wake = due && !jwt->woken && jwt->config.wake != NULL;
    jwt->woken |= wake;
    if (!usable)
        rc = error_set(err, RC_UNAVAILABLE, "the issuer's keys are not there yet; try again");
    else if (unknown && pending)
        rc = error_set(err, RC_UNAVAILABLE, "the token's key is being looked for; try again");
    else if (unknown)
        rc = error_set(err, RC_UNAUTHENTICATED, "the issuer has no such key");
    else if (jwk->algorithm != algorithm)
        rc = error_set(err, RC_UNAUTHENTICATED, "the token's alg is not its key's");
    if (rc == RC_OK) {
        jwt->keys->ref_count++;
        *ret_keys = jwt->keys;
        *ret_jwk = jwk;
    }
    (void)pthread_mutex_unlock(&jwt->mutex);
    if (wake)
        jwt->config.wake(jwt->config.ctx);
    return rc;
}

struct parts {
    struct bytes header, payload, signature, signed_part;
};

static enum rc split(struct bytes token, struct parts *parts, struct error *err)
{
    if (token.size > JWT_SIZE_MAX)
        return error_set(err, RC_UNAUTHENTICATED, "a token has at most %u bytes", JWT_SIZE_MAX);
    const uint8_t *end = token.data + token.size;
    const uint8_t *first = token.size == 0 ? NULL : memchr(token.data, '.', token.size);
    const uint8_t *second =
        first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));
    if (second == NULL || memchr(second + 1, '.', (size_t)(end - second - 1)) != NULL)
        return error_set(err, RC_UNAUTHENTICATED, "a token has three parts");
    parts->header = (struct bytes){token.data, (size_t)(first - token.data)};
    parts->payload = (struct bytes){first + 1, (size_t)(second - first - 1)};
    parts->signature = (struct bytes){second + 1, (size_t)(end - second - 1)};
    parts->signed_part = (struct bytes){token.data, (size_t)(second - token.data)};
    return RC_OK;
}

/* NULL, with `err`, unless it is base64url of one JSON object without repeated keys. */
static json_t *read_object(struct bytes part, size_t size_max, const char *what, struct error *err)
{
    uint8_t json[PAYLOAD_SIZE_MAX];
    size_t size = 0;
    assert(size_max <= sizeof(json));
    if (base64url_decode(part, json, size_max, &size) != RC_OK) {
        error_set_at(err, RC_UNAUTHENTICATED, __func__,
                     "the token's %s is not base64url of %zu bytes", what, size_max);
        return NULL;
    }
    json_t *object = json_loadb((const char *)json, size, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(object)) {
        error_set_at(err, RC_UNAUTHENTICATED, __func__, "the token's %s is not a JSON object",
                     what);
        json_decref(object);
        return NULL;
    }
    return object;
}

static bool text_is(json_t *value, const char *text)
{
    return json_is_string(value) && json_string_length(value) == strlen(text) &&
           memcmp(json_string_value(value), text, strlen(text)) == 0;
}

static enum rc read_header(struct bytes part, char kid[JWK_KID_SIZE],
                           enum jwk_algorithm *ret_algorithm, struct error *err)
{
    json_t *header = read_object(part, HEADER_SIZE_MAX, "header", err);
    if (header == NULL)
        return RC_UNAUTHENTICATED;
    json_t *name = json_object_get(header, "kid");
    json_t *algorithm = json_object_get(header, "alg");
    enum rc rc = RC_OK;
    if (text_is(algorithm, "RS256"))
        *ret_algorithm = JWK_RS256;
    else if (text_is(algorithm, "ES256"))
        *ret_algorithm = JWK_ES256;
    else
        rc = error_set(err, RC_UNAUTHENTICATED, "the token's alg must be RS256 or ES256");
    if (rc == RC_OK && json_object_get(header, "crit") != NULL)
        rc = error_set(err, RC_UNAUTHENTICATED, "the token has critical extensions");
    if (rc == RC_OK && (!json_is_string(name) || json_string_length(name) == 0 ||
                        json_string_length(name) >= JWK_KID_SIZE ||
                        strlen(json_string_value(name)) != json_string_length(name)))
        rc = error_set(err, RC_UNAUTHENTICATED, "the token must name its key (kid)");
    if (rc == RC_OK)
        memcpy(kid, json_string_value(name), json_string_length(name) + 1);
    json_decref(header);
    return rc;
}

static bool audience_fits(const struct jwt *jwt, json_t *claims)
{
    json_t *audience = json_object_get(claims, "aud");
    if (audience == NULL)
        return text_is(json_object_get(claims, "client_id"), jwt->audience);
    if (json_is_string(audience))
        return text_is(audience, jwt->audience);
    size_t index;
    json_t *one;
    json_array_foreach(audience, index, one) if (text_is(one, jwt->audience)) return true;
    return false;
}

/* A NumericDate may have a fraction. */
static bool read_date(json_t *claims, const char *name, uint64_t *ret_ms)
{
    json_t *value = json_object_get(claims, name);
    double seconds = json_is_number(value) ? json_number_value(value) : -1.0;
    if (!(seconds >= 0.0 && seconds <= SECONDS_MAX))
        return false;
    *ret_ms = (uint64_t)(seconds * 1000.0);
    return true;
}

static uint32_t scopes_of_words(const char *words, const char *prefix)
{
    uint32_t scopes = 0;
    while (*words != '\0') {
        size_t size = strcspn(words, " ");
        scopes |= account_scope_of((struct bytes){(const uint8_t *)words, size}, prefix);
        words += size + (words[size] == ' ');
    }
    return scopes;
}

static uint32_t scopes_of(json_t *value, const char *prefix)
{
    if (prefix == NULL || value == NULL)
        return 0;
    if (json_is_string(value))
        return scopes_of_words(json_string_value(value), prefix);
    uint32_t scopes = 0;
    size_t index;
    json_t *one;
    json_array_foreach(value, index, one) if (json_is_string(one)) scopes |=
        account_scope_of(bytes_of(json_string_value(one)), prefix);
    return scopes;
}

static enum rc digest_subject(const struct jwt *jwt, const char *subject, struct jwt_claims *claims,
                              struct error *err)
{
    uint8_t digest[32];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(context, jwt->issuer, strlen(jwt->issuer) + 1) == 1 &&
                EVP_DigestUpdate(context, subject, strlen(subject)) == 1 &&
                EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!good)
        return error_set(err, RC_NO_MEMORY, "a digest");
    base32_encode((struct bytes){digest, 10}, claims->subject);
    return RC_OK;
}

static enum rc read_times(json_t *object, uint64_t now_ms, struct jwt_claims *claims,
                          struct error *err)
{
    uint64_t expires_ms = 0;
    uint64_t start_ms = 0;
    if (!read_date(object, "exp", &expires_ms))
        return error_set(err, RC_UNAUTHENTICATED, "the token has no end (exp)");
    if (json_object_get(object, "nbf") != NULL && !read_date(object, "nbf", &start_ms))
        return error_set(err, RC_UNAUTHENTICATED, "the token's nbf is not a time");
    claims->expires_ms = expires_ms + JWT_LEEWAY_MS;
    if (now_ms >= claims->expires_ms)
        return error_set(err, RC_UNAUTHENTICATED, "the token has expired");
    if (now_ms + JWT_LEEWAY_MS < start_ms)
        return error_set(err, RC_UNAUTHENTICATED, "the token is not valid yet (nbf)");
    return RC_OK;
}

static enum rc read_claims(const struct jwt *jwt, json_t *object, uint64_t now_ms,
                           struct jwt_claims *claims, struct error *err)
{
    if (!text_is(json_object_get(object, "iss"), jwt->issuer))
        return error_set(err, RC_UNAUTHENTICATED, "the token is another issuer's");
    if (!audience_fits(jwt, object))
        return error_set(err, RC_UNAUTHENTICATED, "the token is for another audience");
    enum rc rc = read_times(object, now_ms, claims, err);
    if (rc != RC_OK)
        return rc;
    json_t *subject = json_object_get(object, "sub");
    if (!json_is_string(subject) || json_string_length(subject) == 0 ||
        strlen(json_string_value(subject)) != json_string_length(subject))
        return error_set(err, RC_UNAUTHENTICATED, "the token has no subject (sub)");
    json_t *tenant = json_object_get(object, jwt->tenant_claim);
    if (!json_is_string(tenant) ||
        strlen(json_string_value(tenant)) != json_string_length(tenant) ||
        !account_tenant_fits(json_string_value(tenant)))
        return error_set(err, RC_UNAUTHENTICATED, "the token's claim '%.80s' is not a tenant's id",
                         jwt->tenant_claim);
    memcpy(claims->tenant, json_string_value(tenant), json_string_length(tenant) + 1);
    claims->scopes = scopes_of(json_object_get(object, "scope"), jwt->scope_prefix) |
                     scopes_of(json_object_get(object, "scp"), jwt->scope_prefix) |
                     scopes_of(json_object_get(object, "cognito:groups"), jwt->group_prefix);
    return digest_subject(jwt, json_string_value(subject), claims, err);
}

enum rc jwt_verify(struct jwt *jwt, struct bytes token, uint64_t now_ms,
                   struct jwt_claims *ret_claims, struct error *err)
{
    assert(jwt != NULL && ret_claims != NULL);
    struct parts parts;
    char kid[JWK_KID_SIZE];
    uint8_t signature[JWK_SIGNATURE_MAX];
    size_t signature_size = 0;
    enum jwk_algorithm algorithm;
    struct key_set *keys = NULL;
    const struct jwk *jwk = NULL;
    enum rc rc = split(token, &parts, err);
    if (rc == RC_OK)
        rc = read_header(parts.header, kid, &algorithm, err);
    if (rc == RC_OK &&
        base64url_decode(parts.signature, signature, sizeof(signature), &signature_size) != RC_OK)
        rc = error_set(err, RC_UNAUTHENTICATED, "the token's signature is wrong");
    if (rc == RC_OK)
        rc = key_take(jwt, kid, algorithm, now_ms, &keys, &jwk, err);
    if (rc == RC_OK)
        rc = jwk_verify(algorithm, jwk->key, parts.signed_part,
                        (struct bytes){signature, signature_size}, err);
    keys_unref(jwt, keys);
    if (rc != RC_OK)
        return rc;
    /* Nothing of the claims is read before the signature holds. */
    json_t *object = read_object(parts.payload, PAYLOAD_SIZE_MAX, "payload", err);
    if (object == NULL)
        return RC_UNAUTHENTICATED;
    struct jwt_claims claims = {0};
    rc = read_claims(jwt, object, now_ms, &claims, err);
    json_decref(object);
    if (rc == RC_OK)
        *ret_claims = claims;
    return rc;
}
