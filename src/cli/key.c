/* SPDX-License-Identifier: Apache-2.0
 * key.c - `imago key create|list|revoke|rotate`. */
#include "account/key.h"
#include "cli/accounts.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

struct options {
    struct stores_settings stores;
#define OPTION CONFIG_MEMBER
#include "cli/key_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/key_options.def"
#undef OPTION
};

static enum rc parse_scopes(const char *text, uint32_t *ret_scopes, struct error *err)
{
    *ret_scopes = 0;
    for (const char *at = text; *at != '\0';) {
        size_t size = strcspn(at, ",");
        uint32_t scope = account_scope_of((struct bytes){(const uint8_t *)at, size}, "");
        if (scope == 0)
            return error_set(err, RC_INVALID,
                             "--scopes: '%.*s' is none of predict, read, feedback, admin",
                             (int)(size < 40 ? size : 40), at);
        *ret_scopes |= scope;
        at += size + (at[size] == ',');
    }
    return RC_OK;
}

static json_t *scopes_json(uint32_t scopes)
{
    json_t *list = json_array();
    for (uint32_t bit = 1; bit <= SCOPE_ALL; bit <<= 1) {
        char text[ACCOUNT_SCOPES_TEXT_SIZE];
        account_scopes_text(scopes & bit, text);
        if (text[0] != '\0')
            (void)json_array_append_new(list, json_string(text));
    }
    return list;
}

static json_t *key_json(const struct account_key *key)
{
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", key->id, "tenant", key->tenant,
        "name", key->name, "scopes", scopes_json(key->scopes), "created_at",
        accounts_time_json(key->created_ms), "expires_at", accounts_time_json(key->expires_ms),
        "revoked_at", accounts_time_json(key->revoked_ms), "last_used_at",
        accounts_time_json(key->used_ms), "old_secret_until", accounts_time_json(key->old_until_ms),
        "limits", key->rule_own ? accounts_limits_json(&key->rule) : json_null());
}

/* The key on standard output, alone on its line; what a person must know on standard error. */
static enum rc show_secret(const struct options *options, const struct account_key *key,
                           const char *token, struct error *err)
{
    enum rc rc = RC_OK;
    if (strcmp(options->format, "json") == 0) {
        json_t *object = key_json(key);
        (void)json_object_set_new(object, "key", json_string(token));
        rc = accounts_print_json(object, err);
    } else {
        rc = cli_wrote(puts(token) >= 0 && fflush(stdout) == 0, err);
    }
    if (rc == RC_OK)
        (void)fprintf(stderr, "imago: this key is shown only now; whoever has it is '%s'\n",
                      key->tenant);
    return rc;
}

static enum rc create(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    struct account_key request = {0};
    struct account_tenant tenant;
    enum rc rc = account_tenant_get(call->stores->account, options->tenant, &tenant, err);
    if (rc == RC_OK)
        rc = parse_scopes(options->scopes, &request.scopes, err);
    if (rc == RC_OK)
        rc = accounts_when(options->expires, call->now_ms, &request.expires_ms, err);
    if (rc == RC_OK && snprintf(request.name, sizeof(request.name), "%s", options->name) >=
                           (int)sizeof(request.name))
        rc = error_set(err, RC_INVALID, "--name: at most %d bytes", KEY_NAME_SIZE - 1);
    if (rc != RC_OK)
        return rc;
    memcpy(request.tenant, tenant.id, sizeof(request.tenant));
    /* What the command line does not limit, the tenant's limits do. */
    request.rule = tenant.rule;
    struct accounts_limits limits = {options->requests,      options->window,
                                     options->burst,         options->concurrent,
                                     options->bytes_per_day, options->images_per_day};
    rc = accounts_limits_apply(call->config, &limits, &request.rule, &request.rule_own, err);
    struct account_key key;
    char token[KEY_TOKEN_SIZE];
    if (rc == RC_OK)
        rc = account_key_create(call->stores->account, &request, call->now_ms, &key, token, err);
    return rc == RC_OK ? show_secret(options, &key, token, err) : rc;
}

static const char *state_of(const struct account_key *key, uint64_t now_ms)
{
    if (key->revoked_ms != 0)
        return "revoked";
    return key->expires_ms != 0 && key->expires_ms <= now_ms ? "expired" : "active";
}

