/* SPDX-License-Identifier: Apache-2.0
 * blob.h - stored pictures, keyed by tenant and SHA-256.
 *
 * A picture is written once for each tenant, whole or not at all, and never changes. The store
 * knows nothing of predictions: who still needs a picture is asked of the caller, at the sweep.
 *
 * Atomicity: a reader sees a picture whole or not at all, also across a crash and a power loss.
 * Durability: what blob_put() and blob_delete() report as done survives a power loss.
 * Ordering: none between items or calls, except that what returned happened before.
 * Idempotency: all of it; a picture that is already there is not written again, its age begins
 * anew. Visibility: at once, to every process that has the same store open. Isolation: nothing is
 * shared between tenants, and another tenant's picture is as absent as one that does not exist.
 * Errors: UNAVAILABLE (full, read-only, failing or missing disk, too many open files: the text says
 * what, where and what to do; the same call may be repeated), INVALID (tenant, media type, empty
 * content), TOO_LARGE, NOT_FOUND, ARCHIVED (it must be restored before it can be read),
 * NO_MEMORY, INTERNAL (a damaged picture). Texts may hold paths:
 * they are for the log, not for clients. Clock: `now_ms` is the caller's, milliseconds since 1970.
 * Processes that share a store should agree to within minutes. Threads: every function from any
 * thread, and any number of processes on one store. Ownership: everything passed in is borrowed for
 * the call. Adding a driver: blob/<name>.c, one row in blob/drivers.def, one line in meson.build.
 */
#ifndef BLOB_BLOB_H
#define BLOB_BLOB_H
#include "base/bytes.h"

#define BLOB_SHA256_SIZE     32u
#define BLOB_TENANT_SIZE_MAX 63u /* [a-z0-9][a-z0-9-]* */
#define BLOB_SIZE_MAX        (256u << 20)
#define BLOB_PUT_COUNT_MAX   1024u
#define BLOB_LIST_COUNT_MAX  1024u
#define BLOB_SWEEP_AGE_MS    (24u * 3600u * 1000u) /* what `older_than_ms` is in production */

struct blob; /* blob_open() .. blob_free() */

struct blob_config {
    const char *url; /* file:/folder[?sync=auto|all|each], s3://bucket/prefix[?...] (blob/s3_url.c);
                        "fault:" before another, in test builds */
};

/* The folder is made if only its last part is missing. */
NODISCARD enum rc blob_open(const struct blob_config *config, struct blob **ret_blob,
                            struct error *err);
void blob_free(struct blob *blob); /* NULL is fine */

struct blob_item {
    const char *tenant;
    uint8_t sha256[BLOB_SHA256_SIZE]; /* of `content`; the caller knows it, so it is not checked */
    struct bytes content;
    const char
        *media_type; /* "image/jpeg", for stores that serve objects themselves; may be NULL */
    bool renew_only; /* no content: begin the age anew, or NOT_FOUND */

    /* Set by blob_put(). */
    enum rc rc;
    bool existed; /* it was there before: nothing was written */
    struct error err;
};

/* Group durability: when it returns, every item with RC_OK is on the disk, and its age counts from
 * `now_ms`. Items fail one by one; one that failed is absent, or whole, never torn. Two items with
 * one key are fine. Gives RC_OK if all are, else the first failure. */
NODISCARD enum rc blob_put(struct blob *blob, struct blob_item items[], uint32_t count,
                           uint64_t now_ms, struct error *err);

/* Appends the picture to `into`, an empty buffer whose cap counts: a larger one is TOO_LARGE. The
 * hash is verified; a damaged picture is INTERNAL with its place, and its bytes are never given
 * out. */
NODISCARD enum rc blob_get(struct blob *blob, const char *tenant,
                           const uint8_t sha256[BLOB_SHA256_SIZE], struct buf *into,
                           struct error *err);

struct blob_info {
    uint64_t size;
    uint64_t renewed_ms; /* when it was last put */
};
NODISCARD enum rc blob_stat(struct blob *blob, const char *tenant,
                            const uint8_t sha256[BLOB_SHA256_SIZE], struct blob_info *ret_info,
                            struct error *err);

