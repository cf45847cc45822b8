/* SPDX-License-Identifier: Apache-2.0
 * Limits: random requests against a reference that remembers every request ever let in and goes by
 * the definition, and the values of the header fields. */
#include "check.h"
#include "random.h"
#include "account/limits.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 wide;

#define NS_PER_S   1000000000ull
#define DAY_MS     86400000ull
#define START_MS   (20000 * DAY_MS)
#define STEP_COUNT 400u

static struct limits *open_limits(uint32_t key_count_max)
{
    struct limits_config config = {.key_count_max = key_count_max};
    struct limits *limits = NULL;
    assert_int_equal(limits_open(&config, &limits, NULL), RC_OK);
    return limits;
}

static struct limits_ticket *admit(struct limits *limits, const struct limits_rule *rule,
                                   const char *key, uint64_t ns, struct limits_verdict *verdict)
{
    struct limits_request request = {
        .key = key, .images = 1, .monotonic_ns = ns, .wall_ms = START_MS + ns / 1000000};
    return limits_admit(limits, rule, &request, verdict);
}

TEST(no_limit_lets_all_pass_and_prints_nothing)
{
    struct limits *limits = open_limits(16);
    const struct limits_rule none = {0};
    struct limits_verdict verdict;
    struct buf field = BUF_INIT(1024);
    for (int i = 0; i < 100; i++)
        assert_null(admit(limits, &none, "k", 0, &verdict));
    assert_int_equal(verdict.refusal, LIMITS_PASS);
    assert_int_equal(limits_policy_field(&verdict, &field), RC_OK);
    assert_int_equal(limits_state_field(&verdict, &field), RC_OK);
    assert_int_equal(field.size, 0);
    limits_release(limits, NULL, 0);
    limits_charge(limits, NULL, 1, 1);
    limits_free(limits);
}

/* One key's whole past. */
struct past {
    uint64_t pass_ns[STEP_COUNT];
    uint32_t pass_count;
    uint32_t in_work;
    uint64_t bytes;
    uint64_t images;
    uint64_t day;
};

/* In every span from a former pass to now: passes + this one <= burst + span * rate. */
static bool rate_allows(const struct past *past, const struct limits_rule *rule, uint64_t ns)
{
    if (rule->requests == 0)
        return true;
    wide window = (wide)(rule->window_s == 0 ? 1 : rule->window_s) * (wide)NS_PER_S;
    wide burst = rule->burst == 0 ? rule->requests : rule->burst;
    for (uint32_t i = 0; i < past->pass_count; i++) {
        wide passes = past->pass_count - i;
        wide span = ns - past->pass_ns[i];
        if ((passes + 1) * window > burst * window + span * rule->requests)
            return false;
    }
    return true;
}

static enum limits_refusal expected(const struct past *past, const struct limits_rule *rule,
                                    const struct limits_request *request)
{
    if (rule->images_per_day > 0 && past->images + request->images > rule->images_per_day)
        return LIMITS_IMAGES;
    if (rule->bytes_per_day > 0 &&
        (past->bytes + request->bytes > rule->bytes_per_day || past->bytes >= rule->bytes_per_day))
        return LIMITS_BYTES;
    if (rule->concurrent > 0 && past->in_work >= rule->concurrent)
        return LIMITS_CONCURRENT;
    return rate_allows(past, rule, request->monotonic_ns) ? LIMITS_PASS : LIMITS_RATE;
}

static struct limits_rule random_rule(uint64_t *seed)
{
    return (struct limits_rule){
        .requests = (uint32_t)(random_below(seed, 4) == 0 ? 0 : 1 + random_below(seed, 20)),
        .window_s = (uint32_t)random_below(seed, 4),
        .burst = (uint32_t)random_below(seed, 30),
        .concurrent = (uint32_t)(random_below(seed, 2) * (1 + random_below(seed, 6))),
        .bytes_per_day = random_below(seed, 2) * (1 + random_below(seed, 20000)),
        .images_per_day = random_below(seed, 2) * (1 + random_below(seed, 300)),
    };
}

