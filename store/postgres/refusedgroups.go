package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/jobs"
)

const refusedGroupsSQL = `
SELECT queue, reason, authentic, count(*), min(received_at), max(received_at) FROM quarantine WHERE released_at IS NULL
GROUP BY queue, reason, authentic ORDER BY count(*) DESC, queue COLLATE "C", reason COLLATE "C", authentic LIMIT $1`

// RefusedGroups counts what stands in quarantine and was not released, by queue and reason: up to limit groups, the most numerous first.
func (db *DB) RefusedGroups(ctx context.Context, limit int) ([]jobs.RefusedGroup, error) {
	rows, err := db.pool.Query(ctx, refusedGroupsSQL, limit)
	if err != nil {
		return nil, wrap("count the quarantine", err)
	}
	groups, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (g jobs.RefusedGroup, err error) {
		err = row.Scan(&g.Queue, &g.Reason, &g.Authentic, &g.Entries, &g.First, &g.Last)
		g.First, g.Last = g.First.UTC(), g.Last.UTC()
		return g, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, wrap("count the quarantine", err)
	}
	return groups, nil
}
