package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/sealq/sealq/accounts"
)

// SaveRequest writes what was asked for by an address: see [accounts.RequestStore]. It touches no table that knows who has an account.
func (db *DB) SaveRequest(ctx context.Context, tx *sql.Tx, r accounts.NewRequest) (accounts.SavedRequest, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return accounts.SavedRequest{}, db.wrap("save request", err)
	}
	saved := accounts.SavedRequest{}
	var expires int64
	err = tx.QueryRowContext(ctx, `
		INSERT INTO owner_requests (email_norm, mail, id, asked_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?4 + ?5)
		ON CONFLICT (email_norm, mail) DO UPDATE SET
			id = CASE WHEN answered_at IS NULL AND owner_requests.expires_at > ?4 THEN id ELSE excluded.id END,
			asked_at = excluded.asked_at, expires_at = excluded.expires_at, answered_at = NULL
		WHERE asked_at <= ?4 - ?6
		RETURNING id, expires_at`,
		r.EmailNorm, string(r.Mail), r.ID, instant, r.TTL.Microseconds(), r.NotWithin.Microseconds()).Scan(&saved.ID, &expires)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.SavedRequest{}, accounts.ErrThrottled
	case err != nil:
		return accounts.SavedRequest{}, db.wrap("save request", err)
	}
	saved.ExpiresAt = timeOf(expires)
	return saved, nil
}

// TakeRequest answers a request: see [accounts.RequestStore].
func (db *DB) TakeRequest(ctx context.Context, tx *sql.Tx, id string) (accounts.Request, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return accounts.Request{}, db.wrap("answer request", err)
	}
	var r accounts.Request
	err = tx.QueryRowContext(ctx, `
		UPDATE owner_requests SET answered_at = ?1 WHERE id = ?2 AND answered_at IS NULL AND expires_at > ?1 RETURNING email_norm, mail`,
		instant, id).Scan(&r.EmailNorm, &r.Mail)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.Request{}, accounts.ErrNoSuchRequest
	case err != nil:
		return accounts.Request{}, db.wrap("answer request", err)
	}
	return r, nil
}
