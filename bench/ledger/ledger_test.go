package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/worker"
)

const (
	perRun      = 800 // jobs
	slots       = 16  // of the worker
	connections = 16  // to PostgreSQL
	kind        = "bench:note"
)

// args are 256 bytes in JSON.
type args struct {
	UserID int64  `json:"user_id"`
	Note   string `json:"note"`
}

var note = args{UserID: 1234567890, Note: strings.Repeat("x", 224)}

// The app's tables: its effects, the keys by which an app of its own makes a job idempotent, and the jobs it recorded.
const tables = `
CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint NOT NULL, note text NOT NULL);
CREATE TABLE processed (id text PRIMARY KEY, done_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE recorded (id uuid PRIMARY KEY, payload bytea NOT NULL, state text NOT NULL, ended_at timestamptz);
CREATE INDEX recorded_open ON recorded (id) WHERE state <> 'done';`

const (
	effectSQL = `INSERT INTO effects (user_id, note) VALUES ($1, $2)`
	keySQL    = `INSERT INTO processed (id) VALUES ($1) ON CONFLICT DO NOTHING`
	// The same on sealq's tables, statement by statement, as its ledger does it.
	ledgerSQL = `INSERT INTO ledger (kind, effect_id, keep_until) VALUES ('` + kind + `', $1, statement_timestamp() + interval '721 hours') ON CONFLICT DO NOTHING`
	rowSQL    = `UPDATE outbox SET state = 'done', unique_key = NULL, lease_token = NULL, lease_until = NULL, ended_at = statement_timestamp()
		WHERE id = $1::text::uuid AND kind = '` + kind + `' AND state <> 'done'`
	completeSQL = `UPDATE recorded SET state = 'done', ended_at = now() WHERE id = $1 AND state <> 'done'`
)

// BenchmarkLedgerTable prints the table.
func BenchmarkLedgerTable(b *testing.B) {
	f := newFixture(b)
	table := rounds.Table{
		Title: fmt.Sprintf("jobs with a transaction, 256 B, %d slots, %d connections", slots, connections),
		N:     perRun,
		Turns: 2,
		CPU:   []rounds.Meter{rounds.OwnCPU(), rounds.RedisCPU(b.Context(), f.redis), rounds.PostgresCPU(b.Context(), f.pool)},
		Ways: []rounds.Way{
			{Name: "by hand: key, effect", Run: f.way(f.plainTasks, f.plain(keySQL, ""))},
			{Name: "by hand: effect alone", Run: f.way(f.plainTasks, f.plain("", ""))},
			{Name: "sealq, worker.Server: ledger, effect", Run: f.way(f.directTasks, f.server)},
			{Name: "sealq, asynq's server: ledger, effect", Run: f.way(f.directTasks, f.dropIn)},
			{Name: "by hand, sealq's tables: ledger, effect, row done", Run: f.way(f.plainOutboxTasks, f.plain(ledgerSQL, rowSQL))},
			{Name: "sealq, worker.Server: ledger, effect, outbox row done", Run: f.way(f.outboxTasks, f.server), Against: 4},
			{Name: "sealq, asynq's server: ledger, effect, outbox row done", Run: f.way(f.outboxTasks, f.dropIn), Against: 4},
			{Name: "by hand, leaner tables: key, effect, row done", Run: f.way(f.recordedTasks, f.plain(keySQL, completeSQL)), Against: 4},
		},
	}
	for b.Loop() {
		table.Print(b)
	}
}

type fixture struct {
	b        *testing.B
	redis    *redis.Client
	client   *asynq.Client
	pool     *pgxpool.Pool // the app's
	db       *postgres.DB  // sealq's, of as many connections
	keys     *signing.Keys
	enqueuer *jobs.Enqueuer
	def      jobs.Def[args]
}

