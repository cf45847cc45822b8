/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "net/http_internal.h"

#include <string.h>

static atomic_size_t used;

static struct body_pool pool_of(size_t used_max, size_t spare_size_max)
{
    atomic_store(&used, 0);
    return (struct body_pool){
        .used = &used, .used_max = used_max, .spare_size_max = spare_size_max};
}

TEST(only_what_is_touched_counts)
{
    struct body_pool pool = pool_of(100000, 0);
    struct body body = {0};
    assert_int_equal(body_open(&pool, 10000000, &body), RC_OK);
    assert_int_equal(atomic_load(&used), 0);
    assert_int_equal(body_touch(&pool, &body, 1), RC_OK);
    assert_in_range(atomic_load(&used), 1, 20000);
    assert_int_equal(body_touch(&pool, &body, 200000), RC_BUSY);
    assert_true(body_affordable(&pool, 80000));
    assert_false(body_affordable(&pool, 100000));
    body_free(&pool, &body);
    assert_int_equal(atomic_load(&used), 0);
    body_pool_done(&pool);
}

TEST(a_buffer_is_used_again_and_the_pool_is_bounded)
{
    struct body_pool pool = pool_of(SIZE_MAX, 300000);
    struct body bodies[4] = {0};
    const uint8_t *first;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(body_open(&pool, 100000, &bodies[i]), RC_OK);
        assert_true(bodies[i].room >= 100000);
        assert_int_equal(body_touch(&pool, &bodies[i], 100000), RC_OK);
    }
    first = bodies[1].data;
    for (int i = 0; i < 4; i++)
        body_free(&pool, &bodies[i]);
    assert_in_range(pool.spare_size, 1, 300000);
    assert_true(atomic_load(&used) <= 300000);
    assert_int_equal(body_open(&pool, 120000, &bodies[0]), RC_OK);
    assert_ptr_equal(bodies[0].data, first);
    assert_int_equal(bodies[0].size, 0);
    body_free(&pool, &bodies[0]);
    body_pool_done(&pool);
}

TEST(growing_keeps_the_bytes)
{
    struct body_pool pool = pool_of(SIZE_MAX, 0);
    struct body body = {0};
    assert_int_equal(body_open(&pool, 10, &body), RC_OK);
    memcpy(body.data, "0123456789", 10);
    assert_int_equal(body_grow(&pool, 3000000, &body), RC_OK);
    assert_true(body.room >= 3000000);
    assert_memory_equal(body.data, "0123456789", 10);
    body_free(&pool, &body);
    body_free(&pool, &body);
    body_pool_done(&pool);
}

TEST_MAIN("net http_body")
