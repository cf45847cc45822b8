/* SPDX-License-Identifier: Apache-2.0
 * serve_sweep.h - the sweep as `imago serve` runs it: its settings and its log. */
#ifndef CLI_SERVE_SWEEP_H
#define CLI_SERVE_SWEEP_H
#include "config/config.h"
#include "work/sweep.h"

/* *ret_sweep stays NULL where nothing is kept (`results` NULL). */
NODISCARD enum rc serve_sweep_open(const struct settings *settings, struct results *results,
                                   struct blob *blob, struct account *account,
                                   struct sweep **ret_sweep, struct error *err);
#endif
