/* SPDX-License-Identifier: Apache-2.0
 * backup.c - copying the file while it is in use, and checking it. */
#include "sqlite/connection.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The whole copy is of one snapshot, whatever this is: it bounds how long one step takes. */
#define STEP_PAGES 1024

static enum rc copy_pages(struct sqlite_conn *source, sqlite3 *target, struct error *err)
{
    sqlite3_backup *backup = sqlite3_backup_init(target, "main", source->raw, "main");
    if (backup == NULL)
        return sqlite_fail(source->db, target, sqlite3_errcode(target), err);
    int code = SQLITE_OK;
    while (code == SQLITE_OK)
        code = sqlite3_backup_step(backup, STEP_PAGES);
    (void)sqlite3_backup_finish(backup);
    return code == SQLITE_DONE ? RC_OK : sqlite_fail(source->db, NULL, code, err);
}

static enum rc copy_to(struct sqlite_conn *source, const char *path, struct error *err)
{
    sqlite3 *target = NULL;
    int code = sqlite3_open_v2(path, &target, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                               source->db->vfs);
    /* No journal: a copy that was cut short is thrown away. */
    if (code == SQLITE_OK)
        code = sqlite3_exec(target, "PRAGMA journal_mode=OFF; PRAGMA synchronous=FULL;", NULL, NULL,
                            NULL);
    enum rc rc = code == SQLITE_OK ? copy_pages(source, target, err)
                                   : sqlite_fail(source->db, target, code, err);
    code = sqlite3_close(target);
    if (rc == RC_OK && code != SQLITE_OK)
        rc = sqlite_fail(source->db, NULL, code, err);
    return rc;
}

/* A name that is on the disk: the folder of `path` is synced. */
static enum rc sync_folder(const char *path, struct error *err)
{
    char *copy = strdup(path);
    if (copy == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory");
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum rc rc = RC_OK;
    if (fd < 0 || fsync(fd) != 0)
        rc = error_set(err, RC_UNAVAILABLE, "%s: %s", copy, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    free(copy);
    return rc;
}

/* link() rather than rename(): it never replaces what is there. */
static enum rc publish(const char *part, const char *path, struct error *err)
{
    int fd = open(part, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        enum rc rc = error_set(err, RC_UNAVAILABLE, "%s: %s", part, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return rc;
    }
    (void)close(fd);
    if (link(part, path) != 0)
        return error_set(err, errno == EEXIST ? RC_INVALID : RC_UNAVAILABLE, "%s: %s", path,
                         strerror(errno));
    return sync_folder(path, err);
}

enum rc sqlite_backup(struct sqlite *db, const char *path, struct error *err)
{
    assert(db != NULL && path != NULL);
    if (access(path, F_OK) == 0)
        return error_set(err, RC_INVALID, "%s exists already", path);
    char *part = NULL;
    if (asprintf(&part, "%s.part-%ld", path, (long)getpid()) < 0)
        return error_set(err, RC_NO_MEMORY, "no memory");
    struct sqlite_conn *source = NULL;
    int fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    enum rc rc = RC_OK;
    if (fd < 0) {
        rc = error_set(err, RC_UNAVAILABLE, "%s: %s", part, strerror(errno));
        goto out;
    }
    (void)close(fd);
    rc = sqlite_read(db, &source, err);
    if (rc == RC_OK) {
        /* The snapshot begins with the first read. */
        char version[16];
        rc = connection_text(source, "PRAGMA schema_version", version, sizeof(version), err);
        if (rc == RC_OK)
            rc = copy_to(source, part, err);
        sqlite_read_end(source);
    }
    if (rc == RC_OK)
        rc = publish(part, path, err);
    (void)unlink(part);
out:
    free(part);
    return rc;
}

enum rc sqlite_check(struct sqlite *db, bool full, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_read(db, &conn, err);
    if (rc != RC_OK)
        return rc;
    uint32_t version = 0;
    rc = migrate_version(conn, db->module, &version, err);
    if (rc == RC_OK && version != db->version)
        rc = error_set(err, RC_INTERNAL, "%s: its '%s' tables have version %u instead of %u",
                       db->path, db->module, version, db->version);
    char mode[16] = "wal";
    if (rc == RC_OK && !db->unchanging)
        rc = connection_text(conn, "PRAGMA journal_mode", mode, sizeof(mode), err);
    if (rc == RC_OK && strcmp(mode, "wal") != 0)
        rc = error_set(err, RC_INTERNAL, "%s: its journal mode is '%s' instead of 'wal'", db->path,
                       mode);
    char found[160] = "ok";
    if (rc == RC_OK && full)
        rc = connection_text(conn, "PRAGMA integrity_check(1)", found, sizeof(found), err);
    if (rc == RC_OK && strcmp(found, "ok") != 0)
        rc = error_set(err, RC_INTERNAL, "%s: damaged: %s", db->path, found);
    sqlite_read_end(conn);
    return rc;
}
