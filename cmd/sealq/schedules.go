package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
)

func (p *program) schedules() *cobra.Command {
	return group(&cobra.Command{
		Use: "schedules", Short: "Look at the schedules, run one now, and change them",
		Example: "  sealq schedules list\n  sealq schedules run users:expire_pending --wait\n" +
			"  sealq schedules add night --cron '0 3 * * *' --zone Europe/Berlin --kind users:expire_pending",
	}, p.schedulesList(), p.schedulesRun(), p.schedulesPause(), p.schedulesResume(), p.schedulesAdd(), p.schedulesRemove(), p.schedulesHistory())
}

// onSchedules opens the database.
func (p *program) onSchedules(do func(ctx context.Context, s *session, db app.Database, args []string) error) func(*cobra.Command, []string) error {
	return p.action(func(ctx context.Context, s *session, args []string) (err error) {
		named, err := s.database()
		if err != nil {
			return err
		}
		db, err := named.openMigrated(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		err = do(ctx, s, db, args)
		if errors.Is(err, jobs.ErrNoSuchSchedule) {
			return fmt.Errorf("%w: see `sealq schedules list`", err)
		}
		return err
	})
}

// listedSchedule is one as it is listed.
type listedSchedule struct {
	Name          string     `json:"name"`
	Cron          string     `json:"cron"`
	NextAt        *time.Time `json:"next_at"` // null: never, or it is paused
	LastDueAt     *time.Time `json:"last_due_at"`
	LastSuccessAt *time.Time `json:"last_success_at"`
	Missed        int64      `json:"missed"`
	Paused        bool       `json:"paused"`

	Zone            string            `json:"zone"`
	Kind            jobs.Kind         `json:"kind"`
	Args            string            `json:"args"` // in JSON; "": a program's function makes the jobs
	CatchUp         jobs.CatchUp      `json:"catch_up"`
	JitterSeconds   float64           `json:"jitter_seconds"`
	Source          string            `json:"source"`
	Changed         bool              `json:"changed"`
	LastStartedAt   *time.Time        `json:"last_started_at"`
	UnfinishedSince *time.Time        `json:"unfinished_since"`
	LastOutcome     jobs.RowState     `json:"last_outcome"`
	Trouble         scheduler.Trouble `json:"trouble"`
	Detail          string            `json:"detail"`
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func listed(s scheduler.Standing) listedSchedule {
	zone := s.Zone
	if zone == "" {
		zone = "UTC"
	}
	return listedSchedule{
		Name: s.Name, Cron: s.Cron, NextAt: timeOrNull(s.NextAt), LastDueAt: timeOrNull(s.LastTickAt), LastSuccessAt: timeOrNull(s.LastSuccessAt),
		Missed: s.Missed, Paused: s.Paused, Zone: zone, Kind: s.Kind, Args: s.Args, CatchUp: s.CatchUp, JitterSeconds: s.Jitter.Seconds(),
		Source: string(s.Source), Changed: s.Changed, LastStartedAt: timeOrNull(s.LastStartedAt), UnfinishedSince: timeOrNull(s.Unfinished),
		LastOutcome: s.LastOutcome, Trouble: s.Trouble, Detail: s.Detail,
	}
}

func (p *program) schedulesList() *cobra.Command {
	return uses(&cobra.Command{
		Use: "list", Short: "List the schedules, and what is wrong with them", Args: exactly(),
		Long: "List the schedules in the database, wherever they come from: when each is due next and was last, when a job of it last\n" +
			"succeeded, how many due times came to nothing, and what is wrong. Times are UTC.",
		Example: "  sealq schedules list\n  sealq schedules list --json",
		RunE: p.onSchedules(func(ctx context.Context, s *session, db app.Database, _ []string) error {
			standings, err := s.standings(ctx, db)
			if err != nil {
				return err
			}
			list := make([]listedSchedule, len(standings))
			for i, standing := range standings {
				list[i] = listed(standing)
			}
			if s.json {
				return s.printJSON(list)
			}
			w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tCRON\tZONE\tNEXT\tLAST DUE\tLAST SUCCESS\tMISSED\tSOURCE\tSTATE")
			for _, l := range list {
				source := l.Source
				if l.Changed {
					source += ", changed"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", shownText(l.Name), shownText(l.Cron), shownText(l.Zone), moment(l.NextAt), moment(l.LastDueAt),
					moment(l.LastSuccessAt), l.Missed, source, scheduleState(l))
			}
			return flush(w)
		}),
	}, "database-url")
}

func scheduleState(l listedSchedule) string {
	switch {
	case l.Trouble != "":
		return fmt.Sprintf("%s: %s", l.Trouble, shownText(l.Detail))
	case l.Paused:
		return "paused"
	}
	return "ok"
}

// standings judges all schedules by the kinds of this program.
func (s *session) standings(ctx context.Context, db app.Database) ([]scheduler.Standing, error) {
	kinds, err := app.Kinds()
	if err != nil {
		return nil, err
	}
	reports, now, err := db.ScheduleReports(ctx)
	if err != nil {
		return nil, err
	}
	standings := make([]scheduler.Standing, len(reports))
	for i, r := range reports {
		standings[i] = scheduler.Judge(r, kinds, now)
	}
	return standings, nil
}

// listedTick is a tick as it is listed.
type listedTick struct {
	DueAt        time.Time     `json:"due_at"`
	Manual       bool          `json:"manual"`
	MadeAt       time.Time     `json:"made_at"`
	DelaySeconds float64       `json:"delay_seconds"`
	ID           string        `json:"id"` // of its outbox row
	StartedAt    *time.Time    `json:"started_at"`
	FinishedAt   *time.Time    `json:"finished_at"`
	Outcome      jobs.RowState `json:"outcome"` // "": unfinished
	Cause        string        `json:"cause"`
}

func (p *program) schedulesHistory() *cobra.Command {
	var limit int
	c := uses(&cobra.Command{
		Use: "history NAME", Short: "List a schedule's ticks, the newest first, and what came of them", Args: exactly("NAME"),
		Long: "List the ticks of a schedule: when each was due and made, when its task was last signed for the queue, and how its job ended.\n" +
			"It is kept when the job's row in the outbox is gone.",
		Example: "  sealq schedules history lockouts:reset --limit 20",
		RunE: p.onSchedules(func(ctx context.Context, s *session, db app.Database, args []string) error {
			if limit < 1 {
				return wrongly("--limit must be 1 or more")
			}
			ticks, err := db.TickHistory(ctx, args[0], limit)
			if err != nil {
				return err
			}
			list := make([]listedTick, len(ticks))
			for i, t := range ticks {
				list[i] = listedTick{
					DueAt: t.DueAt, Manual: t.Manual, MadeAt: t.MadeAt, DelaySeconds: max(0, t.MadeAt.Sub(t.DueAt)).Seconds(), ID: t.RowID,
					StartedAt: timeOrNull(t.StartedAt), FinishedAt: timeOrNull(t.FinishedAt), Outcome: t.Outcome, Cause: shownText(t.Cause),
				}
			}
			if s.json {
				return s.printJSON(list)
			}
			w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "DUE\tDELAY\tSTARTED\tFINISHED\tOUTCOME\tID\tCAUSE")
			for _, t := range list {
				due := moment(&t.DueAt)
				if t.Manual {
					due += " (asked for)"
				}
				delay := time.Duration(t.DelaySeconds * float64(time.Second)).Round(time.Millisecond)
				fmt.Fprintf(w, "%s\t%v\t%s\t%s\t%s\t%s\t%s\n", due, delay, moment(t.StartedAt), moment(t.FinishedAt), orDash(string(t.Outcome)), t.ID, orDash(t.Cause))
			}
			return flush(w)
		}),
	}, "database-url")
	c.Flags().IntVar(&limit, "limit", 50, "how many at most")
	return c
}
