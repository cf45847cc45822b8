/* SPDX-License-Identifier: Apache-2.0
 * results_bench.c - what storing costs, and how long a page takes. Not run by the suite.
 *   results_bench put DIR [COUNT]         CPU and time of commits in groups of 1, 8, 64
 *   results_bench fill DIR COUNT          generates a store of COUNT predictions in DIR
 *   results_bench query DIR [PAGES]       p50 and p99 of pages over what is in DIR
 *   results_bench sweep DIR [NICE]        commits of 8 alone, then beside a sweep of what is in DIR
 *   results_bench open DIR                start-up: kills a writer, then opens what it left */
#include "results/results.h"

#include "base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LABEL_COUNT    1000u
#define GROUP_MAX      RESULTS_PUT_MAX
#define START_MS       1700000000000ull
#define PAGE_COUNT     2000u
#define TENANT         "default"
#define SCORE_COUNT    5u
#define REFERENCE_ROOM 32

static uint64_t random_state = 1;
static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static struct results *open_store(const char *dir)
{
    char url[256];
    (void)snprintf(url, sizeof(url), "sqlite:%s/imago.db", dir);
    struct results *results = NULL;
    struct error err = {0};
    if (results_open(url, &results, &err) != RC_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    return results;
}

static char labels[LABEL_COUNT][32];

/* Rooms that a group's commits borrow. */
static struct room {
    struct result_commit commit;
    uint8_t scores[SCORE_COUNT * RESULT_SCORE_SIZE];
    char reference[REFERENCE_ROOM];
} rooms[GROUP_MAX];
static struct result_commit *group[GROUP_MAX];

/* Like a usual one: 1,000 labels of which few are common, one in four with a reference. */
static void generate(uint32_t at, uint64_t created_ms)
{
    struct room *room = &rooms[at];
    uint64_t bits = next_random();
    uint32_t label = (uint32_t)((bits & 1023) * (bits >> 10 & 1023) / 1049);
    for (uint32_t i = 0; i < SCORE_COUNT; i++)
        result_score_pack((struct result_score){(label + i) % LABEL_COUNT, 0.9f / (float)(i + 1)},
                          room->scores + (size_t)i * RESULT_SCORE_SIZE);
    room->commit = (struct result_commit){
        .kind = RESULT_STORED,
        .tenant = bytes_of(TENANT),
        .prediction =
            {
                .request_id = id_new(created_ms),
                .created_ms = created_ms,
                .key = bytes_of("ik_7f3a9c"),
                .model = bytes_of("efficientnet-lite0"),
                .version = bytes_of("1"),
                .label = bytes_of(labels[label % LABEL_COUNT]),
                .scores = {room->scores, sizeof(room->scores)},
                .picture = {.format = bytes_of("jpeg"), .width = 500, .height = 375},
                .timing = {200, 1000, 200, 4100, 5900},
            },
        .units = 1,
        .requests = 1,
        .plan = bytes_of("basic"),
        .plan_version = 1,
    };
    for (size_t i = 0; i < 32; i += 8) {
        uint64_t word = next_random();
        memcpy(room->commit.prediction.picture.sha256 + i, &word, 8);
    }
    if (bits >> 62 == 0) {
        (void)snprintf(room->reference, sizeof(room->reference), "order-%llu",
                       (unsigned long long)(bits >> 20 & 0xffff));
        room->commit.prediction.reference = bytes_of(room->reference);
    }
    group[at] = &room->commit;
}

static void put_group(struct results *results, uint32_t size)
{
    struct error err = {0};
    if (results_put(results, group, size, &err) != RC_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
}

static uint64_t log_size(const char *dir)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/imago.db-wal", dir);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return 0;
    (void)fseek(file, 0, SEEK_END);
    long size = ftell(file);
    (void)fclose(file);
    return size > 0 ? (uint64_t)size : 0;
}

/* Bytes this process has given the disk to write. */
static uint64_t written_size(void)
{
    FILE *file = fopen("/proc/self/io", "rb");
    char line[128];
    uint64_t size = 0;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, "write_bytes: ", 13) == 0)
            size = strtoull(line + 13, NULL, 10);
    if (file != NULL)
        (void)fclose(file);
    return size;
}

