package postgres

import (
	"cmp"
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/jobs"
)

// Source is where a transaction begins.
type Source interface {
	*pgxpool.Pool | *pgxpool.Conn | *pgx.Conn
}

// Begin begins a transaction that costs a round trip less than pgx's, and in which jobs cost none: see Tx.
func Begin[S Source](ctx context.Context, s S) (*Tx, error) {
	return BeginTx(ctx, s, pgx.TxOptions{})
}

// BeginTx is Begin with options. Where they have a BeginQuery it is sent at once, and where they have a CommitQuery, jobs travel
// before it, each in a round trip of its own.
func BeginTx[S Source](ctx context.Context, s S, options pgx.TxOptions) (*Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err //nolint:wrapcheck // as pgx returns it
	}
	at := &session{options: options}
	switch s := any(s).(type) {
	case *pgxpool.Pool:
		conn, err := s.Acquire(ctx)
		if err != nil {
			return nil, err //nolint:wrapcheck // as pgx returns it
		}
		at.pooled, at.conn = conn, conn.Conn()
	case *pgxpool.Conn:
		at.conn = s.Conn()
	case *pgx.Conn:
		at.conn = s
	}
	tx := &Tx{at: at}
	if options.BeginQuery != "" { // it may be several statements
		if err := tx.begin(ctx); err != nil {
			at.end()
			return nil, err
		}
	}
	return tx, nil
}

// BeginFunc runs fn in a transaction that Begin begins, as pgx.BeginFunc does: it commits where fn returns nil, else it rolls
// back.
func BeginFunc[S Source](ctx context.Context, s S, fn func(pgx.Tx) error) error {
	begin := func(ctx context.Context) (pgx.Tx, error) { return Begin(ctx, s) }
	return pgx.BeginFunc(ctx, beginner(begin), fn) //nolint:wrapcheck // as pgx returns it
}

type beginner func(ctx context.Context) (pgx.Tx, error)

func (b beginner) Begin(ctx context.Context) (pgx.Tx, error) { return b(ctx) }

// Tx is a pgx.Tx that sends BEGIN with its first statement, in one round trip, and in which EnqueueTx keeps the jobs' rows, for
// Commit to send them with COMMIT. Whatever else is done with it sends first what is kept. So everything happens in the order in
// which it was called for, also with savepoints, whether of Begin or in SQL.
//
// What changes is when an error is told. That of BEGIN, such as a connection that broke in the pool, by the first use, and
// PostgreSQL's now() is that use's. That of a row's INSERT, which is seldom one, by the next use of the transaction, which is not
// carried out then, or by Commit, which has committed nothing then, and whose error is pgx.ErrTxCommitRollback too. Either
// names the job. What is wrong with the job itself is an error of EnqueueTx as ever, and so is jobs.ErrDuplicate: a job with a
// unique key is sent at once.
//
// BEGIN travels with an Exec, Query or QueryRow that has arguments; before anything else it is sent alone, and so it is where the
// connection has a tracer that follows no batches (pgx.BatchTracer).
//
// Conn and LargeObjects lead to the connection past what is kept: call Flush before. Jobs that are recorded after either are
// sent at once. They are also where pgx's mode is QueryExecModeSimpleProtocol.
type Tx struct {
	tx        pgx.Tx // pgx's own; nil: BEGIN was not sent yet
	at        *session
	savepoint bool
	over      bool
}

var _ pgx.Tx = (*Tx)(nil)

// Flush sends the jobs that are kept, and BEGIN where that was not sent.
func (tx *Tx) Flush(ctx context.Context) error {
	if tx.over || tx.at.over {
		return pgx.ErrTxClosed
	}
	if err := tx.begin(ctx); err != nil || len(tx.at.kept) == 0 {
		return err
	}
	return tx.at.flush(ctx)
}

// record inserts the row, or keeps it.
func (tx *Tx) record(ctx context.Context, row jobs.Row) error {
	if tx.tx == nil {
		if err := tx.Flush(ctx); err != nil {
			return err
		}
	}
	if !tx.over && row.UniqueKey == "" && ctx.Err() == nil && tx.at.keeps() {
		return tx.at.keep(ctx, row)
	}
	if err := tx.Flush(ctx); err != nil {
		return err
	}
	return insertRow(ctx, tx.tx, row)
}

