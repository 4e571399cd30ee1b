package sqlite

import (
	"context"
	"database/sql"

	"github.com/sealq/sealq/accounts"
)

// ResetPassword uses a link: see [accounts.PasswordStore].
func (db *DB) ResetPassword(ctx context.Context, tx *sql.Tx, r accounts.PasswordReset) (accounts.Owner, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return accounts.Owner{}, db.wrap("reset password", err)
	}
	// A write first, as in SavePending.
	owner, err := scanOwner(tx.QueryRowContext(ctx, `
		UPDATE users SET password_hash = ?1, sessions_valid_after = ?2 WHERE disabled_at IS NULL AND id = (
			SELECT user_id FROM user_tokens WHERE key_hash = ?3 AND purpose = 'password_reset' AND expires_at > ?2)
		RETURNING id, email, sessions_valid_after, email_norm`, r.PasswordHash.RevealText(), instant, r.KeyHash[:]))
	if err == nil {
		err = forget(ctx, tx, owner)
	}
	return db.ownerOr(accounts.ErrUnknownToken, "reset password", owner, err)
}

// ChangePassword replaces the password that was verified: see [accounts.PasswordStore].
func (db *DB) ChangePassword(ctx context.Context, tx *sql.Tx, c accounts.PasswordChange) (accounts.Owner, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return accounts.Owner{}, db.wrap("change password", err)
	}
	owner, err := scanOwner(tx.QueryRowContext(ctx, `
		UPDATE users SET password_hash = ?, sessions_valid_after = ? WHERE id = ? AND password_hash = ? AND disabled_at IS NULL
		RETURNING id, email, sessions_valid_after, email_norm`, c.PasswordHash.RevealText(), instant, c.UserID, c.Verified.RevealText()))
	if err == nil {
		err = forget(ctx, tx, owner)
	}
	return db.ownerOr(accounts.ErrRefused, "change password", owner, err)
}

// forget is what follows every new password. An operator's lock stays.
func forget(ctx context.Context, tx *sql.Tx, owner accounts.Owner) error {
	for _, change := range []struct{ statement, arg string }{
		{`DELETE FROM user_tokens WHERE user_id = ?`, owner.ID},
		{`DELETE FROM login_devices WHERE user_id = ?`, owner.ID},
		{`DELETE FROM login_state WHERE email_norm = ? AND NOT by_operator`, owner.EmailNorm},
	} {
		if _, err := execute(ctx, tx, change.statement, change.arg); err != nil {
			return err
		}
	}
	return nil
}
