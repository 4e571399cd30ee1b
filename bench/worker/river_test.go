package worker_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/internal/testservers"
)

type riverArgs struct {
	Text string `json:"text"`
}

func (riverArgs) Kind() string { return kind }

type riverWorker struct {
	river.WorkerDefaults[riverArgs]
}

func (*riverWorker) Work(context.Context, *river.Job[riverArgs]) error { return nil }

// peer is River on a PostgreSQL of its own.
type peer struct {
	*fixture
	pool   *pgxpool.Pool
	driver *riverpgxv5.Driver
}

func newRiver(b *testing.B) *peer {
	b.Helper()
	p := &peer{fixture: newFixture(b)}
	var err error
	p.pool, err = pgxpool.New(b.Context(), testservers.Postgres(b))
	p.must(err)
	b.Cleanup(p.pool.Close)
	p.driver = riverpgxv5.New(p.pool)
	migrator, err := rivermigrate.New(p.driver, nil)
	p.must(err)
	_, err = migrator.Migrate(b.Context(), rivermigrate.DirectionUp, nil)
	p.must(err)
	return p
}

// way is River with that many workers. It looks for jobs as often as it may; listening, its default, is on. A job is counted, as
// by River's own benchmark, when the database has it as completed: with thousands of workers thousands have run before that.
func (p *peer) way(workers int) func(int, *rounds.Timer) error {
	quiet := slog.New(slog.DiscardHandler)
	return p.fixture.way(0, p.fill, func(_ redisClient, ran func()) (func() error, error) {
		all := river.NewWorkers()
		river.AddWorker(all, &riverWorker{})
		client, err := river.NewClient(p.driver, &river.Config{
			Logger: quiet, Workers: all, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
			FetchCooldown: time.Millisecond, FetchPollInterval: 10 * time.Millisecond,
		})
		if err != nil {
			return nil, err
		}
		completed, cancel := client.SubscribeConfig(&river.SubscribeConfig{Kinds: []river.EventKind{river.EventKindJobCompleted}, ChanSize: 100_000})
		go func() {
			for range completed {
				ran()
			}
		}()
		stop := func() error { defer cancel(); return client.Stop(context.Background()) }
		return stop, client.Start(context.Background())
	})
}

func (p *peer) fill(ctx context.Context, n int) error {
	if _, err := p.pool.Exec(ctx, "TRUNCATE river_job"); err != nil {
		return err
	}
	client, err := river.NewClient(p.driver, &river.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	batch := make([]river.InsertManyParams, 2000)
	for i := range batch {
		batch[i].Args = riverArgs{text[:243]} // 256 bytes as JSON
	}
	for left := n; left > 0; left -= len(batch) {
		if _, err := client.InsertManyFast(ctx, batch[:min(left, len(batch))]); err != nil {
			return err
		}
	}
	_, err = p.pool.Exec(ctx, "ANALYZE river_job", pgx.QueryExecModeSimpleProtocol)
	return err
}
