/* SPDX-License-Identifier: Apache-2.0
 * aws_call.h - signed calls of an AWS service, many at a time, repeated where that may help.
 *
 * A struct aws is one service at one place with one set of credentials. aws_run() makes a number of
 * calls side by side over kept connections and returns when all have ended. What the service cannot
 * do now (5xx, throttling, timeouts, broken connections) is tried again after a growing, random
 * pause, up to six times and never past the deadline; expired credentials are renewed once. So
 * every call must be one that may be repeated. Whether an answer is a success is the caller's to
 * say, aws_fail() explains those that are none. Threads: any; each run has a client of its own.
 * Secrets never get into an error's text.
 */
#ifndef NET_AWS_CALL_H
#define NET_AWS_CALL_H
#include "net/aws_credentials.h"
#include "net/aws_sign.h"
#include "net/client.h"

#define AWS_CALL_HEADER_MAX 10u
#define AWS_CODE_SIZE       64u

struct aws_config {
    const char *service; /* "s3": what signatures are for */
    const char *name;    /* "S3": for errors */
    const char *region;
    const char *origin; /* "https://host[:port]" */
    uint32_t parallel_max;
};
struct aws;

NODISCARD enum rc aws_open(const struct aws_config *config, struct aws **ret_aws,
                           struct error *err);
void aws_free(struct aws *aws); /* NULL is fine */

/* Whether there are credentials at all, as aws_credentials_get() says it. */
NODISCARD enum rc aws_check_credentials(struct aws *aws, struct error *err);

struct aws_call {
    /* The caller fills these; they stay until the call is over. */
    enum client_method method;
    const char *path;  /* percent-encoded, "/" first */
    const char *query; /* percent-encoded, without '?'; NULL for none */
    struct aws_header headers[AWS_CALL_HEADER_MAX]; /* without a name: the end */
    struct bytes body;
    const uint8_t *body_sha256; /* 32 octets, if they are known; they are not checked */
    struct buf *answer;         /* a 2xx answer's body; or NULL */
    bool late_errors; /* 200 may be followed by an error in `answer`, as with S3's slow calls */
    uint64_t date_ms; /* what it is dated; 0: now */

    /* Filled by aws_run(). RC_OK: there was an answer, with whatever `status` (one with a late
     * error has 500). Else UNAVAILABLE, TOO_LARGE, NO_MEMORY, and `err`. */
    enum rc rc;
    int status;
    char code[AWS_CODE_SIZE]; /* "NoSuchKey"; "" if the answer had none */
    struct error err;
    struct buf head; /* the answer's headers: client_header() */
    bool unsure;     /* an attempt got no answer, so it may yet take effect */

    /* aws_run()'s own. */
    enum { AWS_WAITING, AWS_FLYING, AWS_ENDED } stage;
    uint32_t attempt;
    uint64_t not_before_ns;
    bool renewed;
};

void aws_run(struct aws *aws, struct aws_call *const calls[], size_t count, uint64_t deadline_ns);
void aws_call_done(struct aws_call *call);
/* Says why a call did not succeed: always UNAVAILABLE, TOO_LARGE or NO_MEMORY. `doing` is "storing
 * a picture". */
NODISCARD enum rc aws_fail(const struct aws *aws, const struct aws_call *call, const char *doing,
                           struct error *err);
/* The service's clock when it answered; 0 if it did not say. */
uint64_t aws_call_date_ms(const struct aws_call *call);
#endif
