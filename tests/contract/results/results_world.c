/* SPDX-License-Identifier: Apache-2.0 */
#include "results_world.h"

#include "base/clock.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* After those it relies on. */
#include <cmocka.h>

#define URL_DEFAULT "sqlite:DIR/imago.db"

static const char *url_template(void)
{
    const char *url = getenv("RESULTS_URL");
    return url != NULL ? url : URL_DEFAULT;
}

bool world_has_files(void) { return strstr(url_template(), "DIR") != NULL; }

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

void world_open(struct world *world)
{
    memset(world, 0, sizeof(*world));
    const char *url = url_template();
    const char *dir = strstr(url, "DIR");
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(world->dir, sizeof(world->dir), "%s/imago-results-XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(world->dir));
    if (dir != NULL)
        (void)snprintf(world->url, sizeof(world->url), "%.*s%s%s", (int)(dir - url), url,
                       world->dir, dir + strlen("DIR"));
    else
        (void)snprintf(world->url, sizeof(world->url), "%s", url);
    struct id id = id_new(clock_wall_ms());
    char text[ID_TEXT_SIZE];
    id_text(id, text);
    (void)snprintf(world->tenant_text, sizeof(world->tenant_text), "a-%s", text);
    (void)snprintf(world->other_text, sizeof(world->other_text), "b-%s", text);
    world->tenant = bytes_of(world->tenant_text);
    world->other = bytes_of(world->other_text);
    world_reopen(world);
}

void world_reopen(struct world *world)
{
    results_free(world->results);
    world->results = NULL;
    struct error err = {0};
    if (results_open(world->url, &world->results, &err) != RC_OK)
        fail_msg("%s: %s", world->url, err.text);
}

void world_close(struct world *world)
{
    results_free(world->results);
    (void)nftw(world->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

struct bytes scores_of(uint32_t class_id, float score)
{
    static uint8_t rooms[64][RESULT_SCORE_SIZE];
    static uint32_t next;
    uint8_t *room = rooms[next++ % 64];
    result_score_pack((struct result_score){class_id, score}, room);
    return (struct bytes){room, RESULT_SCORE_SIZE};
}

struct result_commit commit_of(struct bytes tenant, struct id request_id, uint32_t index,
                               uint64_t created_ms)
{
    struct result_commit commit = {
        .kind = RESULT_STORED,
        .tenant = tenant,
        .prediction =
            {
                .request_id = request_id,
                .index = index,
                .created_ms = created_ms,
                .key = bytes_of("key-1"),
                .model = bytes_of("m"),
                .version = bytes_of("1"),
                .label = bytes_of("tabby"),
                .scores = scores_of(281, 0.75f),
                .picture = {.format = bytes_of("jpeg"), .width = 500, .height = 375},
                .timing = {1, 2, 3, 4, 5},
            },
        .units = 1,
        .requests = index == 0,
        .plan = bytes_of("basic"),
        .plan_version = 3,
    };
    memcpy(commit.prediction.picture.sha256, request_id.octets, sizeof(request_id.octets));
    commit.prediction.picture.sha256[31] = (uint8_t)index;
    return commit;
}

struct result_commit commit_new(struct bytes tenant, uint64_t created_ms)
{
    return commit_of(tenant, id_new(created_ms), 0, created_ms);
}

struct id must_put(struct world *world, struct result_commit *commit)
{
    struct error err = {0};
    if (results_put(world->results, &commit, 1, &err) != RC_OK || commit->rc != RC_OK)
        fail_msg("put: %s", err.text);
    return commit->prediction.id;
}

static enum rc print_difference(void *ctx, const struct results_difference *row)
{
    (void)ctx;
    char text[ID_TEXT_SIZE];
    id_text(row->id, text);
    print_error("%s: %s, day %u\n", row->what, text, row->day);
    return RC_OK;
}

void must_verify(struct world *world, struct bytes tenant, uint64_t ledger_count,
                 uint64_t prediction_count, uint64_t tombstone_count)
{
    const struct results_verifier verifier = {.difference = print_difference};
    struct results_proof proof;
    assert_int_equal(results_verify(world->results, tenant, &verifier, &proof, NULL), RC_OK);
    assert_int_equal(proof.difference_count, 0);
    assert_int_equal(proof.ledger_count, ledger_count);
    assert_int_equal(proof.prediction_count, prediction_count);
    assert_int_equal(proof.tombstone_count, tombstone_count);
}

void mailbox_take(struct world *world, struct mailbox *mailbox, uint64_t now_ms)
{
    for (uint32_t i = 0; i < MAILBOX_SIZE; i++)
        if (mailbox->messages[i].payload.size_max == 0)
            mailbox->messages[i].payload = (struct buf)BUF_INIT(RESULT_PAYLOAD_SIZE_MAX);
    uint32_t count = 0;
    assert_int_equal(results_outbox_take(world->results, now_ms, now_ms + WORLD_LEASE_MS,
                                         MAILBOX_SIZE, mailbox->messages, &count, NULL),
                     RC_OK);
    mailbox->count = 0;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(mailbox->messages[i].tenant, world->tenant_text) == 0) {
            struct results_message swap = mailbox->messages[mailbox->count];
            mailbox->messages[mailbox->count++] = mailbox->messages[i];
            mailbox->messages[i] = swap;
        }
}

void mailbox_done(struct mailbox *mailbox)
{
    for (uint32_t i = 0; i < MAILBOX_SIZE; i++)
        buf_done(&mailbox->messages[i].payload);
}

uint64_t seed_start(void)
{
    const char *text = getenv("RESULTS_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : clock_monotonic_ns() % 1000000007u;
    print_message("# RESULTS_SEED=%llu\n", (unsigned long long)seed);
    return seed + 0x9e3779b97f4a7c15ull;
}

uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}
