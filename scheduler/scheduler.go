package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sealq/sealq/jobs"
)

// Schedule says what is due when. Either Job makes its jobs, or Kind and Args do; then any scheduler that knows the kind makes
// its ticks.
type Schedule struct {
	// Name is the schedule's identity in the database.
	Name string
	// Cron is an expression as Parse takes it.
	Cron string
	// Zone is the IANA name of the time zone of Cron. Zero: UTC.
	Zone string
	// Job makes the job of one due time. tick names the due time, as "name@2026-01-02T15:04:05Z". Only a process that has the
	// function makes the ticks. Zero: Kind and Args.
	Job func(tick string) jobs.Job
	// Kind of the jobs. Zero: that of Job's.
	Kind jobs.Kind
	// Args are the jobs' arguments in JSON. An argument "tick" that the kind has, and Args does not, is the tick's name. Zero,
	// without Job: {}.
	Args string
	// CatchUp says what becomes of due times that were missed. Zero: jobs.CatchUpLatest.
	CatchUp jobs.CatchUp
	// Jitter is by how much at most ticks are made later than they are due, by a time that name and due time alone decide. It
	// is less than the time between two due times. Zero: none.
	Jitter time.Duration
	// Paused places the schedule paused. Zero: it is not.
	Paused bool
	// Source is where it was defined. Zero: jobs.FromCode.
	Source jobs.ScheduleSource
}

// Plan is the schedule as it stands in the book.
func (s Schedule) Plan() jobs.SchedulePlan {
	p := jobs.SchedulePlan{
		Name: s.Name, Cron: s.Cron, Zone: s.Zone, Kind: s.Kind, Args: s.Args, CatchUp: s.CatchUp, Jitter: s.Jitter, Paused: s.Paused, Source: s.Source,
	}
	if p.Source == "" {
		p.Source = jobs.FromCode
	}
	if p.CatchUp == "" {
		p.CatchUp = jobs.CatchUpLatest
	}
	switch {
	case s.Job != nil:
		p.Args = ""
		if p.Kind == "" {
			p.Kind = s.Job(tickName(s.Name, time.Unix(0, 0))).Kind()
		}
	case p.Args == "":
		p.Args = "{}"
	}
	return p
}

// Config of a Scheduler.
type Config struct {
	// Schedules are placed in the database when Run starts.
	Schedules []Schedule
	// Kinds are those whose schedules in the database this scheduler makes ticks of. Zero: it makes those alone that it has a
	// function for.
	Kinds *jobs.Catalog
	// Whole is a source of which Schedules hold all there is: schedules that the database has from there, and that are neither
	// among them nor in Keep, are removed. Zero: none is.
	Whole jobs.ScheduleSource
	// Keep are names of Whole's that are left as they are.
	Keep []string
	// Actor is in whose name what Run places is audited. Zero: "scheduler".
	Actor string
	// MinInterval is the shortest time between the due times of a schedule. Zero: the constant of that name.
	MinInterval time.Duration
	// Poll bounds how long a change in the database goes unseen. Zero: 500 ms.
	Poll time.Duration
	// OnTick is told of every tick that this scheduler made. It returns at once. Zero: nobody is.
	OnTick func(Made)
	// Now is the clock by which the time since the database last told its own is measured. Zero: time.Now.
	Now func() time.Time
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

// Made is a tick that a scheduler made.
type Made struct {
	Schedule string
	Due      time.Time
	Delay    time.Duration // after it was to be made, which is when it was due, and its jitter
	Missed   int64         // due times before it that came to nothing
}

// Scheduler makes ticks.
type Scheduler struct {
	ticks Ticks
	cfg   Config
	plans []jobs.SchedulePlan
	jobs  map[string]func(tick string) jobs.Job // of schedules that have a function
	desk  desk
}

// ErrDuplicateSchedule means that two schedules have one name.
var ErrDuplicateSchedule = errors.New("schedule named twice")

// New refuses schedules that are not sound, all at once, and two of one name.
func New(t Ticks, c Config) (*Scheduler, error) {
	if t == nil {
		return nil, errors.New("new scheduler: it needs ticks")
	}
	if c.Poll <= 0 {
		c.Poll = 500 * time.Millisecond
	}
	if c.Actor == "" {
		c.Actor = "scheduler"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnTick == nil {
		c.OnTick = func(Made) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Scheduler{ticks: t, cfg: c, jobs: make(map[string]func(string) jobs.Job)}
	var errs []error
	names := make(map[string]bool)
	for i, sch := range c.Schedules {
		if names[sch.Name] {
			errs = append(errs, fmt.Errorf("schedule %d: %w: %s", i+1, ErrDuplicateSchedule, sch.Name))
			continue
		}
		names[sch.Name] = true
		if err := s.add(sch); err != nil {
			errs = append(errs, fmt.Errorf("schedule %d (%s): %w", i+1, cut(sch.Name), err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Scheduler) add(sch Schedule) error {
	if sch.Job == nil && sch.Kind == "" {
		return fmt.Errorf("%w: it needs a job, or a kind", ErrInvalidPlan)
	}
	if sch.Job != nil {
		if sch.Args != "" {
			return fmt.Errorf("%w: it has both a function and arguments", ErrInvalidPlan)
		}
		if err := sch.Job(tickName(sch.Name, time.Unix(0, 0))).Err(); err != nil {
			return err
		}
		s.jobs[sch.Name] = sch.Job
	}
	plan := sch.Plan()
	if err := Check(plan, s.cfg.Kinds, s.cfg.MinInterval); err != nil {
		return err
	}
	s.plans = append(s.plans, plan)
	return nil
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
		if pause > 0 {
			wait(ctx, pause)
		}
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
	p := jobs.Placement{Plans: s.plans, Whole: s.cfg.Whole, Keep: s.cfg.Keep, Actor: s.cfg.Actor}
	if err := s.ticks.PlaceSchedules(ctx, p); err != nil {
		return fmt.Errorf("place schedules: %w", err)
	}
	return nil
}
