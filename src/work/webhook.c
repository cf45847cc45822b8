/* SPDX-License-Identifier: Apache-2.0
 * webhook.c - a message's form (in the outbox: the URL, a line feed, and the body as it is sent),
 * its signature, and when it is tried again. */
#include "work/webhook.h"
#include "work/webhook_form.h"

#include "base/clock.h"
#include "net/client.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

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

enum rc webhook_message_read(struct bytes payload, struct bytes *ret_url, struct bytes *ret_body,
                             struct error *err)
{
    const uint8_t *end = payload.size > 0 ? memchr(payload.data, '\n', payload.size) : NULL;
    if (end == NULL)
        return error_set(err, RC_INVALID, "the stored message is damaged");
    size_t size = (size_t)(end - payload.data);
    *ret_url = (struct bytes){payload.data, size};
    *ret_body = (struct bytes){end + 1, payload.size - size - 1};
    return RC_OK;
}

enum rc webhook_sign(struct bytes secret, struct bytes content, char into[WEBHOOK_SIGNATURE_SIZE],
                     struct error *err)
{
    static const char version[] = "v1,";
    uint8_t digest[32];
    unsigned size = 0;
    _Static_assert(WEBHOOK_SIGNATURE_SIZE == sizeof(version) + (sizeof(digest) + 2) / 3 * 4,
                   "the size of a signature's text");
    if (HMAC(EVP_sha256(), secret.data, (int)secret.size, content.data, content.size, digest,
             &size) == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for a signature");
    memcpy(into, version, sizeof(version) - 1);
    (void)EVP_EncodeBlock((uint8_t *)into + sizeof(version) - 1, digest, sizeof(digest));
    return RC_OK;
}

bool webhook_retry_after(uint64_t age_ms, uint32_t attempt, uint32_t random, uint64_t *ret_wait_ms)
{
    static const uint32_t steps_s[] = {5,         5 * 60,    30 * 60,   2 * 3600, 5 * 3600,
                                       10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600};
    const uint32_t count = sizeof(steps_s) / sizeof(steps_s[0]);
    uint32_t step = 0;
    for (uint64_t due_ms = steps_s[0] * 1000ull; step + 1 < attempt && due_ms <= age_ms;)
        if (++step < count)
            due_ms += steps_s[step] * 1000ull;
        else
            return false;
    uint64_t wait_ms = steps_s[step] * 1000ull;
    *ret_wait_ms = wait_ms + random % (wait_ms / 10 + 1);
    return true;
}
