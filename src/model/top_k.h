/* SPDX-License-Identifier: Apache-2.0
 * top_k.h - model_top_k() without a model, for it and for its tests. */
#ifndef MODEL_TOP_K_H
#define MODEL_TOP_K_H
#include "model/model.h"

/* Raw outputs that are not numbers count as the least there is. `into` holds min(k, count). */
uint32_t top_k(const float *raw, uint32_t count, enum activation activation, uint32_t k,
               float min_score, struct class_score *into);
#endif
