package testservers

import (
	"context"
	"os"
	"testing"

	"github.com/sealq/sealq/internal/testservers/instance"
)

// Postfix is a mail server for one test.
type Postfix struct{ server *instance.Postfix }

// PostfixConfig of a Postfix.
type PostfixConfig = instance.PostfixConfig

// NewPostfix gives t a Postfix until t ends. There is none where the tests do not run as root, since only root can start it, or where
// SEALQ_TEST_POSTFIX is none: what it shows has to be shown by another server, too.
func NewPostfix(t testing.TB, c PostfixConfig) (p *Postfix, there bool) {
	t.Helper()
	if os.Geteuid() != 0 || os.Getenv(PostfixEnv) == "none" {
		return nil, false
	}
	binary, err := fromEnv(PostfixEnv, instance.FindPostfix)
	if err != nil {
		t.Fatal(noPostfix)
	}
	server, err := instance.NewPostfix(t.Context(), binary, c)
	must(t, err)
	cleanup(t, func(context.Context) error { return server.Close() })
	return &Postfix{server}, true
}

// Addr is HOST:PORT.
func (p *Postfix) Addr() string { return p.server.Addr() }

// URL is the address as --smtp-url takes it.
func (p *Postfix) URL() string { return "smtp://" + p.server.Addr() + "?tls=none" }

// Mails are what it delivered to a mailbox, with the headers that it added, in no order.
func (p *Postfix) Mails(t testing.TB, mailbox string) [][]byte {
	t.Helper()
	mails, err := p.server.Mails(mailbox)
	must(t, err)
	return mails
}
