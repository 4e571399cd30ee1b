package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/sealq/sealq/accounts"
)

// ChangeEmail uses a link that was mailed to a new address: see [accounts.EmailStore].
func (db *DB) ChangeEmail(ctx context.Context, tx *sql.Tx, keyHash [32]byte) (accounts.EmailChange, error) {
	change, err := changeEmail(ctx, tx, keyHash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.EmailChange{}, accounts.ErrUnknownToken
	case errors.Is(err, accounts.ErrAlreadyActive):
		return accounts.EmailChange{}, err
	case err != nil:
		return accounts.EmailChange{}, db.wrap("change address", err)
	}
	return change, nil
}

// changeEmail is sql.ErrNoRows where there is no such token.
func changeEmail(ctx context.Context, tx *sql.Tx, keyHash [32]byte) (accounts.EmailChange, error) {
	var change accounts.EmailChange
	instant, err := now(ctx, tx)
	if err != nil {
		return change, err
	}
	var newEmail, newNorm string
	// It changes nothing, and takes the write lock before anything is read: see SavePending.
	err = tx.QueryRowContext(ctx, `UPDATE user_tokens SET kid = kid WHERE key_hash = ? AND purpose = 'email_change' AND expires_at > ?
		RETURNING user_id, new_email, new_email_norm`, keyHash[:], instant).Scan(&change.ID, &newEmail, &newNorm)
	if err != nil {
		return change, err //nolint:wrapcheck // ChangeEmail wraps it
	}
	var taken bool
	err = tx.QueryRowContext(ctx, `
		SELECT email, EXISTS (SELECT 1 FROM users o WHERE o.email_norm = ?1 AND o.id <> u.id) FROM users u
		WHERE id = ?2 AND disabled_at IS NULL
			AND NOT EXISTS (SELECT 1 FROM login_state l WHERE l.email_norm = u.email_norm AND l.by_operator AND l.locked_until > ?3)`,
		newNorm, change.ID, instant).Scan(&change.OldEmail, &taken)
	if err != nil {
		return change, err //nolint:wrapcheck // likewise
	}
	if taken {
		return change, accounts.ErrAlreadyActive
	}
	change.Owner, err = scanOwner(tx.QueryRowContext(ctx, `
		UPDATE users SET email = ?, email_norm = ? WHERE id = ? RETURNING id, email, sessions_valid_after, email_norm`, newEmail, newNorm, change.ID))
	if err == nil {
		_, err = execute(ctx, tx, `DELETE FROM user_tokens WHERE user_id = ?`, change.ID)
	}
	return change, err
}
