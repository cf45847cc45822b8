/* SPDX-License-Identifier: Apache-2.0
 * loaded.h - one version of a model in memory. Included by model/ only. */
#ifndef MODEL_LOADED_H
#define MODEL_LOADED_H
#include "model/labels.h"
#include "model/model.h"

#include <pthread.h>

struct model {
    struct model_spec spec;
    struct labels labels; /* count 0: there is no labels.txt */
    char *dir;            /* <repository>/<name>/<version> */
    struct engine *engine;
    uint32_t index;
    uint32_t batch_max;

    /* Filled by the first model_network(), under the lock; the first failure is kept as well, so
     * that requests for a broken model cost nothing. */
    pthread_mutex_t lock;
    bool tried;
    struct network *network;
    struct error failure;
};

/* Reads model.yaml and labels.txt of `dir`; opens no network. */
NODISCARD enum rc model_load(const char *dir, const char *name, const char *version,
                             struct model **ret_model, struct error *err);
void model_free(struct model *model);
/* Below 0, 0 or above: numbers within a version compare as numbers, "9" before "10". */
int model_version_compare(const char *a, const char *b);
#endif
