package dashboard_test

import (
	"bufio"
	"database/sql"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/dashboard"
	"github.com/sealq/sealq/operators"
)

const cookieName = "__Host-sealq"

func (b *browser) token() string {
	b.t.Helper()
	at, err := url.Parse(b.URL)
	check(b.t, err)
	for _, c := range b.client.Jar.Cookies(at) {
		if c.Name == cookieName {
			return c.Value
		}
	}
	return ""
}

func TestTheCookieIsForThisHostAndForNoScript(t *testing.T) {
	t.Parallel()
	w := open(t)
	a := w.browser().post("/login", "name", "viewer", "password", password)
	found := a.Cookies()
	if len(found) != 1 {
		t.Fatalf("cookies: %v", found)
	}
	c := found[0]
	if c.Name != cookieName || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode || len(c.Value) != 43 {
		t.Errorf("the cookie is %+v", c)
	}
}

func TestASessionThatWasPlantedIsWorthNothing(t *testing.T) {
	t.Parallel()
	w := open(t)
	attacker := w.as(operators.RoleViewer)
	planted := attacker.token()
	// The victim's browser has the attacker's session, and the victim logs in.
	victim := w.browser()
	at, err := url.Parse(w.URL)
	check(t, err)
	victim.client.Jar.SetCookies(at, []*http.Cookie{{Name: cookieName, Value: planted, Path: "/", Secure: true}})
	victim.post("/login", "name", "admin", "password", password)
	half := victim.token()
	if half == planted || half == "" {
		t.Fatal("the token is the one that was planted")
	}
	if a := attacker.get("/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the session that was in the browser lives on: %d", a.StatusCode)
	}
	// A session that somebody saw between password and code is worth nothing after the code.
	secret := secretText.FindStringSubmatch(victim.page("/login/code").text)[1]
	victim.post("/login/enrol", "code", totp(t, secret, time.Now()))
	if full := victim.token(); full == half {
		t.Error("the token is the same after the code")
	}
	thief := w.browser()
	thief.client.Jar.SetCookies(at, []*http.Cookie{{Name: cookieName, Value: half, Path: "/", Secure: true}})
	if a := thief.get("/login/code"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the token from before the code is still good: %d", a.StatusCode)
	}
	victim.page("/")
}

func TestAnAdminIsAskedForHisCodeTheNextTime(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.browser()
	a := b.follow(b.post("/login", "name", "admin", "password", password, "to", "/operators"))
	secret := secretText.FindStringSubmatch(a.text)[1]
	if len(texts(a.doc, "svg")) != 1 {
		t.Error("there is no QR code")
	}
	if a := b.post("/login/enrol", "code", "000000"); a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.text, secret) {
		t.Errorf("a wrong code answered %d", a.StatusCode)
	}
	a = b.post("/login/enrol", "code", totp(t, secret, time.Now()), "to", "/operators")
	recovery := texts(a.doc, "li")
	if len(recovery) != 10 || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("recovery codes: %v", recovery)
	}
	b.post("/logout")
	if a := b.get("/operators"); a.Header.Get("Location") != "/login?to=%2Foperators" {
		t.Fatalf("logged out, it leads to %s", a.Header.Get("Location"))
	}
	a = b.follow(b.post("/login", "name", "admin", "password", password, "to", "/operators"))
	if strings.Contains(a.text, secret) || len(texts(a.doc, "svg")) != 0 {
		t.Error("the secret is shown again")
	}
	if a := b.post("/login/code", "code", totp(t, secret, time.Now())); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("the code of the enrolment was taken again: %d", a.StatusCode)
	}
	a = b.follow(b.post("/login/code", "code", recovery[0], "to", "/operators"))
	if diff := cmp.Diff([]string{"Operators"}, texts(a.doc, "h1")); diff != "" {
		t.Error(diff)
	}
	if got := w.entries("operator.recovery_code_used"); len(got) != 1 {
		t.Errorf("entries: %v", got)
	}
}

func TestWhoIsRefusedIsNotToldWhy(t *testing.T) {
	t.Parallel()
	w := open(t)
	_, err := w.ops.SetDisabled(t.Context(), "cli:test", "operator", true)
	check(t, err)
	var first string
	for _, name := range []string{"viewer", "nobody", "operator", "not a name"} {
		pass := "wrong"
		if name == "operator" {
			pass = password
		}
		a := w.browser().post("/login", "name", name, "password", pass)
		if a.StatusCode != http.StatusUnauthorized || len(a.Cookies()) > 0 {
			t.Errorf("%s: %d, %v", name, a.StatusCode, a.Cookies())
		}
		text := strings.ReplaceAll(a.text, `value="`+name+`"`, "")
		if first == "" {
			first = text
		}
		if diff := cmp.Diff(first, text); diff != "" {
			t.Errorf("%s is told otherwise:\n%s", name, diff)
		}
	}
}

