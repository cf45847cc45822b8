/* SPDX-License-Identifier: Apache-2.0
 * backup.c - `imago backup DIR`: a consistent copy of everything that is kept, beside a running
 * server.
 *
 * Order: the databases as of one moment, then the pictures. A picture is put before its prediction
 * is committed, so whatever the copy refers to is there to be read, unless it has been erased
 * since; then the prediction is erased from the copy too. What an earlier backup left in the folder
 * and nobody refers to any more goes after the new manifest is on the disk. */
#include "cli/accounts.h"
#include "cli/cli.h"
#include "cli/picture_copy.h"
#include "cli/snapshot.h"
#include "cli/survey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MS_PER_DAY 86400000ull

struct options {
    struct stores_settings stores;
#define OPTION CONFIG_MEMBER
#include "cli/backup_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/backup_options.def"
#undef OPTION
};

/* Copied by an earlier backup, and not in the store when this one began. */
struct stale {
    char tenant[BLOB_TENANT_SIZE_MAX + 1];
    uint8_t sha256[BLOB_SHA256_SIZE];
};

struct backup {
    const char *dir;
    int lock;
    uint64_t now_ms;
    struct stores from; /* read only */
    struct blob *into;
    struct results *copy; /* the copied predictions */
    struct snapshot snapshot;
    struct stale *stale;
    size_t stale_count;
    size_t stale_room;
    uint64_t copied_count;
    uint64_t erased_count; /* since it began */
};

/* Whoever moves the data folder away, or loses its disk, would lose the backup with it. */
static bool is_inside(const char *dir, const char *data)
{
    char inner[PATH_MAX];
    char outer[PATH_MAX];
    if (realpath(dir, inner) == NULL || realpath(data, outer) == NULL)
        return false;
    size_t size = strlen(outer);
    return strncmp(inner, outer, size) == 0 && inner[size] == '/';
}

/* An empty folder, or one that a backup began. */
static enum rc open_folder(struct backup *backup, const char *data, struct error *err)
{
    bool made = mkdir(backup->dir, 0700) == 0;
    if (!made && errno != EEXIST)
        return error_set(err, RC_UNAVAILABLE, "cannot create '%.150s': %s", backup->dir,
                         strerror(errno));
    if (is_inside(backup->dir, data)) {
        if (made)
            (void)rmdir(backup->dir);
        return error_set(err, RC_INVALID,
                         "'%.150s' lies in the data folder itself and would be lost with it: name "
                         "a folder elsewhere",
                         backup->dir);
    }
    backup->lock = open(backup->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (backup->lock < 0)
        return error_set(err, RC_UNAVAILABLE, "'%.150s': %s", backup->dir, strerror(errno));
    if (flock(backup->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return error_set(err, RC_BUSY,
                         "'%.150s' is in use: another backup is writing there, or it is the "
                         "server's own; name a folder of its own",
                         backup->dir);
    enum rc rc = snapshot_read(backup->dir, &backup->snapshot, err);
    if (rc != RC_NOT_FOUND)
        return rc;
    DIR *folder = opendir(backup->dir);
    struct dirent *entry = NULL;
    bool empty = folder != NULL;
    while (folder != NULL && (entry = readdir(folder)) != NULL)
        empty = empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                          strcmp(entry->d_name, "lost+found") == 0);
    if (folder != NULL)
        (void)closedir(folder);
    if (!empty)
        return error_set(err, RC_INVALID,
                         "'%.150s' is neither empty nor a backup: name a folder of its own",
                         backup->dir);
    struct snapshot begun = {.created = "1970-01-01T00:00:00.000Z", .version = IMAGO_VERSION};
    return snapshot_write(backup->dir, &begun, err);
}

/* A database that has no tables of a store yet has nothing of it to keep. */
static enum rc open_stores(struct backup *backup, const struct stores_settings *settings,
                           struct error *err)
{
    static const uint32_t needs[] = {STORE_RESULTS, STORE_IMAGES, STORE_ACCOUNTS, STORE_QUEUE};
    enum rc rc = stores_resolve(settings, &backup->from, err);
    uint32_t on = rc == RC_OK ? stores_on(&backup->from) : 0;
    uint32_t opened = 0;
    if (rc == RC_OK && on == 0)
        return error_set(err, RC_INVALID, "nothing is kept (--results none, --accounts none)");
    struct error first = {0};
    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]) && rc == RC_OK; i++) {
        struct error why = {0};
        if ((on & needs[i]) == 0)
            continue;
        rc = stores_open(&backup->from, needs[i] | STORE_READ_ONLY, &why);
        if (rc == RC_OK)
            opened |= needs[i];
        else if (first.rc == RC_OK)
            first = why;
        if (rc == RC_NOT_FOUND)
            rc = RC_OK;
        else if (rc != RC_OK && err != NULL)
            *err = why;
    }
    /* Predictions without the folder of their pictures: it may not be mounted. */
    bool lacks = (opened & STORE_RESULTS) != 0 && (opened & STORE_IMAGES) == 0;
    if (rc == RC_OK && (opened == 0 || lacks)) {
        rc = first.rc;
        if (err != NULL)
            *err = first;
    }
    return rc;
}

