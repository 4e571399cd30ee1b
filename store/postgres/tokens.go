package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
)

const userByIDSQL = `
SELECT id::text, email, sessions_valid_after, email_norm FROM users WHERE id = $1::uuid`

// UserByID reads one user, as accounts.UserStore says.
func (db *DB) UserByID(ctx context.Context, id string) (accounts.Owner, error) {
	owner, err := scanOwner(db.pool.QueryRow(ctx, userByIDSQL, uuidOf(id)))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return accounts.Owner{}, accounts.ErrNoSuchUser
	case err != nil:
		return accounts.Owner{}, wrap("read user", err)
	}
	return owner, nil
}

func scanOwner(row pgx.Row) (owner accounts.Owner, err error) {
	var after *time.Time
	err = row.Scan(&owner.ID, &owner.Email, &after, &owner.EmailNorm)
	owner.SessionsValidAfter = timeOrZero(after)
	return owner, err //nolint:wrapcheck // callers wrap it
}

// lockUserSQL makes whoever changes this user's tokens and notices queue up.
const lockUserSQL = `
SELECT id::text FROM users WHERE email_norm = $1 AND disabled_at IS NULL AND ($2::uuid IS NULL OR id = $2) AND ($3 = '' OR password_hash = $3)
FOR NO KEY UPDATE`

// askedLinkSQL looks at the token as it is. $3 is how often it can be asked for, $4 how long it lives at least to be mailed once more.
const askedLinkSQL = `
SELECT asked_at + $3::interval, asked_at + $3::interval > statement_timestamp(),
       expires_at >= statement_timestamp() + $4::interval AND new_email = $5 AND new_email_norm = $6
FROM user_tokens WHERE user_id = $1::uuid AND purpose = $2`

const mailAgainSQL = `
UPDATE user_tokens SET asked_at = statement_timestamp() WHERE user_id = $1::uuid AND purpose = $2 RETURNING generation, expires_at`

const saveLinkSQL = `
WITH next AS (
	UPDATE users SET mail_generation = mail_generation + 1 WHERE id = $1::uuid RETURNING id, mail_generation
)
INSERT INTO user_tokens AS t (user_id, purpose, new_email, new_email_norm, nonce, generation, asked_at, expires_at)
SELECT id, $2, $3, $4, $5, mail_generation, statement_timestamp(), statement_timestamp() + $6::interval FROM next
ON CONFLICT (user_id, purpose) DO UPDATE SET
	new_email = excluded.new_email, new_email_norm = excluded.new_email_norm, nonce = excluded.nonce, generation = excluded.generation,
	asked_at = excluded.asked_at, expires_at = excluded.expires_at, kid = NULL, key_hash = NULL, sent_at = NULL
RETURNING generation, expires_at`

// SaveToken asks for a link, as accounts.TokenStore says.
func (db *DB) SaveToken(ctx context.Context, tx pgx.Tx, t accounts.NewToken) (accounts.SavedToken, error) {
	saved, err := saveToken(ctx, tx, t)
	if err != nil {
		if isRefusal(err) {
			return accounts.SavedToken{}, err
		}
		return accounts.SavedToken{}, wrap("save token", err)
	}
	return saved, nil
}

func saveToken(ctx context.Context, tx pgx.Tx, t accounts.NewToken) (accounts.SavedToken, error) {
	saved := accounts.SavedToken{Purpose: t.Purpose}
	var wanted *string
	if t.UserID != "" {
		if wanted = uuidOf(t.UserID); wanted == nil {
			return saved, accounts.ErrNoSuchUser
		}
	}
	err := tx.QueryRow(ctx, lockUserSQL, name(t.EmailNorm), wanted, t.Verified.RevealText()).Scan(&saved.UserID)
	if errors.Is(err, pgx.ErrNoRows) {
		return saved, accounts.ErrNoSuchUser
	}
	if err != nil {
		return saved, err //nolint:wrapcheck // SaveToken wraps it
	}
	var retryAt time.Time
	var throttled, again bool
	err = tx.QueryRow(ctx, askedLinkSQL, saved.UserID, string(t.Purpose), t.NotWithin, t.TTL/2, t.NewEmail, t.NewEmailNorm).
		Scan(&retryAt, &throttled, &again)
	switch {
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return saved, err //nolint:wrapcheck // likewise
	case throttled:
		return saved, &accounts.ThrottledError{RetryAt: retryAt.UTC()}
	case again:
		err = tx.QueryRow(ctx, mailAgainSQL, saved.UserID, string(t.Purpose)).Scan(&saved.Generation, &saved.ExpiresAt)
	default:
		err = tx.QueryRow(ctx, saveLinkSQL, saved.UserID, string(t.Purpose), t.NewEmail, t.NewEmailNorm, t.Nonce, t.TTL).
			Scan(&saved.Generation, &saved.ExpiresAt)
	}
	saved.ExpiresAt = saved.ExpiresAt.UTC()
	return saved, err //nolint:wrapcheck // likewise
}

