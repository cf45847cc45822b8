/* SPDX-License-Identifier: Apache-2.0
 * driver.h - what an engine driver implements. Included by engine.c and the drivers only. */
#ifndef ENGINE_DRIVER_H
#define ENGINE_DRIVER_H
#include "engine/engine.h"

struct engine_ops {
    const char *name;
    enum rc (*open)(const struct engine_config *config, struct engine **ret_engine,
                    struct error *err);
    void (*free)(struct engine *engine);
    enum rc (*describe)(struct engine *engine, const char *path, struct graph_info *ret_info,
                        struct error *err);
    /* Fills class_count; engine.c fills the rest of `struct network`. */
    enum rc (*network_open)(struct engine *engine, const struct network_spec *spec,
                            struct network **ret_network, struct error *err);
    void (*network_free)(struct network *network);
    /* engine.c fills `struct session`, with the memory of the batch. */
    enum rc (*session_open)(struct network *network, struct session **ret_session,
                            struct error *err);
    enum rc (*session_run)(struct session *session, uint32_t count, struct error *err);
    void (*session_free)(struct session *session);
};

/* Every driver's structs start with these. */
struct engine {
    const struct engine_ops *ops;
};

struct network {
    const struct engine_ops *ops;
    uint32_t class_count;
    uint32_t batch_max;
    size_t slot_size; /* bytes of one picture */
};

struct session {
    const struct engine_ops *ops;
    const struct network *network;
    uint8_t *pixels; /* batch_max slots, 64-byte aligned */
    float *scores;   /* batch_max rows */
};

#define DRIVER(name) extern const struct engine_ops engine_##name;
#include "engine/drivers.def"
#undef DRIVER
#endif
