/* SPDX-License-Identifier: Apache-2.0
 * onnx.h - is this file an ONNX model? Asked before a library is given it: OpenVINO takes what is
 * not ONNX to each of its readers for other formats, loading them and writing to stderr. */
#ifndef ENGINE_ONNX_H
#define ENGINE_ONNX_H
#include <stdbool.h>
#include <stdio.h>

/* Walks the outermost fields alone; leaves the position of `file` anywhere. */
bool onnx_is_model(FILE *file);
#endif
