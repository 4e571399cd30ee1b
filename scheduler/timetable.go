package scheduler

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

const (
	// MinInterval is how close together the due times of a schedule may be, unless Config says otherwise.
	MinInterval = time.Second
	// horizon is how far ahead a date is looked for: 29 February comes eight years after the last one where the year in between
	// is no leap year, as 2100.
	horizon = 8*366*24*time.Hour + 24*time.Hour
	// maxCron bounds an expression, in bytes.
	maxCron = 256
)

// The causes for which an expression is refused. Parse returns them in an *ExpressionError.
var (
	ErrUnreadable  = errors.New("not a cron expression")
	ErrNever       = errors.New("its date never comes")
	ErrTooOften    = errors.New("it is due too often")
	ErrUnknownZone = errors.New("unknown time zone")
)

// ExpressionError says what is wrong with an expression, and where.
type ExpressionError struct {
	Expression string
	Field      int    // from 1; 0: the expression as a whole
	Part       string // what the field is for, such as "hour"
	Text       string // the field
	Reason     string
	Cause      error // one of the sentinels
}

// Error is a sentence for a person.
func (e *ExpressionError) Error() string {
	if e.Field == 0 {
		return fmt.Sprintf("cron expression %q: %v: %s", e.Expression, e.Cause, e.Reason)
	}
	return fmt.Sprintf("cron expression %q: field %d (%s) %q: %v: %s", e.Expression, e.Field, e.Part, e.Text, e.Cause, e.Reason)
}

// Unwrap is the cause.
func (e *ExpressionError) Unwrap() error { return e.Cause }

// Timetable is a cron expression in a time zone. It is safe for concurrent use.
type Timetable struct {
	every    time.Duration // of @every; zero: fields
	fields   *cron.SpecSchedule
	loc      *time.Location
	eachHour bool // the hours are a wildcard: due at each instant whose clock reads so, in an hour that comes twice, too
}

// Parse takes five fields (minute, hour, day of month, month, day of week), six with seconds in front, a descriptor such as
// @daily, or "@every 5m", which counts from an anchor. zone is an IANA name such as "Europe/Berlin", "" for UTC.
//
// Where clocks are put forward, a fixed time that the day does not have is due at the first instant after the gap; where they
// are put back, one that comes twice is due the first time only. An expression whose hours begin with * or have a */n is due at
// each instant that reads so. docs/schedules.md has a table of it.
func Parse(expression, zone string) (*Timetable, error) {
	refuse := func(cause error, reason string) (*Timetable, error) {
		return nil, &ExpressionError{Expression: cut(expression), Cause: cause, Reason: reason}
	}
	loc, err := location(zone)
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(expression)
	switch {
	case len(text) > maxCron:
		return refuse(ErrUnreadable, fmt.Sprintf("it is longer than %d bytes", maxCron))
	case text == "":
		return refuse(ErrUnreadable, "it is empty")
	case strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ="):
		return refuse(ErrUnreadable, "the time zone stands beside it, in the schedule's zone")
	case strings.HasPrefix(text, "@every"):
		return parseEvery(text, loc)
	case strings.HasPrefix(text, "@"):
		parsed, err := cron.NewParser(cron.Descriptor).Parse(text)
		fields, ok := parsed.(*cron.SpecSchedule)
		if err != nil || !ok {
			return refuse(ErrUnreadable, "the descriptors are @yearly, @monthly, @weekly, @daily, @hourly and @every 5m")
		}
		return &Timetable{fields: utc(fields), loc: loc, eachHour: isStar(fields.Hour)}, nil
	}
	return parseFields(text, loc)
}

func parseEvery(text string, loc *time.Location) (*Timetable, error) {
	refuse := func(cause error, reason string) (*Timetable, error) {
		return nil, &ExpressionError{Expression: text, Cause: cause, Reason: reason}
	}
	every, err := time.ParseDuration(strings.TrimSpace(strings.TrimPrefix(text, "@every")))
	switch {
	case err != nil:
		return refuse(ErrUnreadable, "after @every stands a duration, such as 90s, 5m or 12h")
	case every < MinInterval:
		return refuse(ErrTooOften, fmt.Sprintf("the least is %v", MinInterval))
	case every%time.Second != 0:
		return refuse(ErrUnreadable, "the duration is whole seconds")
	case every > horizon:
		return refuse(ErrNever, "the longest is 8 years")
	}
	return &Timetable{every: every, loc: loc}, nil
}

// parts are the fields of an expression of six.
var parts = [...]string{"second", "minute", "hour", "day of month", "month", "day of week"} //nolint:gochecknoglobals // a constant table

