/* SPDX-License-Identifier: Apache-2.0
 * job_runner.c - the thread: leases, heartbeats, whose turn it is, and how jobs end. */
#include "work/job_active.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_IDLE_MS    1000u /* what other processes push is found by asking */
#define LEASE_BUSY_MS    250u  /* a full window is in no hurry for more jobs */
#define LEASE_SOON_MS    10u
#define PAUSE_MS         20u   /* the pictures' queue was full */
#define END_RETRY_MS     1000u /* a store did not take a job's end */
#define TURN_MS          2000u /* with all places taken: after so long one is given back */
#define CARETAKER_MS     1000u
#define CARETAKER_AGE_MS 5000u /* a younger job's message may be on its way */
#define SAFE_TEXT_SIZE   200

static uint64_t later(uint64_t now_ns, uint64_t ms) { return now_ns + ms * NS_PER_MS; }

static bool is_draining(struct job_runner *runner)
{
    pthread_mutex_lock(&runner->lock);
    bool draining = runner->draining;
    pthread_mutex_unlock(&runner->lock);
    return draining;
}

static void note(const struct job_runner *runner, enum job_note_kind what, const char *tenant,
                 struct id id, const char *text)
{
    const struct job_note line = {.what = what, .tenant = tenant, .id = id, .text = text};
    runner->config.note(runner->config.note_ctx, &line);
}

static void note_trouble(const struct job_runner *runner, const struct error *err)
{
    note(runner, JOB_NOTE_TROUBLE, "", (struct id){0}, err->text);
}

static void tell_ended(struct job_runner *runner, struct id id)
{
    /* Under the lock, so that nobody is told after job_runner_listen(NULL). */
    pthread_mutex_lock(&runner->lock);
    if (runner->ended != NULL)
        runner->ended(runner->ended_ctx, id);
    pthread_mutex_unlock(&runner->lock);
}

/* --- leases ---------------------------------------------------------------------------------- */

static uint64_t retry_at(const struct job_runner *runner, uint32_t delivery_count)
{
    struct id random = id_new(0);
    uint64_t bits;
    memcpy(&bits, random.octets + 8, sizeof(bits));
    return clock_wall_ms() + queue_retry_delay_ms(&runner->config.retry, delivery_count, bits);
}

/* The stores did not let it begin: that is no attempt of the job. */
static void refuse(struct job_runner *runner, const struct queue_delivery *delivery, enum rc rc,
                   const struct error *err)
{
    struct queue *queue = runner->config.stores.queue;
    uint64_t now_ms = clock_wall_ms();
    enum rc told;
    if (rc == RC_GONE)
        told = queue_ack(queue, &delivery->receipt, 1, now_ms, NULL, NULL);
    else if (rc == RC_RATE_LIMITED)
        told = queue_release(queue, &delivery->receipt, now_ms + runner->config.retry.delay_ms_max,
                             now_ms, NULL, NULL);
    else if (rc_retryable(rc))
        told = queue_release(queue, &delivery->receipt, retry_at(runner, 1), now_ms, NULL, NULL);
    else
        told = queue_fail(queue, &delivery->receipt, err->text,
                          retry_at(runner, delivery->delivery_count), now_ms, NULL, NULL);
    if (rc != RC_GONE)
        note(runner, JOB_NOTE_NOT_BEGUN, delivery->tenant, delivery->receipt.id, err->text);
    (void)told; /* else the lease runs out */
}

static void lease(struct job_runner *runner)
{
    struct error err = {0};
    uint32_t room = ACTIVE_COUNT_MAX - runner->active_count;
    enum rc rc = queue_lease(runner->config.stores.queue, room, runner->config.lease_ms,
                             clock_wall_ms(), runner->leased, &err);
    if (rc != RC_OK) {
        note_trouble(runner, &err);
        return;
    }
    for (uint32_t i = 0; i < runner->leased->count; i++) {
        const struct queue_delivery *delivery = &runner->leased->items[i];
        struct active *active = NULL;
        rc = active_open(runner, delivery, &active, &err);
        if (rc != RC_OK) {
            refuse(runner, delivery, rc, &err);
            continue;
        }
        active->since_ns = clock_monotonic_ns();
        active->following = runner->actives;
        runner->actives = active;
        runner->active_count++;
    }
}

