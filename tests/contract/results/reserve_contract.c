/* SPDX-License-Identifier: Apache-2.0
 * The promise of results.h on reservations and the outbox, for every driver. */
#include "check.h"
#include "results_world.h"

#include <pthread.h>
#include <string.h>

#define LEASE_MS WORLD_LEASE_MS

static const uint8_t print_a[32] = {1};
static const uint8_t print_b[32] = {2};

static struct results_reservation reserve(struct world *world, const char *key,
                                          const uint8_t fingerprint[32], struct id request_id,
                                          uint64_t now_ms)
{
    struct results_reservation reservation = {.answer = BUF_INIT(RESULT_ANSWER_SIZE_MAX)};
    struct error err = {0};
    if (results_reserve(world->results, world->tenant, bytes_of(key), fingerprint, request_id,
                        now_ms, now_ms + LEASE_MS, now_ms + MS_PER_DAY, &reservation,
                        &err) != RC_OK)
        fail_msg("%s", err.text);
    return reservation;
}

static struct result_commit completing(struct world *world, struct id request_id, const char *key)
{
    struct result_commit commit = commit_of(world->tenant, request_id, 0, WORLD_NOW_MS);
    commit.idempotency_key = bytes_of(key);
    memcpy(commit.fingerprint, print_a, sizeof(commit.fingerprint));
    commit.answer = bytes_of("the answer");
    commit.answer_until_ms = WORLD_NOW_MS + MS_PER_DAY;
    return commit;
}

static bool same_id(struct id a, struct id b) { return memcmp(&a, &b, sizeof(a)) == 0; }

TEST(a_key_goes_from_new_to_done)
{
    struct world world;
    world_open(&world);
    struct id id = id_new(WORLD_NOW_MS);
    struct results_reservation first = reserve(&world, "k", print_a, id, WORLD_NOW_MS);
    assert_int_equal(first.state, RESERVED_NEW);
    assert_true(same_id(first.request_id, id));
    struct id other = id_new(WORLD_NOW_MS);
    struct results_reservation second = reserve(&world, "k", print_a, other, WORLD_NOW_MS + 1);
    assert_int_equal(second.state, RESERVED_IN_FLIGHT);
    assert_int_equal(second.lease_until_ms, WORLD_NOW_MS + LEASE_MS);
    assert_int_equal(reserve(&world, "k", print_b, other, WORLD_NOW_MS + 1).state,
                     RESERVED_CONFLICT);
    /* Keys are a tenant's own. */
    struct results_reservation foreign = {.answer = BUF_INIT(RESULT_ANSWER_SIZE_MAX)};
    assert_int_equal(results_reserve(world.results, world.other, bytes_of("k"), print_b, other,
                                     WORLD_NOW_MS, WORLD_NOW_MS + 1, WORLD_NOW_MS + 2, &foreign,
                                     NULL),
                     RC_OK);
    assert_int_equal(foreign.state, RESERVED_NEW);

    struct result_commit commit = completing(&world, id, "k");
    (void)must_put(&world, &commit);
    world_reopen(&world);
    struct results_reservation done = reserve(&world, "k", print_a, other, WORLD_NOW_MS + 2);
    assert_int_equal(done.state, RESERVED_DONE);
    assert_true(same_id(done.request_id, id));
    assert_true(
        bytes_equal((struct bytes){done.answer.data, done.answer.size}, bytes_of("the answer")));
    assert_int_equal(reserve(&world, "k", print_b, other, WORLD_NOW_MS + 2).state,
                     RESERVED_CONFLICT);
    /* A day later the key is as new. */
    struct results_reservation late =
        reserve(&world, "k", print_b, other, WORLD_NOW_MS + MS_PER_DAY);
    assert_int_equal(late.state, RESERVED_NEW);
    assert_true(same_id(late.request_id, other));
    buf_done(&done.answer);
    world_close(&world);
}

