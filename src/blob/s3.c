/* SPDX-License-Identifier: Apache-2.0
 * s3.c - pictures as objects: opening, reading, erasing, restoring. See s3.h for the layout. */
#include "blob/s3.h"

#include "base/clock.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_SIZE_MAX (4u << 20) /* of a listing; the others are small */
#define TRY_MS          5000u      /* at the start */

struct s3 *s3_of(struct blob *blob)
{
    assert(blob->ops == &blob_s3);
    return (struct s3 *)blob;
}

uint64_t s3_deadline(void) { return clock_monotonic_ns() + S3_DEADLINE_MS * NS_PER_MS; }

/* --- one call -------------------------------------------------------------------------------- */

void s3_op_set(const struct s3 *s3, struct s3_op *op, enum client_method method, const char *key)
{
    *op = (struct s3_op){.answer = BUF_INIT(ANSWER_SIZE_MAX)};
    (void)snprintf(op->path, sizeof(op->path), "%s/%s%s", s3->path_start,
                   key != NULL ? s3->place.prefix : "", key != NULL ? key : "");
    op->call.method = method;
    op->call.path = op->path;
    op->call.query = op->query;
}

void s3_op_header(struct s3_op *op, const char *name, const char *value)
{
    size_t at = 0;
    while (at < AWS_CALL_HEADER_MAX && op->call.headers[at].name != NULL)
        at++;
    assert(at < AWS_CALL_HEADER_MAX);
    op->call.headers[at] = (struct aws_header){name, value};
}

void s3_op_storage(const struct s3 *s3, struct s3_op *op)
{
    const struct s3_place *place = &s3->place;
    if (place->sse[0] != '\0')
        s3_op_header(op, "x-amz-server-side-encryption", place->sse);
    if (place->kms_key[0] != '\0')
        s3_op_header(op, "x-amz-server-side-encryption-aws-kms-key-id", place->kms_key);
    if (place->storage_class[0] != '\0')
        s3_op_header(op, "x-amz-storage-class", place->storage_class);
}

void s3_op_body(struct s3_op *op, struct bytes body, const uint8_t *sha256)
{
    if (sha256 != NULL)
        memcpy(op->hash, sha256, sizeof(op->hash));
    else if (EVP_Digest(body.data, body.size, op->hash, NULL, EVP_sha256(), NULL) != 1)
        memset(op->hash, 0, sizeof(op->hash)); /* S3 will refuse it */
    op->call.body = body;
    op->call.body_sha256 = op->hash;
    (void)EVP_EncodeBlock((unsigned char *)op->checksum, op->hash, sizeof(op->hash));
    s3_op_header(op, "x-amz-checksum-sha256", op->checksum);
}

void s3_op_done(struct s3_op *op)
{
    aws_call_done(&op->call);
    buf_done(&op->answer);
}

void s3_run(struct s3 *s3, struct s3_op *const ops[], size_t count, uint64_t deadline_ns)
{
    enum { SOME = 256 };
    struct aws_call *calls[SOME];
    for (size_t done = 0; done < count; done += SOME) {
        size_t some = count - done < SOME ? count - done : SOME;
        for (size_t i = 0; i < some; i++)
            calls[i] = &ops[done + i]->call;
        aws_run(s3->aws, calls, some, deadline_ns);
    }
}

void s3_run_one(struct s3 *s3, struct s3_op *op, uint64_t deadline_ns)
{
    s3_run(s3, &op, 1, deadline_ns);
}

bool s3_is_fine(const struct s3_op *op)
{
    return op->call.rc == RC_OK && op->call.status / 100 == 2;
}

bool s3_is_archived(const struct s3_op *op)
{
    return op->call.rc == RC_OK && (strcmp(op->call.code, "InvalidObjectState") == 0 ||
                                    strcmp(op->call.code, "ObjectNotInActiveTierError") == 0);
}

bool s3_is_absent(const struct s3_op *op)
{
    return op->call.rc == RC_OK && op->call.status == 404 &&
           (op->call.code[0] == '\0' || strcmp(op->call.code, "NoSuchKey") == 0);
}

void s3_answer_header(const struct s3_op *op, const char *name, char *into, size_t size)
{
    struct bytes value = client_header(&op->call.head, name);
    into[0] = '\0';
    if (value.size < size && value.size > 0) {
        memcpy(into, value.data, value.size);
        into[value.size] = '\0';
    }
}

void s3_picture_key(const char *tenant, const uint8_t *sha256, char into[S3_NAME_SIZE])
{
    char name[HEX_NAME_SIZE];
    hex_text(sha256, BLOB_SHA256_SIZE, name);
    (void)snprintf(into, S3_NAME_SIZE, "%s/%.2s/%s", tenant, name, name);
}