/* With all places taken, what others wait for is not known, and they must not wait for the whole of
 * these: the one that was held longest goes back to the queue untried, which knows whose turn it
 * is. One that has failed goes on, so that its attempt ends. */
static void yield_if_due(struct job_runner *runner, uint64_t now_ns)
{
    struct active *oldest = NULL;
    if (runner->active_count < ACTIVE_COUNT_MAX)
        return;
    for (struct active *active = runner->actives; active != NULL; active = active->following) {
        if (active->state == ACTIVE_YIELDING)
            return;
        if (!active_is_spent(active) && active->failure_count == 0 &&
            (oldest == NULL || active->since_ns < oldest->since_ns))
            oldest = active;
    }
    if (oldest != NULL && now_ns >= later(oldest->since_ns, TURN_MS))
        oldest->state = ACTIVE_YIELDING;
}

/* Pictures that could be begun. */
static uint32_t waiting_count(const struct job_runner *runner)
{
    uint32_t count = 0;
    for (const struct active *active = runner->actives; active != NULL; active = active->following)
        if (!active_is_spent(active))
            count += active->set.items[0].picture_count - active->next;
    return count;
}

static void lease_if_due(struct job_runner *runner, uint64_t bell, uint64_t now_ns)
{
    if (runner->active_count == ACTIVE_COUNT_MAX || now_ns < runner->lease_ns)
        return;
    runner->lease_bell = bell;
    lease(runner);
    runner->lease_ns = later(now_ns, waiting_count(runner) < runner->config.window ? LEASE_SOON_MS
                                                                                   : LEASE_BUSY_MS);
}

static void heartbeat(struct job_runner *runner)
{
    struct queue_receipt receipts[ACTIVE_COUNT_MAX];
    struct active *held[ACTIVE_COUNT_MAX];
    enum rc rcs[ACTIVE_COUNT_MAX];
    uint32_t count = 0;
    for (struct active *active = runner->actives; active != NULL; active = active->following)
        if (active->state == ACTIVE_WORKING || active->state == ACTIVE_YIELDING) {
            held[count] = active;
            receipts[count++] = active->receipt;
        }
    if (count == 0)
        return;
    uint64_t now_ms = clock_wall_ms();
    /* If the queue does not answer, the leases may run out: then others go on where this one is. */
    (void)!queue_extend(runner->config.stores.queue, receipts, count,
                        now_ms + runner->config.lease_ms, now_ms, rcs, NULL);
    for (uint32_t i = 0; i < count; i++) {
        if (rcs[i] != RC_CANCELLED && rcs[i] != RC_GONE)
            continue;
        held[i]->state = rcs[i] == RC_GONE ? ACTIVE_LOST : ACTIVE_CANCELLED;
        active_cancel_flights(runner, held[i]);
        if (rcs[i] == RC_GONE)
            note(runner, JOB_NOTE_LEASE_LOST, held[i]->tenant, held[i]->receipt.id, "");
    }
}

static void heartbeat_if_due(struct job_runner *runner, uint64_t now_ns)
{
    pthread_mutex_lock(&runner->lock);
    bool looking = runner->looking;
    runner->looking = false;
    pthread_mutex_unlock(&runner->lock);
    if (!looking && now_ns < runner->heartbeat_ns)
        return;
    heartbeat(runner);
    runner->heartbeat_ns = later(now_ns, runner->config.lease_ms / 3);
}

/* --- pictures -------------------------------------------------------------------------------- */

