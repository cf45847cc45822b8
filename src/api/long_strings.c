/* SPDX-License-Identifier: Apache-2.0 */
#include "api/long_strings.h"

#include <stdlib.h>
#include <string.h>

#define LONG_SIZE_MIN (16u << 10) /* longer than any other string that is accepted */
#define TEXT_SIZE_MAX (8u << 20)
/* A tree of small values takes twenty times its text: the marks outside strings bound it. */
#define MARK_COUNT_MAX 4096u
/* A name is this character, which a client can only write as an escape, and a number. A client that
 * does so names its own picture. */
#define NAME_MARK 1

/* The quote that ends the string which begins at `at`; NULL: none does. */
static const uint8_t *string_end(const uint8_t *at, const uint8_t *end)
{
    for (const uint8_t *from = at + 1;;) {
        const uint8_t *quote = memchr(from, '"', (size_t)(end - from));
        if (quote == NULL)
            return NULL;
        const uint8_t *slash = quote;
        while (slash > from && slash[-1] == '\\')
            slash--;
        if ((quote - slash) % 2 == 0)
            return quote;
        from = quote + 1;
    }
}

/* Line breaks and tabs are illegal in a JSON string, though not in base64: the parser must see
 * them. */
static bool is_plain(struct bytes string)
{
    static const char special[] = {'\\', '\n', '\r', '\t'};
    for (size_t i = 0; i < sizeof(special); i++)
        if (memchr(string.data, special[i], string.size) != NULL)
            return false;
    return true;
}

static enum rc copy(struct long_strings *strings, const uint8_t *from, const uint8_t *to)
{
    return buf_append(&strings->text, (struct bytes){from, (size_t)(to - from)});
}

static enum rc cut(struct bytes json, uint32_t count_max, struct long_strings *strings,
                   struct error *err)
{
    const uint8_t *end = json.data + json.size;
    const uint8_t *kept = json.data; /* copied up to here */
    size_t mark_count = 0;
    enum rc rc = RC_OK;
    for (const uint8_t *at = json.data; at < end && rc == RC_OK; at++) {
        if (*at == ',' || *at == ':' || *at == '[' || *at == '{')
            mark_count++;
        if (*at != '"')
            continue;
        const uint8_t *quote = string_end(at, end);
        if (quote == NULL)
            break; /* the parser says where */
        struct bytes string = {at + 1, (size_t)(quote - at) - 1};
        at = quote;
        if (string.size < LONG_SIZE_MIN || !is_plain(string))
            continue;
        if (strings->count == count_max)
            return error_set(err, RC_TOO_LARGE, "over %u pictures in one request", count_max);
        rc = copy(strings, kept, string.data);
        if (rc == RC_OK)
            rc = buf_printf(&strings->text, "\\u%04x%u", NAME_MARK, strings->count);
        strings->strings[strings->count++] = string;
        kept = quote;
    }
    if (rc == RC_OK)
        rc = copy(strings, kept, end);
    if (rc == RC_OK && mark_count > MARK_COUNT_MAX)
        return error_set(err, RC_TOO_LARGE,
                         "the JSON has over %u values; it needs one for each picture",
                         MARK_COUNT_MAX);
    if (rc == RC_TOO_LARGE)
        return error_set(err, rc,
                         "the JSON is over %u bytes besides its pictures; send base64 without "
                         "escapes, or multipart/form-data",
                         TEXT_SIZE_MAX);
    return rc == RC_OK ? RC_OK : error_set(err, rc, "no memory for the request; try again later");
}

enum rc long_strings_cut(struct bytes json, uint32_t count_max, struct long_strings *ret_strings,
                         struct error *err)
{
    struct long_strings strings = {.text = BUF_INIT(TEXT_SIZE_MAX),
                                   .strings = calloc(count_max, sizeof(struct bytes))};
    if (strings.strings == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the request; try again later");
    enum rc rc = cut(json, count_max, &strings, err);
    if (rc == RC_OK)
        *ret_strings = strings;
    else
        long_strings_done(&strings);
    return rc;
}

struct bytes long_strings_value(const struct long_strings *strings, const json_t *string)
{
    const char *text = json_string_value(string);
    size_t size = json_string_length(string);
    if (size >= 2 && size <= 6 && text[0] == NAME_MARK &&
        strspn(text + 1, "0123456789") == size - 1) {
        unsigned long index = strtoul(text + 1, NULL, 10);
        if (index < strings->count)
            return strings->strings[index];
    }
    return (struct bytes){(const uint8_t *)text, size};
}

void long_strings_done(struct long_strings *strings)
{
    buf_done(&strings->text);
    free(strings->strings);
    strings->strings = NULL;
}
