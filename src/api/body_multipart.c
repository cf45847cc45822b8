/* SPDX-License-Identifier: Apache-2.0
 * body_multipart.c - pictures in fields `image`, parameters in fields of their names. */
#include "api/exchange.h"
#include "net/multipart.h"

#include <stdlib.h>

#define PARAMETER_PART_MAX 16u /* a field may be given again; reading a million takes a second */

/* Parameters may stand behind the pictures, so everything is read before room is made. */
struct form {
    struct bytes *pictures;
    uint32_t count;
    uint32_t parameter_count;
};

static enum rc take_part(struct exchange *exchange, const struct multipart_part *part,
                         struct form *form, struct error *err)
{
    uint32_t images_max = exchange->api->config.images_max;
    if (!bytes_equal(part->name, bytes_of("image"))) {
        if (part->filename.data != NULL)
            return error_set(err, RC_INVALID,
                             "the file is in a field '%.*s'; send pictures in fields named 'image'",
                             (int)(part->name.size < 40 ? part->name.size : 40),
                             (const char *)part->name.data);
        if (form->parameter_count++ == PARAMETER_PART_MAX)
            return error_set(err, RC_TOO_LARGE, "over %u parameters in one form",
                             PARAMETER_PART_MAX);
        return parameter_set(&exchange->parameters, part->name, part->body, err);
    }
    if (form->count == images_max)
        return error_set(err, RC_TOO_LARGE, "over %u pictures in one request", images_max);
    form->pictures[form->count++] = part->body;
    return RC_OK;
}

static enum rc take_form(struct exchange *exchange, struct form *form, struct error *err)
{
    struct multipart multipart;
    enum rc rc = multipart_start(&multipart, http_header(exchange->http, "content-type"),
                                 http_body(exchange->http), err);
    bool found = true;
    while (rc == RC_OK && found) {
        struct multipart_part part;
        rc = multipart_next(&multipart, &part, &found, err);
        if (rc == RC_OK && found)
            rc = take_part(exchange, &part, form, err);
    }
    if (rc == RC_OK && form->count == 0)
        return error_set(err, RC_INVALID, "the form has no field 'image' with a picture");
    return rc;
}

enum rc body_multipart_read(struct exchange *exchange, struct work_request **ret_work,
                            struct error *err)
{
    if (http_body(exchange->http).size == 0)
        return error_set(err, RC_INVALID,
                         "the body is empty; send a form with a picture in 'image'");
    struct form form = {calloc(exchange->api->config.images_max, sizeof(struct bytes)), 0, 0};
    if (form.pictures == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the request; try again later");
    enum rc rc = take_form(exchange, &form, err);
    struct work_request *work = NULL;
    if (rc == RC_OK) {
        work = work_request_open(form.count, exchange->parameters.top_k);
        if (work == NULL)
            rc = error_set(err, RC_NO_MEMORY, "no memory for the request; try again later");
    }
    if (rc == RC_OK) {
        for (uint32_t i = 0; i < form.count; i++)
            work->results[i].task.file = form.pictures[i];
        exchange->several = form.count > 1;
        *ret_work = work;
    }
    free(form.pictures);
    return rc;
}
