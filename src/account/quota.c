/* SPDX-License-Identifier: Apache-2.0
 * quota.c - what a reservation may do, months and days, and the upkeep of what ran out. */
#include "account/driver.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS_PER_DAY    86400000ull
#define USED_EVERY_MS 60000u
#define MAINTAIN_MAX  256u
#define MONTH_LAST    (9999u * 12 + 11)
#define MONTH_FIRST   (1970u * 12)

/* Days since 1970 of the first day of a month (proleptic Gregorian): years begin in March, so that
 * the leap day is the last of them. */
static uint64_t day_of_month_start(uint32_t month)
{
    uint32_t year = month / 12;
    uint32_t from_march = (month % 12 + 10) % 12;
    year -= month % 12 < 2;
    uint64_t era = year / 400;
    uint64_t year_of_era = year % 400;
    uint64_t day_of_year = (153u * from_march + 2) / 5;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

struct quota_period quota_period_of(uint64_t at_ms)
{
    uint64_t day = at_ms / MS_PER_DAY;
    if (day > day_of_month_start(MONTH_LAST))
        day = day_of_month_start(MONTH_LAST);
    /* 4,800 months have 146,097 days: at most one month too late. */
    uint32_t month = MONTH_FIRST + (uint32_t)(day * 4800 / 146097);
    month -= month > MONTH_FIRST;
    while (month < MONTH_LAST && day_of_month_start(month + 1) <= day)
        month++;
    return (struct quota_period){.day = (uint32_t)day, .month = month};
}

uint64_t quota_month_start_ms(uint32_t month) { return day_of_month_start(month) * MS_PER_DAY; }

void month_text(uint64_t at_ms, char into[MONTH_TEXT_SIZE])
{
    uint32_t month = quota_period_of(at_ms).month;
    char text[24];
    (void)snprintf(text, sizeof(text), "%04u-%02u", month / 12, month % 12 + 1);
    memcpy(into, text, MONTH_TEXT_SIZE);
}

enum rc month_parse(const char *text, uint64_t *ret_start_ms, uint64_t *ret_end_ms)
{
    if (strnlen(text, MONTH_TEXT_SIZE) != MONTH_TEXT_SIZE - 1 || text[4] != '-')
        return RC_INVALID;
    uint32_t digits[7];
    for (int i = 0; i < 7; i++) {
        if (i != 4 && (text[i] < '0' || text[i] > '9'))
            return RC_INVALID;
        digits[i] = (uint32_t)(uint8_t)text[i] - '0';
    }
    uint32_t year = digits[0] * 1000 + digits[1] * 100 + digits[2] * 10 + digits[3];
    uint32_t month = digits[5] * 10 + digits[6];
    if (year < 1970 || month < 1 || month > 12)
        return RC_INVALID;
    uint32_t number = year * 12 + month - 1;
    *ret_start_ms = quota_month_start_ms(number);
    *ret_end_ms = quota_month_start_ms(number + 1);
    return RC_OK;
}

static uint64_t month_end_ms(uint64_t at_ms)
{
    return quota_month_start_ms(quota_period_of(at_ms).month + 1);
}

const char *quota_refusal_text(enum quota_refusal refusal)
{
    static const char *const texts[] = {
        "",
        "the key's images of this day do not suffice; they come back at midnight UTC",
        ("the pictures do not fit under the tenant's hard cap of this month; its operator can "
         "raise "
         "it"),
    };
    assert((size_t)refusal < sizeof(texts) / sizeof(texts[0]));
    return texts[refusal];
}

struct month {
    const struct plan *plans[STATEMENT_PLAN_MAX];
    uint32_t plan_count;
    struct quantity *quantities;
    uint32_t quantity_count;
};

static enum rc month_plan(struct account *account, struct month *month, const char *name,
                          uint32_t version, uint32_t *ret_index, struct error *err)
{
    const struct plan *plan = NULL;
    enum rc rc = plan_kept_get(account, name, version, &plan, err);
    if (rc == RC_NOT_FOUND)
        rc = error_set(err, RC_INTERNAL, "the plan %s %u that was used is gone", name, version);
    if (rc != RC_OK)
        return rc;
    for (uint32_t i = 0; i < month->plan_count; i++)
        if (month->plans[i]->version == plan->version &&
            strcmp(month->plans[i]->name, plan->name) == 0) {
            *ret_index = i;
            return RC_OK;
        }
    if (month->plan_count == STATEMENT_PLAN_MAX)
        return error_set(err, RC_TOO_LARGE, "%u plans in one month", STATEMENT_PLAN_MAX);
    month->plans[month->plan_count] = plan;
    *ret_index = month->plan_count++;
    return RC_OK;
}

/* All of the month and the request on top, priced. Usage in another currency than the plan of now
 * cannot be compared with the cap, and is left out. */
static enum rc month_usage(struct account *account, const struct quota_facts *facts,
                           const struct quota_request *request, struct month *month,
                           uint64_t *ret_micro, struct error *err)
{
    const struct account_tenant *tenant = facts->tenant;
    const struct plan *current = NULL;
    enum rc rc = plan_kept_get(account, tenant->plan, tenant->plan_version, &current, err);
    for (uint32_t i = 0; rc == RC_OK && i < facts->month_count; i++) {
        const struct quota_usage *row = &facts->month[i];
        const struct plan *plan = NULL;
        uint32_t index = 0;
        rc = plan_kept_get(account, row->plan, row->plan_version, &plan, err);
        if (rc != RC_OK || (plan_costs(plan) && strcmp(plan->currency, current->currency) != 0))
            continue;
        rc = month_plan(account, month, row->plan, row->plan_version, &index, err);
        month->quantities[month->quantity_count++] = (struct quantity){
            .model = row->model, .plan = index, .image_count = row->used + row->held};
    }
    uint32_t index = 0;
    if (rc == RC_OK)
        rc = month_plan(account, month, tenant->plan, tenant->plan_version, &index, err);
    if (rc != RC_OK)
        return rc;
    month->quantities[month->quantity_count++] = (struct quantity){
        .model = request->model, .plan = index, .image_count = request->image_count};
    return statement_usage(month->plans, month->plan_count, month->quantities,
                           month->quantity_count, ret_micro, err);
}

static enum rc decide_cap(struct account *account, const struct quota_facts *facts,
                          struct quota_request *request, uint64_t now_ms, struct error *err)
{
    struct quantity *quantities = calloc(facts->month_count + 1u, sizeof(*quantities));
    if (quantities == NULL)
        return error_set(err, RC_NO_MEMORY, "a month's quantities");
    struct month month = {.quantities = quantities};
    uint64_t micro = 0;
    enum rc rc = month_usage(account, facts, request, &month, &micro, err);
    free(quantities);
    /* More than fits into a number is more than any cap. */
    if (rc == RC_OK ? micro > facts->tenant->hard_cap_micro : rc == RC_TOO_LARGE) {
        request->refusal = QUOTA_CAP;
        request->retry_at_ms = month_end_ms(now_ms);
        rc = RC_OK;
    }
    return rc;
}

enum rc quota_decide(struct account *account, const struct quota_facts *facts,
                     struct quota_request *request, uint64_t now_ms, struct error *err)
{
    request->refusal = QUOTA_PASS;
    request->retry_at_ms = 0;
    request->day_remaining = 0;
    if (request->images_per_day > 0) {
        uint64_t taken = facts->day.used + facts->day.held;
        uint64_t left = request->images_per_day > taken ? request->images_per_day - taken : 0;
        request->day_remaining = left;
        if (request->image_count > left) {
            request->refusal = QUOTA_DAY;
            request->retry_at_ms = (now_ms / MS_PER_DAY + 1) * MS_PER_DAY;
            return RC_OK;
        }
        request->day_remaining = left - request->image_count;
    }
    if (facts->tenant->hard_cap_micro == 0)
        return RC_OK;
    enum rc rc = decide_cap(account, facts, request, now_ms, err);
    if (rc == RC_OK && request->refusal != QUOTA_PASS && request->images_per_day > 0)
        request->day_remaining += request->image_count;
    return rc;
}

static enum rc check_names(const char *tenant, const char *key, const char *model,
                           struct error *err)
{
    if (!account_tenant_fits(tenant))
        return error_set(err, RC_NOT_FOUND, "there is no such tenant");
    enum rc rc = account_name_check("key", key, IDENTITY_KEY_SIZE, err);
    return rc == RC_OK ? account_name_check("model", model, PLAN_MODEL_SIZE, err) : rc;
}

static enum rc check_batch(uint32_t count, struct error *err)
{
    if (count == 0 || count > QUOTA_BATCH_MAX)
        return error_set(err, RC_INVALID, "a batch has 1 to %u items", QUOTA_BATCH_MAX);
    return RC_OK;
}

enum rc account_reserve(struct account *account, struct quota_request requests[], uint32_t count,
                        uint32_t hold_ms, uint64_t now_ms, struct error *err)
{
    assert(account != NULL && requests != NULL);
    enum rc rc = check_batch(count, err);
    if (rc != RC_OK)
        return rc;
    if (hold_ms == 0 || hold_ms > QUOTA_HOLD_MS_MAX)
        return error_set(err, RC_INVALID, "a reservation holds for 1 to %u ms", QUOTA_HOLD_MS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct quota_request *request = &requests[i];
        request->refusal = QUOTA_PASS;
        request->retry_at_ms = 0;
        request->day_remaining = 0;
        request->rc = check_names(request->tenant, request->key, request->model, &request->err);
        if (request->rc == RC_OK &&
            (request->image_count == 0 || request->image_count > UINT32_MAX))
            request->rc = error_set(&request->err, RC_INVALID, "1 to 2^32-1 images");
    }
    /* The driver passes over items whose rc is not RC_OK. */
    return account->ops->reserve(account, requests, count, now_ms + hold_ms, now_ms, err);
}

enum rc account_settle(struct account *account, struct quota_settlement settlements[],
                       uint32_t count, struct error *err)
{
    assert(account != NULL && settlements != NULL);
    enum rc rc = check_batch(count, err);
    if (rc != RC_OK)
        return rc;
    for (uint32_t i = 0; i < count; i++)
        settlements[i].rc = !account_tenant_fits(settlements[i].tenant) ? RC_NOT_FOUND
                            : settlements[i].image_count > UINT32_MAX   ? RC_INVALID
                                                                        : RC_OK;
    return account->ops->settle(account, settlements, count, err);
}

enum rc account_quota_day(struct account *account, const char *tenant, const char *key,
                          uint64_t now_ms, struct quota_day *ret_day, struct error *err)
{
    assert(account != NULL && ret_day != NULL);
    enum rc rc = check_names(tenant, key, "", err);
    if (rc == RC_OK)
        rc = account->ops->quota_day(account, tenant, key, quota_period_of(now_ms).day, ret_day,
                                     err);
    return rc;
}

enum rc account_quota_month(struct account *account, const char *tenant, uint64_t at_ms,
                            struct quota_usage *into, uint32_t count_max, uint32_t *ret_count,
                            struct error *err)
{
    assert(account != NULL && into != NULL && ret_count != NULL);
    enum rc rc = check_names(tenant, "", "", err);
    if (rc == RC_OK)
        rc = account->ops->quota_month(account, tenant, quota_period_of(at_ms).month, into,
                                       count_max, ret_count, err);
    return rc;
}

enum rc account_quota_correct(struct account *account, const char *tenant, uint64_t at_ms,
                              const struct quota_usage known[], uint32_t known_count,
                              const struct quota_usage rows[], uint32_t count, bool *ret_moved,
                              struct error *err)
{
    assert(account != NULL && (rows != NULL || count == 0) && ret_moved != NULL);
    assert(known != NULL || known_count == 0);
    enum rc rc = check_names(tenant, "", "", err);
    if (rc == RC_OK && count > QUOTA_MONTH_ROWS_MAX)
        rc = error_set(err, RC_INVALID, "a month has %u rows at most", QUOTA_MONTH_ROWS_MAX);
    for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
        rc = account_name_check("plan", rows[i].plan, PLAN_NAME_SIZE, err);
        if (rc == RC_OK)
            rc = account_name_check("model", rows[i].model, PLAN_MODEL_SIZE, err);
        if (rc == RC_OK && rows[i].used > MICRO_MAX / 2)
            rc = error_set(err, RC_INVALID, "a month's images are below 2^62");
    }
    if (rc == RC_OK)
        rc = account->ops->quota_correct(account, tenant, quota_period_of(at_ms).month, at_ms,
                                         known, known_count, rows, count, ret_moved, err);
    return rc;
}

