/* SPDX-License-Identifier: Apache-2.0
 * results_verify() finds every kind of difference: rows are changed behind the store's back. */
#include "check.h"
#include "results_world.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static void tamper(struct world *world, const char *sql)
{
    char path[200];
    sqlite3 *raw = NULL;
    (void)snprintf(path, sizeof(path), "%s/imago.db", world->dir);
    results_free(world->results); /* a second connection in this process would drop its locks */
    world->results = NULL;
    assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
    assert_int_equal(sqlite3_exec(raw, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_changes(raw) > 0, 1);
    assert_int_equal(sqlite3_close(raw), SQLITE_OK);
    world_reopen(world);
}

struct found {
    uint32_t count;
    const char *what;
};
static enum rc keep_what(void *ctx, const struct results_difference *row)
{
    struct found *found = ctx;
    if (found->what == NULL)
        found->what = row->what;
    found->count++;
    return RC_OK;
}

TEST(every_difference_is_found)
{
    static const struct {
        const char *sql;
        const char *what;
        uint64_t count;
    } cases[] = {
        {"DELETE FROM results_prediction WHERE item=1",
         "a ledger entry without its prediction or tombstone", 1},
        {"DELETE FROM results_tombstone", "a ledger entry without its prediction or tombstone", 1},
        {"INSERT INTO results_tombstone SELECT tenant,id,created_ms,0,model,version,units FROM "
         "results_ledger WHERE id=(SELECT id FROM results_prediction WHERE item=1)",
         "a ledger entry with a prediction and a tombstone", 1},
        {"UPDATE results_ledger SET stored=0 WHERE id=(SELECT id FROM results_prediction LIMIT 1)",
         "a ledger entry of what was not stored, with a prediction or tombstone", 1},
        {"UPDATE results_prediction SET model='x' WHERE item=1",
         "a prediction whose ledger entry has another model or key", 1},
        {"UPDATE results_tombstone SET units=7",
         "a tombstone whose ledger entry says something else", 1},
        /* The sum is wrong as well then. */
        {"DELETE FROM results_ledger WHERE id=(SELECT id FROM results_prediction WHERE item=1)",
         "a day whose usage is not the sum of its ledger entries", 2},
        {"DELETE FROM results_ledger WHERE id=(SELECT id FROM results_tombstone)",
         "a day whose usage is not the sum of its ledger entries", 2},
        {"UPDATE results_usage SET images=images+1 WHERE day=(SELECT max(day) FROM results_usage)",
         "a day whose usage is not the sum of its ledger entries", 1},
        {"UPDATE results_usage SET requests=0 WHERE requests>0",
         "a day whose usage is not the sum of its ledger entries", 2},
        /* Each of its entries is reported. */
        {"DELETE FROM results_usage WHERE day=(SELECT max(day) FROM results_usage)",
         "a day whose usage is not the sum of its ledger entries", 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world world;
        world_open(&world);
        if (strncmp(world.url, "sqlite:", 7) != 0) {
            world_close(&world);
            return;
        }
        struct id request = id_new(WORLD_NOW_MS);
        struct id ids[3];
        for (uint32_t j = 0; j < 3; j++) {
            struct result_commit commit = commit_of(world.tenant, request, j, WORLD_NOW_MS);
            ids[j] = must_put(&world, &commit);
        }
        struct result_commit next = commit_new(world.tenant, WORLD_NOW_MS + MS_PER_DAY);
        (void)must_put(&world, &next);
        struct results_removed removed;
        assert_int_equal(results_erase(world.results, world.tenant, ids[2], 1, &removed, NULL),
                         RC_OK);
        must_verify(&world, world.tenant, 4, 3, 1);
        tamper(&world, cases[i].sql);
        struct found found = {0};
        const struct results_verifier verifier = {.difference = keep_what, .ctx = &found};
        struct results_proof proof;
        assert_int_equal(results_verify(world.results, world.tenant, &verifier, &proof, NULL),
                         RC_OK);
        if (found.what == NULL || strcmp(found.what, cases[i].what) != 0 ||
            proof.difference_count != cases[i].count || found.count != cases[i].count)
            fail_msg("case %zu: %u differences, first '%s'", i, found.count,
                     found.what != NULL ? found.what : "none");
        world_close(&world);
    }
}

TEST_MAIN("results: proof")
