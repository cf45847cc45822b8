/* SPDX-License-Identifier: Apache-2.0
 * openvino_graph.c - from an ONNX file to the graph that is compiled: checked, and with the
 * normalisation in front, so that a slot holds plain pixels. */
#include "engine/onnx.h"
#include "engine/openvino.h"

#include <stdio.h>
#include <string.h>

/* OpenVINO's texts start with lines on its own source files; keep the rest, as one line. */
static void tidy(const char *text, char *into, size_t room)
{
    size_t size = 0;
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t length = end != NULL ? (size_t)(end - line) : strlen(line);
        bool own = strncmp(line, "Exception from", 14) == 0 || strncmp(line, "Check '", 7) == 0;
        for (size_t i = 0; i < length && !own && size + 2 < room; i++)
            into[size++] = line[i] >= ' ' ? line[i] : ' ';
        if (!own && size > 0 && size + 2 < room)
            into[size++] = ' ';
        line = end != NULL ? end + 1 : NULL;
    }
    while (size > 0 && into[size - 1] == ' ')
        size--;
    into[size] = '\0';
}

enum rc openvino_fail(struct error *err, enum rc rc, const char *path, const char *doing,
                      ov_status_e status)
{
    const char *last = ov_get_last_err_msg();
    char text[160] = "";
    tidy(last, text, sizeof(text));
    if (text[0] == '\0')
        tidy(ov_get_error_info(status), text, sizeof(text));
    ov_free(last);
    return error_set(err, rc, "%s: %s: %s", path, doing, text);
}

static const char *type_text(ov_element_type_e type)
{
    switch (type) {
    case F32:
        return "f32";
    case F16:
        return "f16";
    case BF16:
        return "bf16";
    case U8:
        return "u8";
    case I8:
        return "i8";
    case I32:
        return "i32";
    case I64:
        return "i64";
    default:
        return "?";
    }
}

static enum rc describe_port(const char *path, const ov_output_const_port_t *port,
                             struct graph_port *ret_port, struct error *err)
{
    struct graph_port found = {0};
    ov_element_type_e type = DYNAMIC;
    ov_partial_shape_t shape = {0};
    char *name = NULL;
    ov_status_e status = ov_port_get_element_type(port, &type);
    if (status == OK)
        status = ov_port_get_partial_shape(port, &shape);
    if (status != OK)
        return openvino_fail(err, RC_UNAVAILABLE, path, "reading its inputs and outputs", status);
    if (ov_port_get_any_name(port, &name) == OK)
        (void)snprintf(found.name, sizeof(found.name), "%s", name);
    ov_free(name);
    (void)snprintf(found.type, sizeof(found.type), "%s", type_text(type));
    if (shape.rank.min == shape.rank.max && shape.rank.max <= GRAPH_RANK_MAX) {
        found.rank = (uint32_t)shape.rank.max;
        for (uint32_t i = 0; i < found.rank; i++)
            found.dims[i] = shape.dims[i].min == shape.dims[i].max ? shape.dims[i].min : -1;
    }
    ov_partial_shape_free(&shape);
    *ret_port = found;
    return RC_OK;
}

static enum rc describe_model(const char *path, const ov_model_t *model, const char *input_name,
                              const char *output_name, struct graph_info *ret_info,
                              struct error *err)
{
    struct graph_info info = {0};
    ov_output_const_port_t *input = NULL, *output = NULL;
    size_t input_count = 0, output_count = 0;
    enum rc rc = RC_OK;
    ov_status_e status = ov_model_inputs_size(model, &input_count);
    if (status == OK)
        status = ov_model_outputs_size(model, &output_count);
    if (status != OK || input_count == 0 || output_count == 0)
        return error_set(err, RC_INVALID, "%s: the graph has no input or no output", path);
    status = input_name != NULL ? ov_model_const_input_by_name(model, input_name, &input)
                                : ov_model_const_input_by_index(model, 0, &input);
    if (status != OK) {
        rc = error_set(err, RC_INVALID, "%s: the graph has no input '%s'", path,
                       input_name != NULL ? input_name : "0");
        goto out;
    }
    status = output_name != NULL ? ov_model_const_output_by_name(model, output_name, &output)
                                 : ov_model_const_output_by_index(model, 0, &output);
    if (status != OK) {
        rc = error_set(err, RC_INVALID, "%s: the graph has no output '%s'", path,
                       output_name != NULL ? output_name : "0");
        goto out;
    }
    info.input_count = (uint32_t)input_count;
    info.output_count = (uint32_t)output_count;
    rc = describe_port(path, input, &info.input, err);
    if (rc == RC_OK)
        rc = describe_port(path, output, &info.output, err);
    if (rc == RC_OK)
        *ret_info = info;
out:
    ov_output_const_port_free(input);
    ov_output_const_port_free(output);
    return rc;
}