func parseFields(text string, loc *time.Location) (*Timetable, error) {
	fields := strings.Fields(text)
	first := 0
	switch len(fields) {
	case len(parts):
	case len(parts) - 1:
		first = 1
	default:
		return nil, &ExpressionError{
			Expression: text, Cause: ErrUnreadable,
			Reason: fmt.Sprintf("it has %d fields, and should have 5 (minute, hour, day of month, month, day of week) or 6 (second first)", len(fields)),
		}
	}
	parser := cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	for i, field := range fields { // one by one, to say which of them it is
		alone := []string{"*", "*", "*", "*", "*", "*"}
		alone[first+i] = field
		parsed, err := parser.Parse(strings.Join(alone, " "))
		reason := ""
		if err != nil {
			reason = err.Error()
		} else if spec, ok := parsed.(*cron.SpecSchedule); !ok || valuesOf(spec, first+i) == 0 {
			reason = "it names no value"
		}
		if reason != "" {
			return nil, &ExpressionError{Expression: text, Field: i + 1, Part: parts[first+i], Text: field, Cause: ErrUnreadable, Reason: reason}
		}
	}
	all := fields
	if first == 1 {
		all = append([]string{"0"}, fields...)
	}
	parsed, err := parser.Parse(strings.Join(all, " "))
	spec, ok := parsed.(*cron.SpecSchedule)
	if err != nil || !ok {
		return nil, &ExpressionError{Expression: text, Cause: ErrUnreadable, Reason: fmt.Sprint(err)}
	}
	t := &Timetable{fields: utc(spec), loc: loc, eachHour: wild(all[2])}
	// From a fixed instant, so that what is refused does not depend on the day.
	if t.wallAfter(time.Date(2096, time.March, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, &ExpressionError{
			Expression: text, Field: 3 + 1 - first, Part: parts[3], Text: all[3], Cause: ErrNever,
			Reason: fmt.Sprintf("no month %s has such a day", all[4]),
		}
	}
	return t, nil
}

// wild says whether hours are written with a star.
func wild(hours string) bool {
	for part := range strings.SplitSeq(hours, ",") {
		if strings.HasPrefix(part, "*") || strings.HasPrefix(part, "?") {
			return true
		}
	}
	return false
}

const star = 1 << 63 // cron's mark of a field that is * (spec.go)

func isStar(field uint64) bool { return field&star != 0 }

func valuesOf(s *cron.SpecSchedule, field int) uint64 {
	return [...]uint64{s.Second, s.Minute, s.Hour, s.Dom, s.Month, s.Dow}[field] &^ star
}

// utc lets cron count on a clock that is never put forward or back.
func utc(s *cron.SpecSchedule) *cron.SpecSchedule {
	s.Location = time.UTC
	return s
}

func location(zone string) (*time.Location, error) {
	if zone == "" {
		return time.UTC, nil
	}
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" { // which is another zone on each host
		return nil, fmt.Errorf("zone %q: %w: write a name of the IANA database, such as Europe/Berlin", cut(zone), ErrUnknownZone)
	}
	return loc, nil
}

func cut(s string) string {
	if len(s) > maxCron {
		return strings.ToValidUTF8(s[:maxCron], "") + "…"
	}
	return s
}

// atLeast refuses a timetable with due times that are closer together.
func (t *Timetable) atLeast(interval time.Duration, expression string) error {
	if shortest := t.shortest(interval); shortest < interval {
		return &ExpressionError{
			Expression: expression, Cause: ErrTooOften, Reason: fmt.Sprintf("there are %v between two due times, and the least is %v", shortest, interval),
		}
	}
	return nil
}

// shortest is the shortest time between two due times, or some one that is less than enough. It supposes that the days on which
// it is due follow one another.
func (t *Timetable) shortest(enough time.Duration) time.Duration {
	const day = 24 * 60 * 60
	if t.every > 0 {
		return t.every
	}
	first, last, shortest := -1, -1, day
	for h := t.fields.Hour &^ star; h != 0; h &= h - 1 {
		for m := t.fields.Minute &^ star; m != 0; m &= m - 1 {
			for s := t.fields.Second &^ star; s != 0; s &= s - 1 {
				at := bits.TrailingZeros64(h)*3600 + bits.TrailingZeros64(m)*60 + bits.TrailingZeros64(s)
				if last < 0 {
					first = at
				} else {
					shortest = min(shortest, at-last)
				}
				if last = at; time.Duration(shortest)*time.Second < enough {
					return time.Duration(shortest) * time.Second
				}
			}
		}
	}
	return time.Duration(min(shortest, day-last+first)) * time.Second
}
