/* SPDX-License-Identifier: Apache-2.0
 * http.h - an HTTP/1.1 server (RFC 9110, RFC 9112): strict framing, deadlines, disconnects.
 *
 * Parsing is llhttp's; sockets, limits and time are ours, on epoll. A loop thread never blocks and
 * never does the caller's work: a request is handed over whole, and answered later from any thread.
 *
 * Every byte is hostile: headers, body and connections are bounded in size, number and time.
 * Ambiguous framing (two lengths, a length and chunked, a bare CR, a space before the colon...) is
 * refused and the connection closed. A peer that goes away is noticed at once, also while its
 * request is being worked on.
 *
 * It knows no routes and writes no error text: `struct http_handler` does.
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H
#include "base/bytes.h"

struct http_server;
struct http_request;

/* All calls may look at the request; none may block. */
struct http_handler {
    /* The headers are there, the body is not. Say how large the body may be, or refuse: then
     * `refuse` is called, the answer is sent and the connection closed without reading on (after a
     * short bounded drain, so that the client can read the answer). Runs on the loop thread. */
    enum rc (*headers)(void *ctx, struct http_request *request, size_t *ret_body_max,
                       struct error *err);
    /* The request is complete. http_respond() must follow exactly once, from any thread. */
    void (*request)(void *ctx, struct http_request *request);
    /* The client went away before http_respond(): cancel the work. The request stays valid until
     * http_respond(), which must still follow; another thread may be in it at this moment. FIN
     * counts as going away, because HTTP clients do not half-close; should the answer nevertheless
     * come, it is sent. Loop thread. */
    void (*gone)(void *ctx, struct http_request *request);
    /* Answer a request that is refused by `headers` or by the server itself (framing, size, time,
     * full) with http_respond(), before returning. Method and path may be empty. Loop thread. */
    void (*refuse)(void *ctx, struct http_request *request, enum rc rc, const struct error *err);
    /* The answer was written, or could not be; for the access log and for freeing the context. Last
     * call about a request, exactly once for each request that `headers` or `refuse` saw. Loop
     * thread. */
    void (*finished)(void *ctx, struct http_request *request);
};

struct http_config {
    const char *listen;         /* HOST:PORT, [::1]:PORT; port 0 takes a free one */
    uint32_t loop_count;        /* event-loop threads */
    uint32_t connection_max;    /* more are accepted and closed at once with `refuse` BUSY */
    size_t header_max;          /* request line and headers together */
    size_t body_memory_max;     /* bodies of all connections together; more is BUSY */
    uint32_t header_timeout_ms; /* first byte of a request -> end of its headers */
    uint32_t body_timeout_ms;   /* end of headers -> end of body */
    uint32_t idle_timeout_ms;   /* between requests of one connection */
    uint32_t write_timeout_ms;  /* an answer must be taken in this time */
    const struct http_handler *handler;
    void *ctx;
};

/* Whether a server could listen there now. UNAVAILABLE, perhaps since somebody does already. */
NODISCARD enum rc http_listen_try(const char *listen, bool *ret_in_use, struct error *err);

/* Calls of the handler begin before this returns; `*ret_server` is set before the first. */
NODISCARD enum rc http_server_open(const struct http_config *config,
                                   struct http_server **ret_server, struct error *err);
uint16_t http_server_port(const struct http_server *server);
uint32_t http_server_connection_count(const struct http_server *server);
/* Stop accepting, once the backlog is empty; answers carry `Connection: close`; idle connections
 * may still send one request within `linger_ms`, then they are closed. Returns at once. For a
 * restart that loses nothing, make readiness fail first, and let `linger_ms` be longer than the
 * proxy takes to notice. */
void http_server_drain(struct http_server *server, uint32_t linger_ms);
/* Wait until no connection is left, `timeout_ms` at most. True: none is. */
bool http_server_wait(struct http_server *server, uint32_t timeout_ms);
/* Closes what is left. No request may be unanswered any more. NULL is fine. */
void http_server_free(struct http_server *server);

/* Borrowed views, valid until `finished`. */
struct bytes http_method(const struct http_request *request);
struct bytes http_path(const struct http_request *request);  /* as sent, up to '?' */
struct bytes http_query(const struct http_request *request); /* after '?', as sent; may be empty */
struct bytes http_body(const struct http_request *request);  /* whole; empty before `request` */
/* The value without surrounding blanks; several lines of one name are joined by ", ". Absent:
 * data is NULL. Names compare without case. */
struct bytes http_header(const struct http_request *request, const char *name);
const char *http_peer(const struct http_request *request);    /* "203.0.113.7:4711" */
uint64_t http_started_ns(const struct http_request *request); /* first byte, monotonic */
void http_set_context(struct http_request *request, void *context);
void *http_context(const struct http_request *request);

struct http_header {
    const char *name;
    const char *value;
};
#define HTTP_HEADER_MAX 16
struct http_response {
    int status;
    const char *content_type; /* NULL: no body */
    struct http_header headers[HTTP_HEADER_MAX];
    uint32_t header_count;
    struct buf body; /* moved into the server; HEAD sends its length alone */
};
/* From any thread, exactly once. Names and values are copied. Content-Length, Date and Connection
 * are the server's. A header value with CR, LF or NUL is a programmer's error (assert). */
void http_respond(struct http_request *request, struct http_response *response);

/* For `finished`. */
int http_status_sent(const struct http_request *request);       /* 0: none was */
size_t http_bytes_sent(const struct http_request *request);     /* of the body */
size_t http_bytes_received(const struct http_request *request); /* of the body */
#endif
