/* SPDX-License-Identifier: Apache-2.0
 * Price plans: what is taken, what is refused, and that writing loses nothing. */
#include "check.h"
#include "account/plan.h"

#include <stdio.h>
#include <string.h>

static const char *const good =
    "{\"name\":\"standard\",\"version\":3,\"currency\":\"EUR\",\"monthly_minimum_micro\":5000000,"
    "\"prices\":[{\"model\":\"big\",\"tiers\":[{\"price_micro\":2000}]},"
    "{\"model\":\"*\",\"free_images\":1000,\"tiers\":[{\"up_to\":10000,\"price_micro\":500},"
    "{\"up_to\":100000,\"price_micro\":400},{\"price_micro\":300}]}]}";

TEST(a_plan_is_read_as_it_is_written)
{
    struct plan plan;
    struct error err = {0};
    assert_int_equal(plan_parse(bytes_of(good), &plan, &err), RC_OK);
    assert_string_equal(plan.name, "standard");
    assert_int_equal(plan.version, 3);
    assert_string_equal(plan.currency, "EUR");
    assert_int_equal(plan.minimum_micro, 5000000);
    assert_int_equal(plan.price_count, 2);
    assert_string_equal(plan.prices[0].model, "big");
    assert_int_equal(plan.prices[0].image_free, 0);
    assert_int_equal(plan.prices[0].tiers[0].image_last, UINT64_MAX);
    assert_int_equal(plan.prices[1].image_free, 1000);
    assert_int_equal(plan.prices[1].tier_count, 3);
    assert_int_equal(plan.prices[1].tiers[1].image_last, 100000);
    assert_int_equal(plan.prices[1].tiers[2].micro, 300);
}

TEST(writing_and_reading_again_gives_the_same_plan)
{
    struct plan plan;
    struct plan again;
    struct buf text = BUF_INIT(PLAN_BODY_MAX);
    struct buf twice = BUF_INIT(PLAN_BODY_MAX);
    assert_int_equal(plan_parse(bytes_of(good), &plan, NULL), RC_OK);
    assert_int_equal(plan_write(&plan, &text), RC_OK);
    assert_int_equal(plan_parse((struct bytes){text.data, text.size}, &again, NULL), RC_OK);
    assert_memory_equal(&plan, &again, sizeof(plan));
    assert_int_equal(plan_write(&again, &twice), RC_OK);
    assert_int_equal(text.size, twice.size);
    assert_memory_equal(text.data, twice.data, text.size);
    buf_done(&text);
    buf_done(&twice);
}

#define HEAD  "{\"name\":\"a\",\"version\":1,\"currency\":\"USD\",\"prices\":"
#define PRICE "{\"model\":\"m\",\"tiers\":[{\"price_micro\":1}]}"