static void land_finished(struct job_runner *runner)
{
    pthread_mutex_lock(&runner->lock);
    struct flight *flight = runner->finished;
    runner->finished = NULL;
    pthread_mutex_unlock(&runner->lock);
    while (flight != NULL) {
        struct flight *next = flight->next;
        active_land(runner, flight);
        flight = next;
    }
}

/* The first that has pictures left goes to the end of the list: jobs take turns. */
static struct active *take_turn(struct job_runner *runner)
{
    struct active **link = &runner->actives;
    while (*link != NULL && active_is_spent(*link))
        link = &(*link)->following;
    struct active *active = *link;
    if (active == NULL || active->following == NULL)
        return active;
    *link = active->following;
    active->following = NULL;
    while (*link != NULL)
        link = &(*link)->following;
    *link = active;
    return active;
}

/* Fill the window. True: later there may be more room, or more is to be begun: those that cannot be
 * read take none, and heartbeats must not wait for a thousand of them. */
static bool begin_pictures(struct job_runner *runner)
{
    const struct job_runner_config *config = &runner->config;
    struct error err = {0};
    for (uint32_t i = 0; i < config->window; i++) {
        if (runner->flight_count == config->window || runner->flight_size >= config->memory_max)
            return false;
        struct active *active = take_turn(runner);
        if (active == NULL)
            return false;
        if (active_begin_next(runner, active, &err) == RC_BUSY)
            return true;
    }
    return true;
}

/* --- ends ------------------------------------------------------------------------------------ */

/* For the client: what failed inside is for operators, since it may name files. */
static void describe_death(const struct active *active, char into[SAFE_TEXT_SIZE])
{
    const struct error *failure = &active->failure;
    const char *text = failure->text[0] != '\0' && rc_http_status(failure->rc) < 500
                           ? failure->text
                           : rc_text(failure->rc);
    (void)snprintf(into, SAFE_TEXT_SIZE, "%u attempts failed, the last one so: %.120s",
                   active->delivery_count, text);
}

static enum rc end_record(struct job_runner *runner, struct active *active, enum result_job_end end,
                          const char *reason, struct error *err)
{
    enum rc rc = job_end(&runner->config.stores, active->tenant, active_record(active),
                         &active->job, end, reason, clock_wall_ms(), err);
    /* It was swept: nobody asks any more. */
    if (rc == RC_NOT_FOUND)
        rc = RC_OK;
    if (rc != RC_OK)
        return rc;
    if (end != RESULT_JOB_DEAD)
        note(runner, JOB_NOTE_ENDED, active->tenant, active->receipt.id,
             end == RESULT_JOB_DONE ? "done" : "cancelled");
    tell_ended(runner, active->receipt.id);
    return RC_OK;
}

static enum rc end_failed(struct job_runner *runner, struct active *active, struct error *err)
{
    enum job_state state = JOB_FAILED;
    enum rc rc = queue_fail(runner->config.stores.queue, &active->receipt, active->failure.text,
                            retry_at(runner, active->delivery_count), clock_wall_ms(), &state, err);
    if (rc != RC_OK)
        return rc;
    note(runner, state == JOB_DEAD ? JOB_NOTE_DEAD : JOB_NOTE_ATTEMPT_FAILED, active->tenant,
         active->receipt.id, active->failure.text);
    char reason[SAFE_TEXT_SIZE];
    describe_death(active, reason);
    /* If this fails, the caretaker makes up for it. */
    if (state == JOB_DEAD)
        (void)!end_record(runner, active, RESULT_JOB_DEAD, reason, err);
    else if (state == JOB_CANCELLED)
        (void)!end_record(runner, active, RESULT_JOB_CANCELLED, "", err);
    return RC_OK;
}

