/* SPDX-License-Identifier: Apache-2.0
 * http_connection.c - the life of one connection: IDLE, HEAD, BODY, WORK, WRITE, then IDLE again or
 * LINGER.
 *
 * Sockets are edge-triggered and registered once for everything. Bytes are received only while
 * they are wanted, so a client that sends ahead is held back by TCP; FIN and RST are seen in every
 * state. A FIN while the handler works means that the client went away: HTTP clients do not
 * half-close. The answer, if there comes one, is written all the same. */
#include "net/http_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define RECEIVE_SIZE_MAX   (256u << 10) /* in one call, so that the budget is asked in between */
#define CHUNKED_ROOM_FIRST (16u << 10)

static void receive(struct connection *connection);
static void work_gone(struct connection *connection);

static const struct http_config *config_of(const struct connection *connection)
{
    return &connection->loop->server->config;
}

enum { RECEIVE_BROKEN = -2, RECEIVE_BLOCKED = -1, RECEIVE_ENDED = 0 };

/* A count, or one of the above. */
static ssize_t receive_into(struct connection *connection, uint8_t *into, size_t room)
{
    if (!connection->readable)
        return RECEIVE_BLOCKED;
    for (;;) {
        ssize_t size = recv(connection->fd, into, room, 0);
        if (size > 0) {
            /* A short read emptied the socket: the next bytes bring a new event. */
            if ((size_t)size < room && !connection->peer_done)
                connection->readable = false;
            return size;
        }
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN) {
            connection->readable = false;
            return RECEIVE_BLOCKED;
        }
        return size < 0 ? RECEIVE_BROKEN : RECEIVE_ENDED;
    }
}

static void release_request(struct connection *connection)
{
    struct http_request *request = connection->request;
    if (request == NULL)
        return;
    connection->request = NULL;
    if (request->was_seen)
        config_of(connection)->handler->finished(config_of(connection)->ctx, request);
    answer_done(request);
    loop_request_free(connection->loop, request);
}

void connection_close(struct connection *connection)
{
    struct loop *loop = connection->loop;
    release_request(connection);
    loop_deadline(loop, connection, DEADLINE_NONE);
    if (connection->fd >= 0)
        (void)close(connection->fd);
    loop_connection_free(loop, connection);
}

/* Answer on the server's own account, then close. */
static void refuse(struct connection *connection, enum rc rc, const struct error *err)
{
    const struct http_config *config = config_of(connection);
    if (connection->request == NULL) {
        connection->request = loop_request_take(connection->loop, connection);
        if (connection->request == NULL) {
            connection_close(connection);
            return;
        }
        connection->request->started_ns = connection->loop->now_ns;
    }
    struct http_request *request = connection->request;
    loop_deadline(connection->loop, connection, DEADLINE_NONE);
    connection->state = CONNECTION_WORK;
    request->ahead = (struct bytes){0};
    request->is_refused = true;
    request->was_seen = true;
    config->handler->refuse(config->ctx, request, rc, err);
    assert(atomic_load_explicit(&request->is_answered, memory_order_relaxed));
}

static void refuse_plain(struct connection *connection, enum rc rc, const char *text)
{
    struct error err = {0};
    (void)error_set(&err, rc, "%s", text);
    refuse(connection, rc, &err);
}

static void linger(struct connection *connection)
{
    while (connection->readable && connection->lingered_size < LINGER_SIZE_MAX) {
        ssize_t size = receive_into(connection, connection->loop->scratch, SCRATCH_SIZE);
        if (size == RECEIVE_ENDED || size == RECEIVE_BROKEN) {
            connection_close(connection);
            return;
        }
        if (size > 0)
            connection->lingered_size += (size_t)size;
    }
    if (connection->peer_done)
        connection_close(connection);
}

/* Closing with unread bytes in the socket would send RST, which can overtake the answer. */
static void linger_start(struct connection *connection)
{
    release_request(connection);
    if (shutdown(connection->fd, SHUT_WR) != 0) {
        connection_close(connection);
        return;
    }
    connection->state = CONNECTION_LINGER;
    loop_deadline(connection->loop, connection, DEADLINE_LINGER);
    linger(connection);
}

static void next_request(struct connection *connection)
{
    struct http_request *request = connection->request;
    const struct http_config *config = config_of(connection);
    config->handler->finished(config->ctx, request);
    answer_done(request);
    request_reset(request);
    connection->state = CONNECTION_IDLE;
    if (request->head_filled > 0) {
        request->started_ns = connection->loop->now_ns;
        connection->state = CONNECTION_HEAD;
        loop_deadline(connection->loop, connection, DEADLINE_HEADER);
    }
    receive(connection);
}

static void write_answer(struct connection *connection)
{
    struct http_request *request = connection->request;
    switch (answer_write(request, connection->fd)) {
    case ANSWER_BLOCKED:
        return;
    case ANSWER_BROKEN:
        connection_close(connection);
        return;
    case ANSWER_DONE:
        break;
    }
    loop_deadline(connection->loop, connection, DEADLINE_NONE);
    if (request->keep_alive)
        next_request(connection);
    else if (request->is_refused || connection->readable || request->ahead.size > 0)
        linger_start(connection);
    else
        connection_close(connection);
}