static enum rc read_file(ov_core_t *core, const char *path, ov_model_t **ret_model,
                         struct error *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(err, RC_NOT_FOUND, "%s: there is no such file, or it cannot be read",
                         path);
    bool is_model = onnx_is_model(file);
    (void)fclose(file);
    if (!is_model)
        return error_set(err, RC_UNAVAILABLE, "%s: this is not an ONNX model, or it is cut short",
                         path);
    ov_status_e status = ov_core_read_model(core, path, NULL, ret_model);
    if (status != OK)
        return openvino_fail(err, RC_UNAVAILABLE, path, "the engine cannot read the graph", status);
    return RC_OK;
}

enum rc openvino_graph_describe(ov_core_t *core, const char *path, struct graph_info *ret_info,
                                struct error *err)
{
    ov_model_t *model = NULL;
    enum rc rc = read_file(core, path, &model, err);
    if (rc == RC_OK)
        rc = describe_model(path, model, NULL, NULL, ret_info, err);
    ov_model_free(model);
    return rc;
}

/* Does the graph's own input fit what the spec says of it? */
static enum rc check_input(const struct network_spec *spec, const struct graph_info *info,
                           struct error *err)
{
    const struct graph_port *input = &info->input;
    const int64_t height = spec->height, width = spec->width;
    const int64_t nchw[] = {1, CHANNELS, height, width}, nhwc[] = {1, height, width, CHANNELS};
    const int64_t *want = spec->input_nhwc ? nhwc : nchw;
    if (info->input_count != 1)
        return error_set(err, RC_INVALID, "%s: the graph has %u inputs, a classifier has one",
                         spec->path, info->input_count);
    const char *type = spec->input_u8 ? "u8" : "f32";
    if (strcmp(input->type, type) != 0 && (spec->input_u8 || input->type[0] == 'u'))
        return error_set(err, RC_INVALID, "%s: input '%s' is %s, the model's description says %s",
                         spec->path, input->name, input->type, type);
    bool fits = input->rank == 4;
    for (int i = 1; i < 4 && fits; i++)
        fits = input->dims[i] == -1 || input->dims[i] == want[i];
    if (!fits)
        return error_set(err, RC_INVALID,
                         "%s: input '%s' is [%lld,%lld,%lld,%lld] (%u dimensions), not "
                         "[N,%lld,%lld,%lld]",
                         spec->path, input->name, (long long)input->dims[0],
                         (long long)input->dims[1], (long long)input->dims[2],
                         (long long)input->dims[3], input->rank, (long long)want[1],
                         (long long)want[2], (long long)want[3]);
    return RC_OK;
}

static enum rc reshape(ov_model_t *model, const struct network_spec *spec, uint32_t batch,
                       bool nhwc, struct error *err)
{
    const int64_t height = spec->height, width = spec->width;
    const int64_t dims_nchw[] = {batch, CHANNELS, height, width};
    const int64_t dims_nhwc[] = {batch, height, width, CHANNELS};
    ov_partial_shape_t shape = {0};
    ov_status_e status = ov_partial_shape_create_static(4, nhwc ? dims_nhwc : dims_nchw, &shape);
    if (status == OK)
        status = ov_model_reshape_single_input(model, shape);
    ov_partial_shape_free(&shape);
    if (status != OK)
        return openvino_fail(err, RC_INVALID, spec->path, "setting the batch size", status);
    return RC_OK;
}

/* A chain of calls that each may fail, on objects that must all be released: each step runs only
 * if those before it went well. */
