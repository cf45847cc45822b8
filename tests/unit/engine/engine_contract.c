/* SPDX-License-Identifier: Apache-2.0
 * The promise of engine.h, run against every driver: ENGINE_DRIVER picks which. */
#include "base/clock.h"
#include "check.h"
#include "engine/engine.h"
#include "tiny_onnx.h"

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SIDE        16u
#define CLASS_COUNT 10u
#define BATCH_MAX   11u
#define SLOT_SIZE   (SIDE * SIDE * 3)

static const struct tiny_onnx TINY = {.input_name = "images",
                                      .output_name = "logits",
                                      .width = SIDE,
                                      .height = SIDE,
                                      .class_count = CLASS_COUNT};

static char root[] = "/tmp/imago-engine-XXXXXX";
static char model_path[PATH_MAX];
static char cache_path[PATH_MAX];

static const char *driver(void)
{
    const char *name = getenv("ENGINE_DRIVER");
    return name != NULL ? name : "fake";
}

static bool is_fake(void) { return strcmp(driver(), "fake") == 0; }

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void setup_root(const struct tiny_onnx *tiny)
{
    char path[PATH_MAX];
    (void)strcpy(root + sizeof(root) - 7, "XXXXXX");
    assert_non_null(mkdtemp(root));
    (void)snprintf(path, sizeof(path), "%s/model", root);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(model_path, sizeof(model_path), "%s/model/model.onnx", root);
    (void)snprintf(cache_path, sizeof(cache_path), "%s/cache", root);
    tiny_onnx_write(model_path, tiny);
    (void)snprintf(path, sizeof(path), "%s/model/labels.txt", root);
    write_text(path, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
}

static void remove_root(void)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
}

static struct engine *open_streams(const char *cache_dir, uint32_t stream_count)
{
    struct engine_config config = {
        .driver = driver(), .cache_dir = cache_dir, .stream_count = stream_count};
    struct engine *engine = NULL;
    struct error err = {0};
    assert_int_equal(engine_open(&config, &engine, &err), RC_OK);
    return engine;
}

static struct engine *open_engine(const char *cache_dir) { return open_streams(cache_dir, 2); }

static struct network_spec spec_of(void)
{
    return (struct network_spec){.path = model_path,
                                 .input_name = "images",
                                 .output_name = "logits",
                                 .width = SIDE,
                                 .height = SIDE,
                                 .mean = {10, 20, 30},
                                 .scale = {50, 60, 70},
                                 .precision = PRECISION_INT8,
                                 .batch_max = BATCH_MAX};
}

