package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
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
	// Batch is how many rows one claim takes. Zero: 200.
	Batch int
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
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	setDefault(&c.Poll, 50*time.Millisecond)
	setDefault(&c.Batch, 200)
	setDefault(&c.Lease, 30*time.Second)
	setDefault(&c.Overdue, 2*time.Minute)
	setDefault(&c.Reconcile, c.Overdue/4)
	setDefault(&c.Deferral, time.Hour)
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
	// parallel bounds the round trips to Redis under way at once: more gain nothing on two cores.
	parallel = 16
	// leftPause is how long a row that this process cannot sign, of a kind that it does not know or for which
	// its active key does not sign, is left to others.
	leftPause = 10 * time.Second
	// otherKindPause is how long a row of a kind that this process does not know is left to others: relays of different
	// catalogs share an outbox by taking turns.
	otherKindPause = 500 * time.Millisecond
	// queuePause is how long the rows of a queue wait that takes no tasks while others do.
	queuePause = 5 * time.Second
	// slowestPoll is how many times Poll the pause grows to while the outbox stays empty.
	slowestPoll = 8
	// longestOutage bounds the pause between two tries while Redis or the database is away.
	longestOutage = 5 * time.Second
)

// Relay moves rows of one outbox into one Redis.
type Relay struct {
	rows     Rows
	enqueuer *jobs.Enqueuer
	catalog  *jobs.Catalog
	keys     *signing.Keys
	redis    redis.UniversalClient
	tasks    *rawtask.Reader
	cfg      Config
	nudge    chan struct{}
}

// New needs everything but Config's fields.
func New(rows Rows, e *jobs.Enqueuer, catalog *jobs.Catalog, k *signing.Keys, r redis.UniversalClient, cfg Config) (*Relay, error) {
	if rows == nil || e == nil || catalog == nil || k == nil || r == nil {
		return nil, errors.New("new relay: it needs rows, an enqueuer, a catalog, keys and a Redis client")
	}
	return &Relay{
		rows: rows, enqueuer: e, catalog: catalog, keys: k, redis: r, tasks: rawtask.NewReader(r),
		cfg: cfg.withDefaults(), nudge: make(chan struct{}, 1),
	}, nil
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
	var g errgroup.Group
	g.Go(func() error { r.relayLoop(ctx); return nil })
	g.Go(func() error { r.reconcileLoop(ctx); return nil })
	return g.Wait() //nolint:wrapcheck // the loops return nil
}

