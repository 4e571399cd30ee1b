package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sealq/sealq/accounts"
)

// SetDisabled disables or enables a user: see [accounts.OperatorStore].
func (db *DB) SetDisabled(ctx context.Context, tx *sql.Tx, userID string, disabled bool) (bool, error) {
	changed, err := setDisabled(ctx, tx, userID, disabled)
	return db.changedUser(ctx, tx, "set disabled", userID, changed, err)
}

func setDisabled(ctx context.Context, tx *sql.Tx, userID string, disabled bool) (int, error) {
	if !disabled {
		return execute(ctx, tx, `UPDATE users SET disabled_at = NULL WHERE id = ? AND disabled_at IS NOT NULL`, userID)
	}
	instant, err := now(ctx, tx)
	if err != nil {
		return 0, err
	}
	n, err := execute(ctx, tx, `UPDATE users SET disabled_at = ?1, sessions_valid_after = ?1 WHERE id = ?2 AND disabled_at IS NULL`, instant, userID)
	if err != nil || n == 0 {
		return 0, err
	}
	for _, statement := range []string{`DELETE FROM user_tokens WHERE user_id = ?`, `DELETE FROM login_devices WHERE user_id = ?`} {
		if _, err := execute(ctx, tx, statement, userID); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// changedUser says whether a user was changed, after a write, and whether there is one.
func (db *DB) changedUser(ctx context.Context, tx *sql.Tx, operation, userID string, changed int, err error) (bool, error) {
	known := changed > 0
	if err == nil && !known {
		err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM users WHERE id = ?)`, userID).Scan(&known)
	}
	switch {
	case err != nil:
		return false, db.wrap(operation, err)
	case !known:
		return false, accounts.ErrNoSuchUser
	}
	return changed > 0, nil
}

// SetLanguage sets the language of a user's mails: see [accounts.UserStore].
func (db *DB) SetLanguage(ctx context.Context, tx *sql.Tx, userID, language string) (bool, error) {
	changed, err := execute(ctx, tx, `UPDATE users SET language = ?2 WHERE id = ?1 AND language <> ?2`, userID, language)
	return db.changedUser(ctx, tx, "set language", userID, changed, err)
}

// SetLock locks an address by hand, or lifts its lock: see [accounts.OperatorStore].
func (db *DB) SetLock(ctx context.Context, tx *sql.Tx, emailNorm string, d time.Duration) (bool, error) {
	changed, err := setLock(ctx, tx, emailNorm, d)
	if err != nil {
		return false, db.wrap("set lock", err)
	}
	return changed, nil
}

func setLock(ctx context.Context, tx *sql.Tx, emailNorm string, d time.Duration) (bool, error) {
	instant, err := now(ctx, tx)
	if err != nil {
		return false, err
	}
	if d > 0 {
		n, err := execute(ctx, tx, `
			INSERT INTO login_state (email_norm, failed_attempts, locked_until, by_operator) VALUES (?, 0, ?, TRUE)
			ON CONFLICT (email_norm) DO UPDATE SET locked_until = max(coalesce(locked_until, 0), excluded.locked_until), by_operator = TRUE
			WHERE NOT (by_operator AND coalesce(locked_until, 0) > excluded.locked_until)`,
			emailNorm, instant+d.Microseconds())
		return n > 0, err
	}
	var until sql.NullInt64
	var failed int
	err = tx.QueryRowContext(ctx, `DELETE FROM login_state WHERE email_norm = ? RETURNING locked_until, failed_attempts`, emailNorm).Scan(&until, &failed)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return failed > 0 || until.Int64 > instant, err //nolint:wrapcheck // SetLock wraps it
}

// UserOf tells who has an address: see [accounts.OperatorStore].
func (db *DB) UserOf(ctx context.Context, tx *sql.Tx, emailNorm string) (userID string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT id FROM users WHERE email_norm = ?`, emailNorm).Scan(&userID)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", db.wrap("look up user", err)
	}
	return userID, nil
}

// SetRole gives or takes a role: see [accounts.RoleStore].
func (db *DB) SetRole(ctx context.Context, tx *sql.Tx, userID, role string, has bool) (bool, error) {
	statement := `DELETE FROM user_roles WHERE user_id = ?1 AND role = ?2`
	if has {
		statement = `INSERT INTO user_roles (user_id, role, granted_at) SELECT id, ?2, ` + nowSQL + ` FROM users WHERE id = ?1 AND TRUE ON CONFLICT DO NOTHING`
	}
	changed, err := execute(ctx, tx, statement, userID, role)
	return db.changedUser(ctx, tx, "set role", userID, changed, err)
}

// Roles lists a user's roles: see [accounts.RoleStore].
func (db *DB) Roles(ctx context.Context, userID string) (roles []string, disabled bool, err error) {
	rows, err := db.read.QueryContext(ctx, `
		SELECT u.disabled_at IS NOT NULL, r.role FROM users u LEFT JOIN user_roles r ON r.user_id = u.id WHERE u.id = ? ORDER BY r.role`, userID)
	if err != nil {
		return nil, false, db.wrap("read roles", err)
	}
	roles = []string{}
	known, err := collect(rows, func(rows *sql.Rows) (struct{}, error) {
		var role sql.NullString
		err := rows.Scan(&disabled, &role)
		if role.Valid {
			roles = append(roles, role.String)
		}
		return struct{}{}, err //nolint:wrapcheck // wrapped below
	})
	switch {
	case err != nil:
		return nil, false, db.wrap("read roles", err)
	case len(known) == 0:
		return nil, false, accounts.ErrNoSuchUser
	}
	return roles, disabled, nil
}
