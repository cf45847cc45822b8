/* SPDX-License-Identifier: Apache-2.0
 * doctor_host.c - the machine: folder, disk, addresses, limits, clock; and the models. */
#include "cli/doctor.h"
#include "cli/loopback.h"
#include "cli/models_dir.h"
#include "cli/progress.h"

#include "base/clock.h"
#include "model/model.h"
#include "net/http.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FREE_LEAST   (100ull << 20)
#define FREE_LITTLE  (1ull << 30)
#define FILES_LITTLE 10000u
#define FILES_OTHER  256u             /* besides connections: databases, pictures, models */
#define NOT_BEFORE   1735689600000ull /* 2025-01-01: this program is younger */
#define AHEAD_MS     60000u

static const struct {
    uint32_t type; /* statfs's f_type */
    enum finding finding;
    const char *name;
    const char *advice;
} file_systems[] = {
    {0x6969, FINDING_FAIL, "NFS", "Databases must lie on a local disk: move --data"},
    {0xff534d42, FINDING_FAIL, "SMB", "Databases must lie on a local disk: move --data"},
    {0xfe534d42, FINDING_FAIL, "SMB", "Databases must lie on a local disk: move --data"},
    {0x65735546, FINDING_WARN, "FUSE", "Make sure that it has locks and a true fsync()"},
    {0x01021994, FINDING_WARN, "tmpfs", "It is memory: all is gone when the machine restarts"},
    {0x794c7630, FINDING_WARN, "overlayfs", "A container's own layer goes with it: mount a volume"},
};

static void check_file_system(struct doctor *doctor, const char *path)
{
    struct statfs status;
    struct statvfs space;
    if (statfs(path, &status) != 0 || statvfs(path, &space) != 0) {
        doctor_say(doctor, FINDING_FAIL, "disk", "", "'%s': %s", path, strerror(errno));
        return;
    }
    size_t i = 0;
    size_t count = sizeof(file_systems) / sizeof(file_systems[0]);
    while (i < count && file_systems[i].type != (uint32_t)status.f_type)
        i++;
    if ((space.f_flag & ST_RDONLY) != 0)
        doctor_say(doctor, FINDING_FAIL, "file system",
                   "Mount it so that it can be written; a server cannot start on it",
                   "'%s' is mounted read-only", path);
    else if (i < count)
        doctor_say(doctor, file_systems[i].finding, "file system", file_systems[i].advice,
                   "'%s' is on %s", path, file_systems[i].name);
    else
        doctor_say(doctor, FINDING_OK, "file system", "", "local (type %lx)",
                   (unsigned long)status.f_type);
    uint64_t left = (uint64_t)space.f_bavail * space.f_frsize;
    bool no_names = space.f_files > 0 && space.f_favail < FILES_LITTLE;
    doctor_say(doctor,
               left < FREE_LEAST                ? FINDING_FAIL
               : left < FREE_LITTLE || no_names ? FINDING_WARN
                                                : FINDING_OK,
               "free space", left < FREE_LITTLE || no_names ? "Make room" : "", "%.1f GB%s",
               (double)left / 1e9, no_names ? ", and few files more" : "");
}

void doctor_data(struct doctor *doctor)
{
    const char *path = doctor->settings->stores.data;
    struct stat status;
    if (stat(path, &status) != 0 && errno == ENOENT) {
        doctor_say(doctor, FINDING_WARN, "data folder",
                   "The server makes it when it starts; if it is elsewhere, say --data",
                   "'%s' is not there", path);
        return;
    }
    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
        doctor_say(doctor, FINDING_FAIL, "data folder", "Name a folder with --data", "'%s': %s",
                   path, S_ISDIR(status.st_mode) ? strerror(errno) : "not a folder");
    else if (access(path, R_OK | W_OK | X_OK) != 0 && errno != EROFS) /* told below */
        doctor_say(doctor, FINDING_FAIL, "data folder",
                   "Give it to the user who runs the server, and run this as that user", "'%s': %s",
                   path, strerror(errno));
    else if ((status.st_mode & 0077) != 0)
        doctor_say(doctor, FINDING_WARN, "data folder", "chmod 700 keeps others out",
                   "'%s' is open to other users (mode %03o)", path, status.st_mode & 0777);
    else
        doctor_say(doctor, FINDING_OK, "data folder", "", "'%s'", path);
    check_file_system(doctor, path);
}

