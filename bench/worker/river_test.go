package worker_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/sealq/sealq/internal/testservers"
)

type riverArgs struct {
	Text string `json:"text"`
}

func (riverArgs) Kind() string { return "bench" }

type riverWorker struct {
	river.WorkerDefaults[riverArgs]
	n *counter
}

func (w *riverWorker) Work(context.Context, *river.Job[riverArgs]) error { w.n.add(); return nil }

// riverOf is River on a PostgreSQL of its own, with that many workers. It polls often; listening, which is its default, is on.
func riverOf(b *testing.B, name string, workers int) way {
	b.Helper()
	pool, err := pgxpool.New(b.Context(), testservers.Postgres(b))
	check(b, err)
	b.Cleanup(pool.Close)
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, nil)
	check(b, err)
	_, err = migrator.Migrate(b.Context(), rivermigrate.DirectionUp, nil)
	check(b, err)
	quiet := slog.New(slog.DiscardHandler)
	return way{
		name: name,
		fill: func(b *testing.B, n int) {
			b.Helper()
			_, err := pool.Exec(b.Context(), "TRUNCATE river_job")
			check(b, err)
			client, err := river.NewClient(driver, &river.Config{Logger: quiet})
			check(b, err)
			batch := make([]river.InsertManyParams, 2000)
			for i := range batch {
				batch[i].Args = riverArgs{text[:243]} // 256 bytes as JSON
			}
			for left := n; left > 0; left -= len(batch) {
				_, err := client.InsertManyFast(b.Context(), batch[:min(left, len(batch))])
				check(b, err)
			}
			_, err = pool.Exec(b.Context(), "ANALYZE river_job", pgx.QueryExecModeSimpleProtocol)
			check(b, err)
		},
		start: func(b *testing.B, _ *redis.Client, n *counter) func() {
			b.Helper()
			all := river.NewWorkers()
			river.AddWorker(all, &riverWorker{n: n})
			client, err := river.NewClient(driver, &river.Config{
				Logger: quiet, Workers: all, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
				FetchCooldown: time.Millisecond, FetchPollInterval: 10 * time.Millisecond,
			})
			check(b, err)
			check(b, client.Start(context.Background()))
			return func() { check(b, client.Stop(context.Background())) }
		},
	}
}