/* One that somebody else stored has no time of ours: it counts as old. */
struct blob_info s3_info(const struct s3_op *op)
{
    char size[24], renewed[24];
    s3_answer_header(op, "content-length", size, sizeof(size));
    s3_answer_header(op, "x-amz-meta-renewed-ms", renewed, sizeof(renewed));
    return (struct blob_info){.size = strtoull(size, NULL, 10),
                              .renewed_ms = strtoull(renewed, NULL, 10)};
}

enum rc s3_absent(struct error *err)
{
    return error_set(err, RC_NOT_FOUND, "there is no such picture");
}

enum rc s3_archived(struct error *err)
{
    return error_set(err, RC_ARCHIVED,
                     "the picture is in an archive and cannot be read now: have it restored with "
                     "'imago image restore', or send it again");
}

enum rc s3_fail(const struct s3 *s3, const struct s3_op *op, const char *doing, struct error *err)
{
    char what[120];
    (void)snprintf(what, sizeof(what), "%s s3://%.60s", doing, s3->place.bucket);
    return aws_fail(s3->aws, &op->call, what, err);
}

/* --- the driver's functions ------------------------------------------------------------------- */

static void s3_free(struct blob *blob)
{
    struct s3 *s3 = s3_of(blob);
    aws_free(s3->aws);
    (void)pthread_mutex_destroy(&s3->mutex);
    (void)pthread_mutex_destroy(&s3->removing);
    free(s3);
}

static enum rc connect_to(struct s3 *s3, struct error *err)
{
    char origin[S3_ORIGIN_SIZE];
    s3_place_origin(&s3->place, origin, s3->path_start);
    const struct aws_config config = {.service = "s3",
                                      .name = "S3",
                                      .region = s3->place.region,
                                      .origin = origin,
                                      .parallel_max = S3_PARALLEL};
    return aws_open(&config, &s3->aws, err);
}

/* What will not mend by itself ends the start; a service that does not answer now does not. */
static enum rc try_out(struct s3 *s3, struct error *err)
{
    struct s3_op op;
    struct error why = {0};
    enum rc rc = aws_check_credentials(s3->aws, &why);
    if (rc == RC_UNAVAILABLE)
        return RC_OK;
    if (rc != RC_OK)
        return error_set(err, rc == RC_NOT_FOUND ? RC_UNAUTHENTICATED : rc, "%s", why.text);
    s3_op_set(s3, &op, CLIENT_GET, S3_REMOVALS_NAME);
    op.call.answer = &op.answer;
    s3_run_one(s3, &op, clock_monotonic_ns() + TRY_MS * NS_PER_MS);
    bool answered = op.call.rc == RC_OK && op.call.status < 500;
    if (answered && !s3_is_fine(&op) && !s3_is_absent(&op) && !s3_is_archived(&op))
        rc = s3_fail(s3, &op, "opening", err);
    s3_op_done(&op);
    return rc;
}

