/* SPDX-License-Identifier: Apache-2.0
 * webhook_form.h - what a delivery is made of. Included by work/ only. */
#ifndef WORK_WEBHOOK_FORM_H
#define WORK_WEBHOOK_FORM_H
#include "base/bytes.h"

/* An outbox payload's parts. INVALID: it is none. */
NODISCARD enum rc webhook_message_read(struct bytes payload, struct bytes *ret_url,
                                       struct bytes *ret_body, struct error *err);

/* "v1," and the base64 of HMAC-SHA256. */
#define WEBHOOK_SIGNATURE_SIZE 48
/* Of `content`, which is id.timestamp.body. */
NODISCARD enum rc webhook_sign(struct bytes secret, struct bytes content,
                               char into[WEBHOOK_SIGNATURE_SIZE], struct error *err);

/* How long to wait after attempt `attempt` (from 1), begun when the message was `age_ms` old, has
 * failed; false: no more. Which step of the schedule it is goes by both: attempts that were taken
 * back count too much, and the age of a message that had to wait for its first attempt as well. */
bool webhook_retry_after(uint64_t age_ms, uint32_t attempt, uint32_t random, uint64_t *ret_wait_ms);
#endif
