/* SPDX-License-Identifier: Apache-2.0
 * fake.c - an engine for tests: no library behind it, and scores that a test can work out.
 *
 * With C classes, class c of a picture scores -|c - m|, where m is the mean of all its bytes mapped
 * from 0..255 to 0..C-1: a uniformly white picture is class C-1. C is the number of lines of
 * labels.txt beside the model, or 1000. The file must begin as ONNX does and contain the names
 * asked for; no more of it is read. IMAGO_FAKE_DELAY_US makes each run take that long.
 */
#include "engine/driver.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAKE_CLASS_COUNT  1000u
#define FAKE_DELAY_US_MAX 10000000ul
#define FILE_SIZE_MAX     (256u << 20)
#define ONNX_FIRST_BYTE   0x08 /* the tag of ir_version */

struct fake {
    struct engine base;
    unsigned long delay_us;
};

struct fake_network {
    struct network base;
    unsigned long delay_us;
};

static struct fake *fake_of(struct engine *engine)
{
    assert(engine->ops == &engine_fake);
    return (struct fake *)engine;
}

static enum rc fake_open(const struct engine_config *config, struct engine **ret_engine,
                         struct error *err)
{
    (void)config;
    const char *delay = getenv("IMAGO_FAKE_DELAY_US");
    struct fake *fake = calloc(1, sizeof(*fake));
    if (fake == NULL)
        return error_set(err, RC_NO_MEMORY, "opening the fake engine");
    fake->base.ops = &engine_fake;
    fake->delay_us = delay != NULL ? strtoul(delay, NULL, 10) : 0;
    if (fake->delay_us > FAKE_DELAY_US_MAX)
        fake->delay_us = FAKE_DELAY_US_MAX;
    *ret_engine = &fake->base;
    return RC_OK;
}

static void fake_free(struct engine *engine) { free(fake_of(engine)); }

static enum rc read_graph(const char *path, struct buf *into, struct error *err)
{
    uint8_t chunk[16384];
    enum rc rc = RC_OK;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(err, RC_NOT_FOUND, "%s: there is no such file, or it cannot be read",
                         path);
    for (size_t size; rc == RC_OK && (size = fread(chunk, 1, sizeof(chunk), file)) > 0;)
        rc = buf_append(into, (struct bytes){chunk, size});
    (void)fclose(file);
    if (rc != RC_OK)
        return error_set(err, rc, "%s: reading it", path);
    if (into->size == 0 || into->data[0] != ONNX_FIRST_BYTE)
        return error_set(err, RC_UNAVAILABLE, "%s: this is not an ONNX model", path);
    return RC_OK;
}

static enum rc fake_describe(struct engine *engine, const char *path, struct graph_info *ret_info,
                             struct error *err)
{
    (void)engine;
    struct buf graph = BUF_INIT(FILE_SIZE_MAX);
    enum rc rc = read_graph(path, &graph, err);
    if (rc == RC_OK)
        *ret_info = (struct graph_info){
            .input_count = 1,
            .output_count = 1,
            .input = {"images", "f32", 4, {-1, 3, 224, 224}},
            .output = {"logits", "f32", 2, {-1, FAKE_CLASS_COUNT}},
        };
    buf_done(&graph);
    return rc;
}

static uint32_t count_labels(const char *graph_path)
{
    char path[PATH_MAX];
    const char *slash = strrchr(graph_path, '/');
    int dir_size = slash != NULL ? (int)(slash - graph_path + 1) : 0;
    (void)snprintf(path, sizeof(path), "%.*slabels.txt", dir_size, graph_path);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return FAKE_CLASS_COUNT;
    uint32_t count = 0;
    int last = '\n';
    for (int c; (c = getc(file)) != EOF; last = c)
        count += last == '\n';
    (void)fclose(file);
    return count;
}

static enum rc fake_network_open(struct engine *engine, const struct network_spec *spec,
                                 struct network **ret_network, struct error *err)
{
    struct buf graph = BUF_INIT(FILE_SIZE_MAX);
    const char *names[] = {spec->input_name, spec->output_name};
    enum rc rc = read_graph(spec->path, &graph, err);
    for (int i = 0; i < 2 && rc == RC_OK; i++)
        if (names[i] != NULL && memmem(graph.data, graph.size, names[i], strlen(names[i])) == NULL)
            rc = error_set(err, RC_INVALID, "%s: the graph has no %s '%s'", spec->path,
                           i == 0 ? "input" : "output", names[i]);
    buf_done(&graph);
    if (rc != RC_OK)
        return rc;
    struct fake_network *network = calloc(1, sizeof(*network));
    if (network == NULL)
        return error_set(err, RC_NO_MEMORY, "%s", spec->path);
    network->base.ops = &engine_fake;
    network->base.class_count = count_labels(spec->path);
    network->delay_us = fake_of(engine)->delay_us;
    *ret_network = &network->base;
    return RC_OK;
}

static void fake_network_free(struct network *network) { free(network); }

static enum rc fake_session_open(struct network *network, struct session **ret_session,
                                 struct error *err)
{
    (void)network;
    *ret_session = calloc(1, sizeof(**ret_session));
    return *ret_session != NULL ? RC_OK : error_set(err, RC_NO_MEMORY, "opening a session");
}

static void score_slot(const struct network *network, const uint8_t *pixels, float *scores)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < network->slot_size; i++)
        sum += pixels[i];
    float mean =
        (float)((double)sum * (network->class_count - 1) / (255.0 * (double)network->slot_size));
    for (uint32_t i = 0; i < network->class_count; i++)
        scores[i] = (float)i < mean ? (float)i - mean : mean - (float)i;
}

static enum rc fake_session_run(struct session *session, uint32_t count, struct error *err)
{
    (void)err;
    const struct network *network = session->network;
    unsigned long delay_us = ((const struct fake_network *)network)->delay_us;
    for (uint32_t i = 0; i < count; i++)
        score_slot(network, session->pixels + i * network->slot_size,
                   session->scores + (size_t)i * network->class_count);
    if (delay_us > 0)
        (void)nanosleep(&(struct timespec){.tv_sec = (time_t)(delay_us / 1000000),
                                           .tv_nsec = (long)(delay_us % 1000000) * 1000},
                        NULL);
    return RC_OK;
}

static void fake_session_free(struct session *session) { free(session); }

const struct engine_ops engine_fake = {
    .name = "fake",
    .open = fake_open,
    .free = fake_free,
    .describe = fake_describe,
    .network_open = fake_network_open,
    .network_free = fake_network_free,
    .session_open = fake_session_open,
    .session_run = fake_session_run,
    .session_free = fake_session_free,
};
