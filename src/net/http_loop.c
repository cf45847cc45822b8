/* SPDX-License-Identifier: Apache-2.0
 * http_loop.c - one event-loop thread. It sleeps in epoll_wait until a socket, a letter in the
 * mailbox or the nearest deadline wakes it; with nothing to do it never wakes. */
#include "net/http_internal.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EVENT_COUNT      64
#define ACCEPT_COUNT_MAX 16 /* in one round, so that other loops get their share */
#define LISTEN_AGAIN_NS  (200 * NS_PER_MS)
#define HANDSHAKE_NS     (100 * NS_PER_MS) /* what has begun is complete by then */
#define SOCKET_EVENTS    ((uint32_t)EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

/* --- mailbox: many write, the loop takes all --------------------------------------------- */

void loop_wake(struct loop *loop)
{
    if (!atomic_exchange(&loop->is_asleep, false))
        return;
    uint64_t one = 1;
    ssize_t written = write(loop->wake_fd, &one, sizeof(one));
    (void)written; /* a counter that is full wakes as well */
}

void loop_post(struct loop *loop, struct connection *connection)
{
    struct connection *first = atomic_load_explicit(&loop->mail, memory_order_relaxed);
    do
        connection->mail_next = first;
    while (!atomic_compare_exchange_weak(&loop->mail, &first, connection));
    loop_wake(loop);
}

/* --- deadlines ---------------------------------------------------------------------------- */

static void deadline_remove(struct loop *loop, struct connection *connection)
{
    if (connection->deadline_class == DEADLINE_NONE)
        return;
    struct deadline_list *list = &loop->deadlines[connection->deadline_class];
    if (connection->deadline_prev != NULL)
        connection->deadline_prev->deadline_next = connection->deadline_next;
    else
        list->first = connection->deadline_next;
    if (connection->deadline_next != NULL)
        connection->deadline_next->deadline_prev = connection->deadline_prev;
    else
        list->last = connection->deadline_prev;
    connection->deadline_class = DEADLINE_NONE;
}

void loop_deadline(struct loop *loop, struct connection *connection, enum deadline_class kind)
{
    deadline_remove(loop, connection);
    if (kind == DEADLINE_NONE)
        return;
    struct deadline_list *list = &loop->deadlines[kind];
    uint64_t deadline_ns = loop->now_ns + list->span_ns;
    if (kind == DEADLINE_IDLE && loop->is_draining && deadline_ns > loop->drain_end_ns)
        deadline_ns = loop->drain_end_ns;
    connection->deadline_ns = deadline_ns;
    connection->deadline_class = kind;
    connection->deadline_prev = list->last;
    connection->deadline_next = NULL;
    if (list->last != NULL)
        list->last->deadline_next = connection;
    else
        list->first = connection;
    list->last = connection;
}

static void expire(struct loop *loop)
{
    for (int kind = 0; kind < DEADLINE_CLASS_COUNT; kind++) {
        struct connection *first;
        while ((first = loop->deadlines[kind].first) != NULL && first->deadline_ns <= loop->now_ns)
            connection_expired(first);
    }
}

