package dashboard_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/scheduler"
	"github.com/sealq/sealq/signing"
)

func TestTasksUnderAKeyThatIsNotKnownMayBeGenuine(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.refused(jobs.Refused{TaskID: "f", Queue: "mail", Kind: "k", Reason: signing.ReasonUnknownKey})
	got := textOf(w.as(operators.RoleViewer).page("/").doc)
	if !strings.Contains(got, "Perhaps genuine jobs") || !strings.Contains(got, "sealq keys check") || strings.Contains(got, "No genuine job") {
		t.Errorf("the page says %s", got)
	}
}

func TestWhatIsFineIsOneLineOfEachThingThatWasLookedAt(t *testing.T) {
	t.Parallel()
	w := watched(t, []dashboard.Finding{
		{Group: "redis", Check: "connection", Status: dashboard.Fine, Message: "Redis answers"},
		{Group: "database", Check: "connection", Status: dashboard.Fine, Message: "it answers"},
		{Group: "redis", Check: "writes", Status: dashboard.Fine, Message: "it takes writes"},
		{Group: "database", Check: "schedules", Subject: "a", Status: dashboard.Fine, Message: "its last success was 1m ago"},
		{Group: "database", Check: "schedules", Subject: "b", Status: dashboard.Fine, Message: "its last success was 2m ago"},
		{Group: "database", Check: "schedules", Subject: "c", Status: dashboard.Warning, Message: "it is paused"},
		{Group: "database", Check: "clock", Status: dashboard.Fine, Message: "it is right"},
	})
	a := w.as(operators.RoleViewer).until("/", "Checked")
	want := []string{"quarantine : empty", "redis : connection, writes", "database : connection, schedules (2), clock"}
	if diff := cmp.Diff(want, texts(a.doc, "summary")); diff != "" {
		t.Errorf("what is fine (-want +got):\n%s", diff)
	}
	if all := texts(a.doc, "li"); !slices.Contains(all, "b: its last success was 2m ago") {
		t.Errorf("what the checks said: %q", all)
	}
}

func TestWhatIsWrongWithAScheduleIsSaidOfEachTroubleInItsOwnWords(t *testing.T) {
	t.Parallel()
	var found []dashboard.Finding
	for _, trouble := range append(scheduler.Troubles(), "paused") {
		found = append(found, dashboard.Finding{Group: "database", Check: "schedules", Subject: string(trouble), Trouble: string(trouble), Status: dashboard.Warning, Message: "so it is"})
	}
	w := watched(t, append(found, dashboard.Finding{Group: "database", Check: "schedules", Status: dashboard.Warning, Message: "there are no schedules"}))
	a := w.as(operators.RoleViewer).until("/", "Checked")
	if got := textOf(a.doc); !strings.Contains(got, "When the reason is gone an operator resumes it, by the button on its page.") {
		t.Errorf("of the paused one the page says %s", got)
	}
	want := []string{
		"warning A schedule cannot be read: unusable", "warning A schedule is paused: paused", "warning A schedule was missed: overdue",
		"warning A schedule's job takes long: long", "warning A schedule's jobs do not succeed: failing", "warning There are no schedules",
	}
	if diff := cmp.Diff(want, texts(a.doc, "h3")); diff != "" {
		t.Errorf("concerns (-want +got):\n%s", diff)
	}
}

func TestWhoFindsAQueuePausedIsLedToTheButtonThatEndsIt(t *testing.T) {
	t.Parallel()
	w := watched(t, []dashboard.Finding{{Group: "queues", Check: "paused", Status: dashboard.Warning, Message: "paused: mail", Advice: "let it go on by `asynq queue unpause`"}},
		func(c *dashboard.Config) { c.Queues = []string{"low", "mail"} })
	check(t, w.redis.Set(t.Context(), "asynq:{mail}:paused", "1", 0).Err())
	b := w.as(operators.RoleViewer)
	a := b.until("/", "Checked")
	if got := links(a.doc)["A queue is paused"]; got != "/queue?name=mail" {
		t.Errorf("it leads to %q", got)
	}
	if got := textOf(a.doc); !strings.Contains(got, "Then an operator lets it go on, by the button on its page.") || strings.Contains(got, "unpause") {
		t.Errorf("the page says %s", got)
	}
	check(t, w.redis.Set(t.Context(), "asynq:{low}:paused", "1", 0).Err())
	a = b.page("/")
	if got := links(a.doc)["A queue is paused"]; got != "#queues" || !strings.Contains(textOf(a.doc), "by the button on the page of each.") {
		t.Errorf("of two it leads to %q: %s", got, textOf(a.doc))
	}
}

func TestNobodyIsLedWhereHeMayNotGo(t *testing.T) {
	t.Parallel()
	w := watched(t, []dashboard.Finding{
		{Group: "database", Check: "audit log", Status: dashboard.Problem, Message: "link 3 was altered"},
		{Group: "database", Check: "quarantine", Status: dashboard.Warning, Message: "it is nearly full"},
		{Group: "keys", Check: "ring", Status: dashboard.Problem, Message: "it cannot be read"},
		{Group: "queues", Check: "tasks", Subject: "mail", Status: dashboard.Problem, Message: "one is damaged"},
	})
	w.put("mail", "a")
	w.refused(jobs.Refused{TaskID: "f", Queue: "mail", Kind: "k", Reason: signing.ReasonBadSignature})
	for role, leads := range map[operators.Role]string{operators.RoleViewer: "", operators.RoleOperator: "/audit"} {
		b := w.as(role)
		a := b.until("/", "Checked")
		if got := links(a.doc)["The audit log is not what was written"]; got != leads {
			t.Errorf("of the audit log a %s is led to %q, want %q", role, got, leads)
		}
		if says := strings.Contains(textOf(a.doc), "The page of it is for the role operator and above."); says != (leads == "") {
			t.Errorf("that a %s is told who may look is %v", role, says)
		}
		looked := map[string]bool{"": true}
		for todo := []string{"/"}; len(todo) > 0; todo = todo[1:] {
			for _, to := range links(b.get(todo[0]).doc) {
				if to, _, _ = strings.Cut(to, "#"); looked[to] {
					continue
				}
				looked[to] = true
				if a := b.get(to); a.StatusCode == http.StatusForbidden {
					t.Errorf("%s leads a %s to %s, which is refused", todo[0], role, to)
				}
				todo = append(todo, to)
			}
		}
		if len(looked) < 10 {
			t.Errorf("only %d pages were looked at", len(looked))
		}
	}
}