static bool same_file(const char *url, const char *other)
{
    char path[PATH_MAX];
    char other_path[PATH_MAX];
    struct stat status;
    struct stat other_status;
    stores_path(url, path);
    stores_path(other, other_path);
    return stat(path, &status) == 0 && stat(other_path, &other_status) == 0 &&
           status.st_dev == other_status.st_dev && status.st_ino == other_status.st_ino;
}

static enum rc copy_databases(struct backup *backup, struct snapshot *snapshot, struct error *err)
{
    struct stores *from = &backup->from;
    const struct {
        uint32_t holds;
        const char *url;
        bool is_open;
    } all[] = {/* Before the results: a job that they know and the queue does not is queued again,
                * but one that only the queue knows to be done would stay open. */
               {STORE_QUEUE, from->queue_url, from->queue != NULL},
               {STORE_RESULTS, from->results_url, from->results != NULL},
               {STORE_ACCOUNTS, from->accounts_url, from->account != NULL}};
    const char *urls[3] = {0};
    enum rc rc = RC_OK;
    for (size_t i = 0; i < 3 && rc == RC_OK; i++) {
        uint32_t at = 0;
        if (!all[i].is_open)
            continue;
        while (at < snapshot->database_count && !same_file(urls[at], all[i].url))
            at++;
        struct snapshot_database *database = &snapshot->databases[at];
        database->holds |= all[i].holds;
        if (at < snapshot->database_count)
            continue;
        urls[at] = all[i].url;
        snapshot->database_count++;
        char path[PATH_MAX];
        (void)snprintf(database->file, sizeof(database->file), "imago-%.10s-%" PRIu64 "-%u.db",
                       snapshot->created, backup->now_ms, at + 1);
        rc = snapshot_path(backup->dir, database->file, path, err);
        if (rc == RC_OK && all[i].holds == STORE_RESULTS)
            rc = results_backup(from->results, path, err);
        else if (rc == RC_OK && all[i].holds == STORE_ACCOUNTS)
            rc = account_backup(from->account, path, err);
        else if (rc == RC_OK)
            rc = queue_backup(from->queue, path, err);
    }
    return rc;
}

static enum rc note_stale(void *ctx, const char *tenant, const struct blob_entry *entry,
                          struct error *err)
{
    struct backup *backup = ctx;
    struct blob_info info;
    enum rc rc = blob_stat(backup->from.blob, tenant, entry->sha256, &info, err);
    if (rc != RC_NOT_FOUND)
        return rc;
    if (backup->stale_count == backup->stale_room) {
        size_t room = backup->stale_room == 0 ? 256 : 2 * backup->stale_room;
        struct stale *grown = realloc(backup->stale, room * sizeof(*grown));
        if (grown == NULL)
            return error_set(err, RC_NO_MEMORY, "no memory for the names of %zu pictures", room);
        backup->stale = grown;
        backup->stale_room = room;
    }
    struct stale *stale = &backup->stale[backup->stale_count++];
    (void)snprintf(stale->tenant, sizeof(stale->tenant), "%s", tenant);
    memcpy(stale->sha256, entry->sha256, sizeof(stale->sha256));
    return RC_OK;
}

/* Erased since the databases were copied: then it is not to come back with the copy. */
static bool erase_too(void *ctx, const char *tenant, const struct result *result)
{
    struct backup *backup = ctx;
    struct results_removed removed;
    struct result_set set = {0};
    enum rc rc = results_get(backup->from.results, bytes_of(tenant), result->id, &set, NULL);
    results_set_done(&set);
    if (rc != RC_GONE)
        return false;
    if (results_erase(backup->copy, bytes_of(tenant), result->id, backup->now_ms, &removed, NULL) !=
        RC_OK)
        return false;
    backup->erased_count++;
    return true;
}

/* Whether the tenant wants its pictures to be gone by now. */
static bool is_over(struct backup *backup, const struct stale *stale)
{
    struct account_tenant tenant;
    struct blob_info info;
    if (backup->from.account == NULL ||
        account_tenant_get(backup->from.account, stale->tenant, &tenant, NULL) != RC_OK ||
        blob_stat(backup->into, stale->tenant, stale->sha256, &info, NULL) != RC_OK)
        return false;
    return tenant.image_days > 0 &&
           info.renewed_ms + tenant.image_days * MS_PER_DAY < backup->now_ms;
}

