/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/stores.h"

#include "cli/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATABASE "imago.db"
#define PICTURES "images"
/* A change of the command line reaches the server within this time; at most 5 s are promised. */
#define CREDENTIALS_KEPT_MS 4000u

static bool is_none(const char *setting) { return strcmp(setting, "none") == 0; }

static enum rc choose(const char *setting, const char *scheme, const char *data, const char *name,
                      char into[STORES_URL_SIZE], struct error *err)
{
    int size = setting[0] != '\0'
                   ? snprintf(into, STORES_URL_SIZE, "%s", is_none(setting) ? "" : setting)
                   : snprintf(into, STORES_URL_SIZE, "%s%s/%s", scheme, data, name);
    return size < STORES_URL_SIZE ? RC_OK
                                  : error_set(err, RC_INVALID, "'%.100s...' is over %d characters",
                                              into, STORES_URL_SIZE - 1);
}

/* What refers to a result or a picture is of no use without it. */
static enum rc check(const struct stores_settings *settings, struct error *err)
{
    bool results = !is_none(settings->results);
    if (results && is_none(settings->images))
        return error_set(err, RC_INVALID,
                         "--images none without --results none: a prediction is kept with its "
                         "picture or not at all; switch both off, or neither");
    if (results)
        return RC_OK;
    const char *name = "images";
    const char *setting = settings->images;
    if (setting[0] == '\0' || is_none(setting)) {
        name = "queue";
        setting = settings->queue;
    }
    if (setting[0] == '\0' || is_none(setting))
        return RC_OK;
    return error_set(err, RC_INVALID,
                     "--%s %.80s is of no use with --results none: leave it out, or say where "
                     "results are to be kept",
                     name, setting);
}

enum rc stores_resolve(const struct stores_settings *settings, struct stores *ret_stores,
                       struct error *err)
{
    const char *data = settings->data;
    if (data[0] == '\0')
        return error_set(err, RC_INVALID, "--data is empty: name a folder");
    *ret_stores = (struct stores){.settings = settings};
    enum rc rc = check(settings, err);
    if (rc == RC_OK)
        rc = choose(settings->accounts, "sqlite:", data, DATABASE, ret_stores->accounts_url, err);
    if (rc != RC_OK || is_none(settings->results))
        return rc;
    rc = choose(settings->results, "sqlite:", data, DATABASE, ret_stores->results_url, err);
    if (rc == RC_OK)
        rc = choose(settings->images, "file:", data, PICTURES, ret_stores->images_url, err);
    if (rc == RC_OK)
        rc = choose(settings->queue, "sqlite:", data, DATABASE, ret_stores->queue_url, err);
    return rc;
}

uint32_t stores_on(const struct stores *stores)
{
    return (stores->accounts_url[0] != '\0' ? STORE_ACCOUNTS : 0u) |
           (stores->results_url[0] != '\0' ? STORE_RESULTS : 0u) |
           (stores->images_url[0] != '\0' ? STORE_IMAGES : 0u) |
           (stores->queue_url[0] != '\0' ? STORE_QUEUE : 0u);
}

void stores_path(const char *url, char into[PATH_MAX])
{
    static const char *const schemes[] = {"sqlite:", "file:"};
    into[0] = '\0';
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t size = strlen(schemes[i]);
        if (strncmp(url, schemes[i], size) == 0)
            (void)snprintf(into, PATH_MAX, "%.*s", (int)strcspn(url + size, "?"), url + size);
    }
}

/* The folder that `path` is in; -1 and errno. */
static int open_above(const char *path)
{
    char folder[PATH_MAX];
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)size, path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder] = '\0';
    return open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* A server would find pictures there that nothing refers to, and sweep them. */
static enum rc refuse_backup(const char *data, struct error *err)
{
    struct snapshot snapshot;
    if (snapshot_read(data, &snapshot, NULL) != RC_OK)
        return RC_OK;
    return error_set(err, RC_INVALID,
                     "--data: '%.150s' is a backup, which working in it would spoil; 'imago "
                     "restore' puts it into another folder",
                     data);
}

/* Its name is made durable as well: without it, what is kept in it would be gone after a loss of
 * power. If it was there before, who made it may have died too early for that; but then it need not
 * succeed, as the folder above may be closed to us. */
enum rc stores_make_data(const struct stores_settings *settings, struct error *err)
{
    bool is_new = mkdir(settings->data, 0700) == 0;
    bool made = is_new || errno == EEXIST;
    if (made && !is_new && refuse_backup(settings->data, err) != RC_OK)
        return RC_INVALID;
    int above = made ? open_above(settings->data) : -1;
    if (made && (above < 0 || fsync(above) != 0) && is_new)
        made = false;
    enum rc rc = made ? RC_OK
                      : error_set(err, RC_UNAVAILABLE, "--data: cannot create '%.150s': %s",
                                  settings->data, strerror(errno));
    if (above >= 0)
        (void)close(above);
    return rc;
}

