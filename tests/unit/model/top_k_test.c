/* SPDX-License-Identifier: Apache-2.0
 * top_k() against a plain sort, on random outputs. */
#include "check.h"
#include "model/top_k.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 1200

static uint32_t random_state = 1;

static uint32_t random_next(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static const float *sorted_raw;

static int by_raw(const void *a, const void *b)
{
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    if (sorted_raw[i] != sorted_raw[j])
        return sorted_raw[i] < sorted_raw[j] ? 1 : -1;
    return i < j ? -1 : 1;
}

static double activated(const float *raw, uint32_t count, enum activation activation, uint32_t i)
{
    double sum = 0, best = -HUGE_VAL;
    if (activation == ACTIVATION_NONE)
        return (double)raw[i];
    if (activation == ACTIVATION_SIGMOID)
        return 1 / (1 + exp(-(double)raw[i]));
    for (uint32_t j = 0; j < count; j++)
        best = fmax(best, (double)raw[j]);
    for (uint32_t j = 0; j < count; j++)
        sum += exp((double)raw[j] - best);
    return exp((double)raw[i] - best) / sum;
}

static void check(const float *raw, uint32_t count, enum activation activation, uint32_t k,
                  float min_score)
{
    uint32_t order[COUNT_MAX];
    struct class_score got[COUNT_MAX];
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    sorted_raw = raw;
    qsort(order, count, sizeof(order[0]), by_raw);
    uint32_t got_count = top_k(raw, count, activation, k, min_score, got);
    assert_true(got_count <= k && got_count <= count);
    for (uint32_t i = 0; i < got_count; i++) {
        double expected = activated(raw, count, activation, order[i]);
        assert_int_equal(got[i].class_id, order[i]);
        assert_true(fabs((double)got[i].score - expected) <= 1e-6 * fmax(1, fabs(expected)));
        assert_true(got[i].score >= min_score);
    }
    if (got_count < k && got_count < count)
        assert_true(activated(raw, count, activation, order[got_count]) < (double)min_score + 1e-6);
}

TEST(it_is_the_head_of_a_sort)
{
    float raw[COUNT_MAX];
    for (int round = 0; round < 600; round++) {
        uint32_t count = 1 + random_next() % (round % 10 == 0 ? COUNT_MAX : 40);
        /* Few different values make many ties. */
        uint32_t steps = round % 2 == 0 ? 8 : 100000;
        for (uint32_t i = 0; i < count; i++)
            raw[i] = (float)(random_next() % steps) * 20.0f / (float)steps - 10.0f;
        uint32_t k = round % 3 == 0 ? COUNT_MAX : 1 + random_next() % 10;
        float min_score = round % 4 == 0 ? 0.01f : -100.0f;
        check(raw, count, (enum activation)(round % 3), k, min_score);
    }
}

TEST(no_best_of_none)
{
    struct class_score got[1];
    float raw[] = {1};
    assert_int_equal(top_k(raw, 1, ACTIVATION_SOFTMAX, 0, 0, got), 0);
    assert_int_equal(top_k(raw, 0, ACTIVATION_SOFTMAX, 5, 0, got), 0);
}

TEST(large_outputs_do_not_overflow)
{
    struct class_score got[3];
    float raw[] = {1e30f, -1e30f, 1e30f};
    assert_int_equal(top_k(raw, 3, ACTIVATION_SOFTMAX, 3, 0, got), 3);
    assert_int_equal(got[0].class_id, 0);
    assert_int_equal(got[1].class_id, 2);
    assert_true(got[0].score == 0.5f && got[1].score == 0.5f && got[2].score == 0.0f);
    float far[] = {-1e30f, 1e30f, 0};
    assert_int_equal(top_k(far, 3, ACTIVATION_SIGMOID, 3, 0, got), 3);
    assert_true(got[0].score == 1.0f && got[1].score == 0.5f && got[2].score == 0.0f);
}

TEST(negative_outputs_are_answers_unless_a_score_is_asked_for)
{
    struct class_score got[3];
    float raw[] = {-3, -1, -2};
    assert_int_equal(top_k(raw, 3, ACTIVATION_NONE, 3, 0, got), 3);
    assert_int_equal(got[0].class_id, 1);
    assert_true(got[0].score == -1.0f && got[2].score == -3.0f);
    assert_int_equal(top_k(raw, 3, ACTIVATION_NONE, 3, 0.5f, got), 0);
}

TEST(outputs_that_are_not_numbers_come_last)
{
    struct class_score got[4];
    float raw[] = {NAN, 1, NAN, 2};
    for (int activation = ACTIVATION_SOFTMAX; activation <= ACTIVATION_NONE; activation++) {
        assert_int_equal(top_k(raw, 4, (enum activation)activation, 4, -FLT_MAX, got), 4);
        assert_int_equal(got[0].class_id, 3);
        assert_int_equal(got[1].class_id, 1);
        for (int i = 0; i < 4; i++)
            assert_true(isfinite(got[i].score));
    }
    float none[] = {NAN, NAN};
    assert_int_equal(top_k(none, 2, ACTIVATION_SOFTMAX, 2, 0, got), 2);
    assert_true(got[0].score == 0.0f && got[1].score == 0.0f);
    float endless[] = {INFINITY, 0, INFINITY, -INFINITY};
    for (int activation = ACTIVATION_SOFTMAX; activation <= ACTIVATION_NONE; activation++) {
        assert_int_equal(top_k(endless, 4, (enum activation)activation, 4, -FLT_MAX, got), 4);
        assert_int_equal(got[0].class_id, 0);
        assert_int_equal(got[1].class_id, 2);
        for (int i = 0; i < 4; i++)
            assert_true(isfinite(got[i].score));
    }
}

TEST_MAIN("model top k")