TEST(who_takes_over_works_under_the_same_id_and_is_not_billed_twice)
{
    struct world world;
    world_open(&world);
    struct id id = id_new(WORLD_NOW_MS);
    struct results_reservation dead = reserve(&world, "k", print_a, id, WORLD_NOW_MS);
    uint64_t later = WORLD_NOW_MS + LEASE_MS;
    struct results_reservation heir = reserve(&world, "k", print_a, id_new(later), later);
    assert_int_equal(heir.state, RESERVED_NEW);
    assert_true(same_id(heir.request_id, id));
    /* The one believed dead cannot end the lease of the other. */
    assert_int_equal(
        results_release(world.results, world.tenant, bytes_of("k"), dead.attempt, later + 1, NULL),
        RC_OK);
    assert_int_equal(reserve(&world, "k", print_a, id_new(later), later + 1).state,
                     RESERVED_IN_FLIGHT);
    /* Both commit. */
    struct result_commit first = completing(&world, dead.request_id, "k");
    struct result_commit second = completing(&world, heir.request_id, "k");
    second.answer = bytes_of("another answer");
    (void)must_put(&world, &first);
    (void)must_put(&world, &second);
    assert_true(second.known);
    must_verify(&world, world.tenant, 1, 1, 0);
    struct results_reservation done = reserve(&world, "k", print_a, id_new(later), later + 2);
    assert_int_equal(done.state, RESERVED_DONE);
    assert_true(
        bytes_equal((struct bytes){done.answer.data, done.answer.size}, bytes_of("the answer")));
    buf_done(&done.answer);
    world_close(&world);
}

TEST(a_released_key_is_free_for_the_same_request)
{
    struct world world;
    world_open(&world);
    struct id id = id_new(WORLD_NOW_MS);
    struct results_reservation first = reserve(&world, "k", print_a, id, WORLD_NOW_MS);
    assert_int_equal(results_release(world.results, world.tenant, bytes_of("k"), first.attempt,
                                     WORLD_NOW_MS + 1, NULL),
                     RC_OK);
    assert_int_equal(reserve(&world, "k", print_b, id_new(1), WORLD_NOW_MS + 1).state,
                     RESERVED_CONFLICT);
    struct results_reservation second = reserve(&world, "k", print_a, id_new(1), WORLD_NOW_MS + 1);
    assert_int_equal(second.state, RESERVED_NEW);
    assert_true(same_id(second.request_id, id));
    /* A failure completes it without ledger entry. */
    struct result_commit failure = completing(&world, id, "k");
    failure.kind = RESULT_UNBILLED;
    failure.outcome = RC_BAD_IMAGE;
    (void)must_put(&world, &failure);
    assert_int_equal(results_release(world.results, world.tenant, bytes_of("k"), second.attempt,
                                     WORLD_NOW_MS + 2, NULL),
                     RC_OK);
    struct results_reservation done = reserve(&world, "k", print_a, id_new(1), WORLD_NOW_MS + 3);
    assert_int_equal(done.state, RESERVED_DONE);
    must_verify(&world, world.tenant, 0, 0, 0);
    buf_done(&done.answer);
    world_close(&world);
}

TEST(a_commit_completes_even_a_reservation_that_was_lost)
{
    struct world world;
    world_open(&world);
    struct id id = id_new(WORLD_NOW_MS);
    struct result_commit plain = commit_of(world.tenant, id, 0, WORLD_NOW_MS);
    (void)must_put(&world, &plain);
    /* Known, and yet it completes. */
    struct result_commit commit = completing(&world, id, "k");
    (void)must_put(&world, &commit);
    assert_true(commit.known);
    struct results_reservation done = reserve(&world, "k", print_a, id_new(1), WORLD_NOW_MS);
    assert_int_equal(done.state, RESERVED_DONE);
    buf_done(&done.answer);
    uint32_t count = 0;
    assert_int_equal(results_expire(world.results, WORLD_NOW_MS + MS_PER_DAY, 1000, &count, NULL),
                     RC_OK);
    assert_true(count >= 1);
    assert_int_equal(reserve(&world, "k", print_b, id_new(1), WORLD_NOW_MS).state, RESERVED_NEW);
    world_close(&world);
}

struct racer {
    struct world *world;
    struct id id;
    struct results_reservation reservation;
};
static void *race(void *ctx)
{
    struct racer *racer = ctx;
    racer->reservation = reserve(racer->world, "k", print_a, racer->id, WORLD_NOW_MS);
    return NULL;
}

