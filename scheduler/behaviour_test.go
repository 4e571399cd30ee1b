package scheduler_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
)

// sweepArgs are the arguments of the kind "sweep".
type sweepArgs struct {
	Tick  string `json:"tick"`
	Limit int    `json:"limit,omitzero"`
	Table string `json:"table"`
}

func kinds(t testing.TB) *jobs.Catalog {
	t.Helper()
	catalog, err := jobs.NewCatalog(jobs.Define[sweepArgs]("sweep", jobs.Policy{}), jobs.Define[string]("note", jobs.Policy{}))
	if err != nil {
		t.Fatal(err)
	}
	return catalog
}

// run runs a scheduler until the returned function is called, which waits for it.
func run(t *testing.T, m *ticks, c scheduler.Config) (stop func()) {
	t.Helper()
	s, err := scheduler.New(m, c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func TestAScheduleThatIsAddedAtRunTimeIsTickedByWhoeverKnowsItsKind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		defer run(t, m, scheduler.Config{Kinds: kinds(t)})()
		defer run(t, m, scheduler.Config{})() // knows no kind
		elapse(30 * time.Second)
		m.change("new", func(s *jobs.ScheduleState) {
			s.Cron, s.Kind, s.Args = "*/10 * * * * *", "sweep", `{"table":"t"}`
		})
		elapse(time.Second)
		m.change("other", func(s *jobs.ScheduleState) {
			s.Cron, s.Kind, s.Args = "@every 8s", "sweep", `{"table":"t","tick":"mine","limit":3}`
		})
		elapse(10 * time.Second)
		want := []string{
			`00:00:39 {"tick":"mine","limit":3,"table":"t"}`,
			`00:00:40 {"tick":"new@2000-01-01T00:00:40Z","table":"t"}`,
		}
		if diff := cmp.Diff(want, m.all()); diff != "" {
			t.Errorf("ticks (-want +got):\n%s", diff)
		}
	})
}

func TestAChangeTakesEffectWithinASecondOnAllSchedulers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		defer start(t, m, schedule("sweep", "@yearly"))()
		elapse(20*time.Second + 10*time.Millisecond)
		m.change("sweep", func(s *jobs.ScheduleState) { s.Cron, s.Anchor, s.LastDueAt = "@every 1s", time.Now(), time.Now() })
		elapse(1100 * time.Millisecond)
		if got := m.all(); len(got) != 1 || m.delays[0] > 0 {
			t.Errorf("want the first tick at its second, got %q after %v", got, m.delays)
		}
	})
}

func TestBetweenChangesNoScheduleIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		defer start(t, m, schedule("a", "* * * * *"), schedule("b", "* * * * *"))()
		elapse(10*time.Minute + time.Second)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.read != 1 || m.asked < 1000 || m.asked > 1300 {
			t.Errorf("want one reading and two questions a second, got %d and %d", m.read, m.asked)
		}
		if m.batches != 10 || len(m.made) != 20 {
			t.Errorf("want ten transactions of two ticks each, got %d for %d", m.batches, len(m.made))
		}
	})
}

func TestAScheduleThatCannotBeReadIsLeftAloneAndTheOthersRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		var log bytes.Buffer
		for name, change := range map[string]func(s *jobs.ScheduleState){
			"a-cron": func(s *jobs.ScheduleState) { s.Cron, s.Kind, s.Args = "61 * * * *", "sweep", `{"table":"t"}` },
			"b-zone": func(s *jobs.ScheduleState) {
				s.Cron, s.Zone, s.Kind, s.Args = "* * * * *", "Mars/Olympus", "sweep", `{"table":"t"}`
			},
			"c-kind":  func(s *jobs.ScheduleState) { s.Cron, s.Kind, s.Args = "* * * * *", "unknown", `{}` },
			"d-args":  func(s *jobs.ScheduleState) { s.Cron, s.Kind, s.Args = "* * * * *", "sweep", `{"limit":1}` },
			"e-other": func(s *jobs.ScheduleState) { s.Cron, s.Kind, s.Args = "* * * * *", "sweep", "" },
			"g-dates": func(s *jobs.ScheduleState) {
				s.Cron, s.Kind, s.Args, s.Anchor, s.LastDueAt = "@every 5m", "sweep", `{"table":"t"}`, time.Time{}, time.Time{}
			},
			"f-sound": func(s *jobs.ScheduleState) { s.Cron, s.Kind, s.Args = "* * * * *", "sweep", `{"table":"t"}` },
		} {
			m.change(name, change)
		}
		stop := run(t, m, scheduler.Config{Kinds: kinds(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		elapse(90 * time.Second)
		m.pause("f-sound", true) // the book is read again
		elapse(time.Second)
		stop()
		if got := m.all(); len(got) != 1 || !strings.Contains(got[0], "f-sound@") {
			t.Errorf("want the one tick of the one that is sound, got %q", got)
		}
		for _, reason := range []string{`field 1 (minute)`, "unknown time zone", "unknown kind", "sweep requires table", "by a function of the program", "no date of ours"} {
			if n := strings.Count(log.String(), reason); n != 1 {
				t.Errorf("%q is told %d times:\n%s", reason, n, log.String())
			}
		}
	})
}

