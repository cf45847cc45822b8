/* SPDX-License-Identifier: Apache-2.0
 * webhook_sender.c - one thread that takes due messages from the outbox and delivers them.
 *
 * A message is leased for longer than its delivery may take, so that another process does not take
 * it meanwhile, and gets it when this one dies. One that may not start yet, because its receiver or
 * its tenant has enough under way, is put back for when its turn is likely to come: so the messages
 * for one dead receiver are gone through quickly, and those of others follow. */
#include "work/webhook.h"
#include "work/webhook_form.h"

#include "account/webhook_secret.h"
#include "base/clock.h"
#include "net/client.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define POLL_MS                 250u
#define CROWDED_POLL_MS         10u
#define TROUBLE_POLL_MS         5000u
#define LEASE_MORE_MS           15000u
#define SLOT_COUNT              128u
#define LANE_COUNT              256u
#define TENANT_MAX              16u /* under way */
#define LANE_MAX                4u
#define TOOK_MS_FIRST           20u
#define TOOK_MS_MAX             100u   /* believed of one that does not fail */
#define PUT_BACK_MS_MAX         10000u /* a guess may be wrong */
#define PUT_BACK_FAILING_MS_MAX 600000u
#define HEADER_TEXT_SIZE        160u

/* Messages for one receiver of one tenant; now and then two share one, which only delays. */
struct lane {
    uint32_t running_count;
    uint32_t took_ms; /* a delivery, of late */
    bool failing;     /* the last one did */
    uint64_t free_ms; /* when a message that is put back now is likely to find room */
};

struct slot {
    bool used;
    struct results_message message;
    struct client_call call;
    struct lane *lane;
    struct buf content; /* id.timestamp.body */
    uint64_t started_ms;
    uint64_t started_ns;
    char origin[CLIENT_ORIGIN_SIZE];
    char headers[3][HEADER_TEXT_SIZE];
};

struct webhook_sender {
    struct webhook_sender_config config;
    struct client *client;
    pthread_t thread;
    atomic_bool ending;
    bool in_trouble;
    uint64_t crowded_until_ms; /* messages that were put back find room about now */
    uint32_t used_count;
    struct slot slots[SLOT_COUNT];
    struct lane lanes[LANE_COUNT];
    struct results_message taken[RESULTS_TAKE_MAX];
};

static struct buf payload_buf(void) { return (struct buf)BUF_INIT(RESULT_PAYLOAD_SIZE_MAX); }

static uint32_t draw(void)
{
    uint32_t value = 0;
    (void)!getrandom(&value, sizeof(value), 0); /* it only spreads retries */
    return value;
}

/* --- what the outbox is told ----------------------------------------------------------------- */

static void check_store(struct webhook_sender *sender, enum rc rc, const struct error *err)
{
    if (rc != RC_OK && !sender->in_trouble && sender->config.trouble != NULL)
        sender->config.trouble(sender->config.ctx, err);
    sender->in_trouble = rc != RC_OK;
}

/* After a failure of the store the lease runs out, and the message comes again. */
static void put_back(struct webhook_sender *sender, const struct results_message *message,
                     uint64_t due_ms)
{
    struct error err = {0};
    enum rc rc = results_outbox_retry_at(sender->config.results, message->number, message->attempt,
                                         due_ms, &err);
    check_store(sender, rc, &err);
}

static void end(struct webhook_sender *sender, const struct results_message *message)
{
    struct error err = {0};
    check_store(sender, results_outbox_done(sender->config.results, message->number, &err), &err);
}

static void note(const struct webhook_sender *sender, const struct results_message *message,
                 struct webhook_note *what)
{
    what->id = message->outbox_id;
    what->tenant = message->tenant;
    what->attempt = message->attempt;
    if (sender->config.note != NULL)
        sender->config.note(sender->config.ctx, what);
}

