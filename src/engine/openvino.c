/* SPDX-License-Identifier: Apache-2.0
 * openvino.c - the OpenVINO driver: engine and sessions. Nothing is copied: the tensors that
 * OpenVINO is given lie over the session's own pixels and scores. */
#include "engine/openvino.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_COUNT_MAX 1024u

struct binding {
    ov_tensor_t *pixels;
    ov_tensor_t *scores;
};

struct openvino_session {
    struct session base;
    struct openvino_network *network;
    uint32_t stream;
    struct binding bindings[]; /* [row][chunk - 1]; made when first used */
};

static struct openvino *openvino_of(struct engine *engine)
{
    assert(engine->ops == &engine_openvino);
    return (struct openvino *)engine;
}

static void openvino_free(struct engine *engine)
{
    struct openvino *openvino = openvino_of(engine);
    ov_core_free(openvino->core);
    (void)pthread_mutex_destroy(&openvino->compile_lock);
    free(openvino->cache_dir);
    free(openvino->identity);
    free(openvino);
}

/* Library and processor: what a compiled network depends on beside its graph and spec. */
static char *identify(const ov_core_t *core)
{
    char *identity = NULL, *processor = NULL, *abilities = NULL;
    ov_version_t version = {0};
    if (ov_get_openvino_version(&version) == OK &&
        ov_core_get_property(core, OPENVINO_DEVICE, "FULL_DEVICE_NAME", &processor) == OK &&
        ov_core_get_property(core, OPENVINO_DEVICE, "OPTIMIZATION_CAPABILITIES", &abilities) ==
            OK &&
        asprintf(&identity, "%s|%s|%s", version.buildNumber, processor, abilities) < 0)
        identity = NULL;
    ov_free(processor);
    ov_free(abilities);
    ov_version_free(&version);
    return identity;
}

static enum rc openvino_open(const struct engine_config *config, struct engine **ret_engine,
                             struct error *err)
{
    bool cached = config->cache_dir != NULL && config->cache_dir[0] != '\0';
    uint32_t streams = config->stream_count != 0 ? config->stream_count : engine_cpu_count();
    enum rc rc = RC_OK;
    if (streams > STREAM_COUNT_MAX || config->threads_per_stream > STREAM_COUNT_MAX)
        return error_set(err, RC_INVALID, "more than %u streams or threads", STREAM_COUNT_MAX);
    struct openvino *openvino = calloc(1, sizeof(*openvino));
    if (openvino == NULL)
        return error_set(err, RC_NO_MEMORY, "opening the engine");
    openvino->base.ops = &engine_openvino;
    openvino->stream_count = streams;
    openvino->threads_per_stream = config->threads_per_stream != 0 ? config->threads_per_stream : 1;
    (void)pthread_mutex_init(&openvino->compile_lock, NULL);
    ov_status_e status = ov_core_create(&openvino->core);
    if (status != OK) {
        rc = openvino_fail(err, RC_UNAVAILABLE, "OpenVINO", "starting", status);
        goto fail;
    }
    openvino->identity = identify(openvino->core);
    openvino->cache_dir = cached ? strdup(config->cache_dir) : NULL;
    if (openvino->identity == NULL || (cached && openvino->cache_dir == NULL)) {
        rc = error_set(err, RC_UNAVAILABLE,
                       "OpenVINO has no CPU device: its CPU plugin belongs beside its library");
        goto fail;
    }
    *ret_engine = &openvino->base;
    return RC_OK;
fail:
    openvino_free(&openvino->base);
    return rc;
}

static enum rc openvino_describe(struct engine *engine, const char *path,
                                 struct graph_info *ret_info, struct error *err)
{
    return openvino_graph_describe(openvino_of(engine)->core, path, ret_info, err);
}

static struct openvino_session *session_of(struct session *session)
{
    assert(session->ops == &engine_openvino);
    return (struct openvino_session *)session;
}

static enum rc openvino_session_open(struct network *base, struct session **ret_session,
                                     struct error *err)
{
    struct openvino_network *network = (struct openvino_network *)base;
    struct openvino_session *session = calloc(
        1, sizeof(*session) + (size_t)base->batch_max * CHUNK_MAX * sizeof(session->bindings[0]));
    if (session == NULL)
        return error_set(err, RC_NO_MEMORY, "opening a session");
    session->network = network;
    session->stream = atomic_fetch_add(&network->session_count, 1) % network->engine->stream_count;
    *ret_session = &session->base;
    return RC_OK;
}

static void openvino_session_free(struct session *base)
{
    struct openvino_session *session = session_of(base);
    for (uint32_t i = 0; i < base->network->batch_max * CHUNK_MAX; i++) {
        ov_tensor_free(session->bindings[i].pixels);
        ov_tensor_free(session->bindings[i].scores);
    }
    free(session);
}

/* The tensors over rows `row` .. `row + chunk - 1`. */
static ov_status_e bind(struct openvino_session *session, uint32_t row, uint32_t chunk,
                        struct binding **ret_binding)
{
    const struct network *network = session->base.network;
    const struct network_spec *spec = &session->network->spec;
    struct binding *binding = &session->bindings[row * CHUNK_MAX + chunk - 1];
    int64_t pixel_dims[] = {chunk, spec->height, spec->width, CHANNELS};
    int64_t score_dims[] = {chunk, network->class_count};
    ov_status_e status = OK;
    if (binding->pixels == NULL)
        status = ov_tensor_create_from_host_ptr(U8, (ov_shape_t){4, pixel_dims},
                                                session->base.pixels + row * network->slot_size,
                                                &binding->pixels);
    if (status == OK && binding->scores == NULL)
        status = ov_tensor_create_from_host_ptr(
            F32, (ov_shape_t){2, score_dims},
            session->base.scores + (size_t)row * network->class_count, &binding->scores);
    *ret_binding = binding;
    return status;
}

static ov_status_e run_chunk(struct openvino_session *session, const struct instance *instance,
                             uint32_t row)
{
    const char *output = session->network->spec.output_name;
    ov_infer_request_t *infer = instance->infer;
    struct binding *binding = NULL;
    ov_status_e status = bind(session, row, instance->chunk, &binding);
    if (status == OK)
        status = ov_infer_request_set_input_tensor(infer, binding->pixels);
    if (status == OK)
        status = output != NULL
                     ? ov_infer_request_set_tensor(infer, output, binding->scores)
                     : ov_infer_request_set_output_tensor_by_index(infer, 0, binding->scores);
    if (status == OK)
        status = ov_infer_request_infer(infer);
    return status;
}

static enum rc openvino_session_run(struct session *base, uint32_t count, struct error *err)
{
    struct openvino_session *session = session_of(base);
    for (uint32_t row = 0; row < count;) {
        struct instance *instance =
            openvino_acquire(session->network, count - row, session->stream);
        ov_status_e status = run_chunk(session, instance, row);
        (void)pthread_mutex_unlock(&instance->lock);
        if (status != OK)
            return openvino_fail(err, RC_UNAVAILABLE, session->network->spec.path, "running",
                                 status);
        row += instance->chunk;
    }
    return RC_OK;
}

const struct engine_ops engine_openvino = {
    .name = "openvino",
    .open = openvino_open,
    .free = openvino_free,
    .describe = openvino_describe,
    .network_open = openvino_network_open,
    .network_free = openvino_network_free,
    .session_open = openvino_session_open,
    .session_run = openvino_session_run,
    .session_free = openvino_session_free,
};
