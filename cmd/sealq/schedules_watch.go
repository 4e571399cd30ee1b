package main

import (
	"context"
	"log/slog"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/config"
	"github.com/sealq/sealq/cmd/sealq/internal/health"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/metrics"
	"github.com/sealq/sealq/scheduler"
)

// openScheduler makes ticks, and watches what comes of them.
func (s *session) openScheduler(ctx context.Context, crons app.Crons, db app.Database, sv *service) error {
	sv.ticks = metrics.NewTicks()
	made := func(m scheduler.Made) { sv.ticks.Made(m.Delay) }
	ticks, refused, err := app.NewScheduler(db, app.SchedulerConfig{Crons: crons, Configured: configured(s.Schedules()), OnTick: made, Logger: s.logger})
	if err != nil {
		return err
	}
	kinds, err := app.Kinds()
	if err != nil {
		return err
	}
	watched := scheduler.WatchConfig{Kinds: kinds, Logger: s.logger}
	for _, err := range refused {
		s.logger.ErrorContext(ctx, "schedule refused, the others run", slog.Any("error", err))
		watched.Refused = append(watched.Refused, err.Error())
	}
	watch, err := scheduler.NewWatch(db, watched)
	if err != nil {
		return err
	}
	sv.sources.Schedules = func() []metrics.Schedule { return shownSchedules(watch) }
	sv.checks = append(sv.checks, health.Check{Name: "schedules", Probe: func(context.Context) error { return watch.Ready() }, Detail: watch.Detail})
	sv.parts = append(sv.parts, part{"scheduler", ticks.Run}, part{"watch over schedules", watch.Run})
	return nil
}

// configured are the schedules of the file.
func configured(all []config.Schedule) []app.ConfiguredSchedule {
	var list []app.ConfiguredSchedule
	for _, c := range all {
		list = append(list, app.ConfiguredSchedule{
			Where: c.Where, Err: c.Err,
			Schedule: scheduler.Schedule{
				Name: c.Name, Cron: c.Cron, Zone: c.Zone, Kind: jobs.Kind(c.Kind), Args: c.Args, CatchUp: jobs.CatchUp(c.CatchUp), Jitter: c.Jitter, Paused: c.Paused,
			},
		})
	}
	return list
}

func shownSchedules(w *scheduler.Watch) []metrics.Schedule {
	standings, ok := w.Standings()
	if !ok {
		return nil
	}
	var all []metrics.Schedule
	for _, s := range standings {
		all = append(all, metrics.Schedule{
			Name: s.Name, Trouble: string(s.Trouble), Missed: s.Missed,
			LastDue: s.LastTickAt, LastStarted: s.LastStartedAt, LastSuccess: s.LastSuccessAt, Unfinished: s.Unfinished,
		})
	}
	return all
}
