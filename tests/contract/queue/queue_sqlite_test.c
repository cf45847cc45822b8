/* SPDX-License-Identifier: Apache-2.0
 * What only the SQLite driver does: shared transactions, its statements' use of indexes. */
#include "check.h"
#include "fixture.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define PUSHER_COUNT 3u
#define PUSH_COUNT   40u

static const char *path_of(const struct fixture *fix) { return strstr(fix->url, "sqlite:") + 7; }

static void execute(const struct fixture *fix, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path_of(fix), &db), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

struct pusher {
    struct fixture *fix;
    uint32_t first;
    atomic_uint *running;
    uint32_t refused_count; /* asserted by the test's own thread: cmocka knows no other */
};

static void *push_many(void *argument)
{
    struct pusher *pusher = argument;
    for (uint32_t i = 0; i < PUSH_COUNT; i++)
        pusher->refused_count += push(pusher->fix, "good", pusher->first + i) != RC_OK;
    atomic_fetch_sub(pusher->running, 1);
    return NULL;
}

/* A lease that cannot succeed meets pushes in one transaction. */
TEST(an_operation_that_fails_takes_only_itself_down)
{
    struct fixture fix = fixture_open(NULL);
    struct pusher pushers[PUSHER_COUNT];
    pthread_t threads[PUSHER_COUNT];
    atomic_uint running = PUSHER_COUNT;
    struct error err = {0};
    push_ok(&fix, "bad", 1);
    execute(&fix, "UPDATE queue_message SET state = 99");
    for (uint32_t i = 0; i < PUSHER_COUNT; i++) {
        pushers[i] = (struct pusher){&fix, 100 + i * PUSH_COUNT, &running, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, push_many, &pushers[i]), 0);
    }
    do
        assert_int_equal(queue_lease(fix.queue, 64, LEASE_MS, fix.now_ms, fix.leased, &err),
                         RC_INTERNAL);
    while (atomic_load(&running) > 0);
    assert_non_null(strstr(err.text, "state 99"));
    for (uint32_t i = 0; i < PUSHER_COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(pushers[i].refused_count, 0);
    }
    for (uint32_t i = 0; i < PUSHER_COUNT * PUSH_COUNT; i++)
        assert_int_equal(state_of(&fix, "good", 100 + i), JOB_QUEUED);
    fixture_done(&fix);
}

TEST(an_empty_lease_writes_nothing)
{
    struct fixture fix = fixture_open(NULL);
    char wal[256];
    push_ok(&fix, "a", 1);
    lease_exactly(&fix, fix.leased, 1);
    (void)snprintf(wal, sizeof(wal), "%s-wal", path_of(&fix));
    FILE *file = fopen(wal, "re");
    assert_non_null(file);
    long sizes[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fseek(file, 0, SEEK_END), 0);
        sizes[i] = ftell(file);
        lease_none(&fix);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_int_equal(fclose(file), 0);
    fixture_done(&fix);
}

static const struct {
    const char *name;
    const char *sql;
} statements[] = {
#define STATEMENT(name, sql) {#name, sql},
#include "queue/sqlite_statements.def"
#undef STATEMENT
};

/* Nothing may read messages in proportion to how many there are. */
TEST(no_statement_scans_the_messages)
{
    struct fixture fix = fixture_open(NULL);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path_of(&fix), &db), SQLITE_OK);
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        char sql[1200];
        sqlite3_stmt *stmt;
        (void)snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s", statements[i].sql);
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
        while (sqlite3_step(stmt) == SQLITE_ROW) {
            const char *line = (const char *)sqlite3_column_text(stmt, 3);
            if (strncmp(line, "SCAN queue_message", 18) == 0 || strncmp(line, "SCAN m", 6) == 0 ||
                strncmp(line, "SCAN queue_payload", 18) == 0 || strstr(line, "TEMP B-TREE") != NULL)
                fail_msg("%s: %s", statements[i].name, line);
        }
        assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    fixture_done(&fix);
}

TEST_MAIN("queue in SQLite")
