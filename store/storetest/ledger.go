package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sealq/sealq/jobs"
)

// effect is what a row of kind test:note does.
func effect(id string) jobs.Effect {
	return jobs.Effect{Kind: "test:note", ID: id, Keep: time.Hour}
}

// once runs the effect, whose fn records a job, so that a second run would show.
func (s suite[Tx]) once(ctx context.Context, e jobs.Effect) (done bool, err error) {
	return s.DB.Once(ctx, e, func(ctx context.Context, tx Tx) error {
		_, err := s.DB.EnqueueTx(ctx, tx, note())
		return err
	})
}

func ledgerTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"an effect happens once, and completes the row that it names", func(s suite[Tx]) {
			row := s.enqueued(note())
			for _, want := range []bool{false, true, true} {
				done, err := s.once(s.Context(), effect(row.ID))
				must(s, err)
				equal(s, "done before", want, done)
			}
			s.wantState(row.ID, jobs.RowDone)
			s.wantRows(2)
		}},
		{"an effect need not name a row: any text does", func(s suite[Tx]) {
			for i, id := range []string{newPending("x").ID, "sweep@2030-01-01T00:00:00Z", "a\x00b\xff'", "Ä"} {
				for _, want := range []bool{false, true} {
					done, err := s.once(s.Context(), effect(id))
					must(s, err)
					equal(s, "done before", want, done)
				}
				done, err := s.DB.EffectDone(s.Context(), "test:note", id)
				must(s, err)
				equal(s, "in the ledger", true, done)
				s.wantRows(i + 1)
			}
		}},
		{"the effect of a row that is done is done, though no ledger has it, and of any other state it is not", func(s suite[Tx]) {
			for _, state := range append([]jobs.RowState{jobs.RowQueued, jobs.RowClaimed, jobs.RowEnqueued}, ends()...) {
				row := s.in(state)
				done, err := s.DB.EffectDone(s.Context(), "test:note", row.ID)
				must(s, err)
				equal(s, "done, of a row that is "+string(state), state == jobs.RowDone, done)
				done, err = s.DB.EffectDone(s.Context(), "test:other", row.ID)
				must(s, err)
				equal(s, "done, under another kind", false, done)
				s.wantState(row.ID, state)
				must(s, s.DB.RowDone(s.Context(), ref(row.ID, 1)))
			}
		}},
		{"the effect of a row that is done does not happen, though no ledger has it, and that of any other state does", func(s suite[Tx]) {
			states := append(ends(), jobs.RowEnqueued, jobs.RowClaimed, jobs.RowQueued)
			var rows []jobs.ClaimedRow
			for _, state := range states {
				rows = append(rows, s.in(state))
			}
			recorded := len(rows)
			for i, state := range states {
				done, err := s.once(s.Context(), effect(rows[i].ID))
				must(s, err)
				equal(s, "done before, of a row that is "+string(state), state == jobs.RowDone, done)
				if !done {
					recorded++ // by the effect
				}
				s.wantRows(recorded)
				s.wantState(rows[i].ID, jobs.RowDone)
			}
		}},
		{"a direct job's effect happens once too, and leaves alone a row that has its ID", func(s suite[Tx]) {
			row := s.enqueued(note())
			direct := effect(row.ID)
			direct.Direct = true
			for _, want := range []bool{false, true} {
				done, err := s.once(s.Context(), direct)
				must(s, err)
				equal(s, "done before", want, done)
				s.wantState(row.ID, jobs.RowEnqueued)
			}
			done, err := s.once(s.Context(), effect(row.ID)) // the row's own task ends as done
			must(s, err)
			equal(s, "done before", true, done)
			s.wantState(row.ID, jobs.RowDone)
			s.wantRows(2)
		}},
		{"an effect is another one under another kind, and completes no row of that", func(s suite[Tx]) {
			row := s.enqueued(note())
			other := effect(row.ID)
			other.Kind = "test:other"
			done, err := s.once(s.Context(), other)
			must(s, err)
			equal(s, "done before", false, done)
			s.wantState(row.ID, jobs.RowEnqueued)
			done, err = s.DB.EffectDone(s.Context(), "test:note", row.ID)
			must(s, err)
			equal(s, "in the ledger", false, done)
			done, err = s.once(s.Context(), effect(row.ID))
			must(s, err)
			equal(s, "done before", false, done)
			s.wantState(row.ID, jobs.RowDone)
		}},
		{"an error of fn is returned as it is, and nothing has happened", func(s suite[Tx]) {
			row := s.enqueued(note())
			done, err := s.DB.Once(s.Context(), effect(row.ID), func(ctx context.Context, tx Tx) error {
				_, err := s.DB.EnqueueTx(ctx, tx, note())
				must(s, err)
				return errRollback
			})
			if err != errRollback || done { //nolint:errorlint // as it is, not wrapped
				s.Errorf("want %v itself and not done, got %v, %v", errRollback, err, done)
			}
			s.wantState(row.ID, jobs.RowEnqueued)
			s.wantRows(1)
			done, err = s.DB.EffectDone(s.Context(), "test:note", row.ID)
			must(s, err)
			equal(s, "in the ledger", false, done)
			done, err = s.once(s.Context(), effect(row.ID))
			must(s, err)
			equal(s, "done before", false, done)
		}},
		{"a panic of fn leaves nothing behind", func(s suite[Tx]) {
			func() {
				defer func() { equal[any](s, "panic", "of the test", recover()) }()
				_, _ = s.DB.Once(s.Context(), effect("one"), func(context.Context, Tx) error { panic("of the test") })
			}()
			done, err := s.once(s.Context(), effect("one"))
			must(s, err)
			equal(s, "done before", false, done)
		}},
		{"a committed effect completes its row whatever state the row has", func(s suite[Tx]) {
			for _, state := range append([]jobs.RowState{jobs.RowQueued, jobs.RowClaimed, jobs.RowEnqueued}, ends()...) {
				row := s.in(state)
				_, err := s.DB.Once(s.Context(), effect(row.ID), func(context.Context, Tx) error { return nil })
				must(s, err)
				s.wantState(row.ID, jobs.RowDone)
			}
		}},
		{"a duplicate completes its row too, and so does a look into the ledger", func(s suite[Tx]) {
			row := s.enqueued(note())
			_, err := s.once(s.Context(), effect(row.ID))
			must(s, err)
			undo := fmt.Sprintf("UPDATE outbox SET state = 'queued', ended_at = NULL WHERE id = '%s'", row.ID)
			s.exec(undo)
			done, err := s.once(s.Context(), effect(row.ID))
			must(s, err)
			equal(s, "done before", true, done)
			s.wantState(row.ID, jobs.RowDone)
			s.exec(undo)
			done, err = s.DB.EffectDone(s.Context(), "test:note", row.ID)
			must(s, err)
			equal(s, "in the ledger", true, done)
			s.wantState(row.ID, jobs.RowDone)
		}},
		{"a look into the ledger that finds nothing changes nothing", func(s suite[Tx]) {
			row := s.enqueued(note())
			done, err := s.DB.EffectDone(s.Context(), "test:note", row.ID)
			must(s, err)
			equal(s, "in the ledger", false, done)
			s.wantState(row.ID, jobs.RowEnqueued)
		}},
		{"of twenty runs at once one has the effect, the others find it done", func(s suite[Tx]) {
			row := s.enqueued(note())
			done := make([]bool, 20)
			for _, err := range race(20, func(i int) (err error) {
				done[i], err = s.once(s.Context(), effect(row.ID))
				return err
			}) {
				must(s, err)
			}
			ran := 0
			for _, before := range done {
				if !before {
					ran++
				}
			}
			equal(s, "runs with the effect", 1, ran)
			s.wantRows(2)
		}},
		{"where the first of several runs rolls back another one has the effect", func(s suite[Tx]) {
			var calls, effects atomic.Int64
			outcomes := race(10, func(int) error {
				done, err := s.DB.Once(s.Context(), effect("one"), func(ctx context.Context, tx Tx) error {
					if _, err := s.DB.EnqueueTx(ctx, tx, note()); err != nil {
						return err
					}
					if calls.Add(1) == 1 {
						return errRollback
					}
					return nil
				})
				if err == nil && !done {
					effects.Add(1)
				}
				return err
			})
			_, rolledBack := tally(s, outcomes, errRollback)
			equal(s, "rolled back", 1, rolledBack)
			equal(s, "calls", 2, calls.Load())
			equal(s, "effects", 1, effects.Load())
			s.wantRows(1)
		}},
		{"an entry is kept for as long as was asked", func(s suite[Tx]) {
			_, err := s.once(s.Context(), effect("one"))
			must(s, err)
			s.backdate(59 * time.Minute)
			s.placed("a", "@hourly") // anchored now
			s.backdate(2 * time.Minute)
			s.placed("b", "@hourly")
			kept := "SELECT count(*) FROM ledger, schedules WHERE keep_until > anchor AND name = '%s'"
			equal(s, "kept after 59 min", "1", s.scalar(fmt.Sprintf(kept, "a")))
			equal(s, "kept after 61 min", "0", s.scalar(fmt.Sprintf(kept, "b")))
		}},
	}
}
