package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sealq/sealq/jobs"
)

const (
	// mostAtOnce bounds the ticks of one transaction.
	mostAtOnce = 500
	// waits is the pause before a tick is tried again whose job waits for the one before, and stuck where it cannot be made.
	waits = time.Second
	stuck = 10 * time.Second
)

// desk is what a scheduler remembers between its rounds: the book as it read it, and the database's clock.
type desk struct {
	version int64
	plans   []*planned
	now     time.Time // the database's clock, when this process's read
	read    time.Time
	refused map[string]int64 // revisions of schedules that were told to be unusable
}

// clock is the database's, as far as is known; it is never ahead of it but where this host's leaps. ok is false where it must be
// asked for.
func (s *Scheduler) clock() (now time.Time, ok bool) {
	elapsed := s.cfg.Now().Sub(s.desk.read)
	return s.desk.now.Add(elapsed), !s.desk.read.IsZero() && elapsed >= 0 && elapsed < s.cfg.Poll
}

// round makes every tick that is due and returns the pause to the next one, at most Poll.
func (s *Scheduler) round(ctx context.Context) (time.Duration, error) {
	now, ok := s.clock()
	if !ok {
		if err := s.readBook(ctx); err != nil {
			return 0, err
		}
		now, _ = s.clock()
	}
	batch, ticks := s.due(now)
	if len(ticks) > 0 {
		made, err := s.ticks.MakeTicks(ctx, ticks)
		if err != nil {
			return 0, fmt.Errorf("make ticks: %w", err)
		}
		if len(made) != len(ticks) {
			return 0, fmt.Errorf("make ticks: %d answers to %d ticks", len(made), len(ticks))
		}
		for i, m := range made {
			s.settle(ctx, batch[i], ticks[i], m)
		}
		return 0, nil // what was made took time, in which others came due
	}
	return s.untilNext(now), nil
}

// due are the ticks of one transaction. One that waited for another's transaction is made alone, when there are no others, so that it holds none up:
// of several the one whose turn was longest ago.
func (s *Scheduler) due(now time.Time) (batch []*planned, ticks []jobs.Tick) {
	var waiting *planned
	var waitings jobs.Tick
	for _, p := range s.desk.plans {
		if p.wake.IsZero() || p.wake.After(now) {
			continue
		}
		at, missed, ok := p.pick(now)
		if !ok {
			continue
		}
		d := jobs.Due{Schedule: p.Name, Revision: p.Revision, At: at, Since: p.LastDueAt, Missed: missed}
		t := jobs.Tick{Due: d, Job: p.job(tickName(p.Name, at))}
		if p.blocked > 0 {
			if waiting == nil || p.after.Before(waiting.after) {
				waiting, waitings = p, t
			}
			continue
		}
		if batch, ticks = append(batch, p), append(ticks, t); len(ticks) == mostAtOnce {
			break // the others come in the next round, which is at once
		}
	}
	if len(ticks) == 0 && waiting != nil {
		return []*planned{waiting}, []jobs.Tick{waitings}
	}
	return batch, ticks
}

func (s *Scheduler) untilNext(now time.Time) time.Duration {
	pause := s.cfg.Poll - s.cfg.Now().Sub(s.desk.read)
	for _, p := range s.desk.plans {
		if !p.wake.IsZero() {
			pause = min(pause, p.wake.Sub(now))
		}
	}
	return max(pause, time.Microsecond)
}

// settle notes what became of a tick.
func (s *Scheduler) settle(ctx context.Context, p *planned, t jobs.Tick, m jobs.TickMade) {
	now, _ := s.clock()
	p.wake = now // to be looked at again: the next due time may be over too
	if m.LastDueAt.After(p.LastDueAt) {
		p.LastDueAt = m.LastDueAt
	}
	if !errors.Is(m.Err, jobs.ErrTickBlocked) {
		p.blocked = 0
	}
	switch {
	case m.Stale:
		p.wake = time.Time{}
		s.desk.version, s.desk.read = 0, time.Time{} // read it all anew
	case errors.Is(m.Err, jobs.ErrDuplicate):
		p.after = now.Add(waits) // the tick before is not done yet: its job is unique, this one waits for it
	case errors.Is(m.Err, jobs.ErrTickBlocked):
		p.after = now.Add(waits)
		if p.blocked++; p.blocked == 2 { // once may have been another scheduler, at work on the same ticks
			s.cfg.Logger.WarnContext(ctx, "tick waits for a transaction that is open elsewhere", slog.String("schedule", p.Name), slog.Time("due", t.At), slog.Any("error", m.Err))
		}
	case m.Err != nil:
		p.after = now.Add(stuck)
		s.cfg.Logger.ErrorContext(ctx, "tick cannot be made", slog.String("schedule", p.Name), slog.Time("due", t.At), slog.Any("error", m.Err))
	case m.Made:
		p.after = time.Time{}
		made := Made{Schedule: p.Name, Due: t.At, Delay: max(0, now.Sub(p.madeAt(t.At))), Missed: t.Missed}
		s.cfg.Logger.InfoContext(ctx, "tick made", slog.String("schedule", p.Name), slog.Time("due", t.At))
		s.cfg.OnTick(made)
	case p.LastDueAt.Before(t.At): // by the database's clock it is not due yet
		s.desk.read = time.Time{}
	}
}

// readBook asks for the clock, and for the schedules where they are others than those that were read.
func (s *Scheduler) readBook(ctx context.Context) error {
	book, err := s.ticks.ScheduleBook(ctx, s.desk.version)
	if err != nil {
		return fmt.Errorf("read schedules: %w", err)
	}
	// Taken afterwards, so that the clock is behind the database's rather than ahead.
	s.desk.read, s.desk.now = s.cfg.Now(), book.Now
	if book.Known {
		return nil
	}
	s.desk.version = book.Version
	s.desk.plans = s.desk.plans[:0]
	refused := make(map[string]int64)
	for _, state := range book.Schedules {
		if state.Paused {
			continue
		}
		p, err := s.planned(state)
		if err != nil {
			if refused[state.Name] = state.Revision; s.desk.refused[state.Name] != state.Revision {
				s.cfg.Logger.WarnContext(ctx, "schedule left alone", slog.String("schedule", state.Name), slog.Any("error", err))
			}
			continue
		}
		s.desk.plans = append(s.desk.plans, p)
	}
	s.desk.refused = refused
	return nil
}

// errOthers means that a schedule's jobs are made by a function that this process does not have.
var errOthers = errors.New("its jobs are made by a function of the program that placed it")

func (s *Scheduler) planned(state jobs.ScheduleState) (*planned, error) {
	times, job, err := compile(state.SchedulePlan, s.cfg.Kinds, s.cfg.MinInterval)
	if err == nil {
		err = checkDates(state, s.desk.now)
	}
	if err != nil {
		return nil, err
	}
	if job == nil {
		if job = s.jobs[state.Name]; job == nil {
			return nil, errOthers
		}
	}
	return &planned{ScheduleState: state, times: times, job: job, wake: s.desk.now}, nil
}
