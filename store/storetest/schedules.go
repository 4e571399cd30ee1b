package storetest

import (
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
)

// place places the schedule "sweep" and lets an hour pass.
func (s suite[Tx]) place() jobs.ScheduleState {
	s.Helper()
	must(s, s.DB.PlaceSchedule(s.Context(), "sweep", "*/5 * * * *"))
	s.backdate(time.Hour)
	return s.schedule()
}

// schedule is the only schedule there is.
func (s suite[Tx]) schedule() jobs.ScheduleState {
	s.Helper()
	states, _, err := s.DB.ScheduleStates(s.Context())
	must(s, err)
	if len(states) != 1 {
		s.Fatalf("schedules: want 1, got %v", states)
	}
	return states[0]
}

// due is a due time of the schedule, that long after its anchor.
func due(state jobs.ScheduleState, after time.Duration) jobs.Due {
	return jobs.Due{Schedule: state.Name, Revision: state.Revision, At: state.Anchor.Add(after).Truncate(time.Second)}
}

// wantTicks holds the schedule to its ticks, each of which has an outbox row.
func (s suite[Tx]) wantTicks(n int) {
	s.Helper()
	equal(s, "ticks", s.scalar("SELECT count(*) FROM outbox"), s.scalar("SELECT count(*) FROM ticks"))
	s.wantRows(n)
}

