/* SPDX-License-Identifier: Apache-2.0
 * driver.h - what a driver of blob.h implements. Included by blob.c and the drivers only.
 *
 * blob.c has checked every argument: tenants and media types are well-formed, counts and sizes
 * within their limits. Items of a put arrive with rc RC_OK, or with the failure of their check,
 * which the driver passes over. */
#ifndef BLOB_DRIVER_H
#define BLOB_DRIVER_H
#include "blob/blob.h"

struct blob_ops {
    const char *scheme;
    /* `place` is the URL without its scheme. */
    enum rc (*open)(const char *place, struct blob **ret_blob, struct error *err);
    void (*free)(struct blob *blob);
    /* Outcomes are the items'; blob.c sums them up. */
    void (*put)(struct blob *blob, struct blob_item items[], uint32_t count, uint64_t now_ms);
    enum rc (*get)(struct blob *blob, const char *tenant, const uint8_t *sha256, struct buf *into,
                   struct error *err);
    enum rc (*stat)(struct blob *blob, const char *tenant, const uint8_t *sha256,
                    struct blob_info *ret_info, struct error *err);
    enum rc (*delete)(struct blob *blob, const char *tenant, const uint8_t *sha256,
                      uint64_t renewed_before_ms, struct error *err);
    enum rc (*list)(struct blob *blob, const char *tenant, const uint8_t *after,
                    struct blob_entry entries[], uint32_t count_max, uint32_t *ret_count,
                    struct error *err);
    enum rc (*tenant_next)(struct blob *blob, const char *after, char *into, struct error *err);
    /* NULL: nothing is ever in an archive. */
    enum rc (*restore)(struct blob *blob, const char *tenant, const uint8_t *sha256,
                       const struct blob_restore *restore, enum blob_presence *ret_presence,
                       struct error *err);
    enum rc (*sweep)(struct blob *blob, struct blob_sweep *sweep, uint64_t now_ms,
                     struct error *err);
};

/* Every driver's struct starts with this. */
struct blob {
    const struct blob_ops *ops;
};

#define DRIVER(name) extern const struct blob_ops blob_##name;
#include "blob/drivers.def"
#undef DRIVER
#endif
