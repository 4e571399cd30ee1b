package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// Why a run is given up.
var (
	ErrStalled = errors.New("nothing moves any more")
	ErrRefused = errors.New("a task in the run's own queue was refused: somebody else writes to it")
)

// args are a job's arguments. Fill makes them as long as they are to be.
type args struct {
	N    int    `json:"n"`
	Fill string `json:"fill"`
}

// bench is one run.
type bench struct {
	Config
	redis    redis.UniversalClient
	keys     *signing.Keys
	enqueuer *jobs.Enqueuer
	work     jobs.Def[args]
	pickUp   jobs.Def[args]
	record   jobs.Def[args]
	fill     string
	repeated atomic.Int64
	meter    *meter
}

func newBench(ctx context.Context, client redis.UniversalClient, c Config) (*bench, error) {
	keys, err := ownKeys(ctx, c)
	if err != nil {
		return nil, err
	}
	enqueuer, err := jobs.NewEnqueuer(jobs.NewAsynqClient(client), keys, jobs.Config{Now: c.Now})
	if err != nil {
		keys.Close()
		return nil, err
	}
	policy := jobs.Policy{Queue: c.Queue}
	return &bench{
		Config: c, meter: startMeter(c.Progress), redis: client, keys: keys, enqueuer: enqueuer, fill: strings.Repeat("x", c.Payload),
		work: jobs.Define[args](prefix+"work", policy), pickUp: jobs.Define[args](prefix+"pick_up", policy),
		record: jobs.Define[args](prefix+"record", policy),
	}, nil
}

func (b *bench) close() {
	b.meter.stop()
	b.keys.Close()
}

// ownRing is a ring that exists in this run alone.
type ownRing struct{ ring *signing.Ring }

func (o ownRing) Load(context.Context) (*signing.Ring, error) { return o.ring, nil }
func (ownRing) String() string                                { return "a ring of the run's own" }

func ownKeys(ctx context.Context, c Config) (*signing.Keys, error) {
	ring, err := signing.NewRing(c.Now(), 2*jobs.DefaultMaxAge)
	if err != nil {
		return nil, err
	}
	return signing.OpenWith(ctx, ownRing{ring}, c.Queue, signing.Options{Now: c.Now}) // the queue's name is an audience that nobody has
}

// args are those of the job with that number, as long as Payload says.
func (b *bench) args(n int) args {
	const around = len(`{"n":,"fill":""}`)
	return args{N: n, Fill: b.fill[:b.Payload-around-len(strconv.Itoa(n))]}
}

