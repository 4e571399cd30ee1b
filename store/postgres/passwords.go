package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
)

// resetPasswordSQL locks the user before his token, as everybody does. Racers wait for him, and then find no token.
const resetPasswordSQL = `
WITH owner AS (
	SELECT u.id FROM users u JOIN user_tokens t ON t.user_id = u.id
	WHERE t.key_hash = $1 AND t.purpose = 'password_reset' AND t.expires_at > statement_timestamp() AND u.disabled_at IS NULL
	FOR NO KEY UPDATE OF u
), used AS (
	DELETE FROM user_tokens t USING owner WHERE t.user_id = owner.id AND t.key_hash = $1 AND t.purpose = 'password_reset'
	RETURNING t.user_id
), changed AS (
	UPDATE users u SET password_hash = $2, sessions_valid_after = statement_timestamp() FROM used WHERE u.id = used.user_id
	RETURNING u.id, u.email, u.sessions_valid_after, u.email_norm
), others AS (
	DELETE FROM user_tokens t USING changed WHERE t.user_id = changed.id AND t.purpose <> 'password_reset'
)` + forgetSQL

const changePasswordSQL = `
WITH changed AS (
	UPDATE users SET password_hash = $3, sessions_valid_after = statement_timestamp()
	WHERE id = $1::uuid AND password_hash = $2 AND disabled_at IS NULL
	RETURNING id, email, sessions_valid_after, email_norm
), tokens AS (
	DELETE FROM user_tokens t USING changed WHERE t.user_id = changed.id
)` + forgetSQL

// forgetSQL is what follows every new password. An operator's lock stays.
const forgetSQL = `, devices AS (
	DELETE FROM login_devices d USING changed WHERE d.user_id = changed.id
), cleared AS (
	UPDATE login_state l SET failed_attempts = 0, last_failed_at = NULL, locked_until = NULL, refused = 0
	FROM changed WHERE l.email_norm = changed.email_norm AND NOT l.by_operator
)
SELECT id::text, email, sessions_valid_after, email_norm FROM changed`

// ResetPassword uses a link, as accounts.PasswordStore says.
func (db *DB) ResetPassword(ctx context.Context, tx pgx.Tx, r accounts.PasswordReset) (accounts.Owner, error) {
	return ownerOr(accounts.ErrUnknownToken, "reset password", tx.QueryRow(ctx, resetPasswordSQL, r.KeyHash[:], r.PasswordHash.RevealText()))
}

// ChangePassword replaces the password that was verified, as accounts.PasswordStore says.
func (db *DB) ChangePassword(ctx context.Context, tx pgx.Tx, c accounts.PasswordChange) (accounts.Owner, error) {
	return ownerOr(accounts.ErrRefused, "change password",
		tx.QueryRow(ctx, changePasswordSQL, uuidOf(c.UserID), c.Verified.RevealText(), c.PasswordHash.RevealText()))
}

// ownerOr is the user who was changed, or the refusal where nobody was.
func ownerOr(refusal error, operation string, row pgx.Row) (accounts.Owner, error) {
	owner, err := scanOwner(row)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return accounts.Owner{}, refusal
	case err != nil:
		return accounts.Owner{}, wrap(operation, err)
	}
	return owner, nil
}

// lastNoticeSQL locks the user, and looks when he was told of this last.
const (
	lockUserByIDSQL = `SELECT FROM users WHERE id = $1::uuid FOR NO KEY UPDATE`
	lastNoticeSQL   = `
SELECT max(told_at) + $3::interval FROM user_notices WHERE user_id = $1::uuid AND mail = $2
HAVING max(told_at) + $3::interval > statement_timestamp()`
)

const saveNoticeSQL = `
WITH next AS (
	UPDATE users SET mail_generation = mail_generation + 1 WHERE id = $1::uuid RETURNING id, mail_generation
), over AS (
	DELETE FROM user_notices n USING next WHERE n.user_id = next.id AND n.expires_at <= statement_timestamp()
)
INSERT INTO user_notices (user_id, generation, mail, email, stage, detail, told_at, expires_at)
SELECT id, mail_generation, $2, $3, $4, $5, statement_timestamp(), statement_timestamp() + $6::interval FROM next
RETURNING user_id::text, generation, expires_at`

// SaveNotice writes what an owner is to be told, as accounts.NoticeStore says.
func (db *DB) SaveNotice(ctx context.Context, tx pgx.Tx, n accounts.NewNotice) (accounts.SavedToken, error) {
	saved := accounts.SavedToken{Purpose: n.Mail}
	id := uuidOf(n.UserID)
	if n.UserID == "" {
		err := tx.QueryRow(ctx, `SELECT id::text, email FROM users WHERE email_norm = $1 AND disabled_at IS NULL`, name(n.EmailNorm)).Scan(&id, &n.Email)
		if errors.Is(err, pgx.ErrNoRows) {
			return accounts.SavedToken{}, accounts.ErrNoSuchUser
		}
		if err != nil {
			return accounts.SavedToken{}, wrap("save notice", err)
		}
	}
	if n.NotWithin > 0 {
		if _, err := tx.Exec(ctx, lockUserByIDSQL, id); err != nil {
			return accounts.SavedToken{}, wrap("save notice", err)
		}
		var retryAt time.Time
		err := tx.QueryRow(ctx, lastNoticeSQL, id, string(n.Mail), n.NotWithin).Scan(&retryAt)
		switch {
		case err == nil:
			return accounts.SavedToken{}, &accounts.ThrottledError{RetryAt: retryAt.UTC()}
		case !errors.Is(err, pgx.ErrNoRows):
			return accounts.SavedToken{}, wrap("save notice", err)
		}
	}
	err := tx.QueryRow(ctx, saveNoticeSQL, id, string(n.Mail), n.Email, n.Stage, prose(n.Detail), n.TTL).
		Scan(&saved.UserID, &saved.Generation, &saved.ExpiresAt)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return accounts.SavedToken{}, accounts.ErrNoSuchUser
	case err != nil:
		return accounts.SavedToken{}, wrap("save notice", err)
	}
	saved.ExpiresAt = saved.ExpiresAt.UTC()
	return saved, nil
}
