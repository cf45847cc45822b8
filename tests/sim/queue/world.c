/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Of this world alone: turns between tenants must begin afresh for a run to be repeatable. */
static const char *tenant_of(const struct world *world, uint32_t message)
{
    return world->tenants[message % WORLD_TENANT_COUNT];
}

static struct id id_of(const struct world *world, uint32_t message)
{
    uint32_t number = world->first_number + message;
    struct id id = {{0x01, 0x99, 0, 0, 0, 0, 0x70, 0, 0x80}};
    for (int i = 0; i < 4; i++)
        id.octets[2 + i] = (uint8_t)(number >> (24 - 8 * i));
    return id;
}

__attribute__((format(printf, 2, 3))) static void note(struct world *world, const char *format, ...)
{
    char text[72];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    char *line = world->trace[world->step_count++ % WORLD_TRACE_MAX];
    (void)snprintf(line, sizeof(world->trace[0]), "%llu: %s%s",
                   (unsigned long long)(world->now_ms % 10000000), text,
                   world->fault == QUEUE_FAULT_BEFORE  ? " (fault before)"
                   : world->fault == QUEUE_FAULT_AFTER ? " (answer lost)"
                                                       : "");
}

void world_broken(struct world *world, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (world->name[0] != '\0')
        print_message("# %s\n", world->name);
    uint32_t first = world->step_count > WORLD_TRACE_MAX ? world->step_count - WORLD_TRACE_MAX : 0;
    for (uint32_t i = first; i < world->step_count; i++)
        print_message("#   %s\n", world->trace[i % WORLD_TRACE_MAX]);
    fail_msg("%s", text);
}

static enum queue_fault decide(void *ctx, enum queue_call call)
{
    (void)call;
    return ((struct world *)ctx)->fault;
}

/* Chooses what the next call suffers. */
static void arm(struct world *world)
{
    world->fault = QUEUE_FAULT_NONE;
    if (world->fault_budget == 0 ||
        (world->fault_odds > 1 && world->choose(world->ctx, world->fault_odds) != 0))
        return;
    world->fault = (enum queue_fault)world->choose(world->ctx, 3);
    if (world->fault != QUEUE_FAULT_NONE && world->fault_budget != UINT32_MAX)
        world->fault_budget--;
}

static bool carried_out(const struct world *world) { return world->fault != QUEUE_FAULT_BEFORE; }

static bool held(const struct model *model)
{
    return model->state == JOB_LEASED || model->state == JOB_CANCELLING;
}

static bool waits(const struct model *model)
{
    return model->sent && (model->state == JOB_QUEUED || model->state == JOB_FAILED);
}

static void rest(struct model *model, enum job_state state)
{
    model->state = state;
    model->rest_count++;
}

/* The queue must be as the model is. */
static void compare(struct world *world)
{
    world->fault = QUEUE_FAULT_NONE;
    for (uint32_t i = 0; i < world->message_count; i++) {
        const struct model *model = &world->messages[i];
        struct queue_info info = {.state = JOB_STATE_COUNT};
        enum rc rc = queue_get(world->queue, tenant_of(world, i), id_of(world, i), &info, NULL);
        if (rc != (model->sent ? RC_OK : RC_NOT_FOUND))
            world_broken(world, "message %u: looking it up gave %s", i, rc_name(rc));
        if (rc != RC_OK)
            continue;
        if (info.state != model->state || info.delivery_count != model->delivery_count)
            world_broken(world, "message %u is %s after %u deliveries, should be %s after %u", i,
                         job_state_text(info.state), info.delivery_count,
                         job_state_text(model->state), model->delivery_count);
    }
}

/* What the call should have said, given what the queue should have done. */
static void expect(struct world *world, enum rc rc, enum rc expected, const char *what)
{
    if (world->fault != QUEUE_FAULT_NONE)
        expected = RC_UNAVAILABLE;
    if (rc != expected)
        world_broken(world, "%s gave %s, should be %s", what, rc_name(rc), rc_name(expected));
}

