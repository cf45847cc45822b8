/* SPDX-License-Identifier: Apache-2.0
 * forgetful_vfs.h - a disk for SQLite ("?vfs=forgetful") that loses what was not synced when the
 * power goes, each sector by itself; or is full; or fails to sync. One thread at a time. */
#ifndef TESTS_FORGETFUL_VFS_H
#define TESTS_FORGETFUL_VFS_H
#include <stdbool.h>
#include <stdint.h>

void forgetful_register(void);
/* The power goes at the `op_count`-th write, sync, truncation or deletion from now: it and all
 * later ones fail. 0: never. */
void forgetful_arm(uint64_t op_count);
bool forgetful_is_off(void);
/* After all files are closed: forget, by coin, what was not synced; then the power is back. */
void forgetful_lose(uint64_t *random);
void forgetful_set_full(bool full);
void forgetful_set_sync_fails(bool fails);
#endif
