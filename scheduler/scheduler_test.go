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
	mu      sync.Mutex
	version int64
	states  map[string]*jobs.ScheduleState
	busy    map[string]bool // schedules whose unique job is unfinished
	made    []string
	ticks   []modelTick
	delays  []time.Duration
	missed  int64
	broken  bool

	asked, read, batches int // questions, answers with schedules, transactions
}

// modelTick is a tick that was made.
type modelTick struct {
	schedule string
	due, at  time.Time
}

var errAway = errors.New("the database is away")

func newTicks() *ticks {
	return &ticks{version: 1, states: make(map[string]*jobs.ScheduleState), busy: make(map[string]bool)}
}

func (m *ticks) PlaceSchedules(_ context.Context, p jobs.Placement) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return errAway
	}
	for _, plan := range p.Plans {
		old := m.states[plan.Name]
		if old == nil {
			old = &jobs.ScheduleState{}
			m.states[plan.Name] = old
		}
		if old.SchedulePlan != plan {
			m.version++
			*old = jobs.ScheduleState{SchedulePlan: plan, Anchor: time.Now(), LastDueAt: time.Now(), Revision: m.version}
		}
	}
	return nil
}

func (m *ticks) ScheduleBook(_ context.Context, known int64) (jobs.ScheduleBook, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.broken {
		return jobs.ScheduleBook{}, errAway
	}
	book := jobs.ScheduleBook{Version: m.version, Now: time.Now(), Known: known == m.version}
	if !book.Known {
		m.read++
		for _, s := range m.states {
			book.Schedules = append(book.Schedules, *s)
		}
		slices.SortFunc(book.Schedules, func(a, b jobs.ScheduleState) int { return strings.Compare(a.Name, b.Name) })
	}
	return book, nil
}

func (m *ticks) MakeTicks(_ context.Context, ticks []jobs.Tick) ([]jobs.TickMade, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return nil, errAway
	}
	if m.batches++; m.batches > 1_000_000 {
		panic("a scheduler does not rest")
	}
	var made []jobs.TickMade
	for _, t := range ticks {
		made = append(made, m.tick(t))
	}
	return made, nil
}

func (m *ticks) tick(t jobs.Tick) jobs.TickMade {
	s := m.states[t.Schedule]
	if s == nil || s.Paused || s.Revision != t.Revision {
		return jobs.TickMade{Stale: true}
	}
	if !s.LastDueAt.Before(t.At) || t.At.After(time.Now()) {
		return jobs.TickMade{LastDueAt: s.LastDueAt}
	}
	if m.busy[t.Schedule] {
		return jobs.TickMade{LastDueAt: s.LastDueAt, Err: jobs.ErrDuplicate}
	}
	if s.LastDueAt.Equal(t.Since) {
		m.missed += t.Missed
	}
	s.LastDueAt = t.At
	m.ticks = append(m.ticks, modelTick{t.Schedule, t.At, time.Now()})
	m.made = append(m.made, fmt.Sprintf("%s %s", t.At.UTC().Format("15:04:05"), t.Job.Payload()))
	m.delays = append(m.delays, time.Since(t.At))
	return jobs.TickMade{Made: true, LastDueAt: t.At}
}

// change lets an operator change a schedule.
func (m *ticks) change(name string, change func(s *jobs.ScheduleState)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.version++
	if m.states[name] == nil {
		m.states[name] = &jobs.ScheduleState{SchedulePlan: jobs.SchedulePlan{Name: name, CatchUp: jobs.CatchUpLatest}, Anchor: time.Now(), LastDueAt: time.Now()}
	}
	change(m.states[name])
	m.states[name].Revision = m.version
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
	m.change(name, func(s *jobs.ScheduleState) {
		if s.Paused = paused; !paused {
			s.LastDueAt = time.Now()
		}
	})
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

func TestAPausedScheduleMakesNoTickAndGoesOnFromWhenItIsResumed(t *testing.T) {
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
		elapse(time.Minute)
		if diff := cmp.Diff([]string{`00:03:00 "sweep@2000-01-01T00:03:00Z"`}, m.all()); diff != "" {
			t.Errorf("ticks (-want +got):\n%s", diff)
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
		"an expression that does not parse": {[]scheduler.Schedule{schedule("sweep", "61 * * * *")}, `schedule 1 (sweep): cron expression "61 * * * *": field 1 (minute) "61"`},
		"seven fields":                      {[]scheduler.Schedule{schedule("sweep", "* * * * * * *")}, "it has 7 fields"},
		"no expression":                     {[]scheduler.Schedule{schedule("sweep", "")}, "it is empty"},
		"one name twice":                    {[]scheduler.Schedule{schedule("a", "@daily"), schedule("a", "@hourly")}, "named twice: a"},
		"no name":                           {[]scheduler.Schedule{schedule("", "@daily")}, "schedule 1 (): invalid schedule: it has no name"},
		"no job":                            {[]scheduler.Schedule{{Name: "a", Cron: "@daily"}}, "schedule 1 (a): invalid schedule: it needs a job, or a kind"},
		"a faulty job": {[]scheduler.Schedule{{
			Name: "a", Cron: "@daily", Job: func(tick string) jobs.Job { return faulty.With(tick) },
		}}, "schedule 1 (a): job"},
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
