/* SPDX-License-Identifier: Apache-2.0
 * limits_bucket.h - the counts of one key, for limits.c. Pure: no lock, no clock. */
#ifndef ACCOUNT_LIMITS_BUCKET_H
#define ACCOUNT_LIMITS_BUCKET_H
#include "account/limits.h"

struct limits_count {
    bool started;
    uint32_t requests; /* the rule that `level` is in units of */
    uint32_t window_s;
    uint32_t burst;
    uint64_t level; /* tokens times the window's nanoseconds: a nanosecond adds `requests` */
    uint64_t level_ns;
    uint32_t in_work;
    uint64_t day; /* since 1970 */
    uint64_t bytes;
    uint64_t images;
};

void limits_count_admit(struct limits_count *count, const struct limits_rule *rule,
                        const struct limits_request *request, struct limits_verdict *verdict);
void limits_count_charge(struct limits_count *count, uint64_t bytes, uint64_t images);
void limits_count_release(struct limits_count *count, uint64_t images_unused);
#endif
