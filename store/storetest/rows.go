package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
)

// Rows is what operators' tools ask of a driver for single rows of the outbox.
type Rows interface {
	// EffectCommitted says what worker.Effects' EffectDone says, and changes nothing.
	EffectCommitted(ctx context.Context, kind jobs.Kind, effect string) (bool, error)
	// RowInfo says where a row stands, or jobs.ErrNoSuchRow.
	RowInfo(ctx context.Context, id string) (jobs.RowInfo, error)
	// ReissueRow queues the row as its next attempt, due at once or when its job may run, and enters e in the same
	// transaction, with the state that the row had. A row that ended takes its unique key back and has all of its tries
	// again; its end stays what it was. It returns jobs.ErrNoSuchRow, ErrRowDone where the effect is committed,
	// ErrOtherAttempt where r.Attempt is not the row's, ErrRowExpired, or ErrDuplicate where an unfinished row has the unique
	// key, and then changes nothing.
	ReissueRow(ctx context.Context, r jobs.RowRef, e audit.Entry) error
}

// reissued is what a test says that it does.
func reissued(id string) audit.Entry {
	return audit.Entry{Actor: "test", Action: "outbox.reissue", Subject: "outbox/" + id, Detail: map[string]string{"why": "the test"}}
}

// reissue reissues a row's first attempt.
func (s suite[Tx]) reissue(id string) error {
	return s.DB.ReissueRow(s.Context(), ref(id, 1), reissued(id))
}

// info is where a row stands.
func (s suite[Tx]) info(id string) jobs.RowInfo {
	s.Helper()
	info, err := s.DB.RowInfo(s.Context(), id)
	must(s, err)
	return info
}

// finish ends every row, so that the next claim finds the next row.
func (s suite[Tx]) finish() {
	s.Helper()
	s.exec("UPDATE outbox SET state = 'done', unique_key = NULL, lease_token = NULL, lease_until = NULL, ended_at = created_at WHERE ended_at IS NULL")
}

func rowTests[Tx any]() []test[Tx] {
	return append(lookTests[Tx](), reissueTests[Tx]()...)
}

func lookTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a look at an effect tells what a worker is told, and changes nothing", func(s suite[Tx]) {
			committed := func(kind jobs.Kind, id string) bool {
				s.Helper()
				is, err := s.DB.EffectCommitted(s.Context(), kind, id)
				must(s, err)
				return is
			}
			for _, state := range append([]jobs.RowState{jobs.RowQueued, jobs.RowClaimed, jobs.RowEnqueued}, ends()...) {
				row := s.in(state)
				equal(s, "committed, of a row that is "+string(state), state == jobs.RowDone, committed("test:note", row.ID))
				equal(s, "committed, under another kind", false, committed("test:other", row.ID))
				s.wantState(row.ID, state)
				must(s, s.DB.RowDone(s.Context(), ref(row.ID, 1)))
			}
			row := s.enqueued(note())
			_, err := s.once(s.Context(), effect(row.ID))
			must(s, err)
			s.exec(fmt.Sprintf("UPDATE outbox SET state = 'queued', ended_at = NULL WHERE id = '%s'", row.ID))
			equal(s, "in the ledger", true, committed("test:note", row.ID))
			s.wantState(row.ID, jobs.RowQueued) // EffectDone would complete it
			for _, id := range []string{"", "a\x00b\xff", "sweep@2030-01-01T00:00:00Z"} {
				equal(s, "committed, of nothing", false, committed("test:note", id))
				_, err := s.once(s.Context(), effect(id))
				must(s, err)
				equal(s, "in the ledger", true, committed("test:note", id))
			}
		}},
		{"a row tells which key signed it last, and when, whatever comes of it", func(s suite[Tx]) {
			row, other := s.claimed(note()), s.claimed(note())
			row.KID, other.KID = "f7e2c87f", "00000001"
			late := row
			late.LeaseToken, late.KID = "another", "ffffffff"
			before := s.now()
			must(s, s.DB.RowsEnqueued(s.Context(), []jobs.ClaimedRow{other, late, row}))
			near(s, "signed", before, s.now(), s.info(row.ID).SignedAt)
			equal(s, "key", "f7e2c87f", s.info(row.ID).KID)
			equal(s, "key of the other", "00000001", s.info(other.ID).KID)
			must(s, s.reissue(row.ID))
			equal(s, "key of the attempt before", "f7e2c87f", s.info(row.ID).KID)
			must(s, s.DB.RowsEnqueued(s.Context(), s.claim(10)))
			equal(s, "key, where none is told", "", s.info(row.ID).KID)
		}},
		{"a row that a worker was quicker to end is told which key signed it, and nothing else", func(s suite[Tx]) {
			row := s.claimed(note())
			row.KID = "f7e2c87f"
			must(s, s.DB.RowDone(s.Context(), ref(row.ID, 1)))
			before := s.info(row.ID)
			must(s, s.DB.RowsEnqueued(s.Context(), []jobs.ClaimedRow{row}))
			after := s.info(row.ID)
			equal(s, "key", row.KID, after.KID)
			near(s, "signed", before.EndedAt, s.now(), after.SignedAt)
			row.KID = "00000001" // a relay that was held up
			must(s, s.DB.RowsEnqueued(s.Context(), []jobs.ClaimedRow{row}))
			equal(s, "key, told again", "f7e2c87f", s.info(row.ID).KID)
			after.KID, after.SignedAt = before.KID, before.SignedAt
			equal(s, "the rest", before, after)
		}},
		{"a row tells where it stands", func(s suite[Tx]) {
			before := s.now()
			row := s.in(jobs.RowDead, jobs.Queue("critical"), jobs.MaxRetry(7))
			info := s.info(row.ID)
			near(s, "created", before, s.now(), info.CreatedAt)
			near(s, "not before", before, s.now(), info.NotBefore)
			near(s, "expires", before.Add(time.Hour), s.now().Add(time.Hour), info.ExpiresAt)
			near(s, "next", before, s.now(), info.NextAt)
			near(s, "ended", before, s.now(), info.EndedAt)
			near(s, "signed", before, s.now(), info.SignedAt)
			info.CreatedAt, info.NotBefore, info.ExpiresAt, info.NextAt, info.EndedAt, info.SignedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
			if diff := cmp.Diff(jobs.RowInfo{
				ID: row.ID, Kind: "test:note", Queue: "critical", State: jobs.RowDead, Attempt: 1, Retries: 7, Cause: "of the test",
			}, info); diff != "" {
				s.Errorf("-want +got:\n%s", diff)
			}
			open := s.info(s.enqueue(note()))
			equal(s, "ended, of an unfinished row", true, open.EndedAt.IsZero())
			equal(s, "signed, of one that waits", true, open.SignedAt.IsZero() && open.KID == "")
			for _, id := range []string{newPending("x").ID, "", "a\x00b\xff", row.ID + ".1"} {
				_, err := s.DB.RowInfo(s.Context(), id)
				want(s, err, jobs.ErrNoSuchRow)
			}
		}},
	}
}

func reissueTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"an unfinished row is reissued as its next attempt, due at once, whatever claim it was under", func(s suite[Tx]) {
			for _, state := range []jobs.RowState{jobs.RowQueued, jobs.RowClaimed, jobs.RowEnqueued} {
				row := s.in(state)
				must(s, s.reissue(row.ID))
				s.wantState(row.ID, jobs.RowQueued)
				if state == jobs.RowClaimed { // what the relay says of the attempt before counts no more
					must(s, s.DB.RowsEnqueued(s.Context(), []jobs.ClaimedRow{row}))
					must(s, s.giveBack(time.Hour, "late", row))
					must(s, s.DB.RefuseRow(s.Context(), row, "late"))
				}
				rows := s.claim(10)
				if len(rows) != 1 {
					s.Fatalf("rows to claim: want the reissued one, got %v", ids(rows))
				}
				equal(s, "task ID", row.ID+".2", rows[0].TaskID())
				must(s, s.DB.RowDone(s.Context(), ref(row.ID, 2)))
			}
		}},
		{"a reissue is in the audit log with the state that the row had, and one that is refused is not", func(s suite[Tx]) {
			row := s.in(jobs.RowDead)
			must(s, s.reissue(row.ID))
			want(s, s.reissue(row.ID), jobs.ErrOtherAttempt)
			entries := "SELECT count(*) FROM audit_log WHERE action = 'outbox.reissue' AND subject = 'outbox/" + row.ID + "'"
			equal(s, "entries", "1", s.scalar(entries))
			equal(s, "entries that tell what the row was", "1", s.scalar(entries+" AND CAST(detail AS text) LIKE '%dead%'"))
		}},
		{"a row that waited for its next try, or a pause, is due at once", func(s suite[Tx]) {
			row := s.claimed(note())
			must(s, s.giveBack(time.Hour, "Redis is away", row))
			must(s, s.reissue(row.ID))
			equal(s, "rows to claim", 1, len(s.claim(10)))
		}},
		{"a job that may not run yet is not brought forward", func(s suite[Tx]) {
			id := s.enqueue(note(jobs.In(time.Hour)))
			must(s, s.reissue(id))
			equal(s, "rows to claim", 0, len(s.claim(10)))
			s.backdate(59*time.Minute + time.Second)
			equal(s, "rows to claim a minute before", 1, len(s.claim(10)))
		}},
		{"a dead or refused row is reissued with all of its tries, and its end stays what it was", func(s suite[Tx]) {
			for _, state := range []jobs.RowState{jobs.RowDead, jobs.RowRefused} {
				row := s.in(state)
				s.exec(fmt.Sprintf("UPDATE outbox SET failures = 4 WHERE id = '%s'", row.ID))
				before := s.info(row.ID)
				s.backdate(10 * time.Minute)
				must(s, s.reissue(row.ID))
				after := s.info(row.ID)
				equal(s, "state", jobs.RowQueued, after.State)
				equal(s, "attempt", 2, after.Attempt)
				equal(s, "failures", 0, after.Failures)
				equal(s, "ended", true, after.EndedAt.IsZero())
				equal(s, "end", before.ExpiresAt.Add(-10*time.Minute), after.ExpiresAt)
				equal(s, "rows to claim", 1, len(s.claim(10)))
				must(s, s.DB.RowDone(s.Context(), ref(row.ID, 1)))
			}
		}},
		{"an unfinished row keeps its failures, and the next one counts at once", func(s suite[Tx]) {
			row := s.enqueued(note())
			failed := func(attempt int) int {
				s.Helper()
				n, err := s.DB.RowFailed(s.Context(), ref(row.ID, attempt), "no", func(int) time.Duration { return time.Hour })
				must(s, err)
				return n
			}
			equal(s, "failures", 1, failed(1))
			must(s, s.reissue(row.ID))
			equal(s, "failures of the attempt before", 0, failed(1))
			equal(s, "failures", 2, failed(2))
		}},
		{"a row whose effect is committed is not reissued, though only the ledger knows", func(s suite[Tx]) {
			row := s.in(jobs.RowDone)
			want(s, s.reissue(row.ID), jobs.ErrRowDone)
			want(s, s.DB.ReissueRow(s.Context(), ref(row.ID, 2), reissued(row.ID)), jobs.ErrRowDone)
			s.wantState(row.ID, jobs.RowDone)
			other := s.enqueued(note())
			_, err := s.once(s.Context(), effect(other.ID))
			must(s, err)
			s.exec(fmt.Sprintf("UPDATE outbox SET state = 'enqueued', ended_at = NULL WHERE id = '%s'", other.ID))
			want(s, s.reissue(other.ID), jobs.ErrRowDone)
			s.wantState(other.ID, jobs.RowEnqueued)
		}},
		{"a row past its end is not reissued, in whatever state", func(s suite[Tx]) {
			row := s.in(jobs.RowExpired)
			want(s, s.reissue(row.ID), jobs.ErrRowExpired)
			s.wantState(row.ID, jobs.RowExpired)
			for _, state := range []jobs.RowState{jobs.RowQueued, jobs.RowClaimed, jobs.RowEnqueued, jobs.RowRefused, jobs.RowDead} {
				row := s.in(state)
				s.backdate(time.Hour)
				want(s, s.reissue(row.ID), jobs.ErrRowExpired)
				s.wantState(row.ID, state)
			}
		}},
		{"only the row's own attempt and kind are reissued", func(s suite[Tx]) {
			row := s.enqueued(note())
			want(s, s.DB.ReissueRow(s.Context(), ref(row.ID, 2), reissued(row.ID)), jobs.ErrOtherAttempt)
			want(s, s.DB.ReissueRow(s.Context(), jobs.RowRef{ID: row.ID, Kind: "test:other", Attempt: 1}, reissued(row.ID)), jobs.ErrNoSuchRow)
			for _, id := range []string{newPending("x").ID, "", "a\x00b\xff", row.ID + ".1"} {
				want(s, s.reissue(id), jobs.ErrNoSuchRow)
			}
			equal(s, "attempt", 1, s.info(row.ID).Attempt)
			s.wantState(row.ID, jobs.RowEnqueued)
		}},
		{"a row that ended takes its unique key back, or is not reissued while another has it", func(s suite[Tx]) {
			for _, state := range []jobs.RowState{jobs.RowDead, jobs.RowRefused} {
				key := jobs.UniqueKey("one that is " + string(state))
				row := s.in(state, key)
				other := s.enqueue(note(key))
				want(s, s.reissue(row.ID), jobs.ErrDuplicate)
				s.wantState(row.ID, state)
				must(s, s.DB.RowDone(s.Context(), ref(other, 1)))
				must(s, s.reissue(row.ID))
				want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
					_, err := s.DB.EnqueueTx(s.Context(), tx, note(key))
					return err
				}), jobs.ErrDuplicate)
				// and once more, from a second end
				must(s, s.DB.RowDead(s.Context(), ref(row.ID, 2), "again"))
				s.enqueue(note(key))
				want(s, s.DB.ReissueRow(s.Context(), ref(row.ID, 2), reissued(row.ID)), jobs.ErrDuplicate)
				s.finish()
			}
		}},
		{"of twenty that reissue a row at once one does, and it has one attempt more", func(s suite[Tx]) {
			for _, state := range []jobs.RowState{jobs.RowEnqueued, jobs.RowDead} {
				row := s.in(state)
				did, didNot := tally(s, race(20, func(int) error { return s.reissue(row.ID) }), jobs.ErrOtherAttempt)
				equal(s, "did", 1, did)
				equal(s, "did not", 19, didNot)
				equal(s, "attempt", 2, s.info(row.ID).Attempt)
				s.finish()
			}
		}},
		{"of a reissue and a new job for one unique key one is unfinished in the end", func(s suite[Tx]) {
			for i := range 10 {
				key := jobs.UniqueKey(fmt.Sprint("one ", i))
				row := s.in(jobs.RowDead, key)
				won, _ := tally(s, race(2, func(i int) error {
					if i == 0 {
						return s.reissue(row.ID)
					}
					return s.DB.InTx(s.Context(), func(tx Tx) error {
						_, err := s.DB.EnqueueTx(s.Context(), tx, note(key))
						return err
					})
				}), jobs.ErrDuplicate)
				equal(s, "won", 1, won)
				equal(s, "unfinished", "1", s.scalar(fmt.Sprintf("SELECT count(*) FROM outbox WHERE unique_key = 'one %d'", i)))
				s.finish()
			}
		}},
		{"where a reissue meets the completion the row is done", func(s suite[Tx]) {
			for range 10 {
				row := s.enqueued(note())
				outcomes := race(2, func(i int) error {
					if i == 0 {
						return s.reissue(row.ID)
					}
					_, err := s.DB.Once(s.Context(), effect(row.ID), func(context.Context, Tx) error { return nil })
					return err
				})
				if err := outcomes[0]; err != nil && !errors.Is(err, jobs.ErrRowDone) {
					s.Errorf("reissue: got %v", err)
				}
				must(s, outcomes[1])
				s.wantState(row.ID, jobs.RowDone)
			}
		}},
		{"where a reissue meets a relay's claim the row is enqueued as its next attempt in the end", func(s suite[Tx]) {
			for range 10 {
				id := s.enqueue(note())
				for _, err := range race(2, func(i int) error {
					if i == 0 {
						return s.reissue(id)
					}
					rows, err := s.DB.ClaimRows(s.Context(), jobs.Claim{Kinds: []jobs.Kind{"test:note"}, Limit: 10, Lease: time.Minute})
					if err != nil {
						return err
					}
					return s.DB.RowsEnqueued(s.Context(), rows)
				}) {
					must(s, err)
				}
				if s.info(id).State == jobs.RowQueued {
					must(s, s.DB.RowsEnqueued(s.Context(), s.claim(10)))
				}
				equal(s, "attempt", 2, s.info(id).Attempt)
				s.wantState(id, jobs.RowEnqueued)
			}
		}},
	}
}
