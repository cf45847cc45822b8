/* SPDX-License-Identifier: Apache-2.0
 * tiny_onnx.h - writes a classifier of a few hundred bytes: the mean of each channel, times a
 * matrix. */
#ifndef TESTS_TINY_ONNX_H
#define TESTS_TINY_ONNX_H
#include <stdbool.h>
#include <stdint.h>

struct tiny_onnx {
    const char *input_name;
    const char *output_name;
    uint32_t width;
    uint32_t height;
    uint32_t class_count;
    bool pixels; /* uint8 [N,H,W,3]; else f32 [N,3,H,W] */
    bool one;    /* N is 1, written into the graph; else free */
};

/* Leaves the process on failure: a test cannot go on. */
void tiny_onnx_write(const char *path, const struct tiny_onnx *tiny);
/* What the classifier multiplies the mean of `channel` by for `class_id`. */
float tiny_onnx_weight(uint32_t class_id, uint32_t channel);
#endif
