package postgres

import (
	"context"
	"time"

	"github.com/sealq/sealq/jobs"
)

// OutboxTrouble counts the rows that ended within that time and were not done, and the unfinished ones that are at more than that
// many attempts. No index holds the rows that ended: it reads them all, and belongs where somebody waits for it.
func (db *DB) OutboxTrouble(ctx context.Context, within time.Duration, attempts int) (jobs.Trouble, error) {
	var t jobs.Trouble
	err := db.pool.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE state = 'dead'), count(*) FILTER (WHERE state = 'refused'), count(*) FILTER (WHERE state = 'expired'),
		       (SELECT count(*) FROM `+unfinishedRows+` WHERE attempts > $2)
		FROM outbox WHERE state IN ('dead', 'refused', 'expired') AND ended_at > statement_timestamp() - $1::interval`,
		within, attempts).Scan(&t.Dead, &t.Refused, &t.Expired, &t.Restored)
	if err != nil {
		return jobs.Trouble{}, wrap("look for trouble in the outbox", err)
	}
	return t, nil
}

// LastSuccesses says of each schedule when the last of its jobs was done, of the hundred ticks that were due last. A schedule
// without one is left out.
func (db *DB) LastSuccesses(ctx context.Context) (map[string]time.Time, error) {
	rows, err := db.pool.Query(ctx, `
		SELECT s.name, max(o.ended_at)
		FROM schedules AS s
		CROSS JOIN LATERAL (SELECT row_id FROM ticks WHERE schedule = s.name ORDER BY due_at DESC LIMIT 100) AS t
		JOIN outbox AS o ON o.id = t.row_id AND o.state = 'done'
		GROUP BY s.name`)
	if err != nil {
		return nil, wrap("list successes", err)
	}
	defer rows.Close()
	successes := make(map[string]time.Time)
	for rows.Next() {
		var schedule string
		var at time.Time
		if err := rows.Scan(&schedule, &at); err != nil {
			return nil, wrap("list successes", err)
		}
		successes[schedule] = at.UTC()
	}
	if err := rows.Err(); err != nil {
		return nil, wrap("list successes", err)
	}
	return successes, nil
}
