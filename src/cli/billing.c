/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/billing.h"

#include "account/bill.h"
#include "cli/accounts.h"
#include "work/webhook.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t alerts_preset[] = {80, 100};

static bool is_none(const char *text) { return strcmp(text, "none") == 0; }

void billing_plan_text(const char *name, uint32_t version, char into[BILLING_PLAN_SIZE])
{
    if (name[0] == '\0')
        (void)snprintf(into, BILLING_PLAN_SIZE, "-");
    else
        (void)snprintf(into, BILLING_PLAN_SIZE, "%.63s@%u", name, version);
}

enum rc billing_plan_find(struct account *account, const char *text, struct plan *ret_plan,
                          struct error *err)
{
    const char *at = strchr(text, '@');
    size_t size = at != NULL ? (size_t)(at - text) : strlen(text);
    char name[PLAN_NAME_SIZE];
    unsigned long long version = 0;
    char *end = NULL;
    if (at != NULL) {
        errno = 0;
        version = strtoull(at + 1, &end, 10);
        if (at[1] < '0' || at[1] > '9' || *end != '\0' || errno != 0 || version == 0 ||
            version > INT32_MAX)
            return error_set(err, RC_INVALID, "'%.80s': write NAME or NAME@VERSION", text);
    }
    if (size == 0 || size >= sizeof(name))
        return error_set(err, RC_INVALID, "'%.80s': write NAME or NAME@VERSION", text);
    memcpy(name, text, size);
    name[size] = '\0';
    enum rc rc = account_plan_get(account, name, (uint32_t)version, ret_plan, err);
    if (rc == RC_NOT_FOUND)
        rc = error_set(err, rc, "there is no plan %.80s; 'imago plan list' shows them", text);
    return rc;
}

static enum rc read_amount(const char *flag, const char *text, uint64_t *ret_micro,
                           struct error *err)
{
    *ret_micro = 0;
    if (is_none(text))
        return RC_OK;
    if (money_parse(text, ret_micro) == RC_OK && *ret_micro > 0)
        return RC_OK;
    return error_set(err, RC_INVALID,
                     "--%s '%.40s' is no amount: write it like 250 or 99.50 in the plan's currency "
                     "(six decimals at most), or none",
                     flag, text);
}

static enum rc read_alerts(const char *text, uint8_t into[ACCOUNT_ALERT_MAX], struct error *err)
{
    uint32_t count = 0;
    uint32_t last = 0;
    memset(into, 0, ACCOUNT_ALERT_MAX);
    for (const char *at = is_none(text) ? "" : text; *at != '\0';) {
        char *end = NULL;
        unsigned long percent = at[0] >= '0' && at[0] <= '9' ? strtoul(at, &end, 10) : 0;
        if (percent <= last || percent > UINT8_MAX || count == ACCOUNT_ALERT_MAX ||
            (*end != '\0' && (*end != ',' || end[1] == '\0')))
            return error_set(err, RC_INVALID,
                             "--alert-at '%.60s': up to %u percentages of 1 to 255 that grow, such "
                             "as 50,80,100, or none",
                             text, ACCOUNT_ALERT_MAX);
        into[count++] = (uint8_t)percent;
        last = (uint32_t)percent;
        at = *end == ',' ? end + 1 : end;
    }
    return RC_OK;
}

static enum rc read_webhook(const struct billing_options *options, char into[ACCOUNT_URL_SIZE],
                            struct error *err)
{
    const char *url = options->alert_webhook;
    memset(into, 0, ACCOUNT_URL_SIZE);
    if (is_none(url))
        return RC_OK;
    if (strlen(url) >= ACCOUNT_URL_SIZE)
        return error_set(err, RC_INVALID, "--alert-webhook has at most %d bytes",
                         ACCOUNT_URL_SIZE - 1);
    struct error why = {0};
    if (webhook_url_check(bytes_of(url), options->webhook_internal, &why) != RC_OK)
        return error_set(err, RC_INVALID, "--alert-webhook: %.200s%s", why.text,
                         options->webhook_internal
                             ? ""
                             : "; with --webhook-internal it may be in your own network");
    (void)snprintf(into, ACCOUNT_URL_SIZE, "%s", url);
    return RC_OK;
}

/* Amounts are in the plan's currency, so they end with it. */
static enum rc check_currency(const struct cli_call *call, const struct plan *before,
                              const struct plan *plan, const struct account_tenant *tenant,
                              struct error *err)
{
    bool amounts = tenant->budget_micro > 0 || tenant->hard_cap_micro > 0;
    if (amounts && !plan_costs(plan))
        return error_set(err, RC_INVALID,
                         "without a plan nothing costs anything: give --plan NAME as well, or "
                         "--budget none and --cap none");
    bool anew = (tenant->budget_micro == 0 || accounts_is_given(call->config, "budget")) &&
                (tenant->hard_cap_micro == 0 || accounts_is_given(call->config, "cap"));
    if (amounts && !anew && strcmp(before->currency, plan->currency) != 0)
        return error_set(err, RC_INVALID,
                         "budget and cap are in %s, the new plan is in %s: give --budget and --cap "
                         "anew, or none",
                         before->currency, plan->currency);
    return RC_OK;
}

