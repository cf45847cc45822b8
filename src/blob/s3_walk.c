/* SPDX-License-Identifier: Apache-2.0
 * s3_walk.c - going through pictures in order: listing and sweeping.
 *
 * S3 lists names, sizes and its own times; the age that counts is in each object's metadata, and to
 * read that costs a request each. A listing pays it. A sweep, which is made again and again over
 * all pictures, does not: a put writes the object anew, so that S3's time is the put's by S3's
 * clock; where that clock and the caller's agree it says who may be old enough, and the removal
 * itself reads the true age. */
#include "blob/s3.h"

#include "net/aws_xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_MAX        250u
#define CLOCKS_AGREE_MS 300000u
#define KEY_SIZE_MAX    1025u /* S3's, of objects that are not ours too */

struct place {
    char tenant[BLOB_TENANT_SIZE_MAX + 1];
    struct blob_entry entry;
    enum rc rc; /* of looking at it */
    struct error err;
    struct s3_op op;
};

/* A page of names, those after `after`. */
struct page {
    struct s3 *s3;
    const char *tenant;       /* NULL: all */
    char after[KEY_SIZE_MAX]; /* a whole key, or "" */
    uint64_t now_ms;          /* the caller's clock, if S3's times will do where it agrees; or 0 */
    bool is_last;
    struct place *places; /* PAGE_MAX */
    struct s3_op **ops;
    uint32_t count;
};

static enum rc page_open(struct s3 *s3, const char *tenant, struct page *page, struct error *err)
{
    *page = (struct page){.s3 = s3, .tenant = tenant};
    page->places = calloc(PAGE_MAX, sizeof(*page->places));
    page->ops = calloc(PAGE_MAX, sizeof(struct s3_op *));
    if (page->places != NULL && page->ops != NULL)
        return RC_OK;
    free(page->places);
    free(page->ops);
    return error_set(err, RC_NO_MEMORY, "no memory to list pictures");
}

static void page_done(struct page *page)
{
    free(page->places);
    free(page->ops);
}

static void page_after(struct page *page, const char *tenant, const uint8_t *sha256)
{
    char key[S3_NAME_SIZE];
    s3_picture_key(tenant, sha256, key);
    (void)snprintf(page->after, sizeof(page->after), "%s%s", page->s3->place.prefix, key);
}

/* "<prefix>tenant/ab/ab..."; anything else is not ours. */
static bool read_key(const struct page *page, const char *key, struct place *ret_place)
{
    char again[S3_NAME_SIZE];
    size_t prefix = strlen(page->s3->place.prefix);
    const char *own = key + prefix;
    size_t tenant = strcspn(own, "/");
    if (strlen(key) < prefix || tenant == 0 || tenant > BLOB_TENANT_SIZE_MAX || own[0] == '-' ||
        strspn(own, "abcdefghijklmnopqrstuvwxyz0123456789-") != tenant ||
        strlen(own) != tenant + 4 + 2 * BLOB_SHA256_SIZE)
        return false;
    *ret_place = (struct place){0};
    memcpy(ret_place->tenant, own, tenant);
    if (!hex_parse(own + tenant + 4, ret_place->entry.sha256, BLOB_SHA256_SIZE))
        return false;
    s3_picture_key(ret_place->tenant, ret_place->entry.sha256, again);
    return strcmp(own, again) == 0;
}

static enum rc read_listing(struct page *page, struct bytes text, uint32_t count_max,
                            struct error *err)
{
    char key[KEY_SIZE_MAX], size[24], changed[32], truncated[8];
    struct bytes rest = text, one;
    bool moved = false;
    while (page->count < count_max && aws_xml_next(&rest, "Contents", &one)) {
        struct place *place = &page->places[page->count];
        if (!aws_xml_text(one, "Key", key, sizeof(key)))
            continue;
        memcpy(page->after, key, sizeof(page->after));
        moved = true;
        if (!read_key(page, key, place))
            continue;
        (void)aws_xml_text(one, "Size", size, sizeof(size));
        (void)aws_xml_text(one, "LastModified", changed, sizeof(changed));
        place->entry.info.size = strtoull(size, NULL, 10);
        place->entry.info.renewed_ms = aws_time_read(changed);
        page->count++;
    }
    page->is_last = !aws_xml_text(text, "IsTruncated", truncated, sizeof(truncated)) ||
                    strcmp(truncated, "true") != 0;
    if (!moved && !page->is_last)
        return error_set(err, RC_UNAVAILABLE, "S3 gave a list of objects without their names");
    return RC_OK;
}