static enum rc s3_open(const char *place, struct blob **ret_blob, struct error *err)
{
    struct s3 *s3 = calloc(1, sizeof(*s3));
    if (s3 == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the store of pictures");
    s3->base.ops = &blob_s3;
    (void)pthread_mutex_init(&s3->mutex, NULL);
    (void)pthread_mutex_init(&s3->removing, NULL);
    enum rc rc = s3_place_read(place, &s3->place, err);
    if (rc == RC_OK)
        rc = connect_to(s3, err);
    if (rc == RC_OK)
        rc = try_out(s3, err);
    if (rc != RC_OK) {
        s3_free(&s3->base);
        return rc;
    }
    *ret_blob = &s3->base;
    return RC_OK;
}

static enum rc s3_get(struct blob *blob, const char *tenant, const uint8_t *sha256,
                      struct buf *into, struct error *err)
{
    struct s3 *s3 = s3_of(blob);
    struct s3_op op;
    char key[S3_NAME_SIZE];
    uint8_t digest[32];
    s3_picture_key(tenant, sha256, key);
    s3_op_set(s3, &op, CLIENT_GET, key);
    op.call.answer = into;
    s3_run_one(s3, &op, s3_deadline());
    enum rc rc = RC_OK;
    if (s3_is_absent(&op))
        rc = s3_absent(err);
    else if (s3_is_archived(&op))
        rc = s3_archived(err);
    else if (op.call.rc == RC_TOO_LARGE)
        rc = error_set(err, RC_TOO_LARGE, "no room to read a picture (at most %zu bytes)",
                       into->size_max);
    else if (!s3_is_fine(&op))
        rc = s3_fail(s3, &op, "reading a picture in", err);
    else if (EVP_Digest(into->data, into->size, digest, NULL, EVP_sha256(), NULL) != 1 ||
             memcmp(digest, sha256, sizeof(digest)) != 0)
        rc = error_set(err, RC_INTERNAL,
                       "a picture is damaged; restore it from a backup: s3://%s/%.60s%.120s",
                       s3->place.bucket, s3->place.prefix, key);
    if (rc != RC_OK)
        buf_clear(into);
    s3_op_done(&op);
    return rc;
}

static enum rc look_at(struct s3 *s3, const char *tenant, const uint8_t *sha256, struct s3_op *op,
                       struct error *err)
{
    char key[S3_NAME_SIZE];
    s3_picture_key(tenant, sha256, key);
    s3_op_set(s3, op, CLIENT_HEAD, key);
    s3_run_one(s3, op, s3_deadline());
    if (s3_is_absent(op))
        return s3_absent(err);
    return s3_is_fine(op) ? RC_OK : s3_fail(s3, op, "looking at a picture in", err);
}

static enum rc s3_stat(struct blob *blob, const char *tenant, const uint8_t *sha256,
                       struct blob_info *ret_info, struct error *err)
{
    struct s3_op op;
    enum rc rc = look_at(s3_of(blob), tenant, sha256, &op, err);
    if (rc == RC_OK)
        *ret_info = s3_info(&op);
    s3_op_done(&op);
    return rc;
}

static enum rc s3_delete(struct blob *blob, const char *tenant, const uint8_t *sha256,
                         uint64_t renewed_before_ms, struct error *err)
{
    struct s3_doomed doomed = {.before_ms = renewed_before_ms};
    s3_picture_key(tenant, sha256, doomed.key);
    s3_remove(s3_of(blob), &doomed, 1, s3_deadline());
    if (doomed.rc != RC_OK && err != NULL)
        *err = doomed.err;
    return doomed.rc;
}

/* --- archives -------------------------------------------------------------------------------- */

static const char *tier_text(enum blob_tier tier)
{
    static const char *const texts[] = {[BLOB_TIER_STANDARD] = "Standard",
                                        [BLOB_TIER_BULK] = "Bulk",
                                        [BLOB_TIER_EXPEDITED] = "Expedited"};
    return texts[tier];
}

static enum rc ask(struct s3 *s3, const char *key, const struct blob_restore *restore,
                   bool with_days, enum blob_presence *ret_presence, struct error *err)
{
    struct s3_op op;
    struct buf body = BUF_INIT(1024);
    s3_op_set(s3, &op, CLIENT_POST, key);
    (void)snprintf(op.query, sizeof(op.query), "restore=");
    enum rc rc =
        buf_printf(&body, "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    if (rc == RC_OK && with_days)
        rc = buf_printf(&body, "<Days>%u</Days>", restore->days);
    if (rc == RC_OK)
        rc = buf_printf(&body,
                        "<GlacierJobParameters><Tier>%s</Tier></GlacierJobParameters>"
                        "</RestoreRequest>",
                        tier_text(restore->tier));
    if (rc == RC_OK) {
        s3_op_header(&op, "content-type", "application/xml");
        s3_op_body(&op, (struct bytes){body.data, body.size}, NULL);
        s3_run_one(s3, &op, s3_deadline());
        if (s3_is_fine(&op))
            *ret_presence = BLOB_RESTORE_ASKED;
        else if (strcmp(op.call.code, "RestoreAlreadyInProgress") == 0)
            *ret_presence = BLOB_RESTORE_UNDER_WAY;
        else
            rc = s3_fail(s3, &op, "restoring a picture in", err);
    }
    buf_done(&body);
    s3_op_done(&op);
    return rc;
}

static enum rc s3_restore(struct blob *blob, const char *tenant, const uint8_t *sha256,
                          const struct blob_restore *restore, enum blob_presence *ret_presence,
                          struct error *err)
{
    struct s3 *s3 = s3_of(blob);
    struct s3_op op;
    char key[S3_NAME_SIZE], class[32], status[200], tier[32];
    s3_picture_key(tenant, sha256, key);
    enum rc rc = look_at(s3, tenant, sha256, &op, err);
    if (rc == RC_OK) {
        s3_answer_header(&op, "x-amz-storage-class", class, sizeof(class));
        s3_answer_header(&op, "x-amz-restore", status, sizeof(status));
        s3_answer_header(&op, "x-amz-archive-status", tier, sizeof(tier));
        bool archived = strcmp(class, "GLACIER") == 0 || strcmp(class, "DEEP_ARCHIVE") == 0;
        if (!archived && tier[0] == '\0')
            *ret_presence = BLOB_AT_HAND;
        else if (strstr(status, "ongoing-request=\"true\"") != NULL)
            *ret_presence = BLOB_RESTORE_UNDER_WAY;
        else if (strstr(status, "ongoing-request=\"false\"") != NULL)
            *ret_presence = BLOB_RESTORED;
        else
            rc = ask(s3, key, restore, archived, ret_presence, err);
    }
    s3_op_done(&op);
    return rc;
}

const struct blob_ops blob_s3 = {
    .scheme = "s3:",
    .open = s3_open,
    .free = s3_free,
    .put = s3_put,
    .get = s3_get,
    .stat = s3_stat,
    .delete = s3_delete,
    .list = s3_list,
    .tenant_next = s3_tenant_next,
    .sweep = s3_sweep,
    .restore = s3_restore,
};
