package worker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/quarantine"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/worker"
)

// forgedPerHonest makes a flood of nine tenths.
const forgedPerHonest = 9

// forged is what a forger puts in the place of text.
var forged = []byte(`"` + strings.Repeat("f", 254) + `"`)

// BenchmarkFloodTable counts honest jobs alone: how many a second have their turn among nine times as many forged ones.
func BenchmarkFloodTable(b *testing.B) {
	f := newFixture(b)
	url := testservers.Postgres(b)
	pool, err := pgxpool.New(b.Context(), url)
	f.must(err)
	b.Cleanup(pool.Close)
	db, err := postgres.Open(b.Context(), url)
	f.must(err)
	b.Cleanup(func() { _ = db.Close() })
	_, err = db.Migrate(b.Context())
	f.must(err)
	little := quarantine.Budget{Entries: 100, Bytes: 1 << 20}
	full := quarantine.Budgets{Unverified: little, Moved: little, Authentic: little}
	table := rounds.Table{
		Title: "nine of ten tasks are forged, 256 B, loopback; of honest jobs", N: 1000,
		CPU: []rounds.Meter{rounds.OwnCPU(), rounds.RedisCPU(b.Context(), f.redis), rounds.PostgresCPU(b.Context(), pool)},
		Ways: []rounds.Way{
			{Name: "plain asynq, its defaults: runs them all", Run: f.way(0, f.flood, plainHonest(asynq.Config{}))},
			{Name: "plain asynq, 16 slots: runs them all", Run: f.way(0, f.flood, plainHonest(asynq.Config{Concurrency: slots}))},
			{Name: "worker.Server, the quarantine is full", Run: f.way(0, f.flood, f.keeping(pool, db, full))},
			{Name: "worker.Server, each forgery is kept in PostgreSQL", Run: f.way(0, f.flood, f.keeping(pool, db, quarantine.Budgets{}))},
			{Name: "worker.Server, each forgery is kept in a folder", Run: f.way(0, f.flood, f.serverOf(worker.ServerConfig{}))},
		},
	}
	for b.Loop() {
		table.Print(b)
	}
}

func plainHonest(c asynq.Config) starter {
	return func(client redisClient, ran func()) (func() error, error) {
		c.LogLevel = asynq.FatalLevel
		srv := asynq.NewServerFromRedisClient(client, c)
		stop := func() error { srv.Shutdown(); return nil }
		return stop, srv.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
			if task.Payload()[1] == text[0] {
				ran()
			}
			return nil
		}))
	}
}

// keeping is a worker as the command line's: its quarantine is in PostgreSQL.
func (f *fixture) keeping(pool *pgxpool.Pool, db *postgres.DB, b quarantine.Budgets) starter {
	return func(client redisClient, ran func()) (func() error, error) {
		if _, err := pool.Exec(f.b.Context(), "DELETE FROM quarantine"); err != nil {
			return nil, err
		}
		keeper, err := quarantine.NewKeeper(db, quarantine.Config{Budgets: b})
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.Background())
		kept := make(chan error, 1)
		go func() { kept <- keeper.Run(ctx) }()
		stop, err := f.serverWith(worker.Config{Quarantine: keeper}, worker.ServerConfig{})(client, ran)
		return func() error {
			err := stop()
			cancel()
			return firstOf(err, <-kept)
		}, err
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// flood puts n honest jobs among forged ones. A third of those is unsigned, a third bears a genuine job's signature, a third an invented one of
// the right form and key.
func (f *fixture) flood(ctx context.Context, n int) error {
	client := asynq.NewClientFromRedisClient(f.redis)
	enqueuer, err := jobs.NewEnqueuer(client, f.keys, jobs.Config{})
	if err != nil {
		return err
	}
	stolen, _, err := f.keys.Sign(signing.Task{Kind: kind, ID: "stolen", Queue: "default"}, signing.Validity{Expires: time.Now().Add(time.Hour)})
	if err != nil {
		return err
	}
	def := noop()
	honest := make([]bool, n*(1+forgedPerHonest))
	for i := range n {
		honest[i] = true
	}
	rand.Shuffle(len(honest), func(i, j int) { honest[i], honest[j] = honest[j], honest[i] })
	next := make(chan bool, len(honest))
	for _, h := range honest {
		next <- h
	}
	return together(len(honest), func() error {
		if <-next {
			_, err := enqueuer.Enqueue(ctx, def.With(text))
			return err
		}
		headers := map[string]string{}
		switch rand.IntN(3) {
		case 0:
			headers[signing.SignatureHeader] = stolen
		case 1:
			headers[signing.SignatureHeader] = stolen[:60] + strings.Repeat(strconv.Itoa(rand.IntN(10)), 44)
		}
		_, err := client.EnqueueContext(ctx, asynq.NewTaskWithHeaders(kind, forged, headers))
		return err
	})
}

// floodFor is how long BenchmarkFloodMemory runs.
const floodEnv = "SEALQ_BENCH_FLOOD"

// BenchmarkFloodMemory floods a worker for a minute, or as long as SEALQ_BENCH_FLOOD says, and tells how its memory grows. It
// runs in this process, with the forger: what that holds does not grow either.
func BenchmarkFloodMemory(b *testing.B) {
	last := time.Minute
	if text := os.Getenv(floodEnv); text != "" {
		var err error
		if last, err = time.ParseDuration(text); err != nil {
			b.Fatalf("%s: %v", floodEnv, err)
		}
	}
	f := newFixture(b)
	db, err := postgres.Open(b.Context(), testservers.Postgres(b))
	f.must(err)
	b.Cleanup(func() { _ = db.Close() })
	_, err = db.Migrate(b.Context())
	f.must(err)
	keeper, err := quarantine.NewKeeper(db, quarantine.Config{})
	f.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	kept := make(chan error, 1)
	go func() { kept <- keeper.Run(ctx) }()
	stop, err := f.serverWith(worker.Config{Quarantine: keeper}, worker.ServerConfig{})(f.client(f.address(0)), func() {})
	f.must(err)
	for b.Loop() {
		var sizes []int64
		for began := time.Now(); time.Since(began) < last; {
			f.must(f.flood(b.Context(), 500))
			for f.redis.LLen(b.Context(), "asynq:{default}:pending").Val() > 1000 {
				time.Sleep(10 * time.Millisecond)
			}
			sizes = append(sizes, resident(b))
		}
		early, late := sizes[len(sizes)/10], sizes[len(sizes)-1]
		overflow := int64(0)
		for _, o := range keeper.Overflow() {
			overflow += o.Entries
		}
		fmt.Printf("\n%v of flood, %d tasks: resident %d MiB after a tenth, %d MiB at the end; %d refusals counted beyond the budget\n",
			last, len(sizes)*500*(1+forgedPerHonest), early>>20, late>>20, overflow)
	}
	f.must(stop())
	cancel()
	f.must(<-kept)
}

// resident is the memory of this process, as Linux accounts for it.
func resident(b *testing.B) int64 {
	b.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc/self", "statm"))
	if err != nil {
		b.Skip("this platform has no /proc")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(stat))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
