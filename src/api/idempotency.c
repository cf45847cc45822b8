/* SPDX-License-Identifier: Apache-2.0 */
#include "api/idempotency.h"

#include "base/clock.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the header ------------------------------------------------------------------------------ */

static bool is_printable(uint8_t c) { return c >= 0x20 && c <= 0x7e; }

/* RFC 9651's string: in quotes, with \" and \\. */
static bool read_quoted(struct bytes text, struct buf *into)
{
    bool right = text.size >= 2 && text.data[text.size - 1] == '"';
    for (size_t i = 1; right && i + 1 < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '\\') {
            i++;
            c = text.data[i];
            right = i + 1 < text.size && (c == '\\' || c == '"');
        } else
            right = is_printable(c) && c != '"';
        right = right && buf_append(into, (struct bytes){&c, 1}) == RC_OK;
    }
    return right;
}

/* Without quotes, as many clients send it: nothing that separates fields, items or parameters. */
static bool read_bare(struct bytes text, struct buf *into)
{
    for (size_t i = 0; i < text.size; i++)
        if (!is_printable(text.data[i]) || strchr(" \",;\\", text.data[i]) != NULL)
            return false;
    return buf_append(into, text) == RC_OK;
}

enum rc idempotency_key_read(struct exchange *exchange, struct error *err)
{
    struct bytes text = http_header(exchange->http, "idempotency-key");
    struct buf *key = &exchange->idempotency_key;
    if (text.data == NULL)
        return RC_OK;
    key->size_max = RESULT_KEY_SIZE_MAX;
    bool quoted = text.size > 0 && text.data[0] == '"';
    if ((quoted ? read_quoted(text, key) : read_bare(text, key)) && key->size > 0)
        return RC_OK;
    buf_clear(key);
    return error_set(err, RC_INVALID,
                     "Idempotency-Key must be one string of 1 to %u printable ASCII characters in "
                     "quotes, such as \"8e03978e-40d5-43dd-bc93-6894a57f9324\"",
                     RESULT_KEY_SIZE_MAX);
}

enum rc idempotency_key_take(struct exchange *exchange, struct error *err)
{
    enum rc rc = idempotency_key_read(exchange, err);
    if (rc == RC_OK && exchange->idempotency_key.size > 0 && exchange->api->config.results == NULL)
        rc = error_set(err, RC_NOT_IMPLEMENTED,
                       "this server stores nothing, so it cannot know a request again; leave the "
                       "header Idempotency-Key away");
    return rc;
}

/* --- the fingerprint ------------------------------------------------------------------------- */

struct fingerprint {
    EVP_MD_CTX *digest;
    bool failed;
};

enum rc fingerprint_open(const struct exchange *exchange, struct fingerprint **ret_fingerprint,
                         struct error *err)
{
    struct fingerprint *fingerprint = calloc(1, sizeof(*fingerprint));
    if (fingerprint != NULL)
        fingerprint->digest = EVP_MD_CTX_new();
    if (fingerprint == NULL || fingerprint->digest == NULL) {
        free(fingerprint);
        return error_set(err, RC_NO_MEMORY, "no memory for the request; try again later");
    }
    fingerprint->failed = EVP_DigestInit_ex(fingerprint->digest, EVP_sha256(), NULL) != 1;
    fingerprint_add(fingerprint, bytes_of(exchange->route->method));
    fingerprint_add(fingerprint, bytes_of(exchange->route->path));
    *ret_fingerprint = fingerprint;
    return RC_OK;
}

static void add_raw(struct fingerprint *fingerprint, const void *data, size_t size)
{
    if (size > 0 && EVP_DigestUpdate(fingerprint->digest, data, size) != 1)
        fingerprint->failed = true;
}

void fingerprint_add(struct fingerprint *fingerprint, struct bytes part)
{
    fingerprint_add_number(fingerprint, part.size);
    add_raw(fingerprint, part.data, part.size);
}

void fingerprint_add_number(struct fingerprint *fingerprint, uint64_t number)
{
    uint8_t octets[8]; /* the same on every machine */
    for (size_t i = 0; i < sizeof(octets); i++)
        octets[i] = (uint8_t)(number >> (8 * i));
    add_raw(fingerprint, octets, sizeof(octets));
}

enum rc fingerprint_take(struct fingerprint *fingerprint, uint8_t into[32], struct error *err)
{
    bool right = !fingerprint->failed && EVP_DigestFinal_ex(fingerprint->digest, into, NULL) == 1;
    EVP_MD_CTX_free(fingerprint->digest);
    free(fingerprint);
    return right ? RC_OK : error_set(err, RC_INTERNAL, "SHA-256 of the request failed");
}