static enum rc print_row(const struct account_key *key, enum accounts_form form, uint64_t now_ms,
                         struct error *err)
{
    if (form == ACCOUNTS_JSON)
        return accounts_print_json(key_json(key), err);
    char scopes[ACCOUNT_SCOPES_TEXT_SIZE];
    char expires[ACCOUNTS_TIME_SIZE];
    char used[ACCOUNTS_TIME_SIZE];
    char limits[ACCOUNTS_LIMITS_SIZE] = "of the tenant";
    account_scopes_text(key->scopes, scopes);
    accounts_time_text(key->expires_ms, expires);
    accounts_time_text(key->used_ms, used);
    if (key->rule_own)
        accounts_limits_text(&key->rule, limits);
    return cli_wrote(printf("%-9s %-8s %-28s %-21s %-21s %-20s %s\n", key->id,
                            state_of(key, now_ms), scopes, expires, used,
                            key->name[0] != '\0' ? key->name : "-", limits) >= 0,
                     err);
}

static enum rc list(struct cli_call *call, struct error *err)
{
    static struct account_key page[ACCOUNT_LIST_MAX];
    const struct options *options = call->options;
    enum accounts_form form = accounts_form_choose(options->format);
    struct account_tenant tenant;
    enum rc rc = account_tenant_get(call->stores->account, options->tenant, &tenant, err);
    if (rc == RC_OK && form == ACCOUNTS_TABLE)
        (void)printf("%-9s %-8s %-28s %-21s %-21s %-20s %s\n", "KEY", "STATE", "SCOPES", "EXPIRES",
                     "LAST USED", "NAME", "LIMITS");
    char after[KEY_ID_SIZE] = "";
    uint32_t count = ACCOUNT_LIST_MAX;
    while (rc == RC_OK && count == ACCOUNT_LIST_MAX) {
        rc = account_key_list(call->stores->account, options->tenant, options->prefix, after, page,
                              ACCOUNT_LIST_MAX, &count, err);
        for (uint32_t i = 0; rc == RC_OK && i < count; i++)
            rc = print_row(&page[i], form, call->now_ms, err);
        if (rc == RC_OK && count > 0)
            memcpy(after, page[count - 1].id, sizeof(after));
    }
    return rc;
}

static enum rc revoke(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    enum rc rc = account_key_revoke(call->stores->account, options->tenant, call->argv[0],
                                    call->now_ms, err);
    if (rc == RC_OK)
        (void)fprintf(stderr, "imago: key %s is revoked; servers refuse it within 5 seconds\n",
                      call->argv[0]);
    return rc;
}

static enum rc rotate(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    struct account_key key;
    char token[KEY_TOKEN_SIZE];
    uint64_t until_ms = call->now_ms + options->overlap;
    enum rc rc = account_key_rotate(call->stores->account, options->tenant, call->argv[0], until_ms,
                                    call->now_ms, token, err);
    if (rc == RC_OK)
        rc = account_key_get(call->stores->account, options->tenant, call->argv[0], &key, err);
    if (rc == RC_OK)
        rc = show_secret(options, &key, token, err);
    char until[ACCOUNTS_TIME_SIZE];
    accounts_time_text(until_ms, until);
    if (rc == RC_OK && options->overlap > 0)
        (void)fprintf(stderr, "imago: the one before works until %s\n", until);
    return rc;
}

static const struct cli_verb verbs[] = {{"create", "", STORE_ACCOUNTS | STORE_CREATE, create},
                                        {"list", "", STORE_ACCOUNTS, list},
                                        {"revoke", "KEY", STORE_ACCOUNTS, revoke},
                                        {"rotate", "KEY", STORE_ACCOUNTS, rotate}};

int cli_key(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "key",
        .prose =
            "create: a key for a tenant, printed once. list: the tenant's keys, never their "
            "secrets.\nrevoke: ends a key for good. rotate: a new secret for the same key; the old "
            "one works for --overlap.\nKEY is the id that list shows: the 8 characters after "
            "'imago_'.\nLimits given here are the key's own; without any, the tenant's count.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = verbs,
        .verb_count = sizeof(verbs) / sizeof(verbs[0])};
    return cli_run(&command, &options, argc, argv);
}
