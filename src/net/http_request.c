/* SPDX-License-Identifier: Apache-2.0
 * http_request.c - what a handler may ask about a request. */
#include "net/http_internal.h"

struct bytes http_method(const struct http_request *request) { return request->method; }

struct bytes http_path(const struct http_request *request) { return request->path; }

struct bytes http_query(const struct http_request *request) { return request->query; }

struct bytes http_body(const struct http_request *request)
{
    if (!request->was_delivered)
        return (struct bytes){0};
    return (struct bytes){request->body.data, request->body.size};
}

struct bytes http_header(const struct http_request *request, const char *name)
{
    struct bytes wanted = bytes_of(name);
    for (uint32_t i = 0; i < request->header_count; i++)
        if (bytes_equal_nocase(request->headers[i].name, wanted))
            return request->headers[i].value;
    return (struct bytes){0};
}

const char *http_peer(const struct http_request *request) { return request->connection->peer; }

uint64_t http_started_ns(const struct http_request *request) { return request->started_ns; }

void http_set_context(struct http_request *request, void *context) { request->context = context; }

void *http_context(const struct http_request *request) { return request->context; }

int http_status_sent(const struct http_request *request) { return request->status_sent; }

size_t http_bytes_sent(const struct http_request *request)
{
    size_t head_size = request->lead_size + request->text_size;
    return request->sent_size > head_size ? request->sent_size - head_size : 0;
}

size_t http_bytes_received(const struct http_request *request) { return request->body.size; }