void world_begin(struct world *world, uint32_t message_count, uint32_t worker_count,
                 uint32_t first_number)
{
    (void)memset(world->messages, 0, sizeof(world->messages));
    (void)memset(world->workers, 0, sizeof(world->workers));
    world->message_count = message_count;
    world->worker_count = worker_count;
    world->first_number = first_number;
    for (uint32_t i = 0; i < WORLD_TENANT_COUNT; i++)
        (void)snprintf(world->tenants[i], sizeof(world->tenants[i]), "t%u-%u", first_number, i);
    world->step_count = 0;
    world->fault = QUEUE_FAULT_NONE;
    queue_fault_set(world->queue, decide, world);
}

void world_push(struct world *world, uint32_t first, uint32_t count, uint64_t delay_ms)
{
    struct queue_message messages[WORLD_MESSAGES_MAX];
    for (uint32_t i = 0; i < count; i++)
        messages[i] = (struct queue_message){
            .id = id_of(world, first + i),
            .tenant = tenant_of(world, first + i),
            .payload = bytes_of(tenant_of(world, first + i)),
            .not_before_ms = delay_ms > 0 ? world->now_ms + delay_ms : 0,
        };
    arm(world);
    note(world, "push %u..%u", first, first + count - 1);
    enum rc rc = queue_push(world->queue, messages, count, world->now_ms, NULL, NULL);
    expect(world, rc, RC_OK, "push");
    for (uint32_t i = first; i < first + count; i++) {
        struct model *model = &world->messages[i];
        if (carried_out(world) && !model->sent) {
            model->sent = true;
            model->state = JOB_QUEUED;
            model->due_ms = world->now_ms + delay_ms;
        }
        model->accepted |= rc == RC_OK;
    }
    compare(world);
}

static void expire_leases(struct world *world)
{
    for (uint32_t i = 0; i < world->message_count; i++) {
        struct model *model = &world->messages[i];
        if (!model->sent || !held(model) || model->due_ms > world->now_ms)
            continue;
        if (model->state == JOB_CANCELLING)
            rest(model, JOB_CANCELLED);
        else if (model->delivery_count >= world->delivery_count_max)
            rest(model, JOB_DEAD);
        else
            model->state = JOB_QUEUED;
    }
}

uint32_t world_leasable(const struct world *world)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->message_count; i++) {
        const struct model *model = &world->messages[i];
        bool expired = model->sent && held(model);
        count += (waits(model) || expired) && model->due_ms <= world->now_ms;
    }
    return count;
}

static struct model *model_of(struct world *world, struct id id)
{
    for (uint32_t i = 0; i < world->message_count; i++) {
        struct id other = id_of(world, i);
        if (memcmp(&other, &id, sizeof(id)) == 0)
            return &world->messages[i];
    }
    world_broken(world, "a message that nobody pushed");
    return NULL;
}

static void model_lease(struct world *world, struct model *model, const struct queue_delivery *item)
{
    if (!waits(model) || model->due_ms > world->now_ms)
        world_broken(world, "a message was leased that is %s", job_state_text(model->state));
    model->state = JOB_LEASED;
    model->delivery_count++;
    model->due_ms = world->now_ms + WORLD_LEASE_MS;
    model->receipt = item != NULL ? item->receipt : (struct queue_receipt){0};
    if (item != NULL && item->delivery_count != model->delivery_count)
        world_broken(world, "delivery %u is counted as %u", model->delivery_count,
                     item->delivery_count);
}

/* The answer of a lease was lost: ask the queue what it has handed out. */
static void adopt_leased(struct world *world)
{
    world->fault = QUEUE_FAULT_NONE;
    for (uint32_t i = 0; i < world->message_count; i++) {
        struct queue_info info = {.state = JOB_STATE_COUNT};
        if (waits(&world->messages[i]) &&
            queue_get(world->queue, tenant_of(world, i), id_of(world, i), &info, NULL) == RC_OK &&
            info.state == JOB_LEASED)
            model_lease(world, &world->messages[i], NULL);
    }
}

