package browser_test

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail/catcher"
	"github.com/sealq/sealq/store/sqlite"
)

const (
	password  = "correct horse battery staple"
	password2 = "a wholly different sentence"
)

// The words by which mails are known.
const (
	mailConfirm  = "Confirm your address"
	mailReset    = "A new password"
	mailNewEmail = "Confirm your new address"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// system is the app as people start it, on a real Redis, with a mail server, and a second way into its database.
type system struct {
	url   string
	mails *catcher.Catcher
	db    *sqlite.DB
	users *accounts.Accounts[*sql.Tx]
}

// start builds the program and runs it until the test ends. SEALQ_TEST_BUILD are more flags for the build: make gives those of the other
// tests, whose packages are built already.
func start(t *testing.T) *system {
	t.Helper()
	s, dir := &system{}, t.TempDir()
	var err error
	s.mails, err = catcher.Start("127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { check(t, s.mails.Close()) })
	binary := filepath.Join(dir, "signup")
	build := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", binary}, strings.Fields(os.Getenv("SEALQ_TEST_BUILD"))...), "./examples/signup")...)
	build.Dir = filepath.Join("..", "..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the app: %v\n%s", err, out)
	}
	s.url = run(t, binary, "-listen", "127.0.0.1:0", "-dir", dir, "-redis-url", testservers.Redis(t).URL(), "-smtp-url", s.mails.URL())
	s.db, err = sqlite.Open(t.Context(), filepath.Join(dir, "signup.db"))
	check(t, err)
	t.Cleanup(func() { check(t, s.db.Close()) })
	s.users, err = accounts.New(s.db, authjobs.NewNotifier[*sql.Tx](s.db), accounts.Config{})
	check(t, err)
	return s
}

// run runs the program until the test ends, and returns the URL that it prints.
func run(t *testing.T, binary string, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stepTime
	up, said := &site{at: make(chan string, 1)}, &sink{}
	cmd.Stdout, cmd.Stderr = up, said
	check(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		stop()
		<-ended
		if t.Failed() {
			t.Logf("the app said:\n%s", said)
		}
	})
	select {
	case address := <-up.at:
		return address
	case err := <-ended:
		ended <- err
		t.Fatalf("the app ended: %v\n%s", err, said)
	case <-time.After(stepTime):
		t.Fatalf("the app is not up after %v\n%s", stepTime, said)
	}
	return ""
}

// site hears where the app is.
type site struct {
	text strings.Builder
	told bool
	at   chan string
}

var whereItIs = regexp.MustCompile(`The site is at (http://\S+), `)

func (s *site) Write(p []byte) (int, error) {
	s.text.Write(p)
	if found := whereItIs.FindStringSubmatch(s.text.String()); found != nil && !s.told {
		s.told = true
		s.at <- found[1]
	}
	return len(p), nil
}

// sink is what a program prints.
type sink struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// link waits for a mail to an address whose subject has some words, and returns its link.
func (s *system) link(t *testing.T, to, subject string) *url.URL {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stepTime)
	defer cancel()
	m, err := s.mails.Wait(ctx, func(m catcher.Caught) bool { return m.To[0] == to && strings.Contains(m.Subject, subject) })
	if err != nil {
		t.Fatalf("no mail %q to %s: %v", subject, to, err)
	}
	link, err := url.Parse(m.Link())
	check(t, err)
	return link
}

// grant gives somebody a role, as an operator does.
func (s *system) grant(t *testing.T, email, role string) {
	t.Helper()
	status, err := s.users.Show(t.Context(), email)
	check(t, err)
	check(t, s.db.InTx(t.Context(), func(tx *sql.Tx) error { return s.users.Operator("test").Grant(t.Context(), tx, status.UserID, role) }))
}

// elsewhere is another browser of somebody's, which shows nothing.
type elsewhere struct {
	s      *system
	client *http.Client
}

func (s *system) elsewhere(t *testing.T) *elsewhere {
	t.Helper()
	jar, err := cookiejar.New(nil)
	check(t, err)
	return &elsewhere{s, &http.Client{Jar: jar, Timeout: stepTime}}
}

// post sends a form.
func (e *elsewhere) post(t *testing.T, path string, fields ...string) {
	t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.s.url+path, strings.NewReader(form.Encode()))
	check(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	e.do(t, r)
}

// do returns the path to which it led.
func (e *elsewhere) do(t *testing.T, r *http.Request) string {
	t.Helper()
	resp, err := e.client.Do(r)
	check(t, err)
	check(t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s", r.Method, r.URL.Path, resp.Status)
	}
	return resp.Request.URL.Path
}

// loggedIn says whether the page of the account opens.
func (e *elsewhere) loggedIn(t *testing.T) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.s.url+"/account", nil)
	check(t, err)
	return e.do(t, r) == "/account"
}

// activate makes an account.
func (s *system) activate(t *testing.T, email string) {
	t.Helper()
	e := s.elsewhere(t)
	e.post(t, "/signup", "email", email)
	e.post(t, "/confirm", "key", s.link(t, email, mailConfirm).Query().Get("key"), "new", password)
}