static ov_status_e preprocess_input(const ov_preprocess_prepostprocessor_t *processor,
                                    const struct network_spec *spec)
{
    ov_preprocess_input_info_t *input = NULL;
    ov_preprocess_input_tensor_info_t *tensor = NULL;
    ov_preprocess_input_model_info_t *graph = NULL;
    ov_preprocess_preprocess_steps_t *steps = NULL;
    ov_layout_t *from = NULL, *to = NULL;
    bool normalise = !spec->input_u8;
    ov_status_e status = ov_preprocess_prepostprocessor_get_input_info(processor, &input);
    if (status == OK)
        status = ov_preprocess_input_info_get_tensor_info(input, &tensor);
    if (status == OK)
        status = ov_preprocess_input_tensor_info_set_element_type(tensor, U8);
    if (status == OK)
        status = ov_layout_create("NHWC", &from);
    if (status == OK)
        status = ov_preprocess_input_tensor_info_set_layout(tensor, from);
    if (status == OK)
        status = ov_preprocess_input_info_get_model_info(input, &graph);
    if (status == OK)
        status = ov_layout_create(spec->input_nhwc ? "NHWC" : "NCHW", &to);
    if (status == OK)
        status = ov_preprocess_input_model_info_set_layout(graph, to);
    if (status == OK)
        status = ov_preprocess_input_info_get_preprocess_steps(input, &steps);
    if (status == OK && normalise)
        status = ov_preprocess_preprocess_steps_convert_element_type(steps, F32);
    if (status == OK && normalise)
        status = ov_preprocess_preprocess_steps_mean_multi_channels(steps, spec->mean, CHANNELS);
    if (status == OK && normalise)
        status = ov_preprocess_preprocess_steps_scale_multi_channels(steps, spec->scale, CHANNELS);
    ov_layout_free(from);
    ov_layout_free(to);
    ov_preprocess_preprocess_steps_free(steps);
    ov_preprocess_input_model_info_free(graph);
    ov_preprocess_input_tensor_info_free(tensor);
    ov_preprocess_input_info_free(input);
    return status;
}

static ov_status_e preprocess_output(const ov_preprocess_prepostprocessor_t *processor,
                                     const struct network_spec *spec)
{
    ov_preprocess_output_info_t *output = NULL;
    ov_preprocess_output_tensor_info_t *tensor = NULL;
    ov_status_e status =
        spec->output_name != NULL
            ? ov_preprocess_prepostprocessor_get_output_info_by_name(processor, spec->output_name,
                                                                     &output)
            : ov_preprocess_prepostprocessor_get_output_info_by_index(processor, 0, &output);
    if (status == OK)
        status = ov_preprocess_output_info_get_tensor_info(output, &tensor);
    if (status == OK)
        status = ov_preprocess_output_set_element_type(tensor, F32);
    ov_preprocess_output_tensor_info_free(tensor);
    ov_preprocess_output_info_free(output);
    return status;
}

static enum rc preprocess(ov_model_t **model, const struct network_spec *spec, struct error *err)
{
    ov_preprocess_prepostprocessor_t *processor = NULL;
    ov_model_t *built = NULL;
    ov_status_e status = ov_preprocess_prepostprocessor_create(*model, &processor);
    if (status == OK)
        status = preprocess_input(processor, spec);
    if (status == OK)
        status = preprocess_output(processor, spec);
    if (status == OK)
        status = ov_preprocess_prepostprocessor_build(processor, &built);
    ov_preprocess_prepostprocessor_free(processor);
    if (status != OK)
        return openvino_fail(err, RC_INVALID, spec->path, "building normalisation in", status);
    ov_model_free(*model);
    *model = built;
    return RC_OK;
}

enum rc openvino_graph_read(ov_core_t *core, const struct network_spec *spec,
                            ov_model_t **ret_model, struct error *err)
{
    ov_model_t *model = NULL;
    struct graph_info info = {0};
    enum rc rc = read_file(core, spec->path, &model, err);
    if (rc == RC_OK)
        rc = describe_model(spec->path, model, spec->input_name, spec->output_name, &info, err);
    if (rc == RC_OK)
        rc = check_input(spec, &info, err);
    if (rc == RC_OK)
        rc = reshape(model, spec, 1, spec->input_nhwc, err);
    if (rc == RC_OK)
        rc = preprocess(&model, spec, err);
    if (rc == RC_OK)
        *ret_model = model;
    else
        ov_model_free(model);
    return rc;
}

enum rc openvino_graph_batch(ov_model_t *model, const struct network_spec *spec, uint32_t batch,
                             struct error *err)
{
    return reshape(model, spec, batch, true, err);
}