// isRefusal says whether err is one that accounts knows, which is returned as it is.
func isRefusal(err error) bool {
	for _, refusal := range []error{
		accounts.ErrNoSuchUser, accounts.ErrThrottled, accounts.ErrUnknownToken, accounts.ErrRefused, accounts.ErrAlreadyActive,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

const linkUserSQL = `
SELECT u.id::text, u.email, u.sessions_valid_after, u.email_norm FROM user_tokens t JOIN users u ON u.id = t.user_id
WHERE t.key_hash = $1 AND t.purpose = $2 AND t.expires_at > statement_timestamp() AND u.disabled_at IS NULL`

// TokenUser tells whose token it is, as accounts.TokenStore says.
func (db *DB) TokenUser(ctx context.Context, tx pgx.Tx, purpose accounts.Mail, keyHash [32]byte) (accounts.Owner, error) {
	return tokenUser(tx.QueryRow(ctx, linkUserSQL, keyHash[:], string(purpose)))
}

// LinkUser tells whose token it is, as accounts.TokenStore says.
func (db *DB) LinkUser(ctx context.Context, purpose accounts.Mail, keyHash [32]byte) (accounts.Owner, error) {
	return tokenUser(db.pool.QueryRow(ctx, linkUserSQL, keyHash[:], string(purpose)))
}

func tokenUser(row pgx.Row) (accounts.Owner, error) {
	owner, err := scanOwner(row)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return accounts.Owner{}, accounts.ErrUnknownToken
	case err != nil:
		return accounts.Owner{}, wrap("read token", err)
	}
	return owner, nil
}

// linksOfKeySQL locks the users, as whoever changes tokens does first. Those whom somebody has locked are about to use them.
const linksOfKeySQL = `
SELECT u.id::text, t.purpose FROM user_tokens t JOIN users u ON u.id = t.user_id
WHERE t.kid = $1 AND t.expires_at > statement_timestamp()
ORDER BY t.expires_at LIMIT $2 FOR NO KEY UPDATE OF u SKIP LOCKED`

// A user may have two tokens of the key: each takes a number of its own.
const renewLinksSQL = `
WITH due AS (
	SELECT user_id, purpose, nonce, row_number() OVER (PARTITION BY user_id ORDER BY purpose) AS n
	FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS due (user_id, purpose, nonce)
), next AS (
	UPDATE users u SET mail_generation = u.mail_generation + due.tokens
	FROM (SELECT user_id, max(n) AS tokens FROM due GROUP BY user_id) AS due WHERE u.id = due.user_id
	RETURNING u.id, u.mail_generation - due.tokens AS before
), renewed AS (
	UPDATE user_tokens t SET generation = next.before + due.n, nonce = due.nonce, kid = NULL, key_hash = NULL, sent_at = NULL
	FROM due JOIN next ON next.id = due.user_id
	WHERE t.user_id = due.user_id AND t.purpose = due.purpose AND t.kid = $4 AND t.expires_at > statement_timestamp()
	RETURNING t.user_id, t.purpose, t.generation, t.expires_at
)
SELECT user_id::text, purpose, generation, expires_at FROM renewed ORDER BY expires_at, user_id`

// RenewTokens voids links of a key, as accounts.TokenStore says.
func (db *DB) RenewTokens(ctx context.Context, tx pgx.Tx, kid string, limit int, nonce func() []byte) ([]accounts.SavedToken, error) {
	rows, err := tx.Query(ctx, linksOfKeySQL, name(kid), limit)
	if err != nil {
		return nil, wrap("renew tokens", err)
	}
	var users, purposes []string
	var user, purpose string
	if _, err := pgx.ForEachRow(rows, []any{&user, &purpose}, func() error {
		users, purposes = append(users, user), append(purposes, purpose)
		return nil
	}); err != nil {
		return nil, wrap("renew tokens", err)
	}
	if len(users) == 0 {
		return nil, nil
	}
	nonces := make([][]byte, len(users))
	for i := range nonces {
		nonces[i] = nonce()
	}
	if rows, err = tx.Query(ctx, renewLinksSQL, users, purposes, nonces, name(kid)); err != nil {
		return nil, wrap("renew tokens", err)
	}
	renewed, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (accounts.SavedToken, error) {
		var t accounts.SavedToken
		err := row.Scan(&t.UserID, (*string)(&t.Purpose), &t.Generation, &t.ExpiresAt)
		t.ExpiresAt = t.ExpiresAt.UTC()
		return t, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, wrap("renew tokens", err)
	}
	return renewed, nil
}
