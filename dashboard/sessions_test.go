package dashboard_test

import (
	"bufio"
	"database/sql"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/operators"
)

// Addresses are noted, mailed and linked from alerts.
func TestLinksAndSessionsOutliveARestart(t *testing.T) {
	t.Parallel()
	var c dashboard.Config
	w := open(t, func(made *dashboard.Config) { c = *made })
	w.sign("test:note", "hello")
	b := w.as(operators.RoleViewer)
	seen := make(map[string]string)
	said := func(a answer) string { return a.Status + ": " + strings.Join(texts(a.doc, "h1"), " ") }
	var walk func(address string)
	walk = func(address string) {
		if _, ok := seen[address]; ok {
			return
		}
		a := b.get(address)
		seen[address] = said(a)
		for n := range a.doc.Descendants() {
			for _, attr := range n.Attr {
				if n.Data == "a" && attr.Key == "href" && strings.HasPrefix(attr.Val, "/") {
					walk(attr.Val)
				}
			}
		}
	}
	walk("/")
	if len(seen) < 15 || !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(s string) bool { return strings.HasPrefix(s, "/task?") }) {
		t.Fatalf("only %d pages were found: %q", len(seen), slices.Sorted(maps.Keys(seen)))
	}
	again, err := dashboard.New(c)
	check(t, err)
	w.Close()
	w.Server = httptest.NewTLSServer(again)
	t.Cleanup(w.Close)
	for address, before := range seen {
		if got := said(b.get(address)); got != before {
			t.Errorf("%s was %q and is %q", address, before, got)
		}
	}
}

func TestSessionsAndKeysAreListedAndEnded(t *testing.T) {
	t.Parallel()
	w := open(t)
	b, other := w.as(operators.RoleOperator), w.as(operators.RoleOperator)
	a := b.page("/account")
	if got := strings.Count(a.text, "This one."); got != 1 {
		t.Errorf("%d sessions are this one", got)
	}
	sessions, err := w.ops.Sessions(t.Context(), w.operator("operator").ID)
	check(t, err)
	// Nobody ends another's.
	w.as(operators.RoleAdmin).post("/account/sessions/end", "id", sessions[0].ID)
	other.page("/")
	b.post("/account/sessions/end", "id", sessions[0].ID)
	if a := other.get("/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("a session that was ended answers %d", a.StatusCode)
	}

	a = b.post("/account/keys", "name", "backup", "role", "operator", "life", "30d")
	i := slices.IndexFunc(texts(a.doc, "code"), func(s string) bool { return strings.HasPrefix(s, "sealqk_") })
	if i < 0 {
		t.Fatalf("no key is shown: %d, %.600s", a.StatusCode, a.text)
	}
	secret := texts(a.doc, "code")[i]
	bearer := []string{"Authorization", "Bearer " + secret, "Accept", "application/json"}
	if a := w.browser().get("/", bearer...); a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("a key is answered %d as %s", a.StatusCode, a.Header.Get("Content-Type"))
	}
	if strings.Contains(b.page("/account").text, secret) {
		t.Error("a key is shown twice")
	}
	viewer := w.as(operators.RoleViewer)
	if a := viewer.post("/account/keys", "name", "x", "role", "operator", "life", "30d"); a.StatusCode != http.StatusForbidden {
		t.Errorf("a viewer's key that can more answered %d", a.StatusCode)
	}
	keys, err := w.ops.Keys(t.Context())
	check(t, err)
	viewer.post("/account/keys/revoke", "id", keys[0].ID)
	if a := w.browser().get("/", bearer...); a.StatusCode != http.StatusOK {
		t.Error("a viewer revoked another's key")
	}
	b.post("/account/keys/revoke", "id", keys[0].ID)
	if a := w.browser().get("/", bearer...); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a revoked key is answered %d", a.StatusCode)
	}
	if a := b.get("/", "Authorization", "Bearer nonsense"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong key with a browser's session is answered %d", a.StatusCode)
	}
}

func TestNobodyMakesKeysWithoutEnd(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleViewer)
	another := func(b *browser) int {
		return b.post("/account/keys", "name", "backup", "role", "viewer", "life", "1d").StatusCode
	}
	for range 50 {
		if status := another(b); status != http.StatusOK {
			t.Fatalf("a key answered %d", status)
		}
	}
	if status := another(b); status != http.StatusConflict {
		t.Errorf("one more answered %d", status)
	}
	if status := another(w.as(operators.RoleOperator)); status != http.StatusOK {
		t.Errorf("another's answered %d", status)
	}
	// An admin's entry says whose key he revoked.
	keys, err := w.ops.Keys(t.Context())
	check(t, err)
	w.as(operators.RoleAdmin).post("/account/keys/revoke", "id", keys[0].ID)
	if diff := cmp.Diff([]string{"operator:admin api_key.revoked operator/" + keys[0].Operator}, w.entries("api_key.revoked")); diff != "" {
		t.Error(diff)
	}
}

