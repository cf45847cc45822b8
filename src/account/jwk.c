/* SPDX-License-Identifier: Apache-2.0 */
#include "account/jwk.h"
#include "account/base64url.h"

#include <assert.h>
#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <string.h>

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096
#define EXPONENT_MAX 4u /* bytes: a larger one only makes checking slow */
#define COORDINATE   32u
#define POINT_SIZE   (1 + 2 * COORDINATE)
#define DER_SIZE_MAX 80u

static const char *text_of(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key)); /* NULL: absent or no text */
}

static enum rc decode(json_t *object, const char *name, uint8_t *into, size_t size_max,
                      size_t *ret_size, struct error *err)
{
    const char *text = text_of(object, name);
    if (text == NULL || base64url_decode(bytes_of(text), into, size_max, ret_size) != RC_OK)
        return error_set(err, RC_INVALID, "a key's '%s' is not base64url of at most %zu bytes",
                         name, size_max);
    return RC_OK;
}

static EVP_PKEY *key_from(const char *type, OSSL_PARAM *params)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params != NULL && context != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    return key;
}

static enum rc read_rsa(json_t *object, EVP_PKEY **ret_key, struct error *err)
{
    uint8_t modulus[RSA_BITS_MAX / 8];
    uint8_t exponent[EXPONENT_MAX];
    size_t modulus_size = 0;
    size_t exponent_size = 0;
    enum rc rc = decode(object, "n", modulus, sizeof(modulus), &modulus_size, err);
    if (rc == RC_OK)
        rc = decode(object, "e", exponent, sizeof(exponent), &exponent_size, err);
    if (rc != RC_OK)
        return rc;
    BIGNUM *n = BN_bin2bn(modulus, (int)modulus_size, NULL);
    BIGNUM *e = BN_bin2bn(exponent, (int)exponent_size, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    if (n == NULL || e == NULL || builder == NULL)
        rc = error_set(err, RC_NO_MEMORY, "an RSA key");
    else if (BN_num_bits(n) < RSA_BITS_MIN || !BN_is_odd(n) || !BN_is_odd(e) || BN_is_one(e))
        rc = error_set(err, RC_INVALID, "an RSA key of %d bits: %d to %d, odd exponent above 1",
                       BN_num_bits(n), RSA_BITS_MIN, RSA_BITS_MAX);
    else if (OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
             OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        params = OSSL_PARAM_BLD_to_param(builder);
    if (rc == RC_OK) {
        *ret_key = key_from("RSA", params);
        if (*ret_key == NULL)
            rc = error_set(err, RC_INVALID, "an RSA key that OpenSSL does not take");
    }
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    return rc;
}

static enum rc read_ec(json_t *object, EVP_PKEY **ret_key, struct error *err)
{
    uint8_t point[POINT_SIZE] = {POINT_CONVERSION_UNCOMPRESSED};
    size_t x_size = 0;
    size_t y_size = 0;
    enum rc rc = decode(object, "x", point + 1, COORDINATE, &x_size, err);
    if (rc == RC_OK)
        rc = decode(object, "y", point + 1 + COORDINATE, COORDINATE, &y_size, err);
    if (rc != RC_OK)
        return rc;
    if (x_size != COORDINATE || y_size != COORDINATE)
        return error_set(err, RC_INVALID, "a P-256 key's x and y have 32 bytes each");
    char group[] = "P-256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
        OSSL_PARAM_construct_end()};
    /* Refuses a point that is not on the curve. */
    *ret_key = key_from("EC", params);
    return *ret_key != NULL ? RC_OK
                            : error_set(err, RC_INVALID, "a P-256 key whose x, y are not a point");
}

/* Whether a key is one of ours: for signatures, RS256 or ES256. */
static bool key_wanted(json_t *object, enum jwk_algorithm *ret_algorithm)
{
    const char *type = text_of(object, "kty");
    const char *use = text_of(object, "use");
    const char *algorithm = text_of(object, "alg");
    const char *curve = text_of(object, "crv");
    const char *kid = text_of(object, "kid");
    if (type == NULL || kid == NULL || kid[0] == '\0' || strlen(kid) >= JWK_KID_SIZE ||
        (use != NULL && strcmp(use, "sig") != 0))
        return false;
    json_t *operations = json_object_get(object, "key_ops");
    bool verifies = operations == NULL;
    size_t index;
    json_t *operation;
    json_array_foreach(operations, index, operation) if (json_is_string(operation) &&
                                                         strcmp(json_string_value(operation),
                                                                "verify") == 0) verifies = true;
    if (!verifies)
        return false;
    if (strcmp(type, "RSA") == 0) {
        *ret_algorithm = JWK_RS256;
        return algorithm == NULL || strcmp(algorithm, "RS256") == 0;
    }
    if (strcmp(type, "EC") == 0 && curve != NULL && strcmp(curve, "P-256") == 0) {
        *ret_algorithm = JWK_ES256;
        return algorithm == NULL || strcmp(algorithm, "ES256") == 0;
    }
    return false;
}

static enum rc read_key(json_t *object, struct jwks *jwks, struct error *err)
{
    enum jwk_algorithm algorithm;
    if (!key_wanted(object, &algorithm))
        return RC_OK;
    const char *kid = text_of(object, "kid");
    if (jwks_find(jwks, kid) != NULL)
        return error_set(err, RC_INVALID, "two keys have the kid '%.60s'", kid);
    struct jwk *jwk = &jwks->keys[jwks->count];
    enum rc rc =
        algorithm == JWK_RS256 ? read_rsa(object, &jwk->key, err) : read_ec(object, &jwk->key, err);
    if (rc != RC_OK)
        return rc;
    jwk->algorithm = algorithm;
    memcpy(jwk->kid, kid, strlen(kid) + 1);
    jwks->count++;
    return RC_OK;
}

enum rc jwks_parse(struct bytes json, struct jwks *ret_jwks, struct error *err)
{
    assert(ret_jwks != NULL);
    if (json.size > JWKS_SIZE_MAX)
        return error_set(err, RC_INVALID, "a key set has at most %u bytes", JWKS_SIZE_MAX);
    json_error_t wrong;
    json_t *root = json_loadb((const char *)json.data, json.size, JSON_REJECT_DUPLICATES, &wrong);
    json_t *list = json_object_get(root, "keys");
    struct jwks jwks = {0};
    enum rc rc = RC_OK;
    if (!json_is_array(list) || json_array_size(list) > JWK_COUNT_MAX)
        rc = error_set(err, RC_INVALID, "not a key set of at most %u keys%s%.80s", JWK_COUNT_MAX,
                       root == NULL ? ": " : "", root == NULL ? wrong.text : "");
    for (size_t i = 0; rc == RC_OK && i < json_array_size(list); i++)
        rc = read_key(json_array_get(list, i), &jwks, err);
    if (rc == RC_OK && jwks.count == 0)
        rc = error_set(err, RC_INVALID, "the key set has no RS256 or ES256 key with a kid");
    json_decref(root);
    if (rc == RC_OK)
        *ret_jwks = jwks;
    else
        jwks_done(&jwks);
    return rc;
}

void jwks_done(struct jwks *jwks)
{
    for (uint32_t i = 0; i < jwks->count; i++)
        EVP_PKEY_free(jwks->keys[i].key);
    *jwks = (struct jwks){0};
}

const struct jwk *jwks_find(const struct jwks *jwks, const char *kid)
{
    for (uint32_t i = 0; i < jwks->count; i++)
        if (strcmp(jwks->keys[i].kid, kid) == 0)
            return &jwks->keys[i];
    return NULL;
}

/* JWS has r and s side by side (RFC 7518, 3.4), OpenSSL wants them in DER. */
static size_t es256_der(struct bytes signature, uint8_t into[DER_SIZE_MAX])
{
    if (signature.size != 2 * COORDINATE)
        return 0;
    size_t size = 0;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature.data, COORDINATE, NULL);
    BIGNUM *s = BN_bin2bn(signature.data + COORDINATE, COORDINATE, NULL);
    if (pair != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = NULL; /* the pair's now */
        s = NULL;
        uint8_t *at = into;
        int written = i2d_ECDSA_SIG(pair, NULL) <= (int)DER_SIZE_MAX ? i2d_ECDSA_SIG(pair, &at) : 0;
        size = written > 0 ? (size_t)written : 0;
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return size;
}

enum rc jwk_verify(enum jwk_algorithm algorithm, EVP_PKEY *key, struct bytes signed_part,
                   struct bytes signature, struct error *err)
{
    uint8_t der[DER_SIZE_MAX];
    struct bytes given = signature;
    if (algorithm == JWK_ES256)
        given = (struct bytes){der, es256_der(signature, der)};
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *how = NULL;
    bool good =
        given.size > 0 && context != NULL &&
        EVP_DigestVerifyInit(context, &how, EVP_sha256(), NULL, key) == 1 &&
        (algorithm != JWK_RS256 || EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PADDING) == 1) &&
        EVP_DigestVerify(context, given.data, given.size, signed_part.data, signed_part.size) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error(); /* a stranger's bad signature leaves nothing in this thread's queue */
    return good ? RC_OK : error_set(err, RC_UNAUTHENTICATED, "the token's signature is wrong");
}
