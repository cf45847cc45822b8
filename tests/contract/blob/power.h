/* SPDX-License-Identifier: Apache-2.0
 * power.h - a disk that fails on demand, and that knows what a power loss would leave of it.
 *
 * `disk_power` passes every call on to the kernel and keeps, for each file and folder, what has
 * been synced. After the n-th call the power is gone: that one and all later ones fail with EIO.
 * power_rebuild() then makes the tree that a new start finds: what was synced is there; of
 * everything else each part by itself is there or not, as a coin says: a new name, a removed name,
 * a file's bytes (whole, torn, or zeros), its time. One disk at a time, one thread. */
#ifndef TESTS_BLOB_POWER_H
#define TESTS_BLOB_POWER_H
#include "blob/disk.h"
#include <stdbool.h>
#include <stdint.h>

extern const struct disk_ops disk_power;

/* Begins a life with the folder `root`, which is as a whole durable. The power goes at the
 * `fail_at`-th call (1 ..; 0: never); a call that fails with `errno_once` instead of EIO fails
 * alone. */
void power_on(const char *root, uint32_t fail_at, int errno_once);
void power_without_tmpfile(bool without); /* as a file system without O_TMPFILE */
uint32_t power_call_count(void);
/* What is left, into the new folder `into`. */
void power_rebuild(const char *into, uint64_t seed);
void power_off(void);
#endif
