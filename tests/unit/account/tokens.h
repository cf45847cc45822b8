/* SPDX-License-Identifier: Apache-2.0
 * tokens.h - an issuer for tests: keys made on the spot, key sets, signed tokens. */
#ifndef TESTS_ACCOUNT_TOKENS_H
#define TESTS_ACCOUNT_TOKENS_H
#include <stddef.h>
#include <openssl/types.h>

#define TOKEN_TEXT_MAX 20000

EVP_PKEY *token_key_rsa(unsigned bits);
EVP_PKEY *token_key_ec(const char *curve); /* "P-256" */
/* {"kty": ..., "kid": kid, "use": "sig"} with the public part; malloced. */
char *token_jwk(EVP_PKEY *key, const char *kid);
/* {"keys": [first, second]}; second may be NULL; malloced. */
char *token_jwks(const char *first, const char *second);
void token_base64url(const void *data, size_t size, char *into);
/* header.payload.signature by the key's own algorithm, whatever the header says. */
void token_sign(EVP_PKEY *key, const char *header, const char *payload, char into[TOKEN_TEXT_MAX]);
/* HS256 with `secret`. */
void token_sign_hmac(const void *secret, size_t secret_size, const char *header,
                     const char *payload, char into[TOKEN_TEXT_MAX]);
/* The PEM of the public key, as the HS256 confusion takes it; malloced. */
char *token_public_pem(EVP_PKEY *key);
#endif
