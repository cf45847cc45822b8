/* SPDX-License-Identifier: Apache-2.0
 * clock.h - the two clocks, and times as text. Deadlines are monotonic nanoseconds; 0 is none. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H
#include <stdint.h>

#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

uint64_t clock_monotonic_ns(void);
uint64_t clock_wall_ms(void);        /* since 1970, UTC */
uint64_t clock_thread_cpu_ns(void);  /* CPU time of the calling thread */
uint64_t clock_process_cpu_ns(void); /* CPU time of the whole process */

#define CLOCK_TEXT_SIZE 25 /* "2026-11-24T03:30:00.123Z" and the terminator */
/* RFC 3339, UTC, milliseconds. Years past 9999 are written as 9999-12-31T23:59:59.999Z. */
void clock_wall_text(uint64_t wall_ms, char into[CLOCK_TEXT_SIZE]);
#endif
