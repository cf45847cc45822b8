/* SPDX-License-Identifier: Apache-2.0
 * http_head.c - the request line and headers, and chunked bodies. llhttp (all leniency off) reads
 * the grammar; what it leaves open is decided here: versions, Host, target forms, lengths, codings.
 *
 * The head is one contiguous buffer, so what llhttp reports in pieces is always a view of it. */
#include "net/http_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct http_request *request_of(llhttp_t *parser) { return parser->data; }

static void extend(struct bytes *view, const char *at, size_t size)
{
    if (view->data == NULL)
        view->data = (const uint8_t *)at;
    view->size += size;
}

static int wrong(struct http_request *request, enum rc rc, const char *text)
{
    request->wrong_rc = rc;
    request->wrong_text = text;
    return HPE_USER;
}

static int on_method(llhttp_t *parser, const char *at, size_t size)
{
    extend(&request_of(parser)->method, at, size);
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t size)
{
    extend(&request_of(parser)->target, at, size);
    return 0;
}

static int on_version_complete(llhttp_t *parser)
{
    if (parser->http_major != 1 || parser->http_minor > 1)
        return wrong(request_of(parser), RC_HTTP_VERSION, "HTTP/1.0 or HTTP/1.1 was expected");
    return 0;
}

static int on_protocol(llhttp_t *parser, const char *at, size_t size)
{
    /* llhttp also knows RTSP and ICE, which begin otherwise. */
    if (size > 0 && at[0] != 'H' && at[0] != 'T' && at[0] != 'P')
        return wrong(request_of(parser), RC_INVALID, "the protocol is not HTTP");
    return 0;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t size)
{
    struct http_request *request = request_of(parser);
    if (request->head_size != 0)
        return 0; /* trailers: bounded by the chunked overhead, and dropped */
    if (request->header_count == HEADER_COUNT_MAX)
        return wrong(request, RC_HEADERS_LARGE, "more than 100 header lines");
    extend(&request->headers[request->header_count].name, at, size);
    return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t size)
{
    struct http_request *request = request_of(parser);
    if (request->head_size == 0)
        extend(&request->headers[request->header_count].value, at, size);
    return 0;
}

static int on_header_value_complete(llhttp_t *parser)
{
    struct http_request *request = request_of(parser);
    if (request->head_size != 0)
        return 0;
    struct bytes *value = &request->headers[request->header_count].value;
    if (value->data == NULL)
        value->data = request->headers[request->header_count].name.data; /* empty, not absent */
    while (value->size > 0 && strchr(" \t", value->data[value->size - 1]) != NULL)
        value->size--;
    request->header_count++;
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    parser->upgrade = 0; /* an offer to leave HTTP/1.1 may be ignored (RFC 9110, 7.8) */
    return HPE_PAUSED;
}

