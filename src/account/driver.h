/* SPDX-License-Identifier: Apache-2.0
 * driver.h - what a driver of accounts implements. Included by this folder's files only.
 *
 * A driver stores and finds; what fits where has been checked before, digests are made, and secrets
 * are never seen. Each operation is one transaction that keeps the promises of account.h. */
#ifndef ACCOUNT_DRIVER_H
#define ACCOUNT_DRIVER_H
#include "account/identity_cache.h"
#include "account/quota.h"
#include "account/webhook_secret.h"

#include <pthread.h>

#define KEY_HASH_SIZE 32

struct key_record {
    struct account_key key;
    uint8_t hash[KEY_HASH_SIZE];
    bool has_old;
    uint8_t old_hash[KEY_HASH_SIZE]; /* valid until key.old_until_ms */
};

/* Days and months as numbers: since 1970-01-01, and 12 * year + month - 1. */
struct quota_period {
    uint32_t day;
    uint32_t month;
};
struct quota_period quota_period_of(uint64_t at_ms);
uint64_t quota_month_start_ms(uint32_t month);

/* What quota_decide() goes by, read in the transaction that will write. */
struct quota_facts {
    const struct account_tenant *tenant;
    struct quota_day day; /* of the request's key; zero without images_per_day */
    const struct quota_usage
        *month; /* by when each plan became the tenant's; none without a hard cap */
    uint32_t month_count;
};
/* Sets refusal, retry_at_ms and day_remaining of `request`. */
NODISCARD enum rc quota_decide(struct account *account, const struct quota_facts *facts,
                               struct quota_request *request, uint64_t now_ms, struct error *err);

struct quota_expired {
    char tenant[ACCOUNT_TENANT_SIZE];
    struct id id;
    uint64_t image_count;
};

struct account_ops {
    const char *scheme;
    enum rc (*open)(const struct account_config *config, struct account **ret_account,
                    struct error *err);
    void (*free)(struct account *account);

    enum rc (*ever)(struct account *account, bool *ret_ever, struct error *err);
    enum rc (*ever_set)(struct account *account, struct error *err);

    enum rc (*tenant_create)(struct account *account, const struct account_tenant *tenant,
                             bool *ret_taken, struct error *err);
    enum rc (*tenant_get)(struct account *account, const char *id,
                          struct account_tenant *ret_tenant, struct error *err);
    /* Where the stored revision is tenant->revision; stores one more, and a row of its tenure if
     * the plan is another. */
    enum rc (*tenant_set)(struct account *account, const struct account_tenant *tenant,
                          uint64_t now_ms, bool *ret_stale, struct error *err);
    enum rc (*tenure_list)(struct account *account, const char *tenant, uint64_t from_ms,
                           struct account_tenure *into, uint32_t count_max, uint32_t *ret_count,
                           struct error *err);
    enum rc (*tenant_list)(struct account *account, const char *after, struct account_tenant *into,
                           uint32_t count_max, uint32_t *ret_count, struct error *err);

    enum rc (*plan_put)(struct account *account, const struct account_plan_row *row,
                        struct bytes body, bool *ret_taken, struct error *err);
    enum rc (*plan_get)(struct account *account, const char *name, uint32_t version,
                        struct buf *into, struct error *err);
    enum rc (*plan_list)(struct account *account, const char *after_name, uint32_t after_version,
                         struct account_plan_row *into, uint32_t count_max, uint32_t *ret_count,
                         struct error *err);