/* RC_OK and GONE: it is not the runner's any more. */
static enum rc end_active(struct job_runner *runner, struct active *active, struct error *err)
{
    struct queue *queue = runner->config.stores.queue;
    bool whole = active->known_count == active_record(active)->picture_count;
    uint64_t now_ms = clock_wall_ms();
    enum rc rc = RC_OK;
    if (active->state == ACTIVE_LOST)
        return RC_OK;
    if (whole) {
        rc = end_record(runner, active, RESULT_JOB_DONE, "", err);
        return rc == RC_OK ? queue_ack(queue, &active->receipt, 1, now_ms, NULL, err) : rc;
    }
    if (active->state == ACTIVE_CANCELLED) {
        rc = end_record(runner, active, RESULT_JOB_CANCELLED, "", err);
        return rc == RC_OK ? queue_fail(queue, &active->receipt, "cancelled", 0, now_ms, NULL, err)
                           : rc;
    }
    if (active->failure_count > 0)
        return end_failed(runner, active, err);
    enum job_state state = JOB_QUEUED;
    rc = queue_release(queue, &active->receipt, 0, now_ms, &state, err);
    /* If this fails, the caretaker makes up for it. */
    if (rc == RC_OK && state == JOB_CANCELLED)
        (void)!end_record(runner, active, RESULT_JOB_CANCELLED, "", err);
    return rc;
}

/* End what is over. True: one could not be ended, and is tried again. */
static bool end_spent(struct job_runner *runner, uint64_t now_ns)
{
    bool draining = is_draining(runner);
    bool again = false;
    struct active **link = &runner->actives;
    while (*link != NULL) {
        struct active *active = *link;
        bool over = active->flight_count == 0 && (draining || active_is_spent(active));
        if (!over || (now_ns < active->retry_ns && !draining)) {
            again |= over;
            link = &active->following;
            continue;
        }
        struct error err = {0};
        enum rc rc = end_active(runner, active, &err);
        if (rc != RC_OK && rc != RC_GONE && !draining) {
            note(runner, JOB_NOTE_NOT_ENDED, active->tenant, active->receipt.id, err.text);
            active->retry_ns = later(now_ns, END_RETRY_MS);
            again = true;
            continue;
        }
        *link = active->following;
        active_free(active);
        runner->active_count--;
    }
    return again;
}

/* --- the caretaker --------------------------------------------------------------------------- */

static bool holds(const struct job_runner *runner, const struct results_job_open *job)
{
    for (const struct active *active = runner->actives; active != NULL; active = active->following)
        if (memcmp(&active->receipt.id, &job->id, sizeof(job->id)) == 0 &&
            strcmp(active->tenant, job->tenant) == 0)
            return true;
    return false;
}

static void look_through_open(struct job_runner *runner)
{
    struct results_job_open page[RESULTS_JOB_PAGE_MAX];
    struct error err = {0};
    uint32_t count = 0;
    uint64_t now_ms = clock_wall_ms();
    const struct job_stores *stores = &runner->config.stores;
    enum rc rc = results_job_open_list(stores->results,
                                       runner->seen.tenant[0] != '\0' ? &runner->seen : NULL,
                                       RESULTS_JOB_PAGE_MAX, page, &count, &err);
    uint32_t looked = 0;
    while (looked < count && rc == RC_OK) {
        const struct results_job_open *job = &page[looked++];
        bool ended = false;
        if (holds(runner, job) || job->created_ms + CARETAKER_AGE_MS > now_ms)
            continue;
        rc = job_reconcile(stores, job->tenant, job->id, now_ms, &ended, &err);
        if (ended)
            tell_ended(runner, job->id);
    }
    if (rc != RC_OK)
        note_trouble(runner, &err);
    /* Behind one that failed it goes on the next time: the others must not wait for it. */
    if (looked < count || count == RESULTS_JOB_PAGE_MAX)
        runner->seen = page[looked - 1];
    else
        runner->seen = (struct results_job_open){0};
}

static void look_through_open_if_due(struct job_runner *runner, uint64_t now_ns)
{
    if (now_ns < runner->caretaker_ns)
        return;
    look_through_open(runner);
    runner->caretaker_ns = later(now_ns, CARETAKER_MS);
}

