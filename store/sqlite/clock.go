package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"modernc.org/sqlite"
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

// connectorAt connects to dsn. With a clock, nowSQL is what that says: its unixepoch is a function of the connections' own then.
func connectorAt(dsn string, clock func() time.Time) (driver.Connector, error) {
	if clock == nil {
		return sqlite.NewConnector(dsn) //nolint:wrapcheck // as below
	}
	d := &sqlite.Driver{}
	err := d.RegisterScalarFunction("unixepoch", 1, func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
		return float64(clock().UnixMilli()) / 1000, nil
	})
	return clocked{d, dsn}, err //nolint:wrapcheck // pool says whose it is
}

// clocked makes connections of a driver that is not registered.
type clocked struct {
	driver *sqlite.Driver
	dsn    string
}

func (c clocked) Connect(ctx context.Context) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err //nolint:wrapcheck // the caller's own
	}
	return c.driver.Open(c.dsn) //nolint:wrapcheck // as the driver's own connector
}

func (c clocked) Driver() driver.Driver { return c.driver }
