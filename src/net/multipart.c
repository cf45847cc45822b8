/* SPDX-License-Identifier: Apache-2.0 */
#include "net/multipart.h"

#include <assert.h>
#include <string.h>

#define BOUNDARY_SIZE_MAX  70u   /* RFC 2046, section 5.1.1 */
#define PART_HEADERS_MAX   4096u /* bytes of one part's header lines */
#define DELIMITER_SIZE_MAX (BOUNDARY_SIZE_MAX + 4)
#define SKIP_AFTER         16u /* bytes looked at one by one before memchr() is called */

struct param {
    struct bytes name;
    struct bytes value;
    bool is_escaped; /* the value has backslashes in quotes, left as sent */
};

static void skip(struct bytes *text, size_t size)
{
    assert(size <= text->size);
    text->data += size;
    text->size -= size;
}

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t'; }

static void skip_blanks(struct bytes *text)
{
    while (text->size > 0 && is_blank(text->data[0]))
        skip(text, 1);
}

static bool starts_with(struct bytes text, const char *with)
{
    size_t size = strlen(with);
    return text.size >= size && memcmp(text.data, with, size) == 0;
}

static bool is_alnum(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool is_token_char(uint8_t c)
{
    return is_alnum(c) || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static struct bytes take_token(struct bytes *text)
{
    struct bytes token = {text->data, 0};
    while (token.size < text->size && is_token_char(text->data[token.size]))
        token.size++;
    skip(text, token.size);
    return token;
}

/* ...after an opening quote. False: there is no closing one. */
static bool take_quoted(struct bytes *text, struct param *param)
{
    size_t size = 0;
    while (size < text->size && text->data[size] != '"') {
        if (text->data[size] == '\\') {
            param->is_escaped = true;
            size++;
        }
        size++;
    }
    if (size >= text->size)
        return false;
    param->value = (struct bytes){text->data, size};
    skip(text, size + 1);
    return true;
}

/* Takes `; name=value` off `rest`; `*ret_found` false at its end. False: malformed. */
static bool take_param(struct bytes *rest, struct param *ret_param, bool *ret_found)
{
    *ret_found = false;
    skip_blanks(rest);
    if (rest->size == 0)
        return true;
    if (rest->data[0] != ';')
        return false;
    skip(rest, 1);
    skip_blanks(rest);
    if (rest->size == 0)
        return true; /* a trailing semicolon */
    struct param param = {.name = take_token(rest)};
    if (param.name.size == 0 || rest->size == 0 || rest->data[0] != '=')
        return false;
    skip(rest, 1);
    if (rest->size > 0 && rest->data[0] == '"') {
        skip(rest, 1);
        if (!take_quoted(rest, &param))
            return false;
    } else {
        /* More than a token: programs send unquoted boundaries and names with '/', ':' or '='. */
        param.value = (struct bytes){rest->data, 0};
        while (param.value.size < rest->size && !is_blank(rest->data[param.value.size]) &&
               strchr(";\"", rest->data[param.value.size]) == NULL)
            param.value.size++;
        if (param.value.size == 0)
            return false;
        skip(rest, param.value.size);
    }
    *ret_param = param;
    *ret_found = true;
    return true;
}

static bool is_boundary(struct bytes text)
{
    if (text.size == 0 || text.size > BOUNDARY_SIZE_MAX || text.data[text.size - 1] == ' ')
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] == 0 ||
            (!is_alnum(text.data[i]) && strchr("'()+_,-./:=? ", text.data[i]) == NULL))
            return false;
    return true;
}

/* Where the delimiter (CRLF "--" boundary) begins at or after `from`; SIZE_MAX: nowhere. */
static size_t find_delimiter(const struct multipart *multipart, size_t from)
{
    if (multipart->body.size == 0) /* there may be no memory behind it */
        return SIZE_MAX;
    uint8_t needle[DELIMITER_SIZE_MAX] = "\r\n--";
    const size_t size = 4 + multipart->boundary.size;
    memcpy(needle + 4, multipart->boundary.data, multipart->boundary.size);
    /* Not memmem(), and not memchr() for each CR: bodies made for it take those 10 ns a byte. */
    if (multipart->body.size - from < size)
        return SIZE_MAX;
    const uint8_t *at = multipart->body.data + from;
    const uint8_t *last = multipart->body.data + multipart->body.size - size;
    for (uint32_t plain = 0; at <= last; at++) {
        if (*at != '\r' && ++plain < SKIP_AFTER)
            continue;
        if (*at != '\r')
            at = memchr(at, '\r', (size_t)(last - at) + 1);
        if (at == NULL)
            break;
        plain = 0;
        if (memcmp(at, "\r\n--", 4) == 0 && memcmp(at, needle, size) == 0)
            return (size_t)(at - multipart->body.data);
    }
    return SIZE_MAX;
}

