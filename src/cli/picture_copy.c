/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/picture_copy.h"

#include "cli/progress.h"

#include <stdio.h>
#include <string.h>

#define GROUP_SIZE (32u << 20)

static enum rc walk_tenant(struct blob *blob, const struct picture_walk *walk, const char *tenant,
                           struct progress *progress, uint64_t *done, struct error *err)
{
    static struct blob_entry page[BLOB_LIST_COUNT_MAX];
    uint32_t count = BLOB_LIST_COUNT_MAX;
    const uint8_t *after = NULL;
    enum rc rc = RC_OK;
    while (rc == RC_OK && count == BLOB_LIST_COUNT_MAX) {
        rc = blob_list(blob, tenant, after, page, BLOB_LIST_COUNT_MAX, &count, err);
        for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
            rc = walk->each(walk->ctx, tenant, &page[i], err);
            progress_step(progress, ++*done);
        }
        after = count > 0 ? page[count - 1].sha256 : NULL;
    }
    return rc == RC_OK && walk->leave != NULL ? walk->leave(walk->ctx, err) : rc;
}

enum rc picture_walk(struct blob *blob, const struct picture_walk *walk, struct error *err)
{
    char tenant[BLOB_TENANT_SIZE_MAX + 1] = "";
    struct progress progress;
    uint64_t done = 0;
    enum rc rc = RC_OK;
    bool more = true;
    progress_init(&progress, walk->label, walk->total);
    while (rc == RC_OK && more) {
        rc = blob_tenant_next(blob, tenant, tenant, err);
        more = rc == RC_OK;
        if (rc == RC_OK)
            rc = walk_tenant(blob, walk, tenant, &progress, &done, err);
        else if (rc == RC_NOT_FOUND)
            rc = RC_OK;
    }
    progress_done(&progress);
    return rc;
}

static void empty_group(struct picture_copy *copy)
{
    for (uint32_t i = 0; i < copy->group_count; i++)
        buf_done(&copy->contents[i]);
    copy->group_count = 0;
    copy->group_size = 0;
}

static enum rc put_group(void *ctx, struct error *err)
{
    struct picture_copy *copy = ctx;
    if (copy->group_count == 0)
        return RC_OK;
    enum rc rc = blob_put(copy->into, copy->group, copy->group_count, copy->now_ms, err);
    if (rc == RC_OK)
        copy->copied_count += copy->group_count;
    empty_group(copy);
    return rc;
}

/* A damaged one that is there makes way for the one that comes. */
static enum rc look(struct picture_copy *copy, const char *tenant, const struct blob_entry *entry,
                    bool *ret_there, struct error *err)
{
    struct blob_info info = {0};
    enum rc rc = blob_stat(copy->into, tenant, entry->sha256, &info, err);
    *ret_there = rc == RC_OK && (copy->verify || info.size == entry->info.size);
    if (rc == RC_OK && copy->verify) {
        struct buf content = BUF_INIT(BLOB_SIZE_MAX);
        rc = blob_get(copy->into, tenant, entry->sha256, &content, err);
        buf_done(&content);
        *ret_there = rc == RC_OK;
    }
    if (rc == RC_INTERNAL || (rc == RC_OK && !*ret_there))
        rc = blob_delete(copy->into, tenant, entry->sha256, UINT64_MAX, err);
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

static enum rc copy_one(void *ctx, const char *tenant, const struct blob_entry *entry,
                        struct error *err)
{
    struct picture_copy *copy = ctx;
    bool is_there = false;
    enum rc rc = look(copy, tenant, entry, &is_there, err);
    if (rc != RC_OK)
        return rc;
    if (!is_there) {
        struct buf *content = &copy->contents[copy->group_count];
        struct error why = {0};
        *content = (struct buf)BUF_INIT(BLOB_SIZE_MAX);
        rc = blob_get(copy->from, tenant, entry->sha256, content, &why);
        if (rc != RC_OK) {
            buf_done(content);
            if (rc == RC_NOT_FOUND) /* erased since it was listed */
                return RC_OK;
            if (rc == RC_INTERNAL) {
                (void)fprintf(stderr, "imago: left out: %s\n", why.text);
                copy->damaged_count++;
                return RC_OK;
            }
            if (err != NULL)
                *err = why;
            return rc;
        }
        struct blob_item *item = &copy->group[copy->group_count++];
        *item = (struct blob_item){.tenant = tenant, .content = {content->data, content->size}};
        memcpy(item->sha256, entry->sha256, sizeof(item->sha256));
        copy->group_size += content->size;
    }
    copy->count++;
    copy->size += entry->info.size;
    bool full = copy->group_count == PICTURE_GROUP_COUNT || copy->group_size >= GROUP_SIZE;
    return full ? put_group(copy, err) : RC_OK;
}

enum rc picture_copy(struct picture_copy *copy, struct error *err)
{
    const struct picture_walk walk = {.label = "pictures",
                                      .total = copy->total,
                                      .each = copy_one,
                                      .leave = put_group,
                                      .ctx = copy};
    enum rc rc = picture_walk(copy->from, &walk, err);
    empty_group(copy);
    return rc;
}
