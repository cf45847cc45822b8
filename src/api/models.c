/* SPDX-License-Identifier: Apache-2.0
 * models.c - GET /v1/models, /v1/models/{name}, /v1/models/{name}/versions/{version}. */
#include "api/exchange.h"

#include <string.h>

static json_t *version_json(const struct model *model, bool with_labels)
{
    const struct model_spec *spec = model_spec(model);
    json_t *value = json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:{s:i, s:i}, s:s*}", "model", model_name(model), "version",
        model_version(model), "task", spec->task, "precision", precision_text(spec->precision),
        "classes", (int)model_class_count(model), "input", "width", (int)spec->geometry.width,
        "height", (int)spec->geometry.height, "license", spec->license);
    if (with_labels) {
        json_t *labels = json_array();
        for (uint32_t i = 0; i < model_class_count(model); i++)
            json_array_append_new(labels, json_string(model_label(model, i)));
        json_object_set_new(value, "labels", labels);
    }
    return value;
}

/* The versions of `name` in the repository's order; NULL when there is none. */
static json_t *model_json(const struct model_repository *repository, const char *name)
{
    json_t *versions = json_array();
    for (uint32_t i = 0; i < model_count(repository); i++)
        if (strcmp(model_name(model_at(repository, i)), name) == 0)
            json_array_append_new(versions, version_json(model_at(repository, i), false));
    if (json_array_size(versions) == 0) {
        json_decref(versions);
        return NULL;
    }
    const struct model *preset = NULL;
    bool is_preset =
        model_find(repository, (struct bytes){0}, (struct bytes){0}, &preset, NULL) == RC_OK &&
        strcmp(model_name(preset), name) == 0;
    return json_pack("{s:s, s:b, s:o}", "name", name, "default", is_preset, "versions", versions);
}

void route_models(struct exchange *exchange)
{
    const struct model_repository *repository = exchange->api->config.repository;
    json_t *models = json_array();
    for (uint32_t i = 0; i < model_count(repository); i++) {
        const char *name = model_name(model_at(repository, i));
        /* Versions of one name are neighbours. */
        if (i == 0 || strcmp(name, model_name(model_at(repository, i - 1))) != 0)
            json_array_append_new(models, model_json(repository, name));
    }
    exchange_answer_json(exchange, 200, json_pack("{s:o}", "models", models));
}

static struct bytes segment(const struct exchange *exchange, size_t index)
{
    return (struct bytes){exchange->segments[index].data, exchange->segments[index].size};
}

void route_model(struct exchange *exchange)
{
    const struct model_repository *repository = exchange->api->config.repository;
    struct error err = {0};
    const struct model *model = NULL;
    enum rc rc = model_find(repository, segment(exchange, 0), (struct bytes){0}, &model, &err);
    if (rc != RC_OK)
        exchange_fail(exchange, rc, &err);
    else
        exchange_answer_json(exchange, 200, model_json(repository, model_name(model)));
}

void route_model_version(struct exchange *exchange)
{
    struct error err = {0};
    const struct model *model = NULL;
    enum rc rc = model_find(exchange->api->config.repository, segment(exchange, 0),
                            segment(exchange, 1), &model, &err);
    if (rc != RC_OK)
        exchange_fail(exchange, rc, &err);
    else
        exchange_answer_json(exchange, 200, version_json(model, true));
}