func TestCatchUpDecidesWhatBecomesOfMissedDueTimes(t *testing.T) {
	t.Parallel()
	for sentence, test := range map[string]struct {
		catchUp jobs.CatchUp
		down    time.Duration
		first   string
		ticks   int
		missed  int64
	}{
		"latest makes the last":                            {jobs.CatchUpLatest, 47 * time.Minute, "00:40:00", 1, 3},
		"all makes each":                                   {jobs.CatchUpAll, 47 * time.Minute, "00:10:00", 4, 0},
		"all makes no more than the last hundred":          {jobs.CatchUpAll, 1505 * time.Minute, "08:30:00", 100, 50},
		"skip makes none":                                  {jobs.CatchUpSkip, 47 * time.Minute, "", 0, 0},
		"skip makes one that is not a minute late":         {jobs.CatchUpSkip, 40*time.Minute + 59*time.Second, "00:40:00", 1, 3},
		"skip makes none that is more than a minute late":  {jobs.CatchUpSkip, 41*time.Minute + time.Second, "", 0, 0},
		"nothing was missed: none, whatever the policy is": {jobs.CatchUpAll, 9 * time.Minute, "", 0, 0},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newTicks()
				sch := schedule("sweep", "*/10 * * * *")
				sch.CatchUp = test.catchUp
				stop := start(t, m, sch)
				synctest.Wait()
				stop()
				elapse(test.down)
				stop = start(t, m, sch)
				elapse(10 * time.Millisecond)
				stop()
				got := m.all()
				if len(got) != test.ticks || test.ticks > 0 && !strings.HasPrefix(got[0], test.first) || m.missed != test.missed {
					t.Errorf("want %d ticks from %s and %d missed, got %q and %d", test.ticks, test.first, test.missed, got, m.missed)
				}
			})
		})
	}
}

func TestASkippedDueTimeIsCountedWithTheTickAfterIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		sch := schedule("sweep", "*/10 * * * *")
		sch.CatchUp = jobs.CatchUpSkip
		stop := start(t, m, sch)
		synctest.Wait()
		stop()
		elapse(25 * time.Minute)
		defer start(t, m, sch)()
		elapse(10 * time.Minute)
		if got := m.all(); len(got) != 1 || !strings.HasPrefix(got[0], "00:30:00") || m.missed != 2 {
			t.Errorf("want the tick of 00:30 and two missed, got %q and %d", got, m.missed)
		}
	})
}

func TestJitterDelaysTicksByWhatNameAndDueTimeSay(t *testing.T) {
	t.Parallel()
	var delays [2][]time.Duration
	for i, skew := range []time.Duration{0, 3 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			m := newTicks()
			var sweeps []scheduler.Schedule
			for n := range 20 {
				sch := schedule(fmt.Sprintf("s%02d", n), "* * * * *")
				sch.Jitter = 30 * time.Second
				sweeps = append(sweeps, sch)
			}
			defer run(t, m, scheduler.Config{Schedules: sweeps, Now: func() time.Time { return time.Now().Add(skew) }})()
			elapse(5*time.Minute + 40*time.Second)
			m.mu.Lock()
			defer m.mu.Unlock()
			delays[i] = m.delays
			if len(m.delays) != 100 {
				t.Fatalf("want 100 ticks, got %d", len(m.delays))
			}
			var lowest, highest time.Duration = time.Hour, 0
			for _, d := range m.delays {
				lowest, highest = min(lowest, d), max(highest, d)
			}
			if lowest > 3*time.Second || highest < 27*time.Second || highest > 31*time.Second {
				t.Errorf("delays are between %v and %v", lowest, highest)
			}
			for _, line := range m.made {
				if !strings.Contains(line, ":00 \"s") {
					t.Errorf("jitter is in the tick's name: %s", line)
				}
			}
		})
	}
	if diff := cmp.Diff(delays[0], delays[1]); diff != "" {
		t.Errorf("two schedulers do not agree:\n%s", diff)
	}
}

func TestASchedulerWhoseHostsClockLeapsMakesTicksInTime(t *testing.T) {
	t.Parallel()
	for name, leap := range map[string]time.Duration{"ahead": 5 * time.Hour, "back": -5 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newTicks()
				began := time.Now()
				now := func() time.Time {
					if time.Since(began) > 90*time.Second {
						return time.Now().Add(leap)
					}
					return time.Now()
				}
				defer run(t, m, scheduler.Config{Schedules: []scheduler.Schedule{schedule("sweep", "* * * * *")}, Now: now})()
				elapse(4*time.Minute + 30*time.Second)
				m.mu.Lock()
				defer m.mu.Unlock()
				if len(m.made) != 4 {
					t.Errorf("want 4 ticks, got %q", m.made)
				}
				for _, d := range m.delays {
					if d > time.Second {
						t.Errorf("a tick was %v late", d)
					}
				}
			})
		})
	}
}

