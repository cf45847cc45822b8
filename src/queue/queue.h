/* SPDX-License-Identifier: Apache-2.0
 * queue.h - durable work with leases: pushed once, handed out until it is acknowledged, ended once.
 *
 * A message is an id, a tenant and an opaque payload. A worker leases it for a time, works, commits
 * under the message's id, acknowledges. Its states are those of job_state.h. The queue does not
 * know what the work is, keeps no results and starts no threads.
 *
 * What every driver promises:
 * - Durable: what was pushed, cancelled, revived or purged stays so through kill -9 and loss of
 * power. Leases, extensions, acks and failures stay through kill -9; loss of power may undo the
 * latest of them, which is one more delivery. A call that fails as a whole (UNAVAILABLE, BUSY,
 * INTERNAL, NO_MEMORY) has happened or has not; each may be repeated.
 * - Idempotent: a known id (in the queue, or ended less than retention_ms ago) is pushed with
 *   success and changes nothing. Acknowledging, failing and cancelling again changes nothing.
 * - At least once: a message is delivered again when its lease runs out or an answer got lost. So
 *   a worker commits under the id, and a second commit of an id must change nothing. A worker that
 *   dies between commit and ack may leave a committed message dead or cancelled: whether the work
 *   was done is for results to say, not for the queue.
 * - Stale receipts do nothing: once a message has been delivered again, cancelled, or died, the
 *   receipt of the earlier delivery is GONE. Between the end of a lease and the next delivery a
 *   receipt may still be good or be GONE already.
 * - Bounded deliveries: after delivery_count_max it is not delivered again but dead, with a reason.
 * - No order: usually oldest first, but nobody may rely on it.
 * - Fair: what waits is handed out by turns between the tenants that have something waiting. A
 *   service's driver may only approach this; none lets a tenant wait behind another's whole
 * backlog.
 * - An empty lease does not prove that nothing waits: ask again.
 * - Isolation: an absent id and another tenant's take the same statements and are both NOT_FOUND.
 * - Each item of a call stands alone: ret_rcs (may be NULL) has the outcome of each, the returned
 *   code is the first one that is not RC_OK. What was done for the others stands.
 *
 * Threads: any; calls that meet share one commit where the driver can (SQLite does).
 * Ownership: everything passed in is borrowed for the call.
 * Times: Unix milliseconds, from the caller's clock; a driver whose queue_traits() say so goes by
 * its service's clock instead, which may round leases and delays up to whole seconds.
 * Adding a driver: queue/<name>.c, one row in queue/drivers.def, one line in meson.build, its URL
 * in tests/contract/queue/meson.build.
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H
#include "base/id.h"
#include "queue/job_state.h"

#define QUEUE_TENANT_SIZE      64 /* [a-z0-9][a-z0-9-]{0,62} and the terminator */
#define QUEUE_PAYLOAD_SIZE_MAX (256u << 10)
#define QUEUE_PUSH_COUNT_MAX   1000u
#define QUEUE_PUSH_SIZE_MAX    (16u << 20) /* the payloads of one push together */
#define QUEUE_LEASE_COUNT_MAX  64u         /* deliveries or receipts of one call */
#define QUEUE_LEASE_SIZE_MAX   (4u << 20)  /* a lease stops before it, but gives one at least */
#define QUEUE_LEASE_MS_MAX     (12u * 3600 * 1000)
#define QUEUE_DELAY_MS_MAX     (7ull * 24 * 3600 * 1000)
#define QUEUE_REASON_SIZE      501 /* longer texts are cut */
#define QUEUE_LIST_MAX         100u

struct queue;

struct queue_config {
    const char *url;             /* sqlite:/path/imago.db */
    uint32_t delivery_count_max; /* 0: 5 */
    uint32_t tenant_count_max;   /* a tenant's messages not ended yet; one more is BUSY; 0: 1e6 */
    uint64_t retention_ms;       /* how long the id of a done or cancelled one is known; 0: 24 h */
    uint64_t dead_retention_ms;  /* how long a dead one can be listed and revived; 0: 30 days */
};

/* What differs between drivers where callers and tests have to know. */
struct queue_traits {
    bool service_clock;
};

struct queue_message {
    struct id id;
    const char *tenant;
    struct bytes payload;
    uint64_t not_before_ms; /* 0: at once */
};

/* One delivery's ticket. Opaque but for the id; to be used by the process that leased it. */
struct queue_receipt {
    struct id id;
    uint64_t token[2];
};

struct queue_delivery {
    struct queue_receipt receipt;
    char tenant[QUEUE_TENANT_SIZE];
    struct bytes payload;    /* lives until the next lease into the same queue_leased */
    uint32_t delivery_count; /* 1: the first */
    uint64_t pushed_ms;
    uint64_t lease_until_ms;
};

/* Room for one lease, used again by the next. */
struct queue_leased {
    uint32_t count;
    uint64_t bell; /* for queue_wait(): what was pushed before this lease */
    struct buf payloads;
    struct queue_delivery items[QUEUE_LEASE_COUNT_MAX];
};
struct queue_leased *queue_leased_open(void); /* NULL: out of memory */
void queue_leased_free(struct queue_leased *leased);

NODISCARD enum rc queue_open(const struct queue_config *config, struct queue **ret_queue,
                             struct error *err);
void queue_free(struct queue *queue); /* NULL is fine */
struct queue_traits queue_traits(const struct queue *queue);

/* Items: INVALID (tenant, not_before_ms too far), TOO_LARGE, BUSY (the tenant's backlog is full).
 */
NODISCARD enum rc queue_push(struct queue *queue, const struct queue_message messages[],
                             uint32_t count, uint64_t now_ms, enum rc ret_rcs[], struct error *err);