TEST(of_many_at_once_one_holds_it)
{
    struct world world;
    world_open(&world);
    struct racer racers[8];
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        racers[i] = (struct racer){.world = &world, .id = id_new(WORLD_NOW_MS)};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    int new_count = 0;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        new_count += racers[i].reservation.state == RESERVED_NEW;
    }
    assert_int_equal(new_count, 1);
    world_close(&world);
}

TEST(keys_and_leases_are_checked)
{
    struct world world;
    world_open(&world);
    struct results_reservation reservation = {.answer = BUF_INIT(RESULT_ANSWER_SIZE_MAX)};
    uint8_t large[RESULT_KEY_SIZE_MAX + 1];
    memset(large, 'k', sizeof(large));
    struct id id = id_new(1);
    assert_int_equal(results_reserve(world.results, world.tenant,
                                     (struct bytes){large, sizeof(large)}, print_a, id, 1, 2, 3,
                                     &reservation, NULL),
                     RC_TOO_LARGE);
    assert_int_equal(results_reserve(world.results, world.tenant, (struct bytes){0}, print_a, id, 1,
                                     2, 3, &reservation, NULL),
                     RC_INVALID);
    assert_int_equal(results_reserve(world.results, world.tenant, bytes_of("k"), print_a, id, 2, 2,
                                     3, &reservation, NULL),
                     RC_INVALID);
    world_close(&world);
}

TEST(a_message_is_delivered_until_it_is_done)
{
    struct world world;
    world_open(&world);
    struct mailbox mailbox = {0};
    struct result_commit commit = commit_new(world.tenant, WORLD_NOW_MS);
    commit.outbox_id = id_new(WORLD_NOW_MS);
    commit.payload = bytes_of("{\"type\":\"done\"}");
    commit.payload_due_ms = WORLD_NOW_MS + 10;
    (void)must_put(&world, &commit);
    (void)must_put(&world, &commit); /* known: no second message */
    mailbox_take(&world, &mailbox, WORLD_NOW_MS + 9);
    assert_int_equal(mailbox.count, 0);
    mailbox_take(&world, &mailbox, WORLD_NOW_MS + 10);
    assert_int_equal(mailbox.count, 1);
    struct results_message *message = &mailbox.messages[0];
    assert_int_equal(message->attempt, 1);
    assert_true(same_id(message->outbox_id, commit.outbox_id));
    assert_int_equal(message->created_ms, WORLD_NOW_MS);
    assert_true(
        bytes_equal((struct bytes){message->payload.data, message->payload.size}, commit.payload));
    uint64_t number = message->number;
    /* Leased; after the lease it comes again, and the first holder can no longer put it off. */
    mailbox_take(&world, &mailbox, WORLD_NOW_MS + 11);
    assert_int_equal(mailbox.count, 0);
    uint64_t later = WORLD_NOW_MS + 10 + LEASE_MS;
    mailbox_take(&world, &mailbox, later);
    assert_int_equal(mailbox.count, 1);
    assert_int_equal(mailbox.messages[0].attempt, 2);
    assert_int_equal(results_outbox_retry_at(world.results, number, 1, 0, NULL), RC_OK);
    mailbox_take(&world, &mailbox, later + 1);
    assert_int_equal(mailbox.count, 0);
    assert_int_equal(results_outbox_retry_at(world.results, number, 2, later + 5, NULL), RC_OK);
    mailbox_take(&world, &mailbox, later + 4);
    assert_int_equal(mailbox.count, 0);
    mailbox_take(&world, &mailbox, later + 5);
    assert_int_equal(mailbox.count, 1);
    assert_int_equal(results_outbox_done(world.results, number, NULL), RC_OK);
    assert_int_equal(results_outbox_done(world.results, number, NULL), RC_OK);
    mailbox_take(&world, &mailbox, later + MS_PER_DAY);
    assert_int_equal(mailbox.count, 0);
    mailbox_done(&mailbox);
    world_close(&world);
}

TEST_MAIN("results: reservations, outbox")
