package storetest

import (
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
)

// plan is a schedule of the suite's own kind.
func plan(name, cron string) jobs.SchedulePlan {
	return jobs.SchedulePlan{
		Name: name, Cron: cron, Zone: "Europe/Berlin", Kind: "test:note", Args: `{"note":"\u0000 hello"}`, CatchUp: jobs.CatchUpLatest,
		Jitter: 1500 * time.Microsecond, Source: jobs.FromCode,
	}
}

// placed places a schedule in its program's name.
func (s suite[Tx]) placed(name, cron string) {
	s.Helper()
	s.placeAll(plan(name, cron))
}

func (s suite[Tx]) placeAll(plans ...jobs.SchedulePlan) {
	s.Helper()
	must(s, s.DB.PlaceSchedules(s.Context(), jobs.Placement{Plans: plans, Actor: "test"}))
}

// place places the schedule "sweep" and lets an hour pass.
func (s suite[Tx]) place() jobs.ScheduleState {
	s.Helper()
	s.placed("sweep", "*/5 * * * *")
	s.backdate(time.Hour)
	return s.schedule()
}

func (s suite[Tx]) book() jobs.ScheduleBook {
	s.Helper()
	book, err := s.DB.ScheduleBook(s.Context(), 0)
	must(s, err)
	return book
}

// schedule is the only schedule there is.
func (s suite[Tx]) schedule() jobs.ScheduleState {
	s.Helper()
	states := s.book().Schedules
	if len(states) != 1 {
		s.Fatalf("schedules: want 1, got %v", states)
	}
	return states[0]
}

// due is a due time of the schedule, that long after its anchor.
func due(state jobs.ScheduleState, after time.Duration) jobs.Due {
	return jobs.Due{Schedule: state.Name, Revision: state.Revision, At: state.Anchor.Add(after).Truncate(time.Second), Since: state.LastDueAt}
}

// tick makes one tick.
func (s suite[Tx]) tick(d jobs.Due, j jobs.Job) jobs.TickMade {
	s.Helper()
	made, err := s.DB.MakeTicks(s.Context(), []jobs.Tick{{Due: d, Job: j}})
	must(s, err)
	if len(made) != 1 {
		s.Fatalf("answers: want 1, got %v", made)
	}
	return made[0]
}

func (s suite[Tx]) made(d jobs.Due) {
	s.Helper()
	equal(s, "made", jobs.TickMade{Made: true, LastDueAt: d.At}, s.tick(d, note()))
}

// noTick holds that a tick is not made, and says what the schedule is by the answer.
func (s suite[Tx]) noTick(d jobs.Due) jobs.TickMade {
	s.Helper()
	before := s.scalar("SELECT count(*) FROM ticks")
	m := s.tick(d, note())
	equal(s, "made", false, m.Made)
	must(s, m.Err)
	equal(s, "ticks", before, s.scalar("SELECT count(*) FROM ticks"))
	equal(s, "ticks and rows", before, s.scalar("SELECT count(*) FROM outbox"))
	return m
}

// wantTicks holds the schedule to its ticks, each of which has an outbox row.
func (s suite[Tx]) wantTicks(n int) {
	s.Helper()
	equal(s, "ticks", s.scalar("SELECT count(*) FROM outbox"), s.scalar("SELECT count(*) FROM ticks"))
	s.wantRows(n)
}

func scheduleTests[Tx any]() []test[Tx] {
	return append(placingTests[Tx](), tickTests[Tx]()...)
}

func placingTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"without schedules there is still a clock, and a version", func(s suite[Tx]) {
			book := s.book()
			equal(s, "schedules", 0, len(book.Schedules))
			near(s, "clock", book.Now, s.now(), book.Now)
			equal(s, "the clock is set", false, book.Now.IsZero())
			equal(s, "a version", true, book.Version > 0)
			equal(s, "known", false, book.Known)
		}},
		{"a schedule is placed whole, with now as its anchor and last due time, and audited", func(s suite[Tx]) {
			before := s.now()
			p := plan("sweep", "@every 5m")
			s.placeAll(p)
			state := s.schedule()
			near(s, "anchor", before, s.now(), state.Anchor)
			equal(s, "whole milliseconds", state.Anchor.Truncate(time.Millisecond), state.Anchor)
			equal(s, "last due time", state.Anchor, state.LastDueAt)
			equal(s, "schedule", jobs.ScheduleState{SchedulePlan: p, Revision: state.Revision, Anchor: state.Anchor, LastDueAt: state.LastDueAt}, state)
			equal(s, "audited", "test", s.scalar("SELECT actor FROM audit_log WHERE action = 'schedule.placed' AND subject = 'schedule/sweep'"))
		}},
		{"who knows the version is told nothing but the clock, until a schedule changes", func(s suite[Tx]) {
			s.placed("a", "@daily")
			version := s.book().Version
			unchanged := func(want bool) {
				s.Helper()
				book, err := s.DB.ScheduleBook(s.Context(), version)
				must(s, err)
				equal(s, "known", want, book.Known)
				equal(s, "told", !want, len(book.Schedules) > 0)
				equal(s, "the clock is set", false, book.Now.IsZero())
				version = book.Version
			}
			unchanged(true)
			s.placed("a", "@daily")
			unchanged(true)
			s.placed("a", "@hourly")
			unchanged(false)
			unchanged(true)
			s.pause("a", true)
			unchanged(false)
			s.add(plan("b", "@daily"), false)
			unchanged(false)
			s.remove("b")
			unchanged(false)
			s.backdate(time.Hour)
			d := due(s.schedule(), time.Minute)
			s.pause("a", false)
			unchanged(false)
			d.Revision = s.schedule().Revision
			s.tick(d, note())
			unchanged(true)
		}},
		{"another expression makes a new revision, anchored now", func(s suite[Tx]) {
			state := s.place()
			before := s.now()
			s.placed(state.Name, "@daily")
			changed := s.schedule()
			equal(s, "cron", "@daily", changed.Cron)
			equal(s, "revision is another", true, state.Revision != changed.Revision)
			near(s, "anchor", before, s.now(), changed.Anchor)
			equal(s, "last due time", changed.Anchor, changed.LastDueAt)
			equal(s, "stale", true, s.noTick(jobs.Due{Schedule: state.Name, Revision: state.Revision, At: changed.Anchor.Add(time.Microsecond)}).Stale)
		}},
		{"other arguments make a new revision, and leave the due times as they are", func(s suite[Tx]) {
			state := s.place()
			p := state.SchedulePlan
			p.Args, p.CatchUp = `{"note":"other"}`, jobs.CatchUpAll
			s.placeAll(p)
			changed := s.schedule()
			equal(s, "args", p.Args, changed.Args)
			equal(s, "revision is another", true, state.Revision != changed.Revision)
			equal(s, "anchor", state.Anchor, changed.Anchor)
			equal(s, "last due time", state.LastDueAt, changed.LastDueAt)
		}},
		{"what somebody changes at run time stays until its source says something new", func(s suite[Tx]) {
			s.placed("sweep", "@daily")
			changed := plan("sweep", "@hourly")
			s.add(changed, true)
			s.placed("sweep", "@daily")
			state := s.schedule()
			equal(s, "cron", "@hourly", state.Cron)
			equal(s, "changed", true, state.Changed)
			equal(s, "source", jobs.FromCode, state.Source)
			s.placed("sweep", "@weekly")
			equal(s, "cron", "@weekly", s.schedule().Cron)
			equal(s, "changed", false, s.schedule().Changed)
		}},
		{"a paused schedule stays paused, until its source says something new of that", func(s suite[Tx]) {
			s.placed("sweep", "@daily")
			s.pause("sweep", true)
			s.placed("sweep", "@daily")
			s.placed("sweep", "@hourly")
			equal(s, "paused", true, s.schedule().Paused)
			p := plan("sweep", "@hourly")
			p.Paused = true
			s.placeAll(p)
			equal(s, "paused", true, s.schedule().Paused)
			s.pause("sweep", false)
			s.placeAll(p)
			equal(s, "paused", false, s.schedule().Paused)
			s.pause("sweep", true)
			p.Paused = false
			s.placeAll(p)
			equal(s, "paused", false, s.schedule().Paused)
		}},
		{"of a source that is whole, what is no more named is removed, unless it is to be kept", func(s suite[Tx]) {
			var all []jobs.SchedulePlan
			for name, source := range map[string]jobs.ScheduleSource{
				"code": jobs.FromCode, "gone": jobs.FromConfig, "kept": jobs.FromConfig, "named": jobs.FromConfig,
			} {
				p := plan(name, "@daily")
				p.Source = source
				all = append(all, p)
			}
			s.placeAll(all...)
			s.add(plan("run-time", "@daily"), false)
			named := plan("named", "@daily")
			named.Source = jobs.FromConfig
			must(s, s.DB.PlaceSchedules(s.Context(), jobs.Placement{
				Plans: []jobs.SchedulePlan{named}, Whole: jobs.FromConfig, Keep: []string{"kept"}, Actor: "test",
			}))
			s.wantNames("code", "kept", "named", "run-time")
			equal(s, "audited", "schedule/gone", s.scalar("SELECT subject FROM audit_log WHERE action = 'schedule.removed'"))
		}},
		{"of twenty who place a schedule at once one does", func(s suite[Tx]) {
			for _, err := range race(20, func(int) error {
				return s.DB.PlaceSchedules(s.Context(), jobs.Placement{Plans: []jobs.SchedulePlan{plan("sweep", "@daily")}, Actor: "test"})
			}) {
				must(s, err)
			}
			first := s.schedule()
			equal(s, "audited", "1", s.scalar("SELECT count(*) FROM audit_log"))
			s.placed("sweep", "@daily")
			equal(s, "schedule", first, s.schedule())
		}},
		{"schedules are listed by name", func(s suite[Tx]) {
			for _, name := range []string{"b", "a_c", "B", "ab", "a"} {
				s.placed(name, "@daily")
			}
			s.wantNames("B", "a", "a_c", "ab", "b")
		}},
		{"a schedule is added at run time, once, and changed where that is asked for", func(s suite[Tx]) {
			p := plan("new", "@every 5m")
			p.Paused = true
			equal(s, "replaced", false, s.add(p, false))
			state := s.schedule()
			p.Source = jobs.FromRuntime
			equal(s, "schedule", p, state.SchedulePlan)
			want(s, s.try(func(tx Tx) error { _, err := s.DB.AddSchedule(s.Context(), tx, p, false); return err }), jobs.ErrScheduleExists)
			s.backdate(time.Minute)
			p.Args, p.Paused = `{"note":"other"}`, false
			equal(s, "replaced", true, s.add(p, true))
			changed := s.schedule()
			equal(s, "args", p.Args, changed.Args)
			equal(s, "still paused", true, changed.Paused)
			equal(s, "anchor", state.Anchor.Add(-time.Minute), changed.Anchor)
			p.Zone = ""
			s.add(p, true)
			equal(s, "anchored anew", true, s.schedule().Anchor.After(changed.Anchor))
		}},
		{"what is not committed has not happened", func(s suite[Tx]) {
			state := s.place()
			version := s.book().Version
			want(s, s.try(func(tx Tx) error {
				_, err := s.DB.AddSchedule(s.Context(), tx, plan("sweep", "@weekly"), true)
				must(s, err)
				_, err = s.DB.PauseSchedule(s.Context(), tx, "sweep", true)
				must(s, err)
				must(s, s.DB.RemoveSchedule(s.Context(), tx, "sweep"))
				return errRollback
			}), errRollback)
			equal(s, "schedule", state, s.schedule())
			equal(s, "version", version, s.book().Version)
		}},
		{"a schedule that is resumed goes on from now", func(s suite[Tx]) {
			state := s.place()
			equal(s, "changed", true, s.pause("sweep", true))
			equal(s, "again", false, s.pause("sweep", true))
			equal(s, "stale", true, s.noTick(due(s.schedule(), 30*time.Minute)).Stale)
			before := s.now()
			equal(s, "changed", true, s.pause("sweep", false))
			resumed := s.schedule()
			near(s, "last due time", before, s.now(), resumed.LastDueAt)
			equal(s, "anchor", state.Anchor, resumed.Anchor)
			s.noTick(due(resumed, 30*time.Minute))
		}},
		{"who names a schedule that there is not is told so", func(s suite[Tx]) {
			for _, name := range []string{"none", "", "a\x00b\xff"} {
				want(s, s.try(func(tx Tx) error { _, err := s.DB.PauseSchedule(s.Context(), tx, name, true); return err }), jobs.ErrNoSuchSchedule)
				want(s, s.try(func(tx Tx) error { return s.DB.RemoveSchedule(s.Context(), tx, name) }), jobs.ErrNoSuchSchedule)
				_, err := s.DB.TickHistory(s.Context(), name, 10)
				want(s, err, jobs.ErrNoSuchSchedule)
			}
		}},
		{"a schedule is removed with its ticks, and their jobs stay", func(s suite[Tx]) {
			s.made(due(s.place(), 5*time.Minute))
			s.remove("sweep")
			s.wantNames()
			equal(s, "ticks", "0", s.scalar("SELECT count(*) FROM ticks"))
			s.wantRows(1)
		}},
	}
}

