/* SPDX-License-Identifier: Apache-2.0
 * jwt.h - tokens of an OpenID Connect issuer (Amazon Cognito, Keycloak ...) checked offline.
 *
 * RS256 and ES256 alone. The issuer's keys are cached; jwt_verify() never waits for the network: it
 * goes by the keys that there are, and says when others are due. jwt_refresh(), on a background
 * thread, fetches them through the function it was given; no network is here.
 *
 * A token must have: a kid of the key set and that key's algorithm, a right signature, `iss` and an
 * audience as configured (`aud`; without it, `client_id`, where Cognito's access tokens have
 * theirs), `exp`, `sub`, and the configured tenant claim. `nbf`, if there, holds. 60 s of leeway.
 * `crit` is refused; keys named inside a token (jwk, jku, x5c, x5u) are never looked at.
 *
 * Threads: any. Clock: the caller's.
 */
#ifndef ACCOUNT_JWT_H
#define ACCOUNT_JWT_H
#include "base/bytes.h"

#define JWT_SIZE_MAX     8192u
#define JWT_TENANT_SIZE  64
#define JWT_SUBJECT_SIZE 17 /* of a digest of issuer and subject, in base32 */
#define JWT_LEEWAY_MS    60000u

struct jwt;

struct jwt_config {
    const char *issuer;       /* equal to `iss` to the byte */
    const char *audience;     /* one of `aud` */
    const char *tenant_claim; /* "tenant", "custom:tenant"; its text is the tenant */
    /* Scopes are the union of what `scope` (words), `scp` (words or a list) and `cognito:groups` (a
     * list) name: scope_prefix + "predict", "read", "feedback" or "admin" in the first two,
     * group_prefix + the same in the last. NULL: those claims give none. */
    const char *scope_prefix; /* "imago/" */
    const char *group_prefix; /* "imago-" */
    /* Appends the bytes of the issuer's JWKS; may block. */
    enum rc (*fetch)(void *ctx, struct buf *into, struct error *err);
    void (*wake)(void *ctx); /* jwt_refresh() has become due; may be NULL; must not block */
    void *ctx;
    uint32_t fresh_ms;       /* fetch again after; 0: 10 min */
    uint32_t refetch_ms_min; /* between two fetches, whatever tokens come; 0: 30 s */
    uint32_t stale_ms_max;   /* how long old keys serve while fetching fails; 0: 1 h */
};

struct jwt_claims {
    char tenant[JWT_TENANT_SIZE];   /* [a-z0-9][a-z0-9-]{0,62} */
    char subject[JWT_SUBJECT_SIZE]; /* always the same for an issuer and subject */
    uint32_t scopes;                /* enum account_scope */
    uint64_t expires_ms;            /* with the leeway */
};

NODISCARD enum rc jwt_open(const struct jwt_config *config, struct jwt **ret_jwt,
                           struct error *err);
void jwt_free(struct jwt *jwt); /* NULL is fine */
/* UNAUTHENTICATED with the reason; UNAVAILABLE: no keys, or a kid that a fetch that is now due may
 * bring: to be tried again. */
NODISCARD enum rc jwt_verify(struct jwt *jwt, struct bytes token, uint64_t now_ms,
                             struct jwt_claims *ret_claims, struct error *err);
/* Fetch if due: at first, after fresh_ms, for an unknown kid; never sooner than refetch_ms_min
 * after the last try. On failure the old keys stay. */
NODISCARD enum rc jwt_refresh(struct jwt *jwt, uint64_t now_ms, struct error *err);
#endif
