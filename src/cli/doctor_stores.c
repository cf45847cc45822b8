/* SPDX-License-Identifier: Apache-2.0
 * doctor_stores.c - databases and pictures. */
#include "cli/doctor.h"
#include "cli/survey.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAMPLE 1000u /* predictions or pictures of a tenant */

/* Whether the server may use a database's file, and others may not. */
static void check_file(struct doctor *doctor, const char *check, const char *path)
{
    struct stat status;
    bool usable = access(path, R_OK | W_OK) == 0;
    if (!usable && errno == EROFS)
        return; /* the whole file system is, which has been told */
    if (!usable)
        doctor_say(doctor, FINDING_FAIL, check, "Give it to the user who runs the server",
                   "'%s': %s", path, strerror(errno));
    else if (stat(path, &status) == 0 && (status.st_mode & 0077) != 0)
        doctor_say(doctor, FINDING_WARN, check, "chmod 600 keeps others out",
                   "'%s' is open to other users (mode %03o)", path, status.st_mode & 0777);
}

static enum rc check(struct doctor *doctor, uint32_t need, bool full, struct error *err)
{
    struct stores *stores = &doctor->stores;
    switch (need) {
    case STORE_RESULTS:
        return results_check(stores->results, full, err);
    case STORE_ACCOUNTS:
        return account_check(stores->account, full, err);
    default:
        return queue_check(stores->queue, full, err);
    }
}

static void check_database(struct doctor *doctor, uint32_t need, const char *name, const char *url,
                           bool full)
{
    struct error err = {0};
    char path[PATH_MAX];
    stores_path(url, path);
    enum rc rc = stores_open(&doctor->stores, need | STORE_READ_ONLY, &err);
    if (rc == RC_NOT_FOUND) {
        doctor_say(doctor, FINDING_WARN, name,
                   "The server makes it when it starts; if it is elsewhere, say --data or its own "
                   "setting",
                   "'%s' %s", path, access(path, F_OK) == 0 ? "has none yet" : "is not there");
        return;
    }
    if (full)
        check_file(doctor, name, path);
    doctor->accounts_unread |= need == STORE_ACCOUNTS && rc != RC_OK;
    if (rc == RC_NOT_IMPLEMENTED) {
        doctor_say(doctor, FINDING_WARN, name,
                   "The server does that when it starts; take a backup with the version that "
                   "wrote it first",
                   "'%s' is to be converted to this version", path);
        return;
    }
    if (rc == RC_OK)
        rc = check(doctor, need, full, &err);
    if (rc == RC_OK)
        doctor_say(doctor, FINDING_OK, name, "", "'%s'%s", path,
                   full ? " is whole" : ", in the same file");
    else
        doctor_say(doctor, FINDING_FAIL, name,
                   rc == RC_INTERNAL ? "If it is damaged: stop the server, 'imago restore'" : "",
                   "%s", err.text);
}

static void check_ledger(struct doctor *doctor)
{
    struct survey_ledger ledger = {0};
    struct error err = {0};
    enum rc rc = survey_verify(doctor->stores.results, &ledger, &err);
    if (rc != RC_OK)
        doctor_say(doctor, FINDING_FAIL, "ledger", "", "%s", err.text);
    else if (ledger.difference_count > 0)
        doctor_say(doctor, FINDING_FAIL, "ledger", "'imago usage verify' shows all of them",
                   "%" PRIu64 " differences: %s", ledger.difference_count, ledger.first);
    else
        doctor_say(doctor, FINDING_OK, "ledger", "",
                   "%" PRIu64 " entries of %" PRIu64 " tenants agree with the predictions",
                   ledger.entry_count, ledger.tenant_count);
}

static void find_newest(struct doctor *doctor)
{
    const struct results_filter all = {0};
    struct result_set set = {0};
    char tenant[RESULT_TENANT_SIZE_MAX + 1] = "";
    while (results_tenant_next(doctor->stores.results, tenant, tenant, NULL) == RC_OK)
        if (results_query(doctor->stores.results, bytes_of(tenant), &all, (struct bytes){0}, 1,
                          &set, NULL) == RC_OK &&
            set.count > 0 && set.items[0].created_ms > doctor->newest_ms)
            doctor->newest_ms = set.items[0].created_ms;
    results_set_done(&set);
}

