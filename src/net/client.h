/* SPDX-License-Identifier: Apache-2.0
 * client.h - requests to other servers, over libcurl: https with certificates checked, a deadline
 * for everything together, a cap on what is read, no redirects, no proxies from the environment, no
 * signals.
 *
 * Where a stranger chooses the URL (CLIENT_PUBLIC), the address is judged when the socket is about
 * to be opened, so that it is the one really connected to: a name that resolves to something else
 * at the second look gains nothing.
 *
 * A client is one thread's: it starts calls and drives them all with client_run(). client_wake()
 * alone may come from other threads. The caller keeps what a call points to until it is done.
 */
#ifndef NET_CLIENT_H
#define NET_CLIENT_H
#include "base/bytes.h"

#define CLIENT_URL_SIZE_MAX 2048u
#define CLIENT_HEADER_MAX   20u

enum client_reach {
    CLIENT_PUBLIC,  /* https:// to public addresses (net/address.h) */
    CLIENT_TRUSTED, /* https:// to any address, http:// to loopback ones: for settings' URLs */
    CLIENT_ANY,     /* https:// and http:// to any address */
};

/* INVALID says what the URL must be, and never holds it: a URL may carry a secret. Names are not
 * resolved; a host that is written as an address is judged. */
NODISCARD enum rc client_url_check(struct bytes url, enum client_reach reach, struct error *err);

/* "https://host:port" of a URL that passed: for logs, and to tell receivers apart. */
#define CLIENT_ORIGIN_SIZE 288u
void client_origin(struct bytes url, char into[CLIENT_ORIGIN_SIZE]);

struct client;

enum client_method { CLIENT_GET, CLIENT_HEAD, CLIENT_POST, CLIENT_PUT, CLIENT_DELETE };

struct client_call {
    /* The caller fills these. */
    struct bytes url;
    enum client_method method;
    struct bytes body;                      /* of a POST or PUT */
    const char *headers[CLIENT_HEADER_MAX]; /* "Name: value"; NULL ends them */
    uint32_t timeout_ms;                    /* of everything: names, connection, answer */
    uint32_t stall_s;                       /* given up when nothing moves for so long; 0: never */
    struct buf *answer; /* gets a 2xx answer's body, capped; NULL: it is of no interest, and the
                           status counts as soon as the headers are there */
    struct buf
        *problem;     /* gets the start of another answer's body, as far as its cap goes; or NULL */
    struct buf *head; /* gets the final answer's headers as they came; or NULL */
    void *ctx;

    /* Filled when it is done. RC_OK: the server answered, with whatever `status`. INVALID: the URL.
     * FORBIDDEN: an address out of reach. TOO_LARGE: the answer. DEADLINE, UNAVAILABLE. `err` names
     * no more of the URL than its host. */
    enum rc rc;
    int status;
    struct error err;
};

NODISCARD enum rc client_open(enum client_reach reach, struct client **ret_client,
                              struct error *err);
/* NO_MEMORY, INVALID; then the call is not under way. */
NODISCARD enum rc client_start(struct client *client, struct client_call *call, struct error *err);
/* Moves all calls on, waits up to `timeout_ms` for something to happen, and returns one call that
 * is done; NULL when there is none. */
struct client_call *client_run(struct client *client, uint32_t timeout_ms);
/* The value of a header in a call's `head`; empty when it has none such. */
struct bytes client_header(const struct buf *head, const char *name);
/* Ends the wait in client_run() soon; any thread. */
void client_wake(struct client *client);
/* Calls under way are given up without a word. NULL is fine. */
void client_free(struct client *client);
#endif
