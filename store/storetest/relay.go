package storetest

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
)

func relayTests[Tx any]() []test[Tx] {
	return append(claimTests[Tx](), endingTests[Tx]()...)
}

func claimTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"an empty outbox has nothing to claim", func(s suite[Tx]) {
			equal(s, "rows", 0, len(s.claim(10)))
			must(s, s.DB.RowsEnqueued(s.Context(), nil))
			must(s, s.giveBack(0, "nothing"))
		}},
		{"rows are claimed in the order of their IDs, as many as asked for", func(s suite[Tx]) {
			var made []string
			for range 5 {
				made = append(made, s.enqueue(note()))
			}
			if diff := cmp.Diff(made[:3], ids(s.claim(3))); diff != "" {
				s.Errorf("first claim (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(made[3:], ids(s.claim(10))); diff != "" {
				s.Errorf("second claim (-want +got):\n%s", diff)
			}
		}},
		{"a claim that lapses is another's, and the token of the first proves nothing any more", func(s suite[Tx]) {
			first := s.claimed(note())
			s.backdate(50 * time.Second)
			equal(s, "rows claimed under a lease", 0, len(s.claim(10)))
			s.backdate(10 * time.Second)
			rows := s.claim(10)
			if len(rows) != 1 {
				s.Fatalf("want the lapsed row, got %v", ids(rows))
			}
			second := rows[0]
			equal(s, "the token is another", true, first.LeaseToken != second.LeaseToken)
			equal(s, "attempt", 1, second.Attempt)
			equal(s, "rows claimed under the second lease", 0, len(s.claim(10)))
			must(s, s.DB.RowsEnqueued(s.Context(), []jobs.ClaimedRow{first}))
			must(s, s.giveBack(0, "late", first))
			must(s, s.DB.RefuseRow(s.Context(), first, "late"))
			s.wantState(first.ID, jobs.RowClaimed)
			must(s, s.DB.RowsEnqueued(s.Context(), []jobs.ClaimedRow{second}))
			s.wantState(first.ID, jobs.RowEnqueued)
		}},
		{"a row that is due later is claimed a minute before that, not earlier", func(s suite[Tx]) {
			id := s.enqueue(note(jobs.In(time.Hour)))
			s.backdate(58 * time.Minute)
			equal(s, "rows two minutes before", 0, len(s.claim(10)))
			s.backdate(65 * time.Second)
			rows := s.claim(10)
			if diff := cmp.Diff([]string{id}, ids(rows)); diff != "" {
				s.Fatalf("rows 55 s before (-want +got):\n%s", diff)
			}
			equal(s, "due in the future", true, rows[0].NotBefore.After(s.now()))
		}},
		{"a relay claims rows of the kinds it names alone, and none where it names none", func(s suite[Tx]) {
			other := jobs.Define[noteArgs]("test:other", jobs.Policy{Queue: "mail", MaxAge: time.Hour})
			foreign := s.enqueue(other.With(noteArgs{}))
			mine := s.enqueue(note())
			equal(s, "rows of no kind", 0, len(s.claimOf(10, nil)))
			equal(s, "rows of a kind that is not there", 0, len(s.claimOf(10, []jobs.Kind{"test", "test:not", "test:note\x00", "test:notes"})))
			if diff := cmp.Diff([]string{mine}, ids(s.claim(10))); diff != "" {
				s.Errorf("rows of one kind (-want +got):\n%s", diff)
			}
			s.wantState(foreign, jobs.RowQueued)
			s.backdate(time.Minute) // the claim lapses
			both := []jobs.Kind{"test:note", "test:other", "test:note"}
			if diff := cmp.Diff([]string{foreign, mine}, ids(s.claimOf(10, both))); diff != "" {
				s.Errorf("rows of both kinds (-want +got):\n%s", diff)
			}
		}},
		{"rows in queues that a relay skips stay where they are, and keep no others", func(s suite[Tx]) {
			var full, others []string
			for range 3 {
				full = append(full, s.enqueue(note(jobs.Queue("full"))))
			}
			for _, queue := range []string{"critical", "mail", "maintenance"} { // before and after it
				others = append(others, s.enqueue(note(jobs.Queue(queue))))
			}
			if diff := cmp.Diff(others, ids(s.claim(3, "full", "not there"))); diff != "" {
				s.Errorf("rows of other queues (-want +got):\n%s", diff)
			}
			equal(s, "rows of no queue", 0, len(s.claim(10, "full")))
			if diff := cmp.Diff(full, ids(s.claim(10))); diff != "" {
				s.Errorf("rows of the queue (-want +got):\n%s", diff)
			}
		}},
		{"over all queues those that have waited longest are claimed, a claim that lapsed counts from its end", func(s suite[Tx]) {
			var made []string
			for _, queue := range []string{"mail", "critical", "mail", "default"} {
				made = append(made, s.enqueue(note(jobs.Queue(queue))))
				s.backdate(time.Second)
			}
			if diff := cmp.Diff(made[:1], ids(s.claim(1))); diff != "" {
				s.Errorf("first claim (-want +got):\n%s", diff)
			}
			s.backdate(time.Minute)
			for _, want := range [][]string{made[1:3], {made[0], made[3]}, {}} {
				if diff := cmp.Diff(want, ids(s.claim(2))); diff != "" {
					s.Errorf("next claim (-want +got):\n%s", diff)
				}
			}
		}},
		{"however many rows of one kind are due, a claim has rows of the others, and of each queue", func(s suite[Tx]) {
			other := jobs.Define[noteArgs]("test:other", jobs.Policy{Queue: "mail", MaxAge: time.Hour})
			var flood []string
			for range 6 {
				flood = append(flood, s.enqueue(note(jobs.Queue("mail"))))
			}
			s.backdate(10 * time.Second)
			quiet := []string{s.enqueue(other.With(noteArgs{})), s.enqueue(note(jobs.Queue("low")))}
			both := []jobs.Kind{"test:note", "test:other"}
			for i, want := range [][]string{{flood[0], quiet[0], quiet[1]}, flood[1:4], flood[4:]} {
				if diff := cmp.Diff(want, ids(s.claimOf(3, both))); diff != "" {
					s.Errorf("claim %d (-want +got):\n%s", i+1, diff)
				}
			}
		}},
		{"a row past its end is not claimed, nor one whose claim has lapsed", func(s suite[Tx]) {
			s.claimed(note())
			s.enqueue(note())
			s.backdate(time.Hour)
			equal(s, "rows", 0, len(s.claim(10)))
		}},
		{"rows that ended are not claimed", func(s suite[Tx]) {
			for _, state := range ends() {
				s.in(state)
			}
			s.enqueued(note())
			equal(s, "rows", 0, len(s.claim(10)))
		}},
		{"eight relays claim disjoint rows, and all of them", func(s suite[Tx]) {
			const rows = 200
			s.tx(func(tx Tx) error {
				var trouble error
				for range rows {
					_, err := s.DB.EnqueueTx(s.Context(), tx, note())
					trouble = errors.Join(trouble, err)
				}
				return trouble
			})
			claimed := make([][]string, 8)
			var total atomic.Int64
			for _, err := range race(8, func(i int) error {
				for range 1000 { // an empty claim may mean that others have locked what is left
					batch, err := s.DB.ClaimRows(s.Context(), jobs.Claim{Kinds: []jobs.Kind{"test:note"}, Limit: 7, Lease: time.Hour})
					if err != nil {
						return err
					}
					claimed[i] = append(claimed[i], ids(batch)...)
					if total.Add(int64(len(batch))) >= rows {
						return nil
					}
				}
				return errors.New("a thousand claims did not empty the outbox")
			}) {
				must(s, err)
			}
			all := slices.Concat(claimed...)
			equal(s, "claimed", rows, len(all))
			slices.Sort(all)
			equal(s, "claimed by one only", rows, len(slices.Compact(all)))
		}},
	}
}

func endingTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a whole batch is marked as enqueued, but for rows that are done by then", func(s suite[Tx]) {
			for range 3 {
				s.enqueue(note())
			}
			rows := s.claim(10)
			must(s, s.DB.RowDone(s.Context(), ref(rows[1].ID, 1))) // a fast worker
			must(s, s.DB.RowsEnqueued(s.Context(), rows))
			s.wantState(rows[0].ID, jobs.RowEnqueued)
			s.wantState(rows[1].ID, jobs.RowDone)
			s.wantState(rows[2].ID, jobs.RowEnqueued)
		}},
		{"returned rows are claimed again after the pause, as the same attempt", func(s suite[Tx]) {
			row := s.claimed(note())
			must(s, s.giveBack(time.Minute, "Redis is away\x00\xff", row))
			s.wantState(row.ID, jobs.RowQueued)
			equal(s, "a cause", "1", s.scalar("SELECT count(*) FROM outbox WHERE cause <> ''"))
			equal(s, "rows before the pause is over", 0, len(s.claim(10)))
			s.backdate(time.Minute)
			again := s.claim(10)
			if len(again) != 1 {
				s.Fatalf("rows after the pause: want 1, got %d", len(again))
			}
			equal(s, "task ID", row.TaskID(), again[0].TaskID())
		}},
		{"rows are returned together, each with its own pause and cause", func(s suite[Tx]) {
			for range 3 {
				s.enqueue(note())
			}
			rows := s.claim(10)
			must(s, s.DB.ReturnRows(s.Context(), []jobs.ReturnedRow{
				{ClaimedRow: rows[0], Pause: 40 * time.Second, Cause: "a"}, {ClaimedRow: rows[1], Cause: "b"}, {ClaimedRow: rows[2], Pause: 10 * time.Second, Cause: "c"},
			}))
			for i, cause := range []string{"a", "b", "c"} {
				equal(s, "rows with that cause", "1", s.scalar("SELECT count(*) FROM outbox WHERE cause = '"+cause+"' AND id = '"+rows[i].ID+"'"))
			}
			for _, want := range []int{1, 2, 0} {
				if diff := cmp.Diff([]string{rows[want].ID}, ids(s.claim(10))); diff != "" {
					s.Errorf("next claim (-want +got):\n%s", diff)
				}
				s.backdate(25 * time.Second)
			}
		}},
		{"rows returned without a pause are claimed at once", func(s suite[Tx]) {
			must(s, s.giveBack(0, "", s.claimed(note())))
			equal(s, "rows", 1, len(s.claim(10)))
		}},
		{"a claimed row is refused with the cause", func(s suite[Tx]) {
			row := s.claimed(note())
			must(s, s.DB.RefuseRow(s.Context(), row, "unknown name \x00\xff"))
			s.wantState(row.ID, jobs.RowRefused)
			equal(s, "a cause", "1", s.scalar("SELECT count(*) FROM outbox WHERE cause <> ''"))
		}},
		{"a row that is not claimed is not refused by a relay", func(s suite[Tx]) {
			row := s.enqueued(note())
			must(s, s.DB.RefuseRow(s.Context(), row, "late"))
			s.wantState(row.ID, jobs.RowEnqueued)
		}},
		{"past its end a queued row expires at once, a claimed or enqueued one after grace", func(s suite[Tx]) {
			enqueued, claimed, queued := s.enqueued(note()), s.claimed(note()), s.enqueue(note())
			expire := func(grace time.Duration, want int) {
				s.Helper()
				n, err := s.DB.ExpireRows(s.Context(), grace, 10)
				must(s, err)
				equal(s, "expired", want, n)
			}
			expire(0, 0)
			s.backdate(time.Hour)
			expire(2*time.Minute, 1)
			s.wantState(queued, jobs.RowExpired)
			s.wantState(claimed.ID, jobs.RowClaimed)
			s.wantState(enqueued.ID, jobs.RowEnqueued)
			s.backdate(2 * time.Minute)
			expire(2*time.Minute, 2)
			s.wantState(claimed.ID, jobs.RowExpired)
			s.wantState(enqueued.ID, jobs.RowExpired)
			expire(0, 0)
		}},
		{"rows of every kind and queue expire", func(s suite[Tx]) {
			later := jobs.Define[noteArgs]("test:Later", jobs.Policy{MaxAge: 3 * time.Hour})
			alive := []string{s.enqueue(later.With(noteArgs{})), s.enqueue(later.With(noteArgs{}, jobs.Queue("mail")))}
			over := []string{s.enqueued(note()).ID}
			for _, queue := range []string{"Mail", "critical", "default", "mail"} { // beside those, before and after
				over = append(over, s.enqueue(note(jobs.Queue(queue))))
			}
			s.backdate(2 * time.Hour)
			n, err := s.DB.ExpireRows(s.Context(), 0, 10)
			must(s, err)
			equal(s, "expired", len(over), n)
			for _, id := range over {
				s.wantState(id, jobs.RowExpired)
			}
			for _, id := range alive {
				s.wantState(id, jobs.RowQueued)
			}
		}},
		{"rows that ended do not expire", func(s suite[Tx]) {
			for _, state := range ends() {
				row := s.in(state)
				s.backdate(2 * time.Hour)
				n, err := s.DB.ExpireRows(s.Context(), 0, 10)
				must(s, err)
				equal(s, "expired", 0, n)
				s.wantState(row.ID, state)
			}
		}},
		{"rows expire in batches", func(s suite[Tx]) {
			for range 5 {
				s.enqueue(note())
			}
			s.backdate(time.Hour)
			for _, want := range []int{2, 2, 1, 0} {
				n, err := s.DB.ExpireRows(s.Context(), time.Minute, 2)
				must(s, err)
				equal(s, "expired", want, n)
			}
		}},
	}
}
