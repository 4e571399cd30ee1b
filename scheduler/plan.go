package scheduler

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sealq/sealq/jobs"
)

const (
	// Late is how late a schedule that skips may make a tick: a due time that is longer ago was missed.
	Late = time.Minute
	// MostCaughtUp is how many missed due times become ticks under jobs.CatchUpAll: the last so many.
	MostCaughtUp = 100
	// MaxJitter bounds Schedule.Jitter.
	MaxJitter = time.Hour
	// MostMissed is where missed due times are no longer counted, for one gap.
	MostMissed = 10_000
	// maxName bounds a schedule's name, in bytes: it is a part of its ticks' names.
	maxName = 128
)

// tickArgument is the argument that is the tick's name where a kind has it and a schedule does not give it.
const tickArgument = "tick"

// ErrInvalidPlan is the cause of every other refusal of a schedule.
var ErrInvalidPlan = errors.New("invalid schedule")

// Check says what is wrong with a plan, by its field; nil if nothing is. kinds are those that schedulers know, nil for none: then
// only plans without arguments pass. least is the shortest interval, zero for MinInterval.
func Check(p jobs.SchedulePlan, kinds *jobs.Catalog, least time.Duration) error {
	_, _, err := compile(p, kinds, least)
	return err
}

// compile makes what ticks are made by. job is nil where the plan has no arguments.
func compile(p jobs.SchedulePlan, kinds *jobs.Catalog, least time.Duration) (*Timetable, func(tick string) jobs.Job, error) {
	if err := checkName(p.Name); err != nil {
		return nil, nil, err
	}
	times, err := Parse(p.Cron, p.Zone)
	if err != nil {
		return nil, nil, err
	}
	if least <= 0 {
		least = MinInterval
	}
	if err := times.atLeast(least, p.Cron); err != nil {
		return nil, nil, err
	}
	if !slices.Contains(jobs.CatchUps(), p.CatchUp) {
		return nil, nil, fmt.Errorf("%w: catch-up %q is none of %s, %s and %s", ErrInvalidPlan, p.CatchUp, jobs.CatchUpLatest, jobs.CatchUpAll, jobs.CatchUpSkip)
	}
	if p.Jitter < 0 || p.Jitter > MaxJitter {
		return nil, nil, fmt.Errorf("%w: jitter %v is not between 0 and %v", ErrInvalidPlan, p.Jitter, MaxJitter)
	}
	if shortest := times.shortest(p.Jitter); p.Jitter > 0 && p.Jitter >= shortest {
		return nil, nil, fmt.Errorf("%w: jitter %v is not less than the %v between two due times", ErrInvalidPlan, p.Jitter, shortest)
	}
	if p.Args == "" {
		return times, nil, nil
	}
	job, err := jobsOf(p, kinds)
	return times, job, err
}

// farthest is how far a schedule's anchor and last due time may be from now; twice that is less than a time.Duration holds.
const farthest = 140 * 365 * 24 * time.Hour

// checkDates refuses what only somebody who writes into the database can have made of a schedule: to walk to now from there takes for ever.
func checkDates(s jobs.ScheduleState, now time.Time) error {
	for _, at := range []time.Time{s.Anchor, s.LastDueAt} {
		if now.Sub(at).Abs() > farthest {
			return fmt.Errorf("%w: its anchor or its last due time is no date of ours (%s): remove it, and add it again", ErrInvalidPlan, at.UTC().Format(time.DateOnly))
		}
	}
	return nil
}

func checkName(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return fmt.Errorf("%w: it has no name", ErrInvalidPlan)
	case len(name) > maxName:
		return fmt.Errorf("%w: its name is longer than %d bytes", ErrInvalidPlan, maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r == '@' || unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return fmt.Errorf("%w: its name %q has a space, an @ or a character that is not printable", ErrInvalidPlan, name)
	}
	return nil
}

// jobsOf makes the jobs that arguments describe.
func jobsOf(p jobs.SchedulePlan, kinds *jobs.Catalog) (func(tick string) jobs.Job, error) {
	if kinds == nil {
		return nil, fmt.Errorf("kind %q: %w: no kinds are known here", p.Kind, jobs.ErrUnknownKind)
	}
	def, err := kinds.Lookup(p.Kind)
	if err != nil {
		return nil, fmt.Errorf("kind: %w", err)
	}
	names := slices.ContainsFunc(def.Arguments(), func(a jobs.Argument) bool { return a.Name == tickArgument })
	make := func(tick string) (jobs.Job, error) {
		args := []byte(p.Args)
		if names {
			args = withTick(args, tick)
		}
		if _, err := jobs.Missing(def, args); err != nil {
			return jobs.Job{}, err
		}
		return def.Parse(args)
	}
	if _, err := make(tickName(p.Name, time.Unix(0, 0))); err != nil {
		return nil, fmt.Errorf("args: %w", err)
	}
	return func(tick string) jobs.Job {
		j, _ := make(tick) // it was made before; where it could not, Err tells
		return j
	}, nil
}

