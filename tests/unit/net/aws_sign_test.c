/* SPDX-License-Identifier: Apache-2.0
 * Signatures that AWS has published: its test suite of version 4, and the examples of S3's
 * manual. */
#include "check.h"
#include "net/aws_sign.h"
#include "net/aws_xml.h"

#include <string.h>

#define EMPTY  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

/* 2015-08-30 12:36:00 UTC, and 2013-05-24 00:00:00. */
#define SUITE_MS 1440938160000ull
#define S3_MS    1369353600000ull

struct vector {
    const char *method;
    const char *path;
    const char *query;
    struct aws_header headers[8]; /* a name of NULL ends them */
    const char *payload;
    const char *signature;
};

static void check_vectors(const struct vector vectors[], size_t count, struct aws_signing signing)
{
    for (size_t i = 0; i < count; i++) {
        const struct vector *vector = &vectors[i];
        char text[AWS_AUTHORIZATION_SIZE];
        struct error err = {0};
        signing.method = vector->method;
        signing.path = vector->path;
        signing.query = vector->query;
        signing.headers = vector->headers;
        signing.payload_sha256 = vector->payload;
        signing.header_count = 0;
        while (vector->headers[signing.header_count].name != NULL)
            signing.header_count++;
        assert_int_equal(aws_sign(&signing, text, &err), RC_OK);
        const char *signature = strstr(text, "Signature=");
        assert_non_null(signature);
        assert_string_equal(signature + strlen("Signature="), vector->signature);
    }
}

#define SUITE_HEADERS                                                                              \
    {"host", "example.amazonaws.com"}, { "x-amz-date", "20150830T123600Z" }

