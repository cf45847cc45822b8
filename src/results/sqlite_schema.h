/* SPDX-License-Identifier: Apache-2.0
 * sqlite_schema.h - the tables of the SQLite driver. A change is a further entry, never an edit.
 *
 * The ledger is the register of ids: it finds a prediction's time, so that the predictions need no
 * index by id, and one insertion into it tells a new commit from a known one. Rows of it are small,
 * so it is its own index; predictions are not, so they are found through theirs. Of a picture's
 * hash the index has 8 bytes: it narrows, the row decides. */
#ifndef RESULTS_SQLITE_SCHEMA_H
#define RESULTS_SQLITE_SCHEMA_H

static const char *const sqlite_migrations[] = {
    "CREATE TABLE results_ledger("
    " tenant TEXT NOT NULL, id BLOB NOT NULL, created_ms INTEGER NOT NULL, stored INTEGER NOT NULL,"
    " model TEXT NOT NULL, version TEXT NOT NULL, key TEXT NOT NULL, plan TEXT NOT NULL,"
    " plan_version INTEGER NOT NULL, units INTEGER NOT NULL, requests INTEGER NOT NULL,"
    " PRIMARY KEY(tenant, id)) WITHOUT ROWID;"

    "CREATE TABLE results_prediction("
    " no INTEGER PRIMARY KEY, tenant TEXT NOT NULL, created_ms INTEGER NOT NULL, id BLOB NOT NULL,"
    " item INTEGER NOT NULL, job_id BLOB, key TEXT NOT NULL, model TEXT NOT NULL,"
    " version TEXT NOT NULL, label TEXT NOT NULL, scores BLOB NOT NULL, sha256 BLOB NOT NULL,"
    " format TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,"
    " queue_us INTEGER NOT NULL, decode_us INTEGER NOT NULL, fit_us INTEGER NOT NULL,"
    " infer_us INTEGER NOT NULL, total_us INTEGER NOT NULL, reference TEXT, metadata BLOB);"
    "CREATE UNIQUE INDEX results_by_time ON results_prediction(tenant, created_ms, id);"
    "CREATE INDEX results_by_label ON results_prediction(tenant, label, created_ms, id);"
    "CREATE INDEX results_by_model ON results_prediction(tenant, model, created_ms, id);"
    "CREATE INDEX results_by_reference ON results_prediction(tenant, reference, created_ms, id)"
    " WHERE reference IS NOT NULL;"
    "CREATE INDEX results_by_picture ON results_prediction(tenant, substr(sha256,1,8));"

    "CREATE TABLE results_tombstone("
    " tenant TEXT NOT NULL, id BLOB NOT NULL, created_ms INTEGER NOT NULL,"
    " erased_ms INTEGER NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL,"
    " units INTEGER NOT NULL, PRIMARY KEY(tenant, id)) WITHOUT ROWID;"

    "CREATE TABLE results_feedback("
    " tenant TEXT NOT NULL, id BLOB NOT NULL, created_ms INTEGER NOT NULL, model TEXT NOT NULL,"
    " version TEXT NOT NULL, class_id INTEGER, label TEXT NOT NULL, note TEXT NOT NULL,"
    " time_ms INTEGER NOT NULL, correct INTEGER NOT NULL,"
    " PRIMARY KEY(tenant, id)) WITHOUT ROWID;"
    "CREATE INDEX results_by_correct"
    " ON results_feedback(tenant, model, version, created_ms, correct);"

    "CREATE TABLE results_usage("
    " tenant TEXT NOT NULL, day INTEGER NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL,"
    " key TEXT NOT NULL, plan TEXT NOT NULL, plan_version INTEGER NOT NULL,"
    " requests INTEGER NOT NULL, images INTEGER NOT NULL,"
    " PRIMARY KEY(tenant, day, model, version, key, plan, plan_version)) WITHOUT ROWID;"

    "CREATE TABLE results_reservation("
    " tenant TEXT NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL, request_id BLOB NOT NULL,"
    " attempt INTEGER NOT NULL, done INTEGER NOT NULL, lease_until_ms INTEGER NOT NULL,"
    " expires_ms INTEGER NOT NULL, answer BLOB, PRIMARY KEY(tenant, key)) WITHOUT ROWID;"
    "CREATE INDEX results_by_expiry ON results_reservation(expires_ms);"

    "CREATE TABLE results_job_item("
    " tenant TEXT NOT NULL, job_id BLOB NOT NULL, item INTEGER NOT NULL, outcome TEXT NOT NULL,"
    " id BLOB, reason TEXT NOT NULL, time_ms INTEGER NOT NULL,"
    " PRIMARY KEY(tenant, job_id, item)) WITHOUT ROWID;"

    "CREATE TABLE results_outbox("
    " number INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, outbox_id BLOB NOT NULL,"
    " created_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL, attempt INTEGER NOT NULL,"
    " payload BLOB NOT NULL);"
    "CREATE UNIQUE INDEX results_outbox_by_id ON results_outbox(tenant, outbox_id);"
    "CREATE INDEX results_outbox_by_due ON results_outbox(due_ms);",

    "CREATE TABLE results_job("
    " no INTEGER PRIMARY KEY, tenant TEXT NOT NULL, id BLOB NOT NULL, created_ms INTEGER NOT NULL,"
    " ended INTEGER NOT NULL, ended_ms INTEGER NOT NULL, reopened INTEGER NOT NULL,"
    " reason TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, pictures BLOB NOT NULL);"
    "CREATE UNIQUE INDEX results_job_by_id ON results_job(tenant, id);"
    "CREATE INDEX results_job_by_time ON results_job(tenant, created_ms, id);"
    "CREATE INDEX results_job_by_end ON results_job(tenant, ended_ms) WHERE ended<>0;"
    "CREATE INDEX results_job_by_open ON results_job(id, tenant) WHERE ended=0;"

    /* Of jobs that are open or dead. */
    "CREATE TABLE results_job_picture("
    " tenant TEXT NOT NULL, sha256 BLOB NOT NULL, job_id BLOB NOT NULL,"
    " PRIMARY KEY(tenant, sha256, job_id)) WITHOUT ROWID;",
};
#endif
