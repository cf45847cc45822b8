/* SPDX-License-Identifier: Apache-2.0
 * fixture.h - a fresh database for each test. ACCOUNT_URL names it; {dir} is a folder of the test's
 * own. */
#ifndef TESTS_ACCOUNT_FIXTURE_H
#define TESTS_ACCOUNT_FIXTURE_H
#include "account/account.h"
#include "account/key.h"
#include "account/quota.h"

#define NOW_MS  1796000000000ull /* 2026-11-29T21:33:20Z */
#define DAY_MS  86400000ull
#define UNKNOWN "aaaaaaaa"

void fixture_fresh(void); /* another folder; the old one goes */
/* A handle on the current one. */
struct account *fixture_open(void);
struct account *fixture_open_with(const struct account_config *config); /* url is filled in */
const char *fixture_url(void);

/* Tenant `id`, made with what the caller has set; asserts success. */
void fixture_tenant(struct account *account, const char *id);
struct account_tenant fixture_get(struct account *account, const char *id);
void fixture_set(struct account *account, const struct account_tenant *tenant);
/* A key with all scopes. */
struct account_key fixture_key(struct account *account, const char *tenant,
                               char token[KEY_TOKEN_SIZE]);
/* "flat" version 1: 1,000 micro-units for each image of any model. */
void fixture_plan(struct account *account);
struct id fixture_id(uint64_t number);
#endif
