package storetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sealq/sealq/audit"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/sweep"
)

// madeAgo is an ID of version 7 that was made that long ago by the database's clock.
func (s suite[Tx]) madeAgo(ago time.Duration) string {
	s.Helper()
	id := uuid.Must(uuid.NewV7())
	var millis [8]byte
	binary.BigEndian.PutUint64(millis[:], uint64(s.now().Add(-ago).UnixMilli())<<16)
	copy(id[:6], millis[:6])
	return id.String()
}

// aged brings a row into the state and lets that long pass. The database moves its times, and what is made here its ID.
func (s suite[Tx]) aged(state jobs.RowState, ago time.Duration, opts ...jobs.Option) (id string) {
	s.Helper()
	row := s.in(state, opts...)
	s.backdate(ago)
	id = s.madeAgo(ago)
	s.exec(fmt.Sprintf("UPDATE outbox SET id = '%s' WHERE id = '%s'", id, row.ID))
	return id
}

// swept holds a walk to how much it counts, and to how much it deletes, in batches of two.
func (s suite[Tx]) swept(w sweep.Walk, want int64) {
	s.Helper()
	count := func(when string, want int64) {
		s.Helper()
		n, err := s.DB.CountDue(s.Context(), w, true)
		must(s, err)
		equal(s, fmt.Sprint(w.Part, " that are due ", when), want, n)
		_, err = s.DB.CountDue(s.Context(), w, false)
		must(s, err)
	}
	count("before", want)
	var gone int64
	for range want + 2 {
		b, err := s.DB.SweepBatch(s.Context(), w, 2)
		must(s, err)
		gone += int64(b.Gone)
		if b.Gone > 2 || gone < want && !b.More {
			s.Errorf("%s: a batch of 2 is %+v, after %d of %d", w.Part, b, gone, want)
		}
	}
	equal(s, fmt.Sprint(w.Part, " that went"), want, gone)
	count("afterwards", 0)
}

// hasRows holds a table to how many rows it has.
func (s suite[Tx]) hasRows(table string, want int) {
	s.Helper()
	equal(s, "rows of "+table, fmt.Sprint(want), s.scalar("SELECT count(*) FROM "+table))
}

func retentionTests[Tx any]() []test[Tx] {
	return append(append(jobRetentionTests[Tx](), otherRetentionTests[Tx]()...), auditRetentionTests[Tx]()...)
}