/* spent / budget >= percent / 100. What does not fit into 64 bits cannot have been spent. */
static bool has_reached(uint64_t spent, uint64_t budget, uint8_t percent)
{
    uint64_t part = budget % 100 * percent;
    uint64_t needed;
    if (__builtin_mul_overflow(budget / 100, (uint64_t)percent, &needed) ||
        __builtin_add_overflow(needed, part / 100 + (part % 100 != 0), &needed))
        return false;
    return spent >= needed;
}

enum rc account_budget_alerts(struct account *account, const char *tenant_id, uint64_t at_ms,
                              uint64_t spent_micro, enum alerts_how how,
                              uint8_t ret_percents[ACCOUNT_ALERT_MAX], uint32_t *ret_count,
                              struct error *err)
{
    assert(account != NULL && ret_percents != NULL && ret_count != NULL);
    struct account_tenant tenant;
    enum rc rc = account_tenant_get(account, tenant_id, &tenant, err);
    if (rc != RC_OK)
        return rc;
    uint8_t reached[ACCOUNT_ALERT_MAX];
    bool fresh[ACCOUNT_ALERT_MAX] = {false};
    uint32_t reached_count = 0;
    for (uint32_t i = 0; tenant.budget_micro > 0 && i < ACCOUNT_ALERT_MAX; i++) {
        uint8_t percent = tenant.alert_percents[i];
        if (percent != 0 && has_reached(spent_micro, tenant.budget_micro, percent))
            reached[reached_count++] = percent;
    }
    if (reached_count > 0)
        rc = account->ops->alerts_fresh(account, tenant_id, quota_period_of(at_ms).month, how,
                                        reached, reached_count, fresh, err);
    if (rc != RC_OK)
        return rc;
    *ret_count = 0;
    for (uint32_t i = 0; i < reached_count; i++)
        if (fresh[i])
            ret_percents[(*ret_count)++] = reached[i];
    return RC_OK;
}

