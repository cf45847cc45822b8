/* SPDX-License-Identifier: Apache-2.0
 * results.h - predictions, the usage ledger, and all that must be written in one commit with them:
 * tombstones, feedback, reservations of Idempotency-Key, the outbox; jobs and the outcomes of their
 * items are in jobs.h.
 *
 * It stores no pictures, computes no money, delivers no message, and reads no clock.
 *
 * Atomicity:   a commit (struct result_commit) is written whole or not at all. Commits of one call
 *              stand alone: some may be there after an error. Nothing else spans several calls.
 * Durability:  what results_put(), results_erase(), results_sweep() and results_feedback_put() have
 *              reported survives kill -9 and the loss of power. Reservations and leases survive the
 *              process; power may take them, but none whose request has a durable commit.
 * Visibility:  what was reported is seen by every call that starts later, on every handle.
 * Idempotency: a commit is known by (tenant, id). Again: success, `known`, and nothing changes but
 * a reservation that it completes. Its prediction has been erased: GONE. Every call may be repeated
 * after an error, whose outcome is unknown: the repetition finds out. Isolation:   all is by
 * tenant. Another tenant's id and an absent one take the same statements and are both NOT_FOUND.
 * Errors:      INVALID and TOO_LARGE (arguments; found before anything is written), UNAVAILABLE
 * (disk full, read-only, broken; retry later), BUSY, NO_MEMORY, INTERNAL (damage). Threads: every
 * function from any thread; each may block on the disk. Ownership:   what is passed in is borrowed
 * for the call; what comes back lives in the caller's struct result_set or room. Times:       UTC
 * milliseconds since 1970, a day is milliseconds / 86,400,000. A range is from <= t < to. Adding a
 * driver: results/<name>.c, a row in results/drivers.def, a line in meson.build, its URL in
 * tests/contract/results/meson.build.
 */
#ifndef RESULTS_RESULTS_H
#define RESULTS_RESULTS_H
#include "results/result.h"

struct results;

/* sqlite:/path/imago.db; fault:<url of another> for tests, see fault.h. */
NODISCARD enum rc results_open(const char *url, struct results **ret_results, struct error *err);
void results_free(struct results *results); /* NULL is fine */

/* Writes all `count` (1 .. RESULTS_PUT_MAX) commits and makes them durable together. Each has its
 * outcome in ->rc and ->known; the returned code is RC_OK when all could be tried: it does not
 * speak of GONE, INVALID and TOO_LARGE of one commit, though `err` has the text of the last one
 * that is INVALID or TOO_LARGE. Any other code: the outcome of all that are not INVALID or
 * TOO_LARGE is unknown. ->prediction.id is filled in any case. A job item's failure never replaces
 * its success. */
NODISCARD enum rc results_put(struct results *results, struct result_commit *const commits[],
                              uint32_t count, struct error *err);

/* Predictions with memory of their own: {0} before the first use, emptied by each call. */
#define RESULTS_CURSOR_SIZE 64
struct result_set {
    struct result *items;
    uint32_t count;
    char next[RESULTS_CURSOR_SIZE]; /* "": this was the last page */
    uint32_t items_room;            /* private, like what follows */
    struct result_chunk *chunks;
};
void results_set_done(struct result_set *set);

/* GONE: it was erased. NOT_FOUND: never there, another tenant's, or not stored. */
NODISCARD enum rc results_get(struct results *results, struct bytes tenant, struct id id,
                              struct result_set *set, struct error *err);

/* At most one of label, model and reference: it is what the index serves. The others are applied to
 * the rows it finds, of which one call looks at RESULTS_SCAN_MAX: a page may be short, or empty and
 * have a `next`. */
#define RESULTS_SCAN_MAX 10000u
#define RESULTS_PAGE_MAX 1000u
struct results_filter {
    uint64_t from_ms;
    uint64_t to_ms;     /* 0: no end */
    struct bytes label; /* of the best class; empty: any */
    struct bytes model;
    struct bytes reference;
    struct bytes version;
    float min_score; /* of the best class */
    float max_score; /* 0: no limit */
};
/* Newest first by (created_ms, id). `cursor` is empty, or `next` of a page with the same tenant and
 * filter (else INVALID). Going on from a cursor gives each prediction at most once, and every one
 * that was there when the first page was read and has not been erased since. */
