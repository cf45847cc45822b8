/* SPDX-License-Identifier: Apache-2.0 */
#include "net/aws_sign.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PARAMETER_MAX      32u
#define CANONICAL_SIZE_MAX (64u << 10)
#define SCOPE_SIZE         160u
#define ALGORITHM          "AWS4-HMAC-SHA256"

void aws_date_text(uint64_t now_ms, char into[AWS_DATE_SIZE])
{
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm parts;
    (void)gmtime_r(&seconds, &parts);
    if (strftime(into, AWS_DATE_SIZE, "%Y%m%dT%H%M%SZ", &parts) == 0)
        into[0] = '\0';
}

uint64_t aws_http_date_read(struct bytes text)
{
    char copy[64];
    struct tm parts = {0};
    if (text.size == 0 || text.size >= sizeof(copy))
        return 0;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    if (strptime(copy, "%a, %d %b %Y %H:%M:%S GMT", &parts) == NULL)
        return 0;
    time_t seconds = timegm(&parts);
    return seconds > 0 ? (uint64_t)seconds * 1000 : 0;
}

uint64_t aws_time_read(const char *text)
{
    struct tm parts = {0};
    if (strptime(text, "%Y-%m-%dT%H:%M:%S", &parts) == NULL)
        return 0;
    time_t seconds = timegm(&parts);
    return seconds > 0 ? (uint64_t)seconds * 1000 : 0;
}

void aws_hash_text(const uint8_t hash[32], char into[AWS_HASH_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 32; i++) {
        into[2 * i] = digits[hash[i] >> 4];
        into[2 * i + 1] = digits[hash[i] & 15];
    }
    into[64] = '\0';
}