/* Never blocks for messages: leased->count may be 0. */
NODISCARD enum rc queue_lease(struct queue *queue, uint32_t count_max, uint64_t lease_ms,
                              uint64_t now_ms, struct queue_leased *leased, struct error *err);
/* Returns when something was pushed, revived, failed or released through this struct queue since
 * the lease that filled `bell`, when queue_wake() is called, or after the timeout; true unless it
 * timed out. What other processes push, and what falls due, is found by asking again. */
bool queue_wait(struct queue *queue, uint64_t bell, uint32_t timeout_ms);
void queue_wake(struct queue *queue); /* ends every queue_wait() */
/* For a wait without a lease before it: whatever rings after this call ends the wait. */
uint64_t queue_bell(struct queue *queue);

/* Items of these: GONE (see above). */
/* CANCELLED as well: somebody cancelled it, the lease was not extended; stop, and queue_fail() it.
 */
NODISCARD enum rc queue_extend(struct queue *queue, const struct queue_receipt receipts[],
                               uint32_t count, uint64_t until_ms, uint64_t now_ms,
                               enum rc ret_rcs[], struct error *err);
/* The work is committed. Wins over a cancellation that came after the lease. */
NODISCARD enum rc queue_ack(struct queue *queue, const struct queue_receipt receipts[],
                            uint32_t count, uint64_t now_ms, enum rc ret_rcs[], struct error *err);
/* The attempt failed. retry_at_ms 0: do not try again. ret_state (may be NULL) says what became of
 * it: FAILED (to be tried again), DEAD, CANCELLED. */
NODISCARD enum rc queue_fail(struct queue *queue, const struct queue_receipt *receipt,
                             const char *reason, uint64_t retry_at_ms, uint64_t now_ms,
                             enum job_state *ret_state, struct error *err);

/* Not tried: the worker ends, or cannot begin. It waits again until at_ms (0: not at all), and the
 * delivery is not counted, unless a service counts by itself. ret_state (may be NULL): QUEUED, or
 * CANCELLED. */
NODISCARD enum rc queue_release(struct queue *queue, const struct queue_receipt *receipt,
                                uint64_t at_ms, uint64_t now_ms, enum job_state *ret_state,
                                struct error *err);

struct queue_retry_policy {
    uint64_t delay_ms; /* before the second delivery; doubles with each further one */
    uint64_t delay_ms_max;
};
/* How long to wait after delivery `delivery_count` (from 1) failed: exponential, of which a random
 * half is jitter, so that what failed together is not tried again together. Pure. */
uint64_t queue_retry_delay_ms(const struct queue_retry_policy *policy, uint32_t delivery_count,
                              uint64_t random);

/* The functions below: NOT_FOUND when the tenant has no such message (or no longer). */

/* What waits is cancelled; what is leased is CANCELLING: its worker learns it at queue_extend(),
 * and it ends as done if the worker commits first. What has ended stays. ret_state: its state now.
 */
NODISCARD enum rc queue_cancel(struct queue *queue, const char *tenant, struct id id,
                               uint64_t now_ms, enum job_state *ret_state, struct error *err);

struct queue_info {
    struct id id;
    enum job_state state;
    uint32_t delivery_count;
    uint64_t pushed_ms;
    uint64_t changed_ms;            /* when it came into this state */
    char reason[QUEUE_REASON_SIZE]; /* of the last failure, "" if none */
};
NODISCARD enum rc queue_get(struct queue *queue, const char *tenant, struct id id,
                            struct queue_info *ret_info, struct error *err);

/* Dead ones by id, newest first, from below `before` (NULL: from the newest) on; fewer than `max`
 * were given: there are no more. max: 1..QUEUE_LIST_MAX. */
NODISCARD enum rc queue_dead_list(struct queue *queue, const char *tenant, const struct id *before,
                                  uint32_t max, struct queue_info into[], uint32_t *ret_count,
                                  struct error *err);
/* A dead one waits again, with its deliveries counted from 0. INVALID: it is not dead. */
NODISCARD enum rc queue_dead_retry(struct queue *queue, const char *tenant, struct id id,
                                   uint64_t now_ms, struct error *err);
/* Up to 1,000 a call, call until *ret_count is 0. QUEUED: cancels what waits, FAILED included.
 * DEAD: forgets what is dead, ids as well. Nothing else can be purged. */
NODISCARD enum rc queue_purge(struct queue *queue, const char *tenant, enum job_state state,
                              uint64_t now_ms, uint32_t *ret_count, struct error *err);

struct queue_stats {
    char tenant[QUEUE_TENANT_SIZE]; /* "": all of them */
    uint64_t
        counts[JOB_STATE_COUNT]; /* about right on some services; ended ones while remembered */
    uint64_t
        oldest_pushed_ms; /* of what could be leased now; 0: nothing. Its age is the backlog's */
};
/* tenant NULL: the sum over all. An unknown tenant has nothing. */
NODISCARD enum rc queue_stats(struct queue *queue, const char *tenant, uint64_t now_ms,
                              struct queue_stats *ret_stats, struct error *err);
/* Tenants in order of name, from behind `after` (NULL: the first) on. max: 1..QUEUE_LIST_MAX. */
NODISCARD enum rc queue_tenants(struct queue *queue, const char *after, uint32_t max,
                                uint64_t now_ms, struct queue_stats into[], uint32_t *ret_count,
                                struct error *err);

/* A consistent copy while others write, of the whole file where a driver keeps more in it. INVALID:
 * `path` exists. */
NODISCARD enum rc queue_backup(struct queue *queue, const char *path, struct error *err);
/* INTERNAL with the first damage found. Full reads everything. */
NODISCARD enum rc queue_check(struct queue *queue, bool full, struct error *err);
#endif
