package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/rawtask"
)

func (p *program) tasksShow() *cobra.Command {
	var payload, decrypted bool
	c := uses(&cobra.Command{
		Use: "show QUEUE ID", Short: "Show one task, with its arguments if it verifies", Args: exactly("QUEUE", "ID"),
		Long: "Show one task: where it stands, what a worker would say of it, and the outbox row that its ID names. ID is the task's, quoted\n" +
			"as it was listed, or an outbox row's: then the row's task is shown. Arguments are shown only of a task that verifies; of any\n" +
			"other one size and SHA-256, and with --hex its bytes, undecoded.",
		Example: "  sealq tasks show mail 0199a1b2-0000-7000-8000-000000000000.1\n  sealq tasks show mail '\"a\\x1b[2J\"' --hex",
		RunE: p.action(p.atDesk(func(ctx context.Context, d *desk, args []string) error {
			queue, id := args[0], nameOf(args[1])
			f, row, err := d.find(ctx, queue, id)
			if err != nil {
				return err
			}
			v, err := d.judge.Judge(ctx, f)
			if err != nil {
				return err
			}
			whole := newWholeTask(f, v, d.now(), payload, decrypted)
			if row != nil && (f.Err != nil || f.Message.Kind == string(row.Kind)) {
				whole.Row = newRowView(*row)
			}
			if d.json {
				return d.printJSON(whole)
			}
			return d.printTask(whole)
		})),
	}, deskOptions()...)
	c.Flags().BoolVar(&payload, "hex", false, "the payload's bytes too, in hexadecimal")
	c.Flags().BoolVar(&decrypted, "decrypt", false, "the arguments too of a task that travels encrypted")
	return c
}

// find looks for a task by its ID, or by that of its outbox row. row is the one that the ID names in this queue, nil for none.
func (d *desk) find(ctx context.Context, queue, id string) (f rawtask.Found, row *jobs.RowInfo, err error) {
	if row, err = d.rowNamed(ctx, queue, id); err != nil {
		return f, nil, err
	}
	f, err = d.tasks.Look(ctx, queue, id)
	if errors.Is(err, rawtask.ErrNoTask) && row != nil && id == row.ID {
		f, err = d.tasks.Look(ctx, queue, row.TaskID())
	}
	switch {
	case errors.Is(err, rawtask.ErrQueueName):
		return f, nil, wrongly("QUEUE: %w", err)
	case errors.Is(err, rawtask.ErrNoTask) && row != nil:
		return f, nil, fmt.Errorf("there is no task %s in queue %s; its outbox row is %s, at attempt %d", shownName(id), shownName(queue), row.State, row.Attempt)
	case errors.Is(err, rawtask.ErrNoTask):
		return f, nil, fmt.Errorf("there is no task %s in queue %s: it was done, refused or lost; see `sealq quarantine list`", shownName(id), shownName(queue))
	}
	return f, row, err
}

// rowNamed is the outbox row of that queue that the ID names, nil for none.
func (d *desk) rowNamed(ctx context.Context, queue, id string) (*jobs.RowInfo, error) {
	if d.db == nil {
		return nil, nil //nolint:nilnil // there is no row, and nothing went wrong
	}
	if rowID, _, isRow := jobs.SplitTaskID(id); isRow {
		id = rowID
	}
	row, err := d.db.RowInfo(ctx, id)
	switch {
	case errors.Is(err, jobs.ErrNoSuchRow), err == nil && row.Queue != queue:
		return nil, nil //nolint:nilnil // likewise
	case err != nil:
		return nil, err
	}
	return &row, nil
}

// reissuedView is what became of a reissue.
type reissuedView struct {
	ID        string    `json:"id"` // the new attempt's task
	Queue     string    `json:"queue"`
	Kind      jobs.Kind `json:"kind"`
	Row       string    `json:"row"`
	Attempt   int       `json:"attempt"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (p *program) tasksReissue() *cobra.Command {
	return uses(&cobra.Command{
		Use: "reissue QUEUE ID", Short: "Queue an outbox row anew, as a fresh attempt", Args: exactly("QUEUE", "ID"),
		Long: "Queue an outbox row anew: a relay signs it under the active key and enqueues it as the row's next attempt. ID is the row's, or\n" +
			"that of its task. Nothing of what Redis holds is used, and nothing there is removed: the attempt before it stays genuine, and\n" +
			"whichever comes first has the effect, once, by the ledger. A kind whose handler enters no ledger may run twice at the same\n" +
			"time: look with `sealq tasks show` whether it is active. A row that is done is not reissued, nor one that has expired: its end\n" +
			"was fixed when it was recorded. One that is dead or was refused has all of its tries again. It is entered in the audit log.",
		Example: "  sealq tasks reissue mail 0199a1b2-0000-7000-8000-000000000000.1",
		RunE: p.action(func(ctx context.Context, s *session, args []string) (err error) {
			named, err := s.database()
			if err != nil {
				return err
			}
			db, err := named.openMigrated(ctx)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			queue, id := args[0], nameOf(args[1])
			rowID, attempt, isTask := jobs.SplitTaskID(id)
			if !isTask {
				rowID = id
			}
			row, err := db.RowInfo(ctx, rowID)
			switch {
			case errors.Is(err, jobs.ErrNoSuchRow):
				return fmt.Errorf("no row of the outbox has a task %s: what was enqueued without the outbox cannot be reissued, enqueue it anew: %w", shownName(id), jobs.ErrNoSuchRow)
			case err != nil:
				return err
			case row.Queue != queue:
				return fmt.Errorf("row %s is of queue %s, not %s", row.ID, shownName(row.Queue), shownName(queue))
			case isTask && attempt != row.Attempt:
				return fmt.Errorf("%s is not the row's attempt any more: it is %s as %s; look at that one first", shownName(id), row.State, row.TaskID())
			}
			if err := db.ReissueRow(ctx, jobs.RowRef{ID: row.ID, Kind: row.Kind, Attempt: row.Attempt}, reissueEntry(row)); err != nil {
				return reissueProblem(row, err)
			}
			row.Attempt++
			view := reissuedView{
				ID: row.TaskID(), Queue: row.Queue, Kind: row.Kind, Row: row.ID, Attempt: row.Attempt, ExpiresAt: row.ExpiresAt,
			}
			return s.answer(view, "%s is queued as %s: a relay enqueues it, and it expires at %s", row.ID, view.ID, moment(&view.ExpiresAt))
		}),
	}, "database-url")
}

// reissueProblem says what to do about a row that was not reissued.
func reissueProblem(row jobs.RowInfo, err error) error {
	hint := ""
	switch {
	case errors.Is(err, jobs.ErrRowDone):
		hint = "nothing is left to do"
	case errors.Is(err, jobs.ErrRowExpired):
		hint = fmt.Sprintf("that was at %s; enqueue the job anew, `sealq enqueue %s --outbox`, or let the app record it again", moment(&row.ExpiresAt), row.Kind)
	case errors.Is(err, jobs.ErrDuplicate):
		hint = "that one does the same work; wait for it"
	case errors.Is(err, jobs.ErrOtherAttempt):
		hint = "somebody else, or reconcile, was quicker: look at it first"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, hint)
}

// reissueEntry is what the audit log says. The driver adds the state that the row had.
func reissueEntry(row jobs.RowInfo) audit.Entry {
	return audit.Entry{
		Actor: actor(), Action: "outbox.reissue", Subject: "outbox/" + row.ID,
		Detail: map[string]string{"kind": string(row.Kind), "queue": row.Queue, "task": row.TaskID()},
	}
}
