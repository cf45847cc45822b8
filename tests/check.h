/* SPDX-License-Identifier: Apache-2.0
 * check.h - cmocka with self-registration: write TEST(name) { } and it runs.
 * A constructor for each test rather than a linker section: sanitizers need no exception for it. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define CHECK_COUNT_MAX 256
static struct CMUnitTest checks[CHECK_COUNT_MAX];
static size_t check_count;

#define TEST(fn)                                                                                   \
    static void fn(void **state);                                                                  \
    __attribute__((constructor)) static void register_##fn(void)                                   \
    {                                                                                              \
        if (check_count == CHECK_COUNT_MAX)                                                        \
            __builtin_trap();                                                                      \
        checks[check_count++] = (struct CMUnitTest)cmocka_unit_test(fn);                           \
    }                                                                                              \
    static void fn(void **state __attribute__((unused)))

#define TEST_MAIN(suite)                                                                           \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        if (argc > 1)                                                                              \
            cmocka_set_test_filter(argv[1]);                                                       \
        return _cmocka_run_group_tests(suite, checks, check_count, NULL, NULL);                    \
    }
#endif
