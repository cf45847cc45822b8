/* SPDX-License-Identifier: Apache-2.0
 * auth.c - the bearer header, scopes and limits of a request, and the thread that keeps the
 * accounts: open mode's end, when keys were last used, reservations that ran out. */
#include "api/exchange.h"

#include "base/clock.h"
#include "telemetry/log.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_MS 1000u
#define REALM   "Bearer realm=\"imago\""

struct auth {
    struct account *account; /* NULL: open mode for good, and no limits */
    struct results *results; /* NULL: what was reserved and not settled goes back */
    struct limits *limits;
    atomic_bool is_open;
    pthread_t keeper;
    bool has_keeper;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t ended;
    bool ending;
    struct account_identity open_identity;
};

/* --- the keeper ------------------------------------------------------------------------------ */

static void keep_open_mode(struct auth *auth)
{
    bool ever = false;
    struct account_identity identity;
    struct error err = {0};
    if (account_ever(auth->account, &ever, &err) == RC_OK && ever) {
        atomic_store(&auth->is_open, false);
        log_event(LOG_INFO, "authentication is on", NULL);
    } else if (account_open_identity(auth->account, &identity, &err) == RC_OK) {
        pthread_mutex_lock(&auth->lock);
        auth->open_identity = identity;
        pthread_mutex_unlock(&auth->lock);
    }
}

static enum rc find_in_ledger(void *ctx, const char *tenant, struct id request,
                              uint64_t image_count, uint64_t *ret_image_count,
                              uint64_t *ret_committed_ms, struct error *err)
{
    struct auth *auth = ctx;
    uint32_t count = image_count < RESULTS_INDEX_MAX ? (uint32_t)image_count : RESULTS_INDEX_MAX;
    return results_ledger_find(auth->results, bytes_of(tenant), request, count, ret_image_count,
                               ret_committed_ms, err);
}

static void keep_accounts(struct auth *auth)
{
    const struct account_ledger ledger = {find_in_ledger, auth};
    struct error err = {0};
    bool more = true;
    enum rc rc = RC_OK;
    for (uint32_t round = 0; more && rc == RC_OK && round < 16; round++)
        rc = account_maintain(auth->account, auth->results != NULL ? &ledger : NULL,
                              clock_wall_ms(), &more, &err);
    if (rc != RC_OK)
        log_event(LOG_WARNING, "accounts", json_pack("{s:s}", "detail", err.text));
}

static void *keeper_main(void *argument)
{
    struct auth *auth = argument;
    uint64_t due_ns = clock_monotonic_ns();
    pthread_mutex_lock(&auth->lock);
    while (!auth->ending) {
        due_ns += KEEP_MS * NS_PER_MS;
        struct timespec due = {.tv_sec = (time_t)(due_ns / NS_PER_S),
                               .tv_nsec = (long)(due_ns % NS_PER_S)};
        while (!auth->ending &&
               pthread_cond_timedwait(&auth->ended, &auth->lock, &due) != ETIMEDOUT)
            ;
        if (auth->ending)
            break;
        pthread_mutex_unlock(&auth->lock);
        if (atomic_load(&auth->is_open))
            keep_open_mode(auth);
        keep_accounts(auth);
        due_ns = clock_monotonic_ns();
        pthread_mutex_lock(&auth->lock);
    }
    pthread_mutex_unlock(&auth->lock);
    return NULL;
}

static enum rc open_accounts(struct auth *auth, struct error *err)
{
    bool ever = false;
    enum rc rc = account_ever(auth->account, &ever, err);
    if (rc == RC_OK)
        rc = account_open_identity(auth->account, &auth->open_identity, err);
    struct limits_config limits = {0};
    if (rc == RC_OK)
        rc = limits_open(&limits, &auth->limits, err);
    if (rc != RC_OK)
        return rc;
    atomic_store(&auth->is_open, !ever);
    int failed = pthread_create(&auth->keeper, NULL, keeper_main, auth);
    auth->has_keeper = failed == 0;
    return failed == 0 ? RC_OK
                       : error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed));
}