static enum rc settle_expired(struct account *account, const struct account_ledger *ledger,
                              uint64_t now_ms, uint32_t *ret_count, struct error *err)
{
    struct quota_expired *expired = calloc(MAINTAIN_MAX, sizeof(*expired));
    struct quota_settlement *settlements = calloc(MAINTAIN_MAX, sizeof(*settlements));
    uint32_t count = 0;
    enum rc rc = expired == NULL || settlements == NULL
                     ? error_set(err, RC_NO_MEMORY, "%u reservations", MAINTAIN_MAX)
                     : account->ops->expired(account, now_ms, expired, MAINTAIN_MAX, &count, err);
    uint32_t settled = 0;
    for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
        struct quota_settlement *settlement = &settlements[settled];
        *settlement = (struct quota_settlement){
            .id = expired[i].id, .tenant = expired[i].tenant, .committed_ms = now_ms};
        enum rc found = RC_NOT_FOUND;
        if (ledger != NULL)
            found =
                ledger->find(ledger->ctx, expired[i].tenant, expired[i].id, expired[i].image_count,
                             &settlement->image_count, &settlement->committed_ms, err);
        if (found == RC_NOT_FOUND)
            settlement->image_count = 0;
        /* A ledger that does not answer decides nothing: it stays held, and is asked again. */
        settled += found == RC_OK || found == RC_NOT_FOUND;
        if (found != RC_OK && found != RC_NOT_FOUND && settled == 0 && i + 1 == count)
            rc = found;
    }
    if (rc == RC_OK && settled > 0)
        rc = account_settle(account, settlements, settled, err);
    free(expired);
    free(settlements);
    if (rc == RC_OK)
        *ret_count = settled;
    return rc;
}

