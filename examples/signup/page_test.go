package main_test

import (
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
	signup "github.com/sealq/sealq/examples/signup"
)

func TestEveryFormSaysWhatIsWrongWhereItIs(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := s.member(t, "ada@app.example")
	for _, c := range []struct {
		path, form, field string
		fields            map[string]string
	}{
		{"/signup", "signup", "email", map[string]string{"email": `"Ada" <ada@app.example>`}},
		{"/resend", "resend", "email", map[string]string{"email": "a@b.example, c@d.example"}},
		{"/forgot", "forgot", "email", map[string]string{"email": "ada@app.example\r\nBcc: x@y.example"}},
		{"/login", "login", "", map[string]string{"email": "ada@app.example", "password": "<script>alert(1)</script>"}},
		{"/account", "change-password", "password", map[string]string{"password": "wrong", "new": password2}},
		{"/account", "change-password", "new", map[string]string{"password": password, "new": "ada@app.example"}},
		{"/account", "change-email", "email", map[string]string{"password": password, "email": "<script>alert(1)</script>"}},
		{"/account", "change-email", "password", map[string]string{"password": "wrong", "email": "new@app.example"}},
	} {
		a := b.submit(t, b.get(t, c.path), c.form, c.fields)
		want := []string{"<title>Error: ", `role="alert"`}
		if c.field != "" {
			id := c.form + "-" + c.field
			want = append(want, `<label for="`+id+`">`, `id="`+id+`-error"`, `aria-invalid="true" aria-describedby="`+id+`-error"`)
		}
		for _, text := range want {
			if a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, text) {
				t.Errorf("%s %v: %d without %s", c.form, c.fields, a.status, text)
			}
		}
		for _, secret := range []string{"<script", c.fields["new"], c.fields["password"]} {
			if secret != "" && secret != "ada@app.example" && secret != "short" && strings.Contains(a.body, secret) {
				t.Errorf("%s: the page repeats %s", c.form, secret)
			}
		}
	}
}

// tags of a page.
var tags = regexp.MustCompile(`<[^>]*>`)

func TestPagesLoadNothingFromElsewhereAndTellNobodyTheKey(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := s.member(t, "ada@app.example")
	keyPages := []string{"/confirm", "/reset", "/email"}
	for _, path := range []string{"/", "/signup", "/confirm?key=k", "/resend", "/login", "/forgot", "/reset?key=k", "/email?key=k", "/account", "/staff", "/nowhere"} {
		a := b.get(t, path)
		for _, foreign := range []string{"<script", "http://", "https://", "//", "style=", " on"} {
			for _, tag := range tags.FindAllString(a.body, -1) {
				if strings.Contains(tag, foreign) {
					t.Errorf("%s: %s", path, tag)
				}
			}
		}
		want := map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin",
		}
		if slices.Contains(keyPages, a.path) {
			want["Referrer-Policy"] = "no-referrer"
		}
		for name, value := range want {
			if got := a.header.Get(name); got != value {
				t.Errorf("%s: %s: want %q, got %q", path, name, value, got)
			}
		}
	}
	for _, path := range keyPages {
		a := b.send(t, http.MethodPost, path, url.Values{"key": {"k"}, "new": {password}}, nil)
		if a.status != http.StatusGone || a.header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("POST %s with a bad key: %d, Referrer-Policy %q", path, a.status, a.header.Get("Referrer-Policy"))
		}
	}
	if a := b.get(t, "/assets/"); a.status != http.StatusNotFound {
		t.Errorf("the folder of the assets is shown: %d", a.status)
	}
	if a := b.get(t, "/assets/style.css"); a.status != http.StatusOK || strings.Contains(a.body, "url(") {
		t.Errorf("the style sheet: %d", a.status)
	}
}

func TestCookiesAreForUsAlone(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *signup.Config) { c.BaseURL, c.Devices = "https://app.example", true })
	s.activate(t, "ada@app.example")
	b := s.browser(t)
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := b.send(t, http.MethodPost, "/login", url.Values{"email": {"ada@app.example"}, "password": {password}}, nil)
	var names []string
	for _, line := range a.header.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		check(t, err)
		names = append(names, c.Name)
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("cookie %s", line)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"__Host-device", "__Host-session"}, names); diff != "" {
		t.Errorf("cookies (-want +got):\n%s", diff)
	}
	if got := a.header.Get("Strict-Transport-Security"); got == "" {
		t.Error("no Strict-Transport-Security")
	}
	if a := s.browser(t).get(t, "/signup"); a.header.Get("Set-Cookie") != "" {
		t.Error("who has not logged in gets a cookie")
	}
}

func TestCookiesAreForUsAloneWithoutHTTPSToo(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.activate(t, "ada@app.example")
	b := s.browser(t)
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := b.send(t, http.MethodPost, "/login", url.Values{"email": {"ada@app.example"}, "password": {password}}, nil)
	c, err := http.ParseSetCookie(a.header.Get("Set-Cookie"))
	check(t, err)
	if c.Name != "session" || c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("cookie %s", a.header.Get("Set-Cookie"))
	}
	if got := a.header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("Strict-Transport-Security without HTTPS: %s", got)
	}
}

