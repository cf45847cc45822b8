/* SPDX-License-Identifier: Apache-2.0
 * key.c - making keys, and the way of a credential: digest, cache, storage or signature. */
#include "account/base64url.h"
#include "account/driver.h"
#include "account/jwt.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define ID_BYTES     5u
#define SECRET_BYTES 32u
#define DRAW_MAX     8u /* 40 bits: a second draw is rare, an eighth means a broken source */
#define START_SIZE   (sizeof(KEY_TOKEN_START) - 1)
#define TOKEN_LENGTH (KEY_TOKEN_SIZE - 1)
#define ID_LENGTH    (KEY_ID_SIZE - 1)

_Static_assert(TOKEN_LENGTH == START_SIZE + ID_LENGTH + 1 + (SECRET_BYTES * 8 + 4) / 5,
               "the size of a key's text");
_Static_assert(IDENTITY_KEY_SIZE >= sizeof("jwt-") - 1 + JWT_SUBJECT_SIZE, "a token's key");

static enum rc digest(struct bytes token, uint8_t into[KEY_HASH_SIZE], struct error *err)
{
    unsigned size = 0;
    if (EVP_Digest(token.data, token.size, into, &size, EVP_sha256(), NULL) != 1)
        return error_set(err, RC_NO_MEMORY, "a digest");
    return RC_OK;
}

static void draw(struct account *account, uint8_t *into, size_t size)
{
    account->random(account->random_ctx, into, size);
}

/* A token for `id` with a fresh secret, and its digest. */
static enum rc secret_draw(struct account *account, const char *id, char token[KEY_TOKEN_SIZE],
                           uint8_t hash[KEY_HASH_SIZE], struct error *err)
{
    uint8_t secret[SECRET_BYTES];
    draw(account, secret, sizeof(secret));
    int at = snprintf(token, KEY_TOKEN_SIZE, KEY_TOKEN_START "%s_", id);
    base32_encode((struct bytes){secret, sizeof(secret)}, token + at);
    OPENSSL_cleanse(secret, sizeof(secret));
    return digest(bytes_of(token), hash, err);
}

static enum rc request_check(const struct account_key *request, uint64_t now_ms, struct error *err)
{
    if (request->scopes == 0 || (request->scopes & ~(uint32_t)SCOPE_ALL) != 0)
        return error_set(err, RC_INVALID, "a key needs scopes: predict, read, feedback, admin");
    if (request->expires_ms != 0 && request->expires_ms <= now_ms)
        return error_set(err, RC_INVALID, "the key would have expired already");
    if (request->expires_ms > INT64_MAX)
        return error_set(err, RC_INVALID, "the expiry is out of range");
    enum rc rc = account_name_check("name", request->name, KEY_NAME_SIZE, err);
    return rc == RC_OK ? limits_rule_check(&request->rule, err) : rc;
}

enum rc account_key_create(struct account *account, const struct account_key *request,
                           uint64_t now_ms, struct account_key *ret_key,
                           char ret_token[KEY_TOKEN_SIZE], struct error *err)
{
    assert(account != NULL && request != NULL && ret_key != NULL && ret_token != NULL);
    enum rc rc = request_check(request, now_ms, err);
    if (rc == RC_OK && !account_tenant_fits(request->tenant))
        rc = error_set(err, RC_NOT_FOUND, "there is no such tenant");
    if (rc != RC_OK)
        return rc;
    struct key_record record = {.key = *request};
    record.key.created_ms = now_ms;
    record.key.revoked_ms = 0;
    record.key.used_ms = 0;
    record.key.old_until_ms = 0;
    char token[KEY_TOKEN_SIZE];
    bool taken = true;
    bool full = false;
    for (uint32_t i = 0; rc == RC_OK && taken && i < DRAW_MAX; i++) {
        uint8_t id[ID_BYTES];
        draw(account, id, sizeof(id));
        base32_encode((struct bytes){id, sizeof(id)}, record.key.id);
        rc = secret_draw(account, record.key.id, token, record.hash, err);
        if (rc == RC_OK)
            rc = account->ops->key_create(account, &record, &taken, &full, err);
    }
    if (rc == RC_OK && full)
        rc = error_set(err, RC_INVALID, "the tenant has %u keys, which is the most", KEY_COUNT_MAX);
    else if (rc == RC_OK && taken)
        rc = error_set(err, RC_INTERNAL, "the source of random numbers repeats itself");
    if (rc == RC_OK) {
        *ret_key = record.key;
        memcpy(ret_token, token, sizeof(token));
    }
    OPENSSL_cleanse(token, sizeof(token));
    return rc;
}

/* Texts that no id can be take the same way as absent ones. */
static bool names_fit(const char *tenant, const char *id)
{
    return account_tenant_fits(tenant) && strnlen(id, KEY_ID_SIZE) == ID_LENGTH;
}

static enum rc no_key(const char *tenant, struct error *err)
{
    return error_set(err, RC_NOT_FOUND, "tenant '%.63s' has no such key", tenant);
}

