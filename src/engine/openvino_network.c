/* SPDX-License-Identifier: Apache-2.0
 * openvino_network.c - a network: instances of one graph for 1 to 4 pictures, for each stream.
 *
 * Fixed shapes cost the least CPU per picture: a dynamic batch costs 3 to 10 % more. Of an int8
 * network, 4 pictures at a time are within 1 % of 8, and one at a time costs 10 % more; in f32,
 * where activations are four times as large, 2 at a time are the best. So a batch is run in chunks.
 *
 * network_open() makes one instance of one picture. A thread of the network then adds the others
 * and ends; until then runs make do with what is there.
 */
#include "engine/openvino.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define CHUNK_MAX_F32   2
#define LOADER_NICENESS 10 /* requests come first */

static struct openvino_network *network_of(struct network *network)
{
    assert(network->ops == &engine_openvino);
    return (struct openvino_network *)network;
}

static _Atomic(struct instance *) *place_of(struct openvino_network *network, uint32_t chunk,
                                            uint32_t stream)
{
    return &network->instances[(chunk - 1) * network->engine->stream_count + stream];
}

/* Set before each compilation or import, under compile_lock. Without streams of its own, OpenVINO
 * runs a request in the thread that calls, and keeps no threads; with one, others help. */
static ov_status_e set_properties(const struct openvino_network *network)
{
    static const char *const precisions[] = {
        [PRECISION_F32] = "f32",
        [PRECISION_BF16] = "bf16",
        [PRECISION_F16] = "f16",
        [PRECISION_INT8] = "f32", /* for what little is not int8; bf16 there is no faster */
    };
    char threads[16];
    (void)snprintf(threads, sizeof(threads), "%u", network->engine->threads_per_stream);
    const ov_property_t properties[] = {
        {"NUM_STREAMS", network->engine->threads_per_stream > 1 ? "1" : "0"},
        {"INFERENCE_NUM_THREADS", threads},
        {"INFERENCE_PRECISION_HINT", precisions[network->spec.precision]},
        {"ENABLE_HYPER_THREADING", "YES"}, /* else two CPUs that are one core count as one */
        {"ENABLE_CPU_PINNING", "NO"},      /* the caller's thread is not OpenVINO's to pin */
    };
    return ov_core_set_properties(network->engine->core, OPENVINO_DEVICE,
                                  sizeof(properties) / sizeof(properties[0]), properties);
}

/* From the cache; NULL if it is not there or is refused: then it is compiled and replaced. */
static ov_compiled_model_t *import(struct openvino_network *network, const struct cache_key *key)
{
    const struct openvino *openvino = network->engine;
    struct cache_blob *blob = &network->blobs[key->batch - 1];
    ov_compiled_model_t *compiled = NULL;
    if (openvino->cache_dir == NULL)
        return NULL;
    if (blob->map == NULL && !cache_get(openvino->cache_dir, key, blob))
        return NULL;
    ov_status_e status = ov_core_import_model(openvino->core, (const char *)blob->content.data,
                                              blob->content.size, OPENVINO_DEVICE, &compiled);
    return status == OK ? compiled : NULL;
}

static bool export_blob(const char *path, void *ctx)
{
    return ov_compiled_model_export_model(ctx, path) == OK;
}

static enum rc compile(struct openvino_network *network, const struct cache_key *key,
                       ov_compiled_model_t **ret_compiled, struct error *err)
{
    const struct openvino *openvino = network->engine;
    enum rc rc = RC_OK;
    if (network->graph == NULL)
        rc = openvino_graph_read(openvino->core, &network->spec, &network->graph, err);
    if (rc == RC_OK && key->batch > 1)
        rc = openvino_graph_batch(network->graph, &network->spec, key->batch, err);
    if (rc != RC_OK)
        return rc;
    ov_status_e status =
        ov_core_compile_model(openvino->core, network->graph, OPENVINO_DEVICE, 0, ret_compiled);
    if (status != OK)
        return openvino_fail(err, RC_UNAVAILABLE, network->spec.path, "compiling", status);
    if (openvino->cache_dir != NULL)
        (void)cache_put(openvino->cache_dir, key, export_blob, *ret_compiled);
    return RC_OK;
}

