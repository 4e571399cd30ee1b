package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/operators"
)

// ProposeFactor gives a session a secret to show: see [operators.FactorStore].
func (db *DB) ProposeFactor(ctx context.Context, token [32]byte, secret []byte) (proposed []byte, err error) {
	_, err = db.change(ctx, "propose factor", audit.Entry{}, func(tx *sql.Tx, instant int64) (bool, error) {
		err := tx.QueryRowContext(ctx, `UPDATE operator_sessions SET proposal = coalesce(proposal, ?) WHERE token_hash = ? AND expires_at > ? RETURNING proposal`,
			secret, token[:], instant).Scan(&proposed)
		if errors.Is(err, sql.ErrNoRows) {
			err = operators.ErrNoSession
		}
		return true, err
	})
	return proposed, err
}

// SaveFactor makes the secret that a session was shown its operator's: see [operators.FactorStore].
func (db *DB) SaveFactor(ctx context.Context, token [32]byte, step int64, codes [][32]byte, e audit.Entry) error {
	_, err := db.change(ctx, "save factor", e, func(tx *sql.Tx, instant int64) (bool, error) {
		var id string
		var secret []byte
		err := tx.QueryRowContext(ctx, `SELECT operator_id, proposal FROM operator_sessions WHERE token_hash = ? AND expires_at > ? AND proposal IS NOT NULL`,
			token[:], instant).Scan(&id, &secret)
		if errors.Is(err, sql.ErrNoRows) {
			return false, operators.ErrNoSession
		}
		if err != nil {
			return false, err //nolint:wrapcheck // change wraps it
		}
		saved, err := execute(ctx, tx, `INSERT INTO totp (operator_id, secret, last_step, confirmed_at) VALUES (?, ?, ?, ?) ON CONFLICT (operator_id) DO NOTHING`,
			id, secret, step, instant)
		if err == nil && saved == 0 {
			err = operators.ErrEnrolled
		}
		for _, code := range codes {
			if err == nil {
				_, err = execute(ctx, tx, `INSERT INTO recovery_codes (operator_id, code_hash) VALUES (?, ?)`, id, code[:])
			}
		}
		if err == nil {
			_, err = execute(ctx, tx, `DELETE FROM operator_sessions WHERE operator_id = ? AND token_hash <> ?`, id, token[:])
		}
		return true, err
	})
	return err
}