static void one_run(uint64_t seed)
{
    struct limits *limits = open_limits(64);
    struct limits_rule rule = random_rule(&seed);
    static struct past pasts[2];
    memset(pasts, 0, sizeof(pasts));
    struct limits_ticket *tickets[STEP_COUNT];
    uint32_t owners[STEP_COUNT];
    uint32_t ticket_count = 0;
    uint64_t ns = random_below(&seed, 1000000);
    uint64_t pace = random_below(&seed, 3) == 0 ? 1000000 : 300000000;
    for (uint32_t step = 0; step < STEP_COUNT; step++) {
        ns += random_below(&seed, 5) == 0 ? 0 : random_below(&seed, pace);
        if (random_below(&seed, 100) == 0)
            ns += DAY_MS * 1000000;
        if (ticket_count > 0 && random_below(&seed, 3) == 0) {
            uint32_t at = (uint32_t)random_below(&seed, ticket_count);
            limits_release(limits, tickets[at], 0);
            pasts[owners[at]].in_work--;
            tickets[at] = tickets[--ticket_count];
            owners[at] = owners[ticket_count];
        }
        uint32_t key = (uint32_t)random_below(&seed, 2);
        struct past *past = &pasts[key];
        struct limits_request request = {.key = key == 0 ? "first" : "second",
                                         .bytes = random_below(&seed, 300),
                                         .images = random_below(&seed, 4),
                                         .monotonic_ns = ns,
                                         .wall_ms = START_MS + ns / 1000000};
        if (request.wall_ms / DAY_MS != past->day) {
            past->day = request.wall_ms / DAY_MS;
            past->bytes = 0;
            past->images = 0;
        }
        struct limits_verdict verdict;
        struct limits_ticket *ticket = limits_admit(limits, &rule, &request, &verdict);
        if (rule.requests == 0 && rule.concurrent == 0 && rule.bytes_per_day == 0 &&
            rule.images_per_day == 0)
            continue;
        enum limits_refusal right = expected(past, &rule, &request);
        if (verdict.refusal != right)
            fail_msg("step %u: %d, expected %d", step, verdict.refusal, right);
        assert_true((ticket != NULL) == (right == LIMITS_PASS));
        assert_true((verdict.retry_after_s > 0) == (right != LIMITS_PASS));
        if (right != LIMITS_PASS)
            continue;
        owners[ticket_count] = key;
        tickets[ticket_count++] = ticket;
        past->pass_ns[past->pass_count++] = ns;
        past->in_work++;
        past->bytes += request.bytes;
        past->images += request.images;
    }
    while (ticket_count > 0)
        limits_release(limits, tickets[--ticket_count], 0);
    limits_free(limits);
}

TEST(random_requests_agree_with_the_definition)
{
    for (uint64_t seed = 0; seed < 400; seed++)
        one_run(seed);
}

TEST(waiting_as_long_as_told_is_long_enough_and_not_much_too_long)
{
    for (uint64_t round = 0; round < 200; round++) {
        uint64_t seed = round;
        struct limits *limits = open_limits(16);
        struct limits_rule rule = {.requests = 1 + (uint32_t)random_below(&seed, 50),
                                   .window_s = 1 + (uint32_t)random_below(&seed, 60),
                                   .burst = 1 + (uint32_t)random_below(&seed, 5)};
        struct limits_verdict verdict;
        uint64_t ns = 7;
        struct limits_ticket *ticket;
        while ((ticket = admit(limits, &rule, "k", ns, &verdict)) != NULL)
            limits_release(limits, ticket, 0);
        assert_int_equal(verdict.refusal, LIMITS_RATE);
        assert_int_equal(verdict.rate.remaining, 0);
        uint64_t wait = verdict.retry_after_s;
        assert_true(wait <= (uint64_t)rule.window_s / rule.requests + 1);
        assert_non_null(admit(limits, &rule, "k", ns + wait * NS_PER_S, &verdict));
        limits_free(limits);
    }
}

