package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/operators"
)

var _ operators.Store = (*DB)(nil)

const saveOperatorSQL = `
INSERT INTO operators (id, name, password_hash, role) VALUES ($1::uuid, $2, $3, $4) ON CONFLICT (name) DO NOTHING`

// SaveOperator writes a new operator, as operators.OperatorStore says.
func (db *DB) SaveOperator(ctx context.Context, n operators.NewOperator, e audit.Entry) error {
	return db.InTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, saveOperatorSQL, n.ID, n.Name, n.PasswordHash.RevealText(), string(n.Role))
		switch {
		case err != nil:
			return wrap("save operator", err)
		case tag.RowsAffected() == 0:
			return operators.ErrNameTaken
		}
		return db.AppendAudit(ctx, tx, e)
	})
}

const operatorColumns = `o.id::text, o.name, o.role, o.disabled_at IS NOT NULL, EXISTS (SELECT FROM totp t WHERE t.operator_id = o.id), o.created_at, o.logged_in_at`

func operatorInto(o *operators.Operator, more ...any) []any {
	return append([]any{&o.ID, &o.Name, &o.Role, &o.Disabled, &o.Factor, &o.CreatedAt, &o.LoggedInAt}, more...)
}

// FindOperator returns what a login needs, as operators.OperatorStore says.
func (db *DB) FindOperator(ctx context.Context, operator string) (operators.Credentials, error) {
	var c operators.Credentials
	var hash string
	err := db.pool.QueryRow(ctx, `SELECT `+operatorColumns+`, o.password_hash FROM operators o WHERE o.name = $1`, name(operator)).
		Scan(operatorInto(&c.Operator, &hash)...)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return operators.Credentials{}, operators.ErrNoSuchOperator
	case err != nil:
		return operators.Credentials{}, wrap("find operator", err)
	}
	c.PasswordHash = accounts.NewPasswordHash(hash)
	return c, nil
}

// Operators lists them, as operators.OperatorStore says.
func (db *DB) Operators(ctx context.Context) ([]operators.Operator, error) {
	rows, err := db.pool.Query(ctx, `SELECT `+operatorColumns+` FROM operators o ORDER BY o.name`)
	if err != nil {
		return nil, wrap("list operators", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o operators.Operator, err error) {
		return o, row.Scan(operatorInto(&o)...)
	})
	if err != nil {
		return nil, wrap("list operators", err)
	}
	return all, nil
}

const changeOperatorSQL = `
UPDATE operators SET role = coalesce(nullif($2, ''), role), password_hash = coalesce(nullif($3, ''), password_hash),
	disabled_at = CASE WHEN $4::boolean IS NULL THEN disabled_at WHEN $4 THEN coalesce(disabled_at, statement_timestamp()) END
WHERE id = $1::uuid`

// ChangeOperator changes one, as operators.OperatorStore says.
func (db *DB) ChangeOperator(ctx context.Context, operator string, c operators.Change, e audit.Entry) (changed bool, err error) {
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		var o operators.Operator
		err := tx.QueryRow(ctx, `SELECT `+operatorColumns+` FROM operators o WHERE o.name = $1 FOR NO KEY UPDATE`, name(operator)).Scan(operatorInto(&o)...)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return operators.ErrNoSuchOperator
		case err != nil:
			return wrap("change operator", err)
		}
		if changed = c.Changes(o); !changed {
			return nil
		}
		batch := &pgx.Batch{}
		batch.Queue(changeOperatorSQL, o.ID, string(c.Role), c.PasswordHash.RevealText(), c.Disabled)
		batch.Queue(`DELETE FROM operator_sessions WHERE operator_id = $1::uuid`, o.ID)
		batch.Queue(`DELETE FROM login_state WHERE email_norm = ANY($1)`, c.Clears)
		if c.EndsKeys() {
			batch.Queue(`UPDATE api_keys SET revoked_at = statement_timestamp() WHERE operator_id = $1::uuid AND revoked_at IS NULL`, o.ID)
		}
		if c.DropFactor {
			batch.Queue(`DELETE FROM totp WHERE operator_id = $1::uuid`, o.ID)
			batch.Queue(`DELETE FROM recovery_codes WHERE operator_id = $1::uuid`, o.ID)
		}
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return wrap("change operator", err)
		}
		return db.AppendAudit(ctx, tx, e)
	})
	return changed, err
}

