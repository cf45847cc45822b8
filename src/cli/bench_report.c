/* SPDX-License-Identifier: Apache-2.0
 * bench_report.c - the figures for a reader and, as JSON, for a program. */
#include "base/clock.h"
#include "cli/bench.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const part_names[] = {"decode", "resize", "engine"};
static const char *const batch_names[] = {"1", "2", "4", "8"};
static const struct {
    const char *text;
    const char *key;
    double share;
} quantiles[] = {
    {"p50", "p50", 0.5},       {"p90", "p90", 0.9}, {"p99", "p99", 0.99},
    {"p99.9", "p99_9", 0.999}, {"max", "max", 1.0},
};
#define QUANTILE_COUNT (sizeof(quantiles) / sizeof(quantiles[0]))

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values, size_t count)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof(*values), compare);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

double report_cpu_ms(const struct report *report)
{
    double values[BENCH_ROUND_MAX];
    for (uint32_t i = 0; i < report->round_count; i++)
        values[i] = report->rounds[i].cpu_ms;
    return median(values, report->round_count);
}

struct floors report_floors(const struct report *report)
{
    struct floors floors;
    double values[BENCH_ROUND_MAX];
    for (size_t part = 0; part < FLOOR_PART_COUNT; part++) {
        for (uint32_t i = 0; i < report->round_count; i++)
            values[i] = report->rounds[i].floors.part_ms[part];
        floors.part_ms[part] = median(values, report->round_count);
    }
    for (size_t batch = 0; batch < FLOOR_BATCH_KINDS; batch++) {
        for (uint32_t i = 0; i < report->round_count; i++)
            values[i] = report->rounds[i].floors.batch_ms[batch];
        floors.batch_ms[batch] = median(values, report->round_count);
    }
    /* The best batch by its median, rather than the median of whatever was luckiest in each round.
     */
    floors.part_ms[FLOOR_ENGINE] = floors.batch_ms[0];
    for (size_t batch = 1; batch < FLOOR_BATCH_KINDS; batch++)
        if (floors.batch_ms[batch] < floors.part_ms[FLOOR_ENGINE])
            floors.part_ms[FLOOR_ENGINE] = floors.batch_ms[batch];
    return floors;
}

static double floors_sum(const struct floors *floors)
{
    double sum = 0;
    for (size_t part = 0; part < FLOOR_PART_COUNT; part++)
        sum += floors->part_ms[part];
    return sum;
}

static double per_second(const struct report *report)
{
    const struct tally *tally = report->tally;
    return tally->wall_ns > 0 ? (double)tally->count * (double)NS_PER_S / (double)tally->wall_ns
                              : 0;
}

static double client_cpu_ms(const struct tally *tally)
{
    uint64_t requests = tally->count + tally->failed;
    return requests > 0 ? (double)tally->client_cpu_ns / (double)NS_PER_MS / (double)requests : 0;
}

static bool has_cpu(const struct report *report)
{
    return report->usage.process_count > 0 && report->tally->count > 0;
}

static enum rc text_failures(const struct tally *tally, struct buf *into)
{
    enum rc rc = RC_OK;
    if (tally->failed == 0)
        return RC_OK;
    for (size_t i = 0; i < BENCH_STATUS_MAX && rc == RC_OK; i++)
        if (tally->status[i] > 0)
            rc = buf_printf(into, "  failed      %" PRIu64 " with status %zu\n", tally->status[i],
                            i);
    for (size_t i = 0; i < BENCH_CURL_MAX && rc == RC_OK; i++)
        if (tally->transport[i] > 0)
            rc = buf_printf(into, "  failed      %" PRIu64 " without an answer: %s\n",
                            tally->transport[i], curl_easy_strerror((CURLcode)i));
    return rc == RC_OK ? buf_printf(into, "  the first   %s\n", tally->first_failure) : rc;
}

