package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

// script is what an application does in a transaction, and what it sees of it.
type script struct {
	db  *postgres.DB
	saw []string
}

func (s *script) see(what string, err error) {
	switch refused, ok := errors.AsType[*pgconn.PgError](err); {
	case ok:
		what += ": " + refused.Code
	case err != nil:
		what += ": an error"
	}
	s.saw = append(s.saw, what)
}

// enqueue records a job that is known by its queue.
func (s *script) enqueue(ctx context.Context, tx pgx.Tx, queue string, opts ...jobs.Option) {
	_, err := s.db.EnqueueTx(ctx, tx, note(append(opts, jobs.Queue(queue))...))
	if errors.Is(err, jobs.ErrDuplicate) {
		s.see("duplicate "+queue, nil)
		return
	}
	s.see("enqueue "+queue, err)
}

func (s *script) exec(ctx context.Context, tx pgx.Tx, statement string, args ...any) {
	tag, err := tx.Exec(ctx, statement, args...)
	s.see(statement+" "+tag.String(), err)
}

// look says which jobs the transaction sees.
func (s *script) look(ctx context.Context, tx pgx.Tx) {
	var queues string
	err := tx.QueryRow(ctx, queuesSQL).Scan(&queues)
	s.see("look "+queues, err)
}

// use is what an application does in a transaction.
type use struct {
	name string
	run  func(ctx context.Context, s *script, tx pgx.Tx) error
}

const queuesSQL = `SELECT coalesce(string_agg(queue, ' ' ORDER BY queue), '') FROM outbox`

// Every use of a transaction finds what was recorded before as if it had been sent at once: each script is run in a transaction
// of pgx's, where that is so, and in one of Begin's.
func TestTransactionsOfBeginDoWhatPgxDoes(t *testing.T) {
	t.Parallel()
	for _, test := range append(firstUses(), []use{
		{"jobs alone", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			s.enqueue(ctx, tx, "b", jobs.In(time.Hour))
			s.enqueue(ctx, tx, "c", jobs.Until(time.Now().Add(time.Hour)), jobs.Header("name", "value"))
			return nil
		}},
		{"nothing at all", func(context.Context, *script, pgx.Tx) error { return nil }},
		{"changed its mind", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			return errors.New("changed its mind")
		}},
		{"a query sees the jobs before it", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			s.look(ctx, tx)
			s.enqueue(ctx, tx, "b")
			rows, err := tx.Query(ctx, `SELECT queue FROM outbox ORDER BY queue`)
			queues, e := pgx.CollectRows(rows, pgx.RowTo[string])
			s.see(fmt.Sprint(queues), errors.Join(err, e))
			return nil
		}},
		{"a batch, a prepared statement and a copy after jobs", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			b := &pgx.Batch{}
			b.Queue(queuesSQL).QueryRow(func(row pgx.Row) error {
				var queues string
				err := row.Scan(&queues)
				s.see(queues, err)
				return nil
			})
			s.see("batch", tx.SendBatch(ctx, b).Close())
			s.enqueue(ctx, tx, "b")
			_, err := tx.Prepare(ctx, "", `SELECT nothing FROM nowhere`)
			s.see("prepare", err)
			s.look(ctx, tx)
			return nil
		}},
		{"a copy after a job", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			n, err := tx.CopyFrom(ctx, pgx.Identifier{"orders"}, []string{"item"}, pgx.CopyFromRows([][]any{{"hat"}, {"coat"}}))
			s.see(fmt.Sprint("copied ", n), err)
			s.look(ctx, tx)
			return nil
		}},
		{"a savepoint that is released and one that is not", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			s.see("kept", pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
				s.enqueue(ctx, tx, "b")
				return nil
			}))
			s.see("dropped", pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
				s.enqueue(ctx, tx, "c")
				s.look(ctx, tx)
				s.enqueue(ctx, tx, "d")
				return errors.New("changed its mind")
			}))
			s.enqueue(ctx, tx, "e")
			return nil
		}},
		{"a job of the outer transaction within a savepoint", func(ctx context.Context, s *script, tx pgx.Tx) error {
			within, err := tx.Begin(ctx)
			s.see("begin", err)
			s.enqueue(ctx, tx, "a")
			s.see("rollback", within.Rollback(ctx))
			s.enqueue(ctx, tx, "b")
			s.see("rollback again", within.Rollback(ctx))
			s.see("commit after it", within.Commit(ctx))
			s.enqueue(ctx, within, "too late")
			return nil
		}},
		{"savepoints in SQL", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			s.exec(ctx, tx, "SAVEPOINT here")
			s.enqueue(ctx, tx, "b")
			s.exec(ctx, tx, "ROLLBACK TO here")
			s.enqueue(ctx, tx, "c")
			s.exec(ctx, tx, "RELEASE here")
			return nil
		}},
		{"a savepoint that a failed statement ends", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			s.see("within", pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
				s.enqueue(ctx, tx, "b")
				s.exec(ctx, tx, "SELECT 1/0")
				s.enqueue(ctx, tx, "c")
				return errors.New("failed")
			}))
			s.look(ctx, tx)
			return nil
		}},
		{"a failed statement after a job", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			s.exec(ctx, tx, "SELECT 1/0")
			s.exec(ctx, tx, "SELECT 1")
			return nil
		}},
		{"a job after a failed statement", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.exec(ctx, tx, "SELECT 1/0")
			s.enqueue(ctx, tx, "a")
			return nil
		}},
		{"unique keys", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			s.enqueue(ctx, tx, "b", jobs.UniqueKey("one"))
			s.enqueue(ctx, tx, "c")
			s.enqueue(ctx, tx, "d", jobs.UniqueKey("one"))
			s.enqueue(ctx, tx, "e", jobs.UniqueKey("two"))
			return nil
		}},
		{"faulty jobs", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			s.enqueue(ctx, tx, "{}")
			s.enqueue(ctx, tx, "b", jobs.ID("mine"))
			s.enqueue(ctx, tx, "c", jobs.Header("sealq-sig", "mine"))
			return nil
		}},
		{"a context that is over", func(ctx context.Context, s *script, tx pgx.Tx) error {
			over, cancel := context.WithCancel(ctx)
			cancel()
			s.enqueue(over, tx, "a")
			s.enqueue(ctx, tx, "b")
			s.exec(over, tx, "SELECT 1") // not even sent: the job is not lost
			within, err := tx.Begin(ctx)
			s.see("begin", err)
			s.enqueue(ctx, tx, "c")
			s.see("rollback", within.Rollback(over)) // not sent either
			return nil
		}},
		{"committed in SQL", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			s.exec(ctx, tx, "COMMIT")
			s.enqueue(ctx, tx, "b")
			return nil
		}},
		{"large objects", func(ctx context.Context, s *script, tx pgx.Tx) error {
			s.enqueue(ctx, tx, "a")
			objects := tx.LargeObjects()
			_, err := objects.Create(ctx, 0)
			s.see("create", err)
			s.enqueue(ctx, tx, "b")
			return objects.Unlink(ctx, 4294967295) // there is none
		}},
		{"a connection that is used directly", func(ctx context.Context, s *script, tx pgx.Tx) error {
			conn := tx.Conn()
			s.enqueue(ctx, tx, "a")
			_, err := conn.Exec(ctx, "SAVEPOINT here")
			s.see("savepoint", err)
			s.enqueue(ctx, tx, "b")
			_, err = conn.Exec(ctx, "ROLLBACK TO here")
			s.see("rollback", err)
			s.enqueue(ctx, tx, "c")
			return nil
		}},
		{"more jobs than are kept", func(ctx context.Context, s *script, tx pgx.Tx) error {
			for i := range 300 {
				s.enqueue(ctx, tx, fmt.Sprintf("q%03d", i))
			}
			return nil
		}},
	}...) {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, raw := open(t)
			exec(t, raw, "CREATE TABLE orders (item text PRIMARY KEY)")
			_, pool := openPool(t, raw.Config().ConnString(), nil)
			run := func(begin func(ctx context.Context, pool *pgxpool.Pool, fn func(pgx.Tx) error) error) []string {
				exec(t, raw, "TRUNCATE outbox, orders")
				s := &script{db: db}
				err := begin(t.Context(), pool, func(tx pgx.Tx) error { return test.run(t.Context(), s, tx) })
				s.see("end", err)
				s.see("rolled back", map[bool]error{true: err}[errors.Is(err, pgx.ErrTxCommitRollback)])
				s.see("orders "+scalar(t, raw, "SELECT string_agg(item, ' ') FROM orders"), nil)
				s.see("recorded "+scalar(t, raw, `SELECT string_agg(concat_ws(' ', queue, kind, unique_key, convert_from(payload, 'UTF8'),
					convert_from(headers, 'UTF8'), retries, state, not_before > now(), expires_at - not_before > '2 h'), E'\n' ORDER BY queue) FROM outbox`), nil)
				requireNoneAcquired(t, pool)
				return s.saw
			}
			want := run(func(ctx context.Context, pool *pgxpool.Pool, fn func(pgx.Tx) error) error {
				return pgx.BeginFunc(ctx, pool, fn)
			})
			if diff := cmp.Diff(want, run(postgres.BeginFunc[*pgxpool.Pool])); diff != "" {
				t.Errorf("seen in pgx's transaction and in Begin's (-pgx +Begin):\n%s", diff)
			}
		})
	}
}

