/* SPDX-License-Identifier: Apache-2.0
 * limits.h - how much one key may do: request rate, requests at a time, bytes and images a day.
 *
 * In memory, of this process alone, on the hot path: one mutex of one shard for each call. The
 * rate, the requests at a time and the bytes are exact within a process and forgotten by a restart;
 * images a day are counted here too, to refuse early and cheaply, but what must hold across
 * processes and restarts is a reservation (quota.h). Days are UTC.
 *
 * The rate is a token bucket in exact integers: it holds `burst` tokens and gains `requests` in
 * each `window_s`. In every span of time of length d at most burst + d * requests / window_s
 * requests pass. A refused request takes nothing.
 *
 * Memory is fixed at open. When all places are taken, the key that was longest without a request is
 * forgotten (its day's counts too), never one with a request in work.
 * Threads: any.
 */
#ifndef ACCOUNT_LIMITS_H
#define ACCOUNT_LIMITS_H
#include "base/bytes.h"

#define LIMITS_REQUESTS_MAX 1000000u
#define LIMITS_WINDOW_S_MAX 3600u
#define LIMITS_KEY_SIZE     32 /* with the terminator */

/* 0: no limit. */
struct limits_rule {
    uint32_t requests; /* in window_s */
    uint32_t window_s; /* 0: 1 */
    uint32_t burst;    /* 0: as many as `requests` */
    uint32_t concurrent;
    uint64_t bytes_per_day;
    uint64_t images_per_day;
};
NODISCARD enum rc limits_rule_check(const struct limits_rule *rule, struct error *err);

struct limits_config {
    uint32_t key_count_max; /* 0: 65,536 */
};

struct limits;
NODISCARD enum rc limits_open(const struct limits_config *config, struct limits **ret_limits,
                              struct error *err);
void limits_free(struct limits *limits); /* NULL is fine; no ticket may be out */

enum limits_refusal {
    LIMITS_PASS,
    LIMITS_RATE,
    LIMITS_CONCURRENT,
    LIMITS_BYTES,
    LIMITS_IMAGES,
    LIMITS_FULL, /* every place is taken by keys with requests in work */
};
const char *limits_refusal_text(enum limits_refusal refusal); /* a sentence; "" for PASS */

/* One limit after the decision. quota 0: there is none. */
struct limits_number {
    uint64_t quota;
    uint64_t remaining;
    uint32_t window_s; /* 0: no window (requests at a time) */
    uint32_t reset_s;  /* until `remaining` is `quota` again, if nothing more is used */
};

struct limits_verdict {
    enum limits_refusal refusal;
    uint32_t retry_after_s; /* for Retry-After: 1 or more if refused */
    struct limits_number rate, concurrent, bytes, images;
};

struct limits_request {
    const char *key; /* what is counted together: a key's id */
    uint64_t bytes;  /* known so far; limits_charge() adds */
    uint64_t images;
    uint64_t monotonic_ns;
    uint64_t wall_ms;
};

struct limits_ticket;
/* Ticket: for limits_release(); NULL if refused, or if the rule has no limit (both take NULL). */
struct limits_ticket *limits_admit(struct limits *limits, const struct limits_rule *rule,
                                   const struct limits_request *request,
                                   struct limits_verdict *ret_verdict);
/* What became known after the head: may go over the day's limit; then the next one is refused. */
void limits_charge(struct limits *limits, struct limits_ticket *ticket, uint64_t bytes,
                   uint64_t images);
/* Exactly once for each ticket. `images_unused` go back to the day: failures are free. */
void limits_release(struct limits *limits, struct limits_ticket *ticket, uint64_t images_unused);

/* The values of the fields of draft-ietf-httpapi-ratelimit-headers-10, empty if nothing is limited:
 * RateLimit-Policy: "rate";q=20;w=2, "images";q=1000;w=86400;qu="images"
 * RateLimit:        "rate";r=12;t=1, "images";r=990;t=3600 */
NODISCARD enum rc limits_policy_field(const struct limits_verdict *verdict, struct buf *into);
NODISCARD enum rc limits_state_field(const struct limits_verdict *verdict, struct buf *into);
#endif