static void begin_answer(struct connection *connection)
{
    struct http_request *request = connection->request;
    if (connection->fd < 0 || request->status == 0) {
        connection_close(connection);
        return;
    }
    if (request->is_refused || connection->loop->is_draining || connection->peer_done)
        request->keep_alive = false;
    answer_start(request, request->keep_alive, loop_date(connection->loop));
    connection->state = CONNECTION_WRITE;
    loop_deadline(connection->loop, connection, DEADLINE_WRITE);
    write_answer(connection);
}

static void deliver(struct connection *connection)
{
    const struct http_config *config = config_of(connection);
    struct http_request *request = connection->request;
    loop_deadline(connection->loop, connection, DEADLINE_NONE);
    connection->state = CONNECTION_WORK;
    request->was_delivered = true;
    config->handler->request(config->ctx, request);
    if (connection->peer_done)
        work_gone(connection);
}

static void work_gone(struct connection *connection)
{
    const struct http_config *config = config_of(connection);
    struct http_request *request = connection->request;
    if (!request->was_delivered || request->was_gone ||
        atomic_load_explicit(&request->is_answered, memory_order_acquire))
        return;
    request->was_gone = true;
    config->handler->gone(config->ctx, request);
}

static void send_continue(struct connection *connection)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    /* The socket's buffer is empty or nearly so; a client that does not get this sends anyway. */
    (void)send(connection->fd, text, sizeof(text) - 1, MSG_NOSIGNAL);
}

/* What came with the head. False: the connection was refused. */
static bool body_from_ahead(struct connection *connection, struct error *err)
{
    struct http_request *request = connection->request;
    struct body *body = &request->body;
    size_t size = request->ahead.size;
    if (!request->is_chunked && size > request->body_expected)
        size = request->body_expected;
    if (size == 0)
        return true;
    enum rc rc = body_touch(&connection->loop->pool, body, size);
    if (rc != RC_OK) {
        refuse_plain(connection, rc, "the memory for request bodies is used up");
        return false;
    }
    memcpy(body->data, request->ahead.data, size);
    request->ahead.data += size;
    request->ahead.size -= size;
    if (!request->is_chunked) {
        body->size = size;
        return true;
    }
    rc = chunked_parse(request, size, config_of(connection)->header_max, err);
    if (rc != RC_OK)
        refuse(connection, rc, err);
    return rc == RC_OK;
}

static bool is_body_complete(const struct http_request *request)
{
    return request->is_chunked ? request->is_chunked_end
                               : request->body.size == request->body_expected;
}

static void begin_body(struct connection *connection)
{
    const struct http_config *config = config_of(connection);
    struct http_request *request = connection->request;
    struct loop *loop = connection->loop;
    struct error err = {0};
    request->was_seen = true;
    enum rc rc = config->handler->headers(config->ctx, request, &request->body_max, &err);
    if (rc != RC_OK) {
        refuse(connection, rc, &err);
        return;
    }
    /* What would not fit into an idle server's memory is too large, not untimely. */
    if (request->body_max > config->body_memory_max)
        request->body_max = config->body_memory_max;
    if (request->body_expected > request->body_max) {
        rc = error_set(&err, RC_TOO_LARGE, "the body is %zu bytes, the limit %zu",
                       request->body_expected, request->body_max);
        refuse(connection, rc, &err);
        return;
    }
    if (!request->is_chunked && request->body_expected == 0) {
        deliver(connection);
        return;
    }
    size_t room = request->body_expected;
    if (request->is_chunked)
        room = CHUNKED_ROOM_FIRST > request->ahead.size + HEAD_ROOM_MIN
                   ? CHUNKED_ROOM_FIRST
                   : request->ahead.size + HEAD_ROOM_MIN;
    rc =
        body_affordable(&loop->pool, room) ? body_open(&loop->pool, room, &request->body) : RC_BUSY;
    if (rc != RC_OK) {
        refuse_plain(connection, rc, "the memory for request bodies is used up");
        return;
    }
    bool is_awaited = request->wants_continue && request->ahead.size == 0;
    connection->state = CONNECTION_BODY;
    loop_deadline(loop, connection, DEADLINE_BODY);
    if (!body_from_ahead(connection, &err))
        return;
    if (is_body_complete(request))
        deliver(connection);
    else if (is_awaited)
        send_continue(connection);
}

static void become_idle(struct connection *connection)
{
    release_request(connection);
    if (connection->deadline_class != DEADLINE_IDLE)
        loop_deadline(connection->loop, connection, DEADLINE_IDLE);
}

/* Nothing came. A peer that stops in the middle may have half-closed, and is told. */
static void received_nothing(struct connection *connection, ssize_t size)
{
    if (size == RECEIVE_BLOCKED) {
        if (connection->state == CONNECTION_IDLE)
            become_idle(connection);
    } else if (size == RECEIVE_ENDED && connection->state == CONNECTION_HEAD) {
        refuse_plain(connection, RC_INVALID, "the connection ended within the headers");
    } else if (size == RECEIVE_ENDED && connection->state == CONNECTION_BODY) {
        refuse_plain(connection, RC_INVALID, "the connection ended within the body");
    } else {
        connection_close(connection);
    }
}