func TestBeginTakesPoolsAndConnections(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	conn, err := raw.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	enqueue := func(tx pgx.Tx) error {
		_, err := db.EnqueueTx(t.Context(), tx, note())
		return err
	}
	if err := errors.Join(postgres.BeginFunc(t.Context(), raw, enqueue), postgres.BeginFunc(t.Context(), conn, enqueue),
		postgres.BeginFunc(t.Context(), conn.Conn(), enqueue)); err != nil {
		t.Fatal(err)
	}
	if got := scalar(t, raw, "SELECT count(*) FROM outbox"); got != "3" {
		t.Errorf("%s jobs are recorded, want 3", got)
	}
}

func TestOptionsOfATransaction(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	for name, test := range map[string]struct {
		options pgx.TxOptions
		want    string // an error's code
	}{
		"its isolation level":       {pgx.TxOptions{IsoLevel: pgx.Serializable}, ""},
		"a COMMIT of the caller's":  {pgx.TxOptions{CommitQuery: "COMMIT; SELECT 1"}, ""},
		"read only":                 {pgx.TxOptions{AccessMode: pgx.ReadOnly}, "25006"},
		"read only, and its COMMIT": {pgx.TxOptions{AccessMode: pgx.ReadOnly, CommitQuery: "COMMIT"}, "25006"},
		"a BEGIN that fails":        {pgx.TxOptions{BeginQuery: "BEGIN NOTHING"}, "42601"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			err := func() error {
				tx, err := postgres.BeginTx(ctx, raw, test.options)
				if err != nil {
					return err
				}
				if _, err := db.EnqueueTx(ctx, tx, note()); err != nil {
					return err
				}
				return tx.Commit(ctx)
			}()
			code := ""
			if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
				code = refused.Code
			}
			if code != test.want || (err == nil) != (test.want == "") {
				t.Errorf("want %q, got %v", test.want, err)
			}
		})
	}
}
