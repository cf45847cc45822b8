/* SPDX-License-Identifier: Apache-2.0
 * webhook.h - tells a receiver what happened, signed as Standard Webhooks has it.
 *
 * A message is a row of the results' outbox, written in the commit of what it tells: it is there if
 * and only if that is. webhook_message_write() makes the row's payload; one thread, the sender,
 * takes what is due and delivers it, several at a time. The outbox id is the message's webhook-id:
 * a receiver may get it more than once, and knows it by that.
 *
 * Delivered is what is answered 2xx. 410 gives the message up; all else is tried again after 5 s,
 * 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h, up to a tenth later, then given up. Redirects
 * are not followed. Unless `internal`, receivers are https:// and at public addresses, judged when
 * connecting. A receiver gets 4 messages at a time, a tenant's 16: who is slow waits for himself.
 *
 * Without accounts there are no secrets to sign with: then take no URL and open no sender.
 */
#ifndef WORK_WEBHOOK_H
#define WORK_WEBHOOK_H
#include "account/account.h"
#include "results/results.h"

#include <jansson.h>

#define WEBHOOK_URL_SIZE_MAX 2048u

/* When a client names it; INVALID says what is wrong, and never holds the URL. */
NODISCARD enum rc webhook_url_check(struct bytes url, bool internal, struct error *err);

/* An outbox payload: {"type", "timestamp", "data"} for `url`, which passed the check. `data` is
 * borrowed; `into` has a cap of at least RESULT_PAYLOAD_SIZE_MAX. TOO_LARGE, NO_MEMORY. */
NODISCARD enum rc webhook_message_write(struct bytes url, const char *type, uint64_t now_ms,
                                        const json_t *data, struct buf *into, struct error *err);

/* What became of an attempt; the texts live as long as the call. */
struct webhook_note {
    enum {
        WEBHOOK_DELIVERED,
        WEBHOOK_FAILED,   /* tried again at retry_at_ms */
        WEBHOOK_GIVEN_UP, /* for good */
    } what;
    struct id id;
    const char *tenant;
    const char *origin; /* of the URL, whose rest may be secret */
    uint32_t attempt;
    int status; /* 0: no answer */
    const char *reason;
    uint64_t retry_at_ms;
};

struct webhook_sender;

struct webhook_sender_config {
    struct results *results;
    struct account *account;
    bool internal;       /* http:// and private addresses too */
    uint32_t timeout_ms; /* of one delivery */
    /* On the sender's thread; for logs. */
    void (*note)(void *ctx, const struct webhook_note *note);
    /* The stores failed, said once until they work again. */
    void (*trouble)(void *ctx, const struct error *err);
    void *ctx;
};

NODISCARD enum rc webhook_sender_open(const struct webhook_sender_config *config,
                                      struct webhook_sender **ret_sender, struct error *err);
/* Deliveries under way are given back, to be made when a sender runs again. NULL is fine. */
void webhook_sender_free(struct webhook_sender *sender);
#endif