enum rc account_key_get(struct account *account, const char *tenant, const char *id,
                        struct account_key *ret_key, struct error *err)
{
    assert(account != NULL && tenant != NULL && id != NULL && ret_key != NULL);
    if (!names_fit(tenant, id))
        return no_key(tenant, err);
    return account->ops->key_get(account, tenant, id, ret_key, err);
}

enum rc account_key_list(struct account *account, const char *tenant, const char *prefix,
                         const char *after, struct account_key *into, uint32_t count_max,
                         uint32_t *ret_count, struct error *err)
{
    assert(account != NULL && tenant != NULL && prefix != NULL && after != NULL && into != NULL &&
           ret_count != NULL);
    if (count_max == 0 || count_max > ACCOUNT_LIST_MAX)
        return error_set(err, RC_INVALID, "a page has 1 to %u rows", ACCOUNT_LIST_MAX);
    if (!account_tenant_fits(tenant) || strnlen(prefix, KEY_ID_SIZE) >= KEY_ID_SIZE ||
        strnlen(after, KEY_ID_SIZE) >= KEY_ID_SIZE || !base32_fits(bytes_of(prefix))) {
        *ret_count = 0;
        return RC_OK;
    }
    return account->ops->key_list(account, tenant, prefix, after, into, count_max, ret_count, err);
}

enum rc account_key_revoke(struct account *account, const char *tenant, const char *id,
                           uint64_t now_ms, struct error *err)
{
    assert(account != NULL && tenant != NULL && id != NULL);
    if (!names_fit(tenant, id))
        return no_key(tenant, err);
    enum rc rc = account->ops->key_revoke(account, tenant, id, now_ms, err);
    /* On failure too: the outcome is unknown then. */
    identity_cache_drop_all(account->cache);
    return rc;
}

enum rc account_key_rotate(struct account *account, const char *tenant, const char *id,
                           uint64_t old_until_ms, uint64_t now_ms, char ret_token[KEY_TOKEN_SIZE],
                           struct error *err)
{
    assert(account != NULL && tenant != NULL && id != NULL && ret_token != NULL);
    if (!names_fit(tenant, id))
        return no_key(tenant, err);
    if (old_until_ms > INT64_MAX)
        return error_set(err, RC_INVALID, "the old secret's end is out of range");
    char token[KEY_TOKEN_SIZE];
    uint8_t hash[KEY_HASH_SIZE];
    bool dead = false;
    enum rc rc = secret_draw(account, id, token, hash, err);
    if (rc == RC_OK)
        rc = account->ops->key_rotate(account, tenant, id, hash,
                                      old_until_ms > now_ms ? old_until_ms : 0, now_ms, &dead, err);
    identity_cache_drop_all(account->cache);
    if (rc == RC_OK && dead)
        rc = error_set(err, RC_INVALID, "the key is revoked or has expired; make another");
    if (rc == RC_OK)
        memcpy(ret_token, token, sizeof(token));
    OPENSSL_cleanse(token, sizeof(token));
    return rc;
}

static void identity_fill(struct account_identity *identity, const struct account_tenant *tenant,
                          const struct limits_rule *rule, uint32_t bits)
{
    memcpy(identity->tenant, tenant->id, sizeof(identity->tenant));
    memcpy(identity->plan, tenant->plan, sizeof(identity->plan));
    identity->plan_version = tenant->plan_version;
    identity->scopes = bits;
    identity->rule = *rule;
    identity->reserves = rule->images_per_day > 0 || tenant->hard_cap_micro > 0;
}

/* Compares with both secrets whatever the first comparison says, also for an unknown id. */
static void judge_key(const struct key_record *record, const struct account_tenant *tenant,
                      bool found, const uint8_t hash[KEY_HASH_SIZE], uint64_t now_ms,
                      struct identity_entry *entry)
{
    const struct account_key *key = &record->key;
    bool current = CRYPTO_memcmp(record->hash, hash, KEY_HASH_SIZE) == 0;
    bool old = CRYPTO_memcmp(record->old_hash, hash, KEY_HASH_SIZE) == 0;
    old = old && record->has_old && now_ms < key->old_until_ms;
    uint64_t end_ms = key->expires_ms == 0 ? UINT64_MAX : key->expires_ms;
    entry->valid_until_ms = UINT64_MAX;
    if (!found || !(current || old)) {
        entry->wrong = WRONG_UNKNOWN;
        return;
    }
    if (key->revoked_ms != 0)
        entry->wrong = WRONG_REVOKED;
    else if (now_ms >= end_ms)
        entry->wrong = WRONG_EXPIRED;
    else if (tenant->suspended)
        entry->wrong = WRONG_SUSPENDED;
    else {
        entry->wrong = WRONG_NO;
        entry->valid_until_ms = current || end_ms < key->old_until_ms ? end_ms : key->old_until_ms;
        identity_fill(&entry->identity, tenant, key->rule_own ? &key->rule : &tenant->rule,
                      key->scopes);
        memcpy(entry->identity.key, key->id, sizeof(key->id));
    }
}

