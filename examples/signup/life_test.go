package main_test

import (
	"bytes"
	"context"
	"database/sql"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	signup "github.com/sealq/sealq/examples/signup"
)

func TestTheLifeOfALogin(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := s.browser(t)

	if a := b.signup(t, "ada@app.example"); a.status != http.StatusOK || !a.says("a mail is on its way") {
		t.Fatalf("sign up: %d\n%s", a.status, a.body)
	}
	if a := b.login(t, "ada@app.example", password); a.status != http.StatusUnprocessableEntity {
		t.Errorf("log in before the address is confirmed: %d", a.status)
	}
	link := s.link(t, "ada@app.example", mailConfirm)
	if a := b.confirm(t, link, "short"); a.status != http.StatusUnprocessableEntity || !a.says("at least 8 characters") {
		t.Errorf("a password that is too short: %d", a.status)
	}
	if a := b.confirm(t, link, password); !a.says("Your address is confirmed") {
		t.Fatalf("confirm: %d\n%s", a.status, a.body)
	}
	if b.loggedIn(t) {
		t.Error("the link logged somebody in")
	}
	if a := b.confirm(t, link, password); a.status != http.StatusGone {
		t.Errorf("confirm twice: %d", a.status)
	}

	if a := b.login(t, "ada@app.example", password); a.path != "/account" || !a.says("logged in as ada@app.example") && !a.says(">ada@app.example<") {
		t.Fatalf("log in: %d %s\n%s", a.status, a.path, a.body)
	}
	if a := b.changePassword(t); a.path != "/account" || !a.says("Your password is changed") {
		t.Fatalf("change the password: %d\n%s", a.status, a.body)
	}
	if a := b.changeEmail(t, "countess@app.example", password2); a.path != "/account" || !a.says("mailed a link to the new address") {
		t.Fatalf("change the address: %d\n%s", a.status, a.body)
	}
	if a := b.get(t, "/account"); !a.says(">ada@app.example<") {
		t.Error("the address changed before the new one was confirmed")
	}
	link = s.link(t, "countess@app.example", mailNewEmail)
	s.link(t, "ada@app.example", mailIsToChange)
	if a := b.submit(t, b.open(t, link), "email", nil); !a.says("Your address is changed") {
		t.Fatalf("confirm the new address: %d\n%s", a.status, a.body)
	}
	s.link(t, "ada@app.example", mailWasChanged)
	if a := b.get(t, "/account"); !a.says(">countess@app.example<") {
		t.Errorf("the session does not go on under the new address: %s", a.path)
	}
	if a := b.send(t, http.MethodPost, "/logout", nil, nil); !a.says("You are logged out") || b.loggedIn(t) {
		t.Error("logged in after logging out")
	}

	b.forgot(t, "countess@app.example")
	link = s.link(t, "countess@app.example", mailReset)
	if a := b.submit(t, b.open(t, link), "reset", map[string]string{"new": "short"}); a.status != http.StatusUnprocessableEntity {
		t.Errorf("a password that is too short: %d", a.status)
	}
	if a := b.submit(t, b.open(t, link), "reset", map[string]string{"new": password}); !a.says("Your password is changed") {
		t.Fatalf("reset: %d\n%s", a.status, a.body)
	}
	if a := b.submit(t, b.open(t, link), "reset", map[string]string{"new": password2}); a.status != http.StatusGone {
		t.Errorf("reset twice: %d", a.status)
	}
	if a := b.login(t, "countess@app.example", password); a.path != "/account" {
		t.Errorf("log in with the new password: %d", a.status)
	}
}

func TestTheMailIsSentAgainWithTheSameLink(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := s.browser(t)
	b.signup(t, "ada@app.example")
	link := s.link(t, "ada@app.example", mailConfirm)
	b.submit(t, b.get(t, "/resend"), "resend", map[string]string{"email": "ada@app.example"})
	eventually(t, "a second mail", func() bool { return s.count("ada@app.example", mailConfirm) == 2 })
	if m := s.mails.Messages()[1]; m.Link() != link.String() {
		t.Errorf("the second mail has another link")
	}
}

func TestThePageForStaffNeedsTheRoleNow(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if a := s.browser(t).get(t, "/staff"); a.path != "/login" {
		t.Errorf("nobody is logged in: want the way to log in, got %s %d", a.path, a.status)
	}
	b := s.member(t, "ada@app.example")
	operator, user := s.users.Operator("test"), s.standing(t, "ada@app.example").UserID
	for _, step := range []struct {
		what   string
		change func(context.Context, *sql.Tx) error
		want   int
	}{
		{"no role", func(context.Context, *sql.Tx) error { return nil }, http.StatusForbidden},
		{"another role", func(ctx context.Context, tx *sql.Tx) error { return operator.Grant(ctx, tx, user, "guest") }, http.StatusForbidden},
		{"granted", func(ctx context.Context, tx *sql.Tx) error { return operator.Grant(ctx, tx, user, "staff") }, http.StatusOK},
		{"revoked", func(ctx context.Context, tx *sql.Tx) error { return operator.Revoke(ctx, tx, user, "staff") }, http.StatusForbidden},
	} {
		s.tx(t, step.change)
		if a := b.get(t, "/staff"); a.path != "/staff" || a.status != step.want {
			t.Errorf("%s: want %d, got %d %s", step.what, step.want, a.status, a.path)
		}
	}
}

