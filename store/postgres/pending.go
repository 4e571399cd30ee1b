package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
)

// lockPendingSQL waits for an activation that is moving the row, in a statement before the upsert: each statement sees
// what was committed before it began, so the upsert then sees the new user.
const lockPendingSQL = `SELECT FROM pending_users WHERE email_norm = $1 FOR UPDATE`

const savePendingSQL = `
INSERT INTO pending_users AS p (id, email_norm, email, password_hash, nonce, generation, expires_at, language)
SELECT $1::uuid, $2, $3, $4, $5, 1, statement_timestamp() + $6::interval, $9
WHERE NOT EXISTS (SELECT FROM users WHERE email_norm = $2)
ON CONFLICT (email_norm) DO UPDATE SET
	email = excluded.email, password_hash = excluded.password_hash, nonce = excluded.nonce, language = excluded.language,
	asked_at = statement_timestamp(), generation = p.generation + 1, kid = NULL, key_hash = NULL, sent_at = NULL, expires_at = excluded.expires_at,
	resend_count = CASE WHEN p.expires_at <= statement_timestamp() THEN 0 ELSE p.resend_count + 1 END
WHERE p.expires_at <= statement_timestamp() OR $7 AND ($8::interval = '0' OR p.asked_at <= statement_timestamp() - $8::interval)
RETURNING p.id::text, p.generation, p.expires_at`

// inTheWaySQL tells why nothing was saved. The upsert has locked the row that was in its way, so it is still there.
const inTheWaySQL = `
SELECT EXISTS (SELECT FROM users WHERE email_norm = $1),
       p.expires_at, p.asked_at + $2::interval
FROM (SELECT) AS one LEFT JOIN pending_users p ON p.email_norm = $1 AND p.expires_at > statement_timestamp()`

// saveTries bounds how often a row may go or expire between the upsert and the look at what was in its way.
const saveTries = 3

// SavePending writes one registration, as accounts.PendingStore says, in one round trip unless something is in its way.
func (db *DB) SavePending(ctx context.Context, tx pgx.Tx, p accounts.NewPending) (accounts.SavedPending, error) {
	for range saveTries {
		saved, err := upsertPending(ctx, tx, p)
		if err == nil {
			return saved, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return accounts.SavedPending{}, wrap("save registration", err)
		}
		var active bool
		var liveUntil, retryAt *time.Time
		if err := tx.QueryRow(ctx, inTheWaySQL, p.EmailNorm, p.NotWithin).Scan(&active, &liveUntil, &retryAt); err != nil {
			return accounts.SavedPending{}, wrap("save registration", err)
		}
		switch {
		case active:
			return accounts.SavedPending{}, accounts.ErrAlreadyActive
		case liveUntil != nil && p.ReplaceLive && p.NotWithin > 0:
			return accounts.SavedPending{}, &accounts.ThrottledError{RetryAt: retryAt.UTC()}
		case liveUntil != nil && !p.ReplaceLive:
			return accounts.SavedPending{}, &accounts.PendingError{ExpiresAt: liveUntil.UTC()}
		}
	}
	return accounts.SavedPending{}, errors.New("save registration: others keep changing this address's rows: try again")
}

func upsertPending(ctx context.Context, tx pgx.Tx, p accounts.NewPending) (accounts.SavedPending, error) {
	var saved accounts.SavedPending
	var batch pgx.Batch
	batch.Queue(lockPendingSQL, p.EmailNorm)
	batch.Queue(savePendingSQL, p.ID, p.EmailNorm, p.Email, p.PasswordHash.RevealText(), p.Nonce, p.TTL, p.ReplaceLive, p.NotWithin, p.Language).
		QueryRow(func(row pgx.Row) error {
			return row.Scan(&saved.ID, &saved.Generation, &saved.ExpiresAt)
		})
	err := tx.SendBatch(ctx, &batch).Close()
	saved.ExpiresAt = saved.ExpiresAt.UTC()
	return saved, err //nolint:wrapcheck // SavePending wraps it
}