    /* Notes that a key has existed, in the same transaction. `taken`: the id; draw another. `full`:
     * the tenant has KEY_COUNT_MAX. NOT_FOUND: no such tenant. */
    enum rc (*key_create)(struct account *account, const struct key_record *record, bool *ret_taken,
                          bool *ret_full, struct error *err);
    /* By id alone, with its tenant: for authentication. An absent id (NOT_FOUND) must take the same
     * way through the storage as a present one; what it leaves in ret_record is not looked at. */
    enum rc (*key_find)(struct account *account, const char *id, struct key_record *ret_record,
                        struct account_tenant *ret_tenant, struct error *err);
    enum rc (*key_get)(struct account *account, const char *tenant, const char *id,
                       struct account_key *ret_key, struct error *err);
    enum rc (*key_list)(struct account *account, const char *tenant, const char *prefix,
                        const char *after, struct account_key *into, uint32_t count_max,
                        uint32_t *ret_count, struct error *err);
    enum rc (*key_revoke)(struct account *account, const char *tenant, const char *id,
                          uint64_t now_ms, struct error *err);
    /* The old hash is kept if old_until_ms > 0. `dead`: revoked or expired, nothing was done. */
    enum rc (*key_rotate)(struct account *account, const char *tenant, const char *id,
                          const uint8_t hash[KEY_HASH_SIZE], uint64_t old_until_ms, uint64_t now_ms,
                          bool *ret_dead, struct error *err);
    /* Never moves a time back. ORDERED. */
    enum rc (*keys_used)(struct account *account, const struct identity_use uses[], uint32_t count,
                         struct error *err);

    enum rc (*reserve)(struct account *account, struct quota_request requests[], uint32_t count,
                       uint64_t until_ms, uint64_t now_ms, struct error *err);
    enum rc (*settle)(struct account *account, struct quota_settlement settlements[],
                      uint32_t count, struct error *err);
    /* Held, but run out by now. */
    enum rc (*expired)(struct account *account, uint64_t now_ms, struct quota_expired *into,
                       uint32_t count_max, uint32_t *ret_count, struct error *err);
    /* Ended reservations that ran out before `before_ms`, `count_max` at most. */
    enum rc (*forget)(struct account *account, uint64_t before_ms, uint32_t count_max,
                      uint32_t *ret_count, struct error *err);
    enum rc (*quota_day)(struct account *account, const char *tenant, const char *key, uint32_t day,
                         struct quota_day *ret_day, struct error *err);
    enum rc (*quota_month)(struct account *account, const char *tenant, uint32_t month,
                           struct quota_usage *into, uint32_t count_max, uint32_t *ret_count,
                           struct error *err);
    enum rc (*quota_correct)(struct account *account, const char *tenant, uint32_t month,
                             uint64_t at_ms, const struct quota_usage known[], uint32_t known_count,
                             const struct quota_usage rows[], uint32_t count, bool *ret_moved,
                             struct error *err);
    /* Sets fresh[i] where percents[i] was not marked in that month; marks them all. */
    enum rc (*alerts_fresh)(struct account *account, const char *tenant, uint32_t month,
                            enum alerts_how how, const uint8_t percents[], uint32_t count,
                            bool fresh[], struct error *err);

    /* As stored, whatever the time. NOT_FOUND: no such tenant. */
    enum rc (*webhook_secret_get)(struct account *account, const char *tenant,
                                  struct account_webhook_secret *ret_secret, bool *ret_found,
                                  struct error *err);
    /* Without `rotate` one that is there stays. The one before is kept if old_until_ms > 0. Gives
     * what is stored then. */
    enum rc (*webhook_secret_put)(struct account *account, const char *tenant,
                                  const uint8_t fresh[WEBHOOK_SECRET_SIZE], bool rotate,
                                  uint64_t old_until_ms, uint64_t now_ms,
                                  struct account_webhook_secret *ret_secret, struct error *err);

    enum rc (*backup)(struct account *account, const char *path, struct error *err);
    enum rc (*check)(struct account *account, bool full, struct error *err);
};

/* Every driver's struct starts with this; account.c fills it after `open`. */
struct account {
    const struct account_ops *ops;
    struct jwt *jwt;
    struct identity_cache *cache;
    void (*random)(void *ctx, uint8_t *into, size_t size);
    void *random_ctx;
    pthread_mutex_t plan_mutex;
    struct plan_kept *plans; /* parsed; a stored version never changes, so they are kept for good */
};

/* A stored version, kept; lives as long as the handle. */
NODISCARD enum rc plan_kept_get(struct account *account, const char *name, uint32_t version,
                                const struct plan **ret_plan, struct error *err);
/* RC_OK, or INVALID that says what `what` may be. */
NODISCARD enum rc account_name_check(const char *what, const char *text, size_t size_max,
                                     struct error *err);

#define DRIVER(name) extern const struct account_ops account_##name;
#include "account/drivers.def"
#undef DRIVER
#endif
