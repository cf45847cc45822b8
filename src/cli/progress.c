/* SPDX-License-Identifier: Apache-2.0
 * progress.c - one line that is drawn over itself. */
#include "cli/progress.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAW_INTERVAL_NS (NS_PER_S / 10)
#define BAR_CELLS        24u

void progress_init(struct progress *progress, const char *label, uint64_t total)
{
    const char *terminal = getenv("TERM");
    bool dumb = terminal == NULL || strcmp(terminal, "dumb") == 0;
    uint64_t now_ns = clock_monotonic_ns();
    *progress = (struct progress){.label = label,
                                  .total = total,
                                  .started_ns = now_ns,
                                  .drawn_ns = now_ns,
                                  .drawing = !dumb && isatty(STDERR_FILENO) == 1};
}

static void time_text(double seconds, char *into, size_t size)
{
    unsigned whole = seconds < 359999 ? (unsigned)(seconds + 0.5) : 359999;
    if (whole >= 3600)
        (void)snprintf(into, size, "%u:%02u:%02u", whole / 3600, whole / 60 % 60, whole % 60);
    else
        (void)snprintf(into, size, "%u:%02u", whole / 60, whole % 60);
}

static void draw(const struct progress *progress, uint64_t done, uint64_t now_ns)
{
    double seconds = (double)(now_ns - progress->started_ns) / (double)NS_PER_S;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    if (progress->total == 0) {
        (void)fprintf(stderr, "\r\033[K%s %" PRIu64 "  %.1f/s", progress->label, done, rate);
        return;
    }
    uint64_t capped = done < progress->total ? done : progress->total;
    double share = (double)capped / (double)progress->total;
    char bar[BAR_CELLS + 1];
    unsigned full = (unsigned)(share * BAR_CELLS);
    for (unsigned i = 0; i < BAR_CELLS; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    char left[32] = "?";
    if (rate > 0)
        time_text((double)(progress->total - capped) / rate, left, sizeof(left));
    (void)fprintf(stderr, "\r\033[K%s [%s] %3.0f%%  %" PRIu64 "/%" PRIu64 "  %.1f/s  %s left",
                  progress->label, bar, share * 100, done, progress->total, rate, left);
}

void progress_step(struct progress *progress, uint64_t done)
{
    if (!progress->drawing)
        return;
    uint64_t now_ns = clock_monotonic_ns();
    if (now_ns - progress->drawn_ns < DRAW_INTERVAL_NS)
        return;
    progress->drawn_ns = now_ns;
    draw(progress, done, now_ns);
}

void progress_clear(const struct progress *progress)
{
    if (progress->drawing)
        (void)fputs("\r\033[K", stderr);
}

void progress_done(struct progress *progress)
{
    progress_clear(progress);
    progress->drawing = false;
}
