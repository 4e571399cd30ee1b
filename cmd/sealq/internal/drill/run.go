package drill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/signing/attack"
)

const (
	// atOnce is how many shots are under way.
	atOnce = 8
	// sweepTime is how long the removal at the end may take, an interrupted run's too.
	sweepTime = 10 * time.Second
)

// ErrGenuine means that the target did not run a genuine task: what it does with the cases would prove nothing.
var ErrGenuine = errors.New("the target did not run a genuine task")

// Run fires the cases into the target's Redis. However it ends, it takes out of it what it left there.
func (d *Drill) Run(ctx context.Context, client redis.UniversalClient) (Report, error) {
	d.queue.redis = client
	r := Report{Run: d.run, Cases: make([]Result, len(d.cases))}
	err := d.fireAll(ctx, r.Cases)
	sweeping, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepTime)
	defer cancel()
	removed, sweepErr := d.queue.sweep(sweeping)
	if sweepErr != nil {
		sweepErr = fmt.Errorf("tasks drill-%s-… are left in Redis: %w", d.run, sweepErr)
	}
	if err := errors.Join(err, sweepErr); err != nil {
		return Report{}, err
	}
	r.Removed = removed
	r.count()
	return r, nil
}

func (d *Drill) fireAll(ctx context.Context, results []Result) error {
	if err := d.fireGenuine(ctx); err != nil {
		return err
	}
	var progress sync.Mutex
	finished := 0
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for n, c := range d.cases {
		results[n] = Result{Class: c.Class, Case: c.Name, Expected: expected(c), Got: d.unfit[c.Name], Verdict: NotFired}
		if results[n].Got != "" {
			continue
		}
		group.Go(func() error {
			got, err := d.fire(ctx, n)
			if err != nil {
				return fmt.Errorf("the case %q: %w", c, err)
			}
			results[n].Got, results[n].Verdict = got, judge(results[n].Expected, got)
			progress.Lock()
			defer progress.Unlock()
			finished++
			if d.Progress != nil {
				d.Progress(finished, len(d.cases)-len(d.unfit))
			}
			return nil
		})
	}
	return group.Wait() //nolint:wrapcheck // the functions' own
}

func judge(want, got string) Verdict {
	switch got {
	case want, elsewhere:
		return Held
	case left, fetched:
		return NotJudged
	default:
		return Failed
	}
}

// fireGenuine begins with a genuine task. It proves that the ring is the target's, and its key to the worker that runs it.
func (d *Drill) fireGenuine(ctx context.Context) error {
	if d.Ring == nil {
		return nil
	}
	n := len(d.cases) // its number, for its mark
	f, err := d.forge(n)
	if err != nil {
		return err
	}
	s, err := f.Genuine()
	if err != nil {
		return err
	}
	return d.genuine(ctx, s.Task, d.mark(n))
}

// genuine puts the task and requires that it runs.
func (d *Drill) genuine(ctx context.Context, t signing.Task, mark string) error {
	s := shot{task: t, place: place{t.Queue, t.ID}, mark: mark}
	if err := d.queue.fire(ctx, s.place, t, d.Now()); err != nil {
		return err
	}
	got, err := d.watch(ctx, s)
	if err != nil {
		return err
	}
	if got != left && got != vanished { // out of the queue, and not refused
		return fmt.Errorf("%w (%s in %s): %s", ErrGenuine, t.Kind, t.Queue, got)
	}
	if d.Ledger == nil {
		return nil
	}
	did, err := d.effectDone(ctx, t)
	if err == nil && !did {
		err = fmt.Errorf("%w (%s in %s): it left the queue and its effect is not in the ledger", ErrGenuine, t.Kind, t.Queue)
	}
	return err
}

func (d *Drill) effectDone(ctx context.Context, t signing.Task) (bool, error) {
	return d.Ledger.EffectDone(ctx, jobs.Kind(t.Kind), t.Headers[signing.EffectHeader])
}

// fire fires the case with that number and says what became of it.
func (d *Drill) fire(ctx context.Context, n int) (string, error) {
	f, err := d.forge(n)
	if err != nil {
		return "", err
	}
	a := d.cases[n]
	made, err := a.Make(f)
	if err != nil {
		return "", err
	}
	s := shot{task: made.Task, place: place{made.List, made.ID}, mark: d.mark(n)}
	if made.First != nil {
		if err := d.genuine(ctx, *made.First, s.mark); errors.Is(err, ErrGenuine) {
			return err.Error(), nil
		} else if err != nil {
			return "", err
		}
	}
	if aboutKeys(a.Want) {
		if err := d.pace.wait(ctx); err != nil {
			return "", err
		}
	}
	if err := d.queue.fire(ctx, s.place, s.task, d.Now()); errors.Is(err, ErrTaken) {
		return ErrTaken.Error(), nil
	} else if err != nil {
		return "", err
	}
	got, err := d.watch(ctx, s)
	if err != nil {
		return "", err
	}
	return duplicate(a, got), nil
}

// duplicate reads what became of a task whose effect was in the ledger before it was put: it ended as a success, and
// nobody refused it.
func duplicate(a attack.Case, got string) string {
	if a.Want == "" && (got == left || got == vanished || got == fetched) {
		return done
	}
	return got
}
