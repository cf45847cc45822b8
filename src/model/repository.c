/* SPDX-License-Identifier: Apache-2.0
 * repository.c - finds the models below a folder, and among them the one that a request asks for.
 */
#include "model/loaded.h"
#include "model/spec.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MODEL_COUNT_MAX 256u  /* versions of all names */
#define ENTRY_COUNT_MAX 4096u /* looked at in one folder */
#define ENTRY_SIZE_MAX  80

struct model_repository {
    uint32_t count;
    uint32_t default_index;
    struct model *models[MODEL_COUNT_MAX]; /* by name, then version */
};

/* The sub-folders of a folder, sorted. */
struct listing {
    uint32_t count;
    char names[MODEL_COUNT_MAX][ENTRY_SIZE_MAX];
};

static int compare_names(const void *a, const void *b) { return strcmp(a, b); }

/* Kubernetes mounts a folder as links to "..data": links are followed, dotfiles are not looked at.
 * A fresh disk has a "lost+found". */
static bool is_ours(int dir, const struct dirent *entry)
{
    struct stat stat;
    return entry->d_name[0] != '.' && strcmp(entry->d_name, "lost+found") != 0 &&
           fstatat(dir, entry->d_name, &stat, 0) == 0 && S_ISDIR(stat.st_mode);
}

static enum rc list(const char *path, bool (*fits)(const char *name), struct listing *into,
                    struct error *err)
{
    uint32_t seen = 0;
    enum rc rc = RC_OK;
    into->count = 0;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return error_set(err, RC_NOT_FOUND, "%s: %s", path, strerror(errno));
    for (struct dirent *entry; rc == RC_OK && (entry = readdir(dir)) != NULL; seen++) {
        if (seen == ENTRY_COUNT_MAX)
            rc = error_set(err, RC_INVALID, "%s: more than %u entries", path, ENTRY_COUNT_MAX);
        else if (!is_ours(dirfd(dir), entry))
            continue;
        else if (!fits(entry->d_name))
            rc = error_set(err, RC_INVALID, "%s/%.80s: a folder here must be named as a model is",
                           path, entry->d_name);
        else if (into->count == MODEL_COUNT_MAX)
            rc = error_set(err, RC_INVALID, "%s: more than %u models", path, MODEL_COUNT_MAX);
        else
            (void)snprintf(into->names[into->count++], ENTRY_SIZE_MAX, "%.79s", entry->d_name);
    }
    (void)closedir(dir);
    qsort(into->names, into->count, sizeof(into->names[0]), compare_names);
    return rc;
}

