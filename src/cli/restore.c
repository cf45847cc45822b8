/* SPDX-License-Identifier: Apache-2.0
 * restore.c - `imago restore DIR`: puts a backup where the server will look for it.
 *
 * Nothing is replaced before all is known to be good: the databases are copied beside their place
 * and checked there, then the pictures are put, then the files change their names. While it works,
 * no server and no command gets in. */
#include "cli/accounts.h"
#include "cli/cli.h"
#include "cli/picture_copy.h"
#include "cli/snapshot.h"
#include "cli/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define REPLACED   ".replaced"
#define PIECE_SIZE (1u << 30)

struct options {
    struct stores_settings stores;
#define OPTION CONFIG_MEMBER
#include "cli/restore_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/restore_options.def"
#undef OPTION
};

struct restore {
    const char *dir;
    bool replace;
    uint64_t now_ms;
    struct stores stores; /* locked, not open */
    struct snapshot snapshot;
    char places[3][PATH_MAX]; /* where the snapshot's databases go */
    struct blob *from;
    struct blob *into;
    struct survey survey;
    struct survey_ledger ledger;
    struct picture_copy copy;
    uint64_t replaced_count;
};

/* Where each database goes; all that a file holds must have one place. */
static enum rc find_places(struct restore *restore, struct error *err)
{
    const struct stores *stores = &restore->stores;
    const struct {
        uint32_t holds;
        const char *name;
        const char *url;
    } all[] = {{STORE_RESULTS, "results", stores->results_url},
               {STORE_ACCOUNTS, "accounts", stores->accounts_url},
               {STORE_QUEUE, "queue", stores->queue_url}};
    for (uint32_t i = 0; i < restore->snapshot.database_count; i++) {
        char *place = restore->places[i];
        for (size_t j = 0; j < 3; j++) {
            char path[PATH_MAX];
            if ((restore->snapshot.databases[i].holds & all[j].holds) == 0)
                continue;
            stores_path(all[j].url, path);
            if (path[0] == '\0')
                return error_set(err, RC_INVALID,
                                 "the backup has %s, but they are switched off here: leave out "
                                 "--%s none",
                                 all[j].name, all[j].name);
            if (place[0] != '\0' && strcmp(place, path) != 0)
                return error_set(err, RC_INVALID,
                                 "the backup has it all in one file, but --%s says '%.80s' and "
                                 "another setting '%.80s'; give them one place",
                                 all[j].name, path, place);
            (void)snprintf(place, PATH_MAX, "%s", path);
        }
        if (!restore->replace && access(place, F_OK) == 0)
            return error_set(err, RC_INVALID,
                             "'%.150s' is there already: restore into an empty folder (--data "
                             "DIR), or --replace it",
                             place);
    }
    return RC_OK;
}

static enum rc beside(const char *path, const char *ending, char into[PATH_MAX], struct error *err)
{
    return snprintf(into, PATH_MAX, "%s%s", path, ending) < PATH_MAX
               ? RC_OK
               : error_set(err, RC_INVALID, "'%.100s...' is too long", path);
}

