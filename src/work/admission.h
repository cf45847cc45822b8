/* SPDX-License-Identifier: Apache-2.0
 * admission.h - what must hold before work begins, whatever process it runs in: nobody works under
 * the same Idempotency-Key, and the images fit into the day's limit and the month's hard cap.
 *
 * One thread makes the reservations of all claims that wait, in batches, and tells each how it
 * went. A claim whose key somebody else works under is parked: it is asked again when that one
 * ends, and now and then for the sake of other processes, until its deadline. After the work, the
 * same thread turns what was reserved into use, gives the rest back, and lets go of keys whose work
 * failed. What it cannot write then is found out later: a lease ends, and a quota that ran out is
 * settled by the ledger.
 *
 * It neither begins the work nor stores its outcome; who commits completes the key (results.h).
 * Threads: claim_submit() and claim_end() from any, neither waits for a store; `done` runs on the
 * admission's thread and must not block. Ownership: a claim is the caller's, until `done`.
 */
#ifndef WORK_ADMISSION_H
#define WORK_ADMISSION_H
#include "account/quota.h"
#include "results/results.h"

#include <stdatomic.h>

#define CLAIM_KEPT_MS (24u * 3600 * 1000) /* how long a key is remembered */

struct admission;
struct hold;

struct claim {
    /* The caller fills these; texts are borrowed until `done`. */
    const char *tenant;
    struct id id;                 /* the request's */
    struct bytes idempotency_key; /* empty: none */
    uint8_t fingerprint[32];
    bool reserves; /* image_count images of a limit of the day or a hard cap; what follows is for it
                    */
    const char *key; /* who asks; may be "" */
    const char *model;
    uint64_t images_per_day; /* 0: no limit */
    uint32_t image_count;
    uint64_t deadline_ns;         /* monotonic; 0: none */
    const atomic_bool *cancelled; /* looked at while it waits; NULL: never */
    void (*done)(struct claim *claim);
    void *ctx;

    /* Filled before `done`. Not RC_OK: KEY_REUSED, IN_FLIGHT (until the deadline), RATE_LIMITED
     * (with retry_at_ms), CANCELLED, DRAINING, or a store's failure, which store_err tells the log.
     */
    enum rc rc;
    struct error err;
    struct error store_err;
    uint64_t retry_at_ms;
    uint64_t day_remaining; /* of images_per_day, after this claim */
    bool replayed;          /* the work was done: `answer` is what was kept of it */
    struct buf answer;      /* the caller's to free */
    /* `id` is that of the first claim with this key, if there was one: working under it, what the
     * first did commit is found and not billed again. */
    bool begun; /* the ledger has some of its images by now: it has been counted as a request */

    /* Private. */
    struct hold *hold;
    struct claim *next;
    bool local; /* parked behind a claim of this process */
};

/* How the work under a claim went. */
struct claim_outcome {
    bool kept; /* the commit completed the key; else the key is let go, and a retry works again */
    /* What of the quota was used; not `counted`: the ledger will say, when the reservation ran out.
     */
    bool counted;
    uint64_t image_count;
    uint64_t committed_ms;
};

/* Both may be NULL: then no claim has a key, or reserves. */
NODISCARD enum rc admission_open(struct results *results, struct account *account,
                                 struct admission **ret_admission, struct error *err);
/* Errors: BUSY (too many claims), NO_MEMORY; then `done` is not called. Else it is, exactly once.
 */
NODISCARD enum rc claim_submit(struct admission *admission, struct claim *claim, struct error *err);
/* Exactly once for each claim that ended with RC_OK and was not `replayed`. */
void claim_end(struct admission *admission, struct claim *claim,
               const struct claim_outcome *outcome);
/* Claims that still wait are DRAINING. No other call may run. NULL is fine. */
void admission_free(struct admission *admission);
#endif
