/* SPDX-License-Identifier: Apache-2.0
 * images.c - PUT /v1/images and GET /v1/images/{sha256}: stored pictures. */
#include "api/exchange.h"

#include "base/clock.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool sha256_parse(struct bytes text, uint8_t into[32])
{
    if (text.size != SHA256_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < 32; i++) {
        int high = hex_digit(text.data[2 * i]);
        int low = hex_digit(text.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        into[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

static enum rc check_body(const struct exchange *exchange, struct error *err)
{
    struct bytes type = http_header(exchange->http, "content-type");
    struct bytes coding = http_header(exchange->http, "content-encoding");
    if (http_body(exchange->http).size == 0)
        return error_set(err, RC_INVALID,
                         "the body is empty; send a picture, for example with curl -T photo.jpg");
    if (!media_type_is_picture(type))
        return error_set(err, RC_UNSUPPORTED,
                         "Content-Type '%.*s' is not supported; send the picture as it is, as "
                         "image/*",
                         (int)(type.size < 60 ? type.size : 60), (const char *)type.data);
    if (coding.size > 0 && !bytes_equal_nocase(coding, bytes_of("identity")))
        return error_set(err, RC_UNSUPPORTED,
                         "Content-Encoding is not supported here; send the "
                         "picture as it is");
    return RC_OK;
}

static void image_put(struct exchange *exchange)
{
    const struct api_config *config = &exchange->api->config;
    struct bytes body = http_body(exchange->http);
    struct error err = {0};
    struct image_info info;
    enum rc rc = image_probe(body, &config->limits, &info, &err);
    if (rc != RC_OK) {
        exchange_fail(exchange, rc, &err);
        return;
    }
    struct blob_item item = {.tenant = exchange->tenant,
                             .content = body,
                             .media_type = image_format_media_type(info.format)};
    if (EVP_Digest(body.data, body.size, item.sha256, NULL, EVP_sha256(), NULL) != 1)
        rc = error_set(&err, RC_NO_MEMORY, "no memory to hash the picture");
    if (rc == RC_OK)
        rc = blob_put(config->blob, &item, 1, clock_wall_ms(), &err);
    if (rc != RC_OK) {
        exchange_fail_store(exchange, rc, &err);
        return;
    }
    char sha256[SHA256_TEXT_SIZE];
    char location[sizeof("/v1/images/") + SHA256_TEXT_SIZE];
    sha256_text(item.sha256, sha256);
    (void)snprintf(location, sizeof(location), "/v1/images/%s", sha256);
    exchange_add_header(exchange, "Location", location);
    exchange_answer_json(exchange, item.existed ? 200 : 201,
                         json_pack("{s:s, s:s, s:I, s:I, s:I}", "sha256", sha256, "format",
                                   image_format_text(info.format), "width",
                                   (json_int_t)image_upright_width(&info), "height",
                                   (json_int_t)image_upright_height(&info), "size",
                                   (json_int_t)body.size));
}

/* Limits may have been wider when it was stored. */
static const char *media_type_of(struct bytes file)
{
    const struct image_limits any = {.bytes_max = SIZE_MAX,
                                     .side_min = 1,
                                     .side_max = UINT32_MAX,
                                     .pixels_max = UINT64_MAX,
                                     .jpeg_scans_max = UINT32_MAX,
                                     .memory_max = SIZE_MAX};
    struct image_info info;
    return image_probe(file, &any, &info, NULL) == RC_OK ? image_format_media_type(info.format)
                                                         : "application/octet-stream";
}

/* If-None-Match: a list of tags, weak or not, or "*". */
static bool client_has(const struct exchange *exchange, const char *etag)
{
    struct bytes tags = http_header(exchange->http, "if-none-match");
    return tags.size > 0 && (bytes_equal(tags, bytes_of("*")) ||
                             memmem(tags.data, tags.size, etag, strlen(etag)) != NULL);
}

static enum rc read_image(struct exchange *exchange, struct buf *into, bool *ret_unchanged,
                          struct error *err)
{
    struct blob *blob = exchange->api->config.blob;
    struct bytes segment = {exchange->segments[0].data, exchange->segments[0].size};
    uint8_t sha256[BLOB_SHA256_SIZE];
    struct blob_info info;
    *ret_unchanged = false;
    enum rc rc = RC_NOT_FOUND;
    if (sha256_parse(segment, sha256))
        rc = blob_stat(blob, exchange->tenant, sha256, &info, err);
    if (rc == RC_OK) {
        char etag[SHA256_TEXT_SIZE + 2];
        (void)snprintf(etag, sizeof(etag), "\"%.*s\"", (int)segment.size,
                       (const char *)segment.data);
        exchange_add_header(exchange, "ETag", etag);
        *ret_unchanged = client_has(exchange, etag);
        if (*ret_unchanged)
            return RC_OK;
        rc = exchange_hold(exchange, (size_t)info.size, err);
    }
    if (rc == RC_OK)
        rc = blob_get(blob, exchange->tenant, sha256, into, err);
    return rc != RC_NOT_FOUND ? rc
                              : error_set(err, rc, "there is no picture with this SHA-256 here");
}

static void image_get(struct exchange *exchange)
{
    struct error err = {0};
    struct buf body = BUF_INIT(BLOB_SIZE_MAX);
    bool unchanged = false;
    enum rc rc = read_image(exchange, &body, &unchanged, &err);
    if (rc != RC_OK) {
        buf_done(&body);
        exchange_fail_store(exchange, rc, &err);
        return;
    }
    /* A client may keep it, and asks each time whether it is still there: it may be erased. */
    exchange->cache_control = "private, no-cache";
    const char *type = unchanged ? NULL : media_type_of((struct bytes){body.data, body.size});
    exchange_answer(exchange, unchanged ? 304 : 200, type, &body);
}

void route_image_put(struct exchange *exchange)
{
    struct error err = {0};
    enum rc rc = check_body(exchange, &err);
    if (rc == RC_OK)
        exchange_push_store(exchange, image_put);
    else
        exchange_fail(exchange, rc, &err);
}

void route_image(struct exchange *exchange) { exchange_push_store(exchange, image_get); }