static enum rc load_versions(struct model_repository *repository, const char *dir, const char *name,
                             struct listing *versions, struct error *err)
{
    char path[PATH_MAX], version_path[PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (size < 0 || (size_t)size >= sizeof(path) - ENTRY_SIZE_MAX)
        return error_set(err, RC_INVALID, "%.160s: the path is too long", dir);
    enum rc rc = list(path, model_version_fits, versions, err);
    if (rc == RC_OK && versions->count == 0)
        rc = error_set(err, RC_INVALID, "%s: the model has no version: make %s/1", path, path);
    for (uint32_t i = 0; i < versions->count && rc == RC_OK; i++) {
        if (repository->count == MODEL_COUNT_MAX)
            return error_set(err, RC_INVALID, "%s: more than %u models", dir, MODEL_COUNT_MAX);
        (void)snprintf(version_path, sizeof(version_path), "%.*s/%s", size, path,
                       versions->names[i]);
        rc = model_load(version_path, name, versions->names[i],
                        &repository->models[repository->count], err);
        if (rc == RC_OK)
            repository->count++;
        else if (rc == RC_NOT_FOUND) {
            rc = RC_INVALID; /* NOT_FOUND is kept for a repository without models */
            if (err != NULL)
                err->rc = rc;
        }
    }
    return rc;
}

static int compare_models(const void *a, const void *b)
{
    const struct model *first = *(struct model *const *)a, *second = *(struct model *const *)b;
    int order = strcmp(first->spec.name, second->spec.name);
    return order != 0 ? order : model_version_compare(first->spec.version, second->spec.version);
}

static enum rc load_all(struct model_repository *repository, const char *dir, struct error *err)
{
    /* Two listings, too large for a stack. */
    struct listing *listings = calloc(2, sizeof(*listings));
    if (listings == NULL)
        return error_set(err, RC_NO_MEMORY, "%s", dir);
    enum rc rc = list(dir, model_name_fits, &listings[0], err);
    for (uint32_t i = 0; i < listings[0].count && rc == RC_OK; i++)
        rc = load_versions(repository, dir, listings[0].names[i], &listings[1], err);
    free(listings);
    if (rc == RC_OK && repository->count == 0)
        rc = error_set(err, RC_NOT_FOUND, "%s: no model; one lies in %s/NAME/VERSION/model.yaml",
                       dir, dir);
    return rc;
}

/* The default model's network is opened here, so that a broken one stops the start; and those
 * without labels, whose number of classes only the network tells. */
static enum rc open_networks(struct model_repository *repository, struct error *err)
{
    struct network *network = NULL;
    enum rc rc = model_network(repository->models[repository->default_index], &network, err);
    for (uint32_t i = 0; i < repository->count && rc == RC_OK; i++)
        if (repository->models[i]->labels.count == 0)
            rc = model_network(repository->models[i], &network, err);
    return rc;
}

enum rc model_repository_open(const struct model_repository_config *config, struct engine *engine,
                              struct model_repository **ret_repository, struct error *err)
{
    assert(config != NULL && config->dir != NULL && engine != NULL && ret_repository != NULL);
    const char *name = config->default_name != NULL ? config->default_name : "";
    const struct model *chosen = NULL;
    struct model_repository *repository = calloc(1, sizeof(*repository));
    if (repository == NULL)
        return error_set(err, RC_NO_MEMORY, "%s", config->dir);
    enum rc rc = load_all(repository, config->dir, err);
    qsort(repository->models, repository->count, sizeof(repository->models[0]), compare_models);
    for (uint32_t i = 0; i < repository->count; i++) {
        repository->models[i]->index = i;
        repository->models[i]->engine = engine;
        repository->models[i]->batch_max = config->batch_max;
    }
    if (rc == RC_OK && name[0] == '\0')
        name = repository->models[0]->spec.name;
    if (rc == RC_OK)
        rc = model_find(repository, bytes_of(name), (struct bytes){0}, &chosen, err);
    if (rc == RC_OK) {
        repository->default_index = chosen->index;
        rc = open_networks(repository, err);
    }
    if (rc == RC_OK)
        *ret_repository = repository;
    else
        model_repository_free(repository);
    return rc;
}

void model_repository_free(struct model_repository *repository)
{
    if (repository == NULL)
        return;
    for (uint32_t i = 0; i < repository->count; i++)
        model_free(repository->models[i]);
    free(repository);
}

uint32_t model_count(const struct model_repository *repository) { return repository->count; }

const struct model *model_at(const struct model_repository *repository, uint32_t index)
{
    assert(index < repository->count);
    return repository->models[index];
}

static bool is_named(const struct model *model, struct bytes name)
{
    return bytes_equal(bytes_of(model->spec.name), name);
}

/* "a, b, c": the names, or the versions of `name`. */
static void list_choices(const struct model_repository *repository, const struct bytes *name,
                         char *into, size_t room)
{
    const char *last = "";
    size_t size = 0;
    into[0] = '\0';
    for (uint32_t i = 0; i < repository->count && size + 1 < room; i++) {
        const struct model *model = repository->models[i];
        const char *text = name != NULL ? model->spec.version : model->spec.name;
        if (name != NULL ? !is_named(model, *name) : strcmp(text, last) == 0)
            continue;
        int more = snprintf(into + size, room - size, "%s%s", size > 0 ? ", " : "", text);
        size += more > 0 ? (size_t)more : 0;
        last = text;
    }
}

enum rc model_find(const struct model_repository *repository, struct bytes name,
                   struct bytes version, const struct model **ret_model, struct error *err)
{
    const struct model *found = NULL;
    char choices[160];
    bool known = false;
    if (name.size == 0)
        name = bytes_of(repository->models[repository->default_index]->spec.name);
    for (uint32_t i = 0; i < repository->count; i++) {
        const struct model *model = repository->models[i];
        if (!is_named(model, name))
            continue;
        known = true;
        /* Versions rise, so the last that fits is the highest. */
        if (version.size == 0 || bytes_equal(bytes_of(model->spec.version), version))
            found = model;
    }
    if (found != NULL) {
        *ret_model = found;
        return RC_OK;
    }
    list_choices(repository, known ? &name : NULL, choices, sizeof(choices));
    if (!known)
        return error_set(err, RC_NOT_FOUND, "there is no model '%.*s'; there are: %s",
                         name.size < 64 ? (int)name.size : 64, (const char *)name.data, choices);
    return error_set(err, RC_NOT_FOUND, "model '%.*s' has no version '%.*s'; it has: %s",
                     (int)name.size, (const char *)name.data,
                     version.size < 32 ? (int)version.size : 32, (const char *)version.data,
                     choices);
}
