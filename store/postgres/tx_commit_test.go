package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

func TestJobsTravelWithCommit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mode  pgx.QueryExecMode
		trips int64 // the order with BEGIN, COMMIT with three jobs
	}{
		"prepared statements": {pgx.QueryExecModeCacheStatement, 2},
		"descriptions":        {pgx.QueryExecModeCacheDescribe, 2},
		"no preparation":      {pgx.QueryExecModeExec, 2},
		"the simple protocol": {pgx.QueryExecModeSimpleProtocol, 6}, // where they do not
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = test.mode })
			if err := s.buy(t.Context(), "a hat", "a", "b", "c"); err != nil { // prepares
				t.Fatal(err)
			}
			before := s.link.trips.Load()
			if err := s.buy(t.Context(), "a coat", "d", "e", "f"); err != nil {
				t.Fatal(err)
			}
			if got := s.link.trips.Load() - before; got != test.trips {
				t.Errorf("%d round trips, want %d", got, test.trips)
			}
			if got := scalar(t, s.raw, queuesSQL); got != "a b c d e f" {
				t.Errorf("recorded %s", got)
			}
			s.requireUsable(t)
		})
	}
}

func TestACommitWhoseJobIsRefusedCommitsNothingAndNamesTheJob(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	if err := s.buy(t.Context(), "a hat", "a"); err != nil {
		t.Fatal(err)
	}
	var id string
	err := postgres.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `INSERT INTO orders VALUES ('a coat')`); err != nil {
			return err
		}
		for _, queue := range []string{"b", "refused", "c"} {
			job, err := s.db.EnqueueTx(t.Context(), tx, note(jobs.Queue(queue)))
			if err != nil {
				return err
			}
			if queue == "refused" {
				id = job
			}
		}
		return nil
	})
	if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "23514" || !errors.Is(err, pgx.ErrTxCommitRollback) ||
		!strings.Contains(err.Error(), "record test:note "+id) {
		t.Errorf("want an error of job %s, got %v", id, err)
	}
	if got := scalar(t, s.raw, "SELECT string_agg(item, ' ') FROM orders") + "; " + scalar(t, s.raw, queuesSQL); got != "a hat; a" {
		t.Errorf("committed are %s", got)
	}
	if s.pool.Stat().NewConnsCount() != 1 {
		t.Error("the connection was thrown away")
	}
	s.requireUsable(t)
}

func TestAJobThatIsRefusedIsTheNextStatementsErrorAndASavepointUndoesIt(t *testing.T) {
	t.Parallel()
	b := &pgx.Batch{}
	b.Queue("SELECT 1")
	for name, use := range map[string]func(ctx context.Context, s *shop, tx pgx.Tx) error{
		"Exec": func(ctx context.Context, _ *shop, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO orders VALUES ('never')")
			return err
		},
		"Query": func(ctx context.Context, _ *shop, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, "SELECT 1")
			if rows.Next() {
				return errors.New("there are rows")
			}
			return errors.Join(err, rows.Err())
		},
		"QueryRow": func(ctx context.Context, _ *shop, tx pgx.Tx) error {
			return tx.QueryRow(ctx, "SELECT 1").Scan(new(int))
		},
		"SendBatch": func(ctx context.Context, _ *shop, tx pgx.Tx) error { return tx.SendBatch(ctx, b).Close() },
		"CopyFrom": func(ctx context.Context, _ *shop, tx pgx.Tx) error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"orders"}, []string{"item"}, pgx.CopyFromRows([][]any{{"never"}}))
			return err
		},
		"Prepare": func(ctx context.Context, _ *shop, tx pgx.Tx) error {
			_, err := tx.Prepare(ctx, "", "SELECT 1")
			return err
		},
		"Begin": func(ctx context.Context, _ *shop, tx pgx.Tx) error {
			_, err := tx.Begin(ctx)
			return err
		},
		"Commit of a savepoint": func(ctx context.Context, _ *shop, tx pgx.Tx) error { return tx.Commit(ctx) },
		"Flush": func(ctx context.Context, _ *shop, tx pgx.Tx) error {
			return tx.(*postgres.Tx).Flush(ctx) //nolint:forcetypeassert // as Begin says
		},
		"EnqueueTx of a unique job": func(ctx context.Context, s *shop, tx pgx.Tx) error {
			_, err := s.db.EnqueueTx(ctx, tx, note(jobs.UniqueKey("never")))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, nil)
			if err := postgres.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
				within, err := tx.Begin(t.Context())
				if err != nil {
					return err
				}
				id, err := s.db.EnqueueTx(t.Context(), within, note(jobs.Queue("refused")))
				if err != nil {
					t.Errorf("EnqueueTx: %v", err)
				}
				err = use(t.Context(), s, within)
				if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "23514" || !strings.Contains(err.Error(), "record test:note "+id) {
					t.Errorf("want job %s and why, got %v", id, err)
				}
				if err := within.Rollback(t.Context()); err != nil {
					return err
				}
				_, err = s.db.EnqueueTx(t.Context(), tx, note(jobs.Queue("good")))
				return err
			}); err != nil {
				t.Errorf("the transaction around the savepoint: %v", err)
			}
			if got := scalar(t, s.raw, "SELECT count(*) FROM orders") + " " + scalar(t, s.raw, queuesSQL); got != "0 good" {
				t.Errorf("recorded are %s", got)
			}
			s.requireUsable(t)
		})
	}
}