/* Sizes are S3's, ages each picture's own. */
static void look_at_all(struct page *page)
{
    for (uint32_t i = 0; i < page->count; i++) {
        char key[S3_NAME_SIZE];
        struct place *place = &page->places[i];
        s3_picture_key(place->tenant, place->entry.sha256, key);
        s3_op_set(page->s3, &place->op, CLIENT_HEAD, key);
        page->ops[i] = &place->op;
    }
    s3_run(page->s3, page->ops, page->count, s3_deadline());
    for (uint32_t i = 0; i < page->count; i++) {
        struct place *place = &page->places[i];
        place->rc = RC_OK;
        if (s3_is_absent(&place->op))
            place->rc = RC_NOT_FOUND;
        else if (!s3_is_fine(&place->op))
            place->rc = s3_fail(page->s3, &place->op, "looking at a picture in", &place->err);
        else
            place->entry.info = s3_info(&place->op);
        s3_op_done(&place->op);
    }
}

/* At most `count_max` pictures; none although it is not the last: there were only other objects. */
static enum rc page_read(struct page *page, uint32_t count_max, struct error *err)
{
    struct s3_op op;
    char prefix[S3_PREFIX_SIZE + S3_NAME_SIZE];
    struct buf query = BUF_INIT(S3_QUERY_SIZE * 2);
    (void)snprintf(prefix, sizeof(prefix), "%s%s%s", page->s3->place.prefix,
                   page->tenant != NULL ? page->tenant : "", page->tenant != NULL ? "/" : "");
    s3_op_set(page->s3, &op, CLIENT_GET, NULL);
    page->count = 0;
    enum rc rc = buf_printf(
        &query, "list-type=2&max-keys=%u&prefix=", count_max < PAGE_MAX ? count_max : PAGE_MAX);
    if (rc == RC_OK)
        rc = aws_encode(bytes_of(prefix), &query);
    if (rc == RC_OK && page->after[0] != '\0')
        rc = buf_printf(&query, "&start-after=");
    if (rc == RC_OK)
        rc = aws_encode(bytes_of(page->after), &query);
    if (rc == RC_OK && query.size >= sizeof(op.query))
        rc = RC_TOO_LARGE;
    if (rc == RC_OK) {
        memcpy(op.query, query.data, query.size);
        op.call.answer = &op.answer;
        s3_run_one(page->s3, &op, s3_deadline());
        rc = s3_is_fine(&op) ? read_listing(page, (struct bytes){op.answer.data, op.answer.size},
                                            count_max, err)
                             : s3_fail(page->s3, &op, "listing", err);
    } else {
        rc = error_set(err, RC_UNAVAILABLE, "a name of an object in s3://%s is too long",
                       page->s3->place.bucket);
    }
    uint64_t date_ms = aws_call_date_ms(&op.call);
    uint64_t apart_ms = date_ms > page->now_ms ? date_ms - page->now_ms : page->now_ms - date_ms;
    if (rc == RC_OK && (page->now_ms == 0 || apart_ms > CLOCKS_AGREE_MS))
        look_at_all(page);
    s3_op_done(&op);
    buf_done(&query);
    return rc;
}

enum rc s3_list(struct blob *blob, const char *tenant, const uint8_t *after,
                struct blob_entry entries[], uint32_t count_max, uint32_t *ret_count,
                struct error *err)
{
    struct page page;
    uint32_t count = 0;
    enum rc rc = page_open(s3_of(blob), tenant, &page, err);
    if (rc != RC_OK)
        return rc;
    if (after != NULL)
        page_after(&page, tenant, after);
    while (rc == RC_OK && count < count_max && !page.is_last) {
        rc = page_read(&page, count_max - count, err);
        for (uint32_t i = 0; i < page.count && rc == RC_OK; i++) {
            struct place *place = &page.places[i];
            if (place->rc == RC_OK) {
                entries[count++] = place->entry;
            } else if (place->rc != RC_NOT_FOUND) {
                rc = place->rc;
                if (err != NULL)
                    *err = place->err;
            }
        }
    }
    page_done(&page);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}

/* --- tenants --------------------------------------------------------------------------------- */

#define FOLDERS_MAX 100u

/* "<prefix>name/": a tenant's folder. */
static bool read_folder(const struct s3 *s3, const char *key, char into[BLOB_TENANT_SIZE_MAX + 1])
{
    size_t prefix = strlen(s3->place.prefix);
    if (strlen(key) < prefix)
        return false;
    const char *name = key + prefix;
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
    if (size == 0 || size > BLOB_TENANT_SIZE_MAX || name[0] == '-' || strcmp(name + size, "/") != 0)
        return false;
    memcpy(into, name, size);
    into[size] = '\0';
    return true;
}

