/* SPDX-License-Identifier: Apache-2.0
 * account.h - who may use the server: tenants, and the price plans that they are on.
 *
 * The handle is one for all of the module: keys and authentication are in key.h, secrets of
 * webhooks in webhook_secret.h, reservations and budgets in quota.h. Apart from it, without
 * storage: limits.h (rates), jwt.h (tokens), plan.h (money). It keeps no ledger (results does) and
 * starts no thread: account_maintain() is for the caller's background thread.
 *
 * What every driver promises:
 * - Each call is one atomic change, durable when it returns, except where the header of the call
 * says that it is ORDERED: then kill -9 does not undo it, and loss of power does so only as long as
 * no later durable commit to the same database (such as the results of the request) has returned.
 *   A call that fails with UNAVAILABLE or INTERNAL has happened or not; each may be repeated.
 * - A change is seen by the calls that begin after it, in all processes; by account_authenticate()
 *   at once in this process, and within config.cache_ms in the others.
 * - Isolation: what belongs to a tenant is found by (tenant, id) only; an absent id and another
 *   tenant's take the same statements and are both NOT_FOUND.
 * Errors: INVALID, NOT_FOUND as said; UNAVAILABLE, BUSY, NO_MEMORY, INTERNAL from the storage.
 *
 * Threads: any. Ownership: arguments are borrowed. Times: Unix milliseconds from the caller.
 * Adding a driver: account/<name>.c, one row in account/drivers.def, one line in meson.build, its
 * URL in tests/contract/account/meson.build.
 */
#ifndef ACCOUNT_ACCOUNT_H
#define ACCOUNT_ACCOUNT_H
#include "account/limits.h"
#include "account/plan.h"
#include "base/id.h"

#define ACCOUNT_TENANT_SIZE    64        /* [a-z0-9][a-z0-9-]{0,62} and the terminator */
#define ACCOUNT_TENANT_DEFAULT "default" /* built in */
#define ACCOUNT_LIST_MAX       100u
#define ACCOUNT_ALERT_MAX      8u
#define ACCOUNT_CACHE_MS_MAX   5000u
#define ACCOUNT_DAYS_MAX       36500u
#define ACCOUNT_URL_SIZE       512

struct account;
struct jwt;

struct account_config {
    const char *url;          /* sqlite:/path/imago.db */
    struct jwt *jwt;          /* takes tokens of its issuer as well; borrowed; NULL: keys alone */
    uint32_t cache_count_max; /* credentials remembered; 0: 8,192 */
    uint32_t cache_ms;        /* how long; 0: 5,000, which is the most */
    /* Fills with random bytes; NULL: the kernel's. */
    void (*random)(void *ctx, uint8_t *into, size_t size);
    void *random_ctx;
};
NODISCARD enum rc account_open(const struct account_config *config, struct account **ret_account,
                               struct error *err);
void account_free(struct account *account); /* NULL is fine */

/* Whether any key was ever made or any issuer ever configured (open mode ends then, for good). */
NODISCARD enum rc account_ever(struct account *account, bool *ret_ever, struct error *err);
/* An issuer is configured: at each start that has one. */
NODISCARD enum rc account_issuer_seen(struct account *account, struct error *err);

enum account_scope {
    SCOPE_PREDICT = 1,
    SCOPE_READ = 2,
    SCOPE_FEEDBACK = 4,
    SCOPE_ADMIN = 8,
    SCOPE_ALL = 15
};
/* The scope called `prefix` + name, or 0. */
uint32_t account_scope_of(struct bytes text, const char *prefix);
/* "predict read"; what `imago key list` shows. */
#define ACCOUNT_SCOPES_TEXT_SIZE 32
void account_scopes_text(uint32_t scopes, char into[ACCOUNT_SCOPES_TEXT_SIZE]);

bool account_tenant_fits(const char *id);