static enum rc copy_file(const char *from, const char *into, struct error *err)
{
    int source = open(from, O_RDONLY | O_CLOEXEC);
    int target = open(into, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t got = 1;
    while (source >= 0 && target >= 0 && got > 0)
        got = sendfile(target, source, NULL, PIECE_SIZE);
    enum rc rc = RC_OK;
    if (source < 0 || target < 0 || got < 0 || fsync(target) != 0)
        rc = error_set(err, RC_UNAVAILABLE, "copying '%.80s' to '%.80s': %s", from, into,
                       strerror(errno));
    if (source >= 0)
        (void)close(source);
    if (target >= 0)
        (void)close(target);
    return rc;
}

/* Takes away what `path` names with what SQLite keeps beside it. */
static void remove_database(const char *path)
{
    static const char *const endings[] = {"", "-wal", "-shm", "-journal"};
    char name[PATH_MAX];
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
        if (beside(path, endings[i], name, NULL) == RC_OK)
            (void)unlink(name);
}

static enum rc stage(struct restore *restore, struct error *err)
{
    enum rc rc = RC_OK;
    for (uint32_t i = 0; i < restore->snapshot.database_count && rc == RC_OK; i++) {
        char from[PATH_MAX];
        char staged[PATH_MAX];
        rc = snapshot_path(restore->dir, restore->snapshot.databases[i].file, from, err);
        if (rc == RC_OK)
            rc = beside(restore->places[i], STORES_STAGED, staged, err);
        if (rc == RC_OK) {
            remove_database(staged);
            rc = copy_file(from, staged, err);
        }
    }
    return rc;
}

static enum rc put_pictures(struct restore *restore, struct error *err)
{
    char path[PATH_MAX];
    char url[STORES_URL_SIZE];
    struct blob_config from = {.url = url};
    struct blob_config into = {.url = restore->stores.images_url};
    enum rc rc = snapshot_path(restore->dir, SNAPSHOT_PICTURES, path, err);
    (void)snprintf(url, sizeof(url), "file:%s", path);
    if (rc == RC_OK && into.url[0] == '\0')
        rc = error_set(err, RC_INVALID,
                       "the backup has pictures, but they are switched off here: "
                       "leave out --results none");
    if (rc == RC_OK)
        rc = blob_open(&from, &restore->from, err);
    if (rc == RC_OK)
        rc = blob_open(&into, &restore->into, err);
    restore->copy = (struct picture_copy){.from = restore->from,
                                          .into = restore->into,
                                          .now_ms = restore->now_ms,
                                          .verify = true,
                                          .total = restore->snapshot.picture_count};
    return rc == RC_OK ? picture_copy(&restore->copy, err) : rc;
}

/* Where a store of the snapshot was staged; "": it has none. */
static void staged_url(const struct restore *restore, uint32_t holds, char into[STORES_URL_SIZE])
{
    into[0] = '\0';
    for (uint32_t i = 0; i < restore->snapshot.database_count; i++)
        if ((restore->snapshot.databases[i].holds & holds) != 0)
            (void)snprintf(into, STORES_URL_SIZE, "sqlite:%s" STORES_STAGED, restore->places[i]);
}

/* Opening converts what an older program wrote. Every file is read as a whole once for each store
 * in it, of which there are three at most. */
static enum rc check_staged(struct restore *restore, struct error *err)
{
    char url[STORES_URL_SIZE];
    struct results *results = NULL;
    struct account *account = NULL;
    struct queue *queue = NULL;
    struct account_config accounts = {.url = url};
    struct queue_config queues = {.url = url};
    enum rc rc = RC_OK;
    staged_url(restore, STORE_ACCOUNTS, url);
    if (url[0] != '\0')
        rc = account_open(&accounts, &account, err);
    if (rc == RC_OK && account != NULL)
        rc = account_check(account, true, err);
    staged_url(restore, STORE_QUEUE, url);
    if (rc == RC_OK && url[0] != '\0')
        rc = queue_open(&queues, &queue, err);
    if (rc == RC_OK && queue != NULL)
        rc = queue_check(queue, true, err);
    staged_url(restore, STORE_RESULTS, url);
    if (rc == RC_OK && url[0] != '\0')
        rc = results_open(url, &results, err);
    if (rc == RC_OK && results != NULL)
        rc = results_check(results, true, err);
    if (rc == RC_OK && results != NULL)
        rc = survey_verify(results, &restore->ledger, err);
    restore->survey = (struct survey){
        .results = results, .blob = restore->into, .account = account, .now_ms = restore->now_ms};
    if (rc == RC_OK && results != NULL && restore->into != NULL)
        rc = survey_predictions(&restore->survey, err);
    if (rc == RC_OK && restore->ledger.difference_count > 0)
        rc = error_set(err, RC_INTERNAL, "the backup's ledger and predictions differ: %s",
                       restore->ledger.first);
    results_free(results);
    queue_free(queue);
    account_free(account);
    return rc;
}

/* A database and what SQLite keeps beside it get another name, all of them or none. */
static enum rc rename_database(const char *from, const char *into, bool *ret_was_there,
                               struct error *err)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    char old[3][PATH_MAX];
    char new[3][PATH_MAX];
    bool moved[3] = {false};
    enum rc rc = RC_OK;
    for (size_t i = 0; i < 3 && rc == RC_OK; i++) {
        rc = beside(from, endings[i], old[i], err);
        if (rc == RC_OK)
            rc = beside(into, endings[i], new[i], err);
        if (rc != RC_OK)
            break;
        moved[i] = rename(old[i], new[i]) == 0;
        if (!moved[i] && errno != ENOENT)
            rc = error_set(err, RC_UNAVAILABLE, "'%.150s': %s", old[i], strerror(errno));
    }
    for (size_t i = 0; i < 3 && rc != RC_OK; i++)
        if (moved[i])
            (void)rename(new[i], old[i]);
    *ret_was_there = moved[0];
    return rc;
}

/* The old ones get another name first: a new database never lies beside an old one's log. */
static enum rc put_in_place(struct restore *restore, uint32_t index, struct error *err)
{
    const char *place = restore->places[index];
    char old[PATH_MAX];
    char staged[PATH_MAX];
    enum rc rc = beside(place, REPLACED, old, err);
    if (rc == RC_OK)
        rc = beside(place, STORES_STAGED, staged, err);
    if (rc != RC_OK)
        return rc;
    bool was_there = false;
    remove_database(old);
    rc = rename_database(place, old, &was_there, err);
    if (rc != RC_OK)
        return rc;
    if (rename(staged, place) != 0) {
        rc = error_set(err, RC_UNAVAILABLE, "'%.150s': %s", staged, strerror(errno));
        (void)!rename_database(old, place, &was_there, NULL);
        return rc;
    }
    restore->replaced_count += was_there;
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof(folder), "%s", place);
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder] = '\0';
    rc = snapshot_sync_folder(slash != NULL ? folder : ".", err);
    if (rc == RC_OK)
        remove_database(old);
    return rc;
}