/* Lists folders behind the key `from`, which moves on; the first that is a tenant's and comes after
 * `after`. */
static enum rc next_folder(struct s3 *s3, const char *after, char from[KEY_SIZE_MAX + 1],
                           bool *ret_last, char into[BLOB_TENANT_SIZE_MAX + 1], struct error *err)
{
    struct s3_op op;
    char key[KEY_SIZE_MAX], truncated[8], name[BLOB_TENANT_SIZE_MAX + 1];
    struct buf query = BUF_INIT(S3_QUERY_SIZE - 1);
    s3_op_set(s3, &op, CLIENT_GET, NULL);
    enum rc rc = buf_printf(&query, "list-type=2&delimiter=%%2F&max-keys=%u&prefix=", FOLDERS_MAX);
    if (rc == RC_OK)
        rc = aws_encode(bytes_of(s3->place.prefix), &query);
    if (rc == RC_OK)
        rc = buf_printf(&query, "&start-after=");
    if (rc == RC_OK)
        rc = aws_encode(bytes_of(from), &query);
    memcpy(op.query, query.data, query.size);
    buf_done(&query);
    op.call.answer = &op.answer;
    if (rc == RC_OK)
        s3_run_one(s3, &op, s3_deadline());
    struct bytes text = {op.answer.data, op.answer.size}, rest = text, one;
    if (rc != RC_OK || !s3_is_fine(&op))
        rc = s3_fail(s3, &op, "listing", err);
    while (rc == RC_OK && into[0] == '\0' && aws_xml_next(&rest, "CommonPrefixes", &one)) {
        if (!aws_xml_text(one, "Prefix", key, sizeof(key)))
            continue;
        if (read_folder(s3, key, name) && strcmp(name, after) > 0)
            memcpy(into, name, sizeof(name));
        /* '0' follows '/': behind all that is in this folder. */
        (void)snprintf(from, KEY_SIZE_MAX + 1, "%.*s0", (int)strlen(key) - 1, key);
    }
    *ret_last = !aws_xml_text(text, "IsTruncated", truncated, sizeof(truncated)) ||
                strcmp(truncated, "true") != 0;
    s3_op_done(&op);
    return rc;
}

static enum rc has_pictures(struct s3 *s3, const char *tenant, bool *ret_has, struct error *err)
{
    struct page page;
    enum rc rc = page_open(s3, tenant, &page, err);
    if (rc != RC_OK)
        return rc;
    while (rc == RC_OK && page.count == 0 && !page.is_last)
        rc = page_read(&page, 1, err);
    *ret_has = page.count > 0;
    page_done(&page);
    return rc;
}

/* S3 has "a-b/" before "a/", since '-' comes before '/', and names are told as "a", "a-b": so what
 * S3 names first may be behind names that it begins with. */
enum rc s3_tenant_next(struct blob *blob, const char *after, char *into, struct error *err)
{
    struct s3 *s3 = s3_of(blob);
    char from[KEY_SIZE_MAX + 1], name[BLOB_TENANT_SIZE_MAX + 1] = "";
    bool is_last = false, has = false;
    enum rc rc = RC_OK;
    (void)snprintf(from, sizeof(from), "%s%s", s3->place.prefix, after);
    for (size_t moved = 1; rc == RC_OK && name[0] == '\0' && !is_last && moved > 0;) {
        char before[KEY_SIZE_MAX + 1];
        memcpy(before, from, sizeof(before));
        rc = next_folder(s3, after, from, &is_last, name, err);
        moved = (size_t)(strcmp(before, from) != 0);
    }
    for (char *dash = strchr(name, '-'); rc == RC_OK && dash != NULL;
         dash = strchr(dash + 1, '-')) {
        *dash = '\0';
        has = false;
        if (strcmp(name, after) > 0)
            rc = has_pictures(s3, name, &has, err);
        if (has)
            break;
        *dash = '-';
    }
    if (rc == RC_OK && name[0] == '\0')
        return error_set(err, RC_NOT_FOUND, "no tenant after '%s'", after);
    if (rc == RC_OK)
        memcpy(into, name, sizeof(name));
    return rc;
}

/* --- sweeping ----------------------------------------------------------------------------------
 */

struct sweeping {
    struct s3 *s3;
    struct blob_sweep *sweep;
    uint64_t now_ms;
    struct s3_doomed *doomed; /* S3_DOOMED_MAX */
    uint32_t doomed_count;
    enum rc rc; /* the first failure */
    struct error *err;
};

