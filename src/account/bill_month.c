/* SPDX-License-Identifier: Apache-2.0 */
#include "account/bill_month.h"
#include "account/driver.h"

#include <stdlib.h>
#include <string.h>

#define MS_PER_DAY    86400000ull
#define TENURE_MAX    10000u
#define TENURE_PAGE   ACCOUNT_LIST_MAX
#define USED_ROOM_MIN 16u

/* A row of the ledger's sums. */
struct bill_used {
    char model[PLAN_MODEL_SIZE];
    char plan[PLAN_NAME_SIZE];
    uint32_t plan_version;
    uint64_t image_count;
};

enum rc bill_tenures_read(const struct bill_source *source, struct bill_tenures *tenures,
                          struct error *err)
{
    *tenures = (struct bill_tenures){0};
    uint32_t count = source->account != NULL ? TENURE_PAGE : 0;
    uint64_t from_ms = 0;
    enum rc rc = RC_OK;
    while (rc == RC_OK && count == TENURE_PAGE) {
        if (tenures->count + TENURE_PAGE > TENURE_MAX)
            return error_set(err, RC_TOO_LARGE, "a tenant that changed its plan over %u times",
                             TENURE_MAX);
        struct account_tenure *grown =
            realloc(tenures->rows, (tenures->count + TENURE_PAGE) * sizeof(*grown));
        if (grown == NULL)
            return error_set(err, RC_NO_MEMORY, "a tenant's plans");
        tenures->rows = grown;
        rc = account_tenure_list(source->account, source->tenant, from_ms, grown + tenures->count,
                                 TENURE_PAGE, &count, err);
        if (rc == RC_OK && count > 0) {
            tenures->count += count;
            from_ms = grown[tenures->count - 1].since_ms + 1;
        }
    }
    return rc;
}

void bill_tenures_done(struct bill_tenures *tenures)
{
    free(tenures->rows);
    *tenures = (struct bill_tenures){0};
}

static enum rc too_long(struct bytes text, struct error *err)
{
    return error_set(err, RC_INTERNAL, "the ledger has a name of %zu bytes", text.size);
}

struct used_reading {
    struct bill_month *month;
    struct error *err;
};

static enum rc used_add(void *ctx, const struct results_quantity *row)
{
    struct used_reading *reading = ctx;
    struct bill_month *month = reading->month;
    if (row->model.size >= PLAN_MODEL_SIZE)
        return too_long(row->model, reading->err);
    if (row->plan.size >= PLAN_NAME_SIZE)
        return too_long(row->plan, reading->err);
    if (month->used_count == STATEMENT_QUANTITY_MAX)
        return error_set(reading->err, RC_TOO_LARGE, "over %u models and plans in a month",
                         STATEMENT_QUANTITY_MAX);
    if (month->used_count == month->used_room) {
        uint32_t room = month->used_room == 0 ? USED_ROOM_MIN : month->used_room * 2;
        struct bill_used *grown = realloc(month->used, room * sizeof(*grown));
        if (grown == NULL)
            return error_set(reading->err, RC_NO_MEMORY, "a month's usage");
        month->used = grown;
        month->used_room = room;
    }
    struct bill_used *used = &month->used[month->used_count++];
    *used = (struct bill_used){.plan_version = row->plan_version, .image_count = row->images};
    memcpy(used->model, row->model.data, row->model.size);
    if (row->plan.size > 0)
        memcpy(used->plan, row->plan.data, row->plan.size);
    return RC_OK;
}

uint32_t bill_month_plan(const struct bill_month *month, struct bytes name, uint32_t version)
{
    for (uint32_t i = 0; i < month->plan_count; i++)
        if (month->plans[i]->version == version &&
            bytes_equal(bytes_of(month->plans[i]->name), name))
            return i;
    return UINT32_MAX;
}

static enum rc plan_append(struct account *account, struct bill_month *month, const char *name,
                           uint32_t version, bool again, struct error *err)
{
    if (!again && bill_month_plan(month, bytes_of(name), version) != UINT32_MAX)
        return RC_OK;
    if (month->plan_count == STATEMENT_PLAN_MAX)
        return error_set(err, RC_TOO_LARGE, "over %u plans in one month", STATEMENT_PLAN_MAX);
    const struct plan *plan = &plan_none;
    enum rc rc = RC_OK;
    if (name[0] != '\0' && account == NULL)
        return error_set(err, RC_NOT_FOUND,
                         "there are no accounts here, so nobody knows the prices of the plan %s",
                         name);
    if (name[0] != '\0')
        rc = plan_kept_get(account, name, version, &plan, err);
    if (rc == RC_NOT_FOUND)
        rc = error_set(err, RC_INTERNAL, "the plan %s %u that was used is gone", name, version);
    if (rc == RC_OK)
        month->plans[month->plan_count++] = plan;
    return rc;
}

static int compare_plans(const void *a, const void *b)
{
    const struct plan *first = *(const struct plan *const *)a;
    const struct plan *second = *(const struct plan *const *)b;
    int order = strcmp(first->name, second->name);
    return order != 0 ? order
                      : (first->version > second->version) - (first->version < second->version);
}

static bool is_in_tenures(const struct account_tenure *rows, uint32_t count,
                          const struct bill_used *used)
{
    for (uint32_t i = 0; i < count; i++)
        if (rows[i].plan_version == used->plan_version && strcmp(rows[i].plan, used->plan) == 0)
            return true;
    return false;
}

/* Plans that were used without being the tenant's in this month come first, by name: a server may
 * go on for some seconds under the plan of before, and midnight may be among them. */
