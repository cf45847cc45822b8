/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "sqlite/sqlite.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PUT, GET, COUNT, SUM };
static const char *const statements[] = {
    [PUT] = "INSERT INTO thing VALUES(?,?,?,?,?)",
    [GET] = "SELECT no, text, blob, real, id FROM thing WHERE no=?",
    [COUNT] = "SELECT count(*) FROM thing",
    [SUM] = "SELECT no FROM thing ORDER BY no",
};
static const char *const migrations[] = {
    "CREATE TABLE thing(no INTEGER PRIMARY KEY, text TEXT, blob BLOB, real REAL);",
    "ALTER TABLE thing ADD COLUMN id BLOB;",
};

struct place {
    char dir[128];
    char path[160];
    char url[192];
};

static void place_open(struct place *place)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(place->dir, sizeof(place->dir), "%.100s/imago-sqlite-XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(place->dir));
    (void)snprintf(place->path, sizeof(place->path), "%s/a.db", place->dir);
    (void)snprintf(place->url, sizeof(place->url), "sqlite:%s", place->path);
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void place_close(struct place *place)
{
    (void)nftw(place->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct sqlite_config config_of(const char *url)
{
    return (struct sqlite_config){.url = url,
                                  .module = "things",
                                  .migrations = migrations,
                                  .migration_count = 2,
                                  .statements = statements,
                                  .statement_count = 4,
                                  .reader_count_max = 2,
                                  .wait_ms_max = 50};
}

static struct sqlite *must_open(const char *url)
{
    struct sqlite_config config = config_of(url);
    struct sqlite *db = NULL;
    struct error err = {0};
    if (sqlite_open(&config, &db, &err) != RC_OK)
        fail_msg("%s", err.text);
    return db;
}

static enum rc put(struct sqlite_conn *conn, uint64_t no, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, PUT);
    sqlite_bind_u64(stmt, 1, no);
    sqlite_bind_text(stmt, 2, bytes_of("text"));
    sqlite_bind_blob(stmt, 3, (struct bytes){0});
    sqlite_bind_f64(stmt, 4, 0.5);
    return sqlite_run(stmt, err);
}

static void must_put(struct sqlite *db, uint64_t no, enum durability durability)
{
    struct sqlite_conn *conn = NULL;
    assert_int_equal(sqlite_write(db, durability, &conn, NULL), RC_OK);
    assert_int_equal(sqlite_end(conn, put(conn, no, NULL), NULL), RC_OK);
}

static uint64_t count_in(struct sqlite_conn *conn)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, COUNT);
    bool row = false;
    assert_int_equal(sqlite_step(stmt, &row, NULL), RC_OK);
    assert_true(row);
    uint64_t count = sqlite_column_u64(stmt, 0);
    sqlite_reset(stmt);
    return count;
}

static uint64_t count_of(struct sqlite *db)
{
    struct sqlite_conn *conn = NULL;
    assert_int_equal(sqlite_read(db, &conn, NULL), RC_OK);
    uint64_t count = count_in(conn);
    sqlite_read_end(conn);
    return count;
}

TEST(values_come_back_as_they_went_in)
{
    struct place place;
    place_open(&place);
    struct sqlite *db = must_open(place.url);
    struct id id = id_new(1);
    struct sqlite_conn *conn = NULL;
    assert_int_equal(sqlite_write(db, DURABLE, &conn, NULL), RC_OK);
    struct sqlite_stmt *stmt = sqlite_use(conn, PUT);
    sqlite_bind_u64(stmt, 1, UINT64_MAX);
    sqlite_bind_text(stmt, 2, (struct bytes){(const uint8_t *)"a\0b", 3});
    sqlite_bind_blob(stmt, 3, (struct bytes){0});
    sqlite_bind_null(stmt, 4);
    sqlite_bind_id(stmt, 5, id);
    assert_int_equal(sqlite_run(stmt, NULL), RC_OK);
    assert_int_equal(sqlite_changed(conn), 1);
    assert_int_equal(sqlite_last_row(conn), INT64_MAX);
    assert_int_equal(sqlite_commit(conn, NULL), RC_OK);

    assert_int_equal(sqlite_read(db, &conn, NULL), RC_OK);
    stmt = sqlite_use(conn, GET);
    sqlite_bind_i64(stmt, 1, INT64_MAX);
    bool row = false;
    assert_int_equal(sqlite_step(stmt, &row, NULL), RC_OK);
    assert_true(row);
    struct bytes text = sqlite_column_text(stmt, 1);
    assert_int_equal(text.size, 3);
    assert_memory_equal(text.data, "a\0b", 3);
    assert_false(sqlite_column_null(stmt, 2)); /* empty, not NULL */
    assert_int_equal(sqlite_column_blob(stmt, 2).size, 0);
    assert_true(sqlite_column_null(stmt, 3));
    struct id got = sqlite_column_id(stmt, 4);
    assert_memory_equal(&got, &id, sizeof(id));
    assert_int_equal(sqlite_step(stmt, &row, NULL), RC_OK);
    assert_false(row);
    sqlite_read_end(conn);
    sqlite_free(db);
    place_close(&place);
}

