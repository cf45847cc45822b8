/* SPDX-License-Identifier: Apache-2.0
 * tenant.c - `imago tenant create|list|show|set`. */
#include "cli/accounts.h"
#include "cli/cli.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
#define OPTION CONFIG_MEMBER
#include "cli/tenant_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/tenant_options.def"
#undef OPTION
};
static const size_t row_count = sizeof(rows) / sizeof(rows[0]);

struct command {
    struct account *account;
    const struct options *options;
    const struct config *config;
    const char *id;
    uint64_t now_ms;
};

/* What the command line names; the rest stays. */
static enum rc apply(const struct command *command, struct account_tenant *tenant,
                     struct error *err)
{
    const struct options *options = command->options;
    const struct config *config = command->config;
    struct accounts_limits limits = {options->requests,      options->window,
                                     options->burst,         options->concurrent,
                                     options->bytes_per_day, options->images_per_day};
    bool given = false;
    enum rc rc = accounts_limits_apply(config, &limits, &tenant->rule, &given, err);
    if (accounts_is_given(config, "suspended"))
        tenant->suspended = options->suspended;
    return rc;
}

static json_t *tenant_json(const struct account_tenant *tenant)
{
    return json_pack("{s:s, s:o, s:b, s:o}", "id", tenant->id, "created_at",
                     accounts_time_json(tenant->created_ms), "suspended", tenant->suspended,
                     "limits", accounts_limits_json(&tenant->rule));
}

static enum rc print_row(const struct account_tenant *tenant, enum accounts_form form,
                         struct error *err)
{
    if (form == ACCOUNTS_JSON)
        return accounts_print_json(tenant_json(tenant), err);
    char created[ACCOUNTS_TIME_SIZE];
    char limits[ACCOUNTS_LIMITS_SIZE];
    accounts_time_text(tenant->created_ms, created);
    accounts_limits_text(&tenant->rule, limits);
    return printf("%-24s %-9s %-21s %s\n", tenant->id, tenant->suspended ? "suspended" : "active",
                  created, limits) >= 0
               ? RC_OK
               : error_set(err, RC_INTERNAL, "cannot write to standard output");
}

static void print_head(enum accounts_form form)
{
    if (form == ACCOUNTS_TABLE)
        (void)printf("%-24s %-9s %-21s %s\n", "TENANT", "STATE", "CREATED", "LIMITS");
}

static enum rc create(const struct command *command, struct error *err)
{
    struct account_tenant tenant = {0};
    if (snprintf(tenant.id, sizeof(tenant.id), "%s", command->id) >= (int)sizeof(tenant.id))
        return error_set(err, RC_INVALID, "a tenant's id is at most %d characters",
                         ACCOUNT_TENANT_SIZE - 1);
    enum rc rc = apply(command, &tenant, err);
    return rc == RC_OK ? account_tenant_create(command->account, &tenant, command->now_ms, err)
                       : rc;
}

static enum rc list(const struct command *command, struct error *err)
{
    static struct account_tenant page[ACCOUNT_LIST_MAX];
    enum accounts_form form = accounts_form_choose(command->options->format);
    print_head(form);
    char after[ACCOUNT_TENANT_SIZE] = "";
    uint32_t count = ACCOUNT_LIST_MAX;
    enum rc rc = RC_OK;
    while (rc == RC_OK && count == ACCOUNT_LIST_MAX) {
        rc = account_tenant_list(command->account, after, page, ACCOUNT_LIST_MAX, &count, err);
        for (uint32_t i = 0; rc == RC_OK && i < count; i++)
            rc = print_row(&page[i], form, err);
        if (rc == RC_OK && count > 0)
            memcpy(after, page[count - 1].id, sizeof(after));
    }
    return rc;
}

static enum rc show(const struct command *command, struct error *err)
{
    struct account_tenant tenant;
    enum rc rc = account_tenant_get(command->account, command->id, &tenant, err);
    if (rc != RC_OK)
        return rc;
    if (accounts_form_choose(command->options->format) == ACCOUNTS_JSON)
        return accounts_print_json(tenant_json(&tenant), err);
    char created[ACCOUNTS_TIME_SIZE];
    char limits[ACCOUNTS_LIMITS_SIZE];
    accounts_time_text(tenant.created_ms, created);
    accounts_limits_text(&tenant.rule, limits);
    (void)printf("tenant       %s\nstate        %s\ncreated      %s\nlimits       %s\n", tenant.id,
                 tenant.suspended ? "suspended" : "active", created, limits);
    return fflush(stdout) == 0 ? RC_OK
                               : error_set(err, RC_INTERNAL, "cannot write to standard output");
}

static enum rc set(const struct command *command, struct error *err)
{
    struct account_tenant tenant;
    enum rc rc = account_tenant_get(command->account, command->id, &tenant, err);
    if (rc == RC_OK)
        rc = apply(command, &tenant, err);
    return rc == RC_OK ? account_tenant_set(command->account, &tenant, command->now_ms, err) : rc;
}

static const struct {
    const char *name;
    enum rc (*function)(const struct command *command, struct error *err);
    int rest; /* arguments, the name among them */
} verbs[] = {{"create", create, 2}, {"list", list, 1}, {"show", show, 2}, {"set", set, 2}};

static enum rc run(const struct options *options, const struct config *config, int rest,
                   char **argv, struct error *err)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(argv[0], verbs[i].name) != 0 || rest != verbs[i].rest)
            continue;
        struct command command = {.options = options,
                                  .config = config,
                                  .id = rest > 1 ? argv[1] : "",
                                  .now_ms = clock_wall_ms()};
        enum rc rc = accounts_open(options->accounts, &command.account, err);
        if (rc == RC_OK)
            rc = verbs[i].function(&command, err);
        account_free(command.account);
        return rc;
    }
    return error_set(err, RC_INVALID,
                     "write 'imago tenant create ID', 'list', 'show ID' or 'set ID'");
}

int cli_tenant(int argc, char **argv)
{
    struct options options = {0};
    struct config config;
    struct error err = {0};
    enum config_result result;
    int rest = 0;
    enum rc rc =
        config_load(&config, rows, row_count, &options, argc, argv, false, &rest, &result, &err);
    if (rc != RC_OK)
        return cli_fail(&err);
    if (result == CONFIG_HELP || rest == 0) {
        config_done(&config);
        return cli_help("tenant create ID | list | show ID | set ID",
                        "A tenant owns keys, predictions, pictures and its usage, and sees nobody "
                        "else's.\n'default' is built in.\nset changes what the options name and "
                        "leaves the rest; servers follow within 5 seconds.\nLimits are those of "
                        "each key that has none of its own.",
                        rows, row_count, false);
    }
    rc = run(&options, &config, rest, argv, &err);
    config_done(&config);
    return rc == RC_OK ? 0 : cli_fail(&err);
}