static enum rc order_plans(const struct bill_source *source, const struct bill_tenures *tenures,
                           struct bill_month *month, struct error *err)
{
    uint32_t first = 0;
    uint32_t end = 0;
    for (; end < tenures->count && tenures->rows[end].since_ms < month->end_ms; end++)
        if (tenures->rows[end].since_ms <= month->start_ms)
            first = end;
    const struct account_tenure *rows = end > 0 ? &tenures->rows[first] : NULL;
    uint32_t count = end - first;
    enum rc rc = RC_OK;
    for (uint32_t i = 0; rc == RC_OK && i < month->used_count; i++)
        if (!is_in_tenures(rows, count, &month->used[i]))
            rc = plan_append(source->account, month, month->used[i].plan,
                             month->used[i].plan_version, false, err);
    if (month->plan_count > 1)
        qsort(month->plans, month->plan_count, sizeof(struct plan *), compare_plans);
    for (uint32_t i = 0; rc == RC_OK && i < count; i++)
        rc = plan_append(source->account, month, rows[i].plan, rows[i].plan_version, false, err);
    if (rc != RC_OK || count == 0)
        return rc == RC_OK && month->plan_count == 0 ? plan_append(NULL, month, "", 0, false, err)
                                                     : rc;
    const struct account_tenure *last = &rows[count - 1];
    bool is_last =
        bill_month_plan(month, bytes_of(last->plan), last->plan_version) + 1 == month->plan_count;
    return is_last ? RC_OK
                   : plan_append(source->account, month, last->plan, last->plan_version, true, err);
}

static enum rc currency_find(struct bill_month *month, const char *text, uint32_t *ret_index,
                             struct error *err)
{
    for (uint32_t i = 0; i < month->currency_count; i++)
        if (strcmp(month->currencies[i].text, text) == 0) {
            *ret_index = i;
            return RC_OK;
        }
    if (month->currency_count == BILL_CURRENCY_MAX)
        return error_set(err, RC_TOO_LARGE, "over %u currencies in one month", BILL_CURRENCY_MAX);
    memcpy(month->currencies[month->currency_count].text, text, 4);
    *ret_index = month->currency_count++;
    return RC_OK;
}

/* The currency the month ended with becomes the last one. */
static enum rc split_plans(struct bill_month *month, struct error *err)
{
    const struct plan *money = month->plans[month->plan_count - 1];
    for (uint32_t i = month->plan_count; i > 0 && !plan_costs(money); i--)
        if (plan_costs(month->plans[i - 1]))
            money = month->plans[i - 1];
    enum rc rc = RC_OK;
    uint32_t index = 0;
    for (uint32_t i = 0; rc == RC_OK && i < month->plan_count; i++)
        if (plan_costs(month->plans[i]) && strcmp(month->plans[i]->currency, money->currency) != 0)
            rc = currency_find(month, month->plans[i]->currency, &index, err);
    uint32_t main = 0;
    if (rc == RC_OK)
        rc = currency_find(month, money->currency, &main, err);
    for (uint32_t i = 0; rc == RC_OK && i < month->plan_count; i++) {
        const struct plan *plan = month->plans[i];
        index = main;
        if (plan_costs(plan))
            rc = currency_find(month, plan->currency, &index, err);
        struct bill_currency *currency = &month->currencies[index];
        month->currency_of[i] = index;
        month->place_of[i] = currency->plan_count;
        currency->plans[currency->plan_count++] = plan;
    }
    /* The month has one minimum, its last plan's. There is room: the last currency has plans too.
     */
    for (uint32_t i = 0; rc == RC_OK && i < main; i++)
        month->currencies[i].plans[month->currencies[i].plan_count++] = &plan_none;
    return rc;
}

static enum rc split_used(struct bill_month *month, struct error *err)
{
    for (uint32_t i = 0; i < month->currency_count; i++) {
        month->currencies[i].quantities =
            calloc(month->used_count + 1u, sizeof(*month->currencies[i].quantities));
        if (month->currencies[i].quantities == NULL)
            return error_set(err, RC_NO_MEMORY, "a month's usage");
    }
    for (uint32_t i = 0; i < month->used_count; i++) {
        const struct bill_used *used = &month->used[i];
        uint32_t plan = bill_month_plan(month, bytes_of(used->plan), used->plan_version);
        struct bill_currency *currency = &month->currencies[month->currency_of[plan]];
        currency->quantities[currency->quantity_count++] = (struct quantity){
            .model = used->model, .plan = month->place_of[plan], .image_count = used->image_count};
    }
    return RC_OK;
}

enum rc bill_month_open(const struct bill_source *source, const struct bill_tenures *tenures,
                        uint64_t at_ms, struct bill_month *month, struct error *err)
{
    *month = (struct bill_month){0};
    char text[MONTH_TEXT_SIZE];
    month_text(at_ms, text);
    enum rc rc = month_parse(text, &month->start_ms, &month->end_ms);
    struct used_reading reading = {month, err};
    if (rc == RC_OK)
        rc = results_usage(source->results, bytes_of(source->tenant),
                           (uint32_t)(month->start_ms / MS_PER_DAY),
                           (uint32_t)(month->end_ms / MS_PER_DAY),
                           RESULTS_BY_MODEL | RESULTS_BY_PLAN, used_add, &reading, err);
    if (rc == RC_OK)
        rc = order_plans(source, tenures, month, err);
    if (rc == RC_OK)
        rc = split_plans(month, err);
    return rc == RC_OK ? split_used(month, err) : rc;
}

void bill_month_done(struct bill_month *month)
{
    for (uint32_t i = 0; i < month->currency_count; i++)
        free(month->currencies[i].quantities);
    free(month->used);
    *month = (struct bill_month){0};
}
