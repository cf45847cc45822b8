/* SPDX-License-Identifier: Apache-2.0
 * echo_server.c - an HTTP server for the tests of src/net. Prints `port N`; its settings are
 * arguments NAME=NUMBER; lines on stdin control it: `drain MS`, end of file stops it.
 *
 *   /sink        the body's size             /echo        the body
 *   /hold        waits for /release          /thread      answered by another thread
 *   /deny        403 before the body         /limit/N     a body of N bytes at most
 *   /big/N       N bytes                     /empty       204
 *   /stats       counters as JSON            others       method path query size crc32 */
#include "net/http.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_COUNT_MAX 4096

static struct http_server *server;
static size_t body_max = 1 << 20;
static atomic_uint seen, delivered, gone, finished, refused;

/* Requests that wait: for /release (held) or for the worker (ready). */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work_came = PTHREAD_COND_INITIALIZER;
static struct http_request *held[REQUEST_COUNT_MAX], *ready[REQUEST_COUNT_MAX];
static size_t held_count, ready_count;
static bool stopping;

static uint32_t crc32_of(struct bytes body)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < body.size; i++) {
        crc ^= body.data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

static bool path_is(const struct http_request *request, const char *path)
{
    return bytes_equal(http_path(request), bytes_of(path));
}

/* The number after `prefix`, if the path begins so. */
static bool path_number(const struct http_request *request, const char *prefix, size_t *ret_number)
{
    struct bytes path = http_path(request);
    size_t size = strlen(prefix);
    char digits[24] = "";
    if (path.size <= size || path.size - size >= sizeof(digits) ||
        memcmp(path.data, prefix, size) != 0)
        return false;
    memcpy(digits, path.data + size, path.size - size);
    *ret_number = strtoul(digits, NULL, 10);
    return true;
}

static void respond(struct http_request *request, int status, struct buf *body)
{
    struct http_response response = {
        .status = status,
        .content_type = status == 204 ? NULL : "text/plain",
        .headers = {{"X-Server", "echo"}},
        .header_count = 1,
        .body = *body,
    };
    http_respond(request, &response);
}

static void must(enum rc rc)
{
    if (rc != RC_OK)
        abort();
}

static void respond_usual(struct http_request *request)
{
    struct buf body = BUF_INIT(64u << 20);
    struct bytes method = http_method(request), path = http_path(request);
    struct bytes query = http_query(request), sent = http_body(request);
    size_t size;
    int status = 200;
    if (path_is(request, "/echo")) {
        must(buf_append(&body, sent));
    } else if (path_is(request, "/sink")) {
        must(buf_printf(&body, "%zu\n", sent.size));
    } else if (path_is(request, "/empty")) {
        status = 204;
    } else if (path_number(request, "/big/", &size)) {
        must(buf_reserve(&body, size));
        memset(body.data, 'x', size);
        body.size = size;
    } else if (path_is(request, "/stats")) {
        must(buf_printf(&body,
                        "{\"seen\": %u, \"delivered\": %u, \"gone\": %u, \"finished\": %u, "
                        "\"refused\": %u, \"connections\": %u}\n",
                        atomic_load(&seen), atomic_load(&delivered), atomic_load(&gone),
                        atomic_load(&finished), atomic_load(&refused),
                        http_server_connection_count(server)));
    } else {
        struct bytes extra = http_header(request, "x-test");
        must(buf_printf(&body, "%.*s %.*s ?%.*s %zu %08" PRIx32 " [%.*s]\n", (int)method.size,
                        (const char *)method.data, (int)path.size, (const char *)path.data,
                        (int)query.size, (const char *)query.data, sent.size, crc32_of(sent),
                        (int)extra.size, (const char *)extra.data));
    }
    respond(request, status, &body);
}

static void make_ready(struct http_request *request)
{
    if (ready_count == REQUEST_COUNT_MAX)
        abort();
    ready[ready_count++] = request;
    (void)pthread_cond_signal(&work_came);
}

static void *work(void *unused)
{
    (void)unused;
    (void)pthread_mutex_lock(&lock);
    while (!stopping || ready_count > 0) {
        if (ready_count == 0) {
            (void)pthread_cond_wait(&work_came, &lock);
            continue;
        }
        struct http_request *request = ready[0];
        memmove(ready, ready + 1, --ready_count * sizeof(ready[0]));
        (void)pthread_mutex_unlock(&lock);
        respond_usual(request);
        (void)pthread_mutex_lock(&lock);
    }
    (void)pthread_mutex_unlock(&lock);
    return NULL;
}

static void release_all(void)
{
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < held_count; i++)
        make_ready(held[i]);
    held_count = 0;
    (void)pthread_mutex_unlock(&lock);
}

