package main_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
	signup "github.com/sealq/sealq/examples/signup"
)

func TestOpeningALinkDoesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	scanner := s.browser(t)
	open := func(link *url.URL) {
		t.Helper()
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
			scanner.send(t, method, link.RequestURI(), nil, nil)
		}
	}
	b := s.browser(t)
	b.signup(t, "ada@app.example")
	link := s.link(t, "ada@app.example", mailConfirm)
	open(link)
	if got := s.standing(t, "ada@app.example").Status; got != accounts.StandingPending {
		t.Fatalf("the account is %s after its link was looked at", got)
	}
	b.confirm(t, link, password)
	b.login(t, "ada@app.example", password)

	b.changeEmail(t, "countess@app.example", password)
	link = s.link(t, "countess@app.example", mailNewEmail)
	open(link)
	if got := s.standing(t, "countess@app.example").Status; got != accounts.StandingNone {
		t.Fatalf("the new address is %s after its link was looked at", got)
	}
	b.forgot(t, "ada@app.example")
	link = s.link(t, "ada@app.example", mailReset)
	open(link)
	if !b.loggedIn(t) {
		t.Error("looking at the link of a reset ended sessions")
	}
	if a := b.submit(t, b.open(t, link), "reset", map[string]string{"new": password2}); a.status != http.StatusOK {
		t.Errorf("the link does not work after it was looked at: %d", a.status)
	}
}

func TestKnownAndUnknownAddressesGetOneReply(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.activate(t, "active@app.example")
	s.browser(t).signup(t, "pending@app.example")
	s.link(t, "pending@app.example", mailConfirm)
	for _, path := range []string{"/signup", "/resend", "/forgot"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			var first *answer
			for _, who := range []string{"unknown", "pending", "active"} {
				a := s.browser(t).send(t, http.MethodPost, path, url.Values{"email": {who + "@app.example"}, "new": {password2}}, nil)
				a.header.Del("Date")
				if first == nil {
					first = &a
				}
				if a.status != http.StatusOK {
					t.Errorf("%s: status %d", who, a.status)
				}
				if diff := cmp.Diff(first, &a, cmp.AllowUnexported(answer{})); diff != "" {
					t.Errorf("%s gets another reply (-unknown +%s):\n%s", who, who, diff)
				}
			}
		})
	}
	// The form comes back with the address that was typed: it stands for itself.
	t.Run("/login", func(t *testing.T) {
		t.Parallel()
		for _, who := range []string{"disabled", "locked"} {
			s.activate(t, who+"@app.example")
		}
		operator, disabled := s.users.Operator("test"), s.standing(t, "disabled@app.example").UserID
		s.tx(t, func(ctx context.Context, tx *sql.Tx) error {
			return errors.Join(operator.Disable(ctx, tx, disabled), operator.Lock(ctx, tx, "locked@app.example", time.Hour))
		})
		var first *answer
		for _, try := range []struct{ who, password string }{
			{"unknown", password2}, {"pending", password2}, {"pending", password}, {"active", password2}, {"disabled", password}, {"locked", password},
		} {
			email := try.who + "@app.example"
			a := s.browser(t).send(t, http.MethodPost, "/login", url.Values{"email": {email}, "password": {try.password}}, nil)
			a.header.Del("Date")
			a.header.Del("Content-Length")
			a.body = strings.ReplaceAll(a.body, email, "ADDRESS")
			if first == nil {
				first = &a
			}
			if a.status != http.StatusUnprocessableEntity {
				t.Errorf("%s: status %d", try.who, a.status)
			}
			if diff := cmp.Diff(first, &a, cmp.AllowUnexported(answer{})); diff != "" {
				t.Errorf("%s gets another reply (-unknown +%s):\n%s", try.who, try.who, diff)
			}
		}
	})
	t.Run("the owner is told", func(t *testing.T) {
		t.Parallel()
		s.browser(t).signup(t, "active@app.example")
		s.link(t, "active@app.example", mailExists)
	})
}

// While somebody else writes, nothing that writes gets on: a reply that comes all the same has not waited, whatever there was to write.
func TestNoReplyWaitsForWhatAKnownAddressNeeds(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.activate(t, "ada@app.example")
	s.browser(t).signup(t, "pending@app.example")
	s.link(t, "pending@app.example", mailConfirm)
	s.tx(t, func(context.Context, *sql.Tx) error {
		for _, ask := range []struct{ path, email string }{
			{"/forgot", "ada@app.example"},
			{"/resend", "pending@app.example"},
			{"/signup", "ada@app.example"},
			{"/signup", "new@app.example"},
		} {
			a := s.browser(t).send(t, http.MethodPost, ask.path, url.Values{"email": {ask.email}}, nil) //nolint:contextcheck // the test's own
			if a.status != http.StatusOK || s.count(ask.email, mailReset) > 0 {
				t.Errorf("%s: status %d", ask.path, a.status)
			}
		}
		return nil
	})
	s.link(t, "ada@app.example", mailReset)
	s.link(t, "ada@app.example", mailExists)
	s.link(t, "new@app.example", mailConfirm)
	eventually(t, "the confirmation comes again", func() bool { return s.count("pending@app.example", mailConfirm) == 2 })
}

