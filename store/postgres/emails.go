package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sealq/sealq/accounts"
)

// changeEmailSQL locks the user before his token, as everybody does. Its one row tells whose the token is, if it is anybody's, and what was
// changed: nothing where somebody else has the new address.
const changeEmailSQL = `
WITH owner AS (
	SELECT u.id, u.email, t.new_email, t.new_email_norm FROM users u JOIN user_tokens t ON t.user_id = u.id
	WHERE t.key_hash = $1 AND t.purpose = 'email_change' AND t.expires_at > statement_timestamp() AND u.disabled_at IS NULL
	AND NOT EXISTS (SELECT FROM login_state l WHERE l.email_norm = u.email_norm AND l.by_operator AND l.locked_until > statement_timestamp())
	FOR NO KEY UPDATE OF u
), free AS (
	SELECT * FROM owner WHERE NOT EXISTS (SELECT FROM users o WHERE o.email_norm = owner.new_email_norm AND o.id <> owner.id)
), used AS (
	DELETE FROM user_tokens t USING free WHERE t.user_id = free.id AND t.key_hash = $1 AND t.purpose = 'email_change'
	RETURNING t.user_id, t.new_email, t.new_email_norm
), changed AS (
	UPDATE users u SET email = used.new_email, email_norm = used.new_email_norm FROM used WHERE u.id = used.user_id
	RETURNING u.id, u.email, u.sessions_valid_after, u.email_norm
), others AS (
	DELETE FROM user_tokens t USING changed WHERE t.user_id = changed.id AND t.purpose <> 'email_change'
)
SELECT EXISTS (SELECT FROM free), owner.email, changed.id::text, changed.email, changed.sessions_valid_after, changed.email_norm
FROM owner LEFT JOIN changed ON true`

// uniqueViolation is the SQLSTATE of a unique index (PostgreSQL's manual, appendix A).
const uniqueViolation = "23505"

// ChangeEmail uses a link that was mailed to a new address, as accounts.EmailStore says. Somebody may take the address between the look and the
// update: then the savepoint is all that fails.
func (db *DB) ChangeEmail(ctx context.Context, tx pgx.Tx, keyHash [32]byte) (accounts.EmailChange, error) {
	var change accounts.EmailChange
	var free bool
	var id, email, norm *string
	var after *time.Time
	err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, changeEmailSQL, keyHash[:]).Scan(&free, &change.OldEmail, &id, &email, &after, &norm)
	})
	violation, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return accounts.EmailChange{}, accounts.ErrUnknownToken
	case ok && violation.Code == uniqueViolation, err == nil && !free:
		return accounts.EmailChange{}, accounts.ErrAlreadyActive
	case err != nil:
		return accounts.EmailChange{}, wrap("change address", err)
	case id == nil: // another has used the token meanwhile
		return accounts.EmailChange{}, accounts.ErrUnknownToken
	}
	change.Owner = accounts.Owner{User: accounts.User{ID: *id, Email: *email, SessionsValidAfter: timeOrZero(after)}, EmailNorm: *norm}
	return change, nil
}
