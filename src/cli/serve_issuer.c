/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/serve_issuer.h"

#include "account/jwk.h"
#include "base/clock.h"
#include "net/client.h"
#include "telemetry/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS          1000u /* between two questions whether a fetch is due */
#define FETCH_TIMEOUT_MS 10000u
#define STOP_LOOK_MS     100u
#define TEXT_SIZE_MAX    256u
#define DOCUMENT_MAX     (64u << 10)
#define DISCOVERY        "/.well-known/openid-configuration"

struct issuer {
    const char *url;
    const char *keys_url; /* "": discovered */
    struct jwt *jwt;
    atomic_bool stopping;
    bool asked;                                            /* since the flag was taken back */
    enum { KEYS_UNKNOWN, KEYS_READY, KEYS_FAILING } state; /* what was logged last */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    bool woken;
};

/* --- fetching -------------------------------------------------------------------------------- */

static enum rc get(struct issuer *issuer, struct bytes url, struct buf *into, struct error *err)
{
    struct client *client = NULL;
    struct client_call call = {.url = url,
                               .headers = {"Accept: application/json"},
                               .timeout_ms = FETCH_TIMEOUT_MS,
                               .answer = into};
    enum rc rc = client_open(CLIENT_TRUSTED, &client, err);
    if (rc == RC_OK)
        rc = client_start(client, &call, err);
    const struct client_call *done = NULL;
    while (rc == RC_OK && done == NULL && !atomic_load(&issuer->stopping))
        done = client_run(client, STOP_LOOK_MS);
    client_free(client);
    if (rc != RC_OK)
        return rc;
    if (done == NULL)
        return error_set(err, RC_CANCELLED, "the server is stopping");
    if (call.rc != RC_OK)
        return error_set(err, RC_UNAVAILABLE, "%s", call.err.text);
    if (call.status != 200)
        return error_set(err, RC_UNAVAILABLE, "the issuer answered %d", call.status);
    return RC_OK;
}

/* OpenID Connect Discovery 1.0: what the document calls its issuer must be ours to the byte. */
static enum rc discover(struct issuer *issuer, struct buf *into_url, struct error *err)
{
    struct buf url = BUF_INIT(CLIENT_URL_SIZE_MAX + 1);
    struct buf document = BUF_INIT(DOCUMENT_MAX);
    size_t size = strlen(issuer->url);
    size -= size > 0 && issuer->url[size - 1] == '/';
    enum rc rc = buf_printf(&url, "%.*s" DISCOVERY, (int)size, issuer->url);
    if (rc != RC_OK)
        rc = error_set(err, rc, "the issuer's URL");
    if (rc == RC_OK)
        rc = get(issuer, (struct bytes){url.data, url.size}, &document, err);
    json_t *root = NULL;
    if (rc == RC_OK)
        root = json_loadb((const char *)document.data, document.size, JSON_REJECT_DUPLICATES, NULL);
    const char *name = json_string_value(json_object_get(root, "issuer"));
    const char *keys = json_string_value(json_object_get(root, "jwks_uri"));
    if (rc == RC_OK && (name == NULL || keys == NULL || strcmp(name, issuer->url) != 0))
        rc = error_set(err, RC_UNAVAILABLE,
                       "what is at --jwt-issuer" DISCOVERY " names another issuer or no jwks_uri");
    if (rc == RC_OK && buf_append(into_url, bytes_of(keys)) != RC_OK)
        rc = error_set(err, RC_UNAVAILABLE, "the issuer's jwks_uri is too long");
    json_decref(root);
    buf_done(&document);
    buf_done(&url);
    return rc;
}

static enum rc fetch(void *ctx, struct buf *into, struct error *err)
{
    struct issuer *issuer = ctx;
    issuer->asked = true;
    if (issuer->keys_url[0] != '\0')
        return get(issuer, bytes_of(issuer->keys_url), into, err);
    struct buf url = BUF_INIT(CLIENT_URL_SIZE_MAX);
    enum rc rc = discover(issuer, &url, err);
    if (rc == RC_OK)
        rc = get(issuer, (struct bytes){url.data, url.size}, into, err);
    buf_done(&url);
    return rc;
}

/* --- the thread ------------------------------------------------------------------------------ */

static void wake(void *ctx)
{
    struct issuer *issuer = ctx;
    pthread_mutex_lock(&issuer->lock);
    issuer->woken = true;
    pthread_cond_signal(&issuer->changed);
    pthread_mutex_unlock(&issuer->lock);
}

static void wait_for_work(struct issuer *issuer)
{
    uint64_t due_ns = clock_monotonic_ns() + LOOK_MS * NS_PER_MS;
    struct timespec due = {.tv_sec = (time_t)(due_ns / NS_PER_S),
                           .tv_nsec = (long)(due_ns % NS_PER_S)};
    pthread_mutex_lock(&issuer->lock);
    while (!issuer->woken && !atomic_load(&issuer->stopping) &&
           pthread_cond_timedwait(&issuer->changed, &issuer->lock, &due) != ETIMEDOUT)
        ;
    issuer->woken = false;
    pthread_mutex_unlock(&issuer->lock);
}