static enum rc restore_all(struct restore *restore, struct error *err)
{
    const struct snapshot *snapshot = &restore->snapshot;
    enum rc rc = RC_OK;
    for (uint32_t i = 0; i < snapshot->database_count && rc == RC_OK; i++)
        rc = snapshot_check(restore->dir, &snapshot->databases[i], err);
    if (rc == RC_OK)
        rc = stores_lock(&restore->stores, err);
    if (rc == RC_OK)
        rc = find_places(restore, err); /* under the lock: nobody makes one now */
    if (rc == RC_OK)
        rc = stage(restore, err);
    if (rc == RC_OK && snapshot->has_pictures)
        rc = put_pictures(restore, err);
    if (rc == RC_OK)
        rc = check_staged(restore, err);
    for (uint32_t i = 0; i < snapshot->database_count && rc == RC_OK; i++)
        rc = put_in_place(restore, i, err);
    for (uint32_t i = 0; i < snapshot->database_count && rc != RC_OK; i++) {
        char staged[PATH_MAX];
        if (restore->places[i][0] != '\0' &&
            beside(restore->places[i], STORES_STAGED, staged, NULL) == RC_OK)
            remove_database(staged);
    }
    return rc;
}

static enum rc print(const struct restore *restore, const char *format, struct error *err)
{
    const struct survey *survey = &restore->survey;
    if (survey->missing_count > 0)
        (void)fprintf(stderr, "imago: %" PRIu64 " predictions have no picture; %s\n",
                      survey->missing_count, survey->first);
    if (accounts_form_choose(format) == ACCOUNTS_JSON)
        return accounts_print_json(
            json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "folder",
                      restore->dir, "created_at", restore->snapshot.created, "databases",
                      (int)restore->snapshot.database_count, "replaced",
                      (json_int_t)restore->replaced_count, "tenants",
                      (json_int_t)restore->ledger.tenant_count, "ledger_entries",
                      (json_int_t)restore->ledger.entry_count, "predictions",
                      (json_int_t)survey->prediction_count, "images",
                      (json_int_t)restore->copy.copied_count, "images_there",
                      (json_int_t)(restore->copy.count - restore->copy.copied_count), "missing",
                      (json_int_t)survey->missing_count, "damaged",
                      (json_int_t)restore->copy.damaged_count),
            err);
    (void)printf("backup       %s, of %s\n", restore->dir, restore->snapshot.created);
    for (uint32_t i = 0; i < restore->snapshot.database_count; i++)
        (void)printf("database     %s, checked\n", restore->places[i]);
    (void)printf("ledger       %" PRIu64 " entries of %" PRIu64 " tenants, proven\n"
                 "predictions  %" PRIu64 ", %" PRIu64 " without their picture\n"
                 "pictures     %" PRIu64 " put, %" PRIu64 " were there\n",
                 restore->ledger.entry_count, restore->ledger.tenant_count,
                 survey->prediction_count, survey->missing_count + survey->expired_count,
                 restore->copy.copied_count, restore->copy.count - restore->copy.copied_count);
    return cli_wrote(fflush(stdout) == 0, err);
}

static enum rc run(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    static struct restore restore;
    restore =
        (struct restore){.dir = call->argv[0], .replace = options->replace, .now_ms = call->now_ms};
    enum rc rc = snapshot_read(restore.dir, &restore.snapshot, err);
    if (rc == RC_OK && !restore.snapshot.complete)
        rc = error_set(err, RC_INVALID,
                       "'%.150s': this backup was cut short before it was whole; run 'imago "
                       "backup' again",
                       restore.dir);
    if (rc == RC_OK)
        rc = stores_resolve(&options->stores, &restore.stores, err);
    if (rc == RC_OK)
        rc = stores_make_data(&options->stores, err);
    if (rc == RC_OK)
        rc = restore_all(&restore, err);
    if (rc == RC_OK)
        rc = print(&restore, options->format, err);
    if (rc == RC_OK && restore.survey.missing_count + restore.copy.damaged_count > 0)
        call->status = rc_exit_status(RC_INTERNAL);
    blob_free(restore.from);
    blob_free(restore.into);
    stores_close(&restore.stores);
    return rc;
}

static const struct cli_verb verb = {"", "DIR", 0, run};

int cli_restore(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "restore",
        .prose = "Puts what 'imago backup DIR' copied where 'imago serve' with the same settings "
                 "looks for it.\nThe server must be stopped. Everything is checked before anything "
                 "is replaced.\nExit status 1: done, but pictures are missing or damaged; standard "
                 "error says which.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = &verb,
        .verb_count = 1};
    return cli_run(&command, &options, argc, argv);
}
