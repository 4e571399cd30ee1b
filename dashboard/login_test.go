package dashboard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	for _, a := range []answer{b.get("/"), b.get("/no/such"), b.get("//x"), b.get("//evil.example/x"), w.browser().get("/"), w.browser().get("/login"), b.get("/assets/style.css"), b.get("/queue?" + strings.Repeat("x", 9000))} {
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
