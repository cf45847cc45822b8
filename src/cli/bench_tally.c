/* SPDX-License-Identifier: Apache-2.0
 * bench_tally.c - what a run came to. Every latency is kept, so quantiles are exact. */
#include "cli/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum rc tally_add(struct tally *sum, const struct tally *more, struct error *err)
{
    size_t count = sum->count + more->count;
    if (count > sum->room) {
        uint32_t *larger = realloc(sum->latency_us, count * sizeof(*larger));
        if (larger == NULL)
            return error_set(err, RC_NO_MEMORY, "no memory for %zu latencies", count);
        sum->latency_us = larger;
        sum->room = count;
    }
    if (more->count > 0)
        memcpy(sum->latency_us + sum->count, more->latency_us,
               more->count * sizeof(*more->latency_us));
    sum->count = count;
    if (sum->failed == 0)
        memcpy(sum->first_failure, more->first_failure, sizeof(sum->first_failure));
    sum->failed += more->failed;
    for (size_t i = 0; i < BENCH_STATUS_MAX; i++)
        sum->status[i] += more->status[i];
    for (size_t i = 0; i < BENCH_CURL_MAX; i++)
        sum->transport[i] += more->transport[i];
    sum->wall_ns += more->wall_ns;
    sum->client_cpu_ns += more->client_cpu_ns;
    return RC_OK;
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

void tally_sort(struct tally *tally)
{
    if (tally->count > 0)
        qsort(tally->latency_us, tally->count, sizeof(*tally->latency_us), compare);
}

double tally_quantile_ms(const struct tally *tally, double share)
{
    if (tally->count == 0)
        return 0;
    size_t rank = (size_t)ceil(share * (double)tally->count);
    if (rank > tally->count)
        rank = tally->count;
    return tally->latency_us[rank > 0 ? rank - 1 : 0] / 1000.0;
}

void tally_done(struct tally *tally)
{
    free(tally->latency_us);
    *tally = (struct tally){0};
}