TEST(urls_are_strict)
{
    static const char *const wrong[] = {"sqlite:",
                                        "file:/tmp/x",
                                        "sqlite:?vfs=unix",
                                        "sqlite:/tmp/x?cache=shared",
                                        "sqlite:/tmp/x?mode=rw",
                                        "sqlite:/tmp/x?mode=ro&",
                                        "sqlite:/tmp/x?"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct sqlite_config config = config_of(wrong[i]);
        struct sqlite *db = NULL;
        assert_int_equal(sqlite_open(&config, &db, NULL), RC_INVALID);
    }
    struct sqlite_config config = config_of("sqlite:/nonexistent/folder/a.db");
    struct sqlite *db = NULL;
    struct error err = {0};
    assert_int_equal(sqlite_open(&config, &db, &err), RC_UNAVAILABLE);
    assert_non_null(strstr(err.text, "/nonexistent/folder/a.db"));
}

TEST(the_file_is_private)
{
    struct place place;
    place_open(&place);
    struct sqlite *db = must_open(place.url);
    must_put(db, 1, DURABLE);
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        char path[180];
        struct stat stat_of;
        (void)snprintf(path, sizeof(path), "%s%s", place.path, ends[i]);
        assert_int_equal(stat(path, &stat_of), 0);
        assert_int_equal(stat_of.st_mode & 0777, 0600);
    }
    sqlite_free(db);
    place_close(&place);
}

TEST(migrations_go_on_from_where_the_file_is)
{
    struct place place;
    place_open(&place);
    static const char *const old_statements[] = {"INSERT INTO thing(no, text) VALUES(?,?)"};
    struct sqlite_config old = config_of(place.url);
    old.migration_count = 1;
    old.statements = old_statements;
    old.statement_count = 1;
    struct sqlite *db = NULL;
    assert_int_equal(sqlite_open(&old, &db, NULL), RC_OK);
    struct sqlite_conn *conn = NULL;
    assert_int_equal(sqlite_write(db, DURABLE, &conn, NULL), RC_OK);
    struct sqlite_stmt *stmt = sqlite_use(conn, 0);
    sqlite_bind_u64(stmt, 1, 1);
    assert_int_equal(sqlite_end(conn, sqlite_run(stmt, NULL), NULL), RC_OK);
    sqlite_free(db);

    db = must_open(place.url);
    assert_int_equal(count_of(db), 1);
    /* Another module has versions of its own. */
    static const char *const other[] = {"CREATE TABLE other(x)", "SELECT 1", "SELECT 1"};
    struct sqlite_config second = {
        .url = place.url, .module = "others", .migrations = other, .migration_count = 3};
    struct sqlite *other_db = NULL;
    assert_int_equal(sqlite_open(&second, &other_db, NULL), RC_OK);
    sqlite_free(other_db);
    assert_int_equal(sqlite_check(db, true, NULL), RC_OK);
    sqlite_free(db);
    /* An older program refuses the newer file. */
    struct error err = {0};
    assert_int_equal(sqlite_open(&old, &db, &err), RC_INTERNAL);
    assert_non_null(strstr(err.text, "version 2"));
    place_close(&place);
}

TEST(a_migration_that_fails_leaves_nothing)
{
    struct place place;
    place_open(&place);
    static const char *const wrong[] = {"CREATE TABLE thing(no INTEGER PRIMARY KEY); CREATE TABLE"};
    struct sqlite_config config = config_of(place.url);
    config.migrations = wrong;
    config.migration_count = 1;
    struct sqlite *db = NULL;
    assert_int_equal(sqlite_open(&config, &db, NULL), RC_INTERNAL);
    sqlite_free(must_open(place.url));
    /* A statement that does not fit the schema is found at the start. */
    static const char *const bad[] = {"SELECT nothing FROM thing"};
    config = config_of(place.url);
    config.statements = bad;
    config.statement_count = 1;
    struct error err = {0};
    assert_int_equal(sqlite_open(&config, &db, &err), RC_INTERNAL);
    assert_non_null(strstr(err.text, "nothing"));
    place_close(&place);
}

