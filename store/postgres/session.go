package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/jobs"
)

// session is what a Tx and its savepoints share.
type session struct {
	conn    *pgx.Conn
	pooled  *pgxpool.Conn // nil: conn is the caller's to give back
	batch   pgconn.Batch  // the INSERTs of what is kept
	kept    []jobs.RowRef
	bytes   int // of their payloads
	options pgx.TxOptions
	direct  bool // somebody uses the connection past the session: nothing more is kept
	over    bool
}

// What PostgreSQL said last of the transaction (its manual, 55.7, ReadyForQuery).
const (
	idle    = 'I'
	within  = 'T'
	aborted = 'E'
)

func (s *session) status() byte { return s.conn.PgConn().TxStatus() }

// end gives the connection back. What is left of a transaction on it, the pool sees and closes it.
func (s *session) end() {
	s.over = true
	if s.pooled != nil {
		s.pooled.Release()
	}
}

// keeps says whether a job may wait. In a transaction that is aborted, or over, PostgreSQL shall answer at once.
func (s *session) keeps() bool {
	return !s.direct && !s.over && s.status() == within && s.habits().mode != pgx.QueryExecModeSimpleProtocol
}

// habits are what a connection's sessions know of it: pgx copies its configuration for whoever asks.
type habits struct {
	mode    pgx.QueryExecMode
	tracer  pgx.QueryTracer // may be nil
	batches bool            // what is sent as a batch is the same as alone, to the tracer too
	query   pgx.ExtendedQueryBuilder
}

const habitsKey = "github.com/sealq/sealq/store/postgres"

func (s *session) habits() *habits {
	data := s.conn.PgConn().CustomData()
	h, ok := data[habitsKey].(*habits)
	if !ok {
		config := s.conn.Config()
		h = &habits{mode: config.DefaultQueryExecMode, tracer: config.Tracer}
		_, follows := h.tracer.(pgx.BatchTracer)
		h.batches = h.mode != pgx.QueryExecModeSimpleProtocol && (h.tracer == nil || follows)
		data[habitsKey] = h
	}
	return h
}

// What is kept is sent before it is more than this, so that a transaction of any number of jobs takes little memory.
const (
	maxKept      = 128
	maxKeptBytes = jobs.MaxArgsBytes
)

// keep puts the row's INSERT on the batch. Its statement is prepared at once where the connection does not
// have it yet and may: one more round trip, the first time.
func (s *session) keep(ctx context.Context, row jobs.Row) error {
	if n := len(s.kept); n == maxKept || n > 0 && s.bytes+len(row.Payload) > maxKeptBytes {
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
	if err := s.queueRow(ctx, row); err != nil {
		return wrap("record "+string(row.Kind), err)
	}
	s.kept, s.bytes = append(s.kept, jobs.RowRef{ID: row.ID, Kind: row.Kind}), s.bytes+len(row.Payload)
	return nil
}

func (s *session) queueRow(ctx context.Context, row jobs.Row) error {
	if isDue(row) && s.habits().mode == pgx.QueryExecModeCacheStatement {
		prepared, err := s.conn.Prepare(ctx, insertDueRowSQL, insertDueRowSQL)
		if err != nil {
			return err //nolint:wrapcheck // wrapped by the caller
		}
		values, err := encodeDueRow(row)
		if err != nil {
			return err
		}
		s.batch.ExecStatement(prepared, values, []int16{pgx.BinaryFormatCode}, nil)
		return nil
	}
	sql, args, err := insertRowStatement(row)
	if err != nil {
		return err
	}
	return s.queue(ctx, sql, sql, args)
}

func (s *session) queue(ctx context.Context, name, sql string, args []any) (err error) {
	var prepared *pgconn.StatementDescription
	if s.habits().mode == pgx.QueryExecModeCacheStatement {
		if prepared, err = s.conn.Prepare(ctx, name, sql); err != nil {
			return err //nolint:wrapcheck // wrapped by the caller
		}
	}
	q := &s.habits().query
	if err := q.Build(s.conn.TypeMap(), prepared, args); err != nil {
		return err //nolint:wrapcheck // wrapped by the caller
	}
	if prepared != nil {
		s.batch.ExecStatement(prepared, q.ParamValues, q.ParamFormats, q.ResultFormats)
	} else {
		s.batch.ExecParams(sql, q.ParamValues, nil, q.ParamFormats, q.ResultFormats)
	}
	return nil
}

func (s *session) forget() {
	s.batch, s.kept, s.bytes = pgconn.Batch{}, s.kept[:0], 0
}

var errEndedBefore = errors.New("the transaction was ended through its connection before its jobs were sent")

// flush sends what is kept. What could not be sent is kept still, so that no commit can be without it. Of an aborted transaction
// it is lost with all the rest.
func (s *session) flush(ctx context.Context) error {
	switch s.status() {
	case idle:
		return errEndedBefore
	case aborted:
		s.forget()
		return nil
	}
	failed, _, err := s.send(ctx, "INSERT INTO outbox")
	if err == nil || s.status() != within {
		s.forget()
	}
	if err != nil {
		return wrap("record "+failed, err)
	}
	return nil
}

// commit sends what is kept, and COMMIT after it: PostgreSQL passes over that where an INSERT fails.
func (s *session) commit(ctx context.Context) error {
	// A name of ours: under its own, pgx would run every other transaction's COMMIT as prepared.
	if err := s.queue(ctx, preparedCommit, "commit", nil); err != nil {
		return err
	}
	failed, tag, err := s.send(ctx, "INSERT INTO outbox; COMMIT")
	_, refused := errors.AsType[*pgconn.PgError](err)
	switch {
	case refused && failed != "":
		return rolledBack(wrap("record "+failed, err))
	case err == nil && tag.String() == "ROLLBACK":
		return pgx.ErrTxCommitRollback
	}
	return err // where the connection broke, nobody knows whether this committed
}

// rolledBack says that err ended the transaction for certain.
func rolledBack(err error) error { return fmt.Errorf("%w: %w", pgx.ErrTxCommitRollback, err) }

// send sends the batch. Where it fails before all that are kept have been inserted, failed names the job.
func (s *session) send(ctx context.Context, trace string) (failed string, tag pgconn.CommandTag, err error) {
	tracer := s.habits().tracer
	if tracer != nil {
		ctx = tracer.TraceQueryStart(ctx, s.conn, pgx.TraceQueryStartData{SQL: trace})
	}
	results := s.conn.PgConn().ExecBatch(ctx, &s.batch)
	answered := 0
	for results.NextResult() {
		tag, _ = results.ResultReader().Close() // what went wrong, Close below says too
		answered++
	}
	err = results.Close()
	if err != nil && answered < len(s.kept) {
		failed = string(s.kept[answered].Kind) + " " + s.kept[answered].ID
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && refused.Code == "26000" {
		s.deallocate(ctx)
	}
	if tracer != nil {
		tracer.TraceQueryEnd(ctx, s.conn, pgx.TraceQueryEndData{CommandTag: tag, Err: err})
	}
	return failed, tag, err //nolint:wrapcheck // wrapped by the caller
}

// preparedCommit is the name of a prepared statement.
const preparedCommit = "sealq commit"

// deallocate forgets the prepared statements of a connection that does not have them any more (DISCARD ALL), so that its next
// transaction prepares them again.
func (s *session) deallocate(ctx context.Context) {
	for _, name := range []string{insertDueRowSQL, insertRowSQL, preparedCommit} {
		_ = s.conn.Deallocate(ctx, name)
	}
}
