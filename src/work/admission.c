/* SPDX-License-Identifier: Apache-2.0 */
#include "work/admission.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OUTSTANDING_MAX 8192u /* claims that wait, work, or have ended and are not written yet */
#define POLL_MS         100u /* keys that other processes work under, deadlines, clients that left */
#define POLL_MAX        64u  /* keys in one poll */
/* Work that takes longer may be begun a second time by another process: it is committed once. A
 * shorter lease is a shorter wait for the client of a process that died. */
#define LEASE_MS 10000u
/* For the commit, after the deadline. */
#define HOLD_MARGIN_MS 60000u

/* What must be given back, or turned into use: lives until it is. */
struct hold {
    struct hold *next; /* of those working under a key */
    struct hold *next_ended;
    char tenant[ACCOUNT_TENANT_SIZE];
    struct id id;
    bool keyed; /* we hold the key */
    bool quota; /* images are reserved */
    uint32_t attempt;
    size_t key_size;
    uint8_t key[RESULT_KEY_SIZE_MAX];
    uint8_t fingerprint[32];
    struct claim_outcome outcome;
};

struct claims {
    struct claim *head;
    struct claim **tail;
};

struct admission {
    struct results *results;
    struct account *account;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct claims fresh;
    struct hold *ended;
    uint32_t outstanding_count;
    bool ending;

    /* The thread's alone. */
    struct claims parked;
    struct hold *working; /* holds of claims that were granted with a key */
    uint64_t poll_ns;     /* when to ask again for keys of other processes */
};

static void claims_clear(struct claims *claims)
{
    claims->head = NULL;
    claims->tail = &claims->head;
}

static void claims_add(struct claims *claims, struct claim *claim)
{
    claim->next = NULL;
    *claims->tail = claim;
    claims->tail = &claim->next;
}

/* Takes the first, if there is one. */
static struct claim *claims_take(struct claims *claims)
{
    struct claim *claim = claims->head;
    if (claim == NULL)
        return NULL;
    claims->head = claim->next;
    if (claims->head == NULL)
        claims->tail = &claims->head;
    return claim;
}

/* --- ends ------------------------------------------------------------------------------------ */

static void hold_free(struct admission *admission, struct hold *hold)
{
    free(hold);
    pthread_mutex_lock(&admission->lock);
    admission->outstanding_count--;
    pthread_mutex_unlock(&admission->lock);
}

static void let_go(struct admission *admission, const struct hold *hold)
{
    struct error err = {0};
    (void)!results_release(admission->results, bytes_of(hold->tenant),
                           (struct bytes){hold->key, hold->key_size}, hold->attempt,
                           clock_wall_ms(), &err);
}

static void stop_working(struct admission *admission, const struct hold *hold)
{
    struct hold **link = &admission->working;
    while (*link != hold)
        link = &(*link)->next;
    *link = hold->next;
}

/* Refused or failed: nothing was begun. */
static void refuse(struct admission *admission, struct claim *claim, enum rc rc, const char *text)
{
    struct hold *hold = claim->hold;
    claim->rc = error_set(&claim->err, rc, "%s", text);
    claim->hold = NULL;
    if (hold->keyed) {
        stop_working(admission, hold);
        let_go(admission, hold);
    }
    hold_free(admission, hold);
    claim->done(claim);
}

static void refuse_for_store(struct admission *admission, struct claim *claim, enum rc rc,
                             const struct error *err)
{
    claim->store_err = *err;
    refuse(admission, claim, rc_http_status(rc) == 503 ? rc : RC_INTERNAL,
           rc_http_status(rc) == 503 ? "the stores cannot take the request now; try again later"
                                     : "the stores failed");
}

static void settle_batch(struct admission *admission, struct hold *const holds[], uint32_t count)
{
    struct quota_settlement settlements[QUOTA_BATCH_MAX];
    struct error err = {0};
    for (uint32_t i = 0; i < count; i++)
        settlements[i] = (struct quota_settlement){.id = holds[i]->id,
                                                   .tenant = holds[i]->tenant,
                                                   .image_count = holds[i]->outcome.image_count,
                                                   .committed_ms = holds[i]->outcome.committed_ms};
    (void)!account_settle(admission->account, settlements, count, &err);
}

static void end_all(struct admission *admission, struct hold *ended)
{
    struct hold *batch[QUOTA_BATCH_MAX];
    uint32_t count = 0;
    for (struct hold *hold = ended; hold != NULL; hold = hold->next_ended) {
        if (!hold->quota || !hold->outcome.counted)
            continue;
        batch[count++] = hold;
        if (count == QUOTA_BATCH_MAX) {
            settle_batch(admission, batch, count);
            count = 0;
        }
    }
    if (count > 0)
        settle_batch(admission, batch, count);
    while (ended != NULL) {
        struct hold *next = ended->next_ended;
        if (ended->keyed)
            stop_working(admission, ended);
        if (ended->keyed && !ended->outcome.kept)
            let_go(admission, ended);
        hold_free(admission, ended);
        ended = next;
    }
}

