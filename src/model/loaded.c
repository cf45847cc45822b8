/* SPDX-License-Identifier: Apache-2.0
 * loaded.c - one version of a model: its files, and its network when that is first needed. */
#include "model/loaded.h"

#include "model/file.h"
#include "model/top_k.h"

#include <assert.h>
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define YAML_SIZE_MAX   (64u << 10)
#define LABELS_SIZE_MAX (16u << 20)
#define CLASS_TEXT_SIZE 24

static enum rc join(const char *dir, const char *file, char into[PATH_MAX], struct error *err)
{
    int size = snprintf(into, PATH_MAX, "%s/%s", dir, file);
    if (size < 0 || size >= PATH_MAX)
        return error_set(err, RC_INVALID, "%.160s: the path is too long", dir);
    return RC_OK;
}

static enum rc read_spec(struct model *model, const char *name, const char *version,
                         struct error *err)
{
    char path[PATH_MAX];
    struct buf text = BUF_INIT(YAML_SIZE_MAX);
    enum rc rc = join(model->dir, "model.yaml", path, err);
    if (rc == RC_OK)
        rc = file_read(path, &text, err);
    if (rc == RC_OK)
        rc = model_spec_parse((struct bytes){text.data, text.size}, path, &model->spec, err);
    buf_done(&text);
    if (rc != RC_OK)
        return rc;
    if (strcmp(model->spec.name, name) != 0 || strcmp(model->spec.version, version) != 0)
        return error_set(err, RC_INVALID, "%s: it is %s version %s, but its folder says %s/%s",
                         path, model->spec.name, model->spec.version, name, version);
    return RC_OK;
}

static enum rc read_labels(struct model *model, struct error *err)
{
    char path[PATH_MAX];
    struct buf text = BUF_INIT(LABELS_SIZE_MAX);
    if (model->spec.labels_file == NULL)
        return RC_OK;
    enum rc rc = join(model->dir, model->spec.labels_file, path, err);
    if (rc == RC_OK)
        rc = file_read(path, &text, err);
    if (rc == RC_OK)
        rc = labels_parse((struct bytes){text.data, text.size}, path, &model->labels, err);
    buf_done(&text);
    return rc;
}

enum rc model_load(const char *dir, const char *name, const char *version, struct model **ret_model,
                   struct error *err)
{
    struct model *model = calloc(1, sizeof(*model));
    if (model == NULL)
        return error_set(err, RC_NO_MEMORY, "%s", dir);
    (void)pthread_mutex_init(&model->lock, NULL);
    model->dir = strdup(dir);
    enum rc rc = model->dir != NULL ? read_spec(model, name, version, err)
                                    : error_set(err, RC_NO_MEMORY, "%s", dir);
    if (rc == RC_OK)
        rc = read_labels(model, err);
    if (rc == RC_OK)
        *ret_model = model;
    else
        model_free(model);
    return rc;
}

void model_free(struct model *model)
{
    if (model == NULL)
        return;
    network_free(model->network);
    (void)pthread_mutex_destroy(&model->lock);
    model_spec_done(&model->spec);
    labels_done(&model->labels);
    free(model->dir);
    free(model);
}

static enum rc open_network(struct model *model, struct error *err)
{
    const struct model_spec *spec = &model->spec;
    char path[PATH_MAX];
    struct network *network = NULL;
    enum rc rc = join(model->dir, "model.onnx", path, err);
    if (rc != RC_OK)
        return rc;
    struct network_spec wanted = {
        .path = path,
        .input_name = spec->input_name,
        .output_name = spec->output_name,
        .width = spec->geometry.width,
        .height = spec->geometry.height,
        .input_nhwc = spec->input_nhwc,
        .input_u8 = spec->input_u8,
        .precision = spec->precision,
        .batch_max = model->batch_max,
    };
    memcpy(wanted.mean, spec->mean, sizeof(wanted.mean));
    memcpy(wanted.scale, spec->scale, sizeof(wanted.scale));
    rc = network_open(model->engine, &wanted, &network, err);
    if (rc != RC_OK)
        return rc;
    uint32_t class_count = network_class_count(network);
    if (model->labels.count != 0 && model->labels.count != class_count) {
        network_free(network);
        return error_set(err, RC_INVALID, "%s/%s: %u labels, but the network has %u classes",
                         model->dir, spec->labels_file, model->labels.count, class_count);
    }
    model->network = network;
    return RC_OK;
}

enum rc model_network(const struct model *constant, struct network **ret_network, struct error *err)
{
    /* What callers see of a model does not change by this. */
    struct model *model = (struct model *)(uintptr_t)constant;
    (void)pthread_mutex_lock(&model->lock);
    if (!model->tried) {
        model->tried = true;
        model->failure.rc = open_network(model, &model->failure);
    }
    enum rc rc = model->failure.rc;
    if (rc != RC_OK && err != NULL)
        *err = model->failure;
    if (rc == RC_OK)
        *ret_network = model->network;
    (void)pthread_mutex_unlock(&model->lock);
    return rc;
}

const char *model_name(const struct model *model) { return model->spec.name; }

const char *model_version(const struct model *model) { return model->spec.version; }

const struct model_spec *model_spec(const struct model *model) { return &model->spec; }

const struct image_geometry *model_geometry(const struct model *model)
{
    return &model->spec.geometry;
}

uint32_t model_index(const struct model *model) { return model->index; }

uint32_t model_class_count(const struct model *model)
{
    /* Without labels the network was opened with the repository. */
    return model->labels.count != 0 ? model->labels.count : network_class_count(model->network);
}

const char *model_label(const struct model *model, uint32_t class_id)
{
    assert(class_id < model_class_count(model));
    if (model->labels.count != 0)
        return model->labels.names[class_id];
    /* Until the thread asks for two more. */
    static _Thread_local char texts[2][CLASS_TEXT_SIZE];
    static _Thread_local unsigned turn;
    turn ^= 1;
    (void)snprintf(texts[turn], CLASS_TEXT_SIZE, "class %u", class_id);
    return texts[turn];
}

uint32_t model_top_k(const struct model *model, const float *raw, uint32_t k, float min_score,
                     struct class_score *into)
{
    return top_k(raw, model_class_count(model), model->spec.activation, k, min_score, into);
}

int model_version_compare(const char *a, const char *b)
{
    const char *const start_a = a, *const start_b = b;
    while (*a != '\0' && *b != '\0') {
        if (!isdigit((unsigned char)*a) || !isdigit((unsigned char)*b)) {
            if (*a != *b)
                return (unsigned char)*a - (unsigned char)*b;
            a++;
            b++;
            continue;
        }
        a += strspn(a, "0");
        b += strspn(b, "0");
        size_t size_a = strspn(a, "0123456789"), size_b = strspn(b, "0123456789");
        int order = size_a != size_b ? (size_a < size_b ? -1 : 1) : memcmp(a, b, size_a);
        if (order != 0)
            return order;
        a += size_a;
        b += size_b;
    }
    int order = (*a != '\0') - (*b != '\0');
    return order != 0 ? order : strcmp(start_a, start_b); /* "1" and "01" are not the same */
}