static void bench_put(const char *dir, uint32_t count)
{
    static const uint32_t sizes[] = {1, 8, 64};
    struct results *results = open_store(dir);
    uint64_t now_ms = clock_wall_ms();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t groups = count / sizes[i] > 2000 ? 2000 : count / sizes[i];
        uint64_t cpu = 0;
        uint64_t wall = 0;
        uint64_t written = written_size();
        for (uint32_t j = 0; j < groups; j++) {
            for (uint32_t k = 0; k < sizes[i]; k++)
                generate(k, ++now_ms);
            uint64_t cpu_start = clock_thread_cpu_ns();
            uint64_t wall_start = clock_monotonic_ns();
            put_group(results, sizes[i]);
            cpu += clock_thread_cpu_ns() - cpu_start;
            wall += clock_monotonic_ns() - wall_start;
        }
        double commits = (double)groups * sizes[i];
        (void)printf(
            "groups of %2u: %6.1f us CPU and %6.1f kB written a commit, %8.1f us a group\n",
            sizes[i], (double)cpu / 1e3 / commits,
            (double)(written_size() - written) / 1e3 / commits, (double)wall / 1e3 / groups);
    }
    results_free(results);
}

static void fill(const char *dir, uint32_t count)
{
    struct results *results = open_store(dir);
    uint64_t start = clock_monotonic_ns();
    for (uint32_t done = 0; done < count;) {
        uint32_t size = count - done < GROUP_MAX ? count - done : GROUP_MAX;
        for (uint32_t i = 0; i < size; i++)
            generate(i, START_MS + (uint64_t)(done + i) * 100 + (next_random() & 63));
        put_group(results, size);
        done += size;
    }
    (void)printf("%u predictions in %.1f s\n", count, (double)(clock_monotonic_ns() - start) / 1e9);
    results_free(results);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void pages(struct results *results, const char *name, uint32_t page_count, uint64_t last_ms)
{
    static uint64_t times[PAGE_COUNT];
    struct result_set set = {0};
    uint64_t rows = 0;
    char reference[REFERENCE_ROOM];
    for (uint32_t i = 0; i < page_count; i++) {
        struct results_filter filter = {0};
        /* Anywhere in the history. */
        filter.to_ms = START_MS + next_random() % (last_ms - START_MS) + 1;
        if (strcmp(name, "label") == 0)
            filter.label = bytes_of(labels[next_random() % LABEL_COUNT]);
        if (strcmp(name, "model") == 0)
            filter.model = bytes_of("efficientnet-lite0");
        if (strcmp(name, "reference") == 0) {
            (void)snprintf(reference, sizeof(reference), "order-%llu",
                           (unsigned long long)(next_random() & 0xffff));
            filter.reference = bytes_of(reference);
        }
        if (strcmp(name, "scan") == 0)
            filter.min_score = 0.95f;
        uint64_t start = clock_monotonic_ns();
        struct error err = {0};
        if (results_query(results, bytes_of(TENANT), &filter, (struct bytes){0}, 100, &set, &err) !=
            RC_OK) {
            (void)fprintf(stderr, "%s\n", err.text);
            exit(1);
        }
        times[i] = clock_monotonic_ns() - start;
        rows += set.count;
    }
    qsort(times, page_count, sizeof(times[0]), by_size);
    (void)printf("%-9s p50 %7.2f ms, p99 %7.2f ms, worst %7.2f ms, %5.1f rows a page\n", name,
                 (double)times[page_count / 2] / 1e6, (double)times[page_count * 99 / 100] / 1e6,
                 (double)times[page_count - 1] / 1e6, (double)rows / page_count);
    results_set_done(&set);
}

static void bench_query(const char *dir, uint32_t page_count)
{
    struct results *results = open_store(dir);
    struct results_filter filter = {0};
    struct result_set set = {0};
    struct error err = {0};
    if (results_query(results, bytes_of(TENANT), &filter, (struct bytes){0}, 1, &set, &err) !=
            RC_OK ||
        set.count == 0) {
        (void)fprintf(stderr, "nothing to read: %s\n", err.text);
        exit(1);
    }
    uint64_t last_ms = set.items[0].created_ms;
    results_set_done(&set);
    pages(results, "history", page_count, last_ms);
    pages(results, "label", page_count, last_ms);
    pages(results, "model", page_count, last_ms);
    pages(results, "reference", page_count, last_ms);
    pages(results, "scan", page_count < 200 ? page_count : 200, last_ms);
    uint64_t start = clock_monotonic_ns();
    struct results_proof proof;
    if (results_verify(results, bytes_of(TENANT), NULL, &proof, &err) == RC_OK)
        (void)printf("verify    %.2f s, %llu rows, %llu differences\n",
                     (double)(clock_monotonic_ns() - start) / 1e9,
                     (unsigned long long)proof.ledger_count,
                     (unsigned long long)proof.difference_count);
    results_free(results);
}

#define SWEEP_ROWS  64u /* as work/sweep.c does it */
#define SWEEP_RESTS 4u
struct sweeper {
    struct results *results;
    int nice;
    atomic_bool ending;
    uint64_t row_count;
    uint64_t step_count;
    uint64_t step_ns;
    uint64_t worst_ns;
};
static void *sweep(void *argument)
{
    struct sweeper *sweeper = argument;
    static struct results_removed removed[SWEEP_ROWS];
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), sweeper->nice);
    uint32_t count = SWEEP_ROWS;
    while (count == SWEEP_ROWS && !atomic_load(&sweeper->ending)) {
        struct error err = {0};
        uint64_t start = clock_monotonic_ns();
        if (results_sweep(sweeper->results, bytes_of(TENANT), clock_wall_ms() - 86400000u,
                          SWEEP_ROWS, start, removed, &count, &err) != RC_OK) {
            (void)fprintf(stderr, "%s\n", err.text);
            exit(1);
        }
        uint64_t taken = clock_monotonic_ns() - start;
        sweeper->row_count += count;
        sweeper->step_count++;
        sweeper->step_ns += taken;
        sweeper->worst_ns = taken > sweeper->worst_ns ? taken : sweeper->worst_ns;
        struct timespec rest = {.tv_nsec = (long)(SWEEP_RESTS * taken % 1000000000)};
        (void)nanosleep(&rest, NULL);
    }
    return NULL;
}