/* --- keys ------------------------------------------------------------------------------------ */

static const struct hold *find_working(const struct admission *admission, const struct claim *claim)
{
    const struct bytes key = claim->idempotency_key;
    const struct hold *hold = admission->working;
    while (hold != NULL &&
           !(hold->key_size == key.size && memcmp(hold->key, key.data, key.size) == 0 &&
             strcmp(hold->tenant, claim->tenant) == 0))
        hold = hold->next;
    return hold;
}

static void park(struct admission *admission, struct claim *claim, bool local)
{
    claim->local = local;
    claims_add(&admission->parked, claim);
}

static void replay(struct admission *admission, struct claim *claim,
                   struct results_reservation *reservation)
{
    claim->replayed = true;
    claim->id = reservation->request_id;
    claim->answer = reservation->answer;
    hold_free(admission, claim->hold);
    claim->hold = NULL;
    claim->done(claim);
}

static void hold_key(struct admission *admission, struct claim *claim,
                     const struct results_reservation *reservation)
{
    struct hold *hold = claim->hold;
    hold->keyed = true;
    hold->attempt = reservation->attempt;
    hold->key_size = claim->idempotency_key.size;
    memcpy(hold->key, claim->idempotency_key.data, hold->key_size);
    memcpy(hold->fingerprint, claim->fingerprint, sizeof(hold->fingerprint));
    hold->next = admission->working;
    admission->working = hold;
    claim->id = reservation->request_id;
}

/* Of a request that was begun before. False: the claim has its answer. */
static bool look_back(struct admission *admission, struct claim *claim)
{
    struct error err = {0};
    uint64_t image_count = 0;
    uint64_t last_ms = 0;
    if (claim->image_count == 0)
        return true;
    enum rc rc = results_ledger_find(admission->results, bytes_of(claim->tenant), claim->id,
                                     claim->image_count, &image_count, &last_ms, &err);
    claim->begun = rc == RC_OK;
    if (rc == RC_OK || rc == RC_NOT_FOUND)
        return true;
    refuse_for_store(admission, claim, rc, &err);
    return false;
}

static const char reused[] = "this Idempotency-Key was sent before with another request; "
                             "a new request needs a new key";

/* True: the key is ours. Else the claim is parked, or has its answer. */
static bool take_key(struct admission *admission, struct claim *claim)
{
    const struct hold *other = find_working(admission, claim);
    if (other != NULL) {
        if (memcmp(other->fingerprint, claim->fingerprint, sizeof(other->fingerprint)) == 0)
            park(admission, claim, true);
        else
            refuse(admission, claim, RC_KEY_REUSED, reused);
        return false;
    }
    struct error err = {0};
    struct results_reservation reservation = {.answer = BUF_INIT(RESULT_ANSWER_SIZE_MAX)};
    uint64_t now_ms = clock_wall_ms();
    enum rc rc = results_reserve(admission->results, bytes_of(claim->tenant),
                                 claim->idempotency_key, claim->fingerprint, claim->id, now_ms,
                                 now_ms + LEASE_MS, now_ms + CLAIM_KEPT_MS, &reservation, &err);
    if (rc == RC_OK && reservation.state == RESERVED_DONE) {
        replay(admission, claim, &reservation);
        return false;
    }
    buf_done(&reservation.answer);
    if (rc != RC_OK)
        refuse_for_store(admission, claim, rc, &err);
    else if (reservation.state == RESERVED_CONFLICT)
        refuse(admission, claim, RC_KEY_REUSED, reused);
    else if (reservation.state == RESERVED_IN_FLIGHT)
        park(admission, claim, false);
    else {
        hold_key(admission, claim, &reservation);
        return reservation.attempt == 1 || look_back(admission, claim);
    }
    return false;
}

/* --- quota ----------------------------------------------------------------------------------- */

static uint32_t hold_ms(const struct claim *claim)
{
    if (claim->deadline_ns == 0)
        return QUOTA_HOLD_MS_MAX;
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t left_ms = claim->deadline_ns > now_ns ? (claim->deadline_ns - now_ns) / NS_PER_MS : 0;
    return left_ms < QUOTA_HOLD_MS_MAX - HOLD_MARGIN_MS ? (uint32_t)left_ms + HOLD_MARGIN_MS
                                                        : QUOTA_HOLD_MS_MAX;
}

