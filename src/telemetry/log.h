/* SPDX-License-Identifier: Apache-2.0
 * log.h - JSON lines on a file descriptor, written by a thread of their own.
 *
 * Callers never block: a line goes into a bounded buffer, and when the reader of the log is
 * slower than we are, lines are dropped and counted; the count is the next line that gets through.
 * Only api/ and cli/ log; everything below returns its errors.
 * Threads: any, between log_open() and log_close().
 */
#ifndef TELEMETRY_LOG_H
#define TELEMETRY_LOG_H
#include "base/rc.h"

#include <jansson.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

/* "debug", "info", "warning", "error". INVALID otherwise. */
NODISCARD enum rc log_level_parse(const char *text, enum log_level *ret_level);

NODISCARD enum rc log_open(enum log_level least, int fd, struct error *err);
/* One line: time, level, event, then `fields` in their order. Takes `fields` (may be NULL). */
void log_event(enum log_level level, const char *event, json_t *fields);
bool log_wants(enum log_level level); /* for callers whose fields are dear to build */
/* Writes what is left, or gives up where the reader takes nothing for 2 seconds. */
void log_close(void);
#endif
