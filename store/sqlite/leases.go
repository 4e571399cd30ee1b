package sqlite

import (
	"context"
	"database/sql"
	"time"
)

// TakeLease takes a lease for that long from now, by the database's clock, and says whether holder has it: it must be
// free, over, or holder's already. A length of 0 gives it back.
func (db *DB) TakeLease(ctx context.Context, name, holder string, length time.Duration) (bool, error) {
	n, err := db.countInTx(ctx, "take lease", func(tx *sql.Tx, instant int64) (int, error) {
		return execute(ctx, tx, `
			INSERT INTO leases (name, holder, until) VALUES (?1, ?2, ?3)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
			WHERE until <= ?4 OR holder = excluded.holder`,
			name, holder, instant+length.Microseconds(), instant)
	})
	return n > 0, err
}
