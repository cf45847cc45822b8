/* SPDX-License-Identifier: Apache-2.0
 * statement_print.c - a statement as text, CSV and JSON.
 *
 * Amounts are never rounded: micro-units have six decimals, and all that are not zero are shown. */
#include "account/plan.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MICRO_PER_UNIT 1000000u
#define MICRO_DIGITS   6

void money_text(uint64_t micro, char into[MONEY_TEXT_SIZE])
{
    int size = snprintf(into, MONEY_TEXT_SIZE, "%" PRIu64 ".%06u", micro / MICRO_PER_UNIT,
                        (unsigned)(micro % MICRO_PER_UNIT));
    for (int cut = 0; cut < 4 && into[size - 1] == '0'; cut++)
        into[--size] = '\0';
}

enum rc money_parse(const char *text, uint64_t *ret_micro)
{
    uint64_t micro = 0;
    uint32_t digits = 0;
    int decimals = -1; /* behind the point; there is none yet */
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '.' && decimals < 0 && digits > 0) {
            decimals = 0;
            continue;
        }
        if (*c < '0' || *c > '9' || decimals == MICRO_DIGITS ||
            __builtin_mul_overflow(micro, 10u, &micro) ||
            __builtin_add_overflow(micro, (uint64_t)(*c - '0'), &micro))
            return RC_INVALID;
        digits++;
        decimals += decimals >= 0;
    }
    if (digits == 0 || decimals == 0)
        return RC_INVALID;
    for (int i = decimals < 0 ? 0 : decimals; i < MICRO_DIGITS; i++)
        if (__builtin_mul_overflow(micro, 10u, &micro))
            return RC_INVALID;
    if (micro > MICRO_MAX)
        return RC_INVALID;
    *ret_micro = micro;
    return RC_OK;
}

static const char *kind_text(enum line_kind kind)
{
    static const char *const texts[] = {"free", "tier", "unpriced", "minimum"};
    return texts[kind];
}

static const char *label(const struct statement_line *line)
{
    if (line->kind == LINE_MINIMUM)
        return "monthly minimum";
    return strcmp(line->model, "*") == 0 ? "all other models" : line->model;
}

/* "1-1000", or nothing for lines that have no place in the month's count. */
static void positions_text(const struct statement_line *line, char *into, size_t size)
{
    into[0] = '\0';
    if (line->image_first > 0)
        (void)snprintf(into, size, "%" PRIu64 "-%" PRIu64, line->image_first,
                       line->image_first + (line->image_count - 1));
}

static void plan_text(const struct statement_line *line, char *into, size_t size)
{
    if (line->plan[0] == '\0')
        (void)snprintf(into, size, "-");
    else
        (void)snprintf(into, size, "%s@%" PRIu32, line->plan, line->plan_version);
}

static enum rc print_text(const struct statement *statement, const struct statement_head *head,
                          struct buf *into)
{
    bool priced = strcmp(statement->currency, plan_none.currency) != 0;
    enum rc rc =
        buf_printf(into, "Statement of %s for %s%s%s%s\n\n%-28s %-20s %23s %12s %12s %16s\n",
                   head->tenant, head->month, head->complete ? "" : " so far",
                   priced ? ", in " : "", priced ? statement->currency : "", "model", "plan",
                   "images of the month", "images", "each", "amount");
    for (uint32_t i = 0; rc == RC_OK && i < statement->line_count; i++) {
        const struct statement_line *line = &statement->lines[i];
        char amount[MONEY_TEXT_SIZE];
        char unit[MONEY_TEXT_SIZE];
        char positions[48];
        char plan[PLAN_NAME_SIZE + 16];
        char count[24] = "";
        money_text(line->amount_micro, amount);
        money_text(line->unit_micro, unit);
        positions_text(line, positions, sizeof(positions));
        plan_text(line, plan, sizeof(plan));
        if (line->kind != LINE_MINIMUM)
            (void)snprintf(count, sizeof(count), "%" PRIu64, line->image_count);
        rc = buf_printf(into, "%-28s %-20s %23s %12s %12s %16s\n", label(line), plan, positions,
                        count, line->kind == LINE_TIER ? unit : kind_text(line->kind), amount);
    }
    char usage[MONEY_TEXT_SIZE];
    char total[MONEY_TEXT_SIZE];
    money_text(statement->usage_micro, usage);
    money_text(statement->total_micro, total);
    if (rc == RC_OK)
        rc = buf_printf(into, "\n%-73s %12" PRIu64 "\n%-73s %29s\n%-73s %29s\n", "images",
                        statement->image_count, "usage", usage, "total", total);
    return rc;
}

enum rc statement_text(const struct statement statements[], uint32_t count,
                       const struct statement_head *head, struct buf *into)
{
    enum rc rc = RC_OK;
    for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
        if (i > 0)
            rc = buf_append(into, bytes_of("\n"));
        if (rc == RC_OK)
            rc = print_text(&statements[i], head, into);
    }
    return rc;
}

/* A cell that a spreadsheet would read as a formula gets a quote before it; names of ours cannot
 * start so ("*" is not such a sign), but a tenant's or model's rules may change. */
