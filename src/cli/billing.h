/* SPDX-License-Identifier: Apache-2.0
 * billing.h - plans, budgets and caps on the command line: what `imago plan`, `imago tenant` and
 * `imago usage` share. */
#ifndef CLI_BILLING_H
#define CLI_BILLING_H
#include "cli/cli.h"

#include <jansson.h>

/* "standard@2"; "-": none. */
#define BILLING_PLAN_SIZE (PLAN_NAME_SIZE + 16)
void billing_plan_text(const char *name, uint32_t version, char into[BILLING_PLAN_SIZE]);
/* "standard@2", or "standard" for the newest. */
NODISCARD enum rc billing_plan_find(struct account *account, const char *text,
                                    struct plan *ret_plan, struct error *err);

/* The options of a tenant; those that the command line names go into it. */
struct billing_options {
    const char *plan;
    const char *budget;
    const char *cap;
    const char *alert_at;
    const char *alert_webhook;
    bool webhook_internal;
};
NODISCARD enum rc billing_apply(const struct cli_call *call, const struct billing_options *options,
                                struct account_tenant *tenant, struct error *err);
/* After `tenant`, which was `before`, was stored: what its cap is compared with is brought up to
 * the ledger, and if that cannot be done, said so. */
void billing_follow(const struct cli_call *call, const struct account_tenant *before,
                    const struct account_tenant *tenant);

/* "plan", "currency", "budget", ... of a tenant, into its object. */
NODISCARD enum rc billing_json(struct account *account, const struct account_tenant *tenant,
                               json_t *into, struct error *err);
/* The same as lines for people. */
NODISCARD enum rc billing_print(struct account *account, const struct account_tenant *tenant,
                                struct error *err);
#endif
