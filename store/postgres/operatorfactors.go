package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/operators"
)

const proposeFactorSQL = `
UPDATE operator_sessions SET proposal = coalesce(proposal, $2) WHERE token_hash = $1 AND expires_at > statement_timestamp() RETURNING proposal`

// ProposeFactor gives a session a secret to show, as operators.FactorStore says.
func (db *DB) ProposeFactor(ctx context.Context, token [32]byte, secret []byte) (proposed []byte, err error) {
	err = db.pool.QueryRow(ctx, proposeFactorSQL, token[:], secret).Scan(&proposed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, operators.ErrNoSession
	case err != nil:
		return nil, wrap("propose factor", err)
	}
	return proposed, nil
}

// lockSessionsOwnerSQL takes the operator before his sessions, as a change of him does: one comes before, and is seen, or after, and drops the factor.
const (
	lockSessionsOwnerSQL = `
SELECT FROM operators WHERE id = (SELECT operator_id FROM operator_sessions WHERE token_hash = $1) FOR NO KEY UPDATE`
	proposalSQL   = `SELECT operator_id::text, proposal FROM operator_sessions WHERE token_hash = $1 AND expires_at > statement_timestamp() AND proposal IS NOT NULL`
	saveFactorSQL = `INSERT INTO totp (operator_id, secret, last_step) VALUES ($1::uuid, $2, $3) ON CONFLICT (operator_id) DO NOTHING`
	saveCodesSQL  = `INSERT INTO recovery_codes (operator_id, code_hash) SELECT $1::uuid, code FROM unnest($2::bytea[]) AS c (code)`
	endOthersSQL  = `DELETE FROM operator_sessions WHERE operator_id = $1::uuid AND token_hash <> $2`
)

// SaveFactor makes the secret that a session was shown its operator's, as operators.FactorStore says.
func (db *DB) SaveFactor(ctx context.Context, token [32]byte, step int64, codes [][32]byte, e audit.Entry) error {
	hashes := make([][]byte, len(codes))
	for i := range codes {
		hashes[i] = codes[i][:]
	}
	return db.InTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockSessionsOwnerSQL, token[:]); err != nil {
			return wrap("save factor", err)
		}
		var id string
		var secret []byte
		err := tx.QueryRow(ctx, proposalSQL, token[:]).Scan(&id, &secret)
		if errors.Is(err, pgx.ErrNoRows) {
			return operators.ErrNoSession
		}
		if err == nil {
			tag, failed := tx.Exec(ctx, saveFactorSQL, id, secret, step)
			if err = failed; err == nil && tag.RowsAffected() == 0 {
				return operators.ErrEnrolled
			}
		}
		if err == nil {
			_, err = tx.Exec(ctx, saveCodesSQL, id, hashes)
		}
		if err == nil {
			_, err = tx.Exec(ctx, endOthersSQL, id, token[:])
		}
		if err != nil {
			return wrap("save factor", err)
		}
		return db.AppendAudit(ctx, tx, e)
	})
}

// FactorSecret returns the secret of an operator's codes, as operators.FactorStore says.
func (db *DB) FactorSecret(ctx context.Context, operatorID string) (secret []byte, err error) {
	err = db.pool.QueryRow(ctx, `SELECT secret FROM totp WHERE operator_id = $1::uuid`, uuidOf(operatorID)).Scan(&secret)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, operators.ErrNoFactor
	case err != nil:
		return nil, wrap("read factor", err)
	}
	return secret, nil
}

// UseStep takes a code's step once, as operators.FactorStore says.
func (db *DB) UseStep(ctx context.Context, operatorID string, step int64) (bool, error) {
	tag, err := db.pool.Exec(ctx, `UPDATE totp SET last_step = $2 WHERE operator_id = $1::uuid AND last_step < $2`, uuidOf(operatorID), step)
	if err != nil {
		return false, wrap("use code", err)
	}
	return tag.RowsAffected() > 0, nil
}