func (r *Relay) relayLoop(ctx context.Context) {
	idle, outages := r.cfg.Poll, 0
	for ctx.Err() == nil {
		n, err := r.relayBatch(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			outages++
			r.cfg.Logger.ErrorContext(ctx, "relay stopped by an outage, trying again", slog.Any("error", err), slog.Int("tries", outages))
			r.pause(ctx, outagePause(outages), false)
		case n == r.cfg.Batch:
			outages = 0 // a full batch: more may be waiting
		default:
			outages = 0
			if n > 0 {
				idle = r.cfg.Poll
			}
			r.pause(ctx, idle, true)
			idle = min(2*idle, slowestPoll*r.cfg.Poll)
		}
	}
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

// relayBatch claims one batch and enqueues it. It returns how many rows it claimed.
func (r *Relay) relayBatch(ctx context.Context) (int, error) {
	rows, err := r.rows.ClaimRows(ctx, jobs.Claim{Kinds: r.catalog.Kinds(), Limit: r.cfg.Batch, Lease: r.cfg.Lease})
	if err != nil {
		return 0, fmt.Errorf("claim outbox rows: %w", err)
	}
	if len(rows) == 0 {
		return 0, nil
	}
	outcome := make([]error, len(rows))
	var outages sync.Map // the first of each queue: the rest of its rows need not find out each by itself
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, row := range rows {
		g.Go(func() error {
			if cause, out := outages.Load(row.Queue); out {
				outcome[i], _ = cause.(error)
				return nil
			}
			outcome[i] = r.enqueue(ctx, row)
			if fateOf(outcome[i]) == waiting {
				outages.Store(row.Queue, outcome[i])
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	return len(rows), r.settle(ctx, rows, outcome)
}

// fate is what becomes of a claimed row.
type fate int

const (
	enqueued fate = iota
	refused       // no relay will ever be able to sign it
	left          // this relay cannot sign it now, others may
	waiting       // Redis is away, or the ring is stale: the loop backs off
)

func fateOf(err error) fate {
	_, unsigned := errors.AsType[*signing.SignError](err)
	switch {
	case err == nil:
		return enqueued
	case errors.Is(err, jobs.ErrUnknownKind), errors.Is(err, jobs.ErrInvalidArgs):
		return left // a newer app may have the kind, or have given it another argument
	case errors.Is(err, jobs.ErrInvalidRow), errors.Is(err, signing.ErrMalformed):
		return refused
	case unsigned:
		return left
	}
	return waiting
}

func (r *Relay) enqueue(ctx context.Context, row jobs.ClaimedRow) error {
	d, err := r.catalog.Lookup(row.Kind)
	if err != nil {
		return err
	}
	_, err = r.enqueuer.EnqueueRow(ctx, row, d)
	if errors.Is(err, jobs.ErrAlreadyEnqueued) {
		// An earlier claim got this far, or somebody squats on the name. Which of the two, reconcile finds out
		// by the bytes.
		return nil
	}
	return err
}

// settle writes down what became of a batch. Rows that it cannot write down keep their lease and are claimed
// again when it lapses.
func (r *Relay) settle(ctx context.Context, rows []jobs.ClaimedRow, outcome []error) error {
	// What was enqueued is written down even while the process stops, but not when the claims are over anyway.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Lease)
	defer cancel()
	byFate := make(map[fate][]jobs.ClaimedRow)
	var outage error
	var trouble []error
	for i, row := range rows {
		cause := outcome[i]
		f := fateOf(cause)
		byFate[f] = append(byFate[f], row)
		switch f {
		case refused:
			r.cfg.Logger.ErrorContext(ctx, "outbox row refused",
				slog.String("row", row.ID), slog.String("kind", string(row.Kind)), slog.Any("error", cause))
			trouble = append(trouble, r.rows.RefuseRow(ctx, row, cause.Error()))
		case left:
			pause, level := leftPause, slog.LevelWarn
			if errors.Is(cause, jobs.ErrUnknownKind) { // usual where an app runs a relay of its own beside this one
				pause, level = otherKindPause, slog.LevelDebug
			}
			r.cfg.Logger.Log(ctx, level, "outbox row cannot be signed here, left to other relays",
				slog.String("row", row.ID), slog.String("kind", string(row.Kind)), slog.Any("error", cause))
			trouble = append(trouble, r.rows.ReturnRows(ctx, []jobs.ClaimedRow{row}, pause, cause.Error()))
		case waiting:
			outage = cause
		default: // enqueued: written down together
		}
	}
	if done := byFate[enqueued]; len(done) > 0 {
		trouble = append(trouble, r.rows.RowsEnqueued(ctx, done))
	}
	if outage != nil {
		// Where one queue alone is out of order its rows must not head the next batch again, nor stop the loop.
		var pause time.Duration
		if len(byFate[enqueued]) > 0 || len(rows) == r.cfg.Batch && ofOneQueue(rows) {
			pause = queuePause
			r.cfg.Logger.ErrorContext(ctx, "some queues take no tasks, their rows wait", slog.Int("rows", len(byFate[waiting])), slog.Any("error", outage))
		} else {
			trouble = append(trouble, outage)
		}
		trouble = append(trouble, r.rows.ReturnRows(ctx, byFate[waiting], pause, outage.Error()))
	}
	return errors.Join(trouble...)
}

func ofOneQueue(rows []jobs.ClaimedRow) bool {
	return !slices.ContainsFunc(rows, func(r jobs.ClaimedRow) bool { return r.Queue != rows[0].Queue })
}
