/* SPDX-License-Identifier: Apache-2.0
 * Key sets and signatures: the vectors of RFC 7515, and keys that must not be taken. */
#include "check.h"
#include "random.h"
#include "tokens.h"
#include "account/base64url.h"
#include "account/jwk.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const rfc_payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9"
                                       "leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

static enum rc rfc_verify(const char *key_json, const char *header, const char *signature)
{
    struct jwks set;
    char *text = token_jwks(key_json, NULL);
    struct error err = {0};
    if (jwks_parse(bytes_of(text), &set, &err) != RC_OK)
        fail_msg("%s", err.text);
    free(text);
    char signed_part[512];
    uint8_t raw[JWK_SIGNATURE_MAX];
    size_t size = 0;
    (void)snprintf(signed_part, sizeof(signed_part), "%s.%s", header, rfc_payload);
    enum rc rc = base64url_decode(bytes_of(signature), raw, sizeof(raw), &size);
    if (rc == RC_OK)
        rc = jwk_verify(set.keys[0].algorithm, set.keys[0].key, bytes_of(signed_part),
                        (struct bytes){raw, size}, NULL);
    jwks_done(&set);
    return rc;
}

TEST(rfc7515_a2_rs256)
{
    static const char *const key = "{\"kty\":\"RSA\",\"kid\":\"a2\",\"n\":"
                                   "\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26"
                                   "mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-"
                                   "pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47s"
                                   "oMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-"
                                   "UTo7WTBEMa2R2CapHg665xsmtdVMTB"
                                   "QY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_"
                                   "h9iaGNj8q2ethFkMLs91kzk2PAcDTW"
                                   "9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}";
    static const char *const signature =
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2F"
        "p5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQB"
        "MHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeY"
        "I2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    assert_int_equal(rfc_verify(key, "eyJhbGciOiJSUzI1NiJ9", signature), RC_OK);
    assert_int_equal(rfc_verify(key, "eyJhbGciOiJSUzI1NiK9", signature), RC_UNAUTHENTICATED);
}

TEST(rfc7515_a3_es256)
{
    static const char *const key = "{\"kty\":\"EC\",\"kid\":\"a3\",\"crv\":\"P-256\","
                                   "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                                   "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}";
    static const char *const signature =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert_int_equal(rfc_verify(key, "eyJhbGciOiJFUzI1NiJ9", signature), RC_OK);
    assert_int_equal(rfc_verify(key, "eyJhbGciOiJFUzI1NiK9", signature), RC_UNAUTHENTICATED);
    /* One byte short, and zeroes: r and s of 0 must never pass. */
    assert_int_equal(rfc_verify(key, "eyJhbGciOiJFUzI1NiJ9",
                                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApm"
                                "WQxfKTUJqPP3-Kg6NU"),
                     RC_UNAUTHENTICATED);
    assert_int_equal(rfc_verify(key, "eyJhbGciOiJFUzI1NiJ9",
                                "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                                "AAAAAAAAAAAAAAAAAAAA"),
                     RC_UNAUTHENTICATED);
}

TEST(bad_key_sets_are_refused_and_foreign_keys_left_out)
{
    EVP_PKEY *ec = token_key_ec("P-256");
    EVP_PKEY *weak = token_key_rsa(1024);
    EVP_PKEY *other_curve = token_key_ec("P-384");
    char *weak_jwk = token_jwk(weak, "w");
    char *other_jwk = token_jwk(other_curve, "o");
    char *good_jwk = token_jwk(ec, "g");
    static char many[TOKEN_TEXT_MAX];
    size_t at = (size_t)snprintf(many, sizeof(many), "{\"keys\":[");
    for (uint32_t i = 0; i <= JWK_COUNT_MAX; i++)
        at += (size_t)snprintf(many + at, sizeof(many) - at, "%s{}", i > 0 ? "," : "");
    (void)snprintf(many + at, sizeof(many) - at, "]}");
    const char *const bad[] = {
        "", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "{\"keys\":[1,null,[]]}", many,
        "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"k\",\"k\":\"AAAA\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"****\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"k\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-256\",\"x\":\"AQAB\",\"y\":\"AQAB\"}]"
        "}",
        /* 32 bytes each, but no point of the curve */
        "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-256\","
        "\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
        "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}"};
    struct jwks set;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (jwks_parse(bytes_of(bad[i]), &set, NULL) != RC_INVALID)
            fail_msg("taken: %.200s", bad[i]);
    char *text = token_jwks(weak_jwk, good_jwk);
    assert_int_equal(jwks_parse(bytes_of(text), &set, NULL), RC_INVALID);
    free(text);
    text = token_jwks(good_jwk, good_jwk);
    assert_int_equal(jwks_parse(bytes_of(text), &set, NULL), RC_INVALID);
    free(text);
    text = token_jwks(other_jwk, good_jwk);
    assert_int_equal(jwks_parse(bytes_of(text), &set, NULL), RC_OK);
    assert_int_equal(set.count, 1);
    assert_null(jwks_find(&set, "o"));
    assert_non_null(jwks_find(&set, "g"));
    jwks_done(&set);
    free(text);
    free(weak_jwk);
    free(other_jwk);
    free(good_jwk);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(weak);
    EVP_PKEY_free(other_curve);
}

TEST(base64url_gives_back_what_was_encoded_and_takes_one_text_alone)
{
    uint64_t seed = 1;
    for (size_t size = 0; size < 70; size++) {
        uint8_t data[70] = {0};
        uint8_t again[70];
        char text[100];
        size_t got = 0;
        for (size_t i = 0; i < size; i++)
            data[i] = (uint8_t)random_next(&seed);
        token_base64url(data, size, text);
        assert_int_equal(base64url_decode(bytes_of(text), again, sizeof(again), &got), RC_OK);
        assert_int_equal(got, size);
        assert_memory_equal(again, data, size);
        assert_int_equal(base64url_decode(bytes_of(text), again, size == 0 ? 0 : size - 1, &got),
                         size == 0 ? RC_OK : RC_TOO_LARGE);
        for (size_t i = 0; i < strlen(text); i++) {
            char kept = text[i];
            text[i] = "=+/ \n."[random_below(&seed, 6)];
            assert_int_equal(base64url_decode(bytes_of(text), again, sizeof(again), &got),
                             RC_INVALID);
            text[i] = kept;
        }
    }
}

TEST(base32_is_rfc4648_in_lower_case)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "my"},
                                          {"fo", "mzxq"},
                                          {"foo", "mzxw6"},
                                          {"foob", "mzxw6yq"},
                                          {"fooba", "mzxw6ytb"},
                                          {"foobar", "mzxw6ytboi"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[20];
        base32_encode(bytes_of(rows[i][0]), text);
        assert_string_equal(text, rows[i][1]);
        assert_true(base32_fits(bytes_of(text)));
    }
    assert_false(base32_fits(bytes_of("ab1")));
    assert_false(base32_fits(bytes_of("abC")));
}

TEST_MAIN("account jwk")
