package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/sealq/sealq/accounts"
)

// UserByID reads one user: see [accounts.UserStore].
func (db *DB) UserByID(ctx context.Context, id string) (accounts.Owner, error) {
	owner, err := scanOwner(db.read.QueryRowContext(ctx, `SELECT id, email, sessions_valid_after, email_norm FROM users WHERE id = ?`, id))
	return db.ownerOr(accounts.ErrNoSuchUser, "read user", owner, err)
}

func scanOwner(row *sql.Row) (owner accounts.Owner, err error) {
	var after sql.NullInt64
	err = row.Scan(&owner.ID, &owner.Email, &after, &owner.EmailNorm)
	owner.SessionsValidAfter = timeOrZero(after)
	return owner, err //nolint:wrapcheck // callers wrap it
}

// ownerOr is the owner, or the refusal where there was no row.
func (db *DB) ownerOr(refusal error, operation string, owner accounts.Owner, err error) (accounts.Owner, error) {
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.Owner{}, refusal
	case err != nil:
		return accounts.Owner{}, db.wrap(operation, err)
	}
	return owner, nil
}

// SaveToken asks for a link: see [accounts.TokenStore].
func (db *DB) SaveToken(ctx context.Context, tx *sql.Tx, t accounts.NewToken) (accounts.SavedToken, error) {
	saved, err := saveToken(ctx, tx, t)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.SavedToken{}, accounts.ErrNoSuchUser
	case errors.Is(err, accounts.ErrThrottled):
		return accounts.SavedToken{}, err
	case err != nil:
		return accounts.SavedToken{}, db.wrap("save token", err)
	}
	return saved, nil
}

// saveToken is sql.ErrNoRows where there is no such user.
func saveToken(ctx context.Context, tx *sql.Tx, t accounts.NewToken) (accounts.SavedToken, error) {
	saved := accounts.SavedToken{Purpose: t.Purpose}
	instant, err := now(ctx, tx)
	if err != nil {
		return saved, err
	}
	// It changes nothing, and takes the write lock before anything is read: see SavePending.
	err = tx.QueryRowContext(ctx, `
		UPDATE users SET mail_generation = mail_generation
		WHERE email_norm = ?1 AND (?2 = '' OR id = ?2) AND (?3 = '' OR password_hash = ?3) AND disabled_at IS NULL
		RETURNING id`, t.EmailNorm, t.UserID, t.Verified.RevealText()).Scan(&saved.UserID)
	if err != nil {
		return saved, err //nolint:wrapcheck // SaveToken wraps it
	}
	var asked, expires int64
	var sameAddress bool
	err = tx.QueryRowContext(ctx, `
		SELECT asked_at, expires_at, new_email = ? AND new_email_norm = ? FROM user_tokens WHERE user_id = ? AND purpose = ?`,
		t.NewEmail, t.NewEmailNorm, saved.UserID, string(t.Purpose)).Scan(&asked, &expires, &sameAddress)
	known := err == nil
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return saved, err //nolint:wrapcheck // likewise
	}
	retryAt := asked + t.NotWithin.Microseconds()
	switch {
	case known && retryAt > instant:
		return saved, &accounts.ThrottledError{RetryAt: timeOf(retryAt)}
	case known && sameAddress && expires >= instant+(t.TTL/2).Microseconds():
		err = tx.QueryRowContext(ctx, `UPDATE user_tokens SET asked_at = ? WHERE user_id = ? AND purpose = ? RETURNING generation, expires_at`,
			instant, saved.UserID, string(t.Purpose)).Scan(&saved.Generation, &expires)
	default:
		err = writeToken(ctx, tx, t, &saved, instant)
		expires = instant + t.TTL.Microseconds()
	}
	saved.ExpiresAt = timeOf(expires)
	return saved, err
}

func writeToken(ctx context.Context, tx *sql.Tx, t accounts.NewToken, saved *accounts.SavedToken, instant int64) (err error) {
	if saved.Generation, err = nextMail(ctx, tx, saved.UserID); err != nil {
		return err
	}
	_, err = execute(ctx, tx, `
		INSERT INTO user_tokens (user_id, purpose, new_email, new_email_norm, nonce, generation, asked_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (user_id, purpose) DO UPDATE SET
			new_email = excluded.new_email, new_email_norm = excluded.new_email_norm, nonce = excluded.nonce, generation = excluded.generation,
			asked_at = excluded.asked_at, expires_at = excluded.expires_at, kid = NULL, key_hash = NULL, sent_at = NULL`,
		saved.UserID, string(t.Purpose), t.NewEmail, t.NewEmailNorm, t.Nonce, integer(saved.Generation), instant, instant+t.TTL.Microseconds())
	return err
}

// nextMail numbers a user's next mail. It is sql.ErrNoRows where there is no such user.
func nextMail(ctx context.Context, tx *sql.Tx, userID string) (generation uint64, err error) {
	err = tx.QueryRowContext(ctx, `UPDATE users SET mail_generation = mail_generation + 1 WHERE id = ? RETURNING mail_generation`, userID).Scan(&generation)
	return generation, err //nolint:wrapcheck // callers wrap it
}

// TokenUser tells whose token it is: see [accounts.TokenStore]. It reads beside tx: what has been read in a transaction that a caller began without
// IMMEDIATE could be out of date when it writes.
func (db *DB) TokenUser(ctx context.Context, _ *sql.Tx, purpose accounts.Mail, keyHash [32]byte) (accounts.Owner, error) {
	return db.LinkUser(ctx, purpose, keyHash)
}

