/* SPDX-License-Identifier: Apache-2.0
 * driver.h - what a queue driver implements. Included by queue.c and the drivers only.
 *
 * queue.c has checked every limit, zeroed counts and filled ret_rcs with RC_OK; ret_rcs is never
 * NULL. A driver changes the entries that failed; when it returns a failure itself, the call failed
 * as a whole and queue.c sets them all. */
#ifndef QUEUE_DRIVER_H
#define QUEUE_DRIVER_H
#include "queue/queue.h"

#include <pthread.h>

struct queue_ops {
    const char *scheme; /* "sqlite:" */
    struct queue_traits traits;
    enum rc (*open)(const struct queue_config *config, struct queue **ret_queue, struct error *err);
    void (*free)(struct queue *queue);
    enum rc (*push)(struct queue *queue, const struct queue_message messages[], uint32_t count,
                    uint64_t now_ms, enum rc ret_rcs[], struct error *err);
    /* Payloads: see queue_leased_add(). */
    enum rc (*lease)(struct queue *queue, uint32_t count_max, uint64_t lease_ms, uint64_t now_ms,
                     struct queue_leased *leased, struct error *err);
    enum rc (*extend)(struct queue *queue, const struct queue_receipt receipts[], uint32_t count,
                      uint64_t until_ms, uint64_t now_ms, enum rc ret_rcs[], struct error *err);
    enum rc (*ack)(struct queue *queue, const struct queue_receipt receipts[], uint32_t count,
                   uint64_t now_ms, enum rc ret_rcs[], struct error *err);
    enum rc (*fail)(struct queue *queue, const struct queue_receipt *receipt, const char *reason,
                    uint64_t retry_at_ms, uint64_t now_ms, enum job_state *ret_state,
                    struct error *err);
    enum rc (*release)(struct queue *queue, const struct queue_receipt *receipt, uint64_t at_ms,
                       uint64_t now_ms, enum job_state *ret_state, struct error *err);
    enum rc (*cancel)(struct queue *queue, const char *tenant, struct id id, uint64_t now_ms,
                      enum job_state *ret_state, struct error *err);
    enum rc (*get)(struct queue *queue, const char *tenant, struct id id,
                   struct queue_info *ret_info, struct error *err);
    enum rc (*dead_list)(struct queue *queue, const char *tenant, const struct id *before,
                         uint32_t max, struct queue_info into[], uint32_t *ret_count,
                         struct error *err);
    enum rc (*dead_retry)(struct queue *queue, const char *tenant, struct id id, uint64_t now_ms,
                          struct error *err);
    enum rc (*purge)(struct queue *queue, const char *tenant, enum job_state state, uint64_t now_ms,
                     uint32_t *ret_count, struct error *err);
    enum rc (*stats)(struct queue *queue, const char *tenant, uint64_t now_ms,
                     struct queue_stats *ret_stats, struct error *err);
    enum rc (*tenants)(struct queue *queue, const char *after, uint32_t max, uint64_t now_ms,
                       struct queue_stats into[], uint32_t *ret_count, struct error *err);
    enum rc (*backup)(struct queue *queue, const char *path, struct error *err);
    enum rc (*check)(struct queue *queue, bool full, struct error *err);
};

/* Every driver's struct starts with this; queue.c fills it after `open`. */
struct queue {
    const struct queue_ops *ops;
    pthread_mutex_t bell_lock;
    pthread_cond_t bell_rung;
    uint64_t bell;
};

#define QUEUE_PURGE_MAX 1000u

/* Append a delivery with a copy of its payload, the other fields to be filled by the caller.
 * TOO_LARGE: it does not fit any more and the lease is full. Payload pointers are set by queue.c at
 * the end. */
NODISCARD enum rc queue_leased_add(struct queue_leased *leased, struct bytes payload,
                                   struct queue_delivery **ret_item);

#define DRIVER(name) extern const struct queue_ops queue_##name;
#include "queue/drivers.def"
#undef DRIVER
#endif