static enum rc csv_cell(struct buf *into, const char *text, bool last)
{
    bool formula = text[0] != '\0' && strchr("=+-@\t\r", text[0]) != NULL;
    bool quoted = formula || strpbrk(text, ",\"\r\n") != NULL;
    enum rc rc = quoted ? buf_printf(into, formula ? "\"'" : "\"") : RC_OK;
    for (const char *c = text; rc == RC_OK && *c != '\0'; c++)
        rc = buf_printf(into, *c == '"' ? "\"\"" : "%c", *c);
    if (rc == RC_OK && quoted)
        rc = buf_append(into, bytes_of("\""));
    return rc == RC_OK ? buf_append(into, bytes_of(last ? "\r\n" : ",")) : rc;
}

static enum rc csv_row(struct buf *into, const char *const cells[], size_t count)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < count; i++)
        rc = csv_cell(into, cells[i], i + 1 == count);
    return rc;
}

#define CSV_CELL_COUNT 12u

static enum rc csv_line(const struct statement *statement, const struct statement_line *line,
                        const struct statement_head *head, struct buf *into)
{
    char unit[MONEY_TEXT_SIZE];
    char amount[MONEY_TEXT_SIZE];
    char numbers[4][24];
    money_text(line->unit_micro, unit);
    money_text(line->amount_micro, amount);
    (void)snprintf(numbers[0], sizeof(numbers[0]), "%" PRIu32, line->plan_version);
    (void)snprintf(numbers[1], sizeof(numbers[1]), "%" PRIu64, line->image_first);
    (void)snprintf(numbers[2], sizeof(numbers[2]), "%" PRIu64, line->image_count);
    (void)snprintf(numbers[3], sizeof(numbers[3]), "%" PRIu64, line->amount_micro);
    const char *const cells[CSV_CELL_COUNT] = {
        head->tenant, head->month, kind_text(line->kind), line->model, line->plan, numbers[0],
        numbers[1],   numbers[2],  statement->currency,   unit,        amount,     numbers[3]};
    return csv_row(into, cells, CSV_CELL_COUNT);
}

enum rc statement_csv(const struct statement statements[], uint32_t count,
                      const struct statement_head *head, struct buf *into)
{
    static const char *const names[CSV_CELL_COUNT] = {
        "tenant",      "month",       "kind",     "model", "plan",   "plan_version",
        "image_first", "image_count", "currency", "unit",  "amount", "amount_micro"};
    enum rc rc = csv_row(into, names, CSV_CELL_COUNT);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; rc == RC_OK && k < statements[i].line_count; k++)
            rc = csv_line(&statements[i], &statements[i].lines[k], head, into);
    return rc;
}

/* "amount_micro": 20000, "amount": "0.02" */
static bool set_money(json_t *object, const char *name, uint64_t micro)
{
    char key[40];
    char text[MONEY_TEXT_SIZE];
    money_text(micro, text);
    (void)snprintf(key, sizeof(key), "%s_micro", name);
    return json_object_set_new(object, key, json_integer((json_int_t)micro)) == 0 &&
           json_object_set_new(object, name, json_string(text)) == 0;
}

static json_t *line_json(const struct statement_line *line)
{
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I}", "kind", kind_text(line->kind), "model", line->model,
        "plan", line->plan, "plan_version", (json_int_t)line->plan_version, "image_first",
        (json_int_t)line->image_first, "image_count", (json_int_t)line->image_count);
    if (set_money(object, "unit", line->unit_micro) &&
        set_money(object, "amount", line->amount_micro))
        return object;
    json_decref(object);
    return NULL;
}

static json_t *currency_json(const struct statement *statement)
{
    json_t *object = json_pack("{s:s, s:I}", "currency", statement->currency, "image_count",
                               (json_int_t)statement->image_count);
    json_t *lines = json_array();
    bool whole = set_money(object, "usage", statement->usage_micro) &&
                 set_money(object, "minimum", statement->minimum_micro) &&
                 set_money(object, "total", statement->total_micro);
    for (uint32_t i = 0; whole && i < statement->line_count; i++)
        whole = json_array_append_new(lines, line_json(&statement->lines[i])) == 0;
    if (json_object_set_new(object, "lines", lines) == 0 && whole)
        return object;
    json_decref(object);
    return NULL;
}

enum rc statement_json(const struct statement statements[], uint32_t count,
                       const struct statement_head *head, struct buf *into)
{
    json_t *list = json_array();
    bool whole = list != NULL;
    for (uint32_t i = 0; whole && i < count; i++)
        whole = json_array_append_new(list, currency_json(&statements[i])) == 0;
    json_t *root = json_pack("{s:s, s:s, s:b, s:o}", "tenant", head->tenant, "month", head->month,
                             "complete", head->complete, "statements", list);
    char *text = whole && root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    enum rc rc = text == NULL ? RC_NO_MEMORY : buf_append(into, bytes_of(text));
    free(text);
    return rc == RC_OK ? buf_append(into, bytes_of("\n")) : rc;
}
