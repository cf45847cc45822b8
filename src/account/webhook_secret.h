/* SPDX-License-Identifier: Apache-2.0
 * webhook_secret.h - what a tenant's webhooks are signed with.
 *
 * 32 random bytes, made when first asked for. Unlike keys they are kept as they are, since a
 * signature needs them: who reads the accounts' database can sign as the server does. A rotation
 * makes another and lets the one before go on for a while, in which both sign. */
#ifndef ACCOUNT_WEBHOOK_SECRET_H
#define ACCOUNT_WEBHOOK_SECRET_H
#include "account/account.h"

#define WEBHOOK_SECRET_SIZE      32u
#define WEBHOOK_SECRET_TEXT_SIZE 51u /* with the terminator */

struct account_webhook_secret {
    uint8_t current[WEBHOOK_SECRET_SIZE];
    uint64_t created_ms;
    bool has_old; /* the one before still signs, until old_until_ms */
    uint8_t old[WEBHOOK_SECRET_SIZE];
    uint64_t old_until_ms;
};

/* NOT_FOUND: no such tenant. */
NODISCARD enum rc account_webhook_secret_get(struct account *account, const char *tenant,
                                             uint64_t now_ms,
                                             struct account_webhook_secret *ret_secret,
                                             struct error *err);
/* The one of now signs until `old_until_ms` (<= now_ms: no longer), and one from an earlier
 * rotation ends at once. */
NODISCARD enum rc account_webhook_secret_rotate(struct account *account, const char *tenant,
                                                uint64_t old_until_ms, uint64_t now_ms,
                                                struct account_webhook_secret *ret_secret,
                                                struct error *err);
/* "whsec_" and base64, as receivers take it. */
void account_webhook_secret_text(const uint8_t secret[WEBHOOK_SECRET_SIZE],
                                 char into[WEBHOOK_SECRET_TEXT_SIZE]);
#endif