func jobRetentionTests[Tx any]() []test[Tx] {
	walk := sweep.Walk{Part: sweep.Jobs, Keep: month}
	return []test[Tx]{
		{"jobs go that have ended long enough ago, however they ended, and no other", func(s suite[Tx]) {
			ended := []jobs.RowState{jobs.RowDone, jobs.RowRefused, jobs.RowDead, jobs.RowExpired}
			for _, state := range ended {
				s.aged(state, month+time.Hour)
			}
			young := s.aged(jobs.RowDone, month-time.Hour)
			for _, state := range []jobs.RowState{jobs.RowClaimed, jobs.RowEnqueued, jobs.RowQueued} {
				row := s.in(state)
				s.exec(fmt.Sprintf("UPDATE outbox SET id = '%s' WHERE id = '%s'", s.madeAgo(2*month), row.ID))
			}
			s.swept(walk, int64(len(ended)))
			s.hasRows("outbox", 4)
			s.wantState(young, jobs.RowDone)
		}},
		{"a job that ended long ago stays as long as a task of it might be accepted, and as long as a schedule is told of by it", func(s suite[Tx]) {
			s.aged(jobs.RowDone, 2*month, jobs.Until(s.now().Add(5*month)))
			told := s.aged(jobs.RowDone, 2*month)
			s.placed("sweep", "@daily")
			s.exec("INSERT INTO ticks (schedule, due_at, row_id, made_at) SELECT name, anchor, '" + told + "', anchor FROM schedules")
			s.swept(walk, 0)
			s.exec("DELETE FROM ticks")
			s.backdate(7 * time.Hour) // what was passed over is looked at again by then
			s.swept(walk, 1)
			s.hasRows("outbox", 1)
		}},
		{"an effect stays in the ledger until its time, though its job is gone: it does not happen again", func(s suite[Tx]) {
			row := s.enqueued(note())
			e := effect(row.ID)
			e.Keep = 2 * month
			_, err := s.once(s.Context(), e)
			must(s, err)
			s.backdate(month + time.Hour)
			s.exec("DELETE FROM outbox")
			s.swept(sweep.Walk{Part: sweep.Ledger}, 0)
			done, err := s.once(s.Context(), e)
			must(s, err)
			equal(s, "done before", true, done)
			s.backdate(month - 2*time.Hour)
			s.swept(sweep.Walk{Part: sweep.Ledger}, 0)
			s.backdate(time.Hour)
			s.swept(sweep.Walk{Part: sweep.Ledger}, 1)
			s.hasRows("ledger", 0)
		}},
		{"ticks go that are old, but for the newest hundred of each schedule", func(s suite[Tx]) {
			walk := sweep.Walk{Part: sweep.Ticks, Keep: month}
			tick := func(schedule, cron string) {
				s.Helper()
				s.placed(schedule, cron) // anchored now
				s.exec(fmt.Sprintf("INSERT INTO ticks (schedule, due_at, row_id, made_at) SELECT name, anchor, '%s', anchor FROM schedules WHERE name = '%s'",
					s.madeAgo(2*month), schedule))
				s.backdate(time.Second)
			}
			for i := range sweep.KeptTicks + 3 {
				tick("often", []string{"@daily", "@hourly"}[i%2])
			}
			tick("seldom", "@daily")
			s.swept(walk, 3)
			s.hasRows("ticks", sweep.KeptTicks+1)
		}},
		{"a mail goes with its tries when its job is gone and it is old, and not while a run holds it", func(s suite[Tx]) {
			walk := sweep.Walk{Part: sweep.Mails, Keep: month}
			row := s.enqueue(note())
			saved := s.save(newPending("da@example.org"))
			for _, id := range []string{"direct", row} {
				c := mailClaim(saved)
				c.MailID, c.MessageID = id, id+"@example.org"
				d := s.claimMail(c)
				must(s, s.DB.MailFailed(s.Context(), d, accepted(), "a try"))
			}
			s.backdate(month - time.Minute)
			s.swept(walk, 0)
			s.backdate(time.Minute)
			s.save(newPending("live@example.org"))
			s.exec("UPDATE mails SET lease_token = 'a run', lease_until = (SELECT max(expires_at) FROM pending_users) WHERE id = 'direct'")
			s.swept(walk, 0)
			s.exec("UPDATE mails SET lease_token = NULL, lease_until = NULL")
			s.swept(walk, 1)
			s.hasRows("mails", 1)
			s.hasRows("mail_attempts", 1)
			s.exec("DELETE FROM outbox")
			s.backdate(7 * time.Hour) // what was passed over is looked at again by then
			s.swept(walk, 1)
			s.hasRows("mail_attempts", 0)
		}},
	}
}

func otherRetentionTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"what is counted before a purge is what goes: also a job whose tick goes before it, and a mail whose job does", func(s suite[Tx]) {
			s.placed("often", "@daily")
			told := s.aged(jobs.RowDone, 2*month)
			s.exec("INSERT INTO ticks (schedule, due_at, row_id, made_at) SELECT name, anchor, '" + told + "', anchor FROM schedules")
			for range sweep.KeptTicks {
				s.backdate(time.Second)
				s.placed("often", "@hourly")
				s.placed("often", "@daily") // anchored now
				s.exec(fmt.Sprintf("INSERT INTO ticks (schedule, due_at, row_id, made_at) SELECT name, anchor, '%s', anchor FROM schedules", s.madeAgo(2*month)))
			}
			mailed, queued := s.aged(jobs.RowDone, 2*month), s.enqueue(note())
			saved := s.save(newPending("da@example.org"))
			for _, id := range []string{mailed, told, queued, "direct"} {
				c := mailClaim(saved)
				c.MailID, c.MessageID = id, id+"@example.org"
				must(s, s.DB.MailFailed(s.Context(), s.claimMail(c), accepted(), "a try"))
			}
			s.backdate(month)
			walks := sweep.Retention{Done: month}.Walks()
			counted, gone := make(map[sweep.Part]int64), make(map[sweep.Part]int64)
			for _, w := range walks {
				n, err := s.DB.CountDue(s.Context(), w, true)
				must(s, err)
				counted[w.Part] = n
			}
			for _, w := range walks {
				b, err := s.DB.SweepBatch(s.Context(), w, 1000)
				must(s, err)
				gone[w.Part] = int64(b.Gone)
			}
			equal(s, "jobs and mails that went", [2]int64{2, 3}, [2]int64{gone[sweep.Jobs], gone[sweep.Mails]})
			equal(s, "counted", fmt.Sprint(gone), fmt.Sprint(counted))
		}},
		{"links that are over go, a day later, and those that work stay", func(s suite[Tx]) {
			for i, end := range []time.Duration{25 * time.Hour, time.Hour, 0} {
				p := newPending(fmt.Sprintf("%d@example.org", i))
				s.user(p)
				s.token(newReset(p.EmailNorm)) // for an hour
				s.backdate(end)
			}
			s.swept(sweep.Walk{Part: sweep.Tokens, Keep: 24 * time.Hour}, 1)
			s.hasRows("user_tokens", 2)
		}},
		{"refused tasks go that are old, signed or not, and their budgets have room again", func(s suite[Tx]) {
			s.shelf()
			before := s.usage()
			s.swept(sweep.Walk{Part: sweep.Quarantine, Keep: 24 * time.Hour}, 4)
			now := s.usage()
			equal(s, "unverified", before.Unverified.Entries-2, now.Unverified.Entries)
			equal(s, "authentic", before.Authentic.Entries-2, now.Authentic.Entries)
		}},
		{"a part that there is not is an error", func(s suite[Tx]) {
			if _, err := s.DB.SweepBatch(s.Context(), sweep.Walk{Part: "users"}, 1); err == nil {
				s.Error("swept")
			}
			if _, err := s.DB.CountDue(s.Context(), sweep.Walk{Part: "users"}, true); err == nil {
				s.Error("counted")
			}
		}},
	}
}