/* Erases a picture unless it was put at or after `renewed_before_ms`: then BUSY. Whoever erases
 * because nothing refers to the picture passes now minus the longest request, since one may be
 * between its put and its commit; UINT64_MAX erases whatever there is. NOT_FOUND is durable too. */
NODISCARD enum rc blob_delete(struct blob *blob, const char *tenant,
                              const uint8_t sha256[BLOB_SHA256_SIZE], uint64_t renewed_before_ms,
                              struct error *err);

struct blob_entry {
    uint8_t sha256[BLOB_SHA256_SIZE];
    struct blob_info info;
};

/* A tenant's pictures in the order of their hashes, those after `after` (NULL: from the start), at
 * most `count_max` (1..BLOB_LIST_COUNT_MAX); fewer: that was the last page. Pages are not one
 * snapshot: what stays throughout is in exactly one, what comes or goes meanwhile may be in none.
 */
NODISCARD enum rc blob_list(struct blob *blob, const char *tenant, const uint8_t *after,
                            struct blob_entry entries[], uint32_t count_max, uint32_t *ret_count,
                            struct error *err);

/* The tenants that ever had a picture, by name: the first one after `after` ("" begins). NOT_FOUND:
 * there is none left. */
NODISCARD enum rc blob_tenant_next(struct blob *blob, const char *after,
                                   char into[BLOB_TENANT_SIZE_MAX + 1], struct error *err);

/* A store may have moved pictures into an archive, from where reading them takes hours. */
enum blob_tier { BLOB_TIER_STANDARD, BLOB_TIER_BULK, BLOB_TIER_EXPEDITED }; /* S3's names */
#define BLOB_RESTORE_DAYS_MAX 365u
struct blob_restore {
    enum blob_tier tier;
    uint32_t days; /* how long it is to stay at hand; 1 to BLOB_RESTORE_DAYS_MAX */
};
enum blob_presence {
    BLOB_AT_HAND,           /* it is in no archive */
    BLOB_RESTORED,          /* it is, and was restored before */
    BLOB_RESTORE_ASKED,     /* now */
    BLOB_RESTORE_UNDER_WAY, /* before; not there yet */
};
/* Has a picture restored, if that is needed. */
NODISCARD enum rc blob_restore(struct blob *blob, const char *tenant,
                               const uint8_t sha256[BLOB_SHA256_SIZE],
                               const struct blob_restore *restore, enum blob_presence *ret_presence,
                               struct error *err);

/* One pass over a tenant or all of them, in calls of bounded work: zero it, fill in the first part
 * and call blob_sweep() until `done`. */
struct blob_sweep {
    const char *tenant;       /* NULL: all */
    uint64_t older_than_ms;   /* age since the last put */
    uint32_t visit_count_max; /* pictures and folders looked at in one call; 0: 1000 */
    /* Whether anything refers to this picture: a result, a waiting job, a rule of retention. Called
     * without any lock held, only for pictures that are old enough. A failure ends the call; the
     * next one goes on with the same picture. */
    enum rc (*is_referenced)(void *ctx, const char *tenant, const uint8_t sha256[BLOB_SHA256_SIZE],
                             const struct blob_info *info, bool *ret_referenced, struct error *err);
    void *ctx;

    /* Set by blob_sweep(): the sums of the pass, and whether it is over. */
    bool done;
    uint64_t visited_count;
    uint64_t removed_count;
    uint64_t removed_size;
    uint64_t stale_count;  /* temporary files that a crash left */
    uint64_t failed_count; /* could not be removed, and were passed over */

    /* The cursor: how far the pass is. */
    char at_tenant[BLOB_TENANT_SIZE_MAX + 1];
    uint8_t at_sha256[BLOB_SHA256_SIZE];
    bool at_picture; /* else before the first one of `at_tenant` */
};

/* Removes pictures that are older than `older_than_ms` and that nothing refers to. Safe beside any
 * put: a put renews the age before it returns, and the age is read again under a lock that excludes
 * puts of that folder, right before the removal. So whoever puts, then commits a reference within
 * `older_than_ms`, never loses the picture. A removal that a power loss undoes is made again by a
 * later pass. Errors: that of `is_referenced`, UNAVAILABLE (the pass goes on behind what failed).
 */
NODISCARD enum rc blob_sweep(struct blob *blob, struct blob_sweep *sweep, uint64_t now_ms,
                             struct error *err);
#endif
