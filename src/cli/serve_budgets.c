/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/serve_budgets.h"

#include "telemetry/log.h"

static void log_alert(void *ctx, const struct budget_alert *alert)
{
    (void)ctx;
    char budget[MONEY_TEXT_SIZE];
    char spent[MONEY_TEXT_SIZE];
    money_text(alert->budget_micro, budget);
    money_text(alert->spent_micro, spent);
    log_event(LOG_WARNING, "budget_alert",
              json_pack("{s:s, s:s, s:i, s:s, s:s, s:s}", "tenant", alert->tenant, "month",
                        alert->month, "percent", (int)alert->percent, "currency", alert->currency,
                        "budget", budget, "spent", spent));
}

static void log_failed(void *ctx, const struct error *err)
{
    (void)ctx;
    log_event(LOG_WARNING, "budgets", json_pack("{s:s}", "detail", err->text));
}

enum rc serve_budgets_open(struct results *results, struct account *account,
                           struct budget_watch **ret_watch, struct error *err)
{
    struct budget_config config = {
        .account = account, .results = results, .alert = log_alert, .failed = log_failed};
    return results != NULL && account != NULL ? budget_watch_open(&config, ret_watch, err) : RC_OK;
}
