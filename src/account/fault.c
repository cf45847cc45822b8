/* SPDX-License-Identifier: Apache-2.0
 * fault.c - a decorator that makes another driver's calls fail. */
#include "account/fault.h"
#include "account/driver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct fault {
    struct account base;
    struct account *inner;
    account_fault_fn ask;
    void *ctx;
};

static struct fault *fault_of(struct account *account)
{
    assert(account->ops == &account_fault);
    return (struct fault *)account;
}

void account_fault_set(struct account *account, account_fault_fn ask, void *ctx)
{
    fault_of(account)->ask = ask;
    fault_of(account)->ctx = ctx;
}

static enum rc ask(struct fault *fault, const char *call, bool after, struct error *err)
{
    enum rc rc = fault->ask != NULL ? fault->ask(fault->ctx, call, after) : RC_OK;
    return rc == RC_OK ? RC_OK
                       : error_set(err, rc, "injected %s the call", after ? "after" : "before");
}

/* Each function: ask, call the same of the inner driver, ask again. */
#define FORWARD(name, ...)                                                                         \
    struct fault *fault = fault_of(account);                                                       \
    enum rc rc = ask(fault, #name, false, err);                                                    \
    if (rc == RC_OK)                                                                               \
        rc = fault->inner->ops->name(fault->inner, __VA_ARGS__);                                   \
    return rc == RC_OK ? ask(fault, #name, true, err) : rc

static enum rc fault_open(const struct account_config *config, struct account **ret_account,
                          struct error *err)
{
    struct account_config inner = *config;
    inner.url += strlen(account_fault.scheme);
    struct fault *fault = calloc(1, sizeof(*fault));
    if (fault == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory to open %.100s", config->url);
    fault->base.ops = &account_fault;
    enum rc rc = account_open(&inner, &fault->inner, err);
    if (rc != RC_OK) {
        free(fault);
        return rc;
    }
    *ret_account = &fault->base;
    return RC_OK;
}

static void fault_free(struct account *account)
{
    account_free(fault_of(account)->inner);
    free(account);
}

static enum rc fault_ever(struct account *account, bool *ret_ever, struct error *err)
{
    FORWARD(ever, ret_ever, err);
}

static enum rc fault_ever_set(struct account *account, struct error *err)
{
    FORWARD(ever_set, err);
}

static enum rc fault_tenant_create(struct account *account, const struct account_tenant *tenant,
                                   bool *ret_taken, struct error *err)
{
    FORWARD(tenant_create, tenant, ret_taken, err);
}

static enum rc fault_tenant_get(struct account *account, const char *id,
                                struct account_tenant *ret_tenant, struct error *err)
{
    FORWARD(tenant_get, id, ret_tenant, err);
}

static enum rc fault_tenant_set(struct account *account, const struct account_tenant *tenant,
                                uint64_t now_ms, bool *ret_stale, struct error *err)
{
    FORWARD(tenant_set, tenant, now_ms, ret_stale, err);
}

static enum rc fault_tenure_list(struct account *account, const char *tenant, uint64_t from_ms,
                                 struct account_tenure *into, uint32_t count_max,
                                 uint32_t *ret_count, struct error *err)
{
    FORWARD(tenure_list, tenant, from_ms, into, count_max, ret_count, err);
}

static enum rc fault_tenant_list(struct account *account, const char *after,
                                 struct account_tenant *into, uint32_t count_max,
                                 uint32_t *ret_count, struct error *err)
{
    FORWARD(tenant_list, after, into, count_max, ret_count, err);
}

static enum rc fault_plan_put(struct account *account, const struct account_plan_row *row,
                              struct bytes body, bool *ret_taken, struct error *err)
{
    FORWARD(plan_put, row, body, ret_taken, err);
}

static enum rc fault_plan_get(struct account *account, const char *name, uint32_t version,
                              struct buf *into, struct error *err)
{
    FORWARD(plan_get, name, version, into, err);
}

static enum rc fault_plan_list(struct account *account, const char *after_name,
                               uint32_t after_version, struct account_plan_row *into,
                               uint32_t count_max, uint32_t *ret_count, struct error *err)
{
    FORWARD(plan_list, after_name, after_version, into, count_max, ret_count, err);
}

static enum rc fault_key_create(struct account *account, const struct key_record *record,
                                bool *ret_taken, bool *ret_full, struct error *err)
{
    FORWARD(key_create, record, ret_taken, ret_full, err);
}

static enum rc fault_key_find(struct account *account, const char *id,
                              struct key_record *ret_record, struct account_tenant *ret_tenant,
                              struct error *err)
{
    FORWARD(key_find, id, ret_record, ret_tenant, err);
}

static enum rc fault_key_get(struct account *account, const char *tenant, const char *id,
                             struct account_key *ret_key, struct error *err)
{
    FORWARD(key_get, tenant, id, ret_key, err);
}

static enum rc fault_key_list(struct account *account, const char *tenant, const char *prefix,
                              const char *after, struct account_key *into, uint32_t count_max,
                              uint32_t *ret_count, struct error *err)
{
    FORWARD(key_list, tenant, prefix, after, into, count_max, ret_count, err);
}

static enum rc fault_key_revoke(struct account *account, const char *tenant, const char *id,
                                uint64_t now_ms, struct error *err)
{
    FORWARD(key_revoke, tenant, id, now_ms, err);
}

static enum rc fault_key_rotate(struct account *account, const char *tenant, const char *id,
                                const uint8_t hash[KEY_HASH_SIZE], uint64_t old_until_ms,
                                uint64_t now_ms, bool *ret_dead, struct error *err)
{
    FORWARD(key_rotate, tenant, id, hash, old_until_ms, now_ms, ret_dead, err);
}

static enum rc fault_keys_used(struct account *account, const struct identity_use uses[],
                               uint32_t count, struct error *err)
{
    FORWARD(keys_used, uses, count, err);
}

static enum rc fault_reserve(struct account *account, struct quota_request requests[],
                             uint32_t count, uint64_t until_ms, uint64_t now_ms, struct error *err)
{
    FORWARD(reserve, requests, count, until_ms, now_ms, err);
}

static enum rc fault_settle(struct account *account, struct quota_settlement settlements[],
                            uint32_t count, struct error *err)
{
    FORWARD(settle, settlements, count, err);
}

static enum rc fault_expired(struct account *account, uint64_t now_ms, struct quota_expired *into,
                             uint32_t count_max, uint32_t *ret_count, struct error *err)
{
    FORWARD(expired, now_ms, into, count_max, ret_count, err);
}

static enum rc fault_forget(struct account *account, uint64_t before_ms, uint32_t count_max,
                            uint32_t *ret_count, struct error *err)
{
    FORWARD(forget, before_ms, count_max, ret_count, err);
}

static enum rc fault_quota_day(struct account *account, const char *tenant, const char *key,
                               uint32_t day, struct quota_day *ret_day, struct error *err)
{
    FORWARD(quota_day, tenant, key, day, ret_day, err);
}

static enum rc fault_quota_month(struct account *account, const char *tenant, uint32_t month,
                                 struct quota_usage *into, uint32_t count_max, uint32_t *ret_count,
                                 struct error *err)
{
    FORWARD(quota_month, tenant, month, into, count_max, ret_count, err);
}

static enum rc fault_quota_correct(struct account *account, const char *tenant, uint32_t month,
                                   uint64_t at_ms, const struct quota_usage known[],
                                   uint32_t known_count, const struct quota_usage rows[],
                                   uint32_t count, bool *ret_moved, struct error *err)
{
    FORWARD(quota_correct, tenant, month, at_ms, known, known_count, rows, count, ret_moved, err);
}

static enum rc fault_alerts_fresh(struct account *account, const char *tenant, uint32_t month,
                                  enum alerts_how how, const uint8_t percents[], uint32_t count,
                                  bool fresh[], struct error *err)
{
    FORWARD(alerts_fresh, tenant, month, how, percents, count, fresh, err);
}

static enum rc fault_webhook_secret_get(struct account *account, const char *tenant,
                                        struct account_webhook_secret *ret_secret, bool *ret_found,
                                        struct error *err)
{
    FORWARD(webhook_secret_get, tenant, ret_secret, ret_found, err);
}

static enum rc fault_webhook_secret_put(struct account *account, const char *tenant,
                                        const uint8_t fresh[WEBHOOK_SECRET_SIZE], bool rotate,
                                        uint64_t old_until_ms, uint64_t now_ms,
                                        struct account_webhook_secret *ret_secret,
                                        struct error *err)
{
    FORWARD(webhook_secret_put, tenant, fresh, rotate, old_until_ms, now_ms, ret_secret, err);
}

static enum rc fault_backup(struct account *account, const char *path, struct error *err)
{
    FORWARD(backup, path, err);
}

static enum rc fault_check(struct account *account, bool full, struct error *err)
{
    FORWARD(check, full, err);
}

const struct account_ops account_fault = {
    .backup = fault_backup,
    .check = fault_check,
    .scheme = "fault:",
    .free = fault_free,
    .open = fault_open,
    .ever = fault_ever,
    .ever_set = fault_ever_set,
    .tenant_create = fault_tenant_create,
    .tenant_get = fault_tenant_get,
    .tenant_set = fault_tenant_set,
    .tenure_list = fault_tenure_list,
    .tenant_list = fault_tenant_list,
    .plan_put = fault_plan_put,
    .plan_get = fault_plan_get,
    .plan_list = fault_plan_list,
    .key_create = fault_key_create,
    .key_find = fault_key_find,
    .key_get = fault_key_get,
    .key_list = fault_key_list,
    .key_revoke = fault_key_revoke,
    .key_rotate = fault_key_rotate,
    .keys_used = fault_keys_used,
    .reserve = fault_reserve,
    .settle = fault_settle,
    .expired = fault_expired,
    .forget = fault_forget,
    .quota_day = fault_quota_day,
    .quota_month = fault_quota_month,
    .quota_correct = fault_quota_correct,
    .alerts_fresh = fault_alerts_fresh,
    .webhook_secret_get = fault_webhook_secret_get,
    .webhook_secret_put = fault_webhook_secret_put,
};
