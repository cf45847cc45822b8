/* SPDX-License-Identifier: Apache-2.0
 * serve_webhooks.h - the sender of webhooks as `imago serve` runs it: its settings and its log. */
#ifndef CLI_SERVE_WEBHOOKS_H
#define CLI_SERVE_WEBHOOKS_H
#include "config/config.h"
#include "work/webhook.h"

/* *ret_sender stays NULL where there is nothing to send (`results` NULL) or nothing to sign with
 * (`account` NULL). */
NODISCARD enum rc serve_webhooks_open(const struct settings *settings, struct results *results,
                                      struct account *account, struct webhook_sender **ret_sender,
                                      struct error *err);
#endif