static void check_address(struct doctor *doctor, const char *check, const char *listen)
{
    struct error err = {0};
    bool in_use;
    enum rc rc = http_listen_try(listen, &in_use, &err);
    if (rc == RC_OK)
        doctor_say(doctor, FINDING_OK, check, "", "%s is free", listen);
    else if (in_use)
        doctor_say(doctor, FINDING_WARN, check,
                   "Fine if it is the server that runs; else take another port", "%s is in use",
                   listen);
    else
        doctor_say(doctor, FINDING_FAIL, check,
                   "Ports under 1024 need a privilege; an address must be this machine's", "%s",
                   err.text);
}

void doctor_listen(struct doctor *doctor)
{
    const struct settings *settings = doctor->settings;
    bool ever = false;
    bool known = doctor->stores.account == NULL
                     ? !doctor->accounts_unread
                     : account_ever(doctor->stores.account, &ever, NULL) == RC_OK;
    check_address(doctor, "listen", settings->listen);
    if (settings->admin_listen[0] != '\0')
        check_address(doctor, "admin listen", settings->admin_listen);
    if (!known)
        return; /* the accounts have been complained of */
    if (ever || settings->jwt_issuer[0] != '\0')
        doctor_say(doctor, FINDING_OK, "access", "", "clients need a key or a token");
    else if (listen_is_loopback(settings->listen))
        doctor_say(doctor, FINDING_OK, "access", "",
                   "no key was ever made: every program of this machine may use it, nobody else");
    else
        doctor_say(doctor, FINDING_FAIL, "access", "Run 'imago key create' first",
                   "no key was ever made, and %s can be reached from elsewhere: the server will "
                   "not start",
                   settings->listen);
}

void doctor_limits(struct doctor *doctor)
{
    struct rlimit files = {0};
    uint64_t needed = (uint64_t)doctor->settings->connections + FILES_OTHER;
    (void)getrlimit(RLIMIT_NOFILE, &files);
    bool enough = files.rlim_max == RLIM_INFINITY || files.rlim_max >= needed;
    doctor_say(doctor, enough ? FINDING_OK : FINDING_WARN, "open files",
               enough ? "" : "Raise it (ulimit -Hn), or lower --connections",
               "%" PRIu64 " allowed, %" PRIu64 " may be needed", (uint64_t)files.rlim_max, needed);
}

void doctor_clock(struct doctor *doctor)
{
    char now[CLOCK_TEXT_SIZE];
    char newest[CLOCK_TEXT_SIZE];
    struct timex state = {0};
    clock_wall_text(doctor->now_ms, now);
    clock_wall_text(doctor->newest_ms, newest);
    if (doctor->now_ms < NOT_BEFORE)
        doctor_say(doctor, FINDING_FAIL, "clock", "Set it", "%s is in the past", now);
    else if (doctor->newest_ms > doctor->now_ms + AHEAD_MS)
        doctor_say(doctor, FINDING_FAIL, "clock", "Set it; ids and days of usage go by it",
                   "it says %s, but there is a prediction of %s", now, newest);
    else if (adjtimex(&state) >= 0 && (state.status & STA_UNSYNC) != 0)
        doctor_say(doctor, FINDING_WARN, "clock", "Run chrony or systemd-timesyncd on the host",
                   "%s; nothing keeps it right", now);
    else
        doctor_say(doctor, FINDING_OK, "clock", "", "%s", now);
}

void doctor_models(struct doctor *doctor)
{
    const struct settings *settings = doctor->settings;
    char dir[PATH_MAX] = "";
    struct error err = {0};
    struct engine *engine = NULL;
    struct model_repository *repository = NULL;
    struct engine_config engine_config = {.driver = settings->engine, .stream_count = 1};
    struct model_repository_config config = {
        .dir = dir, .default_name = settings->model, .batch_max = settings->batch};
    enum rc rc = models_dir_find(settings->models, dir, &err);
    if (rc == RC_OK)
        rc = engine_open(&engine_config, &engine, &err);
    if (rc == RC_OK)
        rc = model_repository_open(&config, engine, &repository, &err);
    if (rc != RC_OK)
        doctor_say(doctor, FINDING_FAIL, "models", "'imago model list' must show them", "%s",
                   err.text);
    struct progress progress;
    uint32_t count = rc == RC_OK ? model_count(repository) : 0;
    progress_init(&progress, "models", count);
    for (uint32_t i = 0; i < count; i++) {
        const struct model *model = model_at(repository, i);
        struct network *network = NULL;
        enum rc loaded = model_network(model, &network, &err);
        progress_done(&progress);
        if (loaded == RC_OK)
            doctor_say(doctor, FINDING_OK, "model", "", "%s version %s loads", model_name(model),
                       model_version(model));
        else
            doctor_say(doctor, FINDING_FAIL, "model", "Replace or remove it", "%s version %s: %s",
                       model_name(model), model_version(model), err.text);
    }
    model_repository_free(repository);
    engine_free(engine);
}