TEST(the_vectors_of_the_test_suite)
{
    static const struct vector vectors[] = {
        /* get-vanilla, get-vanilla-query-order-key-case, get-vanilla-empty-query-key,
         * get-unreserved, get-header-value-trim */
        {"GET",
         "/",
         "",
         {SUITE_HEADERS, {NULL, NULL}},
         EMPTY,
         "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
        {"GET",
         "/",
         "Param2=value2&Param1=value1",
         {SUITE_HEADERS, {NULL, NULL}},
         EMPTY,
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
        {"GET",
         "/",
         "Param1=value1",
         {SUITE_HEADERS, {NULL, NULL}},
         EMPTY,
         "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
        {"GET",
         "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
         "",
         {SUITE_HEADERS, {NULL, NULL}},
         EMPTY,
         "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
        {"GET",
         "/",
         "",
         {{"x-amz-date", "20150830T123600Z"},
          {"host", "example.amazonaws.com"},
          {"my-header1", " value1"},
          {"my-header2", " \"a   b   c\""},
          {NULL, NULL}},
         EMPTY,
         "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
        /* post-vanilla, post-header-key-sort, post-x-www-form-urlencoded */
        {"POST",
         "/",
         "",
         {SUITE_HEADERS, {NULL, NULL}},
         EMPTY,
         "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
        {"POST",
         "/",
         "",
         {{"my-header1", "value1"}, SUITE_HEADERS, {NULL, NULL}},
         EMPTY,
         "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
        {"POST",
         "/",
         "",
         {{"content-type", "application/x-www-form-urlencoded"}, SUITE_HEADERS, {NULL, NULL}},
         "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
         "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
    };
    check_vectors(vectors, sizeof(vectors) / sizeof(vectors[0]),
                  (struct aws_signing){.access_key = "AKIDEXAMPLE",
                                       .secret_key = SECRET,
                                       .region = "us-east-1",
                                       .service = "service",
                                       .now_ms = SUITE_MS});
}

#define S3_HEADERS                                                                                 \
    {"host", "examplebucket.s3.amazonaws.com"}, {"x-amz-date", "20130524T000000Z"},                \
    {                                                                                              \
        "x-amz-content-sha256", EMPTY                                                              \
    }

TEST(the_examples_of_the_manual_of_s3)
{
    static const char put[] = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    const struct vector vectors[] = {
        {"GET",
         "/test.txt",
         "",
         {S3_HEADERS, {"range", "bytes=0-9"}, {NULL, NULL}},
         EMPTY,
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
        {"PUT",
         "/test%24file.text",
         "",
         {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
          {"host", "examplebucket.s3.amazonaws.com"},
          {"x-amz-content-sha256", put},
          {"x-amz-date", "20130524T000000Z"},
          {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
          {NULL, NULL}},
         put,
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
        {"GET",
         "/",
         "lifecycle",
         {S3_HEADERS, {NULL, NULL}},
         EMPTY,
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
        {"GET",
         "/",
         "max-keys=2&prefix=J",
         {S3_HEADERS, {NULL, NULL}},
         EMPTY,
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
    };
    check_vectors(vectors, sizeof(vectors) / sizeof(vectors[0]),
                  (struct aws_signing){.access_key = "AKIAIOSFODNN7EXAMPLE",
                                       .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                                       .region = "us-east-1",
                                       .service = "s3",
                                       .now_ms = S3_MS});
}

TEST(the_header_says_who_what_and_how)
{
    static const struct aws_header headers[] = {SUITE_HEADERS};
    const struct aws_signing signing = {.access_key = "AKIDEXAMPLE",
                                        .secret_key = SECRET,
                                        .region = "us-east-1",
                                        .service = "service",
                                        .method = "GET",
                                        .path = "/",
                                        .query = "",
                                        .headers = headers,
                                        .header_count = 2,
                                        .payload_sha256 = EMPTY,
                                        .now_ms = SUITE_MS};
    char text[AWS_AUTHORIZATION_SIZE];
    assert_int_equal(aws_sign(&signing, text, NULL), RC_OK);
    assert_string_equal(
        text, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
              "SignedHeaders=host;x-amz-date, "
              "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

TEST(dates)
{
    char text[AWS_DATE_SIZE];
    aws_date_text(SUITE_MS + 999, text);
    assert_string_equal(text, "20150830T123600Z");
    assert_int_equal(aws_http_date_read(bytes_of("Sun, 30 Aug 2015 12:36:00 GMT")), SUITE_MS);
    assert_int_equal(aws_http_date_read(bytes_of("yesterday")), 0);
    assert_int_equal(aws_http_date_read(bytes_of("")), 0);
}

TEST(what_is_not_plain_is_encoded)
{
    struct buf into = BUF_INIT(100);
    assert_int_equal(aws_encode(bytes_of("a/b c+\xc3\xbc~"), &into), RC_OK);
    assert_true(bytes_equal((struct bytes){into.data, into.size}, bytes_of("a%2Fb%20c%2B%C3%BC~")));
    buf_done(&into);
}

TEST(elements_are_taken_out_of_a_document)
{
    struct bytes rest = bytes_of("<L><C><Key>a&amp;b</Key></C><C><Key>&quot;c&quot;</Key></C></L>");
    struct bytes one;
    char text[16];
    assert_true(aws_xml_next(&rest, "C", &one));
    assert_true(aws_xml_text(one, "Key", text, sizeof(text)));
    assert_string_equal(text, "a&b");
    assert_true(aws_xml_next(&rest, "C", &one));
    assert_true(aws_xml_text(one, "Key", text, sizeof(text)));
    assert_string_equal(text, "\"c\"");
    assert_false(aws_xml_next(&rest, "C", &one));
    assert_false(aws_xml_text(bytes_of("<a>toolong</a>"), "a", text, 7));
    assert_string_equal(text, "");
    assert_true(aws_xml_text(bytes_of("<a>just</a>"), "a", text, 5));
    assert_false(aws_xml_text(bytes_of("<a>open"), "a", text, sizeof(text)));
    assert_false(aws_xml_text((struct bytes){0}, "a", text, sizeof(text)));
}

TEST_MAIN("AWS signatures")
