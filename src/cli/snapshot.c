/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/snapshot.h"

#include "api/answer.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST   "manifest.json"
#define FORMAT     1
#define CHUNK_SIZE (1u << 20)

static const struct {
    uint32_t need;
    const char *name;
} stores[] = {{STORE_RESULTS, "results"}, {STORE_ACCOUNTS, "accounts"}, {STORE_QUEUE, "queue"}};
#define STORE_NAME_COUNT (sizeof(stores) / sizeof(stores[0]))

enum rc snapshot_path(const char *dir, const char *file, char into[PATH_MAX], struct error *err)
{
    return snprintf(into, PATH_MAX, "%s/%s", dir, file) < PATH_MAX
               ? RC_OK
               : error_set(err, RC_INVALID, "'%.100s...' is over %d characters", dir, PATH_MAX - 1);
}

enum rc snapshot_sync_folder(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum rc rc = RC_OK;
    if (fd < 0 || fsync(fd) != 0)
        rc = error_set(err, RC_UNAVAILABLE, "'%.150s': %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

static enum rc hash_file(int fd, uint64_t *ret_size, uint8_t ret_sha256[32])
{
    uint8_t *chunk = malloc(CHUNK_SIZE);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    enum rc rc = RC_NO_MEMORY;
    ssize_t got = 1;
    *ret_size = 0;
    if (chunk == NULL || md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
        goto out;
    rc = RC_OK;
    while (rc == RC_OK && got > 0) {
        got = read(fd, chunk, CHUNK_SIZE);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got < 0)
            rc = RC_UNAVAILABLE;
        else if (EVP_DigestUpdate(md, chunk, (size_t)got) != 1)
            rc = RC_NO_MEMORY;
        else
            *ret_size += (uint64_t)got;
    }
    if (rc == RC_OK && EVP_DigestFinal_ex(md, ret_sha256, NULL) != 1)
        rc = RC_NO_MEMORY;
out:
    EVP_MD_CTX_free(md);
    free(chunk);
    return rc;
}

enum rc snapshot_measure(const char *dir, struct snapshot_database *database, struct error *err)
{
    char path[PATH_MAX];
    enum rc rc = snapshot_path(dir, database->file, path, err);
    if (rc != RC_OK)
        return rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    rc = fd < 0 ? RC_UNAVAILABLE : hash_file(fd, &database->size, database->sha256);
    if (rc != RC_OK)
        rc = error_set(err, rc, "'%.150s': %s", path,
                       rc == RC_NO_MEMORY ? "no memory" : strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

enum rc snapshot_check(const char *dir, const struct snapshot_database *database, struct error *err)
{
    struct snapshot_database found = *database;
    enum rc rc = snapshot_measure(dir, &found, err);
    if (rc == RC_OK && (found.size != database->size ||
                        memcmp(found.sha256, database->sha256, sizeof(found.sha256)) != 0))
        rc = error_set(err, RC_INTERNAL,
                       "'%.100s/%s' is not the file that the backup made: it was changed or is "
                       "damaged; take another backup",
                       dir, database->file);
    return rc;
}

static json_t *database_json(const struct snapshot_database *database)
{
    char hash[SHA256_TEXT_SIZE];
    json_t *holds = json_array();
    sha256_text(database->sha256, hash);
    for (size_t i = 0; i < STORE_NAME_COUNT; i++)
        if ((database->holds & stores[i].need) != 0)
            (void)json_array_append_new(holds, json_string(stores[i].name));
    return json_pack("{s:s, s:o, s:I, s:s}", "file", database->file, "holds", holds, "size",
                     (json_int_t)database->size, "sha256", hash);
}

static json_t *manifest_json(const struct snapshot *snapshot)
{
    json_t *databases = json_array();
    for (uint32_t i = 0; i < snapshot->database_count; i++)
        (void)json_array_append_new(databases, database_json(&snapshot->databases[i]));
    json_t *pictures = json_null();
    if (snapshot->has_pictures)
        pictures = json_pack("{s:I, s:I, s:I, s:I}", "count", (json_int_t)snapshot->picture_count,
                             "size", (json_int_t)snapshot->picture_size, "missing",
                             (json_int_t)snapshot->missing_count, "damaged",
                             (json_int_t)snapshot->damaged_count);
    return json_pack("{s:i, s:b, s:s, s:s, s:o, s:o}", "format", FORMAT, "complete",
                     (int)snapshot->complete, "version", snapshot->version, "created_at",
                     snapshot->created, "databases", databases, "images", pictures);
}

static enum rc write_text(const char *path, const char *text, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t size = strlen(text);
    enum rc rc = RC_OK;
    if (fd < 0 || write(fd, text, size) != (ssize_t)size || fsync(fd) != 0)
        rc = error_set(err, RC_UNAVAILABLE, "'%.150s': %s", path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

enum rc snapshot_write(const char *dir, const struct snapshot *snapshot, struct error *err)
{
    char path[PATH_MAX];
    char part[PATH_MAX];
    enum rc rc = snapshot_path(dir, MANIFEST, path, err);
    if (rc == RC_OK)
        rc = snapshot_path(dir, MANIFEST ".part", part, err);
    if (rc != RC_OK)
        return rc;
    json_t *manifest = manifest_json(snapshot);
    char *text = manifest != NULL ? json_dumps(manifest, JSON_INDENT(2)) : NULL;
    json_decref(manifest);
    if (text == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the manifest");
    rc = write_text(part, text, err);
    if (rc == RC_OK && rename(part, path) != 0)
        rc = error_set(err, RC_UNAVAILABLE, "'%.150s': %s", path, strerror(errno));
    if (rc == RC_OK)
        rc = snapshot_sync_folder(dir, err);
    free(text);
    return rc;
}

static bool hex_octets(const char *text, uint8_t *into, size_t size)
{
    if (strlen(text) != 2 * size || strspn(text, "0123456789abcdef") != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        unsigned octet = 0;
        (void)sscanf(text + 2 * i, "%2x", &octet);
        into[i] = (uint8_t)octet;
    }
    return true;
}

static bool read_database(json_t *row, struct snapshot_database *into)
{
    const char *file = NULL;
    const char *hash = NULL;
    json_t *holds = NULL;
    json_t *name = NULL;
    json_int_t size = 0;
    size_t index;
    if (json_unpack(row, "{s:s, s:o, s:I, s:s}", "file", &file, "holds", &holds, "size", &size,
                    "sha256", &hash) != 0 ||
        size < 0 || strchr(file, '/') != NULL || file[0] == '.' ||
        strlen(file) >= sizeof(into->file) || !hex_octets(hash, into->sha256, 32))
        return false;
    (void)snprintf(into->file, sizeof(into->file), "%s", file);
    into->size = (uint64_t)size;
    json_array_foreach(holds, index, name)
    {
        for (size_t i = 0; i < STORE_NAME_COUNT; i++)
            if (json_is_string(name) && strcmp(json_string_value(name), stores[i].name) == 0)
                into->holds |= stores[i].need;
    }
    return into->holds != 0;
}

static bool read_manifest(json_t *manifest, struct snapshot *into)
{
    const char *version = NULL;
    const char *created = NULL;
    json_t *databases = NULL;
    json_t *pictures = NULL;
    json_t *row = NULL;
    int complete = 0;
    int format = 0;
    size_t index;
    if (json_unpack(manifest, "{s:i, s:b, s:s, s:s, s:o, s:o}", "format", &format, "complete",
                    &complete, "version", &version, "created_at", &created, "databases", &databases,
                    "images", &pictures) != 0 ||
        format != FORMAT || json_array_size(databases) > 3)
        return false;
    into->complete = complete != 0;
    (void)snprintf(into->version, sizeof(into->version), "%s", version);
    (void)snprintf(into->created, sizeof(into->created), "%s", created);
    json_array_foreach(databases, index, row)
    {
        if (!read_database(row, &into->databases[into->database_count++]))
            return false;
    }
    json_int_t counts[4] = {0};
    if (json_is_null(pictures))
        return true;
    into->has_pictures = true;
    if (json_unpack(pictures, "{s:I, s:I, s:I, s:I}", "count", &counts[0], "size", &counts[1],
                    "missing", &counts[2], "damaged", &counts[3]) != 0)
        return false;
    into->picture_count = (uint64_t)counts[0];
    into->picture_size = (uint64_t)counts[1];
    into->missing_count = (uint64_t)counts[2];
    into->damaged_count = (uint64_t)counts[3];
    return true;
}

enum rc snapshot_read(const char *dir, struct snapshot *ret_snapshot, struct error *err)
{
    char path[PATH_MAX];
    enum rc rc = snapshot_path(dir, MANIFEST, path, err);
    if (rc != RC_OK)
        return rc;
    if (access(path, R_OK) != 0)
        return error_set(err, errno == ENOENT ? RC_NOT_FOUND : RC_UNAVAILABLE,
                         "'%.150s': %s; a folder that 'imago backup' wrote has it", path,
                         strerror(errno));
    struct snapshot snapshot = {0};
    json_error_t why;
    json_t *manifest = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (manifest == NULL || !read_manifest(manifest, &snapshot))
        rc = error_set(err, RC_INVALID, "'%.150s' is not a manifest of this program's backups",
                       path);
    json_decref(manifest);
    if (rc == RC_OK)
        *ret_snapshot = snapshot;
    return rc;
}