TEST(what_is_not_a_plan_is_refused_and_leaves_the_output_alone)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"name\":\"a\"}",
        HEAD "[]} trailing",
        HEAD "[" PRICE "," PRICE "]}", /* twice the same model */
        HEAD "[{\"model\":\"m\",\"tiers\":[]}]}",
        HEAD "[{\"model\":\"m\"}]}",
        HEAD "[{\"model\":\"\",\"tiers\":[{\"price_micro\":1}]}]}",
        HEAD "[{\"model\":\"M\",\"tiers\":[{\"price_micro\":1}]}]}",
        HEAD "[{\"model\":\"m\",\"free_image\":5,\"tiers\":[{\"price_micro\":1}]}]}",
        HEAD "[{\"model\":\"m\",\"free_images\":-5,\"tiers\":[{\"price_micro\":1}]}]}",
        HEAD "[{\"model\":\"m\",\"tiers\":[{\"price_micro\":1.5}]}]}",
        HEAD "[{\"model\":\"m\",\"tiers\":[{\"price_micro\":-1}]}]}",
        HEAD "[{\"model\":\"m\",\"tiers\":[{\"price_micro\":1000000000001}]}]}",
        HEAD "[{\"model\":\"m\",\"tiers\":[{}]}]}",
        HEAD "[{\"model\":\"m\",\"tiers\":[{\"up_to\":5,\"price_micro\":1}]}]}", /* no end */
        HEAD "[{\"model\":\"m\",\"tiers\":[{\"price_micro\":1},{\"price_micro\":1}]}]}",
        HEAD "[{\"model\":\"m\",\"tiers\":[{\"up_to\":5,\"price_micro\":1},"
             "{\"up_to\":5,\"price_micro\":1},{\"price_micro\":1}]}]}",
        HEAD "[{\"model\":\"m\",\"tiers\":[{\"up_to\":0,\"price_micro\":1},{\"price_micro\":1}]}]}",
        HEAD "[], \"prices\":[]}", /* a key twice */
        "{\"name\":\"a\",\"version\":0,\"currency\":\"USD\",\"prices\":[]}",
        "{\"name\":\"a\",\"version\":4294967297,\"currency\":\"USD\",\"prices\":[]}",
        "{\"name\":\"a\",\"version\":1,\"currency\":\"usd\",\"prices\":[]}",
        "{\"name\":\"a\",\"version\":1,\"currency\":\"US\",\"prices\":[]}",
        "{\"name\":\"-a\",\"version\":1,\"currency\":\"USD\",\"prices\":[]}",
        "{\"name\":\"a b\",\"version\":1,\"currency\":\"USD\",\"prices\":[]}",
        "{\"name\":\"a\\u0000b\",\"version\":1,\"currency\":\"USD\",\"prices\":[]}",
        HEAD "[],\"monthly_minimum_micro\":\"5\"}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct plan plan = {.version = 77};
        struct error err = {0};
        if (plan_parse(bytes_of(bad[i]), &plan, &err) != RC_INVALID)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(plan.version, 77);
        assert_true(err.text[0] != '\0');
    }
}

TEST(an_over_sized_text_is_refused_unread)
{
    static char text[PLAN_BODY_MAX + 2];
    memset(text, ' ', sizeof(text) - 1);
    struct plan plan;
    assert_int_equal(plan_parse(bytes_of(text), &plan, NULL), RC_TOO_LARGE);
}

TEST(money_is_exact_with_two_decimals_at_least)
{
    static const struct {
        uint64_t micro;
        const char *text;
    } rows[] = {{0, "0.00"},
                {1, "0.000001"},
                {10, "0.00001"},
                {100, "0.0001"},
                {1000, "0.001"},
                {10000, "0.01"},
                {100000, "0.10"},
                {1000000, "1.00"},
                {1230000, "1.23"},
                {12345678, "12.345678"},
                {MICRO_MAX, "9223372036854.775807"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[MONEY_TEXT_SIZE];
        money_text(rows[i].micro, text);
        assert_string_equal(text, rows[i].text);
        uint64_t micro = 7;
        assert_int_equal(money_parse(text, &micro), RC_OK);
        assert_true(micro == rows[i].micro);
    }
}

TEST(money_is_read_exactly_or_not_at_all)
{
    static const struct {
        const char *text;
        uint64_t micro;
    } rows[] = {{"0", 0}, {"12", 12000000}, {"012.5", 12500000}, {"0.5", 500000}};
    static const char *const wrong[] = {"",
                                        ".",
                                        "1.",
                                        ".5",
                                        "-1",
                                        "+1",
                                        "1,5",
                                        "1e3",
                                        "1.5.0",
                                        " 1",
                                        "1 ",
                                        "1 USD",
                                        "0x10",
                                        "1.0000001",
                                        "9223372036854.775808",
                                        "9223372036855",
                                        "18446744073709551616",
                                        "99999999999999999999999"};
    uint64_t micro = 7;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(money_parse(wrong[i], &micro), RC_INVALID);
    assert_int_equal(micro, 7);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(money_parse(rows[i].text, &micro), RC_OK);
        assert_true(micro == rows[i].micro);
    }
}

TEST_MAIN("account plan")
