/* SPDX-License-Identifier: Apache-2.0
 * http_server.c - the server as a whole: listening, its loops, counting connections, draining. */
#include "net/http_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG        1024 /* the kernel's somaxconn may be lower */
#define LOOP_COUNT_MAX 256u
#define REFUSAL_MIN    16u
#define HOST_SIZE      256

/* "host:port", "[v6]:port", ":port" (every address) */
static enum rc split_listen(const char *listen, char host[HOST_SIZE], const char **ret_port,
                            struct error *err)
{
    const char *colon = strrchr(listen, ':');
    const char *from = listen, *to = colon;
    if (colon == NULL || colon[1] == '\0')
        return error_set(err, RC_INVALID, "'%s' is not HOST:PORT", listen);
    if (listen[0] == '[') {
        from++;
        to--;
        if (to < from || *to != ']')
            return error_set(err, RC_INVALID, "'%s' is not [HOST]:PORT", listen);
    } else if (memchr(listen, ':', (size_t)(colon - listen)) != NULL) {
        return error_set(err, RC_INVALID, "'%s': an IPv6 address needs brackets", listen);
    }
    /* getaddrinfo takes any number and keeps its last 16 bits. */
    size_t digits = strspn(colon + 1, "0123456789");
    if (colon[1 + digits] != '\0' || digits > 5 || strtoul(colon + 1, NULL, 10) > UINT16_MAX)
        return error_set(err, RC_INVALID, "'%s': the port must be a number from 0 to 65535",
                         listen);
    size_t size = (size_t)(to - from);
    if (size >= HOST_SIZE)
        return error_set(err, RC_INVALID, "'%s' is too long", listen);
    memcpy(host, from, size);
    host[size] = '\0';
    *ret_port = colon + 1;
    return RC_OK;
}

static int listen_at(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* accepted ones inherit it */
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

static enum rc listen_on(const char *listen, int *ret_fd, bool *ret_in_use, struct error *err)
{
    *ret_in_use = false;
    char host[HOST_SIZE];
    const char *port = NULL;
    enum rc rc = split_listen(listen, host, &port, err);
    if (rc != RC_OK)
        return rc;
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found);
    if (failed != 0)
        return error_set(err, RC_INVALID, "'%s': %s", listen, gai_strerror(failed));
    int fd = -1;
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next)
        fd = listen_at(at);
    if (fd < 0) {
        *ret_in_use = errno == EADDRINUSE;
        rc = error_set(err, RC_UNAVAILABLE, "cannot listen on %s: %s", listen, strerror(errno));
    }
    freeaddrinfo(found);
    if (rc == RC_OK)
        *ret_fd = fd;
    return rc;
}

enum rc http_listen_try(const char *listen, bool *ret_in_use, struct error *err)
{
    int fd = -1;
    enum rc rc = listen_on(listen, &fd, ret_in_use, err);
    if (rc == RC_OK)
        (void)close(fd);
    return rc;
}

static enum rc open_socket(struct http_server *server, struct error *err)
{
    bool in_use;
    enum rc rc = listen_on(server->config.listen, &server->listen_fd, &in_use, err);
    if (rc != RC_OK)
        return rc;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } name = {.v6 = {0}};
    socklen_t size = sizeof(name);
    if (getsockname(server->listen_fd, &name.any, &size) != 0)
        return error_set(err, RC_INTERNAL, "getsockname: %s", strerror(errno));
    server->port = ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
    return RC_OK;
}

enum rc server_open_detached(const struct http_config *config, struct http_server **ret_server,
                             struct error *err)
{
    if (config->loop_count == 0 || config->loop_count > LOOP_COUNT_MAX)
        return error_set(err, RC_INVALID, "%u event loops; 1 to %u", config->loop_count,
                         LOOP_COUNT_MAX);
    assert(config->handler != NULL && config->connection_max > 0 && config->header_max > 0);
    struct http_server *server =
        calloc(1, sizeof(*server) + config->loop_count * sizeof(server->loops[0]));
    if (server == NULL)
        return error_set(err, RC_NO_MEMORY, "the HTTP server");
    server->config = *config;
    server->listen_fd = -1;
    server->refusal_max = config->connection_max / 8 + REFUSAL_MIN;
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&server->lock, NULL);
    (void)pthread_cond_init(&server->none_left, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    enum rc rc = RC_OK;
    while (rc == RC_OK && server->loop_count < config->loop_count) {
        rc = loop_open(server, &server->loops[server->loop_count], err);
        if (rc == RC_OK)
            server->loop_count++;
    }
    if (rc != RC_OK) {
        http_server_free(server);
        return rc;
    }
    *ret_server = server;
    return RC_OK;
}

