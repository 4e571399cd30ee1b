package sqlite

import (
	"context"
	"database/sql"
	"time"
)

// nowSQL is the database's clock in Unix microseconds, of which SQLite counts whole milliseconds. SQLite keeps it still
// only for one step of a statement, not for all rows of a result, so where more than one row is at stake now is asked
// first and bound.
const nowSQL = `(CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000)`

// now is the instant that all statements of one method use. It reads no table, so it starts no read transaction.
func now(ctx context.Context, q querier) (int64, error) {
	var micros int64
	err := q.QueryRowContext(ctx, "SELECT "+nowSQL).Scan(&micros)
	return micros, err //nolint:wrapcheck // callers wrap it with the operation
}

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// timeOrZero is for columns in which NULL means never.
func timeOrZero(micros sql.NullInt64) time.Time {
	if !micros.Valid {
		return time.Time{}
	}
	return timeOf(micros.Int64)
}

func timeOrNil(micros sql.NullInt64) *time.Time {
	if !micros.Valid {
		return nil
	}
	t := timeOf(micros.Int64)
	return &t
}
