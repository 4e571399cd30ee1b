// Package office gives the dashboard what its pages show and do of schedules, accounts and mails: of the database, as the command line does it,
// and in the operator's name. It makes no page, and holds no key.
package office

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/cmd/sealq/internal/app"
	"github.com/sealq/sealq/cmd/sealq/internal/explain"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
)

var (
	_ dashboard.Schedules = Schedules{}
	_ dashboard.Accounts  = Accounts{}
	_ dashboard.Mails     = Mails{}
)

// Schedules are those of a database.
type Schedules struct {
	app.Database
	// Kinds are those whose jobs run here.
	Kinds *jobs.Catalog
}

// Schedules are all, judged as `sealq schedules list` does.
func (s Schedules) Schedules(ctx context.Context) ([]dashboard.Schedule, error) {
	reports, now, err := s.ScheduleReports(ctx)
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	all := make([]dashboard.Schedule, len(reports))
	for i, r := range reports {
		standing := scheduler.Judge(r, s.Kinds, now)
		all[i] = dashboard.Schedule{ScheduleReport: standing.ScheduleReport, NextAt: standing.NextAt, Trouble: string(standing.Trouble), Detail: standing.Detail}
	}
	return all, nil
}

// RunNow makes a tick of the schedule that is due now.
func (s Schedules) RunNow(ctx context.Context, actor, schedule string) (rowID string, err error) {
	run, err := s.Database.RunNow(ctx, actor, schedule)
	return run.RowID, err
}

// Accounts are those of a database.
type Accounts struct {
	app.Database
	// Queue is asked where tasks lie. Required.
	Queue explain.Queue
	// Accounts are locked and unlocked. Required.
	Accounts app.Accounts
	// Now is the clock of ages. Zero: time.Now.
	Now func() time.Time
}

// Explain tells what `sealq explain` does.
func (a Accounts) Explain(ctx context.Context, asked string) (dashboard.Story, error) {
	story, err := explain.Explain(ctx, explain.Config{Records: a.Database, Queue: a.Queue, Now: a.Now}, asked)
	if errors.Is(err, explain.ErrUnknown) {
		return dashboard.Story{}, fmt.Errorf("explain: %w", dashboard.ErrUnknown)
	}
	if err != nil {
		return dashboard.Story{}, fmt.Errorf("explain: %w", err)
	}
	told := dashboard.Story{
		Email: story.Email, Status: story.Status, AccountID: story.AccountID, Redis: story.Redis, Missing: story.Missing, Advice: story.Advice,
	}
	for _, step := range story.Steps {
		one := dashboard.Step{Step: step.Step, Text: step.Text, Row: step.Row, MessageID: step.MessageID}
		if step.At != nil {
			one.At = *step.At
		}
		told.Steps = append(told.Steps, one)
	}
	address, err := accounts.ParseEmail(story.Email)
	if err != nil {
		return told, nil //nolint:nilerr // nobody knows the address any more, so that nobody can lock it
	}
	state, err := a.AccountState(ctx, address.Norm())
	if err != nil {
		return dashboard.Story{}, fmt.Errorf("explain: %w", err)
	}
	told.Locked = state.Locked
	return told, nil
}

// SetLock locks an address, or unlocks it where length is 0.
func (a Accounts) SetLock(ctx context.Context, actor, email string, length time.Duration) error {
	o := a.Accounts.Operator(actor)
	if length == 0 {
		return o.Unlock(ctx, email)
	}
	return o.Lock(ctx, email, length)
}

// Mails are those of a database.
type Mails struct{ app.Database }

// Reissue queues the row as its next attempt, as `sealq tasks reissue` does.
func (m Mails) Reissue(ctx context.Context, actor string, row jobs.RowInfo) error {
	return m.ReissueRow(ctx, jobs.RowRef{ID: row.ID, Kind: row.Kind, Attempt: row.Attempt}, audit.Entry{
		Actor: actor, Action: "outbox.reissue", Subject: "outbox/" + row.ID,
		Detail: map[string]string{"kind": string(row.Kind), "queue": row.Queue, "task": row.TaskID()},
	})
}
