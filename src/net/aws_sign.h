/* SPDX-License-Identifier: Apache-2.0
 * aws_sign.h - AWS Signature Version 4 of a request, in its Authorization header.
 *
 * libcurl has one of its own, which leaves out x-amz-content-sha256, and S3 wants that. Pure: the
 * time is an argument, nothing is kept, any thread. What is signed is what the caller sends: path
 * and query come percent-encoded (aws_encode()). The path is not encoded a second time, which is
 * S3's rule; to other services only "/" is ever sent, where it makes no difference.
 */
#ifndef NET_AWS_SIGN_H
#define NET_AWS_SIGN_H
#include "base/bytes.h"

#define AWS_DATE_SIZE          17u /* "20150830T123600Z" and the terminator */
#define AWS_HASH_TEXT_SIZE     65u
#define AWS_SIGNED_HEADER_MAX  24u
#define AWS_AUTHORIZATION_SIZE 1024u

struct aws_header {
    const char *name; /* in lower case */
    const char *value;
};

struct aws_signing {
    const char *access_key;
    const char *secret_key;
    const char *region;
    const char *service;
    const char *method;
    const char *path;
    const char *query; /* without '?'; "" for none */
    const struct aws_header
        *headers; /* all of them are signed; "host" and "x-amz-date" are there */
    size_t header_count;
    const char *payload_sha256; /* 64 hex digits */
    uint64_t now_ms;            /* the time of x-amz-date */
};

/* The value of the Authorization header. TOO_LARGE: too many headers or parameters. */
NODISCARD enum rc aws_sign(const struct aws_signing *signing, char into[AWS_AUTHORIZATION_SIZE],
                           struct error *err);

void aws_date_text(uint64_t now_ms, char into[AWS_DATE_SIZE]);
/* "Sun, 30 Aug 2015 12:36:00 GMT"; 0 if it is none. */
uint64_t aws_http_date_read(struct bytes text);
/* "2026-11-24T03:30:00.000Z", to the second; 0 if it is none. */
uint64_t aws_time_read(const char *text);
void aws_hash_text(const uint8_t hash[32], char into[AWS_HASH_TEXT_SIZE]);
/* As AWS wants it in paths and queries: all but letters, digits and "-._~" as %XX. */
NODISCARD enum rc aws_encode(struct bytes text, struct buf *into);
#endif