static void fail(struct webhook_sender *sender, const struct results_message *message,
                 uint64_t started_ms, struct webhook_note *what)
{
    uint64_t now_ms = clock_wall_ms();
    uint64_t age_ms = started_ms > message->created_ms ? started_ms - message->created_ms : 0;
    uint64_t wait_ms = 0;
    bool again =
        what->status != 410 && webhook_retry_after(age_ms, message->attempt, draw(), &wait_ms);
    what->what = again ? WEBHOOK_FAILED : WEBHOOK_GIVEN_UP;
    what->retry_at_ms = again ? now_ms + wait_ms : 0;
    if (again)
        put_back(sender, message, what->retry_at_ms);
    else
        end(sender, message);
    note(sender, message, what);
}

/* --- starting -------------------------------------------------------------------------------- */

/* FNV-1a: it only has to spread. */
static uint32_t hash(uint32_t seed, const char *text)
{
    for (; *text != '\0'; text++)
        seed = (seed ^ (uint8_t)*text) * 16777619u;
    return seed;
}

static uint32_t tenant_running_count(const struct webhook_sender *sender, const char *tenant)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < SLOT_COUNT; i++)
        count += sender->slots[i].used && strcmp(sender->slots[i].message.tenant, tenant) == 0;
    return count;
}

static void put_back_for_room(struct webhook_sender *sender, const struct results_message *message,
                              struct lane *lane)
{
    uint64_t now_ms = clock_wall_ms();
    uint64_t latest_ms = now_ms + (lane->failing ? PUT_BACK_FAILING_MS_MAX : PUT_BACK_MS_MAX);
    uint64_t free_ms = lane->free_ms > now_ms ? lane->free_ms : now_ms;
    free_ms += 1 + lane->took_ms / LANE_MAX;
    lane->free_ms = free_ms < latest_ms ? free_ms : latest_ms;
    if (!lane->failing && sender->crowded_until_ms < lane->free_ms)
        sender->crowded_until_ms = lane->free_ms;
    put_back(sender, message, lane->free_ms);
}

/* id.timestamp.body and the headers that go with it. */
static enum rc sign(struct webhook_sender *sender, struct slot *slot, struct bytes body,
                    struct error *err)
{
    char id[ID_TEXT_SIZE];
    char signatures[2][WEBHOOK_SIGNATURE_SIZE] = {"", ""};
    struct account_webhook_secret secret;
    uint64_t now_s = slot->started_ms / 1000;
    id_text(slot->message.outbox_id, id);
    enum rc rc = account_webhook_secret_get(sender->config.account, slot->message.tenant,
                                            slot->started_ms, &secret, err);
    if (rc != RC_OK)
        return rc;
    size_t start = 0;
    if ((rc = buf_printf(&slot->content, "%s.%" PRIu64 ".", id, now_s)) == RC_OK) {
        start = slot->content.size;
        rc = buf_append(&slot->content, body);
    }
    if (rc != RC_OK)
        rc = error_set(err, rc, "no memory for a message");
    struct bytes content = {slot->content.data, slot->content.size};
    if (rc == RC_OK)
        rc = webhook_sign((struct bytes){secret.current, sizeof(secret.current)}, content,
                          signatures[0], err);
    if (rc == RC_OK && secret.has_old)
        rc = webhook_sign((struct bytes){secret.old, sizeof(secret.old)}, content, signatures[1],
                          err);
    OPENSSL_cleanse(&secret, sizeof(secret));
    (void)snprintf(slot->headers[0], HEADER_TEXT_SIZE, "webhook-id: %s", id);
    (void)snprintf(slot->headers[1], HEADER_TEXT_SIZE, "webhook-timestamp: %" PRIu64, now_s);
    (void)snprintf(slot->headers[2], HEADER_TEXT_SIZE, "webhook-signature: %s%s%s", signatures[0],
                   signatures[1][0] != '\0' ? " " : "", signatures[1]);
    if (rc == RC_OK)
        slot->call.body = (struct bytes){content.data + start, content.size - start};
    return rc;
}

