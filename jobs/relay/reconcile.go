package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/rawtask"
	"github.com/sealq/sealq/signing"
)

const (
	reconcileBatch = 500
	// parallel bounds the look-ups under way at once: more gain nothing on two cores.
	parallel = 16
	// calmRestorations is how often a row is restored at once. After that somebody is at work in Redis: the
	// row waits longer each time, and it is an alarm.
	calmRestorations = 3
	// longestRestore is the longest such wait, in times of Overdue: who is gone is to be forgotten soon.
	longestRestore = 5
	// longestLease is more than asynq's lease of an active task, 30 s, by as much as clocks may differ.
	longestLease = 2 * time.Minute
	// scheduledSlack is how far a scheduled task's score may lie past the row's due time, which it should be.
	scheduledSlack = time.Minute
)

func (r *Relay) reconcileLoop(ctx context.Context) {
	outages := 0
	for ctx.Err() == nil {
		pause := r.cfg.Reconcile
		if err := r.reconcile(ctx); err != nil && ctx.Err() == nil {
			outages++
			pause = max(pause, outagePause(outages))
			r.tellFailed(ctx, "reconcile stopped by an outage, trying again", err)
		} else {
			outages = 0
		}
		r.pause(ctx, pause, false)
	}
}

// reconcile expires what is past its end and restores what Redis has lost.
func (r *Relay) reconcile(ctx context.Context) error {
	for n := reconcileBatch; n == reconcileBatch && ctx.Err() == nil; {
		var err error
		if n, err = r.rows.ExpireRows(ctx, r.cfg.Overdue, reconcileBatch); err != nil {
			return fmt.Errorf("expire outbox rows: %w", err)
		}
		if n > 0 {
			r.counts.expired.Add(uint64(n))
			r.cfg.Logger.WarnContext(ctx, "outbox rows expired before they were done", slog.Int("rows", n))
		}
	}
	// Listing overdue rows puts off their next look: it must not happen while nobody can look.
	if err := r.redis.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("reach Redis: %w", err)
	}
	// Where tasks were lost, many were: the next batch is looked at without a pause. Where they merely wait, in a
	// queue that is behind, looking for them must not slow Redis down further.
	for ctx.Err() == nil {
		rows, err := r.rows.OverdueRows(ctx, r.cfg.Overdue, reconcileBatch)
		if err != nil {
			return fmt.Errorf("list overdue outbox rows: %w", err)
		}
		lost, err := r.restoreLost(ctx, rows)
		if err != nil {
			return err
		}
		if lost == 0 || len(rows) < reconcileBatch {
			break
		}
	}
	return nil
}

// restoreLost restores those of the rows whose task is not in Redis, and says how many.
func (r *Relay) restoreLost(ctx context.Context, rows []jobs.ClaimedRow) (int, error) {
	missing, trouble := r.missing(ctx, rows)
	if err := r.freeNames(ctx, missing); err != nil {
		return 0, err
	}
	lost := 0
	for _, row := range missing {
		restored, err := r.restore(ctx, row)
		if err != nil {
			return lost, err
		}
		if restored {
			lost++
		}
	}
	r.counts.restored.Add(uint64(lost))
	if lost > 0 {
		r.Nudge()
	}
	return lost, trouble
}

