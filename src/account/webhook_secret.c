/* SPDX-License-Identifier: Apache-2.0 */
#include "account/webhook_secret.h"
#include "account/driver.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#define PREFIX "whsec_"

_Static_assert(WEBHOOK_SECRET_TEXT_SIZE == sizeof(PREFIX) + (WEBHOOK_SECRET_SIZE + 2) / 3 * 4,
               "the size of a secret's text");

static enum rc no_tenant(const char *tenant, struct error *err)
{
    return error_set(err, RC_NOT_FOUND, "there is no tenant '%.63s'", tenant);
}

/* What has run out is not given out. */
static void judge(struct account_webhook_secret *secret, uint64_t now_ms)
{
    secret->has_old = secret->has_old && now_ms < secret->old_until_ms;
    if (secret->has_old)
        return;
    OPENSSL_cleanse(secret->old, sizeof(secret->old));
    secret->old_until_ms = 0;
}

static enum rc put(struct account *account, const char *tenant, bool rotate, uint64_t old_until_ms,
                   uint64_t now_ms, struct account_webhook_secret *ret_secret, struct error *err)
{
    uint8_t fresh[WEBHOOK_SECRET_SIZE];
    account->random(account->random_ctx, fresh, sizeof(fresh));
    enum rc rc = account->ops->webhook_secret_put(account, tenant, fresh, rotate, old_until_ms,
                                                  now_ms, ret_secret, err);
    OPENSSL_cleanse(fresh, sizeof(fresh));
    if (rc == RC_OK)
        judge(ret_secret, now_ms);
    return rc;
}

enum rc account_webhook_secret_get(struct account *account, const char *tenant, uint64_t now_ms,
                                   struct account_webhook_secret *ret_secret, struct error *err)
{
    assert(account != NULL && tenant != NULL && ret_secret != NULL);
    if (!account_tenant_fits(tenant))
        return no_tenant(tenant, err);
    bool found = false;
    enum rc rc = account->ops->webhook_secret_get(account, tenant, ret_secret, &found, err);
    if (rc == RC_OK && !found)
        return put(account, tenant, false, 0, now_ms, ret_secret, err);
    if (rc == RC_OK)
        judge(ret_secret, now_ms);
    return rc;
}

enum rc account_webhook_secret_rotate(struct account *account, const char *tenant,
                                      uint64_t old_until_ms, uint64_t now_ms,
                                      struct account_webhook_secret *ret_secret, struct error *err)
{
    assert(account != NULL && tenant != NULL && ret_secret != NULL);
    if (!account_tenant_fits(tenant))
        return no_tenant(tenant, err);
    if (old_until_ms > INT64_MAX)
        return error_set(err, RC_INVALID, "the old secret's end is out of range");
    return put(account, tenant, true, old_until_ms > now_ms ? old_until_ms : 0, now_ms, ret_secret,
               err);
}

void account_webhook_secret_text(const uint8_t secret[WEBHOOK_SECRET_SIZE],
                                 char into[WEBHOOK_SECRET_TEXT_SIZE])
{
    memcpy(into, PREFIX, sizeof(PREFIX) - 1);
    (void)EVP_EncodeBlock((uint8_t *)into + sizeof(PREFIX) - 1, secret, WEBHOOK_SECRET_SIZE);
}
