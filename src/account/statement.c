/* SPDX-License-Identifier: Apache-2.0
 * statement.c - quantities and plans in, money out. Every product and sum is checked. */
#include "account/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define NO_PRICE      UINT32_MAX
#define LINE_ROOM_MIN 16u

struct sum {
    const struct plan *const *plans;
    uint32_t plan_count;
    const struct quantity *quantities;
    uint32_t quantity_count;
    struct statement *statement; /* NULL: only usage_micro is wanted */
    uint32_t line_room;
    uint64_t usage_micro;
};

static uint32_t price_of(const struct plan *plan, const char *model)
{
    uint32_t any = NO_PRICE;
    for (uint32_t i = 0; i < plan->price_count; i++) {
        if (strcmp(plan->prices[i].model, model) == 0)
            return i;
        if (strcmp(plan->prices[i].model, "*") == 0)
            any = i;
    }
    return any;
}

static enum rc too_large(struct error *err)
{
    return error_set(err, RC_TOO_LARGE, "the statement's numbers do not fit into 63 bits");
}

static enum rc add(uint64_t *sum, uint64_t more, struct error *err)
{
    uint64_t next;
    if (__builtin_add_overflow(*sum, more, &next) || next > MICRO_MAX)
        return too_large(err);
    *sum = next;
    return RC_OK;
}

static enum rc emit(struct sum *sum, const struct statement_line *line, struct error *err)
{
    struct statement *statement = sum->statement;
    if (statement == NULL)
        return RC_OK;
    if (statement->line_count == sum->line_room) {
        uint32_t room = sum->line_room == 0 ? LINE_ROOM_MIN : sum->line_room * 2;
        struct statement_line *grown = realloc(statement->lines, room * sizeof(*grown));
        if (grown == NULL)
            return error_set(err, RC_NO_MEMORY, "%u lines", room);
        statement->lines = grown;
        sum->line_room = room;
    }
    statement->lines[statement->line_count++] = *line;
    return add(&statement->total_micro, line->amount_micro, err);
}

/* `count` images at `unit` each. */
static enum rc charge(struct sum *sum, struct statement_line *line, struct error *err)
{
    if (line->image_count == 0)
        return RC_OK;
    if (__builtin_mul_overflow(line->image_count, line->unit_micro, &line->amount_micro))
        return too_large(err);
    enum rc rc = add(&sum->usage_micro, line->amount_micro, err);
    return rc == RC_OK ? emit(sum, line, err) : rc;
}

/* Images `before`+1 .. `before`+`count` of the month, at one row's prices. */
static enum rc charge_row(struct sum *sum, const struct plan *plan, const struct plan_price *price,
                          uint64_t before, uint64_t count, struct error *err)
{
    uint64_t end;
    if (__builtin_add_overflow(before, count, &end) || end > MICRO_MAX)
        return too_large(err);
    struct statement_line line = {.kind = LINE_FREE, .plan_version = plan->version};
    memcpy(line.model, price->model, sizeof(line.model));
    memcpy(line.plan, plan->name, sizeof(line.plan));
    uint64_t at = before;
    uint64_t free_end = price->image_free < end ? price->image_free : end;
    if (free_end > at) {
        line.image_first = at + 1;
        line.image_count = free_end - at;
        at = free_end;
        enum rc rc = charge(sum, &line, err);
        if (rc != RC_OK)
            return rc;
    }
    line.kind = LINE_TIER;
    for (uint32_t i = 0; i < price->tier_count && at < end; i++) {
        const struct plan_tier *tier = &price->tiers[i];
        uint64_t tier_end = tier->image_last < end ? tier->image_last : end;
        if (tier_end <= at)
            continue;
        line.image_first = at + 1;
        line.image_count = tier_end - at;
        line.unit_micro = tier->micro;
        at = tier_end;
        enum rc rc = charge(sum, &line, err);
        if (rc != RC_OK)
            return rc;
    }
    assert(at == end);
    return RC_OK;
}

