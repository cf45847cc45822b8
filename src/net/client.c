/* SPDX-License-Identifier: Apache-2.0
 * client.c - calls over a libcurl multi handle. */
#include "net/client.h"
#include "net/address.h"
#include "net/client_url.h"

#include <assert.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define CONNECT_TIMEOUT_MS 10000L
#define DISCARD_MAX        (64u << 10) /* of an answer that is of no interest, to keep the connection */
#define IDLE_MAX           32L         /* connections that are kept */
#define HEADER_SIZE_MAX    (32u << 10)

struct transfer {
    struct client *client;
    struct client_call *call;
    struct transfer *prev;
    struct transfer *next;
    CURL *easy;
    struct curl_slist *headers;
    struct client_url url;
    size_t header_size;
    size_t discarded;
    bool headers_done; /* of the final answer, not of a 1xx */
    bool refused;      /* an address was out of reach */
    bool too_large;
};

struct client {
    CURLM *multi;
    enum client_reach reach;
    struct transfer *first;
};

static CURLcode global_code;

static void global_init(void) { global_code = curl_global_init(CURL_GLOBAL_DEFAULT); }

enum rc client_open(enum client_reach reach, struct client **ret_client, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, global_init);
    struct client *client = calloc(1, sizeof(*client));
    if (client != NULL && global_code == CURLE_OK)
        client->multi = curl_multi_init();
    if (client == NULL || client->multi == NULL) {
        free(client);
        return error_set(err, RC_NO_MEMORY, "no memory for requests to other servers");
    }
    (void)curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, IDLE_MAX);
    client->reach = reach;
    *ret_client = client;
    return RC_OK;
}

/* --- what libcurl calls ---------------------------------------------------------------------- */

static bool in_reach(const struct transfer *transfer, const struct curl_sockaddr *address)
{
    switch (transfer->client->reach) {
    case CLIENT_PUBLIC:
        return address_is_public(&address->addr, address->addrlen);
    case CLIENT_TRUSTED:
        return !transfer->url.plain || address_is_loopback(&address->addr, address->addrlen);
    case CLIENT_ANY:
        break;
    }
    return true;
}

static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct transfer *transfer = ctx;
    if (purpose != CURLSOCKTYPE_IPCXN || !in_reach(transfer, address)) {
        transfer->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t on_header(char *data, size_t one, size_t size, void *ctx)
{
    struct transfer *transfer = ctx;
    long status = 0;
    (void)one;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    transfer->header_size += size;
    if (transfer->header_size > HEADER_SIZE_MAX) {
        transfer->too_large = true;
        return 0;
    }
    struct buf *head = transfer->call->head;
    if (head != NULL && status >= 200 &&
        buf_append(head, (struct bytes){(const uint8_t *)data, size}) != RC_OK) {
        transfer->too_large = true;
        return 0;
    }
    if (status >= 200 && size > 0 && (data[0] == '\r' || data[0] == '\n')) {
        transfer->headers_done = true;
        transfer->call->status = (int)status;
    }
    return size;
}

static size_t on_body(char *data, size_t one, size_t size, void *ctx)
{
    struct transfer *transfer = ctx;
    struct client_call *call = transfer->call;
    (void)one;
    if (call->answer != NULL && call->status / 100 == 2) {
        if (buf_append(call->answer, (struct bytes){(const uint8_t *)data, size}) == RC_OK)
            return size;
        transfer->too_large = true;
        return 0;
    }
    struct buf *problem = call->problem;
    if (problem != NULL && call->status / 100 != 2) {
        size_t room = problem->size_max - problem->size;
        (void)!buf_append(problem,
                          (struct bytes){(const uint8_t *)data, size < room ? size : room});
    }
    transfer->discarded += size;
    return transfer->discarded <= DISCARD_MAX ? size : 0;
}

/* --- calls ----------------------------------------------------------------------------------- */

static void transfer_free(struct transfer *transfer)
{
    struct client *client = transfer->client;
    (void)curl_multi_remove_handle(client->multi, transfer->easy);
    curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->headers);
    if (transfer->prev != NULL)
        transfer->prev->next = transfer->next;
    else
        client->first = transfer->next;
    if (transfer->next != NULL)
        transfer->next->prev = transfer->prev;
    free(transfer);
}

static bool add_headers(struct transfer *transfer)
{
    const struct client_call *call = transfer->call;
    /* No "100 Continue" dance: it costs a round trip and, with some receivers, a second. */
    bool typed = false;
    for (size_t i = 0; i < CLIENT_HEADER_MAX + 2; i++) {
        const char *text = i < CLIENT_HEADER_MAX ? call->headers[i] : NULL;
        if (i == CLIENT_HEADER_MAX)
            text = "Expect:";
        else if (i > CLIENT_HEADER_MAX && !typed)
            text = "Content-Type:"; /* else libcurl makes one up */
        if (text == NULL)
            continue;
        typed = typed || strncasecmp(text, "Content-Type:", 13) == 0;
        struct curl_slist *longer = curl_slist_append(transfer->headers, text);
        if (longer == NULL)
            return false;
        transfer->headers = longer;
    }
    return true;
}

