/* SPDX-License-Identifier: Apache-2.0
 * s3.h - what the files of the S3 driver share.
 *
 * <prefix>/<tenant>/<2 hex>/<64 hex>: the object is the picture, its metadata "renewed-ms" the last
 * put, since S3's own time of change is not the caller's clock. A put of a picture that is there
 * copies the object onto itself with a new time: S3 does that without the content being sent.
 *
 * A put and a removal of the same picture, at once: S3 cannot erase on the condition that the age
 * is unchanged (an object's ETag is its content's, and stays). So whoever removes first writes what
 * he is about to remove into the object <prefix>/.imago-removals, then reads the ages, then erases
 * what is old; whoever puts reads that object after he has written. Since S3 shows every write at
 * once, either the put sees the removal, waits for it and looks again, or the removal sees the new
 * age. One removes at a time; his erasing requests are dated so that S3 itself refuses them after a
 * minute, and after three anybody may take his place. See docs/decisions/0008-s3-removals.md.
 *
 * Two processes that renew one picture's age at the same moment may leave the older of both times,
 * which differ by as much as the two puts took. Within a process they take turns.
 */
#ifndef BLOB_S3_H
#define BLOB_S3_H
#include "blob/driver.h"
#include "blob/hex.h"
#include "net/aws_call.h"

#include <pthread.h>

#define S3_BUCKET_SIZE   64u
#define S3_PREFIX_SIZE   257u
#define S3_NAME_SIZE     136u /* of an object, behind the prefix */
#define S3_PATH_SIZE     (S3_BUCKET_SIZE + S3_PREFIX_SIZE + S3_NAME_SIZE + 4)
#define S3_QUERY_SIZE    2048u
#define S3_ETAG_SIZE     80u
#define S3_CHECKSUM_SIZE 45u
#define S3_PARALLEL      32u
#define S3_DEADLINE_MS   30000u
#define S3_PART_SIZE     (8u << 20) /* a picture above it goes in parts of this size */
#define S3_REMOVALS_NAME ".imago-removals"

/* What the URL says. */
struct s3_place {
    char bucket[S3_BUCKET_SIZE];
    char prefix[S3_PREFIX_SIZE]; /* "" or with '/' at its end */
    char region[AWS_REGION_SIZE];
    char endpoint[256]; /* "": AWS's own */
    char sse[16];       /* "", "AES256", "aws:kms" */
    char kms_key[256];
    char storage_class[32]; /* "": the bucket's */
};
/* s3_url.c: `text` is "//bucket/prefix?region=..." */
NODISCARD enum rc s3_place_read(const char *text, struct s3_place *ret_place, struct error *err);
/* "https://my-pictures.s3.eu-central-1.amazonaws.com", and what stands before a key in a path. */
#define S3_ORIGIN_SIZE 320u
void s3_place_origin(const struct s3_place *place, char origin[S3_ORIGIN_SIZE],
                     char path_start[S3_BUCKET_SIZE + 2]);

struct s3 {
    struct blob base;
    struct s3_place place;
    struct aws *aws;
    char path_start[S3_BUCKET_SIZE + 2]; /* "/bucket", or "" where the host says it */
    pthread_mutex_t mutex;               /* of what follows */
    bool removals_known;
    char removals_etag[S3_ETAG_SIZE]; /* of the last look at the removals; "": no such object */
    pthread_mutex_t removing;         /* threads that remove take turns */
};
struct s3 *s3_of(struct blob *blob);

/* A call about one object, with room for what it points to. Zeroed, then s3_op_set(). */
struct s3_op {
    struct aws_call call;
    char path[S3_PATH_SIZE];
    char query[S3_QUERY_SIZE];
    uint8_t hash[BLOB_SHA256_SIZE]; /* of the body */
    char checksum[S3_CHECKSUM_SIZE];
    char renewed[24];
    char source[S3_PATH_SIZE];
    char type[64];
    char etag[S3_ETAG_SIZE];
    struct buf answer;
};
/* `key` without the prefix. */
void s3_op_set(const struct s3 *s3, struct s3_op *op, enum client_method method, const char *key);
void s3_op_header(struct s3_op *op, const char *name, const char *value);
/* How objects are to be stored: encryption and class. */
void s3_op_storage(const struct s3 *s3, struct s3_op *op);
/* `sha256` is the body's if it is known, else NULL. */
void s3_op_body(struct s3_op *op, struct bytes body, const uint8_t *sha256);
void s3_op_done(struct s3_op *op);
void s3_run(struct s3 *s3, struct s3_op *const ops[], size_t count, uint64_t deadline_ns);
void s3_run_one(struct s3 *s3, struct s3_op *op, uint64_t deadline_ns);
uint64_t s3_deadline(void);
/* 2xx. */
bool s3_is_fine(const struct s3_op *op);
bool s3_is_archived(const struct s3_op *op);
/* Of an object; a bucket that is absent is no absence of a picture. */
bool s3_is_absent(const struct s3_op *op);
/* A header of the answer as text; "" if it is not there or does not fit. */
void s3_answer_header(const struct s3_op *op, const char *name, char *into, size_t size);
void s3_picture_key(const char *tenant, const uint8_t *sha256, char into[S3_NAME_SIZE]);
/* From a HEAD's answer. */
struct blob_info s3_info(const struct s3_op *op);
NODISCARD enum rc s3_fail(const struct s3 *s3, const struct s3_op *op, const char *doing,
                          struct error *err);
NODISCARD enum rc s3_absent(struct error *err);
NODISCARD enum rc s3_archived(struct error *err);

/* s3_put.c, s3_multipart.c */
void s3_put(struct blob *blob, struct blob_item items[], uint32_t count, uint64_t now_ms);
/* Stores one above S3_PART_SIZE unless it is there: `op` then says 412. */
void s3_put_parts(struct s3 *s3, const struct blob_item *item, struct s3_op *op,
                  uint64_t deadline_ns);
/* The headers of whatever writes a picture; `type` may be NULL. */
void s3_op_picture(const struct s3 *s3, struct s3_op *op, const char *type, uint64_t renewed_ms);

/* s3_removals.c */
struct s3_doomed {
    char key[S3_NAME_SIZE];
    uint64_t before_ms; /* removed only if its last put was before that */
    /* Filled. OK: removed; NOT_FOUND; BUSY: put since; else UNAVAILABLE. */
    enum rc rc;
    struct error err;
    uint64_t size;
};
#define S3_DOOMED_MAX 100u
void s3_remove(struct s3 *s3, struct s3_doomed doomed[], uint32_t count, uint64_t deadline_ns);
/* A look at the removals. `is_mine` says whether one of the keys is being removed right now. */
struct s3_look {
    bool is_held;
    bool is_mine;
    char etag[S3_ETAG_SIZE];
};
NODISCARD enum rc s3_removals_look(struct s3 *s3, bool (*is_mine)(void *ctx, const char *key),
                                   void *ctx, uint64_t deadline_ns, struct s3_look *ret_look,
                                   struct error *err);

/* s3_walk.c */
enum rc s3_list(struct blob *blob, const char *tenant, const uint8_t *after,
                struct blob_entry entries[], uint32_t count_max, uint32_t *ret_count,
                struct error *err);
enum rc s3_tenant_next(struct blob *blob, const char *after, char *into, struct error *err);
enum rc s3_sweep(struct blob *blob, struct blob_sweep *sweep, uint64_t now_ms, struct error *err);
#endif
