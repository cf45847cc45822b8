/* SPDX-License-Identifier: Apache-2.0 */
#include "net/aws_call.h"
#include "net/aws_xml.h"

#include "base/clock.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define ATTEMPT_MAX      6u
#define PAUSE_FIRST_MS   100u
#define PAUSE_MS_MAX     5000u
#define STALL_S          5u
#define IDLE_CLIENT_MAX  8u
#define FLIGHT_MAX       64u
#define HEAD_SIZE_MAX    (32u << 10)
#define PROBLEM_SIZE_MAX (8u << 10)
#define ORIGIN_SIZE      512u
#define HEADER_COUNT_MAX (AWS_CALL_HEADER_MAX + 5u)

struct aws {
    struct aws_credentials *credentials;
    char service[32];
    char name[32];
    char region[AWS_REGION_SIZE];
    char origin[ORIGIN_SIZE];
    char host[ORIGIN_SIZE]; /* as libcurl says it: without the port that the scheme has anyway */
    uint32_t parallel_max;
    pthread_mutex_t mutex; /* of what follows */
    struct client *idle[IDLE_CLIENT_MAX];
    uint32_t idle_count;
};

/* One attempt of a call. */
struct flight {
    struct client_call http;
    struct aws_call *call;
    char url[CLIENT_URL_SIZE_MAX + 1];
    char *lines[HEADER_COUNT_MAX + 1];
    struct buf problem;
    uint32_t generation; /* of its credentials */
    bool used;
};

static void set_host(struct aws *aws)
{
    const char *slashes = strstr(aws->origin, "//");
    const char *usual = strncmp(aws->origin, "https:", 6) == 0 ? ":443" : ":80";
    (void)snprintf(aws->host, sizeof(aws->host), "%s", slashes != NULL ? slashes + 2 : aws->origin);
    size_t size = strlen(aws->host), port = strlen(usual);
    if (size > port && strcmp(aws->host + size - port, usual) == 0)
        aws->host[size - port] = '\0';
}