static bool set_options(struct transfer *transfer, const char *url)
{
    const struct client_call *call = transfer->call;
    CURL *easy = transfer->easy;
    bool fine = true;
#define SET(option, value)                                                                         \
    fine = fine && curl_easy_setopt(easy, CURLOPT_##option, value) == CURLE_OK
    SET(URL, url);
    SET(PROTOCOLS_STR, "http,https");
    SET(FOLLOWLOCATION, 0L);
    SET(PROXY, "");
    SET(NOPROXY, "*");
    SET(NOSIGNAL, 1L);
    SET(TIMEOUT_MS, (long)call->timeout_ms);
    SET(CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    SET(LOW_SPEED_LIMIT, call->stall_s > 0 ? 1L : 0L);
    SET(LOW_SPEED_TIME, (long)call->stall_s);
    SET(QUICK_EXIT, 1L); /* a name server that does not answer holds nobody else */
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(USERAGENT, "imago");
    SET(HTTPHEADER, transfer->headers);
    SET(OPENSOCKETFUNCTION, on_socket);
    SET(OPENSOCKETDATA, transfer);
    SET(HEADERFUNCTION, on_header);
    SET(HEADERDATA, transfer);
    SET(WRITEFUNCTION, on_body);
    SET(WRITEDATA, transfer);
    SET(PRIVATE, transfer);
    if (call->method == CLIENT_HEAD)
        SET(NOBODY, 1L);
    if (call->method == CLIENT_DELETE)
        SET(CUSTOMREQUEST, "DELETE");
    if (call->method == CLIENT_POST || call->method == CLIENT_PUT) {
        SET(POST, 1L);
        if (call->method == CLIENT_PUT)
            SET(CUSTOMREQUEST, "PUT");
        SET(POSTFIELDS, call->body.size > 0 ? (const char *)call->body.data : "");
        SET(POSTFIELDSIZE_LARGE, (curl_off_t)call->body.size);
    }
#undef SET
    return fine;
}

enum rc client_start(struct client *client, struct client_call *call, struct error *err)
{
    assert(call->timeout_ms > 0);
    char url[CLIENT_URL_SIZE_MAX + 1];
    enum rc rc = client_url_check(call->url, client->reach, err);
    if (rc != RC_OK)
        return rc;
    struct transfer *transfer = calloc(1, sizeof(*transfer));
    if (transfer == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for a request");
    call->status = 0;
    call->err = (struct error){0};
    transfer->client = client;
    transfer->call = call;
    transfer->next = client->first;
    if (client->first != NULL)
        client->first->prev = transfer;
    client->first = transfer;
    transfer->easy = curl_easy_init();
    rc = client_url_read(call->url, &transfer->url, err);
    memcpy(url, call->url.data, call->url.size);
    url[call->url.size] = '\0';
    if (rc == RC_OK &&
        (transfer->easy == NULL || !add_headers(transfer) || !set_options(transfer, url) ||
         curl_multi_add_handle(client->multi, transfer->easy) != CURLM_OK))
        rc = error_set(err, RC_NO_MEMORY, "no memory for a request");
    if (rc != RC_OK)
        transfer_free(transfer);
    return rc;
}

static enum rc outcome(const struct transfer *transfer, CURLcode code, struct error *err)
{
    const struct client_call *call = transfer->call;
    const char *host = transfer->url.host;
    if (code == CURLE_OK)
        return RC_OK;
    /* However the rest was cut off. */
    if (transfer->headers_done && (call->answer == NULL || call->status / 100 != 2))
        return RC_OK;
    if (transfer->too_large)
        return error_set(err, RC_TOO_LARGE, "%.100s: the answer is too large", host);
    if (transfer->refused && code == CURLE_COULDNT_CONNECT)
        return error_set(err, RC_FORBIDDEN, "%.100s: its address may not be connected to", host);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return error_set(err, RC_DEADLINE, "%.100s: no answer in time", host);
    return error_set(err, RC_UNAVAILABLE, "%.100s: %s", host, curl_easy_strerror(code));
}

static struct client_call *take_done(struct client *client)
{
    CURLMsg *message;
    int left = 0;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct transfer *transfer = NULL;
        CURLcode code = message->data.result;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        struct client_call *call = transfer->call;
        call->rc = outcome(transfer, code, &call->err);
        transfer_free(transfer);
        return call;
    }
    return NULL;
}

struct client_call *client_run(struct client *client, uint32_t timeout_ms)
{
    int running = 0;
    struct client_call *done = take_done(client);
    if (done != NULL)
        return done;
    (void)curl_multi_perform(client->multi, &running);
    done = take_done(client);
    if (done != NULL)
        return done;
    (void)curl_multi_poll(client->multi, NULL, 0, (int)timeout_ms, NULL);
    (void)curl_multi_perform(client->multi, &running);
    return take_done(client);
}

struct bytes client_header(const struct buf *head, const char *name)
{
    const uint8_t *at = head->data;
    const uint8_t *end = at != NULL ? at + head->size : NULL;
    size_t size = strlen(name);
    while (at < end) {
        const uint8_t *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end != NULL ? line_end : end;
        if ((size_t)(line_end - at) > size && at[size] == ':' &&
            strncasecmp((const char *)at, name, size) == 0) {
            const uint8_t *value = at + size + 1;
            const uint8_t *last = line_end;
            while (value < last && (*value == ' ' || *value == '\t'))
                value++;
            while (last > value && last[-1] <= ' ')
                last--;
            return (struct bytes){value, (size_t)(last - value)};
        }
        at = line_end + 1;
    }
    return (struct bytes){0};
}

void client_wake(struct client *client) { (void)curl_multi_wakeup(client->multi); }

void client_free(struct client *client)
{
    if (client == NULL)
        return;
    struct transfer *next = NULL;
    for (struct transfer *at = client->first; at != NULL; at = next) {
        next = at->next;
        transfer_free(at);
    }
    (void)curl_multi_cleanup(client->multi);
    free(client);
}
