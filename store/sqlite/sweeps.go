package sqlite

import (
	"context"
	"database/sql"
)

// ExpirePending deletes registrations and requests whose time is over: see authworker.Sweeps.
func (db *DB) ExpirePending(ctx context.Context, limit int) (int, error) {
	return db.countInTx(ctx, "expire registrations", func(tx *sql.Tx, instant int64) (int, error) {
		swept, err := execute(ctx, tx, `DELETE FROM pending_users WHERE id IN (
			SELECT id FROM pending_users WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`, instant, limit)
		if err != nil {
			return 0, err
		}
		requests, err := execute(ctx, tx, `DELETE FROM owner_requests WHERE id IN (
			SELECT id FROM owner_requests WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`, instant, limit-swept)
		return swept + requests, err
	})
}
