/* SPDX-License-Identifier: Apache-2.0
 * snapshot.h - what `imago backup` leaves in its folder and `imago restore` reads: manifest.json,
 * the databases it names, and images/, a store of pictures like the server's.
 *
 * The manifest is replaced when all it names is on the disk, so a backup that was cut short leaves
 * the one before it as it was. */
#ifndef CLI_SNAPSHOT_H
#define CLI_SNAPSHOT_H
#include "base/clock.h"
#include "cli/stores.h"

#define SNAPSHOT_PICTURES  "images"
#define SNAPSHOT_FILE_SIZE 64

struct snapshot_database {
    char file[SNAPSHOT_FILE_SIZE]; /* in the folder */
    uint32_t holds;                /* STORE_... */
    uint64_t size;
    uint8_t sha256[32];
};

struct snapshot {
    bool complete; /* false: the first backup has not come to its end yet */
    char version[32];
    char created[CLOCK_TEXT_SIZE];
    struct snapshot_database databases[3];
    uint32_t database_count;
    bool has_pictures;
    uint64_t picture_count;
    uint64_t picture_size;
    uint64_t missing_count; /* predictions whose picture had been lost before */
    uint64_t damaged_count; /* pictures that were damaged and so are not in it */
};

/* NOT_FOUND: the folder has no manifest. INVALID: it is no manifest of ours. */
NODISCARD enum rc snapshot_read(const char *dir, struct snapshot *ret_snapshot, struct error *err);
/* On the disk when it returns. */
NODISCARD enum rc snapshot_write(const char *dir, const struct snapshot *snapshot,
                                 struct error *err);
/* A file of `dir` against what the manifest says: INTERNAL if it is another one. */
NODISCARD enum rc snapshot_check(const char *dir, const struct snapshot_database *database,
                                 struct error *err);
/* Fills in size and hash of the file. */
NODISCARD enum rc snapshot_measure(const char *dir, struct snapshot_database *database,
                                   struct error *err);
NODISCARD enum rc snapshot_sync_folder(const char *path, struct error *err);
NODISCARD enum rc snapshot_path(const char *dir, const char *file, char into[PATH_MAX],
                                struct error *err);
#endif