func TestAUniqueJobWaitsForTheOneBeforeAndHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		m.busy["sweep"] = true
		defer start(t, m, schedule("other", "* * * * *"), schedule("sweep", "* * * * *"))()
		elapse(90 * time.Second)
		m.mu.Lock()
		m.busy["sweep"] = false
		if m.batches > 40 {
			t.Errorf("it was tried %d times in half a minute", m.batches)
		}
		m.mu.Unlock()
		elapse(2 * time.Second)
		want := []string{`00:01:00 "other@2000-01-01T00:01:00Z"`, `00:01:00 "sweep@2000-01-01T00:01:00Z"`}
		if diff := cmp.Diff(want, m.all()); diff != "" {
			t.Errorf("ticks (-want +got):\n%s", diff)
		}
	})
}

func TestThousandsThatAreDueAtOnceAreMadeInAFewTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		var all []scheduler.Schedule
		for n := range 1200 {
			all = append(all, schedule(fmt.Sprintf("s%04d", n), "* * * * *"))
		}
		var told atomic.Int64
		defer run(t, m, scheduler.Config{Schedules: all, OnTick: func(scheduler.Made) { told.Add(1) }})()
		elapse(61 * time.Second)
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.made) != 1200 || m.batches != 3 || told.Load() != 1200 {
			t.Errorf("%d ticks in %d transactions, %d told", len(m.made), m.batches, told.Load())
		}
	})
}

func TestPlansAreRefusedByWhatIsWrong(t *testing.T) {
	t.Parallel()
	sound := jobs.SchedulePlan{Name: "sweep", Cron: "* * * * *", Kind: "sweep", Args: `{"table":"t"}`, CatchUp: jobs.CatchUpLatest}
	for sentence, test := range map[string]struct {
		change func(p *jobs.SchedulePlan)
		want   string // "" for nothing
	}{
		"one that is sound":            {func(*jobs.SchedulePlan) {}, ""},
		"arguments that are no object": {func(p *jobs.SchedulePlan) { p.Kind, p.Args = "note", `"hello"` }, ""},
		"no name":                      {func(p *jobs.SchedulePlan) { p.Name = "" }, "it has no name"},
		"a long name":                  {func(p *jobs.SchedulePlan) { p.Name = strings.Repeat("x", 129) }, "longer than 128 bytes"},
		"an @ in the name":             {func(p *jobs.SchedulePlan) { p.Name = "a@b" }, "an @"},
		"a line end in the name":       {func(p *jobs.SchedulePlan) { p.Name = "a\nb" }, "not printable"},
		"an unknown zone":              {func(p *jobs.SchedulePlan) { p.Zone = "Berlin" }, "unknown time zone"},
		"an unknown kind":              {func(p *jobs.SchedulePlan) { p.Kind = "sweeps" }, `kind: unknown kind "sweeps": known are note, sweep`},
		"a required argument missing":  {func(p *jobs.SchedulePlan) { p.Args = `{"limit":3}` }, "args: invalid arguments: sweep requires table"},
		"an argument that is unknown":  {func(p *jobs.SchedulePlan) { p.Args = `{"table":"t","tabel":"t"}` }, "args: parse sweep: invalid arguments"},
		"arguments of another type":    {func(p *jobs.SchedulePlan) { p.Args = `{"table":7}` }, "args: parse sweep: invalid arguments"},
		"arguments that are no JSON":   {func(p *jobs.SchedulePlan) { p.Args = `{` }, "args: parse sweep: invalid arguments"},
		"an unknown policy":            {func(p *jobs.SchedulePlan) { p.CatchUp = "some" }, `catch-up "some" is none of latest, all and skip`},
		"much jitter":                  {func(p *jobs.SchedulePlan) { p.Jitter = time.Minute }, "jitter 1m0s is not less than the 1m0s between two due times"},
		"jitter of hours":              {func(p *jobs.SchedulePlan) { p.Cron, p.Jitter = "@daily", 2*time.Hour }, "jitter 2h0m0s is not between 0 and 1h0m0s"},
		"due too often":                {func(p *jobs.SchedulePlan) { p.Cron = "*/20 * * * * *" }, "it is due too often: there are 20s between two due times, and the least is 30s"},
		"too often over midnight":      {func(p *jobs.SchedulePlan) { p.Cron = "0,50 0,59 0,23 * * *" }, "there are 10s between"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			p := sound
			test.change(&p)
			err := scheduler.Check(p, kinds(t), 30*time.Second)
			if (err == nil) != (test.want == "") || !strings.Contains(fmt.Sprint(err), test.want) && test.want != "" {
				t.Errorf("want %q, got %v", test.want, err)
			}
		})
	}
}
