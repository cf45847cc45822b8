/* SPDX-License-Identifier: Apache-2.0 */
#include "telemetry/log.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PENDING_SIZE_MAX (1u << 20)
/* Lines wait this long for company, so that a busy server writes once for hundreds of them. */
#define GATHER_NS    (50 * NS_PER_MS)
#define CLOSE_WAIT_S 2

static const char *const level_texts[] = {"debug", "info", "warning", "error"};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    pthread_t thread;
    struct buf pending;
    uint64_t dropped_count;
    enum log_level least;
    int fd;
    atomic_bool open;
    bool closing;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

enum rc log_level_parse(const char *text, enum log_level *ret_level)
{
    for (enum log_level level = LOG_DEBUG; level <= LOG_ERROR; level++)
        if (strcmp(text, level_texts[level]) == 0) {
            *ret_level = level;
            return RC_OK;
        }
    return RC_INVALID;
}

static void write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t wrote = write(fd, data, size);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return; /* The log's reader is gone: there is nobody left to tell. */
        data += wrote;
        size -= (size_t)wrote;
    }
}

static void gather(void)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + GATHER_NS;
    until.tv_sec += (time_t)(ns / NS_PER_S);
    until.tv_nsec = (long)(ns % NS_PER_S);
    while (!state.closing && state.pending.size < PENDING_SIZE_MAX / 2)
        if (pthread_cond_timedwait(&state.more, &state.lock, &until) == ETIMEDOUT)
            return;
}

static void *writer(void *unused)
{
    (void)unused;
    struct buf writing = BUF_INIT(PENDING_SIZE_MAX);
    pthread_mutex_lock(&state.lock);
    for (;;) {
        while (state.pending.size == 0 && !state.closing)
            pthread_cond_wait(&state.more, &state.lock);
        if (state.pending.size == 0)
            break;
        gather();
        struct buf filled = state.pending;
        state.pending = writing;
        writing = filled;
        uint64_t dropped_count = state.dropped_count;
        state.dropped_count = 0;
        int fd = state.fd;
        pthread_mutex_unlock(&state.lock);
        write_all(fd, writing.data, writing.size);
        buf_clear(&writing);
        if (dropped_count > 0)
            log_event(LOG_WARNING, "log_lines_dropped",
                      json_pack("{s:I}", "count", (json_int_t)dropped_count));
        pthread_mutex_lock(&state.lock);
    }
    pthread_mutex_unlock(&state.lock);
    buf_done(&writing);
    return NULL;
}

enum rc log_open(enum log_level least, int fd, struct error *err)
{
    state.least = least;
    state.fd = fd;
    state.closing = false;
    state.pending = (struct buf)BUF_INIT(PENDING_SIZE_MAX);
    int failed = pthread_create(&state.thread, NULL, writer, NULL);
    if (failed != 0)
        return error_set(err, RC_INTERNAL, "cannot start the log's thread: %s", strerror(failed));
    state.open = true;
    return RC_OK;
}

bool log_wants(enum log_level level) { return state.open && level >= state.least; }

static int append(const char *data, size_t size, void *into)
{
    return buf_append(into, (struct bytes){(const uint8_t *)data, size}) == RC_OK ? 0 : -1;
}

void log_event(enum log_level level, const char *event, json_t *fields)
{
    if (!log_wants(level)) {
        json_decref(fields);
        return;
    }
    char time_text[CLOCK_TEXT_SIZE];
    clock_wall_text(clock_wall_ms(), time_text);
    json_t *line = json_pack("{s:s, s:s, s:s}", "time", time_text, "level", level_texts[level],
                             "event", event);
    struct buf text = BUF_INIT(64 * 1024);
    bool whole =
        line != NULL && (fields == NULL || json_object_update(line, fields) == 0) &&
        json_dump_callback(line, append, &text,
                           JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(7)) == 0 &&
        buf_append(&text, bytes_of("\n")) == RC_OK;
    pthread_mutex_lock(&state.lock);
    bool was_empty = state.pending.size == 0;
    if (!whole || buf_append(&state.pending, (struct bytes){text.data, text.size}) != RC_OK)
        state.dropped_count++;
    if (was_empty)
        pthread_cond_signal(&state.more);
    pthread_mutex_unlock(&state.lock);
    buf_done(&text);
    json_decref(line);
    json_decref(fields);
}

void log_close(void)
{
    if (!state.open)
        return;
    pthread_mutex_lock(&state.lock);
    state.closing = true;
    pthread_cond_signal(&state.more);
    pthread_mutex_unlock(&state.lock);
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CLOSE_WAIT_S;
    bool ended = pthread_timedjoin_np(state.thread, NULL, &until) == 0;
    /* Requests that a drain gave up on may be writing lines still. */
    pthread_mutex_lock(&state.lock);
    state.open = false;
    if (ended)
        buf_done(&state.pending);
    else
        (void)pthread_detach(state.thread);
    pthread_mutex_unlock(&state.lock);
}
