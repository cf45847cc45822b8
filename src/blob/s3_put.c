/* SPDX-License-Identifier: Apache-2.0
 * s3_put.c - storing a group of pictures, many at a time, and renewing ages.
 *
 * A picture is sent on the condition that it is not there. If it is, its age is read and, unless
 * it is younger already, written anew. When all are there, a look at the removals says whether one
 * may have been erased meanwhile (see s3.h): then each is looked at again, and sent again if need
 * be. */
#include "blob/s3.h"
#include "blob/s3_busy.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUND_MAX     32u
#define BYTES_PER_MS  1024u /* the slowest line on which large pictures are in time */
#define WAIT_FIRST_MS 5u
#define WAIT_MS_MAX   500u

enum stage {
    SEND,      /* it is not there, as far as is known */
    LOOK,      /* it may be there: how old is it? */
    RENEW,     /* it is, and older than now */
    OVERWRITE, /* it is, in an archive */
    STORED,
    FAILED,
};

struct one {
    struct blob_item *item;
    struct one *twin; /* an earlier one of the same group with the same key */
    enum stage stage;
    bool existed;
    bool seen;     /* `existed` has been settled by the first answer */
    bool unsure;   /* an answer to a sending got lost */
    bool wrote;    /* in this round */
    char type[64]; /* of the object that is there */
    char key[S3_NAME_SIZE];
    struct s3_op op;
};

struct putting {
    struct s3 *s3;
    struct one *ones;
    struct s3_op **ops; /* of one run */
    struct one **running;
    const uint8_t **hashes;
    uint32_t count;
    uint32_t running_count;
    uint64_t now_ms;
    uint64_t deadline_ns;
};

void s3_op_picture(const struct s3 *s3, struct s3_op *op, const char *type, uint64_t renewed_ms)
{
    (void)snprintf(op->renewed, sizeof(op->renewed), "%llu", (unsigned long long)renewed_ms);
    (void)snprintf(op->type, sizeof(op->type), "%s",
                   type != NULL && type[0] != '\0' ? type : "application/octet-stream");
    s3_op_header(op, "content-type", op->type);
    s3_op_header(op, "x-amz-meta-renewed-ms", op->renewed);
    s3_op_storage(s3, op);
}

static void fail(struct one *one, enum rc rc)
{
    one->stage = FAILED;
    one->item->rc = rc;
}

static void stored(struct one *one, bool existed)
{
    one->stage = STORED;
    if (!one->seen)
        one->existed = existed;
    one->seen = true;
}

static void gone(struct one *one)
{
    if (one->item->renew_only)
        fail(one, s3_absent(&one->item->err));
    else
        one->stage = SEND;
}

/* --- one step of all that are at a stage --------------------------------------------------------
 */

static void add(struct putting *putting, struct one *one)
{
    putting->ops[putting->running_count] = &one->op;
    putting->running[putting->running_count++] = one;
}

static void run(struct putting *putting)
{
    s3_run(putting->s3, putting->ops, putting->running_count, putting->deadline_ns);
}

static void set_send(struct putting *putting, struct one *one, bool overwrite)
{
    const struct blob_item *item = one->item;
    s3_op_set(putting->s3, &one->op, CLIENT_PUT, one->key);
    s3_op_picture(putting->s3, &one->op, item->media_type, putting->now_ms);
    s3_op_body(&one->op, item->content, item->sha256);
    if (!overwrite)
        s3_op_header(&one->op, "if-none-match", "*");
}

static void sent(struct putting *putting, struct one *one)
{
    const struct s3_op *op = &one->op;
    if (s3_is_fine(op)) {
        one->wrote = true;
        stored(one, one->stage == OVERWRITE);
    } else if (op->call.rc == RC_OK && op->call.status == 412) {
        one->unsure = op->call.unsure;
        one->stage = LOOK;
    } else {
        fail(one, s3_fail(putting->s3, op, "storing a picture in", &one->item->err));
    }
}

static void send_all(struct putting *putting)
{
    putting->running_count = 0;
    for (uint32_t i = 0; i < putting->count; i++) {
        struct one *one = &putting->ones[i];
        bool sends = one->stage == SEND || one->stage == OVERWRITE;
        if (!sends || (one->stage == SEND && one->item->content.size > S3_PART_SIZE))
            continue;
        set_send(putting, one, one->stage == OVERWRITE);
        add(putting, one);
    }
    run(putting);
    for (uint32_t i = 0; i < putting->running_count; i++) {
        sent(putting, putting->running[i]);
        s3_op_done(&putting->running[i]->op);
    }
    for (uint32_t i = 0; i < putting->count; i++) {
        struct one *one = &putting->ones[i];
        if (one->stage != SEND)
            continue;
        s3_op_set(putting->s3, &one->op, CLIENT_POST, one->key);
        s3_op_picture(putting->s3, &one->op, one->item->media_type, putting->now_ms);
        s3_put_parts(putting->s3, one->item, &one->op, putting->deadline_ns);
        sent(putting, one);
        s3_op_done(&one->op);
    }
}

