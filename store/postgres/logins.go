package postgres

import (
	"context"

	"github.com/sealq/sealq/accounts"
)

// chargeSQL counts an attempt and reads the user, in one statement. Racers queue for the row, and each works on what
// the one before it has committed: l is the row as it was then. Whether the attempt is allowed is told by refused,
// which only an allowed attempt sets to 0. locked_until would not do: two attempts may come in one microsecond.
const chargeSQL = `
WITH charged AS (
	INSERT INTO login_state AS l (email_norm, failed_attempts, last_failed_at, locked_until)
	VALUES ($1, 1, statement_timestamp(), CASE WHEN $2::bigint <= 1 THEN statement_timestamp() + $3::interval END)
	ON CONFLICT (email_norm) DO UPDATE SET (failed_attempts, last_failed_at, locked_until, refused, by_operator, attempted_on) = (
		SELECT attempt.failed, statement_timestamp(),
		       CASE WHEN was.locked THEN l.locked_until WHEN attempt.failed >= $2::bigint THEN statement_timestamp() + $3::interval END,
		       CASE WHEN was.locked THEN l.refused + 1 ELSE 0 END, was.locked AND l.by_operator,
		       (statement_timestamp() AT TIME ZONE 'UTC')::date
		FROM (SELECT coalesce(l.locked_until > statement_timestamp(), false) AS locked,
		             l.locked_until <= statement_timestamp()
		             OR $4::interval > '0' AND l.last_failed_at <= statement_timestamp() - $4::interval AS over) AS was,
		LATERAL (SELECT CASE WHEN was.over AND NOT was.locked THEN 1 ELSE l.failed_attempts + 1 END AS failed) AS attempt
	)
	RETURNING refused = 0 AS allowed, locked_until
)
SELECT charged.allowed, greatest(charged.locked_until - statement_timestamp(), '0'),
       u.id::text, u.email, u.password_hash, u.sessions_valid_after, u.disabled_at IS NOT NULL
FROM charged LEFT JOIN users u ON u.email_norm = $1`

// ChargeAttempt counts one attempt to log in before its password is looked at, in one round trip that has committed
// when it returns, as accounts.LoginStore says.
func (db *DB) ChargeAttempt(ctx context.Context, emailNorm string, l accounts.Lockout) (accounts.Charge, error) {
	var charge accounts.Charge
	var u userColumns
	err := db.pool.QueryRow(ctx, chargeSQL, emailNorm, l.Limit, l.For, l.Window).
		Scan(&charge.Allowed, &charge.LockedFor, &u.id, &u.email, &u.passwordHash, &u.validAfter, &u.disabled)
	if err != nil {
		return accounts.Charge{}, wrap("charge attempt", err)
	}
	charge.User = u.credentials()
	return charge, nil
}

// Without an upgrade the user's row is only locked: a login that meets a new password, or Disable, waits for it and then is none.
const (
	currentUserSQL = `WITH current AS (SELECT id FROM users WHERE id = $1::uuid AND password_hash = $2 AND disabled_at IS NULL` + notHeldSQL + ` FOR SHARE)`
	upgradeUserSQL = `WITH current AS (
	UPDATE users SET password_hash = $4 WHERE id = $1::uuid AND password_hash = $2 AND disabled_at IS NULL` + notHeldSQL + ` RETURNING id
)`
	// An operator has locked it while the hash was computed.
	notHeldSQL = ` AND NOT EXISTS (SELECT FROM login_state WHERE email_norm = $3 AND by_operator AND locked_until > statement_timestamp())`
	// The row stays: the next attempt updates it in place.
	clearChargesSQL = `, cleared AS (
	UPDATE login_state SET failed_attempts = 0, last_failed_at = NULL, locked_until = NULL, refused = 0
	WHERE email_norm = $3 AND NOT by_operator AND EXISTS (SELECT FROM current)
)
SELECT EXISTS (SELECT FROM current)`
)

// RecordLogin clears the counter of a user whose password was right, if it is the user's password still, as
// accounts.LoginStore says.
func (db *DB) RecordLogin(ctx context.Context, s accounts.Login) (current bool, err error) {
	sql, args := currentUserSQL, []any{uuidOf(s.UserID), s.Verified.RevealText(), s.EmailNorm}
	if !s.Upgraded.IsZero() {
		sql, args = upgradeUserSQL, append(args, s.Upgraded.RevealText())
	}
	if err := db.pool.QueryRow(ctx, sql+clearChargesSQL, args...).Scan(&current); err != nil {
		return false, wrap("record login", err)
	}
	return current, nil
}
