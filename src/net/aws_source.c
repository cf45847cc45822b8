/* SPDX-License-Identifier: Apache-2.0
 * aws_source.c - credentials that a service gives out: STS, a container's endpoint, an instance's
 * metadata. */
#include "net/aws_source.h"
#include "net/aws_sign.h"
#include "net/aws_xml.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECRET_FILE_SIZE_MAX (32u << 10)
#define URL_SIZE             1024u
#define TIMEOUT_MS           10000u
#define INSTANCE_TIMEOUT_MS  1000u /* it answers in milliseconds, or there is none */
#define INSTANCE_ORIGIN      "http://169.254.169.254"
#define INSTANCE_TOKEN_TTL   "X-aws-ec2-metadata-token-ttl-seconds: 21600"

const char *aws_variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

enum rc aws_file_read(const char *path, struct buf *into, struct error *err)
{
    uint8_t chunk[4096];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(err, RC_UNAVAILABLE, "cannot read '%.150s': %s", path, strerror(errno));
    enum rc rc = RC_OK;
    size_t size;
    while (rc == RC_OK && (size = fread(chunk, 1, sizeof(chunk), file)) > 0)
        rc = buf_append(into, (struct bytes){chunk, size});
    if (rc == RC_OK && ferror(file) != 0)
        rc = RC_UNAVAILABLE;
    (void)fclose(file);
    OPENSSL_cleanse(chunk, sizeof(chunk));
    while (into->size > 0 && into->data[into->size - 1] <= ' ')
        into->size--;
    if (rc == RC_OK && into->size == 0)
        rc = RC_INVALID;
    return rc == RC_OK ? rc : error_set(err, rc, "'%.150s' holds no token", path);
}

enum rc aws_keys_set(struct aws_keys *keys, const char *access_key, const char *secret_key,
                     const char *session_token, const char *where, struct error *err)
{
    struct aws_keys set = {0};
    bool fits = snprintf(set.access_key, sizeof(set.access_key), "%s", access_key) <
                    (int)sizeof(set.access_key) &&
                snprintf(set.secret_key, sizeof(set.secret_key), "%s", secret_key) <
                    (int)sizeof(set.secret_key) &&
                snprintf(set.session_token, sizeof(set.session_token), "%s", session_token) <
                    (int)sizeof(set.session_token);
    enum rc rc = RC_OK;
    if (!fits || access_key[0] == '\0' || secret_key[0] == '\0')
        rc = error_set(err, RC_INVALID,
                       "%s has no access key id with a secret access key, or one "
                       "that is too long",
                       where);
    else
        *keys = set;
    aws_keys_wipe(&set);
    return rc;
}

enum rc aws_fetch(const struct aws_fetch *fetch, struct buf *answer, struct error *err)
{
    struct client *client = NULL;
    struct client_call call = {.url = bytes_of(fetch->url),
                               .method = fetch->method,
                               .body = fetch->body,
                               .timeout_ms = fetch->timeout_ms,
                               .answer = answer};
    for (size_t i = 0; i < 3; i++)
        call.headers[i] = fetch->headers[i];
    enum rc rc = client_open(CLIENT_ANY, &client, err);
    if (rc == RC_OK)
        rc = client_start(client, &call, err);
    if (rc == RC_OK) {
        while (client_run(client, fetch->timeout_ms) == NULL)
            ;
        rc = call.rc;
        if (rc != RC_OK)
            rc = error_set(err, RC_UNAVAILABLE, "%s: %s", fetch->what, call.err.text);
        else if (call.status / 100 != 2)
            rc = error_set(err, call.status == 404 ? RC_NOT_FOUND : RC_UNAVAILABLE,
                           "%s answered %d", fetch->what, call.status);
    }
    client_free(client);
    return rc;
}

static void wipe(struct buf *buf)
{
    if (buf->data != NULL)
        OPENSSL_cleanse(buf->data, buf->room);
    buf_done(buf);
}

