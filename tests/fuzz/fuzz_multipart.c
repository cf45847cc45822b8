/* SPDX-License-Identifier: Apache-2.0
 * The first line is the content type, the rest the body. Parts are views of the body, in order and
 * without overlap; what is accepted whole is not accepted cut before its final boundary. */
#include "net/multipart.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static enum rc read_all(struct bytes type, struct bytes body, size_t *ret_end)
{
    struct multipart multipart;
    struct multipart_part part = {0};
    struct error err;
    enum rc rc = multipart_start(&multipart, type, body, &err);
    const uint8_t *last = body.data;
    bool found = true;
    while (rc == RC_OK && found) {
        rc = multipart_next(&multipart, &part, &found, &err);
        if (rc != RC_OK || !found)
            continue;
        must(part.name.data != NULL && part.name.data >= last);
        must(part.body.data >= part.name.data + part.name.size);
        must(part.body.data + part.body.size <= body.data + body.size);
        must(part.filename.data == NULL ||
             part.filename.data + part.filename.size < part.body.data);
        last = part.body.data + part.body.size;
    }
    if (rc == RC_OK)
        *ret_end = multipart.at;
    else
        must(rc == RC_INVALID && err.text[0] != '\0');
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line_end = size > 0 ? memchr(data, '\n', size) : NULL;
    if (line_end == NULL)
        return 0;
    struct bytes type = {data, (size_t)(line_end - data)};
    struct bytes body = {line_end + 1, size - type.size - 1};
    size_t end = 0, unused;
    if (read_all(type, body, &end) != RC_OK)
        return 0;
    must(end <= body.size && read_all(type, (struct bytes){body.data, end}, &unused) != RC_OK);
    return 0;
}
