package mail

import (
	"strings"
	"time"
)

// dateFormat writes a time in the words of a language, in UTC.
type dateFormat struct {
	before, after string   // layouts of package time around the month's name
	months        []string // none: the layout has no name of a month
}

// parseDates reads date.txt: a layout of package time in its first line, with January where the name of the month stands, and below it twelve
// names, a line each.
func parseDates(file source) (dateFormat, error) {
	lines := strings.Split(strings.TrimSpace(file.text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	before, after, named := strings.Cut(lines[0], "January")
	d := dateFormat{before: before, after: after, months: lines[1:]}
	first := time.Date(2026, 1, 2, 15, 4, 0, 0, time.UTC)
	for _, other := range []time.Time{first.AddDate(1, 0, 0), first.AddDate(0, 0, 2), first.Add(12 * time.Hour), first.Add(time.Minute)} {
		if d.inUTC(first) == d.inUTC(other) {
			return d, odd(file.path, "its first line does not write year, day, hour and minute as package time of Go does: such as 2 January 2006, 15:04 UTC")
		}
	}
	switch {
	case !strings.Contains(d.inUTC(first), "UTC"):
		return d, odd(file.path, "its first line does not say that the time is in UTC: write that word into it")
	case named && (len(d.months) != 12 || strings.Contains(strings.Join(d.months, "\n")+"\n", "\n\n")):
		return d, odd(file.path, "has not the names of twelve months, a line each, below its first line")
	case !named && len(d.months) > 0:
		return d, odd(file.path, "has names of months, and no January in its first line, where they stand")
	}
	return d, nil
}

func (d dateFormat) inUTC(at time.Time) string {
	at, name := at.UTC(), ""
	if len(d.months) == 12 {
		name = d.months[at.Month()-1]
	}
	return at.Format(d.before) + name + at.Format(d.after)
}
