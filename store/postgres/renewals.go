package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
)

// pendingOfKeySQL locks the registrations. Those that somebody has locked are about to be activated, replaced or swept.
const pendingOfKeySQL = `
SELECT id::text FROM pending_users WHERE kid = $1 AND key_hash IS NOT NULL AND expires_at > statement_timestamp()
ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED`

const renewPendingSQL = `
WITH renewed AS (
	UPDATE pending_users p SET generation = p.generation + 1, nonce = fresh.nonce, kid = NULL, key_hash = NULL, sent_at = NULL,
		resend_count = p.resend_count + 1
	FROM unnest($1::uuid[], $2::bytea[]) AS fresh (id, nonce) WHERE p.id = fresh.id
	RETURNING p.id, p.generation, p.expires_at
)
SELECT id::text, generation, expires_at FROM renewed ORDER BY expires_at, id`

// RenewPending voids links of a key, as accounts.PendingStore says.
func (db *DB) RenewPending(ctx context.Context, tx pgx.Tx, kid string, limit int, nonce func() []byte) ([]accounts.SavedPending, error) {
	rows, err := tx.Query(ctx, pendingOfKeySQL, name(kid), limit)
	if err != nil {
		return nil, wrap("renew registrations", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, wrap("renew registrations", err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	nonces := make([][]byte, len(ids))
	for i := range nonces {
		nonces[i] = nonce()
	}
	if rows, err = tx.Query(ctx, renewPendingSQL, ids, nonces); err != nil {
		return nil, wrap("renew registrations", err)
	}
	renewed, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (accounts.SavedPending, error) {
		var p accounts.SavedPending
		err := row.Scan(&p.ID, &p.Generation, &p.ExpiresAt)
		p.ExpiresAt = p.ExpiresAt.UTC()
		return p, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, wrap("renew registrations", err)
	}
	return renewed, nil
}