// withTick adds the tick's name to arguments that do not have it. Those that are no object are left as they are: Parse tells.
func withTick(args []byte, tick string) []byte {
	var given map[string]jsontext.Value
	if err := json.Unmarshal(args, &given); err != nil {
		return args
	}
	if _, ok := given[tickArgument]; ok {
		return args
	}
	if given == nil {
		return args // null
	}
	name, err := json.Marshal(tick)
	if err != nil {
		return args
	}
	given[tickArgument] = name
	filled, err := json.Marshal(given, json.Deterministic(true))
	if err != nil {
		return args
	}
	return filled
}

func tickName(schedule string, due time.Time) string {
	return schedule + "@" + due.UTC().Format(time.RFC3339Nano)
}

// OnDemand is the tick of a schedule that somebody asks for at now, by the database's clock, whatever the schedule's times are. Its
// due time is none that any schedule can have.
func OnDemand(state jobs.ScheduleState, kinds *jobs.Catalog, now time.Time) (jobs.Tick, error) {
	_, job, err := compile(state.SchedulePlan, kinds, 0)
	if err != nil {
		return jobs.Tick{}, fmt.Errorf("schedule %s: %w", state.Name, err)
	}
	if job == nil {
		return jobs.Tick{}, fmt.Errorf("schedule %s: %w", state.Name, errOthers)
	}
	at := now.UTC().Truncate(time.Millisecond).Add(time.Microsecond) // anchors are whole milliseconds, and intervals seconds
	return jobs.Tick{Due: jobs.Due{Schedule: state.Name, Revision: state.Revision, At: at}, Job: job(tickName(state.Name, at))}, nil
}

// planned is a schedule of the book, and where this scheduler stands with it.
type planned struct {
	jobs.ScheduleState
	times *Timetable
	job   func(tick string) jobs.Job
	wake  time.Time // by the database's clock, when it is to be looked at; zero: never
	after time.Time // not before then, whatever is due
	// blocked is how many times in a row its tick was not made for a transaction that is open elsewhere.
	blocked int
}

// madeAt is when the tick is to be made: the same for all schedulers.
func (p *planned) madeAt(due time.Time) time.Time {
	if p.Jitter <= 0 {
		return due
	}
	most := p.Jitter
	if next := p.times.Next(p.Anchor, due); !next.IsZero() { // where clocks change due times may be closer together than they are otherwise
		most = min(most, next.Sub(due))
	}
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s@%d", p.Name, due.UnixMicro())      // a hash takes everything
	return due.Add(time.Duration(mix(h.Sum64()) % uint64(most))) //nolint:gosec // neither is negative
}

// mix spreads the few bits in which hashes of like texts differ (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// pick says which due time is to become a tick now and how many before it come to nothing, or else sets wake.
func (p *planned) pick(now time.Time) (due time.Time, missed int64, ok bool) {
	if now.Before(p.after) && p.after.Sub(now) <= stuck { // more than that is a clock that was wrong
		p.wake = p.after
		return time.Time{}, 0, false
	}
	first := p.times.Next(p.Anchor, p.LastDueAt)
	if first.IsZero() {
		p.wake = time.Time{}
		return time.Time{}, 0, false
	}
	if at := p.madeAt(first); at.After(now) {
		p.wake = at
		return time.Time{}, 0, false
	}
	switch p.CatchUp {
	case jobs.CatchUpAll:
		due = p.times.newest(p.Anchor, p.LastDueAt, now, MostCaughtUp)[0]
	case jobs.CatchUpSkip:
		if due, ok = p.notLate(now); !ok {
			return time.Time{}, 0, false
		}
	default:
		due = p.times.latest(p.Anchor, p.LastDueAt, now)
		if p.madeAt(due).After(now) { // the one before is not, as jitter is less than what is between them
			due = p.times.latest(p.Anchor, p.LastDueAt, due.Add(-1))
		}
	}
	return due, p.times.count(p.Anchor, p.LastDueAt, due, MostMissed), true
}

// notLate is the first due time that is to be made now and was not missed.
func (p *planned) notLate(now time.Time) (time.Time, bool) {
	from := now.Add(-Late - p.Jitter)
	if from.Before(p.LastDueAt) {
		from = p.LastDueAt
	}
	for due := p.times.Next(p.Anchor, from); ; due = p.times.Next(p.Anchor, due) {
		if due.IsZero() {
			p.wake = time.Time{}
			return time.Time{}, false
		}
		at := p.madeAt(due)
		if at.After(now) {
			p.wake = at
			return time.Time{}, false
		}
		if now.Sub(at) <= Late {
			return due, true
		}
	}
}
