/* SPDX-License-Identifier: Apache-2.0
 * The pipeline over the fake engine, whose scores follow from a picture's brightness: a picture of
 * grey level g is class round(g / 255 * 9). */
#include "base/clock.h"
#include "check.h"
#include "predict/predict.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <turbojpeg.h>
#include <unistd.h>

#define CLASS_COUNT 10
#define GREY_COUNT  10 /* one picture for each class */
#define TASK_COUNT  400

struct bench {
    char dir[64];
    struct engine *engine;
    struct model_repository *repository;
    struct predict *predict;
};

static uint8_t *pictures[GREY_COUNT];
static unsigned long picture_sizes[GREY_COUNT];

__attribute__((constructor)) static void make_pictures(void)
{
    tjhandle encoder = tjInitCompress();
    static uint8_t pixels[64 * 48];
    for (int i = 0; i < GREY_COUNT; i++) {
        memset(pixels, (i * 255 + 4) / 9, sizeof(pixels));
        if (tjCompress2(encoder, pixels, 64, 64, 48, TJPF_GRAY, &pictures[i], &picture_sizes[i],
                        TJSAMP_GRAY, 95, 0) != 0)
            abort();
    }
    tjDestroy(encoder);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    char path[160];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void make_repository(char dir[64])
{
    char path[128];
    (void)snprintf(dir, 64, "/tmp/imago-predict-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/grey", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/grey/1", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    /* The fake engine wants the first byte of ONNX and the names. */
    write_text(path, "model.onnx", "\x08 pixels scores");
    write_text(path, "labels.txt", "c0\nc1\nc2\nc3\nc4\nc5\nc6\nc7\nc8\nc9\n");
    write_text(path, "model.yaml",
               "name: grey\nversion: \"1\"\ntask: classification\nprecision: f32\ninput:\n"
               "  name: pixels\n  width: 32\n  height: 32\n  layout: NHWC\n  type: u8\n"
               "  channels: rgb\n  mean: [0, 0, 0]\n  scale: [1, 1, 1]\n  geometry: stretch\n"
               "  filter: bilinear\noutput:\n  name: scores\n  activation: none\n"
               "labels: labels.txt\n");
}

static struct bench setup(uint32_t worker_count, uint32_t queue_max, const char *delay_us)
{
    struct bench bench = {0};
    struct error err = {0};
    make_repository(bench.dir);
    setenv("IMAGO_FAKE_DELAY_US", delay_us, 1);
    struct engine_config engine = {.driver = "fake", .stream_count = worker_count};
    assert_int_equal(engine_open(&engine, &bench.engine, &err), RC_OK);
    struct model_repository_config repository = {.dir = bench.dir, .batch_max = 8};
    enum rc rc = model_repository_open(&repository, bench.engine, &bench.repository, &err);
    if (rc != RC_OK)
        fail_msg("%s", err.text);
    struct predict_config config = {
        .repository = bench.repository,
        .limits = {.bytes_max = 1 << 20,
                   .side_min = 1,
                   .side_max = 4096,
                   .pixels_max = 1 << 24,
                   .jpeg_scans_max = 100,
                   .memory_max = 1 << 26},
        .worker_count = worker_count,
        .queue_max = queue_max,
        .batch_max = 8,
    };
    assert_int_equal(predict_open(&config, &bench.predict, &err), RC_OK);
    return bench;
}

static void teardown(struct bench *bench)
{
    char command[128];
    predict_free(bench->predict);
    model_repository_free(bench->repository);
    engine_free(bench->engine);
    (void)snprintf(command, sizeof(command), "rm -r %s", bench->dir);
    assert_int_equal(system(command), 0);
}

struct counted {
    struct predict_task task;
    struct class_score top[3];
    atomic_int done_count;
};

static void count_done(struct predict_task *task)
{
    atomic_fetch_add(&((struct counted *)task)->done_count, 1);
}

static void prepare(struct counted *counted, const struct bench *bench, int grey)
{
    *counted = (struct counted){0};
    counted->task.file = (struct bytes){pictures[grey], picture_sizes[grey]};
    counted->task.model = model_at(bench->repository, 0);
    counted->task.top_k = 3;
    counted->task.min_score = -1000;
    counted->task.top = counted->top;
    counted->task.done = count_done;
}

static void wait_done(struct counted *counted)
{
    while (atomic_load(&counted->done_count) == 0)
        usleep(200);
}

TEST(a_picture_gets_its_class_size_and_hash)
{
    struct bench bench = setup(1, 4, "0");
    struct counted counted;
    struct predict_task *task = &counted.task;
    prepare(&counted, &bench, 7);
    assert_int_equal(predict_submit(bench.predict, &task, 1, NULL), RC_OK);
    wait_done(&counted);
    assert_int_equal(task->rc, RC_OK);
    assert_int_equal(task->top_count, 3);
    assert_int_equal(task->top[0].class_id, 7);
    assert_int_equal(task->info.width, 64);
    assert_int_equal(task->info.height, 48);
    assert_int_equal(task->timing.batch_size, 1);
    uint8_t sha256[32];
    assert_int_equal(EVP_Digest(task->file.data, task->file.size, sha256, NULL, EVP_sha256(), NULL),
                     1);
    assert_memory_equal(task->sha256, sha256, 32);
    teardown(&bench);
}

/* Good, broken, cancelled and expired pictures, from two threads: each ends once, each good one
 * right. */
struct feeder {
    struct bench *bench;
    struct counted *counted;
    unsigned seed;
};

static void *feed(void *argument)
{
    static const uint8_t broken[] = {0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2};
    struct feeder *feeder = argument;
    for (int i = 0; i < TASK_COUNT; i++) {
        struct counted *counted = &feeder->counted[i];
        struct predict_task *task = &counted->task;
        prepare(counted, feeder->bench, i % GREY_COUNT);
        int kind = rand_r(&feeder->seed) % 5;
        if (kind == 1)
            task->file = (struct bytes){broken, sizeof(broken)};
        if (kind == 2)
            task->deadline_ns = 1;
        while (predict_submit(feeder->bench->predict, &task, 1, NULL) != RC_OK)
            usleep(100);
        if (kind == 3)
            predict_cancel(task);
    }
    return NULL;
}

TEST(each_task_ends_once_and_a_good_one_is_right_whatever_its_neighbours)
{
    struct bench bench = setup(3, 16, "100");
    static struct counted counted[2][TASK_COUNT];
    pthread_t threads[2];
    struct feeder feeders[2];
    for (unsigned t = 0; t < 2; t++) {
        feeders[t] = (struct feeder){&bench, counted[t], 17 + t};
        assert_int_equal(pthread_create(&threads[t], NULL, feed, &feeders[t]), 0);
    }
    for (int t = 0; t < 2; t++)
        pthread_join(threads[t], NULL);
    predict_free(bench.predict); /* finishes what was accepted */
    bench.predict = NULL;
    int good_count = 0;
    bool batched = false;
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < TASK_COUNT; i++) {
            const struct predict_task *task = &counted[t][i].task;
            assert_int_equal(atomic_load(&counted[t][i].done_count), 1);
            bool broken = task->file.size == 8;
            if (broken && task->rc != RC_BAD_IMAGE)
                fail_msg("a broken picture ended as %s", rc_name(task->rc));
            if (task->deadline_ns != 0)
                assert_int_equal(task->rc, RC_DEADLINE);
            if (task->rc == RC_OK) {
                assert_int_equal(task->top[0].class_id, i % GREY_COUNT);
                good_count++;
                batched = batched || task->timing.batch_size > 1;
            } else if (!broken && task->deadline_ns == 0) {
                assert_int_equal(task->rc, RC_CANCELLED);
            }
        }
    assert_true(good_count > TASK_COUNT / 2);
    assert_true(batched);
    teardown(&bench);
}

TEST(a_full_queue_takes_all_of_a_request_or_nothing)
{
    struct bench bench = setup(1, 4, "300000");
    static struct counted counted[12];
    struct predict_task *tasks[12];
    struct error err = {0};
    for (int i = 0; i < 12; i++) {
        prepare(&counted[i], &bench, 1);
        tasks[i] = &counted[i].task;
    }
    assert_int_equal(predict_submit(bench.predict, tasks, 5, &err), RC_TOO_LARGE);
    assert_int_equal(predict_submit(bench.predict, tasks, 1, NULL), RC_OK);
    while (predict_queue_size(bench.predict) != 0)
        usleep(100);
    /* The only worker is in its run of 0.3 s: from here nothing leaves the queue. */
    usleep(20000);
    assert_int_equal(predict_submit(bench.predict, tasks + 1, 3, NULL), RC_OK);
    assert_int_equal(predict_submit(bench.predict, tasks + 4, 2, &err), RC_BUSY);
    assert_int_equal(predict_queue_size(bench.predict), 3);
    assert_int_equal(predict_submit(bench.predict, tasks + 6, 1, NULL), RC_OK);
    for (int i = 0; i < 7; i++)
        if (i != 4 && i != 5)
            wait_done(&counted[i]);
    assert_int_equal(atomic_load(&counted[4].done_count), 0);
    /* The four that waited were one batch. */
    assert_int_equal(counted[1].task.timing.batch_size, 4);
    teardown(&bench);
}

TEST(a_deadline_that_passes_in_the_queue_is_answered_then)
{
    struct bench bench = setup(1, 8, "400000");
    struct counted first;
    struct counted second;
    struct predict_task *task = &first.task;
    prepare(&first, &bench, 1);
    assert_int_equal(predict_submit(bench.predict, &task, 1, NULL), RC_OK);
    while (predict_queue_size(bench.predict) != 0)
        usleep(100);
    usleep(20000);
    prepare(&second, &bench, 2);
    task = &second.task;
    task->deadline_ns = clock_monotonic_ns() + 20 * NS_PER_MS;
    assert_int_equal(predict_submit(bench.predict, &task, 1, NULL), RC_OK);
    wait_done(&second);
    assert_int_equal(second.task.rc, RC_DEADLINE);
    assert_true(strlen(second.task.err.text) > 0);
    assert_int_equal(atomic_load(&first.done_count), 0);
    wait_done(&first);
    assert_int_equal(first.task.rc, RC_OK);
    teardown(&bench);
}

/* When each was answered, counted from the first. */
struct ordered {
    struct counted counted;
    int place;
};
static atomic_int next_place;

static void note_place(struct predict_task *task)
{
    ((struct ordered *)task)->place = atomic_fetch_add(&next_place, 1);
    count_done(task);
}

/* A worker is busy with one picture; meanwhile the background gets `background_count`, then the
 * front `front_count`. */
static void answer_in_order(struct ordered *background, uint32_t background_count,
                            struct ordered *front, uint32_t front_count)
{
    struct bench bench = setup(1, 64, "100000");
    struct counted first;
    struct predict_task *task = &first.task;
    prepare(&first, &bench, 1);
    assert_int_equal(predict_submit(bench.predict, &task, 1, NULL), RC_OK);
    while (predict_queue_size(bench.predict) != 0)
        usleep(100);
    usleep(20000);
    atomic_store(&next_place, 0);
    for (uint32_t i = 0; i < background_count + front_count; i++) {
        bool behind = i < background_count;
        struct ordered *one = behind ? &background[i] : &front[i - background_count];
        prepare(&one->counted, &bench, 1);
        one->counted.task.background = behind;
        one->counted.task.done = note_place;
        task = &one->counted.task;
        assert_int_equal(predict_submit(bench.predict, &task, 1, NULL), RC_OK);
    }
    assert_int_equal(predict_queue_size(bench.predict), front_count);
    for (uint32_t i = 0; i < background_count; i++)
        wait_done(&background[i].counted);
    for (uint32_t i = 0; i < front_count; i++)
        wait_done(&front[i].counted);
    teardown(&bench);
}

TEST(the_background_waits_for_the_others_and_fills_their_batches)
{
    static struct ordered background[10], front[5];
    answer_in_order(background, 10, front, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(front[i].place, i);
        assert_int_equal(front[i].counted.task.timing.batch_size, 8);
    }
    for (int i = 0; i < 10; i++)
        assert_int_equal(background[i].place, 5 + i);
}

TEST(the_background_is_not_starved)
{
    static struct ordered background[3], front[40];
    answer_in_order(background, 3, front, 40);
    for (int i = 0; i < 3; i++)
        assert_int_equal(background[i].place, (i + 1) * (int)PREDICT_TURNS - 1);
}

/* Broken pictures that keep coming: each hands itself in again when it has been answered. */
#define BROKEN_ROUND_MAX 1000

struct broken {
    struct predict_task task;
    struct predict *predict;
    const struct counted *neighbour;
    atomic_int done_count;
    int before_neighbour;
    atomic_bool ended;
};

static void again(struct predict_task *task)
{
    struct broken *broken = (struct broken *)task;
    bool answered = atomic_load(&broken->neighbour->done_count) > 0;
    if (!answered)
        broken->before_neighbour++;
    if (answered || atomic_fetch_add(&broken->done_count, 1) == BROKEN_ROUND_MAX ||
        predict_submit(broken->predict, &task, 1, NULL) != RC_OK)
        atomic_store(&broken->ended, true);
}

TEST(a_picture_does_not_wait_for_all_the_broken_ones_behind_it)
{
    static const uint8_t bytes[] = {0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2};
    struct bench bench = setup(1, 8, "0");
    struct counted good;
    prepare(&good, &bench, 3);
    struct broken broken = {.task = {.file = {bytes, sizeof(bytes)},
                                     .model = good.task.model,
                                     .top_k = 3,
                                     .top = (struct class_score[3]){{0}},
                                     .done = again},
                            .predict = bench.predict,
                            .neighbour = &good};
    struct predict_task *tasks[] = {&good.task, &broken.task};
    assert_int_equal(predict_submit(bench.predict, tasks, 2, NULL), RC_OK);
    wait_done(&good);
    while (!atomic_load(&broken.ended))
        usleep(200);
    assert_int_equal(good.task.rc, RC_OK);
    assert_in_range(broken.before_neighbour, 0, 8);
    teardown(&bench);
}

TEST_MAIN("predict")
