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