// Mallory signs up with Ada's address, with every field that there ever was, and keeps on having the mail sent again.
func TestWhoeverSignsUpWithAnAddressFirstHasNoPasswordInTheAccountThatItsOwnerConfirms(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *signup.Config) { c.Accounts.MailEvery = 0 }) // as it is by default: what the owner asks for in between is not mailed
	const mallorys = "the password of Mallory"
	mallory, ada := s.browser(t), s.browser(t)
	post := func(path string) {
		t.Helper()
		fields := url.Values{"email": {"ada@app.example"}, "new": {mallorys}, "password": {mallorys}}
		if a := mallory.send(t, http.MethodPost, path, fields, nil); a.status != http.StatusOK {
			t.Errorf("%s: status %d", path, a.status)
		}
	}
	post("/signup")
	link := s.link(t, "ada@app.example", mailConfirm)
	ada.signup(t, "ada@app.example")
	post("/resend")
	post("/signup")
	if a := ada.confirm(t, link, password); !a.says("Your address is confirmed") {
		t.Fatalf("confirm: %d\n%s", a.status, a.body)
	}
	if a := mallory.login(t, "ada@app.example", mallorys); a.path == "/account" {
		t.Error("Mallory is in with a password of hers")
	}
	if a := ada.login(t, "ada@app.example", password); a.path != "/account" {
		t.Errorf("Ada is not in with her own: %d\n%s", a.status, a.body)
	}
}

func TestAPoisonedHostLeadsNobodyAstray(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *signup.Config) { c.BaseURL = "http://app.example" })
	poison := func(r *http.Request) {
		r.Host = "evil.example"
		for _, name := range []string{"X-Forwarded-Host", "X-Host", "X-Original-Host"} {
			r.Header.Set(name, "evil.example")
		}
		r.Header.Set("Forwarded", "host=evil.example")
	}
	b := s.browser(t)
	post := func(path string, fields url.Values) {
		t.Helper()
		b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		a := b.send(t, http.MethodPost, path, fields, poison)
		b.client.CheckRedirect = nil
		for _, values := range a.header {
			if strings.Contains(strings.Join(values, " "), "evil") {
				t.Errorf("%s: a header of the reply repeats the host: %v", path, values)
			}
		}
		if strings.Contains(a.body, "evil") {
			t.Errorf("%s: the page repeats the host", path)
		}
	}
	leadsHome := func(to, subject string) *url.URL {
		t.Helper()
		link := s.link(t, to, subject)
		if got := link.Scheme + "://" + link.Host; got != s.base {
			t.Errorf("the link of %q leads to %s", subject, got)
		}
		return link
	}
	post("/signup", url.Values{"email": {"ada@app.example"}})
	post("/confirm", url.Values{"key": leadsHome("ada@app.example", mailConfirm).Query()["key"], "new": {password}})
	post("/login", url.Values{"email": {"ada@app.example"}, "password": {password}})
	post("/account/email", url.Values{"email": {"countess@app.example"}, "password": {password}})
	leadsHome("countess@app.example", mailNewEmail)
	post("/forgot", url.Values{"email": {"ada@app.example"}})
	leadsHome("ada@app.example", mailReset)
	post("/signup", url.Values{"email": {"ada@app.example"}})
	leadsHome("ada@app.example", mailExists)
	for _, m := range s.mails.Messages() {
		if strings.Contains(string(m.Data), "evil") {
			t.Errorf("the mail %q repeats the host", m.Subject)
		}
	}
}

func TestAPlantedSessionIsNotTheOneThatLogsIn(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	mallory := s.member(t, "mallory@app.example")
	s.activate(t, "ada@app.example")
	for name, planted := range map[string]string{"made up": "bWFkZS11cC1ieS1zb21lYm9keS1lbHNlLTEyMzQ1Njc", "of somebody else": mallory.token(t)} {
		b := s.browser(t)
		b.plant(t, planted)
		if a := b.login(t, "ada@app.example", password); !a.says(">ada@app.example<") {
			t.Fatalf("%s: log in: %d %s", name, a.status, a.path)
		}
		if b.token(t) == planted {
			t.Errorf("%s: the planted token goes on", name)
		}
		other := s.browser(t)
		other.plant(t, planted)
		if other.loggedIn(t) {
			t.Errorf("%s: the planted token opens a session", name)
		}
	}
}

