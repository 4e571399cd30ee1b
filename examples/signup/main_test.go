package main_test

import (
	"context"
	"database/sql"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealq/sealq/accounts"
	signup "github.com/sealq/sealq/examples/signup"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/store/sqlite"
)

// The session manager's memory has a goroutine that lives as long as the process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/alexedwards/scs/v2/memstore.(*MemStore).startCleanup"))
}

const (
	patience  = 30 * time.Second
	password  = "correct horse battery staple"
	password2 = "a wholly different sentence"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// system is the app with its worker on a real Redis, a mail server, and a second way into its database.
type system struct {
	url   string // where it listens, whatever the base URL
	base  string
	mails *catcher.Catcher
	db    *sqlite.DB
	users *accounts.Accounts[*sql.Tx]
}

// cheap hashes, and mails as often as they are asked for.
func cheap() accounts.Config {
	return accounts.Config{Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}, MailEvery: -1}
}

func start(t *testing.T, change func(*signup.Config)) *system {
	t.Helper()
	s := &system{}
	var err error
	s.mails, err = catcher.Start("127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { check(t, s.mails.Close()) })
	c := signup.Config{
		Listen: "127.0.0.1:0", Dir: t.TempDir(), RedisURL: testservers.Redis(t).URL(), SMTPURL: s.mails.URL(), Accounts: cheap(),
	}
	if change != nil {
		change(&c)
	}
	addr := run(t, c)
	s.url, s.base = "http://"+addr, c.BaseURL
	if s.base == "" {
		s.base = s.url
	}
	s.db, err = sqlite.Open(t.Context(), c.Dir+"/signup.db")
	check(t, err)
	t.Cleanup(func() { check(t, s.db.Close()) })
	s.users, err = accounts.New(s.db, authjobs.NewNotifier[*sql.Tx](s.db), c.Accounts)
	check(t, err)
	return s
}

// run runs the app until the test's end, and returns where it listens.
func run(t *testing.T, c signup.Config) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan string, 1), make(chan error, 1)
	c.Ready = func(addr string) { ready <- addr }
	go func() { ended <- signup.Run(ctx, c) }()
	select {
	case addr := <-ready:
		t.Cleanup(func() { stop(); check(t, <-ended) })
		return addr
	case err := <-ended:
		stop()
		t.Fatalf("the app ended at once: %v", err)
		return ""
	}
}

// link waits for a mail to an address whose subject has some words, and returns its link.
func (s *system) link(t *testing.T, to, subject string) *url.URL {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := s.mails.Wait(ctx, func(m catcher.Caught) bool { return m.To[0] == to && strings.Contains(m.Subject, subject) })
	if err != nil {
		t.Fatalf("no mail %q to %s: %v", subject, to, err)
	}
	link, err := url.Parse(m.Link())
	check(t, err)
	return link
}

// The words by which mails are known.
const (
	mailConfirm  = "Confirm your address"
	mailReset    = "A new password"
	mailNewEmail = "Confirm your new address"
	mailChanged  = "Your password"
	mailExists   = "already"
	// To the old address.
	mailIsToChange = "is to change"
	mailWasChanged = "was changed"
)