static void grant(struct claim *claim)
{
    claim->hold->id = claim->id;
    claim->done(claim);
}

static void quota_refuse(struct admission *admission, struct claim *claim,
                         const struct quota_request *request)
{
    char text[sizeof(claim->err.text)];
    claim->retry_at_ms = request->retry_at_ms;
    if (request->refusal == QUOTA_DAY)
        (void)snprintf(text, sizeof(text),
                       "the request has %u of the %llu images that the key may have in a day, and "
                       "%llu are left; they come back at midnight UTC",
                       claim->image_count, (unsigned long long)claim->images_per_day,
                       (unsigned long long)request->day_remaining);
    else
        (void)snprintf(text, sizeof(text), "%s", quota_refusal_text(request->refusal));
    refuse(admission, claim, RC_RATE_LIMITED, text);
}

static void take_quota(struct admission *admission, struct claim *const claims[], uint32_t count)
{
    struct quota_request *requests = calloc(count, sizeof(*requests));
    struct error err = {0};
    uint32_t longest_ms = 1;
    enum rc rc = requests == NULL ? error_set(&err, RC_NO_MEMORY, "%u reservations", count) : RC_OK;
    for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
        const struct claim *claim = claims[i];
        requests[i] = (struct quota_request){.id = claim->id,
                                             .tenant = claim->tenant,
                                             .key = claim->key,
                                             .images_per_day = claim->images_per_day,
                                             .model = claim->model,
                                             .image_count = claim->image_count};
        longest_ms = hold_ms(claim) > longest_ms ? hold_ms(claim) : longest_ms;
    }
    if (rc == RC_OK)
        rc =
            account_reserve(admission->account, requests, count, longest_ms, clock_wall_ms(), &err);
    for (uint32_t i = 0; i < count; i++) {
        struct claim *claim = claims[i];
        if (rc != RC_OK)
            refuse_for_store(admission, claim, rc, &err);
        else if (requests[i].rc != RC_OK)
            refuse_for_store(admission, claim, requests[i].rc, &requests[i].err);
        else if (claim->day_remaining = requests[i].day_remaining,
                 requests[i].refusal != QUOTA_PASS)
            quota_refuse(admission, claim, &requests[i]);
        else {
            claim->hold->quota = true;
            grant(claim);
        }
    }
    free(requests);
}

/* --- the thread ------------------------------------------------------------------------------ */

/* False: it has its answer. */
static bool still_wanted(struct admission *admission, struct claim *claim)
{
    if (claim->cancelled != NULL && atomic_load_explicit(claim->cancelled, memory_order_relaxed))
        refuse(admission, claim, RC_CANCELLED, rc_text(RC_CANCELLED));
    else if (claim->deadline_ns != 0 && clock_monotonic_ns() >= claim->deadline_ns)
        refuse(admission, claim, RC_IN_FLIGHT,
               "the first request with this Idempotency-Key is still being worked on; try again "
               "in a second");
    else
        return true;
    return false;
}

static void ask(struct admission *admission, struct claims *claims)
{
    struct claim *reserving[QUOTA_BATCH_MAX];
    uint32_t count = 0;
    struct claim *claim;
    while ((claim = claims_take(claims)) != NULL) {
        if (claim->idempotency_key.size > 0 && !take_key(admission, claim))
            continue;
        if (!claim->reserves) {
            grant(claim);
            continue;
        }
        reserving[count++] = claim;
        if (count == QUOTA_BATCH_MAX) {
            take_quota(admission, reserving, count);
            count = 0;
        }
    }
    if (count > 0)
        take_quota(admission, reserving, count);
}

/* Moves those who may be asked again: the key that was held here is free, or it is time to ask for
 * those held elsewhere, some in each round. */
static void look_at_parked(struct admission *admission, struct claims *asking)
{
    struct claim *claim = admission->parked.head;
    uint64_t now_ns = clock_monotonic_ns();
    uint32_t poll_count = now_ns >= admission->poll_ns ? POLL_MAX : 0;
    if (poll_count > 0)
        admission->poll_ns = now_ns + POLL_MS * NS_PER_MS;
    claims_clear(&admission->parked);
    while (claim != NULL) {
        struct claim *next = claim->next;
        if (still_wanted(admission, claim)) {
            bool again = claim->local ? find_working(admission, claim) == NULL : poll_count > 0;
            poll_count -= again && !claim->local;
            claims_add(again ? asking : &admission->parked, claim);
        }
        claim = next;
    }
}