static void looked(struct putting *putting, struct one *one)
{
    const struct s3_op *op = &one->op;
    if (s3_is_absent(op)) {
        gone(one);
    } else if (!s3_is_fine(op)) {
        fail(one, s3_fail(putting->s3, op, "looking at a picture in", &one->item->err));
    } else {
        uint64_t renewed_ms = s3_info(op).renewed_ms;
        s3_answer_header(op, "content-type", one->type, sizeof(one->type));
        if (renewed_ms < putting->now_ms)
            one->stage = RENEW;
        else /* an attempt whose answer got lost may be what stored it */
            stored(one, !(one->unsure && renewed_ms == putting->now_ms));
    }
}

static void renewed(struct putting *putting, struct one *one)
{
    const struct s3_op *op = &one->op;
    if (s3_is_fine(op)) {
        one->wrote = true;
        stored(one, true);
    } else if (s3_is_absent(op)) {
        gone(one);
    } else if (s3_is_archived(op) && !one->item->renew_only) {
        one->stage = OVERWRITE;
    } else if (s3_is_archived(op)) {
        fail(one, s3_archived(&one->item->err));
    } else {
        fail(one, s3_fail(putting->s3, op, "renewing the age of a picture in", &one->item->err));
    }
}

static void set_look(struct putting *putting, struct one *one)
{
    s3_op_set(putting->s3, &one->op, CLIENT_HEAD, one->key);
}

static void set_renew(struct putting *putting, struct one *one)
{
    struct s3_op *op = &one->op;
    const struct s3_place *place = &putting->s3->place;
    s3_op_set(putting->s3, op, CLIENT_PUT, one->key);
    (void)snprintf(op->source, sizeof(op->source), "/%s/%s%s", place->bucket, place->prefix,
                   one->key);
    s3_op_header(op, "x-amz-copy-source", op->source);
    s3_op_header(op, "x-amz-metadata-directive", "REPLACE");
    s3_op_picture(putting->s3, op, one->type, putting->now_ms);
    op->call.answer = &op->answer;
    op->call.late_errors = true;
}

static void step(struct putting *putting, enum stage stage,
                 void (*set)(struct putting *putting, struct one *one),
                 void (*read)(struct putting *putting, struct one *one))
{
    putting->running_count = 0;
    for (uint32_t i = 0; i < putting->count; i++)
        if (putting->ones[i].stage == stage) {
            set(putting, &putting->ones[i]);
            add(putting, &putting->ones[i]);
        }
    run(putting);
    for (uint32_t i = 0; i < putting->running_count; i++) {
        read(putting, putting->running[i]);
        s3_op_done(&putting->running[i]->op);
    }
}

/* From reading an age to writing it, nobody else of this process does so. */
static void look_and_renew(struct putting *putting)
{
    struct s3_busy busy = {.hashes = putting->hashes};
    for (uint32_t i = 0; i < putting->count; i++)
        if (putting->ones[i].stage == LOOK)
            putting->hashes[busy.count++] = putting->ones[i].item->sha256;
    if (busy.count == 0)
        return;
    s3_busy_begin(&busy);
    step(putting, LOOK, set_look, looked);
    step(putting, RENEW, set_renew, renewed);
    s3_busy_end(&busy);
}

static bool any(const struct putting *putting, enum stage stage)
{
    for (uint32_t i = 0; i < putting->count; i++)
        if (putting->ones[i].stage == stage)
            return true;
    return false;
}

/* Until every one is stored or has failed. */
static void settle(struct putting *putting)
{
    for (uint32_t i = 0; i < putting->count; i++)
        putting->ones[i].wrote = false;
    for (uint32_t round = 0; round < ROUND_MAX; round++) {
        send_all(putting);
        look_and_renew(putting);
        if (!any(putting, SEND) && !any(putting, LOOK) && !any(putting, OVERWRITE))
            return;
    }
    for (uint32_t i = 0; i < putting->count; i++)
        if (putting->ones[i].stage < STORED)
            fail(&putting->ones[i],
                 error_set(&putting->ones[i].item->err, RC_UNAVAILABLE,
                           "the picture comes and goes: others store and erase it all the time"));
}

/* --- removals meanwhile ------------------------------------------------------------------------
 */

static bool is_mine(void *ctx, const char *key)
{
    const struct putting *putting = ctx;
    for (uint32_t i = 0; i < putting->count; i++)
        if (putting->ones[i].stage == STORED && strcmp(putting->ones[i].key, key) == 0)
            return true;
    return false;
}

static void fail_stored(struct putting *putting, enum rc rc, const struct error *err)
{
    for (uint32_t i = 0; i < putting->count; i++)
        if (putting->ones[i].stage == STORED) {
            fail(&putting->ones[i], rc);
            putting->ones[i].item->err = *err;
        }
}

