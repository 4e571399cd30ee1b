// Package loadtest measures how many signed jobs a second a Redis takes, and a database where one is named, and how soon a
// worker picks one up. All of it is the product's own code: the enqueuer, the worker, the outbox, the relay, the ledger.
//
// It touches nothing that is anybody else's. Its queue, its key ring and its audience are made for one run and known to
// nobody, so that no other worker runs its jobs, nor it theirs; its tables are in a schema, or a file, of their own, where no
// other relay looks. However a run ends, what it made is taken away. It refuses to begin where its queue exists.
package loadtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The bounds of a Config.
const (
	MaxJobs        = 1_000_000
	MaxConcurrency = 1024
	MinPayload     = 64 // bytes, as are the next two
	MaxPayload     = 256 << 10
	// MaxBytes bounds the jobs' payloads together: all of them wait in Redis at once.
	MaxBytes = 1 << 30
)

const (
	// prefix of the queues, by which a Redis user's rules may name them.
	prefix = "sealq-bench-"
	// pickUps and effects are how many jobs are followed one by one, at most; --jobs bounds them, too.
	pickUps, effects = 200, 50
	// recorded is the part of the jobs that goes through the database, which does far less a second than Redis.
	recorded = 10
	// shutdown bounds the end of a worker, whose jobs do nothing.
	shutdown = 5 * time.Second
	// sweepTime bounds what takes the traces away.
	sweepTime = time.Minute
)

// Config of a run.
type Config struct {
	// Jobs are enqueued and worked off; a tenth of them goes through the database. Zero is refused, as in the next two.
	Jobs int
	// Concurrency is how many goroutines enqueue, and how many jobs the worker runs at once.
	Concurrency int
	// Payload is the size of a job's arguments in bytes.
	Payload int
	// Database is the URL of the database to measure, as store.Open takes it. Zero: none is.
	Database string
	// Queue of the run. Zero: a new one.
	Queue string
	// Patience is how long nothing may happen. Zero: 30 s.
	Patience time.Duration
	// Progress is told when a stage begins, and how far it is some times a second; never by two goroutines at once. all is 0
	// where it is not known. Zero: nobody is told.
	Progress func(stage Stage, done, all int)
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
}

// Check says which number is out of bounds, by its flag.
func (c Config) Check() error {
	for _, n := range []struct {
		flag            string
		is, least, most int
	}{
		{"--jobs", c.Jobs, 1, MaxJobs},
		{"--concurrency", c.Concurrency, 1, MaxConcurrency},
		{"--payload", c.Payload, MinPayload, MaxPayload},
	} {
		if n.is < n.least || n.is > n.most {
			return fmt.Errorf("%s must be %d to %d", n.flag, n.least, n.most)
		}
	}
	if c.Jobs*c.Payload > MaxBytes {
		return fmt.Errorf("--jobs times --payload is more than %d MiB, and all jobs wait in Redis at once", MaxBytes>>20)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Queue == "" {
		c.Queue = NewQueue()
	}
	if c.Patience == 0 {
		c.Patience = 30 * time.Second
	}
	if c.Progress == nil {
		c.Progress = func(Stage, int, int) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// NewQueue names a queue that nobody else has.
func NewQueue() string { return prefix + strings.ToLower(rand.Text()[:12]) }

// Run measures, stage by stage. However it ends, it takes out of Redis and the database what it put there.
func Run(ctx context.Context, client redis.UniversalClient, c Config) (Report, error) {
	if err := c.Check(); err != nil {
		return Report{}, err
	}
	c = c.withDefaults()
	traces := traces{redis: client, queue: c.Queue, since: c.Now()}
	if err := traces.none(ctx); err != nil {
		return Report{}, err
	}
	if err := traces.sweep(ctx, c.Now()); err != nil { // of nothing yet: whoever may not sweep is to leave nothing
		return Report{}, fmt.Errorf("nothing was put into Redis, because it could not be removed: %w", err)
	}
	r := Report{Queue: c.Queue, Jobs: c.Jobs, Concurrency: c.Concurrency, PayloadBytes: c.Payload}
	err := c.measure(ctx, client, &r)
	c.Progress(StageRemove, 0, 0)
	sweeping, cancel := sweepContext(ctx)
	defer cancel()
	if left := traces.sweep(sweeping, c.Now()); left != nil {
		err = errors.Join(err, fmt.Errorf("the queue %s is left in Redis (docs/bench.md says how to remove it): %w", c.Queue, left))
	}
	return r, err
}

// sweepContext is for what is to be taken away, an interrupted run's too.
func sweepContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), sweepTime)
}

// measure runs the stages. When it returns nothing of it runs any more, and the database is as it was.
func (c Config) measure(ctx context.Context, client redis.UniversalClient, r *Report) (err error) {
	var tables *own
	if c.Database != "" { // first, for whoever may not make them need not wait for that
		if tables, err = openOwn(ctx, c.Database, c.Queue); err != nil {
			return err
		}
		defer func() {
			sweeping, cancel := sweepContext(ctx)
			defer cancel()
			err = errors.Join(err, tables.drop(sweeping))
		}()
	}
	b, err := newBench(ctx, client, c)
	if err != nil {
		return err
	}
	defer b.close()
	if r.Enqueue, err = b.enqueueAll(ctx); err != nil {
		return err
	}
	if r.Work, r.PickUp, err = b.workOff(ctx); err != nil {
		return err
	}
	if tables != nil {
		if err := b.throughDatabase(ctx, tables.db, r); err != nil {
			return err
		}
	}
	r.Repeated = int(b.repeated.Load())
	return nil
}
