package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

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
		INSERT INTO pending_users (id, email_norm, email, password_hash, nonce, generation, created_at, asked_at, expires_at, language)
		SELECT ?1, ?2, ?3, ?4, ?5, 1, ?6, ?6, ?6 + ?7, ?10 WHERE NOT EXISTS (SELECT 1 FROM users WHERE email_norm = ?2)
		ON CONFLICT (email_norm) DO UPDATE SET
			email = excluded.email, password_hash = excluded.password_hash, nonce = excluded.nonce, language = excluded.language,
			generation = generation + 1, kid = NULL, key_hash = NULL, sent_at = NULL,
			created_at = excluded.created_at, asked_at = excluded.asked_at, expires_at = excluded.expires_at,
			resend_count = CASE WHEN expires_at <= ?6 THEN 0 ELSE resend_count + 1 END
		WHERE expires_at <= ?6 OR ?8 AND asked_at <= ?6 - ?9
		RETURNING id, generation, expires_at`,
		p.ID, p.EmailNorm, p.Email, p.PasswordHash.RevealText(), p.Nonce, instant, p.TTL.Microseconds(), p.ReplaceLive, p.NotWithin.Microseconds(), p.Language,
	).Scan(&saved.ID, &saved.Generation, &expires)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.SavedPending{}, db.inTheWay(ctx, tx, p)
	case err != nil:
		return accounts.SavedPending{}, db.wrap("save registration", err)
	}
	saved.ExpiresAt = timeOf(expires)
	return saved, nil
}

// inTheWay says why a registration was not written.
func (db *DB) inTheWay(ctx context.Context, tx *sql.Tx, p accounts.NewPending) error {
	var user bool
	var expires, asked sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT
		EXISTS (SELECT 1 FROM users WHERE email_norm = ?1),
		(SELECT expires_at FROM pending_users WHERE email_norm = ?1), (SELECT asked_at FROM pending_users WHERE email_norm = ?1)`,
		p.EmailNorm).Scan(&user, &expires, &asked)
	switch {
	case err != nil:
		return db.wrap("save registration", err)
	case user:
		return accounts.ErrAlreadyActive
	case p.ReplaceLive:
		return &accounts.ThrottledError{RetryAt: timeOf(asked.Int64 + p.NotWithin.Microseconds())}
	}
	return &accounts.PendingError{ExpiresAt: timeOrZero(expires)}
}

// ResendPending asks for a confirmation mail once more: see [accounts.PendingStore].
func (db *DB) ResendPending(ctx context.Context, tx *sql.Tx, emailNorm string, notWithin time.Duration) (accounts.SavedPending, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return accounts.SavedPending{}, db.wrap("resend confirmation", err)
	}
	var saved accounts.SavedPending
	var expires int64
	err = tx.QueryRowContext(ctx, `
		UPDATE pending_users SET asked_at = ?1, resend_count = resend_count + 1
		WHERE email_norm = ?2 AND expires_at > ?1 AND asked_at <= ?1 - ?3 RETURNING id, generation, expires_at`,
		instant, emailNorm, notWithin.Microseconds()).Scan(&saved.ID, &saved.Generation, &expires)
	if err == nil {
		saved.ExpiresAt = timeOf(expires)
		return saved, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return accounts.SavedPending{}, db.wrap("resend confirmation", err)
	}
	var asked int64
	err = tx.QueryRowContext(ctx, `SELECT asked_at FROM pending_users WHERE email_norm = ? AND expires_at > ?`, emailNorm, instant).Scan(&asked)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.SavedPending{}, accounts.ErrNotPending
	case err != nil:
		return accounts.SavedPending{}, db.wrap("resend confirmation", err)
	}
	return accounts.SavedPending{}, &accounts.ThrottledError{RetryAt: timeOf(asked + notWithin.Microseconds())}
}

// PendingUser tells whose registration a key activates: see [accounts.PendingStore]. It reads beside tx, as TokenUser does.
func (db *DB) PendingUser(ctx context.Context, _ *sql.Tx, a accounts.Activation) (accounts.PendingUser, error) {
	return db.RegistrationOf(ctx, a)
}

// RegistrationOf is PendingUser without a transaction.
func (db *DB) RegistrationOf(ctx context.Context, a accounts.Activation) (accounts.PendingUser, error) {
	p, err := scanPendingUser(db.read.QueryRowContext(ctx, pendingUserSQL+nowSQL, a.KeyHash[:], a.RequireSent))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.PendingUser{}, accounts.ErrUnknownKey
	case err != nil:
		return accounts.PendingUser{}, db.wrap("read registration", err)
	}
	return p, nil
}

// pendingUserSQL lacks the moment.
const pendingUserSQL = `
	SELECT id, email, email_norm, password_hash FROM pending_users
	WHERE key_hash = ? AND (sent_at IS NOT NULL OR NOT ?) AND expires_at > `

func scanPendingUser(row *sql.Row) (p accounts.PendingUser, err error) {
	var hash string
	err = row.Scan(&p.ID, &p.Email, &p.EmailNorm, &hash)
	p.PasswordHash = accounts.NewPasswordHash(hash)
	return p, err //nolint:wrapcheck // callers wrap it
}

// ActivatePending turns a registration into a user: see [accounts.PendingStore].
func (db *DB) ActivatePending(ctx context.Context, tx *sql.Tx, a accounts.Activation) (accounts.User, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return accounts.User{}, db.wrap("activate", err)
	}
	var user accounts.User
	var emailNorm, passwordHash, language string
	err = tx.QueryRowContext(ctx, `
		DELETE FROM pending_users WHERE key_hash = ?1 AND expires_at > ?2 AND (sent_at IS NOT NULL OR NOT ?3) AND (?4 <> '' OR password_hash <> '')
		RETURNING id, email, email_norm, coalesce(nullif(?4, ''), password_hash), language`,
		a.KeyHash[:], instant, a.RequireSent, a.PasswordHash.RevealText()).Scan(&user.ID, &user.Email, &emailNorm, &passwordHash, &language)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.User{}, db.notActivated(ctx, tx, a, instant)
	case err != nil:
		return accounts.User{}, db.wrap("activate", err)
	}
	n, err := execute(ctx, tx, `
		INSERT INTO users (id, email, email_norm, password_hash, created_at, language) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (email_norm) DO NOTHING`,
		user.ID, user.Email, emailNorm, passwordHash, instant, language)
	switch {
	case err != nil:
		return accounts.User{}, db.wrap("activate", err)
	case n == 0:
		return accounts.User{}, accounts.ErrAlreadyActive
	}
	return user, nil
}

// notActivated tells why a key activated nothing.
func (db *DB) notActivated(ctx context.Context, tx *sql.Tx, a accounts.Activation, instant int64) error {
	p, err := scanPendingUser(tx.QueryRowContext(ctx, pendingUserSQL+"?", a.KeyHash[:], a.RequireSent, instant))
	switch {
	case err == nil && p.PasswordHash.IsZero():
		return accounts.ErrNoPassword
	case err == nil, errors.Is(err, sql.ErrNoRows):
		return accounts.ErrUnknownKey
	}
	return db.wrap("activate", err)
}