TEST(extremes_do_not_overflow)
{
    struct limits *limits = open_limits(16);
    const struct limits_rule rules[] = {
        {.requests = LIMITS_REQUESTS_MAX, .window_s = LIMITS_WINDOW_S_MAX},
        {.requests = 1, .window_s = LIMITS_WINDOW_S_MAX, .burst = LIMITS_REQUESTS_MAX},
        {.requests = LIMITS_REQUESTS_MAX, .window_s = 1, .burst = 1},
        {.bytes_per_day = INT64_MAX, .images_per_day = INT64_MAX},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        assert_int_equal(limits_rule_check(&rules[i], NULL), RC_OK);
        struct limits_verdict verdict;
        struct limits_ticket *first = admit(limits, &rules[i], "k", 0, &verdict);
        assert_non_null(first);
        limits_charge(limits, first, UINT64_MAX, UINT64_MAX);
        limits_release(limits, first, 0);
        uint64_t far = UINT64_MAX;
        struct limits_request request = {
            .key = "k", .bytes = 1, .monotonic_ns = far, .wall_ms = far};
        struct limits_ticket *second = limits_admit(limits, &rules[i], &request, &verdict);
        assert_non_null(second);
        assert_true(verdict.rate.remaining <= LIMITS_REQUESTS_MAX);
        limits_release(limits, second, UINT64_MAX);
        /* A clock that goes back neither refills nor takes away. */
        (void)admit(limits, &rules[i], "k", 0, &verdict);
        limits_free(limits);
        limits = open_limits(16);
    }
    limits_free(limits);
    const struct limits_rule bad[] = {{.requests = LIMITS_REQUESTS_MAX + 1},
                                      {.burst = LIMITS_REQUESTS_MAX + 1},
                                      {.window_s = LIMITS_WINDOW_S_MAX + 1},
                                      {.bytes_per_day = UINT64_MAX},
                                      {.images_per_day = UINT64_MAX}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(limits_rule_check(&bad[i], NULL), RC_INVALID);
}

TEST(unused_images_go_back_and_late_bytes_count)
{
    struct limits *limits = open_limits(16);
    const struct limits_rule rule = {.images_per_day = 10, .bytes_per_day = 100};
    struct limits_request request = {.key = "k", .images = 10, .wall_ms = START_MS};
    struct limits_verdict verdict;
    struct limits_ticket *ticket = limits_admit(limits, &rule, &request, &verdict);
    assert_non_null(ticket);
    assert_int_equal(verdict.images.remaining, 0);
    limits_charge(limits, ticket, 150, 0);
    limits_release(limits, ticket, 4);
    request.images = 5;
    assert_null(limits_admit(limits, &rule, &request, &verdict));
    assert_int_equal(verdict.refusal, LIMITS_IMAGES);
    assert_int_equal(verdict.images.remaining, 4);
    request.images = 4;
    assert_null(limits_admit(limits, &rule, &request, &verdict));
    assert_int_equal(verdict.refusal, LIMITS_BYTES);
    assert_int_equal(verdict.bytes.remaining, 0);
    request.wall_ms = START_MS + DAY_MS - 1500;
    assert_null(limits_admit(limits, &rule, &request, &verdict));
    assert_int_equal(verdict.retry_after_s, 2); /* midnight, in whole seconds */
    request.wall_ms = START_MS + DAY_MS;
    ticket = limits_admit(limits, &rule, &request, &verdict);
    assert_non_null(ticket);
    limits_release(limits, ticket, 0);
    limits_free(limits);
}

TEST(another_rule_keeps_what_is_left)
{
    struct limits *limits = open_limits(16);
    struct limits_rule rule = {.requests = 10, .window_s = 10, .burst = 10};
    struct limits_verdict verdict;
    for (int i = 0; i < 7; i++)
        limits_release(limits, admit(limits, &rule, "k", 0, &verdict), 0);
    assert_int_equal(verdict.rate.remaining, 3);
    rule = (struct limits_rule){.requests = 100, .window_s = 1, .burst = 50};
    limits_release(limits, admit(limits, &rule, "k", 0, &verdict), 0);
    assert_int_equal(verdict.rate.remaining, 2);
    rule = (struct limits_rule){.requests = 1, .window_s = 1, .burst = 1};
    limits_release(limits, admit(limits, &rule, "k", 0, &verdict), 0);
    assert_int_equal(verdict.rate.remaining, 0);
    assert_null(admit(limits, &rule, "k", 0, &verdict));
    limits_free(limits);
}

TEST(a_full_table_forgets_the_longest_idle_and_never_one_in_work)
{
    struct limits *limits = open_limits(16); /* one place in each shard */
    const struct limits_rule rule = {.requests = 1, .window_s = 3600, .concurrent = 1};
    struct limits_verdict verdict;
    struct limits_ticket *held = admit(limits, &rule, "held", 0, &verdict);
    assert_non_null(held);
    uint32_t full_count = 0;
    char key[LIMITS_KEY_SIZE];
    for (uint32_t i = 0; i < 500; i++) {
        (void)snprintf(key, sizeof(key), "key-%u", i);
        struct limits_ticket *ticket = admit(limits, &rule, key, 0, &verdict);
        full_count += verdict.refusal == LIMITS_FULL;
        assert_true(ticket != NULL || verdict.refusal == LIMITS_FULL);
        limits_release(limits, ticket, 0);
    }
    assert_true(full_count > 0); /* those that share the shard of the one in work */
    assert_null(admit(limits, &rule, "held", 0, &verdict));
    assert_int_equal(verdict.refusal, LIMITS_CONCURRENT);
    limits_release(limits, held, 0);
    assert_null(admit(limits, &rule, "held", 0, &verdict));
    assert_int_equal(verdict.refusal, LIMITS_RATE);
    limits_free(limits);
}

static void assert_fields(const struct limits_verdict *verdict, const char *policy,
                          const char *state)
{
    struct buf field = BUF_INIT(1024);
    assert_int_equal(limits_policy_field(verdict, &field), RC_OK);
    assert_int_equal(field.size, strlen(policy));
    assert_memory_equal(field.data, policy, field.size);
    buf_clear(&field);
    assert_int_equal(limits_state_field(verdict, &field), RC_OK);
    assert_int_equal(field.size, strlen(state));
    assert_memory_equal(field.data, state, field.size);
    buf_done(&field);
}

TEST(fields_are_as_the_draft_has_them)
{
    struct limits *limits = open_limits(16);
    struct limits_verdict verdict;
    const struct limits_rule rate = {.requests = 100, .window_s = 60};
    limits_release(limits, admit(limits, &rate, "a", 0, &verdict), 0);
    assert_fields(&verdict, "\"rate\";q=100;w=60", "\"rate\";r=99;t=1");
    const struct limits_rule all = {.requests = 10,
                                    .burst = 20,
                                    .concurrent = 4,
                                    .bytes_per_day = 1000000,
                                    .images_per_day = 500};
    struct limits_request request = {
        .key = "b", .bytes = 1000, .images = 2, .wall_ms = START_MS + DAY_MS / 2};
    limits_release(limits, limits_admit(limits, &all, &request, &verdict), 0);
    assert_fields(&verdict,
                  "\"rate\";q=20;w=2, \"concurrent\";q=4;qu=\"concurrent-requests\", "
                  "\"bytes\";q=1000000;w=86400;qu=\"content-bytes\", "
                  "\"images\";q=500;w=86400;qu=\"images\"",
                  "\"rate\";r=19;t=1, \"concurrent\";r=3, \"bytes\";r=999000;t=43200, "
                  "\"images\";r=498;t=43200");
    limits_free(limits);
}

#define THREAD_COUNT 4
static struct limits *shared;
static const struct limits_rule shared_rule = {.requests = 1000, .window_s = 3600, .concurrent = 3};
static _Atomic uint32_t passed;
static _Atomic uint32_t inside;
static _Atomic uint32_t too_many;

static void *hammer(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < 5000; i++) {
        struct limits_verdict verdict;
        struct limits_ticket *ticket = admit(shared, &shared_rule, "one", 0, &verdict);
        if (ticket == NULL)
            continue;
        too_many += ++inside > shared_rule.concurrent;
        passed++;
        inside--;
        limits_release(shared, ticket, 0);
    }
    return NULL;
}

TEST(threads_together_get_no_more_than_one_alone)
{
    shared = open_limits(16);
    pthread_t threads[THREAD_COUNT];
    for (int i = 0; i < THREAD_COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    for (int i = 0; i < THREAD_COUNT; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(too_many, 0);
    assert_int_equal(passed, shared_rule.requests);
    limits_free(shared);
}

TEST_MAIN("account limits")
