/* SPDX-License-Identifier: Apache-2.0
 * limits.h - what callers may pass; the same for every driver. */
#ifndef RESULTS_LIMITS_H
#define RESULTS_LIMITS_H
#include "results/jobs.h"

NODISCARD enum rc check_tenant(struct bytes tenant, struct error *err);
/* UTF-8 without control characters, at most `size_max` bytes. */
NODISCARD enum rc check_text(const char *what, struct bytes text, size_t size_max,
                             struct error *err);
NODISCARD enum rc check_key(struct bytes key, struct error *err);
NODISCARD enum rc check_commit(const struct result_commit *commit, struct error *err);
NODISCARD enum rc check_feedback(const struct result_feedback *feedback, struct error *err);
NODISCARD enum rc check_job(const struct result_job *job, struct error *err);
NODISCARD enum rc check_job_end(struct bytes reason, uint64_t now_ms, struct bytes payload,
                                struct error *err);
NODISCARD enum rc check_filter(const struct results_filter *filter, struct error *err);
#endif