/* --- the handler -------------------------------------------------------------------------- */

static enum rc on_headers(void *ctx, struct http_request *request, size_t *ret_body_max,
                          struct error *err)
{
    (void)ctx;
    atomic_fetch_add(&seen, 1);
    if (path_is(request, "/deny"))
        return error_set(err, RC_FORBIDDEN, "not here");
    if (!path_number(request, "/limit/", ret_body_max))
        *ret_body_max = body_max;
    return RC_OK;
}

static void on_request(void *ctx, struct http_request *request)
{
    (void)ctx;
    atomic_fetch_add(&delivered, 1);
    if (path_is(request, "/release"))
        release_all();
    bool hold = path_is(request, "/hold"), thread = path_is(request, "/thread");
    if (!hold && !thread) {
        respond_usual(request);
        return;
    }
    (void)pthread_mutex_lock(&lock);
    if (thread)
        make_ready(request);
    else if (held_count < REQUEST_COUNT_MAX)
        held[held_count++] = request;
    else
        abort();
    (void)pthread_mutex_unlock(&lock);
}

static void on_gone(void *ctx, struct http_request *request)
{
    (void)ctx;
    atomic_fetch_add(&gone, 1);
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < held_count; i++) {
        if (held[i] != request)
            continue;
        held[i] = held[--held_count];
        make_ready(request);
        break;
    }
    (void)pthread_mutex_unlock(&lock);
}

static void on_refuse(void *ctx, struct http_request *request, enum rc rc, const struct error *err)
{
    (void)ctx;
    atomic_fetch_add(&refused, 1);
    struct buf body = BUF_INIT(1024);
    must(buf_printf(&body, "%s: %s\n", rc_name(rc), err->text));
    respond(request, rc_http_status(rc), &body);
}

static void on_finished(void *ctx, struct http_request *request)
{
    (void)ctx;
    (void)request;
    atomic_fetch_add(&finished, 1);
}

static const struct http_handler handler = {
    .headers = on_headers,
    .request = on_request,
    .gone = on_gone,
    .refuse = on_refuse,
    .finished = on_finished,
};

static bool set_number(struct http_config *config, const char *argument)
{
    const struct {
        const char *name;
        uint32_t *small;
        size_t *large;
    } settings[] = {
        {"loops=", &config->loop_count, NULL},
        {"connections=", &config->connection_max, NULL},
        {"header_max=", NULL, &config->header_max},
        {"body_max=", NULL, &body_max},
        {"body_memory=", NULL, &config->body_memory_max},
        {"header_ms=", &config->header_timeout_ms, NULL},
        {"body_ms=", &config->body_timeout_ms, NULL},
        {"idle_ms=", &config->idle_timeout_ms, NULL},
        {"write_ms=", &config->write_timeout_ms, NULL},
    };
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        size_t size = strlen(settings[i].name);
        if (strncmp(argument, settings[i].name, size) != 0)
            continue;
        unsigned long number = strtoul(argument + size, NULL, 10);
        if (settings[i].small != NULL)
            *settings[i].small = (uint32_t)number;
        else
            *settings[i].large = number;
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    struct http_config config = {
        .listen = "127.0.0.1:0",
        .loop_count = 2,
        .connection_max = 4096,
        .header_max = 16u << 10,
        .body_memory_max = 256u << 20,
        .header_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .idle_timeout_ms = 30000,
        .write_timeout_ms = 10000,
        .handler = &handler,
    };
    for (int i = 1; i < argc; i++) {
        if (!set_number(&config, argv[i])) {
            (void)fprintf(stderr, "unknown argument %s\n", argv[i]);
            return 2;
        }
    }
    struct error err = {0};
    pthread_t worker;
    if (http_server_open(&config, &server, &err) != RC_OK ||
        pthread_create(&worker, NULL, work, NULL) != 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    (void)printf("port %u\n", http_server_port(server));
    (void)fflush(stdout);
    char line[64];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (strncmp(line, "drain ", 6) != 0)
            continue;
        http_server_drain(server, (uint32_t)strtoul(line + 6, NULL, 10));
        (void)printf("empty %d\n", http_server_wait(server, 30000));
        (void)fflush(stdout);
    }
    release_all();
    (void)pthread_mutex_lock(&lock);
    stopping = true;
    (void)pthread_cond_signal(&work_came);
    (void)pthread_mutex_unlock(&lock);
    (void)pthread_join(worker, NULL);
    http_server_free(server);
    return 0;
}
