package scheduler

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealq/sealq/jobs"
)

// Trouble is what is wrong with a schedule. The values may be a metric's label.
type Trouble string

// The troubles, the worst first.
const (
	Unusable Trouble = "unusable" // no tick can be made of it
	Overdue  Trouble = "overdue"  // nothing has come of a due time
	Failing  Trouble = "failing"  // the last success is too long ago
	Long     Trouble = "long"     // a job of it takes too long
)

// Troubles are all of them.
func Troubles() []Trouble { return []Trouble{Unusable, Overdue, Failing, Long} }

// allowance is what a success, or the end of a job, may take besides what a schedule's own times and its kind's timeout say.
const allowance = 10 * time.Minute

// Standing is a schedule as a watchdog judges it.
type Standing struct {
	jobs.ScheduleReport
	NextAt  time.Time // when it is due next; zero: never, or it is paused
	Trouble Trouble   // "": none
	Detail  string    // what is wrong, in a sentence; "" where nothing is
}

// Judge says where a schedule stands. In Missed is also what is overdue now. kinds are those whose jobs run here, nil where that
// is not known; then nothing is said of kinds. A kind that is not among them is another program's if there were ticks.
func Judge(r jobs.ScheduleReport, kinds *jobs.Catalog, now time.Time) Standing {
	s := Standing{ScheduleReport: r}
	plan, timeout := r.SchedulePlan, jobs.DefaultTimeout
	if kinds == nil {
		plan.Args = ""
	} else if def, err := kinds.Lookup(plan.Kind); err == nil {
		timeout = def.Policy().Timeout
	}
	times, _, err := compile(plan, kinds, MinInterval)
	if errors.Is(err, jobs.ErrUnknownKind) && !r.LastTickAt.IsZero() { // another program's: it makes the ticks, or is overdue
		plan.Args = ""
		times, _, err = compile(plan, kinds, MinInterval)
	}
	if err == nil && !r.Paused {
		err = checkDates(r.ScheduleState, now)
	}
	if err != nil {
		s.Trouble, s.Detail = Unusable, err.Error()
		return s
	}
	if r.Paused {
		return s
	}
	p := planned{ScheduleState: r.ScheduleState, times: times}
	s.NextAt = times.Next(r.Anchor, r.LastDueAt)
	if over := now.Add(-Late - r.Jitter); s.NextAt.Before(over) && !s.NextAt.IsZero() {
		s.Missed += times.count(r.Anchor, r.LastDueAt, over, MostMissed)
		s.Trouble, s.Detail = Overdue, fmt.Sprintf("nothing has come of it since it was due %s ago", age(now.Sub(p.madeAt(s.NextAt))))
		s.NextAt = times.Next(r.Anchor, now)
		return s
	}
	if ahead := r.LastDueAt.Sub(now); ahead > Late {
		s.Trouble = Overdue
		s.Detail = fmt.Sprintf("its last due time is %s ahead of the database's clock, which was put back: nothing is due until then, unless it is removed and added again", age(ahead))
		s.NextAt = times.Next(r.Anchor, r.LastDueAt)
		return s
	}
	next := times.Next(r.Anchor, now)
	period := times.Next(r.Anchor, next).Sub(next)
	since := r.Anchor // what there was to succeed began then
	if r.LastSuccessAt.After(since) {
		since = r.LastSuccessAt
	}
	if r.LastDueAt.After(r.LastTickAt) && r.LastDueAt.After(since) {
		since = r.LastDueAt // resumed since its last tick: what it missed while it was paused is no failure
	}
	switch {
	case r.LastTickAt.IsZero(): // nothing was to succeed yet
	case now.Sub(since) > 3*period+allowance && r.LastSuccessAt.IsZero():
		s.Trouble, s.Detail = Failing, "none of its jobs has succeeded"
	case now.Sub(since) > 3*period+allowance:
		s.Trouble, s.Detail = Failing, fmt.Sprintf("its last success was %s ago", age(now.Sub(r.LastSuccessAt)))
	case !r.Unfinished.IsZero() && now.Sub(r.Unfinished) > timeout+allowance:
		s.Trouble, s.Detail = Long, fmt.Sprintf("a job of it has not ended for %s", age(now.Sub(r.Unfinished)))
	}
	return s
}

func age(d time.Duration) string {
	if d > time.Hour {
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.Round(time.Second).String()
}
