package scheduler

import "time"

// Next is the first due time after an instant, in UTC; the zero time where there is none within eight years. @every counts from
// the anchor, which the database keeps: counted from the process's start, as robfig/cron does, two schedulers would disagree.
func (t *Timetable) Next(anchor, after time.Time) time.Time {
	switch {
	case t.every > 0 && after.Before(anchor):
		return anchor.Add(t.every).UTC()
	case t.every > 0:
		n := after.Sub(anchor)/t.every + 1
		return anchor.Add(n * t.every).UTC() //nolint:durationcheck // n is a count
	case t.eachHour:
		return t.nextInstant(after)
	default:
		return t.nextDate(after)
	}
}

// wallAfter is the first time after wall that a clock may read by the fields, whatever the zone: both are written in UTC. cron
// gives up after five years.
func (t *Timetable) wallAfter(wall time.Time) time.Time {
	next := t.fields.Next(wall)
	if next.IsZero() {
		next = t.fields.Next(time.Date(wall.Year()+6, time.January, 1, 0, 0, -1, 0, time.UTC))
	}
	if next.Sub(wall) > horizon {
		return time.Time{}
	}
	return next
}

// nextInstant is the first instant after t at which clocks read by the fields. Between two changes of the clocks they run on
// evenly; so each such stretch is looked through by itself.
func (t *Timetable) nextInstant(after time.Time) time.Time {
	from := after
	for {
		in := from.In(t.loc)
		_, offset := in.Zone()
		next := t.wallAfter(wallOf(in))
		if next.IsZero() {
			return time.Time{}
		}
		due := next.Add(-seconds(offset))
		_, end := in.ZoneBounds()
		if end.IsZero() || due.Before(end) {
			return due
		}
		if end.Sub(after) > horizon {
			return time.Time{}
		}
		if _, o := end.In(t.loc).Zone(); t.matches(end.UTC().Add(seconds(o))) {
			return end.UTC()
		}
		from = end
	}
}

// matches says whether a clock that reads wall reads by the fields.
func (t *Timetable) matches(wall time.Time) bool {
	return t.fields.Next(wall.Add(-time.Second)).Equal(wall)
}

// nextDate is the first instant after t that stands for a time that the fields name: that time's first instant or, where the
// clocks leave it out, the first one after the gap.
func (t *Timetable) nextDate(after time.Time) time.Time {
	for wall := t.wallAfter(wallOf(after.In(t.loc))); !wall.IsZero(); wall = t.wallAfter(wall) {
		if due := firstInstant(wall, t.loc); due.After(after) {
			return due
		}
	}
	return time.Time{}
}

// firstInstant is the first instant at which clocks in loc read wall, or the end of the gap that wall stands in.
func firstInstant(wall time.Time, loc *time.Location) time.Time {
	// time.Date promises one of the two zones where a time comes twice or not at all, and not which.
	at := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, loc)
	start, end := at.ZoneBounds()
	switch read := wallOf(at); {
	case read.After(wall): // counted by the clock before the gap, so at is after it
		return start.UTC()
	case read.Before(wall):
		return end.UTC()
	}
	if start.IsZero() {
		return at.UTC()
	}
	_, before := start.Add(-1).In(loc).Zone()
	if earlier := wall.Add(-seconds(before)); earlier.Before(start) {
		return earlier
	}
	return at.UTC()
}

// wallOf is what the clock of t's zone reads, written in UTC.
func wallOf(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(seconds(offset))
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// latest is the last due time after `after` and not after now, of which there is one.
func (t *Timetable) latest(anchor, after, now time.Time) time.Time {
	return t.newest(anchor, after, now, 1)[0]
}

// newest are the last n due times after `after` and not after now. It looks back in growing windows, so that a year of downtime
// is not walked minute by minute.
func (t *Timetable) newest(anchor, after, now time.Time, n int) []time.Time {
	if t.every > 0 { // no window is needed
		if from := t.Next(anchor, now).Add(-time.Duration(n+1) * t.every); from.After(after) {
			after = from
		}
		due := t.between(anchor, after, now)
		return due[max(0, len(due)-n):]
	}
	for window := time.Minute; ; window *= 10 {
		from := now.Add(-window)
		whole := !from.After(after) || window > horizon
		if whole {
			from = after
		}
		due := t.between(anchor, from, now)
		if len(due) >= n {
			return due[len(due)-n:]
		}
		if whole {
			return due
		}
	}
}

func (t *Timetable) between(anchor, after, now time.Time) []time.Time {
	var all []time.Time
	for due := t.Next(anchor, after); !due.IsZero() && !due.After(now); due = t.Next(anchor, due) {
		all = append(all, due)
	}
	return all
}

// count is how many due times there are after `after` and before `before`, up to most.
func (t *Timetable) count(anchor, after, before time.Time, most int64) int64 {
	if t.every > 0 {
		first := t.Next(anchor, after)
		if !first.Before(before) {
			return 0
		}
		return min(most, int64((before.Sub(first)-1)/t.every)+1)
	}
	var n int64
	for due := t.Next(anchor, after); n < most && !due.IsZero() && due.Before(before); due = t.Next(anchor, due) {
		n++
	}
	return n
}
