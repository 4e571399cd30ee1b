package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sealq/sealq/accounts"
)

// ChargeAttempt counts an attempt to log in: see [accounts.LoginStore].
func (db *DB) ChargeAttempt(ctx context.Context, emailNorm string, l accounts.Lockout) (accounts.Charge, error) {
	var charge accounts.Charge
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		if charge, err = chargeRow(ctx, tx, emailNorm, l, instant); err != nil {
			return err
		}
		charge.User, err = credentials(ctx, tx, emailNorm)
		return err
	})
	if err != nil {
		return accounts.Charge{}, db.wrap("charge attempt", err)
	}
	return charge, nil
}

// chargeRow writes the same row whether or not there is such an account.
func chargeRow(ctx context.Context, tx *sql.Tx, emailNorm string, l accounts.Lockout, instant int64) (accounts.Charge, error) {
	var failed, last, until sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT failed_attempts, last_failed_at, locked_until FROM login_state WHERE email_norm = ?`, emailNorm).
		Scan(&failed, &last, &until)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return accounts.Charge{}, err //nolint:wrapcheck // ChargeAttempt wraps it
	}
	locked := until.Valid && until.Int64 > instant
	forgotten := until.Valid || l.Window > 0 && last.Valid && last.Int64 <= instant-l.Window.Microseconds()
	if !locked {
		if forgotten {
			failed.Int64 = 0
		}
		until = sql.NullInt64{Int64: instant + l.For.Microseconds(), Valid: failed.Int64+1 >= int64(l.Limit)}
	}
	if _, err := execute(ctx, tx, `
		INSERT INTO login_state (email_norm, failed_attempts, last_failed_at, locked_until) VALUES (?, ?, ?, ?)
		ON CONFLICT (email_norm) DO UPDATE SET
			failed_attempts = excluded.failed_attempts, last_failed_at = excluded.last_failed_at, locked_until = excluded.locked_until,
			by_operator = by_operator AND ?`,
		emailNorm, failed.Int64+1, instant, until, locked); err != nil {
		return accounts.Charge{}, err
	}
	charge := accounts.Charge{Allowed: !locked}
	if until.Valid {
		charge.LockedFor = time.Duration(until.Int64-instant) * time.Microsecond
	}
	return charge, nil
}

// credentials are nil where nobody has the address.
func credentials(ctx context.Context, q querier, emailNorm string) (*accounts.Credentials, error) {
	var c accounts.Credentials
	var hash string
	var after sql.NullInt64
	err := q.QueryRowContext(ctx, `SELECT id, email, password_hash, disabled_at IS NOT NULL, sessions_valid_after FROM users WHERE email_norm = ?`, emailNorm).
		Scan(&c.ID, &c.Email, &hash, &c.Disabled, &after)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // nobody has the address
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // ChargeAttempt wraps it
	}
	c.PasswordHash, c.SessionsValidAfter = accounts.NewPasswordHash(hash), timeOrZero(after)
	return &c, nil
}

// RecordLogin tells that the password was right: see [accounts.LoginStore].
func (db *DB) RecordLogin(ctx context.Context, s accounts.Login) (bool, error) {
	current := false
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		n, err := execute(ctx, tx, `
			UPDATE users SET password_hash = coalesce(nullif(?, ''), password_hash)
			WHERE id = ? AND password_hash = ? AND disabled_at IS NULL
				AND NOT EXISTS (SELECT 1 FROM login_state WHERE email_norm = ? AND by_operator AND locked_until > `+nowSQL+`)`,
			s.Upgraded.RevealText(), s.UserID, s.Verified.RevealText(), s.EmailNorm)
		if current = n == 1; err != nil || !current {
			return err
		}
		_, err = execute(ctx, tx, `DELETE FROM login_state WHERE email_norm = ?`, s.EmailNorm)
		return err
	})
	if err != nil {
		return false, db.wrap("record login", err)
	}
	return current, nil
}

// AccountState reads what is known about an address: see [accounts.StateStore].
func (db *DB) AccountState(ctx context.Context, emailNorm string) (accounts.State, error) {
	var state accounts.State
	var userID, email, pendingID, pendingEmail sql.NullString
	var disabled, locked, expired sql.NullBool
	var after, failed, last, until, generation, expires, sent sql.NullInt64
	err := db.read.QueryRowContext(ctx, `
		SELECT u.id, u.email, u.disabled_at IS NOT NULL, u.sessions_valid_after,
			p.id, p.email, p.generation, p.expires_at, p.expires_at <= `+nowSQL+`, p.sent_at,
			l.failed_attempts, l.last_failed_at, l.locked_until, l.locked_until > `+nowSQL+`
		FROM (SELECT ? AS email_norm) AS asked
		LEFT JOIN users u USING (email_norm) LEFT JOIN pending_users p USING (email_norm) LEFT JOIN login_state l USING (email_norm)`,
		emailNorm).Scan(&userID, &email, &disabled, &after, &pendingID, &pendingEmail, &generation, &expires, &expired, &sent,
		&failed, &last, &until, &locked)
	if err != nil {
		return accounts.State{}, db.wrap("read account", err)
	}
	if userID.Valid {
		state.User = &accounts.Credentials{
			User:     accounts.User{ID: userID.String, Email: email.String, SessionsValidAfter: timeOrZero(after)},
			Disabled: disabled.Bool,
		}
	}
	if pendingID.Valid {
		state.Pending = &accounts.PendingState{
			ID: pendingID.String, Email: pendingEmail.String, Generation: uint64(generation.Int64), //nolint:gosec // the table's CHECK: it is 1 at least
			ExpiresAt: timeOrZero(expires), Expired: expired.Bool, SentAt: timeOrNil(sent),
		}
	}
	state.FailedAttempts, state.LastFailedAt = int(failed.Int64), timeOrNil(last)
	state.LockedUntil, state.Locked = timeOrNil(until), locked.Bool
	return state, nil
}
