/* SPDX-License-Identifier: Apache-2.0
 * s3_removals.c - erasing pictures beside puts. The protocol is in s3.h.
 *
 * The object of removals is text: a line that says what it is, one with the random number of
 * whoever wrote it last, then the keys that are being removed; none: nobody removes. Every version
 * of it is written on the condition that the one before is still there, so that its ETag tells
 * whether anything has happened. */
#include "blob/s3.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define FIRST_LINE    "imago removals 1\n"
#define SIZE_MAX_TEXT (128u << 10)
/* S3 refuses what is dated more than 15 minutes ago: dated so, a request is good for a minute. */
#define BACKDATE_MS   (14u * 60u * 1000u)
#define ERASE_MS      40000u /* within it, all has been sent */
#define LAPSE_MS      180000u /* whoever has not finished by then is dead, and cannot erase any more */
#define WAIT_FIRST_MS 5u
#define WAIT_MS_MAX   200u

/* What the object said. */
struct removals {
    struct s3_op op; /* its answer is the text */
    char etag[S3_ETAG_SIZE];
    bool is_held;
    bool is_lapsed;
    char holder[17];
    struct bytes keys; /* lines */
};

struct removing {
    struct s3 *s3;
    struct s3_doomed *doomed;
    uint32_t count;
    uint64_t deadline_ns;
    char holder[17];
    char etag[S3_ETAG_SIZE]; /* of what we wrote */
    uint64_t date_ms;        /* S3's clock when we began */
    uint64_t since_ns;
    struct s3_op *ops;
    struct s3_op **running;
};

static void draw_holder(char into[17])
{
    uint64_t number = clock_monotonic_ns();
    (void)!getrandom(&number, sizeof(number), 0);
    (void)snprintf(into, 17, "%016llx", (unsigned long long)number);
}

static void pause_for(uint32_t bound_ms)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof(random), 0);
    struct timespec time = {.tv_nsec = (long)(1 + random % bound_ms) * 1000000};
    (void)nanosleep(&time, NULL);
}

static struct bytes take_line(struct bytes *rest)
{
    const uint8_t *end = rest->size > 0 ? memchr(rest->data, '\n', rest->size) : NULL;
    struct bytes line = *rest;
    line.size = end != NULL ? (size_t)(end - rest->data) : rest->size;
    size_t taken = end != NULL ? line.size + 1 : line.size;
    rest->data += taken;
    rest->size -= taken;
    return line;
}

static enum rc parse(struct s3 *s3, struct removals *removals, struct error *err)
{
    struct s3_op *op = &removals->op;
    struct bytes rest = {op->answer.data, op->answer.size};
    struct bytes first = take_line(&rest);
    struct bytes holder = take_line(&rest);
    if (first.size + 1 != strlen(FIRST_LINE) || memcmp(first.data, FIRST_LINE, first.size) != 0 ||
        holder.size != sizeof(removals->holder) - 1)
        return error_set(err, RC_UNAVAILABLE,
                         "s3://%s/%.100s" S3_REMOVALS_NAME
                         " is not imago's: remove it, or choose another prefix",
                         s3->place.bucket, s3->place.prefix);
    memcpy(removals->holder, holder.data, holder.size);
    removals->holder[holder.size] = '\0';
    removals->keys = rest;
    removals->is_held = rest.size > 0;
    char changed[64];
    s3_answer_header(op, "last-modified", changed, sizeof(changed));
    uint64_t changed_ms = aws_http_date_read(bytes_of(changed));
    uint64_t now_ms = aws_call_date_ms(&op->call);
    removals->is_lapsed = changed_ms > 0 && now_ms > changed_ms + LAPSE_MS;
    return RC_OK;
}

/* A rule of the bucket may have put even this into an archive: then nothing was removed for as
 * long, and its ETag is all that matters. */
static bool ask_etag(struct s3 *s3, struct removals *removals, uint64_t deadline_ns)
{
    s3_op_done(&removals->op);
    s3_op_set(s3, &removals->op, CLIENT_HEAD, S3_REMOVALS_NAME);
    s3_run_one(s3, &removals->op, deadline_ns);
    s3_answer_header(&removals->op, "etag", removals->etag, sizeof(removals->etag));
    return s3_is_fine(&removals->op) && removals->etag[0] != '\0';
}

/* removals_done() also after a failure. */
static enum rc read_removals(struct s3 *s3, uint64_t deadline_ns, struct removals *removals,
                             struct error *err)
{
    *removals = (struct removals){0};
    struct s3_op *op = &removals->op;
    s3_op_set(s3, op, CLIENT_GET, S3_REMOVALS_NAME);
    op->answer.size_max = SIZE_MAX_TEXT;
    op->call.answer = &op->answer;
    s3_run_one(s3, op, deadline_ns);
    enum rc rc = RC_OK;
    if (s3_is_fine(op)) {
        s3_answer_header(op, "etag", removals->etag, sizeof(removals->etag));
        rc = parse(s3, removals, err);
    } else if (!s3_is_absent(op) && !(s3_is_archived(op) && ask_etag(s3, removals, deadline_ns))) {
        rc = s3_fail(s3, op, "looking for removals in", err);
    }
    if (rc != RC_OK)
        return rc;
    (void)pthread_mutex_lock(&s3->mutex);
    s3->removals_known = true;
    memcpy(s3->removals_etag, removals->etag, sizeof(s3->removals_etag));
    (void)pthread_mutex_unlock(&s3->mutex);
    return RC_OK;
}

