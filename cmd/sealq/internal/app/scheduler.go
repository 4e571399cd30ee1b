package app

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/scheduler"
)

// Crons are the cron expressions of the auth jobs' schedules.
type Crons struct {
	ExpirePending string // zero: every 5 minutes
	ResetLockouts string // zero: every minute
	Purge         string // zero: daily, at 03:17 UTC
}

// SchedulerConfig of NewScheduler.
type SchedulerConfig struct {
	Crons Crons
	// Configured are the schedules of a configuration. One that is named as one of the auth jobs' takes its place, with that
	// one's kind and times where it has none of its own. Zero: there are none.
	Configured []ConfiguredSchedule
	// OnTick is told of every tick. Zero: nobody is.
	OnTick func(scheduler.Made)
	// Poll and Now are those of scheduler.Config. Zero: likewise.
	Poll time.Duration
	Now  func() time.Time
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

// ConfiguredSchedule is one of a configuration, and where it stands there.
type ConfiguredSchedule struct {
	scheduler.Schedule
	Where string
	// Err is what is wrong with it already; zero: nothing is.
	Err error
}

// Kinds are those whose jobs sealq runs.
func Kinds() (*jobs.Catalog, error) { return jobs.NewCatalog(authjobs.Definitions()...) }

// DefaultSchedules are those of the auth jobs.
func DefaultSchedules(c Crons) []scheduler.Schedule {
	return []scheduler.Schedule{
		{Name: string(authjobs.KindExpirePending), Kind: authjobs.KindExpirePending, Cron: cmp.Or(c.ExpirePending, "*/5 * * * *")},
		{Name: string(authjobs.KindResetLockouts), Kind: authjobs.KindResetLockouts, Cron: cmp.Or(c.ResetLockouts, "* * * * *")},
		{Name: string(authjobs.KindPurge), Kind: authjobs.KindPurge, Cron: cmp.Or(c.Purge, "17 3 * * *")},
	}
}

// NewScheduler schedules the auth jobs, and what a configuration has. It needs no key: the relay signs. A schedule of the
// configuration that is not sound is refused, and stands in the database as it did; the others run on.
func NewScheduler(ticks scheduler.Ticks, c SchedulerConfig) (s *scheduler.Scheduler, refused []error, err error) {
	kinds, err := Kinds()
	if err != nil {
		return nil, nil, err
	}
	cfg := scheduler.Config{Kinds: kinds, Whole: jobs.FromConfig, OnTick: c.OnTick, Poll: c.Poll, Now: c.Now, Logger: c.Logger, Actor: "scheduler"}
	places := make(map[string]int)
	for i, sch := range DefaultSchedules(c.Crons) {
		cfg.Schedules = append(cfg.Schedules, sch)
		places[sch.Name] = i
	}
	configured := make(map[string]string)
	for _, conf := range c.Configured {
		sch := conf.Schedule
		i, isDefault := places[sch.Name]
		if isDefault {
			sch = over(cfg.Schedules[i], sch)
		}
		sch.Source = jobs.FromConfig
		first, twice := configured[sch.Name]
		if !twice && sch.Name != "" {
			configured[sch.Name] = conf.Where // also where it is refused: which of the two was meant, nobody knows
		}
		err := conf.Err
		switch {
		case err != nil:
		case twice:
			err = fmt.Errorf("%w: %s stands at %s already", scheduler.ErrDuplicateSchedule, sch.Name, first)
		case sch.Kind == "":
			err = fmt.Errorf("%w: it has no kind", scheduler.ErrInvalidPlan)
		default:
			err = scheduler.Check(sch.Plan(), kinds, 0)
		}
		if err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", conf.Where, err))
			if !twice {
				cfg.Keep = append(cfg.Keep, sch.Name)
			}
			continue
		}
		if isDefault {
			cfg.Schedules[i] = sch
		} else {
			cfg.Schedules = append(cfg.Schedules, sch)
		}
	}
	cfg.Schedules = slices.DeleteFunc(cfg.Schedules, func(sch scheduler.Schedule) bool { return slices.Contains(cfg.Keep, sch.Name) })
	s, err = scheduler.New(ticks, cfg)
	return s, refused, err
}

// over is a schedule with what a configuration says of it.
func over(base, by scheduler.Schedule) scheduler.Schedule {
	by.Cron, by.Kind = cmp.Or(by.Cron, base.Cron), cmp.Or(by.Kind, base.Kind)
	if by.Kind == base.Kind {
		by.Args = cmp.Or(by.Args, base.Args)
	}
	return by
}
