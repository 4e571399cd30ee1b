package sweep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Config of a Runner.
type Config struct {
	// Budget is how long a run may take before it leaves the rest to another. Zero: 3 minutes.
	Budget time.Duration
	// Lease is how long a sweeper that says nothing keeps others from sweeping. Zero: 1 minute.
	Lease time.Duration
	// OnProgress is told each time that the desk is. Zero: nobody is.
	OnProgress func(ctx context.Context, p Progress)
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
	// Now is the clock for pauses and budget. Zero: time.Now.
	Now func() time.Time
}

const (
	defaultBudget = 3 * time.Minute
	defaultLease  = time.Minute

	// largest batch: measured on ten million rows, larger ones lengthen other people's waits and hardly shorten the sweep.
	largest  = 500
	smallest = 50
	// A batch that takes longer than slow is followed by one of half its size.
	slow = 100 * time.Millisecond
	// A pause is as long as the batch took, within these.
	shortest = 2 * time.Millisecond
	longest  = 20 * time.Millisecond

	tellEvery = time.Second
	logEvery  = 10 * time.Second
	// lastWord is how long giving the sweep back may take when its context has ended.
	lastWord = 5 * time.Second
)

// Runner runs sweeps.
type Runner struct {
	counter Counter
	desk    Desk
	cfg     Config
}

// NewRunner needs a counter, which may be the store of the steps, and a desk.
func NewRunner(counter Counter, desk Desk, c Config) (*Runner, error) {
	if counter == nil || desk == nil {
		return nil, errors.New("new sweeper: it needs a counter and a desk")
	}
	c.Budget, c.Lease = cmp.Or(c.Budget, defaultBudget), cmp.Or(c.Lease, defaultLease)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Runner{counter: counter, desk: desk, cfg: c}, nil
}

// Order is one run of a sweep.
type Order struct {
	Sweep string
	Tick  string
	Job   string // whose run it is. Zero: nobody's that comes again
	Limit int    // rows at most; 0: all that are due
	Steps []Step
}

// Step walks one part.
type Step struct {
	Walk
	// Batch is SweepBatch of the walk, or does as much.
	Batch func(ctx context.Context, limit int) (Batch, error)
}

// Of are the steps of walks in a store.
func Of(s Store, walks []Walk) []Step {
	steps := make([]Step, len(walks))
	for i, w := range walks {
		steps[i] = Step{Walk: w, Batch: func(ctx context.Context, limit int) (Batch, error) { return s.SweepBatch(ctx, w, limit) }}
	}
	return steps
}

// Outcome is how a run ended.
type Outcome struct {
	Progress Progress
	Rows     int          // that this run deleted
	By       map[Part]int // of these, by part
	// Left: its budget was used up before all was done. Somebody has to go on.
	Left bool
	// Taken: another is at it, and this run did nothing. Progress is his.
	Taken bool
	// Own: that other is a run of the same job, which was killed or is cut off. When its lease is over nobody else goes on with it.
	Own bool
}

// ErrOvertaken means that a sweeper said nothing for longer than its lease, and another has begun.
var ErrOvertaken = errors.New("another has taken the sweep over")

// Run sweeps until nothing is due, o.Limit is reached or the budget is used up. What it has deleted stays deleted, whatever becomes of it: whoever
// comes next does the rest.
func (r *Runner) Run(ctx context.Context, o Order) (out Outcome, err error) {
	now := r.cfg.Now()
	u := &run{Runner: r, order: o, began: now, since: now, size: largest}
	u.out.By = make(map[Part]int)
	his, taken, err := u.begin(ctx)
	if err != nil || taken {
		return Outcome{Taken: taken, Own: taken && o.Job != "" && strings.HasPrefix(his.Holder, o.Job+"/"), Progress: his}, err
	}
	defer func() {
		if err == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
		defer cancel()
		_, told := r.desk.TellSweep(ctx, u.out.Progress, 0) // unended: whoever retries the job goes on with it
		err = errors.Join(fmt.Errorf("sweep after %d rows: %w", u.out.Rows, err), told)
	}()
	for _, step := range o.Steps {
		u.out.Progress.Part = step.Part
		if err := u.walk(ctx, step); err != nil {
			return u.out, err
		}
		if u.out.Left || u.full() {
			break
		}
	}
	u.out.Progress.Ended = !u.out.Left
	u.out.Progress.Due = max(u.out.Progress.Due, u.out.Progress.Done)
	return u.out, u.tell(ctx, 0)
}

