/* SPDX-License-Identifier: Apache-2.0
 * engine.h - runs a network on a batch of pictures.
 *
 * An engine is a device with its threads; a network is one loaded ONNX file with normalisation
 * compiled in; a session is one worker's place to run: it owns the batch memory, so a picture is
 * written once, into its slot. It knows nothing of files' repositories, labels or requests.
 *
 * Threads: engine and network may be shared; a session belongs to one thread at a time.
 * Ownership: sessions are freed before their network, networks before their engine.
 * Adding a driver: engine/<name>.c, one row in engine/drivers.def, one line in meson.build.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H
#include "base/bytes.h"

struct engine;
struct network;
struct session;

enum precision { PRECISION_F32, PRECISION_BF16, PRECISION_F16, PRECISION_INT8 };
const char *precision_text(enum precision precision); /* "f32" */

#define ENGINE_BATCH_MAX 128u

struct engine_config {
    const char *driver;          /* "openvino"; "fake" in test builds only */
    const char *cache_dir;       /* compiled networks; NULL or "" keeps none */
    uint32_t stream_count;       /* sessions that run at the same time; 0: engine_cpu_count() */
    uint32_t threads_per_stream; /* 0: 1 */
};

/* The CPUs this process may use: affinity mask and the cgroup's quota (v1 and v2), rounded up. */
uint32_t engine_cpu_count(void);

NODISCARD enum rc engine_open(const struct engine_config *config, struct engine **ret_engine,
                              struct error *err);
void engine_free(struct engine *engine); /* NULL is fine */

/* A graph as its file declares it: what `imago model inspect` starts from. */
#define GRAPH_RANK_MAX 8
struct graph_port {
    char name[128];
    char type[8]; /* "f32", "u8" ...; "?" for what no picture classifier uses */
    uint32_t rank;
    int64_t dims[GRAPH_RANK_MAX]; /* -1: any */
};
struct graph_info {
    uint32_t input_count;
    uint32_t output_count;
    struct graph_port input; /* the first */
    struct graph_port output;
};
/* Errors: NOT_FOUND (no file), UNAVAILABLE (the engine cannot read it). */
NODISCARD enum rc engine_describe(struct engine *engine, const char *path,
                                  struct graph_info *ret_info, struct error *err);

/* What the network expects. Pixels arrive as uint8, height x width x 3. */
struct network_spec {
    const char *path;        /* the ONNX file */
    const char *input_name;  /* NULL: the only input */
    const char *output_name; /* NULL: the first output */
    uint32_t width;
    uint32_t height;
    bool input_nhwc; /* layout of the graph's own input; else NCHW */
    bool input_u8;   /* the graph takes uint8 and normalises itself; else f32 */
    float mean[3];   /* value = (pixel - mean) / scale, compiled into the network */
    float scale[3];
    enum precision precision; /* F32 pins the engine to f32: some CPUs use bf16 unasked */
    uint32_t batch_max;
};

/* Compile, or take from the cache. It returns when a first picture can run; what larger batches
 * and further streams need is added in the background by a thread that then ends.
 * Errors: NOT_FOUND (no file), INVALID (no such input or output, shapes that do not fit the spec),
 * UNAVAILABLE (the engine refuses the model). */
NODISCARD enum rc network_open(struct engine *engine, const struct network_spec *spec,
                               struct network **ret_network, struct error *err);
uint32_t network_class_count(const struct network *network);
void network_free(struct network *network); /* NULL is fine */

NODISCARD enum rc session_open(struct network *network, struct session **ret_session,
                               struct error *err);
/* Slot `index` < batch_max: height x width x 3 bytes, kept between runs. */
uint8_t *session_slot(struct session *session, uint32_t index);
/* Run the first `count` slots (1..batch_max). Blocks the caller, which does the work itself. */
NODISCARD enum rc session_run(struct session *session, uint32_t count, struct error *err);
/* Row `index` of the last run: network_class_count() raw outputs, valid until the next run. */
const float *session_scores(const struct session *session, uint32_t index);
void session_free(struct session *session); /* NULL is fine */
#endif
