/* SPDX-License-Identifier: Apache-2.0
 * inspect.c - a first model.yaml for a graph that has none. What the graph tells is taken from it;
 * what it cannot tell is the usual ImageNet recipe, marked for a human to check. */
#include "model/spec.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIDE_USUAL 224
#define SIDE_LEAST 8
#define SIDE_MOST  4096
#define NAME_SIZE  65

/* "path/ResNet50-v2.onnx" -> "resnet50-v2" */
static void name_of_file(const char *path, char into[NAME_SIZE])
{
    const char *slash = strrchr(path, '/');
    const char *from = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(from, '.');
    size_t size = dot != NULL && dot != from ? (size_t)(dot - from) : strlen(from);
    size_t count = 0;
    for (size_t i = 0; i < size && count < NAME_SIZE - 1; i++) {
        char c = (char)tolower((unsigned char)from[i]);
        bool letter = isalnum((unsigned char)c) != 0;
        if (letter || count > 0) /* it starts with a letter or a digit */
            into[count++] = letter || c == '.' || c == '_' ? c : '-';
    }
    into[count] = '\0';
    if (!model_name_fits(into))
        (void)strcpy(into, "model");
}

/* ONNX keeps the names of its operations as text. */
static bool is_quantised(const char *path)
{
    static const char operation[] = "DequantizeLinear";
    struct stat stat;
    bool found = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_size > 0) {
        size_t size = (size_t)stat.st_size;
        void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map != MAP_FAILED) {
            found = memmem(map, size, operation, sizeof(operation) - 1) != NULL;
            (void)munmap(map, size);
        }
    }
    (void)close(fd);
    return found;
}

static enum rc class_count_of(const char *path, const struct graph_port *output, int64_t *ret_count,
                              struct error *err)
{
    int64_t longest = 1;
    uint32_t long_count = 0;
    for (uint32_t i = 1; i < output->rank; i++) {
        long_count += output->dims[i] != 1;
        longest = output->dims[i] == -1 || output->dims[i] > longest ? output->dims[i] : longest;
    }
    if (output->rank < 2 || long_count > 1)
        return error_set(err, RC_INVALID,
                         "%s: output '%s' is not one row of classes for each picture", path,
                         output->name);
    *ret_count = longest;
    return RC_OK;
}

static bool is_side(int64_t dim) { return dim == -1 || (dim >= SIDE_LEAST && dim <= SIDE_MOST); }

static enum rc guess_input(const char *path, const struct graph_info *info, struct model_spec *spec,
                           bool *ret_free_sides, struct error *err)
{
    const int64_t *dims = info->input.dims;
    bool four = info->input_count == 1 && info->input.rank == 4;
    bool nchw = four && (dims[1] == 3 || dims[1] == -1) && is_side(dims[2]) && is_side(dims[3]);
    bool nhwc = four && dims[3] == 3 && is_side(dims[1]) && is_side(dims[2]);
    if (!nchw && !nhwc)
        return error_set(err, RC_INVALID,
                         "%s: it has %u inputs and '%s' has %u dimensions; a picture classifier "
                         "has one input [N,3,height,width] or [N,height,width,3]",
                         path, info->input_count, info->input.name, info->input.rank);
    spec->input_nhwc = nhwc && !(nchw && dims[1] == 3);
    spec->input_u8 = strcmp(info->input.type, "u8") == 0;
    int64_t height = dims[spec->input_nhwc ? 1 : 2], width = dims[spec->input_nhwc ? 2 : 3];
    *ret_free_sides = height == -1 || width == -1;
    spec->geometry.height = height == -1 ? SIDE_USUAL : (uint32_t)height;
    spec->geometry.width = width == -1 ? SIDE_USUAL : (uint32_t)width;
    return RC_OK;
}

static void set_comment(const char *comments[MODEL_KEY_COUNT], const char *section,
                        const char *name, const char *text)
{
    for (size_t i = 0; i < MODEL_KEY_COUNT; i++)
        if (strcmp(model_keys[i].section, section) == 0 && strcmp(model_keys[i].name, name) == 0)
            comments[i] = text;
}

static void comment(const struct model_spec *spec, const struct graph_info *info, bool free_sides,
                    bool quantised, const char *outputs, const char *comments[MODEL_KEY_COUNT])
{
    set_comment(comments, "", "name", "from the file's name");
    set_comment(comments, "", "precision",
                quantised ? "the graph is quantised"
                          : "check: bf16 is faster where the CPU has it");
    set_comment(comments, "input", "name", "from the graph");
    if (free_sides) {
        set_comment(comments, "input", "width", "check: the graph takes any; the usual one");
        set_comment(comments, "input", "height", "check: the graph takes any; the usual one");
    }
    if (info->input.dims[1] == -1 && !spec->input_nhwc)
        set_comment(comments, "input", "layout", "check: the graph does not say");
    set_comment(comments, "input", "channels", "check: the graph cannot say");
    if (spec->input_u8) {
        set_comment(comments, "input", "mean", "the graph takes pixels as they are");
    } else {
        set_comment(comments, "input", "mean", "check: (pixel - mean) / scale; usual for ImageNet");
        set_comment(comments, "input", "scale", "check");
    }
    set_comment(comments, "input", "geometry", "check: as the model was evaluated");
    set_comment(comments, "input", "crop_fraction", "check");
    set_comment(comments, "input", "filter", "check");
    set_comment(comments, "output", "name", outputs);
    set_comment(comments, "output", "activation", "check: none if the graph ends with a softmax");
    set_comment(comments, "", "labels", "write it: a line for each class, class 0 first");
}

enum rc model_inspect(const char *onnx_path, struct engine *engine, struct buf *into,
                      struct error *err)
{
    struct graph_info info = {0};
    char name[NAME_SIZE], version[] = "1", task[] = "classification", labels[] = "labels.txt";
    char outputs[96];
    const char *comments[MODEL_KEY_COUNT] = {0};
    bool free_sides = false, quantised = is_quantised(onnx_path);
    int64_t class_count = 0;
    name_of_file(onnx_path, name);
    struct model_spec spec = {
        .name = name,
        .version = version,
        .task = task,
        .labels_file = labels,
        .input_name = info.input.name,
        .output_name = info.output.name,
        .geometry = {.mode = IMAGE_CENTER_CROP, .filter = IMAGE_BILINEAR, .crop_fraction = 0.875},
        .mean = {123.675f, 116.28f, 103.53f},
        .scale = {58.395f, 57.12f, 57.375f},
        .precision = quantised ? PRECISION_INT8 : PRECISION_F32,
    };
    enum rc rc = engine_describe(engine, onnx_path, &info, err);
    if (rc == RC_OK)
        rc = guess_input(onnx_path, &info, &spec, &free_sides, err);
    if (rc == RC_OK)
        rc = class_count_of(onnx_path, &info.output, &class_count, err);
    if (rc != RC_OK)
        return rc;
    for (int i = 0; i < 3 && spec.input_u8; i++) {
        spec.mean[i] = 0.0f;
        spec.scale[i] = 1.0f;
    }
    if (class_count > 0)
        (void)snprintf(outputs, sizeof(outputs), "%lld classes%s", (long long)class_count,
                       info.output_count > 1 ? "; check: the first of several" : "");
    else
        (void)snprintf(outputs, sizeof(outputs), "check: the graph does not say how many classes");
    comment(&spec, &info, free_sides, quantised, outputs, comments);
    return model_spec_write_commented(&spec, comments, into);
}
