/* SPDX-License-Identifier: Apache-2.0
 * Statements: worked examples, and random plans and quantities against a reference that prices
 * image by image (small numbers) or range by range in 128 bits (large ones). */
#include "check.h"
#include "random.h"
#include "account/plan.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

static struct plan plan_of(const char *json)
{
    struct plan plan;
    struct error err = {0};
    if (plan_parse(bytes_of(json), &plan, &err) != RC_OK)
        fail_msg("%s", err.text);
    return plan;
}

static const char *const standard =
    "{\"name\":\"standard\",\"version\":1,\"currency\":\"USD\",\"monthly_minimum_micro\":10000000,"
    "\"prices\":[{\"model\":\"big\",\"tiers\":[{\"price_micro\":2000}]},"
    "{\"model\":\"*\",\"free_images\":1000,\"tiers\":[{\"up_to\":10000,\"price_micro\":500},"
    "{\"price_micro\":300}]}]}";

static struct statement compute(const struct plan *plan, const struct quantity *quantities,
                                uint32_t count)
{
    struct statement statement;
    struct error err = {0};
    if (statement_compute(&plan, 1, quantities, count, &statement, &err) != RC_OK)
        fail_msg("%s", err.text);
    return statement;
}

TEST(a_month_by_hand)
{
    struct plan plan = plan_of(standard);
    const struct quantity quantities[] = {{"lite", 0, 9000}, {"big", 0, 10}, {"other", 0, 3000}};
    struct statement statement = compute(&plan, quantities, 3);
    /* big: 10 at 0.002. The rest together 12,000: 1,000 free, 9,000 at 0.0005, 2,000 at 0.0003. */
    assert_int_equal(statement.line_count, 5);
    assert_int_equal(statement.lines[0].amount_micro, 20000);
    assert_int_equal(statement.lines[1].kind, LINE_FREE);
    assert_int_equal(statement.lines[1].image_count, 1000);
    assert_int_equal(statement.lines[2].image_first, 1001);
    assert_int_equal(statement.lines[2].image_count, 9000);
    assert_int_equal(statement.lines[2].amount_micro, 4500000);
    assert_int_equal(statement.lines[3].image_first, 10001);
    assert_int_equal(statement.lines[3].amount_micro, 600000);
    assert_int_equal(statement.usage_micro, 5120000);
    assert_int_equal(statement.lines[4].kind, LINE_MINIMUM);
    assert_int_equal(statement.lines[4].amount_micro, 4880000);
    assert_int_equal(statement.total_micro, 10000000);
    assert_int_equal(statement.image_count, 12010);
    statement_done(&statement);
}

TEST(nothing_used_costs_the_minimum)
{
    struct plan plan = plan_of(standard);
    struct statement statement = compute(&plan, NULL, 0);
    assert_int_equal(statement.line_count, 1);
    assert_int_equal(statement.total_micro, 10000000);
    statement_done(&statement);
}

TEST(without_a_plan_all_is_listed_and_free)
{
    const struct quantity quantities[] = {{"b", 0, 7}, {"a", 0, 5}, {"b", 0, 1}};
    struct statement statement = compute(&plan_none, quantities, 3);
    assert_int_equal(statement.line_count, 2);
    assert_int_equal(statement.lines[0].kind, LINE_UNPRICED);
    assert_string_equal(statement.lines[0].model, "a");
    assert_int_equal(statement.lines[1].image_count, 8);
    assert_int_equal(statement.total_micro, 0);
    assert_string_equal(statement.currency, "XXX");
    statement_done(&statement);
}

TEST(a_later_plan_goes_on_where_the_earlier_one_stopped)
{
    struct plan first = plan_of(standard);
    struct plan second = plan_of(standard);
    second.version = 2;
    second.prices[1].tiers[0].micro = 100;
    const struct plan *const plans[] = {&first, &second};
    /* 600 of the first plan, all free; then 400 free and 50 at the second's price. */
    const struct quantity quantities[] = {{"x", 0, 600}, {"x", 1, 450}};
    struct statement statement;
    assert_int_equal(statement_compute(plans, 2, quantities, 2, &statement, NULL), RC_OK);
    assert_int_equal(statement.usage_micro, 50 * 100);
    assert_int_equal(statement.lines[1].image_first, 601);
    assert_int_equal(statement.lines[1].image_count, 400);
    assert_int_equal(statement.lines[2].plan_version, 2);
    statement_done(&statement);
}

