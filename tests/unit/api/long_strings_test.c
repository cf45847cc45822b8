/* SPDX-License-Identifier: Apache-2.0 */
#include "api/long_strings.h"
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `count` letters of base64's alphabet. */
static char *letters(size_t count, unsigned seed)
{
    char *text = malloc(count + 1);
    for (size_t i = 0; i < count; i++)
        text[i] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[rand_r(&seed) % 64];
    text[count] = '\0';
    return text;
}

static json_t *parse(const struct long_strings *strings)
{
    return json_loadb((const char *)strings->text.data, strings->text.size, 0, NULL);
}

TEST(every_string_comes_back_whatever_its_length)
{
    for (unsigned round = 0; round < 60; round++) {
        char *one = letters(16350 + round, round);
        char *two = letters(round * 500, round + 1);
        char json[80000];
        (void)snprintf(json, sizeof(json), "{\"image\" : \"%s\",\"x\":[\"%s\",\"q\\\"\\\\\"]}", one,
                       two);
        struct long_strings strings;
        assert_int_equal(long_strings_cut(bytes_of(json), 4, &strings, NULL), RC_OK);
        assert_int_equal(strings.count, (strlen(one) >= 16384) + (strlen(two) >= 16384));
        assert_true(strings.text.size < 2 * 16384 + 100);
        json_t *root = parse(&strings);
        assert_non_null(root);
        json_t *list = json_object_get(root, "x");
        assert_true(bytes_equal(long_strings_value(&strings, json_object_get(root, "image")),
                                bytes_of(one)));
        assert_true(
            bytes_equal(long_strings_value(&strings, json_array_get(list, 0)), bytes_of(two)));
        assert_true(
            bytes_equal(long_strings_value(&strings, json_array_get(list, 1)), bytes_of("q\"\\")));
        json_decref(root);
        long_strings_done(&strings);
        free(one);
        free(two);
    }
}

TEST(what_a_parser_must_see_is_left_to_it)
{
    static const char *const special[] = {"\\/", "\n", "\t", "\\\""};
    char *text = letters(10000, 1);
    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
        char json[24000];
        (void)snprintf(json, sizeof(json), "[\"%s%s%s\"]", text, special[i], text);
        struct long_strings strings;
        assert_int_equal(long_strings_cut(bytes_of(json), 4, &strings, NULL), RC_OK);
        assert_int_equal(strings.count, 0);
        assert_int_equal(strings.text.size, strlen(json));
        long_strings_done(&strings);
    }
    free(text);
}

TEST(number_and_size_are_bounded)
{
    char *text = letters(17000, 1);
    char json[40000];
    struct long_strings strings;
    (void)snprintf(json, sizeof(json), "[\"%s\",\"%s\"]", text, text);
    assert_int_equal(long_strings_cut(bytes_of(json), 2, &strings, NULL), RC_OK);
    long_strings_done(&strings);
    assert_int_equal(long_strings_cut(bytes_of(json), 1, &strings, NULL), RC_TOO_LARGE);
    char *zeros = malloc(40000);
    memset(zeros, ',', 40000);
    assert_int_equal(long_strings_cut((struct bytes){(uint8_t *)zeros, 40000}, 1, &strings, NULL),
                     RC_TOO_LARGE);
    free(zeros);
    free(text);
}

TEST(a_cut_text_is_handed_on_to_the_parser)
{
    char *text = letters(17000, 3);
    char json[18000];
    int size = snprintf(json, sizeof(json), "{\"image\":\"%s\"}", text);
    for (size_t end = 0; end < (size_t)size; end += 37) {
        struct long_strings strings;
        assert_int_equal(long_strings_cut((struct bytes){(uint8_t *)json, end}, 2, &strings, NULL),
                         RC_OK);
        json_t *root = parse(&strings);
        assert_null(root);
        long_strings_done(&strings);
    }
    free(text);
}

TEST_MAIN("long strings")
