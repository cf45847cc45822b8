/* SPDX-License-Identifier: Apache-2.0
 * Admission over real stores in a fresh folder, some behind drivers that fail when told to. */
#include "check.h"

#include "account/fault.h"
#include "base/clock.h"
#include "results/fault.h"
#include "work/admission.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_NS (30 * NS_PER_S)
#define CLAIM_COUNT 50u
#define DAY_MAX     10u

struct world {
    char dir[128];
    struct results *results;
    struct account *account;
    struct admission *admission;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t done_count;
    /* What fails, before or after it has happened. */
    atomic_int results_op;
    const char *_Atomic account_call;
    atomic_bool after;
};

struct asked {
    struct claim claim;
    struct world *world;
    bool is_done;
    atomic_bool cancelled;
};

static void must(enum rc rc, const struct error *err)
{
    if (rc != RC_OK)
        fail_msg("%s: %s", rc_name(rc), err->text);
}

static enum rc results_fails(void *ctx, enum results_op op, bool after)
{
    struct world *world = ctx;
    return op == (enum results_op)atomic_load(&world->results_op) &&
                   after == atomic_load(&world->after)
               ? RC_UNAVAILABLE
               : RC_OK;
}

static enum rc account_fails(void *ctx, const char *call, bool after)
{
    struct world *world = ctx;
    const char *failing = atomic_load(&world->account_call);
    return failing != NULL && strcmp(call, failing) == 0 && after == atomic_load(&world->after)
               ? RC_UNAVAILABLE
               : RC_OK;
}