static int on_chunk_header(llhttp_t *parser)
{
    struct http_request *request = request_of(parser);
    if (parser->content_length > request->body_max - request->body.size)
        return wrong(request, RC_TOO_LARGE, "the chunked body is over the limit");
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t size)
{
    struct http_request *request = request_of(parser);
    struct body *body = &request->body;
    if (size > request->body_max - body->size)
        return wrong(request, RC_TOO_LARGE, "the chunked body is over the limit");
    /* The raw bytes begin at or after the end of the body: what is moved only goes down. */
    memmove(body->data + body->size, at, size);
    body->size += size;
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    request_of(parser)->is_chunked_end = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_method = on_method,
    .on_url = on_url,
    .on_protocol = on_protocol,
    .on_version_complete = on_version_complete,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_chunk_header = on_chunk_header,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void request_reset(struct http_request *request)
{
    struct connection *connection = request->connection;
    uint8_t *head = request->head;
    size_t head_room = request->head_room;
    size_t ahead_size = request->ahead.size;
    if (head == NULL || (head != request->head_inline && ahead_size <= HEAD_ROOM_MIN)) {
        if (ahead_size > 0)
            memcpy(request->head_inline, request->ahead.data, ahead_size);
        free(head);
        head = request->head_inline;
        head_room = HEAD_ROOM_MIN;
    } else if (ahead_size > 0) {
        memmove(head, request->ahead.data, ahead_size);
    }
    free(request->joined);
    if (connection != NULL)
        body_free(&connection->loop->pool, &request->body);
    uint32_t used = request->header_count + 1;
    memset(request->headers, 0,
           sizeof(request->headers[0]) * (used < HEADER_COUNT_MAX ? used : HEADER_COUNT_MAX));
    memset(request, 0, offsetof(struct http_request, headers));
    request->connection = connection;
    request->head = head;
    request->head_room = head_room;
    request->head_filled = ahead_size;
    llhttp_init(&request->parser, HTTP_REQUEST, &settings);
    request->parser.data = request;
}

static void rebase(struct bytes *view, const uint8_t *from, const uint8_t *to)
{
    if (view->data != NULL)
        view->data = to + (view->data - from);
}

enum rc head_room(struct http_request *request, size_t header_max, uint8_t **ret_into,
                  size_t *ret_room)
{
    if (request->head_filled == request->head_room && request->head_room < header_max) {
        size_t room = request->head_room * 2 < header_max ? request->head_room * 2 : header_max;
        uint8_t *grown = malloc(room);
        if (grown == NULL)
            return RC_NO_MEMORY;
        memcpy(grown, request->head, request->head_filled);
        rebase(&request->method, request->head, grown);
        rebase(&request->target, request->head, grown);
        for (uint32_t i = 0; i <= request->header_count && i < HEADER_COUNT_MAX; i++) {
            rebase(&request->headers[i].name, request->head, grown);
            rebase(&request->headers[i].value, request->head, grown);
        }
        if (request->head != request->head_inline)
            free(request->head);
        request->head = grown;
        request->head_room = room;
    }
    *ret_into = request->head + request->head_filled;
    *ret_room = request->head_room - request->head_filled;
    return RC_OK;
}

static const struct header_line *find_line(const struct http_request *request, const char *name,
                                           uint32_t *ret_count)
{
    struct bytes wanted = bytes_of(name);
    const struct header_line *found = NULL;
    *ret_count = 0;
    for (uint32_t i = 0; i < request->header_count; i++) {
        if (!bytes_equal_nocase(request->headers[i].name, wanted))
            continue;
        if (found == NULL)
            found = &request->headers[i];
        ++*ret_count;
    }
    return found;
}

/* llhttp skips blanks around the target; a request line has one on either side. */
static bool is_request_line(const struct http_request *request)
{
    static const char after[] = " HTTP/1.";
    struct bytes target = request->target;
    return target.size > 0 && target.data == request->method.data + request->method.size + 1 &&
           memcmp(target.data + target.size, after, sizeof(after) - 1) == 0;
}

static enum rc check_target(struct http_request *request, struct error *err)
{
    struct bytes target = request->target;
    if (!is_request_line(request))
        return error_set(err, RC_INVALID, "the request line has more blanks than two");
    for (size_t i = 0; i < target.size; i++)
        if (target.data[i] <= ' ' || target.data[i] >= 0x7f || target.data[i] == '#')
            return error_set(err, RC_INVALID, "byte 0x%02x in the request target", target.data[i]);
    const uint8_t *end = target.data + target.size;
    const uint8_t *path = target.data;
    if (target.size >= 7 && bytes_equal_nocase((struct bytes){path, 7}, bytes_of("http://")))
        path += 7;
    else if (target.size >= 8 && bytes_equal_nocase((struct bytes){path, 8}, bytes_of("https://")))
        path += 8;
    if (path != target.data) { /* absolute-form: the authority is Host's, skip it */
        const uint8_t *authority = path;
        while (path < end && *path != '/' && *path != '?')
            path++;
        if (path == authority)
            return error_set(err, RC_INVALID, "the request target has an empty host");
    } else if (bytes_equal(target, bytes_of("*"))) {
        if (!bytes_equal(request->method, bytes_of("OPTIONS")))
            return error_set(err, RC_INVALID, "the target * is for OPTIONS alone");
    } else if (target.size == 0 || target.data[0] != '/') {
        return error_set(err, RC_INVALID, "the request target must begin with '/'");
    }
    const uint8_t *mark = memchr(path, '?', (size_t)(end - path));
    request->path = (struct bytes){path, (size_t)((mark != NULL ? mark : end) - path)};
    if (request->path.size == 0)
        request->path = bytes_of("/");
    if (mark != NULL)
        request->query = (struct bytes){mark + 1, (size_t)(end - mark - 1)};
    return RC_OK;
}

static enum rc check_host(struct http_request *request, struct error *err)
{
    uint32_t count;
    const struct header_line *host = find_line(request, "host", &count);
    if (count > 1)
        return error_set(err, RC_INVALID, "%u Host headers", count);
    if (count == 0)
        return request->is_1_0 ? RC_OK : error_set(err, RC_INVALID, "no Host header");
    for (size_t i = 0; i < host->value.size; i++) {
        uint8_t c = host->value.data[i];
        bool is_alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (c == 0 || (!is_alnum && strchr("-._~%!$&'()*+;=:[]", c) == NULL))
            return error_set(err, RC_INVALID, "byte 0x%02x in the Host header", c);
    }
    return RC_OK;
}

/* 1 to 18 digits: no sign, no list, no blank, and no overflow. */
static enum rc parse_length(struct bytes text, size_t *ret_length, struct error *err)
{
    size_t length = 0;
    if (text.size == 0 || text.size > 18)
        return error_set(err, RC_INVALID, "Content-Length of %zu digits", text.size);
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return error_set(err, RC_INVALID, "Content-Length is not a number");
        length = length * 10 + (size_t)(text.data[i] - '0');
    }
    *ret_length = length;
    return RC_OK;
}

