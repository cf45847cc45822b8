/* SPDX-License-Identifier: Apache-2.0
 * connection.h - what the files of this folder share. */
#ifndef SQLITE_CONNECTION_H
#define SQLITE_CONNECTION_H
#include "sqlite/sqlite.h"

#include <pthread.h>
#include <sqlite3.h>

struct sqlite_stmt {
    struct sqlite_conn *conn;
    sqlite3_stmt *raw;
    int code;  /* of preparing and binding: SQLITE_OK, or the first failure */
    bool used; /* since the last reset of all */
};

/* What begins and ends transactions: prepared like the module's own statements. */
enum turn { TURN_READ, TURN_WRITE, TURN_COMMIT, TURN_ROLLBACK, TURN_COUNT };

struct sqlite_conn {
    struct sqlite *db;
    sqlite3 *raw;
    sqlite3_stmt *turns[TURN_COUNT]; /* NULL: not needed yet */
    struct sqlite_stmt *stmts;       /* db->statement_count */
    bool writer;
    enum durability durability; /* what PRAGMA synchronous says now */
    struct sqlite_conn *next;   /* in the pool of idle readers */
};

/* One for each file that this process has open: its writers wait here rather than poll SQLite. */
struct file_gate {
    struct file_gate *next;
    uint64_t device;
    uint64_t inode;
    uint32_t ref_count;
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    bool taken;
    bool handed; /* to the first of those waiting to notice */
    uint32_t waiting_count;
};

struct sqlite {
    char *path;
    char *vfs;       /* NULL: the system's */
    bool read_only;  /* no writer */
    bool leaves_log; /* read-only, and the log has something in it */
    bool unchanging; /* read-only, and nobody else can write: no log, no locks */
    char *module;
    const char *const *statements;
    uint32_t statement_count;
    uint32_t version; /* of the module's schema */
    uint32_t wait_ms_max;
    struct file_gate *gate;
    struct sqlite_conn *writer;

    pthread_mutex_t mutex; /* guards the pool of readers */
    pthread_cond_t returned;
    struct sqlite_conn *idle;
    uint32_t reader_count;
    uint32_t reader_count_max;
};

/* What a result code of SQLite means to us; `raw` (may be NULL) gives the details. */
NODISCARD enum rc sqlite_fail(const struct sqlite *db, sqlite3 *raw, int code, struct error *err);
/* A connection with its pragmas; nothing is prepared. */
NODISCARD enum rc connection_open(struct sqlite *db, bool writer, struct sqlite_conn **ret_conn,
                                  struct error *err);
void connection_free(struct sqlite_conn *conn); /* NULL is fine */
NODISCARD enum rc connection_exec(struct sqlite_conn *conn, const char *sql, struct error *err);
NODISCARD enum rc connection_turn(struct sqlite_conn *conn, enum turn turn, struct error *err);
void connection_undo(struct sqlite_conn *conn); /* ROLLBACK, if a transaction is open */
/* The first column of the first row as text; "" if there is none. */
NODISCARD enum rc connection_text(struct sqlite_conn *conn, const char *sql, char *into,
                                  size_t size, struct error *err);
void connection_reset(struct sqlite_conn *conn); /* all statements */
NODISCARD enum rc statement_prepare(struct sqlite_conn *conn, uint32_t index, struct error *err);

NODISCARD enum rc migrate(struct sqlite_conn *conn, const struct sqlite_config *config,
                          struct error *err);
NODISCARD enum rc migrate_version(struct sqlite_conn *conn, const char *module,
                                  uint32_t *ret_version, struct error *err);

/* An open file's gate, shared with the other handles on it. */
NODISCARD enum rc gate_ref(const char *path, struct file_gate **ret_gate, struct error *err);
void gate_unref(struct file_gate *gate); /* NULL is fine */
bool gate_enter(struct file_gate *gate, uint32_t wait_ms_max);
void gate_leave(struct file_gate *gate);
/* A condition variable that times out on the monotonic clock, and the time `ms` from now on it. */
int condition_init(pthread_cond_t *condition);
struct timespec condition_deadline(uint32_t ms);
#endif