static enum rc find_first(struct multipart *multipart, struct error *err)
{
    struct bytes start = multipart->body;
    if (starts_with(start, "--")) {
        skip(&start, 2);
        if (start.size >= multipart->boundary.size &&
            memcmp(start.data, multipart->boundary.data, multipart->boundary.size) == 0) {
            multipart->at = 2 + multipart->boundary.size;
            return RC_OK;
        }
    }
    size_t at = find_delimiter(multipart, 0); /* after a preamble, which is ignored */
    if (at == SIZE_MAX)
        return error_set(err, RC_INVALID, "the multipart boundary '%.*s' is not in the body",
                         (int)multipart->boundary.size, (const char *)multipart->boundary.data);
    multipart->at = at + 4 + multipart->boundary.size;
    return RC_OK;
}

enum rc multipart_start(struct multipart *multipart, struct bytes content_type, struct bytes body,
                        struct error *err)
{
    static const char type[] = "multipart/form-data";
    struct bytes rest = content_type;
    struct param param;
    bool found = false;
    *multipart = (struct multipart){.body = body};
    skip_blanks(&rest);
    if (rest.size < sizeof(type) - 1 ||
        !bytes_equal_nocase((struct bytes){rest.data, sizeof(type) - 1}, bytes_of(type)))
        return error_set(err, RC_INVALID, "the content type is not %s", type);
    skip(&rest, sizeof(type) - 1);
    do {
        if (!take_param(&rest, &param, &found))
            return error_set(err, RC_INVALID, "the content type %s is malformed", type);
        if (!found || !bytes_equal_nocase(param.name, bytes_of("boundary")))
            continue;
        if (multipart->boundary.size > 0)
            return error_set(err, RC_INVALID, "%s with two boundaries", type);
        if (param.is_escaped || !is_boundary(param.value))
            return error_set(err, RC_INVALID, "%s needs a boundary of 1 to %u legal characters",
                             type, BOUNDARY_SIZE_MAX);
        multipart->boundary = param.value;
    } while (found);
    if (multipart->boundary.size == 0)
        return error_set(err, RC_INVALID, "%s without a boundary", type);
    return find_first(multipart, err);
}

static enum rc broken(const struct multipart *multipart, const uint8_t *at, const char *what,
                      struct error *err)
{
    return error_set(err, RC_INVALID, "multipart body, byte %zu: %s",
                     (size_t)(at - multipart->body.data), what);
}

struct part_seen {
    bool disposition, content_type, encoding;
};

static enum rc read_disposition(const struct multipart *multipart, struct bytes value,
                                struct multipart_part *part, struct error *err)
{
    struct bytes rest = value;
    struct param param;
    bool found = false;
    if (!bytes_equal_nocase(take_token(&rest), bytes_of("form-data")))
        return broken(multipart, value.data, "the disposition is not form-data", err);
    do {
        if (!take_param(&rest, &param, &found))
            return broken(multipart, value.data, "Content-Disposition is malformed", err);
        bool is_name = found && bytes_equal_nocase(param.name, bytes_of("name"));
        bool is_filename = found && bytes_equal_nocase(param.name, bytes_of("filename"));
        if ((is_name && part->name.data != NULL) || (is_filename && part->filename.data != NULL))
            return broken(multipart, value.data, "a doubled name or filename", err);
        if (is_name)
            part->name = param.value;
        if (is_filename)
            part->filename = param.value;
    } while (found);
    if (part->name.data == NULL)
        return broken(multipart, value.data, "a part without a name", err);
    return RC_OK;
}