/* --- the thread ------------------------------------------------------------------------------ */

static uint32_t wait_ms(const struct job_runner *runner, uint64_t bell, uint64_t now_ns,
                        bool paused)
{
    uint64_t until_ns = later(now_ns, paused ? PAUSE_MS : LEASE_IDLE_MS);
    /* What rang too soon after a lease to be looked at yet. */
    if (runner->active_count < ACTIVE_COUNT_MAX && bell != runner->lease_bell &&
        runner->lease_ns < until_ns)
        until_ns = runner->lease_ns;
    if (runner->active_count > 0 && runner->heartbeat_ns < until_ns)
        until_ns = runner->heartbeat_ns;
    return until_ns > now_ns ? (uint32_t)((until_ns - now_ns) / NS_PER_MS) + 1 : 0;
}

static void *runner_main(void *argument)
{
    struct job_runner *runner = argument;
    struct queue *queue = runner->config.stores.queue;
    for (;;) {
        /* Before anything is looked at: what comes later ends the wait. */
        uint64_t bell = queue_bell(queue);
        uint64_t now_ns = clock_monotonic_ns();
        bool draining = is_draining(runner);
        bool paused = false;
        land_finished(runner);
        heartbeat_if_due(runner, now_ns);
        if (!draining) {
            lease_if_due(runner, bell, now_ns);
            yield_if_due(runner, now_ns);
            paused = begin_pictures(runner);
            look_through_open_if_due(runner, now_ns);
        }
        paused |= end_spent(runner, now_ns);
        if (draining && runner->active_count == 0)
            return NULL;
        (void)queue_wait(queue, bell, wait_ms(runner, bell, now_ns, paused));
    }
}

static void release(struct job_runner *runner)
{
    queue_leased_free(runner->leased);
    free(runner->flights);
    pthread_mutex_destroy(&runner->lock);
    free(runner);
}

enum rc job_runner_open(const struct job_runner_config *config, struct job_runner **ret_runner,
                        struct error *err)
{
    struct job_runner *runner = calloc(1, sizeof(*runner));
    if (runner == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for jobs");
    runner->config = *config;
    (void)pthread_mutex_init(&runner->lock, NULL);
    runner->leased = queue_leased_open();
    runner->flights = calloc(config->window, sizeof(*runner->flights));
    bool whole = runner->leased != NULL && runner->flights != NULL;
    for (uint32_t i = 0; i < config->window && whole; i++) {
        runner->flights[i].runner = runner;
        runner->flights[i].next = runner->idle;
        runner->idle = &runner->flights[i];
    }
    int failed = whole ? pthread_create(&runner->thread, NULL, runner_main, runner) : 0;
    if (!whole || failed != 0) {
        release(runner);
        return whole ? error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed))
                     : error_set(err, RC_NO_MEMORY, "no memory for jobs");
    }
    *ret_runner = runner;
    return RC_OK;
}

void job_runner_look(struct job_runner *runner)
{
    pthread_mutex_lock(&runner->lock);
    runner->looking = true;
    pthread_mutex_unlock(&runner->lock);
    queue_wake(runner->config.stores.queue);
}

void job_runner_listen(struct job_runner *runner, void (*ended)(void *ctx, struct id id), void *ctx)
{
    pthread_mutex_lock(&runner->lock);
    runner->ended = ended;
    runner->ended_ctx = ctx;
    pthread_mutex_unlock(&runner->lock);
}

void job_runner_drain(struct job_runner *runner)
{
    pthread_mutex_lock(&runner->lock);
    runner->draining = true;
    pthread_mutex_unlock(&runner->lock);
    queue_wake(runner->config.stores.queue);
}

void job_runner_abandon(struct job_runner *runner) { (void)pthread_detach(runner->thread); }

void job_runner_free(struct job_runner *runner)
{
    if (runner == NULL)
        return;
    job_runner_drain(runner);
    pthread_join(runner->thread, NULL);
    release(runner);
}
