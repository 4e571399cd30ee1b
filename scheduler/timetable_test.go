package scheduler_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sealq/sealq/scheduler"
)

func parse(t rapid.TB, expression, zone string) *scheduler.Timetable {
	t.Helper()
	table, err := scheduler.Parse(expression, zone)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestDueTimesFollowTheClocksOfTheZone(t *testing.T) {
	t.Parallel()
	for sentence, test := range map[string]struct {
		expression, zone, after string
		want                    []string // in the zone
	}{
		"five fields in UTC":                               {"30 2 * * *", "", "2026-03-28T12:00:00Z", []string{"2026-03-29T02:30:00Z", "2026-03-30T02:30:00Z"}},
		"six fields count seconds":                         {"*/20 59 23 31 12 *", "", "2026-12-31T23:59:10Z", []string{"2026-12-31T23:59:20Z", "2026-12-31T23:59:40Z", "2027-12-31T23:59:00Z"}},
		"a fixed time in the gap: the first instant after": {"30 2 * * *", "Europe/Berlin", "2026-03-28T03:00:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		"several fixed times in the gap: one tick":         {"0,20,40 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		"the end of the gap is due itself: one tick":       {"30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"}},
		"a fixed time that comes twice: the first":         {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00+02:00", []string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		"asked between the two: the next day's":            {"30 2 * * *", "Europe/Berlin", "2026-10-25T02:30:00+02:00", []string{"2026-10-26T02:30:00+01:00"}},
		"asked within the second: the next day's":          {"30 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00", []string{"2026-10-26T02:30:00+01:00"}},
		"a wildcard hour leaves the gap out":               {"30 * * * *", "Europe/Berlin", "2026-03-29T01:00:00+01:00", []string{"2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"}},
		"a wildcard hour comes twice":                      {"30 * * * *", "Europe/Berlin", "2026-10-25T01:40:00+02:00", []string{"2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"}},
		"every other hour comes twice":                     {"0 */2 * * *", "Europe/Berlin", "2026-10-25T01:40:00+02:00", []string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T04:00:00+01:00"}},
		"@hourly goes on by the hour":                      {"@hourly", "Europe/Berlin", "2026-10-25T01:40:00+02:00", []string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"}},
		"@daily where midnight is left out":                {"@daily", "Africa/Cairo", "2026-04-23T12:00:00+02:00", []string{"2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"}},
		"@daily where midnight comes twice":                {"@daily", "Asia/Beirut", "2026-10-24T12:00:00+03:00", []string{"2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+02:00"}},
		"half an hour back":                                {"45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00+11:00", []string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
		"half an hour forward":                             {"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30", []string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		"a day that was left out":                          {"0 10 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00-10:00", []string{"2011-12-31T00:00:00+14:00", "2012-12-30T10:00:00+14:00"}},
		"leap days, across a century without one":          {"0 0 29 2 *", "", "2095-01-01T00:00:00Z", []string{"2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z"}},
		"day of month or day of week, where both are set":  {"0 0 13 * 5", "", "2026-11-01T00:00:00Z", []string{"2026-11-06T00:00:00Z", "2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			table := parse(t, test.expression, test.zone)
			loc, err := time.LoadLocation(test.zone)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, test.after)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range test.want {
				at = table.Next(time.Time{}, at)
				got = append(got, at.In(loc).Format(time.RFC3339))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("due times (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExpressionsAreRefusedWithPositionAndReason(t *testing.T) {
	t.Parallel()
	for expression, test := range map[string]struct {
		cause error
		want  string
	}{
		"61 * * * *":              {scheduler.ErrUnreadable, `field 1 (minute) "61"`},
		"* 24 * * *":              {scheduler.ErrUnreadable, `field 2 (hour) "24"`},
		"* * 0 * *":               {scheduler.ErrUnreadable, `field 3 (day of month) "0"`},
		"* * * foo *":             {scheduler.ErrUnreadable, `field 4 (month) "foo"`},
		"* * * * 7":               {scheduler.ErrUnreadable, `field 5 (day of week) "7"`},
		"60 * * * * *":            {scheduler.ErrUnreadable, `field 1 (second) "60"`},
		"0 0 5-3 * * *":           {scheduler.ErrUnreadable, `field 3 (hour) "5-3"`},
		"*/0 * * * *":             {scheduler.ErrUnreadable, `field 1 (minute) "*/0"`},
		", * * * *":               {scheduler.ErrUnreadable, `field 1 (minute) ",": not a cron expression: it names no value`},
		"* * * *":                 {scheduler.ErrUnreadable, "it has 4 fields"},
		"":                        {scheduler.ErrUnreadable, "it is empty"},
		"@fortnightly":            {scheduler.ErrUnreadable, "the descriptors are"},
		"@every 5":                {scheduler.ErrUnreadable, "after @every stands a duration"},
		"@every 1500ms":           {scheduler.ErrUnreadable, "whole seconds"},
		"@every 100ms":            {scheduler.ErrTooOften, "the least is 1s"},
		"@every -5m":              {scheduler.ErrTooOften, "the least is 1s"},
		"@every 80000h":           {scheduler.ErrNever, "8 years"},
		"TZ=0":                    {scheduler.ErrUnreadable, "time zone stands beside it"},
		"CRON_TZ=UTC * * * * *":   {scheduler.ErrUnreadable, "time zone stands beside it"},
		"0 0 31 2 *":              {scheduler.ErrNever, `field 3 (day of month) "31": its date never comes: no month 2 has such a day`},
		"0 0 0 30,31 feb *":       {scheduler.ErrNever, `field 4 (day of month) "30,31"`},
		"0 0 31 4,6,9,11 *":       {scheduler.ErrNever, "no month 4,6,9,11 has such a day"},
		strings.Repeat("1,", 200): {scheduler.ErrUnreadable, "longer than 256 bytes"},
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			_, err := scheduler.Parse(expression, "")
			if !errors.Is(err, test.cause) || !strings.Contains(fmt.Sprint(err), test.want) {
				t.Errorf("want %v with %q, got %v", test.cause, test.want, err)
			}
		})
	}
	for _, zone := range []string{"Mars/Olympus", "Local", "../etc/passwd"} {
		if _, err := scheduler.Parse("@daily", zone); !errors.Is(err, scheduler.ErrUnknownZone) {
			t.Errorf("zone %q: %v", zone, err)
		}
	}
}

// zones whose clocks change in all the ways there are: on the hour, by half of one, at midnight, by a day, and never.
func zones() []string {
	return []string{"", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Sao_Paulo", "Africa/Casablanca", "Pacific/Apia", "Asia/Kathmandu"}
}

// TestEveryDueTimeIsFoundAndNoOther holds Next to what DESIGN says of a due time, minute by minute, for random expressions and
// zones, around changes of the clocks.
func TestEveryDueTimeIsFoundAndNoOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(zones()).Draw(t, "zone")
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Unix(rapid.Int64Range(1293840000, 1924992000).Draw(t, "second"), 0).UTC() // of 2011 to 2030
		if _, change := start.In(loc).ZoneBounds(); !change.IsZero() && rapid.Bool().Draw(t, "at a change") {
			start = change.UTC().Add(-time.Duration(rapid.IntRange(0, 30).Draw(t, "hours before")) * time.Hour)
		}
		start = start.Truncate(time.Minute)
		minutes := rapid.SampledFrom([][]int{{0}, {30}, {0, 15, 45}, nil}).Draw(t, "minutes")
		hours := rapid.SampledFrom([][]int{{0}, {2}, {1, 2, 3}, {0, 23}, nil}).Draw(t, "hours")
		wild := hours == nil
		hourText := list(hours)
		if step := rapid.SampledFrom([]int{0, 2, 3}).Draw(t, "step"); wild && step > 0 {
			hourText = fmt.Sprintf("*/%d", step)
			for h := 0; h < 24; h += step {
				hours = append(hours, h)
			}
		}
		table := parse(t, list(minutes)+" "+hourText+" * * *", zone)

		matches := func(wall time.Time) bool { return holds(minutes, wall.Minute()) && holds(hours, wall.Hour()) }
		var want []time.Time
		end := start.Add(60 * time.Hour)
		for at := start.Add(time.Minute); !at.After(end); at = at.Add(time.Minute) {
			local := at.In(loc)
			_, now := local.Zone()
			_, before := at.Add(-time.Minute).In(loc).Zone()
			due := matches(local)
			if !wild {
				due = due && !readBefore(at, loc)
				for gap := before; gap < now; gap += 60 { // the minutes that were left out just now
					due = due || matches(at.UTC().Add(time.Duration(gap)*time.Second))
				}
			}
			if due {
				want = append(want, at)
			}
		}
		var got []time.Time
		for at := table.Next(time.Time{}, start); !at.IsZero() && !at.After(end); at = table.Next(time.Time{}, at) {
			got = append(got, at)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("due times of %s %s (-want +got):\n%s", list(minutes), hourText, diff)
		}
	})
}

// readBefore says whether clocks read the same within the day before.
func readBefore(at time.Time, loc *time.Location) bool {
	read := at.In(loc).Format(time.DateTime)
	for _, back := range []time.Duration{30 * time.Minute, time.Hour, 3 * time.Hour} {
		if at.Add(-back).In(loc).Format(time.DateTime) == read {
			return true
		}
	}
	return false
}

func list(values []int) string {
	if values == nil {
		return "*"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(values), " ", ","), "[]")
}

func holds(values []int, v int) bool {
	return values == nil || slices.Contains(values, v)
}
