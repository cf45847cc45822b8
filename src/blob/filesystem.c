/* SPDX-License-Identifier: Apache-2.0
 * filesystem.c - pictures as files: opening, reading, erasing. See filesystem.h for the layout. */
#include "blob/filesystem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

struct filesystem *filesystem_of(struct blob *blob)
{
    assert(blob->ops == &blob_filesystem);
    return (struct filesystem *)blob;
}

/* Before Linux 5.8 syncfs() does not report that writing back failed, and not every file system
 * passes the report on: elsewhere, fsync() of each. */
static bool syncfs_is_sound(int root)
{
    static const unsigned long sound[] = {
        0xef53,     /* ext4 */
        0x58465342, /* XFS */
        0x9123683e, /* Btrfs */
        0xf2f52010, /* F2FS */
        0x01021994, /* tmpfs: nothing survives there anyway */
    };
    struct utsname system;
    struct statfs status;
    if (uname(&system) != 0 || fstatfs(root, &status) != 0)
        return false;
    char *rest = NULL;
    unsigned long major = strtoul(system.release, &rest, 10);
    unsigned long minor = *rest == '.' ? strtoul(rest + 1, NULL, 10) : 0;
    if (major < 5 || (major == 5 && minor < 8))
        return false;
    for (size_t i = 0; i < sizeof(sound) / sizeof(sound[0]); i++)
        if ((unsigned long)status.f_type == sound[i])
            return true;
    return false;
}

/* The folder's own name is made durable here, once for every put. If it was there already, another
 * process may have made it and died: so again, but it need not succeed, as the folder above may be
 * closed to us. */
static enum rc make_root(struct filesystem *fs, struct error *err)
{
    bool is_new = fs->disk->make_folder(AT_FDCWD, fs->root_path, 0700) == 0;
    if (!is_new && errno != EEXIST)
        return disk_error(fs, errno, "making the folder of", NULL, NULL, err);
    char *above = strdup(fs->root_path);
    if (above == NULL)
        return error_set(err, RC_NO_MEMORY, "opening the folder of pictures");
    char *slash = strrchr(above, '/');
    if (slash != NULL)
        slash[slash == above] = '\0';
    int fd = fs->disk->open(AT_FDCWD, slash != NULL ? above : ".", O_RDONLY | O_DIRECTORY, 0);
    enum rc rc = RC_OK;
    if ((fd < 0 || fs->disk->sync(fd) != 0) && is_new)
        rc = disk_error(fs, errno, "making the folder of", NULL, NULL, err);
    if (fd >= 0)
        (void)close(fd);
    free(above);
    return rc;
}

enum sync_choice { SYNC_AUTO, SYNC_ALL, SYNC_EACH };

/* "/folder", "/folder?sync=each". Takes the option off. */
static enum rc parse_place(char *place, enum sync_choice *ret_choice, struct error *err)
{
    static const char *const texts[] = {
        [SYNC_AUTO] = "?sync=auto", [SYNC_ALL] = "?sync=all", [SYNC_EACH] = "?sync=each"};
    char *option = strrchr(place, '?');
    *ret_choice = SYNC_AUTO;
    if (option != NULL) {
        size_t i = 0;
        while (i < sizeof(texts) / sizeof(texts[0]) && strcmp(option, texts[i]) != 0)
            i++;
        if (i == sizeof(texts) / sizeof(texts[0]))
            return error_set(err, RC_INVALID, "file:%s: only ?sync=auto, all or each may follow",
                             place);
        *ret_choice = (enum sync_choice)i;
        *option = '\0';
    }
    size_t size = strlen(place);
    while (size > 1 && place[size - 1] == '/')
        place[--size] = '\0';
    if (size == 0)
        return error_set(err, RC_INVALID, "file: a folder must follow, as in file:/var/lib/imago");
    return RC_OK;
}