struct account_tenant {
    char id[ACCOUNT_TENANT_SIZE];
    uint64_t created_ms; /* set by account_tenant_create() */
    uint32_t revision;   /* grows with every change */
    bool suspended;      /* nobody of it is let in */
    uint32_t image_days; /* retention; 0: for ever */
    uint32_t result_days;
    char plan[PLAN_NAME_SIZE]; /* "" and 0: none, everything is free */
    uint32_t plan_version;
    uint64_t budget_micro;                     /* of a month; 0: none */
    uint64_t hard_cap_micro;                   /* of a month's usage; 0: none */
    uint8_t alert_percents[ACCOUNT_ALERT_MAX]; /* of the budget, ascending; 0s at the end */
    char alert_webhook[ACCOUNT_URL_SIZE];      /* told of them; "": nobody. The caller checks it. */
    struct limits_rule rule; /* of keys that have none of their own, and of tokens */
};
/* INVALID: a field out of range, no such plan, or the id is taken. */
NODISCARD enum rc account_tenant_create(struct account *account,
                                        const struct account_tenant *tenant, uint64_t now_ms,
                                        struct error *err);
NODISCARD enum rc account_tenant_get(struct account *account, const char *id,
                                     struct account_tenant *ret_tenant, struct error *err);
/* Replaces all but id and created_ms. INVALID as above, or if `revision` is no longer the stored
 * one: get it, change it, set it; else begin again. */
NODISCARD enum rc account_tenant_set(struct account *account, const struct account_tenant *tenant,
                                     uint64_t now_ms, struct error *err);
/* By id, those after `after` ("": from the first); fewer than `count_max` (<= ACCOUNT_LIST_MAX) is
 * the end. */
NODISCARD enum rc account_tenant_list(struct account *account, const char *after,
                                      struct account_tenant *into, uint32_t count_max,
                                      uint32_t *ret_count, struct error *err);

/* A version is stored once and never changes: the same again is RC_OK, another one INVALID. */
NODISCARD enum rc account_plan_put(struct account *account, const struct plan *plan,
                                   uint64_t now_ms, struct error *err);
/* Version 0: the newest. Name "" gives plan_none. */
NODISCARD enum rc account_plan_get(struct account *account, const char *name, uint32_t version,
                                   struct plan *ret_plan, struct error *err);
struct account_plan_row {
    char name[PLAN_NAME_SIZE];
    uint32_t version;
    uint64_t created_ms;
};
/* By name and version, those after (after_name, after_version). */
NODISCARD enum rc account_plan_list(struct account *account, const char *after_name,
                                    uint32_t after_version, struct account_plan_row *into,
                                    uint32_t count_max, uint32_t *ret_count, struct error *err);

/* What the ledger knows of a request whose reservation of `image_count` images ran out: RC_OK with
 * the images it committed and when; NOT_FOUND. */
struct account_ledger {
    enum rc (*find)(void *ctx, const char *tenant, struct id request, uint64_t image_count,
                    uint64_t *ret_image_count, uint64_t *ret_committed_ms, struct error *err);
    void *ctx;
};
/* When which plan became a tenant's: one row for each change, its creation among them. */
struct account_tenure {
    uint64_t since_ms;
    char plan[PLAN_NAME_SIZE]; /* "" and 0: from then on it had none */
    uint32_t plan_version;
};
/* By time, those of `from_ms` and later; fewer than `count_max` is the end. */
NODISCARD enum rc account_tenure_list(struct account *account, const char *tenant, uint64_t from_ms,
                                      struct account_tenure *into, uint32_t count_max,
                                      uint32_t *ret_count, struct error *err);

/* Now and then (every second or so), from one thread: writes when keys were last used (each once a
 * minute at most), settles what has run out as the ledger says, forgets what is old. `ledger` may
 * be NULL: what ran out goes back. Bounded work: *ret_more if there is more to do at once. */
NODISCARD enum rc account_maintain(struct account *account, const struct account_ledger *ledger,
                                   uint64_t now_ms, bool *ret_more, struct error *err);

/* A consistent copy while others write, of the whole file where a driver keeps more in it. INVALID:
 * `path` exists. */
NODISCARD enum rc account_backup(struct account *account, const char *path, struct error *err);
/* INTERNAL with the first damage found. Full reads everything. */
NODISCARD enum rc account_check(struct account *account, bool full, struct error *err);
#endif