/* Milliseconds for epoll_wait, rounded up; -1: nothing to wait for. */
static int nearest_ms(const struct loop *loop)
{
    uint64_t nearest_ns = loop->listen_again_ns != 0 ? loop->listen_again_ns : UINT64_MAX;
    if (loop->listen_close_ns != 0 && loop->listen_close_ns < nearest_ns)
        nearest_ns = loop->listen_close_ns;
    for (int kind = 0; kind < DEADLINE_CLASS_COUNT; kind++) {
        const struct connection *first = loop->deadlines[kind].first;
        if (first != NULL && first->deadline_ns < nearest_ns)
            nearest_ns = first->deadline_ns;
    }
    if (nearest_ns == UINT64_MAX)
        return -1;
    uint64_t now_ns = clock_monotonic_ns();
    if (nearest_ns <= now_ns)
        return 0;
    uint64_t wait_ms = (nearest_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return wait_ms < INT32_MAX ? (int)wait_ms : INT32_MAX;
}

/* --- connections and requests ------------------------------------------------------------- */

static void peer_text(const struct sockaddr_storage *peer, char into[PEER_TEXT_SIZE])
{
    char host[INET6_ADDRSTRLEN] = "";
    if (peer->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)peer;
        (void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        (void)snprintf(into, PEER_TEXT_SIZE, "%s:%u", host, ntohs(v4->sin_port));
    } else if (peer->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)peer;
        (void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
            (void)snprintf(into, PEER_TEXT_SIZE, "%s:%u", host + strlen("::ffff:"),
                           ntohs(v6->sin6_port));
        else
            (void)snprintf(into, PEER_TEXT_SIZE, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        (void)snprintf(into, PEER_TEXT_SIZE, "-");
    }
}

static void start(struct loop *loop, struct connection *connection)
{
    connection->all_next = loop->all;
    if (loop->all != NULL)
        loop->all->all_prev = connection;
    loop->all = connection;
    struct epoll_event event = {.events = SOCKET_EVENTS, .data.ptr = connection};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        connection_close(connection);
    else
        connection_start(connection);
}

void loop_adopt(struct loop *loop, int fd, const struct sockaddr_storage *peer)
{
    struct http_server *server = loop->server;
    bool is_excess;
    if (!server_connection_opened(server, &is_excess)) {
        (void)close(fd);
        return;
    }
    struct connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        (void)close(fd);
        server_connection_closed(server);
        return;
    }
    struct loop *to = loop;
    for (uint32_t i = 0; i < server->loop_count; i++)
        if (atomic_load_explicit(&server->loops[i]->connection_count, memory_order_relaxed) <
            atomic_load_explicit(&to->connection_count, memory_order_relaxed))
            to = server->loops[i];
    connection->loop = to;
    connection->fd = fd;
    connection->state = CONNECTION_NEW;
    connection->is_excess = is_excess;
    connection->deadline_class = DEADLINE_NONE;
    peer_text(peer, connection->peer);
    atomic_fetch_add_explicit(&to->connection_count, 1, memory_order_relaxed);
    if (to == loop)
        start(loop, connection);
    else
        loop_post(to, connection);
}

void loop_connection_free(struct loop *loop, struct connection *connection)
{
    if (connection->all_prev != NULL)
        connection->all_prev->all_next = connection->all_next;
    else if (loop->all == connection)
        loop->all = connection->all_next;
    if (connection->all_next != NULL)
        connection->all_next->all_prev = connection->all_prev;
    free(connection);
    atomic_fetch_sub_explicit(&loop->connection_count, 1, memory_order_relaxed);
    server_connection_closed(loop->server);
}

struct http_request *loop_request_take(struct loop *loop, struct connection *connection)
{
    struct http_request *request = loop->spare_requests;
    if (request != NULL) {
        loop->spare_requests = request->spare_next;
        loop->spare_request_count--;
    } else {
        request = malloc(sizeof(*request));
        if (request == NULL)
            return NULL;
        memset(request, 0, offsetof(struct http_request, lead));
        request_reset(request);
    }
    request->connection = connection;
    return request;
}

void loop_request_free(struct loop *loop, struct http_request *request)
{
    request->ahead = (struct bytes){0};
    request_reset(request);
    if (loop->spare_request_count == REQUEST_SPARE_MAX) {
        free(request);
        return;
    }
    request->spare_next = loop->spare_requests;
    loop->spare_requests = request;
    loop->spare_request_count++;
}

const char *loop_date(struct loop *loop)
{
    uint64_t now_s = clock_wall_ms() / 1000;
    if (now_s != loop->date_s) {
        static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        time_t seconds = (time_t)now_s;
        struct tm tm;
        (void)gmtime_r(&seconds, &tm);
        (void)snprintf(loop->date, sizeof(loop->date), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                       days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900,
                       tm.tm_hour, tm.tm_min, tm.tm_sec);
        loop->date_s = now_s;
    }
    return loop->date;
}

/* --- listening ---------------------------------------------------------------------------- */

enum rc loop_listen(struct loop *loop, struct error *err)
{
    /* One socket for all loops: one backlog, which a drain can empty. EPOLLEXCLUSIVE wakes one. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = loop->server};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->server->listen_fd, &event) != 0)
        return error_set(err, RC_INTERNAL, "epoll_ctl: %s", strerror(errno));
    loop->listens = true;
    return RC_OK;
}

static void listen_pause(struct loop *loop)
{
    if (loop->listens)
        (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, loop->server->listen_fd, NULL);
    loop->listens = false;
}

static void accept_some(struct loop *loop, uint32_t count_max)
{
    for (uint32_t i = 0; i < count_max; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t size = sizeof(peer);
        int fd = accept4(loop->server->listen_fd, (struct sockaddr *)&peer, &size,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            loop_adopt(loop, fd, &peer);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* Clients wait in the backlog meanwhile; polling the socket would spin. */
            listen_pause(loop);
            loop->listen_again_ns = loop->now_ns + LISTEN_AGAIN_NS;
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

/* From now on nobody begins a connection: the kernel would reset one that comes between the last
 * accept and the close. Such a client asks again within a second, wherever it is sent then. */
static void listen_deafen(int fd)
{
    const uint32_t flags_at = 13, syn = 0x02; /* in the TCP header */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, flags_at),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, syn, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* Whoever waits in the backlog has been promised an answer by the kernel's handshake. */
static void listen_close(struct loop *loop)
{
    loop->listen_close_ns = 0;
    accept_some(loop, UINT32_MAX);
    loop->listen_again_ns = 0;
    server_listening_closed(loop->server);
}

static void drain_start(struct loop *loop)
{
    struct http_server *server = loop->server;
    loop->is_draining = true;
    loop->drain_end_ns = loop->now_ns + atomic_load(&server->linger_ms) * NS_PER_MS;
    loop->listen_again_ns = 0;
    for (struct connection *c = loop->deadlines[DEADLINE_IDLE].first; c; c = c->deadline_next)
        if (c->deadline_ns > loop->drain_end_ns)
            c->deadline_ns = loop->drain_end_ns;
    if (server->listen_fd < 0)
        return;
    listen_pause(loop);
    if (!server_listening_ended(server))
        return;
    listen_deafen(server->listen_fd);
    loop->listen_close_ns = loop->now_ns + HANDSHAKE_NS;
}

/* --- the loop ----------------------------------------------------------------------------- */

static void take_mail(struct loop *loop)
{
    struct connection *newest = atomic_exchange(&loop->mail, NULL);
    struct connection *oldest = NULL;
    while (newest != NULL) {
        struct connection *next = newest->mail_next;
        newest->mail_next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct connection *next = oldest->mail_next;
        if (oldest->state == CONNECTION_NEW)
            start(loop, oldest);
        else
            connection_mail(oldest);
        oldest = next;
    }
}

void loop_step(struct loop *loop, bool may_wait)
{
    struct epoll_event events[EVENT_COUNT];
    int wait_ms = may_wait ? nearest_ms(loop) : 0;
    if (wait_ms != 0) {
        /* Whoever posts after this store sees it and writes to wake_fd; what was posted before
         * is seen here. Both sides are sequentially consistent. */
        atomic_store(&loop->is_asleep, true);
        if (atomic_load(&loop->mail) != NULL || atomic_load(&loop->server->is_stopping) ||
            (!loop->is_draining && atomic_load(&loop->server->is_draining)))
            wait_ms = 0;
    }
    int count = epoll_wait(loop->epoll_fd, events, EVENT_COUNT, wait_ms);
    atomic_store(&loop->is_asleep, false);
    loop->now_ns = clock_monotonic_ns();
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == loop->server)
            accept_some(loop, ACCEPT_COUNT_MAX);
        else if (events[i].data.ptr != NULL)
            connection_events(events[i].data.ptr, events[i].events);
    }
    take_mail(loop);
    if (!loop->is_draining && atomic_load(&loop->server->is_draining))
        drain_start(loop);
    if (loop->listen_close_ns != 0 && loop->listen_close_ns <= loop->now_ns)
        listen_close(loop);
    if (loop->listen_again_ns != 0 && loop->listen_again_ns <= loop->now_ns) {
        loop->listen_again_ns = 0;
        if (loop_listen(loop, NULL) != RC_OK)
            loop->listen_again_ns = loop->now_ns + LISTEN_AGAIN_NS;
    }
    expire(loop);
}

