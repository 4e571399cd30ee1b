package authjobs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Rate is so many in a time.
type Rate struct {
	N   int
	Per time.Duration
}

// MailLimits are how many mails a deployment sends, whichever of its processes sends them. Zero values: no limit.
type MailLimits struct {
	// PerDomain is for each domain of recipients: N in any Per, and a tenth more. They are spread: a tenth may go at once.
	PerDomain Rate
	// Hourly is the most in any 60 minutes.
	Hourly int
	// Daily is the most in any 24 hours.
	Daily int
}

// None says that nothing is limited.
func (l MailLimits) None() bool { return l.PerDomain.N <= 0 && l.Hourly <= 0 && l.Daily <= 0 }

// MailShare is what a mail has taken of the limits, and gives back if it is not sent.
type MailShare struct {
	Line string        // of the domain, "" for none
	Each time.Duration // what a mail takes of it
	Hour time.Time     // the slice of the hour, zero for none
	Day  time.Time     // the slice of the day, zero for none
}

// LimitedError means that a limit has no room for a mail.
type LimitedError struct {
	By    Hold
	Until time.Time // when there is room for it, as far as can be told
}

func (e *LimitedError) Error() string {
	what := map[Hold]string{HeldByDomain: "--mail-rate-per-domain", HeldByHour: "--mail-hourly-cap", HeldByDay: "--mail-daily-cap"}[e.By]
	return fmt.Sprintf("the limit of mails is reached (%s): this one is due at %s", what, e.Until.UTC().Format(time.RFC3339))
}

// The lines of the two caps, as the database calls them.
const (
	LimitHour = "hour"
	LimitDay  = "day"
)

// LimitLine is where one limit stands.
type LimitLine struct {
	Next  time.Time // of a domain: when its bucket is full again
	Tail  time.Time // when the last of those that wait is to come back
	Usage []MailUsage
}

// MailUsage is what a slice of the hour or day has used.
type MailUsage struct {
	At    time.Time // its begin
	Taken int
}

// window is a cap's time, counted by slices: at most one slice more than it is counted, never less.
type window struct {
	span, slice time.Duration
}

func hourWindow() window { return window{time.Hour, time.Minute} }

func dayWindow() window { return window{24 * time.Hour, 30 * time.Minute} }

// MailUsageKept is for how long usage matters.
const MailUsageKept = 25 * time.Hour

// Lines are the names of the limits that a mail to the normalised address needs, in the order in which they are locked.
func (l MailLimits) Lines(emailNorm string) []string {
	var names []string
	if l.Daily > 0 {
		names = append(names, LimitDay)
	}
	if l.PerDomain.N > 0 {
		names = append(names, domainLine(emailNorm))
	}
	if l.Hourly > 0 {
		names = append(names, LimitHour)
	}
	return names
}

func domainLine(emailNorm string) string {
	return "domain/" + emailNorm[strings.LastIndexByte(emailNorm, '@')+1:]
}

// longestLine is how far ahead those that wait are lined up. Who comes after them comes at any time before that.
const longestLine = time.Hour

// Take takes a mail's share of all limits, or of none of them: then it says when there is room, and that is not the same time for all who wait.
// It writes what changes into lines, all of which there must be; usage it leaves to whoever has it.
func (l MailLimits) Take(now time.Time, emailNorm string, lines map[string]*LimitLine) (MailShare, *LimitedError) {
	var share MailShare
	var refused refusal
	each := l.PerDomain.each()
	if l.PerDomain.N > 0 {
		share.Line, share.Each = domainLine(emailNorm), each
		line := lines[share.Line]
		atOnce := max(l.PerDomain.N/10, 1)
		// No bucket takes longer to fill: whatever says so is of a clock that was set back since, or of a lower rate.
		line.Next = earlier(line.Next, now.Add(time.Duration(atOnce)*each))
		refused.consider(now, HeldByDomain, line, later(line.Next, now).Add(-time.Duration(atOnce-1)*each), each)
	}
	if l.Hourly > 0 {
		share.Hour = now.Truncate(hourWindow().slice)
		refused.consider(now, HeldByHour, lines[LimitHour], hourWindow().room(now, lines[LimitHour].Usage, l.Hourly), hourWindow().span/time.Duration(l.Hourly))
	}
	if l.Daily > 0 {
		share.Day = now.Truncate(dayWindow().slice)
		refused.consider(now, HeldByDay, lines[LimitDay], dayWindow().room(now, lines[LimitDay].Usage, l.Daily), dayWindow().span/time.Duration(l.Daily))
	}
	if refused.line != nil {
		refused.line.Tail = later(refused.line.Tail, refused.until)
		return MailShare{}, &LimitedError{By: refused.by, Until: refused.until}
	}
	if share.Line != "" {
		line := lines[share.Line]
		line.Next = later(line.Next, now).Add(each)
	}
	return share, nil
}

func (r Rate) each() time.Duration { return r.Per / time.Duration(max(r.N, 1)) }

// refusal is by the limit that has room last.
type refusal struct {
	by    Hold
	line  *LimitLine
	until time.Time
}

// consider takes a limit into account that has room for one mail at that time, and for another after each pause.
func (r *refusal) consider(now time.Time, by Hold, line *LimitLine, room time.Time, each time.Duration) {
	if !room.After(now) {
		return
	}
	until := later(room, line.Tail.Add(each))
	if until.After(room.Add(longestLine)) {
		until = room.Add(rand.N(longestLine)) //nolint:gosec // spreads retries; nothing secret depends on it
	}
	until = until.Add(rand.N(min(each, time.Minute)/2 + 1)) //nolint:gosec // likewise
	if until.After(r.until) {
		r.by, r.line, r.until = by, line, until
	}
}

// room is when the window has room for one more: now, or when enough of its slices have left it.
func (w window) room(now time.Time, usage []MailUsage, limit int) time.Time {
	taken := 0
	for _, u := range usage {
		if w.leaves(u).After(now) {
			taken += u.Taken
		}
	}
	room := now
	for _, u := range usage { // the oldest first
		if taken < limit {
			break
		}
		if w.leaves(u).After(now) && u.Taken > 0 {
			taken -= u.Taken
			room = w.leaves(u)
		}
	}
	return room
}

func (w window) leaves(u MailUsage) time.Time { return u.At.Add(w.span + w.slice) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
