/* SPDX-License-Identifier: Apache-2.0
 * policy.c - when to try again. */
#include "queue/queue.h"

uint64_t queue_retry_delay_ms(const struct queue_retry_policy *policy, uint32_t delivery_count,
                              uint64_t random)
{
    uint64_t delay = policy->delay_ms;
    /* Doubling stops at the limit, so that no count of deliveries can overflow it. */
    for (uint32_t i = 1; i < delivery_count && delay > 0 && delay < policy->delay_ms_max; i++)
        delay = delay > policy->delay_ms_max / 2 ? policy->delay_ms_max : delay * 2;
    if (delay > policy->delay_ms_max)
        delay = policy->delay_ms_max;
    uint64_t jitter = delay / 2;
    return delay - jitter + random % (jitter + 1);
}
