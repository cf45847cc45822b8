/* SPDX-License-Identifier: Apache-2.0
 * tiny_onnx.c - ONNX is protobuf: tag, then a varint or a length and that many bytes. */
#include "tiny_onnx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VARINT = 0, BYTES = 2 };
enum { TYPE_F32 = 1, TYPE_U8 = 2 };

#define PART_SIZE 65536

struct part {
    size_t size;
    uint8_t data[PART_SIZE];
};

static void put(struct part *part, const void *data, size_t size)
{
    if (size > PART_SIZE - part->size)
        abort();
    memcpy(part->data + part->size, data, size);
    part->size += size;
}

static void put_varint(struct part *part, uint64_t value)
{
    do {
        uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        put(part, &byte, 1);
        value >>= 7;
    } while (value != 0);
}

static void put_number(struct part *part, unsigned field, uint64_t value)
{
    put_varint(part, field << 3 | VARINT);
    put_varint(part, value);
}

static void put_bytes(struct part *part, unsigned field, const void *data, size_t size)
{
    put_varint(part, field << 3 | BYTES);
    put_varint(part, size);
    put(part, data, size);
}

static void put_text(struct part *part, unsigned field, const char *text)
{
    put_bytes(part, field, text, strlen(text));
}

/* `inner` becomes a field of `part`, and is empty again. */
static void put_part(struct part *part, unsigned field, struct part *inner)
{
    put_bytes(part, field, inner->data, inner->size);
    inner->size = 0;
}

static void put_node(struct part *graph, const char *operation, const char *input,
                     const char *second, const char *output, struct part *attributes)
{
    static struct part node;
    put_text(&node, 1, input);
    if (second != NULL)
        put_text(&node, 1, second);
    put_text(&node, 2, output);
    put_text(&node, 4, operation);
    put(&node, attributes->data, attributes->size);
    attributes->size = 0;
    put_part(graph, 1, &node);
}

static void put_attribute(struct part *attributes, const char *name, const uint64_t *values,
                          size_t count, bool list)
{
    static struct part attribute;
    put_text(&attribute, 1, name);
    for (size_t i = 0; i < count; i++)
        put_number(&attribute, list ? 8 : 3, values[i]);
    put_number(&attribute, 20, list ? 7 : 2); /* INTS or INT */
    put_part(attributes, 5, &attribute);
}

/* A dimension of 0 is free. */
static void put_value(struct part *graph, unsigned field, const char *name, unsigned type,
                      const uint64_t *dims, size_t count)
{
    static struct part dim, shape, tensor, type_part, value;
    for (size_t i = 0; i < count; i++) {
        if (dims[i] == 0)
            put_text(&dim, 2, "N");
        else
            put_number(&dim, 1, dims[i]);
        put_part(&shape, 1, &dim);
    }
    put_number(&tensor, 1, type);
    put_part(&tensor, 2, &shape);
    put_part(&type_part, 1, &tensor);
    put_text(&value, 1, name);
    put_part(&value, 2, &type_part);
    put_part(graph, field, &value);
}

float tiny_onnx_weight(uint32_t class_id, uint32_t channel)
{
    return (float)((class_id * 7 + channel * 3) % 11) / 4.0f - 1.25f;
}

static void put_weights(struct part *graph, uint32_t class_count)
{
    static struct part tensor, raw;
    for (uint32_t channel = 0; channel < 3; channel++)
        for (uint32_t i = 0; i < class_count; i++) {
            float weight = tiny_onnx_weight(i, channel);
            put(&raw, &weight, sizeof(weight));
        }
    put_number(&tensor, 1, 3);
    put_number(&tensor, 1, class_count);
    put_number(&tensor, 2, TYPE_F32);
    put_text(&tensor, 8, "weight");
    put_part(&tensor, 9, &raw);
    put_part(graph, 5, &tensor);
}

void tiny_onnx_write(const char *path, const struct tiny_onnx *tiny)
{
    static struct part model, graph, attributes, opset;
    uint64_t batch = tiny->one ? 1 : 0, to = TYPE_F32, keep = 0;
    uint64_t nchw[] = {batch, 3, tiny->height, tiny->width};
    uint64_t nhwc[] = {batch, tiny->height, tiny->width, 3};
    uint64_t out[] = {batch, tiny->class_count};
    uint64_t axes_nchw[] = {2, 3}, axes_nhwc[] = {1, 2};
    model.size = graph.size = 0;
    if (tiny->pixels) {
        put_attribute(&attributes, "to", &to, 1, false);
        put_node(&graph, "Cast", tiny->input_name, NULL, "real", &attributes);
    }
    put_attribute(&attributes, "axes", tiny->pixels ? axes_nhwc : axes_nchw, 2, true);
    put_attribute(&attributes, "keepdims", &keep, 1, false);
    put_node(&graph, "ReduceMean", tiny->pixels ? "real" : tiny->input_name, NULL, "mean",
             &attributes);
    put_node(&graph, "MatMul", "mean", "weight", tiny->output_name, &attributes);
    put_text(&graph, 2, "tiny");
    put_weights(&graph, tiny->class_count);
    put_value(&graph, 11, tiny->input_name, tiny->pixels ? TYPE_U8 : TYPE_F32,
              tiny->pixels ? nhwc : nchw, 4);
    put_value(&graph, 12, tiny->output_name, TYPE_F32, out, 2);
    put_number(&model, 1, 8); /* ir_version */
    put_part(&model, 7, &graph);
    put_text(&opset, 1, "");
    put_number(&opset, 2, 13);
    put_part(&model, 8, &opset);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(model.data, 1, model.size, file) != model.size || fclose(file) != 0)
        abort();
}