// count says how many mails of a subject an address got.
func (s *system) count(to, subject string) (n int) {
	for _, m := range s.mails.Messages() {
		if m.To[0] == to && strings.Contains(m.Subject, subject) {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("did not happen within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

// browser keeps cookies and follows redirects.
type browser struct {
	s      *system
	client *http.Client
}

func (s *system) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	check(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{s, &http.Client{Jar: jar, Transport: transport, Timeout: patience}}
}

// answer is a page.
type answer struct {
	status int
	path   string // after redirects
	header http.Header
	body   string
}

func (a answer) says(text string) bool { return strings.Contains(html.UnescapeString(a.body), text) }

// send asks for path, which may have a query, or is a whole URL. change may spoil the request.
func (b *browser) send(t *testing.T, method, path string, fields url.Values, change func(*http.Request)) answer {
	t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = b.s.url + path
	}
	r, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(fields.Encode()))
	check(t, err)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if change != nil {
		change(r)
	}
	resp, err := b.client.Do(r)
	check(t, err)
	text, err := io.ReadAll(resp.Body)
	check(t, err)
	check(t, resp.Body.Close())
	return answer{resp.StatusCode, resp.Request.URL.Path, resp.Header, string(text)}
}

func (b *browser) get(t *testing.T, path string) answer {
	t.Helper()
	return b.send(t, http.MethodGet, path, nil, nil)
}

// open follows a link from a mail, wherever its host would be.
func (b *browser) open(t *testing.T, link *url.URL) answer {
	t.Helper()
	return b.get(t, link.RequestURI())
}

var (
	action = regexp.MustCompile(`^<form method="post" action="([^"]+)"`)
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)
)

// submit fills in the form of that ID on a page, and sends it where it says.
func (b *browser) submit(t *testing.T, page answer, id string, fields map[string]string) answer {
	t.Helper()
	for _, text := range strings.SplitAfter(page.body, "</form>") {
		start := strings.LastIndex(text, "<form")
		if start < 0 || !strings.Contains(text[start:], ` id="`+id+`"`) {
			continue
		}
		text = text[start:]
		values := url.Values{}
		for _, input := range hidden.FindAllStringSubmatch(text, -1) {
			values.Set(input[1], html.UnescapeString(input[2]))
		}
		for name, value := range fields {
			if !strings.Contains(text, ` name="`+name+`"`) {
				t.Fatalf("the form %s has no field %s:\n%s", id, name, text)
			}
			values.Set(name, value)
		}
		return b.send(t, http.MethodPost, action.FindStringSubmatch(text)[1], values, nil)
	}
	t.Fatalf("no form %s on the page %s (%d):\n%s", id, page.path, page.status, page.body)
	return answer{}
}

func (b *browser) signup(t *testing.T, email string) answer {
	t.Helper()
	return b.submit(t, b.get(t, "/signup"), "signup", map[string]string{"email": email})
}

// confirm opens the link of a confirmation and chooses a password.
func (b *browser) confirm(t *testing.T, link *url.URL, password string) answer {
	t.Helper()
	return b.submit(t, b.open(t, link), "confirm", map[string]string{"new": password})
}

func (b *browser) login(t *testing.T, email, password string) answer {
	t.Helper()
	return b.submit(t, b.get(t, "/login"), "login", map[string]string{"email": email, "password": password})
}

func (b *browser) forgot(t *testing.T, email string) {
	t.Helper()
	b.submit(t, b.get(t, "/forgot"), "forgot", map[string]string{"email": email})
}

// changePassword makes password2 of password.
func (b *browser) changePassword(t *testing.T) answer {
	t.Helper()
	return b.submit(t, b.get(t, "/account"), "change-password", map[string]string{"password": password, "new": password2})
}

func (b *browser) changeEmail(t *testing.T, to, password string) answer {
	t.Helper()
	return b.submit(t, b.get(t, "/account"), "change-email", map[string]string{"email": to, "password": password})
}

// loggedIn says whether the page of the account opens.
func (b *browser) loggedIn(t *testing.T) bool {
	t.Helper()
	a := b.get(t, "/account")
	if a.status != http.StatusOK {
		t.Fatalf("/account: status %d", a.status)
	}
	return a.path == "/account"
}

// token is the session cookie.
func (b *browser) token(t *testing.T) string {
	t.Helper()
	return b.cookies(t)["session"]
}

func (b *browser) cookies(t *testing.T) map[string]string {
	t.Helper()
	u, err := url.Parse(b.s.url)
	check(t, err)
	all := map[string]string{}
	for _, c := range b.client.Jar.Cookies(u) {
		all[c.Name] = c.Value
	}
	return all
}

// plant sets the session cookie, as somebody else might who has got at the browser.
func (b *browser) plant(t *testing.T, token string) {
	t.Helper()
	u, err := url.Parse(b.s.url)
	check(t, err)
	b.client.Jar.SetCookies(u, []*http.Cookie{{Name: "session", Value: token, Path: "/"}})
}

// member is a browser that is logged in to an account of its own.
func (s *system) member(t *testing.T, email string) *browser {
	t.Helper()
	s.activate(t, email)
	b := s.browser(t)
	if a := b.login(t, email, password); a.path != "/account" {
		t.Fatalf("log in: %d %s\n%s", a.status, a.path, a.body)
	}
	return b
}

// activate makes an account by the pages.
func (s *system) activate(t *testing.T, email string) {
	t.Helper()
	b := s.browser(t)
	b.signup(t, email)
	if a := b.confirm(t, s.link(t, email, mailConfirm), password); a.status != http.StatusOK {
		t.Fatalf("confirm: %d\n%s", a.status, a.body)
	}
}

func (s *system) tx(t *testing.T, fn func(context.Context, *sql.Tx) error) {
	t.Helper()
	check(t, s.db.InTx(t.Context(), func(tx *sql.Tx) error { return fn(t.Context(), tx) }))
}

func (s *system) standing(t *testing.T, email string) accounts.Status {
	t.Helper()
	status, err := s.users.Show(t.Context(), email)
	check(t, err)
	return status
}