// run is one call of Run.
type run struct {
	*Runner
	order        Order
	out          Outcome
	began        time.Time // of this run
	since        time.Time // of the sweep
	told, logged time.Time
	size         int
	counted      bool
}

func (u *run) begin(ctx context.Context) (before Progress, taken bool, err error) {
	before, err = u.desk.SweepProgress(ctx, u.order.Sweep)
	if err != nil {
		return before, false, err
	}
	u.out.Progress = Progress{Sweep: u.order.Sweep, Holder: u.order.Job + "/" + uuid.NewString(), Tick: u.order.Tick, Part: u.order.Steps[0].Part}
	if before.Holder != "" && !before.Ended && before.Tick == u.order.Tick {
		u.out.Progress.Done, u.out.Progress.Due, u.counted = before.Done, before.Due, before.Due > 0
		u.since = u.began.Add(before.BeganAt.Sub(before.ToldAt)) // what it took so far counts
	}
	had, err := u.desk.TellSweep(ctx, u.out.Progress, u.cfg.Lease)
	u.told, u.logged = u.cfg.Now(), u.cfg.Now()
	return before, !had && err == nil, err
}

// full says that the order wants no more.
func (u *run) full() bool { return u.order.Limit > 0 && u.out.Rows >= u.order.Limit }

func (u *run) walk(ctx context.Context, step Step) error {
	for {
		limit := u.size
		if u.order.Limit > 0 {
			limit = min(limit, u.order.Limit-u.out.Rows)
		}
		start := u.cfg.Now()
		b, err := step.Batch(ctx, limit)
		if err != nil {
			return err
		}
		took := u.cfg.Now().Sub(start)
		u.out.Rows += b.Gone
		u.out.Progress.Done += int64(b.Gone)
		u.out.By[step.Part] += b.Gone
		// A batch that deleted nothing though there is more met rows that others hold: they are for the next sweep.
		if !b.More || b.Gone == 0 || u.full() {
			return nil
		}
		if u.cfg.Now().Sub(u.began) >= u.cfg.Budget {
			u.out.Left = true
			return nil
		}
		if err := u.between(ctx, step, took); err != nil {
			return err
		}
	}
}

// between is what happens after a batch that is followed by another.
func (u *run) between(ctx context.Context, step Step, took time.Duration) error {
	if took > slow {
		u.size = max(u.size/2, smallest)
	} else {
		u.size = min(u.size*2, largest)
	}
	if err := u.estimate(ctx, step); err != nil {
		return err
	}
	if now := u.cfg.Now(); now.Sub(u.told) >= tellEvery {
		if err := u.tell(ctx, u.cfg.Lease); err != nil {
			return err
		}
	}
	return rest(ctx, min(max(took, shortest), longest))
}

// estimate says once how much there is, as soon as one batch is not enough.
func (u *run) estimate(ctx context.Context, from Step) error {
	if u.counted {
		return nil
	}
	u.counted = true
	due, counts := u.out.Progress.Done, false
	for _, step := range u.order.Steps {
		counts = counts || step.Part == from.Part
		if !counts {
			continue
		}
		n, err := u.counter.CountDue(ctx, step.Walk, false)
		if err != nil {
			return err
		}
		due += n
	}
	if u.order.Limit > 0 {
		due = min(due, int64(u.order.Limit))
	}
	u.out.Progress.Due = due
	return u.tell(ctx, u.cfg.Lease)
}

func (u *run) tell(ctx context.Context, lease time.Duration) error {
	p := &u.out.Progress
	had, err := u.desk.TellSweep(ctx, *p, lease)
	if err != nil {
		return err
	}
	if !had {
		return ErrOvertaken
	}
	u.told = u.cfg.Now()
	p.BeganAt, p.ToldAt = u.since, u.told
	if u.cfg.OnProgress != nil {
		u.cfg.OnProgress(ctx, *p)
	}
	if u.told.Sub(u.logged) >= logEvery {
		u.logged = u.told
		u.cfg.Logger.InfoContext(ctx, "sweep under way", slog.String("kind", p.Sweep), slog.String("part", string(p.Part)), slog.Int64("done", p.Done),
			slog.Int64("due", p.Due), slog.Float64("rows_per_second", p.Rate()), slog.Duration("left", p.Left().Round(time.Second)))
	}
	return nil
}

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	case <-timer.C:
		return nil
	}
}