func TestEveryChangeOfPrivilegeBringsANewToken(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := s.member(t, "ada@app.example")
	b.changeEmail(t, "countess@app.example", password)
	link := s.link(t, "countess@app.example", mailNewEmail)
	for _, step := range []struct {
		what   string
		change func()
	}{
		{"address", func() { b.submit(t, b.open(t, link), "email", nil) }},
		{"log in again", func() { b.login(t, "countess@app.example", password) }},
		{"password", func() { b.changePassword(t) }},
		{"log out", func() { b.send(t, http.MethodPost, "/logout", nil, nil) }},
	} {
		old := b.token(t)
		step.change()
		if step.what != "log out" && (b.token(t) == old || !b.loggedIn(t)) {
			t.Errorf("%s: the token is the same, or the session is over", step.what)
		}
		s.isOver(t, step.what, old)
	}
}

// isOver says so if a token opens anything.
func (s *system) isOver(t *testing.T, what, token string) {
	t.Helper()
	thief := s.browser(t)
	thief.plant(t, token)
	if thief.loggedIn(t) {
		t.Errorf("%s: the old token opens the account", what)
	}
}

func TestSessionsDieWithTheirPassword(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	here := s.member(t, "ada@app.example")
	there := s.browser(t)
	there.login(t, "ada@app.example", password)
	here.changePassword(t)
	if there.loggedIn(t) || !here.loggedIn(t) {
		t.Error("another password: not exactly the other session has ended")
	}
	s.link(t, "ada@app.example", mailChanged) // the owner is told

	there.login(t, "ada@app.example", password2)
	stranger := s.browser(t)
	stranger.forgot(t, "ada@app.example")
	stranger.submit(t, stranger.open(t, s.link(t, "ada@app.example", mailReset)), "reset", map[string]string{"new": password})
	if there.loggedIn(t) || here.loggedIn(t) || stranger.loggedIn(t) {
		t.Error("a reset leaves a session")
	}

	here.login(t, "ada@app.example", password)
	user := s.standing(t, "ada@app.example").UserID
	s.tx(t, func(ctx context.Context, tx *sql.Tx) error { return s.users.Operator("test").Disable(ctx, tx, user) })
	if here.loggedIn(t) {
		t.Error("the session of a disabled account goes on")
	}
	s.tx(t, func(ctx context.Context, tx *sql.Tx) error { return s.users.Operator("test").Enable(ctx, tx, user) })
	if here.loggedIn(t) {
		t.Error("the session comes back with the account")
	}
}

func TestAStaleChangeOfAddressDoesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := s.member(t, "ada@app.example")
	b.changeEmail(t, "first@app.example", password)
	first := s.link(t, "first@app.example", mailNewEmail)
	b.changeEmail(t, "second@app.example", password)
	second := s.link(t, "second@app.example", mailNewEmail)
	s.activate(t, "taken@app.example")

	refused := func(what string, link *url.URL) {
		t.Helper()
		if a := b.submit(t, b.open(t, link), "email", nil); a.status != http.StatusGone {
			t.Errorf("%s: %d\n%s", what, a.status, a.body)
		}
		if got := s.standing(t, "ada@app.example").Status; got != accounts.StandingActive {
			t.Fatalf("%s: the old address is %s", what, got)
		}
	}
	refused("another change was asked for since", first)
	b.changePassword(t)
	refused("the password was changed since", second)
	b.changeEmail(t, "taken@app.example", password2)
	refused("somebody has the address", s.link(t, "taken@app.example", mailNewEmail))
	if a := b.changeEmail(t, "third@app.example", password); a.status != http.StatusUnprocessableEntity || !a.says("not your password") {
		t.Errorf("without the password: %d", a.status)
	}
	if n := s.count("third@app.example", ""); n != 0 {
		t.Errorf("%d mails were sent without the password", n)
	}
}

func TestAStrangerLocksNobodyOutOfHisOwnBrowser(t *testing.T) {
	t.Parallel()
	for name, devices := range map[string]bool{"with devices": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, func(c *signup.Config) { c.Devices = devices })
			owner, stranger := s.member(t, "ada@app.example"), s.browser(t)
			device := owner.cookies(t)["device"]
			if (device != "") != devices {
				t.Fatalf("device cookie %q", device)
			}
			for range 6 {
				stranger.login(t, "ada@app.example", "a wrong password")
			}
			if a := owner.changeEmail(t, "countess@app.example", password); a.says("mailed a link to the new address") != devices {
				t.Errorf("the owner, who is logged in, gets %d %s when he gives his password", a.status, a.path)
			}
			owner.send(t, http.MethodPost, "/logout", nil, nil)
			for range 6 {
				stranger.login(t, "ada@app.example", "a wrong password")
			}
			if a := stranger.login(t, "ada@app.example", password); a.status != http.StatusUnprocessableEntity {
				t.Errorf("the address is not locked: %d", a.status)
			}
			if a := owner.login(t, "ada@app.example", password); (a.path == "/account") != devices {
				t.Errorf("the owner's own browser gets %d %s", a.status, a.path)
			}
		})
	}
}