/* The output must be [batch, classes], or that with further dimensions of 1. */
static enum rc read_class_count(const struct openvino_network *network,
                                const ov_compiled_model_t *compiled, uint32_t batch,
                                uint32_t *ret_count, struct error *err)
{
    const char *name = network->spec.output_name;
    ov_output_const_port_t *port = NULL;
    ov_shape_t shape = {0};
    ov_status_e status = name != NULL ? ov_compiled_model_output_by_name(compiled, name, &port)
                                      : ov_compiled_model_output_by_index(compiled, 0, &port);
    if (status == OK)
        status = ov_const_port_get_shape(port, &shape);
    ov_output_const_port_free(port);
    if (status != OK)
        return openvino_fail(err, RC_INVALID, network->spec.path, "reading its output", status);
    int64_t longest = 1;
    uint32_t long_count = 0;
    bool fits = shape.rank >= 2 && shape.dims[0] == batch;
    for (int64_t i = 1; i < shape.rank && fits; i++) {
        fits = shape.dims[i] > 0 && shape.dims[i] <= INT32_MAX;
        long_count += shape.dims[i] != 1;
        longest = shape.dims[i] > longest ? shape.dims[i] : longest;
    }
    (void)ov_shape_free(&shape);
    if (!fits || long_count > 1)
        return error_set(err, RC_INVALID, "%s: output '%s' is not one row of classes a picture",
                         network->spec.path, name != NULL ? name : "0");
    *ret_count = (uint32_t)longest;
    return RC_OK;
}

static void instance_free(struct instance *instance)
{
    if (instance == NULL)
        return;
    ov_infer_request_free(instance->infer);
    ov_compiled_model_free(instance->compiled);
    (void)pthread_mutex_destroy(&instance->lock);
    free(instance);
}

/* Under compile_lock. */
static enum rc instance_open(struct openvino_network *network, uint32_t chunk,
                             struct instance **ret_instance, struct error *err)
{
    struct cache_key key = network->key;
    key.batch = chunk;
    enum rc rc = RC_OK;
    struct instance *instance = calloc(1, sizeof(*instance));
    if (instance == NULL)
        return error_set(err, RC_NO_MEMORY, "%s", network->spec.path);
    instance->chunk = chunk;
    (void)pthread_mutex_init(&instance->lock, NULL);
    ov_status_e status = set_properties(network);
    if (status != OK)
        rc = openvino_fail(err, RC_UNAVAILABLE, "OpenVINO", "setting its properties", status);
    if (rc == RC_OK)
        instance->compiled = import(network, &key);
    if (rc == RC_OK && instance->compiled == NULL)
        rc = compile(network, &key, &instance->compiled, err);
    if (rc == RC_OK) {
        status = ov_compiled_model_create_infer_request(instance->compiled, &instance->infer);
        if (status != OK)
            rc = openvino_fail(err, RC_UNAVAILABLE, network->spec.path, "making a request", status);
    }
    if (rc == RC_OK)
        *ret_instance = instance;
    else
        instance_free(instance);
    return rc;
}

static enum rc load(struct openvino_network *network, uint32_t chunk, uint32_t stream,
                    struct error *err)
{
    struct instance *instance = NULL;
    uint32_t class_count = 0;
    (void)pthread_mutex_lock(&network->engine->compile_lock);
    enum rc rc = instance_open(network, chunk, &instance, err);
    (void)pthread_mutex_unlock(&network->engine->compile_lock);
    if (rc != RC_OK)
        return rc;
    rc = read_class_count(network, instance->compiled, chunk, &class_count, err);
    if (rc == RC_OK && network->base.class_count == 0)
        network->base.class_count = class_count;
    if (rc == RC_OK && class_count != network->base.class_count)
        rc = error_set(err, RC_INVALID, "%s: a batch changes the number of classes",
                       network->spec.path);
    if (rc == RC_OK)
        atomic_store_explicit(place_of(network, chunk, stream), instance, memory_order_release);
    else
        instance_free(instance);
    return rc;
}

/* Every stream gets its single first, then the large chunks. A chunk that cannot be made (a graph
 * with its batch size written into it) is done without. */
static void *loader_main(void *arg)
{
    struct openvino_network *network = arg;
    (void)setpriority(PRIO_PROCESS, 0, LOADER_NICENESS); /* of this thread, on Linux */
    for (uint32_t i = 0; i < network->chunk_max; i++) {
        uint32_t chunk = i == 0 ? 1 : network->chunk_max + 1 - i;
        for (uint32_t stream = 0; stream < network->engine->stream_count; stream++) {
            if (atomic_load(&network->stopping))
                goto out;
            if (chunk == 1 && stream == 0)
                continue;
            if (load(network, chunk, stream, NULL) != RC_OK)
                break;
        }
    }
out:
    ov_model_free(network->graph);
    network->graph = NULL;
    return NULL;
}