static void lease(struct world *world, uint32_t index, uint32_t count_max)
{
    struct worker *worker = &world->workers[index];
    arm(world);
    note(world, "worker %u leases", index);
    enum rc rc =
        queue_lease(world->queue, count_max, WORLD_LEASE_MS, world->now_ms, world->leased, NULL);
    expect(world, rc, RC_OK, "lease");
    if (carried_out(world))
        expire_leases(world);
    if (rc != RC_OK) {
        if (carried_out(world))
            adopt_leased(world);
        return;
    }
    uint32_t leasable = world_leasable(world);
    if (world->leased->count != (leasable < count_max ? leasable : count_max))
        world_broken(world, "%u of %u were leased", world->leased->count, leasable);
    worker->count = world->leased->count;
    worker->phase = worker->count > 0 ? PHASE_HOLDS : PHASE_IDLE;
    for (uint32_t i = 0; i < worker->count; i++) {
        const struct queue_delivery *item = &world->leased->items[i];
        model_lease(world, model_of(world, item->receipt.id), item);
        if (!bytes_equal(item->payload, bytes_of(item->tenant)))
            world_broken(world, "a payload is not the one that was pushed");
        worker->receipts[i] = item->receipt;
    }
}

static bool is_receipt(const struct model *model, const struct queue_receipt *receipt)
{
    return model->receipt.token[0] == receipt->token[0] &&
           model->receipt.token[1] == receipt->token[1];
}

/* On to the worker's next message. */
static void drop(struct worker *worker)
{
    worker->receipts[0] = worker->receipts[1];
    worker->count--;
    worker->phase = worker->count > 0 ? PHASE_HOLDS : PHASE_IDLE;
}

static void acknowledge(struct world *world, uint32_t index)
{
    struct worker *worker = &world->workers[index];
    struct model *model = model_of(world, worker->receipts[0].id);
    bool mine = is_receipt(model, &worker->receipts[0]);
    bool good = mine && (held(model) || model->state == JOB_DONE);
    arm(world);
    note(world, "worker %u acks %d", index, (int)(model - world->messages));
    enum rc rc = queue_ack(world->queue, &worker->receipts[0], 1, world->now_ms, NULL, NULL);
    expect(world, rc, good ? RC_OK : RC_GONE, "ack");
    if (good && held(model) && carried_out(world))
        rest(model, JOB_DONE);
    if (rc != RC_UNAVAILABLE)
        drop(worker);
}

void world_work(struct world *world, uint32_t index, uint32_t count_max)
{
    struct worker *worker = &world->workers[index];
    struct model *model;
    switch (worker->phase) {
    case PHASE_IDLE:
        lease(world, index, count_max);
        break;
    case PHASE_HOLDS:
        model = model_of(world, worker->receipts[0].id);
        note(world, "worker %u commits %d", index, (int)(model - world->messages));
        model->commit_count += model->commit_count == 0;
        worker->phase = PHASE_COMMITTED;
        break;
    case PHASE_COMMITTED:
        acknowledge(world, index);
        break;
    case PHASE_TOLD:
        world_fail(world, index, true);
        return;
    }
    compare(world);
}