static void slot_done(struct webhook_sender *sender, struct slot *slot)
{
    buf_done(&slot->message.payload);
    buf_done(&slot->content);
    slot->used = false;
    slot->lane->running_count--;
    sender->used_count--;
}

/* Takes the message's payload. */
static void start(struct webhook_sender *sender, struct results_message *message, struct lane *lane,
                  struct bytes url, struct bytes body, const char *origin)
{
    struct slot *slot = sender->slots;
    while (slot->used)
        slot++;
    *slot = (struct slot){.used = true,
                          .message = *message,
                          .lane = lane,
                          .content = BUF_INIT(RESULT_PAYLOAD_SIZE_MAX + 128),
                          .started_ms = clock_wall_ms(),
                          .started_ns = clock_monotonic_ns()};
    message->payload = payload_buf();
    lane->running_count++;
    sender->used_count++;
    memcpy(slot->origin, origin, sizeof(slot->origin));
    struct error err = {0};
    enum rc rc = sign(sender, slot, body, &err);
    slot->call.url = url;
    slot->call.method = CLIENT_POST;
    slot->call.timeout_ms = sender->config.timeout_ms;
    slot->call.ctx = slot;
    for (size_t i = 0; i < 3; i++)
        slot->call.headers[i] = slot->headers[i];
    slot->call.headers[3] = "Content-Type: application/json";
    if (rc == RC_OK)
        rc = client_start(sender->client, &slot->call, &err);
    if (rc == RC_OK)
        return;
    /* A URL that was fine when it came and is not now: the setting has changed since. */
    struct webhook_note what = {.origin = slot->origin, .reason = err.text};
    fail(sender, &slot->message, slot->started_ms, &what);
    slot_done(sender, slot);
}

static void begin(struct webhook_sender *sender, struct results_message *message)
{
    struct bytes url;
    struct bytes body;
    struct error err = {0};
    if (webhook_message_read((struct bytes){message->payload.data, message->payload.size}, &url,
                             &body, &err) != RC_OK) {
        struct webhook_note what = {.what = WEBHOOK_GIVEN_UP, .origin = "", .reason = err.text};
        end(sender, message);
        note(sender, message, &what);
        return;
    }
    char origin[CLIENT_ORIGIN_SIZE];
    client_origin(url, origin);
    struct lane *lane =
        &sender->lanes[hash(hash(2166136261u, message->tenant), origin) % LANE_COUNT];
    if (lane->took_ms == 0)
        lane->took_ms = TOOK_MS_FIRST;
    if (lane->running_count >= LANE_MAX || sender->used_count == SLOT_COUNT ||
        tenant_running_count(sender, message->tenant) >= TENANT_MAX)
        put_back_for_room(sender, message, lane);
    else
        start(sender, message, lane, url, body, origin);
}

/* --- the thread ------------------------------------------------------------------------------ */

static void finish(struct webhook_sender *sender, struct client_call *call)
{
    struct slot *slot = call->ctx;
    char reason[sizeof(call->err.text)];
    struct webhook_note what = {
        .origin = slot->origin, .status = call->status, .reason = call->err.text};
    if (call->rc != RC_OK) {
        what.status = 0;
    } else if (call->status / 100 != 2) {
        (void)snprintf(reason, sizeof(reason), "the receiver answered %d", call->status);
        what.reason = reason;
    }
    struct lane *lane = slot->lane;
    uint32_t took_ms = (uint32_t)((clock_monotonic_ns() - slot->started_ns) / NS_PER_MS) + 1;
    lane->failing = call->rc != RC_OK || call->status / 100 != 2;
    /* A guess that is too short is made good by looking again; one that is too long is not. */
    lane->took_ms = lane->failing || took_ms < TOOK_MS_MAX ? took_ms : TOOK_MS_MAX;
    if (!lane->failing) {
        what.what = WEBHOOK_DELIVERED;
        end(sender, &slot->message);
        note(sender, &slot->message, &what);
    } else {
        fail(sender, &slot->message, slot->started_ms, &what);
    }
    slot_done(sender, slot);
}