func TestACommitThatFailsByItselfIsNoJobsFault(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	ctx := t.Context()
	err := postgres.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO orders VALUES ('a glove', 'the other one')`); err != nil {
			return err
		}
		_, err := s.db.EnqueueTx(ctx, tx, note())
		return err
	})
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || refused.Code != "23503" || err.Error() != refused.Error() {
		t.Errorf("want the deferred constraint's own error, got %v", err)
	}
	if got := scalar(t, s.raw, queuesSQL); got != "" {
		t.Errorf("recorded is %s", got)
	}
	if s.pool.Stat().NewConnsCount() != 1 {
		t.Error("the connection was thrown away")
	}
	s.requireUsable(t)
}

func TestATransactionThatWasAbortedBehindItsBackIsRolledBack(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	ctx := t.Context()
	for name, c := range map[string]struct {
		statement string
		rollback  bool
	}{"aborted": {"SELECT 1/0", true}, "ended": {"ROLLBACK", false}} {
		err := postgres.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := s.db.EnqueueTx(ctx, tx, note()); err != nil {
				return err
			}
			_, _ = tx.Conn().Exec(ctx, c.statement) // what Conn warns of
			return nil
		})
		if err == nil || errors.Is(err, pgx.ErrTxCommitRollback) != c.rollback {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got := scalar(t, s.raw, queuesSQL); got != "" {
		t.Errorf("recorded is %s", got)
	}
	s.requireUsable(t)
}

func TestConnectionsThatBreakBeforeCommit(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, s *shop, tx pgx.Tx, cancel context.CancelFunc){
		"the server ends the session": func(t *testing.T, s *shop, tx pgx.Tx, _ context.CancelFunc) {
			t.Helper()
			var pid uint32
			if err := tx.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
				t.Fatal(err)
			}
			if _, err := s.db.EnqueueTx(t.Context(), tx, note()); err != nil {
				t.Fatal(err)
			}
			if _, err := s.raw.Exec(t.Context(), "SELECT pg_terminate_backend($1, 5000)", pid); err != nil {
				t.Fatal(err)
			}
		},
		"the context is over": func(_ *testing.T, _ *shop, _ pgx.Tx, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := postgres.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
				if _, err := s.db.EnqueueTx(ctx, tx, note()); err != nil {
					return err
				}
				harm(t, s, tx, cancel)
				return nil
			})
			if err == nil {
				t.Error("it committed")
			}
			if got := scalar(t, s.raw, queuesSQL); got != "" {
				t.Errorf("recorded is %s", got)
			}
			s.requireUsable(t)
		})
	}
}

func TestAnArgumentThatCannotBeSentEndsTheTransactionThatItWasToBegin(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	ctx := t.Context()
	err := postgres.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SELECT $1::int", int64(1)<<40)
		if err == nil || !strings.Contains(err.Error(), "1099511627776 is greater than maximum value for int4") {
			t.Errorf("want pgx's error of the argument, got %v", err)
		}
		_, err = s.db.EnqueueTx(ctx, tx, note())
		return err
	})
	if err == nil {
		t.Error("it committed")
	}
	if got := scalar(t, s.raw, queuesSQL); got != "" {
		t.Errorf("recorded is %s", got)
	}
	s.requireUsable(t)
}

func TestACommitWhoseAnswerIsLostIsNotCalledRolledBack(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	if err := s.buy(t.Context(), "a hat", "a"); err != nil { // prepares COMMIT
		t.Fatal(err)
	}
	committed := func() {
		for deadline := time.Now().Add(10 * time.Second); scalar(t, s.raw, queuesSQL) != "a b"; {
			if time.Now().After(deadline) {
				t.Error("COMMIT was not carried out")
				return
			}
		}
	}
	s.link.done.Store(&committed)
	err := s.buy(t.Context(), "a coat", "b")
	if err == nil || errors.Is(err, pgx.ErrTxCommitRollback) || strings.Contains(err.Error(), "record") {
		t.Errorf("want an error of the connection, got %v", err)
	}
	s.requireUsable(t)
}

func TestAConnectionThatLostItsPreparedStatementsRecovers(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	if err := s.buy(t.Context(), "a hat", "a"); err != nil {
		t.Fatal(err)
	}
	enqueue := func(tx pgx.Tx) error {
		_, err := s.db.EnqueueTx(t.Context(), tx, note(jobs.Queue("b")))
		return err
	}
	if _, err := s.pool.Exec(t.Context(), "DISCARD ALL"); err != nil {
		t.Fatal(err)
	}
	if err := postgres.BeginFunc(t.Context(), s.pool, enqueue); !errors.Is(err, pgx.ErrTxCommitRollback) {
		t.Errorf("want an error as pgx's own prepared statements have it, got %v", err)
	}
	if err := postgres.BeginFunc(t.Context(), s.pool, enqueue); err != nil {
		t.Errorf("the next transaction: %v", err)
	}
	if got := scalar(t, s.raw, queuesSQL); got != "a b" {
		t.Errorf("recorded are %s, want a b", got)
	}
}

func TestATransactionThatIsOverRefusesEverything(t *testing.T) {
	t.Parallel()
	s := newShop(t, nil)
	ctx := t.Context()
	tx, err := postgres.Begin(ctx, s.pool)
	if err != nil {
		t.Fatal(err)
	}
	within, err := tx.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.EnqueueTx(ctx, tx, note()); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	for name, tx := range map[string]pgx.Tx{"the transaction": tx, "a savepoint in it": within} {
		_, exec := tx.Exec(ctx, "SELECT 1")
		rows, query := tx.Query(ctx, "SELECT 1")
		rows.Close()
		_, begin := tx.Begin(ctx)
		objects := tx.LargeObjects()
		_, create := objects.Create(ctx, 0)
		_, enqueue := s.db.EnqueueTx(ctx, tx, note())
		for use, err := range map[string]error{
			"Exec": exec, "Query": query, "Begin": begin, "LargeObjects": create, "EnqueueTx": enqueue,
			"QueryRow": tx.QueryRow(ctx, "SELECT 1").Scan(), "SendBatch": tx.SendBatch(ctx, &pgx.Batch{}).Close(),
			"Commit": tx.Commit(ctx), "Rollback": tx.Rollback(ctx),
		} {
			if !errors.Is(err, pgx.ErrTxClosed) {
				t.Errorf("%s of %s: want %v, got %v", use, name, pgx.ErrTxClosed, err)
			}
		}
	}
	s.requireUsable(t)
}

// tracer writes down what pgx says.
type tracer struct{ saw []string }

func (tr *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	tr.saw = append(tr.saw, data.SQL)
	return ctx
}

func (tr *tracer) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	tr.saw = append(tr.saw, data.CommandTag.String())
}

func TestATracerSeesWhatTravelsWithCommit(t *testing.T) {
	t.Parallel()
	var saw tracer
	s := newShop(t, func(c *pgxpool.Config) { c.ConnConfig.Tracer = &saw })
	if err := s.buy(t.Context(), "a hat", "a"); err != nil {
		t.Fatal(err)
	}
	want := []string{"begin", "BEGIN", "INSERT INTO orders VALUES ($1)", "INSERT 0 1", "INSERT INTO outbox; COMMIT", "COMMIT"}
	if diff := cmp.Diff(want, saw.saw); diff != "" {
		t.Errorf("traced (-want +got):\n%s", diff)
	}
}