void openvino_network_free(struct network *base)
{
    struct openvino_network *network = network_of(base);
    atomic_store(&network->stopping, true);
    if (network->loader_started)
        (void)pthread_join(network->loader, NULL);
    for (uint32_t i = 0; i < CHUNK_MAX * network->engine->stream_count; i++)
        instance_free(atomic_load(&network->instances[i]));
    ov_model_free(network->graph);
    for (uint32_t i = 0; i < CHUNK_MAX; i++)
        cache_blob_done(&network->blobs[i]);
    free((void *)(uintptr_t)network->spec.path);
    free((void *)(uintptr_t)network->spec.input_name);
    free((void *)(uintptr_t)network->spec.output_name);
    free(network);
}

static bool copy_spec(const struct network_spec *spec, struct network_spec *into)
{
    *into = *spec;
    into->path = strdup(spec->path);
    into->input_name = spec->input_name != NULL ? strdup(spec->input_name) : NULL;
    into->output_name = spec->output_name != NULL ? strdup(spec->output_name) : NULL;
    return into->path != NULL && (into->input_name != NULL) == (spec->input_name != NULL) &&
           (into->output_name != NULL) == (spec->output_name != NULL);
}

/* All that the compiled graph depends on beside the file. The first number is raised when the code
 * that builds the graph changes. */
static enum rc make_key(struct openvino_network *network, struct error *err)
{
    const struct network_spec *spec = &network->spec;
    char settings[2048];
    int size =
        snprintf(settings, sizeof(settings), "1|%s|%s|%s|%ux%u|%d%d|%a,%a,%a|%a,%a,%a|%s",
                 network->engine->identity, spec->input_name != NULL ? spec->input_name : "",
                 spec->output_name != NULL ? spec->output_name : "", spec->width, spec->height,
                 spec->input_nhwc, spec->input_u8, (double)spec->mean[0], (double)spec->mean[1],
                 (double)spec->mean[2], (double)spec->scale[0], (double)spec->scale[1],
                 (double)spec->scale[2], precision_text(spec->precision));
    if (size < 0 || (size_t)size >= sizeof(settings))
        return error_set(err, RC_INVALID, "%s: the names of input and output are too long",
                         spec->path);
    return cache_key_make(spec->path, settings, &network->key, err);
}

enum rc openvino_network_open(struct engine *engine, const struct network_spec *spec,
                              struct network **ret_network, struct error *err)
{
    struct openvino *openvino = (struct openvino *)engine;
    size_t place_count = (size_t)CHUNK_MAX * openvino->stream_count;
    struct openvino_network *network =
        calloc(1, sizeof(*network) + place_count * sizeof(network->instances[0]));
    if (network == NULL)
        return error_set(err, RC_NO_MEMORY, "%s", spec->path);
    network->base.ops = &engine_openvino;
    network->engine = openvino;
    network->chunk_max = spec->precision == PRECISION_F32 ? CHUNK_MAX_F32 : CHUNK_MAX;
    if (network->chunk_max > spec->batch_max)
        network->chunk_max = spec->batch_max;
    enum rc rc = copy_spec(spec, &network->spec) ? make_key(network, err)
                                                 : error_set(err, RC_NO_MEMORY, "%s", spec->path);
    if (rc == RC_OK)
        rc = load(network, 1, 0, err);
    if (rc != RC_OK) {
        openvino_network_free(&network->base);
        return rc;
    }
    /* Without the thread there is the one instance: slower, and right. */
    if (network->chunk_max > 1 || openvino->stream_count > 1)
        network->loader_started = pthread_create(&network->loader, NULL, loader_main, network) == 0;
    *ret_network = &network->base;
    return RC_OK;
}

struct instance *openvino_acquire(struct openvino_network *network, uint32_t count, uint32_t stream)
{
    uint32_t stream_count = network->engine->stream_count;
    for (uint32_t chunk = count < network->chunk_max ? count : network->chunk_max; chunk > 0;
         chunk--)
        for (uint32_t i = 0; i < stream_count; i++) {
            struct instance *instance = atomic_load_explicit(
                place_of(network, chunk, (stream + i) % stream_count), memory_order_acquire);
            if (instance != NULL && pthread_mutex_trylock(&instance->lock) == 0)
                return instance;
        }
    /* More sessions at work than there are instances yet. */
    struct instance *first = atomic_load_explicit(place_of(network, 1, 0), memory_order_acquire);
    (void)pthread_mutex_lock(&first->lock);
    return first;
}
