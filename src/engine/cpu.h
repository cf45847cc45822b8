/* SPDX-License-Identifier: Apache-2.0
 * cpu.h - the part of engine_cpu_count() that tests give a made-up file tree. */
#ifndef ENGINE_CPU_H
#define ENGINE_CPU_H
#include <stdint.h>

/* The least of `affinity_count` and the quotas of the cgroups this process is in, below `root`
 * ("" is the real one). At least 1. */
uint32_t cpu_count_at(const char *root, uint32_t affinity_count);
#endif