var endButton = regexp.MustCompile(`name="session" value="([^"]+)">\s*<button class="plain">End( this session)?<`)

func TestSessionsAreListedAndEndedOneByOne(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	here, mallory := s.member(t, "ada@app.example"), s.member(t, "mallory@app.example")
	there, third := s.browser(t), s.browser(t)
	there.login(t, "ada@app.example", password)
	third.login(t, "ada@app.example", password)

	sessions := endButton.FindAllStringSubmatch(there.get(t, "/account").body, -1)
	if len(sessions) != 3 {
		t.Fatalf("want 3 sessions in the list, got %d", len(sessions))
	}
	var name string // of the session there
	for _, session := range sessions {
		if session[2] != "" {
			name = session[1]
		}
		if session[1] == there.token(t) {
			t.Error("the list shows a token")
		}
	}
	end := func(b *browser, name string) answer {
		return b.send(t, http.MethodPost, "/account/sessions", map[string][]string{"session": {name}}, nil)
	}
	end(mallory, name)
	if !there.loggedIn(t) {
		t.Fatal("a stranger ended the session")
	}
	if a := end(here, name); !a.says("The session has ended") {
		t.Errorf("end: %d\n%s", a.status, a.body)
	}
	if there.loggedIn(t) || !here.loggedIn(t) || !third.loggedIn(t) {
		t.Error("not exactly that session has ended")
	}
	own := endButton.FindAllStringSubmatch(third.get(t, "/account").body, -1)
	if len(own) != 2 {
		t.Fatalf("want 2 sessions in the list, got %d", len(own))
	}
	for _, session := range own {
		if session[2] != "" {
			end(third, session[1])
		}
	}
	if third.loggedIn(t) || !here.loggedIn(t) {
		t.Error("the session did not end itself alone")
	}
}

func TestAllOtherSessionsEndAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	here, mallory := s.member(t, "ada@app.example"), s.member(t, "mallory@app.example")
	others := []*browser{s.browser(t), s.browser(t)}
	for _, b := range others {
		b.login(t, "ada@app.example", password)
	}
	if a := here.submit(t, here.get(t, "/account"), "end-others", nil); a.path != "/account" || !a.says("All other sessions have ended") {
		t.Errorf("end all others: %d %s", a.status, a.path)
	}
	for _, b := range others {
		if b.loggedIn(t) {
			t.Error("another session goes on")
		}
	}
	if !here.loggedIn(t) || !mallory.loggedIn(t) {
		t.Error("this session has ended, or somebody else's")
	}
	if a := here.get(t, "/account"); len(endButton.FindAllString(a.body, -1)) != 1 || a.says("End all other") {
		t.Error("the list is not of this session alone")
	}
}

// sink is what the app prints.
type sink struct {
	mu   sync.Mutex
	text bytes.Buffer
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

func TestNothingButGoIsNeeded(t *testing.T) {
	t.Parallel()
	var out sink
	s := start(t, func(c *signup.Config) { c.Listen, c.RedisURL, c.SMTPURL, c.Out = "localhost:0", "", "", &out })
	b := s.browser(t)
	b.signup(t, "ada@app.example")
	link := regexp.MustCompile(`http://localhost:\d+/confirm\?key=\S+`)
	eventually(t, "the mail is printed", func() bool { return link.MatchString(out.String()) })
	if a := b.submit(t, b.get(t, link.FindString(out.String())), "confirm", map[string]string{"new": password}); a.status != http.StatusOK {
		t.Errorf("confirm: %d\n%s", a.status, a.body)
	}
}

func TestWhatCannotBeRunSaysWhy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config signup.Config
		want   string
	}{
		"a base URL with a path":   {signup.Config{BaseURL: "https://app.example/base"}, "not a scheme and a host"},
		"a base URL without host":  {signup.Config{BaseURL: "app.example"}, "with a host"},
		"a Redis URL that is none": {signup.Config{RedisURL: "http://:secret@app.example"}, "-redis-url is not a Redis URL"},
		"a place that is no place": {signup.Config{Listen: "nowhere"}, "listen"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.config.Dir, c.config.Accounts = t.TempDir(), cheap()
			if c.config.Listen == "" {
				c.config.Listen = "127.0.0.1:0"
			}
			err := signup.Run(t.Context(), c.config)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("want an error that says %q, got %v", c.want, err)
			}
		})
	}
}
