package scheduler_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/scheduler"
)

// jittery are schedules that are due every minute, and made in its first 50 seconds.
func jittery(catchUp jobs.CatchUp) []scheduler.Schedule {
	var all []scheduler.Schedule
	for n := range 30 {
		sch := schedule(fmt.Sprintf("s%02d", n), "* * * * *")
		sch.Jitter, sch.CatchUp = 50*time.Second, catchUp
		all = append(all, sch)
	}
	return all
}

// madeAt is when each tick was made, since midnight, by schedule and the minute that it was due.
func (m *ticks) madeAt() map[string]time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]time.Duration)
	for _, t := range m.ticks {
		all[fmt.Sprintf("%s %02d", t.schedule, t.due.Minute())] = t.at.Sub(t.at.Truncate(24 * time.Hour)).Truncate(time.Millisecond)
	}
	return all
}

func TestAfterDowntimeJitterStillSaysWhenATickIsMade(t *testing.T) {
	t.Parallel()
	undisturbed := make(map[string]time.Duration)
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		defer start(t, m, jittery(jobs.CatchUpLatest)...)()
		elapse(11 * time.Minute)
		undisturbed = m.madeAt()
	})
	const up = 10*time.Minute + 5*time.Second
	for _, catchUp := range []jobs.CatchUp{jobs.CatchUpLatest, jobs.CatchUpSkip} {
		synctest.Test(t, func(t *testing.T) {
			m := newTicks()
			stop := start(t, m, jittery(catchUp)...)
			synctest.Wait()
			stop()
			elapse(up)
			stop = start(t, m, jittery(catchUp)...)
			elapse(50 * time.Second)
			stop()
			want := make(map[string]time.Duration)
			for n := range 30 {
				ninth, tenth := fmt.Sprintf("s%02d 09", n), fmt.Sprintf("s%02d 10", n)
				want[tenth] = max(up, undisturbed[tenth])
				switch {
				case undisturbed[tenth] <= up && catchUp == jobs.CatchUpLatest: // the tenth takes its place
				case catchUp == jobs.CatchUpSkip && up-undisturbed[ninth] > scheduler.Late:
				default:
					want[ninth] = up
				}
			}
			if diff := cmp.Diff(want, m.madeAt()); diff != "" {
				t.Errorf("%s: when ticks were made (-want +got):\n%s", catchUp, diff)
			}
		})
	}
}

func TestATickThatTheDatabaseDoesNotTakeForDueYetIsMadeWhenItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		began := time.Now()
		now := func() time.Time { // leaps by less than a poll, so that it is not noticed
			if time.Since(began) > 59_750*time.Millisecond {
				return time.Now().Add(50 * time.Millisecond)
			}
			return time.Now()
		}
		defer run(t, m, scheduler.Config{Schedules: []scheduler.Schedule{schedule("other", "@every 1s"), schedule("sweep", "* * * * *")}, Now: now, Poll: 7 * time.Second})()
		elapse(300 * time.Millisecond)
		m.change("other", func(s *jobs.ScheduleState) { s.Anchor = began.Add(-200 * time.Millisecond) }) // after the next poll it wakes at 59.8
		elapse(61 * time.Second)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.batches > 200 {
			t.Errorf("it was tried %d times", m.batches)
		}
		for _, tick := range m.ticks {
			if tick.schedule == "sweep" && tick.at.Sub(tick.due) < 10*time.Millisecond {
				return
			}
		}
		t.Error("no tick was made in time")
	})
}

func TestWhereClocksGoForwardJitterPutsNoTickAfterTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTicks()
		var all []scheduler.Schedule
		for n := range 30 { // an hour apart, but on the day on which 02:30 is 03:00
			sch := schedule(fmt.Sprintf("s%02d", n), "30 2,3 26 3 *")
			sch.Zone, sch.Jitter = "Europe/Berlin", 50*time.Minute
			all = append(all, sch)
		}
		stop := run(t, m, scheduler.Config{Schedules: all, Poll: time.Minute})
		elapse(time.Until(time.Date(2000, time.March, 26, 6, 0, 0, 0, time.UTC)))
		stop()
		made := m.madeAt()
		for n := range 30 {
			first, second := made[fmt.Sprintf("s%02d 00", n)], made[fmt.Sprintf("s%02d 30", n)]
			if first < time.Hour || first >= 90*time.Minute || second < 90*time.Minute || second >= 140*time.Minute {
				t.Errorf("s%02d: want ticks after 01:00 and 01:30 UTC, each before the next is due, got %v and %v", n, first, second)
			}
		}
	})
}
