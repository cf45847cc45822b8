/* SPDX-License-Identifier: Apache-2.0
 * aws_source.h - the places that credentials come from. Included by net/aws_*.c only. */
#ifndef NET_AWS_SOURCE_H
#define NET_AWS_SOURCE_H
#include "net/aws_credentials.h"
#include "net/aws_sign.h"
#include "net/client.h"

/* A variable's value, NULL when it is unset or empty. */
const char *aws_variable(const char *name);
/* A file that holds a secret, without the white space at its end. */
NODISCARD enum rc aws_file_read(const char *path, struct buf *into, struct error *err);
NODISCARD enum rc aws_keys_set(struct aws_keys *keys, const char *access_key,
                               const char *secret_key, const char *session_token, const char *where,
                               struct error *err);

/* One request, answered with 2xx into `answer`. `what` names the service in errors. */
struct aws_fetch {
    const char *what;
    const char *url;
    enum client_method method;
    struct bytes body;
    const char *headers[3]; /* NULL ends them */
    uint32_t timeout_ms;
};
#define AWS_ANSWER_SIZE_MAX (64u << 10)
NODISCARD enum rc aws_fetch(const struct aws_fetch *fetch, struct buf *answer, struct error *err);

/* Each gives NOT_FOUND when it is not configured here. */
NODISCARD enum rc aws_from_profile(struct aws_keys *ret_keys, struct error *err);
NODISCARD enum rc aws_from_web_identity(uint64_t now_ms, struct aws_keys *ret_keys,
                                        struct error *err);
NODISCARD enum rc aws_from_container(struct aws_keys *ret_keys, struct error *err);
NODISCARD enum rc aws_from_instance(struct aws_keys *ret_keys, struct error *err);

/* NOT_FOUND: it is not said there. */
NODISCARD enum rc aws_profile_region(char into[AWS_REGION_SIZE], struct error *err);
NODISCARD enum rc aws_instance_region(char into[AWS_REGION_SIZE], struct error *err);
#endif
