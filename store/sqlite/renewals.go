package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"github.com/sealq/sealq/accounts"
)

// RenewPending voids links of a key: see [accounts.PendingStore].
func (db *DB) RenewPending(ctx context.Context, tx *sql.Tx, kid string, limit int, nonce func() []byte) ([]accounts.SavedPending, error) {
	renewed, err := renewPending(ctx, tx, kid, limit)
	if err != nil {
		return nil, db.wrap("renew registrations", err)
	}
	for _, p := range renewed {
		if _, err := execute(ctx, tx, `UPDATE pending_users SET nonce = ? WHERE id = ?`, nonce(), p.ID); err != nil {
			return nil, db.wrap("renew registrations", err)
		}
	}
	return renewed, nil
}

// renewPending writes before it reads, as a transaction that a caller began without IMMEDIATE must: see SavePending.
func renewPending(ctx context.Context, tx *sql.Tx, kid string, limit int) ([]accounts.SavedPending, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `
		UPDATE pending_users SET generation = generation + 1, kid = NULL, key_hash = NULL, sent_at = NULL, resend_count = resend_count + 1
		WHERE id IN (
			SELECT id FROM pending_users WHERE kid = ? AND key_hash IS NOT NULL AND expires_at > ? ORDER BY expires_at LIMIT ?)
		RETURNING id, generation, expires_at`, kid, instant, limit)
	if err != nil {
		return nil, err //nolint:wrapcheck // RenewPending wraps it
	}
	renewed, err := collect(rows, func(rows *sql.Rows) (accounts.SavedPending, error) {
		var p accounts.SavedPending
		var expires int64
		err := rows.Scan(&p.ID, &p.Generation, &expires)
		p.ExpiresAt = timeOf(expires)
		return p, err //nolint:wrapcheck // RenewPending wraps it
	})
	slices.SortFunc(renewed, func(a, b accounts.SavedPending) int {
		return cmp.Or(a.ExpiresAt.Compare(b.ExpiresAt), cmp.Compare(a.ID, b.ID))
	})
	return renewed, err
}
