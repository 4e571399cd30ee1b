package sqlite

import (
	"context"
	"database/sql"

	"github.com/sealq/sealq/jobs"
)

// RefusedGroups counts what stands in quarantine and was not released, by queue and reason: up to limit groups, the most numerous first.
func (db *DB) RefusedGroups(ctx context.Context, limit int) ([]jobs.RefusedGroup, error) {
	rows, err := db.read.QueryContext(ctx, `
		SELECT queue, reason, authentic, count(*), min(received_at), max(received_at) FROM quarantine WHERE released_at IS NULL
		GROUP BY queue, reason, authentic ORDER BY count(*) DESC, queue, reason, authentic LIMIT ?`, limit)
	if err != nil {
		return nil, db.wrap("count the quarantine", err)
	}
	groups, err := collect(rows, func(rows *sql.Rows) (jobs.RefusedGroup, error) {
		var g jobs.RefusedGroup
		var first, last int64
		err := rows.Scan(&g.Queue, &g.Reason, &g.Authentic, &g.Entries, &first, &last)
		g.First, g.Last = timeOf(first), timeOf(last)
		return g, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, db.wrap("count the quarantine", err)
	}
	return groups, nil
}