enum rc aws_encode(struct bytes text, struct buf *into)
{
    static const char kept[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    enum rc rc = RC_OK;
    for (size_t i = 0; i < text.size && rc == RC_OK; i++) {
        uint8_t c = text.data[i];
        if (c != 0 && strchr(kept, c) != NULL)
            rc = buf_append(into, (struct bytes){&text.data[i], 1});
        else
            rc = buf_printf(into, "%%%02X", c);
    }
    return rc;
}

static int compare_bytes(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size > 0 ? memcmp(a.data, b.data, size) : 0;
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

struct parameter {
    struct bytes name;
    struct bytes value;
};

static int compare_parameters(const void *a, const void *b)
{
    const struct parameter *left = a, *right = b;
    int order = compare_bytes(left->name, right->name);
    return order != 0 ? order : compare_bytes(left->value, right->value);
}

/* Sorted by name, then value, each with its '='. */
static enum rc add_query(struct buf *into, const char *query)
{
    struct parameter parameters[PARAMETER_MAX];
    size_t count = 0;
    while (*query != '\0') {
        size_t size = strcspn(query, "&");
        size_t name = strcspn(query, "&=");
        const uint8_t *at = (const uint8_t *)query;
        if (count == PARAMETER_MAX)
            return RC_TOO_LARGE;
        size_t skip = name < size ? name + 1 : name;
        parameters[count++] = (struct parameter){{at, name}, {at + skip, size - skip}};
        query += size + (query[size] == '&');
    }
    qsort(parameters, count, sizeof(parameters[0]), compare_parameters);
    enum rc rc = RC_OK;
    for (size_t i = 0; i < count && rc == RC_OK; i++)
        rc = buf_printf(into, "%s%.*s=%.*s", i > 0 ? "&" : "", (int)parameters[i].name.size,
                        (const char *)parameters[i].name.data, (int)parameters[i].value.size,
                        (const char *)parameters[i].value.data);
    return rc;
}

/* Without spaces at its ends, and with one where there are several. */
static enum rc add_value(struct buf *into, const char *value)
{
    enum rc rc = RC_OK;
    bool space = false, first = true;
    for (; *value != '\0' && rc == RC_OK; value++) {
        if (*value == ' ') {
            space = true;
            continue;
        }
        if (space && !first)
            rc = buf_append(into, bytes_of(" "));
        if (rc == RC_OK)
            rc = buf_append(into, (struct bytes){(const uint8_t *)value, 1});
        space = first = false;
    }
    return rc;
}

static int compare_headers(const void *a, const void *b)
{
    const struct aws_header *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static enum rc add_names(struct buf *into, const struct aws_header *headers, size_t count)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < count && rc == RC_OK; i++)
        rc = buf_printf(into, "%s%s", i > 0 ? ";" : "", headers[i].name);
    return rc;
}

/* What AWS calls the canonical request. */
static enum rc add_request(struct buf *into, const struct aws_signing *signing,
                           const struct aws_header *headers)
{
    enum rc rc = buf_printf(into, "%s\n%s\n", signing->method, signing->path);
    if (rc == RC_OK)
        rc = add_query(into, signing->query);
    if (rc == RC_OK)
        rc = buf_append(into, bytes_of("\n"));
    for (size_t i = 0; i < signing->header_count && rc == RC_OK; i++) {
        rc = buf_printf(into, "%s:", headers[i].name);
        if (rc == RC_OK)
            rc = add_value(into, headers[i].value);
        if (rc == RC_OK)
            rc = buf_append(into, bytes_of("\n"));
    }
    if (rc == RC_OK)
        rc = buf_append(into, bytes_of("\n"));
    if (rc == RC_OK)
        rc = add_names(into, headers, signing->header_count);
    if (rc == RC_OK)
        rc = buf_printf(into, "\n%s", signing->payload_sha256);
    return rc;
}

static bool hmac(const void *key, size_t key_size, const char *text, uint8_t into[32])
{
    return HMAC(EVP_sha256(), key, (int)key_size, (const uint8_t *)text, strlen(text), into,
                NULL) != NULL;
}

/* The secret goes through date, region and service before it signs. */
static bool sign_text(const struct aws_signing *signing, const char *date, const char *text,
                      uint8_t into[32])
{
    char first[160];
    uint8_t key[32];
    int size = snprintf(first, sizeof(first), "AWS4%s", signing->secret_key);
    bool fine = size < (int)sizeof(first) && hmac(first, (size_t)size, date, key) &&
                hmac(key, sizeof(key), signing->region, key) &&
                hmac(key, sizeof(key), signing->service, key) &&
                hmac(key, sizeof(key), "aws4_request", key) && hmac(key, sizeof(key), text, into);
    OPENSSL_cleanse(first, sizeof(first));
    OPENSSL_cleanse(key, sizeof(key));
    return fine;
}

static enum rc write_header(const struct aws_signing *signing, const struct aws_header *headers,
                            const char *scope, const uint8_t signature[32],
                            char into[AWS_AUTHORIZATION_SIZE])
{
    char text[AWS_HASH_TEXT_SIZE];
    struct buf names = BUF_INIT(AWS_AUTHORIZATION_SIZE);
    aws_hash_text(signature, text);
    enum rc rc = add_names(&names, headers, signing->header_count);
    int size = rc == RC_OK ? snprintf(into, AWS_AUTHORIZATION_SIZE,
                                      ALGORITHM " Credential=%s/%s, SignedHeaders=%.*s, "
                                                "Signature=%s",
                                      signing->access_key, scope, (int)names.size,
                                      (const char *)names.data, text)
                           : 0;
    buf_done(&names);
    return rc == RC_OK && size >= (int)AWS_AUTHORIZATION_SIZE ? RC_TOO_LARGE : rc;
}

enum rc aws_sign(const struct aws_signing *signing, char into[AWS_AUTHORIZATION_SIZE],
                 struct error *err)
{
    struct aws_header headers[AWS_SIGNED_HEADER_MAX];
    char date[AWS_DATE_SIZE], day[9], scope[SCOPE_SIZE], hash_text[AWS_HASH_TEXT_SIZE];
    char text[SCOPE_SIZE + 128];
    uint8_t hash[32];
    struct buf request = BUF_INIT(CANONICAL_SIZE_MAX);
    enum rc rc = RC_OK;
    assert(signing->header_count > 0);
    if (signing->header_count > AWS_SIGNED_HEADER_MAX)
        return error_set(err, RC_TOO_LARGE, "too many headers to sign");
    memcpy(headers, signing->headers, signing->header_count * sizeof(headers[0]));
    qsort(headers, signing->header_count, sizeof(headers[0]), compare_headers);
    aws_date_text(signing->now_ms, date);
    (void)snprintf(day, sizeof(day), "%.8s", date);
    int size = snprintf(scope, sizeof(scope), "%s/%s/%s/aws4_request", day, signing->region,
                        signing->service);
    if (size >= (int)sizeof(scope))
        rc = RC_TOO_LARGE;
    if (rc == RC_OK)
        rc = add_request(&request, signing, headers);
    if (rc == RC_OK && EVP_Digest(request.data, request.size, hash, NULL, EVP_sha256(), NULL) != 1)
        rc = RC_NO_MEMORY;
    buf_done(&request);
    if (rc != RC_OK)
        return error_set(err, rc, "a request to AWS cannot be signed: %s", rc_text(rc));
    aws_hash_text(hash, hash_text);
    (void)snprintf(text, sizeof(text), ALGORITHM "\n%s\n%s\n%s", date, scope, hash_text);
    if (!sign_text(signing, day, text, hash))
        return error_set(err, RC_INVALID,
                         "the secret access key is over 150 characters, so it is none");
    rc = write_header(signing, headers, scope, hash, into);
    return rc == RC_OK ? rc
                       : error_set(err, rc,
                                   "a request to AWS cannot be signed: its headers "
                                   "are too long");
}