func (w *world) operator(name string) operators.Operator {
	w.t.Helper()
	list, err := w.ops.List(w.t.Context())
	check(w.t, err)
	for _, o := range list {
		if o.Name == name {
			return o
		}
	}
	w.t.Fatalf("there is no %s", name)
	return operators.Operator{}
}

func TestAStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	var d *dashboard.Dashboard
	w := open(t, func(c *dashboard.Config) {
		var err error
		d, err = dashboard.New(*c)
		check(t, err)
	})
	w.Config.Handler = d // the one that the test wakes
	b := w.as(operators.RoleViewer)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+"/live", nil)
	check(t, err)
	response, err := b.client.Do(r)
	check(t, err)
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
		}
		t.Fatalf("the stream ended before %q: %v", want, lines.Err())
	}
	next("retry: 5000")
	d.Seen("something")
	next("event: changed")
	_, err = w.ops.SetRole(t.Context(), "cli:test", "viewer", operators.RoleOperator) // which ends the session
	check(t, err)
	d.Seen("something else")
	next("event: over")
}

// stream opens one.
func (b *browser) stream() (status int, lines *bufio.Scanner) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.URL+"/live", nil)
	check(b.t, err)
	response, err := b.client.Do(r)
	check(b.t, err)
	b.t.Cleanup(func() { _ = response.Body.Close() })
	return response.StatusCode, bufio.NewScanner(response.Body)
}

func TestAStreamThatCannotAskTheDatabaseEndsNoSession(t *testing.T) {
	t.Parallel()
	var d *dashboard.Dashboard
	w := open(t, func(c *dashboard.Config) {
		var err error
		d, err = dashboard.New(*c)
		check(t, err)
	})
	w.Config.Handler = d
	b := w.as(operators.RoleViewer)
	_, lines := b.stream()
	if !lines.Scan() || lines.Text() != "retry: 5000" {
		t.Fatalf("it begins with %q, %v", lines.Text(), lines.Err())
	}
	check(t, w.db.Close())
	d.Seen("something")
	for lines.Scan() {
		if lines.Text() != "" {
			t.Errorf("the stream says %q", lines.Text())
		}
	}
	// What needs no database is there, so that the page which says so can be read.
	b.page("/assets/style.css")
}

func TestNobodyTakesTheStreamsOfAll(t *testing.T) {
	t.Parallel()
	w := open(t)
	greedy, other := w.as(operators.RoleViewer), w.as(operators.RoleOperator)
	for range 20 {
		if status, _ := greedy.stream(); status != http.StatusOK {
			t.Fatalf("a stream answered %d", status)
		}
	}
	if status, _ := greedy.stream(); status != http.StatusServiceUnavailable {
		t.Errorf("one more answered %d", status)
	}
	if status, _ := other.stream(); status != http.StatusOK {
		t.Errorf("another's answered %d", status)
	}
}

func TestWhatAPageAsksByItselfKeepsNoSessionAlive(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleViewer)
	id := w.operator("viewer").ID
	seen := func() time.Duration {
		sessions, err := w.ops.Sessions(t.Context(), id)
		check(t, err)
		return time.Since(sessions[0].SeenAt).Round(10 * time.Minute)
	}
	check(t, w.db.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE operator_sessions SET seen_at = seen_at - 30 * 60 * 1000000`)
		return err
	}))
	for _, page := range []string{"/", "/queue?name=mail&state=retry&did=pause"} {
		a := b.get(page, "Sealq-Live", "1")
		found := regexp.MustCompile(`http-equiv="refresh" content="30; url=([^"]+)"`).FindStringSubmatch(a.text)
		if found == nil {
			t.Fatalf("%s is not loaded again without a script", page)
		}
		if again := b.page(html.UnescapeString(found[1])); strings.Contains(again.text, "Paused.") || !slices.Equal(texts(a.doc, "h1"), texts(again.doc, "h1")) {
			t.Errorf("%s is loaded again from %s", page, found[1])
		}
	}
	if got := seen(); got != 30*time.Minute {
		t.Errorf("the session was seen %s ago", got)
	}
	b.page("/")
	if got := seen(); got != 0 {
		t.Errorf("the session that somebody used was seen %s ago", got)
	}
}
