/* SPDX-License-Identifier: Apache-2.0
 * webhooks.c - GET /v1/webhooks/secret: what the tenant's webhooks are signed with. */
#include "api/exchange.h"

#include "account/webhook_secret.h"
#include "base/clock.h"

#include <openssl/crypto.h>

static json_t *time_json(uint64_t ms)
{
    char text[CLOCK_TEXT_SIZE];
    clock_wall_text(ms, text);
    return ms == 0 ? json_null() : json_string(text);
}

static void secret_get(struct exchange *exchange)
{
    struct error err = {0};
    struct account_webhook_secret secret;
    enum rc rc = account_webhook_secret_get(exchange->api->config.account, exchange->tenant,
                                            clock_wall_ms(), &secret, &err);
    if (rc != RC_OK) {
        exchange_fail_store(exchange, rc, &err);
        return;
    }
    char text[WEBHOOK_SECRET_TEXT_SIZE];
    account_webhook_secret_text(secret.current, text);
    json_t *answer =
        json_pack("{s:s, s:o, s:o}", "secret", text, "created_at", time_json(secret.created_ms),
                  "old_secret_until", time_json(secret.old_until_ms));
    OPENSSL_cleanse(text, sizeof(text));
    OPENSSL_cleanse(&secret, sizeof(secret));
    exchange_answer_json(exchange, 200, answer);
}

void route_webhooks_secret(struct exchange *exchange)
{
    struct error err = {0};
    if (exchange->api->config.account != NULL) {
        store_pool_push(exchange->api->stores, exchange, secret_get);
        return;
    }
    enum rc rc = error_set(&err, RC_NOT_FOUND,
                           "this server has no accounts (--accounts), and so no webhooks");
    exchange_fail(exchange, rc, &err);
}
