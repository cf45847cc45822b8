/* SPDX-License-Identifier: Apache-2.0
 * picture_copy.h - every picture of one store into another, for backup and restore. Threads: one.
 */
#ifndef CLI_PICTURE_COPY_H
#define CLI_PICTURE_COPY_H
#include "blob/blob.h"

#define PICTURE_GROUP_COUNT 64u /* are made durable together */

struct picture_copy {
    struct blob *from;
    struct blob *into;
    uint64_t now_ms;
    bool verify;    /* reads what is there already; else its size is enough */
    uint64_t total; /* for the bar; 0: unknown */

    /* Filled. */
    uint64_t count; /* that are in `into` now, and `size` of all of them */
    uint64_t size;
    uint64_t copied_count;  /* of them, by this call */
    uint64_t damaged_count; /* in `from`, told on standard error, and left out */

    /* Private: those that are about to be put. */
    struct blob_item group[PICTURE_GROUP_COUNT];
    struct buf contents[PICTURE_GROUP_COUNT];
    uint32_t group_count;
    size_t group_size;
};
/* What is erased meanwhile is passed over. */
NODISCARD enum rc picture_copy(struct picture_copy *copy, struct error *err);

/* Each picture of each tenant, with a progress bar. What `each` returns but RC_OK ends it. `leave`
 * (may be NULL) is called when a tenant's are done: its name ends there. */
struct picture_walk {
    const char *label;
    uint64_t total;
    enum rc (*each)(void *ctx, const char *tenant, const struct blob_entry *entry,
                    struct error *err);
    enum rc (*leave)(void *ctx, struct error *err);
    void *ctx;
};
NODISCARD enum rc picture_walk(struct blob *blob, const struct picture_walk *walk,
                               struct error *err);
#endif
