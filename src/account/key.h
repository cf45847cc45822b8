/* SPDX-License-Identifier: Apache-2.0
 * key.h - API keys, and the check of what a client shows: a key of ours or an issuer's token.
 *
 * A key is imago_<id>_<secret>: 8 and 52 characters of a-z 2-7, 40 and 256 random bits. The id is
 * no secret: logs, lists, the ledger and limits name a key by it. Stored is the SHA-256 of the
 * whole text. That needs no salt and no slow hash: those protect secrets that people choose and
 * attackers can guess; 256 random bits cannot be searched for, and a slow hash would be paid by
 * every request.
 *
 * Secrets are compared in constant time. An unknown id and a wrong secret take the same way (a
 * digest, a miss in the cache, one lookup, one comparison) and get the same answer.
 */
#ifndef ACCOUNT_KEY_H
#define ACCOUNT_KEY_H
#include "account/account.h"

#define KEY_ID_SIZE     9
#define KEY_NAME_SIZE   65
#define KEY_TOKEN_SIZE  68 /* with the terminator */
#define KEY_TOKEN_START "imago_"
#define KEY_COUNT_MAX   10000u /* of one tenant, revoked ones among them */

struct account_key {
    char id[KEY_ID_SIZE]; /* set by account_key_create() */
    char tenant[ACCOUNT_TENANT_SIZE];
    char name[KEY_NAME_SIZE]; /* for people: printable UTF-8, may be empty */
    uint32_t scopes;
    uint64_t created_ms;   /* set by account_key_create() */
    uint64_t expires_ms;   /* 0: never */
    uint64_t revoked_ms;   /* 0: it is not */
    uint64_t used_ms;      /* about a minute late; 0: never */
    uint64_t old_until_ms; /* until when the secret before the last rotation still works */
    bool rule_own;         /* `rule` instead of the tenant's */
    struct limits_rule rule;
};

/* The token is shown here and never again. `request`: tenant, name, scopes, expires_ms, rule_own,
 * rule. NOT_FOUND: no such tenant. INVALID: a field out of range, or KEY_COUNT_MAX reached. */
NODISCARD enum rc account_key_create(struct account *account, const struct account_key *request,
                                     uint64_t now_ms, struct account_key *ret_key,
                                     char ret_token[KEY_TOKEN_SIZE], struct error *err);
NODISCARD enum rc account_key_get(struct account *account, const char *tenant, const char *id,
                                  struct account_key *ret_key, struct error *err);
/* By id, those of `tenant` after `after` whose id begins with `prefix` (both may be ""). */
NODISCARD enum rc account_key_list(struct account *account, const char *tenant, const char *prefix,
                                   const char *after, struct account_key *into, uint32_t count_max,
                                   uint32_t *ret_count, struct error *err);
/* For good; again is RC_OK and changes nothing. */
NODISCARD enum rc account_key_revoke(struct account *account, const char *tenant, const char *id,
                                     uint64_t now_ms, struct error *err);
/* A new secret under the same id; the one of now works until `old_until_ms` (<= now_ms: no longer),
 * and one from an earlier rotation ends at once. INVALID: revoked or expired. */
NODISCARD enum rc account_key_rotate(struct account *account, const char *tenant, const char *id,
                                     uint64_t old_until_ms, uint64_t now_ms,
                                     char ret_token[KEY_TOKEN_SIZE], struct error *err);

#define IDENTITY_KEY_SIZE 24
/* Who asks, and what that one may do. */
struct account_identity {
    char tenant[ACCOUNT_TENANT_SIZE];
    char key[IDENTITY_KEY_SIZE]; /* a key's id, or "jwt-" and a digest of issuer and subject */
    uint32_t scopes;
    struct limits_rule rule;
    char plan[PLAN_NAME_SIZE]; /* what the ledger notes */
    uint32_t plan_version;
    bool reserves; /* account_reserve() must come before the work: a day's limit or a hard cap */
};

/* `token` is what followed "Bearer ". From memory for a credential that was right a moment ago;
 * else one read of the storage (SQLite: some microseconds), or a signature check for a token.
 * UNAUTHENTICATED: why is said only to those who have the right secret (expired, revoked).
 * UNAVAILABLE, BUSY: not known now; never let in. */
NODISCARD enum rc account_authenticate(struct account *account, struct bytes token, uint64_t now_ms,
                                       struct account_identity *ret_identity, struct error *err);
/* Who a request without credentials is while open mode holds: tenant default, all scopes. */
NODISCARD enum rc account_open_identity(struct account *account,
                                        struct account_identity *ret_identity, struct error *err);
#endif