static struct network *open_network(struct engine *engine, const struct network_spec *spec)
{
    struct network *network = NULL;
    struct error err = {0};
    if (network_open(engine, spec, &network, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_int_equal(network_class_count(network), CLASS_COUNT);
    return network;
}

static struct session *open_session(struct network *network)
{
    struct session *session = NULL;
    assert_int_equal(session_open(network, &session, NULL), RC_OK);
    return session;
}

/* Picture `seed`: each channel has its own brightness and some texture. */
static void draw(uint8_t *slot, uint32_t seed)
{
    for (uint32_t i = 0; i < SLOT_SIZE; i++)
        slot[i] = (uint8_t)((seed * 37 + (i % 3) * 51 + (i / 3 * 29) % 13) % 256);
}

/* What tiny_onnx computes, for the driver that reads it. */
static void reference(uint32_t seed, const struct network_spec *spec, float into[CLASS_COUNT])
{
    uint8_t slot[SLOT_SIZE];
    double mean[3] = {0};
    draw(slot, seed);
    for (uint32_t i = 0; i < SLOT_SIZE; i++)
        mean[i % 3] += slot[i] / (double)(SIDE * SIDE);
    for (uint32_t c = 0; c < 3 && !spec->input_u8; c++)
        mean[c] = (mean[c] - (double)spec->mean[c]) / (double)spec->scale[c];
    for (uint32_t i = 0; i < CLASS_COUNT; i++) {
        double sum = 0;
        for (uint32_t c = 0; c < 3; c++)
            sum += mean[c] * (double)tiny_onnx_weight(i, c);
        into[i] = (float)sum;
    }
}

static void assert_scores(const float *scores, const float *expected, double tolerance)
{
    for (uint32_t i = 0; i < CLASS_COUNT; i++)
        if (!(fabs((double)scores[i] - (double)expected[i]) <= tolerance))
            fail_msg("class %u: %g, expected %g", i, (double)scores[i], (double)expected[i]);
}

/* The scores of `seed` alone in the batch. */
static void run_alone(struct session *session, uint32_t seed, float into[CLASS_COUNT])
{
    draw(session_slot(session, 0), seed);
    assert_int_equal(session_run(session, 1, NULL), RC_OK);
    memcpy(into, session_scores(session, 0), CLASS_COUNT * sizeof(float));
}

static void check_values(const struct network_spec *spec)
{
    float expected[CLASS_COUNT], scores[CLASS_COUNT];
    struct engine *engine = open_engine(NULL);
    struct network *network = open_network(engine, spec);
    struct session *session = open_session(network);
    for (uint32_t seed = 0; seed < 5 && !is_fake(); seed++) {
        reference(seed, spec, expected);
        run_alone(session, seed, scores);
        assert_scores(scores, expected, spec->input_u8 ? 1e-2 : 1e-4);
    }
    session_free(session);
    network_free(network);
    engine_free(engine);
}

TEST(normalisation_and_layout_are_compiled_in)
{
    struct network_spec spec = spec_of();
    setup_root(&TINY);
    check_values(&spec);
    spec.precision = PRECISION_F32;
    check_values(&spec);
    spec.input_name = spec.output_name = NULL;
    check_values(&spec);
    remove_root();
}

TEST(a_graph_may_take_pixels_as_they_are)
{
    struct tiny_onnx tiny = TINY;
    struct network_spec spec = spec_of();
    tiny.pixels = true;
    spec.input_u8 = spec.input_nhwc = true;
    setup_root(&tiny);
    check_values(&spec);
    remove_root();
}

/* For each count, in an order that mixes what OpenVINO is called with: a picture's scores do not
 * depend on its slot, its neighbours or the count. */
static void check_slots(const struct tiny_onnx *tiny)
{
    float alone[BATCH_MAX][CLASS_COUNT];
    struct network_spec spec = spec_of();
    setup_root(tiny);
    struct engine *engine = open_engine(cache_path);
    struct network *network = open_network(engine, &spec);
    struct session *session = open_session(network);
    for (uint32_t i = 0; i < BATCH_MAX; i++)
        run_alone(session, i, alone[i]);
    for (uint32_t round = 0; round < 20; round++)
        for (uint32_t count = 1; count <= BATCH_MAX; count++) {
            for (uint32_t i = 0; i < count; i++)
                draw(session_slot(session, i), (i + round) % BATCH_MAX);
            assert_int_equal(session_run(session, count, NULL), RC_OK);
            for (uint32_t i = 0; i < count; i++)
                assert_scores(session_scores(session, i), alone[(i + round) % BATCH_MAX], 1e-5);
        }
    session_free(session);
    network_free(network);
    engine_free(engine);
    remove_root();
}

TEST(a_picture_does_not_depend_on_its_neighbours) { check_slots(&TINY); }

TEST(a_graph_with_its_batch_written_in_runs_all_the_same)
{
    struct tiny_onnx tiny = TINY;
    tiny.one = true;
    check_slots(&tiny);
}

TEST(slots_are_kept_between_runs)
{
    struct network_spec spec = spec_of();
    setup_root(&TINY);
    struct engine *engine = open_engine(NULL);
    struct network *network = open_network(engine, &spec);
    struct session *session = open_session(network);
    uint8_t picture[SLOT_SIZE];
    draw(picture, 3);
    draw(session_slot(session, 2), 3);
    assert_int_equal(session_run(session, 3, NULL), RC_OK);
    assert_memory_equal(session_slot(session, 2), picture, SLOT_SIZE);
    assert_int_equal((uintptr_t)session_slot(session, 0) % 64, 0);
    assert_ptr_equal(session_slot(session, 1), session_slot(session, 0) + SLOT_SIZE);
    session_free(session);
    network_free(network);
    engine_free(engine);
    remove_root();
}

static void assert_refused(struct engine *engine, const struct network_spec *spec, enum rc rc,
                           const char *part)
{
    struct network *network = NULL;
    struct error err = {0};
    assert_int_equal(network_open(engine, spec, &network, &err), rc);
    assert_null(network);
    assert_int_equal(err.rc, rc);
    if (strstr(err.text, part) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, part);
}

TEST(what_does_not_fit_is_refused)
{
    setup_root(&TINY);
    struct engine *engine = open_engine(NULL);
    struct network_spec spec = spec_of();
    spec.path = "/no/such/model.onnx";
    assert_refused(engine, &spec, RC_NOT_FOUND, "/no/such/model.onnx");
    spec = spec_of();
    spec.input_name = "pictures";
    assert_refused(engine, &spec, RC_INVALID, "pictures");
    spec = spec_of();
    spec.output_name = "answers";
    assert_refused(engine, &spec, RC_INVALID, "answers");
    spec = spec_of();
    spec.batch_max = 0;
    assert_refused(engine, &spec, RC_INVALID, "batch");
    spec.batch_max = ENGINE_BATCH_MAX + 1;
    assert_refused(engine, &spec, RC_INVALID, "batch");
    spec = spec_of();
    spec.width = 1u << 20;
    assert_refused(engine, &spec, RC_INVALID, "input");
    spec = spec_of();
    spec.scale[1] = 0;
    assert_refused(engine, &spec, RC_INVALID, "scale");
    spec.scale[1] = NAN;
    assert_refused(engine, &spec, RC_INVALID, "scale");
    engine_free(engine);
    remove_root();
}

TEST(shapes_and_types_that_do_not_fit_are_refused)
{
    if (is_fake())
        return; /* It does not read the graph. */
    setup_root(&TINY);
    struct engine *engine = open_engine(NULL);
    struct network_spec spec = spec_of();
    spec.width = SIDE + 1;
    assert_refused(engine, &spec, RC_INVALID, "[N,3,16,17]");
    spec = spec_of();
    spec.input_nhwc = true;
    assert_refused(engine, &spec, RC_INVALID, "images");
    spec = spec_of();
    spec.input_u8 = true;
    assert_refused(engine, &spec, RC_INVALID, "f32");
    engine_free(engine);
    remove_root();
}

TEST(a_broken_graph_is_refused)
{
    static const char *const texts[] = {"", "this is not a graph\n", "\x08\x07garbage"};
    setup_root(&TINY);
    struct engine *engine = open_engine(cache_path);
    struct network_spec spec = spec_of();
    struct graph_info info;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct network *network = NULL;
        write_text(model_path, texts[i]);
        enum rc rc = network_open(engine, &spec, &network, NULL);
        assert_true(rc == RC_UNAVAILABLE || (i == 0 && rc == RC_NOT_FOUND) ||
                    (is_fake() && rc == RC_INVALID));
        assert_null(network);
    }
    write_text(model_path, "this is not a graph\n");
    assert_int_equal(engine_describe(engine, model_path, &info, NULL), RC_UNAVAILABLE);
    assert_int_equal(engine_describe(engine, "/no/such", &info, NULL), RC_NOT_FOUND);
    engine_free(engine);
    remove_root();
}

TEST(a_graph_is_described)
{
    struct graph_info info = {0};
    setup_root(&TINY);
    struct engine *engine = open_engine(NULL);
    assert_int_equal(engine_describe(engine, model_path, &info, NULL), RC_OK);
    assert_int_equal(info.input_count, 1);
    assert_int_equal(info.output_count, 1);
    assert_string_equal(info.input.name, "images");
    assert_string_equal(info.input.type, "f32");
    assert_int_equal(info.input.rank, 4);
    assert_int_equal(info.input.dims[0], -1);
    assert_int_equal(info.input.dims[1], 3);
    assert_int_equal(info.output.rank, 2);
    engine_free(engine);
    remove_root();
}

/* Run once with what the cache folder holds. */
static void run_with_cache(void)
{
    float expected[CLASS_COUNT], scores[CLASS_COUNT];
    struct network_spec spec = spec_of();
    struct engine *engine = open_engine(cache_path);
    struct network *network = open_network(engine, &spec);
    struct session *session = open_session(network);
    reference(1, &spec, expected);
    run_alone(session, 1, scores);
    if (!is_fake())
        assert_scores(scores, expected, 1e-4);
    for (uint32_t i = 0; i < BATCH_MAX; i++)
        assert_int_equal(session_run(session, i + 1, NULL), RC_OK);
    session_free(session);
    network_free(network);
    engine_free(engine);
}

static void damage_cache(bool cut)
{
    char path[PATH_MAX + 256];
    DIR *dir = opendir(cache_path);
    if (dir == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strstr(entry->d_name, ".blob") == NULL)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", cache_path, entry->d_name);
        FILE *file = fopen(path, cut ? "w" : "r+");
        assert_non_null(file);
        assert_int_equal(fseek(file, 100, SEEK_SET), 0);
        assert_true(fputs("damage", file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
    (void)closedir(dir);
}

TEST(a_damaged_cache_is_made_anew)
{
    setup_root(&TINY);
    run_with_cache();
    run_with_cache();
    damage_cache(false);
    run_with_cache();
    damage_cache(true);
    run_with_cache();
    remove_root();
}

TEST(a_cache_that_cannot_be_written_is_done_without)
{
    setup_root(&TINY);
    write_text(cache_path, "a file where the folder should be");
    run_with_cache();
    remove_root();
}

struct runner {
    struct session *session;
    uint32_t seed;
    const float *expected;
    bool ok;
    uint64_t cpu_ns;
};

static void *run_many(void *arg)
{
    struct runner *runner = arg;
    uint64_t started_ns = clock_thread_cpu_ns();
    runner->ok = true;
    for (uint32_t round = 0; round < 200 && runner->ok; round++) {
        uint32_t count = round % BATCH_MAX + 1;
        for (uint32_t i = 0; i < count; i++)
            draw(session_slot(runner->session, i), runner->seed);
        runner->ok = session_run(runner->session, count, NULL) == RC_OK;
        for (uint32_t i = 0; i < count * CLASS_COUNT && runner->ok; i++) {
            float score = session_scores(runner->session, i / CLASS_COUNT)[i % CLASS_COUNT];
            runner->ok = fabsf(score - runner->expected[i % CLASS_COUNT]) <= 1e-5f;
        }
    }
    runner->cpu_ns = clock_thread_cpu_ns() - started_ns;
    return NULL;
}

/* More sessions than streams, from the first moment on. */
TEST(sessions_run_at_the_same_time)
{
    enum { THREAD_COUNT = 4 };
    float expected[THREAD_COUNT][CLASS_COUNT];
    pthread_t threads[THREAD_COUNT];
    struct runner runners[THREAD_COUNT];
    struct network_spec spec = spec_of();
    setup_root(&TINY);
    struct engine *engine = open_engine(cache_path);
    struct network *network = open_network(engine, &spec);
    for (uint32_t i = 0; i < THREAD_COUNT; i++) {
        runners[i] = (struct runner){open_session(network), i + 1, expected[i], false, 0};
        run_alone(runners[i].session, i + 1, expected[i]);
    }
    for (uint32_t i = 0; i < THREAD_COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, &runners[i]), 0);
    for (uint32_t i = 0; i < THREAD_COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(runners[i].ok);
        assert_true(runners[i].cpu_ns > 0);
        session_free(runners[i].session);
    }
    network_free(network);
    engine_free(engine);
    remove_root();
}

/* With one stream and no batch there is nothing that loads in the background. */
TEST(the_caller_does_the_work)
{
    struct network_spec spec = spec_of();
    spec.batch_max = 1;
    setup_root(&TINY);
    struct engine *engine = open_streams(NULL, 1);
    struct network *network = open_network(engine, &spec);
    struct session *session = open_session(network);
    uint64_t process_ns = clock_process_cpu_ns(), thread_ns = clock_thread_cpu_ns();
    for (int i = 0; i < 2000; i++)
        assert_int_equal(session_run(session, 1, NULL), RC_OK);
    process_ns = clock_process_cpu_ns() - process_ns;
    thread_ns = clock_thread_cpu_ns() - thread_ns;
    assert_true(process_ns < thread_ns + thread_ns / 2);
    session_free(session);
    network_free(network);
    engine_free(engine);
    remove_root();
}

TEST(closing_at_once_is_fine)
{
    struct network_spec spec = spec_of();
    setup_root(&TINY);
    for (int i = 0; i < 5; i++) {
        struct engine *engine = open_engine(cache_path);
        struct network *network = open_network(engine, &spec);
        session_free(NULL);
        network_free(network);
        network_free(NULL);
        engine_free(engine);
    }
    engine_free(NULL);
    remove_root();
}

TEST(an_unknown_driver_is_invalid)
{
    struct engine_config config = {.driver = "abacus"};
    struct engine *engine = NULL;
    struct error err = {0};
    assert_int_equal(engine_open(&config, &engine, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "abacus"));
    assert_string_equal(precision_text(PRECISION_INT8), "int8");
}

TEST_MAIN("engine contract")
