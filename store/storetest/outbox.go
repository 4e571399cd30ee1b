package storetest

import (
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
)

// ends are the states in which a row ends.
func ends() []jobs.RowState {
	return []jobs.RowState{jobs.RowDone, jobs.RowRefused, jobs.RowDead, jobs.RowExpired}
}

func outboxTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a job's row exists if its transaction commits", func(s suite[Tx]) {
			s.wantState(s.enqueue(note()), jobs.RowQueued)
		}},
		{"a job's row does not exist if its transaction rolls back", func(s suite[Tx]) {
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				_, err := s.DB.EnqueueTx(s.Context(), tx, note(jobs.UniqueKey("one")))
				must(s, err)
				return errRollback
			}), errRollback)
			s.wantRows(0)
			s.enqueue(note(jobs.UniqueKey("one")))
		}},
		{"a recorded job reaches the relay as it was, with times by the database's clock", func(s suite[Tx]) {
			headers := map[string]string{"trace": "00-4bf92f", "empty": "", "nul": "a\x00b", "wide": "ẞ…🗝"}
			opts := []jobs.Option{jobs.Queue("critical"), jobs.MaxRetry(7)}
			for name, value := range headers {
				opts = append(opts, jobs.Header(name, value))
			}
			before := s.now()
			id := s.enqueue(note(opts...))
			after := s.now()
			got := s.claim(1)[0]
			near(s, "not_before", before, after, got.NotBefore)
			equal(s, "expires_at", got.NotBefore.Add(time.Hour), got.ExpiresAt)
			equal(s, "task ID", id+".1", got.TaskID())
			equal(s, "a lease token", true, got.LeaseToken != "")
			got.NotBefore, got.ExpiresAt, got.LeaseToken = time.Time{}, time.Time{}, ""
			wanted := jobs.ClaimedRow{Attempt: 1, Row: jobs.Row{
				ID: id, Kind: "test:note", Queue: "critical", Payload: []byte(`{"note":"hello"}`), Retries: 7, Headers: headers,
			}}
			if diff := cmp.Diff(wanted, got); diff != "" {
				s.Errorf("row (-want +got):\n%s", diff)
			}
		}},
		{"a job that is recorded within a trace takes it along", func(s suite[Tx]) {
			ctx := jobs.ContextWithTrace(s.Context(), map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
			must(s, s.DB.InTx(ctx, func(tx Tx) error {
				_, err := s.DB.EnqueueTx(ctx, tx, note())
				return err
			}))
			equal(s, "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", s.claim(1)[0].Headers["traceparent"])
		}},
		{"a job's own times are kept", func(s suite[Tx]) {
			due := s.now().Truncate(time.Second).Add(20 * time.Second)
			s.enqueue(note(jobs.At(due), jobs.Until(due.Add(time.Minute))))
			got := s.claim(1)[0]
			equal(s, "not_before", due, got.NotBefore)
			equal(s, "expires_at", due.Add(time.Minute), got.ExpiresAt)
		}},
		{"a job without an end lives as long as its kind's max age after it is due", func(s suite[Tx]) {
			due := s.now().Truncate(time.Second).Add(20 * time.Second)
			s.enqueue(note(jobs.At(due)))
			equal(s, "expires_at", due.Add(time.Hour), s.claim(1)[0].ExpiresAt)
		}},
		{"a faulty job and one with an ID of its own are refused, and the transaction stays usable", func(s suite[Tx]) {
			s.tx(func(tx Tx) error {
				_, err := s.DB.EnqueueTx(s.Context(), tx, note(jobs.Queue("{}")))
				want(s, err, jobs.ErrInvalidName)
				_, err = s.DB.EnqueueTx(s.Context(), tx, note(jobs.ID("mine")))
				want(s, err, jobs.ErrInvalidName)
				_, err = s.DB.EnqueueTx(s.Context(), tx, note())
				return err
			})
			s.wantRows(1)
		}},
		{"a unique key of an unfinished row is refused in each of its states, and the transaction stays usable", func(s suite[Tx]) {
			for _, state := range []jobs.RowState{jobs.RowQueued, jobs.RowClaimed, jobs.RowEnqueued} {
				key := jobs.UniqueKey("one that is " + string(state))
				s.in(state, key)
				s.tx(func(tx Tx) error {
					_, err := s.DB.EnqueueTx(s.Context(), tx, note(key))
					want(s, err, jobs.ErrDuplicate)
					_, err = s.DB.EnqueueTx(s.Context(), tx, note())
					return err
				})
				for _, row := range s.claim(10) { // out of the next state's way
					must(s, s.DB.RowDone(s.Context(), ref(row.ID, 1)))
				}
			}
		}},
		{"a unique key is free again however its row ended", func(s suite[Tx]) {
			for _, state := range ends() {
				key := jobs.UniqueKey("one that is " + string(state))
				s.in(state, key)
				must(s, s.DB.RowDone(s.Context(), ref(s.enqueue(note(key)), 1)))
			}
		}},
		{"a unique key is compared byte by byte, and may hold what SQL is written in", func(s suite[Tx]) {
			for _, key := range []string{`';--"\%_$1`, "ẞ", "ß", "ss", "SS"} {
				s.tx(func(tx Tx) error {
					_, err := s.DB.EnqueueTx(s.Context(), tx, note(jobs.UniqueKey(key)))
					must(s, err)
					_, err = s.DB.EnqueueTx(s.Context(), tx, note(jobs.UniqueKey(key)))
					want(s, err, jobs.ErrDuplicate)
					return nil
				})
			}
		}},
		{"of twenty racers for a unique key one is recorded", func(s suite[Tx]) {
			outcomes := race(20, func(int) error {
				return s.DB.InTx(s.Context(), func(tx Tx) error {
					_, err := s.DB.EnqueueTx(s.Context(), tx, note(jobs.UniqueKey("one")))
					return err
				})
			})
			won, lost := tally(s, outcomes, jobs.ErrDuplicate)
			equal(s, "won", 1, won)
			equal(s, "lost", 19, lost)
			s.wantRows(1)
		}},
		{"a row is completed from whatever state it has", func(s suite[Tx]) {
			for _, state := range append([]jobs.RowState{jobs.RowQueued, jobs.RowClaimed, jobs.RowEnqueued}, ends()...) {
				row := s.in(state)
				must(s, s.DB.RowDone(s.Context(), ref(row.ID, 1)))
				s.wantState(row.ID, jobs.RowDone)
			}
		}},
		{"completing a row that is not there is no error", func(s suite[Tx]) {
			for _, id := range []string{newPending("x").ID, "sweep@2030-01-01T00:00:00Z", "", "a\x00b\xff"} {
				must(s, s.DB.RowDone(s.Context(), ref(id, 1)))
				must(s, s.DB.RowDead(s.Context(), ref(id, 1), "out of retries"))
			}
		}},
		{"completing a row leaves the others alone", func(s suite[Tx]) {
			one, other := s.enqueue(note()), s.enqueue(note())
			must(s, s.DB.RowDone(s.Context(), ref(one, 1)))
			s.wantState(other, jobs.RowQueued)
		}},
		{"failed runs are counted in the row over all its attempts, while it is unfinished and at that attempt", func(s suite[Tx]) {
			failed := func(id string, attempt int) int {
				s.Helper()
				n, err := s.DB.RowFailed(s.Context(), ref(id, attempt), "no\x00 way \xff", func(int) time.Duration { return time.Minute })
				must(s, err)
				return n
			}
			row := s.in(jobs.RowEnqueued)
			equal(s, "failures", 1, failed(row.ID, 1))
			equal(s, "failures, of a run that was brought forward", 1, failed(row.ID, 1))
			s.backdate(46 * time.Second)
			equal(s, "failures, after three quarters of the pause", 2, failed(row.ID, 1))
			equal(s, "failures of another attempt", 0, failed(row.ID, 2))
			other := ref(row.ID, 1)
			other.Kind = "test:other"
			n, err := s.DB.RowFailed(s.Context(), other, "of another kind", func(int) time.Duration { return 0 })
			must(s, err)
			equal(s, "failures of another kind", 0, n)
			s.backdate(46 * time.Second)
			s.wantState(row.ID, jobs.RowEnqueued)
			restored, err := s.DB.RestoreRow(s.Context(), row, 0)
			must(s, err)
			equal(s, "restored", true, restored)
			equal(s, "failures of the attempt before", 0, failed(row.ID, 1))
			equal(s, "failures", 3, failed(row.ID, 2))
			must(s, s.DB.RowDone(s.Context(), ref(row.ID, 1)))
			for _, state := range ends() {
				equal(s, "failures of a row that is "+string(state), 0, failed(s.in(state).ID, 1))
			}
			for _, id := range []string{newPending("x").ID, "", "a\x00b\xff"} {
				equal(s, "failures of no row", 0, failed(id, 1))
			}
		}},
		{"a row out of retries is dead, with the cause, while it is unfinished and at that attempt", func(s suite[Tx]) {
			for _, state := range []jobs.RowState{jobs.RowQueued, jobs.RowClaimed, jobs.RowEnqueued} {
				row := s.in(state)
				must(s, s.DB.RowDead(s.Context(), ref(row.ID, 2), "of another attempt"))
				must(s, s.DB.RowDead(s.Context(), jobs.RowRef{ID: row.ID, Kind: "test:other", Attempt: 1}, "of another kind"))
				must(s, s.DB.RowDone(s.Context(), jobs.RowRef{ID: row.ID, Kind: "test:other"}))
				s.wantState(row.ID, state)
				must(s, s.DB.RowDead(s.Context(), ref(row.ID, 1), "no\x00 way \xff"))
				s.wantState(row.ID, jobs.RowDead)
				equal(s, "a cause", "1", s.scalar(fmt.Sprintf("SELECT count(*) FROM outbox WHERE id = '%s' AND cause <> ''", row.ID)))
			}
			for _, state := range ends() {
				row := s.in(state)
				must(s, s.DB.RowDead(s.Context(), ref(row.ID, 1), "too late"))
				s.wantState(row.ID, state)
			}
		}},
	}
}