TEST(files_of_others_and_garbage_are_refused)
{
    struct place place;
    place_open(&place);
    sqlite3 *raw = NULL;
    assert_int_equal(sqlite3_open(place.path, &raw), SQLITE_OK);
    assert_int_equal(sqlite3_exec(raw, "CREATE TABLE song(title)", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(raw), SQLITE_OK);
    struct sqlite_config config = config_of(place.url);
    struct sqlite *db = NULL;
    struct error err = {0};
    assert_int_equal(sqlite_open(&config, &db, &err), RC_INTERNAL);
    assert_non_null(strstr(err.text, "another program"));
    int fd = open(place.path, O_WRONLY | O_TRUNC);
    static const char garbage[4096] = "this was never a database";
    assert_int_equal(write(fd, garbage, sizeof(garbage)), sizeof(garbage));
    assert_int_equal(close(fd), 0);
    assert_int_equal(sqlite_open(&config, &db, &err), RC_INTERNAL);
    place_close(&place);
}

TEST(what_fails_is_undone)
{
    struct place place;
    place_open(&place);
    struct sqlite *db = must_open(place.url);
    must_put(db, 1, DURABLE);
    struct sqlite_conn *conn = NULL;
    assert_int_equal(sqlite_write(db, DURABLE, &conn, NULL), RC_OK);
    assert_int_equal(put(conn, 2, NULL), RC_OK);
    struct error err = {0};
    enum rc rc = put(conn, 1, &err); /* taken */
    assert_int_equal(rc, RC_INTERNAL);
    assert_int_equal(sqlite_end(conn, rc, NULL), RC_INTERNAL);
    assert_int_equal(count_of(db), 1);
    must_put(db, 2, ORDERED);
    must_put(db, 3, DURABLE);
    assert_int_equal(count_of(db), 3);
    sqlite_free(db);
    db = must_open(place.url);
    assert_int_equal(count_of(db), 3);
    sqlite_free(db);
    place_close(&place);
}

TEST(a_reader_keeps_its_snapshot_and_cannot_write)
{
    struct place place;
    place_open(&place);
    struct sqlite *db = must_open(place.url);
    must_put(db, 1, DURABLE);
    struct sqlite_conn *reader = NULL;
    struct sqlite_conn *second = NULL;
    struct sqlite_conn *third = NULL;
    assert_int_equal(sqlite_read(db, &reader, NULL), RC_OK);
    assert_int_equal(count_in(reader), 1);
    must_put(db, 2, DURABLE);
    assert_int_equal(count_in(reader), 1);
    assert_int_equal(sqlite_read(db, &second, NULL), RC_OK);
    assert_int_equal(count_in(second), 2);
    assert_true(put(second, 9, NULL) != RC_OK);
    /* The pool has two. */
    assert_int_equal(sqlite_read(db, &third, NULL), RC_BUSY);
    sqlite_read_end(second);
    assert_int_equal(sqlite_read(db, &third, NULL), RC_OK);
    assert_int_equal(count_in(third), 2);
    sqlite_read_end(third);
    sqlite_read_end(reader);
    sqlite_free(db);
    place_close(&place);
}

TEST(a_writer_waits_for_its_turn_but_not_for_ever)
{
    struct place place;
    place_open(&place);
    struct sqlite *db = must_open(place.url);
    struct sqlite *module = must_open(place.url);
    struct sqlite_conn *first = NULL;
    struct sqlite_conn *second = NULL;
    assert_int_equal(sqlite_write(db, DURABLE, &first, NULL), RC_OK);
    assert_int_equal(sqlite_write(module, DURABLE, &second, NULL), RC_BUSY);
    assert_int_equal(put(first, 1, NULL), RC_OK);
    sqlite_rollback(first);
    must_put(module, 1, DURABLE);
    assert_int_equal(count_of(db), 1);
    sqlite_free(module);
    sqlite_free(db);
    place_close(&place);
}

/* The child opens when told, holds the lock until told, and says so in between. */
static int hold_lock(const char *url, int told, int says)
{
    char octet;
    struct sqlite_conn *conn = NULL;
    if (read(told, &octet, 1) != 1)
        return 1;
    struct sqlite *db = must_open(url);
    if (sqlite_write(db, DURABLE, &conn, NULL) != RC_OK || write(says, "h", 1) != 1 ||
        read(told, &octet, 1) != 1)
        return 1;
    return sqlite_end(conn, put(conn, 7, NULL), NULL) == RC_OK ? 0 : 1;
}

TEST(writers_of_other_processes_are_waited_for)
{
    struct place place;
    place_open(&place);
    int says[2];
    int told[2];
    assert_int_equal(pipe(says) + pipe(told), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)close(told[1]);
        _exit(hold_lock(place.url, told[0], says[1]));
    }
    (void)close(told[0]);
    (void)close(says[1]);
    struct sqlite *db = must_open(place.url);
    struct sqlite_conn *conn = NULL;
    char octet;
    assert_int_equal(write(told[1], "o", 1), 1);
    assert_int_equal(read(says[0], &octet, 1), 1);
    struct error err = {0};
    assert_int_equal(sqlite_write(db, DURABLE, &conn, &err), RC_BUSY);
    assert_int_equal(count_of(db), 0);
    assert_int_equal(write(told[1], "l", 1), 1);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    must_put(db, 8, DURABLE);
    assert_int_equal(count_of(db), 2);
    (void)close(told[1]);
    (void)close(says[0]);
    sqlite_free(db);
    place_close(&place);
}

