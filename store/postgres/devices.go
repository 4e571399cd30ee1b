package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/sweep"
)

// chargeDeviceSQL is chargeSQL for the counter of a device.
const chargeDeviceSQL = `
WITH device AS (
	SELECT d.token_hash, u.id, u.email, u.password_hash, u.sessions_valid_after, u.disabled_at IS NOT NULL AS disabled
	FROM login_devices d JOIN users u ON u.id = d.user_id
	WHERE d.token_hash = $5 AND u.email_norm = $1 AND d.expires_at > statement_timestamp()
	AND NOT EXISTS (SELECT FROM login_state s WHERE s.email_norm = $1 AND s.by_operator AND s.locked_until > statement_timestamp())
), charged AS (
	UPDATE login_devices l SET (failed_attempts, last_failed_at, locked_until, refused) = (
		SELECT attempt.failed, statement_timestamp(),
		       CASE WHEN was.locked THEN l.locked_until WHEN attempt.failed >= $2::bigint THEN statement_timestamp() + $3::interval END,
		       CASE WHEN was.locked THEN l.refused + 1 ELSE 0 END
		FROM (SELECT coalesce(l.locked_until > statement_timestamp(), false) AS locked,
		             l.locked_until <= statement_timestamp()
		             OR $4::interval > '0' AND l.last_failed_at <= statement_timestamp() - $4::interval AS over) AS was,
		LATERAL (SELECT CASE WHEN was.over AND NOT was.locked THEN 1 ELSE l.failed_attempts + 1 END AS failed) AS attempt
	)
	FROM device WHERE l.token_hash = device.token_hash
	RETURNING refused = 0 AS allowed, locked_until, device.id, device.email, password_hash, sessions_valid_after, disabled
)
SELECT allowed, greatest(locked_until - statement_timestamp(), '0'), id::text, email, password_hash, sessions_valid_after, disabled FROM charged`

// ChargeDevice counts one attempt from a device, as accounts.DeviceStore says.
func (db *DB) ChargeDevice(ctx context.Context, emailNorm string, tokenHash [32]byte, l accounts.Lockout) (accounts.Charge, bool, error) {
	var charge accounts.Charge
	var u userColumns
	err := db.pool.QueryRow(ctx, chargeDeviceSQL, emailNorm, l.Limit, l.For, l.Window, tokenHash[:]).
		Scan(&charge.Allowed, &charge.LockedFor, &u.id, &u.email, &u.passwordHash, &u.validAfter, &u.disabled)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return accounts.Charge{}, false, nil
	case err != nil:
		return accounts.Charge{}, false, wrap("charge device", err)
	}
	charge.User = u.credentials()
	return charge, true, nil
}

const recordDeviceSQL = `, cleared AS (
	UPDATE login_devices SET failed_attempts = 0, last_failed_at = NULL, locked_until = NULL, refused = 0, expires_at = statement_timestamp() + $5::interval
	WHERE token_hash = $6 AND user_id = (SELECT id FROM current)
)
SELECT EXISTS (SELECT FROM current)`

// RecordDevice clears the counter of a device whose user's password was right, as accounts.DeviceStore says.
func (db *DB) RecordDevice(ctx context.Context, s accounts.Login, tokenHash [32]byte, ttl time.Duration) (current bool, err error) {
	// $4 is the upgrade, or the same again.
	sql, hash := currentUserSQL, s.Verified
	if !s.Upgraded.IsZero() {
		sql, hash = upgradeUserSQL, s.Upgraded
	}
	sql += `, given AS (SELECT $4::text)`
	if err := db.pool.QueryRow(ctx, sql+recordDeviceSQL, uuidOf(s.UserID), s.Verified.RevealText(), s.EmailNorm, hash.RevealText(), ttl, tokenHash[:]).
		Scan(&current); err != nil {
		return false, wrap("record login", err)
	}
	return current, nil
}

// saveDeviceSQL locks the user, so that the devices of two logins at once are counted one after the other.
const (
	lockCurrentSQL = `SELECT id::text FROM users WHERE id = $1::uuid AND password_hash = $2 AND disabled_at IS NULL FOR NO KEY UPDATE`
	saveDeviceSQL  = `
WITH others AS (
	DELETE FROM login_devices WHERE user_id = $1::uuid AND token_hash NOT IN (
		SELECT token_hash FROM login_devices WHERE user_id = $1::uuid AND expires_at > statement_timestamp() ORDER BY expires_at DESC, token_hash LIMIT $4
	)
)
INSERT INTO login_devices (token_hash, user_id, expires_at) VALUES ($2, $1::uuid, statement_timestamp() + $3::interval)`
)

// SaveDevice writes a new device of a user, as accounts.DeviceStore says.
func (db *DB) SaveDevice(ctx context.Context, d accounts.NewDevice) (current bool, err error) {
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		id := uuidOf(d.UserID)
		err := tx.QueryRow(ctx, lockCurrentSQL, id, d.Verified.RevealText()).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil {
			_, err = tx.Exec(ctx, saveDeviceSQL, id, d.TokenHash[:], d.TTL, max(d.Keep-1, 0))
		}
		if err != nil {
			return wrap("save device", err)
		}
		current = true
		return nil
	})
	return current && err == nil, err
}

