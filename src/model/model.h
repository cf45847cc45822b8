/* SPDX-License-Identifier: Apache-2.0
 * model.h - the model repository: <dir>/<name>/<version>/{model.onnx, model.yaml, labels.txt}.
 *
 * Reads and checks model.yaml and labels.txt, loads networks on an engine, and turns raw outputs
 * into labelled scores. It decodes no picture and keeps no queue.
 *
 * Threads: a repository is opened once and read by any thread.
 * Ownership: a `struct model *` lives as long as its repository.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H
#include "engine/engine.h"
#include "image/image.h"

enum activation { ACTIVATION_SOFTMAX, ACTIVATION_SIGMOID, ACTIVATION_NONE };

/* model.yaml, checked. Strings are owned by the spec. */
struct model_spec {
    char *name;
    char *version;
    char *task;    /* "classification" */
    char *license; /* may be NULL */
    char *input_name;
    char *output_name;
    char *labels_file;
    struct image_geometry geometry;
    bool input_nhwc;
    bool input_u8;
    float mean[3];
    float scale[3];
    enum precision precision;
    enum activation activation;
};
/* Errors: INVALID with the line and column, the key, and what it may be. Unknown keys are errors.
 */
NODISCARD enum rc model_spec_parse(struct bytes yaml, const char *file, struct model_spec *ret_spec,
                                   struct error *err);
NODISCARD enum rc model_spec_write(const struct model_spec *spec, struct buf *into);
void model_spec_done(struct model_spec *spec);

struct model; /* one version of one model, loaded */
const char *model_name(const struct model *model);
const char *model_version(const struct model *model);
const struct model_spec *model_spec(const struct model *model);
const struct image_geometry *model_geometry(const struct model *model);
/* Compiles the network at the first call (a version that nobody asks for costs nothing); threads
 * may race. */
NODISCARD enum rc model_network(const struct model *model, struct network **ret_network,
                                struct error *err);
uint32_t model_index(const struct model *model); /* dense, 0 .. model_count - 1 */
uint32_t model_class_count(const struct model *model);
#define MODEL_LABEL_SIZE_MAX 256u
/* The label of a class; "class 17" style names where labels.txt is absent. */
const char *model_label(const struct model *model, uint32_t class_id);

struct model_repository;
struct model_repository_config {
    const char *dir;
    const char *default_name; /* NULL or "": the first name in alphabetical order */
    uint32_t batch_max;
};
/* Reads the files of every version it finds; one that is wrong is an error that names its file.
 * Opens the network of the default model, and of those without labels, whose classes only the
 * network can count.
 * NOT_FOUND: no model in `dir`, or no default model of that name. */
NODISCARD enum rc model_repository_open(const struct model_repository_config *config,
                                        struct engine *engine,
                                        struct model_repository **ret_repository,
                                        struct error *err);
uint32_t model_count(const struct model_repository *repository);
const struct model *model_at(const struct model_repository *repository, uint32_t index);
/* `name` empty: the default model. `version` empty: the highest (numbers compare as numbers).
 * NOT_FOUND says which names or versions there are. */
NODISCARD enum rc model_find(const struct model_repository *repository, struct bytes name,
                             struct bytes version, const struct model **ret_model,
                             struct error *err);
void model_repository_free(struct model_repository *repository); /* NULL is fine */

struct class_score {
    uint32_t class_id;
    float score; /* after the activation */
};
/* Apply the activation to `raw` (model_class_count() outputs) and write the best `k` with a score
 * of at least `min_score`, best first, ties by class_id. Returns how many. */
uint32_t model_top_k(const struct model *model, const float *raw, uint32_t k, float min_score,
                     struct class_score *into);

/* A first model.yaml for any ONNX classifier: names, sides, layout and type come from the graph,
 * the rest is the usual ImageNet recipe, with a comment on each line that must be checked. */
NODISCARD enum rc model_inspect(const char *onnx_path, struct engine *engine, struct buf *into,
                                struct error *err);
#endif
