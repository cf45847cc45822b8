/* SPDX-License-Identifier: Apache-2.0
 * body_json.c - {"image": base64} or {"images": [base64, ...]}, with the parameters beside it. */
#include "api/exchange.h"
#include "api/long_strings.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "data:image/png;base64,....": what browsers make of a file. */
static struct bytes without_data_url(struct bytes text)
{
    if (text.size < 5 || memcmp(text.data, "data:", 5) != 0)
        return text;
    const uint8_t *comma = memchr(text.data, ',', text.size < 200 ? text.size : 200);
    if (comma == NULL)
        return text;
    size_t used = (size_t)(comma - text.data) + 1;
    return (struct bytes){comma + 1, text.size - used};
}

/* Decode `text` to `into`, which has room for 3/4 of it. */
static enum rc decode(EVP_ENCODE_CTX *context, struct bytes text, uint8_t *into, size_t *ret_size)
{
    int body_size = 0;
    int tail_size = 0;
    if (text.size > INT32_MAX)
        return RC_TOO_LARGE;
    /* OpenSSL takes it for the end, as PEM files have it. */
    if (memchr(text.data, '-', text.size) != NULL)
        return RC_INVALID;
    EVP_DecodeInit(context);
    if (EVP_DecodeUpdate(context, into, &body_size, text.data, (int)text.size) < 0 ||
        EVP_DecodeFinal(context, into + body_size, &tail_size) < 0)
        return RC_INVALID;
    *ret_size = (size_t)body_size + (size_t)tail_size;
    return RC_OK;
}

