package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
)

const disableSQL = `
WITH changed AS (
	UPDATE users SET disabled_at = statement_timestamp(), sessions_valid_after = statement_timestamp()
	WHERE id = $1::uuid AND disabled_at IS NULL RETURNING id
), tokens AS (
	DELETE FROM user_tokens t USING changed WHERE t.user_id = changed.id
), devices AS (
	DELETE FROM login_devices d USING changed WHERE d.user_id = changed.id
)
SELECT EXISTS (SELECT FROM users WHERE id = $1::uuid), EXISTS (SELECT FROM changed)`

const enableSQL = `
WITH changed AS (
	UPDATE users SET disabled_at = NULL WHERE id = $1::uuid AND disabled_at IS NOT NULL RETURNING id
)
SELECT EXISTS (SELECT FROM users WHERE id = $1::uuid), EXISTS (SELECT FROM changed)`

// SetDisabled disables or enables a user, as accounts.OperatorStore says.
func (db *DB) SetDisabled(ctx context.Context, tx pgx.Tx, userID string, disabled bool) (changed bool, err error) {
	sql := enableSQL
	if disabled {
		sql = disableSQL
	}
	return changedUser("set disabled", tx.QueryRow(ctx, sql, uuidOf(userID)))
}

// changedUser reads whether there is such a user, and whether he was changed.
func changedUser(operation string, row pgx.Row) (changed bool, err error) {
	var known bool
	if err := row.Scan(&known, &changed); err != nil {
		return false, wrap(operation, err)
	}
	if !known {
		return false, accounts.ErrNoSuchUser
	}
	return changed, nil
}

// lockOwnerSQL takes the user before his counter, as a new password does: who locks and disables in one transaction would otherwise wait for one
// that waits for him.
const lockOwnerSQL = `SELECT FROM users WHERE email_norm = $1 FOR NO KEY UPDATE`

const languageSQL = `
WITH changed AS (
	UPDATE users SET language = $2 WHERE id = $1::uuid AND language <> $2 RETURNING id
)
SELECT EXISTS (SELECT FROM users WHERE id = $1::uuid), EXISTS (SELECT FROM changed)`

// SetLanguage sets the language of a user's mails, as accounts.UserStore says.
func (db *DB) SetLanguage(ctx context.Context, tx pgx.Tx, userID, language string) (changed bool, err error) {
	return changedUser("set language", tx.QueryRow(ctx, languageSQL, uuidOf(userID), language))
}

const lockSQL = `
INSERT INTO login_state AS l (email_norm, failed_attempts, locked_until, by_operator) VALUES ($1, 0, statement_timestamp() + $2::interval, true)
ON CONFLICT (email_norm) DO UPDATE SET locked_until = greatest(l.locked_until, excluded.locked_until), by_operator = true
WHERE NOT (l.by_operator AND coalesce(l.locked_until > excluded.locked_until, false))`

// UserOf tells who has an address, as accounts.OperatorStore says.
func (db *DB) UserOf(ctx context.Context, tx pgx.Tx, emailNorm string) (userID string, err error) {
	err = tx.QueryRow(ctx, `SELECT id::text FROM users WHERE email_norm = $1`, emailNorm).Scan(&userID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", wrap("look up user", err)
	}
	return userID, nil
}

// The statement sees the row as it was before the update, unless that waited for another: then the lock of which it tells is a moment older.
const unlockSQL = `
WITH was AS (
	SELECT email_norm, failed_attempts > 0 OR coalesce(locked_until > statement_timestamp(), false) AS locked FROM login_state WHERE email_norm = $1 FOR UPDATE
), cleared AS (
	UPDATE login_state l SET failed_attempts = 0, last_failed_at = NULL, locked_until = NULL, refused = 0, by_operator = false
	FROM was WHERE l.email_norm = was.email_norm
)
SELECT locked FROM was`

// SetLock locks an address by hand, or lifts its lock, as accounts.OperatorStore says.
func (db *DB) SetLock(ctx context.Context, tx pgx.Tx, emailNorm string, d time.Duration) (changed bool, err error) {
	if _, err := tx.Exec(ctx, lockOwnerSQL, emailNorm); err != nil {
		return false, wrap("set lock", err)
	}
	if d > 0 {
		tag, err := tx.Exec(ctx, lockSQL, emailNorm, d)
		if err != nil {
			return false, wrap("lock", err)
		}
		return tag.RowsAffected() > 0, nil
	}
	err = tx.QueryRow(ctx, unlockSQL, emailNorm).Scan(&changed)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, wrap("unlock", err)
	}
	return changed, nil
}

// Both take the user first: see the package comment. A user who is being deleted is no user, and is waited for.
const grantRoleSQL = `
WITH known AS (
	SELECT id FROM users WHERE id = $1::uuid FOR NO KEY UPDATE
), changed AS (
	INSERT INTO user_roles (user_id, role) SELECT id, $2 FROM known ON CONFLICT DO NOTHING RETURNING user_id
)
SELECT EXISTS (SELECT FROM known), EXISTS (SELECT FROM changed)`

const revokeRoleSQL = `
WITH known AS MATERIALIZED (
	SELECT id FROM users WHERE id = $1::uuid FOR NO KEY UPDATE
), changed AS (
	DELETE FROM user_roles r USING known WHERE r.user_id = known.id AND r.role = $2 RETURNING r.user_id
)
SELECT EXISTS (SELECT FROM known), EXISTS (SELECT FROM changed)`

// SetRole gives or takes a role, as accounts.RoleStore says.
func (db *DB) SetRole(ctx context.Context, tx pgx.Tx, userID, role string, has bool) (changed bool, err error) {
	sql := revokeRoleSQL
	if has {
		sql = grantRoleSQL
	}
	return changedUser("set role", tx.QueryRow(ctx, sql, uuidOf(userID), role))
}

const rolesSQL = `
SELECT disabled_at IS NOT NULL, ARRAY(SELECT role FROM user_roles r WHERE r.user_id = u.id ORDER BY role COLLATE "C")
FROM users u WHERE id = $1::uuid`

// Roles lists a user's roles, as accounts.RoleStore says.
func (db *DB) Roles(ctx context.Context, userID string) (roles []string, disabled bool, err error) {
	err = db.pool.QueryRow(ctx, rolesSQL, uuidOf(userID)).Scan(&disabled, &roles)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, false, accounts.ErrNoSuchUser
	case err != nil:
		return nil, false, wrap("read roles", err)
	}
	return roles, disabled, nil
}
