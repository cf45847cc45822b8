/* SPDX-License-Identifier: Apache-2.0
 * idempotency.h - the header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a POST
 * that is sent again with the same key does nothing a second time and is answered as the first was.
 *
 * A request is known by its fingerprint: the route and what the request means, never its raw body,
 * in which curl's multipart boundary is another one at every retry. Included by api/ only.
 *
 * POST /v1/predict has its key in the work (predict_keyed.c); others use keyed_run().
 */
#ifndef API_IDEMPOTENCY_H
#define API_IDEMPOTENCY_H
#include "api/exchange.h"

/* Reads the header into exchange->idempotency_key, which stays empty without one. INVALID. */
NODISCARD enum rc idempotency_key_read(struct exchange *exchange, struct error *err);
/* The same for what writes: NOT_IMPLEMENTED where nothing is stored, for then no retry is known. */
NODISCARD enum rc idempotency_key_take(struct exchange *exchange, struct error *err);

/* One digest of several parts; each counts with its size, so no two lists of parts are alike. */
struct fingerprint;
NODISCARD enum rc fingerprint_open(const struct exchange *exchange,
                                   struct fingerprint **ret_fingerprint, struct error *err);
void fingerprint_add(struct fingerprint *fingerprint, struct bytes part);
void fingerprint_add_number(struct fingerprint *fingerprint, uint64_t number);
/* Ends it. */
NODISCARD enum rc fingerprint_take(struct fingerprint *fingerprint, uint8_t into[32],
                                   struct error *err);

/* Runs `job` on the stores' threads as soon as nobody works under the key; or `again`, if what it
 * does has been done: it answers from the stores. Or the key is another request's (KEY_REUSED), or
 * still worked under at the deadline (IN_FLIGHT). */
void keyed_run(struct exchange *exchange, const uint8_t fingerprint[32],
               void (*job)(struct exchange *exchange), void (*again)(struct exchange *exchange));
/* What the job makes has this id: that of the first request with this key. */
struct id keyed_id(const struct exchange *exchange);
/* By the job, when it has done its work, before it answers; nothing without a key. A job that ends
 * without it leaves the key to a retry. */
void keyed_complete(struct exchange *exchange);
/* When the exchange ends. */
void keyed_done(struct exchange *exchange);

/* What a refused claim or request is answered; adds Retry-After. */
void keyed_refuse(struct exchange *exchange, enum rc rc, const struct error *err,
                  uint64_t retry_at_ms);

/* POST /v1/predict: submits exchange->work under the key, from the stores' threads. */
void predict_keyed(struct exchange *exchange);
/* Answers with what the store has of exchange->work, which had been done before. */
void predict_again(struct exchange *exchange);
#endif
