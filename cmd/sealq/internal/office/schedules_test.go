package office_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/cmd/sealq/internal/office"
	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/operators"
)

// night is a schedule that somebody added, whose name is no name for an address.
const night = `night&"day"<b>?`

func (w *world) schedule(name string) string {
	w.t.Helper()
	_, err := w.db.DefineSchedule(w.t.Context(), "cli:test", jobs.SchedulePlan{Name: name, Cron: "0 3 * * *", Zone: "Europe/Berlin", Kind: "users:expire_pending", Args: "{}", CatchUp: jobs.CatchUpLatest}, false)
	check(w.t, err)
	return "/schedule?" + url.Values{"name": {name}}.Encode()
}

func TestSchedulesAreListedWithWhatIsWrongWithThem(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.schedule("night")
	b := w.as(operators.RoleViewer)
	a := b.page("/schedules")
	for _, want := range []string{"night", "0 3 * * *", "Europe/Berlin", "ok", "03:00:00 UTC"} {
		if want == "03:00:00 UTC" { // 3 o'clock in Berlin, by whatever time it is there
			if !strings.Contains(a.text, "02:00:00 UTC") && !strings.Contains(a.text, "01:00:00 UTC") {
				t.Errorf("no next due time: %s", a.text)
			}
			continue
		}
		if !strings.Contains(a.text, want) {
			t.Errorf("it does not say %q: %s", want, a.text)
		}
	}
	_, err := w.db.SetPaused(t.Context(), "cli:test", "night", true)
	check(t, err)
	if a := b.page("/schedules"); !strings.Contains(a.text, "paused") {
		t.Errorf("it is not paused: %s", a.text)
	}
}

// many are a database's, and 700 that it does not have.
type many struct{ deeds }

type deeds = office.Schedules

func (many) Schedules(context.Context) ([]dashboard.Schedule, error) {
	all := make([]dashboard.Schedule, 700)
	for i := range all {
		all[i].Name = fmt.Sprintf("s%03d", i)
	}
	all[699].Trouble, all[699].Detail = "overdue", "nothing has come of it"
	return all, nil
}

func TestOfManySchedulesThoseWithTroubleComeFirstAndThatThereAreMoreIsSaid(t *testing.T) {
	t.Parallel()
	w := open(t, func(c *dashboard.Config) { c.Schedules = many{} })
	a := w.as(operators.RoleViewer).page("/schedules")
	if first, second := strings.Index(a.text, "s699"), strings.Index(a.text, "s000"); first < 0 || first > second || strings.Contains(a.text, "s499") || !strings.Contains(a.text, "Of 700,") {
		t.Errorf("it says: %.300s", a.text)
	}
	if !strings.Contains(a.raw, "data-live") {
		t.Error("it does not keep itself up to date")
	}
}

func TestAScheduleIsRunPausedAndResumedInTheOperatorsName(t *testing.T) {
	t.Parallel()
	w := open(t)
	link := w.schedule(night)
	b := w.as(operators.RoleOperator)
	name := url.QueryEscape(night)
	if got := b.page(link).buttons(); !cmp.Equal(got, []string{"Run now", "Pause"}) {
		t.Errorf("buttons: %q", got)
	}
	if a := b.confirmed("/schedule", "name", name, "do", "run"); !strings.Contains(a.text, "It is due now") || !strings.Contains(a.text, "asked for") || !strings.Contains(a.text, "unfinished") {
		t.Errorf("run: %s", a.text)
	}
	ticks, err := w.db.TickHistory(t.Context(), night, 10)
	check(t, err)
	if len(ticks) != 1 || !ticks[0].Manual {
		t.Errorf("ticks: %+v", ticks)
	}
	if a := b.confirmed("/schedule", "name", name, "do", "pause"); !strings.Contains(a.text, "State paused") || !cmp.Equal(a.buttons(), []string{"Run now", "Resume"}) {
		t.Errorf("pause: %s", a.text)
	}
	if a := b.confirmed("/schedule", "name", name, "do", "pause"); !strings.Contains(a.text, "It was so already.") {
		t.Errorf("pause again: %s", a.text)
	}
	if a := b.confirmed("/schedule", "name", name, "do", "resume"); !strings.Contains(a.text, "State ok") {
		t.Errorf("resume: %s", a.text)
	}
	want := []string{"schedule.run", "schedule.paused", "schedule.resumed"}
	for i := range want {
		want[i] = "operator:operator " + want[i] + " schedule/" + night
	}
	if diff := cmp.Diff(want, w.entries()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for sentence, c := range map[string]struct {
		name, do string
		code     int
	}{"no such schedule": {"none", "run", 404}, "no name": {"", "run", 404}, "a long name": {strings.Repeat("x", 2000), "run", 404}, "no such thing": {name, "drop", 400}} {
		if a := b.post("/schedule", "name", c.name, "do", c.do, "sure", "yes"); a.code != c.code {
			t.Errorf("%s: answered %d", sentence, a.code)
		}
	}
	if a := b.get("/schedule?name=none"); a.code != http.StatusNotFound {
		t.Errorf("a page of no schedule: %d", a.code)
	}
}

func TestAViewerSeesSchedulesAndChangesNone(t *testing.T) {
	t.Parallel()
	w := open(t)
	link := w.schedule("night")
	b := w.as(operators.RoleViewer)
	if got := b.page(link).buttons(); len(got) > 0 {
		t.Errorf("buttons: %q", got)
	}
	if a := b.post("/schedule", "name", "night", "do", "pause", "sure", "yes"); a.code != http.StatusForbidden {
		t.Errorf("answered %d", a.code)
	}
	if got := w.entries(); len(got) > 0 {
		t.Errorf("entries: %q", got)
	}
}

func TestASweepThatIsUnderWayIsShownAtItsSchedule(t *testing.T) {
	t.Parallel()
	w := open(t)
	link := w.schedule("night")
	b := w.as(operators.RoleViewer)
	if a := b.page(link); strings.Contains(a.text, "under way") {
		t.Errorf("before it: %s", a.text)
	}
	p := sweep.Progress{Sweep: "users:expire_pending", Holder: "one", Tick: "tick", Part: sweep.Registrations, Done: 2500, Due: 10_000}
	told, err := w.raw.TellSweep(t.Context(), p, time.Minute)
	check(t, err)
	if a := b.page(link); !told || !strings.Contains(a.text, "2 500 rows of about 10 000") || !strings.Contains(a.raw, `<progress max="10000" value="2500"`) {
		t.Errorf("under way: %v, %s", told, a.text)
	}
	p.Ended = true
	_, err = w.raw.TellSweep(t.Context(), p, 0)
	check(t, err)
	if a := b.page(link); strings.Contains(a.text, "under way") {
		t.Errorf("after it: %s", a.text)
	}
}
