/* SPDX-License-Identifier: Apache-2.0
 * plan.c - `imago plan put|list|show`. */
#include "cli/accounts.h"
#include "cli/billing.h"
#include "cli/cli.h"
#include "cli/files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define READ_SIZE_MAX (1u << 20)

struct options {
    struct stores_settings stores;
#define OPTION CONFIG_MEMBER
#include "cli/plan_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/plan_options.def"
#undef OPTION
};

static enum rc put(struct cli_call *call, struct error *err)
{
    static struct plan plan;
    struct buf text = BUF_INIT(READ_SIZE_MAX);
    enum rc rc = files_read(call->argv[0], PLAN_BODY_MAX, &text, err);
    struct error why = {0};
    if (rc == RC_TOO_LARGE)
        rc = error_set(err, rc, "'%.150s': a plan has at most %u bytes", call->argv[0],
                       PLAN_BODY_MAX);
    if (rc == RC_OK) {
        rc = plan_parse((struct bytes){text.data, text.size}, &plan, &why);
        if (rc != RC_OK)
            (void)error_set(err, rc, "%.100s: %.200s", call->argv[0], why.text);
    }
    buf_done(&text);
    if (rc == RC_OK)
        rc = account_plan_put(call->stores->account, &plan, call->now_ms, err);
    if (rc == RC_OK)
        (void)fprintf(stderr,
                      "imago: plan %s@%u is stored; 'imago tenant set TENANT --plan %s@%u' puts a "
                      "tenant on it\n",
                      plan.name, plan.version, plan.name, plan.version);
    return rc;
}

static enum rc list(struct cli_call *call, struct error *err)
{
    static struct account_plan_row page[ACCOUNT_LIST_MAX];
    const struct options *options = call->options;
    enum accounts_form form = accounts_form_choose(options->format);
    if (form == ACCOUNTS_TABLE)
        (void)printf("%-40s %s\n", "PLAN", "CREATED");
    char name[PLAN_NAME_SIZE] = "";
    uint32_t version = 0;
    uint32_t count = ACCOUNT_LIST_MAX;
    enum rc rc = RC_OK;
    while (rc == RC_OK && count == ACCOUNT_LIST_MAX) {
        rc = account_plan_list(call->stores->account, name, version, page, ACCOUNT_LIST_MAX, &count,
                               err);
        for (uint32_t i = 0; rc == RC_OK && i < count; i++) {
            char created[ACCOUNTS_TIME_SIZE];
            char full[BILLING_PLAN_SIZE];
            accounts_time_text(page[i].created_ms, created);
            billing_plan_text(page[i].name, page[i].version, full);
            if (form == ACCOUNTS_JSON)
                rc = accounts_print_json(json_pack("{s:s, s:I, s:o}", "name", page[i].name,
                                                   "version", (json_int_t)page[i].version,
                                                   "created_at",
                                                   accounts_time_json(page[i].created_ms)),
                                         err);
            else
                (void)printf("%-40s %s\n", full, created);
        }
        if (rc == RC_OK && count > 0) {
            memcpy(name, page[count - 1].name, sizeof(name));
            version = page[count - 1].version;
        }
    }
    return rc;
}

static void show_price(const struct plan_price *price)
{
    char money[MONEY_TEXT_SIZE];
    uint64_t from =
        price->image_free + 1; /* free ones are counted in the tiers, and cost nothing */
    (void)printf("\n%s\n", strcmp(price->model, "*") == 0 ? "all other models" : price->model);
    if (price->image_free > 0)
        (void)printf("  free         the first %" PRIu64 " images of a month\n", price->image_free);
    for (uint32_t i = 0; i < price->tier_count; i++) {
        if (price->tiers[i].image_last < from)
            continue;
        money_text(price->tiers[i].micro, money);
        if (price->tiers[i].image_last == UINT64_MAX)
            (void)printf("  %-12s each from image %" PRIu64 " on\n", money, from);
        else
            (void)printf("  %-12s each from image %" PRIu64 " to %" PRIu64 "\n", money, from,
                         price->tiers[i].image_last);
        from = price->tiers[i].image_last + 1;
    }
}

static enum rc show(struct cli_call *call, struct error *err)
{
    static struct plan plan;
    const struct options *options = call->options;
    enum rc rc = billing_plan_find(call->stores->account, call->argv[0], &plan, err);
    if (rc != RC_OK)
        return rc;
    if (accounts_form_choose(options->format) == ACCOUNTS_JSON) {
        struct buf text = BUF_INIT(PLAN_BODY_MAX + 1);
        rc = plan_write(&plan, &text);
        if (rc == RC_OK)
            rc = buf_append(&text, bytes_of("\n"));
        rc = rc == RC_OK ? cli_print(&text, err) : error_set(err, rc, "no memory to print");
        buf_done(&text);
        return rc;
    }
    char minimum[MONEY_TEXT_SIZE];
    money_text(plan.minimum_micro, minimum);
    (void)printf("plan         %s@%u\ncurrency     %s\nminimum      %s a month\n", plan.name,
                 plan.version, plan.currency, minimum);
    for (uint32_t i = 0; i < plan.price_count; i++)
        show_price(&plan.prices[i]);
    return cli_wrote(fflush(stdout) == 0, err);
}

static const struct cli_verb verbs[] = {{"put", "FILE", STORE_ACCOUNTS | STORE_CREATE, put},
                                        {"list", "", STORE_ACCOUNTS, list},
                                        {"show", "NAME[@VERSION]", STORE_ACCOUNTS, show}};

int cli_plan(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "plan",
        .prose =
            "Price plans: what the images of a month cost. put: stores the plan of a JSON "
            "file ('-': standard\ninput); a version never changes once it is stored. show: the "
            "newest version, or the one named.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = verbs,
        .verb_count = sizeof(verbs) / sizeof(verbs[0])};
    return cli_run(&command, &options, argc, argv);
}