#define THREAD_COUNT  4
#define PUTS_A_THREAD 50
struct crowd {
    struct sqlite *dbs[2];
    uint32_t number;
};
static void *put_many(void *ctx)
{
    struct crowd *crowd = ctx;
    for (uint32_t i = 0; i < PUTS_A_THREAD; i++) {
        struct sqlite *db = crowd->dbs[i % 2];
        struct sqlite_conn *conn = NULL;
        while (sqlite_write(db, i % 4 != 0 ? ORDERED : DURABLE, &conn, NULL) != RC_OK)
            continue;
        if (sqlite_end(conn, put(conn, crowd->number * 1000 + i, NULL), NULL) != RC_OK)
            return ctx;
        if (sqlite_read(db, &conn, NULL) == RC_OK)
            sqlite_read_end(conn);
    }
    return NULL;
}

TEST(many_threads_on_two_handles_lose_nothing)
{
    struct place place;
    place_open(&place);
    struct sqlite *dbs[2] = {must_open(place.url), must_open(place.url)};
    pthread_t threads[THREAD_COUNT];
    struct crowd crowds[THREAD_COUNT];
    for (uint32_t i = 0; i < THREAD_COUNT; i++) {
        crowds[i] = (struct crowd){.dbs = {dbs[0], dbs[1]}, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, &crowds[i]), 0);
    }
    for (uint32_t i = 0; i < THREAD_COUNT; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(count_of(dbs[0]), THREAD_COUNT * PUTS_A_THREAD);
    sqlite_free(dbs[1]);
    sqlite_free(dbs[0]);
    place_close(&place);
}

TEST(a_backup_is_one_snapshot_and_never_replaces_a_file)
{
    struct place place;
    place_open(&place);
    struct sqlite *db = must_open(place.url);
    for (uint64_t i = 0; i < 10; i++)
        must_put(db, i, DURABLE);
    char copy[180];
    char url[200];
    (void)snprintf(copy, sizeof(copy), "%s/copy.db", place.dir);
    (void)snprintf(url, sizeof(url), "sqlite:%s", copy);
    assert_int_equal(sqlite_backup(db, copy, NULL), RC_OK);
    must_put(db, 10, DURABLE);
    assert_int_equal(sqlite_backup(db, copy, NULL), RC_INVALID);
    assert_int_equal(sqlite_backup(db, "/nonexistent/copy.db", NULL), RC_UNAVAILABLE);
    struct sqlite *again = must_open(url);
    assert_int_equal(count_of(again), 10);
    assert_int_equal(sqlite_check(again, true, NULL), RC_OK);
    sqlite_free(again);
    sqlite_free(db);
    place_close(&place);
}

