/* SPDX-License-Identifier: Apache-2.0
 * top_k.c - the best k of the raw outputs, then the activation of those alone: every activation
 * keeps the order. A heap of k with its worst on top takes one comparison for most classes. */
#include "model/top_k.h"

#include <float.h>
#include <math.h>

static float number_of(float raw) { return isnan(raw) ? -INFINITY : raw; }

/* What is answered is a finite number: JSON has no other. */
static float finite_of(float score) { return fminf(fmaxf(score, -FLT_MAX), FLT_MAX); }

static bool is_worse(struct class_score a, struct class_score b)
{
    return a.score < b.score || (a.score == b.score && a.class_id > b.class_id);
}

static void sink(struct class_score *heap, uint32_t count, uint32_t at)
{
    for (;;) {
        uint32_t worst = at, left = 2 * at + 1, right = left + 1;
        if (left < count && is_worse(heap[left], heap[worst]))
            worst = left;
        if (right < count && is_worse(heap[right], heap[worst]))
            worst = right;
        if (worst == at)
            return;
        struct class_score moved = heap[at];
        heap[at] = heap[worst];
        heap[worst] = moved;
        at = worst;
    }
}

static void select_best(const float *raw, uint32_t count, uint32_t k, struct class_score *heap)
{
    for (uint32_t i = 0; i < k; i++)
        heap[i] = (struct class_score){i, number_of(raw[i])};
    for (uint32_t i = k / 2; i-- > 0;)
        sink(heap, k, i);
    for (uint32_t i = k; i < count; i++) {
        struct class_score next = {i, number_of(raw[i])};
        if (is_worse(heap[0], next)) {
            heap[0] = next;
            sink(heap, k, 0);
        }
    }
    /* The worst goes to the end, again and again: best first. */
    for (uint32_t left = k; left > 1; left--) {
        struct class_score worst = heap[0];
        heap[0] = heap[left - 1];
        heap[left - 1] = worst;
        sink(heap, left - 1, 0);
    }
}

/* exp(raw - best) / sum: no overflow, whatever the outputs are. */
static void softmax(const float *raw, uint32_t count, struct class_score *into, uint32_t k)
{
    float best = into[0].score;
    double sum = 0;
    if (isinf(best)) {
        /* Infinite outputs share all of the probability; without a number there is none. */
        for (uint32_t i = 0; i < count; i++)
            sum += best > 0 && raw[i] == best;
        for (uint32_t i = 0; i < k; i++)
            into[i].score = best > 0 && into[i].score == best ? (float)(1 / sum) : 0.0f;
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        sum += (double)expf(number_of(raw[i]) - best);
    for (uint32_t i = 0; i < k; i++)
        into[i].score = (float)((double)expf(into[i].score - best) / sum);
}

uint32_t top_k(const float *raw, uint32_t count, enum activation activation, uint32_t k,
               float min_score, struct class_score *into)
{
    if (k > count)
        k = count;
    if (k == 0)
        return 0;
    select_best(raw, count, k, into);
    if (activation == ACTIVATION_SOFTMAX)
        softmax(raw, count, into, k);
    for (uint32_t i = 0; i < k && activation == ACTIVATION_SIGMOID; i++)
        into[i].score = 1.0f / (1.0f + expf(-into[i].score));
    for (uint32_t i = 0; i < k && activation == ACTIVATION_NONE; i++)
        into[i].score = finite_of(into[i].score);
    /* The least score that can be asked for keeps all: raw outputs may be negative. */
    uint32_t kept = min_score == 0.0f ? k : 0;
    while (kept < k && into[kept].score >= min_score)
        kept++;
    return kept;
}
