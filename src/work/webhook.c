/* SPDX-License-Identifier: Apache-2.0
 * webhook.c - a message's form: in the outbox the URL, a line feed, and the body as it is sent. */
#include "work/webhook.h"

#include "base/clock.h"
#include "net/client.h"

#include <assert.h>

#define REAL_DIGITS 7 /* as in answers */

_Static_assert(WEBHOOK_URL_SIZE_MAX <= CLIENT_URL_SIZE_MAX, "what is taken can be called");

enum rc webhook_url_check(struct bytes url, bool internal, struct error *err)
{
    if (url.size > WEBHOOK_URL_SIZE_MAX)
        return error_set(err, RC_INVALID, "a webhook's URL has at most %u bytes",
                         WEBHOOK_URL_SIZE_MAX);
    return client_url_check(url, internal ? CLIENT_ANY : CLIENT_PUBLIC, err);
}

static int append(const char *data, size_t size, void *into)
{
    return buf_append(into, (struct bytes){(const uint8_t *)data, size}) == RC_OK ? 0 : -1;
}

enum rc webhook_message_write(struct bytes url, const char *type, uint64_t now_ms,
                              const json_t *data, struct buf *into, struct error *err)
{
    assert(into->size == 0);
    char time[CLOCK_TEXT_SIZE];
    clock_wall_text(now_ms, time);
    json_t *body =
        json_pack("{s:s, s:s, s:O}", "type", type, "timestamp", time, "data", (json_t *)data);
    if (body == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for a webhook's message");
    enum rc rc = buf_append(into, url);
    if (rc == RC_OK)
        rc = buf_append(into, bytes_of("\n"));
    if (rc == RC_OK && json_dump_callback(body, append, into,
                                          JSON_COMPACT | JSON_PRESERVE_ORDER |
                                              JSON_REAL_PRECISION(REAL_DIGITS)) != 0)
        rc = RC_TOO_LARGE;
    json_decref(body);
    if (rc == RC_OK && into->size > RESULT_PAYLOAD_SIZE_MAX)
        rc = RC_TOO_LARGE;
    return rc == RC_OK ? rc
                       : error_set(err, rc, "a webhook's message has at most %u bytes with its URL",
                                   RESULT_PAYLOAD_SIZE_MAX);
}
