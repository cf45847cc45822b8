/* SPDX-License-Identifier: Apache-2.0
 * account.c - the handle, tenants and plans: checks once for all drivers. */
#include "account/driver.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const struct account_ops *const drivers[] = {
#define DRIVER(name) &account_##name,
#include "account/drivers.def"
#undef DRIVER
};

static const struct {
    uint32_t bit;
    const char *name;
} scopes[] = {{SCOPE_PREDICT, "predict"},
              {SCOPE_READ, "read"},
              {SCOPE_FEEDBACK, "feedback"},
              {SCOPE_ADMIN, "admin"}};
#define SCOPE_COUNT (sizeof(scopes) / sizeof(scopes[0]))

uint32_t account_scope_of(struct bytes text, const char *prefix)
{
    size_t prefix_size = strlen(prefix);
    if (text.size < prefix_size || memcmp(text.data, prefix, prefix_size) != 0)
        return 0;
    struct bytes name = {text.data + prefix_size, text.size - prefix_size};
    for (size_t i = 0; i < SCOPE_COUNT; i++)
        if (bytes_equal(name, bytes_of(scopes[i].name)))
            return scopes[i].bit;
    return 0;
}

void account_scopes_text(uint32_t bits, char into[ACCOUNT_SCOPES_TEXT_SIZE])
{
    into[0] = '\0';
    for (size_t i = 0; i < SCOPE_COUNT; i++) {
        if ((bits & scopes[i].bit) == 0)
            continue;
        if (into[0] != '\0')
            strcat(into, " ");
        strcat(into, scopes[i].name);
    }
}

bool account_tenant_fits(const char *id)
{
    size_t size = id == NULL ? 0 : strnlen(id, ACCOUNT_TENANT_SIZE);
    if (size == 0 || size == ACCOUNT_TENANT_SIZE || id[0] == '-')
        return false;
    for (size_t i = 0; i < size; i++)
        if (!(id[i] >= 'a' && id[i] <= 'z') && !(id[i] >= '0' && id[i] <= '9') && id[i] != '-')
            return false;
    return true;
}

enum rc account_name_check(const char *what, const char *text, size_t size_max, struct error *err)
{
    size_t size = text == NULL ? size_max : strnlen(text, size_max);
    if (size == size_max)
        return error_set(err, RC_INVALID, "%s: at most %zu bytes", what, size_max - 1);
    for (size_t i = 0; i < size; i++)
        if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
            return error_set(err, RC_INVALID, "%s: no control characters", what);
    return RC_OK;
}