const resendPendingSQL = `
UPDATE pending_users SET asked_at = statement_timestamp(), resend_count = resend_count + 1
WHERE email_norm = $1 AND expires_at > statement_timestamp() AND ($2::interval = '0' OR asked_at <= statement_timestamp() - $2::interval)
RETURNING id::text, generation, expires_at`

// ResendPending asks for a confirmation mail once more, as accounts.PendingStore says.
func (db *DB) ResendPending(ctx context.Context, tx pgx.Tx, emailNorm string, notWithin time.Duration) (accounts.SavedPending, error) {
	var saved accounts.SavedPending
	err := tx.QueryRow(ctx, resendPendingSQL, emailNorm, notWithin).Scan(&saved.ID, &saved.Generation, &saved.ExpiresAt)
	if err == nil {
		saved.ExpiresAt = saved.ExpiresAt.UTC()
		return saved, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return accounts.SavedPending{}, wrap("resend confirmation", err)
	}
	var retryAt time.Time
	err = tx.QueryRow(ctx, `SELECT asked_at + $2::interval FROM pending_users WHERE email_norm = $1 AND expires_at > statement_timestamp()`,
		emailNorm, notWithin).Scan(&retryAt)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return accounts.SavedPending{}, accounts.ErrNotPending
	case err != nil:
		return accounts.SavedPending{}, wrap("resend confirmation", err)
	}
	return accounts.SavedPending{}, &accounts.ThrottledError{RetryAt: retryAt.UTC()}
}

const pendingUserSQL = `
SELECT id::text, email, email_norm, password_hash FROM pending_users
WHERE key_hash = $1 AND expires_at > statement_timestamp() AND (sent_at IS NOT NULL OR NOT $2)`

// PendingUser tells whose registration a key activates, as accounts.PendingStore says.
func (db *DB) PendingUser(ctx context.Context, tx pgx.Tx, a accounts.Activation) (accounts.PendingUser, error) {
	return scanPendingUser(tx.QueryRow(ctx, pendingUserSQL, a.KeyHash[:], a.RequireSent))
}

// RegistrationOf is PendingUser without a transaction.
func (db *DB) RegistrationOf(ctx context.Context, a accounts.Activation) (accounts.PendingUser, error) {
	return scanPendingUser(db.pool.QueryRow(ctx, pendingUserSQL, a.KeyHash[:], a.RequireSent))
}

func scanPendingUser(row pgx.Row) (accounts.PendingUser, error) {
	var p accounts.PendingUser
	var hash string
	err := row.Scan(&p.ID, &p.Email, &p.EmailNorm, &hash)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return accounts.PendingUser{}, accounts.ErrUnknownKey
	case err != nil:
		return accounts.PendingUser{}, wrap("read registration", err)
	}
	p.PasswordHash = accounts.NewPasswordHash(hash)
	return p, nil
}

// Racers wait for the one that deletes the row, and then find none.
const activateSQL = `
WITH pending AS (
	DELETE FROM pending_users
	WHERE key_hash = $1 AND expires_at > statement_timestamp() AND (sent_at IS NOT NULL OR NOT $2) AND ($3 <> '' OR password_hash <> '')
	RETURNING id, email, email_norm, coalesce(nullif($3, ''), password_hash) AS password_hash, language
), activated AS (
	INSERT INTO users (id, email, email_norm, password_hash, language)
	SELECT id, email, email_norm, password_hash, language FROM pending
	ON CONFLICT (email_norm) DO NOTHING
	RETURNING id
)
SELECT pending.id::text, pending.email, activated.id IS NOT NULL FROM pending LEFT JOIN activated ON true`