TEST(damage_is_found_by_the_full_check)
{
    struct place place;
    place_open(&place);
    struct sqlite *db = must_open(place.url);
    struct sqlite_conn *conn = NULL;
    assert_int_equal(sqlite_write(db, DURABLE, &conn, NULL), RC_OK);
    for (uint64_t i = 0; i < 2000; i++)
        assert_int_equal(put(conn, i, NULL), RC_OK);
    assert_int_equal(sqlite_commit(conn, NULL), RC_OK);
    sqlite_free(db);
    struct stat stat_of;
    assert_int_equal(stat(place.path, &stat_of), 0);
    int fd = open(place.path, O_WRONLY);
    static const char zeros[512];
    /* In the last page, which is one of the table's. */
    assert_int_equal(pwrite(fd, zeros, sizeof(zeros), stat_of.st_size - 4096), sizeof(zeros));
    assert_int_equal(close(fd), 0);
    db = must_open(place.url);
    assert_int_equal(sqlite_check(db, false, NULL), RC_OK);
    struct error err = {0};
    assert_int_equal(sqlite_check(db, true, &err), RC_INTERNAL);
    assert_non_null(strstr(err.text, "damaged"));
    sqlite_free(db);
    sqlite_free(NULL);
    place_close(&place);
}

/* Its files, but for those that SQLite may make to read at all. */
static uint64_t size_of(const char *path)
{
    struct stat stat_of;
    return stat(path, &stat_of) == 0 ? (uint64_t)stat_of.st_size : UINT64_MAX;
}

TEST(what_is_opened_to_be_read_is_not_written)
{
    struct place place;
    char url[240];
    char log[200];
    place_open(&place);
    (void)snprintf(url, sizeof(url), "%s?mode=ro", place.url);
    (void)snprintf(log, sizeof(log), "%s-wal", place.path);
    struct sqlite_config config = config_of(url);
    struct sqlite *reader = NULL;
    assert_int_equal(sqlite_open(&config, &reader, NULL), RC_NOT_FOUND);
    assert_int_equal(size_of(place.path), UINT64_MAX);
    struct sqlite *db = must_open(place.url);
    must_put(db, 1, DURABLE);

    /* Beside a writer it sees what is committed, and its end takes nothing from the log. */
    assert_int_equal(sqlite_open(&config, &reader, NULL), RC_OK);
    assert_int_equal(count_of(reader), 1);
    must_put(db, 2, DURABLE);
    assert_int_equal(count_of(reader), 2);
    struct sqlite_conn *conn = NULL;
    assert_int_equal(sqlite_write(reader, DURABLE, &conn, NULL), RC_UNAVAILABLE);
    assert_int_equal(sqlite_check(reader, true, NULL), RC_OK);
    uint64_t logged = size_of(log);
    assert_true(logged > 0 && logged != UINT64_MAX);
    sqlite_free(reader);
    assert_int_equal(size_of(log), logged);
    sqlite_free(db);
    assert_int_equal(size_of(log), UINT64_MAX);

    /* Alone, it leaves nothing behind. */
    assert_int_equal(sqlite_open(&config, &reader, NULL), RC_OK);
    assert_int_equal(count_of(reader), 2);
    sqlite_free(reader);
    assert_int_equal(size_of(log), UINT64_MAX);

    config.module = "others";
    assert_int_equal(sqlite_open(&config, &reader, NULL), RC_NOT_FOUND);
    static const char *const more[] = {"", "", ""};
    config = config_of(url);
    config.migrations = more;
    config.migration_count = 3;
    assert_int_equal(sqlite_open(&config, &reader, NULL), RC_NOT_IMPLEMENTED);
    config.module = "things";
    config.migration_count = 1;
    config.statement_count = 0;
    assert_int_equal(sqlite_open(&config, &reader, NULL), RC_INTERNAL);
    place_close(&place);
}

TEST(what_a_crash_left_in_the_log_is_read_and_stays)
{
    struct place place;
    char url[240];
    char log[200];
    place_open(&place);
    (void)snprintf(url, sizeof(url), "%s?mode=ro", place.url);
    (void)snprintf(log, sizeof(log), "%s-wal", place.path);
    pid_t child = fork();
    if (child == 0) {
        struct sqlite *db = must_open(place.url);
        must_put(db, 1, DURABLE);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    uint64_t logged = size_of(log);
    uint64_t size = size_of(place.path);
    assert_true(logged > 0 && logged != UINT64_MAX);
    struct sqlite_config config = config_of(url);
    struct sqlite *reader = NULL;
    assert_int_equal(sqlite_open(&config, &reader, NULL), RC_OK);
    assert_int_equal(count_of(reader), 1);
    sqlite_free(reader);
    assert_int_equal(size_of(log), logged);
    assert_int_equal(size_of(place.path), size);
    place_close(&place);
}

TEST_MAIN("sqlite")