/* llhttp refuses most of these; the rules that smuggling depends on do not rest on it alone. */
static enum rc check_framing(struct http_request *request, struct error *err)
{
    uint32_t length_count, coding_count;
    const struct header_line *length = find_line(request, "content-length", &length_count);
    const struct header_line *coding = find_line(request, "transfer-encoding", &coding_count);
    if (length_count + coding_count > 1)
        return error_set(err, RC_INVALID, "%u Content-Length and %u Transfer-Encoding headers",
                         length_count, coding_count);
    if (length != NULL)
        return parse_length(length->value, &request->body_expected, err);
    if (coding == NULL)
        return RC_OK;
    if (request->is_1_0)
        return error_set(err, RC_INVALID, "Transfer-Encoding in HTTP/1.0");
    if (!bytes_equal_nocase(coding->value, bytes_of("chunked")))
        return error_set(err, RC_NOT_IMPLEMENTED, "the only transfer coding is chunked");
    if ((request->parser.flags & F_CHUNKED) == 0)
        return error_set(err, RC_INVALID, "Transfer-Encoding is malformed");
    request->is_chunked = true;
    return RC_OK;
}

static enum rc check_expect(struct http_request *request, struct error *err)
{
    uint32_t count;
    const struct header_line *expect = find_line(request, "expect", &count);
    if (expect == NULL || request->is_1_0)
        return RC_OK;
    if (count > 1 || !bytes_equal_nocase(expect->value, bytes_of("100-continue")))
        return error_set(err, RC_EXPECTATION, "the only expectation is 100-continue");
    request->wants_continue = request->is_chunked || request->body_expected > 0;
    return RC_OK;
}

/* Lines of one name become one value at the first of them. Rare, so that it may allocate. */
static enum rc join_lines(struct http_request *request)
{
    bool repeats = false;
    size_t room = 0;
    for (uint32_t i = 0; i < request->header_count; i++) {
        room += request->headers[i].value.size + 2;
        for (uint32_t j = 0; j < i && !repeats; j++)
            repeats = bytes_equal_nocase(request->headers[i].name, request->headers[j].name);
    }
    if (!repeats)
        return RC_OK;
    uint8_t *to = request->joined = malloc(room);
    if (to == NULL)
        return RC_NO_MEMORY;
    for (uint32_t i = 0; i < request->header_count; i++) {
        struct header_line *line = &request->headers[i];
        if (line->name.size == 0)
            continue;
        uint8_t *start = to;
        memcpy(to, line->value.data, line->value.size);
        to += line->value.size;
        for (uint32_t j = i + 1; j < request->header_count; j++) {
            struct header_line *again = &request->headers[j];
            if (!bytes_equal_nocase(again->name, line->name))
                continue;
            *to++ = ',';
            *to++ = ' ';
            memcpy(to, again->value.data, again->value.size);
            to += again->value.size;
            again->name.size = 0;
        }
        line->value = (struct bytes){start, (size_t)(to - start)};
    }
    return RC_OK;
}

