/* SPDX-License-Identifier: Apache-2.0 */
#include "api/usage_print.h"

#include "api/moment.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* In the order of the columns. */
static const struct {
    const char *name;
    uint32_t bit;
} groups[] = {
    {"day", RESULTS_BY_DAY},
    {"model", RESULTS_BY_MODEL},
    {"version", RESULTS_BY_VERSION},
    {"key", RESULTS_BY_KEY},
};
#define GROUP_COUNT (sizeof(groups) / sizeof(groups[0]))

struct printing {
    const struct usage_question *question;
    struct buf *into;
    uint32_t row_count;
    uint64_t requests;
    uint64_t images;
    struct amount {
        char currency[4];
        uint64_t micro;
    } amounts[BILL_CURRENCY_MAX];
    uint32_t amount_count;
    struct error *err;
};

enum rc usage_group_read(struct bytes text, uint32_t *ret_group, struct error *err)
{
    uint32_t group = 0;
    while (text.size > 0) {
        const uint8_t *comma = memchr(text.data, ',', text.size);
        struct bytes name = {text.data, comma != NULL ? (size_t)(comma - text.data) : text.size};
        size_t used = name.size + (comma != NULL);
        text = (struct bytes){text.data + used, text.size - used};
        uint32_t bit = 0;
        for (size_t i = 0; i < GROUP_COUNT; i++)
            if (bytes_equal(name, bytes_of(groups[i].name)))
                bit = groups[i].bit;
        if (bit == 0)
            return error_set(err, RC_INVALID,
                             "group has '%.*s'; it is a list of day, model, version and key, "
                             "separated by commas",
                             (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
        group |= bit;
    }
    *ret_group = group;
    return RC_OK;
}

enum rc usage_month_read(struct bytes text, char into[MONTH_TEXT_SIZE], uint64_t *ret_start_ms,
                         uint64_t *ret_end_ms, struct error *err)
{
    if (text.size == MONTH_TEXT_SIZE - 1) {
        memcpy(into, text.data, text.size);
        into[text.size] = '\0';
        if (month_parse(into, ret_start_ms, ret_end_ms) == RC_OK)
            return RC_OK;
    }
    return error_set(err, RC_INVALID, "month is '%.*s'; it must be a month like 2026-11",
                     (int)(text.size < 40 ? text.size : 40), (const char *)text.data);
}

/* "cost_micro": 20000, "cost": "0.02" */
static void set_money(json_t *object, const char *name, uint64_t micro)
{
    char key[40];
    char text[MONEY_TEXT_SIZE];
    money_text(micro, text);
    (void)snprintf(key, sizeof(key), "%s_micro", name);
    json_object_set_new(object, key, json_integer((json_int_t)micro));
    json_object_set_new(object, name, json_string(text));
}

static json_t *text_of(struct bytes text)
{
    return json_stringn((const char *)text.data, text.size);
}

static enum rc print_json(const struct printing *printing, const struct bill_row *row,
                          struct buf *into)
{
    const struct results_quantity *quantity = &row->quantity;
    char day[DAY_TEXT_SIZE];
    day_text(quantity->day, day);
    json_t *value = json_object();
    if (printing->question->group & RESULTS_BY_DAY)
        json_object_set_new(value, "day", json_string(day));
    if (printing->question->group & RESULTS_BY_MODEL)
        json_object_set_new(value, "model", text_of(quantity->model));
    if (printing->question->group & RESULTS_BY_VERSION)
        json_object_set_new(value, "version", text_of(quantity->version));
    if (printing->question->group & RESULTS_BY_KEY)
        json_object_set_new(value, "key", text_of(quantity->key));
    json_object_set_new(value, "requests", json_integer((json_int_t)quantity->requests));
    json_object_set_new(value, "images", json_integer((json_int_t)quantity->images));
    json_object_set_new(value, "currency", json_string(row->currency));
    set_money(value, "cost", row->micro);
    enum rc rc = answer_dump(value, into);
    json_decref(value);
    return rc;
}

static enum rc print_csv(const struct printing *printing, const struct bill_row *row,
                         struct buf *into)
{
    const struct results_quantity *quantity = &row->quantity;
    char day[DAY_TEXT_SIZE];
    char money[MONEY_TEXT_SIZE];
    day_text(quantity->day, day);
    money_text(row->micro, money);
    const struct bytes texts[GROUP_COUNT] = {bytes_of(day), quantity->model, quantity->version,
                                             quantity->key};
    enum rc rc = RC_OK;
    for (size_t i = 0; i < GROUP_COUNT && rc == RC_OK; i++) {
        if ((printing->question->group & groups[i].bit) == 0)
            continue;
        rc = answer_csv_field(texts[i], into);
        if (rc == RC_OK)
            rc = buf_append(into, bytes_of(","));
    }
    return rc == RC_OK
               ? buf_printf(into, "%" PRIu64 ",%" PRIu64 ",%s,%s,%" PRIu64 "\r\n",
                            quantity->requests, quantity->images, row->currency, money, row->micro)
               : rc;
}

static enum rc add_amount(struct printing *printing, const struct bill_row *row)
{
    uint32_t i = 0;
    while (i < printing->amount_count && strcmp(printing->amounts[i].currency, row->currency) != 0)
        i++;
    if (i == BILL_CURRENCY_MAX)
        return error_set(printing->err, RC_INVALID, "over %u currencies; ask for fewer days",
                         BILL_CURRENCY_MAX);
    struct amount *amount = &printing->amounts[i];
    if (i == printing->amount_count) {
        memcpy(amount->currency, row->currency, sizeof(amount->currency));
        printing->amount_count++;
    }
    if (__builtin_add_overflow(amount->micro, row->micro, &amount->micro) ||
        amount->micro > MICRO_MAX)
        return error_set(printing->err, RC_TOO_LARGE, "the sum does not fit; ask for fewer days");
    return RC_OK;
}

static enum rc print_row(void *ctx, const struct bill_row *row)
{
    struct printing *printing = ctx;
    printing->row_count++;
    printing->requests += row->quantity.requests;
    printing->images += row->quantity.images;
    enum rc rc = add_amount(printing, row);
    if (rc != RC_OK)
        return rc;
    if (printing->question->format == ANSWER_CSV)
        return print_csv(printing, row, printing->into);
    if (printing->question->format == ANSWER_JSON && printing->row_count > 1)
        rc = buf_append(printing->into, bytes_of(","));
    if (rc == RC_OK)
        rc = print_json(printing, row, printing->into);
    if (rc == RC_OK && printing->question->format == ANSWER_JSON)
        printing->into->size--; /* the line feed */
    return rc;
}

static enum rc print_head(const struct printing *printing, struct buf *into)
{
    char from[DAY_TEXT_SIZE];
    char to[DAY_TEXT_SIZE];
    day_text(printing->question->from_day, from);
    day_text(printing->question->to_day, to);
    if (printing->question->format == ANSWER_JSON)
        return buf_printf(into, "{\"from\":\"%s\",\"to\":\"%s\",\"rows\":[", from, to);
    enum rc rc = RC_OK;
    for (size_t i = 0; i < GROUP_COUNT && rc == RC_OK && printing->question->format == ANSWER_CSV;
         i++)
        if (printing->question->group & groups[i].bit)
            rc = buf_printf(into, "%s,", groups[i].name);
    return rc == RC_OK && printing->question->format == ANSWER_CSV
               ? buf_append(into, bytes_of("requests,images,currency,cost,cost_micro\r\n"))
               : rc;
}

static json_t *total_json(const struct printing *printing)
{
    json_t *costs = json_array();
    for (uint32_t i = 0; i < printing->amount_count; i++) {
        if (strcmp(printing->amounts[i].currency, plan_none.currency) == 0)
            continue;
        json_t *cost = json_pack("{s:s}", "currency", printing->amounts[i].currency);
        set_money(cost, "cost", printing->amounts[i].micro);
        json_array_append_new(costs, cost);
    }
    return json_pack("{s:I, s:I, s:o}", "requests", (json_int_t)printing->requests, "images",
                     (json_int_t)printing->images, "costs", costs);
}

static void set_limit(json_t *object, const char *name, uint64_t limit, uint64_t spent)
{
    char remaining[40];
    (void)snprintf(remaining, sizeof(remaining), "%s_remaining", name);
    if (limit == 0)
        return;
    set_money(object, name, limit);
    set_money(object, remaining, limit > spent ? limit - spent : 0);
}

/* How the present month stands; NULL: the tenant has neither budget nor cap. */
static enum rc read_budget(const struct bill_source *source, uint64_t now_ms, json_t **ret_budget,
                           struct error *err)
{
    struct account_tenant tenant = {0};
    enum rc rc = RC_OK;
    if (source->account != NULL)
        rc = account_tenant_get(source->account, source->tenant, &tenant, err);
    if (rc != RC_OK || (tenant.budget_micro == 0 && tenant.hard_cap_micro == 0))
        return rc;
    uint64_t spent = 0;
    char currency[4];
    char month[MONTH_TEXT_SIZE];
    rc = bill_spent(source, now_ms, &spent, currency, err);
    if (rc != RC_OK)
        return rc;
    month_text(now_ms, month);
    json_t *budget = json_pack("{s:s, s:s}", "month", month, "currency", currency);
    set_money(budget, "spent", spent);
    set_limit(budget, "budget", tenant.budget_micro, spent);
    set_limit(budget, "cap", tenant.hard_cap_micro, spent);
    *ret_budget = budget;
    return RC_OK;
}

static enum rc print_tail(const struct bill_source *source, struct printing *printing)
{
    json_t *budget = NULL;
    enum rc rc = read_budget(source, printing->question->now_ms, &budget, printing->err);
    json_t *tail = json_pack("{s:o}", "total", total_json(printing));
    if (budget != NULL)
        json_object_set_new(tail, "budget", budget);
    if (rc == RC_OK)
        rc = buf_append(printing->into, bytes_of("],"));
    size_t at = printing->into->size;
    if (rc == RC_OK)
        rc = answer_dump(tail, printing->into);
    if (rc == RC_OK) /* the object goes on: its brace is none of ours */
        memmove(printing->into->data + at, printing->into->data + at + 1,
                --printing->into->size - at);
    json_decref(tail);
    return rc;
}

enum rc usage_print(const struct bill_source *source, const struct usage_question *question,
                    struct buf *into, struct error *err)
{
    struct printing printing = {.question = question, .into = into, .err = err};
    enum rc rc = print_head(&printing, into);
    if (rc == RC_OK)
        rc = bill_usage(source, question->from_day, question->to_day, question->group,
                        question->row_max, print_row, &printing, err);
    return rc == RC_OK && question->format == ANSWER_JSON ? print_tail(source, &printing) : rc;
}
