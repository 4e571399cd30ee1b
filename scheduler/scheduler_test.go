package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
)

// ticks is a model of the database that schedulers meet in. Its clock is the test's.
type ticks struct {
	mu     sync.Mutex
	states map[string]*jobs.ScheduleState
	made   []string
	broken bool
}

var errAway = errors.New("the database is away")

func newTicks() *ticks { return &ticks{states: make(map[string]*jobs.ScheduleState)} }

func (m *ticks) PlaceSchedule(_ context.Context, name, cron string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return errAway
	}
	old := m.states[name]
	if old == nil {
		old = &jobs.ScheduleState{Name: name}
		m.states[name] = old
	}
	if old.Cron != cron {
		old.Cron, old.Anchor, old.LastDueAt = cron, time.Now(), time.Now()
		old.Revision++
	}
	return nil
}

func (m *ticks) ScheduleStates(context.Context) ([]jobs.ScheduleState, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return nil, time.Time{}, errAway
	}
	var all []jobs.ScheduleState
	for _, s := range m.states {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b jobs.ScheduleState) int { return strings.Compare(a.Name, b.Name) })
	return all, time.Now(), nil
}

func (m *ticks) Tick(_ context.Context, due jobs.Due, j jobs.Job) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.states[due.Schedule]
	if m.broken {
		return false, errAway
	}
	if s == nil || s.Paused || s.Revision != due.Revision || !s.LastDueAt.Before(due.At) || due.At.After(time.Now()) {
		return false, nil
	}
	s.LastDueAt = due.At
	m.made = append(m.made, fmt.Sprintf("%s %s", due.At.UTC().Format("15:04:05"), j.Payload()))
	return true, nil
}

func (m *ticks) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.made)
}

func (m *ticks) setBroken(broken bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = broken
}

func (m *ticks) pause(name string, paused bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states[name].Paused = paused
}

func schedule(name, cron string) scheduler.Schedule {
	def := jobs.Define[string]("sweep", jobs.Policy{})
	return scheduler.Schedule{Name: name, Cron: cron, Job: func(tick string) jobs.Job { return def.With(tick) }}
}

// start runs a scheduler until the returned function is called, which waits for it.
func start(t *testing.T, m *ticks, schedules ...scheduler.Schedule) (stop func()) {
	t.Helper()
	s, err := scheduler.New(m, scheduler.Config{Schedules: schedules})
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

// elapse lets the bubble's clock go on; nobody waits for it.
func elapse(d time.Duration) { time.Sleep(d) }

// The bubble of synctest begins at midnight UTC, 2000-01-01.

func TestEveryDueTimeBecomesOneTickHoweverManySchedulersRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		for range 3 {
			defer start(t, m, schedule("sweep", "* * * * *"))()
		}
		elapse(3*time.Minute + 30*time.Second)
		want := []string{
			`00:01:00 "sweep@2000-01-01T00:01:00Z"`, `00:02:00 "sweep@2000-01-01T00:02:00Z"`, `00:03:00 "sweep@2000-01-01T00:03:00Z"`,
		}
		if diff := cmp.Diff(want, m.all()); diff != "" {
			t.Errorf("ticks (-want +got):\n%s", diff)
		}
	})
}

func TestAnIntervalCountsFromTheStoredAnchorNotFromTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		stop := start(t, m, schedule("sweep", "@every 1m"))
		elapse(90 * time.Second) // one tick at 00:01:00
		stop()
		elapse(20 * time.Second)
		defer start(t, m, schedule("sweep", "@every 1m"))() // begins at 00:01:50
		elapse(15 * time.Second)
		want := []string{`00:01:00 "sweep@2000-01-01T00:01:00Z"`, `00:02:00 "sweep@2000-01-01T00:02:00Z"`}
		if diff := cmp.Diff(want, m.all()); diff != "" {
			t.Errorf("ticks (-want +got):\n%s", diff)
		}
	})
}

func TestAfterDowntimeTheLatestMissedTickIsMadeAndNoOther(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]time.Duration{"an hour and a half": 90 * time.Minute, "forty days": 40 * 24 * time.Hour, "two years": 730 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newTicks()
				stop := start(t, m, schedule("sweep", "*/10 * * * *"))
				synctest.Wait()
				stop()
				elapse(down + 5*time.Minute)
				stop = start(t, m, schedule("sweep", "*/10 * * * *"))
				synctest.Wait()
				stop()
				if got := m.all(); len(got) != 1 || !strings.HasPrefix(got[0], time.Now().UTC().Add(-5*time.Minute).Format("15:04:05")) {
					t.Errorf("want the one tick of five minutes ago, got %q", got)
				}
			})
		})
	}
}

func TestAnOutageOfTheDatabaseDelaysTicksAndLosesNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		m.setBroken(true)
		defer start(t, m, schedule("sweep", "* * * * *"))()
		elapse(30 * time.Second)
		m.setBroken(false)
		elapse(time.Minute)
		m.setBroken(true)
		elapse(30 * time.Second)
		m.setBroken(false)
		elapse(30 * time.Second)
		want := []string{`00:01:00 "sweep@2000-01-01T00:01:00Z"`, `00:02:00 "sweep@2000-01-01T00:02:00Z"`}
		if diff := cmp.Diff(want, m.all()); diff != "" {
			t.Errorf("ticks (-want +got):\n%s", diff)
		}
	})
}

func TestAPausedScheduleMakesNoTickAndAnOldExpressionNeither(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		defer start(t, m, schedule("sweep", "* * * * *"))()
		elapse(time.Second)
		m.pause("sweep", true)
		elapse(2 * time.Minute)
		if got := m.all(); len(got) != 0 {
			t.Errorf("ticks while paused: %q", got)
		}
		m.pause("sweep", false)
		// Another process changes the expression: this one, which has the old one, keeps out.
		if err := m.PlaceSchedule(t.Context(), "sweep", "*/5 * * * *"); err != nil {
			t.Fatal(err)
		}
		elapse(2 * time.Minute)
		if got := m.all(); len(got) != 0 {
			t.Errorf("ticks under an expression that is no longer the schedule's: %q", got)
		}
	})
}

func TestMistakesInSchedulesAreRefusedByName(t *testing.T) {
	t.Parallel()
	faulty := jobs.Define[string](" ", jobs.Policy{})
	for name, c := range map[string]struct {
		schedules []scheduler.Schedule
		want      string
	}{
		"an expression that does not parse": {[]scheduler.Schedule{schedule("sweep", "61 * * * *")}, `schedule sweep: cron expression "61 * * * *"`},
		"six fields":                        {[]scheduler.Schedule{schedule("sweep", "* * * * * *")}, "schedule sweep"},
		"no expression":                     {[]scheduler.Schedule{schedule("sweep", "")}, "schedule sweep"},
		"one name twice":                    {[]scheduler.Schedule{schedule("a", "@daily"), schedule("a", "@hourly")}, "named twice: a"},
		"no name":                           {[]scheduler.Schedule{schedule("", "@daily")}, "schedule 1: it needs a name"},
		"no job":                            {[]scheduler.Schedule{{Name: "a", Cron: "@daily"}}, "schedule 1: it needs a name and a job"},
		"a faulty job": {[]scheduler.Schedule{{
			Name: "a", Cron: "@daily", Job: func(tick string) jobs.Job { return faulty.With(tick) },
		}}, "schedule a: job"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := scheduler.New(newTicks(), scheduler.Config{Schedules: c.schedules})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}
