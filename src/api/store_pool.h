/* SPDX-License-Identifier: Apache-2.0
 * store_pool.h - the threads on which resources may wait for a disk or a database.
 *
 * A handler runs on a loop thread, which has thousands of connections to serve; whatever reads or
 * writes a store is pushed here instead. The queue is bounded: a request that does not fit is
 * answered 503 at once, and one whose client has left is not begun. Included by api/ only.
 */
#ifndef API_STORE_POOL_H
#define API_STORE_POOL_H
#include "base/rc.h"
#include <stdint.h>

struct exchange;
struct store_pool;

NODISCARD enum rc store_pool_open(uint32_t thread_count, uint32_t waiting_max,
                                  struct store_pool **ret_pool, struct error *err);
/* Run `job` on one of the threads, in the order of the pushes. The exchange is the job's, as it is
 * a handler's: it leads to exactly one answer, or pushes on. Full or left: it is answered here, and
 * `job` never runs. Either way the exchange may be gone when this returns. */
void store_pool_push(struct store_pool *pool, struct exchange *exchange,
                     void (*job)(struct exchange *exchange));
/* Runs what was pushed, then ends the threads. NULL is fine. */
void store_pool_free(struct store_pool *pool);
#endif