func newFixture(b *testing.B) *fixture {
	b.Helper()
	url := testservers.Postgres(b)
	sep := "?"
	if strings.Contains(url, "?") {
		sep = "&"
	}
	url += fmt.Sprintf("%spool_max_conns=%d", sep, connections)
	f := &fixture{b: b, redis: testservers.Redis(b).Client(b), def: jobs.Define[args](kind, jobs.Policy{})}
	f.client = asynq.NewClientFromRedisClient(f.redis)
	var err error
	f.pool, err = pgxpool.New(b.Context(), url)
	f.must(err)
	b.Cleanup(f.pool.Close)
	f.db, err = postgres.Open(b.Context(), url)
	f.must(err)
	b.Cleanup(func() { _ = f.db.Close() })
	_, err = f.db.Migrate(b.Context())
	f.must(err)
	_, err = f.pool.Exec(b.Context(), tables)
	f.must(err)

	ring, err := signing.NewRing(time.Now().Add(-time.Minute), 720*time.Hour)
	f.must(err)
	path := filepath.Join(b.TempDir(), "keys.json")
	f.must(signing.NewFile(path).Create(ring))
	f.keys, err = signing.Open(b.Context(), "file:"+path, "bench")
	f.must(err)
	b.Cleanup(f.keys.Close)
	f.enqueuer, err = jobs.NewEnqueuer(f.client, f.keys, jobs.Config{})
	f.must(err)
	return f
}

func (f *fixture) must(err error) {
	f.b.Helper()
	if err != nil {
		f.b.Fatal(err)
	}
}

// way empties everything, fills the queue, and times a server until all jobs have had their effect.
func (f *fixture) way(fill func(ctx context.Context, n int) error, start starter) func(int, *rounds.Timer) error {
	return func(n int, t *rounds.Timer) error {
		ctx := f.b.Context()
		if err := f.redis.FlushDB(ctx).Err(); err != nil {
			return err
		}
		if _, err := f.pool.Exec(ctx, `TRUNCATE effects, processed, recorded, outbox, ledger`); err != nil {
			return err
		}
		// A client of its own: the other one has told Redis of the queue before it was flushed.
		f.client = asynq.NewClientFromRedisClient(f.redis)
		var err error
		if f.enqueuer, err = jobs.NewEnqueuer(f.client, f.keys, jobs.Config{}); err != nil {
			return err
		}
		if err := fill(ctx, n); err != nil {
			return err
		}
		left, done := atomic.Int64{}, make(chan struct{})
		left.Store(int64(n))
		t.Start()
		stop, err := start(func() {
			if left.Add(-1) == 0 {
				close(done)
			}
		})
		if err != nil {
			return err
		}
		select {
		case <-done:
		case <-time.After(2 * time.Minute):
			err = fmt.Errorf("%d jobs were not done within two minutes", left.Load())
		}
		t.Stop()
		if err := errors.Join(err, stop()); err != nil {
			return err
		}
		return f.check(ctx, n)
	}
}

