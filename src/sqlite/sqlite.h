/* SPDX-License-Identifier: Apache-2.0
 * sqlite.h - one SQLite file, used by several modules: connections, migrations, statements, errors.
 *
 * A module (results, queue, account) opens its own handle on the file with its own migrations and a
 * table of its own statements. A handle has one writer connection and a few readers. Transactions
 * are the only way in: sqlite_write() or sqlite_read() lends a connection, which one of
 * sqlite_commit(), sqlite_rollback() and sqlite_read_end() gives back.
 *
 * Durability: DURABLE commits are on the disk when sqlite_commit() returns. ORDERED ones survive
 * the death of the process, and the loss of power once any later DURABLE commit to the same file
 * has returned; they cost no fsync. After an error of sqlite_commit() the outcome is unknown.
 * Writers of one process and file, of all modules, wait for each other here; those of other
 * processes in SQLite. Both waits end with RC_BUSY. A reader sees the last commit before its
 * sqlite_read() and nothing later, and never waits for a writer.
 * Errors: UNAVAILABLE (disk full, I/O error, read-only, cannot open: the text says which and what
 * to do), BUSY, NO_MEMORY, INTERNAL (corrupt, not a database of ours, or a bug). Threads: a handle
 * is for any thread; a connection and its statements for one at a time. A forked child must open
 * its own handle.
 */
#ifndef SQLITE_SQLITE_H
#define SQLITE_SQLITE_H
#include "base/id.h"

struct sqlite;
struct sqlite_conn;
struct sqlite_stmt;

struct sqlite_config {
    const char *url;               /* sqlite:/path/imago.db[?mode=ro][?vfs=name, for tests] */
    const char *module;            /* the key in table `migration` */
    const char *const *migrations; /* [i] is the SQL that leads from version i to i + 1 */
    uint32_t migration_count;
    const char *const *statements; /* SQL text; sqlite_use() takes the index */
    uint32_t statement_count;
    uint32_t reader_count_max; /* 0: 4; opened when first needed */
    uint32_t wait_ms_max;      /* 0: 5,000 */
};

/* Creates the file (mode 0600), recovers what a crash left in the log, migrates, and prepares every
 * statement, so that a file whose schema does not fit is refused here. */
NODISCARD enum rc sqlite_open(const struct sqlite_config *config, struct sqlite **ret_db,
                              struct error *err);
void sqlite_free(struct sqlite *db); /* NULL is fine; no connection may be lent */

/* With ?mode=ro nothing is created, migrated or written: NOT_FOUND without the file or the module's
 * tables, NOT_IMPLEMENTED if they have an older version, INTERNAL if a newer one; sqlite_write() is
 * UNAVAILABLE. It works beside a
 * server, over what a crash left, and on a read-only file system. */

enum durability { DURABLE, ORDERED };
/* BEGIN IMMEDIATE. */
NODISCARD enum rc sqlite_write(struct sqlite *db, enum durability durability,
                               struct sqlite_conn **ret_conn, struct error *err);
/* Both give the connection back, whatever they return. */
NODISCARD enum rc sqlite_commit(struct sqlite_conn *conn, struct error *err);
void sqlite_rollback(struct sqlite_conn *conn);
/* sqlite_commit() if `rc` is RC_OK, else sqlite_rollback() and `rc` again. */
NODISCARD enum rc sqlite_end(struct sqlite_conn *conn, enum rc rc, struct error *err);

NODISCARD enum rc sqlite_read(struct sqlite *db, struct sqlite_conn **ret_conn, struct error *err);
void sqlite_read_end(struct sqlite_conn *conn);

/* Statement `index`, reset and ready to bind; never NULL: what goes wrong here or while binding
 * comes from the step. */
struct sqlite_stmt *sqlite_use(struct sqlite_conn *conn, uint32_t index);
/* Positions count from 1. Bytes are borrowed until the statement is used again, or the transaction
 * ends. A u64 over INT64_MAX is stored as INT64_MAX. Empty bytes are '' or x'', not NULL; what is
 * never bound is NULL. */
void sqlite_bind_i64(struct sqlite_stmt *stmt, int position, int64_t value);
void sqlite_bind_u64(struct sqlite_stmt *stmt, int position, uint64_t value);
void sqlite_bind_f64(struct sqlite_stmt *stmt, int position, double value);
void sqlite_bind_text(struct sqlite_stmt *stmt, int position, struct bytes text);
void sqlite_bind_blob(struct sqlite_stmt *stmt, int position, struct bytes blob);
void sqlite_bind_id(struct sqlite_stmt *stmt, int position, struct id id); /* copied */
void sqlite_bind_null(struct sqlite_stmt *stmt, int position);

/* To the next row. *ret_row is false at the end, and the statement is reset then. */
NODISCARD enum rc sqlite_step(struct sqlite_stmt *stmt, bool *ret_row, struct error *err);
/* For statements whose rows, if any, do not matter. */
NODISCARD enum rc sqlite_run(struct sqlite_stmt *stmt, struct error *err);
/* Ends a statement before its last row. */
void sqlite_reset(struct sqlite_stmt *stmt);
uint64_t
sqlite_changed(const struct sqlite_conn *conn); /* rows, by the last INSERT, UPDATE, DELETE */
uint64_t sqlite_last_row(const struct sqlite_conn *conn); /* rowid of the last INSERT */

/* Columns count from 0. Bytes are valid until the next step or reset. A negative u64 is 0. */
int64_t sqlite_column_i64(struct sqlite_stmt *stmt, int column);
uint64_t sqlite_column_u64(struct sqlite_stmt *stmt, int column);
double sqlite_column_f64(struct sqlite_stmt *stmt, int column);
struct bytes sqlite_column_text(struct sqlite_stmt *stmt, int column);
struct bytes sqlite_column_blob(struct sqlite_stmt *stmt, int column);
struct id sqlite_column_id(struct sqlite_stmt *stmt, int column); /* all zero if it is none */
bool sqlite_column_null(struct sqlite_stmt *stmt, int column);

/* Copy the whole file, all modules, as of now, while others write. `path` appears when the copy is
 * complete and on the disk; INVALID if it exists. */
NODISCARD enum rc sqlite_backup(struct sqlite *db, const char *path, struct error *err);
/* INTERNAL with the first fault found. Quick: the journal mode and the module's schema version.
 * Full: every page and index, which takes as long as reading the file. */
NODISCARD enum rc sqlite_check(struct sqlite *db, bool full, struct error *err);
#endif
