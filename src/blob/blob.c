/* SPDX-License-Identifier: Apache-2.0
 * blob.c - the public functions: every check of arguments, once for all drivers. */
#include "blob/driver.h"

#include <assert.h>
#include <string.h>

#define MEDIA_TYPE_SIZE_MAX 63u
#define SWEEP_VISIT_COUNT   1000u

static const struct blob_ops *const drivers[] = {
#define DRIVER(name) &blob_##name,
#include "blob/drivers.def"
#undef DRIVER
};

static bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

/* A tenant is also the name of a folder: no dots, slashes or capitals, and never empty. */
static enum rc check_tenant(const char *tenant, struct error *err)
{
    assert(tenant != NULL);
    size_t size = strnlen(tenant, BLOB_TENANT_SIZE_MAX + 1);
    bool fine = size > 0 && size <= BLOB_TENANT_SIZE_MAX && tenant[0] != '-';
    for (size_t i = 0; i < size && fine; i++)
        fine = is_lower_or_digit(tenant[i]) || tenant[i] == '-';
    if (!fine)
        return error_set(err, RC_INVALID,
                         "a tenant is 1 to %u lower-case letters, digits and '-', not first",
                         BLOB_TENANT_SIZE_MAX);
    return RC_OK;
}

static enum rc check_media_type(const char *type, struct error *err)
{
    size_t size = strnlen(type, MEDIA_TYPE_SIZE_MAX + 1);
    bool fine = size > 0 && size <= MEDIA_TYPE_SIZE_MAX;
    for (size_t i = 0; i < size && fine; i++)
        fine = is_lower_or_digit(type[i]) || strchr("/.+-", type[i]) != NULL;
    if (!fine)
        return error_set(err, RC_INVALID, "a media type is at most %u of a-z, 0-9, '/.+-'",
                         MEDIA_TYPE_SIZE_MAX);
    return RC_OK;
}

static enum rc check_item(const struct blob_item *item, struct error *err)
{
    enum rc rc = check_tenant(item->tenant, err);
    if (rc != RC_OK || item->renew_only)
        return rc;
    if (item->content.size == 0)
        return error_set(err, RC_INVALID, "an empty picture cannot be stored");
    assert(item->content.data != NULL);
    if (item->content.size > BLOB_SIZE_MAX)
        return error_set(err, RC_TOO_LARGE, "a picture of %zu bytes; %u is the most",
                         item->content.size, BLOB_SIZE_MAX);
    return item->media_type != NULL ? check_media_type(item->media_type, err) : RC_OK;
}

enum rc blob_open(const struct blob_config *config, struct blob **ret_blob, struct error *err)
{
    assert(config != NULL && config->url != NULL && ret_blob != NULL);
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        size_t size = strlen(drivers[i]->scheme);
        if (strncmp(config->url, drivers[i]->scheme, size) == 0)
            return drivers[i]->open(config->url + size, ret_blob, err);
    }
    return error_set(err, RC_INVALID,
                     "no store of pictures has the URL '%s'; file:/folder and s3://bucket have one",
                     config->url);
}

void blob_free(struct blob *blob)
{
    if (blob != NULL)
        blob->ops->free(blob);
}

enum rc blob_put(struct blob *blob, struct blob_item items[], uint32_t count, uint64_t now_ms,
                 struct error *err)
{
    assert(blob != NULL && (items != NULL || count == 0));
    assert(count <= BLOB_PUT_COUNT_MAX);
    for (uint32_t i = 0; i < count; i++) {
        items[i].existed = false;
        items[i].rc = check_item(&items[i], &items[i].err);
    }
    if (count > 0)
        blob->ops->put(blob, items, count, now_ms);
    for (uint32_t i = 0; i < count; i++)
        if (items[i].rc != RC_OK) {
            if (err != NULL)
                *err = items[i].err;
            return items[i].rc;
        }
    return RC_OK;
}