static enum rc check_key(struct account *account, struct bytes token,
                         const uint8_t hash[KEY_HASH_SIZE], uint64_t now_ms,
                         struct identity_entry *entry, struct error *err)
{
    struct key_record record = {0};
    struct account_tenant tenant = {0};
    char id[KEY_ID_SIZE];
    memcpy(id, token.data + START_SIZE, ID_LENGTH);
    id[ID_LENGTH] = '\0';
    enum rc rc = account->ops->key_find(account, id, &record, &tenant, err);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    judge_key(&record, &tenant, rc == RC_OK, hash, now_ms, entry);
    return RC_OK;
}

/* Not base32 in the right places: it cannot be a key, and needs no lookup. Nothing is told by that:
 * the form is public. */
static bool key_formed(struct bytes token)
{
    const uint8_t *data = token.data;
    return token.size == TOKEN_LENGTH && memcmp(data, KEY_TOKEN_START, START_SIZE) == 0 &&
           data[START_SIZE + ID_LENGTH] == '_' &&
           base32_fits((struct bytes){data + START_SIZE, ID_LENGTH}) &&
           base32_fits((struct bytes){data + START_SIZE + ID_LENGTH + 1,
                                      TOKEN_LENGTH - START_SIZE - ID_LENGTH - 1});
}

static enum rc check_jwt(struct account *account, struct bytes token, uint64_t now_ms,
                         struct identity_entry *entry, struct error *err)
{
    struct jwt_claims claims;
    struct account_tenant tenant;
    enum rc rc = jwt_verify(account->jwt, token, now_ms, &claims, err);
    if (rc == RC_OK) {
        rc = account->ops->tenant_get(account, claims.tenant, &tenant, err);
        if (rc == RC_NOT_FOUND)
            rc = error_set(err, RC_UNAUTHENTICATED, "the token's tenant does not exist");
    }
    if (rc != RC_OK)
        return rc;
    *entry = (struct identity_entry){.wrong = tenant.suspended ? WRONG_SUSPENDED : WRONG_NO,
                                     .valid_until_ms = claims.expires_ms};
    identity_fill(&entry->identity, &tenant, &tenant.rule, claims.scopes);
    (void)snprintf(entry->identity.key, sizeof(entry->identity.key), "jwt-%s", claims.subject);
    return RC_OK;
}

static enum rc answer(const struct identity_entry *entry, struct account_identity *ret_identity,
                      struct error *err)
{
    switch (entry->wrong) {
    case WRONG_NO:
        *ret_identity = entry->identity;
        return RC_OK;
    case WRONG_EXPIRED:
        return error_set(err, RC_UNAUTHENTICATED, "the key has expired");
    case WRONG_REVOKED:
        return error_set(err, RC_UNAUTHENTICATED, "the key has been revoked");
    case WRONG_SUSPENDED:
        return error_set(err, RC_UNAUTHENTICATED, "the tenant is suspended");
    case WRONG_UNKNOWN:
        break;
    }
    return error_set(err, RC_UNAUTHENTICATED, "there is no such key");
}

enum rc account_authenticate(struct account *account, struct bytes token, uint64_t now_ms,
                             struct account_identity *ret_identity, struct error *err)
{
    assert(account != NULL && ret_identity != NULL);
    bool ours = token.size >= START_SIZE && memcmp(token.data, KEY_TOKEN_START, START_SIZE) == 0;
    if (token.size == 0 || token.size > JWT_SIZE_MAX || (ours && !key_formed(token)) ||
        (!ours && account->jwt == NULL))
        return answer(&(struct identity_entry){.wrong = WRONG_UNKNOWN}, ret_identity, err);
    uint8_t hash[KEY_HASH_SIZE];
    struct identity_entry entry = {0};
    enum rc rc = digest(token, hash, err);
    if (rc != RC_OK)
        return rc;
    if (identity_cache_get(account->cache, hash, now_ms, &entry))
        return answer(&entry, ret_identity, err);
    uint64_t epoch = identity_cache_epoch(account->cache);
    rc = ours ? check_key(account, token, hash, now_ms, &entry, err)
              : check_jwt(account, token, now_ms, &entry, err);
    /* A token that was refused is checked again when it comes again: the reason is worth more than
     * the time, and limits on wrong credentials are the edge's. */
    if (rc != RC_OK)
        return rc;
    identity_cache_put(account->cache, hash, epoch, now_ms, &entry);
    return answer(&entry, ret_identity, err);
}

enum rc account_open_identity(struct account *account, struct account_identity *ret_identity,
                              struct error *err)
{
    assert(account != NULL && ret_identity != NULL);
    struct account_tenant tenant;
    enum rc rc = account->ops->tenant_get(account, ACCOUNT_TENANT_DEFAULT, &tenant, err);
    if (rc != RC_OK)
        return rc;
    *ret_identity = (struct account_identity){0};
    identity_fill(ret_identity, &tenant, &tenant.rule, SCOPE_ALL);
    return RC_OK;
}