// concurrently calls do for each number below all, and times each call. A call that has begun is not given up: what it sends to
// Redis could come after everything was taken away.
func (b *bench) concurrently(ctx context.Context, stage Stage, all int, do func(ctx context.Context, n int) error) (Calls, error) {
	took := make([]time.Duration, all)
	next, done := new(atomic.Int64), b.meter.begin(stage, all)
	group, running := errgroup.WithContext(ctx)
	began := b.Now()
	for range min(b.Concurrency, all) {
		group.Go(func() error {
			for n := int(next.Add(1)) - 1; n < all; n = int(next.Add(1)) - 1 {
				if running.Err() != nil {
					return running.Err() // somebody else's error, or the interruption
				}
				begin := b.Now()
				if err := do(context.WithoutCancel(ctx), n); err != nil {
					return err
				}
				took[n] = b.Now().Sub(begin)
				done.Add(1)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Calls{}, err //nolint:wrapcheck // the function's own
	}
	return Calls{Rate: rateOf(all, b.Now().Sub(began)), Spread: spreadOf(took)}, nil
}

// enqueueAll is the first stage.
func (b *bench) enqueueAll(ctx context.Context) (Calls, error) {
	return b.concurrently(ctx, StageEnqueue, b.Jobs, func(ctx context.Context, n int) error {
		_, err := b.enqueuer.Enqueue(ctx, b.work.With(b.args(n)))
		return err
	})
}

// workOff is what one worker does with them, and then with single jobs.
func (b *bench) workOff(ctx context.Context) (Rate, Waits, error) {
	worked, picked := newTally(b.Jobs), make(chan time.Time, pickUps)
	handlers := worker.NewHandlers(worker.HandlersConfig{Now: b.Now})
	worker.Handle(handlers, b.work, func(_ context.Context, j worker.Job[args]) error {
		worked.count(j.Args.N, &b.repeated)
		return nil
	})
	waited := newTally(min(b.Jobs, pickUps))
	worker.Handle(handlers, b.pickUp, func(_ context.Context, j worker.Job[args]) error {
		now := b.Now()
		if waited.count(j.Args.N, &b.repeated) {
			picked <- now // it has room for each
		}
		return nil
	})
	catalog, err := jobs.NewCatalog(b.work, b.pickUp)
	if err != nil {
		return Rate{}, Waits{}, err
	}
	var rate Rate
	var waits Waits
	began := b.Now()
	err = b.serve(ctx, handlers, catalog, nil, func(ctx context.Context) (err error) {
		if err := b.await(ctx, StageWork, worked); err != nil {
			return err
		}
		rate = rateOf(b.Jobs, b.Now().Sub(began))
		waits, err = b.oneByOne(ctx, StagePickUp, len(waited.counts), 2*idle, func(ctx context.Context, n int) (time.Time, error) {
			if _, err := b.enqueuer.Enqueue(context.WithoutCancel(ctx), b.pickUp.With(b.args(n))); err != nil {
				return time.Time{}, err
			}
			return receive(ctx, b.Patience, picked)
		})
		return err
	})
	return rate, waits, err
}

// idle is the pause of a worker that has found nothing for some time: worker.ServerConfig's Poll.
const idle = 10 * time.Millisecond

// oneByOne does one after the other, with pauses of up to twice the length between. do says when what it began was there.
func (b *bench) oneByOne(ctx context.Context, stage Stage, all int, pause time.Duration, do func(ctx context.Context, n int) (time.Time, error)) (Waits, error) {
	took, done := make([]time.Duration, all), b.meter.begin(stage, all)
	for n := range all {
		if err := rest(ctx, pause/2+rand.N(3*pause/2)); err != nil { //nolint:gosec // jitter, so that no poll is hit or missed each time
			return Waits{}, err
		}
		began := b.Now()
		there, err := do(ctx, n)
		if err != nil {
			return Waits{}, err
		}
		took[n] = there.Sub(began)
		done.Add(1)
	}
	return Waits{Jobs: all, Spread: spreadOf(took)}, nil
}

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx) //nolint:wrapcheck // the run's own
	case <-timer.C:
		return nil
	}
}

func receive[T any](ctx context.Context, patience time.Duration, from <-chan T) (T, error) {
	var none T
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-from:
		return v, nil
	case <-ctx.Done():
		return none, context.Cause(ctx) //nolint:wrapcheck // the run's own
	case <-timer.C:
		return none, fmt.Errorf("%w: a job was not run for %v", ErrStalled, patience)
	}
}

// await waits until all of the stage is done, as long as it moves.
func (b *bench) await(ctx context.Context, stage Stage, t *tally) error {
	b.meter.follow(stage, len(t.counts), &t.done)
	again := time.NewTicker(b.Patience)
	defer again.Stop()
	for before := int64(-1); ; {
		select {
		case <-t.all:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx) //nolint:wrapcheck // the run's own
		case <-again.C:
			now := t.done.Load()
			if now == before {
				return fmt.Errorf("%w: %s is at %d of %d since %v", ErrStalled, stage, now, len(t.counts), b.Patience)
			}
			before = now
		}
	}
}

// tally counts how often each job ran.
type tally struct {
	counts []atomic.Int32
	done   atomic.Int64 // jobs that ran
	all    chan struct{}
}

func newTally(n int) *tally { return &tally{counts: make([]atomic.Int32, n), all: make(chan struct{})} }

// count says whether it is the job's first run.
func (t *tally) count(n int, repeated *atomic.Int64) bool {
	if n < 0 || n >= len(t.counts) {
		return false
	}
	if t.counts[n].Add(1) > 1 {
		repeated.Add(1)
		return false
	}
	if t.done.Add(1) == int64(len(t.counts)) {
		close(t.all)
	}
	return true
}
