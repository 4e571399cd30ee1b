package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
)

// It touches no table that knows who has an account: nothing of it depends on that.
const saveRequestSQL = `
INSERT INTO owner_requests AS r (email_norm, mail, id, asked_at, expires_at)
VALUES ($1, $2, $3::uuid, statement_timestamp(), statement_timestamp() + $4::interval)
ON CONFLICT (email_norm, mail) DO UPDATE SET
	id = CASE WHEN r.answered_at IS NULL AND r.expires_at > statement_timestamp() THEN r.id ELSE excluded.id END,
	asked_at = excluded.asked_at, expires_at = excluded.expires_at, answered_at = NULL
WHERE $5::interval = '0' OR r.asked_at <= statement_timestamp() - $5::interval
RETURNING id::text, expires_at`

// SaveRequest writes what was asked for by an address, as accounts.RequestStore says.
func (db *DB) SaveRequest(ctx context.Context, tx pgx.Tx, r accounts.NewRequest) (accounts.SavedRequest, error) {
	var saved accounts.SavedRequest
	err := tx.QueryRow(ctx, saveRequestSQL, name(r.EmailNorm), string(r.Mail), r.ID, r.TTL, r.NotWithin).Scan(&saved.ID, &saved.ExpiresAt)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return accounts.SavedRequest{}, accounts.ErrThrottled
	case err != nil:
		return accounts.SavedRequest{}, wrap("save request", err)
	}
	saved.ExpiresAt = saved.ExpiresAt.UTC()
	return saved, nil
}

// askedUserSQL takes the user whom the answer will change before the request: see the package comment.
const askedUserSQL = `
SELECT FROM users u JOIN owner_requests r ON r.email_norm = u.email_norm WHERE r.id = $1::uuid AND r.answered_at IS NULL FOR NO KEY UPDATE OF u`

const takeRequestSQL = `
UPDATE owner_requests SET answered_at = statement_timestamp()
WHERE id = $1::uuid AND answered_at IS NULL AND expires_at > statement_timestamp() RETURNING email_norm, mail`

// TakeRequest answers a request, as accounts.RequestStore says.
func (db *DB) TakeRequest(ctx context.Context, tx pgx.Tx, id string) (accounts.Request, error) {
	var r accounts.Request
	var batch pgx.Batch
	batch.Queue(askedUserSQL, uuidOf(id))
	batch.Queue(takeRequestSQL, uuidOf(id)).QueryRow(func(row pgx.Row) error { return row.Scan(&r.EmailNorm, &r.Mail) })
	err := tx.SendBatch(ctx, &batch).Close()
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return accounts.Request{}, accounts.ErrNoSuchRequest
	case err != nil:
		return accounts.Request{}, wrap("answer request", err)
	}
	return r, nil
}