/* What the server has lost, it may want back: only what it erased goes. */
static enum rc keep_used(struct backup *backup, struct error *err)
{
    size_t count = 0;
    enum rc rc = RC_OK;
    for (size_t i = 0; i < backup->stale_count && rc == RC_OK; i++) {
        const struct stale *stale = &backup->stale[i];
        bool used = false;
        rc = results_picture_used(backup->copy, bytes_of(stale->tenant), stale->sha256, &used, err);
        if (rc == RC_OK && (!used || is_over(backup, stale)))
            backup->stale[count++] = *stale;
    }
    backup->stale_count = count;
    return rc;
}

static enum rc check_results(struct backup *backup, const char *url, struct error *err)
{
    struct snapshot *snapshot = &backup->snapshot;
    enum rc rc = results_open(url, &backup->copy, err);
    if (rc == RC_OK)
        rc = results_check(backup->copy, true, err);
    struct survey survey = {.results = backup->copy,
                            .blob = backup->into,
                            .account = backup->from.account,
                            .now_ms = clock_wall_ms(),
                            .excuse = erase_too,
                            .ctx = backup};
    if (rc == RC_OK && backup->into != NULL)
        rc = survey_predictions(&survey, err);
    if (rc == RC_OK && backup->into != NULL)
        rc = keep_used(backup, err);
    results_free(backup->copy);
    backup->copy = NULL;
    snapshot->missing_count = survey.missing_count;
    if (rc == RC_OK && survey.missing_count > 0)
        (void)fprintf(stderr, "imago: %" PRIu64 " predictions have no picture to copy; %s\n",
                      survey.missing_count, survey.first);
    return rc;
}

static enum rc check_account(const char *url, struct error *err)
{
    struct account *account = NULL;
    struct account_config config = {.url = url};
    enum rc rc = account_open(&config, &account, err);
    if (rc == RC_OK)
        rc = account_check(account, true, err);
    account_free(account);
    return rc;
}

static enum rc check_queue(const char *url, struct error *err)
{
    struct queue *queue = NULL;
    struct queue_config config = {.url = url};
    enum rc rc = queue_open(&config, &queue, err);
    if (rc == RC_OK)
        rc = queue_check(queue, true, err);
    queue_free(queue);
    return rc;
}

/* Each is read once as a whole; closing it puts all of it into the one file that is measured. */
static enum rc check_databases(struct backup *backup, struct snapshot *snapshot, struct error *err)
{
    enum rc rc = RC_OK;
    for (uint32_t i = 0; i < snapshot->database_count && rc == RC_OK; i++) {
        struct snapshot_database *database = &snapshot->databases[i];
        char path[PATH_MAX];
        char url[STORES_URL_SIZE];
        rc = snapshot_path(backup->dir, database->file, path, err);
        (void)snprintf(url, sizeof(url), "sqlite:%s", path);
        if (rc == RC_OK && (database->holds & STORE_RESULTS) != 0)
            rc = check_results(backup, url, err);
        else if (rc == RC_OK && (database->holds & STORE_ACCOUNTS) != 0)
            rc = check_account(url, err);
        else if (rc == RC_OK)
            rc = check_queue(url, err);
        if (rc == RC_OK)
            rc = snapshot_measure(backup->dir, database, err);
    }
    return rc;
}

/* Copies of databases that the manifest does not name. */
static void remove_old(const struct backup *backup)
{
    DIR *folder = opendir(backup->dir);
    struct dirent *entry = NULL;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        bool named =
            strncmp(entry->d_name, "imago-", 6) != 0 || strstr(entry->d_name, ".db") == NULL;
        for (uint32_t i = 0; i < backup->snapshot.database_count; i++)
            named = named || strcmp(entry->d_name, backup->snapshot.databases[i].file) == 0;
        if (!named)
            (void)unlinkat(dirfd(folder), entry->d_name, 0);
    }
    if (folder != NULL)
        (void)closedir(folder);
}

static enum rc remove_stale(struct backup *backup, struct error *err)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < backup->stale_count && rc == RC_OK; i++) {
        const struct stale *stale = &backup->stale[i];
        struct blob_info info;
        rc = blob_stat(backup->from.blob, stale->tenant, stale->sha256, &info, err);
        if (rc == RC_NOT_FOUND) /* not put again meanwhile */
            rc = blob_delete(backup->into, stale->tenant, stale->sha256, UINT64_MAX, err);
        rc = rc == RC_NOT_FOUND ? RC_OK : rc;
    }
    return rc;
}