// FactorSecret returns the secret of an operator's codes: see [operators.FactorStore].
func (db *DB) FactorSecret(ctx context.Context, operatorID string) (secret []byte, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT secret FROM totp WHERE operator_id = ?`, operatorID).Scan(&secret)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, operators.ErrNoFactor
	case err != nil:
		return nil, db.wrap("read factor", err)
	}
	return secret, nil
}

// UseStep takes a code's step once: see [operators.FactorStore].
func (db *DB) UseStep(ctx context.Context, operatorID string, step int64) (bool, error) {
	return db.change(ctx, "use code", audit.Entry{}, func(tx *sql.Tx, _ int64) (bool, error) {
		n, err := execute(ctx, tx, `UPDATE totp SET last_step = ?1 WHERE operator_id = ?2 AND last_step < ?1`, step, operatorID)
		return n > 0, err
	})
}

// UseRecoveryCode takes a recovery code once: see [operators.FactorStore].
func (db *DB) UseRecoveryCode(ctx context.Context, operatorID string, code [32]byte, e audit.Entry) (taken bool, left int, err error) {
	taken, err = db.change(ctx, "use recovery code", e, func(tx *sql.Tx, _ int64) (bool, error) {
		n, err := execute(ctx, tx, `DELETE FROM recovery_codes WHERE operator_id = ? AND code_hash = ?`, operatorID, code[:])
		if err == nil {
			err = tx.QueryRowContext(ctx, `SELECT count(*) FROM recovery_codes WHERE operator_id = ?`, operatorID).Scan(&left)
		}
		return n > 0, err //nolint:wrapcheck // change wraps it
	})
	return taken, left, err
}

// SaveAPIKey writes a key of scripts: see [operators.KeyStore].
func (db *DB) SaveAPIKey(ctx context.Context, k operators.NewKey, e audit.Entry) error {
	_, err := db.change(ctx, "save API key", e, func(tx *sql.Tx, instant int64) (bool, error) {
		saved, err := execute(ctx, tx, `
			INSERT INTO api_keys (hash, id, operator_id, name, role, created_at, expires_at)
			SELECT ?, ?, id, ?, ?, ?, ? FROM operators WHERE id = ? AND disabled_at IS NULL`,
			k.Hash[:], k.ID, k.Name, string(k.Role), instant, instant+k.Life.Microseconds(), k.OperatorID)
		if err == nil && saved == 0 {
			err = operators.ErrNoSuchOperator
		}
		if err == nil {
			_, err = execute(ctx, tx, `DELETE FROM api_keys WHERE min(expires_at, coalesce(revoked_at, expires_at)) <= ?`, instant-operators.EndedKeysKept.Microseconds())
		}
		return true, err
	})
	return err
}

const scriptKeyColumns = `k.id, k.operator_id, o.name, k.name, k.role, o.role, k.created_at, k.expires_at, k.used_at`

func scanAPIKey(scan func(...any) error) (k operators.Key, err error) {
	var most operators.Role
	var created, expires int64
	var used sql.NullInt64
	err = scan(&k.ID, &k.OperatorID, &k.Operator, &k.Name, &k.Role, &most, &created, &expires, &used)
	k.Role = operators.Lesser(k.Role, most)
	k.CreatedAt, k.ExpiresAt, k.UsedAt = timeOf(created), timeOf(expires), timeOrNil(used)
	return k, err
}

// UseAPIKey returns what a key may: see [operators.KeyStore].
func (db *DB) UseAPIKey(ctx context.Context, hash [32]byte) (operators.Key, error) {
	instant, err := now(ctx, db.read)
	if err != nil {
		return operators.Key{}, db.wrap("use API key", err)
	}
	k, err := scanAPIKey(db.read.QueryRowContext(ctx, `
		SELECT `+scriptKeyColumns+` FROM api_keys k JOIN operators o ON o.id = k.operator_id
		WHERE k.hash = ? AND k.revoked_at IS NULL AND k.expires_at > ? AND o.disabled_at IS NULL`, hash[:], instant).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return operators.Key{}, operators.ErrNoKey
	}
	if err == nil && (k.UsedAt == nil || k.UsedAt.UnixMicro() <= instant-time.Minute.Microseconds()) {
		_, err = db.change(ctx, "use API key", audit.Entry{}, func(tx *sql.Tx, instant int64) (bool, error) {
			n, err := execute(ctx, tx, `UPDATE api_keys SET used_at = ? WHERE hash = ?`, instant, hash[:])
			return n > 0, err
		})
	}
	if err != nil {
		return operators.Key{}, db.wrap("use API key", err)
	}
	return k, nil
}

// APIKeys lists the keys: see [operators.KeyStore].
func (db *DB) APIKeys(ctx context.Context) ([]operators.Key, error) {
	rows, err := db.read.QueryContext(ctx, `
		SELECT `+scriptKeyColumns+` FROM api_keys k JOIN operators o ON o.id = k.operator_id WHERE k.revoked_at IS NULL ORDER BY k.created_at DESC, k.id`)
	if err != nil {
		return nil, db.wrap("list API keys", err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (operators.Key, error) { return scanAPIKey(rows.Scan) })
	if err != nil {
		return nil, db.wrap("list API keys", err)
	}
	return all, nil
}

// RevokeAPIKey ends a key: see [operators.KeyStore].
func (db *DB) RevokeAPIKey(ctx context.Context, id string, e audit.Entry) (bool, error) {
	return db.change(ctx, "revoke API key", e, func(tx *sql.Tx, instant int64) (bool, error) {
		n, err := execute(ctx, tx, `UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL`, instant, id)
		return n > 0, err
	})
}