static void removals_done(struct removals *removals) { s3_op_done(&removals->op); }

enum rc s3_removals_look(struct s3 *s3, bool (*is_mine)(void *ctx, const char *key), void *ctx,
                         uint64_t deadline_ns, struct s3_look *ret_look, struct error *err)
{
    struct removals removals;
    struct s3_look look = {0};
    enum rc rc = read_removals(s3, deadline_ns, &removals, err);
    if (rc == RC_OK) {
        memcpy(look.etag, removals.etag, sizeof(look.etag));
        look.is_held = removals.is_held && !removals.is_lapsed;
        while (look.is_held && is_mine != NULL && removals.keys.size > 0 && !look.is_mine) {
            char key[S3_NAME_SIZE];
            struct bytes line = take_line(&removals.keys);
            (void)snprintf(key, sizeof(key), "%.*s", (int)line.size, (const char *)line.data);
            look.is_mine = is_mine(ctx, key);
        }
        *ret_look = look;
    }
    removals_done(&removals);
    return rc;
}

/* --- taking and leaving one's place ------------------------------------------------------------
 */

/* Writes the keys, of those with `rc` only, if the object is still that of `etag`; its status. */
static void write_removals(struct removing *removing, const char *etag, bool all, struct s3_op *op)
{
    struct buf text = BUF_INIT(SIZE_MAX_TEXT);
    enum rc rc = buf_printf(&text, FIRST_LINE "%s\n", removing->holder);
    for (uint32_t i = 0; i < removing->count && rc == RC_OK; i++)
        if (all || removing->ops[i].call.unsure)
            rc = buf_printf(&text, "%s\n", removing->doomed[i].key);
    s3_op_set(removing->s3, op, CLIENT_PUT, S3_REMOVALS_NAME);
    s3_op_header(op, "content-type", "text/plain");
    if (removing->s3->place.sse[0] != '\0')
        s3_op_header(op, "x-amz-server-side-encryption", removing->s3->place.sse);
    if (removing->s3->place.kms_key[0] != '\0')
        s3_op_header(op, "x-amz-server-side-encryption-aws-kms-key-id",
                     removing->s3->place.kms_key);
    (void)snprintf(op->etag, sizeof(op->etag), "%s", etag[0] != '\0' ? etag : "*");
    s3_op_header(op, etag[0] != '\0' ? "if-match" : "if-none-match", op->etag);
    s3_op_body(op, (struct bytes){text.data, text.size}, NULL);
    if (rc == RC_OK)
        s3_run_one(removing->s3, op, removing->deadline_ns);
    else
        op->call.rc = rc;
    buf_done(&text);
}

static void note_begin(struct removing *removing, const char *etag, uint64_t date_ms)
{
    memcpy(removing->etag, etag, S3_ETAG_SIZE);
    removing->date_ms = date_ms != 0 ? date_ms : clock_wall_ms();
}

/* One try. NOT_FOUND: somebody else is at it. */
static enum rc try_begin(struct removing *removing, struct error *err)
{
    struct s3 *s3 = removing->s3;
    struct removals removals;
    removing->since_ns = clock_monotonic_ns();
    enum rc rc = read_removals(s3, removing->deadline_ns, &removals, err);
    if (rc == RC_OK && removals.is_held && strcmp(removals.holder, removing->holder) == 0) {
        /* A try of ours whose answer got lost. Dated from when it was written, or before. */
        char changed[64];
        s3_answer_header(&removals.op, "last-modified", changed, sizeof(changed));
        note_begin(removing, removals.etag, aws_http_date_read(bytes_of(changed)));
        removals_done(&removals);
        return RC_OK;
    }
    if (rc == RC_OK && removals.is_held && !removals.is_lapsed)
        rc = RC_NOT_FOUND;
    if (rc == RC_OK) {
        struct s3_op op;
        char etag[S3_ETAG_SIZE];
        write_removals(removing, removals.etag, true, &op);
        s3_answer_header(&op, "etag", etag, sizeof(etag));
        if (s3_is_fine(&op) && !op.call.unsure)
            note_begin(removing, etag, aws_call_date_ms(&op.call));
        else if (op.call.rc == RC_OK && (s3_is_fine(&op) || op.call.status == 412 ||
                                         op.call.status == 404 || op.call.status == 409))
            rc = RC_NOT_FOUND; /* the next look tells whose it is */
        else
            rc = s3_fail(s3, &op, "announcing a removal in", err);
        s3_op_done(&op);
    }
    removals_done(&removals);
    return rc;
}

