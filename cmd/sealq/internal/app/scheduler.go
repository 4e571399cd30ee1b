package app

import (
	"log/slog"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/scheduler"
)

// Crons are the cron expressions of the auth jobs' schedules.
type Crons struct {
	ExpirePending string // zero: every 5 minutes
	ResetLockouts string // zero: every minute
}

// NewScheduler schedules the auth jobs. It needs no key: the relay signs.
func NewScheduler(ticks scheduler.Ticks, crons Crons, logger *slog.Logger) (*scheduler.Scheduler, error) {
	if crons.ExpirePending == "" {
		crons.ExpirePending = "*/5 * * * *"
	}
	if crons.ResetLockouts == "" {
		crons.ResetLockouts = "* * * * *"
	}
	expire, reset := authjobs.ExpirePending(), authjobs.ResetLockouts()
	return scheduler.New(ticks, scheduler.Config{Logger: logger, Schedules: []scheduler.Schedule{
		{Name: string(expire.Kind()), Cron: crons.ExpirePending, Job: func(tick string) jobs.Job { return expire.With(authjobs.Sweep{Tick: tick}) }},
		{Name: string(reset.Kind()), Cron: crons.ResetLockouts, Job: func(tick string) jobs.Job { return reset.With(authjobs.Sweep{Tick: tick}) }},
	}})
}
