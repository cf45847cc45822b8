/* SPDX-License-Identifier: Apache-2.0
 * sqlite_reserve.c - Idempotency-Key. Reservations cost no fsync: what they protect is in the same
 * log behind them, so a durable commit makes them durable as well. */
#include "results/sqlite.h"

static enum rc hold(struct sqlite_conn *conn, struct bytes tenant, struct bytes key,
                    const uint8_t fingerprint[32], uint64_t expires_ms,
                    const struct results_reservation *reservation, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_RESERVATION_PUT);
    sqlite_bind_text(stmt, 1, tenant);
    sqlite_bind_text(stmt, 2, key);
    sqlite_bind_blob(stmt, 3, (struct bytes){fingerprint, 32});
    sqlite_bind_id(stmt, 4, reservation->request_id);
    sqlite_bind_u64(stmt, 5, reservation->attempt);
    sqlite_bind_u64(stmt, 6, reservation->lease_until_ms);
    sqlite_bind_u64(stmt, 7, expires_ms);
    return sqlite_run(stmt, err);
}

/* Fills `reservation` from the row there is; *ret_expires is 0 if there is none that counts. */
static enum rc look(struct sqlite_conn *conn, struct bytes tenant, struct bytes key,
                    const uint8_t fingerprint[32], uint64_t now_ms,
                    struct results_reservation *reservation, uint64_t *ret_expires,
                    struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_RESERVATION_GET);
    sqlite_bind_text(stmt, 1, tenant);
    sqlite_bind_text(stmt, 2, key);
    bool row = false;
    enum rc rc = sqlite_step(stmt, &row, err);
    if (rc != RC_OK || !row)
        return rc;
    /* Also of an expired one, so that its holder cannot release the next. */
    reservation->attempt = (uint32_t)sqlite_column_u64(stmt, 2);
    uint64_t expires = sqlite_column_u64(stmt, 5);
    if (expires > now_ms) {
        *ret_expires = expires;
        reservation->request_id = sqlite_column_id(stmt, 1);
        reservation->lease_until_ms = sqlite_column_u64(stmt, 4);
        if (!bytes_equal(sqlite_column_blob(stmt, 0), (struct bytes){fingerprint, 32})) {
            reservation->state = RESERVED_CONFLICT;
        } else if (sqlite_column_i64(stmt, 3) != 0) {
            reservation->state = RESERVED_DONE;
            rc = buf_append(&reservation->answer, sqlite_column_blob(stmt, 6));
            if (rc != RC_OK)
                rc = error_set(err, rc, "no room for the kept answer");
        } else if (reservation->lease_until_ms > now_ms) {
            reservation->state = RESERVED_IN_FLIGHT;
        }
    }
    sqlite_reset(stmt);
    return rc;
}

enum rc complete_reservation(struct sqlite_conn *conn, struct bytes tenant, struct id request_id,
                             const struct completion *completion, struct error *err)
{
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_RESERVATION_COMPLETE);
    sqlite_bind_text(stmt, 1, tenant);
    sqlite_bind_text(stmt, 2, completion->key);
    sqlite_bind_blob(stmt, 3, (struct bytes){completion->fingerprint, 32});
    sqlite_bind_id(stmt, 4, request_id);
    sqlite_bind_u64(stmt, 5, completion->until_ms);
    sqlite_bind_blob(stmt, 6, completion->answer);
    return sqlite_run(stmt, err);
}

enum rc sqlite_results_reserve(struct results *results, struct bytes tenant, struct bytes key,
                               const uint8_t fingerprint[32], struct id request_id, uint64_t now_ms,
                               uint64_t lease_until_ms, uint64_t expires_ms,
                               struct results_reservation *reservation, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(db_of(results), ORDERED, &conn, err);
    if (rc != RC_OK)
        return rc;
    reservation->state = RESERVED_NEW;
    reservation->attempt = 0;
    reservation->request_id = request_id;
    uint64_t expires = 0;
    rc = look(conn, tenant, key, fingerprint, now_ms, reservation, &expires, err);
    if (rc != RC_OK || reservation->state != RESERVED_NEW) {
        sqlite_rollback(conn);
        return rc;
    }
    reservation->attempt++;
    reservation->lease_until_ms = lease_until_ms;
    /* A taken-over one ends when the first would have, but not before its lease. */
    if (expires == 0)
        expires = expires_ms;
    else if (expires < lease_until_ms)
        expires = lease_until_ms;
    rc = hold(conn, tenant, key, fingerprint, expires, reservation, err);
    return sqlite_end(conn, rc, err);
}

enum rc sqlite_results_release(struct results *results, struct bytes tenant, struct bytes key,
                               uint32_t attempt, uint64_t now_ms, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(db_of(results), ORDERED, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_RESERVATION_RELEASE);
    sqlite_bind_text(stmt, 1, tenant);
    sqlite_bind_text(stmt, 2, key);
    sqlite_bind_u64(stmt, 3, attempt);
    sqlite_bind_u64(stmt, 4, now_ms);
    return sqlite_end(conn, sqlite_run(stmt, err), err);
}

enum rc sqlite_results_expire(struct results *results, uint64_t now_ms, uint32_t limit,
                              uint32_t *ret_count, struct error *err)
{
    struct sqlite_conn *conn = NULL;
    enum rc rc = sqlite_write(db_of(results), ORDERED, &conn, err);
    if (rc != RC_OK)
        return rc;
    struct sqlite_stmt *stmt = sqlite_use(conn, STMT_RESERVATION_EXPIRE);
    sqlite_bind_u64(stmt, 1, now_ms);
    sqlite_bind_u64(stmt, 2, limit);
    rc = sqlite_run(stmt, err);
    uint32_t count = rc == RC_OK ? (uint32_t)sqlite_changed(conn) : 0;
    rc = sqlite_end(conn, rc, err);
    if (rc == RC_OK)
        *ret_count = count;
    return rc;
}
