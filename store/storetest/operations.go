package storetest

import (
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
)

func operationsTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a database that is there answers a ping", func(s suite[Tx]) {
			must(s, s.DB.Ping(s.Context()))
		}},
		{"migrating a migrated database runs nothing, even when eight do so at once", func(s suite[Tx]) {
			for _, err := range race(8, func(int) error {
				ran, err := s.DB.Migrate(s.Context())
				if len(ran) > 0 {
					s.Errorf("migrations run twice: %v", ran)
				}
				return err
			}) {
				must(s, err)
			}
			applied, pending, err := s.DB.MigrationStatus(s.Context())
			must(s, err)
			if len(applied) == 0 || len(pending) > 0 {
				s.Errorf("status: want all applied, got applied %v, pending %v", applied, pending)
			}
		}},
		{"a transaction whose function fails leaves nothing, and returns the error as it is", func(s suite[Tx]) {
			err := s.DB.InTx(s.Context(), func(tx Tx) error {
				_, err := s.DB.EnqueueTx(s.Context(), tx, note())
				must(s, err)
				return errRollback
			})
			if err != errRollback { //nolint:errorlint // as it is, not wrapped
				s.Errorf("error: want %v itself, got %v", errRollback, err)
			}
			s.wantRows(0)
		}},
		{"a transaction whose function panics leaves nothing, and the next one works", func(s suite[Tx]) {
			func() {
				defer func() { equal[any](s, "panic", "of the test", recover()) }()
				_ = s.DB.InTx(s.Context(), func(tx Tx) error {
					_, err := s.DB.EnqueueTx(s.Context(), tx, note())
					must(s, err)
					panic("of the test")
				})
			}()
			s.enqueue(note())
			s.wantRows(1)
		}},
		{"the outbox's depth counts unfinished rows by state, and how long the first has been due", func(s suite[Tx]) {
			counts, oldest, err := s.DB.OutboxDepth(s.Context())
			must(s, err)
			if diff := cmp.Diff(map[jobs.RowState]int64{jobs.RowQueued: 0, jobs.RowClaimed: 0, jobs.RowEnqueued: 0}, counts); diff != "" {
				s.Errorf("empty outbox (-want +got):\n%s", diff)
			}
			equal(s, "age in an empty outbox", 0, oldest)

			s.in(jobs.RowDone)
			s.in(jobs.RowRefused)
			s.in(jobs.RowEnqueued)
			s.in(jobs.RowClaimed)
			s.backdate(10 * time.Second)
			s.in(jobs.RowQueued)
			s.in(jobs.RowQueued, jobs.In(time.Hour)) // not due: it waits for nobody
			s.backdate(20 * time.Second)
			counts, oldest, err = s.DB.OutboxDepth(s.Context())
			must(s, err)
			if diff := cmp.Diff(map[jobs.RowState]int64{jobs.RowQueued: 2, jobs.RowClaimed: 1, jobs.RowEnqueued: 1}, counts); diff != "" {
				s.Errorf("counts (-want +got):\n%s", diff)
			}
			if oldest < 20*time.Second-tick || oldest > 30*time.Second {
				s.Errorf("age of the row that is due: want 20 s and the test's own time, got %v", oldest)
			}
		}},
		{"trouble is what ended lately and was not done, and what was restored again and again", func(s suite[Tx]) {
			trouble := func(within time.Duration, attempts int) jobs.Trouble {
				s.Helper()
				got, err := s.DB.OutboxTrouble(s.Context(), within, attempts)
				must(s, err)
				return got
			}
			equal(s, "in an empty outbox", jobs.Trouble{}, trouble(time.Hour, 0))
			for _, state := range ends() {
				s.in(state)
			}
			s.in(jobs.RowDead)
			row := s.in(jobs.RowEnqueued)
			s.in(jobs.RowQueued)
			const day = 24 * time.Hour
			ended := jobs.Trouble{Dead: 2, Refused: 1, Expired: 1}
			equal(s, "lately", ended, trouble(day, 1))
			restored, err := s.DB.RestoreRow(s.Context(), row, 0)
			must(s, err)
			equal(s, "restored", true, restored)
			s.backdate(2 * day)
			equal(s, "two days ago, but for what is at its second attempt", jobs.Trouble{Restored: 1}, trouble(day, 1))
			equal(s, "at more than two", jobs.Trouble{}, trouble(day, 2))
			equal(s, "of three days", ended, trouble(3*day, 2))
		}},
		{"the backlog counts unfinished rows by kind, queue and state, and says for how long the oldest has been due", func(s suite[Tx]) {
			backlog := func() []jobs.Backlog {
				s.Helper()
				got, err := s.DB.OutboxBacklog(s.Context())
				must(s, err)
				for i := range got { // but for the test's own time
					got[i].Oldest = got[i].Oldest.Truncate(10 * time.Second)
				}
				return got
			}
			equal(s, "entries for an empty outbox", 0, len(backlog()))
			for _, state := range ends() {
				s.in(state)
			}
			lost := s.in(jobs.RowEnqueued)
			s.in(jobs.RowClaimed, jobs.Queue("critical"))
			s.backdate(time.Minute + tick)
			other := jobs.Define[noteArgs]("test:Other", jobs.Policy{Queue: "mail", MaxAge: time.Hour})
			s.enqueue(other.With(noteArgs{}, jobs.In(time.Hour)))
			s.in(jobs.RowQueued, jobs.In(30*time.Second))
			s.backdate(2*time.Minute + tick)
			s.in(jobs.RowQueued)
			_, err := s.DB.RestoreRow(s.Context(), lost, time.Minute) // it does not look younger for that
			must(s, err)
			want := []jobs.Backlog{
				{Kind: "test:Other", Queue: "mail", State: jobs.RowQueued, Rows: 1},
				{Kind: "test:note", Queue: "critical", State: jobs.RowClaimed, Rows: 1, Oldest: 3 * time.Minute},
				{Kind: "test:note", Queue: "mail", State: jobs.RowQueued, Rows: 3, Oldest: 3 * time.Minute},
			}
			if diff := cmp.Diff(want, backlog()); diff != "" {
				s.Errorf("backlog (-want +got):\n%s", diff)
			}
		}},
		{"a row that is returned without a pause has waited since it was due first", func(s suite[Tx]) {
			row := s.claimed(note())
			s.backdate(20 * time.Second)
			must(s, s.giveBack(0, "Redis is away", row))
			_, oldest, err := s.DB.OutboxDepth(s.Context())
			must(s, err)
			equal(s, "age of 20 s at least", true, oldest >= 20*time.Second-tick)
		}},
	}
}
