/* SPDX-License-Identifier: Apache-2.0
 * serve_issuer.h - the OpenID Connect issuer whose tokens `imago serve` takes: its settings, and
 * the thread that fetches its keys.
 *
 * The keys are those at --jwt-keys, or at the `jwks_uri` of the issuer's discovery document. They
 * are first fetched beside the start, which does not wait: until they are there, tokens are
 * answered 503. */
#ifndef CLI_SERVE_ISSUER_H
#define CLI_SERVE_ISSUER_H
#include "account/jwt.h"
#include "config/config.h"

struct issuer;

/* *ret_issuer stays NULL without --jwt-issuer. `settings` are borrowed. */
NODISCARD enum rc issuer_open(const struct settings *settings, struct issuer **ret_issuer,
                              struct error *err);
/* For account_config; NULL gives NULL. */
struct jwt *issuer_jwt(struct issuer *issuer);
/* When no account has its jwt any more. NULL is fine. */
void issuer_free(struct issuer *issuer);
#endif
