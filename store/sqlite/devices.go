package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sealq/sealq/accounts"
)

// ChargeDevice counts an attempt from a device: see [accounts.DeviceStore].
func (db *DB) ChargeDevice(ctx context.Context, emailNorm string, tokenHash [32]byte, l accounts.Lockout) (accounts.Charge, bool, error) {
	var charge accounts.Charge
	err := db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err != nil {
			return err
		}
		c := counter{instant: instant}
		err = tx.QueryRowContext(ctx, `
			SELECT d.failed_attempts, d.last_failed_at, d.locked_until FROM login_devices d JOIN users u ON u.id = d.user_id
			WHERE d.token_hash = ?1 AND u.email_norm = ?2 AND d.expires_at > ?3
				AND NOT EXISTS (SELECT 1 FROM login_state s WHERE s.email_norm = ?2 AND s.by_operator AND s.locked_until > ?3)`,
			tokenHash[:], emailNorm, instant).Scan(&c.failed, &c.last, &c.until)
		if err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		charge = c.charge(l)
		if _, err := execute(ctx, tx, `UPDATE login_devices SET failed_attempts = ?, last_failed_at = ?, locked_until = ? WHERE token_hash = ?`,
			c.failed, instant, c.until, tokenHash[:]); err != nil {
			return err
		}
		charge.User, err = credentials(ctx, tx, emailNorm)
		return err
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return accounts.Charge{}, false, nil
	case err != nil:
		return accounts.Charge{}, false, db.wrap("charge device", err)
	}
	return charge, true, nil
}

// RecordDevice tells that the password was right: see [accounts.DeviceStore].
func (db *DB) RecordDevice(ctx context.Context, s accounts.Login, tokenHash [32]byte, ttl time.Duration) (current bool, err error) {
	_, err = db.countInTx(ctx, "record login", func(tx *sql.Tx, instant int64) (int, error) {
		if current, err = upgradeCurrent(ctx, tx, s); err != nil || !current {
			return 0, err
		}
		return execute(ctx, tx, `
			UPDATE login_devices SET failed_attempts = 0, last_failed_at = NULL, locked_until = NULL, expires_at = ?
			WHERE token_hash = ? AND user_id = ?`, instant+ttl.Microseconds(), tokenHash[:], s.UserID)
	})
	return current, err
}

// SaveDevice writes a new device of a user: see [accounts.DeviceStore].
func (db *DB) SaveDevice(ctx context.Context, d accounts.NewDevice) (current bool, err error) {
	saved, err := db.countInTx(ctx, "save device", func(tx *sql.Tx, instant int64) (int, error) {
		n, err := execute(ctx, tx, `
			INSERT INTO login_devices (token_hash, user_id, expires_at)
			SELECT ?, id, ? FROM users WHERE id = ? AND password_hash = ? AND disabled_at IS NULL`,
			d.TokenHash[:], instant+d.TTL.Microseconds(), d.UserID, d.Verified.RevealText())
		if err != nil || n == 0 {
			return 0, err
		}
		_, err = execute(ctx, tx, `
			DELETE FROM login_devices WHERE user_id = ?1 AND token_hash <> ?4 AND token_hash NOT IN (
				SELECT token_hash FROM login_devices WHERE user_id = ?1 AND token_hash <> ?4 AND expires_at > ?2 ORDER BY expires_at DESC, token_hash LIMIT ?3)`,
			d.UserID, instant, max(d.Keep-1, 0), d.TokenHash[:])
		return n, err
	})
	return saved > 0, err
}

// LiftLockouts clears lockouts whose time is over: see [accounts.LiftStore].
func (db *DB) LiftLockouts(ctx context.Context, tx *sql.Tx, limit int, owners bool) ([]accounts.Lifted, error) {
	lifted, err := liftLockouts(ctx, tx, limit, owners)
	if err != nil {
		return nil, db.wrap("lift lockouts", err)
	}
	return lifted, nil
}

func liftLockouts(ctx context.Context, tx *sql.Tx, limit int, owners bool) ([]accounts.Lifted, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `
		DELETE FROM login_state WHERE email_norm IN (SELECT email_norm FROM login_state WHERE locked_until <= ? ORDER BY locked_until LIMIT ?)
		RETURNING email_norm, by_operator`, instant, limit)
	if err != nil {
		return nil, err //nolint:wrapcheck // LiftLockouts wraps it
	}
	lifted, err := collect(rows, func(rows *sql.Rows) (accounts.Lifted, error) {
		var l accounts.Lifted
		err := rows.Scan(&l.EmailNorm, &l.ByOperator)
		return l, err //nolint:wrapcheck // likewise
	})
	if err != nil || !owners {
		return lifted, err
	}
	for i := range lifted {
		err := tx.QueryRowContext(ctx, `SELECT id FROM users WHERE email_norm = ? AND disabled_at IS NULL`, lifted[i].EmailNorm).Scan(&lifted[i].UserID)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err //nolint:wrapcheck // likewise
		}
	}
	return lifted, nil
}

// ForgetAttempts deletes counters that count no more: see [accounts.LiftStore].
func (db *DB) ForgetAttempts(ctx context.Context, tx *sql.Tx, age time.Duration, limit int) (int, error) {
	n, err := execute(ctx, tx, forgetAttemptsSQL, age.Microseconds(), limit)
	if err != nil {
		return 0, db.wrap("forget attempts", err)
	}
	return n, nil
}

const forgetAttemptsSQL = `
	DELETE FROM login_state WHERE email_norm IN (
		SELECT email_norm FROM login_state WHERE locked_until IS NULL AND last_failed_at <= ` + nowSQL + ` - ? ORDER BY last_failed_at LIMIT ?)`

// countForgettable counts what ForgetAttempts would delete.
func (db *DB) countForgettable(ctx context.Context, age time.Duration) (n int64, err error) {
	instant, err := now(ctx, db.read)
	if err == nil {
		err = db.read.QueryRowContext(ctx, `SELECT count(*) FROM login_state WHERE locked_until IS NULL AND last_failed_at <= ?`, instant-age.Microseconds()).Scan(&n)
	}
	if err != nil {
		return 0, db.wrap("count attempts", err)
	}
	return n, nil
}
