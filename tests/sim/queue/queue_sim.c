/* SPDX-License-Identifier: Apache-2.0
 * queue_sim.c - the real queue in a simulated world: every interleaving of a small one, random ones
 * of a larger. QUEUE_SIM_SEED repeats a run, QUEUE_SIM_RUNS sets how many random ones there are. */
#include "base/clock.h"
#include "check.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_MS      1800000000000ull
#define RUNS_DEFAULT  60u
#define RUN_STEPS     150u
#define PATH_MAX_SIZE 256u

struct place {
    char dir[64];
    char url[128];
    struct queue_config config;
    struct world world;
};

static void place_reopen(struct place *place)
{
    struct error err = {0};
    queue_free(place->world.queue);
    place->world.queue = NULL;
    if (queue_open(&place->config, &place->world.queue, &err) != RC_OK)
        fail_msg("%s: %s", place->url, err.text);
}

static void place_restart(struct place *place)
{
    place_reopen(place);
    world_restart(&place->world, place->world.queue);
}

static void place_open(struct place *place, uint32_t delivery_count_max)
{
    (void)memset(place, 0, sizeof(*place));
    /* Memory if there is some: what power loss does is not simulated here. */
    (void)snprintf(place->dir, sizeof(place->dir), "%s/imago-sim-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(place->dir));
    (void)snprintf(place->url, sizeof(place->url), "fault:sqlite:%s/imago.db", place->dir);
    place->config =
        (struct queue_config){.url = place->url, .delivery_count_max = delivery_count_max};
    place->world.delivery_count_max = delivery_count_max;
    place->world.now_ms = START_MS;
    place->world.leased = queue_leased_open();
    assert_non_null(place->world.leased);
    place_reopen(place);
}

static void place_done(struct place *place)
{
    char command[128];
    queue_free(place->world.queue);
    queue_leased_free(place->world.leased);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", place->dir);
    assert_int_equal(system(command), 0);
}

/* Every sequence of choices, one after the other: the last choice that has an alternative takes it.
 */
struct paths {
    struct world *world;
    uint32_t depth;
    uint32_t size; /* of what is prescribed */
    uint32_t taken[PATH_MAX_SIZE];
    uint32_t widths[PATH_MAX_SIZE];
};

static uint32_t paths_choose(void *ctx, uint32_t count)
{
    struct paths *paths = ctx;
    uint32_t at = paths->depth++;
    if (at >= PATH_MAX_SIZE)
        world_broken(paths->world, "a path of %u choices: it goes round in circles", at);
    if (at >= paths->size) {
        paths->taken[at] = 0;
        paths->size = at + 1;
    }
    if (paths->taken[at] >= count)
        world_broken(paths->world, "the same choices led elsewhere this time");
    paths->widths[at] = count;
    return paths->taken[at];
}

static bool paths_next(struct paths *paths)
{
    while (paths->size > 0 && paths->taken[paths->size - 1] + 1 == paths->widths[paths->size - 1])
        paths->size--;
    if (paths->size == 0)
        return false;
    paths->taken[paths->size - 1]++;
    paths->depth = 0;
    return true;
}

struct budget {
    uint32_t crashes;
    uint32_t expiries; /* while somebody could still work */
    uint32_t cancels;
    uint32_t failures;
    uint32_t faults;
    uint32_t restarts;
    uint32_t releases;
};

enum act { ACT_WORK, ACT_CRASH, ACT_EXPIRE, ACT_CANCEL, ACT_FAIL, ACT_RELEASE, ACT_RESTART };
struct action {
    enum act act;
    uint32_t index;
};

static uint32_t list_actions(const struct world *world, const struct budget *budget,
                             struct action actions[])
{
    uint32_t count = 0;
    bool idle_listed = world_leasable(world) == 0;
    bool any_held = false;
    for (uint32_t i = 0; i < world->worker_count; i++) {
        bool idle = world->workers[i].phase == PHASE_IDLE;
        /* Idle workers are all alike: one of them stands for all. */
        if (!idle || !idle_listed)
            actions[count++] = (struct action){ACT_WORK, i};
        idle_listed |= idle;
        any_held |= !idle;
        if (!idle && budget->crashes > 0)
            actions[count++] = (struct action){ACT_CRASH, i};
        if (world->workers[i].phase == PHASE_HOLDS && budget->failures > 0)
            actions[count++] = (struct action){ACT_FAIL, i};
        if (world->workers[i].phase == PHASE_HOLDS && budget->releases > 0)
            actions[count++] = (struct action){ACT_RELEASE, i};
    }
    if (any_held && budget->expiries > 0)
        actions[count++] = (struct action){ACT_EXPIRE, 0};
    if (budget->cancels > 0 && !job_state_at_rest(world->messages[0].state))
        actions[count++] = (struct action){ACT_CANCEL, 0};
    if (any_held && budget->restarts > 0)
        actions[count++] = (struct action){ACT_RESTART, 0};
    return count;
}

static void act(struct place *place, struct budget *budget, struct action action)
{
    struct world *world = &place->world;
    switch (action.act) {
    case ACT_WORK:
        world_work(world, action.index, 1);
        break;
    case ACT_CRASH:
        budget->crashes--;
        world_crash(world, action.index);
        break;
    case ACT_EXPIRE:
        budget->expiries--;
        world_pass(world, WORLD_LEASE_MS);
        break;
    case ACT_CANCEL:
        budget->cancels--;
        world_cancel(world, action.index);
        break;
    case ACT_FAIL:
        budget->failures--;
        world_fail(world, action.index, true);
        break;
    case ACT_RELEASE:
        budget->releases--;
        world_release(world, action.index);
        break;
    case ACT_RESTART:
        budget->restarts--;
        place_restart(place);
        break;
    }
}

static void one_path(struct place *place, struct budget budget, uint32_t number)
{
    struct world *world = &place->world;
    struct action actions[16];
    world_begin(world, 2, 2, number);
    world->fault_odds = 1;
    world->fault_budget = budget.faults;
    while (!world->messages[0].accepted || !world->messages[1].accepted)
        world_push(world, 0, 2, 0);
    while (!world_at_rest(world)) {
        uint32_t count = list_actions(world, &budget, actions);
        if (count == 0)
            world_pass(world, WORLD_LEASE_MS);
        else
            act(place, &budget, actions[count > 1 ? world->choose(world->ctx, count) : 0]);
    }
    world_finish(world);
}

static void all_paths(struct budget budget, uint32_t delivery_count_max)
{
    struct place place;
    static struct paths paths;
    uint32_t count = 0;
    place_open(&place, delivery_count_max);
    (void)memset(&paths, 0, sizeof(paths));
    paths.world = &place.world;
    place.world.choose = paths_choose;
    place.world.ctx = &paths;
    do {
        one_path(&place, budget, count * 2);
        count++;
    } while (paths_next(&paths));
    print_message("# %u crashes, %u expiries, %u cancellations, %u failures, %u faults, %u "
                  "releases, %u restarts: "
                  "%u paths\n",
                  budget.crashes, budget.expiries, budget.cancels, budget.failures, budget.faults,
                  budget.releases, budget.restarts, count);
    place_done(&place);
}

TEST(two_messages_two_workers_every_crash_point) { all_paths((struct budget){.crashes = 2}, 5); }

TEST(two_messages_two_workers_a_crash_and_an_early_expiry)
{
    all_paths((struct budget){.crashes = 1, .expiries = 1}, 5);
}

TEST(two_messages_two_workers_a_crash_and_a_cancellation)
{
    all_paths((struct budget){.crashes = 1, .cancels = 1}, 5);
}

TEST(two_messages_two_workers_an_expiry_and_a_cancellation)
{
    all_paths((struct budget){.expiries = 1, .cancels = 1}, 5);
}

TEST(two_messages_two_workers_every_fault_and_a_crash)
{
    all_paths((struct budget){.crashes = 1, .faults = 1}, 5);
}

TEST(two_messages_two_workers_few_deliveries)
{
    all_paths((struct budget){.crashes = 1, .failures = 1}, 1);
    all_paths((struct budget){.crashes = 1, .failures = 1}, 2);
}

TEST(two_messages_two_workers_one_gives_back)
{
    all_paths((struct budget){.releases = 2}, 1);
    all_paths((struct budget){.releases = 1, .crashes = 1}, 2);
    all_paths((struct budget){.releases = 1, .cancels = 1}, 1);
    all_paths((struct budget){.releases = 1, .expiries = 1}, 2);
    all_paths((struct budget){.releases = 1, .faults = 1}, 1);
}

TEST(two_messages_two_workers_the_process_dies)
{
    all_paths((struct budget){.restarts = 2}, 5);
    all_paths((struct budget){.restarts = 1, .expiries = 1}, 5);
    all_paths((struct budget){.restarts = 1, .cancels = 1}, 2);
    all_paths((struct budget){.restarts = 1, .failures = 1}, 1);
    all_paths((struct budget){.restarts = 1, .faults = 1}, 2);
}

/* Minutes rather than seconds: for a change of the states or of a driver. */
TEST(two_messages_two_workers_everything_at_once)
{
    if (getenv("QUEUE_SIM_DEEP") == NULL)
        return;
    all_paths((struct budget){.crashes = 1, .expiries = 1, .cancels = 1}, 5);
    all_paths((struct budget){.crashes = 1, .expiries = 1, .faults = 1}, 2);
    all_paths((struct budget){.failures = 1, .cancels = 1, .faults = 1}, 2);
}

static uint32_t random_choose(void *ctx, uint32_t count)
{
    uint64_t *seed = ctx;
    uint64_t z = (*seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % count;
}

static void random_worker_step(struct world *world, uint32_t index)
{
    bool holds = world->workers[index].phase == PHASE_HOLDS;
    uint32_t what = world->choose(world->ctx, 21);
    if (what == 20 && holds)
        world_release(world, index);
    else if (what < 2)
        world_crash(world, index);
    else if (what < 5 && world->workers[index].phase != PHASE_IDLE)
        world_extend(world, index);
    else if (what < 7 && holds)
        world_fail(world, index, what < 6);
    else
        world_work(world, index, 1 + world->choose(world->ctx, 2));
}

static void random_step(struct place *place)
{
    struct world *world = &place->world;
    uint32_t what = world->choose(world->ctx, 40);
    uint32_t message = world->choose(world->ctx, world->message_count);
    if (what < 6) {
        uint32_t room = world->message_count - message;
        world_push(world, message, 1 + world->choose(world->ctx, room < 3 ? room : 3),
                   world->choose(world->ctx, 3) * 1000);
    } else if (what < 9) {
        world_pass(world, 500 + world->choose(world->ctx, WORLD_LEASE_MS));
    } else if (what == 9) {
        world_cancel(world, message);
    } else if (what == 10) {
        world_revive(world, message);
    } else if (what == 11 && world->choose(world->ctx, 4) == 0) {
        place_restart(place);
    } else {
        random_worker_step(world, world->choose(world->ctx, world->worker_count));
    }
}

static void random_world(uint64_t seed, uint32_t ends[])
{
    struct place place;
    uint64_t state_of_chance = seed;
    struct world *world = &place.world;
    place_open(&place, 1 + random_choose(&state_of_chance, 4));
    (void)snprintf(world->name, sizeof(world->name), "QUEUE_SIM_SEED=%llu",
                   (unsigned long long)seed);
    world->choose = random_choose;
    world->ctx = &state_of_chance;
    world->fault_odds = 8;
    world->fault_budget = random_choose(&state_of_chance, 3) == 0 ? 0 : UINT32_MAX;
    uint32_t message_count = 3 + random_choose(&state_of_chance, 10);
    world_begin(world, message_count, 1 + random_choose(&state_of_chance, 4), 0);
    for (uint32_t step = 0; step < RUN_STEPS; step++) {
        random_step(&place);
        world_check_stats(world);
    }
    world_finish(world);
    world_check_stats(world);
    for (uint32_t i = 0; i < message_count; i++)
        if (world->messages[i].sent)
            ends[world->messages[i].state]++;
    place_done(&place);
}

TEST(random_worlds)
{
    const char *seed = getenv("QUEUE_SIM_SEED");
    const char *runs = getenv("QUEUE_SIM_RUNS");
    uint64_t first = seed != NULL ? strtoull(seed, NULL, 10) : clock_wall_ms();
    uint64_t count = runs != NULL ? strtoull(runs, NULL, 10) : seed != NULL ? 1 : RUNS_DEFAULT;
    uint32_t ends[JOB_STATE_COUNT] = {0};
    print_message("# QUEUE_SIM_SEED=%llu to %llu\n", (unsigned long long)first,
                  (unsigned long long)(first + count - 1));
    for (uint64_t i = 0; i < count; i++)
        random_world(first + i, ends);
    print_message("# %u done, %u dead, %u cancelled\n", ends[JOB_DONE], ends[JOB_DEAD],
                  ends[JOB_CANCELLED]);
}

TEST_MAIN("queue simulation")
