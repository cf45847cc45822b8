/* SPDX-License-Identifier: Apache-2.0
 * sqlite.c - a module's handle: its writer, its pool of readers, their transactions. */
#include "sqlite/connection.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCHEME              "sqlite:"
#define VFS_KEY             "vfs="
#define READ_ONLY           "mode=ro"
#define READER_COUNT_MAX    4u
#define WAIT_MS_MAX         5000u
#define STATEMENT_COUNT_MAX 1000u

/* "/path", "/path?mode=ro", "/path?vfs=name", "/path?vfs=name&mode=ro" */
static enum rc parse_url(struct sqlite *db, const char *url, struct error *err)
{
    if (strncmp(url, SCHEME, strlen(SCHEME)) != 0 || url[strlen(SCHEME)] == '\0')
        return error_set(err, RC_INVALID, "'%s' is not sqlite:/path/to/file", url);
    const char *path = url + strlen(SCHEME);
    size_t size = strcspn(path, "?");
    bool understood = size > 0;
    for (const char *at = path + size; *at != '\0' && understood;) {
        at++; /* '?' or '&' */
        size_t length = strcspn(at, "&");
        if (strncmp(at, VFS_KEY, strlen(VFS_KEY)) == 0 && db->vfs == NULL)
            db->vfs = strndup(at + strlen(VFS_KEY), length - strlen(VFS_KEY));
        else if (length == strlen(READ_ONLY) && strncmp(at, READ_ONLY, length) == 0)
            db->read_only = true;
        else
            understood = false;
        at += length;
    }
    if (!understood)
        return error_set(err, RC_INVALID, "'%s': only %s and %sname may follow the path", url,
                         READ_ONLY, VFS_KEY);
    db->path = strndup(path, size);
    if (db->path == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory to open %s", url);
    return RC_OK;
}

/* Before SQLite does, so that nobody else can read it. An existing file is not opened: closing it
 * again would drop the locks that this process holds on it. */
static enum rc create_private(const struct sqlite *db, struct error *err)
{
    int fd = open(db->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close(fd);
    else if (errno != EEXIST)
        return error_set(err, RC_UNAVAILABLE, "%s: %s", db->path, strerror(errno));
    else if (access(db->path, R_OK | W_OK) != 0) /* SQLite would not say why */
        return error_set(err, RC_UNAVAILABLE, "%s: %s; it must be writable, even to be read",
                         db->path, strerror(errno));
    return RC_OK;
}

static enum rc enter(struct sqlite *db, struct error *err)
{
    if (gate_enter(db->gate, db->wait_ms_max))
        return RC_OK;
    return error_set(err, RC_BUSY, "%s: no turn to write within %u ms", db->path, db->wait_ms_max);
}

static enum rc prepare_all(struct sqlite_conn *conn, struct error *err)
{
    enum rc rc = RC_OK;
    for (uint32_t i = 0; i < conn->db->statement_count && rc == RC_OK; i++)
        rc = statement_prepare(conn, i, err);
    return rc;
}

static enum rc open_writer(struct sqlite *db, const struct sqlite_config *config, struct error *err)
{
    enum rc rc = enter(db, err);
    if (rc != RC_OK)
        return rc;
    rc = connection_open(db, true, &db->writer, err);
    if (rc == RC_OK) {
        rc = connection_turn(db->writer, TURN_WRITE, err);
        if (rc == RC_OK) {
            rc = migrate(db->writer, config, err);
            if (rc == RC_OK)
                rc = connection_turn(db->writer, TURN_COMMIT, err);
            connection_undo(db->writer);
        }
    }
    gate_leave(db->gate);
    return rc == RC_OK ? prepare_all(db->writer, err) : rc;
}

/* SQLite wants to write beside the file, for its log, even to read it. Where that cannot be and
 * there is no log, nobody is writing either. */
static void look_for_log(struct sqlite *db)
{
    char *log = NULL;
    char *folder = NULL;
    struct stat status;
    if (asprintf(&log, "%s-wal", db->path) >= 0 && asprintf(&folder, "%s", db->path) >= 0) {
        bool has_log = stat(log, &status) == 0;
        db->leaves_log = has_log && status.st_size > 0;
        db->unchanging = !has_log && access(dirname(folder), W_OK) != 0;
    }
    free(log);
    free(folder);
}

static enum rc open_reader(struct sqlite *db, const struct sqlite_config *config, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    if (access(db->path, F_OK) != 0)
        return error_set(err, errno == ENOENT ? RC_NOT_FOUND : RC_UNAVAILABLE, "%s: %s", db->path,
                         strerror(errno));
    look_for_log(db);
    enum rc rc = connection_open(db, false, &conn, err);
    if (rc != RC_OK)
        return rc;
    char tables[16];
    uint32_t version = 0;
    rc = connection_text(conn, "SELECT count(*) FROM sqlite_schema WHERE name='migration'", tables,
                         sizeof(tables), err);
    if (rc == RC_OK && strcmp(tables, "0") != 0)
        rc = migrate_version(conn, config->module, &version, err);
    if (rc == RC_OK && version == 0)
        rc = error_set(err, RC_NOT_FOUND, "%s: there are no '%s' tables in it", db->path,
                       config->module);
    else if (rc == RC_OK && version != config->migration_count)
        rc = error_set(err, version < config->migration_count ? RC_NOT_IMPLEMENTED : RC_INTERNAL,
                       "%s: its '%s' tables have version %u, this program's have %u; %s", db->path,
                       config->module, version, config->migration_count,
                       version < config->migration_count ? "start the server once to convert them"
                                                         : "use a newer program");
    if (rc == RC_OK)
        rc = prepare_all(conn, err);
    connection_free(conn);
    return rc;
}

enum rc sqlite_open(const struct sqlite_config *config, struct sqlite **ret_db, struct error *err)
{
    assert(config != NULL && config->url != NULL && config->module != NULL && ret_db != NULL);
    assert(config->statement_count <= STATEMENT_COUNT_MAX);
    struct sqlite *db = calloc(1, sizeof(*db));
    if (db == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory to open %s", config->url);
    (void)pthread_mutex_init(&db->mutex, NULL);
    (void)condition_init(&db->returned);
    db->statements = config->statements;
    db->statement_count = config->statement_count;
    db->version = config->migration_count;
    db->reader_count_max = config->reader_count_max ? config->reader_count_max : READER_COUNT_MAX;
    db->wait_ms_max = config->wait_ms_max ? config->wait_ms_max : WAIT_MS_MAX;
    db->module = strdup(config->module);

    enum rc rc = db->module != NULL ? parse_url(db, config->url, err)
                                    : error_set(err, RC_NO_MEMORY, "no memory");
    if (rc == RC_OK && db->read_only)
        rc = open_reader(db, config, err);
    if (rc == RC_OK && !db->read_only)
        rc = create_private(db, err);
    if (rc == RC_OK && !db->read_only)
        rc = gate_ref(db->path, &db->gate, err);
    if (rc == RC_OK && !db->read_only)
        rc = open_writer(db, config, err);
    if (rc != RC_OK) {
        sqlite_free(db);
        return rc;
    }
    *ret_db = db;
    return RC_OK;
}

void sqlite_free(struct sqlite *db)
{
    if (db == NULL)
        return;
    while (db->idle != NULL) {
        struct sqlite_conn *conn = db->idle;
        db->idle = conn->next;
        db->reader_count--;
        connection_free(conn);
    }
    assert(db->reader_count == 0);
    connection_free(db->writer);
    gate_unref(db->gate);
    (void)pthread_cond_destroy(&db->returned);
    (void)pthread_mutex_destroy(&db->mutex);
    free(db->path);
    free(db->vfs);
    free(db->module);
    free(db);
}

/* It may not change within a transaction, and a statement for it cannot be kept. */
static enum rc set_durability(struct sqlite_conn *conn, enum durability durability,
                              struct error *err)
{
    if (conn->durability == durability)
        return RC_OK;
    enum rc rc = connection_exec(
        conn, durability == DURABLE ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", err);
    if (rc == RC_OK)
        conn->durability = durability;
    return rc;
}

enum rc sqlite_write(struct sqlite *db, enum durability durability, struct sqlite_conn **ret_conn,
                     struct error *err)
{
    if (db->read_only)
        return error_set(err, RC_UNAVAILABLE, "%s was opened to be read only", db->path);
    enum rc rc = enter(db, err);
    if (rc != RC_OK)
        return rc;
    rc = set_durability(db->writer, durability, err);
    if (rc == RC_OK)
        rc = connection_turn(db->writer, TURN_WRITE, err);
    if (rc != RC_OK) {
        gate_leave(db->gate);
        return rc;
    }
    *ret_conn = db->writer;
    return RC_OK;
}

enum rc sqlite_commit(struct sqlite_conn *conn, struct error *err)
{
    assert(conn->writer);
    connection_reset(conn);
    enum rc rc = RC_OK;
    /* Some errors have ended the transaction already. */
    if (sqlite3_get_autocommit(conn->raw))
        rc = error_set(err, RC_UNAVAILABLE, "%s: an earlier error undid this", conn->db->path);
    else
        rc = connection_turn(conn, TURN_COMMIT, err);
    connection_undo(conn);
    gate_leave(conn->db->gate);
    return rc;
}

void sqlite_rollback(struct sqlite_conn *conn)
{
    assert(conn->writer);
    connection_reset(conn);
    connection_undo(conn);
    gate_leave(conn->db->gate);
}

enum rc sqlite_end(struct sqlite_conn *conn, enum rc rc, struct error *err)
{
    if (rc == RC_OK)
        return sqlite_commit(conn, err);
    sqlite_rollback(conn);
    return rc;
}

/* An idle reader, or the right to open one: *ret_conn is NULL then. */
static enum rc take_reader(struct sqlite *db, struct sqlite_conn **ret_conn, struct error *err)
{
    struct timespec deadline = condition_deadline(db->wait_ms_max);
    enum rc rc = RC_OK;
    *ret_conn = NULL;
    (void)pthread_mutex_lock(&db->mutex);
    while (db->idle == NULL && db->reader_count == db->reader_count_max && rc == RC_OK)
        if (pthread_cond_timedwait(&db->returned, &db->mutex, &deadline) == ETIMEDOUT)
            rc = RC_BUSY;
    if (db->idle != NULL) {
        *ret_conn = db->idle;
        db->idle = db->idle->next;
        rc = RC_OK;
    } else if (db->reader_count < db->reader_count_max) {
        db->reader_count++;
        rc = RC_OK;
    }
    (void)pthread_mutex_unlock(&db->mutex);
    if (rc != RC_OK)
        return error_set(err, rc, "%s: all %u readers were in use for %u ms", db->path,
                         db->reader_count_max, db->wait_ms_max);
    return RC_OK;
}

/* `conn` NULL: it could not be opened, or is not worth keeping. */
static void return_reader(struct sqlite *db, struct sqlite_conn *conn)
{
    (void)pthread_mutex_lock(&db->mutex);
    if (conn != NULL) {
        conn->next = db->idle;
        db->idle = conn;
    } else {
        db->reader_count--;
    }
    (void)pthread_cond_signal(&db->returned);
    (void)pthread_mutex_unlock(&db->mutex);
}

enum rc sqlite_read(struct sqlite *db, struct sqlite_conn **ret_conn, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = take_reader(db, &conn, err);
    if (rc != RC_OK)
        return rc;
    if (conn == NULL)
        rc = connection_open(db, false, &conn, err);
    if (rc == RC_OK)
        rc = connection_turn(conn, TURN_READ, err);
    if (rc != RC_OK) {
        connection_free(conn);
        return_reader(db, NULL);
        return rc;
    }
    *ret_conn = conn;
    return RC_OK;
}

void sqlite_read_end(struct sqlite_conn *conn)
{
    assert(!conn->writer);
    struct sqlite *db = conn->db;
    connection_reset(conn);
    connection_undo(conn);
    /* A connection that could not end its snapshot would hold back the log for ever. */
    bool ended = sqlite3_get_autocommit(conn->raw) != 0;
    if (!ended)
        connection_free(conn);
    return_reader(db, ended ? conn : NULL);
}
