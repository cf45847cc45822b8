/* SPDX-License-Identifier: Apache-2.0
 * tenant.c - `imago tenant create|list|show|set`. */
#include "cli/accounts.h"
#include "cli/billing.h"
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct stores_settings stores;
#define OPTION CONFIG_MEMBER
#include "cli/tenant_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/tenant_options.def"
#undef OPTION
};

/* What the command line names; the rest stays. */
static enum rc apply(const struct cli_call *call, struct account_tenant *tenant, struct error *err)
{
    const struct options *options = call->options;
    const struct config *config = call->config;
    struct accounts_limits limits = {options->requests,      options->window,
                                     options->burst,         options->concurrent,
                                     options->bytes_per_day, options->images_per_day};
    bool given = false;
    enum rc rc = accounts_limits_apply(config, &limits, &tenant->rule, &given, err);
    if (accounts_is_given(config, "suspended"))
        tenant->suspended = options->suspended;
    if (accounts_is_given(config, "image_days"))
        tenant->image_days = options->image_days;
    if (accounts_is_given(config, "result_days"))
        tenant->result_days = options->result_days;
    struct billing_options billing = {options->plan,          options->budget,
                                      options->cap,           options->alert_at,
                                      options->alert_webhook, options->webhook_internal};
    return rc == RC_OK ? billing_apply(call, &billing, tenant, err) : rc;
}

/* null for 0: for ever. */
static json_t *days_json(uint32_t days) { return days > 0 ? json_integer(days) : json_null(); }

#define DAYS_SIZE 16
static const char *days_text(uint32_t days, char into[DAYS_SIZE])
{
    if (days > 0)
        (void)snprintf(into, DAYS_SIZE, "%u days", days);
    return days > 0 ? into : "for ever";
}

/* "30d/365d": pictures, predictions; "-" for ever. */
#define KEPT_SIZE (2 * DAYS_SIZE)
static void kept_text(const struct account_tenant *tenant, char into[KEPT_SIZE])
{
    char texts[2][DAYS_SIZE] = {"-", "-"};
    const uint32_t days[] = {tenant->image_days, tenant->result_days};
    for (int i = 0; i < 2; i++)
        if (days[i] > 0)
            (void)snprintf(texts[i], DAYS_SIZE, "%ud", days[i]);
    (void)snprintf(into, KEPT_SIZE, "%s/%s", texts[0], texts[1]);
}

static enum rc print_tenant_json(struct account *account, const struct account_tenant *tenant,
                                 struct error *err)
{
    json_t *object =
        json_pack("{s:s, s:o, s:b, s:o, s:o, s:o}", "id", tenant->id, "created_at",
                  accounts_time_json(tenant->created_ms), "suspended", tenant->suspended,
                  "image_days", days_json(tenant->image_days), "result_days",
                  days_json(tenant->result_days), "limits", accounts_limits_json(&tenant->rule));
    enum rc rc = billing_json(account, tenant, object, err);
    if (rc == RC_OK)
        return accounts_print_json(object, err);
    json_decref(object);
    return rc;
}

static enum rc print_row(struct account *account, const struct account_tenant *tenant,
                         enum accounts_form form, struct error *err)
{
    if (form == ACCOUNTS_JSON)
        return print_tenant_json(account, tenant, err);
    char created[ACCOUNTS_TIME_SIZE];
    char limits[ACCOUNTS_LIMITS_SIZE];
    char plan[BILLING_PLAN_SIZE];
    char kept[KEPT_SIZE];
    accounts_time_text(tenant->created_ms, created);
    accounts_limits_text(&tenant->rule, limits);
    billing_plan_text(tenant->plan, tenant->plan_version, plan);
    kept_text(tenant, kept);
    return cli_wrote(printf("%-24s %-9s %-21s %-16s %-14s %s\n", tenant->id,
                            tenant->suspended ? "suspended" : "active", created, plan, kept,
                            limits) >= 0,
                     err);
}

