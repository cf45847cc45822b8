/* SPDX-License-Identifier: Apache-2.0
 * sqlite_schema.h - the tables of the SQLite driver. A change is a further entry, never an edit. */
#ifndef ACCOUNT_SQLITE_SCHEMA_H
#define ACCOUNT_SQLITE_SCHEMA_H

#define RULE_COLUMNS                                                                               \
    " requests INTEGER NOT NULL, window_s INTEGER NOT NULL, burst INTEGER NOT NULL,"               \
    " concurrent INTEGER NOT NULL, bytes_per_day INTEGER NOT NULL, images_per_day INTEGER NOT "    \
    "NULL"

static const char *const account_migrations[] = {
    "CREATE TABLE account_flag(name TEXT PRIMARY KEY) WITHOUT ROWID;"

    "CREATE TABLE account_tenant("
    " id TEXT PRIMARY KEY, created_ms INTEGER NOT NULL, revision INTEGER NOT NULL,"
    " suspended INTEGER NOT NULL, image_days INTEGER NOT NULL, result_days INTEGER NOT NULL,"
    " plan TEXT NOT NULL, plan_version INTEGER NOT NULL, budget_micro INTEGER NOT NULL,"
    " hard_cap_micro INTEGER NOT NULL, alert_percents BLOB NOT NULL," RULE_COLUMNS
    ") WITHOUT ROWID;"
    "INSERT INTO account_tenant VALUES('default',0,1,0,0,0,'',0,0,0,zeroblob(8),0,0,0,0,0,0);"

    /* Ids are unique over all tenants: a key is looked up before its tenant is known. */
    "CREATE TABLE account_key("
    " id TEXT PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, scopes INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, revoked_ms INTEGER NOT NULL,"
    " used_ms INTEGER NOT NULL, old_until_ms INTEGER NOT NULL, hash BLOB NOT NULL, old_hash BLOB,"
    " rule_own INTEGER NOT NULL," RULE_COLUMNS ") WITHOUT ROWID;"
    "CREATE INDEX account_key_by_tenant ON account_key(tenant, id);"
    /* What the lookup of an unknown id reads instead, so that it takes as long as a known one. Its
     * digest is nobody's, and no list shows an empty id. */
    "INSERT INTO account_key VALUES('','default','',0,0,0,1,0,0,zeroblob(32),NULL,0,0,0,0,0,0,0);"

    "CREATE TABLE account_plan("
    " name TEXT NOT NULL, version INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " body TEXT NOT NULL, PRIMARY KEY(name, version)) WITHOUT ROWID;"

    "CREATE TABLE account_day("
    " tenant TEXT NOT NULL, key TEXT NOT NULL, day INTEGER NOT NULL, used INTEGER NOT NULL,"
    " held INTEGER NOT NULL, PRIMARY KEY(tenant, key, day)) WITHOUT ROWID;"

    "CREATE TABLE account_month("
    " tenant TEXT NOT NULL, month INTEGER NOT NULL, plan TEXT NOT NULL,"
    " plan_version INTEGER NOT NULL, model TEXT NOT NULL, first_ms INTEGER NOT NULL,"
    " used INTEGER NOT NULL, held INTEGER NOT NULL,"
    " PRIMARY KEY(tenant, month, plan, plan_version, model)) WITHOUT ROWID;"

    /* state: 0 held, 1 settled, 2 given back. */
    "CREATE TABLE account_reservation("
    " tenant TEXT NOT NULL, id BLOB NOT NULL, state INTEGER NOT NULL, until_ms INTEGER NOT NULL,"
    " key TEXT NOT NULL, day INTEGER NOT NULL, month INTEGER NOT NULL, plan TEXT NOT NULL,"
    " plan_version INTEGER NOT NULL, model TEXT NOT NULL, images INTEGER NOT NULL,"
    " PRIMARY KEY(tenant, id)) WITHOUT ROWID;"
    "CREATE INDEX account_reservation_by_end ON account_reservation(state, until_ms);"

    "CREATE TABLE account_alert("
    " tenant TEXT NOT NULL, month INTEGER NOT NULL, percent INTEGER NOT NULL,"
    " PRIMARY KEY(tenant, month, percent)) WITHOUT ROWID;",

    "CREATE TABLE account_webhook("
    " tenant TEXT PRIMARY KEY, secret BLOB NOT NULL, created_ms INTEGER NOT NULL,"
    " old_secret BLOB, old_until_ms INTEGER NOT NULL) WITHOUT ROWID;",
    "ALTER TABLE account_tenant ADD COLUMN alert_webhook TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE account_tenure("
    " tenant TEXT NOT NULL, since_ms INTEGER NOT NULL, plan TEXT NOT NULL,"
    " plan_version INTEGER NOT NULL, PRIMARY KEY(tenant, since_ms)) WITHOUT ROWID;"
    "INSERT INTO account_tenure SELECT id, created_ms, plan, plan_version FROM account_tenant;",
};
#endif
