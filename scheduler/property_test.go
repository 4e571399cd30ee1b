package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
)

const (
	// slack is what a scheduler may take after it could: its poll, the longest pause after an outage with its jitter, and ticks
	// whose answers were lost.
	slack = 15 * time.Second
	// horizon is how long a drawn world lasts.
	horizon = 50*time.Minute + 500*time.Millisecond
)

// span is a part of a world's time, from its beginning.
type span struct{ from, to time.Duration }

func (s span) holds(from, to time.Duration) bool { return s.from <= from && to <= s.to }

// host is one scheduler: a process that is killed and started again, on a host whose clock is wrong and leaps.
type host struct {
	up    []span
	skew  time.Duration
	leaps []time.Duration // at a tenth of the horizon each, by so much
}

// clock is what the host's clock says.
func (h host) clock(began time.Time) time.Time {
	now := time.Now()
	shown := now.Add(h.skew)
	for i, leap := range h.leaps {
		if now.Sub(began) > time.Duration(i+1)*horizon/10 {
			shown = shown.Add(leap)
		}
	}
	return shown
}

// world is what rapid draws.
type world struct {
	plans   []scheduler.Schedule
	hosts   []host
	outages []span // of the database
	losses  []int  // of its answers: how many calls go well before each, by turns before and after the commit
}

func drawWorld(t *rapid.T) world {
	var w world
	def := jobs.Define[sweepArgs]("sweep", jobs.Policy{})
	for i := range rapid.IntRange(1, 4).Draw(t, "schedules") {
		name := fmt.Sprintf("s%d", i)
		w.plans = append(w.plans, scheduler.Schedule{
			Name:    name,
			Cron:    rapid.SampledFrom([]string{"* * * * *", "*/5 * * * *", "*/40 * * * * *", "@every 47s", "7,9 * * * *", "@hourly"}).Draw(t, "cron"),
			Zone:    rapid.SampledFrom([]string{"", "Asia/Kathmandu"}).Draw(t, "zone"),
			CatchUp: rapid.SampledFrom(jobs.CatchUps()).Draw(t, "catch-up"),
			Jitter:  rapid.SampledFrom([]time.Duration{0, 10 * time.Second}).Draw(t, "jitter"),
			Job:     func(tick string) jobs.Job { return def.With(sweepArgs{Tick: tick}) },
		})
	}
	spans := func(what string, most int) []span {
		var all []span
		at := time.Duration(0)
		for range rapid.IntRange(0, most).Draw(t, what) {
			from := at + time.Duration(rapid.IntRange(1, 600).Draw(t, "after"))*time.Second
			at = from + time.Duration(rapid.IntRange(1, 1200).Draw(t, "for"))*time.Second
			all = append(all, span{from, at})
		}
		return all
	}
	leap := func() time.Duration {
		return time.Duration(rapid.SampledFrom([]int{0, 0, -7200, -3, 5, 86400}).Draw(t, "leap")) * time.Second
	}
	for range rapid.IntRange(1, 4).Draw(t, "hosts") {
		h := host{up: spans("lives", 3), skew: leap()}
		for range 9 {
			h.leaps = append(h.leaps, leap())
		}
		w.hosts = append(w.hosts, h)
	}
	w.outages = spans("outages", 2)
	w.losses = rapid.SliceOfN(rapid.IntRange(10, 40), 0, 6).Draw(t, "losses")
	return w
}

// flaky is a database whose answers are lost now and then: the call may have been carried out, or not.
type flaky struct {
	*ticks
	lossMu sync.Mutex
	losses []int
}

func (f *flaky) lost() (before, after bool) {
	f.lossMu.Lock()
	defer f.lossMu.Unlock()
	if len(f.losses) == 0 {
		return false, false
	}
	if f.losses[0]--; f.losses[0] >= 0 {
		return false, false
	}
	f.losses = f.losses[1:]
	return len(f.losses)%2 == 0, len(f.losses)%2 == 1
}

func (f *flaky) MakeTicks(ctx context.Context, all []jobs.Tick) ([]jobs.TickMade, error) {
	before, after := f.lost()
	if before {
		return nil, errors.New("the connection broke before the commit")
	}
	made, err := f.ticks.MakeTicks(ctx, all)
	if after {
		return nil, errors.New("the connection broke after the commit")
	}
	return made, err
}