/* Waits for something to do; false at the end. */
static bool wait_for_work(struct admission *admission, struct claims *ret_fresh,
                          struct hold **ret_ended)
{
    struct timespec due = {.tv_sec = (time_t)(admission->poll_ns / NS_PER_S),
                           .tv_nsec = (long)(admission->poll_ns % NS_PER_S)};
    bool polls = admission->parked.head != NULL;
    int woken = 0;
    pthread_mutex_lock(&admission->lock);
    while (admission->fresh.head == NULL && admission->ended == NULL && !admission->ending &&
           woken != ETIMEDOUT)
        woken = polls ? pthread_cond_timedwait(&admission->more, &admission->lock, &due)
                      : pthread_cond_wait(&admission->more, &admission->lock);
    claims_clear(ret_fresh);
    struct claim *claim;
    while ((claim = claims_take(&admission->fresh)) != NULL)
        claims_add(ret_fresh, claim);
    *ret_ended = admission->ended;
    admission->ended = NULL;
    bool ending = admission->ending;
    pthread_mutex_unlock(&admission->lock);
    return !ending || *ret_ended != NULL;
}

static void refuse_all(struct admission *admission, struct claims *claims)
{
    struct claim *claim;
    while ((claim = claims_take(claims)) != NULL)
        refuse(admission, claim, RC_DRAINING,
               "the server is shutting down; send the request again");
}

static void *admission_main(void *argument)
{
    struct admission *admission = argument;
    struct claims asking;
    struct claims fresh;
    struct hold *ended;
    while (wait_for_work(admission, &fresh, &ended)) {
        /* What these give back is there for those that come. */
        end_all(admission, ended);
        claims_clear(&asking);
        look_at_parked(admission, &asking);
        struct claim *claim;
        while ((claim = claims_take(&fresh)) != NULL)
            claims_add(&asking, claim);
        ask(admission, &asking);
    }
    refuse_all(admission, &fresh);
    refuse_all(admission, &admission->parked);
    return NULL;
}

/* --- from other threads ---------------------------------------------------------------------- */

enum rc claim_submit(struct admission *admission, struct claim *claim, struct error *err)
{
    assert(claim->idempotency_key.size <= RESULT_KEY_SIZE_MAX);
    assert(claim->idempotency_key.size == 0 || admission->results != NULL);
    assert(!claim->reserves || admission->account != NULL);
    struct hold *hold = calloc(1, sizeof(*hold));
    if (hold == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the request; try again later");
    (void)snprintf(hold->tenant, sizeof(hold->tenant), "%s", claim->tenant);
    claim->hold = hold;
    claim->rc = RC_OK;
    claim->replayed = false;
    enum rc rc = RC_OK;
    pthread_mutex_lock(&admission->lock);
    if (admission->outstanding_count == OUTSTANDING_MAX)
        rc = error_set(err, RC_BUSY, "%u requests wait to be admitted; try again later",
                       OUTSTANDING_MAX);
    else {
        admission->outstanding_count++;
        claims_add(&admission->fresh, claim);
        pthread_cond_signal(&admission->more);
    }
    pthread_mutex_unlock(&admission->lock);
    if (rc != RC_OK) {
        claim->hold = NULL;
        free(hold);
    }
    return rc;
}

void claim_end(struct admission *admission, struct claim *claim,
               const struct claim_outcome *outcome)
{
    struct hold *hold = claim->hold;
    assert(hold != NULL);
    claim->hold = NULL;
    hold->outcome = *outcome;
    pthread_mutex_lock(&admission->lock);
    hold->next_ended = admission->ended;
    admission->ended = hold;
    pthread_cond_signal(&admission->more);
    pthread_mutex_unlock(&admission->lock);
}

static void release(struct admission *admission)
{
    pthread_cond_destroy(&admission->more);
    pthread_mutex_destroy(&admission->lock);
    free(admission);
}

enum rc admission_open(struct results *results, struct account *account,
                       struct admission **ret_admission, struct error *err)
{
    struct admission *admission = calloc(1, sizeof(*admission));
    if (admission == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for admission");
    admission->results = results;
    admission->account = account;
    claims_clear(&admission->fresh);
    claims_clear(&admission->parked);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&admission->lock, NULL);
    (void)pthread_cond_init(&admission->more, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    int failed = pthread_create(&admission->thread, NULL, admission_main, admission);
    if (failed != 0) {
        release(admission);
        return error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed));
    }
    *ret_admission = admission;
    return RC_OK;
}

void admission_free(struct admission *admission)
{
    if (admission == NULL)
        return;
    pthread_mutex_lock(&admission->lock);
    admission->ending = true;
    pthread_cond_signal(&admission->more);
    pthread_mutex_unlock(&admission->lock);
    pthread_join(admission->thread, NULL);
    release(admission);
}
