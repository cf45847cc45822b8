/* SPDX-License-Identifier: Apache-2.0
 * jwk.h - the public keys of an issuer (RFC 7517) and signatures checked with them, for jwt.c.
 *
 * Only RS256 (RSA of 2,048 to 4,096 bits) and ES256 (P-256). The key decides the algorithm:
 * whatever a token says must be that. Secret keys ("oct") and private parts are not taken. */
#ifndef ACCOUNT_JWK_H
#define ACCOUNT_JWK_H
#include "base/bytes.h"

#include <openssl/types.h>

#define JWK_KID_SIZE      129
#define JWK_COUNT_MAX     32u
#define JWKS_SIZE_MAX     (64u << 10)
#define JWK_SIGNATURE_MAX 512u

enum jwk_algorithm { JWK_RS256, JWK_ES256 };

struct jwk {
    char kid[JWK_KID_SIZE];
    enum jwk_algorithm algorithm;
    EVP_PKEY *key;
};

struct jwks {
    uint32_t count;
    struct jwk keys[JWK_COUNT_MAX];
};

/* Keys for other uses or algorithms are left out, as RFC 7517 asks; so are keys without a kid.
 * INVALID: not a key set, a key of ours that is broken or weak, a kid twice, or none left. */
NODISCARD enum rc jwks_parse(struct bytes json, struct jwks *ret_jwks, struct error *err);
void jwks_done(struct jwks *jwks); /* all zero is fine */
/* NULL: there is none. */
const struct jwk *jwks_find(const struct jwks *jwks, const char *kid);
/* UNAUTHENTICATED: not the signature of `signed_part`. */
NODISCARD enum rc jwk_verify(enum jwk_algorithm algorithm, EVP_PKEY *key, struct bytes signed_part,
                             struct bytes signature, struct error *err);
#endif