// saveSessionSQL locks the operator, so that a change of him comes before, and is seen, or after, and ends the session.
const (
	saveSessionSQL = `
INSERT INTO operator_sessions (token_hash, id, operator_id, complete, expires_at, agent, remote)
SELECT $1, $2::uuid, id, $4, statement_timestamp() + $5::interval, $6, $7 FROM operators
WHERE id = $3::uuid AND disabled_at IS NULL AND ($8 = '' OR password_hash = $8) FOR NO KEY UPDATE`
	replaceSessionSQL = `DELETE FROM operator_sessions WHERE token_hash = $1 AND operator_id = $2::uuid AND expires_at > statement_timestamp()`
	oldSessionsSQL    = `
DELETE FROM operator_sessions WHERE token_hash IN (
	SELECT token_hash FROM operator_sessions WHERE expires_at <= statement_timestamp() ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED)`
)

// SaveOperatorSession writes a session, as operators.SessionStore says.
func (db *DB) SaveOperatorSession(ctx context.Context, s operators.NewSession, e audit.Entry) error {
	return db.InTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, saveSessionSQL, s.Token[:], s.ID, uuidOf(s.OperatorID), s.Complete, s.Life, name(s.From.Agent), name(s.From.Remote), s.Verified.RevealText())
		if err == nil && tag.RowsAffected() == 0 {
			return operators.ErrNoSession
		}
		if err == nil && s.Replaces != nil {
			tag, err = tx.Exec(ctx, replaceSessionSQL, s.Replaces[:], s.OperatorID)
			if err == nil && tag.RowsAffected() == 0 {
				return operators.ErrNoSession
			}
		}
		if err == nil {
			batch := &pgx.Batch{}
			if s.Complete {
				batch.Queue(`UPDATE operators SET logged_in_at = statement_timestamp() WHERE id = $1::uuid`, s.OperatorID)
			}
			batch.Queue(`DELETE FROM login_state WHERE email_norm = ANY($1)`, s.Clears)
			batch.Queue(oldSessionsSQL)
			err = tx.SendBatch(ctx, batch).Close()
		}
		if err != nil {
			return wrap("save session", err)
		}
		if !s.Complete {
			return nil
		}
		return db.AppendAudit(ctx, tx, e)
	})
}

const sessionColumns = `s.id::text, o.id::text, o.name, o.role, EXISTS (SELECT FROM totp t WHERE t.operator_id = o.id), s.complete,
	s.created_at, s.seen_at, s.expires_at, s.agent, s.remote`

func sessionInto(s *operators.Session) []any {
	return []any{&s.ID, &s.OperatorID, &s.Name, &s.Role, &s.Factor, &s.Complete, &s.CreatedAt, &s.SeenAt, &s.ExpiresAt, &s.From.Agent, &s.From.Remote}
}

const useSessionSQL = `
WITH seen AS (
	UPDATE operator_sessions SET seen_at = statement_timestamp()
	WHERE token_hash = $1 AND $3 AND expires_at > statement_timestamp()
	AND seen_at > statement_timestamp() - $2::interval AND seen_at <= statement_timestamp() - interval '30 seconds'
)
SELECT ` + sessionColumns + ` FROM operator_sessions s JOIN operators o ON o.id = s.operator_id
WHERE s.token_hash = $1 AND s.expires_at > statement_timestamp() AND s.seen_at > statement_timestamp() - $2::interval AND o.disabled_at IS NULL`

// UseOperatorSession returns whose token it is, as operators.SessionStore says.
func (db *DB) UseOperatorSession(ctx context.Context, token [32]byte, idle time.Duration, touch bool) (operators.Session, error) {
	var s operators.Session
	err := db.pool.QueryRow(ctx, useSessionSQL, token[:], idle, touch).Scan(sessionInto(&s)...)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return operators.Session{}, operators.ErrNoSession
	case err != nil:
		return operators.Session{}, wrap("use session", err)
	}
	return s, nil
}

// OperatorSessions lists an operator's sessions, as operators.SessionStore says.
func (db *DB) OperatorSessions(ctx context.Context, operatorID string) ([]operators.Session, error) {
	rows, err := db.pool.Query(ctx, `
		SELECT `+sessionColumns+` FROM operator_sessions s JOIN operators o ON o.id = s.operator_id
		WHERE o.id = $1::uuid AND s.expires_at > statement_timestamp() ORDER BY s.created_at DESC, s.id`, uuidOf(operatorID))
	if err != nil {
		return nil, wrap("list sessions", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s operators.Session, err error) {
		return s, row.Scan(sessionInto(&s)...)
	})
	if err != nil {
		return nil, wrap("list sessions", err)
	}
	return all, nil
}

// EndOperatorSession deletes one, as operators.SessionStore says.
func (db *DB) EndOperatorSession(ctx context.Context, operatorID, id string) (bool, error) {
	tag, err := db.pool.Exec(ctx, `DELETE FROM operator_sessions WHERE operator_id = $1::uuid AND id = $2::uuid`, uuidOf(operatorID), uuidOf(id))
	if err != nil {
		return false, wrap("end session", err)
	}
	return tag.RowsAffected() > 0, nil
}
