/* SPDX-License-Identifier: Apache-2.0
 * bench.h - the parts of `imago bench`: photos, load, what the server spends, the floors, the
 * report.
 *
 * bench.c        the command: rounds of load and of floors in turn, so that drift cancels
 * bench_photos.c the photos, in memory, in the request's form
 * bench_load.c   closed and open loop over keep-alive connections
 * bench_tally.c  latencies and failures, added up
 * bench_server.c CPU time and memory of a process and its children
 * bench_floor.c  decode, resize and engine alone, one thread
 * bench_report.c the text and the JSON
 * Threads: one.
 */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H
#include "cli/progress.h"
#include "config/config.h"
#include "image/image.h"

struct bench_options {
#define OPTION CONFIG_MEMBER
#include "cli/bench_options.def"
#undef OPTION
};

#define BENCH_ROUND_MAX  100u
#define BENCH_STATUS_MAX 600u
#define BENCH_CURL_MAX   100u /* libcurl's codes; what is above is counted as the last */

/* ---- photos */
struct photo {
    struct buf body;   /* in the request's form */
    struct bytes file; /* the picture inside it */
    const char *type;  /* media type of the file, static */
};
struct photos {
    struct photo *items;
    size_t count;
    size_t bytes;     /* of all files */
    char content[96]; /* Content-Type of a form; "" with raw bodies */
};
/* Every picture directly in `dir`, in an order that `seed` decides. `field` NULL: raw bodies. */
NODISCARD enum rc photos_load(const char *dir, const char *field, uint64_t seed,
                              struct photos *ret_photos, struct error *err);
void photos_done(struct photos *photos);
uint64_t random_next(uint64_t *state); /* splitmix64 */
double random_unit(uint64_t *state);   /* 0 <= u < 1 */

/* ---- load */
/* One phase, or several added up. Latencies are microseconds, unsorted until tally_sort(). */
struct tally {
    uint32_t *latency_us;
    size_t count; /* answers with a 2xx status */
    size_t room;
    uint64_t failed;
    uint64_t status[BENCH_STATUS_MAX];  /* answers with another status */
    uint64_t transport[BENCH_CURL_MAX]; /* no answer: by libcurl's code */
    char first_failure[240];
    uint64_t wall_ns;
    uint64_t client_cpu_ns;
};
NODISCARD enum rc tally_add(struct tally *sum, const struct tally *more, struct error *err);
void tally_sort(struct tally *tally);
/* Of a sorted tally: the smallest latency that at least `share` of the answers do not exceed. */
double tally_quantile_ms(const struct tally *tally, double share);
void tally_done(struct tally *tally);

struct load;
NODISCARD enum rc load_open(const struct bench_options *options, const char *url,
                            const struct photos *photos, struct load **ret_load, struct error *err);
/* Send for `duration_ns` or until `request_max` requests (0: no such limit), then wait for what is
 * outstanding. Fails only where the load itself cannot go on; failed requests are counted. */
NODISCARD enum rc load_run(struct load *load, uint64_t duration_ns, uint64_t request_max,
                           struct progress *progress, struct tally *ret_tally, struct error *err);
void load_free(struct load *load);

/* ---- the server's process tree */
struct usage {
    uint64_t cpu_ns;   /* user and system time of the process, its threads and its children */
    uint64_t rss_peak; /* bytes, summed over the tree */
    uint32_t process_count;
};
NODISCARD enum rc usage_read(uint32_t pid, struct usage *ret_usage, struct error *err);

/* ---- floors */
enum floor_part { FLOOR_DECODE, FLOOR_RESIZE, FLOOR_ENGINE, FLOOR_PART_COUNT };
#define FLOOR_BATCH_KINDS 4u /* 1, 2, 4, 8 */

struct floors {
    double part_ms[FLOOR_PART_COUNT]; /* CPU per picture; the engine's at its best batch */
    double batch_ms[FLOOR_BATCH_KINDS];
};
struct floor_bench;
NODISCARD enum rc floor_open(const struct bench_options *options, const struct photos *photos,
                             struct floor_bench **ret_floor, struct error *err);
/* Each part once over all photos. */
NODISCARD enum rc floor_run(struct floor_bench *floor, struct floors *ret_floors,
                            struct error *err);
const char *floor_model(const struct floor_bench *floor);     /* "name/version" */
const char *floor_precision(const struct floor_bench *floor); /* "int8" */
const char *floor_kernels(const struct floor_bench *floor);   /* "avx512" */
void floor_free(struct floor_bench *floor);                   /* NULL is fine */

/* ---- the report */
struct round {
    uint64_t images;
    double cpu_ms; /* server CPU per image, 0 where no pid was given */
    struct floors floors;
};
struct report {
    const struct bench_options *options;
    const char *url; /* NULL: floors alone */
    size_t photo_count;
    double photo_kb;
    struct tally *tally; /* sorted */
    struct round rounds[BENCH_ROUND_MAX];
    uint32_t round_count;
    struct usage usage;
    const struct floor_bench *floor; /* NULL: none */
};
double report_cpu_ms(const struct report *report); /* the rounds' medians */
struct floors report_floors(const struct report *report);
NODISCARD enum rc report_text(const struct report *report, struct buf *into);
NODISCARD enum rc report_json(const struct report *report, const char *path, struct error *err);
#endif