static enum rc start_loops(struct http_server *server, struct error *err)
{
    /* Signals belong to the program's own threads. */
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    enum rc rc = RC_OK;
    for (uint32_t i = 0; i < server->loop_count && rc == RC_OK; i++) {
        struct loop *loop = server->loops[i];
        int failed = pthread_create(&loop->thread, NULL, loop_main, loop);
        loop->has_thread = failed == 0;
        if (failed != 0)
            rc = error_set(err, RC_INTERNAL, "an event-loop thread: %s", strerror(failed));
        char name[16];
        (void)snprintf(name, sizeof(name), "http-%u", i);
        if (failed == 0)
            (void)pthread_setname_np(loop->thread, name);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

enum rc http_server_open(const struct http_config *config, struct http_server **ret_server,
                         struct error *err)
{
    struct http_server *server;
    enum rc rc = server_open_detached(config, &server, err);
    if (rc != RC_OK)
        return rc;
    rc = open_socket(server, err);
    atomic_store(&server->listening_count, server->loop_count + 1);
    for (uint32_t i = 0; i < server->loop_count && rc == RC_OK; i++)
        rc = loop_listen(server->loops[i], err);
    if (rc == RC_OK) {
        *ret_server = server; /* before the threads: a handler may ask for it at once */
        rc = start_loops(server, err);
    }
    if (rc != RC_OK) {
        *ret_server = NULL;
        http_server_free(server);
    }
    return rc;
}

uint16_t http_server_port(const struct http_server *server) { return server->port; }

uint32_t http_server_connection_count(const struct http_server *server)
{
    return atomic_load(&server->connection_count);
}

bool server_connection_opened(struct http_server *server, bool *ret_refuse)
{
    uint32_t before = atomic_fetch_add(&server->connection_count, 1);
    if (before >= server->config.connection_max + server->refusal_max) {
        server_connection_closed(server);
        return false;
    }
    *ret_refuse = before >= server->config.connection_max;
    return true;
}

static bool is_empty(struct http_server *server)
{
    return atomic_load(&server->connection_count) == 0 &&
           (!atomic_load(&server->is_draining) || atomic_load(&server->listening_count) == 0);
}

static void tell_if_empty(struct http_server *server)
{
    if (!is_empty(server))
        return;
    (void)pthread_mutex_lock(&server->lock);
    (void)pthread_cond_broadcast(&server->none_left);
    (void)pthread_mutex_unlock(&server->lock);
}

void server_connection_closed(struct http_server *server)
{
    if (atomic_fetch_sub(&server->connection_count, 1) == 1)
        tell_if_empty(server);
}

bool server_listening_ended(struct http_server *server)
{
    return atomic_fetch_sub(&server->listening_count, 1) == 2;
}

void server_listening_closed(struct http_server *server)
{
    (void)close(server->listen_fd);
    server->listen_fd = -1;
    atomic_store(&server->listening_count, 0);
    tell_if_empty(server);
}

void http_server_drain(struct http_server *server, uint32_t linger_ms)
{
    atomic_store(&server->linger_ms, linger_ms);
    atomic_store(&server->is_draining, true);
    for (uint32_t i = 0; i < server->loop_count; i++)
        loop_wake(server->loops[i]);
}

bool http_server_wait(struct http_server *server, uint32_t timeout_ms)
{
    uint64_t end_ns = clock_monotonic_ns() + timeout_ms * NS_PER_MS;
    struct timespec end = {.tv_sec = (time_t)(end_ns / NS_PER_S),
                           .tv_nsec = (long)(end_ns % NS_PER_S)};
    (void)pthread_mutex_lock(&server->lock);
    while (!is_empty(server) &&
           pthread_cond_timedwait(&server->none_left, &server->lock, &end) == 0)
        ;
    bool empty = is_empty(server);
    (void)pthread_mutex_unlock(&server->lock);
    return empty;
}

void http_server_free(struct http_server *server)
{
    if (server == NULL)
        return;
    atomic_store(&server->is_stopping, true);
    for (uint32_t i = 0; i < server->loop_count; i++)
        loop_wake(server->loops[i]);
    for (uint32_t i = 0; i < server->loop_count; i++)
        if (server->loops[i]->has_thread)
            (void)pthread_join(server->loops[i]->thread, NULL);
    for (uint32_t i = 0; i < server->loop_count; i++)
        loop_free(server->loops[i]);
    if (server->listen_fd >= 0)
        (void)close(server->listen_fd);
    (void)pthread_cond_destroy(&server->none_left);
    (void)pthread_mutex_destroy(&server->lock);
    free(server);
}
