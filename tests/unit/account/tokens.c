/* SPDX-License-Identifier: Apache-2.0 */
#include "tokens.h"

#include <assert.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

EVP_PKEY *token_key_rsa(unsigned bits)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits);
    assert(key != NULL);
    return key;
}

EVP_PKEY *token_key_ec(const char *curve)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve);
    assert(key != NULL);
    return key;
}

void token_base64url(const void *data, size_t size, char *into)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const unsigned char *bytes = data;
    unsigned bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < size; i++) {
        bits = (bits << 8 | bytes[i]) & 0xffff;
        for (count += 8; count >= 6; count -= 6)
            *into++ = digits[bits >> (count - 6) & 63];
    }
    if (count > 0)
        *into++ = digits[bits << (6 - count) & 63];
    *into = '\0';
}

static void number_text(EVP_PKEY *key, const char *name, int size, char *into)
{
    BIGNUM *number = NULL;
    unsigned char bytes[1024];
    assert(EVP_PKEY_get_bn_param(key, name, &number) == 1);
    int written = size == 0 ? BN_bn2bin(number, bytes) : BN_bn2binpad(number, bytes, size);
    assert(written > 0);
    token_base64url(bytes, (size_t)written, into);
    BN_free(number);
}

char *token_jwk(EVP_PKEY *key, const char *kid)
{
    char *text = malloc(TOKEN_TEXT_MAX);
    char first[2048];
    char second[2048];
    assert(text != NULL);
    if (EVP_PKEY_is_a(key, "RSA")) {
        number_text(key, OSSL_PKEY_PARAM_RSA_N, 0, first);
        number_text(key, OSSL_PKEY_PARAM_RSA_E, 0, second);
        (void)snprintf(text, TOKEN_TEXT_MAX,
                       "{\"kty\":\"RSA\",\"kid\":\"%s\",\"use\":\"sig\",\"n\":\"%s\",\"e\":\"%s\"}",
                       kid, first, second);
        return text;
    }
    int size = EVP_PKEY_get_bits(key) == 256 ? 32 : 48;
    number_text(key, OSSL_PKEY_PARAM_EC_PUB_X, size, first);
    number_text(key, OSSL_PKEY_PARAM_EC_PUB_Y, size, second);
    (void)snprintf(text, TOKEN_TEXT_MAX,
                   "{\"kty\":\"EC\",\"kid\":\"%s\",\"use\":\"sig\",\"crv\":\"P-%d\",\"x\":\"%s\","
                   "\"y\":\"%s\"}",
                   kid, size * 8, first, second);
    return text;
}

char *token_jwks(const char *first, const char *second)
{
    char *text = malloc(TOKEN_TEXT_MAX);
    assert(text != NULL);
    (void)snprintf(text, TOKEN_TEXT_MAX, "{\"keys\":[%s%s%s]}", first, second != NULL ? "," : "",
                   second != NULL ? second : "");
    return text;
}

static size_t put_parts(const char *header, const char *payload, char into[TOKEN_TEXT_MAX])
{
    assert((strlen(header) + strlen(payload)) * 4 / 3 + 1000 < TOKEN_TEXT_MAX);
    token_base64url(header, strlen(header), into);
    size_t at = strlen(into);
    into[at++] = '.';
    token_base64url(payload, strlen(payload), into + at);
    return strlen(into);
}

void token_sign(EVP_PKEY *key, const char *header, const char *payload, char into[TOKEN_TEXT_MAX])
{
    size_t at = put_parts(header, payload, into);
    unsigned char signature[1024];
    size_t size = sizeof(signature);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int good = EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
               EVP_DigestSign(context, signature, &size, (const unsigned char *)into, at) == 1;
    assert(good);
    EVP_MD_CTX_free(context);
    if (EVP_PKEY_is_a(key, "EC")) {
        const unsigned char *der = signature;
        ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)size);
        int half = EVP_PKEY_get_bits(key) == 256 ? 32 : 48;
        good = BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, half) == half &&
               BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + half, half) == half;
        assert(good);
        ECDSA_SIG_free(pair);
        size = (size_t)half * 2;
    }
    into[at++] = '.';
    token_base64url(signature, size, into + at);
}

void token_sign_hmac(const void *secret, size_t secret_size, const char *header,
                     const char *payload, char into[TOKEN_TEXT_MAX])
{
    size_t at = put_parts(header, payload, into);
    unsigned char signature[32];
    unsigned size = 0;
    const unsigned char *done = HMAC(EVP_sha256(), secret, (int)secret_size,
                                     (const unsigned char *)into, at, signature, &size);
    assert(done != NULL);
    into[at++] = '.';
    token_base64url(signature, size, into + at);
}

char *token_public_pem(EVP_PKEY *key)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *data = NULL;
    int good = PEM_write_bio_PUBKEY(out, key);
    assert(good == 1);
    long size = BIO_get_mem_data(out, &data);
    char *text = strndup(data, (size_t)size);
    BIO_free(out);
    return text;
}
