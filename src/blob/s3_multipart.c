/* SPDX-License-Identifier: Apache-2.0
 * s3_multipart.c - a large picture goes up in parts, side by side, and appears when all are there.
 */
#include "blob/s3.h"

#include "base/clock.h"
#include "net/aws_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UPLOAD_ID_SIZE 1024u
#define ABORT_MS       5000u
#define COMPLETE_SIZE  (64u << 10)

struct upload {
    struct s3 *s3;
    const char *path;        /* of the object */
    char id[UPLOAD_ID_SIZE]; /* percent-encoded */
    struct s3_op *parts;
    uint32_t part_count;
};

/* Like `op`, which has the object's path and no headers of its own use. */
static void set(const struct upload *upload, struct s3_op *op, enum client_method method,
                const char *query)
{
    s3_op_set(upload->s3, op, method, NULL);
    (void)snprintf(op->path, sizeof(op->path), "%s", upload->path);
    (void)snprintf(op->query, sizeof(op->query), "%s", query);
}

static bool begin(struct upload *upload, struct s3_op *op, uint64_t deadline_ns)
{
    char id[UPLOAD_ID_SIZE / 3];
    struct buf encoded = BUF_INIT(UPLOAD_ID_SIZE - 1);
    (void)snprintf(op->query, sizeof(op->query), "uploads=");
    s3_op_header(op, "x-amz-checksum-algorithm", "SHA256");
    op->call.answer = &op->answer;
    s3_run_one(upload->s3, op, deadline_ns);
    bool fine = s3_is_fine(op) &&
                aws_xml_text((struct bytes){op->answer.data, op->answer.size}, "UploadId", id,
                             sizeof(id)) &&
                aws_encode(bytes_of(id), &encoded) == RC_OK;
    if (fine) {
        memcpy(upload->id, encoded.data, encoded.size);
        upload->id[encoded.size] = '\0';
    } else if (s3_is_fine(op)) {
        op->call.rc = error_set(&op->call.err, RC_UNAVAILABLE, "S3 gave no id for an upload");
    }
    buf_done(&encoded);
    return fine;
}

static bool send_parts(struct upload *upload, const struct blob_item *item, struct s3_op *into,
                       uint64_t deadline_ns)
{
    struct s3_op **ops = calloc(upload->part_count, sizeof(struct s3_op *));
    if (ops == NULL)
        return false;
    for (uint32_t i = 0; i < upload->part_count; i++) {
        struct s3_op *part = &upload->parts[i];
        char query[UPLOAD_ID_SIZE + 64];
        size_t from = (size_t)i * S3_PART_SIZE;
        size_t left = item->content.size - from;
        (void)snprintf(query, sizeof(query), "partNumber=%u&uploadId=%s", i + 1, upload->id);
        set(upload, part, CLIENT_PUT, query);
        s3_op_body(
            part,
            (struct bytes){item->content.data + from, left < S3_PART_SIZE ? left : S3_PART_SIZE},
            NULL);
        ops[i] = part;
    }
    s3_run(upload->s3, ops, upload->part_count, deadline_ns);
    free(ops);
    for (uint32_t i = 0; i < upload->part_count; i++)
        if (!s3_is_fine(&upload->parts[i])) {
            /* The failure is the whole's. */
            into->call.rc = upload->parts[i].call.rc;
            into->call.status = upload->parts[i].call.status;
            into->call.err = upload->parts[i].call.err;
            memcpy(into->call.code, upload->parts[i].call.code, AWS_CODE_SIZE);
            return false;
        }
    return true;
}

static enum rc list_parts(const struct upload *upload, struct buf *into)
{
    enum rc rc = buf_append(into, bytes_of("<CompleteMultipartUpload xmlns=\""
                                           "http://s3.amazonaws.com/doc/2006-03-01/\">"));
    for (uint32_t i = 0; i < upload->part_count && rc == RC_OK; i++) {
        char etag[S3_ETAG_SIZE];
        s3_answer_header(&upload->parts[i], "etag", etag, sizeof(etag));
        rc = buf_printf(into,
                        "<Part><ChecksumSHA256>%s</ChecksumSHA256><ETag>%s</ETag>"
                        "<PartNumber>%u</PartNumber></Part>",
                        upload->parts[i].checksum, etag, i + 1);
    }
    return rc == RC_OK ? buf_append(into, bytes_of("</CompleteMultipartUpload>")) : rc;
}

static bool complete(struct upload *upload, struct s3_op *op, uint64_t deadline_ns)
{
    char query[UPLOAD_ID_SIZE + 64];
    struct buf body = BUF_INIT(COMPLETE_SIZE);
    (void)snprintf(query, sizeof(query), "uploadId=%s", upload->id);
    s3_op_done(op);
    set(upload, op, CLIENT_POST, query);
    s3_op_header(op, "content-type", "application/xml");
    s3_op_header(op, "if-none-match", "*");
    op->call.answer = &op->answer;
    op->call.late_errors = true;
    op->call.rc = list_parts(upload, &body);
    op->call.body = (struct bytes){body.data, body.size};
    if (op->call.rc == RC_OK)
        s3_run_one(upload->s3, op, deadline_ns);
    buf_done(&body);
    /* An earlier attempt did it, and its answer got lost: whether it is there, a look will say. */
    if (op->call.rc == RC_OK && strcmp(op->call.code, "NoSuchUpload") == 0)
        op->call.status = 412;
    return s3_is_fine(op);
}

/* Its parts cost money as long as it is there. A rule of the bucket catches what this cannot. */
static void give_up(struct upload *upload)
{
    struct s3_op op;
    char query[UPLOAD_ID_SIZE + 64];
    (void)snprintf(query, sizeof(query), "uploadId=%s", upload->id);
    set(upload, &op, CLIENT_DELETE, query);
    s3_run_one(upload->s3, &op, clock_monotonic_ns() + ABORT_MS * NS_PER_MS);
    s3_op_done(&op);
}

void s3_put_parts(struct s3 *s3, const struct blob_item *item, struct s3_op *op,
                  uint64_t deadline_ns)
{
    struct upload upload = {.s3 = s3};
    char path[S3_PATH_SIZE];
    (void)snprintf(path, sizeof(path), "%s", op->path);
    upload.path = path;
    upload.part_count = (uint32_t)((item->content.size + S3_PART_SIZE - 1) / S3_PART_SIZE);
    upload.parts = calloc(upload.part_count, sizeof(*upload.parts));
    if (upload.parts == NULL) {
        op->call.rc = error_set(&op->call.err, RC_NO_MEMORY, "no memory for an upload");
        return;
    }
    if (begin(&upload, op, deadline_ns)) {
        bool fine = send_parts(&upload, item, op, deadline_ns);
        if (!fine && op->call.rc == RC_OK && s3_is_fine(op))
            op->call.rc = error_set(&op->call.err, RC_NO_MEMORY, "no memory for an upload");
        if (!fine || !complete(&upload, op, deadline_ns))
            give_up(&upload);
    }
    for (uint32_t i = 0; i < upload.part_count; i++)
        s3_op_done(&upload.parts[i]);
    free(upload.parts);
}