static enum rc begin(struct removing *removing, struct error *err)
{
    draw_holder(removing->holder);
    for (uint32_t bound = WAIT_FIRST_MS;; bound = bound < WAIT_MS_MAX ? bound * 2 : bound) {
        enum rc rc = try_begin(removing, err);
        if (rc != RC_NOT_FOUND)
            return rc;
        if (clock_monotonic_ns() > removing->deadline_ns)
            return error_set(err, RC_UNAVAILABLE,
                             "another process is removing pictures and has not finished; try "
                             "again in a few minutes");
        pause_for(bound);
    }
}

/* Those whose erasing may yet happen stay in the list until it cannot any more. If this fails, all
 * do. */
static void finish(struct removing *removing)
{
    struct s3_op op;
    draw_holder(removing->holder); /* nobody has it: this version differs from every other */
    removing->deadline_ns = s3_deadline();
    write_removals(removing, removing->etag, false, &op);
    s3_op_done(&op);
}

/* --- removing ----------------------------------------------------------------------------------
 */

static void run_those(struct removing *removing, enum client_method method, uint64_t deadline_ns)
{
    uint32_t running_count = 0;
    for (uint32_t i = 0; i < removing->count; i++) {
        if (removing->doomed[i].rc != RC_OK)
            continue;
        s3_op_done(&removing->ops[i]);
        s3_op_set(removing->s3, &removing->ops[i], method, removing->doomed[i].key);
        if (method == CLIENT_DELETE)
            removing->ops[i].call.date_ms = removing->date_ms - BACKDATE_MS;
        removing->running[running_count++] = &removing->ops[i];
    }
    s3_run(removing->s3, removing->running, running_count, deadline_ns);
}

/* Read after the removal was announced. */
static void read_ages(struct removing *removing)
{
    run_those(removing, CLIENT_HEAD, removing->deadline_ns);
    for (uint32_t i = 0; i < removing->count; i++) {
        struct s3_doomed *doomed = &removing->doomed[i];
        struct s3_op *op = &removing->ops[i];
        struct blob_info info = s3_info(op);
        if (doomed->rc != RC_OK)
            continue;
        if (s3_is_absent(op))
            doomed->rc = s3_absent(&doomed->err);
        else if (!s3_is_fine(op))
            doomed->rc = s3_fail(removing->s3, op, "looking at a picture in", &doomed->err);
        else if (info.renewed_ms >= doomed->before_ms)
            doomed->rc = error_set(&doomed->err, RC_BUSY,
                                   "the picture was stored again a moment ago; try later");
        doomed->size = info.size;
        op->call.unsure = false; /* looking changes nothing */
    }
}

static void erase(struct removing *removing)
{
    uint64_t until_ns = removing->since_ns + ERASE_MS * NS_PER_MS;
    run_those(removing, CLIENT_DELETE,
              until_ns < removing->deadline_ns ? until_ns : removing->deadline_ns);
    for (uint32_t i = 0; i < removing->count; i++) {
        struct s3_doomed *doomed = &removing->doomed[i];
        struct s3_op *op = &removing->ops[i];
        if (doomed->rc != RC_OK || s3_is_fine(op) || s3_is_absent(op))
            continue;
        if (strcmp(op->call.code, "RequestTimeTooSkewed") == 0)
            doomed->rc = error_set(&doomed->err, RC_UNAVAILABLE,
                                   "removing a picture took too long; try again");
        else
            doomed->rc = s3_fail(removing->s3, op, "removing a picture from", &doomed->err);
    }
}

void s3_remove(struct s3 *s3, struct s3_doomed doomed[], uint32_t count, uint64_t deadline_ns)
{
    struct removing removing = {
        .s3 = s3, .doomed = doomed, .count = count, .deadline_ns = deadline_ns};
    struct error err = {0};
    enum rc rc = RC_OK;
    removing.ops = calloc(count, sizeof(*removing.ops));
    removing.running = calloc(count, sizeof(struct s3_op *));
    if (removing.ops == NULL || removing.running == NULL)
        rc = error_set(&err, RC_NO_MEMORY, "no memory to remove pictures");
    (void)pthread_mutex_lock(&s3->removing);
    if (rc == RC_OK)
        rc = begin(&removing, &err);
    for (uint32_t i = 0; i < count; i++) {
        doomed[i].rc = rc;
        doomed[i].err = err;
    }
    if (rc == RC_OK) {
        read_ages(&removing);
        erase(&removing);
        finish(&removing);
    }
    (void)pthread_mutex_unlock(&s3->removing);
    for (uint32_t i = 0; i < count && removing.ops != NULL; i++)
        s3_op_done(&removing.ops[i]);
    free(removing.ops);
    free(removing.running);
}