/* Whether more may be due. */
static bool take(struct webhook_sender *sender)
{
    uint32_t room = SLOT_COUNT - sender->used_count;
    uint32_t limit = room < RESULTS_TAKE_MAX ? room : RESULTS_TAKE_MAX;
    uint32_t count = 0;
    if (limit == 0)
        return false;
    struct error err = {0};
    uint64_t now_ms = clock_wall_ms();
    enum rc rc = results_outbox_take(sender->config.results, now_ms,
                                     now_ms + sender->config.timeout_ms + LEASE_MORE_MS, limit,
                                     sender->taken, &count, &err);
    check_store(sender, rc, &err);
    if (rc != RC_OK)
        return false;
    for (uint32_t i = 0; i < count; i++)
        begin(sender, &sender->taken[i]);
    return count == limit;
}

static uint64_t pause_ms(const struct webhook_sender *sender, bool more)
{
    if (sender->in_trouble)
        return TROUBLE_POLL_MS;
    if (more)
        return 0;
    return clock_wall_ms() <= sender->crowded_until_ms ? CROWDED_POLL_MS : POLL_MS;
}

static void *sender_main(void *argument)
{
    struct webhook_sender *sender = argument;
    uint64_t poll_ns = 0;
    while (!atomic_load(&sender->ending)) {
        uint64_t now_ns = clock_monotonic_ns();
        if (now_ns >= poll_ns) {
            bool more = take(sender);
            poll_ns = now_ns + pause_ms(sender, more) * NS_PER_MS;
            now_ns = clock_monotonic_ns();
        }
        uint32_t wait_ms = poll_ns > now_ns ? (uint32_t)((poll_ns - now_ns) / NS_PER_MS) + 1 : 0;
        struct client_call *call = client_run(sender->client, wait_ms);
        for (; call != NULL; call = client_run(sender->client, 0))
            finish(sender, call);
    }
    for (uint32_t i = 0; i < SLOT_COUNT; i++)
        if (sender->slots[i].used)
            put_back(sender, &sender->slots[i].message, clock_wall_ms());
    return NULL;
}

static void free_all(struct webhook_sender *sender)
{
    client_free(sender->client);
    for (uint32_t i = 0; i < SLOT_COUNT; i++)
        if (sender->slots[i].used)
            slot_done(sender, &sender->slots[i]);
    for (uint32_t i = 0; i < RESULTS_TAKE_MAX; i++)
        buf_done(&sender->taken[i].payload);
    free(sender);
}

enum rc webhook_sender_open(const struct webhook_sender_config *config,
                            struct webhook_sender **ret_sender, struct error *err)
{
    assert(config->results != NULL && config->account != NULL && config->timeout_ms > 0);
    struct webhook_sender *sender = calloc(1, sizeof(*sender));
    if (sender == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the sender of webhooks");
    sender->config = *config;
    for (uint32_t i = 0; i < RESULTS_TAKE_MAX; i++)
        sender->taken[i].payload = payload_buf();
    enum rc rc = client_open(config->internal ? CLIENT_ANY : CLIENT_PUBLIC, &sender->client, err);
    if (rc == RC_OK) {
        int failed = pthread_create(&sender->thread, NULL, sender_main, sender);
        if (failed != 0)
            rc = error_set(err, RC_INTERNAL, "cannot start a thread: %s", strerror(failed));
    }
    if (rc != RC_OK) {
        free_all(sender);
        return rc;
    }
    *ret_sender = sender;
    return RC_OK;
}

void webhook_sender_free(struct webhook_sender *sender)
{
    if (sender == NULL)
        return;
    atomic_store(&sender->ending, true);
    client_wake(sender->client);
    (void)pthread_join(sender->thread, NULL);
    free_all(sender);
}
