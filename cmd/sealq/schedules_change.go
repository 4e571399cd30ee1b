package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
)

func (p *program) schedulesPause() *cobra.Command {
	return p.pausing("pause NAME", "Make no ticks of a schedule until it is resumed", "paused",
		"Make no ticks of a schedule from now on, on any scheduler and also after a restart. What it would have done meanwhile is not made\n"+
			"up for. It is audited.", true)
}

func (p *program) schedulesResume() *cobra.Command {
	return p.pausing("resume NAME", "Let a paused schedule go on", "resumed",
		"Let a paused schedule go on with its next due time. It is audited.", false)
}

func (p *program) pausing(use, short, done, long string, paused bool) *cobra.Command {
	return uses(&cobra.Command{
		Use: use, Short: short, Long: long, Args: exactly("NAME"),
		Example: "  sealq schedules " + use[:len(use)-len("NAME")] + "users:expire_pending",
		RunE: p.onSchedules(func(ctx context.Context, s *session, db app.Database, args []string) error {
			changed, err := db.SetPaused(ctx, actor(), args[0], paused)
			if err != nil {
				return err
			}
			s.linkAudit(ctx, db)
			text := "schedule %s is " + done
			if !changed {
				text = "schedule %s was " + done + " already"
			}
			return s.answer(map[string]any{"name": args[0], "paused": paused, "changed": changed}, text, args[0])
		}),
	}, "database-url")
}

func (p *program) schedulesRemove() *cobra.Command {
	return uses(&cobra.Command{
		Use: "remove NAME", Short: "Remove a schedule with its history", Args: exactly("NAME"),
		Long: "Remove a schedule and the record of its ticks; jobs that are recorded already are done. One that a program or a --config file\n" +
			"has comes back when that starts: pause it instead. It is audited.",
		Example: "  sealq schedules remove night",
		RunE: p.onSchedules(func(ctx context.Context, s *session, db app.Database, args []string) error {
			plan, err := db.DropSchedule(ctx, actor(), args[0])
			if err != nil {
				return err
			}
			s.linkAudit(ctx, db)
			if plan.Source != jobs.FromRuntime {
				fmt.Fprintf(s.stderr, "sealq: warning: %s comes from %s, which places it again at its next start: to keep it from running, pause it\n", shownText(args[0]), plan.Source)
			}
			return s.answer(map[string]any{"removed": args[0], "source": plan.Source}, "schedule %s is removed", args[0])
		}),
	}, "database-url")
}

// addFlags are what `sealq schedules add` takes beside its options.
type addFlags struct {
	cron, zone, kind, args, catchUp string
	jitter                          time.Duration
	paused, replace                 bool
}

func (p *program) schedulesAdd() *cobra.Command {
	var f addFlags
	c := uses(&cobra.Command{
		Use: "add NAME", Short: "Add a schedule, or change one", Args: exactly("NAME"),
		Long: "Add a schedule to the database, or with --replace change one that is there, wherever it comes from: what is not given stays as it\n" +
			"is. Every scheduler that knows the kind makes its ticks, within a second. The argument \"tick\" is filled in. It is audited.\n\n" +
			"--cron takes five fields (minute, hour, day of month, month, day of week), six with seconds in front, @hourly and the like,\n" +
			"or \"@every 5m\". docs/schedules.md says what happens when clocks change, and after downtime.",
		Example: "  sealq schedules add night --cron '0 3 * * *' --zone Europe/Berlin --kind users:expire_pending\n" +
			"  sealq schedules add lockouts:reset --replace --cron '*/30 * * * * *' --jitter 5s",
	}, "database-url")
	flags := c.Flags()
	flags.StringVar(&f.cron, "cron", "", "when it is due, such as '0 3 * * *'")
	flags.StringVar(&f.zone, "zone", "", "its time zone, such as Europe/Berlin (default UTC)")
	flags.StringVar(&f.kind, "kind", "", "the kind of its jobs, such as users:expire_pending")
	flags.StringVar(&f.args, "args", "", "their arguments in JSON (default {})")
	flags.StringVar(&f.catchUp, "catch-up", "", "what becomes of missed due times: latest, all or skip (default latest)")
	flags.DurationVar(&f.jitter, "jitter", 0, "make ticks later than they are due, by up to that")
	flags.BoolVar(&f.paused, "paused", false, "add it paused")
	flags.BoolVar(&f.replace, "replace", false, "change the schedule of that name")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return p.onSchedules(func(ctx context.Context, s *session, db app.Database, args []string) error {
			plan, err := f.plan(ctx, db, args[0], cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return s.addSchedule(ctx, db, plan, f.replace)
		})(cmd, args)
	}
	return c
}

// plan is what is given, over the schedule that is there where it is to be changed.
func (f addFlags) plan(ctx context.Context, db app.Database, name string, given func(flag string) bool) (jobs.SchedulePlan, error) {
	plan := scheduler.Schedule{Name: name}.Plan()
	if f.replace {
		book, err := db.ScheduleBook(ctx, 0)
		if err != nil {
			return plan, err
		}
		if i := slices.IndexFunc(book.Schedules, func(s jobs.ScheduleState) bool { return s.Name == name }); i >= 0 {
			plan = book.Schedules[i].SchedulePlan
			if given("paused") {
				return plan, wrongly("--paused is for a schedule that is added: say `sealq schedules pause %s`, or resume", shownText(name))
			}
		}
	}
	for flag, set := range map[string]func(){
		"cron": func() { plan.Cron = f.cron }, "zone": func() { plan.Zone = f.zone }, "kind": func() { plan.Kind = jobs.Kind(f.kind) },
		"args": func() { plan.Args = f.args }, "catch-up": func() { plan.CatchUp = jobs.CatchUp(f.catchUp) }, "jitter": func() { plan.Jitter = f.jitter },
		"paused": func() { plan.Paused = f.paused },
	} {
		if given(flag) {
			set()
		}
	}
	switch {
	case plan.Cron == "":
		return plan, wrongly("--cron is required: say when it is due, such as --cron '0 3 * * *'")
	case plan.Kind == "":
		return plan, wrongly("--kind is required: see `sealq enqueue --help`")
	case plan.Args == "":
		return plan, wrongly("schedule %s is made by a function of the program that placed it: it cannot be changed here, only paused", shownText(name))
	}
	return plan, nil
}

func (s *session) addSchedule(ctx context.Context, db app.Database, plan jobs.SchedulePlan, replace bool) error {
	kinds, err := app.Kinds()
	if err != nil {
		return err
	}
	if err := scheduler.Check(plan, kinds, 0); err != nil {
		return wrongly("schedule %s: %w", shownText(plan.Name), err)
	}
	replaced, err := db.DefineSchedule(ctx, actor(), plan, replace)
	if errors.Is(err, jobs.ErrScheduleExists) {
		return fmt.Errorf("%w: change it with --replace, or take another name", err)
	}
	if err != nil {
		return err
	}
	s.linkAudit(ctx, db)
	standings, err := s.standings(ctx, db)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(standings, func(st scheduler.Standing) bool { return st.Name == plan.Name })
	if i < 0 {
		return fmt.Errorf("schedule %q: %w", plan.Name, jobs.ErrNoSuchSchedule) // removed since
	}
	done := "added"
	if replaced {
		done = "changed"
	}
	l := listed(standings[i])
	next := "it is paused"
	if l.NextAt != nil {
		next = "it is due next at " + moment(l.NextAt)
	}
	return s.answer(l, "schedule %s is %s: %s", shownText(plan.Name), done, next)
}