func TestNobodyIsSentToAnotherSite(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := s.member(t, "ada@app.example")
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	evil := url.Values{}
	for _, name := range []string{"next", "return", "return_to", "redirect", "redirect_uri", "url", "continue", "done"} {
		evil.Set(name, "https://evil.example/")
	}
	form := func(pairs ...string) url.Values {
		fields := url.Values{}
		for name := range evil {
			fields.Set(name, evil.Get(name))
		}
		for i := 0; i < len(pairs); i += 2 {
			fields.Set(pairs[i], pairs[i+1])
		}
		return fields
	}
	for _, c := range []struct {
		method, path string
		fields       url.Values
		redirects    bool
	}{
		{http.MethodGet, "/account", nil, false},
		{http.MethodPost, "/account/sessions", form("session", "s"), true},
		{http.MethodPost, "/account/sessions/others", form(), true},
		{http.MethodPost, "/account/email", form("email", "new@app.example", "password", password), true},
		{http.MethodPost, "/account/password", form("password", password, "new", password2), true},
		{http.MethodPost, "/login", form("email", "ada@app.example", "password", password2), true},
		{http.MethodPost, "/logout", form(), false},
		{http.MethodGet, "/account", nil, true},
		{http.MethodGet, "/staff", nil, true},
		{http.MethodGet, "//evil.example/..", nil, true},
		{http.MethodGet, "/assets//evil.example/", nil, true},
		{http.MethodGet, "/\\evil.example/", nil, false},
	} {
		a := b.send(t, c.method, c.path+"?"+evil.Encode(), c.fields, nil)
		to := a.header.Get("Location")
		if (to != "") != c.redirects {
			t.Errorf("%s %s: %d, leads to %q", c.method, c.path, a.status, to)
		}
		at, err := url.Parse(to)
		check(t, err)
		if at.Host != "" || at.Scheme != "" || strings.ContainsAny(at.Path, `\`) || strings.HasPrefix(at.Path, "//") {
			t.Errorf("%s %s leads to %s", c.method, c.path, to)
		}
		if c.method == http.MethodPost && strings.Contains(to, "evil") {
			t.Errorf("%s takes along what it was given: %s", c.path, to)
		}
	}
}

func TestNobodyChangesAnythingFromAnotherOrigin(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := s.member(t, "ada@app.example")
	forms := map[string]url.Values{
		"/signup": {"email": {"new@app.example"}}, "/confirm": {"key": {"k"}, "new": {password}}, "/resend": {"email": {"new@app.example"}},
		"/login": {"email": {"ada@app.example"}, "password": {password}}, "/logout": {}, "/forgot": {"email": {"ada@app.example"}},
		"/reset": {"key": {"k"}, "new": {password}}, "/email": {"key": {"k"}},
		"/account/password": {"password": {password}, "new": {password2}},
		"/account/email":    {"email": {"new@app.example"}, "password": {password}},
		"/account/sessions": {"session": {"s"}}, "/account/sessions/others": {},
	}
	for name, header := range map[string][2]string{
		"another site":            {"Sec-Fetch-Site", "cross-site"},
		"a sibling of our host":   {"Sec-Fetch-Site", "same-site"},
		"another site, as of old": {"Origin", "https://evil.example"},
		"from nowhere, as of old": {"Origin", "null"},
	} {
		for path, fields := range forms {
			a := b.send(t, http.MethodPost, path, fields, func(r *http.Request) { r.Header.Set(header[0], header[1]) })
			if a.status != http.StatusForbidden || !a.says("Nothing was done") {
				t.Errorf("%s: POST %s: %d", name, path, a.status)
			}
		}
	}
	if !b.loggedIn(t) || s.standing(t, "new@app.example").Status != accounts.StandingNone {
		t.Error("something was done")
	}
	for name, header := range map[string][2]string{
		"our own pages":         {"Sec-Fetch-Site", "same-origin"},
		"our own pages, of old": {"Origin", s.base},
	} {
		a := s.browser(t).send(t, http.MethodPost, "/forgot", forms["/forgot"], func(r *http.Request) { r.Header.Set(header[0], header[1]) })
		if a.status != http.StatusOK {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

// A proxy may hand on another Host than the one that people see.
func TestOurOwnOriginCountsWhateverTheHost(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *signup.Config) { c.BaseURL = "https://app.example" })
	a := s.browser(t).send(t, http.MethodPost, "/forgot", url.Values{"email": {"ada@app.example"}},
		func(r *http.Request) { r.Host = "internal:8080"; r.Header.Set("Origin", "https://app.example") })
	if a.status != http.StatusOK {
		t.Errorf("status %d", a.status)
	}
}

var row = regexp.MustCompile("(?m)^\\| `(/[a-z/]*)[^`]*` \\|(.*)\\|(.*)\\|$")

func TestTheReadmeNamesTheRoutes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	check(t, err)
	b := start(t, nil).browser(t)
	rows := row.FindAllStringSubmatch(string(text), -1)
	if len(rows) != 15 {
		t.Errorf("the table has %d rows, not 15", len(rows))
	}
	for _, r := range rows {
		for method, does := range map[string]string{http.MethodGet: r[2], http.MethodPost: r[3]} {
			a := b.send(t, method, r[1], nil, nil)
			if there, named := a.status != http.StatusNotFound, strings.TrimSpace(does) != ""; there != named {
				t.Errorf("%s %s: %d; the README says %q", method, r[1], a.status, does)
			}
		}
	}
}

func TestAFormThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	a := s.browser(t).send(t, http.MethodPost, "/signup", url.Values{"email": {strings.Repeat("x", 20<<10)}}, nil)
	if a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", a.status)
	}
	a = s.browser(t).send(t, http.MethodPost, "/signup?%zz", url.Values{"email": {"ada@app.example"}}, nil)
	if a.status != http.StatusBadRequest {
		t.Errorf("a query that is none: %d", a.status)
	}
}