// missing lists those of the rows that are not present. One that cannot be looked up holds up no other; it is looked up again.
func (r *Relay) missing(ctx context.Context, rows []jobs.ClaimedRow) ([]jobs.ClaimedRow, error) {
	present := make([]bool, len(rows))
	errs := make([]error, len(rows))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, row := range rows {
		g.Go(func() error {
			present[i], errs[i] = r.present(ctx, row)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	var missing []jobs.ClaimedRow
	for i, row := range rows {
		if !present[i] && errs[i] == nil {
			missing = append(missing, row)
		}
	}
	return missing, errors.Join(errs...)
}

// freeNames deletes whatever stands under the names of the next attempts of rows, unless it is that attempt: another relay may
// have restored and enqueued the row since it was listed. Otherwise somebody has seen the row's ID and squats on the names,
// who would cost the row an attempt each.
func (r *Relay) freeNames(ctx context.Context, rows []jobs.ClaimedRow) error {
	if len(rows) == 0 {
		return nil
	}
	key := func(row jobs.ClaimedRow) string { return "asynq:{" + row.Queue + "}:t:" + row.TaskID() }
	next, exist := slices.Clone(rows), make([]*redis.IntCmd, len(rows))
	pipe := r.redis.Pipeline()
	for i := range next {
		next[i].Attempt++
		exist[i] = pipe.Exists(ctx, key(next[i]))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("look for the names of lost tasks: %w", err)
	}
	var taken []jobs.ClaimedRow // a free name stays alone: another relay may take it any moment
	for i, row := range next {
		if exist[i].Val() > 0 {
			taken = append(taken, row)
		}
	}
	squatted, trouble := r.missing(ctx, taken)
	if len(squatted) == 0 || trouble != nil {
		return trouble
	}
	pipe = r.redis.Pipeline()
	for _, row := range squatted {
		pipe.Unlink(ctx, key(row))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("free the names of lost tasks: %w", err)
	}
	return nil
}

// present says whether Redis holds this attempt of the row where a worker will find it: its bytes verify as
// this row's, and the list or set that its state names holds it. A task that is archived counts as lost: asynq
// archives past deadlines unasked, and a job that the worker gave up is dead in the database already.
func (r *Relay) present(ctx context.Context, row jobs.ClaimedRow) (bool, error) {
	task, err := r.tasks.Lookup(ctx, row.Queue, row.TaskID())
	switch {
	case errors.Is(err, rawtask.ErrNoTask), errors.Is(err, rawtask.ErrUndecodable):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("reconcile row %s: %w", row.ID, err)
	case !task.Deadline.IsZero() && task.Deadline.Before(r.cfg.Now()): // no row's task has one before its end: asynq asks no handler
		return false, nil
	case !task.Placed, task.State == "archived", task.State == "completed", task.When.After(r.latestReturn(row, task.State)):
		return false, nil
	}
	_, err = r.keys.VerifyWith(ctx, signing.Task{
		Kind: task.Kind, ID: task.ID, Queue: task.Queue, MaxRetry: task.MaxRetry,
		Headers: task.Headers, Payload: task.Payload,
	}, task.Headers[signing.SignatureHeader], signing.Rules{})
	// A task that is not due yet is authentic. One of an unknown key is not, though a worker would wait for the
	// key: whoever writes to Redis could keep a row waiting with it.
	if err != nil && !errors.Is(err, signing.ErrNotYetDue) {
		return false, nil
	}
	genuine := task.ID == row.TaskID() && task.Queue == row.Queue && task.Kind == string(row.Kind) &&
		task.Headers[signing.EffectHeader] == row.ID
	return genuine, nil
}

// latestReturn is the last moment at which an honest task of the row comes back to a worker: by its own due time, the
// longest pause of its kind, or a lease. A later score was put there to keep the job away; its row is restored, and should
// the task come back after all, its effect is in the ledger.
func (r *Relay) latestReturn(row jobs.ClaimedRow, state string) time.Time {
	pause := r.cfg.Deferral
	if d, err := r.catalog.Lookup(row.Kind); err == nil {
		p := d.Policy()
		pause = max(pause, 2*p.Backoff(max(p.Retries, 1)))
	}
	now := r.cfg.Now()
	switch state {
	case "active":
		return now.Add(longestLease)
	case "scheduled": // by the relay, for when the row is due
		return row.NotBefore.Add(scheduledSlack)
	}
	if row.NotBefore.After(now) {
		now = row.NotBefore
	}
	return now.Add(pause)
}

// restore queues the row as its next attempt, unless it is done, or restored by another, in the meantime.
func (r *Relay) restore(ctx context.Context, row jobs.ClaimedRow) (bool, error) {
	var pause time.Duration
	if over := row.Attempt - calmRestorations; over > 0 {
		pause = r.cfg.Overdue * time.Duration(min(1<<min(over, 10), longestRestore))
	}
	restored, err := r.rows.RestoreRow(ctx, row, pause)
	if err != nil {
		return false, fmt.Errorf("restore row %s: %w", row.ID, err)
	}
	if !restored {
		return false, nil
	}
	level := slog.LevelWarn
	if pause > 0 {
		level = slog.LevelError
	}
	r.cfg.Logger.Log(ctx, level, "task lost by Redis, restored from the outbox",
		slog.String("row", row.ID), slog.String("kind", string(row.Kind)), slog.Int("attempt", row.Attempt+1), slog.Duration("pause", pause))
	return true, nil
}
