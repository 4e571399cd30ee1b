package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/sweeps"
	"github.com/sealq/sealq/jobs"
)

// lookEvery is the pause between two looks at a row that is waited for.
const lookEvery = 100 * time.Millisecond

// ranSchedule is what a run answers.
type ranSchedule struct {
	Schedule string        `json:"schedule"`
	ID       string        `json:"id"` // of the outbox row
	Kind     jobs.Kind     `json:"kind"`
	DueAt    time.Time     `json:"due_at"`
	State    jobs.RowState `json:"state"`
	Cause    string        `json:"cause"`
	GoesOn   bool          `json:"goes_on"` // the job is done, and another goes on with its sweep
}

func (p *program) schedulesRun() *cobra.Command {
	var await, dry bool
	var patience time.Duration
	c := uses(&cobra.Command{
		Use: "run NAME", Short: "Run a schedule's job now", Args: exactly("NAME"),
		Long: "Record a tick of the schedule that is due now, also where it is paused, beside those that it is due for. A worker does it.\n" +
			"With --wait wait until it has ended, though a sweep may go on in another job; exit 1 where it did not end well, or not in\n" +
			"time. It is audited.\n" +
			"With --dry-run say what a sweep would delete now, by the same --retain options as the worker's, and record nothing.",
		Example: "  sealq schedules run users:expire_pending\n  sealq schedules run lockouts:reset --wait --timeout 5m\n  sealq schedules run retention:purge --dry-run",
		RunE: p.onSchedules(func(ctx context.Context, s *session, db app.Database, args []string) error {
			if patience < 0 {
				return wrongly("--timeout must not be negative")
			}
			if dry && await {
				return wrongly("--dry-run and --wait exclude each other")
			}
			if dry {
				return s.previewSweep(ctx, db, args[0])
			}
			run, err := db.RunNow(ctx, actor(), args[0])
			if errors.Is(err, jobs.ErrDuplicate) {
				return fmt.Errorf("a job of schedule %s is unfinished, and there is to be one at a time: see `sealq schedules history %s`", shownText(args[0]), shownText(args[0]))
			}
			if err != nil {
				return err
			}
			s.linkAudit(ctx, db)
			ran := ranSchedule{Schedule: run.Schedule, ID: run.RowID, Kind: run.Kind, DueAt: run.DueAt, State: jobs.RowQueued}
			if !await {
				return s.answer(ran, "%s: %s, due now", run.RowID, run.Kind)
			}
			if patience > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, patience)
				defer cancel()
			}
			return s.ended(ctx, db, ran)
		}),
	}, "database-url", "retain-done", "retain-quarantine", "retain-audit")
	c.Flags().BoolVar(&dry, "dry-run", false, "say what a sweep would delete, and delete nothing")
	c.Flags().BoolVar(&await, "wait", false, "wait until the job has ended")
	c.Flags().DurationVar(&patience, "timeout", 0, "how long --wait waits at most (default: until it has ended)")
	return c
}

// previewSweep says what the schedule's sweep would delete.
func (s *session) previewSweep(ctx context.Context, db app.Database, schedule string) error {
	keep, err := s.retention()
	if err != nil {
		return err
	}
	kind, err := db.ScheduleKind(ctx, schedule)
	if err != nil {
		return err
	}
	due, err := sweeps.Preview(ctx, db, kind, keep)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(due)
	}
	return sweeps.Print(s.stdout, due)
}

// drawSweep draws how far the run's sweep is, where there is a terminal and the job is one. erase takes the line away.
func (s *session) drawSweep(ctx context.Context, db app.SweepReader, ran ranSchedule) (draw func(jobs.RowInfo), erase func()) {
	f, width, ok := s.terminal()
	if !ok {
		return func(jobs.RowInfo) {}, func() {}
	}
	drawn := false
	draw = func(jobs.RowInfo) {
		// What cannot be read is not drawn: the row tells how it ends.
		if p, err := db.SweepProgress(ctx, string(ran.Kind)); err == nil && p.ToldAt.After(ran.DueAt) {
			drawn = true
			sweeps.Draw(f, p, width())
		}
	}
	return draw, func() {
		if drawn {
			sweeps.Erase(f)
		}
	}
}

// ended waits for the row, and says how it ended.
func (s *session) ended(ctx context.Context, db app.Database, ran ranSchedule) error {
	draw, erase := s.drawSweep(ctx, db, ran)
	row, err := awaitRow(ctx, db, ran.ID, draw)
	erase()
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("the job %s has not ended in time; it is %s: see that a `sealq worker` runs, and `sealq schedules history %s`", ran.ID, row.State, shownText(ran.Schedule))
		}
		return err
	}
	ran.State, ran.Cause = row.State, shownText(row.Cause)
	if row.State == jobs.RowDone {
		text := "%s: %s, done in %v"
		// Its time was over, or another was at it: what cannot be read is not told.
		if p, err := db.SweepProgress(ctx, string(ran.Kind)); err == nil && p.ToldAt.After(ran.DueAt) && !p.Ended {
			ran.GoesOn, text = true, text+fmt.Sprintf("; the sweep goes on in another job: %d rows of about %d are gone", p.Done, max(p.Due, p.Done))
		}
		return s.answer(ran, text, ran.ID, ran.Kind, row.EndedAt.Sub(row.CreatedAt).Round(time.Millisecond))
	}
	if s.json {
		if err := s.printJSON(ran); err != nil {
			return err
		}
	}
	return fmt.Errorf("the job %s ended as %s: %s", ran.ID, row.State, orDash(ran.Cause))
}

// awaitRow looks at a row of the outbox until it has ended, and tells progress of every look.
func awaitRow(ctx context.Context, db app.Rows, id string, progress func(jobs.RowInfo)) (row jobs.RowInfo, err error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		seen, err := db.RowInfo(ctx, id)
		if err != nil {
			if ctx.Err() != nil {
				return row, fmt.Errorf("wait for %s: %w", id, ctx.Err())
			}
			return row, err
		}
		row = seen
		progress(row)
		if !row.EndedAt.IsZero() {
			return row, nil
		}
		select {
		case <-ctx.Done():
			return row, fmt.Errorf("wait for %s: %w", id, ctx.Err())
		case <-tick.C:
		}
	}
}