TEST(two_currencies_in_a_month_are_refused)
{
    struct plan first = plan_of(standard);
    struct plan second = plan_of(standard);
    memcpy(second.currency, "EUR", 4);
    const struct plan *const plans[] = {&first, &second};
    struct statement statement;
    assert_int_equal(statement_compute(plans, 2, NULL, 0, &statement, NULL), RC_INVALID);
    /* One that prices nothing does not matter. */
    const struct plan *const from_none[] = {&plan_none, &second};
    assert_int_equal(statement_compute(from_none, 2, NULL, 0, &statement, NULL), RC_OK);
    assert_string_equal(statement.currency, "EUR");
    statement_done(&statement);
    /* Also if it is the last: a tenant that ended its plan still pays for what it used. */
    const struct plan *const to_none[] = {&first, &plan_none};
    const struct quantity used[] = {{"big", 0, 10}, {"big", 1, 5}};
    assert_int_equal(statement_compute(to_none, 2, used, 2, &statement, NULL), RC_OK);
    assert_string_equal(statement.currency, "USD");
    assert_int_equal(statement.total_micro, 20000);
    assert_int_equal(statement.image_count, 15);
    statement_done(&statement);
}

TEST(what_does_not_fit_is_an_error_and_never_a_wrong_sum)
{
    struct plan plan = plan_of("{\"name\":\"p\",\"version\":1,\"currency\":\"USD\",\"prices\":["
                               "{\"model\":\"*\",\"tiers\":[{\"price_micro\":1000000000000}]}]}");
    const struct plan *one = &plan;
    const struct {
        uint64_t a, b;
        enum rc rc;
    } rows[] = {
        {9223372, 0, RC_OK},           {9223373, 0, RC_TOO_LARGE},
        {9000000, 223372, RC_OK},      {9000000, 300000, RC_TOO_LARGE},
        {UINT64_MAX, 0, RC_TOO_LARGE}, {UINT64_MAX, 5, RC_TOO_LARGE},
        {MICRO_MAX, 1, RC_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct quantity quantities[] = {{"a", 0, rows[i].a}, {"b", 0, rows[i].b}};
        struct statement statement;
        uint64_t usage = 0;
        enum rc rc = statement_compute(&one, 1, quantities, 2, &statement, NULL);
        assert_int_equal(rc, rows[i].rc);
        assert_int_equal(statement_usage(&one, 1, quantities, 2, &usage, NULL), rc);
        if (rc != RC_OK)
            continue;
        assert_true(statement.total_micro == (rows[i].a + rows[i].b) * 1000000000000u);
        statement_done(&statement);
    }
}

TEST(a_quantity_without_plan_or_name_is_refused)
{
    const struct plan *one = &plan_none;
    static char long_name[PLAN_MODEL_SIZE + 1];
    memset(long_name, 'a', PLAN_MODEL_SIZE);
    const struct quantity bad[] = {{"a", 1, 1}, {NULL, 0, 1}, {long_name, 0, 1}};
    for (size_t i = 0; i < 3; i++) {
        struct statement statement;
        assert_int_equal(statement_compute(&one, 1, &bad[i], 1, &statement, NULL), RC_INVALID);
    }
}

/* The reference. Models m0 .. m5 and a "*" row that may be missing. */
#define MODELS 6u
static char names[MODELS][4] = {"m0", "m1", "m2", "m3", "m4", "m5"};

static struct plan random_plan(uint64_t *seed, uint64_t scale)
{
    struct plan plan = {.name = "p", .version = 1, .currency = "USD"};
    plan.minimum_micro = random_below(seed, 2) * random_below(seed, scale * 100);
    for (uint32_t model = 0; model <= MODELS; model++) {
        if (random_below(seed, 3) == 0)
            continue;
        struct plan_price *price = &plan.prices[plan.price_count++];
        (void)snprintf(price->model, sizeof(price->model), "%s",
                       model == MODELS ? "*" : names[model]);
        price->image_free = random_below(seed, 2) * random_below(seed, scale);
        price->tier_count = 1 + (uint32_t)random_below(seed, 4);
        uint64_t last = 0;
        for (uint32_t i = 0; i < price->tier_count; i++) {
            last += 1 + random_below(seed, scale);
            price->tiers[i].image_last = i + 1 == price->tier_count ? UINT64_MAX : last;
            price->tiers[i].micro = random_below(seed, 1000);
        }
    }
    struct error err = {0};
    if (plan_check(&plan, &err) != RC_OK)
        fail_msg("%s", err.text);
    return plan;
}

static const struct plan_price *reference_row(const struct plan *plan, const char *model)
{
    const struct plan_price *any = NULL;
    for (uint32_t i = 0; i < plan->price_count; i++) {
        if (strcmp(plan->prices[i].model, model) == 0)
            return &plan->prices[i];
        if (strcmp(plan->prices[i].model, "*") == 0)
            any = &plan->prices[i];
    }
    return any;
}

/* The price of the first `count` images: what lies below each boundary, not what lies between two.
 */
static wide reference_cost(const struct plan_price *price, wide count)
{
    wide cost = 0;
    wide from = 0;
    for (uint32_t i = 0; i < price->tier_count; i++) {
        wide to = price->tiers[i].image_last;
        for (int part = 0; part < 2; part++) { /* up to `to` less up to `from`, without free ones */
            wide end = part == 0 ? to : from;
            end = end < count ? end : count;
            wide paid = end > price->image_free ? end - price->image_free : 0;
            cost += part == 0 ? paid * price->tiers[i].micro : 0;
            cost -= part == 1 ? paid * price->tiers[i].micro : 0;
        }
        from = to;
    }
    return cost;
}

static wide reference_usage(const struct plan *const plans[], uint32_t plan_count,
                            const struct quantity *quantities, uint32_t count)
{
    wide usage = 0;
    for (uint32_t p = 0; p < plan_count; p++) {
        for (uint32_t r = 0; r < plans[p]->price_count; r++) {
            const struct plan_price *row = &plans[p]->prices[r];
            wide before = 0;
            wide here = 0;
            for (uint32_t i = 0; i < count; i++) {
                if (reference_row(plans[p], quantities[i].model) != row)
                    continue;
                before += quantities[i].plan < p ? quantities[i].image_count : 0;
                here += quantities[i].plan == p ? quantities[i].image_count : 0;
            }
            usage += reference_cost(row, before + here) - reference_cost(row, before);
        }
    }
    return usage;
}

static void check_sums(const struct statement *statement)
{
    wide amount = 0;
    wide images = 0;
    for (uint32_t i = 0; i < statement->line_count; i++) {
        const struct statement_line *line = &statement->lines[i];
        amount += line->amount_micro;
        images += line->image_count;
        if (line->kind != LINE_MINIMUM)
            assert_true((wide)line->image_count * line->unit_micro == line->amount_micro);
    }
    assert_true(amount == statement->total_micro);
    assert_true(images == statement->image_count);
    assert_true(statement->total_micro == (statement->usage_micro > statement->minimum_micro
                                               ? statement->usage_micro
                                               : statement->minimum_micro));
}

#define QUANTITY_COUNT 12u
static void random_quantities(uint64_t *seed, uint64_t scale, uint32_t plan_count,
                              struct quantity *into)
{
    for (uint32_t i = 0; i < QUANTITY_COUNT; i++)
        into[i] = (struct quantity){.model = names[random_below(seed, MODELS)],
                                    .plan = (uint32_t)random_below(seed, plan_count),
                                    .image_count = random_below(seed, scale)};
}

TEST(random_months_agree_with_the_reference)
{
    for (uint64_t round = 0; round < 3000; round++) {
        uint64_t seed = round;
        uint64_t scale = round % 3 == 0 ? 20 : round % 3 == 1 ? 5000 : 400000000000000ull;
        struct plan store[3];
        const struct plan *plans[3] = {&store[0], &store[1], &store[2]};
        uint32_t plan_count = 1 + (uint32_t)random_below(&seed, 3);
        for (uint32_t i = 0; i < plan_count; i++) {
            store[i] = random_plan(&seed, scale);
            store[i].version = i + 1;
        }
        struct quantity quantities[QUANTITY_COUNT];
        random_quantities(&seed, scale, plan_count, quantities);
        wide expected = reference_usage(plans, plan_count, quantities, QUANTITY_COUNT);
        struct statement statement = {0};
        uint64_t usage = 0;
        enum rc rc =
            statement_compute(plans, plan_count, quantities, QUANTITY_COUNT, &statement, NULL);
        assert_int_equal(
            statement_usage(plans, plan_count, quantities, QUANTITY_COUNT, &usage, NULL), rc);
        if (expected > MICRO_MAX) {
            assert_int_equal(rc, RC_TOO_LARGE);
            continue;
        }
        assert_int_equal(rc, RC_OK);
        if (statement.usage_micro != expected)
            fail_msg("round %u", (unsigned)round);
        assert_int_equal(usage, statement.usage_micro);
        check_sums(&statement);
        statement_done(&statement);
    }
}

static void assert_same(const struct statement *a, const struct statement *b)
{
    assert_int_equal(a->line_count, b->line_count);
    assert_int_equal(a->total_micro, b->total_micro);
    for (uint32_t i = 0; i < a->line_count; i++) {
        assert_string_equal(a->lines[i].model, b->lines[i].model);
        assert_int_equal(a->lines[i].image_first, b->lines[i].image_first);
        assert_int_equal(a->lines[i].image_count, b->lines[i].image_count);
        assert_int_equal(a->lines[i].amount_micro, b->lines[i].amount_micro);
    }
}

TEST(order_and_cutting_into_pieces_change_nothing)
{
    for (uint64_t round = 0; round < 300; round++) {
        uint64_t seed = round;
        struct plan plan = random_plan(&seed, 300);
        struct quantity whole[QUANTITY_COUNT];
        random_quantities(&seed, 1000, 1, whole);
        struct quantity pieces[QUANTITY_COUNT * 4];
        uint32_t count = 0;
        for (uint32_t i = 0; i < QUANTITY_COUNT; i++)
            for (uint64_t left = whole[i].image_count, n = 0; n < 4; n++) {
                pieces[count] = whole[i];
                pieces[count].image_count = n == 3 ? left : random_below(&seed, left + 1);
                left -= pieces[count++].image_count;
            }
        for (uint32_t i = count - 1; i > 0; i--) {
            uint32_t other = (uint32_t)random_below(&seed, i + 1);
            struct quantity swapped = pieces[i];
            pieces[i] = pieces[other];
            pieces[other] = swapped;
        }
        struct statement a = compute(&plan, whole, QUANTITY_COUNT);
        struct statement b = compute(&plan, pieces, count);
        assert_same(&a, &b);
        statement_done(&a);
        statement_done(&b);
    }
}

/* Whatever the order, the pieces add up; without a change of plan each costs what it adds. */
TEST(pieces_add_up_to_the_month)
{
    for (uint64_t round = 0; round < 2000; round++) {
        uint64_t seed = round;
        struct plan store[3];
        const struct plan *plans[3] = {&store[0], &store[1], &store[2]};
        uint32_t plan_count = 1 + (uint32_t)random_below(&seed, 3);
        for (uint32_t i = 0; i < plan_count; i++)
            store[i] = random_plan(&seed, 300);
        struct quantity pieces[QUANTITY_COUNT];
        random_quantities(&seed, 300, plan_count, pieces);
        struct meter meter;
        assert_int_equal(meter_start(&meter, plans, plan_count, pieces, QUANTITY_COUNT, NULL),
                         RC_OK);
        uint64_t sum = 0;
        uint64_t before = 0;
        for (uint32_t i = 0; i < QUANTITY_COUNT; i++) {
            uint64_t micro = 0;
            uint64_t after = 0;
            assert_int_equal(meter_add(&meter, &pieces[i], &micro, NULL), RC_OK);
            sum += micro;
            assert_int_equal(statement_usage(plans, plan_count, pieces, i + 1, &after, NULL),
                             RC_OK);
            if (plan_count == 1)
                assert_int_equal(micro, after - before);
            before = after;
        }
        assert_int_equal(sum, before);
    }
}

TEST(a_meter_refuses_what_a_statement_refuses)
{
    struct plan plan = plan_of("{\"name\":\"p\",\"version\":1,\"currency\":\"USD\",\"prices\":["
                               "{\"model\":\"*\",\"tiers\":[{\"price_micro\":1000000000000}]}]}");
    const struct plan *one = &plan;
    struct plan other = plan;
    memcpy(other.currency, "EUR", 4);
    const struct plan *const two[] = {&plan, &other};
    struct meter meter;
    uint64_t micro = 1;
    const struct quantity large = {"a", 0, 9223373};
    assert_int_equal(meter_start(&meter, two, 2, NULL, 0, NULL), RC_INVALID);
    assert_int_equal(meter_start(&meter, &one, 0, NULL, 0, NULL), RC_TOO_LARGE);
    assert_int_equal(meter_start(&meter, &one, 1, &large, 1, NULL), RC_OK);
    assert_int_equal(meter_add(&meter, &large, &micro, NULL), RC_TOO_LARGE);
    assert_int_equal(micro, 1);
}

TEST(splitting_the_month_between_plans_of_the_same_terms_changes_no_money)
{
    for (uint64_t round = 0; round < 300; round++) {
        uint64_t seed = round;
        struct plan first = random_plan(&seed, 300);
        struct plan second = first;
        second.version = 2;
        const struct plan *const plans[] = {&first, &second};
        struct quantity quantities[QUANTITY_COUNT];
        random_quantities(&seed, 1000, 2, quantities);
        struct statement split;
        assert_int_equal(statement_compute(plans, 2, quantities, QUANTITY_COUNT, &split, NULL),
                         RC_OK);
        for (uint32_t i = 0; i < QUANTITY_COUNT; i++)
            quantities[i].plan = 0;
        struct statement whole = compute(&first, quantities, QUANTITY_COUNT);
        assert_int_equal(split.total_micro, whole.total_micro);
        assert_int_equal(split.usage_micro, whole.usage_micro);
        check_sums(&split);
        statement_done(&split);
        statement_done(&whole);
    }
}

static const struct statement_head head = {.tenant = "acme", .month = "2026-11"};

static char *printed(statement_print_fn print, const struct statement *statement, struct buf *into)
{
    assert_int_equal(print(statement, 1, &head, into), RC_OK);
    assert_int_equal(buf_append(into, (struct bytes){(const uint8_t *)"", 1}), RC_OK);
    return (char *)into->data;
}

TEST(the_three_forms_say_the_same)
{
    struct plan plan = plan_of(standard);
    const struct quantity quantities[] = {{"lite", 0, 12000}, {"big", 0, 10}};
    struct statement statement = compute(&plan, quantities, 2);
    struct buf text = BUF_INIT(STATEMENT_SIZE_MAX);
    struct buf csv = BUF_INIT(STATEMENT_SIZE_MAX);
    struct buf json = BUF_INIT(STATEMENT_SIZE_MAX);
    char *table = printed(statement_text, &statement, &text);
    assert_non_null(strstr(table, "Statement of acme for 2026-11 so far, in USD"));
    assert_non_null(strstr(table, "all other models"));
    assert_non_null(strstr(table, "10.00"));
    assert_non_null(strstr(table, "standard@1"));
    char *rows = printed(statement_csv, &statement, &csv);
    assert_non_null(strstr(rows, "tenant,month,kind,model,plan,plan_version,"));
    assert_non_null(strstr(rows, "acme,2026-11,tier,big,standard,1,1,10,USD,0.002,0.02,20000\r\n"));
    assert_non_null(strstr(rows, "acme,2026-11,minimum,,standard,1,0,0,USD,0.00,4.88,4880000\r\n"));
    json_t *all = json_loads(printed(statement_json, &statement, &json), 0, NULL);
    json_t *root = json_array_get(json_object_get(all, "statements"), 0);
    assert_non_null(root);
    json_int_t sum = 0;
    size_t index;
    json_t *line;
    json_array_foreach(json_object_get(root, "lines"), index, line) sum +=
        json_integer_value(json_object_get(line, "amount_micro"));
    assert_int_equal(sum, json_integer_value(json_object_get(root, "total_micro")));
    assert_string_equal(json_string_value(json_object_get(root, "total")), "10.00");
    json_decref(all);
    buf_done(&text);
    buf_done(&csv);
    buf_done(&json);
    statement_done(&statement);
}

TEST(a_cell_cannot_become_a_formula_or_break_out)
{
    struct statement_line line = {.kind = LINE_UNPRICED, .image_count = 1};
    struct statement statement = {.currency = "USD", .line_count = 1, .lines = &line};
    static const struct {
        const char *model;
        const char *cell;
    } rows[] = {{"=1+1", ",\"'=1+1\","},
                {"a,b", ",\"a,b\","},
                {"a\"b", ",\"a\"\"b\","},
                {"@x", ",\"'@x\","},
                {"a\nb", ",\"a\nb\","}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(line.model, sizeof(line.model), "%s", rows[i].model);
        struct buf csv = BUF_INIT(STATEMENT_SIZE_MAX);
        assert_non_null(strstr(printed(statement_csv, &statement, &csv), rows[i].cell));
        buf_done(&csv);
    }
}

TEST(a_full_buffer_is_reported)
{
    struct plan plan = plan_of(standard);
    struct statement statement = compute(&plan, NULL, 0);
    for (size_t cap = 0; cap < 100; cap += 9) {
        struct buf small = BUF_INIT(cap);
        assert_int_equal(statement_text(&statement, 1, &head, &small), RC_TOO_LARGE);
        buf_done(&small);
        small = (struct buf)BUF_INIT(cap);
        assert_int_equal(statement_csv(&statement, 1, &head, &small), RC_TOO_LARGE);
        buf_done(&small);
        small = (struct buf)BUF_INIT(cap);
        assert_int_equal(statement_json(&statement, 1, &head, &small), RC_TOO_LARGE);
        buf_done(&small);
    }
    statement_done(&statement);
}

TEST_MAIN("account statement")
