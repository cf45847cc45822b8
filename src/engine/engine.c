/* SPDX-License-Identifier: Apache-2.0
 * engine.c - the public functions: limits, batch memory and checks, once for all drivers. */
#include "engine/driver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SIDE_MAX  4096u
#define CLASS_MAX (1u << 20)
#define ALIGNMENT 64u
#define CHANNELS  3u

static const struct engine_ops *const drivers[] = {
#define DRIVER(name) &engine_##name,
#include "engine/drivers.def"
#undef DRIVER
};

const char *precision_text(enum precision precision)
{
    static const char *const texts[] = {"f32", "bf16", "f16", "int8"};
    assert((size_t)precision < sizeof(texts) / sizeof(texts[0]));
    return texts[precision];
}

enum rc engine_open(const struct engine_config *config, struct engine **ret_engine,
                    struct error *err)
{
    assert(config != NULL && config->driver != NULL && ret_engine != NULL);
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
        if (strcmp(config->driver, drivers[i]->name) == 0)
            return drivers[i]->open(config, ret_engine, err);
    return error_set(err, RC_INVALID, "there is no engine '%s' in this build", config->driver);
}

void engine_free(struct engine *engine)
{
    if (engine != NULL)
        engine->ops->free(engine);
}

enum rc engine_describe(struct engine *engine, const char *path, struct graph_info *ret_info,
                        struct error *err)
{
    assert(engine != NULL && path != NULL && ret_info != NULL);
    return engine->ops->describe(engine, path, ret_info, err);
}

static enum rc check_spec(const struct network_spec *spec, struct error *err)
{
    if (spec->width == 0 || spec->width > SIDE_MAX || spec->height == 0 || spec->height > SIDE_MAX)
        return error_set(err, RC_INVALID, "%s: input %ux%u is outside 1..%u", spec->path,
                         spec->width, spec->height, SIDE_MAX);
    if (spec->batch_max == 0 || spec->batch_max > ENGINE_BATCH_MAX)
        return error_set(err, RC_INVALID, "%s: a batch of %u is outside 1..%u", spec->path,
                         spec->batch_max, ENGINE_BATCH_MAX);
    for (int i = 0; i < 3 && !spec->input_u8; i++)
        if (!(spec->scale[i] > 0.0f && spec->scale[i] < 1e6f && spec->mean[i] > -1e6f &&
              spec->mean[i] < 1e6f))
            return error_set(err, RC_INVALID, "%s: mean %g and scale %g cannot be right",
                             spec->path, (double)spec->mean[i], (double)spec->scale[i]);
    return RC_OK;
}

enum rc network_open(struct engine *engine, const struct network_spec *spec,
                     struct network **ret_network, struct error *err)
{
    assert(engine != NULL && spec != NULL && spec->path != NULL && ret_network != NULL);
    enum rc rc = check_spec(spec, err);
    if (rc != RC_OK)
        return rc;
    struct network *network = NULL;
    rc = engine->ops->network_open(engine, spec, &network, err);
    if (rc != RC_OK)
        return rc;
    if (network->class_count == 0 || network->class_count > CLASS_MAX) {
        rc = error_set(err, RC_INVALID, "%s: %u classes are outside 1..%u", spec->path,
                       network->class_count, CLASS_MAX);
        engine->ops->network_free(network);
        return rc;
    }
    network->ops = engine->ops;
    network->batch_max = spec->batch_max;
    network->slot_size = (size_t)spec->height * spec->width * CHANNELS;
    *ret_network = network;
    return RC_OK;
}

uint32_t network_class_count(const struct network *network) { return network->class_count; }

void network_free(struct network *network)
{
    if (network != NULL)
        network->ops->network_free(network);
}

static void *alloc_aligned(size_t size)
{
    size_t rounded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *memory = aligned_alloc(ALIGNMENT, rounded);
    if (memory != NULL)
        memset(memory, 0, rounded);
    return memory;
}

enum rc session_open(struct network *network, struct session **ret_session, struct error *err)
{
    assert(network != NULL && ret_session != NULL);
    size_t score_size = (size_t)network->batch_max * network->class_count * sizeof(float);
    uint8_t *pixels = alloc_aligned(network->batch_max * network->slot_size);
    float *scores = alloc_aligned(score_size);
    enum rc rc;
    if (pixels == NULL || scores == NULL)
        rc = error_set(err, RC_NO_MEMORY, "a batch of %u pictures", network->batch_max);
    else
        rc = network->ops->session_open(network, ret_session, err);
    if (rc != RC_OK) {
        free(pixels);
        free(scores);
        return rc;
    }
    struct session *session = *ret_session;
    session->ops = network->ops;
    session->network = network;
    session->pixels = pixels;
    session->scores = scores;
    return RC_OK;
}

uint8_t *session_slot(struct session *session, uint32_t index)
{
    assert(index < session->network->batch_max);
    return session->pixels + index * session->network->slot_size;
}

enum rc session_run(struct session *session, uint32_t count, struct error *err)
{
    assert(count > 0 && count <= session->network->batch_max);
    return session->ops->session_run(session, count, err);
}

const float *session_scores(const struct session *session, uint32_t index)
{
    assert(index < session->network->batch_max);
    return session->scores + (size_t)index * session->network->class_count;
}

void session_free(struct session *session)
{
    if (session == NULL)
        return;
    uint8_t *pixels = session->pixels;
    float *scores = session->scores;
    session->ops->session_free(session);
    free(pixels);
    free(scores);
}