/* A pass gets to its end whatever cannot be read or removed on the way. */
static void note_failure(struct sweeping *sweeping, enum rc rc, const struct error *err)
{
    sweeping->sweep->failed_count++;
    if (sweeping->rc != RC_OK)
        return;
    sweeping->rc = rc;
    if (sweeping->err != NULL)
        *sweeping->err = *err;
}

static void remove_doomed(struct sweeping *sweeping)
{
    if (sweeping->doomed_count == 0)
        return;
    s3_remove(sweeping->s3, sweeping->doomed, sweeping->doomed_count, s3_deadline());
    for (uint32_t i = 0; i < sweeping->doomed_count; i++) {
        const struct s3_doomed *doomed = &sweeping->doomed[i];
        if (doomed->rc == RC_OK) {
            sweeping->sweep->removed_count++;
            sweeping->sweep->removed_size += doomed->size;
        } else if (doomed->rc != RC_NOT_FOUND && doomed->rc != RC_BUSY) {
            note_failure(sweeping, doomed->rc, &doomed->err);
        }
    }
    sweeping->doomed_count = 0;
}

static void pass_over(struct blob_sweep *sweep, const struct place *place)
{
    memcpy(sweep->at_tenant, place->tenant, sizeof(sweep->at_tenant));
    memcpy(sweep->at_sha256, place->entry.sha256, sizeof(sweep->at_sha256));
    sweep->at_picture = true;
    sweep->visited_count++;
}

/* False ends the call: the question failed, and will be asked again. */
static bool sweep_one(struct sweeping *sweeping, const struct place *place)
{
    struct blob_sweep *sweep = sweeping->sweep;
    const struct blob_info *info = &place->entry.info;
    bool is_referenced = true;
    bool is_old = sweeping->now_ms >= sweep->older_than_ms &&
                  info->renewed_ms <= sweeping->now_ms - sweep->older_than_ms;
    if (place->rc == RC_OK && is_old) {
        struct error err = {0};
        enum rc rc = sweep->is_referenced(sweep->ctx, place->tenant, place->entry.sha256, info,
                                          &is_referenced, &err);
        if (rc != RC_OK) {
            sweeping->rc = rc;
            if (sweeping->err != NULL)
                *sweeping->err = err;
            return false;
        }
    } else if (place->rc != RC_OK && place->rc != RC_NOT_FOUND) {
        note_failure(sweeping, place->rc, &place->err);
    }
    if (!is_referenced) {
        struct s3_doomed *doomed = &sweeping->doomed[sweeping->doomed_count++];
        *doomed = (struct s3_doomed){.before_ms = sweeping->now_ms - sweep->older_than_ms + 1};
        s3_picture_key(place->tenant, place->entry.sha256, doomed->key);
        if (sweeping->doomed_count == S3_DOOMED_MAX)
            remove_doomed(sweeping);
    }
    pass_over(sweep, place);
    return true;
}

static void sweep_pages(struct sweeping *sweeping, struct page *page)
{
    struct blob_sweep *sweep = sweeping->sweep;
    uint32_t left = sweep->visit_count_max;
    bool goes_on = true;
    while (goes_on && left > 0 && !page->is_last) {
        struct error err = {0};
        enum rc rc = page_read(page, left, &err);
        if (rc != RC_OK) {
            note_failure(sweeping, rc, &err);
            break; /* the next call goes on here */
        }
        uint32_t i = 0;
        for (; i < page->count && goes_on; i++)
            goes_on = sweep_one(sweeping, &page->places[i]);
        left -= page->count;
        remove_doomed(sweeping);
        sweep->done = goes_on && page->is_last;
    }
}

enum rc s3_sweep(struct blob *blob, struct blob_sweep *sweep, uint64_t now_ms, struct error *err)
{
    struct page page;
    struct sweeping sweeping = {.s3 = s3_of(blob), .sweep = sweep, .now_ms = now_ms, .err = err};
    enum rc rc = page_open(sweeping.s3, sweep->tenant, &page, err);
    if (rc != RC_OK)
        return rc;
    sweeping.doomed = calloc(S3_DOOMED_MAX, sizeof(*sweeping.doomed));
    if (sweeping.doomed == NULL)
        sweeping.rc = error_set(err, RC_NO_MEMORY, "no memory to sweep");
    page.now_ms = now_ms;
    if (sweep->at_picture)
        page_after(&page, sweep->at_tenant, sweep->at_sha256);
    if (sweeping.rc == RC_OK)
        sweep_pages(&sweeping, &page);
    free(sweeping.doomed);
    page_done(&page);
    return sweeping.rc;
}
