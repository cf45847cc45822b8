/* SPDX-License-Identifier: Apache-2.0
 * sqlite.h - what the files of the SQLite driver share; sqlite.c says which file does what. */
#ifndef ACCOUNT_SQLITE_H
#define ACCOUNT_SQLITE_H
#include "account/driver.h"
#include "sqlite/sqlite.h"

enum account_statement {
#define STATEMENT(name, sql) STMT_##name,
#include "account/sqlite_statements.def"
#undef STATEMENT
    STMT_COUNT
};

struct account_sqlite {
    struct account base;
    struct sqlite *db;
};

/* The one place that casts; the table's address is the type tag. */
struct sqlite *account_db_of(struct account *account);

/* Text of a column into an array with room for it; the schema's writers checked its size. */
void account_column_copy(struct sqlite_stmt *stmt, int column, char *into, size_t into_size);
/* The row's columns from `first` on, as TENANT and RULE name them; how many that are. */
void account_tenant_read(struct sqlite_stmt *stmt, int first, struct account_tenant *ret_tenant);
int account_rule_read(struct sqlite_stmt *stmt, int first, struct limits_rule *ret_rule);
int account_rule_bind(struct sqlite_stmt *stmt, int first, const struct limits_rule *rule);
/* NOT_FOUND if there is none. */
NODISCARD enum rc account_tenant_find(struct sqlite_conn *conn, const char *id,
                                      struct account_tenant *ret_tenant, struct error *err);

enum rc sqlite_key_create(struct account *account, const struct key_record *record, bool *ret_taken,
                          bool *ret_full, struct error *err);
enum rc sqlite_key_find(struct account *account, const char *id, struct key_record *ret_record,
                        struct account_tenant *ret_tenant, struct error *err);
enum rc sqlite_key_get(struct account *account, const char *tenant, const char *id,
                       struct account_key *ret_key, struct error *err);
enum rc sqlite_key_list(struct account *account, const char *tenant, const char *prefix,
                        const char *after, struct account_key *into, uint32_t count_max,
                        uint32_t *ret_count, struct error *err);
enum rc sqlite_key_revoke(struct account *account, const char *tenant, const char *id,
                          uint64_t now_ms, struct error *err);
enum rc sqlite_key_rotate(struct account *account, const char *tenant, const char *id,
                          const uint8_t hash[KEY_HASH_SIZE], uint64_t old_until_ms, uint64_t now_ms,
                          bool *ret_dead, struct error *err);
enum rc sqlite_keys_used(struct account *account, const struct identity_use uses[], uint32_t count,
                         struct error *err);

enum rc sqlite_reserve(struct account *account, struct quota_request requests[], uint32_t count,
                       uint64_t until_ms, uint64_t now_ms, struct error *err);
enum rc sqlite_settle(struct account *account, struct quota_settlement settlements[],
                      uint32_t count, struct error *err);
enum rc sqlite_expired(struct account *account, uint64_t now_ms, struct quota_expired *into,
                       uint32_t count_max, uint32_t *ret_count, struct error *err);
enum rc sqlite_forget(struct account *account, uint64_t before_ms, uint32_t count_max,
                      uint32_t *ret_count, struct error *err);
enum rc sqlite_quota_day(struct account *account, const char *tenant, const char *key, uint32_t day,
                         struct quota_day *ret_day, struct error *err);
enum rc sqlite_quota_month(struct account *account, const char *tenant, uint32_t month,
                           struct quota_usage *into, uint32_t count_max, uint32_t *ret_count,
                           struct error *err);
enum rc sqlite_quota_correct(struct account *account, const char *tenant, uint32_t month,
                             uint64_t at_ms, const struct quota_usage known[], uint32_t known_count,
                             const struct quota_usage rows[], uint32_t count, bool *ret_moved,
                             struct error *err);
enum rc sqlite_alerts_fresh(struct account *account, const char *tenant, uint32_t month,
                            enum alerts_how how, const uint8_t percents[], uint32_t count,
                            bool fresh[], struct error *err);

enum rc sqlite_webhook_secret_get(struct account *account, const char *tenant,
                                  struct account_webhook_secret *ret_secret, bool *ret_found,
                                  struct error *err);
enum rc sqlite_webhook_secret_put(struct account *account, const char *tenant,
                                  const uint8_t fresh[WEBHOOK_SECRET_SIZE], bool rotate,
                                  uint64_t old_until_ms, uint64_t now_ms,
                                  struct account_webhook_secret *ret_secret, struct error *err);
#endif