void doctor_databases(struct doctor *doctor)
{
    const struct stores *stores = &doctor->stores;
    const struct {
        uint32_t need;
        const char *name;
        const char *url;
    } all[] = {{STORE_RESULTS, "results", stores->results_url},
               {STORE_ACCOUNTS, "accounts", stores->accounts_url},
               {STORE_QUEUE, "queue", stores->queue_url}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        bool seen = false; /* a file is read as a whole once */
        for (size_t j = 0; j < i; j++)
            seen = seen || strcmp(all[i].url, all[j].url) == 0;
        if (all[i].url[0] == '\0')
            doctor_say(doctor, FINDING_OK, all[i].name, "", "switched off");
        else
            check_database(doctor, all[i].need, all[i].name, all[i].url, !seen);
    }
    if (stores->results != NULL) {
        check_ledger(doctor);
        find_newest(doctor);
    }
}

void doctor_pictures(struct doctor *doctor)
{
    struct stores *stores = &doctor->stores;
    struct error err = {0};
    char path[PATH_MAX];
    stores_path(stores->images_url, path);
    bool is_folder = path[0] != '\0';
    if (!is_folder) /* without its parameters, as a path is */
        (void)snprintf(path, sizeof(path), "%.*s", (int)strcspn(stores->images_url, "?"),
                       stores->images_url);
    if (stores->images_url[0] == '\0') {
        doctor_say(doctor, FINDING_OK, "pictures", "", "switched off");
        return;
    }
    enum rc rc = stores_open(stores, STORE_IMAGES | STORE_READ_ONLY, &err);
    if (rc == RC_NOT_FOUND) {
        doctor_say(doctor, FINDING_WARN, "pictures", "The server makes it when it starts",
                   "'%s' is not there", path);
        return;
    }
    if (rc == RC_OK && is_folder && access(path, R_OK | W_OK | X_OK) != 0 && errno != EROFS)
        rc = error_set(&err, RC_UNAVAILABLE, "'%s': %s", path, strerror(errno));
    struct survey survey = {.results = stores->results,
                            .blob = stores->blob,
                            .account = stores->account,
                            .now_ms = doctor->now_ms,
                            .limit = doctor->full ? 0 : SAMPLE};
    const char *which = doctor->full ? "all" : "a sample";
    if (rc == RC_OK)
        rc = survey_pictures(&survey, &err);
    if (rc != RC_OK)
        doctor_say(doctor, FINDING_FAIL, "pictures",
                   is_folder ? "Give the folder to the user of the server"
                             : "Compare bucket, region, credentials and policy with docs/s3.md",
                   "%s", err.text);
    else if (survey.damaged_count > 0)
        doctor_say(doctor, FINDING_FAIL, "pictures",
                   "Copy it from images/ of a backup, or erase its predictions",
                   "%" PRIu64 " of %" PRIu64 " are damaged: %s", survey.damaged_count,
                   survey.picture_count, survey.first);
    else
        doctor_say(doctor, FINDING_OK, "pictures", "", "'%s': %s, %" PRIu64 ", are whole", path,
                   which, survey.picture_count);
    if (rc != RC_OK || stores->results == NULL)
        return;
    survey.first[0] = '\0';
    rc = survey_predictions(&survey, &err);
    if (rc != RC_OK)
        doctor_say(doctor, FINDING_FAIL, "predictions", "", "%s", err.text);
    else if (survey.missing_count > 0)
        doctor_say(doctor, FINDING_FAIL, "predictions",
                   "Copy it from images/ of a backup, or erase the prediction",
                   "%" PRIu64 " of %" PRIu64 " have lost their picture: %s", survey.missing_count,
                   survey.prediction_count, survey.first);
    else
        doctor_say(doctor, FINDING_OK, "predictions", "", "%s, %" PRIu64 ", have their picture%s",
                   which, survey.prediction_count,
                   survey.expired_count > 0 ? " or had it as long as the tenant wants" : "");
}
