/* SPDX-License-Identifier: Apache-2.0
 * image.c - `imago image restore`: pictures that a lifecycle rule has moved into an archive. */
#include "cli/accounts.h"
#include "cli/cli.h"

#include "blob/hex.h"

#include <stdio.h>
#include <string.h>

struct options {
    struct stores_settings stores;
#define OPTION CONFIG_MEMBER
#include "cli/image_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/image_options.def"
#undef OPTION
};

static enum rc read_tier(const char *text, enum blob_tier *ret_tier, struct error *err)
{
    static const char *const texts[] = {[BLOB_TIER_STANDARD] = "standard",
                                        [BLOB_TIER_BULK] = "bulk",
                                        [BLOB_TIER_EXPEDITED] = "expedited"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strcmp(text, texts[i]) == 0) {
            *ret_tier = (enum blob_tier)i;
            return RC_OK;
        }
    return error_set(err, RC_INVALID, "--tier is standard, bulk or expedited, not '%.40s'", text);
}

static enum rc show(const struct options *options, const char *sha256, enum blob_presence presence,
                    struct error *err)
{
    static const struct {
        const char *state;
        const char *sentence;
    } all[] = {[BLOB_AT_HAND] = {"at-hand", "is in no archive: it can be read"},
               [BLOB_RESTORED] = {"restored", "was restored before: it can be read"},
               [BLOB_RESTORE_ASKED] = {"asked", "is being restored from now on"},
               [BLOB_RESTORE_UNDER_WAY] = {"under-way", "is being restored already"}};
    if (accounts_form_choose(options->format) == ACCOUNTS_JSON)
        return accounts_print_json(json_pack("{s:s, s:s, s:s}", "tenant", options->tenant, "sha256",
                                             sha256, "state", all[presence].state),
                                   err);
    return cli_wrote(printf("%s %s\n", sha256, all[presence].sentence) >= 0, err);
}

static enum rc restore(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    const char *text = call->argv[0];
    struct blob_restore restore = {.days = (uint32_t)options->days};
    enum blob_presence presence = BLOB_AT_HAND;
    uint8_t sha256[BLOB_SHA256_SIZE];
    if (!hex_parse(text, sha256, sizeof(sha256)))
        return error_set(err, RC_INVALID,
                         "'%.70s' is no SHA-256 of a picture: 64 digits 0-9 and a-f", text);
    enum rc rc = read_tier(options->tier, &restore.tier, err);
    if (rc == RC_OK)
        rc = blob_restore(call->stores->blob, options->tenant, sha256, &restore, &presence, err);
    return rc == RC_OK ? show(options, text, presence, err) : rc;
}

static const struct cli_verb verbs[] = {{"restore", "SHA256", STORE_IMAGES, restore}};

int cli_image(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "image",
        .prose = "restore: has a picture brought back from the archive into which a lifecycle rule "
                 "moved it.\nAsk again to see whether it is there.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = verbs,
        .verb_count = sizeof(verbs) / sizeof(verbs[0])};
    return cli_run(&command, &options, argc, argv);
}