static void filesystem_free(struct blob *blob)
{
    struct filesystem *fs = filesystem_of(blob);
    if (fs->root >= 0)
        (void)close(fs->root);
    (void)pthread_mutex_destroy(&fs->mutex);
    free(fs->root_path);
    free(fs);
}

enum rc filesystem_open_on(const struct disk_ops *disk, const char *place, struct blob **ret_blob,
                           struct error *err)
{
    enum sync_choice choice = SYNC_AUTO;
    struct filesystem *fs = calloc(1, sizeof(*fs));
    if (fs == NULL)
        return error_set(err, RC_NO_MEMORY, "opening the folder of pictures");
    fs->base.ops = &blob_filesystem;
    fs->disk = disk;
    fs->root = -1;
    fs->root_path = strdup(place);
    (void)pthread_mutex_init(&fs->mutex, NULL);
    enum rc rc = fs->root_path != NULL
                     ? RC_OK
                     : error_set(err, RC_NO_MEMORY, "opening the folder of pictures");
    if (rc == RC_OK)
        rc = parse_place(fs->root_path, &choice, err);
    if (rc == RC_OK)
        rc = make_root(fs, err);
    if (rc == RC_OK) {
        /* The root itself may be a link: where it lies is the operator's choice. */
        fs->root = disk->open(AT_FDCWD, fs->root_path, O_RDONLY | O_DIRECTORY, 0);
        if (fs->root < 0)
            rc = disk_error(fs, errno, "opening the folder of", NULL, NULL, err);
    }
    if (rc == RC_OK && getrandom(&fs->nonce, sizeof(fs->nonce), 0) != sizeof(fs->nonce))
        rc = error_set(err, RC_UNAVAILABLE, "the kernel gives no random numbers");
    if (rc != RC_OK) {
        filesystem_free(&fs->base);
        return rc;
    }
    fs->sync_all = choice == SYNC_ALL || (choice == SYNC_AUTO && syncfs_is_sound(fs->root));
    atomic_init(&fs->is_named, access("/proc/self/fd", F_OK) != 0);
    *ret_blob = &fs->base;
    return RC_OK;
}

static enum rc filesystem_open(const char *place, struct blob **ret_blob, struct error *err)
{
    return filesystem_open_on(&disk_kernel, place, ret_blob, err);
}

/* An absent folder and an absent picture are one answer. */
static enum rc absent(const char *tenant, struct error *err)
{
    return error_set(err, RC_NOT_FOUND, "tenant %s has no such picture", tenant);
}

static enum rc open_picture(struct filesystem *fs, const char *tenant, const uint8_t *sha256,
                            int *ret_fd, struct stat *ret_status, struct error *err)
{
    char name[PICTURE_NAME_SIZE];
    hex_text(sha256, BLOB_SHA256_SIZE, name);
    int folder = folder_open(fs, tenant, sha256, LEVEL_LAST, false);
    int fd = folder >= 0 ? fs->disk->open(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0) : -1;
    enum rc rc = RC_OK;
    if (fd < 0)
        rc = errno == ENOENT ? absent(tenant, err)
                             : disk_error(fs, errno, "reading", tenant, sha256, err);
    else if (fstat(fd, ret_status) != 0)
        rc = disk_error(fs, errno, "reading", tenant, sha256, err);
    else if (!S_ISREG(ret_status->st_mode))
        rc = disk_error(fs, EISDIR, "reading", tenant, sha256, err);
    if (folder >= 0)
        (void)close(folder);
    if (rc == RC_OK)
        *ret_fd = fd;
    else if (fd >= 0)
        (void)close(fd);
    return rc;
}