static enum rc check(struct http_request *request, struct error *err)
{
    const llhttp_t *parser = &request->parser;
    if (parser->http_major != 1 || parser->http_minor > 1)
        return error_set(err, RC_HTTP_VERSION, "HTTP/1.0 or HTTP/1.1 was expected");
    request->is_1_0 = parser->http_minor == 0;
    request->keep_alive = request->is_1_0 ? (parser->flags & F_CONNECTION_KEEP_ALIVE) != 0
                                          : (parser->flags & F_CONNECTION_CLOSE) == 0;
    request->is_head = bytes_equal(request->method, bytes_of("HEAD"));
    if (bytes_equal(request->method, bytes_of("CONNECT")))
        return error_set(err, RC_NOT_IMPLEMENTED, "CONNECT: this is no proxy");
    enum rc rc = check_target(request, err);
    if (rc == RC_OK)
        rc = check_host(request, err);
    if (rc == RC_OK)
        rc = check_framing(request, err);
    if (rc == RC_OK)
        rc = check_expect(request, err);
    if (rc == RC_OK && (rc = join_lines(request)) != RC_OK)
        (void)error_set(err, rc, "joining headers");
    return rc;
}

static enum rc refuse(struct http_request *request, llhttp_errno_t code, size_t at,
                      struct error *err)
{
    const llhttp_t *parser = &request->parser;
    if (code == HPE_USER || request->wrong_rc != RC_OK)
        return error_set(err, request->wrong_rc, "%s", request->wrong_text);
    const char *reason = parser->reason != NULL && parser->reason[0] != '\0'
                             ? parser->reason
                             : llhttp_errno_name(code);
    enum rc rc = RC_INVALID;
    if (code == HPE_PAUSED_H2_UPGRADE ||
        (code == HPE_INVALID_VERSION && strncmp(reason, "Invalid", strlen("Invalid")) == 0))
        rc = RC_HTTP_VERSION; /* and not what follows it */
    else if (code == HPE_INVALID_METHOD && at < request->head_filled && request->head[at] >= 'A' &&
             request->head[at] <= 'Z')
        rc = RC_NOT_IMPLEMENTED;
    return error_set(err, rc, "byte %zu: %s", at, reason);
}

enum rc head_parse(struct http_request *request, size_t header_max, struct error *err)
{
    const char *from = (const char *)request->head + request->head_parsed;
    llhttp_errno_t code =
        llhttp_execute(&request->parser, from, request->head_filled - request->head_parsed);
    request->head_parsed = request->head_filled;
    if (code == HPE_OK) {
        if (request->head_filled >= header_max)
            return error_set(err, RC_HEADERS_LARGE, "more than %zu bytes of headers", header_max);
        return RC_OK;
    }
    const char *stop = llhttp_get_error_pos(&request->parser);
    size_t at = stop != NULL ? (size_t)(stop - (const char *)request->head) : 0;
    if (code != HPE_PAUSED)
        return refuse(request, code, at, err);
    /* llhttp stops at the last line feed of the head, or right after it. */
    if (request->head[at - 1] != '\n')
        at++;
    assert(at >= 4 && at <= request->head_filled && request->head[at - 1] == '\n');
    if (at > header_max)
        return error_set(err, RC_HEADERS_LARGE, "more than %zu bytes of headers", header_max);
    request->head_size = at;
    request->ahead = (struct bytes){request->head + at, request->head_filled - at};
    return check(request, err);
}

size_t chunked_want(const struct http_request *request)
{
    /* What the current chunk still holds, and enough for the framing around it. More than that
     * would read deep into the next request. */
    size_t left = request->body_max - request->body.size;
    uint64_t chunk = request->parser.content_length;
    return (chunk < left ? (size_t)chunk : left) + HEAD_ROOM_MIN / 2;
}

enum rc chunked_parse(struct http_request *request, size_t size, size_t overhead_max,
                      struct error *err)
{
    const char *raw = (const char *)request->body.data + request->body.size;
    request->chunked_size += size;
    if (llhttp_get_errno(&request->parser) == HPE_PAUSED)
        llhttp_resume(&request->parser);
    llhttp_errno_t code = llhttp_execute(&request->parser, raw, size);
    if (code == HPE_PAUSED && request->is_chunked_end) {
        const char *stop = llhttp_get_error_pos(&request->parser);
        if (stop < raw + size && stop[-1] != '\n')
            stop++;
        request->ahead = (struct bytes){(const uint8_t *)stop, (size_t)(raw + size - stop)};
        return RC_OK;
    }
    if (code != HPE_OK)
        return refuse(request, code, SIZE_MAX, err);
    /* One-byte chunks are legal and five bytes of framing each; endless extensions are not. */
    size_t overhead = request->chunked_size - request->body.size;
    if (overhead > overhead_max && overhead - overhead_max > request->body.size * 16)
        return error_set(err, RC_INVALID, "the chunks are mostly framing");
    return RC_OK;
}
