package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/operators"
)

var _ operators.Store = (*DB)(nil)

// change runs fn in a transaction, enters e where fn says that something was changed, and names the operation in what goes wrong.
func (db *DB) change(ctx context.Context, operation string, e audit.Entry, fn func(tx *sql.Tx, instant int64) (changed bool, err error)) (changed bool, err error) {
	err = db.InTx(ctx, func(tx *sql.Tx) error {
		instant, err := now(ctx, tx)
		if err == nil {
			changed, err = fn(tx, instant)
		}
		if err != nil || !changed || e.Action == "" {
			return err
		}
		return db.AppendAudit(ctx, tx, e)
	})
	for _, ours := range []error{
		operators.ErrNameTaken, operators.ErrNoSuchOperator, operators.ErrNoSession, operators.ErrEnrolled, operators.ErrNoFactor, operators.ErrNoKey,
	} {
		if errors.Is(err, ours) {
			return false, err
		}
	}
	if err != nil {
		return false, db.wrap(operation, err)
	}
	return changed, nil
}

// SaveOperator writes a new operator: see [operators.OperatorStore].
func (db *DB) SaveOperator(ctx context.Context, n operators.NewOperator, e audit.Entry) error {
	_, err := db.change(ctx, "save operator", e, func(tx *sql.Tx, instant int64) (bool, error) {
		saved, err := execute(ctx, tx, `INSERT INTO operators (id, name, password_hash, role, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			n.ID, n.Name, n.PasswordHash.RevealText(), string(n.Role), instant)
		if err == nil && saved == 0 {
			err = operators.ErrNameTaken
		}
		return true, err
	})
	return err
}

const operatorColumns = `o.id, o.name, o.role, o.disabled_at IS NOT NULL, EXISTS (SELECT 1 FROM totp t WHERE t.operator_id = o.id), o.created_at, o.logged_in_at`

// scanOperator reads operatorColumns, and then more.
func scanOperator(scan func(...any) error, more ...any) (o operators.Operator, err error) {
	var created int64
	var last sql.NullInt64
	err = scan(append([]any{&o.ID, &o.Name, &o.Role, &o.Disabled, &o.Factor, &created, &last}, more...)...)
	o.CreatedAt, o.LoggedInAt = timeOf(created), timeOrNil(last)
	return o, err
}

// FindOperator returns what a login needs: see [operators.OperatorStore].
func (db *DB) FindOperator(ctx context.Context, operator string) (operators.Credentials, error) {
	var hash string
	o, err := scanOperator(db.read.QueryRowContext(ctx, `SELECT `+operatorColumns+`, o.password_hash FROM operators o WHERE o.name = ?`, operator).Scan, &hash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return operators.Credentials{}, operators.ErrNoSuchOperator
	case err != nil:
		return operators.Credentials{}, db.wrap("find operator", err)
	}
	return operators.Credentials{Operator: o, PasswordHash: accounts.NewPasswordHash(hash)}, nil
}

// Operators lists them: see [operators.OperatorStore].
func (db *DB) Operators(ctx context.Context) ([]operators.Operator, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+operatorColumns+` FROM operators o ORDER BY o.name`)
	if err != nil {
		return nil, db.wrap("list operators", err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (operators.Operator, error) { return scanOperator(rows.Scan) })
	if err != nil {
		return nil, db.wrap("list operators", err)
	}
	return all, nil
}

// ChangeOperator changes one: see [operators.OperatorStore].
func (db *DB) ChangeOperator(ctx context.Context, operator string, c operators.Change, e audit.Entry) (bool, error) {
	return db.change(ctx, "change operator", e, func(tx *sql.Tx, instant int64) (bool, error) {
		o, err := scanOperator(tx.QueryRowContext(ctx, `SELECT `+operatorColumns+` FROM operators o WHERE o.name = ?`, operator).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return false, operators.ErrNoSuchOperator
		}
		if err != nil || !c.Changes(o) {
			return false, err
		}
		return true, changeOperator(ctx, tx, o.ID, c, instant)
	})
}

func changeOperator(ctx context.Context, tx *sql.Tx, id string, c operators.Change, instant int64) error {
	_, err := execute(ctx, tx, `
		UPDATE operators SET role = coalesce(nullif(?1, ''), role), password_hash = coalesce(nullif(?2, ''), password_hash),
			disabled_at = CASE WHEN ?3 IS NULL THEN disabled_at WHEN ?3 THEN coalesce(disabled_at, ?4) END
		WHERE id = ?5`, string(c.Role), c.PasswordHash.RevealText(), c.Disabled, instant, id)
	statements := []string{`DELETE FROM operator_sessions WHERE operator_id = ?`}
	if c.DropFactor {
		statements = append(statements, `DELETE FROM totp WHERE operator_id = ?`, `DELETE FROM recovery_codes WHERE operator_id = ?`)
	}
	for _, statement := range statements {
		if err == nil {
			_, err = execute(ctx, tx, statement, id)
		}
	}
	if err == nil && c.EndsKeys() {
		_, err = execute(ctx, tx, `UPDATE api_keys SET revoked_at = ? WHERE operator_id = ? AND revoked_at IS NULL`, instant, id)
	}
	if err != nil {
		return err
	}
	return clearCounters(ctx, tx, c.Clears)
}

func clearCounters(ctx context.Context, tx *sql.Tx, identifiers []string) error {
	for _, identifier := range identifiers {
		if _, err := execute(ctx, tx, `DELETE FROM login_state WHERE email_norm = ?`, identifier); err != nil {
			return err
		}
	}
	return nil
}

// SaveOperatorSession writes a session: see [operators.SessionStore].
func (db *DB) SaveOperatorSession(ctx context.Context, s operators.NewSession, e audit.Entry) error {
	_, err := db.change(ctx, "save session", e, func(tx *sql.Tx, instant int64) (bool, error) {
		return s.Complete, saveSession(ctx, tx, s, instant)
	})
	return err
}

func saveSession(ctx context.Context, tx *sql.Tx, s operators.NewSession, instant int64) error {
	hash := s.Verified.RevealText()
	saved, err := execute(ctx, tx, `
		INSERT INTO operator_sessions (token_hash, id, operator_id, complete, created_at, seen_at, expires_at, agent, remote)
		SELECT ?1, ?2, id, ?4, ?5, ?5, ?6, ?7, ?8 FROM operators WHERE id = ?3 AND disabled_at IS NULL AND (?9 = '' OR password_hash = ?9)`,
		s.Token[:], s.ID, s.OperatorID, s.Complete, instant, instant+s.Life.Microseconds(), s.From.Agent, s.From.Remote, hash)
	if err == nil && saved == 1 && s.Replaces != nil {
		saved, err = execute(ctx, tx, `DELETE FROM operator_sessions WHERE token_hash = ? AND operator_id = ? AND expires_at > ?`,
			s.Replaces[:], s.OperatorID, instant)
	}
	if err == nil && saved == 0 {
		err = operators.ErrNoSession
	}
	if err == nil && s.Complete {
		_, err = execute(ctx, tx, `UPDATE operators SET logged_in_at = ? WHERE id = ?`, instant, s.OperatorID)
	}
	if err == nil {
		_, err = execute(ctx, tx, `DELETE FROM operator_sessions WHERE expires_at <= ?`, instant)
	}
	if err != nil {
		return err
	}
	return clearCounters(ctx, tx, s.Clears)
}

const sessionColumns = `s.id, o.id, o.name, o.role, EXISTS (SELECT 1 FROM totp t WHERE t.operator_id = o.id), s.complete,
	s.created_at, s.seen_at, s.expires_at, s.agent, s.remote`

func scanSession(scan func(...any) error) (s operators.Session, err error) {
	var created, seen, expires int64
	err = scan(&s.ID, &s.OperatorID, &s.Name, &s.Role, &s.Factor, &s.Complete, &created, &seen, &expires, &s.From.Agent, &s.From.Remote)
	s.CreatedAt, s.SeenAt, s.ExpiresAt = timeOf(created), timeOf(seen), timeOf(expires)
	return s, err
}

// seenLate is how late the time of a session's use may be written, so that most requests only read.
const seenLate = 30 * time.Second

// UseOperatorSession returns whose token it is: see [operators.SessionStore].
func (db *DB) UseOperatorSession(ctx context.Context, token [32]byte, idle time.Duration, touch bool) (operators.Session, error) {
	instant, err := now(ctx, db.read)
	if err != nil {
		return operators.Session{}, db.wrap("use session", err)
	}
	s, err := scanSession(db.read.QueryRowContext(ctx, `
		SELECT `+sessionColumns+` FROM operator_sessions s JOIN operators o ON o.id = s.operator_id
		WHERE s.token_hash = ? AND s.expires_at > ? AND s.seen_at > ? AND o.disabled_at IS NULL`,
		token[:], instant, instant-idle.Microseconds()).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return operators.Session{}, operators.ErrNoSession
	}
	if err == nil && touch && s.SeenAt.UnixMicro() <= instant-seenLate.Microseconds() {
		_, err = db.change(ctx, "use session", audit.Entry{}, func(tx *sql.Tx, instant int64) (bool, error) {
			n, err := execute(ctx, tx, `UPDATE operator_sessions SET seen_at = ? WHERE token_hash = ?`, instant, token[:])
			return n > 0, err
		})
	}
	if err != nil {
		return operators.Session{}, db.wrap("use session", err)
	}
	return s, nil
}

// OperatorSessions lists an operator's sessions: see [operators.SessionStore].
func (db *DB) OperatorSessions(ctx context.Context, operatorID string) ([]operators.Session, error) {
	rows, err := db.read.QueryContext(ctx, `
		SELECT `+sessionColumns+` FROM operator_sessions s JOIN operators o ON o.id = s.operator_id
		WHERE o.id = ? AND s.expires_at > `+nowSQL+` ORDER BY s.created_at DESC, s.id`, operatorID)
	if err != nil {
		return nil, db.wrap("list sessions", err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (operators.Session, error) { return scanSession(rows.Scan) })
	if err != nil {
		return nil, db.wrap("list sessions", err)
	}
	return all, nil
}

// EndOperatorSession deletes one: see [operators.SessionStore].
func (db *DB) EndOperatorSession(ctx context.Context, operatorID, id string) (bool, error) {
	return db.change(ctx, "end session", audit.Entry{}, func(tx *sql.Tx, _ int64) (bool, error) {
		n, err := execute(ctx, tx, `DELETE FROM operator_sessions WHERE operator_id = ? AND id = ?`, operatorID, id)
		return n > 0, err
	})
}
