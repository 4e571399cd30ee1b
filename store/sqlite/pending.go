package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/sealq/sealq/accounts"
)

// SavePending writes a registration: see [accounts.PendingStore].
func (db *DB) SavePending(ctx context.Context, tx *sql.Tx, p accounts.NewPending) (accounts.SavedPending, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return accounts.SavedPending{}, db.wrap("save registration", err)
	}
	var saved accounts.SavedPending
	var expires int64
	// The upsert comes first: in a transaction that a caller began without IMMEDIATE it takes the write lock before
	// anything has been read that could be out of date.
	err = tx.QueryRowContext(ctx, `
		INSERT INTO pending_users (id, email_norm, email, password_hash, nonce, generation, created_at, expires_at)
		SELECT ?1, ?2, ?3, ?4, ?5, 1, ?6, ?6 + ?7 WHERE NOT EXISTS (SELECT 1 FROM users WHERE email_norm = ?2)
		ON CONFLICT (email_norm) DO UPDATE SET
			email = excluded.email, password_hash = excluded.password_hash, nonce = excluded.nonce,
			generation = generation + 1, kid = NULL, key_hash = NULL, sent_at = NULL,
			created_at = excluded.created_at, expires_at = excluded.expires_at,
			resend_count = CASE WHEN expires_at <= ?6 THEN 0 ELSE resend_count + 1 END
		WHERE expires_at <= ?6 OR ?8
		RETURNING id, generation, expires_at`,
		p.ID, p.EmailNorm, p.Email, p.PasswordHash.RevealText(), p.Nonce, instant, p.TTL.Microseconds(), p.ReplaceLive,
	).Scan(&saved.ID, &saved.Generation, &expires)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.SavedPending{}, db.inTheWay(ctx, tx, p.EmailNorm)
	case err != nil:
		return accounts.SavedPending{}, db.wrap("save registration", err)
	}
	saved.ExpiresAt = timeOf(expires)
	return saved, nil
}

// inTheWay says why a registration was not written.
func (db *DB) inTheWay(ctx context.Context, tx *sql.Tx, emailNorm string) error {
	var user bool
	var expires sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT
		EXISTS (SELECT 1 FROM users WHERE email_norm = ?1),
		(SELECT expires_at FROM pending_users WHERE email_norm = ?1)`, emailNorm).Scan(&user, &expires)
	switch {
	case err != nil:
		return db.wrap("save registration", err)
	case user:
		return accounts.ErrAlreadyActive
	}
	return &accounts.PendingError{ExpiresAt: timeOrZero(expires)}
}

// ActivatePending turns a registration into a user: see [accounts.PendingStore].
func (db *DB) ActivatePending(ctx context.Context, tx *sql.Tx, a accounts.Activation) (accounts.User, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return accounts.User{}, db.wrap("activate", err)
	}
	var user accounts.User
	var emailNorm, passwordHash string
	err = tx.QueryRowContext(ctx, `
		DELETE FROM pending_users WHERE key_hash = ? AND expires_at > ? AND (sent_at IS NOT NULL OR NOT ?)
		RETURNING id, email, email_norm, password_hash`,
		a.KeyHash[:], instant, a.RequireSent).Scan(&user.ID, &user.Email, &emailNorm, &passwordHash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.User{}, accounts.ErrUnknownKey
	case err != nil:
		return accounts.User{}, db.wrap("activate", err)
	}
	n, err := execute(ctx, tx, `
		INSERT INTO users (id, email, email_norm, password_hash, created_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (email_norm) DO NOTHING`,
		user.ID, user.Email, emailNorm, passwordHash, instant)
	switch {
	case err != nil:
		return accounts.User{}, db.wrap("activate", err)
	case n == 0:
		return accounts.User{}, accounts.ErrAlreadyActive
	}
	return user, nil
}
