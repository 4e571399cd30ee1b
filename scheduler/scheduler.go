package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sealq/sealq/jobs"
)

// Schedule says what is due when.
type Schedule struct {
	// Name is the schedule's identity in the database.
	Name string
	// Cron is five fields in UTC, a descriptor such as @daily, or "@every 5m" counted from a stored anchor.
	Cron string
	// Job makes the job of one due time. tick names the due time, as "name@2026-01-02T15:04:05Z".
	Job func(tick string) jobs.Job
}

// Config of a Scheduler.
type Config struct {
	// Schedules are placed in the database when Run starts.
	Schedules []Schedule
	// Poll bounds how long a change in the database goes unseen. Zero: 1 s.
	Poll time.Duration
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

// Scheduler makes ticks. After downtime it makes the latest one missed, not all of them.
type Scheduler struct {
	ticks     Ticks
	schedules map[string]planned
	cfg       Config
}

type planned struct {
	Schedule
	spec spec
}

// ErrDuplicateSchedule means that two schedules have one name.
var ErrDuplicateSchedule = errors.New("schedule named twice")

// New refuses a schedule without name or job, one name twice, and a cron expression that does not parse.
func New(t Ticks, c Config) (*Scheduler, error) {
	if t == nil {
		return nil, errors.New("new scheduler: it needs ticks")
	}
	if c.Poll <= 0 {
		c.Poll = time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Scheduler{ticks: t, schedules: make(map[string]planned, len(c.Schedules)), cfg: c}
	for i, sch := range c.Schedules {
		if sch.Name == "" || sch.Job == nil {
			return nil, fmt.Errorf("schedule %d: it needs a name and a job", i+1)
		}
		if _, twice := s.schedules[sch.Name]; twice {
			return nil, fmt.Errorf("%w: %s", ErrDuplicateSchedule, sch.Name)
		}
		parsed, err := parseSpec(sch.Cron)
		if err != nil {
			return nil, fmt.Errorf("schedule %s: %w", sch.Name, err)
		}
		if err := sch.Job(tickName(sch.Name, time.Unix(0, 0))).Err(); err != nil {
			return nil, fmt.Errorf("schedule %s: %w", sch.Name, err)
		}
		s.schedules[sch.Name] = planned{Schedule: sch, spec: parsed}
	}
	return s, nil
}

const longestOutage = 5 * time.Second

// Run makes ticks until ctx ends, then returns nil. Trouble with the database is logged and tried again.
func (s *Scheduler) Run(ctx context.Context) error {
	placed, outages := false, 0
	for ctx.Err() == nil {
		var pause time.Duration
		var err error
		if !placed {
			err = s.place(ctx)
			placed = err == nil
		}
		if err == nil {
			pause, err = s.round(ctx)
		}
		switch {
		case ctx.Err() != nil: // what went wrong is that we were stopped
		case err != nil:
			outages++
			pause = jobs.WithJitter(min(100*time.Millisecond<<min(outages-1, 6), longestOutage))
			s.cfg.Logger.ErrorContext(ctx, "scheduler stopped by an outage, trying again", slog.Any("error", err), slog.Int("tries", outages))
		default:
			outages = 0
		}
		wait(ctx, pause)
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (s *Scheduler) place(ctx context.Context) error {
	for _, sch := range s.cfg.Schedules {
		if err := s.ticks.PlaceSchedule(ctx, sch.Name, sch.Cron); err != nil {
			return fmt.Errorf("place schedule %s: %w", sch.Name, err)
		}
	}
	return nil
}

// round makes every tick that is due and returns the pause to the next one, at most Poll.
func (s *Scheduler) round(ctx context.Context) (time.Duration, error) {
	states, now, err := s.ticks.ScheduleStates(ctx)
	if err != nil {
		return 0, fmt.Errorf("read schedules: %w", err)
	}
	pause := s.cfg.Poll
	var errs []error
	for _, state := range states {
		plan, ours := s.schedules[state.Name]
		if !ours || state.Paused || plan.Cron != state.Cron {
			continue // another process's, or changed by it: whoever knows it makes its ticks
		}
		if due, ok := plan.spec.latest(state.Anchor, state.LastDueAt, now); ok {
			errs = append(errs, s.tick(ctx, plan, state, due))
		}
		if next := plan.spec.next(state.Anchor, now); !next.IsZero() {
			pause = min(pause, next.Sub(now))
		}
	}
	return pause, errors.Join(errs...)
}

func (s *Scheduler) tick(ctx context.Context, plan planned, state jobs.ScheduleState, due time.Time) error {
	job := plan.Job(tickName(plan.Name, due))
	made, err := s.ticks.Tick(ctx, jobs.Due{Schedule: plan.Name, Revision: state.Revision, At: due}, job)
	if errors.Is(err, jobs.ErrDuplicate) {
		return nil // the tick before is not done yet: its job is unique, this one waits for it
	}
	if err != nil {
		return fmt.Errorf("tick %s: %w", tickName(plan.Name, due), err)
	}
	if made {
		s.cfg.Logger.InfoContext(ctx, "tick made", slog.String("schedule", plan.Name), slog.Time("due", due))
	}
	return nil
}

func tickName(schedule string, due time.Time) string {
	return schedule + "@" + due.UTC().Format(time.RFC3339)
}