enum rc aws_open(const struct aws_config *config, struct aws **ret_aws, struct error *err)
{
    assert(config->parallel_max > 0 && config->parallel_max <= FLIGHT_MAX);
    struct aws *aws = calloc(1, sizeof(*aws));
    if (aws == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for %s", config->name);
    (void)pthread_mutex_init(&aws->mutex, NULL);
    (void)snprintf(aws->service, sizeof(aws->service), "%s", config->service);
    (void)snprintf(aws->name, sizeof(aws->name), "%s", config->name);
    (void)snprintf(aws->region, sizeof(aws->region), "%s", config->region);
    (void)snprintf(aws->origin, sizeof(aws->origin), "%s", config->origin);
    set_host(aws);
    aws->parallel_max = config->parallel_max;
    enum rc rc = aws_credentials_open(&aws->credentials, err);
    if (rc != RC_OK) {
        aws_free(aws);
        return rc;
    }
    *ret_aws = aws;
    return RC_OK;
}

void aws_free(struct aws *aws)
{
    if (aws == NULL)
        return;
    for (uint32_t i = 0; i < aws->idle_count; i++)
        client_free(aws->idle[i]);
    aws_credentials_free(aws->credentials);
    (void)pthread_mutex_destroy(&aws->mutex);
    free(aws);
}

enum rc aws_check_credentials(struct aws *aws, struct error *err)
{
    struct aws_keys keys;
    enum rc rc = aws_credentials_get(aws->credentials, clock_wall_ms(), &keys, err);
    if (rc == RC_OK)
        aws_keys_wipe(&keys);
    return rc;
}

/* A client keeps its connections from one run to the next. */
static enum rc client_take(struct aws *aws, struct client **ret_client, struct error *err)
{
    struct client *client = NULL;
    (void)pthread_mutex_lock(&aws->mutex);
    if (aws->idle_count > 0)
        client = aws->idle[--aws->idle_count];
    (void)pthread_mutex_unlock(&aws->mutex);
    if (client == NULL) {
        enum rc rc = client_open(CLIENT_ANY, &client, err);
        if (rc != RC_OK)
            return rc;
    }
    *ret_client = client;
    return RC_OK;
}

static void client_give(struct aws *aws, struct client *client)
{
    (void)pthread_mutex_lock(&aws->mutex);
    if (aws->idle_count < IDLE_CLIENT_MAX) {
        aws->idle[aws->idle_count++] = client;
        client = NULL;
    }
    (void)pthread_mutex_unlock(&aws->mutex);
    client_free(client);
}

/* --- one attempt ----------------------------------------------------------------------------- */

static void flight_done(struct flight *flight)
{
    for (size_t i = 0; flight->lines[i] != NULL; i++) {
        OPENSSL_cleanse(flight->lines[i], strlen(flight->lines[i]));
        free(flight->lines[i]);
    }
    buf_done(&flight->problem);
    memset(flight, 0, sizeof(*flight));
}

static enum rc add_line(struct flight *flight, const char *name, const char *value)
{
    size_t at = 0;
    while (flight->lines[at] != NULL)
        at++;
    assert(at < HEADER_COUNT_MAX);
    size_t size = strlen(name) + strlen(value) + 3;
    flight->lines[at] = malloc(size);
    if (flight->lines[at] == NULL)
        return RC_NO_MEMORY;
    (void)snprintf(flight->lines[at], size, "%s: %s", name, value);
    flight->http.headers[at] = flight->lines[at];
    return RC_OK;
}

static const char *method_text(enum client_method method)
{
    static const char *const texts[] = {[CLIENT_GET] = "GET",
                                        [CLIENT_HEAD] = "HEAD",
                                        [CLIENT_POST] = "POST",
                                        [CLIENT_PUT] = "PUT",
                                        [CLIENT_DELETE] = "DELETE"};
    return texts[method];
}

static enum rc payload_text(const struct aws_call *call, char into[AWS_HASH_TEXT_SIZE])
{
    uint8_t hash[32];
    if (call->body_sha256 != NULL)
        memcpy(hash, call->body_sha256, sizeof(hash));
    else if (EVP_Digest(call->body.data, call->body.size, hash, NULL, EVP_sha256(), NULL) != 1)
        return RC_NO_MEMORY;
    aws_hash_text(hash, into);
    return RC_OK;
}

static enum rc sign(const struct aws *aws, struct flight *flight, const struct aws_keys *keys,
                    struct error *err)
{
    const struct aws_call *call = flight->call;
    struct aws_header headers[HEADER_COUNT_MAX];
    char date[AWS_DATE_SIZE], payload[AWS_HASH_TEXT_SIZE], authorization[AWS_AUTHORIZATION_SIZE];
    size_t count = 0;
    uint64_t now_ms = call->date_ms != 0 ? call->date_ms : clock_wall_ms();
    aws_date_text(now_ms, date);
    enum rc rc = payload_text(call, payload);
    for (; count < AWS_CALL_HEADER_MAX && call->headers[count].name != NULL; count++)
        headers[count] = call->headers[count];
    headers[count++] = (struct aws_header){"x-amz-date", date};
    headers[count++] = (struct aws_header){"x-amz-content-sha256", payload};
    if (keys->session_token[0] != '\0')
        headers[count++] = (struct aws_header){"x-amz-security-token", keys->session_token};
    for (size_t i = 0; i < count && rc == RC_OK; i++)
        rc = add_line(flight, headers[i].name, headers[i].value);
    headers[count++] = (struct aws_header){"host", aws->host}; /* libcurl sends it */
    const struct aws_signing signing = {.access_key = keys->access_key,
                                        .secret_key = keys->secret_key,
                                        .region = aws->region,
                                        .service = aws->service,
                                        .method = method_text(call->method),
                                        .path = call->path,
                                        .query = call->query != NULL ? call->query : "",
                                        .headers = headers,
                                        .header_count = count,
                                        .payload_sha256 = payload,
                                        .now_ms = now_ms};
    if (rc == RC_OK)
        rc = aws_sign(&signing, authorization, err);
    if (rc == RC_OK)
        rc = add_line(flight, "authorization", authorization);
    return rc;
}

static enum rc start(struct aws *aws, struct client *client, struct flight *flight,
                     struct aws_call *call, uint64_t left_ns)
{
    struct aws_keys keys;
    *flight = (struct flight){.call = call, .used = true, .problem = BUF_INIT(PROBLEM_SIZE_MAX)};
    enum rc rc = aws_credentials_get(aws->credentials, clock_wall_ms(), &keys, &call->err);
    if (rc != RC_OK)
        return rc == RC_NO_MEMORY ? rc : RC_UNAVAILABLE;
    flight->generation = keys.generation;
    rc = sign(aws, flight, &keys, &call->err);
    aws_keys_wipe(&keys);
    if (rc != RC_OK)
        return rc;
    bool query = call->query != NULL && call->query[0] != '\0';
    int size = snprintf(flight->url, sizeof(flight->url), "%s%s%s%s", aws->origin, call->path,
                        query ? "?" : "", query ? call->query : "");
    if (size >= (int)sizeof(flight->url))
        return error_set(&call->err, RC_TOO_LARGE, "a URL of %s is over %u bytes", aws->name,
                         CLIENT_URL_SIZE_MAX);
    if (call->answer != NULL)
        buf_clear(call->answer);
    call->head.size_max = HEAD_SIZE_MAX;
    buf_clear(&call->head);
    uint64_t left_ms = left_ns / NS_PER_MS + 1;
    flight->http.url = bytes_of(flight->url);
    flight->http.method = call->method;
    flight->http.body = call->body;
    flight->http.timeout_ms = left_ms < UINT32_MAX ? (uint32_t)left_ms : UINT32_MAX;
    flight->http.stall_s = STALL_S;
    flight->http.answer = call->answer;
    flight->http.problem = &flight->problem;
    flight->http.head = &call->head;
    flight->http.ctx = flight;
    return client_start(client, &flight->http, &call->err);
}

/* --- what came of it ------------------------------------------------------------------------- */

/* JSON services say "x#Code" or "Code"; S3 has XML. A HEAD's answer has neither. */
static void read_code(struct flight *flight)
{
    struct aws_call *call = flight->call;
    struct bytes text = {flight->problem.data, flight->problem.size};
    call->code[0] = '\0';
    if (call->status / 100 == 2) {
        const struct buf *answer = call->answer;
        if (!call->late_errors || answer == NULL || answer->size == 0 ||
            memmem(answer->data, answer->size, "<Error>", 7) == NULL)
            return;
        call->status = 500;
        text = (struct bytes){answer->data, answer->size};
    }
    if (aws_xml_text(text, "Code", call->code, sizeof(call->code)))
        return;
    const uint8_t *at = text.size > 0 ? memmem(text.data, text.size, "\"__type\"", 8) : NULL;
    if (at == NULL)
        return;
    const uint8_t *end = text.data + text.size;
    at = memchr(at + 8, '"', (size_t)(end - at) - 8);
    const uint8_t *stop = at != NULL ? memchr(at + 1, '"', (size_t)(end - at) - 1) : NULL;
    if (stop == NULL)
        return;
    const uint8_t *hash = memchr(at, '#', (size_t)(stop - at));
    at = hash != NULL ? hash : at;
    (void)snprintf(call->code, sizeof(call->code), "%.*s", (int)(stop - at - 1),
                   (const char *)at + 1);
}

static bool is_among(const char *code, const char *const list[])
{
    for (size_t i = 0; list[i] != NULL; i++)
        if (strcmp(code, list[i]) == 0)
            return true;
    return false;
}

static bool is_passing(const struct aws_call *call)
{
    static const char *const passing[] = {"SlowDown",
                                          "RequestTimeout",
                                          "RequestTimeoutException",
                                          "InternalError",
                                          "ServiceUnavailable",
                                          "OperationAborted",
                                          "ConditionalRequestConflict",
                                          "Throttling",
                                          "ThrottlingException",
                                          "RequestThrottled",
                                          "TooManyRequestsException",
                                          "ProvisionedThroughputExceededException",
                                          "RequestLimitExceeded",
                                          "BandwidthLimitExceeded",
                                          NULL};
    int status = call->status;
    return status == 408 || status == 429 || (status >= 500 && status != 501) ||
           is_among(call->code, passing);
}

static bool is_expired(const struct aws_call *call)
{
    static const char *const expired[] = {
        "ExpiredToken", "ExpiredTokenException",       "TokenRefreshRequired",
        "InvalidToken", "UnrecognizedClientException", NULL};
    bool unsaid = call->method == CLIENT_HEAD && (call->status == 400 || call->status == 403);
    return unsaid || is_among(call->code, expired);
}

/* "Full jitter": anything up to a bound that doubles. */
static uint64_t pause_ns(uint32_t attempt)
{
    uint32_t random = 0;
    uint64_t bound_ms = (uint64_t)PAUSE_FIRST_MS << (attempt < 6 ? attempt : 6);
    bound_ms = bound_ms < PAUSE_MS_MAX ? bound_ms : PAUSE_MS_MAX;
    (void)!getrandom(&random, sizeof(random), 0);
    return (1 + random % bound_ms) * NS_PER_MS;
}

/* Whether it is to be tried again. */
static bool judge(struct aws *aws, struct flight *flight)
{
    struct aws_call *call = flight->call;
    const struct client_call *http = &flight->http;
    call->rc = http->rc;
    call->status = http->status;
    bool again = false;
    if (http->rc == RC_OK) {
        read_code(flight);
        again = is_passing(call);
        if (!again && is_expired(call) && !call->renewed) {
            call->renewed = true;
            again = aws_credentials_reject(aws->credentials, flight->generation, clock_wall_ms());
        }
    } else {
        call->err = http->err;
        again = http->rc == RC_UNAVAILABLE || http->rc == RC_DEADLINE;
        call->unsure = call->unsure || again;
        if (again)
            call->rc = RC_UNAVAILABLE;
        else if (http->rc != RC_TOO_LARGE && http->rc != RC_NO_MEMORY)
            call->rc = RC_UNAVAILABLE;
    }
    return again && ++call->attempt < ATTEMPT_MAX;
}

/* --- a run ----------------------------------------------------------------------------------- */

struct run {
    struct aws *aws;
    struct client *client;
    struct aws_call *const *calls;
    size_t count;
    size_t ended_count;
    uint64_t deadline_ns;
    struct flight *flights;
    uint32_t flight_count;
};

static struct flight *free_flight(struct run *run)
{
    struct flight *flight = run->flights;
    while (flight->used)
        flight++;
    return flight;
}

static void end(struct run *run, struct aws_call *call, enum rc rc)
{
    call->rc = rc;
    call->stage = AWS_ENDED;
    run->ended_count++;
}

/* Starts what may start now; the time until something else may, in milliseconds. */
static uint32_t start_due(struct run *run)
{
    uint64_t next_ns = run->deadline_ns;
    for (size_t i = 0; i < run->count; i++) {
        struct aws_call *call = run->calls[i];
        if (call->stage != AWS_WAITING)
            continue;
        uint64_t now_ns = clock_monotonic_ns();
        if (now_ns >= run->deadline_ns) {
            if (call->err.text[0] == '\0')
                (void)error_set(&call->err, RC_UNAVAILABLE, "no answer in time");
            end(run, call, RC_UNAVAILABLE);
        } else if (call->not_before_ns > now_ns) {
            next_ns = call->not_before_ns < next_ns ? call->not_before_ns : next_ns;
        } else if (run->flight_count < run->aws->parallel_max) {
            struct flight *flight = free_flight(run);
            enum rc rc = start(run->aws, run->client, flight, call, run->deadline_ns - now_ns);
            if (rc == RC_OK) {
                call->stage = AWS_FLYING;
                run->flight_count++;
            } else {
                flight_done(flight);
                end(run, call, rc);
            }
        }
    }
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t wait_ms = next_ns > now_ns ? (next_ns - now_ns) / NS_PER_MS + 1 : 0;
    return wait_ms < 1000 ? (uint32_t)wait_ms : 1000;
}

static void land(struct run *run, struct flight *flight)
{
    struct aws_call *call = flight->call;
    bool again = judge(run->aws, flight);
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t pause = again ? pause_ns(call->attempt - 1) : 0;
    flight_done(flight);
    run->flight_count--;
    if (again && now_ns + pause < run->deadline_ns) {
        call->stage = AWS_WAITING;
        call->not_before_ns = now_ns + pause;
    } else {
        end(run, call, call->rc);
    }
}

void aws_run(struct aws *aws, struct aws_call *const calls[], size_t count, uint64_t deadline_ns)
{
    struct run run = {.aws = aws, .calls = calls, .count = count, .deadline_ns = deadline_ns};
    struct error err = {0};
    if (count == 0)
        return;
    enum rc rc = client_take(aws, &run.client, &err);
    if (rc == RC_OK)
        run.flights = calloc(aws->parallel_max, sizeof(*run.flights));
    for (size_t i = 0; i < count; i++) {
        struct aws_call *call = calls[i];
        call->status = 0;
        call->code[0] = '\0';
        call->err = err;
        call->attempt = 0;
        call->not_before_ns = 0;
        call->renewed = call->unsure = false;
        call->rc = RC_NO_MEMORY;
        call->stage = AWS_WAITING;
    }
    while (run.flights != NULL && run.ended_count < count) {
        uint32_t wait_ms = start_due(&run);
        if (run.ended_count == count)
            break;
        struct client_call *done = client_run(run.client, wait_ms);
        if (done != NULL)
            land(&run, done->ctx);
    }
    free(run.flights);
    if (run.client != NULL)
        client_give(aws, run.client);
}

void aws_call_done(struct aws_call *call) { buf_done(&call->head); }

uint64_t aws_call_date_ms(const struct aws_call *call)
{
    return aws_http_date_read(client_header(&call->head, "date"));
}

/* --- failures, explained --------------------------------------------------------------------- */

static enum rc fail_clock(const struct aws *aws, const struct aws_call *call, const char *doing,
                          struct error *err)
{
    uint64_t theirs_ms = aws_call_date_ms(call);
    long long ahead_s = (long long)(clock_wall_ms() / 1000) - (long long)(theirs_ms / 1000);
    if (theirs_ms == 0)
        return error_set(err, RC_UNAVAILABLE,
                         "%s: %s refuses requests of this machine's clock; set it (NTP)", doing,
                         aws->name);
    return error_set(err, RC_UNAVAILABLE,
                     "%s: this machine's clock is %lld s %s that of %s, which refuses more than "
                     "900; set it (NTP)",
                     doing, ahead_s < 0 ? -ahead_s : ahead_s, ahead_s < 0 ? "behind" : "ahead of",
                     aws->name);
}

enum rc aws_fail(const struct aws *aws, const struct aws_call *call, const char *doing,
                 struct error *err)
{
    static const struct {
        const char *code;
        const char *advice;
    } known[] = {
        {"ExpiredToken", "the credentials have expired and could not be renewed: renew "
                         "AWS_SESSION_TOKEN, or use a role"},
        {"InvalidToken", "the session token is not valid: renew AWS_SESSION_TOKEN, or use a role"},
        {"InvalidAccessKeyId", "it does not know this access key id"},
        {"SignatureDoesNotMatch", "the secret access key does not belong to the access key id"},
        {"AccessDenied", "the credentials do not allow this: compare their policy with the manual"},
        {"AllAccessDisabled", "all access is disabled"},
        {"AuthorizationHeaderMalformed", "the region is wrong: set ?region="},
        {"PermanentRedirect", "the region is wrong: set ?region="},
        {"TemporaryRedirect", "it is being moved; try again later"},
        {"SlowDown", "too many requests; they were repeated, in vain"},
        {"NoSuchBucket", "there is no such bucket"},
        {"InvalidBucketName", "this is no name of a bucket"},
        {"BadDigest", "what arrived was not what was sent"},
        {"XAmzContentSHA256Mismatch", "what arrived was not what was sent"},
    };
    if (call->rc != RC_OK)
        return error_set(err, call->rc == RC_TOO_LARGE ? RC_TOO_LARGE : RC_UNAVAILABLE, "%s: %s",
                         doing, call->err.text);
    if (strcmp(call->code, "RequestTimeTooSkewed") == 0)
        return fail_clock(aws, call, doing, err);
    const char *advice = NULL;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && advice == NULL; i++)
        if (strcmp(call->code, known[i].code) == 0)
            advice = known[i].advice;
    if (advice == NULL && call->code[0] == '\0' && (call->status == 403 || call->status == 400))
        advice = "the credentials have expired, or do not allow this";
    if (advice == NULL && call->status == 301)
        advice = "the region is wrong: set ?region=";
    return error_set(err, RC_UNAVAILABLE, "%s: %s answered %d %s%s%s", doing, aws->name,
                     call->status, call->code, advice != NULL ? ": " : "",
                     advice != NULL ? advice : "");
}
