/* SPDX-License-Identifier: Apache-2.0
 * http_internal.h - what the files of the HTTP server share. Seen by src/net/http_*.c and
 * their tests only.
 *
 *   http_server.c      open, accept counts, drain, free
 *   http_loop.c        one thread: epoll, accept, mailbox, deadlines
 *   http_connection.c  the state machine of one connection
 *   http_head.c        request line and headers: llhttp's callbacks and what llhttp leaves open
 *   http_body.c        body buffers: budget, pool, chunked
 *   http_answer.c      http_respond(), the head of an answer, writing it
 *   http_request.c     the accessors of http.h
 *
 * A loop owns its connections; other threads reach it through `struct loop`'s mailbox alone. A
 * connection without a request under way holds no buffer.
 */
#ifndef NET_HTTP_INTERNAL_H
#define NET_HTTP_INTERNAL_H
#include "net/http.h"

#include <llhttp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define HEADER_COUNT_MAX     100u
#define HEAD_ROOM_MIN        4096u
#define PEER_TEXT_SIZE       64u
#define ANSWER_TEXT_ROOM     768u
#define ANSWER_LEAD_SIZE     192u
#define LINGER_TIMEOUT_MS    2000u
#define LINGER_SIZE_MAX      (32u << 20) /* read and thrown away after a refusal */
#define SCRATCH_SIZE         (64u << 10)
#define REQUEST_SPARE_MAX    64u /* request structures a loop keeps for reuse */
#define BODY_CLASS_COUNT     9u  /* 4 kB ... 1 MB */
#define BODY_CLASS_SIZE_MIN  4096u
#define BODY_SPARE_COUNT_MAX 32u        /* of each class */
#define BODY_SPARE_SIZE_MAX  (4u << 20) /* body buffers a loop keeps for reuse */

/* --- body buffers ------------------------------------------------------------------------- */

/* `touched` bytes of `room` have been written to: only those are memory, and only those are
 * counted against body_memory_max, so that announcing a large body costs nobody anything. */
struct body {
    uint8_t *data;
    size_t size;
    size_t room;
    size_t touched;
};

struct body_pool {
    struct body spare[BODY_CLASS_COUNT][BODY_SPARE_COUNT_MAX];
    uint32_t spare_count[BODY_CLASS_COUNT];
    size_t spare_size; /* of all */
    size_t spare_size_max;
    atomic_size_t *used;
    size_t used_max;
};

/* Room for `size` bytes. NO_MEMORY is malloc's; the budget is not asked. */
NODISCARD enum rc body_open(struct body_pool *pool, size_t size, struct body *ret_body);
NODISCARD enum rc body_grow(struct body_pool *pool, size_t size, struct body *body);
/* Bytes up to `end` are about to be written. BUSY: the budget is used up. */
NODISCARD enum rc body_touch(struct body_pool *pool, struct body *body, size_t end);
/* Whether the budget has `size` left now; a look, not a reservation. */
bool body_affordable(const struct body_pool *pool, size_t size);
void body_free(struct body_pool *pool, struct body *body);
void body_pool_done(struct body_pool *pool);

/* --- deadlines ---------------------------------------------------------------------------- */

/* Within a class every span is the same, so a list in order of arrival is in order of time. */
enum deadline_class {
    DEADLINE_HEADER,
    DEADLINE_BODY,
    DEADLINE_IDLE,
    DEADLINE_WRITE,
    DEADLINE_LINGER,
    DEADLINE_CLASS_COUNT,
    DEADLINE_NONE = DEADLINE_CLASS_COUNT,
};

struct deadline_list {
    struct connection *first;
    struct connection *last;
    uint64_t span_ns;
};

/* --- connections -------------------------------------------------------------------------- */

enum connection_state {
    CONNECTION_NEW,    /* accepted, on its way to its loop */
    CONNECTION_IDLE,   /* no byte of a request yet */
    CONNECTION_HEAD,   /* request line and headers arrive */
    CONNECTION_BODY,   /* the body arrives */
    CONNECTION_WORK,   /* with the handler, until http_respond() */
    CONNECTION_WRITE,  /* the answer leaves */
    CONNECTION_LINGER, /* answered and half-closed: what still arrives is thrown away */
};

struct connection {
    struct loop *loop;
    struct http_request *request; /* NULL when idle */
    int fd;                       /* -1: closed while the handler works */
    enum connection_state state;
    bool readable;  /* edge-triggered: bytes may wait in the socket */
    bool peer_done; /* the peer sent FIN or is gone */
    bool is_excess; /* over connection_max: to be refused */
    enum deadline_class deadline_class;
    uint64_t deadline_ns;
    struct connection *deadline_next, *deadline_prev;
    struct connection *all_next, *all_prev;
    struct connection *mail_next;
    size_t lingered_size;
    char peer[PEER_TEXT_SIZE];
};

struct header_line {
    struct bytes name;
    struct bytes value;
};

struct http_request {
    struct connection *connection;
    struct http_request *spare_next;
    void *context;

    /* The head: raw bytes, and views of them. `head` is head_inline until that is too small. */
    llhttp_t parser;
    uint8_t *head;
    size_t head_room;
    size_t head_filled;
    size_t head_parsed;
    size_t head_size; /* 0: not complete */
    uint64_t started_ns;
    struct bytes target;
    struct bytes method, path, query;
    uint32_t header_count;
    uint8_t *joined;  /* values of names that came several times */
    enum rc wrong_rc; /* what a callback of llhttp found wrong */
    const char *wrong_text;