func auditRetentionTests[Tx any]() []test[Tx] {
	all := sweep.Walk{Part: sweep.Audit} // linked a moment ago is old enough
	return []test[Tx]{
		{"old links of the audit log go up to the first that is young, and the chain holds from there", func(s suite[Tx]) {
			s.save(newPending("da@example.org"))
			s.backdate(month)
			s.Unguard(s) // so that some are old
			s.appended("a", "b", "c")
			s.exec("UPDATE audit_log SET at = (SELECT created_at FROM pending_users)")
			s.appended("d", "e")
			head := s.chained(5)
			s.swept(sweep.Walk{Part: sweep.Audit, Keep: month + time.Hour}, 0)
			s.swept(sweep.Walk{Part: sweep.Audit, Keep: month - time.Hour}, 3)
			verified, err := audit.Verify(s.Context(), s.DB, head)
			must(s, err)
			equal(s, "head", head, verified)
			if got := fmt.Sprint(s.actions()); got != "[d e]" {
				s.Errorf("left: %s", got)
			}
		}},
		{"the newest link stays, the chain goes on from it, and what is not linked is not purged", func(s suite[Tx]) {
			s.appended("a", "b", "c")
			s.chained(3)
			s.appended("d")
			s.swept(all, 2)
			s.hasRows("audit_log", 2)
			s.sound(3)
			s.chained(4)
			s.swept(all, 1)
			s.sound(4)
		}},
		{"a head that was kept is held against what is left, and one from before proves nothing any more", func(s suite[Tx]) {
			var heads []audit.Head
			for i, action := range []string{"a", "b", "c", "d"} {
				s.appended(action)
				heads = append(heads, s.chained(i+1))
			}
			_, err := s.DB.SweepBatch(s.Context(), all, 2)
			must(s, err)
			anchor, err := s.DB.AuditAnchor(s.Context())
			must(s, err)
			equal(s, "anchor", heads[1], anchor)
			for i, wanted := range []error{audit.ErrPurged, nil, nil, nil} {
				_, err := audit.Verify(s.Context(), s.DB, heads[i])
				want(s, err, wanted)
			}
			other := heads[1]
			other.Hash[0]++
			_, err = audit.Verify(s.Context(), s.DB, other)
			want(s, err, audit.ErrBroken)
			s.Unguard(s)
			s.exec("UPDATE audit_log SET subject = 'another' WHERE position = 3")
			_, err = audit.Verify(s.Context(), s.DB, heads[3])
			if e, ok := errors.AsType[*audit.BrokenError](err); !ok || e.Position != 3 {
				s.Errorf("want the chain broken at 3, got %v", err)
			}
		}},
		{"the anchor of the audit log moves forward alone, and nothing behind it goes", func(s suite[Tx]) {
			s.appended("a", "b", "c", "d")
			s.chained(4)
			_, err := s.DB.SweepBatch(s.Context(), all, 2)
			must(s, err)
			for _, statement := range []string{
				"DELETE FROM audit_log WHERE position = 3",
				"DELETE FROM audit_log",
				"DELETE FROM audit_anchor",
				"UPDATE audit_anchor SET position = 1",
				"UPDATE audit_anchor SET position = 3", // with another's hash
				"UPDATE audit_anchor SET position = 4, hash = (SELECT hash FROM audit_log WHERE position = 4)",
				"UPDATE audit_anchor SET position = 40",
			} {
				if err := s.Try(s, statement); err == nil || !contains(err.Error(), "append-only") {
					s.Errorf("%s: want it refused as append-only, got %v", statement, err)
				}
			}
			s.sound(4)
		}},
		{"where nothing is linked nothing is purged", func(s suite[Tx]) {
			s.appended("a")
			s.swept(all, 0)
			s.chained(1)
		}},
	}
}