func (s suite[Tx]) wantNames(names ...string) {
	s.Helper()
	var got []string
	for _, state := range s.book().Schedules {
		got = append(got, state.Name)
	}
	if diff := cmp.Diff(names, got); diff != "" {
		s.Errorf("names (-want +got):\n%s", diff)
	}
}

func (s suite[Tx]) try(fn func(tx Tx) error) error { return s.DB.InTx(s.Context(), fn) }

func (s suite[Tx]) add(p jobs.SchedulePlan, replace bool) (replaced bool) {
	s.Helper()
	must(s, s.try(func(tx Tx) (err error) { replaced, err = s.DB.AddSchedule(s.Context(), tx, p, replace); return err }))
	return replaced
}

func (s suite[Tx]) pause(name string, paused bool) (changed bool) {
	s.Helper()
	must(s, s.try(func(tx Tx) (err error) { changed, err = s.DB.PauseSchedule(s.Context(), tx, name, paused); return err }))
	return changed
}

func (s suite[Tx]) remove(name string) {
	s.Helper()
	must(s, s.try(func(tx Tx) error { return s.DB.RemoveSchedule(s.Context(), tx, name) }))
}

// names makes that many schedules, "s000" and so on, an hour old.
func (s suite[Tx]) many(n int) []jobs.ScheduleState {
	s.Helper()
	var plans []jobs.SchedulePlan
	for i := range n {
		plans = append(plans, plan(fmt.Sprintf("s%03d", i), "* * * * *"))
	}
	s.placeAll(plans...)
	s.backdate(time.Hour)
	return s.book().Schedules
}
