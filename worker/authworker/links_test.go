package authworker_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/authworker"
)

// The app's host stood in the Message-ID, which takes neither umlauts nor colons: each mail was refused for good.
func TestMailsGoOutWhateverHostTheAppHas(t *testing.T) {
	t.Parallel()
	for base, begin := range map[string]string{
		"https://bücher.example/shop": "https://xn--bcher-kva.example/shop/confirm?key=",
		"https://bücher.example:8443": "https://xn--bcher-kva.example:8443/confirm?key=",
		"http://[::1]:8080":           "http://[::1]:8080/confirm?key=",
		"http://192.0.2.1":            "http://192.0.2.1/confirm?key=",
		"http://my_app:8080":          "http://my_app:8080/confirm?key=",
	} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, nil, nil, func(c *authworker.Config) { c.BaseURL, c.MailDomain, c.Product = base, "", "" })
			s.register(t, ada)
			s.settled(t)
			if diff := cmp.Diff(map[authjobs.MailOutcome]int32{authjobs.MailDelivered: 1}, s.outcomes.all()); diff != "" {
				t.Fatalf("outcomes, -want +got:\n%s", diff)
			}
			m := s.mails.Messages()[0]
			if !strings.Contains(m.Text, begin) {
				t.Errorf("no link %s… in\n%s", begin, m.Text)
			}
			if id := m.Header.Get("Message-Id"); !strings.HasSuffix(id, "@app.example>") {
				t.Errorf("the Message-ID is %s, and the sender's domain app.example", id)
			}
		})
	}
}

func TestADomainThatNoMessageIDCanHaveIsToldBeforeAMailIsDue(t *testing.T) {
	t.Parallel()
	s := newSystem(t, nil, nil)
	sender, err := mail.NewSender(mail.Config{URL: s.mails.URL(), From: "no-reply@app.example"})
	check(t, err)
	t.Cleanup(sender.Close)
	for _, domain := range []string{"bücher.example", "::1", strings.Repeat("long.", 45) + "example"} {
		err := authworker.Register(worker.NewHandlers(worker.HandlersConfig{Outbox: s.db}), backend(s.db), s.accounts, authworker.Config{
			Keys: s.keys, Sender: sender, BaseURL: "https://app.example", MailDomain: domain,
		})
		if err == nil || !strings.Contains(err.Error(), "Message-ID") {
			t.Errorf("%s: %v", domain, err)
		}
	}
}

func TestALinkIsWhereItsMailLeads(t *testing.T) {
	t.Parallel()
	c := authworker.Config{BaseURL: "https://app.example/base", ResetPath: "/new/password"}
	for kind, want := range map[mail.Kind]string{
		mail.KindConfirmation:  "https://app.example/base/confirm?key=a-b",
		mail.KindPasswordReset: "https://app.example/base/new/password?key=a-b",
		mail.KindEmailChange:   "https://app.example/base/email?key=a-b",
		mail.KindLockoutNotice: "https://app.example/base",
	} {
		got, err := c.Link(kind, "a-b")
		check(t, err)
		if got != want {
			t.Errorf("%s: got %s, want %s", kind, got, want)
		}
	}
	for _, base := range []string{"", "app.example", "ftp://app.example", "https://-bücher.example"} {
		if _, err := (authworker.Config{BaseURL: base}).Link(mail.KindConfirmation, "a"); err == nil {
			t.Errorf("%q is taken", base)
		}
	}
}