func TestALoginLeadsToNoOtherSite(t *testing.T) {
	t.Parallel()
	w := open(t)
	for given, want := range map[string]string{
		"/queue?name=mail": "/queue?name=mail", "https://evil.example/": "/", "//evil.example/": "/", "/\\evil.example": "/", "/\t/evil.example": "/", "/\n/evil.example": "/", "\t//evil.example": "/", "javascript:alert(1)": "/", "": "/", "/a\r\nX: y": "/",
	} {
		b := w.browser()
		a := b.post("/login", "name", "viewer", "password", password, "to", given)
		a = b.get(a.Header.Get("Location"))
		if got := a.Header.Get("Location"); got != want {
			t.Errorf("%q leads to %q", given, got)
		}
		// Who is in already is led on at once: a link is enough.
		if got := b.get("/login?" + url.Values{"to": {given}}.Encode()).Header.Get("Location"); got != want {
			t.Errorf("a link to %q leads to %q", given, got)
		}
	}
}

func TestABrowserThatKeepsNoCookieIsToldSo(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.browser()
	a := b.post("/login", "name", "viewer", "password", password)
	b.client.Jar = nil
	if a = b.get(a.Header.Get("Location")); !strings.Contains(a.text, "did not keep the session") {
		t.Errorf("it says %.400s", a.text)
	}
}

func TestTooManyLoginsFromOneAddressAreNotLookedAt(t *testing.T) {
	t.Parallel()
	w := open(t, func(c *dashboard.Config) { c.LoginsPerMinute = 3 })
	for range 3 {
		w.browser().post("/login", "name", "nobody", "password", "x")
	}
	if a := w.browser().post("/login", "name", "viewer", "password", password); a.StatusCode != http.StatusTooManyRequests || len(a.Cookies()) > 0 {
		t.Errorf("the fourth answered %d", a.StatusCode)
	}
}

func TestANetworkOfIPv6CountsAsOneAddress(t *testing.T) {
	t.Parallel()
	w := open(t, func(c *dashboard.Config) { c.LoginsPerMinute = 3 })
	try := func(remote string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/login", strings.NewReader("name=nobody&password=x"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = remote
		answer := httptest.NewRecorder()
		w.Config.Handler.ServeHTTP(answer, r)
		return answer.Code
	}
	for remote, want := range map[string]int{
		"[2001:db8:0:1:%x::1]:443": http.StatusTooManyRequests, "[2001:db8:0:%x::1]:443": http.StatusUnauthorized,
		"192.0.2.1:%d": http.StatusTooManyRequests, "192.0.2.%d:443": http.StatusUnauthorized,
	} {
		last := 0
		for i := range 4 {
			last = try(fmt.Sprintf(remote, i+2))
		}
		if last != want {
			t.Errorf("the fourth from %s answered %d", remote, last)
		}
	}
}

func TestAnotherSiteChangesNothing(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleOperator)
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		for _, path := range []string{"/queue", "/tasks", "/logout", "/login", "/account/keys"} {
			if a := b.do(http.MethodPost, path, url.Values{"queue": {"mail"}, "do": {"pause"}}, headers...); a.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %v answered %d", path, headers, a.StatusCode)
			}
		}
	}
	if paused, err := w.redis.Exists(t.Context(), "asynq:{mail}:paused").Result(); err != nil || paused != 0 {
		t.Errorf("paused: %v, %v", paused, err)
	}
	b.page("/") // still logged in
	for _, path := range []string{"/queue?queue=mail&do=pause", "/logout", "/tasks?do=delete"} {
		b.get(path) // a GET changes nothing
	}
	b.page("/")
	if got := w.entries("queue."); len(got) > 0 {
		t.Errorf("entries: %v", got)
	}
}

func TestEveryAnswerIsHardened(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleViewer)
	for _, a := range []answer{b.get("/"), b.get("/no/such"), w.browser().get("/"), w.browser().get("/login"), b.get("/assets/style.css"), b.get("/queue?" + strings.Repeat("x", 9000))} {
		h := a.Header
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") == "" || h.Get("Cache-Control") == "" {
			t.Errorf("%s is answered with %v", a.Request.URL.Path, h)
		}
		if strings.Contains(a.text, "style=") || strings.Contains(a.text, "onclick") || strings.Contains(a.text, "<script>") {
			t.Errorf("%s holds what its policy forbids", a.Request.URL.Path)
		}
	}
	if a := b.get("/queue?" + strings.Repeat("x", 9000)); a.StatusCode != http.StatusRequestURITooLong {
		t.Errorf("a long address answered %d", a.StatusCode)
	}
	if a := b.post("/theme", "theme", strings.Repeat("x", 1<<20)); a.StatusCode == http.StatusOK || strings.Contains(strings.Join(a.Header["Set-Cookie"], ""), "xxx") {
		t.Errorf("a large form answered %d", a.StatusCode)
	}
}

func TestTheThemeIsSwitchedWithoutAScript(t *testing.T) {
	t.Parallel()
	w := open(t)
	b := w.as(operators.RoleViewer)
	for _, theme := range []string{"dark", "light", "system"} {
		if a := b.post("/theme", "theme", theme, "to", "/queue?name=mail"); a.Header.Get("Location") != "/queue?name=mail" {
			t.Errorf("it leads to %s", a.Header.Get("Location"))
		}
		has := strings.Contains(b.page("/").text, `data-theme="`+theme+`"`)
		if has != (theme != "system") {
			t.Errorf("%s: the page has it %v", theme, has)
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