// UseRecoveryCode takes a recovery code once, as operators.FactorStore says.
func (db *DB) UseRecoveryCode(ctx context.Context, operatorID string, code [32]byte, e audit.Entry) (taken bool, left int, err error) {
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM recovery_codes WHERE operator_id = $1::uuid AND code_hash = $2`, uuidOf(operatorID), code[:])
		if err == nil {
			taken = tag.RowsAffected() > 0
			err = tx.QueryRow(ctx, `SELECT count(*) FROM recovery_codes WHERE operator_id = $1::uuid`, uuidOf(operatorID)).Scan(&left)
		}
		switch {
		case err != nil:
			return wrap("use recovery code", err)
		case !taken:
			return nil
		}
		return db.AppendAudit(ctx, tx, e)
	})
	return taken, left, err
}

const (
	saveScriptKeySQL = `
INSERT INTO api_keys (hash, id, operator_id, name, role, expires_at)
SELECT $1, $2::uuid, id, $4, $5, statement_timestamp() + $6::interval FROM operators WHERE id = $3::uuid AND disabled_at IS NULL`
	oldScriptKeysSQL = `
DELETE FROM api_keys WHERE hash IN (
	SELECT hash FROM api_keys WHERE least(expires_at, revoked_at) <= statement_timestamp() - $1::interval LIMIT 100 FOR UPDATE SKIP LOCKED)`
)

// SaveAPIKey writes a key of scripts, as operators.KeyStore says.
func (db *DB) SaveAPIKey(ctx context.Context, k operators.NewKey, e audit.Entry) error {
	return db.InTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, saveScriptKeySQL, k.Hash[:], k.ID, uuidOf(k.OperatorID), name(k.Name), string(k.Role), k.Life)
		switch {
		case err != nil:
			return wrap("save API key", err)
		case tag.RowsAffected() == 0:
			return operators.ErrNoSuchOperator
		}
		if _, err := tx.Exec(ctx, oldScriptKeysSQL, operators.EndedKeysKept); err != nil {
			return wrap("delete old API keys", err)
		}
		return db.AppendAudit(ctx, tx, e)
	})
}

const (
	scriptKeyColumns = `k.id::text, k.operator_id::text, o.name, k.name, k.role, o.role, k.created_at, k.expires_at, k.used_at`
	useScriptKeySQL  = `
WITH used AS (
	UPDATE api_keys SET used_at = statement_timestamp()
	WHERE hash = $1 AND revoked_at IS NULL AND expires_at > statement_timestamp()
	AND coalesce(used_at <= statement_timestamp() - interval '1 minute', true)
)
SELECT ` + scriptKeyColumns + ` FROM api_keys k JOIN operators o ON o.id = k.operator_id
WHERE k.hash = $1 AND k.revoked_at IS NULL AND k.expires_at > statement_timestamp() AND o.disabled_at IS NULL`
)

func scanAPIKey(row pgx.Row) (k operators.Key, err error) {
	var most operators.Role
	err = row.Scan(&k.ID, &k.OperatorID, &k.Operator, &k.Name, &k.Role, &most, &k.CreatedAt, &k.ExpiresAt, &k.UsedAt)
	k.Role = operators.Lesser(k.Role, most)
	return k, err //nolint:wrapcheck // callers wrap it
}

// UseAPIKey returns what a key may, as operators.KeyStore says.
func (db *DB) UseAPIKey(ctx context.Context, hash [32]byte) (operators.Key, error) {
	k, err := scanAPIKey(db.pool.QueryRow(ctx, useScriptKeySQL, hash[:]))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return operators.Key{}, operators.ErrNoKey
	case err != nil:
		return operators.Key{}, wrap("use API key", err)
	}
	return k, nil
}

// APIKeys lists the keys, as operators.KeyStore says.
func (db *DB) APIKeys(ctx context.Context) ([]operators.Key, error) {
	rows, err := db.pool.Query(ctx, `
		SELECT `+scriptKeyColumns+` FROM api_keys k JOIN operators o ON o.id = k.operator_id WHERE k.revoked_at IS NULL ORDER BY k.created_at DESC, k.id`)
	if err != nil {
		return nil, wrap("list API keys", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (operators.Key, error) { return scanAPIKey(row) })
	if err != nil {
		return nil, wrap("list API keys", err)
	}
	return all, nil
}

// RevokeAPIKey ends a key, as operators.KeyStore says.
func (db *DB) RevokeAPIKey(ctx context.Context, id string, e audit.Entry) (revoked bool, err error) {
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE api_keys SET revoked_at = statement_timestamp() WHERE id = $1::uuid AND revoked_at IS NULL`, uuidOf(id))
		if err != nil {
			return wrap("revoke API key", err)
		}
		if revoked = tag.RowsAffected() > 0; !revoked {
			return nil
		}
		return db.AppendAudit(ctx, tx, e)
	})
	return revoked, err
}