static void kernel_random(void *ctx, uint8_t *into, size_t size)
{
    (void)ctx;
    while (size > 0) {
        ssize_t got = getrandom(into, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            abort(); /* as in base/id.c: there is no safe way on */
        into += got;
        size -= (size_t)got;
    }
}

static enum rc driver_open(const struct account_config *config, struct account **ret_account,
                           struct error *err)
{
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
        if (strncmp(config->url, drivers[i]->scheme, strlen(drivers[i]->scheme)) == 0)
            return drivers[i]->open(config, ret_account, err);
    return error_set(err, RC_INVALID, "no accounts driver for '%.100s'", config->url);
}

enum rc account_open(const struct account_config *config, struct account **ret_account,
                     struct error *err)
{
    assert(config != NULL && config->url != NULL && ret_account != NULL);
    uint32_t cache_ms = config->cache_ms == 0 ? ACCOUNT_CACHE_MS_MAX : config->cache_ms;
    if (cache_ms > ACCOUNT_CACHE_MS_MAX)
        return error_set(err, RC_INVALID, "credentials are remembered for %u ms at most",
                         ACCOUNT_CACHE_MS_MAX);
    struct identity_cache *cache = NULL;
    enum rc rc = identity_cache_open(config->cache_count_max, cache_ms, &cache, err);
    if (rc != RC_OK)
        return rc;
    struct account *account = NULL;
    rc = driver_open(config, &account, err);
    if (rc != RC_OK) {
        identity_cache_free(cache);
        return rc;
    }
    account->cache = cache;
    account->jwt = config->jwt;
    account->random = config->random != NULL ? config->random : kernel_random;
    account->random_ctx = config->random_ctx;
    account->plans = NULL;
    (void)pthread_mutex_init(&account->plan_mutex, NULL); /* cannot fail without attributes */
    *ret_account = account;
    return RC_OK;
}

enum rc account_ever(struct account *account, bool *ret_ever, struct error *err)
{
    assert(account != NULL && ret_ever != NULL);
    return account->ops->ever(account, ret_ever, err);
}

enum rc account_issuer_seen(struct account *account, struct error *err)
{
    assert(account != NULL);
    return account->ops->ever_set(account, err);
}

static enum rc tenant_check(struct account *account, const struct account_tenant *tenant,
                            struct error *err)
{
    if (!account_tenant_fits(tenant->id))
        return error_set(err, RC_INVALID, "a tenant's id is 1 to %d of a-z 0-9 -, the first no '-'",
                         ACCOUNT_TENANT_SIZE - 1);
    if (tenant->image_days > ACCOUNT_DAYS_MAX || tenant->result_days > ACCOUNT_DAYS_MAX)
        return error_set(err, RC_INVALID, "retention is 0 (for ever) to %u days", ACCOUNT_DAYS_MAX);
    if (tenant->budget_micro > MICRO_MAX || tenant->hard_cap_micro > MICRO_MAX)
        return error_set(err, RC_INVALID, "budget and hard cap are below 2^63 micro-units");
    for (uint32_t i = 0; i < ACCOUNT_ALERT_MAX; i++) {
        uint8_t percent = tenant->alert_percents[i];
        if (i > 0 && percent != 0 && percent <= tenant->alert_percents[i - 1])
            return error_set(err, RC_INVALID, "alert percentages must ascend");
        if (i > 0 && percent != 0 && tenant->alert_percents[i - 1] == 0)
            return error_set(err, RC_INVALID, "alert percentages are 1 to 255");
    }
    if (strnlen(tenant->alert_webhook, ACCOUNT_URL_SIZE) == ACCOUNT_URL_SIZE)
        return error_set(err, RC_INVALID, "the alerts' webhook is at most %d bytes",
                         ACCOUNT_URL_SIZE - 1);
    if ((tenant->plan[0] == '\0') != (tenant->plan_version == 0))
        return error_set(err, RC_INVALID, "a plan needs name and version, no plan neither");
    enum rc rc = limits_rule_check(&tenant->rule, err);
    if (rc == RC_OK)
        rc = account_name_check("plan", tenant->plan, PLAN_NAME_SIZE, err);
    if (rc == RC_OK && tenant->plan[0] != '\0') {
        const struct plan *plan = NULL;
        rc = plan_kept_get(account, tenant->plan, tenant->plan_version, &plan, err);
        if (rc == RC_NOT_FOUND)
            rc = error_set(err, RC_INVALID, "there is no plan %s version %u", tenant->plan,
                           tenant->plan_version);
    }
    return rc;
}

enum rc account_tenant_create(struct account *account, const struct account_tenant *tenant,
                              uint64_t now_ms, struct error *err)
{
    assert(account != NULL && tenant != NULL);
    enum rc rc = tenant_check(account, tenant, err);
    if (rc != RC_OK)
        return rc;
    struct account_tenant fresh = *tenant;
    fresh.created_ms = now_ms;
    fresh.revision = 1;
    bool taken = false;
    rc = account->ops->tenant_create(account, &fresh, &taken, err);
    if (rc == RC_OK && taken)
        rc = error_set(err, RC_INVALID, "there is a tenant %s already", fresh.id);
    return rc;
}

static enum rc no_tenant(const char *id, struct error *err)
{
    return error_set(err, RC_NOT_FOUND, "there is no tenant '%.63s'", id);
}

enum rc account_tenant_get(struct account *account, const char *id,
                           struct account_tenant *ret_tenant, struct error *err)
{
    assert(account != NULL && id != NULL && ret_tenant != NULL);
    if (!account_tenant_fits(id))
        return no_tenant(id, err);
    return account->ops->tenant_get(account, id, ret_tenant, err);
}

enum rc account_tenant_set(struct account *account, const struct account_tenant *tenant,
                           uint64_t now_ms, struct error *err)
{
    assert(account != NULL && tenant != NULL);
    enum rc rc = tenant_check(account, tenant, err);
    if (rc != RC_OK)
        return rc;
    bool stale = false;
    rc = account->ops->tenant_set(account, tenant, now_ms, &stale, err);
    identity_cache_drop_all(account->cache);
    if (rc == RC_OK && stale)
        rc = error_set(err, RC_INVALID,
                       "tenant %s has changed since revision %u; read it again and repeat",
                       tenant->id, tenant->revision);
    return rc;
}

static enum rc check_page(uint32_t count_max, struct error *err)
{
    if (count_max == 0 || count_max > ACCOUNT_LIST_MAX)
        return error_set(err, RC_INVALID, "a page has 1 to %u rows", ACCOUNT_LIST_MAX);
    return RC_OK;
}

enum rc account_tenant_list(struct account *account, const char *after, struct account_tenant *into,
                            uint32_t count_max, uint32_t *ret_count, struct error *err)
{
    assert(account != NULL && into != NULL && ret_count != NULL);
    enum rc rc = check_page(count_max, err);
    if (rc == RC_OK)
        rc = account_name_check("after", after, ACCOUNT_TENANT_SIZE, err);
    if (rc == RC_OK)
        rc = account->ops->tenant_list(account, after, into, count_max, ret_count, err);
    return rc;
}

struct plan_kept {
    struct plan_kept *next;
    struct plan plan;
};

static const struct plan *plan_kept_find(struct account *account, const char *name,
                                         uint32_t version)
{
    const struct plan *found = NULL;
    (void)pthread_mutex_lock(&account->plan_mutex);
    for (struct plan_kept *at = account->plans; at != NULL && found == NULL; at = at->next)
        if (at->plan.version == version && strcmp(at->plan.name, name) == 0)
            found = &at->plan;
    (void)pthread_mutex_unlock(&account->plan_mutex);
    return found;
}

static enum rc plan_load(struct account *account, const char *name, uint32_t version,
                         struct plan *into, struct error *err)
{
    struct buf body = BUF_INIT(PLAN_BODY_MAX);
    enum rc rc = account->ops->plan_get(account, name, version, &body, err);
    if (rc == RC_OK && plan_parse((struct bytes){body.data, body.size}, into, err) != RC_OK)
        rc = error_set(err, RC_INTERNAL, "the stored plan %s %u is damaged", name, version);
    buf_done(&body);
    return rc;
}

enum rc plan_kept_get(struct account *account, const char *name, uint32_t version,
                      const struct plan **ret_plan, struct error *err)
{
    if (name[0] == '\0') {
        *ret_plan = &plan_none;
        return RC_OK;
    }
    const struct plan *found = plan_kept_find(account, name, version);
    if (found != NULL) {
        *ret_plan = found;
        return RC_OK;
    }
    struct plan_kept *kept = calloc(1, sizeof(*kept));
    if (kept == NULL)
        return error_set(err, RC_NO_MEMORY, "a plan");
    enum rc rc = plan_load(account, name, version, &kept->plan, err);
    if (rc != RC_OK) {
        free(kept);
        return rc;
    }
    /* Two threads may keep the same one twice: no harm. */
    (void)pthread_mutex_lock(&account->plan_mutex);
    kept->next = account->plans;
    account->plans = kept;
    (void)pthread_mutex_unlock(&account->plan_mutex);
    *ret_plan = &kept->plan;
    return RC_OK;
}

enum rc account_plan_put(struct account *account, const struct plan *plan, uint64_t now_ms,
                         struct error *err)
{
    assert(account != NULL && plan != NULL);
    enum rc rc = plan_check(plan, err);
    if (rc != RC_OK)
        return rc;
    struct buf body = BUF_INIT(PLAN_BODY_MAX);
    struct buf stored = BUF_INIT(PLAN_BODY_MAX);
    struct account_plan_row row = {.version = plan->version, .created_ms = now_ms};
    memcpy(row.name, plan->name, sizeof(row.name));
    bool taken = false;
    rc = plan_write(plan, &body);
    if (rc != RC_OK)
        rc = error_set(err, rc, "writing the plan");
    struct bytes text = {body.data, body.size};
    if (rc == RC_OK)
        rc = account->ops->plan_put(account, &row, text, &taken, err);
    if (rc == RC_OK && taken) {
        rc = account->ops->plan_get(account, row.name, row.version, &stored, err);
        if (rc == RC_OK && !bytes_equal(text, (struct bytes){stored.data, stored.size}))
            rc = error_set(err, RC_INVALID,
                           "plan %s has another version %u already; a changed plan needs a new one",
                           row.name, row.version);
    }
    buf_done(&stored);
    buf_done(&body);
    return rc;
}

enum rc account_plan_get(struct account *account, const char *name, uint32_t version,
                         struct plan *ret_plan, struct error *err)
{
    assert(account != NULL && name != NULL && ret_plan != NULL);
    enum rc rc = account_name_check("plan", name, PLAN_NAME_SIZE, err);
    if (rc != RC_OK)
        return rc;
    if (name[0] == '\0') {
        *ret_plan = plan_none;
        return RC_OK;
    }
    return plan_load(account, name, version, ret_plan, err);
}

enum rc account_plan_list(struct account *account, const char *after_name, uint32_t after_version,
                          struct account_plan_row *into, uint32_t count_max, uint32_t *ret_count,
                          struct error *err)
{
    assert(account != NULL && into != NULL && ret_count != NULL);
    enum rc rc = check_page(count_max, err);
    if (rc == RC_OK)
        rc = account_name_check("after", after_name, PLAN_NAME_SIZE, err);
    if (rc == RC_OK)
        rc = account->ops->plan_list(account, after_name, after_version, into, count_max, ret_count,
                                     err);
    return rc;
}

enum rc account_tenure_list(struct account *account, const char *tenant, uint64_t from_ms,
                            struct account_tenure *into, uint32_t count_max, uint32_t *ret_count,
                            struct error *err)
{
    assert(account != NULL && tenant != NULL && into != NULL && ret_count != NULL);
    enum rc rc = check_page(count_max, err);
    if (rc == RC_OK)
        rc = account_name_check("tenant", tenant, ACCOUNT_TENANT_SIZE, err);
    if (rc == RC_OK)
        rc = account->ops->tenure_list(account, tenant, from_ms, into, count_max, ret_count, err);
    return rc;
}

void account_free(struct account *account)
{
    if (account == NULL)
        return;
    struct identity_cache *cache = account->cache;
    struct plan_kept *kept = account->plans;
    (void)pthread_mutex_destroy(&account->plan_mutex);
    account->ops->free(account);
    identity_cache_free(cache);
    while (kept != NULL) {
        struct plan_kept *next = kept->next;
        free(kept);
        kept = next;
    }
}

enum rc account_backup(struct account *account, const char *path, struct error *err)
{
    assert(account != NULL && path != NULL);
    return account->ops->backup(account, path, err);
}

enum rc account_check(struct account *account, bool full, struct error *err)
{
    assert(account != NULL);
    return account->ops->check(account, full, err);
}
