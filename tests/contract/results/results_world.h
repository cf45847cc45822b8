/* SPDX-License-Identifier: Apache-2.0
 * results_world.h - a store to test, and commits to put into it. RESULTS_URL says which driver; DIR
 * in it becomes a fresh folder. Tenants are new in each world, so that a shared server will do. */
#ifndef TESTS_RESULTS_WORLD_H
#define TESTS_RESULTS_WORLD_H
#include "results/results.h"

#define WORLD_NOW_MS   1764000000000ull
#define MS_PER_DAY     86400000ull
#define WORLD_LEASE_MS 30000u

struct world {
    struct results *results;
    char dir[128];
    char url[256];
    char tenant_text[64];
    char other_text[64];
    struct bytes tenant;
    struct bytes other;
};

void world_open(struct world *world);
void world_reopen(struct world *world);
void world_close(struct world *world); /* removes the folder */
/* Does the URL name files of this machine? Crash tests need that. */
bool world_has_files(void);

/* A plain commit of picture `index` of `request_id`: model m, version 1, label "tabby", class 281.
 */
struct result_commit commit_of(struct bytes tenant, struct id request_id, uint32_t index,
                               uint64_t created_ms);
/* A commit of its own request. */
struct result_commit commit_new(struct bytes tenant, uint64_t created_ms);
/* Packed scores of one class, in a ring of static rooms. */
struct bytes scores_of(uint32_t class_id, float score);
/* Puts one, which must succeed; returns its id. */
struct id must_put(struct world *world, struct result_commit *commit);
/* The tenant's ledger is proven, and has so many rows. */
void must_verify(struct world *world, struct bytes tenant, uint64_t ledger_count,
                 uint64_t prediction_count, uint64_t tombstone_count);

#define MAILBOX_SIZE 8u
struct mailbox {
    struct results_message messages[MAILBOX_SIZE];
    uint32_t count;
};
/* What is due, leased for WORLD_LEASE_MS; only this world's: a shared server may have others'. */
void mailbox_take(struct world *world, struct mailbox *mailbox, uint64_t now_ms);
void mailbox_done(struct mailbox *mailbox);

/* A generator with a seed (RESULTS_SEED, else of the time), printed when it starts. */
uint64_t seed_start(void);
uint64_t random_next(uint64_t *state);
#endif
