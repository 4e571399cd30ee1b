package jobstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Cursor is what FromSQL needs of a query's result: *sql.Rows and pgx.Rows both have it.
type Cursor interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

// FromSQL looks into the table outbox of a migrated database. query is the Query method of a pgx pool, connection or
// transaction, or the QueryContext method of an *sql.DB, *sql.Conn or *sql.Tx:
//
//	jobstest.FromSQL(tx.Query)        // pgx: sees what tx has recorded, before it commits
//	jobstest.FromSQL(db.QueryContext) // database/sql: sees what is committed
//
// Rows of every state are read, those that have ended too.
func FromSQL[C Cursor](query func(ctx context.Context, sql string, args ...any) (C, error)) Source {
	return sqlSource[C]{query}
}

type sqlSource[C Cursor] struct {
	query func(ctx context.Context, sql string, args ...any) (C, error)
}

// rowsSQL is understood by both databases. IDs are UUIDv7: their order is that of their making.
const rowsSQL = `SELECT CAST(id AS text), kind, queue, payload, headers, retries, coalesce(unique_key, ''), not_before, expires_at, state
FROM outbox ORDER BY id`

// Rows are all the rows of the outbox.
func (s sqlSource[C]) Rows(ctx context.Context) (_ []Row, err error) {
	cursor, err := s.query(ctx, rowsSQL)
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	defer func() { err = errors.Join(err, closeCursor(cursor)) }()
	var all []Row
	for cursor.Next() {
		var r Row
		var headers packedHeaders
		var notBefore, expiresAt instant
		if err := cursor.Scan(&r.ID, (*string)(&r.Kind), &r.Queue, &r.Payload, &headers, &r.Retries, &r.UniqueKey,
			&notBefore, &expiresAt, (*string)(&r.State)); err != nil {
			return nil, fmt.Errorf("read a row of the outbox: %w", err)
		}
		r.Headers, r.NotBefore, r.ExpiresAt = headers, time.Time(notBefore), time.Time(expiresAt)
		r.Life = r.ExpiresAt.Sub(r.NotBefore)
		all = append(all, r)
	}
	if err := cursor.Err(); err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	return all, nil
}

// closeCursor closes either package's rows: pgx's Close returns nothing.
func closeCursor(c any) error {
	switch c := c.(type) {
	case interface{ Close() error }:
		return c.Close()
	case interface{ Close() }:
		c.Close()
	}
	return nil
}

// instant is a timestamptz of PostgreSQL, or the Unix microseconds that are SQLite's.
type instant time.Time

// Scan implements sql.Scanner, which pgx knows too.
func (i *instant) Scan(src any) error {
	switch src := src.(type) {
	case time.Time:
		*i = instant(src.UTC())
	case int64:
		*i = instant(time.UnixMicro(src).UTC())
	default:
		return fmt.Errorf("%T is no time", src)
	}
	return nil
}

// packedHeaders are stored as pairs of name and value, which may be any bytes.
type packedHeaders map[string]string

// Scan implements sql.Scanner.
func (h *packedHeaders) Scan(src any) error {
	var packed []byte
	switch src := src.(type) {
	case []byte:
		packed = src
	case string:
		packed = []byte(src)
	default:
		return fmt.Errorf("%T are no headers", src)
	}
	var pairs [][2][]byte
	if err := json.Unmarshal(packed, &pairs); err != nil {
		return fmt.Errorf("unpack headers: %w", err)
	}
	if len(pairs) > 0 {
		*h = make(packedHeaders, len(pairs))
	}
	for _, p := range pairs {
		(*h)[string(p[0])] = string(p[1])
	}
	return nil
}