void world_extend(struct world *world, uint32_t index)
{
    struct worker *worker = &world->workers[index];
    struct model *model = model_of(world, worker->receipts[0].id);
    bool mine = is_receipt(model, &worker->receipts[0]);
    bool cancelled = model->state == JOB_CANCELLING || model->state == JOB_CANCELLED;
    enum rc expected = !mine                        ? RC_GONE
                       : cancelled                  ? RC_CANCELLED
                       : model->state == JOB_LEASED ? RC_OK
                                                    : RC_GONE;
    uint64_t until_ms = world->now_ms + WORLD_LEASE_MS;
    arm(world);
    note(world, "worker %u extends %d", index, (int)(model - world->messages));
    enum rc rc =
        queue_extend(world->queue, &worker->receipts[0], 1, until_ms, world->now_ms, NULL, NULL);
    expect(world, rc, expected, "extend");
    if (expected == RC_OK && carried_out(world))
        model->due_ms = until_ms;
    if (rc == RC_CANCELLED && worker->phase == PHASE_HOLDS)
        worker->phase = PHASE_TOLD;
    /* A worker that finds its lease gone may stop, or be too far to stop. */
    if (rc == RC_GONE && world->choose(world->ctx, 2) == 0)
        drop(worker);
    compare(world);
}

void world_fail(struct world *world, uint32_t index, bool retry)
{
    struct worker *worker = &world->workers[index];
    struct model *model = model_of(world, worker->receipts[0].id);
    bool mine = is_receipt(model, &worker->receipts[0]);
    bool good = mine && model->state != JOB_QUEUED && model->state != JOB_DONE;
    uint64_t retry_at_ms = retry ? world->now_ms + WORLD_RETRY_MS : 0;
    enum job_state became = JOB_STATE_COUNT;
    arm(world);
    note(world, "worker %u fails %d%s", index, (int)(model - world->messages),
         retry ? "" : " for good");
    enum rc rc = queue_fail(world->queue, &worker->receipts[0], "simulated", retry_at_ms,
                            world->now_ms, &became, NULL);
    expect(world, rc, good ? RC_OK : RC_GONE, "fail");
    if (good && held(model) && carried_out(world)) {
        if (model->state == JOB_CANCELLING) {
            rest(model, JOB_CANCELLED);
        } else if (!retry || model->delivery_count >= world->delivery_count_max) {
            rest(model, JOB_DEAD);
        } else {
            model->state = JOB_FAILED;
            model->due_ms = retry_at_ms;
        }
    }
    if (rc == RC_OK && became != model->state)
        world_broken(world, "fail said %s, it is %s", job_state_text(became),
                     job_state_text(model->state));
    if (rc != RC_UNAVAILABLE)
        drop(worker);
    compare(world);
}

void world_release(struct world *world, uint32_t index)
{
    struct worker *worker = &world->workers[index];
    struct model *model = model_of(world, worker->receipts[0].id);
    bool good = is_receipt(model, &worker->receipts[0]) &&
                (held(model) || model->state == JOB_QUEUED || model->state == JOB_CANCELLED);
    enum job_state became = JOB_STATE_COUNT;
    arm(world);
    note(world, "worker %u gives %d back", index, (int)(model - world->messages));
    enum rc rc = queue_release(world->queue, &worker->receipts[0], 0, world->now_ms, &became, NULL);
    expect(world, rc, good ? RC_OK : RC_GONE, "release");
    if (good && held(model) && carried_out(world)) {
        model->delivery_count--;
        model->due_ms = 0;
        if (model->state == JOB_CANCELLING)
            rest(model, JOB_CANCELLED);
        else
            model->state = JOB_QUEUED;
    }
    if (rc == RC_OK && became != model->state)
        world_broken(world, "release said %s, it is %s", job_state_text(became),
                     job_state_text(model->state));
    if (rc != RC_UNAVAILABLE)
        drop(worker);
    compare(world);
}

void world_crash(struct world *world, uint32_t index)
{
    note(world, "worker %u dies", index);
    world->workers[index] = (struct worker){.phase = PHASE_IDLE};
}

void world_restart(struct world *world, struct queue *queue)
{
    note(world, "everything dies");
    (void)memset(world->workers, 0, sizeof(world->workers));
    world->queue = queue;
    queue_fault_set(queue, decide, world);
    compare(world);
}