static enum rc text_load(const struct report *report, struct buf *into)
{
    const struct bench_options *options = report->options;
    const struct tally *tally = report->tally;
    char loop[96];
    if (options->rate > 0)
        (void)snprintf(loop, sizeof(loop), "open loop, %g requests/s (Poisson), %u connections",
                       options->rate, options->clients);
    else
        (void)snprintf(loop, sizeof(loop), "closed loop, %u clients", options->clients);
    enum rc rc = buf_printf(into, "%s\n%s, %zu photos of %.0f kB, %s\n", report->url, loop,
                            report->photo_count, report->photo_kb, options->form);
    if (rc == RC_OK)
        rc = buf_printf(into, "requests      %" PRIu64 " in %.1f s, %" PRIu64 " failed\n",
                        tally->count + tally->failed, (double)tally->wall_ns / (double)NS_PER_S,
                        tally->failed);
    if (rc == RC_OK)
        rc = text_failures(tally, into);
    if (rc == RC_OK)
        rc = buf_printf(into, "throughput    %.1f images/s\nlatency ms   ", per_second(report));
    for (size_t i = 0; i < QUANTILE_COUNT && rc == RC_OK; i++)
        rc = buf_printf(into, " %s %.1f%s", quantiles[i].text,
                        tally_quantile_ms(tally, quantiles[i].share),
                        i + 1 < QUANTILE_COUNT ? " " : "\n");
    if (rc == RC_OK)
        rc = buf_printf(into, "client CPU    %.3f ms per image\n", client_cpu_ms(tally));
    if (rc == RC_OK && has_cpu(report))
        rc = buf_printf(into,
                        "server CPU    %.3f ms per image (%u round%s)\nserver memory %.0f MB peak "
                        "(%u process%s)\n",
                        report_cpu_ms(report), report->round_count,
                        report->round_count == 1 ? "" : "s, median",
                        (double)report->usage.rss_peak / 1e6, report->usage.process_count,
                        report->usage.process_count == 1 ? "" : "es");
    return rc;
}

static enum rc text_floor(const struct report *report, struct buf *into)
{
    struct floors floors = report_floors(report);
    enum rc rc = buf_printf(
        into, "floor         CPU ms per image, one thread, %s in %s, %s kernels\n",
        floor_model(report->floor), floor_precision(report->floor), floor_kernels(report->floor));
    for (size_t part = 0; part < FLOOR_PART_COUNT && rc == RC_OK; part++)
        rc = buf_printf(into, "  %-11s %.3f%s", part_names[part], floors.part_ms[part],
                        part == FLOOR_ENGINE ? "  (batch" : "\n");
    for (size_t batch = 0; batch < FLOOR_BATCH_KINDS && rc == RC_OK; batch++)
        rc = buf_printf(into, "%s %s: %.3f", batch == 0 ? "" : ",", batch_names[batch],
                        floors.batch_ms[batch]);
    double sum = floors_sum(&floors);
    if (rc == RC_OK)
        rc = buf_printf(into, ")\n  %-11s %.3f\n", "sum", sum);
    if (rc == RC_OK && report->url != NULL && has_cpu(report) && sum > 0)
        rc = buf_printf(into, "ratio         %.3f (server CPU to the floor's sum)\n",
                        report_cpu_ms(report) / sum);
    return rc;
}

enum rc report_text(const struct report *report, struct buf *into)
{
    enum rc rc = report->url != NULL ? text_load(report, into) : RC_OK;
    return rc == RC_OK && report->floor != NULL ? text_floor(report, into) : rc;
}

static json_t *json_number(double value)
{
    return json_real((double)(int64_t)(value * 1e4 + 0.5) / 1e4);
}

static void put(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value);
}

