/* SPDX-License-Identifier: Apache-2.0
 * Any bytes on a connection, through a socket pair and a loop without a thread. The first byte
 * chooses how they are cut; however that is, the same requests must come out as from one piece. */
#include "net/http_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CUT_RANDOM = 1, SMALL_LIMITS = 2, ANSWER_LATER = 4, LEAVE_EARLY = 8 };

static uint64_t delivered_hash;
static uint32_t seen, finished;
static bool answers_later;
static struct http_request *waiting;

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void mix(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        delivered_hash = (delivered_hash ^ text.data[i]) * 0x100000001b3u;
    delivered_hash = (delivered_hash ^ text.size) * 0x100000001b3u;
}

static void respond(struct http_request *request, int status)
{
    struct http_response response = {
        .status = status, .content_type = "text/plain", .body = BUF_INIT(100)};
    must(buf_append(&response.body, bytes_of("hello")) == RC_OK);
    http_respond(request, &response);
}

static enum rc on_headers(void *ctx, struct http_request *request, size_t *ret_body_max,
                          struct error *err)
{
    (void)ctx;
    seen++;
    must(http_context(request) == NULL);
    http_set_context(request, &seen);
    must(http_path(request).size > 0 && http_method(request).size > 0);
    if (http_header(request, "x-deny").data != NULL)
        return error_set(err, RC_FORBIDDEN, "denied");
    *ret_body_max = 3000;
    return RC_OK;
}

static void on_request(void *ctx, struct http_request *request)
{
    (void)ctx;
    mix(http_method(request));
    mix(http_path(request));
    mix(http_query(request));
    mix(http_header(request, "host"));
    mix(http_header(request, "a"));
    mix(http_body(request));
    must(waiting == NULL);
    if (answers_later)
        waiting = request;
    else
        respond(request, 200);
}

static void on_gone(void *ctx, struct http_request *request)
{
    (void)ctx;
    must(request == waiting);
}

static void on_refuse(void *ctx, struct http_request *request, enum rc rc, const struct error *err)
{
    (void)ctx;
    must(rc != RC_OK && err != NULL && err->text[0] != '\0');
    if (http_context(request) == NULL) /* refused before headers() */
        seen++;
    http_set_context(request, &seen);
    respond(request, rc_http_status(rc));
}

static void on_finished(void *ctx, struct http_request *request)
{
    (void)ctx;
    must(http_context(request) == &seen);
    finished++;
}

static const struct http_handler handler = {.headers = on_headers,
                                            .request = on_request,
                                            .gone = on_gone,
                                            .refuse = on_refuse,
                                            .finished = on_finished};

static struct http_server *server_of(size_t header_max)
{
    struct http_server *server = NULL;
    struct http_config config = {.loop_count = 1,
                                 .connection_max = 4,
                                 .header_max = header_max,
                                 .body_memory_max = 1 << 20,
                                 .header_timeout_ms = 100000,
                                 .body_timeout_ms = 100000,
                                 .idle_timeout_ms = 100000,
                                 .write_timeout_ms = 100000,
                                 .handler = &handler};
    must(server_open_detached(&config, &server, NULL) == RC_OK);
    return server;
}

static void step(struct loop *loop, int fd)
{
    char answer[4096];
    for (int i = 0; i < 3; i++) {
        loop_step(loop, false);
        if (waiting != NULL) {
            struct http_request *request = waiting;
            waiting = NULL;
            respond(request, 200);
        }
    }
    while (fd >= 0 && recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0)
        ;
}

/* What was delivered, as a hash. */
static uint64_t run(struct http_server *server, const uint8_t *data, size_t size, uint8_t mode)
{
    int pair[2];
    struct sockaddr_storage peer = {.ss_family = AF_UNIX};
    struct loop *loop = server->loops[0];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    loop_adopt(loop, pair[0], &peer);
    delivered_hash = 0xcbf29ce484222325u;
    answers_later = (mode & ANSWER_LATER) != 0;
    uint32_t random = (uint32_t)size * 2654435761u + mode;
    while (size > 0) {
        size_t cut = size;
        if (mode & CUT_RANDOM) {
            random = random * 1664525u + 1013904223u;
            size_t most = (random >> 24) < 128 ? 3 : 300;
            cut = 1 + (random >> 8) % most;
            if (cut > size)
                cut = size;
        }
        if (send(pair[1], data, cut, MSG_NOSIGNAL) != (ssize_t)cut)
            break;
        data += cut;
        size -= cut;
        step(loop, mode & LEAVE_EARLY ? -1 : pair[1]);
    }
    for (int i = 0; i < 400 && !(mode & LEAVE_EARLY); i++) { /* requests that were pipelined */
        uint64_t before = delivered_hash;
        step(loop, pair[1]);
        if (before == delivered_hash)
            break;
    }
    (void)close(pair[1]);
    for (int i = 0; i < 400 && http_server_connection_count(server) > 0; i++)
        step(loop, -1);
    must(http_server_connection_count(server) == 0);
    must(waiting == NULL);
    return delivered_hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_server *usual, *small;
    if (usual == NULL) {
        usual = server_of(1 << 20);
        small = server_of(128);
    }
    if (size == 0)
        return 0;
    uint8_t mode = data[0];
    uint64_t hash = run(mode & SMALL_LIMITS ? small : usual, data + 1, size - 1, mode);
    if (!(mode & (SMALL_LIMITS | LEAVE_EARLY)) && (mode & CUT_RANDOM))
        must(hash == run(usual, data + 1, size - 1, 0));
    must(finished == seen);
    return 0;
}
