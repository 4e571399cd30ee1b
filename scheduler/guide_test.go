package scheduler_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
)

func guide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "schedules.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheGuidesDueTimesAreTheCodes(t *testing.T) {
	t.Parallel()
	rows := regexp.MustCompile("(?m)^\\| .* \\| `([^`]+)` \\| ([A-Za-z_/]+) \\| (\\S+) \\| (\\S.*) \\|$").FindAllStringSubmatch(guide(t), -1)
	if len(rows) < 10 {
		t.Fatalf("%d rows were found", len(rows))
	}
	for _, row := range rows {
		loc, err := time.LoadLocation(row[2])
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, row[3])
		if err != nil {
			t.Fatal(err)
		}
		anchor, table := at, parse(t, row[1], row[2])
		want := strings.Split(row[4], ", ")
		var got []string
		for range want {
			at = table.Next(anchor, at)
			got = append(got, at.In(loc).Format(time.RFC3339))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s in %s after %s (-guide +code):\n%s", row[1], row[2], row[3], diff)
		}
	}
}

func TestTheGuidesTableOfDowntimeIsTheCodes(t *testing.T) {
	t.Parallel()
	rows := regexp.MustCompile(`(?m)^\| (latest|all|skip) \| ([0-9:]+) \| ([0-9:, ]+) \| ([0-9]+) \|$`).FindAllStringSubmatch(guide(t), -1)
	if len(rows) < 5 {
		t.Fatalf("%d rows were found", len(rows))
	}
	for _, row := range rows {
		synctest.Test(t, func(t *testing.T) {
			m := newTicks()
			sch := schedule("sweep", "*/10 * * * *")
			sch.CatchUp = jobs.CatchUp(row[1])
			elapse(9*time.Hour + 55*time.Minute)
			stop := start(t, m, sch)
			elapse(6 * time.Minute)
			stop()
			up, err := time.Parse(time.TimeOnly, row[2])
			if err != nil {
				t.Fatal(err)
			}
			sinceMidnight := time.Since(time.Now().Truncate(24 * time.Hour))
			elapse(up.Sub(up.Truncate(24*time.Hour)) - sinceMidnight)
			stop = start(t, m, sch)
			elapse(10 * time.Minute)
			stop()
			var got []string
			for _, tick := range m.ticks {
				got = append(got, tick.due.UTC().Format("15:04"))
			}
			if diff := cmp.Diff("10:00, "+row[3], strings.Join(got, ", ")); diff != "" {
				t.Errorf("%s (-guide +code):\n%s", row[0], diff)
			}
			if missed := strconv.FormatInt(m.missed, 10); missed != row[4] {
				t.Errorf("%s: missed %s", row[0], missed)
			}
		})
	}
}