static void print_head(enum accounts_form form)
{
    if (form == ACCOUNTS_TABLE)
        (void)printf("%-24s %-9s %-21s %-16s %-14s %s\n", "TENANT", "STATE", "CREATED", "PLAN",
                     "IMAGES/RESULTS", "LIMITS");
}

static enum rc create(struct cli_call *call, struct error *err)
{
    struct account_tenant tenant = {0};
    if (snprintf(tenant.id, sizeof(tenant.id), "%s", call->argv[0]) >= (int)sizeof(tenant.id))
        return error_set(err, RC_INVALID, "a tenant's id is at most %d characters",
                         ACCOUNT_TENANT_SIZE - 1);
    enum rc rc = apply(call, &tenant, err);
    return rc == RC_OK ? account_tenant_create(call->stores->account, &tenant, call->now_ms, err)
                       : rc;
}

static enum rc list(struct cli_call *call, struct error *err)
{
    static struct account_tenant page[ACCOUNT_LIST_MAX];
    const struct options *options = call->options;
    enum accounts_form form = accounts_form_choose(options->format);
    print_head(form);
    char after[ACCOUNT_TENANT_SIZE] = "";
    uint32_t count = ACCOUNT_LIST_MAX;
    enum rc rc = RC_OK;
    while (rc == RC_OK && count == ACCOUNT_LIST_MAX) {
        rc = account_tenant_list(call->stores->account, after, page, ACCOUNT_LIST_MAX, &count, err);
        for (uint32_t i = 0; rc == RC_OK && i < count; i++)
            rc = print_row(call->stores->account, &page[i], form, err);
        if (rc == RC_OK && count > 0)
            memcpy(after, page[count - 1].id, sizeof(after));
    }
    return rc;
}

static enum rc show(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    struct account_tenant tenant;
    enum rc rc = account_tenant_get(call->stores->account, call->argv[0], &tenant, err);
    if (rc != RC_OK)
        return rc;
    if (accounts_form_choose(options->format) == ACCOUNTS_JSON)
        return print_tenant_json(call->stores->account, &tenant, err);
    char created[ACCOUNTS_TIME_SIZE];
    char limits[ACCOUNTS_LIMITS_SIZE];
    accounts_time_text(tenant.created_ms, created);
    accounts_limits_text(&tenant.rule, limits);
    char days[2][DAYS_SIZE];
    (void)printf("tenant       %s\nstate        %s\ncreated      %s\nlimits       %s\n"
                 "images       kept %s\nresults      kept %s\n",
                 tenant.id, tenant.suspended ? "suspended" : "active", created, limits,
                 days_text(tenant.image_days, days[0]), days_text(tenant.result_days, days[1]));
    rc = billing_print(call->stores->account, &tenant, err);
    if (rc != RC_OK)
        return rc;
    return cli_wrote(fflush(stdout) == 0, err);
}

static enum rc set(struct cli_call *call, struct error *err)
{
    struct account_tenant tenant = {0};
    enum rc rc = account_tenant_get(call->stores->account, call->argv[0], &tenant, err);
    struct account_tenant before = tenant;
    if (rc == RC_OK)
        rc = apply(call, &tenant, err);
    if (rc == RC_OK)
        rc = account_tenant_set(call->stores->account, &tenant, call->now_ms, err);
    if (rc == RC_OK)
        billing_follow(call, &before, &tenant);
    return rc;
}

static const struct cli_verb verbs[] = {{"create", "ID", STORE_ACCOUNTS | STORE_CREATE, create},
                                        {"list", "", STORE_ACCOUNTS, list},
                                        {"show", "ID", STORE_ACCOUNTS, show},
                                        {"set", "ID", STORE_ACCOUNTS, set}};

int cli_tenant(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "tenant",
        .prose = "A tenant owns keys, predictions, pictures and its usage, and sees nobody "
                 "else's.\n'default' is built in.\nset changes what the options name and "
                 "leaves the rest; servers follow within 5 seconds.\nLimits are those of "
                 "each key that has none of its own.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = verbs,
        .verb_count = sizeof(verbs) / sizeof(verbs[0])};
    return cli_run(&command, &options, argc, argv);
}
