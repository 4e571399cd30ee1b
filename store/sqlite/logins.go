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
	c := counter{instant: instant}
	err := tx.QueryRowContext(ctx, `SELECT failed_attempts, last_failed_at, locked_until FROM login_state WHERE email_norm = ?`, emailNorm).
		Scan(&c.failed, &c.last, &c.until)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return accounts.Charge{}, err //nolint:wrapcheck // ChargeAttempt wraps it
	}
	charge := c.charge(l)
	_, err = execute(ctx, tx, `
		INSERT INTO login_state (email_norm, failed_attempts, last_failed_at, locked_until) VALUES (?, ?, ?, ?)
		ON CONFLICT (email_norm) DO UPDATE SET
			failed_attempts = excluded.failed_attempts, last_failed_at = excluded.last_failed_at, locked_until = excluded.locked_until,
			by_operator = by_operator AND ?`,
		emailNorm, c.failed, instant, c.until, !charge.Allowed)
	return charge, err
}

// counter is what an address's or a device's row counts.
type counter struct {
	instant     int64
	failed      int64
	last, until sql.NullInt64
}

// charge counts one attempt: see [accounts.LoginStore].
func (c *counter) charge(l accounts.Lockout) accounts.Charge {
	locked := c.until.Valid && c.until.Int64 > c.instant
	forgotten := c.until.Valid || l.Window > 0 && c.last.Valid && c.last.Int64 <= c.instant-l.Window.Microseconds()
	if !locked && forgotten {
		c.failed = 0
	}
	c.failed++
	if !locked {
		c.until = sql.NullInt64{Int64: c.instant + l.For.Microseconds(), Valid: c.failed >= int64(l.Limit)}
	}
	charge := accounts.Charge{Allowed: !locked}
	if c.until.Valid {
		charge.LockedFor = time.Duration(c.until.Int64-c.instant) * time.Microsecond
	}
	return charge
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
		var err error
		if current, err = upgradeCurrent(ctx, tx, s); err != nil || !current {
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

// upgradeCurrent says whether the password is the user's still, and may be used. It writes in any case: see SavePending.
func upgradeCurrent(ctx context.Context, tx *sql.Tx, s accounts.Login) (current bool, err error) {
	n, err := execute(ctx, tx, `
		UPDATE users SET password_hash = coalesce(nullif(?, ''), password_hash)
		WHERE id = ? AND password_hash = ? AND disabled_at IS NULL
			AND NOT EXISTS (SELECT 1 FROM login_state WHERE email_norm = ? AND by_operator AND locked_until > `+nowSQL+`)`,
		s.Upgraded.RevealText(), s.UserID, s.Verified.RevealText(), s.EmailNorm)
	return n == 1, err
}

// AccountState reads what is known about an address: see [accounts.StateStore].
func (db *DB) AccountState(ctx context.Context, emailNorm string) (accounts.State, error) {
	var state accounts.State
	var userID, email, pendingID, pendingEmail sql.NullString
	var disabled, locked, expired, byOperator sql.NullBool
	var after, failed, last, until, generation, expires, sent sql.NullInt64
	err := db.read.QueryRowContext(ctx, `
		SELECT u.id, u.email, u.disabled_at IS NOT NULL, u.sessions_valid_after,
			p.id, p.email, p.generation, p.expires_at, p.expires_at <= `+nowSQL+`, p.sent_at,
			l.failed_attempts, l.last_failed_at, l.locked_until, l.locked_until > `+nowSQL+`, l.by_operator,
			coalesce(u.language, p.language, '')
		FROM (SELECT ? AS email_norm) AS asked
		LEFT JOIN users u USING (email_norm) LEFT JOIN pending_users p USING (email_norm) LEFT JOIN login_state l USING (email_norm)`,
		emailNorm).Scan(&userID, &email, &disabled, &after, &pendingID, &pendingEmail, &generation, &expires, &expired, &sent,
		&failed, &last, &until, &locked, &byOperator, &state.Language)
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
	state.ByOperator = locked.Bool && byOperator.Bool
	return state, nil
}