enum rc billing_apply(const struct cli_call *call, const struct billing_options *options,
                      struct account_tenant *tenant, struct error *err)
{
    static struct plan before;
    static struct plan plan;
    const struct config *config = call->config;
    struct account *account = call->stores->account;
    enum rc rc = account_plan_get(account, tenant->plan, tenant->plan_version, &before, err);
    plan = before;
    if (rc == RC_OK && accounts_is_given(config, "plan")) {
        plan = plan_none;
        if (!is_none(options->plan))
            rc = billing_plan_find(account, options->plan, &plan, err);
        memcpy(tenant->plan, plan.name, sizeof(tenant->plan));
        tenant->plan_version = plan.version;
    }
    if (rc == RC_OK && accounts_is_given(config, "budget"))
        rc = read_amount("budget", options->budget, &tenant->budget_micro, err);
    if (rc == RC_OK && accounts_is_given(config, "cap"))
        rc = read_amount("cap", options->cap, &tenant->hard_cap_micro, err);
    if (rc == RC_OK && accounts_is_given(config, "alert_at"))
        rc = read_alerts(options->alert_at, tenant->alert_percents, err);
    else if (rc == RC_OK && accounts_is_given(config, "budget") && tenant->alert_percents[0] == 0)
        memcpy(tenant->alert_percents, alerts_preset, sizeof(alerts_preset));
    if (rc == RC_OK && accounts_is_given(config, "alert_webhook"))
        rc = read_webhook(options, tenant->alert_webhook, err);
    return rc == RC_OK ? check_currency(call, &before, &plan, tenant, err) : rc;
}

void billing_follow(const struct cli_call *call, const struct account_tenant *before,
                    const struct account_tenant *tenant)
{
    bool changed = tenant->hard_cap_micro != before->hard_cap_micro ||
                   tenant->plan_version != before->plan_version ||
                   strcmp(tenant->plan, before->plan) != 0;
    if (!changed || tenant->hard_cap_micro == 0)
        return;
    struct error err = {0};
    enum rc rc = stores_open(call->stores, STORE_RESULTS, &err);
    struct bill_source source = {call->stores->account, call->stores->results, tenant->id};
    if (rc == RC_OK)
        rc = bill_counts_follow(&source, call->now_ms, &err);
    if (rc != RC_OK)
        (void)fprintf(stderr,
                      "imago: this is set; what was used this month could not be counted from here "
                      "(%s), a running server does so within seconds\n",
                      err.text);
}

static enum rc currency_of(struct account *account, const struct account_tenant *tenant,
                           char into[4], struct error *err)
{
    static struct plan plan;
    enum rc rc = account_plan_get(account, tenant->plan, tenant->plan_version, &plan, err);
    if (rc == RC_OK)
        memcpy(into, plan.currency, sizeof(plan.currency));
    return rc;
}

static void set_amount(json_t *object, const char *name, uint64_t micro)
{
    char key[40];
    char text[MONEY_TEXT_SIZE];
    money_text(micro, text);
    (void)snprintf(key, sizeof(key), "%s_micro", name);
    (void)json_object_set_new(object, key,
                              micro > 0 ? json_integer((json_int_t)micro) : json_null());
    (void)json_object_set_new(object, name, micro > 0 ? json_string(text) : json_null());
}

enum rc billing_json(struct account *account, const struct account_tenant *tenant, json_t *into,
                     struct error *err)
{
    char currency[4];
    enum rc rc = currency_of(account, tenant, currency, err);
    if (rc != RC_OK)
        return rc;
    bool has_plan = tenant->plan[0] != '\0';
    json_t *alerts = json_array();
    for (uint32_t i = 0; i < ACCOUNT_ALERT_MAX && tenant->alert_percents[i] != 0; i++)
        (void)json_array_append_new(alerts, json_integer(tenant->alert_percents[i]));
    (void)json_object_set_new(into, "plan",
                              has_plan ? json_pack("{s:s, s:I}", "name", tenant->plan, "version",
                                                   (json_int_t)tenant->plan_version)
                                       : json_null());
    (void)json_object_set_new(into, "currency", has_plan ? json_string(currency) : json_null());
    set_amount(into, "budget", tenant->budget_micro);
    set_amount(into, "cap", tenant->hard_cap_micro);
    (void)json_object_set_new(into, "alert_at", alerts);
    (void)json_object_set_new(into, "alert_webhook",
                              tenant->alert_webhook[0] != '\0' ? json_string(tenant->alert_webhook)
                                                               : json_null());
    return RC_OK;
}

static void print_amount(const char *label, uint64_t micro, const char *currency)
{
    char text[MONEY_TEXT_SIZE];
    money_text(micro, text);
    (void)printf("%-12s %s%s%s\n", label, micro > 0 ? text : "-", micro > 0 ? " " : "",
                 micro > 0 ? currency : "");
}

enum rc billing_print(struct account *account, const struct account_tenant *tenant,
                      struct error *err)
{
    char currency[4];
    char plan[BILLING_PLAN_SIZE];
    enum rc rc = currency_of(account, tenant, currency, err);
    if (rc != RC_OK)
        return rc;
    billing_plan_text(tenant->plan, tenant->plan_version, plan);
    (void)printf("plan         %s\n", plan);
    print_amount("budget", tenant->budget_micro, currency);
    print_amount("cap", tenant->hard_cap_micro, currency);
    (void)printf("alerts at    ");
    for (uint32_t i = 0; i < ACCOUNT_ALERT_MAX && tenant->alert_percents[i] != 0; i++)
        (void)printf("%s%u %%", i > 0 ? ", " : "", tenant->alert_percents[i]);
    (void)printf("%s\nwebhook      %s\n", tenant->alert_percents[0] == 0 ? "-" : "",
                 tenant->alert_webhook[0] != '\0' ? tenant->alert_webhook : "-");
    return RC_OK;
}
