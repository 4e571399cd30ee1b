package office_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/operators"
)

const ada = "ada@example.com"

func subject(t *testing.T, email string) string {
	t.Helper()
	e, err := accounts.ParseEmail(email)
	check(t, err)
	return e.Subject()
}

func TestAnAddressIsFollowedToALinkThatDoesNotHaveIt(t *testing.T) {
	t.Parallel()
	w := open(t)
	id, row := w.register(ada)
	w.tried(id, row, authjobs.MailAnswer{Code: 554, Reply: "5.7.1 Ada Lovelace <ADA@example.com> is unknown", Server: "mx.example", Stage: "rcpt", Outcome: authjobs.MailPermanent}, "smtp rcpt: the server answered 554 (permanent)")
	b := w.as(operators.RoleOperator)
	a := b.post("/accounts", "asked", " Ada@Example.com ")
	if a.code != http.StatusSeeOther || a.location != "/accounts?id="+id {
		t.Fatalf("it leads to %d %s", a.code, a.location)
	}
	a = b.page(a.location)
	for _, want := range []string{ada, "Status pending", "registered", "recorded", "answered", "Ada Lovelace", "First missing step", "What to do"} {
		if !strings.Contains(a.text, want) {
			t.Errorf("it does not say %q: %s", want, a.text)
		}
	}
	for _, target := range []string{"/accounts?id=" + row, "/accounts?id=" + row + ".1"} {
		if got := b.page(target); !strings.Contains(got.text, ada) {
			t.Errorf("%s: %s", target, got.text)
		}
	}
	if a := b.post("/accounts", "asked", "<"+row+"@example.com>"); a.location != "/accounts?id="+row {
		t.Errorf("a Message-ID leads to %d %q", a.code, a.location)
	}
	if a := b.get("/accounts?id=ada%40example.com"); a.code != http.StatusBadRequest {
		t.Errorf("an address in a link answered %d", a.code)
	}
	for _, asked := range []string{"nobody@example.com", "none", strings.Repeat("x", 1100), "\x00\xff@"} {
		a := b.post("/accounts", "asked", asked)
		if a.code == http.StatusSeeOther {
			a = b.get(a.location)
		}
		if a.code != http.StatusNotFound || !strings.Contains(a.text, "Nothing is known of it") {
			t.Errorf("%.20q answered %d: %s", asked, a.code, a.text)
		}
	}
}

func TestAViewerFollowsAnAddressAndSeesItCut(t *testing.T) {
	t.Parallel()
	w := open(t)
	id, row := w.register("Ada.Lovelace@example.com")
	w.tried(id, row, authjobs.MailAnswer{Code: 550, Reply: `5.1.1 Ada Lovelace (ADA.LOVELACE@example.com, "ada.lovelace") unknown`, Server: "mx.example", Stage: "rcpt", Outcome: authjobs.MailPermanent, Bounced: true},
		"smtp rcpt: 550 for <ada.lovelace@example.com>")
	check(t, w.people.Operator("cli:test").Lock(t.Context(), "ada.lovelace@example.com", time.Hour))
	b := w.as(operators.RoleViewer)
	a := b.post("/accounts", "asked", "ada.lovelace@example.com")
	for _, target := range []string{a.location, "/mails", "/mail?id=" + row, "/suppressions"} {
		a := b.page(target)
		if low := strings.ToLower(a.raw); strings.Contains(low, "lovelace") {
			t.Errorf("%s tells it: %s", target, a.raw)
		}
		if got := a.buttons(); target != a.location && target != "/accounts?id="+id && len(got) > 0 {
			t.Errorf("%s has buttons: %q", target, got)
		}
	}
	if a := b.page(a.location); !strings.Contains(a.text, "a***@example.com") || !strings.Contains(a.text, "550") || !cmp.Equal(a.buttons(), []string{"Tell what happened"}) {
		t.Errorf("it says: %s", a.text)
	}
	if a := b.post("/accounts/lock", "id", id, "do", "unlock", "sure", "yes"); a.code != http.StatusForbidden {
		t.Errorf("answered %d", a.code)
	}
	if got := w.entries(); len(got) > 0 {
		t.Errorf("entries: %q", got)
	}
}

func TestAnAddressIsLockedAndUnlockedInTheOperatorsName(t *testing.T) {
	t.Parallel()
	w := open(t)
	id, _ := w.register(ada)
	b := w.as(operators.RoleOperator)
	if a := b.confirmed("/accounts/lock", "id", id, "do", "lock", "for", "24h"); !strings.Contains(a.text, "the address is locked") || !strings.Contains(a.text, "locked by operator:operator, for 24h0m0s") {
		t.Errorf("lock: %s", a.text)
	}
	status, err := w.people.Show(t.Context(), ada)
	check(t, err)
	if status.LockedBy != accounts.LockedByOperator {
		t.Errorf("it is not locked: %+v", status)
	}
	if a := b.confirmed("/accounts/lock", "id", id, "do", "unlock"); strings.Contains(a.text, "the address is locked") || !strings.Contains(a.text, "unlocked by operator:operator") {
		t.Errorf("unlock: %s", a.text)
	}
	// An address that nobody has an account with has no link, and can be locked.
	check(t, w.people.Operator("cli:test").Lock(t.Context(), "eve@example.com", time.Hour))
	a := b.post("/accounts", "asked", "eve@example.com")
	if a.code != http.StatusOK || !strings.Contains(a.text, "This page has no link") {
		t.Fatalf("of no account: %d, %s", a.code, a.text)
	}
	if a := b.confirmed("/accounts/lock", "email", "eve%40example.com", "do", "unlock"); !strings.Contains(a.text, "Unlocked") {
		t.Errorf("unlock: %d %s", a.code, a.text)
	}
	want := []string{
		"operator:operator account.locked " + subject(t, ada), "operator:operator account.unlocked " + subject(t, ada),
		"operator:operator account.unlocked " + subject(t, "eve@example.com"),
	}
	if diff := cmp.Diff(want, w.entries()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for sentence, form := range map[string][]string{
		"no such thing": {"id", id, "do", "drop"}, "no such time": {"id", id, "do", "lock", "for", "9999h"}, "no address": {"email", "x", "do", "unlock"}, "nobody": {"do", "unlock"},
	} {
		if a := b.post("/accounts/lock", append(form, "sure", "yes")...); a.code != http.StatusBadRequest {
			t.Errorf("%s: answered %d", sentence, a.code)
		}
	}
	if a := b.post("/accounts/lock", "id", "none", "do", "unlock", "sure", "yes"); a.code != http.StatusNotFound {
		t.Errorf("no such account: answered %d", a.code)
	}
}
