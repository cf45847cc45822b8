/* SPDX-License-Identifier: Apache-2.0
 * aws_credentials.h - who we are to AWS, and in which region.
 *
 * Credentials come from the first of these that is there, as in AWS's own libraries:
 *   1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *   2. AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN (IRSA): exchanged at STS
 *   3. the profile AWS_PROFILE [default] of ~/.aws/credentials and ~/.aws/config
 *   4. AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI (ECS, EKS Pod Identity)
 *   5. the instance metadata service, version 2 (an EC2 instance's role)
 * One that is there but fails is an error: the next one would be somebody else.
 *
 * They are kept and renewed here alone, five minutes before they expire; while that fails, those
 * that are still valid go on being given out. Any thread; one of them fetches, those that need
 * nothing newer do not wait for it. Secrets never get into an error's text.
 * Errors: UNAVAILABLE (a service did not answer, or refused), INVALID (a file or variable makes no
 * sense), NOT_FOUND (there are none anywhere: the text says where was looked), NO_MEMORY.
 */
#ifndef NET_AWS_CREDENTIALS_H
#define NET_AWS_CREDENTIALS_H
#include "base/bytes.h"

#define AWS_ACCESS_KEY_SIZE    129u
#define AWS_SECRET_KEY_SIZE    129u
#define AWS_SESSION_TOKEN_SIZE 8193u
#define AWS_REGION_SIZE        64u

struct aws_keys {
    char access_key[AWS_ACCESS_KEY_SIZE];
    char secret_key[AWS_SECRET_KEY_SIZE];
    char session_token[AWS_SESSION_TOKEN_SIZE]; /* "": none */
    uint64_t expires_ms;                        /* 0: never */
    uint32_t generation;                        /* tells these from earlier and later ones */
};
void aws_keys_wipe(struct aws_keys *keys);

struct aws_credentials;

NODISCARD enum rc aws_credentials_open(struct aws_credentials **ret_credentials, struct error *err);
void aws_credentials_free(struct aws_credentials *credentials); /* NULL is fine */
/* `ret_keys` is the caller's to wipe. */
NODISCARD enum rc aws_credentials_get(struct aws_credentials *credentials, uint64_t now_ms,
                                      struct aws_keys *ret_keys, struct error *err);
/* A service said that the keys of this generation have expired: the next get fetches others. False:
 * there are no others, or these have just taken the place of ones that were refused too. */
bool aws_credentials_reject(struct aws_credentials *credentials, uint32_t generation,
                            uint64_t now_ms);

/* AWS_REGION, AWS_DEFAULT_REGION, the profile's, the instance's. NOT_FOUND says where to name one.
 */
NODISCARD enum rc aws_region_find(char into[AWS_REGION_SIZE], struct error *err);
/* "amazonaws.com", or another in China. */
const char *aws_domain(const char *region);
#endif