static enum rc open_pictures(struct backup *backup, struct error *err)
{
    char path[PATH_MAX];
    char url[STORES_URL_SIZE];
    struct blob_config config = {.url = url};
    enum rc rc = snapshot_path(backup->dir, SNAPSHOT_PICTURES, path, err);
    (void)snprintf(url, sizeof(url), "file:%s", path);
    if (rc == RC_OK)
        rc = blob_open(&config, &backup->into, err);
    const struct picture_walk walk = {.label = "looking",
                                      .total = backup->snapshot.picture_count,
                                      .each = note_stale,
                                      .ctx = backup};
    return rc == RC_OK ? picture_walk(backup->into, &walk, err) : rc;
}

static enum rc copy_pictures(struct backup *backup, uint64_t about, struct error *err)
{
    static struct picture_copy copy;
    copy = (struct picture_copy){
        .from = backup->from.blob, .into = backup->into, .now_ms = backup->now_ms, .total = about};
    enum rc rc = picture_copy(&copy, err);
    backup->snapshot.has_pictures = true;
    backup->snapshot.picture_count = copy.count;
    backup->snapshot.picture_size = copy.size;
    backup->snapshot.damaged_count = copy.damaged_count;
    backup->copied_count = copy.copied_count;
    return rc;
}

static enum rc copy_all(struct backup *backup, struct error *err)
{
    enum rc rc = RC_OK;
    bool pictures = backup->from.blob != NULL;
    if (pictures)
        rc = open_pictures(backup, err);
    struct snapshot before = backup->snapshot;
    struct snapshot *snapshot = &backup->snapshot;
    *snapshot = (struct snapshot){.complete = true, .version = IMAGO_VERSION};
    clock_wall_text(backup->now_ms, snapshot->created);
    if (rc == RC_OK)
        rc = copy_databases(backup, snapshot, err);
    if (rc == RC_OK && pictures)
        rc = copy_pictures(backup, before.picture_count, err);
    if (rc == RC_OK)
        rc = check_databases(backup, snapshot, err);
    if (rc == RC_OK)
        rc = snapshot_write(backup->dir, snapshot, err);
    if (rc != RC_OK)
        *snapshot = before;
    remove_old(backup);
    return rc == RC_OK && pictures ? remove_stale(backup, err) : rc;
}

static enum rc print(const struct backup *backup, const char *format, struct error *err)
{
    const struct snapshot *snapshot = &backup->snapshot;
    uint64_t size = 0;
    for (uint32_t i = 0; i < snapshot->database_count; i++)
        size += snapshot->databases[i].size;
    if (accounts_form_choose(format) == ACCOUNTS_JSON)
        return accounts_print_json(
            json_pack(
                "{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "folder", backup->dir,
                "created_at", snapshot->created, "databases", (int)snapshot->database_count,
                "database_size", (json_int_t)size, "images", (json_int_t)snapshot->picture_count,
                "image_size", (json_int_t)snapshot->picture_size, "copied",
                (json_int_t)backup->copied_count, "erased_meanwhile",
                (json_int_t)backup->erased_count, "missing", (json_int_t)snapshot->missing_count,
                "damaged", (json_int_t)snapshot->damaged_count),
            err);
    (void)printf("folder       %s\ncreated      %s\ndatabases    %u, %.1f MB, checked\n"
                 "pictures     %" PRIu64 ", %.1f MB; %" PRIu64 " copied now\n",
                 backup->dir, snapshot->created, snapshot->database_count, (double)size / 1e6,
                 snapshot->picture_count, (double)snapshot->picture_size / 1e6,
                 backup->copied_count);
    return cli_wrote(fflush(stdout) == 0, err);
}

static enum rc run(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    static struct backup backup;
    backup = (struct backup){.dir = call->argv[0], .lock = -1, .now_ms = call->now_ms};
    enum rc rc = open_stores(&backup, &options->stores, err);
    if (rc == RC_OK)
        rc = open_folder(&backup, options->stores.data, err);
    if (rc == RC_OK)
        rc = copy_all(&backup, err);
    if (rc == RC_OK)
        rc = print(&backup, options->format, err);
    /* It is there, but not all of it could be. */
    if (rc == RC_OK && backup.snapshot.damaged_count + backup.snapshot.missing_count > 0)
        call->status = rc_exit_status(RC_INTERNAL);
    blob_free(backup.into);
    stores_close(&backup.from);
    if (backup.lock >= 0)
        (void)close(backup.lock);
    free(backup.stale);
    return rc;
}

static const struct cli_verb verb = {"", "DIR", 0, run};

int cli_backup(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "backup",
        .prose = "Copies everything that is kept into DIR, consistent as of one moment, while the "
                 "server runs.\nRun it again on the same folder: pictures that are there already "
                 "are not copied again, and a backup\nthat was cut short leaves the one before it. "
                 "'imago restore DIR' puts it back.\nExit status 1: done, but something was "
                 "missing or damaged before; standard error says what.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = &verb,
        .verb_count = 1};
    return cli_run(&command, &options, argc, argv);
}
