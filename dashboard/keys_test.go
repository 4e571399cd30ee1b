package dashboard_test

import (
	"context"
	"database/sql"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/operators"
)

// links are where the page's links lead, by their texts.
func links(doc *html.Node) map[string]string {
	all := make(map[string]string)
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "a" {
			all[textOf(n)] = attribute(n, "href")
		}
	}
	return all
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// formOf is what the hidden fields of the page's confirmation hold, and what a button adds.
func formOf(t *testing.T, a answer, button ...string) url.Values {
	t.Helper()
	form := url.Values{}
	for n := range a.doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "input" && attribute(n, "type") == "hidden" && attribute(n, "name") != "to" {
			form.Add(attribute(n, "name"), attribute(n, "value"))
		}
	}
	for i := 0; i < len(button); i += 2 {
		form.Add(button[i], button[i+1])
	}
	return form
}

// outboxed records a job and returns its row's ID.
func (w *world) outboxed(j jobs.Job) (id string) {
	w.t.Helper()
	check(w.t, w.db.InTx(w.t.Context(), func(tx *sql.Tx) (err error) {
		id, err = w.db.EnqueueTx(w.t.Context(), tx, j)
		return err
	}))
	return id
}

// aRing has a key of each state that matters, and three hosts.
func aRing(moves bool) dashboard.Ring {
	now := time.Now()
	return dashboard.Ring{
		Version: 7, Moves: moves,
		Keys: []dashboard.Key{
			{KID: "00000001", State: "retiring", Created: now.Add(-60 * 24 * time.Hour), VerifyUntil: now.Add(time.Hour), Kinds: []string{"*"}},
			{KID: "00000002", State: "active", Created: now.Add(-30 * 24 * time.Hour), Kinds: []string{"*"}},
			{KID: "00000003", State: "published", Created: now.Add(-time.Hour), PromoteFrom: now.Add(-55 * time.Minute), Kinds: []string{"mail:*", "<b>"}},
			{KID: "00000004", State: "published", Created: now, PromoteFrom: now.Add(5 * time.Minute), Kinds: []string{"*"}},
			{KID: "00000005", State: "revoked", Created: now.Add(-90 * 24 * time.Hour), Kinds: []string{"*"}},
		},
		Hosts: []dashboard.RingHost{
			{Process: "web1/17", Version: 7, KIDs: []string{"00000001", "00000002", "00000003", "00000004"}, Seen: now},
			{Process: "web2/18", Version: 5, KIDs: []string{"00000001", "00000002"}, Seen: now, Differs: true},
		},
	}
}

func withRing(r dashboard.Ring) func(*dashboard.Config) {
	return func(c *dashboard.Config) { c.Ring = func(context.Context) (dashboard.Ring, error) { return r, nil } }
}

func TestTheKeysAreShownWithWhoKnowsThem(t *testing.T) {
	t.Parallel()
	w := open(t, withRing(aRing(true)))
	got := textOf(w.as(operators.RoleViewer).page("/keys").doc)
	for _, want := range []string{
		"Version 7 of the ring", "00000003 published mail:* <b>", "00000004 published can be promoted in", "1 of 2", "2 of 2",
		"web2/18 5 behind another ring or audience 00000003 00000004", "00000005 revoked", "no more",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
	if strings.Contains(got, "Revoke …") || strings.Contains(got, "Publish a new key") {
		t.Error("a viewer has buttons")
	}
	blind := open(t, withRing(dashboard.Ring{Why: "no <keys>", Hosts: aRing(false).Hosts}))
	b := blind.as(operators.RoleAdmin)
	if got := textOf(b.page("/keys").doc); !strings.Contains(got, "The ring is not known here: no <keys>. The highest version that a process reports is 7.") {
		t.Errorf("without keys: %s", got)
	}
	if a := b.post("/keys", "do", "rotate", "sure", "yes"); a.StatusCode != http.StatusConflict || len(blind.asked()) > 0 {
		t.Errorf("without keys: answered %d", a.StatusCode)
	}
}

func TestKeysAreMovedByARequestAfterTheBlastRadiusWasTold(t *testing.T) {
	t.Parallel()
	w := open(t, withRing(aRing(true)))
	b := w.as(operators.RoleAdmin)
	var want []string
	for _, c := range []struct {
		form   []string
		radius string
		asks   string
	}{
		{[]string{"do", "rotate"}, "signs nothing until it is promoted", "keys.rotate map[version:7]"},
		{[]string{"do", "promote", "kid", "00000003"}, "Processes that do not know this key yet: 1 of 2.", "keys.promote map[kid:00000003 version:7]"},
		{[]string{"do", "revoke", "kid", "00000001"}, "Nothing that it signed verifies any more", "keys.revoke map[kid:00000001]"},
		{[]string{"do", "revoke", "kid", "00000002"}, "It is the active key", "keys.revoke map[kid:00000002]"},
	} {
		a := b.post("/keys", c.form...)
		if got := textOf(a.doc); a.StatusCode != http.StatusOK || !strings.Contains(got, c.radius) || len(w.asked()) != len(want) {
			t.Errorf("%v: answered %d, %s, %q", c.form, a.StatusCode, got, w.asked())
		}
		a = b.follow(b.do(http.MethodPost, "/keys", formOf(t, a, "sure", "yes")))
		want = append([]string{c.asks + " operator:admin waiting"}, want...)
		if got := textOf(a.doc); texts(a.doc, "h1")[0] != "Keys" || !strings.Contains(got, "It waits to be taken.") {
			t.Errorf("%v: %s", c.form, got)
		}
	}
	if diff := cmp.Diff(want, w.asked()); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	for sentence, c := range map[string]struct {
		form   []string
		status int
	}{
		"too young":       {[]string{"do", "promote", "kid", "00000004"}, http.StatusConflict},
		"active already":  {[]string{"do", "promote", "kid", "00000002"}, http.StatusConflict},
		"revoked already": {[]string{"do", "revoke", "kid", "00000005"}, http.StatusConflict},
		"no such key":     {[]string{"do", "revoke", "kid", "x"}, http.StatusNotFound},
		"no such move":    {[]string{"do", "destroy", "kid", "00000001"}, http.StatusBadRequest},
	} {
		if a := b.post("/keys", append(c.form, "sure", "yes")...); a.StatusCode != c.status || len(w.asked()) != len(want) {
			t.Errorf("%s: answered %d", sentence, a.StatusCode)
		}
	}
}
