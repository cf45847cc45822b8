/* SPDX-License-Identifier: Apache-2.0
 * bench.c - `imago bench`: a server under load, the floor under it, or both in turn. */
#include "base/clock.h"
#include "cli/bench.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#define REPORT_SIZE_MAX (64u * 1024)

static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW(struct bench_options, __VA_ARGS__)
#include "cli/bench_options.def"
#undef OPTION
};

struct bench {
    struct report report;
    struct tally tally; /* all rounds */
    struct photos photos;
    struct load *load;
    struct floor_bench *floor;
};

static enum rc run_load(struct bench *bench, uint32_t index, struct progress *progress,
                        struct error *err)
{
    const struct bench_options *options = bench->report.options;
    struct round *round = &bench->report.rounds[index];
    uint64_t duration_ns = (uint64_t)options->duration * NS_PER_MS / options->rounds;
    uint64_t request_max =
        options->count / options->rounds + (index < options->count % options->rounds);
    struct usage before = {0};
    struct usage after = {0};
    struct tally tally = {0};
    enum rc rc = RC_OK;
    if (options->pid != 0)
        rc = usage_read(options->pid, &before, err);
    if (rc == RC_OK)
        rc = load_run(bench->load, duration_ns, request_max, progress, &tally, err);
    if (rc == RC_OK && options->pid != 0)
        rc = usage_read(options->pid, &after, err);
    if (rc == RC_OK)
        rc = tally_add(&bench->tally, &tally, err);
    round->images = tally.count;
    if (tally.count > 0 && after.cpu_ns > before.cpu_ns)
        round->cpu_ms =
            (double)(after.cpu_ns - before.cpu_ns) / (double)NS_PER_MS / (double)tally.count;
    bench->report.usage = after;
    tally_done(&tally);
    return rc;
}

static enum rc run_rounds(struct bench *bench, struct error *err)
{
    const struct bench_options *options = bench->report.options;
    enum rc rc = RC_OK;
    struct progress progress;
    if (bench->load != NULL && options->warmup > 0) {
        struct tally ignored = {0};
        progress_init(&progress, "warm-up", 1);
        rc = load_run(bench->load, (uint64_t)options->warmup * NS_PER_MS, 0, &progress, &ignored,
                      err);
        progress_done(&progress);
        tally_done(&ignored);
    }
    for (uint32_t i = 0; i < options->rounds && rc == RC_OK; i++) {
        char label[48];
        (void)snprintf(label, sizeof(label), "round %u of %u", i + 1, options->rounds);
        progress_init(&progress, label, 1);
        if (bench->load != NULL)
            rc = run_load(bench, i, &progress, err);
        progress_done(&progress);
        if (rc == RC_OK && bench->floor != NULL)
            rc = floor_run(bench->floor, &bench->report.rounds[i].floors, err);
        bench->report.round_count = i + 1;
    }
    return rc;
}

static enum rc print(struct bench *bench, struct error *err)
{
    struct report *report = &bench->report;
    struct buf text = BUF_INIT(REPORT_SIZE_MAX);
    tally_sort(&bench->tally);
    report->tally = &bench->tally;
    enum rc rc = report_text(report, &text);
    if (rc != RC_OK)
        (void)error_set(err, rc, "no memory for the report");
    else
        rc = cli_print(&text, err);
    if (rc == RC_OK && report->options->json[0] != '\0')
        rc = report_json(report, report->options->json, err);
    buf_done(&text);
    return rc;
}

static enum rc measure(const struct bench_options *options, const char *url, int *ret_status,
                       struct error *err)
{
    struct bench bench = {.report = {.options = options, .url = url}};
    const char *field = strcmp(options->form, "multipart") == 0 ? options->field : NULL;
    enum rc rc = photos_load(options->photos, field, options->seed, &bench.photos, err);
    if (rc == RC_OK && url != NULL)
        rc = load_open(options, url, &bench.photos, &bench.load, err);
    if (rc == RC_OK && options->floor)
        rc = floor_open(options, &bench.photos, &bench.floor, err);
    if (rc == RC_OK) {
        bench.report.floor = bench.floor;
        bench.report.photo_count = bench.photos.count;
        bench.report.photo_kb = (double)bench.photos.bytes / 1000 / (double)bench.photos.count;
        rc = run_rounds(&bench, err);
    }
    if (rc == RC_OK)
        rc = print(&bench, err);
    double p99_ms = tally_quantile_ms(&bench.tally, 0.99);
    if (rc == RC_OK && bench.tally.failed > 0) {
        *ret_status = 1;
    } else if (rc == RC_OK && options->slo > 0 && p99_ms > options->slo) {
        (void)fprintf(stderr, "imago: the 99th percentile, %.1f ms, is over --slo %u ms\n", p99_ms,
                      options->slo);
        *ret_status = 1;
    }
    load_free(bench.load);
    floor_free(bench.floor);
    photos_done(&bench.photos);
    tally_done(&bench.tally);
    return rc;
}

static enum rc check(const struct bench_options *options, bool has_url, struct error *err)
{
    if (!has_url && !options->floor)
        return error_set(err, RC_INVALID,
                         "name the URL to send photos to, or --floor; --help shows how");
    if (options->count != 0 && options->count < options->rounds)
        return error_set(err, RC_INVALID, "--count %u cannot be split into --rounds %u",
                         options->count, options->rounds);
    if (options->photos[0] == '\0')
        return error_set(err, RC_INVALID, "name the folder of pictures to send: --photos DIR");
    if (strpbrk(options->field, "\"\r\n") != NULL || strpbrk(options->header, "\r\n") != NULL)
        return error_set(err, RC_INVALID, "--field and --header take no quotes or line breaks");
    return RC_OK;
}

static enum rc run(struct cli_call *call, struct error *err)
{
    enum rc rc = check(call->options, call->argc == 1, err);
    return rc == RC_OK ? measure(call->options, call->argv[0], &call->status, err) : rc;
}

static const struct cli_verb verb = {"", "[URL]", 0, run};

int cli_bench(int argc, char **argv)
{
    struct bench_options options = {0};
    const struct cli_command command = {
        .name = "bench",
        .flags = "--photos DIR",
        .prose = "Sends photos to any server that takes them by POST, over keep-alive connections "
                 "from one thread, and\nreports throughput, latency, failures and, given its "
                 "--pid, what the server spends. With --floor it\nalso measures what the work "
                 "alone costs.\nExit status: 0; 1 when a request failed or --slo was missed; as "
                 "for the other commands otherwise.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = &verb,
        .verb_count = 1};
    return cli_run(&command, &options, argc, argv);
}
