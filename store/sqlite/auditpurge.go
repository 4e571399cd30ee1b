package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs/sweep"
)

// AuditAnchor returns the last link that was purged, the zero one where the chain is whole: see [audit.Chain].
func (db *DB) AuditAnchor(ctx context.Context) (audit.Head, error) {
	var anchor audit.Head
	var sum []byte
	err := db.read.QueryRowContext(ctx, `SELECT position, hash FROM audit_anchor`).Scan(&anchor.Position, &sum)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return audit.Head{}, db.wrap("read the audit log's anchor", err)
	}
	copy(anchor.Hash[:], sum)
	return anchor, nil
}

// purgeableSQL are the first links that may be deleted, up to the first young one, but for the newest of all: the chain goes on from it.
const purgeableSQL = `WITH first AS (
	SELECT position, hash, at FROM audit_log WHERE position < (SELECT max(position) FROM audit_log) ORDER BY position LIMIT ?2
), old AS (
	SELECT position, hash FROM first WHERE position < coalesce((SELECT min(position) FROM first WHERE at > ?1), 9223372036854775807)
) SELECT `

// purgeAudit moves the anchor to the last of the links that are old enough, of the first limit, and deletes up to there.
func (db *DB) purgeAudit(ctx context.Context, keep time.Duration, limit int) (sweep.Batch, error) {
	n, err := db.countInTx(ctx, "purge the audit log", func(tx *sql.Tx, instant int64) (int, error) {
		var last int64
		var sum []byte
		err := tx.QueryRowContext(ctx, purgeableSQL+`position, hash FROM old ORDER BY position DESC LIMIT 1`, instant-keep.Microseconds(), limit).Scan(&last, &sum)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil
		}
		if err != nil {
			return 0, err //nolint:wrapcheck // countInTx wraps it
		}
		moved, err := execute(ctx, tx, `UPDATE audit_anchor SET position = ?, hash = ?, purged_at = ?`, last, sum, instant)
		if err == nil && moved == 0 {
			_, err = execute(ctx, tx, `INSERT INTO audit_anchor (id, position, hash, purged_at) VALUES (1, ?, ?, ?)`, last, sum, instant)
		}
		if err != nil {
			return 0, err
		}
		return execute(ctx, tx, `DELETE FROM audit_log WHERE position <= ?`, last)
	})
	return sweep.Batch{Gone: n, More: n == limit}, err
}

// countPurgeable counts what purgeAudit would delete.
func (db *DB) countPurgeable(ctx context.Context, keep time.Duration) (n int64, err error) {
	instant, err := now(ctx, db.read)
	if err == nil {
		err = db.read.QueryRowContext(ctx, purgeableSQL+`count(*) FROM old`, instant-keep.Microseconds(), -1).Scan(&n)
	}
	if err != nil {
		return 0, db.wrap("count the audit log", err)
	}
	return n, nil
}
