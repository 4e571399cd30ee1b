package office_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/operators"
)

// dead has a mail's row be given up, as a worker does.
func (w *world) dead(row string) {
	w.t.Helper()
	claimed, err := w.raw.ClaimRows(w.t.Context(), jobs.Claim{Kinds: []jobs.Kind{"mail:confirmation"}, Limit: 10, Lease: time.Minute})
	check(w.t, err)
	check(w.t, w.raw.RowsEnqueued(w.t.Context(), claimed))
	check(w.t, w.raw.RowDead(w.t.Context(), jobs.RowRef{ID: row, Kind: "mail:confirmation", Attempt: 1}, "smtp rcpt: 550"))
}

func TestTheMailsOfLateAreShownWithTheirAnswers(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleOperator)
	if a := b.page("/mails"); !strings.Contains(a.text, "No mail was tried yet") || !strings.Contains(a.text, "No worker has had a mail yet.") {
		t.Errorf("before the first: %s", a.text)
	}
	const evil = "5.1.1 </td><script>alert(1)</script>\x1b[31m\u202eeve" // what a mail server may say
	id, row := w.register(ada)
	w.tried(id, row, authjobs.MailAnswer{Code: 550, Reply: evil, Server: "mx.example", Stage: "rcpt", Outcome: authjobs.MailPermanent}, "smtp rcpt: 550")
	other, second := w.register("bob@example.com")
	d, err := w.raw.ClaimConfirmation(t.Context(), authjobs.MailClaim{MailID: second, PendingID: other, Generation: 1, MessageID: second + "@example.com", Lease: time.Minute, Limits: authjobs.MailLimits{Hourly: 2}})
	check(t, err)
	check(t, w.raw.InTx(t.Context(), func(tx *sql.Tx) error {
		return w.raw.MailSent(context.WithoutCancel(t.Context()), tx, d, authjobs.MailAnswer{Code: 250, Reply: "2.0.0 queued", Outcome: authjobs.MailDelivered})
	}))
	a := b.page("/mails")
	for _, want := range []string{"The mail server answers.", "Taken in 60 minutes 1; the cap: 2", "delivered 1 the mail server took it", "permanent 1 refused for good", "250 2.0.0 queued", "mail:confirmation queued 2", "␛[31m⟨U+202E⟩eve"} {
		if !strings.Contains(a.text, want) {
			t.Errorf("it does not say %q: %s", want, a.text)
		}
	}
	for _, target := range []string{"/mails", "/mail?id=" + row, "/accounts?id=" + id} {
		if a := b.page(target); strings.Contains(a.raw, "alert(1)</script>") || strings.ContainsAny(a.raw, "\x1b\u202e") {
			t.Errorf("%s lets it through: %s", target, a.raw)
		}
	}
	for _, target := range []string{"/mail?id=none", "/mail?id=", "/mail?id=" + strings.Repeat("x", 2000)} {
		if a := b.get(target); a.code != http.StatusNotFound {
			t.Errorf("%.20s answered %d", target, a.code)
		}
	}
}

func TestAMailServerThatCannotBeUsedIsTheFirstThingThatTheMailsPageSays(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleViewer)
	for i := range 3 {
		id, row := w.register(fmt.Sprintf("u%d@example.com", i))
		w.tried(id, row, authjobs.MailAnswer{Code: 535, Reply: "5.7.8 no", Server: "mx.example", Stage: "auth", Outcome: authjobs.MailConfiguration}, "smtp auth: the server answered 535 (configuration)")
		want := "could not be used lately"
		if i == 2 {
			want = "cannot be used: workers leave it alone"
		}
		if a := b.page("/mails"); !strings.Contains(a.text, want) || !strings.Contains(a.text, "answered 535") {
			t.Errorf("after %d: %s", i+1, a.text)
		}
	}
}

func TestAMailThatWasGivenUpIsSentAgainInTheOperatorsName(t *testing.T) {
	t.Parallel()
	w := open(t)
	id, row := w.register(ada)
	b := w.as(operators.RoleOperator)
	if a := b.post("/mail", "id", row, "sure", "yes"); a.code != http.StatusConflict {
		t.Errorf("while it waits for a relay: %d", a.code)
	}
	w.tried(id, row, authjobs.MailAnswer{Code: 550, Reply: "5.1.1 no", Server: "mx.example", Stage: "rcpt", Outcome: authjobs.MailPermanent}, "smtp rcpt: 550")
	w.dead(row)
	a := b.page("/mail?id=" + row)
	if !cmp.Equal(a.buttons(), []string{"Send again"}) || !strings.Contains(a.text, "dead , attempt 1") || !strings.Contains(a.text, "550 5.1.1 no") {
		t.Errorf("it says: %s", a.text)
	}
	if a := b.confirmed("/mail", "id", row); !strings.Contains(a.text, "It is queued anew") || !strings.Contains(a.text, "queued, attempt 2") {
		t.Errorf("again: %s", a.text)
	}
	if diff := cmp.Diff([]string{"operator:operator outbox.reissue outbox/" + row}, w.entries()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if a := w.as(operators.RoleViewer).post("/mail", "id", row, "sure", "yes"); a.code != http.StatusForbidden {
		t.Errorf("a viewer is answered %d", a.code)
	}
}

func TestAnAddressIsTakenOffTheListInTheOperatorsName(t *testing.T) {
	t.Parallel()
	w := open(t)
	id, row := w.register(ada)
	w.tried(id, row, authjobs.MailAnswer{Code: 550, Reply: "5.1.1 no " + ada, Server: "mx.example", Stage: "rcpt", Outcome: authjobs.MailPermanent, Bounced: true}, "smtp rcpt: 550")
	b := w.as(operators.RoleOperator)
	if a := b.page("/mails"); !strings.Contains(a.text, "Suppressed addresses 1") {
		t.Errorf("mails: %s", a.text)
	}
	if a := b.page("/suppressions"); !strings.Contains(a.text, ada) || !strings.Contains(a.text, "550 5.1.1 no") {
		t.Errorf("the list: %s", a.text)
	}
	if a := b.confirmed("/suppressions", "address", "ada%40example.com"); !strings.Contains(a.text, "Mails go to it again.") || strings.Contains(a.text, ada) {
		t.Errorf("removed: %s", a.text)
	}
	if a := b.post("/suppressions", "address", ada, "sure", "yes"); a.code != http.StatusNotFound {
		t.Errorf("again: %d", a.code)
	}
	if a := b.post("/suppressions", "address", "x", "sure", "yes"); a.code != http.StatusBadRequest {
		t.Errorf("no address: %d", a.code)
	}
	if diff := cmp.Diff([]string{"operator:operator mail.suppression_removed " + subject(t, ada)}, w.entries()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}
