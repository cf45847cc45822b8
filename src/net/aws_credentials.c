/* SPDX-License-Identifier: Apache-2.0
 * aws_credentials.c - the chain, and the one place where credentials are kept and renewed. */
#include "net/aws_source.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RENEW_AHEAD_MS 300000u /* before they expire */
#define RETRY_AFTER_MS 10000u  /* a renewal that failed while the old ones are still valid */

struct aws_credentials {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct aws_keys keys; /* access_key "": none yet */
    bool rejected;        /* a service refused them: not to be given out again */
    bool is_fetching;     /* one thread does, without the mutex */
    uint64_t retry_ms;    /* not before */
    uint64_t reject_ms;   /* not before: whoever is refused for another reason must not ask for
                             others each time */
};

void aws_keys_wipe(struct aws_keys *keys) { OPENSSL_cleanse(keys, sizeof(*keys)); }

const char *aws_domain(const char *region)
{
    return strncmp(region, "cn-", 3) == 0 ? "amazonaws.com.cn" : "amazonaws.com";
}

enum rc aws_region_find(char into[AWS_REGION_SIZE], struct error *err)
{
    static const char *const names[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
    for (size_t i = 0; i < 2; i++) {
        const char *value = aws_variable(names[i]);
        if (value != NULL && snprintf(into, AWS_REGION_SIZE, "%s", value) < (int)AWS_REGION_SIZE)
            return RC_OK;
    }
    enum rc rc = aws_profile_region(into, err);
    if (rc == RC_NOT_FOUND)
        rc = aws_instance_region(into, err);
    return rc == RC_NOT_FOUND ? error_set(err, rc,
                                          "no AWS region is set: set AWS_REGION, or name it in the "
                                          "URL as ?region=eu-central-1")
                              : rc;
}

enum rc aws_credentials_open(struct aws_credentials **ret_credentials, struct error *err)
{
    struct aws_credentials *credentials = calloc(1, sizeof(*credentials));
    if (credentials == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for AWS credentials");
    (void)pthread_mutex_init(&credentials->mutex, NULL);
    (void)pthread_cond_init(&credentials->changed, NULL);
    *ret_credentials = credentials;
    return RC_OK;
}

void aws_credentials_free(struct aws_credentials *credentials)
{
    if (credentials == NULL)
        return;
    (void)pthread_mutex_destroy(&credentials->mutex);
    (void)pthread_cond_destroy(&credentials->changed);
    aws_keys_wipe(&credentials->keys);
    free(credentials);
}

static enum rc from_environment(struct aws_keys *ret_keys, struct error *err)
{
    const char *access = aws_variable("AWS_ACCESS_KEY_ID");
    const char *secret = aws_variable("AWS_SECRET_ACCESS_KEY");
    const char *token = aws_variable("AWS_SESSION_TOKEN");
    if (access == NULL && secret == NULL)
        return RC_NOT_FOUND;
    return aws_keys_set(ret_keys, access != NULL ? access : "", secret != NULL ? secret : "",
                        token != NULL ? token : "", "the environment", err);
}

static enum rc fetch(uint64_t now_ms, struct aws_keys *ret_keys, struct error *err)
{
    enum rc rc = from_environment(ret_keys, err);
    if (rc == RC_NOT_FOUND)
        rc = aws_from_web_identity(now_ms, ret_keys, err);
    if (rc == RC_NOT_FOUND)
        rc = aws_from_profile(ret_keys, err);
    if (rc == RC_NOT_FOUND)
        rc = aws_from_container(ret_keys, err);
    if (rc == RC_NOT_FOUND)
        rc = aws_from_instance(ret_keys, err);
    return rc == RC_NOT_FOUND
               ? error_set(err, rc,
                           "no AWS credentials: neither AWS_ACCESS_KEY_ID nor a web identity, a "
                           "profile in ~/.aws, a container's or an instance's role was found")
               : rc;
}

static bool is_valid(const struct aws_credentials *credentials, uint64_t now_ms)
{
    const struct aws_keys *keys = &credentials->keys;
    return keys->access_key[0] != '\0' && !credentials->rejected &&
           (keys->expires_ms == 0 || now_ms < keys->expires_ms);
}

static bool is_fresh(const struct aws_credentials *credentials, uint64_t now_ms)
{
    const struct aws_keys *keys = &credentials->keys;
    return is_valid(credentials, now_ms) &&
           (keys->expires_ms == 0 || now_ms + RENEW_AHEAD_MS < keys->expires_ms ||
            now_ms < credentials->retry_ms);
}

/* Under the mutex, which it leaves meanwhile. */
static enum rc renew(struct aws_credentials *credentials, uint64_t now_ms, struct error *err)
{
    struct aws_keys keys = {0};
    credentials->is_fetching = true;
    (void)pthread_mutex_unlock(&credentials->mutex);
    enum rc rc = fetch(now_ms, &keys, err);
    (void)pthread_mutex_lock(&credentials->mutex);
    credentials->is_fetching = false;
    if (rc == RC_OK) {
        keys.generation = credentials->keys.generation + 1;
        credentials->keys = keys;
        credentials->rejected = false;
    }
    credentials->retry_ms = now_ms + RETRY_AFTER_MS;
    (void)pthread_cond_broadcast(&credentials->changed);
    aws_keys_wipe(&keys);
    return rc;
}

enum rc aws_credentials_get(struct aws_credentials *credentials, uint64_t now_ms,
                            struct aws_keys *ret_keys, struct error *err)
{
    enum rc rc = RC_OK;
    (void)pthread_mutex_lock(&credentials->mutex);
    while (credentials->is_fetching && !is_valid(credentials, now_ms))
        (void)pthread_cond_wait(&credentials->changed, &credentials->mutex);
    if (!credentials->is_fetching && !is_fresh(credentials, now_ms))
        rc = renew(credentials, now_ms, err);
    if (is_valid(credentials, now_ms)) {
        *ret_keys = credentials->keys;
        rc = RC_OK;
    } else if (rc == RC_OK) {
        rc = error_set(err, RC_UNAVAILABLE,
                       "the AWS credentials have expired, and whoever gave "
                       "them has no newer ones");
    }
    (void)pthread_mutex_unlock(&credentials->mutex);
    return rc;
}

bool aws_credentials_reject(struct aws_credentials *credentials, uint32_t generation,
                            uint64_t now_ms)
{
    /* Those of the environment are there for the process's life, and are all there is. */
    bool again = aws_variable("AWS_ACCESS_KEY_ID") == NULL;
    (void)pthread_mutex_lock(&credentials->mutex);
    if (again && credentials->keys.generation == generation && !credentials->rejected) {
        again = now_ms >= credentials->reject_ms;
        credentials->rejected = again;
        credentials->reject_ms = again ? now_ms + RETRY_AFTER_MS : credentials->reject_ms;
    }
    (void)pthread_mutex_unlock(&credentials->mutex);
    return again;
}
