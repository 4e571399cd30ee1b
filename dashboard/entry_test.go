package dashboard_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/operators"
	"github.com/sealq/sealq/signing"
)

func TestAnEntryTellsOfTheRequestsThatAreAboutItAndOfNoOther(t *testing.T) {
	t.Parallel()
	w := open(t)
	old := time.Now().Add(-8 * 24 * time.Hour)
	forged := w.kept(jobs.Refused{TaskID: "a", ReceivedAt: old})
	signed := w.kept(jobs.Refused{TaskID: "b", Reason: signing.ReasonExpired, Authentic: true, ReceivedAt: time.Now().Add(-time.Hour)})
	row := w.outboxed(note("test:note").With(noteArgs{Note: "hello"}))
	named := w.kept(jobs.Refused{TaskID: row + ".1", Kind: "test:other", Queue: "low"})
	b := w.as(operators.RoleOperator)
	for _, form := range [][]string{
		{"do", "release", "id", signed, "id", named},
		{"do", "release-all", "reason", "expired"},
		{"do", "purge", "age", "7d"},
		{"do", "purge", "reason", "bad_signature", "queue", "mail"},
		{"do", "reissue", "id", named},
	} {
		if a := b.post("/quarantine", append(form, "sure", "yes")...); a.StatusCode != http.StatusSeeOther {
			t.Fatalf("%q was answered with %d: %s", form, a.StatusCode, textOf(a.doc))
		}
	}
	for id, want := range map[string][]string{
		forged: {"waiting Purge of the quarantine", "waiting Purge of the quarantine"},
		signed: {"waiting Release from quarantine", "waiting Release from quarantine"},
		named:  {"waiting Reissue of an outbox row", "waiting Release from quarantine"},
	} {
		if diff := cmp.Diff(want, texts(b.page(entryPage(id)).doc, "h3")); diff != "" {
			t.Errorf("requests about %s (-want +got):\n%s", id, diff)
		}
	}
}

func TestTheButtonsThatPurgeAreToldApart(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.kept(jobs.Refused{TaskID: "a"})
	all := texts(w.as(operators.RoleOperator).page("/quarantine").doc, "button")
	slices.Sort(all)
	if once := slices.Compact(slices.Clone(all)); len(once) != len(all) || !slices.Contains(all, "Purge the chosen …") || !slices.Contains(all, "Purge all of these …") {
		t.Errorf("the buttons are %q", all)
	}
}