// liftLockoutsSQL tells of each row that it looked at when its time came and whether it is gone. What somebody has locked waits for the next sweep.
func liftLockoutsSQL(which string, owners bool) string {
	if owners {
		return liftOwnedLockoutsSQL(which)
	}
	return `
WITH over AS MATERIALIZED (
	SELECT ctid AS place, email_norm, locked_until FROM login_state WHERE ` + which + ` AND locked_until <= statement_timestamp() ORDER BY locked_until LIMIT $1
), due AS MATERIALIZED (
	SELECT ctid AS place FROM login_state WHERE ctid = ANY (ARRAY(SELECT place FROM over)) FOR UPDATE SKIP LOCKED
), lifted AS (
	DELETE FROM login_state WHERE ctid = ANY (ARRAY(SELECT place FROM due)) AND locked_until <= statement_timestamp() RETURNING email_norm, by_operator
)
SELECT over.locked_until, lifted.email_norm IS NOT NULL, over.email_norm, '', coalesce(lifted.by_operator, false)
FROM over LEFT JOIN lifted ON lifted.email_norm = over.email_norm ORDER BY over.locked_until`
}

// liftOwnedLockoutsSQL locks the owners first, as a reset of the password does: they may be told. That writes to every user's row.
func liftOwnedLockoutsSQL(which string) string {
	return `
WITH over AS MATERIALIZED (
	SELECT email_norm, locked_until FROM login_state WHERE ` + which + ` AND locked_until <= statement_timestamp() ORDER BY locked_until LIMIT $1
), owners AS MATERIALIZED (
	SELECT u.id, u.email_norm, u.disabled_at IS NOT NULL AS disabled FROM users u JOIN over ON over.email_norm = u.email_norm
	FOR NO KEY UPDATE OF u SKIP LOCKED
), due AS (
	SELECT l.email_norm FROM login_state l JOIN over ON over.email_norm = l.email_norm
	WHERE l.email_norm IN (SELECT email_norm FROM owners) OR NOT EXISTS (SELECT FROM users u WHERE u.email_norm = l.email_norm)
	FOR UPDATE OF l SKIP LOCKED
), lifted AS (
	DELETE FROM login_state l USING due WHERE l.email_norm = due.email_norm AND l.locked_until <= statement_timestamp()
	RETURNING l.email_norm, l.by_operator
)
SELECT over.locked_until, lifted.email_norm IS NOT NULL, over.email_norm, coalesce(owners.id::text, ''), coalesce(lifted.by_operator, false)
FROM over LEFT JOIN lifted ON lifted.email_norm = over.email_norm LEFT JOIN owners ON owners.email_norm = over.email_norm AND NOT owners.disabled
ORDER BY over.locked_until`
}

const (
	lockedFromSQL = `locked_until >= $2::timestamptz`
	lockedAtSQL   = `locked_until = ANY ($2::timestamptz[])`
)

// LiftLockouts clears lockouts whose time is over, as accounts.LiftStore says.
func (db *DB) LiftLockouts(ctx context.Context, tx pgx.Tx, limit int, owners bool) ([]accounts.Lifted, error) {
	var lifted []accounts.Lifted
	walk, err := beginWalk(ctx, tx, sweep.Walk{Part: sweep.Lockouts}, false, false)
	if err == nil {
		_, err = walk.batch(ctx, tx, limit, func(held []time.Time, limit int) ([]looked, error) {
			sql, which := liftLockoutsSQL(lockedFromSQL, owners), any(instant(walk.from))
			if held != nil {
				sql, which = liftLockoutsSQL(lockedAtSQL, owners), held
			}
			rows, err := tx.Query(ctx, sql, limit, which)
			if err != nil {
				return nil, err //nolint:wrapcheck // wrapped below
			}
			return pgx.CollectRows(rows, func(row pgx.CollectableRow) (at looked, err error) {
				var l accounts.Lifted
				err = row.Scan(&at.Due, &at.Gone, &l.EmailNorm, &l.UserID, &l.ByOperator)
				if at.Gone {
					lifted = append(lifted, l)
				}
				return at, err //nolint:wrapcheck // likewise
			})
		})
	}
	if err == nil {
		err = walk.restore(ctx, tx)
	}
	if err != nil {
		return nil, wrap("lift lockouts", err)
	}
	return lifted, nil
}

// forgetAttemptsSQL goes by whole days, as the index does. $2 is how old attempts are that count no more. The rows are locked as they are by now. An array,
// and no join: with the condition repeated, each batch read all that is old.
const forgetAttemptsSQL = `
WITH old AS (
	SELECT email_norm FROM login_state
	WHERE attempted_on < ((statement_timestamp() - $2::interval) AT TIME ZONE 'UTC')::date AND locked_until IS NULL
	ORDER BY attempted_on LIMIT $1 FOR UPDATE SKIP LOCKED
)
DELETE FROM login_state WHERE email_norm = ANY (ARRAY(SELECT email_norm FROM old))`

// ForgetAttempts deletes counters that count no more, as accounts.LiftStore says.
func (db *DB) ForgetAttempts(ctx context.Context, tx pgx.Tx, age time.Duration, limit int) (int, error) {
	tag, err := tx.Exec(ctx, forgetAttemptsSQL, limit, age)
	if err != nil {
		return 0, wrap("forget attempts", err)
	}
	return int(tag.RowsAffected()), nil
}

// countForgettable counts what ForgetAttempts would delete.
func (db *DB) countForgettable(ctx context.Context, age time.Duration) (n int64, err error) {
	err = db.pool.QueryRow(ctx, `SELECT count(*) FROM login_state
		WHERE attempted_on < ((statement_timestamp() - $1::interval) AT TIME ZONE 'UTC')::date AND locked_until IS NULL`, age).Scan(&n)
	if err != nil {
		return 0, wrap("count attempts", err)
	}
	return n, nil
}