static const char *member(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

/* The form that the container's endpoint and the instance share. */
static enum rc read_json(const struct buf *answer, const char *what, struct aws_keys *ret_keys,
                         struct error *err)
{
    json_t *root = json_loadb((const char *)answer->data, answer->size, 0, NULL);
    if (root == NULL)
        return error_set(err, RC_UNAVAILABLE, "%s answered something that is not JSON", what);
    enum rc rc = aws_keys_set(ret_keys, member(root, "AccessKeyId"),
                              member(root, "SecretAccessKey"), member(root, "Token"), what, err);
    if (rc != RC_OK)
        rc = RC_UNAVAILABLE;
    else
        ret_keys->expires_ms = aws_time_read(member(root, "Expiration"));
    json_decref(root);
    return rc;
}

/* --- web identity: a token of the cluster for a role's keys ----------------------------------- */

static enum rc sts_url(char into[URL_SIZE], struct error *err)
{
    char region[AWS_REGION_SIZE];
    const char *given = aws_variable("AWS_ENDPOINT_URL_STS");
    enum rc rc = RC_OK;
    if (given != NULL) {
        (void)snprintf(into, URL_SIZE, "%s/", given);
        return RC_OK;
    }
    rc = aws_region_find(region, err);
    if (rc == RC_OK)
        (void)snprintf(into, URL_SIZE, "https://sts.%s.%s/", region, aws_domain(region));
    return rc;
}

static enum rc sts_form(uint64_t now_ms, struct buf *into, struct error *err)
{
    const char *session = aws_variable("AWS_ROLE_SESSION_NAME");
    struct buf token = BUF_INIT(SECRET_FILE_SIZE_MAX);
    char name[32];
    (void)snprintf(name, sizeof(name), "imago-%llu", (unsigned long long)(now_ms / 1000));
    enum rc rc = aws_file_read(aws_variable("AWS_WEB_IDENTITY_TOKEN_FILE"), &token, err);
    if (rc == RC_OK)
        rc = buf_append(into, bytes_of("Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
                                       "&RoleSessionName="));
    if (rc == RC_OK)
        rc = aws_encode(bytes_of(session != NULL ? session : name), into);
    if (rc == RC_OK)
        rc = buf_append(into, bytes_of("&RoleArn="));
    if (rc == RC_OK)
        rc = aws_encode(bytes_of(aws_variable("AWS_ROLE_ARN")), into);
    if (rc == RC_OK)
        rc = buf_append(into, bytes_of("&WebIdentityToken="));
    if (rc == RC_OK)
        rc = aws_encode((struct bytes){token.data, token.size}, into);
    wipe(&token);
    return rc;
}

static enum rc read_sts(const struct buf *answer, struct aws_keys *ret_keys, struct error *err)
{
    struct bytes rest = {answer->data, answer->size}, inside;
    struct aws_keys keys = {0};
    char expires[40];
    if (!aws_xml_next(&rest, "Credentials", &inside) ||
        !aws_xml_text(inside, "AccessKeyId", keys.access_key, sizeof(keys.access_key)) ||
        !aws_xml_text(inside, "SecretAccessKey", keys.secret_key, sizeof(keys.secret_key)) ||
        !aws_xml_text(inside, "SessionToken", keys.session_token, sizeof(keys.session_token)) ||
        !aws_xml_text(inside, "Expiration", expires, sizeof(expires))) {
        aws_keys_wipe(&keys);
        return error_set(err, RC_UNAVAILABLE, "STS answered without credentials");
    }
    keys.expires_ms = aws_time_read(expires);
    *ret_keys = keys;
    aws_keys_wipe(&keys);
    return RC_OK;
}

enum rc aws_from_web_identity(uint64_t now_ms, struct aws_keys *ret_keys, struct error *err)
{
    char url[URL_SIZE];
    if (aws_variable("AWS_WEB_IDENTITY_TOKEN_FILE") == NULL || aws_variable("AWS_ROLE_ARN") == NULL)
        return RC_NOT_FOUND;
    struct buf form = BUF_INIT(4 * SECRET_FILE_SIZE_MAX);
    struct buf answer = BUF_INIT(AWS_ANSWER_SIZE_MAX);
    enum rc rc = sts_url(url, err);
    if (rc == RC_OK)
        rc = sts_form(now_ms, &form, err);
    struct aws_fetch fetch = {.what = "STS, asked for the role of AWS_ROLE_ARN,",
                              .url = url,
                              .method = CLIENT_POST,
                              .body = {form.data, form.size},
                              .headers = {"Content-Type: application/x-www-form-urlencoded"},
                              .timeout_ms = TIMEOUT_MS};
    if (rc == RC_OK)
        rc = aws_fetch(&fetch, &answer, err);
    if (rc == RC_OK)
        rc = read_sts(&answer, ret_keys, err);
    wipe(&form);
    wipe(&answer);
    return rc == RC_NOT_FOUND ? RC_UNAVAILABLE : rc;
}

/* --- a container's endpoint ------------------------------------------------------------------ */

/* The token goes to this URL: in clear only to this machine and to the addresses that AWS uses. */
static bool is_safe(const char *url)
{
    static const char *const safe[] = {"169.254.170.2", "169.254.170.23", "[fd00:ec2::23]",
                                       "127.0.0.1",     "[::1]",          "localhost"};
    if (strncmp(url, "https://", 8) == 0)
        return true;
    for (size_t i = 0; i < sizeof(safe) / sizeof(safe[0]); i++) {
        size_t size = strlen(safe[i]);
        if (strncmp(url, "http://", 7) == 0 && strncmp(url + 7, safe[i], size) == 0 &&
            strchr(":/", url[7 + size]) != NULL)
            return true;
    }
    return false;
}

/* "Authorization: ..." from a file, which is renewed, or from a variable. "" for none. */
static enum rc container_token(struct buf *into, struct error *err)
{
    const char *file = aws_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *text = aws_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    struct buf token = BUF_INIT(SECRET_FILE_SIZE_MAX);
    enum rc rc = RC_OK;
    if (file != NULL)
        rc = aws_file_read(file, &token, err);
    else if (text != NULL)
        rc = buf_append(&token, bytes_of(text));
    for (size_t i = 0; i < token.size && rc == RC_OK; i++)
        if (token.data[i] < ' ')
            rc = error_set(err, RC_INVALID, "the container's authorization token has line breaks");
    if (rc == RC_OK && token.size > 0)
        rc = buf_printf(into, "Authorization: %.*s", (int)token.size, (const char *)token.data);
    wipe(&token);
    return rc;
}

enum rc aws_from_container(struct aws_keys *ret_keys, struct error *err)
{
    static const char what[] = "the container's credentials endpoint";
    char url[URL_SIZE];
    const char *relative = aws_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = aws_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (relative == NULL && full == NULL)
        return RC_NOT_FOUND;
    int size = relative != NULL ? snprintf(url, sizeof(url), "http://169.254.170.2%s", relative)
                                : snprintf(url, sizeof(url), "%s", full);
    if (size >= (int)sizeof(url) || !is_safe(url))
        return error_set(err, RC_INVALID,
                         "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https://, or http:// to this "
                         "machine or to AWS's link-local address");
    struct buf token = BUF_INIT(SECRET_FILE_SIZE_MAX + 32);
    struct buf answer = BUF_INIT(AWS_ANSWER_SIZE_MAX);
    enum rc rc = container_token(&token, err);
    struct aws_fetch fetch = {.what = what,
                              .url = url,
                              .headers = {token.size > 0 ? (const char *)token.data : NULL},
                              .timeout_ms = TIMEOUT_MS};
    if (rc == RC_OK)
        rc = aws_fetch(&fetch, &answer, err);
    if (rc == RC_OK)
        rc = read_json(&answer, what, ret_keys, err);
    wipe(&token);
    wipe(&answer);
    return rc == RC_NOT_FOUND ? RC_UNAVAILABLE : rc;
}

/* --- an instance's metadata, version 2: with a token, which a request that was smuggled through
 * a proxy cannot get -------------------------------------------------------------------------- */

static enum rc instance_get(const char *path, const char *token, struct buf *answer,
                            struct error *err)
{
    char url[URL_SIZE];
    const char *origin = aws_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    (void)snprintf(url, sizeof(url), "%s%s", origin != NULL ? origin : INSTANCE_ORIGIN, path);
    struct aws_fetch fetch = {.what = "the instance metadata service",
                              .url = url,
                              .method = token == NULL ? CLIENT_PUT : CLIENT_GET,
                              .headers = {token != NULL ? token : INSTANCE_TOKEN_TTL},
                              .timeout_ms = INSTANCE_TIMEOUT_MS};
    enum rc rc = aws_fetch(&fetch, answer, err);
    return rc == RC_OK ? buf_append(answer, (struct bytes){(const uint8_t *)"", 1}) : rc;
}

/* "X-aws-ec2-metadata-token: ..." NOT_FOUND: this is no instance. */
static enum rc instance_token(struct buf *into)
{
    const char *disabled = aws_variable("AWS_EC2_METADATA_DISABLED");
    struct buf answer = BUF_INIT(AWS_ANSWER_SIZE_MAX);
    if (disabled != NULL && strcasecmp(disabled, "true") == 0)
        return RC_NOT_FOUND;
    enum rc rc = instance_get("/latest/api/token", NULL, &answer, NULL);
    if (rc == RC_OK)
        rc = buf_printf(into, "X-aws-ec2-metadata-token: %s", (const char *)answer.data);
    wipe(&answer);
    return rc == RC_OK ? rc : RC_NOT_FOUND;
}

enum rc aws_from_instance(struct aws_keys *ret_keys, struct error *err)
{
    static const char path[] = "/latest/meta-data/iam/security-credentials/";
    char with_role[URL_SIZE];
    struct buf token = BUF_INIT(4096);
    struct buf answer = BUF_INIT(AWS_ANSWER_SIZE_MAX);
    enum rc rc = instance_token(&token);
    if (rc == RC_OK)
        rc = instance_get(path, (const char *)token.data, &answer, err);
    if (rc == RC_OK) {
        (void)snprintf(with_role, sizeof(with_role), "%s%.*s", path,
                       (int)strcspn((const char *)answer.data, "\r\n"), (const char *)answer.data);
        buf_clear(&answer);
        rc = instance_get(with_role, (const char *)token.data, &answer, err);
    }
    if (rc == RC_OK) {
        answer.size--; /* the terminator */
        rc = read_json(&answer, "the instance metadata service", ret_keys, err);
    }
    wipe(&token);
    wipe(&answer);
    return rc;
}

enum rc aws_instance_region(char into[AWS_REGION_SIZE], struct error *err)
{
    struct buf token = BUF_INIT(4096);
    struct buf answer = BUF_INIT(AWS_ANSWER_SIZE_MAX);
    enum rc rc = instance_token(&token);
    if (rc == RC_OK)
        rc = instance_get("/latest/meta-data/placement/region", (const char *)token.data, &answer,
                          err);
    if (rc == RC_OK && answer.size > AWS_REGION_SIZE)
        rc = RC_NOT_FOUND;
    if (rc == RC_OK)
        memcpy(into, answer.data, answer.size);
    wipe(&token);
    wipe(&answer);
    return rc;
}
