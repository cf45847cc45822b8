/* SPDX-License-Identifier: Apache-2.0
 * random.h - numbers for property tests: the same seed gives the same run (splitmix64). */
#ifndef TESTS_ACCOUNT_RANDOM_H
#define TESTS_ACCOUNT_RANDOM_H
#include <stdint.h>

static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t random_below(uint64_t *state, uint64_t end)
{
    return random_next(state) % end;
}
#endif