enum rc blob_get(struct blob *blob, const char *tenant, const uint8_t sha256[BLOB_SHA256_SIZE],
                 struct buf *into, struct error *err)
{
    assert(blob != NULL && sha256 != NULL && into != NULL && into->size == 0);
    enum rc rc = check_tenant(tenant, err);
    return rc == RC_OK ? blob->ops->get(blob, tenant, sha256, into, err) : rc;
}

enum rc blob_stat(struct blob *blob, const char *tenant, const uint8_t sha256[BLOB_SHA256_SIZE],
                  struct blob_info *ret_info, struct error *err)
{
    assert(blob != NULL && sha256 != NULL && ret_info != NULL);
    enum rc rc = check_tenant(tenant, err);
    return rc == RC_OK ? blob->ops->stat(blob, tenant, sha256, ret_info, err) : rc;
}

enum rc blob_delete(struct blob *blob, const char *tenant, const uint8_t sha256[BLOB_SHA256_SIZE],
                    uint64_t renewed_before_ms, struct error *err)
{
    assert(blob != NULL && sha256 != NULL);
    enum rc rc = check_tenant(tenant, err);
    return rc == RC_OK ? blob->ops->delete (blob, tenant, sha256, renewed_before_ms, err) : rc;
}

enum rc blob_list(struct blob *blob, const char *tenant, const uint8_t *after,
                  struct blob_entry entries[], uint32_t count_max, uint32_t *ret_count,
                  struct error *err)
{
    assert(blob != NULL && entries != NULL && ret_count != NULL);
    assert(count_max > 0 && count_max <= BLOB_LIST_COUNT_MAX);
    uint8_t position[BLOB_SHA256_SIZE]; /* a copy: it is often the last of the same `entries` */
    if (after != NULL)
        memcpy(position, after, sizeof(position));
    enum rc rc = check_tenant(tenant, err);
    if (rc != RC_OK)
        return rc;
    return blob->ops->list(blob, tenant, after != NULL ? position : NULL, entries, count_max,
                           ret_count, err);
}

enum rc blob_tenant_next(struct blob *blob, const char *after, char into[BLOB_TENANT_SIZE_MAX + 1],
                         struct error *err)
{
    assert(blob != NULL && after != NULL && into != NULL);
    return blob->ops->tenant_next(blob, after, into, err);
}

enum rc blob_restore(struct blob *blob, const char *tenant, const uint8_t sha256[BLOB_SHA256_SIZE],
                     const struct blob_restore *restore, enum blob_presence *ret_presence,
                     struct error *err)
{
    assert(blob != NULL && sha256 != NULL && restore != NULL && ret_presence != NULL);
    struct blob_info info;
    enum rc rc = check_tenant(tenant, err);
    if (rc == RC_OK && (restore->days == 0 || restore->days > BLOB_RESTORE_DAYS_MAX))
        rc = error_set(err, RC_INVALID, "a picture is restored for 1 to %u days",
                       BLOB_RESTORE_DAYS_MAX);
    if (rc != RC_OK)
        return rc;
    if (blob->ops->restore != NULL)
        return blob->ops->restore(blob, tenant, sha256, restore, ret_presence, err);
    rc = blob->ops->stat(blob, tenant, sha256, &info, err);
    if (rc == RC_OK)
        *ret_presence = BLOB_AT_HAND;
    return rc;
}

enum rc blob_sweep(struct blob *blob, struct blob_sweep *sweep, uint64_t now_ms, struct error *err)
{
    assert(blob != NULL && sweep != NULL && sweep->is_referenced != NULL);
    enum rc rc = sweep->tenant != NULL ? check_tenant(sweep->tenant, err) : RC_OK;
    if (rc != RC_OK || sweep->done)
        return rc;
    if (sweep->visit_count_max == 0)
        sweep->visit_count_max = SWEEP_VISIT_COUNT;
    return blob->ops->sweep(blob, sweep, now_ms, err);
}