static bool is_same(int a, int b)
{
    struct stat of_a;
    struct stat of_b;
    return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

/* The folder of `path`, which several stores may share. Where a folder cannot be locked, its file
 * system has no locks, and nobody is kept out. */
static enum rc lock_folder(struct stores *stores, const char *path, bool alone, struct error *err)
{
    int fd = open_above(path);
    if (fd < 0)
        return RC_OK; /* opening the store says why */
    bool known = false;
    for (uint32_t i = 0; i < stores->lock_count; i++)
        known = known || is_same(fd, stores->locks[i]);
    if (known || flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
        bool held = !known && errno == EWOULDBLOCK;
        (void)close(fd);
        if (!held)
            return RC_OK;
        return alone ? error_set(err, RC_BUSY,
                                 "'%.150s' is in use: stop 'imago serve', and every command that "
                                 "works on it",
                                 path)
                     : error_set(err, RC_BUSY,
                                 "'%.150s' is being restored; try again when it is "
                                 "done",
                                 path);
    }
    assert(stores->lock_count < STORES_COUNT);
    stores->locks[stores->lock_count++] = fd;
    return RC_OK;
}

enum rc stores_lock(struct stores *stores, struct error *err)
{
    const char *const urls[STORES_COUNT] = {stores->accounts_url, stores->results_url,
                                            stores->images_url, stores->queue_url};
    enum rc rc = RC_OK;
    for (size_t i = 0; i < STORES_COUNT && rc == RC_OK; i++) {
        char path[PATH_MAX];
        stores_path(urls[i], path);
        if (path[0] != '\0')
            rc = lock_folder(stores, path, true, err);
    }
    return rc;
}

struct store {
    uint32_t need;
    const char *name; /* of the setting */
    const char *setting;
    const char *url;
    bool is_open;
};

/* A restore that died before the file was in its place: one made now would be empty, and let
 * everybody in. */
static enum rc check_restored(const char *path, struct error *err)
{
    char staged[PATH_MAX + sizeof(STORES_STAGED)];
    (void)snprintf(staged, sizeof(staged), "%s" STORES_STAGED, path);
    if (path[0] == '\0' || access(path, F_OK) == 0 || access(staged, F_OK) != 0)
        return RC_OK;
    return error_set(err, RC_UNAVAILABLE,
                     "'%.150s' was not restored to its end: run 'imago restore' again, or remove "
                     "the file to begin with nothing",
                     staged);
}

static enum rc prepare(struct stores *stores, const struct store *store, bool create,
                       struct error *err)
{
    if (store->url[0] == '\0')
        return error_set(err, RC_INVALID,
                         "--%s is none, or --results is: this works where they are kept only; "
                         "say where, as given to 'imago serve'",
                         store->name);
    char path[PATH_MAX];
    stores_path(store->url, path);
    if (create && store->setting[0] == '\0') {
        enum rc rc = stores_make_data(stores->settings, err);
        if (rc != RC_OK)
            return rc;
    }
    if (!create && path[0] != '\0' && access(path, F_OK) != 0)
        return error_set(err, errno == ENOENT ? RC_NOT_FOUND : RC_UNAVAILABLE,
                         "'%.100s': %s. Run this where 'imago serve' runs, or give its --data DIR "
                         "or --%s URL",
                         path, strerror(errno), store->name);
    enum rc rc = path[0] != '\0' ? lock_folder(stores, path, false, err) : RC_OK;
    return rc == RC_OK && create ? check_restored(path, err) : rc;
}

static enum rc open_one(struct stores *stores, const struct store *store, bool read_only,
                        struct error *err)
{
    char url[STORES_URL_SIZE + 16];
    bool marked = read_only && strncmp(store->url, "sqlite:", strlen("sqlite:")) == 0;
    (void)snprintf(url, sizeof(url), "%s%s", store->url,
                   !marked                           ? ""
                   : strchr(store->url, '?') != NULL ? "&mode=ro"
                                                     : "?mode=ro");
    struct account_config account = {
        .url = url, .jwt = stores->jwt, .cache_ms = CREDENTIALS_KEPT_MS};
    struct blob_config blob = {.url = url};
    struct queue_config queue = {.url = url};
    switch (store->need) {
    case STORE_ACCOUNTS:
        return account_open(&account, &stores->account, err);
    case STORE_RESULTS:
        return results_open(url, &stores->results, err);
    case STORE_IMAGES:
        return blob_open(&blob, &stores->blob, err);
    default:
        return queue_open(&queue, &stores->queue, err);
    }
}

enum rc stores_open(struct stores *stores, uint32_t needs, struct error *err)
{
    const struct stores_settings *settings = stores->settings;
    const struct store all[STORES_COUNT] = {
        {STORE_ACCOUNTS, "accounts", settings->accounts, stores->accounts_url,
         stores->account != NULL},
        {STORE_RESULTS, "results", settings->results, stores->results_url, stores->results != NULL},
        {STORE_IMAGES, "images", settings->images, stores->images_url, stores->blob != NULL},
        {STORE_QUEUE, "queue", settings->queue, stores->queue_url, stores->queue != NULL}};
    enum rc rc = RC_OK;
    for (size_t i = 0; i < STORES_COUNT && rc == RC_OK; i++) {
        if ((needs & all[i].need) == 0 || all[i].is_open)
            continue;
        rc = prepare(stores, &all[i], (needs & STORE_CREATE) != 0, err);
        if (rc == RC_OK)
            rc = open_one(stores, &all[i], (needs & STORE_READ_ONLY) != 0, err);
    }
    return rc;
}

void stores_close(struct stores *stores)
{
    queue_free(stores->queue);
    blob_free(stores->blob);
    results_free(stores->results);
    account_free(stores->account);
    for (uint32_t i = 0; i < stores->lock_count; i++)
        (void)close(stores->locks[i]);
    stores->queue = NULL;
    stores->blob = NULL;
    stores->results = NULL;
    stores->account = NULL;
    stores->lock_count = 0;
}
