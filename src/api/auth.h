/* SPDX-License-Identifier: Apache-2.0
 * auth.h - who asks, and whether that one may: credentials, scopes and limits. Included by api/
 * only.
 *
 * A request is judged on its headers, so that a refused one costs no upload: the bearer key names
 * tenant and limits, the limits let it pass, its scopes fit the route. What it used is given back
 * or counted when it ends.
 *
 * Open mode: without accounts, or with accounts in which no key was ever made, everybody is tenant
 * `default` with all scopes (and `imago serve` listens on loopback only). It ends for good with the
 * first key, also while the server runs.
 *
 * Threads: all calls but auth_open() and auth_free() on any thread; none waits for another request.
 * A key that was right a moment ago is known from memory; another costs one read of the accounts.
 */
#ifndef API_AUTH_H
#define API_AUTH_H
#include "account/key.h"
#include "account/limits.h"

#define SCOPE_NONE 0u
#define SCOPE_ANY  ((uint32_t)SCOPE_ALL)
/* Whoever may make a job may see what became of it. */
#define SCOPE_JOB ((uint32_t)(SCOPE_PREDICT | SCOPE_READ))

struct exchange;
struct results;
struct auth;

/* RFC 6750, section 3: what WWW-Authenticate says. */
enum auth_challenge {
    CHALLENGE_NONE,
    CHALLENGE_MISSING,   /* no credentials, or of another scheme */
    CHALLENGE_MALFORMED, /* not one bearer token */
    CHALLENGE_WRONG,
    CHALLENGE_SCOPE,
};

/* In each exchange; all zero before. */
struct auth_state {
    enum auth_challenge challenge;
    struct limits_ticket *ticket;
    struct limits_verdict verdict;
    uint64_t images_charged;
};

/* Both may be NULL. The results' ledger says what became of a reservation whose request never told.
 */
NODISCARD enum rc auth_open(struct account *account, struct results *results,
                            struct auth **ret_auth, struct error *err);
void auth_free(struct auth *auth); /* NULL is fine; every request has ended */

/* On the headers. UNAUTHENTICATED, INVALID (not one bearer token), FORBIDDEN, RATE_LIMITED, and
 * UNAVAILABLE or BUSY where the accounts cannot be read. */
NODISCARD enum rc auth_admit(struct exchange *exchange, size_t body_max, struct error *err);
/* What became known after the headers. */
void auth_body_received(struct exchange *exchange);
void auth_images_found(struct exchange *exchange, uint32_t count);
/* What is left of the day, in all processes. */
void auth_images_left(struct exchange *exchange, uint64_t count);
/* Exactly once, at the end. */
void auth_finished(struct exchange *exchange);

#define AUTH_FIELD_SIZE 320
/* The fields of an answer; "" is left away. */
struct auth_fields {
    char challenge[128];
    char policy[AUTH_FIELD_SIZE]; /* RateLimit-Policy */
    char state[AUTH_FIELD_SIZE];  /* RateLimit */
    char retry_after[12];         /* of a request over a limit */
};
void auth_fields_fill(const struct exchange *exchange, struct auth_fields *fields);
#endif