// check requires n effects, and that nothing is left to do.
func (f *fixture) check(ctx context.Context, n int) error {
	var effects, open int
	err := f.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM effects),
		(SELECT count(*) FROM outbox WHERE state <> 'done') + (SELECT count(*) FROM recorded WHERE state <> 'done')`).Scan(&effects, &open)
	if err != nil {
		return err
	}
	if effects != n || open != 0 {
		return fmt.Errorf("%d jobs had %d effects and left %d rows open", n, effects, open)
	}
	return nil
}

// A starter runs a worker until stop is called, and calls ran for each job.
type starter func(ran func()) (stop func() error, err error)

// asynqServer is asynq's own.
func (f *fixture) asynqServer(h asynq.Handler, c asynq.Config) (stop func() error, err error) {
	c.Concurrency, c.LogLevel = slots, asynq.FatalLevel
	srv := asynq.NewServerFromRedisClient(f.redis, c)
	return func() error { srv.Shutdown(); return nil }, srv.Start(h)
}

// plain is an app's own handler. With a key a job that comes twice does nothing twice; with a row it has recorded the job.
func (f *fixture) plain(key, row string) starter {
	return func(ran func()) (func() error, error) {
		mux := asynq.NewServeMux()
		mux.HandleFunc(kind, func(ctx context.Context, task *asynq.Task) error {
			var a args
			if err := json.Unmarshal(task.Payload(), &a); err != nil {
				return err
			}
			id, _ := asynq.GetTaskID(ctx)
			err := pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error {
				if key != "" {
					if tag, err := tx.Exec(ctx, key, id); err != nil || tag.RowsAffected() == 0 {
						return err
					}
				}
				if _, err := tx.Exec(ctx, effectSQL, a.UserID, a.Note); err != nil {
					return err
				}
				if row != "" {
					if _, err := tx.Exec(ctx, row, id); err != nil {
						return err
					}
				}
				return nil
			})
			if err == nil {
				ran()
			}
			return err
		})
		return f.asynqServer(mux, asynq.Config{})
	}
}

// dropIn is asynq's server with sealq's handlers: verifier, typed handler, ledger, outbox, quarantine.
func (f *fixture) dropIn(ran func()) (func() error, error) {
	v, h, err := f.handlers(ran)
	if err != nil {
		return nil, err
	}
	return f.asynqServer(v.Handler(h), v.Config(asynq.Config{}))
}

// server is the same on a worker.Server.
func (f *fixture) server(ran func()) (func() error, error) {
	v, h, err := f.handlers(ran)
	if err != nil {
		return nil, err
	}
	s, err := worker.NewServer(f.redis, v, h, worker.ServerConfig{Concurrency: slots})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() error { cancel(); return <-ended }, nil
}

func (f *fixture) handlers(ran func()) (*worker.Verifier, *worker.Handlers, error) {
	v, err := worker.New(f.keys, worker.Config{Quarantine: f.db, Effects: f.db})
	if err != nil {
		return nil, nil, err
	}
	ledger := counted{f.db, ran}
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: f.db})
	worker.HandleTx(h, ledger, f.def, func(ctx context.Context, tx pgx.Tx, j worker.Job[args]) error {
		_, err := tx.Exec(ctx, effectSQL, j.Args.UserID, j.Args.Note)
		return err
	})
	return v, h, nil
}

// counted is a ledger that tells of each effect once it is committed.
type counted struct {
	*postgres.DB
	ran func()
}

func (c counted) Once(ctx context.Context, e jobs.Effect, fn func(context.Context, pgx.Tx) error) (bool, error) {
	done, err := c.DB.Once(ctx, e, fn)
	if err == nil {
		c.ran()
	}
	return done, err
}

// plainTasks are enqueued by hand.
func (f *fixture) plainTasks(_ context.Context, n int) error {
	return together(n, func(int) error { return f.enqueuePlain(uuid.NewString()) })
}

func (f *fixture) enqueuePlain(id string) error {
	payload, err := json.Marshal(note)
	if err != nil {
		return err
	}
	_, err = f.client.Enqueue(asynq.NewTask(kind, payload), asynq.TaskID(id), asynq.MaxRetry(110), asynq.Deadline(time.Unix(7258118400, 0)))
	return err
}

// recordedTasks have a row of the app's own.
func (f *fixture) recordedTasks(ctx context.Context, n int) error {
	payload, err := json.Marshal(note)
	if err != nil {
		return err
	}
	ids, rows := make([]string, n), make([][]any, n)
	for i := range n {
		id := uuid.Must(uuid.NewV7())
		ids[i], rows[i] = id.String(), []any{id[:], payload, "enqueued"}
	}
	if _, err := f.pool.CopyFrom(ctx, pgx.Identifier{"recorded"}, []string{"id", "payload", "state"}, pgx.CopyFromRows(rows)); err != nil {
		return err
	}
	return together(n, func(i int) error { return f.enqueuePlain(ids[i]) })
}

// directTasks are signed and enqueued without an outbox.
func (f *fixture) directTasks(ctx context.Context, n int) error {
	return together(n, func(int) error { _, err := f.enqueuer.Enqueue(ctx, f.def.With(note)); return err })
}

// outboxTasks are recorded, claimed, signed, enqueued and marked, as the relay does.
func (f *fixture) outboxTasks(ctx context.Context, n int) error {
	return f.outbox(ctx, n, func(r jobs.ClaimedRow) error { _, err := f.enqueuer.EnqueueRow(ctx, r, f.def); return err })
}

// plainOutboxTasks have a row of the outbox, and are enqueued by hand.
func (f *fixture) plainOutboxTasks(ctx context.Context, n int) error {
	return f.outbox(ctx, n, func(r jobs.ClaimedRow) error { return f.enqueuePlain(r.ID) })
}

func (f *fixture) outbox(ctx context.Context, n int, enqueue func(jobs.ClaimedRow) error) error {
	err := f.db.InTx(ctx, func(tx pgx.Tx) error {
		for range n {
			if _, err := f.db.EnqueueTx(ctx, tx, f.def.With(note)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	rows, err := f.db.ClaimRows(ctx, jobs.Claim{Kinds: []jobs.Kind{f.def.Kind()}, Limit: n, Lease: time.Minute})
	if err != nil || len(rows) != n {
		return fmt.Errorf("claim %d of %d rows: %w", len(rows), n, err)
	}
	if err := together(n, func(i int) error { return enqueue(rows[i]) }); err != nil {
		return err
	}
	return f.db.RowsEnqueued(ctx, rows)
}

func together(n int, each func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(slots)
	for i := range n {
		g.Go(func() error { return each(i) })
	}
	return g.Wait()
}