void *loop_main(void *argument)
{
    struct loop *loop = argument;
    while (!atomic_load(&loop->server->is_stopping))
        loop_step(loop, true);
    return NULL;
}

enum rc loop_open(struct http_server *server, struct loop **ret_loop, struct error *err)
{
    const struct http_config *config = &server->config;
    struct loop *loop = aligned_alloc(64, sizeof(*loop));
    if (loop == NULL)
        return error_set(err, RC_NO_MEMORY, "an event loop");
    memset(loop, 0, sizeof(*loop));
    loop->server = server;
    loop->now_ns = clock_monotonic_ns();
    loop->deadlines[DEADLINE_HEADER].span_ns = config->header_timeout_ms * NS_PER_MS;
    loop->deadlines[DEADLINE_BODY].span_ns = config->body_timeout_ms * NS_PER_MS;
    loop->deadlines[DEADLINE_IDLE].span_ns = config->idle_timeout_ms * NS_PER_MS;
    loop->deadlines[DEADLINE_WRITE].span_ns = config->write_timeout_ms * NS_PER_MS;
    loop->deadlines[DEADLINE_LINGER].span_ns = LINGER_TIMEOUT_MS * NS_PER_MS;
    loop->pool.used = &server->body_memory_used;
    loop->pool.used_max = config->body_memory_max;
    size_t share = config->body_memory_max / 4 / config->loop_count;
    loop->pool.spare_size_max = share < BODY_SPARE_SIZE_MAX ? share : BODY_SPARE_SIZE_MAX;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    /* Edge-triggered: every write is an event, and nobody needs to read the counter. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) != 0) {
        enum rc rc = error_set(err, RC_INTERNAL, "an event loop: %s", strerror(errno));
        loop_free(loop);
        return rc;
    }
    *ret_loop = loop;
    return RC_OK;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    take_mail(loop); /* answers and accepted sockets that came after the last round */
    while (loop->all != NULL) {
        assert(loop->all->state != CONNECTION_WORK ||
               atomic_load(&loop->all->request->is_answered));
        connection_close(loop->all);
    }
    while (loop->spare_requests != NULL) {
        struct http_request *next = loop->spare_requests->spare_next;
        free(loop->spare_requests);
        loop->spare_requests = next;
    }
    body_pool_done(&loop->pool);
    if (loop->wake_fd >= 0)
        (void)close(loop->wake_fd);
    if (loop->epoll_fd >= 0)
        (void)close(loop->epoll_fd);
    free(loop);
}