// ActivatePending moves the registration of a key into users, in one statement, as accounts.PendingStore says.
func (db *DB) ActivatePending(ctx context.Context, tx pgx.Tx, a accounts.Activation) (accounts.User, error) {
	var user accounts.User
	var activated bool
	err := tx.QueryRow(ctx, activateSQL, a.KeyHash[:], a.RequireSent, a.PasswordHash.RevealText()).Scan(&user.ID, &user.Email, &activated)
	switch {
	case errors.Is(err, pgx.ErrNoRows) && a.PasswordHash.IsZero():
		return accounts.User{}, db.notActivated(ctx, tx, a)
	case errors.Is(err, pgx.ErrNoRows):
		return accounts.User{}, accounts.ErrUnknownKey
	case err != nil:
		return accounts.User{}, wrap("activate", err)
	case !activated:
		return accounts.User{}, accounts.ErrAlreadyActive
	}
	return user, nil
}

// notActivated tells why a key without a password activated nothing.
func (db *DB) notActivated(ctx context.Context, tx pgx.Tx, a accounts.Activation) error {
	p, err := db.PendingUser(ctx, tx, a)
	if err == nil && p.PasswordHash.IsZero() {
		return accounts.ErrNoPassword
	}
	if err == nil { // mailed since the statement before
		return accounts.ErrUnknownKey
	}
	return err
}

// The one row of the first FROM is there even for an address that nobody has.
const accountStateSQL = `
SELECT u.id::text, u.email, u.password_hash, u.sessions_valid_after, u.disabled_at IS NOT NULL,
       p.id::text, p.email, p.generation, p.expires_at, coalesce(p.expires_at <= statement_timestamp(), false), p.sent_at,
       coalesce(l.failed_attempts, 0), l.last_failed_at, l.locked_until, coalesce(l.locked_until > statement_timestamp(), false),
       coalesce(l.by_operator AND l.locked_until > statement_timestamp(), false), coalesce(u.language, p.language, '')
FROM (SELECT $1::text AS email_norm) AS asked
LEFT JOIN users u ON u.email_norm = asked.email_norm
LEFT JOIN pending_users p ON p.email_norm = asked.email_norm
LEFT JOIN login_state l ON l.email_norm = asked.email_norm`

// AccountState reads what the database knows about one address, in one statement.
func (db *DB) AccountState(ctx context.Context, emailNorm string) (accounts.State, error) {
	var s accounts.State
	var u userColumns
	var pendingID, pendingEmail *string
	var generation *uint64
	var expiresAt *time.Time
	var p accounts.PendingState
	err := db.pool.QueryRow(ctx, accountStateSQL, emailNorm).Scan(&u.id, &u.email, &u.passwordHash, &u.validAfter, &u.disabled,
		&pendingID, &pendingEmail, &generation, &expiresAt, &p.Expired, &p.SentAt,
		&s.FailedAttempts, &s.LastFailedAt, &s.LockedUntil, &s.Locked, &s.ByOperator, &s.Language)
	if err != nil {
		return accounts.State{}, wrap("read account", err)
	}
	s.User = u.credentials()
	if pendingID != nil {
		p.ID, p.Email, p.Generation, p.ExpiresAt, p.SentAt = *pendingID, *pendingEmail, *generation, expiresAt.UTC(), utc(p.SentAt)
		s.Pending = &p
	}
	s.LastFailedAt, s.LockedUntil = utc(s.LastFailedAt), utc(s.LockedUntil)
	return s, nil
}

// userColumns are a user's columns in a LEFT JOIN.
type userColumns struct {
	id, email, passwordHash *string
	validAfter              *time.Time
	disabled                bool
}

// credentials is nil where the join found nobody.
func (u userColumns) credentials() *accounts.Credentials {
	if u.id == nil {
		return nil
	}
	return &accounts.Credentials{
		User:         accounts.User{ID: *u.id, Email: *u.email, SessionsValidAfter: timeOrZero(u.validAfter)},
		PasswordHash: accounts.NewPasswordHash(*u.passwordHash),
		Disabled:     u.disabled,
	}
}
