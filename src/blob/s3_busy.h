/* SPDX-License-Identifier: Apache-2.0
 * s3_busy.h - which pictures this process is renewing, so that two of its threads never renew one
 * at the same time, whichever handles they use. */
#ifndef BLOB_S3_BUSY_H
#define BLOB_S3_BUSY_H
#include "blob/blob.h"

/* One thread's pictures. The hash alone tells: two tenants' pictures wait for each other too. */
struct s3_busy {
    const uint8_t **hashes;
    uint32_t count;
    struct s3_busy *next;
};
/* Waits until nobody else has any of them; all at once, so that nobody waits in a circle. */
void s3_busy_begin(struct s3_busy *busy);
void s3_busy_end(struct s3_busy *busy);
#endif
