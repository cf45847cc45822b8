/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t read_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ns(void) { return read_ns(CLOCK_MONOTONIC); }

uint64_t clock_wall_ms(void) { return read_ns(CLOCK_REALTIME) / NS_PER_MS; }

uint64_t clock_thread_cpu_ns(void) { return read_ns(CLOCK_THREAD_CPUTIME_ID); }

uint64_t clock_process_cpu_ns(void) { return read_ns(CLOCK_PROCESS_CPUTIME_ID); }

void clock_wall_text(uint64_t wall_ms, char into[CLOCK_TEXT_SIZE])
{
    static const uint64_t wall_ms_max = 253402300799999ull;
    if (wall_ms > wall_ms_max)
        wall_ms = wall_ms_max;
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    (void)gmtime_r(&seconds, &tm);
    char text[80];
    (void)snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   (unsigned)(wall_ms % 1000));
    memcpy(into, text, CLOCK_TEXT_SIZE - 1);
    into[CLOCK_TEXT_SIZE - 1] = '\0';
}