static void *issuer_main(void *argument)
{
    struct issuer *issuer = argument;
    while (!atomic_load(&issuer->stopping)) {
        struct error err = {0};
        issuer->asked = false;
        enum rc rc = jwt_refresh(issuer->jwt, clock_wall_ms(), &err);
        if (rc != RC_OK && rc != RC_CANCELLED) {
            issuer->state = KEYS_FAILING;
            log_event(LOG_WARNING, "issuer",
                      json_pack("{s:s, s:s}", "issuer", issuer->url, "detail", err.text));
        } else if (rc == RC_OK && issuer->asked && issuer->state != KEYS_READY) {
            issuer->state = KEYS_READY;
            log_event(LOG_INFO, "issuer",
                      json_pack("{s:s, s:s}", "issuer", issuer->url, "keys", "ready"));
        }
        wait_for_work(issuer);
    }
    return NULL;
}

/* --- opening --------------------------------------------------------------------------------- */

static enum rc check_text(const char *name, const char *text, bool needed, struct error *err)
{
    if (needed && text[0] == '\0')
        return error_set(err, RC_INVALID, "--jwt-issuer needs --%s", name);
    if (strlen(text) > TEXT_SIZE_MAX)
        return error_set(err, RC_INVALID, "--%s: at most %u bytes", name, TEXT_SIZE_MAX);
    return RC_OK;
}

static enum rc check_settings(const struct settings *settings, struct error *err)
{
    struct error why = {0};
    bool discovered = settings->jwt_keys[0] == '\0';
    enum rc rc = check_text("jwt-issuer", settings->jwt_issuer, true, err);
    if (rc == RC_OK)
        rc = check_text("jwt-audience", settings->jwt_audience, true, err);
    if (rc == RC_OK)
        rc = check_text("jwt-tenant-claim", settings->jwt_tenant_claim, true, err);
    if (rc == RC_OK)
        rc = check_text("jwt-scope-prefix", settings->jwt_scope_prefix, false, err);
    if (rc == RC_OK)
        rc = check_text("jwt-group-prefix", settings->jwt_group_prefix, false, err);
    if (rc == RC_OK &&
        client_url_check(bytes_of(discovered ? settings->jwt_issuer : settings->jwt_keys),
                         CLIENT_TRUSTED, &why) != RC_OK)
        rc = error_set(err, RC_INVALID, "--jwt-%s: %s (http:// is taken on loopback alone)",
                       discovered ? "issuer" : "keys", why.text);
    return rc;
}

static const char *prefix_of(const char *setting)
{
    return strcmp(setting, "none") == 0 ? NULL : setting;
}

enum rc issuer_open(const struct settings *settings, struct issuer **ret_issuer, struct error *err)
{
    if (settings->jwt_issuer[0] == '\0')
        return RC_OK;
    enum rc rc = check_settings(settings, err);
    if (rc != RC_OK)
        return rc;
    struct issuer *issuer = calloc(1, sizeof(*issuer));
    if (issuer == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the issuer's keys");
    issuer->url = settings->jwt_issuer;
    issuer->keys_url = settings->jwt_keys;
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&issuer->lock, NULL);
    (void)pthread_cond_init(&issuer->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    struct jwt_config config = {.issuer = settings->jwt_issuer,
                                .audience = settings->jwt_audience,
                                .tenant_claim = settings->jwt_tenant_claim,
                                .scope_prefix = prefix_of(settings->jwt_scope_prefix),
                                .group_prefix = prefix_of(settings->jwt_group_prefix),
                                .fetch = fetch,
                                .wake = wake,
                                .ctx = issuer,
                                .refetch_ms_min = settings->jwt_refetch};
    rc = jwt_open(&config, &issuer->jwt, err);
    if (rc == RC_OK) {
        int failed = pthread_create(&issuer->thread, NULL, issuer_main, issuer);
        issuer->has_thread = failed == 0;
        if (failed != 0)
            rc = error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed));
    }
    if (rc != RC_OK) {
        issuer_free(issuer);
        return rc;
    }
    *ret_issuer = issuer;
    return RC_OK;
}

struct jwt *issuer_jwt(struct issuer *issuer) { return issuer != NULL ? issuer->jwt : NULL; }

void issuer_free(struct issuer *issuer)
{
    if (issuer == NULL)
        return;
    atomic_store(&issuer->stopping, true);
    wake(issuer);
    if (issuer->has_thread)
        (void)pthread_join(issuer->thread, NULL);
    jwt_free(issuer->jwt);
    pthread_cond_destroy(&issuer->changed);
    pthread_mutex_destroy(&issuer->lock);
    free(issuer);
}
