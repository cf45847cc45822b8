/* SPDX-License-Identifier: Apache-2.0
 * serve_jobs.h - the runner of jobs as `imago serve` runs it: its settings and its log. */
#ifndef CLI_SERVE_JOBS_H
#define CLI_SERVE_JOBS_H
#include "cli/stores.h"
#include "work/job_runner.h"

/* *ret_runner stays NULL without a queue. */
NODISCARD enum rc serve_jobs_open(const struct settings *settings, const struct stores *stores,
                                  struct work *work, struct job_runner **ret_runner,
                                  struct error *err);
#endif
