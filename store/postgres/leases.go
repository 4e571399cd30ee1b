package postgres

import (
	"context"
	"time"
)

const takeLeaseSQL = `
INSERT INTO leases AS l (name, holder, until) VALUES ($1, $2, statement_timestamp() + $3::interval)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE l.until <= statement_timestamp() OR l.holder = excluded.holder`

// TakeLease takes a lease for that long from now, by the database's clock, and says whether holder has it: it must be
// free, over, or holder's already. A length of 0 gives it back.
func (db *DB) TakeLease(ctx context.Context, lease, holder string, length time.Duration) (bool, error) {
	tag, err := db.pool.Exec(ctx, takeLeaseSQL, name(lease), name(holder), length)
	if err != nil {
		return false, wrap("take lease "+lease, err)
	}
	return tag.RowsAffected() > 0, nil
}