    bool keep_alive;
    bool is_1_0;
    bool is_head;
    bool is_chunked;
    bool is_chunked_end;
    bool wants_continue;
    bool was_seen;      /* by headers() or refuse(): finished() is due */
    bool was_delivered; /* by request(): gone() may be called */
    bool was_gone;
    bool is_refused;

    struct body body;
    size_t body_max;
    size_t body_expected; /* Content-Length */
    size_t chunked_size;  /* raw bytes, framing included */
    struct bytes ahead;   /* of the next request, in the head's or the body's buffer */

    /* The answer, written by whoever calls http_respond()... */
    atomic_bool is_answered;
    int status; /* 0: it could not be kept */
    bool has_content;
    char *text; /* the handler's header lines; answer_text unless that is too small */
    size_t text_size;
    struct buf content;
    /* ...and the loop's part of it. */
    int status_sent;
    size_t lead_size;
    size_t sent_size; /* of lead, text and content together */

    /* From here on nothing is cleared between requests but the header lines in use. */
    struct header_line headers[HEADER_COUNT_MAX];
    char lead[ANSWER_LEAD_SIZE]; /* status line and the server's own header lines */
    char answer_text[ANSWER_TEXT_ROOM];
    uint8_t head_inline[HEAD_ROOM_MIN];
};

/* --- loops and server --------------------------------------------------------------------- */

struct loop {
    struct http_server *server;
    pthread_t thread;
    bool has_thread;
    int epoll_fd;
    int wake_fd;
    bool listens;             /* the shared listening socket is in this epoll */
    bool is_draining;         /* this loop has seen the server's `draining` */
    uint64_t drain_end_ns;    /* idle connections are closed then */
    uint64_t listen_close_ns; /* draining, and the last one to listen: close then; 0: not */
    uint64_t listen_again_ns; /* out of descriptors: try again then; 0: not waiting */
    uint64_t now_ns;
    struct deadline_list deadlines[DEADLINE_CLASS_COUNT];
    struct connection *all;
    struct http_request *spare_requests;
    uint32_t spare_request_count;
    struct body_pool pool;
    uint64_t date_s;
    char date[32];
    /* Written by other threads. */
    _Alignas(64) _Atomic(struct connection *) mail; /* newest first */
    atomic_bool is_asleep;
    atomic_uint connection_count;
    _Alignas(64) uint8_t scratch[SCRATCH_SIZE];
};

struct http_server {
    struct http_config config;
    int listen_fd;
    uint16_t port;
    uint32_t refusal_max; /* connections over connection_max that still get an answer */
    atomic_size_t body_memory_used;
    atomic_uint connection_count;
    atomic_uint listening_count; /* loops that still listen, and one for the open socket */
    atomic_bool is_draining;
    atomic_bool is_stopping;
    atomic_uint linger_ms; /* written before is_draining */
    pthread_mutex_t lock;
    pthread_cond_t none_left; /* connection_count reached 0 */
    uint32_t loop_count;
    struct loop *loops[];
};

/* A server that neither listens nor has threads: loop_step() drives it (http_server.c, fuzzing). */
NODISCARD enum rc server_open_detached(const struct http_config *config,
                                       struct http_server **ret_server, struct error *err);
/* Counts a connection in. False: not even a refusal is affordable. */
bool server_connection_opened(struct http_server *server, bool *ret_refuse);
void server_connection_closed(struct http_server *server);
/* One loop less listens; true for the last one, which empties the backlog, then closes. */
bool server_listening_ended(struct http_server *server);
void server_listening_closed(struct http_server *server);

NODISCARD enum rc loop_open(struct http_server *server, struct loop **ret_loop, struct error *err);
NODISCARD enum rc loop_listen(struct loop *loop, struct error *err);
void loop_free(struct loop *loop);
void *loop_main(void *loop);
/* One round; without `may_wait` it does what there is to do and returns. */
void loop_step(struct loop *loop, bool may_wait);
/* From any thread: `connection` has news for its loop. */
void loop_post(struct loop *loop, struct connection *connection);
void loop_wake(struct loop *loop);
void loop_deadline(struct loop *loop, struct connection *connection, enum deadline_class kind);
/* A connected socket becomes a connection of the loop that has the fewest. Takes `fd`. */
void loop_adopt(struct loop *loop, int fd, const struct sockaddr_storage *peer);
void loop_connection_free(struct loop *loop, struct connection *connection);
/* NULL: out of memory. */
struct http_request *loop_request_take(struct loop *loop, struct connection *connection);
void loop_request_free(struct loop *loop, struct http_request *request);
const char *loop_date(struct loop *loop);

void connection_start(struct connection *connection);
void connection_events(struct connection *connection, uint32_t events);
void connection_mail(struct connection *connection);
void connection_expired(struct connection *connection);
void connection_close(struct connection *connection);

/* Make `request` ready for the next one, keeping the buffer of its head and what was read ahead. */
void request_reset(struct http_request *request);

/* Where to receive; `*ret_room` 0: header_max is reached. */
NODISCARD enum rc head_room(struct http_request *request, size_t header_max, uint8_t **ret_into,
                            size_t *ret_room);
/* Parse what has arrived. OK with head_size 0: more is needed. */
NODISCARD enum rc head_parse(struct http_request *request, size_t header_max, struct error *err);
/* Parse `size` raw bytes at the end of the body, in place. */
NODISCARD enum rc chunked_parse(struct http_request *request, size_t size, size_t overhead_max,
                                struct error *err);
size_t chunked_want(const struct http_request *request);

enum answer_step { ANSWER_DONE, ANSWER_BLOCKED, ANSWER_BROKEN };
void answer_start(struct http_request *request, bool keep_alive, const char *date);
enum answer_step answer_write(struct http_request *request, int fd);
void answer_done(struct http_request *request);
#endif