static json_t *json_load(const struct report *report)
{
    const struct bench_options *options = report->options;
    const struct tally *tally = report->tally;
    json_t *load = json_object();
    json_t *statuses = json_object();
    json_t *transports = json_object();
    json_t *latency = json_object();
    put(load, "url", json_string(report->url));
    put(load, "mode", json_string(options->rate > 0 ? "open" : "closed"));
    put(load, "form", json_string(options->form));
    put(load, "clients", json_integer(options->clients));
    if (options->rate > 0)
        put(load, "rate", json_number(options->rate));
    put(load, "seconds", json_number((double)tally->wall_ns / (double)NS_PER_S));
    put(load, "succeeded", json_integer((json_int_t)tally->count));
    put(load, "failed", json_integer((json_int_t)tally->failed));
    for (size_t i = 0; i < BENCH_STATUS_MAX; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "%zu", i);
        if (tally->status[i] > 0)
            put(statuses, key, json_integer((json_int_t)tally->status[i]));
    }
    for (size_t i = 0; i < BENCH_CURL_MAX; i++)
        if (tally->transport[i] > 0)
            put(transports, curl_easy_strerror((CURLcode)i),
                json_integer((json_int_t)tally->transport[i]));
    put(load, "failed_by_status", statuses);
    put(load, "failed_without_answer", transports);
    put(load, "images_per_s", json_number(per_second(report)));
    for (size_t i = 0; i < QUANTILE_COUNT; i++)
        put(latency, quantiles[i].key, json_number(tally_quantile_ms(tally, quantiles[i].share)));
    put(load, "latency_ms", latency);
    put(load, "client_cpu_ms_per_image", json_number(client_cpu_ms(tally)));
    return load;
}

static json_t *json_floors(const struct floors *floors)
{
    json_t *object = json_object();
    json_t *batches = json_object();
    for (size_t part = 0; part < FLOOR_PART_COUNT; part++)
        put(object, part_names[part], json_number(floors->part_ms[part]));
    for (size_t batch = 0; batch < FLOOR_BATCH_KINDS; batch++)
        put(batches, batch_names[batch], json_number(floors->batch_ms[batch]));
    put(object, "engine_by_batch", batches);
    put(object, "sum", json_number(floors_sum(floors)));
    return object;
}

static json_t *json_rounds(const struct report *report)
{
    json_t *rounds = json_array();
    for (uint32_t i = 0; i < report->round_count; i++) {
        const struct round *round = &report->rounds[i];
        json_t *object = json_object();
        put(object, "images", json_integer((json_int_t)round->images));
        if (report->usage.process_count > 0)
            put(object, "server_cpu_ms_per_image", json_number(round->cpu_ms));
        if (report->floor != NULL)
            put(object, "floor_cpu_ms", json_floors(&round->floors));
        (void)json_array_append_new(rounds, object);
    }
    return rounds;
}

enum rc report_json(const struct report *report, const char *path, struct error *err)
{
    json_t *root = json_object();
    put(root, "photos", json_integer((json_int_t)report->photo_count));
    put(root, "photo_kb_mean", json_number(report->photo_kb));
    put(root, "seed", json_integer(report->options->seed));
    if (report->url != NULL)
        put(root, "load", json_load(report));
    if (report->url != NULL && has_cpu(report)) {
        json_t *server = json_object();
        put(server, "cpu_ms_per_image", json_number(report_cpu_ms(report)));
        put(server, "rss_peak_bytes", json_integer((json_int_t)report->usage.rss_peak));
        put(server, "processes", json_integer(report->usage.process_count));
        put(root, "server", server);
    }
    if (report->floor != NULL) {
        struct floors floors = report_floors(report);
        json_t *floor = json_floors(&floors);
        put(floor, "model", json_string(floor_model(report->floor)));
        put(floor, "precision", json_string(floor_precision(report->floor)));
        put(floor, "kernels", json_string(floor_kernels(report->floor)));
        put(root, "floor_cpu_ms", floor);
    }
    put(root, "rounds", json_rounds(report));
    int failed = json_dump_file(root, path, JSON_INDENT(2) | JSON_REAL_PRECISION(8));
    json_decref(root);
    return failed == 0 ? RC_OK
                       : error_set(err, RC_INTERNAL, "--json: cannot write '%s': %s", path,
                                   strerror(errno));
}