NODISCARD enum rc results_query(struct results *results, struct bytes tenant,
                                const struct results_filter *filter, struct bytes cursor,
                                uint32_t limit, struct result_set *set, struct error *err);

/* A prediction that was removed, and its picture's hash if nothing else of the tenant uses it. A
 * picture put since may be about to be committed: the blob is deleted only if it is older than this
 * call. */
struct results_removed {
    struct id id;
    bool picture_free;
    uint8_t sha256[32];
};
/* Leaves a tombstone (id, time, model, version, units); ledger and usage stay. Its feedback goes
 * too. GONE: had been erased already; ret_removed is filled as far as `id`. */
NODISCARD enum rc results_erase(struct results *results, struct bytes tenant, struct id id,
                                uint64_t now_ms, struct results_removed *ret_removed,
                                struct error *err);
/* The same for up to `limit` (1 .. RESULTS_PUT_MAX) of the oldest created before `before_ms`. Call
 * again while *ret_count is `limit`. Jobs: results_job_sweep(). */
NODISCARD enum rc results_sweep(struct results *results, struct bytes tenant, uint64_t before_ms,
                                uint32_t limit, uint64_t now_ms, struct results_removed *into,
                                uint32_t *ret_count, struct error *err);
/* Does any prediction of the tenant, or a job that is open or dead, have this picture? For the
 * sweep of blobs. */
NODISCARD enum rc results_picture_used(struct results *results, struct bytes tenant,
                                       const uint8_t sha256[32], bool *ret_used, struct error *err);

/* Replaces earlier feedback. NOT_FOUND, GONE as results_get(). INVALID: neither class nor label. */
NODISCARD enum rc results_feedback_put(struct results *results, struct bytes tenant, struct id id,
                                       const struct result_feedback *feedback, struct error *err);
/* Callbacks: rows live as long as the callback's call, which must not call the store again. A code
 * other than RC_OK ends the call and is returned. */
struct results_accuracy {
    struct bytes model;
    struct bytes version;
    uint64_t feedback_count;
    uint64_t correct_count;
};
typedef enum rc (*results_accuracy_fn)(void *ctx, const struct results_accuracy *row);
/* By model and version, over predictions created in the range. */
NODISCARD enum rc results_accuracy(struct results *results, struct bytes tenant, uint64_t from_ms,
                                   uint64_t to_ms, results_accuracy_fn each, void *ctx,
                                   struct error *err);

enum results_reserved {
    RESERVED_NEW, /* the caller holds it now: work under ->request_id, then complete or release */
    RESERVED_IN_FLIGHT, /* somebody else does, until ->lease_until_ms at most */
    RESERVED_CONFLICT,  /* the key was used with another fingerprint */
    RESERVED_DONE       /* ->request_id and ->answer of the first one */
};
struct results_reservation {
    enum results_reserved state;
    struct id request_id;
    uint32_t attempt; /* which holder: for results_release() */
    uint64_t lease_until_ms;
    struct buf answer; /* the caller's, with a cap of RESULT_ANSWER_SIZE_MAX */
};
/* `request_id` is the caller's own; NEW may give another one, that of a holder who died or
 * released: working under it, what he did commit is found and not billed again. A reservation ends
 * `expires_ms` after its first holder (24 h by custom) and the key is as new. */
NODISCARD enum rc results_reserve(struct results *results, struct bytes tenant, struct bytes key,
                                  const uint8_t fingerprint[32], struct id request_id,
                                  uint64_t now_ms, uint64_t lease_until_ms, uint64_t expires_ms,
                                  struct results_reservation *reservation, struct error *err);
/* The work failed in a way that a retry may not (5xx): the lease ends now. Key, fingerprint and
 * request id stay. Without effect if it is done, gone, or held by a later attempt. */
NODISCARD enum rc results_release(struct results *results, struct bytes tenant, struct bytes key,
                                  uint32_t attempt, uint64_t now_ms, struct error *err);

/* The sum over the ledger, from a total that each commit keeps up to date. Rows come in the order
 * of the grouped columns; those not grouped by are 0 and empty. */
