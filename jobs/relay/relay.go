package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
)

// Config of a Relay.
type Config struct {
	// Poll is the pause between two looks at an empty outbox. Zero: 50 ms, growing to 8 times that while the
	// outbox stays empty. Nudge ends it.
	Poll time.Duration
	// Batch is how many rows one claim takes, and one trip to Redis. Zero: 500.
	Batch int
	// MaxPending is how many tasks may wait in a queue of Redis, pending or due within a minute; while there are more, the
	// queue's rows stay in the outbox until half of them are gone, and other queues go on. So a flood fills the database's
	// disk and not Redis' memory, a task's max age runs from when workers can get at it soon, and reconcile has no more to
	// look up than that. Relays look before each batch: each may put one batch on top. Zero: 10,000, which keeps workers
	// busy for a second at their best and takes about 10 MB.
	MaxPending int
	// Lease is how long a claim lasts. Zero: 30 s.
	Lease time.Duration
	// Overdue is how long an enqueued row may be due before its task is looked up. Zero: 2 min.
	Overdue time.Duration
	// Reconcile is the pause between two looks for overdue rows. Zero: a quarter of Overdue.
	Reconcile time.Duration
	// Deferral is the longest that a handler, or a worker, puts a task off without using up a try. Somebody who writes to
	// Redis can keep a job waiting for that long: a task that is to be tried again later than that counts as lost. Zero: 1 h,
	// as a mail's lease is 16 minutes.
	Deferral time.Duration
	// Survey is the pause between two counts of the outbox, for Stats and to find rows of kinds that no relay takes. It
	// reads all unfinished rows. Zero: 1 min.
	Survey time.Duration
	// TracerProvider makes a span for each row, in the trace in which it was recorded. Zero: none is made, and the worker's spans
	// are children of the one in which the row was recorded.
	TracerProvider trace.TracerProvider
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	setDefault(&c.Poll, 50*time.Millisecond)
	setDefault(&c.Batch, 500)
	setDefault(&c.MaxPending, 10_000)
	setDefault(&c.Lease, 30*time.Second)
	setDefault(&c.Overdue, 2*time.Minute)
	setDefault(&c.Reconcile, c.Overdue/4)
	setDefault(&c.Deferral, time.Hour)
	setDefault(&c.Survey, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

const (
	// slowestPoll is how many times Poll the pause grows to while the outbox stays empty.
	slowestPoll = 8
	// longestOutage bounds the pause between two tries while Redis or the database is away.
	longestOutage = 5 * time.Second
)

// Relay moves rows of one outbox into one Redis.
type Relay struct {
	rows     Rows
	recorder *recorder
	catalog  *jobs.Catalog
	keys     *signing.Keys
	redis    redis.UniversalClient
	tasks    *rawtask.Reader
	cfg      Config
	tracer   trace.Tracer // nil: no spans
	nudge    chan struct{}
	holds    *holds
	counts   counts

	unannounced bool // it was told that queues cannot be announced
}

// New needs everything but Config's fields. The relay takes the rows of the catalog's kinds, and signs them with k.
func New(rows Rows, catalog *jobs.Catalog, k *signing.Keys, r redis.UniversalClient, cfg Config) (*Relay, error) {
	if rows == nil || catalog == nil || k == nil || r == nil {
		return nil, errors.New("new relay: it needs rows, a catalog, keys and a Redis client")
	}
	cfg = cfg.withDefaults()
	recorder, err := newRecorder(k, jobs.Config{Now: cfg.Now})
	if err != nil {
		return nil, fmt.Errorf("new relay: %w", err)
	}
	relay := &Relay{
		rows: rows, recorder: recorder, catalog: catalog, keys: k, redis: r, tasks: rawtask.NewReader(r),
		cfg: cfg, nudge: make(chan struct{}, 1), holds: newHolds(r, cfg),
	}
	if cfg.TracerProvider != nil {
		relay.tracer = cfg.TracerProvider.Tracer(scope)
	}
	return relay, nil
}

// Nudge tells the relay that a row was just committed in this process. It never blocks.
func (r *Relay) Nudge() {
	select {
	case r.nudge <- struct{}{}:
	default:
	}
}

// Run relays and reconciles until ctx ends, then returns nil. Trouble with Redis or the database is logged and
// tried again.
func (r *Relay) Run(ctx context.Context) error {
	ctx = trace.ContextWithSpan(ctx, nil) // rows have traces of their own, or none
	var g errgroup.Group
	g.Go(func() error { r.relayLoop(ctx); return nil })
	g.Go(func() error { r.reconcileLoop(ctx); return nil })
	g.Go(func() error { r.surveyLoop(ctx); return nil })
	return g.Wait() //nolint:wrapcheck // the loops return nil
}

func (r *Relay) relayLoop(ctx context.Context) {
	idle, outages := r.cfg.Poll, 0
	for ctx.Err() == nil {
		n, err := r.drain(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			outages++
			r.tellFailed(ctx, "relay stopped by an outage, trying again", err, slog.Int("tries", outages))
			r.pause(ctx, outagePause(outages), false)
		default:
			outages = 0
			if n > 0 {
				idle = r.cfg.Poll
			}
			r.pause(ctx, idle, true)
			idle = min(2*idle, slowestPoll*r.cfg.Poll)
			if r.holds.any() {
				idle = r.cfg.Poll // their rows are not seen, but wait
			}
		}
	}
}

// tellFailed logs why a part of the relay makes a pause: message, unless it is for lack of a right.
func (r *Relay) tellFailed(ctx context.Context, message string, err error, attrs ...any) {
	attrs = append(attrs, slog.Any("error", err))
	if rawtask.Denied(err) {
		r.cfg.Logger.ErrorContext(ctx, "the relay's Redis user lacks a right, trying again",
			append(attrs, slog.String("advice", "give it what `sealq redis-acl worker` prints, with all queues of the outbox"))...)
		return
	}
	r.cfg.Logger.ErrorContext(ctx, message, attrs...) //nolint:sloglint // one of two constants
}

func outagePause(tries int) time.Duration {
	return jobs.WithJitter(min(100*time.Millisecond<<min(tries-1, 6), longestOutage))
}

// pause waits for d, or for a nudge where that is wanted.
func (r *Relay) pause(ctx context.Context, d time.Duration, nudged bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	nudge := r.nudge
	if !nudged {
		nudge = nil
	}
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-nudge:
	}
}