// play lets the world happen, and returns what the database has at its end.
func (w world) play(t *testing.T) (m *ticks, began time.Time) {
	t.Helper()
	began, m = time.Now(), newTicks()
	db := &flaky{ticks: m, losses: append([]int(nil), w.losses...)}
	var all sync.WaitGroup
	process := func(h host, life span) {
		elapse(life.from)
		s, err := scheduler.New(db, scheduler.Config{Schedules: w.plans, Now: func() time.Time { return h.clock(began) }})
		if err != nil {
			t.Error(err)
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), min(life.to, horizon)-life.from)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	}
	all.Go(func() { process(host{}, span{0, time.Second}) }) // places them
	for _, h := range w.hosts {
		for _, life := range h.up {
			if life.from < horizon {
				all.Go(func() { process(h, life) })
			}
		}
	}
	all.Go(func() {
		for _, o := range w.outages {
			elapse(o.from - time.Since(began))
			m.setBroken(true)
			elapse(o.to - time.Since(began))
			m.setBroken(false)
		}
	})
	all.Wait()
	m.setBroken(false)
	if rest := horizon - time.Since(began); rest > 0 {
		elapse(rest)
	}
	return m, began
}

// works says whether some scheduler ran all the time from one to the other, and reached the database.
func (w world) works(from, to time.Duration) bool {
	if to > horizon {
		return false
	}
	for _, o := range w.outages {
		if o.from < to && from < o.to {
			return false
		}
	}
	for _, h := range w.hosts {
		for _, life := range h.up {
			if life.holds(from, to) {
				return true
			}
		}
	}
	return false
}

// idle says whether no scheduler could have made a tick at any time from one to the other.
func (w world) idle(from, to time.Duration) bool {
	for _, h := range w.hosts {
		for _, life := range h.up {
			if life.from <= to && from <= life.to {
				return false
			}
		}
	}
	return true
}

// TestTheTicksThatRanAreTheTicksThatWereDueUnderThePolicy plays random worlds: schedules, hosts whose clocks are wrong and leap,
// processes that are killed and started again, a database that is away or whose answers are lost.
func TestTheTicksThatRanAreTheTicksThatWereDueUnderThePolicy(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		var problems []string
		synctest.Test(t, func(t *testing.T) {
			m, began := w.play(t)
			for _, plan := range w.plans {
				problems = append(problems, w.judge(t, m, began, plan)...)
			}
		})
		if len(problems) > 0 {
			rt.Fatalf("%+v:\n%v", w, problems)
		}
	})
}

// judge holds a schedule's ticks to what was due.
func (w world) judge(t *testing.T, m *ticks, began time.Time, plan scheduler.Schedule) (problems []string) {
	t.Helper()
	wrong := func(format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%s (%s, %s): ", plan.Name, plan.Cron, plan.CatchUp)+fmt.Sprintf(format, args...))
	}
	table := parse(t, plan.Cron, plan.Zone)
	anchor := m.states[plan.Name].Anchor
	var due []time.Time
	for at := table.Next(anchor, anchor); at.Before(began.Add(horizon)); at = table.Next(anchor, at) {
		due = append(due, at)
	}
	made := make(map[time.Time]time.Duration) // since the world began
	last := anchor
	for _, tick := range m.ticks {
		if tick.schedule != plan.Name {
			continue
		}
		if !tick.due.After(last) || tick.at.Before(tick.due) {
			wrong("a tick of %v at %v after one of %v", tick.due, tick.at, last)
		}
		last = tick.due
		made[tick.due] = tick.at.Sub(began)
	}
	for i, at := range due {
		from := at.Sub(began)
		ready := from + plan.Jitter // by then jitter is over
		next := horizon             // when another one takes its place
		if i+1 < len(due) {
			next = due[i+1].Sub(began)
		}
		when, is := made[at]
		delete(made, at)
		prompt := w.works(ready, ready+slack)
		switch {
		case prompt && is && when > ready+slack:
			wrong("the tick of %v was made at %v, though a scheduler ran", from, when)
		case prompt && !is && ready+slack <= next:
			wrong("nothing came of %v, though a scheduler ran", from)
		}
		switch plan.CatchUp {
		case jobs.CatchUpAll: // no more are due than the bound
			if !is && ready+slack <= horizon && w.works(max(ready, horizon-3*time.Minute), horizon) {
				wrong("nothing came of %v in the end", from)
			}
		case jobs.CatchUpLatest:
			if !is && next == horizon && ready+slack < horizon && w.works(horizon-3*time.Minute, horizon) {
				wrong("nothing came of %v, which was the last", from)
			}
		case jobs.CatchUpSkip:
			if is && when > ready+scheduler.Late+slack {
				wrong("the tick of %v was made at %v, which is too late", from, when)
			}
			if is && w.idle(from, ready+scheduler.Late) {
				wrong("the tick of %v was made at %v, though it was missed", from, when)
			}
		}
	}
	for at := range made {
		wrong("a tick of %v, which was not due", at)
	}
	return problems
}
