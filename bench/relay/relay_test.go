package relay_test

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/bench/internal/slow"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/postgres"
)

const (
	rounds     = 5
	perRound   = 20_000 // rows
	goroutines = 16
)

// system is one round's servers, empty but for perRound rows in the outbox.
type system struct {
	db      *postgres.DB
	redis   *redis.Client
	keys    *signing.Keys
	catalog *jobs.Catalog
	def     jobs.Definition
}

type way struct {
	name string
	rows bool // it needs an outbox
	move func(ctx context.Context, s system) error
}

func ways() []way {
	return []way{
		{"floor: plain asynq, 16 goroutines, no database", false, plain},
		{"relay that enqueues row by row, 16 goroutines", true, rowByRow},
		{"relay", true, relaying},
	}
}

// BenchmarkRelayTable prints rates and their ratios to plain asynq: medians of rounds in which the ways take turns.
func BenchmarkRelayTable(b *testing.B) {
	server := testservers.Redis(b)
	keys := openKeys(b)
	for b.Loop() {
		for _, trip := range []time.Duration{0, time.Millisecond} {
			compare(b, server, keys, trip)
		}
	}
}

func compare(b *testing.B, server *testservers.RedisServer, keys *signing.Keys, trip time.Duration) {
	b.Helper()
	all := ways()
	rates, ratios := make([][]float64, len(all)), make([][]float64, len(all))
	for range rounds {
		floor := 0.0
		for i, w := range all {
			server.Flush(b)
			rate := round(b, w, server, keys, trip)
			if i == 0 {
				floor = rate
			}
			rates[i], ratios[i] = append(rates[i], rate), append(ratios[i], rate/floor)
		}
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\nmedian of %d rounds of %d rows of 256 B, %v added to a round trip\trows/s\t× floor\t\n", rounds, perRound, trip)
	for i, w := range all {
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t\n", w.name, median(rates[i]), median(ratios[i]))
	}
	if err := t.Flush(); err != nil {
		b.Fatal(err)
	}
}

func median(figures []float64) float64 {
	slices.SortFunc(figures, cmp.Compare)
	return figures[len(figures)/2]
}

// round is how many rows a second one way moves.
func round(b *testing.B, w way, server *testservers.RedisServer, keys *signing.Keys, trip time.Duration) float64 {
	b.Helper()
	options := server.Options(b)
	if trip > 0 {
		options.Addr = slow.Proxy(b, options.Addr, trip)
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	def := jobs.Define[string]("bench", jobs.Policy{Queue: "bench"})
	catalog, err := jobs.NewCatalog(def)
	check(b, err)
	s := system{redis: client, keys: keys, catalog: catalog, def: def}
	if w.rows {
		s.db = filled(b, def.With(strings.Repeat("x", 254)), trip) // 256 bytes with the quotes
		defer func() { check(b, s.db.Close()) }()
	}
	began := time.Now()
	check(b, w.move(b.Context(), s))
	rate := perRound / time.Since(began).Seconds()
	n, err := client.LLen(b.Context(), "asynq:{bench}:pending").Result()
	check(b, err)
	if n != perRound {
		b.Fatalf("%s: %d tasks are pending, want %d", w.name, n, perRound)
	}
	if w.rows {
		counts, _, err := s.db.OutboxDepth(b.Context())
		check(b, err)
		if counts[jobs.RowEnqueued] != perRound {
			b.Fatalf("%s: the outbox holds %v", w.name, counts)
		}
	}
	return rate
}

// filled is a database with perRound rows that wait.
func filled(b *testing.B, j jobs.Job, trip time.Duration) *postgres.DB {
	b.Helper()
	at := testservers.Postgres(b)
	db := open(b, at)
	_, err := db.Migrate(b.Context())
	check(b, err)
	check(b, record(b.Context(), db, j))
	if trip == 0 {
		return db
	}
	check(b, db.Close())
	u, err := url.Parse(at)
	check(b, err)
	u.Host = slow.Proxy(b, u.Host, trip)
	return open(b, u.String())
}

func open(b *testing.B, at string) *postgres.DB {
	b.Helper()
	db, err := postgres.Open(b.Context(), at)
	check(b, err)
	return db
}

// record inserts perRound rows of a job.
func record[Tx any](ctx context.Context, db interface {
	jobs.Outbox[Tx]
	InTx(ctx context.Context, fn func(tx Tx) error) error
}, j jobs.Job,
) error {
	return db.InTx(ctx, func(tx Tx) error {
		for range perRound {
			if _, err := db.EnqueueTx(ctx, tx, j); err != nil {
				return err
			}
		}
		return nil
	})
}

// relaying is the relay of this module.
func relaying(ctx context.Context, s system) error {
	r, err := relay.New(s.db, s.catalog, s.keys, s.redis, relay.Config{MaxPending: 10 * perRound, Poll: time.Millisecond, Overdue: time.Hour})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for r.Stats().Relayed < perRound {
		<-tick.C
	}
	stop()
	return <-ended // writes down what it has moved
}

// rowByRow is what a relay does whose every row is a call of asynq's client.
func rowByRow(ctx context.Context, s system) error {
	enqueuer, err := jobs.NewEnqueuer(asynq.NewClientFromRedisClient(s.redis), s.keys, jobs.Config{})
	if err != nil {
		return err
	}
	for {
		rows, err := s.db.ClaimRows(ctx, jobs.Claim{Kinds: s.catalog.Kinds(), Limit: 200, Lease: time.Minute})
		if err != nil || len(rows) == 0 {
			return err
		}
		var g errgroup.Group
		g.SetLimit(goroutines)
		for _, row := range rows {
			g.Go(func() error {
				_, err := enqueuer.EnqueueRow(ctx, row, s.def)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		if err := s.db.RowsEnqueued(ctx, rows); err != nil {
			return err
		}
	}
}

// plain is asynq's client, with the same options and without a signature.
func plain(ctx context.Context, s system) error {
	client := asynq.NewClientFromRedisClient(s.redis)
	payload := []byte(`"` + strings.Repeat("x", 254) + `"`)
	far := asynq.Deadline(time.Unix(7258118400, 0)) // as the Enqueuer sets it
	var g errgroup.Group
	for range goroutines {
		g.Go(func() error {
			for range perRound / goroutines {
				id, err := uuid.NewV7()
				if err != nil {
					return err
				}
				_, err = client.EnqueueContext(ctx, asynq.NewTask("bench", payload), asynq.TaskID(id.String()), asynq.Queue("bench"), asynq.MaxRetry(110), far)
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func openKeys(b *testing.B) *signing.Keys {
	b.Helper()
	path := filepath.Join(b.TempDir(), "keys.json")
	ring, err := signing.NewRing(time.Now(), 720*time.Hour)
	check(b, err)
	check(b, signing.NewFile(path).Create(ring))
	keys, err := signing.Open(b.Context(), "file:"+path, "bench")
	check(b, err)
	b.Cleanup(keys.Close)
	return keys
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