static enum rc read_header(const struct multipart *multipart, struct bytes line,
                           struct part_seen *seen, struct multipart_part *part, struct error *err)
{
    for (size_t i = 0; i < line.size; i++)
        if ((line.data[i] < ' ' && line.data[i] != '\t') || line.data[i] == 0x7f)
            return broken(multipart, line.data + i, "a control character in a header", err);
    struct bytes value = line;
    struct bytes name = take_token(&value);
    if (name.size == 0 || value.size == 0 || value.data[0] != ':')
        return broken(multipart, line.data, "a header line must be 'Name: value'", err);
    skip(&value, 1);
    skip_blanks(&value);
    while (value.size > 0 && is_blank(value.data[value.size - 1]))
        value.size--;
    bool *was_seen = NULL;
    if (bytes_equal_nocase(name, bytes_of("content-disposition")))
        was_seen = &seen->disposition;
    else if (bytes_equal_nocase(name, bytes_of("content-type")))
        was_seen = &seen->content_type;
    else if (bytes_equal_nocase(name, bytes_of("content-transfer-encoding")))
        was_seen = &seen->encoding;
    if (was_seen == NULL)
        return RC_OK;
    if (*was_seen)
        return broken(multipart, line.data, "a doubled header", err);
    *was_seen = true;
    if (was_seen == &seen->disposition)
        return read_disposition(multipart, value, part, err);
    if (was_seen == &seen->content_type)
        part->content_type = value;
    else if (!bytes_equal_nocase(value, bytes_of("binary")) &&
             !bytes_equal_nocase(value, bytes_of("8bit")) &&
             !bytes_equal_nocase(value, bytes_of("7bit")))
        return broken(multipart, line.data, "send the part as binary, not in a transfer encoding",
                      err);
    return RC_OK;
}

/* Takes the header lines and the empty line off `rest`. */
static enum rc read_headers(const struct multipart *multipart, struct bytes *rest,
                            struct multipart_part *part, struct error *err)
{
    const uint8_t *start = rest->data;
    struct part_seen seen = {0};
    for (;;) {
        size_t room = PART_HEADERS_MAX - (size_t)(rest->data - start);
        size_t size = rest->size < room ? rest->size : room;
        const uint8_t *end = memmem(rest->data, size, "\r\n", 2);
        if (end == NULL)
            return broken(multipart, rest->data,
                          size < room ? "the part's headers do not end"
                                      : "the part's headers are over 4096 bytes",
                          err);
        struct bytes line = {rest->data, (size_t)(end - rest->data)};
        skip(rest, line.size + 2);
        if (line.size == 0)
            break;
        enum rc rc = read_header(multipart, line, &seen, part, err);
        if (rc != RC_OK)
            return rc;
    }
    return seen.disposition ? RC_OK : broken(multipart, start, "a part without a name", err);
}

enum rc multipart_next(struct multipart *multipart, struct multipart_part *ret_part,
                       bool *ret_found, struct error *err)
{
    *ret_found = false;
    if (multipart->ended)
        return RC_OK;
    struct bytes rest = multipart->body;
    skip(&rest, multipart->at);
    bool is_last = starts_with(rest, "--");
    if (is_last)
        skip(&rest, 2);
    skip_blanks(&rest);
    if (is_last && (rest.size == 0 || starts_with(rest, "\r\n"))) {
        multipart->ended = true; /* an epilogue is ignored */
        return RC_OK;
    }
    if (is_last || !starts_with(rest, "\r\n"))
        return broken(multipart, rest.data, "a boundary must be followed by a line break", err);
    skip(&rest, 2);
    struct multipart_part part = {0};
    enum rc rc = read_headers(multipart, &rest, &part, err);
    if (rc != RC_OK)
        return rc;
    /* The empty line's CRLF may be the delimiter's as well: a part without a body. */
    size_t body_at = (size_t)(rest.data - multipart->body.data);
    size_t end = find_delimiter(multipart, body_at - 2);
    if (end == SIZE_MAX)
        return broken(multipart, rest.data, "the final boundary is missing", err);
    part.body = (struct bytes){rest.data, end > body_at ? end - body_at : 0};
    multipart->at = end + 4 + multipart->boundary.size;
    *ret_part = part;
    *ret_found = true;
    return RC_OK;
}