enum rc scalar_text(const char *name, const json_t *value, char room[SCALAR_TEXT_SIZE],
                    struct bytes *ret_text, struct error *err)
{
    int size = 0;
    if (json_is_string(value)) {
        *ret_text =
            (struct bytes){(const uint8_t *)json_string_value(value), json_string_length(value)};
        return RC_OK;
    }
    if (json_is_integer(value))
        size = snprintf(room, SCALAR_TEXT_SIZE, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        size = snprintf(room, SCALAR_TEXT_SIZE, "%.17g", json_real_value(value));
    else
        return error_set(err, RC_INVALID, "'%.40s' must be text or a number", name);
    *ret_text = (struct bytes){(const uint8_t *)room, (size_t)size};
    return RC_OK;
}

static enum rc set_parameter(struct exchange *exchange, const char *name, const json_t *value,
                             struct error *err)
{
    if (strcmp(name, "metadata") == 0)
        return metadata_set(&exchange->parameters, value, err);
    char room[SCALAR_TEXT_SIZE];
    struct bytes text;
    enum rc rc = scalar_text(name, value, room, &text, err);
    return rc == RC_OK ? parameter_set(&exchange->parameters, bytes_of(name), text, err) : rc;
}

/* All members but the pictures; the pictures' value in `*ret_pictures`. */
static enum rc read_members(struct exchange *exchange, json_t *root, json_t **ret_pictures,
                            struct error *err)
{
    const char *name = NULL;
    json_t *value = NULL;
    *ret_pictures = NULL;
    if (json_object_get(root, "image") == NULL && json_object_get(root, "images") == NULL)
        return error_set(err, RC_INVALID, "the object has no 'image': a picture in base64");
    json_object_foreach(root, name, value)
    {
        bool one = strcmp(name, "image") == 0;
        if (!one && strcmp(name, "images") != 0) {
            enum rc rc = set_parameter(exchange, name, value, err);
            if (rc != RC_OK)
                return rc;
            continue;
        }
        if (*ret_pictures != NULL)
            return error_set(err, RC_INVALID, "send 'image' or 'images', not both");
        if (one ? !json_is_string(value) : !json_is_array(value))
            return error_set(err, RC_INVALID, "'%s' must be %s", name,
                             one ? "a picture in base64" : "a list of pictures in base64");
        *ret_pictures = value;
        exchange->several = !one;
    }
    return RC_OK;
}

static const json_t *picture_at(const json_t *pictures, size_t index)
{
    return json_is_array(pictures) ? json_array_get(pictures, index) : pictures;
}

static enum rc decode_all(struct exchange *exchange, const struct long_strings *strings,
                          const json_t *pictures, struct work_request *work, struct error *err)
{
    size_t text_size = 0;
    uint32_t long_count = 0;
    for (size_t i = 0; i < work->image_count; i++) {
        const json_t *picture = picture_at(pictures, i);
        struct bytes text = long_strings_value(strings, picture);
        long_count += text.data != (const uint8_t *)json_string_value(picture);
        text_size += text.size;
    }
    if (long_count != strings->count)
        return error_set(err, RC_INVALID, "a string other than a picture is far too long");
    /* Only a client that writes the names of long strings itself could mean one several times. */
    if (text_size > http_body(exchange->http).size)
        return error_set(err, RC_INVALID, "the pictures are larger than the body");
    /* OpenSSL writes whole groups of three, and asks for no more than three bytes for four
     * characters. */
    exchange->decoded = malloc(text_size / 4 * 3 + 3 * (size_t)work->image_count + 64);
    EVP_ENCODE_CTX *context = EVP_ENCODE_CTX_new();
    enum rc rc = RC_OK;
    if (exchange->decoded == NULL || context == NULL)
        rc = error_set(err, RC_NO_MEMORY, "no memory for the pictures; try again later");
    uint8_t *into = exchange->decoded;
    for (size_t i = 0; i < work->image_count && rc == RC_OK; i++) {
        struct bytes text = long_strings_value(strings, picture_at(pictures, i));
        size_t size = 0;
        if (text.data == NULL || decode(context, without_data_url(text), into, &size) != RC_OK) {
            rc =
                error_set(err, RC_INVALID, "picture %zu is not base64 (RFC 4648, with padding)", i);
            break;
        }
        if (size == 0) {
            rc = error_set(err, RC_INVALID, "picture %zu is empty", i);
            break;
        }
        work->results[i].task.file = (struct bytes){into, size};
        into += size;
    }
    EVP_ENCODE_CTX_free(context);
    return rc;
}

static enum rc read_object(struct exchange *exchange, const struct long_strings *strings,
                           json_t *root, struct work_request **ret_work, struct error *err)
{
    json_t *pictures = NULL;
    enum rc rc = read_members(exchange, root, &pictures, err);
    if (rc != RC_OK)
        return rc;
    size_t count = json_is_array(pictures) ? json_array_size(pictures) : 1;
    uint32_t images_max = exchange->api->config.images_max;
    if (count == 0 || count > images_max)
        return error_set(err, count == 0 ? RC_INVALID : RC_TOO_LARGE,
                         "%zu pictures in one request; 1 to %u are accepted", count, images_max);
    struct work_request *work = work_request_open((uint32_t)count, exchange->parameters.top_k);
    if (work == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the request; try again later");
    rc = decode_all(exchange, strings, pictures, work, err);
    if (rc != RC_OK) {
        work_request_free(work);
        return rc;
    }
    *ret_work = work;
    return RC_OK;
}

enum rc body_json_read(struct exchange *exchange, struct work_request **ret_work, struct error *err)
{
    struct bytes body = http_body(exchange->http);
    if (body.size == 0)
        return error_set(err, RC_INVALID,
                         "the body is empty; send an object with 'image' or 'images'");
    struct long_strings strings;
    enum rc rc = long_strings_cut(body, exchange->api->config.images_max, &strings, err);
    if (rc != RC_OK)
        return rc;
    json_error_t where;
    json_t *root = json_loadb((const char *)strings.text.data, strings.text.size,
                              JSON_REJECT_DUPLICATES, &where);
    if (root == NULL) {
        long_strings_done(&strings);
        return error_set(err, RC_INVALID, "the body is not JSON: line %d, column %d: %.100s",
                         where.line, where.column, where.text);
    }
    rc = json_is_object(root)
             ? read_object(exchange, &strings, root, ret_work, err)
             : error_set(err, RC_INVALID, "the body must be an object with 'image' or 'images'");
    json_decref(root);
    long_strings_done(&strings);
    return rc;
}

enum rc body_object_read(struct exchange *exchange, json_t **ret_root, struct error *err)
{
    struct bytes type = http_header(exchange->http, "content-type");
    if (!media_type_is(type, "application/json"))
        return error_set(err, RC_UNSUPPORTED,
                         "send a JSON object with 'Content-Type: application/json'");
    struct bytes body = http_body(exchange->http);
    json_error_t where;
    json_t *root = body.size > 0 ? json_loadb((const char *)body.data, body.size,
                                              JSON_REJECT_DUPLICATES, &where)
                                 : NULL;
    if (body.size == 0)
        return error_set(err, RC_INVALID, "the body is empty; send a JSON object");
    if (root == NULL)
        return error_set(err, RC_INVALID, "the body is not JSON: line %d, column %d: %.100s",
                         where.line, where.column, where.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return error_set(err, RC_INVALID, "the body must be a JSON object");
    }
    *ret_root = root;
    return RC_OK;
}