func scheduleTests[Tx any]() []test[Tx] {
	refused := func(s suite[Tx], d jobs.Due) {
		s.Helper()
		before := s.scalar("SELECT count(*) FROM ticks")
		made, err := s.DB.Tick(s.Context(), d, note())
		must(s, err)
		equal(s, "made", false, made)
		equal(s, "ticks", before, s.scalar("SELECT count(*) FROM ticks"))
		equal(s, "ticks and rows", before, s.scalar("SELECT count(*) FROM outbox"))
	}
	return []test[Tx]{
		{"without schedules there is still a clock", func(s suite[Tx]) {
			states, now, err := s.DB.ScheduleStates(s.Context())
			must(s, err)
			equal(s, "schedules", 0, len(states))
			near(s, "clock", now, s.now(), now)
			equal(s, "the clock is set", false, now.IsZero())
		}},
		{"the last success of a schedule is when the last of its jobs was done", func(s suite[Tx]) {
			successes := func() map[string]time.Time {
				s.Helper()
				got, err := s.DB.LastSuccesses(s.Context())
				must(s, err)
				return got
			}
			state := s.place()
			must(s, s.DB.PlaceSchedule(s.Context(), "never", "@daily"))
			for _, after := range []time.Duration{5 * time.Minute, 10 * time.Minute} {
				made, err := s.DB.Tick(s.Context(), due(state, after), note())
				must(s, err)
				equal(s, "made", true, made)
			}
			equal(s, "without a job that is done", 0, len(successes()))
			rows := s.claim(2)
			equal(s, "rows", 2, len(rows))
			must(s, s.DB.RowsEnqueued(s.Context(), rows))
			before := s.now()
			must(s, s.DB.RowDone(s.Context(), ref(rows[0].ID, 1)))
			after := s.now()
			must(s, s.DB.RowDead(s.Context(), ref(rows[1].ID, 1), "broken"))
			got := successes()
			equal(s, "schedules with a success", 1, len(got))
			near(s, "the last success", before, after, got["sweep"])
		}},
		{"a schedule is placed with now as its anchor and last due time", func(s suite[Tx]) {
			before := s.now()
			must(s, s.DB.PlaceSchedule(s.Context(), "sweep", "@every 5m"))
			state := s.schedule()
			near(s, "anchor", before, s.now(), state.Anchor)
			equal(s, "last due time", state.Anchor, state.LastDueAt)
			equal(s, "schedule", jobs.ScheduleState{
				Name: "sweep", Cron: "@every 5m", Revision: state.Revision, Anchor: state.Anchor, LastDueAt: state.LastDueAt,
			}, state)
		}},
		{"placing the same expression again changes nothing", func(s suite[Tx]) {
			state := s.place()
			must(s, s.DB.PlaceSchedule(s.Context(), state.Name, state.Cron))
			equal(s, "schedule", state, s.schedule())
		}},
		{"another expression makes a new revision, anchored now", func(s suite[Tx]) {
			state := s.place()
			before := s.now()
			must(s, s.DB.PlaceSchedule(s.Context(), state.Name, "@daily"))
			changed := s.schedule()
			equal(s, "cron", "@daily", changed.Cron)
			equal(s, "revision is another", true, state.Revision != changed.Revision)
			near(s, "anchor", before, s.now(), changed.Anchor)
			equal(s, "last due time", changed.Anchor, changed.LastDueAt)
			refused(s, jobs.Due{Schedule: state.Name, Revision: state.Revision, At: changed.Anchor.Add(time.Microsecond)})
		}},
		{"of twenty who place a schedule at once one does", func(s suite[Tx]) {
			for _, err := range race(20, func(int) error { return s.DB.PlaceSchedule(s.Context(), "sweep", "@daily") }) {
				must(s, err)
			}
			first := s.schedule()
			must(s, s.DB.PlaceSchedule(s.Context(), "sweep", "@daily"))
			equal(s, "schedule", first, s.schedule())
		}},
		{"schedules are listed by name", func(s suite[Tx]) {
			for _, name := range []string{"b", "a_c", "B", "ab", "a"} {
				must(s, s.DB.PlaceSchedule(s.Context(), name, "@daily"))
			}
			states, _, err := s.DB.ScheduleStates(s.Context())
			must(s, err)
			var names []string
			for _, state := range states {
				names = append(names, state.Name)
			}
			if diff := cmp.Diff([]string{"B", "a", "a_c", "ab", "b"}, names); diff != "" {
				s.Errorf("names (-want +got):\n%s", diff)
			}
		}},
		{"a due time becomes one tick with its outbox row, and advances the schedule", func(s suite[Tx]) {
			state := s.place()
			for n, after := range []time.Duration{5 * time.Minute, 25 * time.Minute} {
				made, err := s.DB.Tick(s.Context(), due(state, after), note())
				must(s, err)
				equal(s, "made", true, made)
				equal(s, "last due time", due(state, after).At, s.schedule().LastDueAt)
				s.wantTicks(n + 1)
			}
			equal(s, "rows to claim", 2, len(s.claim(10)))
		}},
		{"a due time makes no tick again, nor one before it", func(s suite[Tx]) {
			state := s.place()
			_, err := s.DB.Tick(s.Context(), due(state, 30*time.Minute), note())
			must(s, err)
			refused(s, due(state, 30*time.Minute))
			refused(s, due(state, 20*time.Minute))
			s.wantTicks(1)
		}},
		{"the anchor is no due time, nor is the future", func(s suite[Tx]) {
			state := s.place()
			refused(s, jobs.Due{Schedule: state.Name, Revision: state.Revision, At: state.Anchor})
			refused(s, due(state, 61*time.Minute))
			equal(s, "schedule", state, s.schedule())
		}},
		{"a schedule that was changed, paused or never placed makes no tick", func(s suite[Tx]) {
			state := s.place()
			old, unknown := due(state, 30*time.Minute), due(state, 30*time.Minute)
			old.Revision++
			unknown.Schedule = "unknown"
			refused(s, old)
			refused(s, unknown)
			s.exec("UPDATE schedules SET paused = TRUE")
			refused(s, due(state, 30*time.Minute))
			state.Paused = true
			equal(s, "schedule", state, s.schedule())
		}},
		{"a tick whose job cannot be recorded is not made", func(s suite[Tx]) {
			state := s.place()
			s.enqueue(note(jobs.UniqueKey("one")))
			for job, cause := range map[*jobs.Job]error{
				new(note(jobs.UniqueKey("one"))): jobs.ErrDuplicate,
				new(note(jobs.Queue("{}"))):      jobs.ErrInvalidName,
			} {
				made, err := s.DB.Tick(s.Context(), due(state, 30*time.Minute), *job)
				want(s, err, cause)
				equal(s, "made", false, made)
			}
			equal(s, "schedule", state, s.schedule())
			equal(s, "ticks", "0", s.scalar("SELECT count(*) FROM ticks"))
			s.wantRows(1)
		}},
		{"of twenty schedulers at once one makes the tick", func(s suite[Tx]) {
			state := s.place()
			made := make([]bool, 20)
			for _, err := range race(20, func(i int) (err error) {
				made[i], err = s.DB.Tick(s.Context(), due(state, 30*time.Minute), note())
				return err
			}) {
				must(s, err)
			}
			n := 0
			for _, tick := range made {
				if tick {
					n++
				}
			}
			equal(s, "made", 1, n)
			s.wantTicks(1)
		}},
	}
}