static void bench_commits(struct results *results, const char *name)
{
    static uint64_t times[PAGE_COUNT];
    uint64_t now_ms = clock_wall_ms();
    for (uint32_t i = 0; i < PAGE_COUNT; i++) {
        for (uint32_t k = 0; k < 8; k++)
            generate(k, ++now_ms);
        uint64_t start = clock_monotonic_ns();
        put_group(results, 8);
        times[i] = clock_monotonic_ns() - start;
    }
    qsort(times, PAGE_COUNT, sizeof(times[0]), by_size);
    (void)printf("%-18s p50 %6.2f ms, p99 %6.2f ms, worst %6.2f ms\n", name,
                 (double)times[PAGE_COUNT / 2] / 1e6, (double)times[PAGE_COUNT * 99 / 100] / 1e6,
                 (double)times[PAGE_COUNT - 1] / 1e6);
}

static void bench_sweep(const char *dir, int nice)
{
    struct sweeper sweeper = {.results = open_store(dir), .nice = nice};
    pthread_t thread;
    bench_commits(sweeper.results, "commits alone");
    if (pthread_create(&thread, NULL, sweep, &sweeper) != 0)
        exit(1);
    bench_commits(sweeper.results, "beside the sweep");
    atomic_store(&sweeper.ending, true);
    (void)pthread_join(thread, NULL);
    (void)printf("sweep: %llu rows in %llu steps of %.2f ms, worst %.2f ms\n",
                 (unsigned long long)sweeper.row_count, (unsigned long long)sweeper.step_count,
                 (double)sweeper.step_ns / 1e6 / (double)sweeper.step_count,
                 (double)sweeper.worst_ns / 1e6);
    results_free(sweeper.results);
}

/* A writer that is killed leaves a log as long as it gets. */
static void bench_open(const char *dir)
{
    int ready[2];
    if (pipe(ready) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        struct results *results = open_store(dir);
        uint64_t now_ms = clock_wall_ms();
        for (uint32_t i = 0;; i++) {
            for (uint32_t k = 0; k < 8; k++)
                generate(k, ++now_ms);
            put_group(results, 8);
            if (i == 400)
                (void)!write(ready[1], "r", 1);
        }
    }
    char octet;
    (void)!read(ready[0], &octet, 1);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    uint64_t log = log_size(dir);
    uint64_t start = clock_monotonic_ns();
    struct results *results = open_store(dir);
    (void)printf("open after a kill: %.1f ms, log of %llu kB\n",
                 (double)(clock_monotonic_ns() - start) / 1e6, (unsigned long long)log / 1024);
    results_free(results);
}

int main(int argc, char **argv)
{
    for (uint32_t i = 0; i < LABEL_COUNT; i++)
        (void)snprintf(labels[i], sizeof(labels[i]), "label %u, also called %u", i, i * 7);
    const char *verb = argc > 2 ? argv[1] : "";
    uint32_t count = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    random_state = clock_monotonic_ns();
    if (strcmp(verb, "put") == 0)
        bench_put(argv[2], count > 0 ? count : 20000);
    else if (strcmp(verb, "fill") == 0 && count > 0)
        fill(argv[2], count);
    else if (strcmp(verb, "query") == 0)
        bench_query(argv[2], count > 0 && count < PAGE_COUNT ? count : PAGE_COUNT);
    else if (strcmp(verb, "sweep") == 0)
        bench_sweep(argv[2], (int)count);
    else if (strcmp(verb, "open") == 0)
        bench_open(argv[2]);
    else
        (void)fprintf(stderr, "usage: results_bench put|fill|query|sweep|open DIR [COUNT]\n");
    return 0;
}