// LinkUser tells whose token it is: see [accounts.TokenStore].
func (db *DB) LinkUser(ctx context.Context, purpose accounts.Mail, keyHash [32]byte) (accounts.Owner, error) {
	owner, err := scanOwner(db.read.QueryRowContext(ctx, `
		SELECT u.id, u.email, u.sessions_valid_after, u.email_norm FROM user_tokens t JOIN users u ON u.id = t.user_id
		WHERE t.key_hash = ? AND t.purpose = ? AND t.expires_at > `+nowSQL+` AND u.disabled_at IS NULL`, keyHash[:], string(purpose)))
	return db.ownerOr(accounts.ErrUnknownToken, "read token", owner, err)
}

// RenewTokens voids links of a key: see [accounts.TokenStore].
func (db *DB) RenewTokens(ctx context.Context, tx *sql.Tx, kid string, limit int, nonce func() []byte) ([]accounts.SavedToken, error) {
	renewed, err := renewTokens(ctx, tx, kid, limit, nonce)
	if err != nil {
		return nil, db.wrap("renew tokens", err)
	}
	return renewed, nil
}

func renewTokens(ctx context.Context, tx *sql.Tx, kid string, limit int, nonce func() []byte) ([]accounts.SavedToken, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return nil, err
	}
	// A write first: see SavePending.
	if _, err := execute(ctx, tx, `UPDATE user_tokens SET kid = kid WHERE kid = ?`, kid); err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `
		SELECT user_id, purpose, expires_at FROM user_tokens WHERE kid = ? AND expires_at > ? ORDER BY expires_at, user_id LIMIT ?`, kid, instant, limit)
	if err != nil {
		return nil, err //nolint:wrapcheck // RenewTokens wraps it
	}
	renewed, err := collect(rows, func(rows *sql.Rows) (accounts.SavedToken, error) {
		var t accounts.SavedToken
		var expires int64
		err := rows.Scan(&t.UserID, (*string)(&t.Purpose), &expires)
		t.ExpiresAt = timeOf(expires)
		return t, err //nolint:wrapcheck // likewise
	})
	if err != nil {
		return nil, err
	}
	for i := range renewed {
		t := &renewed[i]
		if t.Generation, err = nextMail(ctx, tx, t.UserID); err != nil {
			return nil, err
		}
		if _, err := execute(ctx, tx, `
			UPDATE user_tokens SET generation = ?, nonce = ?, kid = NULL, key_hash = NULL, sent_at = NULL WHERE user_id = ? AND purpose = ?`,
			integer(t.Generation), nonce(), t.UserID, string(t.Purpose)); err != nil {
			return nil, err
		}
	}
	return renewed, nil
}

// SaveNotice writes what an owner is to be told: see [accounts.NoticeStore].
func (db *DB) SaveNotice(ctx context.Context, tx *sql.Tx, n accounts.NewNotice) (accounts.SavedToken, error) {
	saved, err := saveNotice(ctx, tx, n)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.SavedToken{}, accounts.ErrNoSuchUser
	case errors.Is(err, accounts.ErrThrottled):
		return accounts.SavedToken{}, err
	case err != nil:
		return accounts.SavedToken{}, db.wrap("save notice", err)
	}
	return saved, nil
}

func saveNotice(ctx context.Context, tx *sql.Tx, n accounts.NewNotice) (accounts.SavedToken, error) {
	saved := accounts.SavedToken{UserID: n.UserID, Purpose: n.Mail}
	instant, err := now(ctx, tx)
	if err != nil {
		return saved, err
	}
	if n.UserID == "" {
		err := tx.QueryRowContext(ctx, `UPDATE users SET mail_generation = mail_generation WHERE email_norm = ? AND disabled_at IS NULL RETURNING id, email`,
			n.EmailNorm).Scan(&n.UserID, &n.Email)
		if err != nil {
			return saved, err //nolint:wrapcheck // SaveNotice wraps it
		}
		saved.UserID = n.UserID
	}
	if _, err := execute(ctx, tx, `DELETE FROM user_notices WHERE user_id = ? AND expires_at <= ?`, n.UserID, instant); err != nil {
		return saved, err
	}
	var last sql.NullInt64
	if err := tx.QueryRowContext(ctx, `SELECT max(told_at) FROM user_notices WHERE user_id = ? AND mail = ?`, n.UserID, string(n.Mail)).Scan(&last); err != nil {
		return saved, err //nolint:wrapcheck // SaveNotice wraps it
	}
	if retryAt := last.Int64 + n.NotWithin.Microseconds(); last.Valid && n.NotWithin > 0 && retryAt > instant {
		return saved, &accounts.ThrottledError{RetryAt: timeOf(retryAt)}
	}
	if saved.Generation, err = nextMail(ctx, tx, n.UserID); err != nil {
		return saved, err
	}
	saved.ExpiresAt = timeOf(instant + n.TTL.Microseconds())
	_, err = execute(ctx, tx, `INSERT INTO user_notices (user_id, generation, mail, email, stage, detail, told_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		n.UserID, integer(saved.Generation), string(n.Mail), n.Email, n.Stage, prose(n.Detail), instant, saved.ExpiresAt.UnixMicro())
	return saved, err
}