static void world_open(struct world *world)
{
    char url[170];
    struct error err = {0};
    memset(world, 0, sizeof(*world));
    atomic_store(&world->results_op, RESULTS_OP_COUNT);
    (void)pthread_mutex_init(&world->lock, NULL);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&world->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(world->dir, sizeof(world->dir), "%s/imago-admission-XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(world->dir));
    (void)snprintf(url, sizeof(url), "fault:sqlite:%s/imago.db", world->dir);
    must(results_open(url, &world->results, &err), &err);
    results_fault_set(world->results, results_fails, world);
    struct account_config account = {.url = url};
    must(account_open(&account, &world->account, &err), &err);
    account_fault_set(world->account, account_fails, world);
    must(admission_open(world->results, world->account, &world->admission, &err), &err);
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void world_close(struct world *world)
{
    admission_free(world->admission);
    account_free(world->account);
    results_free(world->results);
    pthread_cond_destroy(&world->changed);
    pthread_mutex_destroy(&world->lock);
    (void)nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_done(struct claim *claim)
{
    struct asked *asked = claim->ctx;
    struct world *world = asked->world;
    pthread_mutex_lock(&world->lock);
    asked->is_done = true;
    world->done_count++;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
}

static void submit(struct world *world, struct asked *asked)
{
    struct error err = {0};
    asked->world = world;
    asked->is_done = false;
    asked->claim.tenant = ACCOUNT_TENANT_DEFAULT;
    asked->claim.id = id_new(clock_wall_ms());
    asked->claim.cancelled = &asked->cancelled;
    asked->claim.done = on_done;
    asked->claim.ctx = asked;
    must(claim_submit(world->admission, &asked->claim, &err), &err);
}

static void with_key(struct asked *asked, const char *key, uint8_t fingerprint)
{
    asked->claim.idempotency_key = bytes_of(key);
    memset(asked->claim.fingerprint, fingerprint, sizeof(asked->claim.fingerprint));
}

static void with_quota(struct asked *asked, uint32_t image_count)
{
    asked->claim.reserves = true;
    asked->claim.key = "key";
    asked->claim.model = "model";
    asked->claim.images_per_day = DAY_MAX;
    asked->claim.image_count = image_count;
}

/* Until `count` claims in all are done. */
static void wait_done(struct world *world, uint32_t count)
{
    uint64_t until_ns = clock_monotonic_ns() + PATIENCE_NS;
    struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_S)};
    int woken = 0;
    pthread_mutex_lock(&world->lock);
    while (world->done_count < count && woken == 0)
        woken = pthread_cond_timedwait(&world->changed, &world->lock, &until);
    uint32_t done_count = world->done_count;
    pthread_mutex_unlock(&world->lock);
    assert_int_equal(done_count, count);
}

static enum rc ask(struct world *world, struct asked *asked)
{
    uint32_t before = world->done_count;
    submit(world, asked);
    wait_done(world, before + 1);
    return asked->claim.rc;
}

static void end(struct asked *asked, bool kept, uint64_t image_count)
{
    struct claim_outcome outcome = {
        .kept = kept, .counted = true, .image_count = image_count, .committed_ms = clock_wall_ms()};
    claim_end(asked->world->admission, &asked->claim, &outcome);
}

/* What a commit does for the key. */
static void commit(struct asked *asked, const char *answer)
{
    struct error err = {0};
    struct result_commit row = {.kind = RESULT_UNBILLED,
                                .tenant = bytes_of(asked->claim.tenant),
                                .prediction = {.request_id = asked->claim.id,
                                               .created_ms = clock_wall_ms(),
                                               .model = bytes_of("model"),
                                               .version = bytes_of("1")},
                                .idempotency_key = asked->claim.idempotency_key,
                                .answer = bytes_of(answer),
                                .answer_until_ms = clock_wall_ms() + CLAIM_KEPT_MS};
    memcpy(row.fingerprint, asked->claim.fingerprint, sizeof(row.fingerprint));
    struct result_commit *rows = &row;
    must(results_put(asked->world->results, &rows, 1, &err), &err);
}

static struct quota_day day_of(struct world *world)
{
    struct quota_day day = {0};
    struct error err = {0};
    must(account_quota_day(world->account, ACCOUNT_TENANT_DEFAULT, "key", clock_wall_ms(), &day,
                           &err),
         &err);
    return day;
}

/* Settlements are written after the fact, before the claims that come later are looked at. */
static void settle(struct world *world)
{
    struct asked asked = {0};
    with_quota(&asked, DAY_MAX + 1);
    assert_int_equal(ask(world, &asked), RC_RATE_LIMITED);
}

TEST(claims_with_one_key_are_one)
{
    struct world world;
    static struct asked asked[CLAIM_COUNT];
    memset(asked, 0, sizeof(asked));
    world_open(&world);
    for (uint32_t i = 0; i < CLAIM_COUNT; i++) {
        with_key(&asked[i], "k", 1);
        submit(&world, &asked[i]);
    }
    wait_done(&world, 1);
    assert_int_equal(asked[0].claim.rc, RC_OK);
    assert_true(asked[0].is_done && !asked[0].claim.replayed);
    struct asked other = {0};
    with_key(&other, "k", 2);
    assert_int_equal(ask(&world, &other), RC_KEY_REUSED);
    commit(&asked[0], "the answer");
    end(&asked[0], true, 0);
    wait_done(&world, CLAIM_COUNT + 1);
    for (uint32_t i = 1; i < CLAIM_COUNT; i++) {
        assert_true(asked[i].claim.rc == RC_OK && asked[i].claim.replayed);
        assert_memory_equal(&asked[i].claim.id, &asked[0].claim.id, sizeof(struct id));
        assert_int_equal(asked[i].claim.answer.size, strlen("the answer"));
        buf_done(&asked[i].claim.answer);
    }
    assert_int_equal(ask(&world, &other), RC_KEY_REUSED);
    world_close(&world);
}

TEST(a_key_that_was_let_go_is_the_next_ones)
{
    struct world world;
    struct asked asked[4] = {0};
    world_open(&world);
    for (uint32_t i = 0; i < 4; i++) {
        with_key(&asked[i], "k", 1);
        submit(&world, &asked[i]);
    }
    for (uint32_t i = 0; i < 4; i++) {
        wait_done(&world, i + 1);
        assert_true(asked[i].is_done && asked[i].claim.rc == RC_OK && !asked[i].claim.replayed);
        assert_memory_equal(&asked[i].claim.id, &asked[0].claim.id, sizeof(struct id));
        end(&asked[i], false, 0);
    }
    world_close(&world);
}

TEST(who_waits_ends_at_its_deadline_or_when_its_client_leaves)
{
    struct world world;
    struct asked first = {0};
    struct asked late = {0};
    struct asked gone = {0};
    world_open(&world);
    with_key(&first, "k", 1);
    with_key(&late, "k", 1);
    with_key(&gone, "k", 1);
    assert_int_equal(ask(&world, &first), RC_OK);
    late.claim.deadline_ns = clock_monotonic_ns() + NS_PER_MS;
    assert_int_equal(ask(&world, &late), RC_IN_FLIGHT);
    submit(&world, &gone);
    atomic_store(&gone.cancelled, true);
    wait_done(&world, 3);
    assert_int_equal(gone.claim.rc, RC_CANCELLED);
    end(&first, false, 0);
    world_close(&world);
}

TEST(a_days_images_are_exact)
{
    struct world world;
    static struct asked asked[CLAIM_COUNT];
    memset(asked, 0, sizeof(asked));
    world_open(&world);
    for (uint32_t i = 0; i < CLAIM_COUNT; i++) {
        with_quota(&asked[i], 1);
        submit(&world, &asked[i]);
    }
    wait_done(&world, CLAIM_COUNT);
    for (uint32_t i = 0; i < CLAIM_COUNT; i++) {
        assert_int_equal(asked[i].claim.rc, i < DAY_MAX ? RC_OK : RC_RATE_LIMITED);
        if (i < DAY_MAX)
            assert_int_equal(asked[i].claim.day_remaining, DAY_MAX - 1 - i);
        else
            assert_true(asked[i].claim.retry_at_ms > clock_wall_ms());
    }
    /* Half of them are used. What the others give back is there for whoever comes next. */
    for (uint32_t i = 0; i < DAY_MAX; i++)
        end(&asked[i], false, i % 2);
    struct asked next = {0};
    with_quota(&next, DAY_MAX / 2);
    assert_int_equal(ask(&world, &next), RC_OK);
    assert_int_equal(day_of(&world).used, DAY_MAX / 2);
    assert_int_equal(day_of(&world).held, DAY_MAX / 2);
    end(&next, false, 0);
    settle(&world);
    assert_int_equal(day_of(&world).held, 0);
    world_close(&world);
}

TEST(a_refused_quota_lets_its_key_go)
{
    struct world world;
    struct asked asked = {0};
    world_open(&world);
    with_key(&asked, "k", 1);
    with_quota(&asked, DAY_MAX + 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(&world, &asked), RC_RATE_LIMITED);
    asked.claim.image_count = 1;
    assert_int_equal(ask(&world, &asked), RC_OK);
    end(&asked, false, 0);
    world_close(&world);
}

/* Whatever fails, before or after it has happened: the claim is refused, and granted when it comes
 * again, with no more held than it asked for. */
TEST(stores_that_fail_refuse_and_leave_nothing_behind)
{
    static const char *const calls[] = {NULL, "reserve"};
    for (int i = 0; i < 4; i++) {
        struct world world;
        struct asked asked = {0};
        world_open(&world);
        with_key(&asked, "k", 1);
        with_quota(&asked, DAY_MAX);
        asked.claim.deadline_ns = 0;
        atomic_store(&world.after, i % 2 == 1);
        atomic_store(&world.results_op, i < 2 ? RESULTS_RESERVE : RESULTS_OP_COUNT);
        atomic_store(&world.account_call, calls[i / 2]);
        assert_int_equal(ask(&world, &asked), RC_UNAVAILABLE);
        assert_true(asked.claim.store_err.rc == RC_UNAVAILABLE && asked.claim.hold == NULL);
        atomic_store(&world.results_op, RESULTS_OP_COUNT);
        atomic_store(&world.account_call, NULL);
        /* A lease whose holder does not know of it ends by itself. */
        assert_int_equal(ask(&world, &asked), RC_OK);
        assert_int_equal(day_of(&world).held, DAY_MAX);
        end(&asked, false, 1);
        settle(&world);
        assert_int_equal(day_of(&world).held, 0);
        assert_int_equal(day_of(&world).used, 1);
        world_close(&world);
    }
}

TEST(an_end_that_cannot_be_written_is_left_to_the_lease_and_the_ledger)
{
    struct world world;
    struct asked asked = {0};
    world_open(&world);
    with_key(&asked, "k", 1);
    with_quota(&asked, 2);
    assert_int_equal(ask(&world, &asked), RC_OK);
    atomic_store(&world.results_op, RESULTS_RELEASE);
    atomic_store(&world.account_call, "settle");
    end(&asked, false, 1);
    settle(&world);
    assert_int_equal(day_of(&world).held, 2);
    world_close(&world);
}

TEST(at_the_end_who_waits_is_told)
{
    struct world world;
    struct asked first = {0};
    struct asked asked[3] = {0};
    world_open(&world);
    with_key(&first, "k", 1);
    assert_int_equal(ask(&world, &first), RC_OK);
    commit(&first, "");
    for (int i = 0; i < 3; i++) {
        with_key(&asked[i], "k", 1);
        submit(&world, &asked[i]);
    }
    admission_free(world.admission);
    world.admission = NULL;
    for (int i = 0; i < 3; i++)
        assert_true(asked[i].is_done && asked[i].claim.rc == RC_DRAINING);
    free(first.claim.hold);
    world_close(&world);
}

TEST_MAIN("admission")
