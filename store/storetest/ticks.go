package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/sealq/sealq/jobs"
)

func tickTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a due time becomes one tick with its outbox row, and advances the schedule", func(s suite[Tx]) {
			state := s.place()
			for n, after := range []time.Duration{5 * time.Minute, 25 * time.Minute} {
				s.made(due(state, after))
				equal(s, "last due time", due(state, after).At, s.schedule().LastDueAt)
				s.wantTicks(n + 1)
			}
			equal(s, "rows to claim", 2, len(s.claim(10)))
		}},
		{"a due time makes no tick again, nor one before it", func(s suite[Tx]) {
			state := s.place()
			last := due(state, 30*time.Minute)
			s.made(last)
			for _, after := range []time.Duration{30 * time.Minute, 20 * time.Minute} {
				equal(s, "answer", jobs.TickMade{LastDueAt: last.At}, s.noTick(due(state, after)))
			}
			s.wantTicks(1)
		}},
		{"the anchor is no due time, nor is the future", func(s suite[Tx]) {
			state := s.place()
			notDue := jobs.TickMade{LastDueAt: state.LastDueAt}
			equal(s, "anchor", notDue, s.noTick(jobs.Due{Schedule: state.Name, Revision: state.Revision, At: state.Anchor}))
			equal(s, "future", notDue, s.noTick(due(state, 61*time.Minute)))
			equal(s, "schedule", state, s.schedule())
		}},
		{"a schedule that was changed, paused or never placed makes no tick, and is said to be stale", func(s suite[Tx]) {
			state := s.place()
			old, unknown := due(state, 30*time.Minute), due(state, 30*time.Minute)
			old.Revision++
			unknown.Schedule = "unknown"
			equal(s, "changed", jobs.TickMade{Stale: true, LastDueAt: state.LastDueAt}, s.noTick(old))
			equal(s, "unknown", jobs.TickMade{Stale: true}, s.noTick(unknown))
			s.exec("UPDATE schedules SET paused = TRUE")
			equal(s, "paused", jobs.TickMade{Stale: true, LastDueAt: state.LastDueAt}, s.noTick(due(state, 30*time.Minute)))
			state.Paused = true
			equal(s, "schedule", state, s.schedule())
		}},
		{"a tick whose job cannot be recorded is not made, and no other is held up by it", func(s suite[Tx]) {
			states := s.many(4)
			s.enqueue(note(jobs.UniqueKey("one")))
			ticks := []jobs.Tick{
				{Due: due(states[0], 30*time.Minute), Job: note(jobs.UniqueKey("one"))},
				{Due: due(states[1], 30*time.Minute), Job: note(jobs.Queue("{}"))},
				{Due: due(states[2], 30*time.Minute), Job: note(jobs.UniqueKey("two"))},
				{Due: due(states[3], 30*time.Minute), Job: note(jobs.UniqueKey("two"))},
			}
			made, err := s.DB.MakeTicks(s.Context(), ticks)
			must(s, err)
			want(s, made[0].Err, jobs.ErrDuplicate)
			want(s, made[1].Err, jobs.ErrInvalidName)
			must(s, made[2].Err)
			want(s, made[3].Err, jobs.ErrDuplicate)
			for i, m := range made {
				equal(s, "made", i == 2, m.Made)
				if i != 1 {
					equal(s, "stands at", s.book().Schedules[i].LastDueAt, m.LastDueAt)
				}
			}
			equal(s, "ticks", "1", s.scalar("SELECT count(*) FROM ticks"))
			s.wantRows(2)
		}},
		{"many ticks are made at once, each answered in its place", func(s suite[Tx]) {
			states := s.many(60)
			var ticks []jobs.Tick
			for i, state := range slices.Backward(states) {
				d := due(state, 30*time.Minute)
				if i%3 == 0 {
					d.Revision++
				}
				ticks = append(ticks, jobs.Tick{Due: d, Job: note(jobs.Header("n", state.Name))})
			}
			made, err := s.DB.MakeTicks(s.Context(), ticks)
			must(s, err)
			for i, m := range made {
				stale := (len(states)-1-i)%3 == 0
				equal(s, "stale", stale, m.Stale)
				equal(s, "made", !stale, m.Made)
			}
			s.wantTicks(40)
			equal(s, "each with its own job", "40", s.scalar("SELECT count(DISTINCT headers) FROM outbox"))
			none, err := s.DB.MakeTicks(s.Context(), nil)
			must(s, err)
			equal(s, "answers to nothing", 0, len(none))
		}},
		{"of twenty schedulers at once one makes each tick", func(s suite[Tx]) {
			states := s.many(5)
			answers := make([][]jobs.TickMade, 20)
			for _, err := range race(20, func(i int) (err error) {
				var ticks []jobs.Tick
				for n := range states {
					ticks = append(ticks, jobs.Tick{Due: due(states[(n+i)%len(states)], 30*time.Minute), Job: note()})
				}
				answers[i], err = s.DB.MakeTicks(s.Context(), ticks)
				return err
			}) {
				must(s, err)
			}
			n := 0
			for i, made := range answers {
				for k, m := range made {
					if m.Made {
						n++
					}
					must(s, m.Err)
					equal(s, "stale", false, m.Stale)
					equal(s, "advanced", due(states[(k+i)%len(states)], 30*time.Minute).At, m.LastDueAt)
				}
			}
			equal(s, "made", 5, n)
			s.wantTicks(5)
		}},
		{"what was missed is counted with the tick after it, by one scheduler", func(s suite[Tx]) {
			state := s.place()
			d := due(state, 30*time.Minute)
			d.Missed = 5
			s.made(d)
			late := due(state, 40*time.Minute) // reckoned from before
			late.Missed = 7
			s.made(late)
			equal(s, "missed", int64(5), s.reported().Missed)
			s.placed("sweep", "@daily")
			equal(s, "missed since it is another", int64(0), s.reported().Missed)
		}},
		{"a tick that somebody asks for is made at once, though the schedule is paused, and advances nothing", func(s suite[Tx]) {
			state := s.place()
			s.made(due(state, 30*time.Minute))
			s.pause("sweep", true)
			state = s.schedule()
			run := jobs.Tick{Due: jobs.Due{Schedule: "sweep", Revision: state.Revision, At: s.now().Add(time.Microsecond)}, Job: note()}
			var row string
			must(s, s.try(func(tx Tx) (err error) { row, err = s.DB.RunSchedule(s.Context(), tx, run); return err }))
			s.wantState(row, jobs.RowQueued)
			equal(s, "schedule", state, s.schedule())
			again := func(t jobs.Tick) error {
				return s.try(func(tx Tx) error { _, err := s.DB.RunSchedule(s.Context(), tx, t); return err })
			}
			want(s, again(run), jobs.ErrScheduleMoved)
			run.At, run.Revision = run.At.Add(time.Second), run.Revision+1
			want(s, again(run), jobs.ErrScheduleMoved)
			s.wantTicks(2)
			history := s.history(10)
			equal(s, "manual", true, history[0].Manual)
			equal(s, "its row", row, history[0].RowID)
			equal(s, "not manual", false, history[1].Manual)
		}},
		{"ticks that are asked for and one that is due, at once, make one job that is unique, and none is in another's way", func(s suite[Tx]) {
			state := s.place()
			for round := range 20 {
				key := jobs.UniqueKey(fmt.Sprint("one ", round))
				outcomes := race(8, func(i int) error {
					if i%2 == 0 {
						made, err := s.DB.MakeTicks(s.Context(), []jobs.Tick{{Due: due(state, time.Duration(round+1)*time.Minute), Job: note(key)}})
						if err == nil && made[0].Err == nil && !made[0].Made {
							err = jobs.ErrDuplicate // another scheduler made it
						}
						if err != nil {
							return err
						}
						return made[0].Err
					}
					at := state.Anchor.Add(time.Duration(round*8+i)*time.Second + time.Microsecond)
					run := jobs.Tick{Due: jobs.Due{Schedule: "sweep", Revision: state.Revision, At: at}, Job: note(key)}
					return s.try(func(tx Tx) error { _, err := s.DB.RunSchedule(s.Context(), tx, run); return err })
				})
				wins := 0
				for _, err := range outcomes {
					if err == nil {
						wins++
					} else {
						want(s, err, jobs.ErrDuplicate)
					}
				}
				equal(s, "made", 1, wins)
			}
		}},
		{"a report tells the last tick, the last success and what is unfinished", func(s suite[Tx]) {
			state := s.place()
			r := s.reported()
			equal(s, "report", jobs.ScheduleReport{ScheduleState: state}, r)
			before := s.now()
			first, second := due(state, 5*time.Minute), due(state, 10*time.Minute)
			s.made(first)
			s.made(second)
			r = s.reported()
			equal(s, "last tick", second.At, r.LastTickAt)
			near(s, "unfinished", before, s.now(), r.Unfinished)
			equal(s, "no success", true, r.LastSuccessAt.IsZero() && r.LastStartedAt.IsZero())
			rows := s.claim(2)
			for i := range rows {
				rows[i].KID = boundKID
			}
			must(s, s.DB.RowsEnqueued(s.Context(), rows))
			must(s, s.DB.RowDone(s.Context(), ref(rows[0].ID, 1)))
			after := s.now()
			r = s.reported()
			near(s, "started", before, after, r.LastStartedAt)
			near(s, "success", before, after, r.LastSuccessAt)
			near(s, "unfinished", before, after, r.Unfinished)
			must(s, s.DB.RowDead(s.Context(), ref(rows[1].ID, 1), "broken"))
			r = s.reported()
			equal(s, "unfinished", true, r.Unfinished.IsZero())
			near(s, "success", before, after, r.LastSuccessAt)
			live := s.history(10)
			equal(s, "settled", 2, s.settle(10))
			equal(s, "again", 0, s.settle(10))
			settled := s.reported()
			equal(s, "outcome", jobs.RowDead, settled.LastOutcome)
			settled.LastOutcome = ""
			equal(s, "report once they are settled", r, settled)

			s.exec("DELETE FROM outbox")
			equal(s, "settled", 0, s.settle(10))
			settled = s.reported()
			settled.LastOutcome = ""
			equal(s, "report once the rows are purged", r, settled)
			purged := s.history(10)
			for i := range live {
				equal(s, "tick once its row is purged", live[i], purged[i])
			}
			equal(s, "cause", "broken", purged[0].Cause)
			equal(s, "outcomes", "dead done", string(purged[0].Outcome)+" "+string(purged[1].Outcome))
			near(s, "finished", before, s.now(), purged[0].FinishedAt)
		}},
		{"a tick whose row is gone before anybody looked is not taken for a success", func(s suite[Tx]) {
			s.made(due(s.place(), 5*time.Minute))
			s.exec("DELETE FROM outbox")
			equal(s, "outcome", jobs.RowGone, s.history(10)[0].Outcome)
			equal(s, "settled", 1, s.settle(10))
			r := s.reported()
			equal(s, "success", true, r.LastSuccessAt.IsZero())
			equal(s, "outcome", jobs.RowGone, r.LastOutcome)
		}},
		{"a tick whose row is reissued after it was settled is told by its new end", func(s suite[Tx]) {
			s.made(due(s.place(), 5*time.Minute))
			row := s.claim(1)[0].ID
			must(s, s.DB.RowDead(s.Context(), ref(row, 1), "broken"))
			equal(s, "settled", 1, s.settle(10))
			equal(s, "outcome", jobs.RowDead, s.reported().LastOutcome)
			must(s, s.reissue(row))
			equal(s, "unfinished", true, !s.reported().Unfinished.IsZero() && s.history(1)[0].Outcome == "")
			equal(s, "settled while it is unfinished", 0, s.settle(10))
			before := s.now()
			must(s, s.DB.RowsEnqueued(s.Context(), s.claim(1)))
			must(s, s.DB.RowDone(s.Context(), ref(row, 2)))
			near(s, "success", before, s.now(), s.reported().LastSuccessAt)
			equal(s, "settled again", 1, s.settle(10))
			s.exec("DELETE FROM outbox")
			r := s.reported()
			near(s, "success once it is settled", before, s.now(), r.LastSuccessAt)
			equal(s, "outcome", jobs.RowDone, r.LastOutcome)
			equal(s, "outcome of the tick", jobs.RowDone, s.history(1)[0].Outcome)
		}},
		{"the history is the newest first, and limited", func(s suite[Tx]) {
			state := s.place()
			equal(s, "no ticks yet", 0, len(s.history(10)))
			for _, after := range []time.Duration{5 * time.Minute, 10 * time.Minute, 15 * time.Minute} {
				s.made(due(state, after))
			}
			history := s.history(2)
			equal(s, "ticks", 2, len(history))
			equal(s, "newest", due(state, 15*time.Minute).At, history[0].DueAt)
			equal(s, "second", due(state, 10*time.Minute).At, history[1].DueAt)
			equal(s, "schedule", "sweep", history[0].Schedule)
			near(s, "made", state.Anchor, s.now(), history[0].MadeAt)
			equal(s, "unfinished", true, history[0].Outcome == "" && history[0].FinishedAt.IsZero() && history[0].StartedAt.IsZero())
		}},
		{"ticks are settled a few at a time, by any number at once", func(s suite[Tx]) {
			states := s.many(20)
			for _, state := range states {
				s.made(due(state, 5*time.Minute))
			}
			rows := s.claim(20)
			must(s, s.DB.RowsEnqueued(s.Context(), rows))
			for _, row := range rows {
				must(s, s.DB.RowDone(s.Context(), ref(row.ID, 1)))
			}
			equal(s, "settled", 7, s.settle(7))
			for _, err := range race(20, func(int) error { _, err := s.DB.SettleTicks(s.Context(), 5); return err }) {
				must(s, err)
			}
			s.settle(100)
			equal(s, "unsettled", "0", s.scalar("SELECT count(*) FROM ticks WHERE outcome <> 'done'"))
		}},
	}
}

func (s suite[Tx]) settle(limit int) int {
	s.Helper()
	n, err := s.DB.SettleTicks(s.Context(), limit)
	must(s, err)
	return n
}

func (s suite[Tx]) history(limit int) []jobs.TickInfo {
	s.Helper()
	ticks, err := s.DB.TickHistory(s.Context(), "sweep", limit)
	must(s, err)
	return ticks
}

// reported is that of the only schedule there is.
func (s suite[Tx]) reported() jobs.ScheduleReport {
	s.Helper()
	reports, now, err := s.DB.ScheduleReports(s.Context())
	must(s, err)
	near(s, "clock", s.now().Add(-time.Minute), s.now(), now)
	if len(reports) != 1 {
		s.Fatalf("reports: want 1, got %v", reports)
	}
	return reports[0]
}
