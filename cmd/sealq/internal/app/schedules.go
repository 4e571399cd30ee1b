package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/scheduler"
)

// ScheduleReader shows schedules and their ticks.
type ScheduleReader interface {
	scheduler.Reports
	// TickHistory lists the last ticks of a schedule, the newest first, or returns jobs.ErrNoSuchSchedule.
	TickHistory(ctx context.Context, schedule string, limit int) ([]jobs.TickInfo, error)
}

// Schedules is what an operator does with schedules. Each change is audited in actor's name, in the change's transaction, and
// takes effect on all schedulers within their poll.
type Schedules interface {
	ScheduleReader
	// DefineSchedule adds a schedule, or changes the one of that name where replace says so. It refuses a plan that is not sound.
	DefineSchedule(ctx context.Context, actor string, p jobs.SchedulePlan, replace bool) (replaced bool, err error)
	// ScheduleKind is the kind of a schedule's jobs.
	ScheduleKind(ctx context.Context, schedule string) (jobs.Kind, error)
	// SetPaused pauses or resumes a schedule, and says whether it was not so before.
	SetPaused(ctx context.Context, actor, schedule string, paused bool) (changed bool, err error)
	// DropSchedule removes a schedule with its ticks, and says what it was.
	DropSchedule(ctx context.Context, actor, schedule string) (jobs.SchedulePlan, error)
	// RunNow makes a tick of the schedule that is due now.
	RunNow(ctx context.Context, actor, schedule string) (Run, error)
}

// SweepReader tells of sweeps.
type SweepReader interface {
	sweep.Counter
	// SweepProgress reads how far a sweep is, as sweep.Desk says.
	SweepProgress(ctx context.Context, name string) (sweep.Progress, error)
}

// Run is a tick that somebody asked for.
type Run struct {
	Schedule string
	RowID    string
	DueAt    time.Time
	Kind     jobs.Kind
}

// scheduleTables are a driver's own.
type scheduleTables[Tx any] interface {
	ScheduleReader
	AddSchedule(ctx context.Context, tx Tx, p jobs.SchedulePlan, replace bool) (replaced bool, err error)
	PauseSchedule(ctx context.Context, tx Tx, schedule string, paused bool) (changed bool, err error)
	RemoveSchedule(ctx context.Context, tx Tx, schedule string) error
	RunSchedule(ctx context.Context, tx Tx, t jobs.Tick) (rowID string, err error)
}

func scheduleEntry(actor string, action jobs.ScheduleAction, schedule string, detail map[string]string) audit.Entry {
	return audit.Entry{Actor: actor, Action: string(action), Subject: "schedule/" + schedule, Detail: detail}
}

func (d database[Tx]) DefineSchedule(ctx context.Context, actor string, p jobs.SchedulePlan, replace bool) (replaced bool, err error) {
	kinds, err := Kinds()
	if err != nil {
		return false, err
	}
	p.Source = jobs.FromRuntime
	if err := scheduler.Check(p, kinds, 0); err != nil {
		return false, err
	}
	if p.Kind == "" || p.Args == "" {
		return false, fmt.Errorf("%w: it needs a kind and arguments", scheduler.ErrInvalidPlan)
	}
	before, _, err := d.scheduleOf(ctx, p.Name)
	if err != nil && !errors.Is(err, jobs.ErrNoSuchSchedule) {
		return false, err
	}
	err = d.InTx(ctx, func(tx Tx) error {
		if replaced, err = d.AddSchedule(ctx, tx, p, replace); err != nil {
			return err
		}
		action, entered := jobs.ScheduleAdded, p
		if replaced {
			action = jobs.ScheduleChanged
			entered.Source = cmp.Or(before.Source, p.Source) // it keeps where it came from
		}
		return d.AppendAudit(ctx, tx, scheduleEntry(actor, action, p.Name, entered.Facts()))
	})
	return replaced, err
}

func (d database[Tx]) SetPaused(ctx context.Context, actor, schedule string, paused bool) (changed bool, err error) {
	action := jobs.ScheduleResumed
	if paused {
		action = jobs.SchedulePaused
	}
	err = d.InTx(ctx, func(tx Tx) error {
		if changed, err = d.PauseSchedule(ctx, tx, schedule, paused); err != nil || !changed {
			return err
		}
		return d.AppendAudit(ctx, tx, scheduleEntry(actor, action, schedule, nil))
	})
	return changed, err
}

func (d database[Tx]) DropSchedule(ctx context.Context, actor, schedule string) (jobs.SchedulePlan, error) {
	state, _, err := d.scheduleOf(ctx, schedule)
	if err != nil {
		return jobs.SchedulePlan{}, err
	}
	return state.SchedulePlan, d.InTx(ctx, func(tx Tx) error {
		if err := d.RemoveSchedule(ctx, tx, schedule); err != nil {
			return err
		}
		return d.AppendAudit(ctx, tx, scheduleEntry(actor, jobs.ScheduleRemoved, schedule, state.Facts()))
	})
}

func (d database[Tx]) scheduleOf(ctx context.Context, schedule string) (jobs.ScheduleState, time.Time, error) {
	book, err := d.ScheduleBook(ctx, 0)
	if err != nil {
		return jobs.ScheduleState{}, time.Time{}, err
	}
	i := slices.IndexFunc(book.Schedules, func(s jobs.ScheduleState) bool { return s.Name == schedule })
	if i < 0 {
		return jobs.ScheduleState{}, time.Time{}, fmt.Errorf("schedule %q: %w", schedule, jobs.ErrNoSuchSchedule)
	}
	return book.Schedules[i], book.Now, nil
}

func (d database[Tx]) ScheduleKind(ctx context.Context, schedule string) (jobs.Kind, error) {
	state, _, err := d.scheduleOf(ctx, schedule)
	return state.Kind, err
}

// runTries is how often a run is tried whose schedule, or whose millisecond, somebody else had.
const runTries = 5

func (d database[Tx]) RunNow(ctx context.Context, actor, schedule string) (run Run, err error) {
	kinds, err := Kinds()
	if err != nil {
		return Run{}, err
	}
	for range runTries {
		if run, err = d.runOnce(ctx, actor, schedule, kinds); !errors.Is(err, jobs.ErrScheduleMoved) {
			break
		}
	}
	return run, err
}

func (d database[Tx]) runOnce(ctx context.Context, actor, schedule string, kinds *jobs.Catalog) (run Run, err error) {
	state, now, err := d.scheduleOf(ctx, schedule)
	if err != nil {
		return Run{}, err
	}
	tick, err := scheduler.OnDemand(state, kinds, now)
	if err != nil {
		return Run{}, err
	}
	run = Run{Schedule: schedule, DueAt: tick.At, Kind: state.Kind}
	err = d.InTx(ctx, func(tx Tx) error {
		if run.RowID, err = d.RunSchedule(ctx, tx, tick); err != nil {
			return err
		}
		detail := map[string]string{"row": run.RowID}
		maps.Copy(detail, map[string]string{"kind": string(state.Kind)})
		return d.AppendAudit(ctx, tx, scheduleEntry(actor, jobs.ScheduleRun, schedule, detail))
	})
	return run, err
}