static enum rc charge_priced(struct sum *sum, uint32_t plan_index, struct error *err)
{
    const struct plan *plan = sum->plans[plan_index];
    uint64_t before[PLAN_PRICE_MAX] = {0};
    uint64_t count[PLAN_PRICE_MAX] = {0};
    for (uint32_t i = 0; i < sum->quantity_count; i++) {
        const struct quantity *quantity = &sum->quantities[i];
        uint32_t row = quantity->plan > plan_index ? NO_PRICE : price_of(plan, quantity->model);
        if (row == NO_PRICE)
            continue;
        uint64_t *into = quantity->plan < plan_index ? &before[row] : &count[row];
        enum rc rc = add(into, quantity->image_count, err);
        if (rc != RC_OK)
            return rc;
    }
    for (uint32_t i = 0; i < plan->price_count; i++) {
        if (count[i] == 0)
            continue;
        enum rc rc = charge_row(sum, plan, &plan->prices[i], before[i], count[i], err);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static int compare_models(const void *a, const void *b)
{
    const struct statement_line *first = a;
    const struct statement_line *second = b;
    int order = strcmp(first->model, second->model);
    return order;
}

/* Models without a price are listed as well, each once: nothing that was used is left out. */
static enum rc list_unpriced(struct sum *sum, uint32_t plan_index, struct error *err)
{
    const struct plan *plan = sum->plans[plan_index];
    if (sum->statement == NULL)
        return RC_OK;
    uint32_t first = sum->statement->line_count;
    for (uint32_t i = 0; i < sum->quantity_count; i++) {
        const struct quantity *quantity = &sum->quantities[i];
        if (quantity->plan != plan_index || quantity->image_count == 0 ||
            price_of(plan, quantity->model) != NO_PRICE)
            continue;
        struct statement_line *line = NULL;
        for (uint32_t k = first; k < sum->statement->line_count && line == NULL; k++)
            if (strcmp(sum->statement->lines[k].model, quantity->model) == 0)
                line = &sum->statement->lines[k];
        enum rc rc;
        if (line != NULL) {
            rc = add(&line->image_count, quantity->image_count, err);
        } else {
            struct statement_line fresh = {.kind = LINE_UNPRICED,
                                           .plan_version = plan->version,
                                           .image_count = quantity->image_count};
            memcpy(fresh.model, quantity->model, strlen(quantity->model) + 1);
            memcpy(fresh.plan, plan->name, sizeof(fresh.plan));
            rc = emit(sum, &fresh, err);
        }
        if (rc != RC_OK)
            return rc;
    }
    if (sum->statement->line_count > first)
        qsort(sum->statement->lines + first, sum->statement->line_count - first,
              sizeof(sum->statement->lines[0]), compare_models);
    return RC_OK;
}

bool plan_costs(const struct plan *plan)
{
    return plan->price_count > 0 || plan->minimum_micro > 0;
}

static const struct plan *currency_of(const struct plan *const plans[], uint32_t plan_count)
{
    for (uint32_t i = plan_count; i > 0; i--)
        if (plan_costs(plans[i - 1]))
            return plans[i - 1];
    return plans[plan_count - 1];
}

/* What costs nothing has no currency that could be mixed up. */
static enum rc check(const struct sum *sum, struct error *err)
{
    if (sum->plan_count == 0 || sum->plan_count > STATEMENT_PLAN_MAX ||
        sum->quantity_count > STATEMENT_QUANTITY_MAX)
        return error_set(err, RC_TOO_LARGE, "%u plans and %u quantities; at most %u and %u",
                         sum->plan_count, sum->quantity_count, STATEMENT_PLAN_MAX,
                         STATEMENT_QUANTITY_MAX);
    const struct plan *money = currency_of(sum->plans, sum->plan_count);
    for (uint32_t i = 0; i < sum->plan_count; i++) {
        const struct plan *plan = sum->plans[i];
        if (plan_costs(plan) && strcmp(plan->currency, money->currency) != 0)
            return error_set(err, RC_INVALID,
                             "plan %s %u is in %s, plan %s %u in %s: a month has one currency",
                             plan->name, plan->version, plan->currency, money->name, money->version,
                             money->currency);
    }
    for (uint32_t i = 0; i < sum->quantity_count; i++) {
        const struct quantity *quantity = &sum->quantities[i];
        if (quantity->plan >= sum->plan_count || quantity->model == NULL ||
            strnlen(quantity->model, PLAN_MODEL_SIZE) >= PLAN_MODEL_SIZE)
            return error_set(err, RC_INVALID, "quantity %u has no plan or no model's name", i);
    }
    return RC_OK;
}

static enum rc charge_all(struct sum *sum, struct error *err)
{
    enum rc rc = check(sum, err);
    for (uint32_t i = 0; rc == RC_OK && i < sum->plan_count; i++) {
        rc = charge_priced(sum, i, err);
        if (rc == RC_OK)
            rc = list_unpriced(sum, i, err);
    }
    return rc;
}

enum rc statement_usage(const struct plan *const plans[], uint32_t plan_count,
                        const struct quantity quantities[], uint32_t quantity_count,
                        uint64_t *ret_micro, struct error *err)
{
    assert(ret_micro != NULL);
    struct sum sum = {plans, plan_count, quantities, quantity_count, NULL, 0, 0};
    enum rc rc = charge_all(&sum, err);
    if (rc == RC_OK)
        *ret_micro = sum.usage_micro;
    return rc;
}

enum rc statement_compute(const struct plan *const plans[], uint32_t plan_count,
                          const struct quantity quantities[], uint32_t quantity_count,
                          struct statement *ret_statement, struct error *err)
{
    assert(ret_statement != NULL);
    struct statement statement = {0};
    struct sum sum = {plans, plan_count, quantities, quantity_count, &statement, 0, 0};
    enum rc rc = charge_all(&sum, err);
    for (uint32_t i = 0; rc == RC_OK && i < quantity_count; i++)
        rc = add(&statement.image_count, quantities[i].image_count, err);
    if (rc == RC_OK) {
        const struct plan *last = plans[plan_count - 1];
        memcpy(statement.currency, currency_of(plans, plan_count)->currency,
               sizeof(statement.currency));
        statement.usage_micro = sum.usage_micro;
        statement.minimum_micro = last->minimum_micro;
        if (last->minimum_micro > sum.usage_micro) {
            struct statement_line line = {.kind = LINE_MINIMUM,
                                          .plan_version = last->version,
                                          .amount_micro = last->minimum_micro - sum.usage_micro};
            memcpy(line.plan, last->name, sizeof(line.plan));
            rc = emit(&sum, &line, err);
        }
    }
    if (rc == RC_OK)
        *ret_statement = statement;
    else
        statement_done(&statement);
    return rc;
}

void statement_done(struct statement *statement)
{
    free(statement->lines);
    *statement = (struct statement){0};
}

/* Where each row of each plan's prices begins: behind what was used under the plans before. */
static enum rc meter_place(struct meter *meter, const struct quantity *quantity, struct error *err)
{
    enum rc rc = RC_OK;
    for (uint32_t i = quantity->plan + 1; rc == RC_OK && i < meter->plan_count; i++) {
        uint32_t row = price_of(meter->plans[i], quantity->model);
        if (row != NO_PRICE)
            rc = add(&meter->positions[i][row], quantity->image_count, err);
    }
    return rc;
}

enum rc meter_start(struct meter *meter, const struct plan *const plans[], uint32_t plan_count,
                    const struct quantity quantities[], uint32_t quantity_count, struct error *err)
{
    assert(meter != NULL);
    struct sum sum = {plans, plan_count, quantities, quantity_count, NULL, 0, 0};
    *meter = (struct meter){.plans = plans, .plan_count = plan_count};
    enum rc rc = check(&sum, err);
    for (uint32_t i = 0; rc == RC_OK && i < quantity_count; i++)
        rc = meter_place(meter, &quantities[i], err);
    return rc;
}

enum rc meter_add(struct meter *meter, const struct quantity *quantity, uint64_t *ret_micro,
                  struct error *err)
{
    assert(ret_micro != NULL && quantity->plan < meter->plan_count);
    const struct plan *plan = meter->plans[quantity->plan];
    struct sum sum = {0};
    uint32_t row = price_of(plan, quantity->model);
    enum rc rc = RC_OK;
    if (row != NO_PRICE) {
        uint64_t *position = &meter->positions[quantity->plan][row];
        rc = charge_row(&sum, plan, &plan->prices[row], *position, quantity->image_count, err);
        if (rc == RC_OK)
            *position += quantity->image_count;
    }
    if (rc == RC_OK)
        *ret_micro = sum.usage_micro;
    return rc;
}
