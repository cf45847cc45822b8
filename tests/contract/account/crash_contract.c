/* SPDX-License-Identifier: Apache-2.0
 * quota.h and key.h when processes compete, are killed, or find no room on the disk. */
#include "check.h"
#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOLD_MS 60000u

static struct quota_request request_of(uint64_t number, uint64_t images, uint64_t per_day)
{
    return (struct quota_request){.id = fixture_id(number),
                                  .tenant = "default",
                                  .key = "key",
                                  .images_per_day = per_day,
                                  .model = "lite",
                                  .image_count = images};
}

static enum rc settle(struct account *account, uint64_t number, uint64_t images)
{
    struct quota_settlement settlement = {.id = fixture_id(number),
                                          .tenant = "default",
                                          .image_count = images,
                                          .committed_ms = NOW_MS};
    assert_int_equal(account_settle(account, &settlement, 1, NULL), RC_OK);
    return settlement.rc;
}

static void assert_day(struct account *account, uint64_t used, uint64_t held)
{
    struct quota_day day;
    assert_int_equal(account_quota_day(account, "default", "key", NOW_MS, &day, NULL), RC_OK);
    assert_int_equal(day.used, used);
    assert_int_equal(day.held, held);
}

/* Two processes at once get no more than there is. */
TEST(processes_together_never_pass_the_limit)
{
    fixture_fresh();
    account_free(fixture_open());
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t children[3];
    for (uint64_t c = 0; c < 3; c++) {
        children[c] = fork();
        if (children[c] != 0)
            continue;
        struct account *account = fixture_open();
        uint32_t got = 0;
        for (uint64_t i = 0; i < 60; i++) {
            struct quota_request request = request_of(1000 * (c + 1) + i, 1 + i % 3, 100);
            if (account_reserve(account, &request, 1, HOLD_MS, NOW_MS, NULL) != RC_OK)
                _exit(1);
            if (request.refusal == QUOTA_PASS)
                got += (uint32_t)request.image_count;
        }
        account_free(account);
        _exit(write(ends[1], &got, sizeof(got)) == sizeof(got) ? 0 : 1);
    }
    (void)close(ends[1]);
    uint32_t total = 0;
    for (int c = 0; c < 3; c++) {
        uint32_t got = 0;
        int status = 1;
        assert_int_equal(read(ends[0], &got, sizeof(got)), sizeof(got));
        total += got;
        assert_int_equal(waitpid(children[c], &status, 0), children[c]);
        assert_int_equal(status, 0);
    }
    (void)close(ends[0]);
    assert_int_equal(total, 100);
    struct account *account = fixture_open();
    assert_day(account, 0, 100);
    account_free(account);
}

/* A child reserves and settles, says each once it is done, and is killed. */
TEST(what_was_reserved_and_settled_survives_kill)
{
    for (uint64_t round = 0; round < 4; round++) {
        fixture_fresh();
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            struct account *account = fixture_open();
            for (uint64_t n = 1;; n++) {
                uint64_t said[2] = {n, 0};
                struct quota_request request = request_of(n, 3, 100000);
                if (account_reserve(account, &request, 1, HOLD_MS, NOW_MS, NULL) != RC_OK ||
                    write(ends[1], said, sizeof(said)) != sizeof(said))
                    _exit(1);
                said[1] = 1;
                if (settle(account, n, 2) != RC_OK ||
                    write(ends[1], said, sizeof(said)) != sizeof(said))
                    _exit(1);
            }
        }
        (void)close(ends[1]);
        uint64_t reserved = 0;
        uint64_t settled = 0;
        uint64_t said[2];
        while (reserved < 20 + round * 13 && read(ends[0], said, sizeof(said)) == sizeof(said)) {
            reserved = said[0];
            settled = said[1] == 1 ? said[0] : settled;
        }
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, 0);
        while (read(ends[0], said, sizeof(said)) == sizeof(said)) {
            reserved = said[0];
            settled = said[1] == 1 ? said[0] : settled;
        }
        (void)close(ends[0]);
        struct account *account = fixture_open();
        struct quota_day day;
        assert_int_equal(account_quota_day(account, "default", "key", NOW_MS, &day, NULL), RC_OK);
        /* At most one step was done and not said. */
        assert_true(day.used == settled * 2 || day.used == settled * 2 + 2);
        assert_true(day.held == 0 || day.held == 3);
        uint64_t ended = day.used / 2;
        assert_true(ended + day.held / 3 >= reserved);
        bool more = true;
        assert_int_equal(account_maintain(account, NULL, NOW_MS + HOLD_MS, &more, NULL), RC_OK);
        assert_day(account, day.used, 0);
        account_free(account);
    }
}

static void limit_files(rlim_t size)
{
    struct rlimit limit = {.rlim_cur = size, .rlim_max = RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* No file may grow: every change says UNAVAILABLE and does nothing; reading and letting in go on;
 * with room again, so does the rest. In a child, whose limit it is. */
TEST(a_full_disk_stops_changes_and_nothing_else)
{
    fixture_fresh();
    if (strncmp(fixture_url(), "sqlite:", 7) != 0)
        return;
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGXFSZ, SIG_IGN);
        struct account *account = fixture_open();
        char token[KEY_TOKEN_SIZE];
        char fresh[KEY_TOKEN_SIZE];
        struct account_key key = fixture_key(account, "default", token);
        struct account_key made;
        struct account_identity identity;
        struct error err = {0};
        struct quota_request request = request_of(1, 3, 100);
        limit_files(4096);
        assert_int_equal(account_key_create(account, &key, NOW_MS, &made, fresh, &err),
                         RC_UNAVAILABLE);
        assert_true(err.text[0] != '\0');
        assert_int_equal(account_reserve(account, &request, 1, HOLD_MS, NOW_MS, &err),
                         RC_UNAVAILABLE);
        assert_int_equal(account_key_revoke(account, "default", key.id, NOW_MS, &err),
                         RC_UNAVAILABLE);
        assert_int_equal(account_authenticate(account, bytes_of(token), NOW_MS, &identity, &err),
                         RC_OK);
        assert_day(account, 0, 0);
        limit_files(RLIM_INFINITY);
        assert_int_equal(account_reserve(account, &request, 1, HOLD_MS, NOW_MS, &err), RC_OK);
        assert_int_equal(account_key_revoke(account, "default", key.id, NOW_MS, &err), RC_OK);
        assert_day(account, 0, 3);
        account_free(account);
        _exit(0);
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

TEST_MAIN("account crash contract")