enum rc auth_open(struct account *account, struct results *results, struct auth **ret_auth,
                  struct error *err)
{
    struct auth *auth = calloc(1, sizeof(*auth));
    if (auth == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for authentication");
    auth->account = account;
    auth->results = results;
    atomic_store(&auth->is_open, true);
    auth->open_identity =
        (struct account_identity){.tenant = ACCOUNT_TENANT_DEFAULT, .scopes = SCOPE_ALL};
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&auth->lock, NULL);
    (void)pthread_cond_init(&auth->ended, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    enum rc rc = account != NULL ? open_accounts(auth, err) : RC_OK;
    if (rc != RC_OK) {
        auth_free(auth);
        return rc;
    }
    *ret_auth = auth;
    return RC_OK;
}

void auth_free(struct auth *auth)
{
    if (auth == NULL)
        return;
    pthread_mutex_lock(&auth->lock);
    auth->ending = true;
    pthread_cond_signal(&auth->ended);
    pthread_mutex_unlock(&auth->lock);
    if (auth->has_keeper)
        pthread_join(auth->keeper, NULL);
    limits_free(auth->limits);
    pthread_cond_destroy(&auth->ended);
    pthread_mutex_destroy(&auth->lock);
    free(auth);
}

/* --- who ------------------------------------------------------------------------------------- */

static enum rc refuse(struct exchange *exchange, enum auth_challenge challenge, enum rc rc,
                      const char *text, struct error *err)
{
    exchange->auth.challenge = challenge;
    return error_set(err, rc, "%s", text);
}

static bool is_bearer(struct bytes header)
{
    static const char scheme[] = "bearer";
    size_t size = sizeof(scheme) - 1;
    return header.size >= size &&
           bytes_equal_nocase((struct bytes){header.data, size}, bytes_of(scheme)) &&
           (header.size == size || header.data[size] == ' ');
}

/* RFC 6750's b64token. Two header fields come joined by ", ", which is none. */
static bool is_token(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (!isalnum(text.data[i]) && strchr("-._~+/=", text.data[i]) == NULL)
            return false;
    return text.size > 0 && memchr(text.data, '\0', text.size) == NULL;
}

static enum rc authenticate(struct exchange *exchange, struct bytes header, struct error *err)
{
    struct auth *auth = exchange->api->auth;
    struct bytes token = {header.data + strlen("bearer"), header.size - strlen("bearer")};
    while (token.size > 0 && token.data[0] == ' ')
        token = (struct bytes){token.data + 1, token.size - 1};
    if (!is_token(token))
        return refuse(exchange, CHALLENGE_MALFORMED, RC_INVALID,
                      "send one header 'Authorization: Bearer <key>' with one key", err);
    struct error why = {0};
    enum rc rc =
        account_authenticate(auth->account, token, clock_wall_ms(), &exchange->identity, &why);
    if (rc == RC_OK) {
        atomic_store(&auth->is_open, false);
        return RC_OK;
    }
    if (rc == RC_UNAUTHENTICATED)
        return refuse(exchange, CHALLENGE_WRONG, rc, why.text, err);
    /* The text names files, which are the log's business alone. */
    (void)snprintf(exchange->detail, sizeof(exchange->detail), "%s", why.text);
    return error_set(err, rc, "the key cannot be checked at the moment; try again later");
}

static enum rc identify(struct exchange *exchange, struct error *err)
{
    struct auth *auth = exchange->api->auth;
    struct bytes header = http_header(exchange->http, "authorization");
    bool bearer = is_bearer(header);
    if (bearer && auth->account != NULL)
        return authenticate(exchange, header, err);
    if (atomic_load(&auth->is_open)) {
        pthread_mutex_lock(&auth->lock);
        exchange->identity = auth->open_identity;
        pthread_mutex_unlock(&auth->lock);
        return RC_OK;
    }
    return refuse(exchange, CHALLENGE_MISSING, RC_UNAUTHENTICATED,
                  header.data == NULL
                      ? "send a key in the header 'Authorization: Bearer imago_...'"
                      : "only bearer keys are taken: 'Authorization: Bearer imago_...'",
                  err);
}

/* --- how much -------------------------------------------------------------------------------- */

/* UINT64_MAX: not known before the body (chunked). */
static uint64_t content_length(const struct exchange *exchange)
{
    struct bytes text = http_header(exchange->http, "content-length");
    if (text.data == NULL)
        return http_header(exchange->http, "transfer-encoding").data != NULL ? UINT64_MAX : 0;
    uint64_t length = 0;
    /* The HTTP server has refused what is no number. */
    for (size_t i = 0; i < text.size; i++)
        if (__builtin_mul_overflow(length, 10u, &length) ||
            __builtin_add_overflow(length, (uint64_t)(text.data[i] - '0'), &length))
            return UINT64_MAX;
    return length;
}

static enum rc limit(struct exchange *exchange, size_t body_max, struct error *err)
{
    struct auth_state *state = &exchange->auth;
    uint64_t length = content_length(exchange);
    struct limits_request request = {
        .key = exchange->identity.key,
        /* A body over the limit will not be read. */
        .bytes = length <= body_max ? length : 0,
        /* One at least; how many there are is known when the body has been read. What had been done
         * before needs none. */
        .images = exchange->route->handler == route_predict &&
                  http_header(exchange->http, "idempotency-key").data == NULL,
        .monotonic_ns = clock_monotonic_ns(),
        .wall_ms = clock_wall_ms(),
    };
    state->ticket = limits_admit(exchange->api->auth->limits, &exchange->identity.rule, &request,
                                 &state->verdict);
    if (state->verdict.refusal != LIMITS_PASS)
        return error_set(err, RC_RATE_LIMITED, "%s", limits_refusal_text(state->verdict.refusal));
    state->images_charged = state->ticket != NULL ? request.images : 0;
    return RC_OK;
}

enum rc auth_admit(struct exchange *exchange, size_t body_max, struct error *err)
{
    uint32_t scope = exchange->route->scope;
    if (scope == SCOPE_NONE)
        return RC_OK;
    enum rc rc = identify(exchange, err);
    if (rc == RC_OK && exchange->api->auth->limits != NULL)
        rc = limit(exchange, body_max, err);
    if (rc != RC_OK || (exchange->identity.scopes & scope) != 0)
        return rc;
    char text[ACCOUNT_SCOPES_TEXT_SIZE];
    account_scopes_text(scope, text);
    exchange->auth.challenge = CHALLENGE_SCOPE;
    return error_set(err, RC_FORBIDDEN, "this needs a key with the scope '%s'", text);
}

void auth_body_received(struct exchange *exchange)
{
    if (exchange->auth.ticket != NULL && content_length(exchange) == UINT64_MAX)
        limits_charge(exchange->api->auth->limits, exchange->auth.ticket,
                      http_body(exchange->http).size, 0);
}

void auth_images_found(struct exchange *exchange, uint32_t count)
{
    struct auth_state *state = &exchange->auth;
    if (state->ticket == NULL || count <= state->images_charged)
        return;
    limits_charge(exchange->api->auth->limits, state->ticket, 0, count - state->images_charged);
    state->images_charged = count;
}

void auth_images_left(struct exchange *exchange, uint64_t count)
{
    exchange->auth.verdict.images.remaining = count;
}

/* Pictures that were labelled; all else is free. */
static uint64_t images_used(const struct exchange *exchange)
{
    const struct work_request *work = atomic_load(&exchange->work);
    if (work == NULL || exchange->rc != RC_OK || work->replayed)
        return 0;
    uint64_t count = 0;
    for (uint32_t i = 0; i < work->image_count; i++)
        count += work->results[i].task.rc == RC_OK;
    return count;
}

void auth_finished(struct exchange *exchange)
{
    struct auth_state *state = &exchange->auth;
    if (state->ticket == NULL)
        return;
    uint64_t used = images_used(exchange);
    limits_release(exchange->api->auth->limits, state->ticket,
                   state->images_charged > used ? state->images_charged - used : 0);
    state->ticket = NULL;
}

/* --- what the answer says -------------------------------------------------------------------- */

static void challenge_fill(const struct exchange *exchange, char *into, size_t size)
{
    char scopes[ACCOUNT_SCOPES_TEXT_SIZE];
    switch (exchange->auth.challenge) {
    case CHALLENGE_NONE:
        break;
    case CHALLENGE_MISSING:
        (void)snprintf(into, size, REALM);
        break;
    case CHALLENGE_MALFORMED:
        (void)snprintf(into, size, REALM ", error=\"invalid_request\"");
        break;
    case CHALLENGE_WRONG:
        (void)snprintf(into, size, REALM ", error=\"invalid_token\"");
        break;
    case CHALLENGE_SCOPE:
        account_scopes_text(exchange->route->scope, scopes);
        (void)snprintf(into, size, REALM ", error=\"insufficient_scope\", scope=\"%s\"", scopes);
        break;
    }
}

static void limits_fill(enum rc (*print)(const struct limits_verdict *verdict, struct buf *into),
                        const struct limits_verdict *verdict, char into[AUTH_FIELD_SIZE])
{
    struct buf text = BUF_INIT(AUTH_FIELD_SIZE);
    if (print(verdict, &text) == RC_OK)
        (void)snprintf(into, AUTH_FIELD_SIZE, "%.*s", (int)text.size, (const char *)text.data);
    buf_done(&text);
}

void auth_fields_fill(const struct exchange *exchange, struct auth_fields *fields)
{
    const struct limits_verdict *verdict = &exchange->auth.verdict;
    fields->challenge[0] = fields->policy[0] = fields->state[0] = fields->retry_after[0] = '\0';
    challenge_fill(exchange, fields->challenge, sizeof(fields->challenge));
    if (exchange->auth.ticket != NULL || verdict->refusal != LIMITS_PASS) {
        limits_fill(limits_policy_field, verdict, fields->policy);
        limits_fill(limits_state_field, verdict, fields->state);
    }
    if (verdict->refusal != LIMITS_PASS)
        (void)snprintf(fields->retry_after, sizeof(fields->retry_after), "%u",
                       verdict->retry_after_s);
}