/* --- under the key --------------------------------------------------------------------------- */

struct keyed {
    struct claim claim;
    void (*job)(struct exchange *exchange);
    void (*again)(struct exchange *exchange);
};

void keyed_refuse(struct exchange *exchange, enum rc rc, const struct error *err,
                  uint64_t retry_at_ms)
{
    uint64_t now_ms = clock_wall_ms();
    char seconds[EXCHANGE_HEADER_SIZE];
    uint64_t wait_ms = retry_at_ms > now_ms ? retry_at_ms - now_ms : 1;
    (void)snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)(wait_ms + 999) / 1000);
    /* Those of 503 have one by themselves. */
    if (rc == RC_IN_FLIGHT || rc == RC_RATE_LIMITED)
        exchange_add_header(exchange, "Retry-After", seconds);
    exchange_fail(exchange, rc, err);
}

void keyed_complete(struct exchange *exchange)
{
    struct keyed *keyed = exchange->keyed;
    if (keyed == NULL)
        return;
    uint64_t now_ms = clock_wall_ms();
    struct error err = {0};
    /* It is about no model, but the store wants one. */
    struct result_commit commit = {
        .kind = RESULT_UNBILLED,
        .tenant = bytes_of(exchange->tenant),
        .prediction = {.request_id = keyed->claim.id,
                       .created_ms = now_ms,
                       .model = bytes_of("-"),
                       .version = bytes_of("-")},
        .idempotency_key = {exchange->idempotency_key.data, exchange->idempotency_key.size},
        .answer_until_ms = now_ms + CLAIM_KEPT_MS};
    memcpy(commit.fingerprint, keyed->claim.fingerprint, sizeof(commit.fingerprint));
    struct result_commit *one = &commit;
    enum rc rc = results_put(exchange->api->config.results, &one, 1, &err);
    /* Not written: what was done stands, and a retry does it again to the same end. */
    struct claim_outcome outcome = {.kept = rc == RC_OK && commit.rc == RC_OK};
    work_claim_end(exchange->api->config.work, &keyed->claim, &outcome);
}

/* On the admission's thread. */
static void claimed(struct claim *claim)
{
    struct exchange *exchange = claim->ctx;
    if (claim->rc != RC_OK) {
        if (claim->store_err.text[0] != '\0')
            (void)snprintf(exchange->detail, sizeof(exchange->detail), "%s", claim->store_err.text);
        keyed_refuse(exchange, claim->rc, &claim->err, claim->retry_at_ms);
        return;
    }
    if (claim->replayed)
        exchange_add_header(exchange, "Idempotency-Replayed", "true");
    store_pool_push(exchange->api->stores, exchange,
                    claim->replayed ? exchange->keyed->again : exchange->keyed->job);
}

void keyed_run(struct exchange *exchange, const uint8_t fingerprint[32],
               void (*job)(struct exchange *exchange), void (*again)(struct exchange *exchange))
{
    struct error err = {0};
    struct keyed *keyed = calloc(1, sizeof(*keyed));
    if (keyed == NULL) {
        enum rc rc = error_set(&err, RC_NO_MEMORY, "no memory for the request; try again later");
        exchange_fail(exchange, rc, &err);
        return;
    }
    exchange->keyed = keyed;
    keyed->job = job;
    keyed->again = again;
    keyed->claim = (struct claim){
        .tenant = exchange->tenant,
        .id = exchange->id,
        .idempotency_key = {exchange->idempotency_key.data, exchange->idempotency_key.size},
        .deadline_ns = clock_monotonic_ns() + exchange->api->config.request_timeout_ms * NS_PER_MS,
        .cancelled = &exchange->gone,
        .done = claimed,
        .ctx = exchange,
    };
    memcpy(keyed->claim.fingerprint, fingerprint, sizeof(keyed->claim.fingerprint));
    enum rc rc = work_claim(exchange->api->config.work, &keyed->claim, &err);
    if (rc != RC_OK)
        exchange_fail(exchange, rc, &err);
}

struct id keyed_id(const struct exchange *exchange)
{
    return exchange->keyed != NULL ? exchange->keyed->claim.id : exchange->id;
}

void keyed_done(struct exchange *exchange)
{
    struct keyed *keyed = exchange->keyed;
    if (keyed == NULL)
        return;
    /* The job failed, or was never run. */
    if (keyed->claim.hold != NULL)
        work_claim_end(exchange->api->config.work, &keyed->claim, &(struct claim_outcome){0});
    buf_done(&keyed->claim.answer);
    free(keyed);
}
