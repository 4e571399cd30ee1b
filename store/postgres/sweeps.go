package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// sweepLockSQL bounds how long a sweep waits for a table that a migration or an administrator holds: hygiene must not
// queue up before logins. Rows it does not wait for at all.
const sweepLockSQL = `SET LOCAL lock_timeout = '100ms'`

const expirePendingSQL = `
WITH due AS (
	SELECT id FROM pending_users WHERE expires_at <= statement_timestamp() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
DELETE FROM pending_users p USING due WHERE p.id = due.id AND p.expires_at <= statement_timestamp()`

const expireRequestsSQL = `
WITH due AS (
	SELECT id FROM owner_requests WHERE expires_at <= statement_timestamp() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
DELETE FROM owner_requests r USING due WHERE r.id = due.id AND r.expires_at <= statement_timestamp()`

// ExpirePending deletes up to limit registrations, and then requests by address, whose time is over, the oldest first, except those that
// somebody has locked.
func (db *DB) ExpirePending(ctx context.Context, limit int) (int, error) {
	swept, err := db.sweep(ctx, "expire registrations", expirePendingSQL, limit)
	if err != nil || swept >= limit {
		return swept, err
	}
	requests, err := db.sweep(ctx, "expire requests", expireRequestsSQL, limit-swept)
	return swept + requests, err
}

// sweep runs one batch. The timeout is set in a step before the statement, as preparing it waits for the table already.
func (db *DB) sweep(ctx context.Context, operation, sql string, limit int) (changed int, err error) {
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sweepLockSQL); err != nil {
			return wrap(operation, err)
		}
		tag, err := tx.Exec(ctx, sql, limit)
		if err != nil {
			return wrap(operation, err)
		}
		changed = int(tag.RowsAffected())
		return nil
	})
	if err != nil {
		return 0, err
	}
	return changed, nil
}