/* Up to `size` bytes; the file may be shorter, which the hash then shows. -1 and errno. */
static ssize_t read_all(int fd, uint8_t *into, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = read(fd, into + done, size - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static enum rc filesystem_get(struct blob *blob, const char *tenant, const uint8_t *sha256,
                              struct buf *into, struct error *err)
{
    struct filesystem *fs = filesystem_of(blob);
    struct stat status = {0};
    char path[256];
    uint8_t digest[EVP_MAX_MD_SIZE];
    int fd = -1;
    enum rc rc = open_picture(fs, tenant, sha256, &fd, &status, err);
    if (rc != RC_OK)
        return rc;
    size_t size = (size_t)status.st_size;
    rc = buf_reserve(into, size);
    if (rc != RC_OK) {
        (void)close(fd);
        return error_set(err, rc, "no room to read a picture of %zu bytes (at most %zu)", size,
                         into->size_max);
    }
    ssize_t got = size > 0 ? read_all(fd, into->data, size) : 0;
    int number = errno;
    (void)close(fd);
    if (got < 0)
        return disk_error(fs, number, "reading", tenant, sha256, err);
    if ((size_t)got == size &&
        EVP_Digest(into->data, size, digest, NULL, EVP_sha256(), NULL) == 1 &&
        memcmp(digest, sha256, BLOB_SHA256_SIZE) == 0) {
        into->size = size;
        return RC_OK;
    }
    picture_path(fs, tenant, sha256, path, sizeof(path));
    return error_set(err, RC_INTERNAL, "a picture is damaged; restore it from a backup: %s", path);
}

static enum rc filesystem_stat(struct blob *blob, const char *tenant, const uint8_t *sha256,
                               struct blob_info *ret_info, struct error *err)
{
    struct filesystem *fs = filesystem_of(blob);
    struct stat status = {0};
    int fd = -1;
    enum rc rc = open_picture(fs, tenant, sha256, &fd, &status, err);
    if (rc != RC_OK)
        return rc;
    (void)close(fd);
    *ret_info = info_of(&status);
    return RC_OK;
}

/* Under the lock. The folder is synced also when there is nothing: an earlier delete may have
 * removed the name and then failed to sync. */
static enum rc delete_locked(struct filesystem *fs, int folder, const char *tenant,
                             const uint8_t *sha256, uint64_t renewed_before_ms, struct error *err)
{
    char name[PICTURE_NAME_SIZE];
    struct stat status;
    hex_text(sha256, BLOB_SHA256_SIZE, name);
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? absent(tenant, err)
                               : disk_error(fs, errno, "erasing", tenant, sha256, err);
    if (info_of(&status).renewed_ms >= renewed_before_ms)
        return error_set(err, RC_BUSY, "the picture was stored again a moment ago; try later");
    if (fs->disk->unlink(folder, name) != 0)
        return disk_error(fs, errno, "erasing", tenant, sha256, err);
    return RC_OK;
}

static enum rc filesystem_delete(struct blob *blob, const char *tenant, const uint8_t *sha256,
                                 uint64_t renewed_before_ms, struct error *err)
{
    struct filesystem *fs = filesystem_of(blob);
    int folder = folder_open(fs, tenant, sha256, LEVEL_LAST, false);
    if (folder < 0)
        return errno == ENOENT ? absent(tenant, err)
                               : disk_error(fs, errno, "erasing", tenant, sha256, err);
    enum rc rc;
    if (folder_lock(folder, true)) {
        rc = delete_locked(fs, folder, tenant, sha256, renewed_before_ms, err);
        folder_unlock(folder);
    } else {
        rc = disk_error(fs, errno, "locking the folder of", tenant, sha256, err);
    }
    if ((rc == RC_OK || rc == RC_NOT_FOUND) && fs->disk->sync(folder) != 0)
        rc = disk_error(fs, errno, "erasing", tenant, sha256, err);
    (void)close(folder);
    return rc;
}

const struct blob_ops blob_filesystem = {
    .scheme = "file:",
    .open = filesystem_open,
    .free = filesystem_free,
    .put = filesystem_put,
    .get = filesystem_get,
    .stat = filesystem_stat,
    .delete = filesystem_delete,
    .list = filesystem_list,
    .tenant_next = filesystem_tenant_next,
    .sweep = filesystem_sweep,
};
