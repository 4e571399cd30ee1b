package scheduler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/jobs"
)

// DirectRetention is for how long Redis remembers a tick that was done, and takes it no second time.
const DirectRetention = 24 * time.Hour

// Enqueuer is a *jobs.Enqueuer.
type Enqueuer interface {
	Enqueue(ctx context.Context, j jobs.Job) (jobs.Receipt, error)
}

// Direct makes ticks without a database: it enqueues their jobs at once, each under the tick's name, "schedule@due", as its task's
// ID, so that of any number of processes one enqueues it. What Redis loses is lost. Schedules are those of the process; due times
// count from its start, by its host's clock, and are not caught up with. @every counts from the Unix epoch, so that all
// processes agree. A job that is unique is refused: only an outbox has such.
func Direct(e Enqueuer) Ticks {
	d := &direct{enqueuer: e, states: make(map[string]jobs.ScheduleState)}
	d.now = time.Now
	return d
}

type direct struct {
	enqueuer Enqueuer
	now      func() time.Time
	mu       sync.Mutex
	states   map[string]jobs.ScheduleState
}

func (d *direct) PlaceSchedules(_ context.Context, p jobs.Placement) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, plan := range p.Plans {
		d.states[plan.Name] = jobs.ScheduleState{SchedulePlan: plan, Revision: 1, Anchor: time.Unix(0, 0), LastDueAt: d.now()}
	}
	return nil
}

func (d *direct) ScheduleBook(_ context.Context, known int64) (jobs.ScheduleBook, error) {
	book := jobs.ScheduleBook{Version: 1, Now: d.now(), Known: known == 1}
	if book.Known {
		return book, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(d.states)) {
		book.Schedules = append(book.Schedules, d.states[name])
	}
	return book, nil
}

// directConcurrency bounds the round trips of one MakeTicks.
const directConcurrency = 32

func (d *direct) MakeTicks(ctx context.Context, ticks []jobs.Tick) ([]jobs.TickMade, error) {
	made := make([]jobs.TickMade, len(ticks))
	var g errgroup.Group
	g.SetLimit(directConcurrency)
	for i, t := range ticks {
		g.Go(func() error {
			_, err := d.enqueuer.Enqueue(ctx, t.Job.With(jobs.ID(tickName(t.Schedule, t.At)), jobs.Retain(DirectRetention)))
			switch {
			case err == nil:
				made[i] = jobs.TickMade{Made: true, LastDueAt: t.At}
			case errors.Is(err, jobs.ErrAlreadyEnqueued): // by another process
				made[i] = jobs.TickMade{LastDueAt: t.At}
			default:
				made[i] = jobs.TickMade{Err: err}
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("enqueue ticks: %w", err)
	}
	return made, nil
}
