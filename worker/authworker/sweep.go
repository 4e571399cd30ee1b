package authworker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/worker"
)

// sweeper runs the jobs of the clean-up kinds. What a run has deleted is committed batch by batch; only its end enters the ledger, together with
// the job that goes on where its time was over.
type sweeper[Tx any] struct {
	ledger worker.Ledger[Tx]
	sweeps Sweeps[Tx]
	logger *slog.Logger
	tell   func(ctx context.Context, p sweep.Progress)
	now    func() time.Time
}

// budget is how long a run of a kind may take: a quarter of its timeout is for what comes after, and for a batch that waits.
func budget(timeout time.Duration) time.Duration { return timeout / 4 * 3 }

// steps of a sweep of accounts' lockouts: the owners may be told, which the accounts know how to.
func (s sweeper[Tx]) unlocking(a Accounts[Tx]) []sweep.Step {
	var steps []sweep.Step
	for _, w := range sweep.Unlocking() {
		steps = append(steps, sweep.Step{Walk: w, Batch: func(ctx context.Context, limit int) (sweep.Batch, error) {
			n := 0
			err := s.sweeps.InTx(ctx, func(tx Tx) (err error) {
				n, err = a.LiftLockouts(ctx, tx, limit)
				return err
			})
			// A batch that is not quite full may have met rows that a login has locked. Those that are the last are fewer still.
			return sweep.Batch{Gone: n, More: n > 0 && n >= limit-limit/10}, err
		}})
	}
	return steps
}

var errCutOff = errors.New("the run before has not given the sweep back yet")

// run sweeps, records the end of the job and what goes on after it.
func (s sweeper[Tx]) run(ctx context.Context, effect jobs.Effect, policy jobs.Policy, o sweep.Order, rest func(left int, key jobs.Option) jobs.Job) error {
	runner, err := sweep.NewRunner(s.sweeps, s.sweeps, sweep.Config{Budget: budget(policy.Timeout), OnProgress: s.tell, Logger: s.logger, Now: s.now})
	if err != nil {
		return err
	}
	o.Sweep, o.Job = string(effect.Kind), effect.ID
	out, err := runner.Run(ctx, o)
	if err != nil {
		return err
	}
	if out.Own {
		return worker.Defer(out.Progress.LeaseUntil, errCutOff)
	}
	_, err = s.ledger.Once(ctx, effect, func(ctx context.Context, tx Tx) error {
		if out.Left {
			left := 0
			if o.Limit > 0 {
				left = o.Limit - out.Rows
			}
			if err := s.goOn(ctx, tx, effect.Kind, func(key jobs.Option) jobs.Job { return rest(left, key) }); err != nil {
				return fmt.Errorf("record the rest of the sweep: %w", err)
			}
		}
		return s.record(ctx, tx, effect.Kind, out)
	})
	if err != nil {
		return err
	}
	if out.Taken {
		s.logger.InfoContext(ctx, "sweep left to another, who is at it", slog.String("kind", o.Sweep), slog.String("tick", o.Tick))
		return nil
	}
	if out.Left {
		s.logger.InfoContext(ctx, "sweep goes on in another job", slog.String("kind", o.Sweep), slog.String("tick", o.Tick), slog.Int("rows", out.Rows))
		return nil
	}
	s.logger.InfoContext(ctx, "sweep done", slog.String("kind", o.Sweep), slog.String("tick", o.Tick), slog.Int("rows", out.Rows))
	return nil
}

// record enters what was deleted for its age. What expires_at or locked_until has ended is no decision of anybody's.
func (s sweeper[Tx]) record(ctx context.Context, tx Tx, kind jobs.Kind, out sweep.Outcome) error {
	if kind != authjobs.KindPurge || out.Rows == 0 {
		return nil
	}
	detail := make(map[string]string)
	for _, part := range slices.Sorted(maps.Keys(out.By)) {
		if n := out.By[part]; n > 0 {
			detail[string(part)] = strconv.Itoa(n)
		}
	}
	return s.sweeps.AppendAudit(ctx, tx, audit.Entry{Actor: "sweep", Action: "retention.purge", Subject: "retention", Detail: detail})
}

// goOn records the job that goes on with a sweep of the kind. One is enough, whoever recorded it. But the job that ends here may be one itself, and
// has its key until its row is completed, at the end of tx: so there are two keys, by turns.
func (s sweeper[Tx]) goOn(ctx context.Context, tx Tx, kind jobs.Kind, rest func(key jobs.Option) jobs.Job) error {
	for _, key := range []string{"sweep goes on: ", "sweep goes on still: "} {
		if _, err := s.sweeps.EnqueueTx(ctx, tx, rest(jobs.UniqueKey(key+string(kind)))); !errors.Is(err, jobs.ErrDuplicate) {
			return err
		}
	}
	return nil
}

func handleSweeps[Tx any](h *worker.Handlers, s sweeper[Tx], a Accounts[Tx], r sweep.Retention) {
	for _, def := range []struct {
		jobs.Def[authjobs.Sweep]
		steps []sweep.Step
	}{
		{authjobs.ExpirePending(), sweep.Of(s.sweeps, sweep.Expiry())},
		{authjobs.ResetLockouts(), s.unlocking(a)},
	} {
		worker.Handle(h, def.Def, func(ctx context.Context, j worker.Job[authjobs.Sweep]) error {
			o := sweep.Order{Tick: j.Args.Tick, Limit: int(j.Args.Limit), Steps: def.steps}
			return s.run(ctx, j.Effect(), def.Policy(), o, func(left int, key jobs.Option) jobs.Job {
				return def.With(authjobs.Sweep{Tick: j.Args.Tick, Limit: uint32(left)}, key) //nolint:gosec // what is left of one that was
			})
		})
	}
	purge := authjobs.Purge()
	worker.Handle(h, purge, func(ctx context.Context, j worker.Job[authjobs.Tick]) error {
		o := sweep.Order{Tick: j.Args.Tick, Steps: sweep.Of(s.sweeps, r.Walks())}
		return s.run(ctx, j.Effect(), purge.Policy(), o, func(_ int, key jobs.Option) jobs.Job { return purge.With(j.Args, key) })
	})
}