enum rc account_maintain(struct account *account, const struct account_ledger *ledger,
                         uint64_t now_ms, bool *ret_more, struct error *err)
{
    assert(account != NULL && ret_more != NULL);
    struct identity_use *uses = calloc(MAINTAIN_MAX, sizeof(*uses));
    if (uses == NULL)
        return error_set(err, RC_NO_MEMORY, "%u keys", MAINTAIN_MAX);
    uint32_t use_count = 0;
    uint32_t settled_count = 0;
    uint32_t forgotten_count = 0;
    identity_cache_take_uses(account->cache, now_ms, USED_EVERY_MS, uses, MAINTAIN_MAX, &use_count);
    enum rc rc = RC_OK;
    if (use_count > 0)
        rc = account->ops->keys_used(account, uses, use_count, err);
    free(uses);
    if (rc == RC_OK)
        rc = settle_expired(account, ledger, now_ms, &settled_count, err);
    if (rc == RC_OK && now_ms > QUOTA_KNOWN_MS)
        rc = account->ops->forget(account, now_ms - QUOTA_KNOWN_MS, MAINTAIN_MAX, &forgotten_count,
                                  err);
    if (rc == RC_OK)
        *ret_more = use_count == MAINTAIN_MAX || settled_count == MAINTAIN_MAX ||
                    forgotten_count == MAINTAIN_MAX;
    return rc;
}
