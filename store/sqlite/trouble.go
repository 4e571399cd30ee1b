package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/sealq/sealq/jobs"
)

// OutboxTrouble counts the rows that ended within that time and were not done, and the unfinished ones that are at more than that
// many attempts. No index holds the rows that ended: it reads them all.
func (db *DB) OutboxTrouble(ctx context.Context, within time.Duration, attempts int) (jobs.Trouble, error) {
	var t jobs.Trouble
	err := db.read.QueryRowContext(ctx, `
		SELECT count(*) FILTER (WHERE state = 'dead'), count(*) FILTER (WHERE state = 'refused'), count(*) FILTER (WHERE state = 'expired'),
		       (SELECT count(*) FROM outbox WHERE ended_at IS NULL AND attempts > ?2)
		FROM outbox WHERE state IN ('dead', 'refused', 'expired') AND ended_at > `+nowSQL+` - ?1`,
		within.Microseconds(), attempts).Scan(&t.Dead, &t.Refused, &t.Expired, &t.Restored)
	if err != nil {
		return jobs.Trouble{}, db.wrap("look for trouble in the outbox", err)
	}
	return t, nil
}

// LastSuccesses says of each schedule when the last of its jobs was done, of the hundred ticks that were due last. A schedule
// without one is left out.
func (db *DB) LastSuccesses(ctx context.Context) (map[string]time.Time, error) {
	rows, err := db.read.QueryContext(ctx, `
		SELECT s.name, max(o.ended_at) FROM schedules AS s
		JOIN outbox AS o ON o.state = 'done' AND o.id IN (SELECT row_id FROM ticks WHERE schedule = s.name ORDER BY due_at DESC LIMIT 100)
		GROUP BY s.name`)
	if err != nil {
		return nil, db.wrap("list successes", err)
	}
	type success struct {
		schedule string
		at       int64
	}
	list, err := collect(rows, func(rows *sql.Rows) (s success, err error) {
		err = rows.Scan(&s.schedule, &s.at)
		return s, err //nolint:wrapcheck // wrapped below
	})
	if err != nil {
		return nil, db.wrap("list successes", err)
	}
	successes := make(map[string]time.Time, len(list))
	for _, s := range list {
		successes[s.schedule] = timeOf(s.at)
	}
	return successes, nil
}