void world_cancel(struct world *world, uint32_t message)
{
    struct model *model = &world->messages[message];
    enum job_state became = JOB_STATE_COUNT;
    arm(world);
    note(world, "cancel %u", message);
    enum rc rc = queue_cancel(world->queue, tenant_of(world, message), id_of(world, message),
                              world->now_ms, &became, NULL);
    expect(world, rc, model->sent ? RC_OK : RC_NOT_FOUND, "cancel");
    if (model->sent && carried_out(world)) {
        if (waits(model))
            rest(model, JOB_CANCELLED);
        else if (model->state == JOB_LEASED)
            model->state = JOB_CANCELLING;
    }
    if (rc == RC_OK && became != model->state)
        world_broken(world, "cancel said %s", job_state_text(became));
    compare(world);
}

void world_revive(struct world *world, uint32_t message)
{
    struct model *model = &world->messages[message];
    enum rc expected = !model->sent ? RC_NOT_FOUND : model->state != JOB_DEAD ? RC_INVALID : RC_OK;
    arm(world);
    note(world, "revive %u", message);
    enum rc rc = queue_dead_retry(world->queue, tenant_of(world, message), id_of(world, message),
                                  world->now_ms, NULL);
    expect(world, rc, expected, "revive");
    if (expected == RC_OK && carried_out(world)) {
        model->state = JOB_QUEUED;
        model->delivery_count = 0;
        model->due_ms = 0;
        model->revival_count++;
    }
    compare(world);
}

void world_pass(struct world *world, uint64_t ms)
{
    world->now_ms += ms;
    world->fault = QUEUE_FAULT_NONE;
    note(world, "%llu ms pass", (unsigned long long)ms);
}

bool world_at_rest(const struct world *world)
{
    for (uint32_t i = 0; i < world->message_count; i++)
        if (world->messages[i].sent && !job_state_at_rest(world->messages[i].state))
            return false;
    return true;
}

void world_check_stats(struct world *world)
{
    struct queue_stats stats;
    uint64_t counts[JOB_STATE_COUNT] = {0};
    world->fault = QUEUE_FAULT_NONE;
    for (uint32_t i = 0; i < world->message_count; i++)
        counts[world->messages[i].state] += world->messages[i].sent;
    if (queue_stats(world->queue, NULL, world->now_ms, &stats, NULL) != RC_OK)
        world_broken(world, "the statistics failed");
    for (int i = 0; i < JOB_STATE_COUNT; i++)
        if (stats.counts[i] != counts[i])
            world_broken(world, "%llu messages are counted as %s, %llu are",
                         (unsigned long long)stats.counts[i], job_state_text((enum job_state)i),
                         (unsigned long long)counts[i]);
}

void world_finish(struct world *world)
{
    world->fault_budget = 0;
    for (uint32_t i = 0; i < world->message_count; i++)
        if (world->messages[i].sent || world->messages[i].accepted)
            world_push(world, i, 1, 0); /* known by now: changes nothing */
    for (uint32_t i = 0; i < world->worker_count; i++)
        world_crash(world, i);
    uint32_t round_max = 2 + world->message_count * (world->delivery_count_max + 1);
    for (uint32_t round = 0; !world_at_rest(world); round++) {
        if (round == round_max)
            world_broken(world, "it does not come to an end");
        world_pass(world, WORLD_LEASE_MS + WORLD_RETRY_MS);
        do
            world_work(world, 0, 2);
        while (world->workers[0].phase != PHASE_IDLE);
    }
    for (uint32_t i = 0; i < world->message_count; i++) {
        const struct model *model = &world->messages[i];
        if (model->accepted && !model->sent)
            world_broken(world, "message %u was accepted and is not there", i);
        if (model->sent && model->rest_count != 1 + model->revival_count)
            world_broken(world, "message %u came to rest %u times", i, model->rest_count);
        if (model->sent && model->state == JOB_DONE && model->commit_count != 1)
            world_broken(world, "message %u is done with %u commits", i, model->commit_count);
    }
}
