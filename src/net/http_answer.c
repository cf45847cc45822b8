/* SPDX-License-Identifier: Apache-2.0
 * http_answer.c - an answer: kept by http_respond() in the caller's thread, framed and written by
 * the loop, head and body in one system call. */
#include "net/http_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 9110, section 15; an unknown status goes without. */
static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "";
}

static char *put(char *to, const char *text, size_t size)
{
    memcpy(to, text, size);
    return to + size;
}

static char *put_line(char *to, const char *name, size_t name_size, const char *value,
                      size_t value_size)
{
    to = put(to, name, name_size);
    to = put(to, ": ", 2);
    to = put(to, value, value_size);
    return put(to, "\r\n", 2);
}

/* Copies the header lines. False: no memory. */
static bool keep_text(struct http_request *request, const struct http_response *response)
{
    static const char type_name[] = "Content-Type";
    size_t sizes[HTTP_HEADER_MAX][2];
    size_t type_size = response->content_type != NULL ? strlen(response->content_type) : 0;
    size_t room = 2 + (response->content_type != NULL ? sizeof(type_name) - 1 + type_size + 4 : 0);
    assert(response->header_count <= HTTP_HEADER_MAX);
    for (uint32_t i = 0; i < response->header_count; i++) {
        const struct http_header *header = &response->headers[i];
        sizes[i][0] = strlen(header->name);
        sizes[i][1] = strlen(header->value);
        assert(strcspn(header->name, "\r\n: ") == sizes[i][0]);
        assert(strcspn(header->value, "\r\n") == sizes[i][1]);
        room += sizes[i][0] + sizes[i][1] + 4;
    }
    request->text = room <= sizeof(request->answer_text) ? request->answer_text : malloc(room);
    if (request->text == NULL)
        return false;
    char *to = request->text;
    if (response->content_type != NULL) {
        assert(strcspn(response->content_type, "\r\n") == type_size);
        to = put_line(to, type_name, sizeof(type_name) - 1, response->content_type, type_size);
    }
    for (uint32_t i = 0; i < response->header_count; i++)
        to = put_line(to, response->headers[i].name, sizes[i][0], response->headers[i].value,
                      sizes[i][1]);
    (void)put(to, "\r\n", 2);
    request->text_size = room;
    return true;
}

void http_respond(struct http_request *request, struct http_response *response)
{
    struct connection *connection = request->connection;
    assert(!atomic_load_explicit(&request->is_answered, memory_order_relaxed));
    assert(response->status >= 200 && response->status <= 599);
    request->status = keep_text(request, response) ? response->status : 0;
    request->has_content = response->content_type != NULL;
    request->content = response->body;
    response->body = (struct buf){.size_max = response->body.size_max};
    atomic_store_explicit(&request->is_answered, true, memory_order_release);
    loop_post(connection->loop, connection);
}

void answer_start(struct http_request *request, bool keep_alive, const char *date)
{
    int status = request->status;
    bool has_length = status != 204 && status != 304;
    char length[48] = "";
    if (has_length)
        (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n",
                       request->has_content ? request->content.size : 0);
    if (!has_length || !request->has_content || request->is_head)
        buf_done(&request->content);
    const char *connection = "";
    if (!keep_alive)
        connection = "Connection: close\r\n";
    else if (request->is_1_0)
        connection = "Connection: keep-alive\r\n";
    int size = snprintf(request->lead, sizeof(request->lead), "HTTP/1.1 %d %s\r\nDate: %s\r\n%s%s",
                        status, reason_of(status), date, length, connection);
    assert(size > 0 && (size_t)size < sizeof(request->lead));
    request->lead_size = (size_t)size;
    request->sent_size = 0;
    request->status_sent = status;
}

enum answer_step answer_write(struct http_request *request, int fd)
{
    struct iovec all[3] = {
        {request->lead, request->lead_size},
        {request->text, request->text_size},
        {request->content.data, request->content.size},
    };
    size_t total = request->lead_size + request->text_size + request->content.size;
    while (request->sent_size < total) {
        struct iovec left[3];
        size_t count = 0, skip = request->sent_size;
        for (size_t i = 0; i < 3; i++) {
            if (skip >= all[i].iov_len) {
                skip -= all[i].iov_len;
                continue;
            }
            left[count++] = (struct iovec){(char *)all[i].iov_base + skip, all[i].iov_len - skip};
            skip = 0;
        }
        struct msghdr message = {.msg_iov = left, .msg_iovlen = count};
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent >= 0)
            request->sent_size += (size_t)sent;
        else if (errno == EAGAIN)
            return ANSWER_BLOCKED;
        else if (errno != EINTR)
            return ANSWER_BROKEN;
    }
    return ANSWER_DONE;
}

void answer_done(struct http_request *request)
{
    if (request->text != request->answer_text)
        free(request->text);
    request->text = NULL;
    buf_done(&request->content);
}