static void wait_ms(uint32_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

/* A look when none of ours is being removed. */
static enum rc look(struct putting *putting, struct s3_look *ret_look, struct error *err)
{
    for (uint32_t pause = WAIT_FIRST_MS;; pause = pause < WAIT_MS_MAX ? pause * 2 : pause) {
        enum rc rc =
            s3_removals_look(putting->s3, is_mine, putting, putting->deadline_ns, ret_look, err);
        if (rc != RC_OK || !ret_look->is_mine)
            return rc;
        if (clock_monotonic_ns() + pause * NS_PER_MS > putting->deadline_ns)
            return error_set(err, RC_UNAVAILABLE,
                             "the picture is being removed by a process that has not finished; "
                             "it can be stored in a few minutes");
        wait_ms(pause);
    }
}

/* `before` is what the removals were before the first of it was sent. */
static void put_all(struct putting *putting, struct s3_look before)
{
    struct error err = {0};
    settle(putting);
    while (any(putting, STORED)) {
        struct s3_look after;
        bool wrote = false;
        enum rc rc = look(putting, &after, &err);
        if (rc != RC_OK) {
            fail_stored(putting, rc, &err);
            return;
        }
        if (strcmp(before.etag, after.etag) == 0)
            return;
        before = after;
        for (uint32_t i = 0; i < putting->count; i++)
            if (putting->ones[i].stage == STORED)
                putting->ones[i].stage = LOOK;
        settle(putting);
        for (uint32_t i = 0; i < putting->count; i++)
            wrote = wrote || putting->ones[i].wrote;
        if (!wrote)
            return; /* all were still there after the last removal had ended */
    }
}

/* --- a group ---------------------------------------------------------------------------------- */

static struct one *find_twin(struct one *ones, const struct one *one)
{
    for (struct one *other = ones; other < one; other++)
        if (other->item != NULL && strcmp(other->key, one->key) == 0)
            return other;
    return NULL;
}

/* Twins take their outcome from the first that has the content. */
static void begin(struct putting *putting, struct blob_item items[], uint32_t count)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct one *one = &putting->ones[putting->count];
        if (items[i].rc != RC_OK)
            continue;
        one->item = &items[i];
        s3_picture_key(items[i].tenant, items[i].sha256, one->key);
        one->stage = items[i].renew_only || items[i].content.size > S3_PART_SIZE ? LOOK : SEND;
        one->twin = find_twin(putting->ones, one);
        if (one->twin != NULL)
            one->stage = FAILED;
        if (one->twin != NULL && one->twin->item->renew_only && !items[i].renew_only) {
            struct blob_item *renewing = one->twin->item;
            one->twin->item = one->item;
            one->twin->stage = SEND;
            one->item = renewing;
        }
        size += items[i].content.size;
        putting->count++;
    }
    putting->deadline_ns = s3_deadline() + size / BYTES_PER_MS * NS_PER_MS;
}

static void finish(struct putting *putting)
{
    for (uint32_t i = 0; i < putting->count; i++) {
        struct one *one = &putting->ones[i];
        if (one->twin != NULL) {
            one->item->rc = one->twin->item->rc;
            one->item->err = one->twin->item->err;
            one->item->existed = one->item->rc == RC_OK;
        } else if (one->stage == STORED) {
            one->item->existed = one->existed;
        }
    }
}

static void fail_all(struct blob_item items[], uint32_t count, enum rc rc, const struct error *err)
{
    for (uint32_t i = 0; i < count; i++)
        if (items[i].rc == RC_OK) {
            items[i].rc = rc;
            items[i].err = *err;
        }
}

void s3_put(struct blob *blob, struct blob_item items[], uint32_t count, uint64_t now_ms)
{
    struct s3 *s3 = s3_of(blob);
    struct error err = {0};
    struct s3_look before = {0};
    struct putting putting = {.s3 = s3, .now_ms = now_ms};
    putting.ones = calloc(count, sizeof(*putting.ones));
    putting.ops = calloc(count, sizeof(struct s3_op *));
    putting.running = calloc(count, sizeof(struct one *));
    putting.hashes = calloc(count, sizeof(const uint8_t *));
    enum rc rc = RC_OK;
    if (putting.ones == NULL || putting.ops == NULL || putting.running == NULL ||
        putting.hashes == NULL)
        rc = error_set(&err, RC_NO_MEMORY, "no memory to store %u pictures", count);
    (void)pthread_mutex_lock(&s3->mutex);
    bool known = s3->removals_known;
    memcpy(before.etag, s3->removals_etag, sizeof(before.etag));
    (void)pthread_mutex_unlock(&s3->mutex);
    if (rc == RC_OK && !known)
        rc = s3_removals_look(s3, NULL, NULL, s3_deadline(), &before, &err);
    if (rc == RC_OK) {
        begin(&putting, items, count);
        put_all(&putting, before);
        finish(&putting);
    } else {
        fail_all(items, count, rc, &err);
    }
    free(putting.ones);
    free(putting.ops);
    free(putting.running);
    free(putting.hashes);
}
