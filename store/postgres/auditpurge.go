package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs/sweep"
)

// AuditAnchor returns the last link that was purged, the zero one where the chain is whole, as audit.Chain says.
func (db *DB) AuditAnchor(ctx context.Context) (audit.Head, error) {
	var anchor audit.Head
	var sum []byte
	err := db.pool.QueryRow(ctx, `SELECT position, hash FROM audit_anchor`).Scan(&anchor.Position, &sum)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return audit.Head{}, wrap("read the audit log's anchor", err)
	}
	copy(anchor.Hash[:], sum)
	return anchor, nil
}

// purgeableSQL are the links after the anchor, the oldest first, but for the newest of all: the chain goes on from it.
const purgeableSQL = `
SELECT l.position, l.hash, l.at <= statement_timestamp() - $1::interval FROM audit_log l
WHERE l.position > coalesce((SELECT position FROM audit_anchor), 0) AND l.position < (SELECT max(position) FROM audit_log)
ORDER BY l.position LIMIT $2`

type purgeable struct {
	Position int64
	Hash     []byte
	Old      bool
}

// purgeAudit moves the anchor to the last of the links that are old enough, of the first limit after it, and deletes up to there. It walks
// from the anchor, and so needs no mark.
func (db *DB) purgeAudit(ctx context.Context, keep time.Duration, limit int) (b sweep.Batch, err error) {
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '100ms'`); err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		rows, err := tx.Query(ctx, purgeableSQL, keep, limit)
		if err != nil {
			return err //nolint:wrapcheck // likewise
		}
		links, err := pgx.CollectRows(rows, pgx.RowToStructByPos[purgeable])
		if err != nil {
			return err //nolint:wrapcheck // likewise
		}
		for b.Gone < len(links) && links[b.Gone].Old {
			b.Gone++
		}
		b.More = b.Gone == limit
		if b.Gone == 0 {
			return nil
		}
		last := links[b.Gone-1]
		if _, err := tx.Exec(ctx, `
			INSERT INTO audit_anchor (id, position, hash) VALUES (1, $1, $2)
			ON CONFLICT (id) DO UPDATE SET position = excluded.position, hash = excluded.hash, purged_at = excluded.purged_at`, last.Position, last.Hash); err != nil {
			return err //nolint:wrapcheck // likewise
		}
		_, err = tx.Exec(ctx, `DELETE FROM audit_log WHERE position BETWEEN $1 AND $2`, links[0].Position, last.Position)
		return err //nolint:wrapcheck // likewise
	})
	if err != nil {
		return sweep.Batch{}, wrap("purge the audit log", err)
	}
	return b, nil
}

// countPurgeable counts what purgeAudit would delete.
func (db *DB) countPurgeable(ctx context.Context, keep time.Duration) (n int64, err error) {
	err = db.pool.QueryRow(ctx, `
		WITH young AS (
			SELECT position FROM audit_log WHERE position IS NOT NULL AND at > statement_timestamp() - $1::interval ORDER BY position LIMIT 1
		)
		SELECT count(*) FROM audit_log WHERE position < coalesce((SELECT position FROM young), (SELECT max(position) FROM audit_log))`, keep).Scan(&n)
	if err != nil {
		return 0, wrap("count the audit log", err)
	}
	return n, nil
}