/* These two return whether to go on receiving. */

static bool receive_head(struct connection *connection)
{
    const struct http_config *config = config_of(connection);
    struct http_request *request = connection->request;
    struct error err = {0};
    if (request->head_parsed == request->head_filled) {
        uint8_t *into;
        size_t room;
        if (head_room(request, config->header_max, &into, &room) != RC_OK || room == 0) {
            connection_close(connection);
            return false;
        }
        ssize_t size = receive_into(connection, into, room);
        if (size <= 0) {
            received_nothing(connection, size);
            return false;
        }
        request->head_filled += (size_t)size;
        if (connection->state == CONNECTION_IDLE) {
            request->started_ns = connection->loop->now_ns;
            connection->state = CONNECTION_HEAD;
            loop_deadline(connection->loop, connection, DEADLINE_HEADER);
        }
    }
    enum rc rc = head_parse(request, config->header_max, &err);
    if (rc != RC_OK) {
        refuse(connection, rc, &err);
        return false;
    }
    if (request->head_size > 0)
        begin_body(connection);
    return true;
}

static bool receive_body(struct connection *connection)
{
    struct http_request *request = connection->request;
    struct body *body = &request->body;
    struct body_pool *pool = &connection->loop->pool;
    struct error err = {0};
    size_t want = request->body_expected - body->size;
    if (request->is_chunked) {
        want = chunked_want(request);
        size_t more = body->room * 2 < body->size + want ? body->room * 2 : body->size + want;
        if (body->room - body->size < HEAD_ROOM_MIN && body_grow(pool, more, body) != RC_OK) {
            refuse_plain(connection, RC_NO_MEMORY, "no memory for the body");
            return false;
        }
        if (want > body->room - body->size)
            want = body->room - body->size;
    }
    if (want > RECEIVE_SIZE_MAX)
        want = RECEIVE_SIZE_MAX;
    ssize_t size = receive_into(connection, body->data + body->size, want);
    if (size <= 0) {
        received_nothing(connection, size);
        return false;
    }
    enum rc rc = body_touch(pool, body, body->size + (size_t)size);
    if (rc != RC_OK) {
        refuse_plain(connection, rc, "the memory for request bodies is used up");
        return false;
    }
    if (!request->is_chunked) {
        body->size += (size_t)size;
    } else {
        rc = chunked_parse(request, (size_t)size, config_of(connection)->header_max, &err);
        if (rc != RC_OK) {
            refuse(connection, rc, &err);
            return false;
        }
    }
    if (is_body_complete(request))
        deliver(connection);
    return true;
}

static void receive(struct connection *connection)
{
    struct loop *loop = connection->loop;
    if (connection->state == CONNECTION_IDLE && connection->readable &&
        connection->request == NULL) {
        connection->request = loop_request_take(loop, connection);
        if (connection->request == NULL) {
            connection_close(connection);
            return;
        }
    }
    for (bool more = connection->request != NULL; more;) {
        if (connection->state == CONNECTION_IDLE || connection->state == CONNECTION_HEAD)
            more = receive_head(connection);
        else if (connection->state == CONNECTION_BODY)
            more = receive_body(connection);
        else
            return;
    }
}

void connection_start(struct connection *connection)
{
    connection->state = CONNECTION_IDLE;
    if (connection->is_excess)
        refuse_plain(connection, RC_BUSY, "too many connections");
    else
        loop_deadline(connection->loop, connection, DEADLINE_IDLE);
}

void connection_events(struct connection *connection, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        connection->peer_done = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        connection->readable = true;
    switch (connection->state) {
    case CONNECTION_NEW:
        break;
    case CONNECTION_IDLE:
    case CONNECTION_HEAD:
    case CONNECTION_BODY:
        receive(connection);
        break;
    case CONNECTION_WORK:
        if (connection->peer_done)
            work_gone(connection);
        if ((events & (EPOLLHUP | EPOLLERR)) && connection->fd >= 0) {
            (void)close(connection->fd);
            connection->fd = -1;
        }
        break;
    case CONNECTION_WRITE:
        if (events & (EPOLLHUP | EPOLLERR))
            connection_close(connection);
        else if (events & EPOLLOUT)
            write_answer(connection);
        break;
    case CONNECTION_LINGER:
        linger(connection);
        break;
    }
}

void connection_mail(struct connection *connection)
{
    if (connection->state == CONNECTION_WORK)
        begin_answer(connection);
}

void connection_expired(struct connection *connection)
{
    switch (connection->state) {
    case CONNECTION_HEAD:
        refuse_plain(connection, RC_TIMEOUT, "the headers did not arrive in time");
        break;
    case CONNECTION_BODY:
        refuse_plain(connection, RC_TIMEOUT, "the body did not arrive in time");
        break;
    default:
        connection_close(connection);
        break;
    }
}
