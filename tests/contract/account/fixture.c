/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static char url[512];

static void dir_remove(void)
{
    if (dir[0] == '\0')
        return;
    DIR *open_dir = opendir(dir);
    struct dirent *entry;
    while (open_dir != NULL && (entry = readdir(open_dir)) != NULL)
        (void)unlinkat(dirfd(open_dir), entry->d_name, 0);
    if (open_dir != NULL)
        (void)closedir(open_dir);
    (void)rmdir(dir);
    dir[0] = '\0';
}

void fixture_fresh(void)
{
    const char *pattern = getenv("ACCOUNT_URL");
    if (pattern == NULL)
        pattern = "sqlite:{dir}/imago.db";
    static bool registered;
    if (!registered)
        (void)atexit(dir_remove);
    registered = true;
    dir_remove();
    (void)snprintf(dir, sizeof(dir), "/tmp/imago-account-XXXXXX");
    assert_non_null(mkdtemp(dir));
    const char *at = strstr(pattern, "{dir}");
    if (at == NULL)
        (void)snprintf(url, sizeof(url), "%s", pattern);
    else
        (void)snprintf(url, sizeof(url), "%.*s%s%s", (int)(at - pattern), pattern, dir,
                       at + strlen("{dir}"));
}

const char *fixture_url(void) { return url; }

struct account *fixture_open_with(const struct account_config *config)
{
    struct account_config how = *config;
    how.url = url;
    struct account *account = NULL;
    struct error err = {0};
    if (account_open(&how, &account, &err) != RC_OK)
        fail_msg("%s", err.text);
    return account;
}

struct account *fixture_open(void) { return fixture_open_with(&(struct account_config){0}); }

void fixture_tenant(struct account *account, const char *id)
{
    struct account_tenant tenant = {0};
    (void)snprintf(tenant.id, sizeof(tenant.id), "%s", id);
    assert_int_equal(account_tenant_create(account, &tenant, NOW_MS, NULL), RC_OK);
}

struct account_tenant fixture_get(struct account *account, const char *id)
{
    struct account_tenant tenant;
    assert_int_equal(account_tenant_get(account, id, &tenant, NULL), RC_OK);
    return tenant;
}

void fixture_set(struct account *account, const struct account_tenant *tenant)
{
    struct error err = {0};
    if (account_tenant_set(account, tenant, NOW_MS, &err) != RC_OK)
        fail_msg("%s", err.text);
}

struct account_key fixture_key(struct account *account, const char *tenant,
                               char token[KEY_TOKEN_SIZE])
{
    struct account_key request = {.scopes = SCOPE_ALL};
    struct account_key key;
    struct error err = {0};
    (void)snprintf(request.tenant, sizeof(request.tenant), "%s", tenant);
    if (account_key_create(account, &request, NOW_MS, &key, token, &err) != RC_OK)
        fail_msg("%s", err.text);
    return key;
}

void fixture_plan(struct account *account)
{
    struct plan plan = {
        .name = "flat",
        .version = 1,
        .currency = "USD",
        .price_count = 1,
        .prices = {
            {.model = "*", .tier_count = 1, .tiers = {{.image_last = UINT64_MAX, .micro = 1000}}}}};
    assert_int_equal(account_plan_put(account, &plan, NOW_MS, NULL), RC_OK);
}

struct id fixture_id(uint64_t number)
{
    struct id id = {{0}};
    memcpy(id.octets, &number, sizeof(number));
    return id;
}
