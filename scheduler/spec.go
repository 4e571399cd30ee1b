package scheduler

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// spec is a parsed cron expression.
type spec struct {
	schedule cron.Schedule
	every    time.Duration // for @every, else zero
}

// parseSpec takes five fields (minute hour day month weekday), a descriptor such as @daily, or "@every 5m".
func parseSpec(expression string) (spec, error) {
	parsed, err := cron.ParseStandard(expression)
	if err != nil {
		return spec{}, fmt.Errorf("cron expression %q: %w", expression, err)
	}
	if every, ok := parsed.(cron.ConstantDelaySchedule); ok {
		return spec{schedule: parsed, every: every.Delay}, nil
	}
	return spec{schedule: parsed}, nil
}

// next is the first due time after t. robfig/cron counts @every from t itself, so that two schedulers would
// disagree; here it counts from the anchor that the database keeps.
func (s spec) next(anchor, t time.Time) time.Time {
	if s.every == 0 {
		return s.schedule.Next(t)
	}
	if t.Before(anchor) {
		return anchor.Add(s.every)
	}
	ticks := t.Sub(anchor)/s.every + 1
	return anchor.Add(ticks * s.every) //nolint:durationcheck // ticks is a count
}

// latest is the last due time after `after` and not after now, if there is one: what downtime missed before it
// is not made up for. It looks back in growing windows, so that a year of downtime is not walked minute by
// minute.
func (s spec) latest(anchor, after, now time.Time) (time.Time, bool) {
	for window := time.Hour; ; window *= 24 {
		from := now.Add(-window)
		if !from.After(after) {
			from = after
		}
		due, found := time.Time{}, false
		for t := s.next(anchor, from); !t.IsZero() && !t.After(now); t = s.next(anchor, t) {
			due, found = t, true
		}
		if found || from.Equal(after) {
			return due, found
		}
	}
}
