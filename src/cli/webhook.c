/* SPDX-License-Identifier: Apache-2.0
 * webhook.c - `imago webhook secret`. */
#include "account/webhook_secret.h"
#include "cli/accounts.h"
#include "cli/cli.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

struct options {
    struct stores_settings stores;
#define OPTION CONFIG_MEMBER
#include "cli/webhook_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/webhook_options.def"
#undef OPTION
};

/* The secret alone on standard output; what a person must know on standard error. */
static enum rc show(const struct options *options, const char *tenant,
                    const struct account_webhook_secret *secret, struct error *err)
{
    char text[WEBHOOK_SECRET_TEXT_SIZE];
    char until[ACCOUNTS_TIME_SIZE];
    enum rc rc = RC_OK;
    account_webhook_secret_text(secret->current, text);
    accounts_time_text(secret->old_until_ms, until);
    if (strcmp(options->format, "json") == 0)
        rc = accounts_print_json(json_pack("{s:s, s:s, s:o, s:o}", "tenant", tenant, "secret", text,
                                           "created_at", accounts_time_json(secret->created_ms),
                                           "old_secret_until",
                                           accounts_time_json(secret->old_until_ms)),
                                 err);
    else
        rc = cli_wrote(puts(text) >= 0 && fflush(stdout) == 0, err);
    OPENSSL_cleanse(text, sizeof(text));
    if (rc == RC_OK && secret->has_old)
        (void)fprintf(stderr, "imago: the one before signs too, until %s\n", until);
    return rc;
}

static enum rc secret(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    const char *tenant = call->argv[0];
    struct account *account = call->stores->account;
    struct account_webhook_secret found;
    enum rc rc =
        options->rotate
            ? account_webhook_secret_rotate(account, tenant, call->now_ms + options->overlap,
                                            call->now_ms, &found, err)
            : account_webhook_secret_get(account, tenant, call->now_ms, &found, err);
    if (rc == RC_OK)
        rc = show(options, tenant, &found, err);
    OPENSSL_cleanse(&found, sizeof(found));
    return rc;
}

static const struct cli_verb verbs[] = {{"secret", "TENANT", STORE_ACCOUNTS, secret}};

int cli_webhook(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "webhook",
        .prose = "secret: what the tenant's webhooks are signed with, which receivers need to "
                 "verify them.\nServers follow a rotation at once.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = verbs,
        .verb_count = sizeof(verbs) / sizeof(verbs[0])};
    return cli_run(&command, &options, argc, argv);
}