enum results_group {
    RESULTS_BY_DAY = 1,
    RESULTS_BY_MODEL = 2,
    RESULTS_BY_VERSION = 4,
    RESULTS_BY_KEY = 8,
    RESULTS_BY_PLAN = 16 /* name and version */
};
struct results_quantity {
    uint32_t day;
    struct bytes model;
    struct bytes version;
    struct bytes key;
    struct bytes plan;
    uint32_t plan_version;
    uint64_t requests;
    uint64_t images; /* units */
};
typedef enum rc (*results_quantity_fn)(void *ctx, const struct results_quantity *row);
NODISCARD enum rc results_usage(struct results *results, struct bytes tenant, uint32_t from_day,
                                uint32_t to_day, uint32_t group, results_quantity_fn each,
                                void *ctx, struct error *err);

/* What the ledger has of a request: the units of its pictures 0 .. index_count - 1 (at most
 * RESULTS_INDEX_MAX), and when the last one was committed. NOT_FOUND: nothing. */
#define RESULTS_INDEX_MAX 65536u
NODISCARD enum rc results_ledger_find(struct results *results, struct bytes tenant,
                                      struct id request_id, uint32_t index_count,
                                      uint64_t *ret_images, uint64_t *ret_last_ms,
                                      struct error *err);

/* Proves ledger = predictions + tombstones + what was only billed, and usage = sum of the ledger.
 */
struct results_difference {
    const char *what; /* "a prediction without a ledger entry" */
    struct id id;     /* all zero for sums */
    uint32_t day;     /* for sums */
};
/* Who wants to hear of it. */
struct results_verifier {
    /* The first 1,000 differences of a kind. A code other than RC_OK ends it. */
    enum rc (*difference)(void *ctx, const struct results_difference *row);
    /* How many of the ledger's entries have been read; every some thousand. May be NULL. */
    void (*step)(void *ctx, uint64_t ledger_count);
    void *ctx;
};
struct results_proof {
    uint64_t ledger_count;
    uint64_t prediction_count;
    uint64_t tombstone_count;
    uint64_t billed_only_count;
    uint64_t difference_count; /* 0: it is proven */
};
/* Reads all rows of the tenant as of one moment, while others write. `verifier` may be NULL. */
NODISCARD enum rc results_verify(struct results *results, struct bytes tenant,
                                 const struct results_verifier *verifier,
                                 struct results_proof *ret_proof, struct error *err);

/* A message of the outbox, leased: nobody else gets it until lease_until_ms. */
struct results_message {
    uint64_t number;  /* names it for the two calls below */
    uint32_t attempt; /* from 1 */
    struct id outbox_id;
    char tenant[RESULT_TENANT_SIZE_MAX + 1];
    uint64_t created_ms;
    struct buf payload;
};
#define RESULTS_TAKE_MAX 64u
/* Those due by now_ms, the longest due first. `into` has room for `limit` (1 .. RESULTS_TAKE_MAX),
 * each payload with a cap of RESULT_PAYLOAD_SIZE_MAX; at least once each, in no promised order. */
NODISCARD enum rc results_outbox_take(struct results *results, uint64_t now_ms,
                                      uint64_t lease_until_ms, uint32_t limit,
                                      struct results_message *into, uint32_t *ret_count,
                                      struct error *err);
/* Delivered, or given up: it goes. Unknown numbers are fine. */
NODISCARD enum rc results_outbox_done(struct results *results, uint64_t number, struct error *err);
/* Without effect unless `attempt` is still the last one. */
NODISCARD enum rc results_outbox_retry_at(struct results *results, uint64_t number,
                                          uint32_t attempt, uint64_t due_ms, struct error *err);

/* Drops up to `limit` expired reservations. */
NODISCARD enum rc results_expire(struct results *results, uint64_t now_ms, uint32_t limit,
                                 uint32_t *ret_count, struct error *err);

/* The tenants that anything was ever committed for, by name: the first one after `after` (""
 * begins). NOT_FOUND: there is none left. */
NODISCARD enum rc results_tenant_next(struct results *results, const char *after,
                                      char into[RESULT_TENANT_SIZE_MAX + 1], struct error *err);

/* A consistent copy while others write; NOT_IMPLEMENTED where the service does that itself. To
 * restore: stop, put the file in the place of the old one, remove what is named after the old one
 * with -wal and -shm, start. */
NODISCARD enum rc results_backup(struct results *results, const char *path, struct error *err);
/* INTERNAL with the first damage found. Full reads everything. */
NODISCARD enum rc results_check(struct results *results, bool full, struct error *err);
#endif
