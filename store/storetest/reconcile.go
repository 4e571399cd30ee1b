package storetest

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
)

func reconcileTests[Tx any]() []test[Tx] {
	const after = 2 * time.Minute
	overdue := func(s suite[Tx]) []jobs.ClaimedRow {
		s.Helper()
		rows, err := s.DB.OverdueRows(s.Context(), after, 10)
		must(s, err)
		return rows
	}
	return []test[Tx]{
		{"an enqueued row is listed once each time it has been due for long enough", func(s suite[Tx]) {
			row := s.enqueued(note(jobs.Header("trace", "1")))
			equal(s, "rows at once", 0, len(overdue(s)))
			for range 2 {
				s.backdate(after)
				rows := overdue(s)
				if len(rows) != 1 {
					s.Fatalf("overdue rows: want 1, got %d", len(rows))
				}
				equal(s, "task ID", row.TaskID(), rows[0].TaskID())
				equal(s, "header", "1", rows[0].Headers["trace"])
				equal(s, "times are set", false, rows[0].NotBefore.IsZero() || rows[0].ExpiresAt.IsZero())
				equal(s, "rows listed twice", 0, len(overdue(s)))
			}
		}},
		{"a row that was enqueued early is overdue from its due time on", func(s suite[Tx]) {
			s.enqueued(note(jobs.In(50 * time.Second)))
			s.backdate(after)
			equal(s, "rows", 0, len(overdue(s)))
			s.backdate(time.Minute)
			equal(s, "rows", 1, len(overdue(s)))
		}},
		{"rows in other states, or past their end, are not overdue", func(s suite[Tx]) {
			s.enqueued(note(jobs.Until(s.now().Add(time.Minute))))
			for _, state := range []jobs.RowState{jobs.RowDone, jobs.RowRefused, jobs.RowDead, jobs.RowClaimed, jobs.RowQueued} {
				s.in(state)
			}
			s.backdate(after)
			equal(s, "rows", 0, len(overdue(s)))
		}},
		{"overdue rows are listed in batches, the longest overdue first", func(s suite[Tx]) {
			var made []string
			for range 3 {
				made = append(made, s.enqueued(note()).ID)
				s.backdate(time.Second)
			}
			s.backdate(after)
			for _, want := range [][]string{made[:2], made[2:]} {
				rows, err := s.DB.OverdueRows(s.Context(), after, 2)
				must(s, err)
				if diff := cmp.Diff(want, ids(rows)); diff != "" {
					s.Errorf("batch (-want +got):\n%s", diff)
				}
			}
		}},
		{"two reconcilers do not look at the same rows", func(s suite[Tx]) {
			for range 20 {
				s.enqueued(note())
			}
			s.backdate(after)
			listed := make([][]string, 8)
			for _, err := range race(8, func(i int) error {
				rows, err := s.DB.OverdueRows(s.Context(), after, 10)
				listed[i] = ids(rows)
				return err
			}) {
				must(s, err)
			}
			all := slices.Concat(listed...)
			slices.Sort(all)
			equal(s, "listed by one only", len(all), len(slices.Compact(slices.Clone(all))))
			equal(s, "some are listed", true, len(all) >= 10)
		}},
		{"a restored row is claimed as its next attempt, after the pause", func(s suite[Tx]) {
			row := s.enqueued(note())
			restored, err := s.DB.RestoreRow(s.Context(), row, time.Minute)
			must(s, err)
			equal(s, "restored", true, restored)
			s.wantState(row.ID, jobs.RowQueued)
			equal(s, "rows before the pause is over", 0, len(s.claim(10)))
			s.backdate(time.Minute)
			rows := s.claim(10)
			if len(rows) != 1 {
				s.Fatalf("rows after the pause: want 1, got %d", len(rows))
			}
			equal(s, "task ID", row.ID+".2", rows[0].TaskID())
		}},
		{"a row is restored once for each time it was listed", func(s suite[Tx]) {
			row := s.enqueued(note())
			outcomes := make([]bool, 8)
			for _, err := range race(8, func(i int) (err error) {
				outcomes[i], err = s.DB.RestoreRow(s.Context(), row, 0)
				return err
			}) {
				must(s, err)
			}
			n := 0
			for _, restored := range outcomes {
				if restored {
					n++
				}
			}
			equal(s, "restored", 1, n)
			again := s.claim(10)
			must(s, s.DB.RowsEnqueued(s.Context(), again))
			restored, err := s.DB.RestoreRow(s.Context(), row, 0)
			must(s, err)
			equal(s, "restored by a listing of the attempt before", false, restored)
			equal(s, "attempt", 2, again[0].Attempt)
		}},
		{"a row that ended is not restored", func(s suite[Tx]) {
			for _, state := range ends() {
				row := s.in(state)
				row.Attempt = 1
				restored, err := s.DB.RestoreRow(s.Context(), row, 0)
				must(s, err)
				equal(s, "restored", false, restored)
				s.wantState(row.ID, state)
			}
		}},
		{"the attempt that was given up for lost may complete the row, but not end it as dead", func(s suite[Tx]) {
			row := s.enqueued(note())
			_, err := s.DB.RestoreRow(s.Context(), row, 0)
			must(s, err)
			must(s, s.DB.RowDead(s.Context(), ref(row.ID, row.Attempt), "out of retries"))
			s.wantState(row.ID, jobs.RowQueued)
			must(s, s.DB.RowDone(s.Context(), ref(row.ID, 1)))
			equal(s, "rows to claim", 0, len(s.claim(10)))
		}},
	}
}
