/* SPDX-License-Identifier: Apache-2.0
 * openvino.h - what the files of the OpenVINO driver share: openvino.c (engine and sessions),
 * openvino_network.c (networks) and openvino_graph.c (from the file to the graph). */
#ifndef ENGINE_OPENVINO_H
#define ENGINE_OPENVINO_H
#include "engine/cache.h"
#include "engine/driver.h"

#include <openvino/c/openvino.h>
#include <pthread.h>
#include <stdatomic.h>

#define OPENVINO_DEVICE "CPU"
#define CHANNELS        3
#define CHUNK_MAX       4 /* pictures in one call of OpenVINO */

struct openvino {
    struct engine base;
    ov_core_t *core;
    pthread_mutex_t compile_lock; /* device properties are the core's, so one compiles at a time */
    char *cache_dir;              /* NULL: none */
    char *identity;               /* of library and processor: part of each cache key */
    uint32_t stream_count;
    uint32_t threads_per_stream;
};

/* A graph compiled for one chunk size, and its one request. OpenVINO's own streams would share
 * weights, but run a call in a thread of theirs. */
struct instance {
    pthread_mutex_t lock; /* held during a run */
    uint32_t chunk;
    ov_compiled_model_t *compiled;
    ov_infer_request_t *infer;
};

struct openvino_network {
    struct network base;
    struct openvino *engine;
    struct network_spec spec; /* its strings are ours */
    struct cache_key key;
    struct cache_blob blobs[CHUNK_MAX]; /* an imported graph reads its weights in place */
    ov_model_t *graph;                  /* read only if something is to be compiled */
    uint32_t chunk_max;
    atomic_uint session_count; /* ever opened */
    pthread_t loader;
    bool loader_started;
    atomic_bool stopping;
    _Atomic(struct instance *) instances[]; /* [chunk - 1][stream]; NULL: not there yet */
};

NODISCARD enum rc openvino_network_open(struct engine *engine, const struct network_spec *spec,
                                        struct network **ret_network, struct error *err);
void openvino_network_free(struct network *network);
/* An instance for at most `count` pictures, locked; the largest that nobody uses. `stream` is the
 * caller's own, tried first. Waits if all are in use. */
struct instance *openvino_acquire(struct openvino_network *network, uint32_t count,
                                  uint32_t stream);

/* Read `spec->path`, check it against the spec, compile normalisation in: what comes out takes
 * uint8 NHWC of batch 1 and gives f32. */
NODISCARD enum rc openvino_graph_read(ov_core_t *core, const struct network_spec *spec,
                                      ov_model_t **ret_model, struct error *err);
/* Another batch size. Fails for graphs that have their batch size written into them. */
NODISCARD enum rc openvino_graph_batch(ov_model_t *model, const struct network_spec *spec,
                                       uint32_t batch, struct error *err);
NODISCARD enum rc openvino_graph_describe(ov_core_t *core, const char *path,
                                          struct graph_info *ret_info, struct error *err);

/* Fill `err` with what was being done and OpenVINO's own words for the calling thread's failure. */
enum rc openvino_fail(struct error *err, enum rc rc, const char *path, const char *doing,
                      ov_status_e status);
#endif
