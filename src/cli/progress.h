/* SPDX-License-Identifier: Apache-2.0
 * progress.h - a progress bar on standard error, drawn only when that is a terminal.
 * Threads: one. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *label; /* borrowed */
    uint64_t total;    /* 0: unknown, a counter is drawn instead of a bar */
    uint64_t started_ns;
    uint64_t drawn_ns;
    bool drawing;
};
void progress_init(struct progress *progress, const char *label, uint64_t total);
/* Cheap enough to call for each item: draws ten times a second at most. Shows rate and time left.
 */
void progress_step(struct progress *progress, uint64_t done);
/* Wipes the bar until the next step: for a line on the terminal. */
void progress_clear(const struct progress *progress);
void progress_done(struct progress *progress); /* wipes the bar for good */
#endif