// Commit commits, and sends with it what is kept. That of a transaction within another releases its savepoint; where a job could
// not be recorded, Rollback may still undo the savepoint.
func (tx *Tx) Commit(ctx context.Context) error {
	if tx.savepoint {
		if err := tx.Flush(ctx); err != nil {
			return err
		}
		tx.over = true
		return tx.tx.Commit(ctx) //nolint:wrapcheck // as pgx returns it
	}
	if tx.at.over {
		return pgx.ErrTxClosed
	}
	defer tx.at.end()
	if tx.tx == nil {
		return ctx.Err() //nolint:wrapcheck // as pgx returns it
	}
	if len(tx.at.kept) == 0 || tx.at.status() == aborted {
		return tx.tx.Commit(ctx) //nolint:wrapcheck // as pgx returns it
	}
	if tx.at.status() == idle {
		return errEndedBefore
	}
	if tx.at.options.CommitQuery == "" && !tx.at.direct {
		return tx.undone(ctx, tx.at.commit(ctx))
	}
	if err := tx.at.flush(ctx); err != nil {
		return tx.undone(ctx, rolledBack(err))
	}
	return tx.tx.Commit(ctx) //nolint:wrapcheck // as pgx returns it
}

// undone ends what is left of a transaction that Commit could not commit.
func (tx *Tx) undone(ctx context.Context, err error) error {
	if err == nil || tx.at.status() == idle {
		return err
	}
	if _, refused := errors.AsType[*pgconn.PgError](err); !refused || tx.tx.Rollback(ctx) != nil {
		_ = tx.at.conn.Close(ctx) // nobody knows in what state it is
	}
	return err
}

// Rollback rolls back, to the savepoint where the transaction is within another.
func (tx *Tx) Rollback(ctx context.Context) error {
	if tx.over || tx.at.over {
		return pgx.ErrTxClosed
	}
	tx.over = true
	if !tx.savepoint {
		defer tx.at.end()
	}
	if tx.tx == nil {
		return nil
	}
	err := tx.tx.Rollback(ctx)
	if err == nil {
		tx.at.forget()
	}
	return err //nolint:wrapcheck // as pgx returns it
}

// Begin begins a transaction within this one: a savepoint.
func (tx *Tx) Begin(ctx context.Context) (pgx.Tx, error) {
	if err := tx.Flush(ctx); err != nil {
		return nil, err
	}
	within, err := tx.tx.Begin(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // as pgx returns it
	}
	return &Tx{tx: within, at: tx.at, savepoint: true}, nil
}

// Exec is pgx.Tx's.
func (tx *Tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if results := tx.beginWith(ctx, sql, args); results != nil {
		tag, err := results.Exec()
		return tag, cmp.Or(err, results.Close()) //nolint:wrapcheck // as pgx returns it
	}
	if err := tx.Flush(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	return tx.tx.Exec(ctx, sql, args...) //nolint:wrapcheck // as pgx returns it
}

// Query is pgx.Tx's.
func (tx *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if results := tx.beginWith(ctx, sql, args); results != nil {
		rows, err := results.Query()
		return &firstRows{Rows: rows, results: results}, err //nolint:wrapcheck // as pgx returns it
	}
	if err := tx.Flush(ctx); err != nil {
		return pgx.FailedBatchResults(&pgx.Batch{}, err).Query() //nolint:wrapcheck // rows that say err
	}
	return tx.tx.Query(ctx, sql, args...) //nolint:wrapcheck // as pgx returns it
}

// QueryRow is pgx.Tx's.
func (tx *Tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if results := tx.beginWith(ctx, sql, args); results != nil {
		return firstRow{Row: results.QueryRow(), results: results}
	}
	if err := tx.Flush(ctx); err != nil {
		return pgx.FailedBatchResults(&pgx.Batch{}, err).QueryRow()
	}
	return tx.tx.QueryRow(ctx, sql, args...)
}

// SendBatch is pgx.Tx's.
func (tx *Tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if err := tx.Flush(ctx); err != nil {
		return pgx.FailedBatchResults(b, err)
	}
	return tx.tx.SendBatch(ctx, b)
}

// CopyFrom is pgx.Tx's.
func (tx *Tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if err := tx.Flush(ctx); err != nil {
		return 0, err
	}
	return tx.tx.CopyFrom(ctx, table, columns, rows) //nolint:wrapcheck // as pgx returns it
}

// Prepare is pgx.Tx's.
func (tx *Tx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if err := tx.Flush(ctx); err != nil {
		return nil, err
	}
	return tx.tx.Prepare(ctx, name, sql) //nolint:wrapcheck // as pgx returns it
}

// LargeObjects are of the connection, past what is kept.
func (tx *Tx) LargeObjects() pgx.LargeObjects {
	if tx.at.over { // pgx's own transaction does not know it
		var b pgx.Batch
		b.BeginTx(pgx.TxOptions{})
		return pgx.FailedBatchResults(&b, pgx.ErrTxClosed).Tx().LargeObjects()
	}
	tx.beginNow()
	tx.at.direct = true
	return tx.tx.LargeObjects()
}

// Conn is the connection, past what is kept.
func (tx *Tx) Conn() *pgx.Conn {
	tx.beginNow()
	tx.at.direct = true
	return tx.at.conn
}
