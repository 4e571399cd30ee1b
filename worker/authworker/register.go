package authworker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/sweep"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// Store is the database as the auth jobs need it.
type Store[Tx any] interface {
	worker.Ledger[Tx]
	ConfirmationMails
	AccountMails
	MailOutcomes[Tx]
	Sweeps[Tx]
}

// Config of the auth jobs.
type Config struct {
	// Keys derive the keys in links.
	Keys *signing.Keys
	// Sender delivers mail.
	Sender *mail.Sender
	// Templates of the mails. Zero: the package mail's own.
	Templates *mail.Templates
	// BaseURL is where links lead, such as "https://app.example". Links are never made from a request.
	BaseURL string
	// ConfirmPath is the page that takes the key as the query parameter "key". Zero: "/confirm".
	ConfirmPath string
	// ResetPath is the page that takes the key, and asks for a new password. Zero: "/reset".
	ResetPath string
	// EmailPath is the page that takes the key that confirms a change of address. Zero: "/email".
	EmailPath string
	// Product names the app in mails, at most 200 bytes. Zero: the base URL's host.
	Product string
	// MailDomain is what Message-IDs end in. Zero: the domain of Sender's address.
	MailDomain string
	// Server is the mail server's host, kept with each try. Zero: it is not.
	Server string
	// OnMail is told what became of each try of a mail, or why there was none. Zero: nobody is.
	OnMail func(ctx context.Context, o authjobs.MailOutcome)
	// Limits of the deployment: give every worker the same. Zero: none.
	Limits authjobs.MailLimits
	// Retention is how long what has ended is kept. Zero: see sweep.Retention.
	Retention sweep.Retention
	// OnSweep is told how far a sweep is, about each second and at its end. Zero: nobody is.
	OnSweep func(ctx context.Context, p sweep.Progress)
	// Lease is how long one run may hold a mail: at least 30 s longer than Sender.Timeout. Zero: mail:confirmation's timeout and a minute.
	Lease time.Duration
	// Now is the clock. Zero: time.Now.
	Now func() time.Time
	// Logger. Zero: nothing is logged.
	Logger *slog.Logger
}

// MailSystem is what the handlers call the mail server where they report an outage: it cannot be reached, refuses our credentials or our
// sender, or serves nobody.
const MailSystem = "smtp"

// MailKinds are the kinds that need the mail server: those of its worker.Breaker. users:answer is none of them, but is fetched from the same
// queue, and so waits with them while the breaker is open: the mail that it asks for could not be sent anyway. To fetch it past the breaker
// would fetch the mails too, each to be put off, and they would not all go at once when the server is back.
func MailKinds() []jobs.Kind {
	kinds := []jobs.Kind{authjobs.KindMailConfirmation}
	for _, def := range authjobs.AccountMails() {
		kinds = append(kinds, def.Kind())
	}
	return kinds
}

func (c Config) paths() paths {
	return paths{
		confirm: cmp.Or(c.ConfirmPath, "/confirm"), reset: cmp.Or(c.ResetPath, "/reset"), email: cmp.Or(c.EmailPath, "/email"),
	}
}

// Accounts is what the jobs ask the accounts for: an *accounts.Accounts[Tx]. Each call is in a transaction of its own.
type Accounts[Tx any] interface {
	// LiftLockouts clears up to limit lockouts whose time is over, and says how many.
	LiftLockouts(ctx context.Context, tx Tx, limit int) (int, error)
	// Answer does what somebody asked for by an address.
	Answer(ctx context.Context, tx Tx, requestID string) error
}

// Register adds the handlers of all auth kinds.
func Register[Tx any](h *worker.Handlers, s Store[Tx], a Accounts[Tx], c Config) error {
	if c.Keys == nil || c.Sender == nil {
		return errors.New("register auth jobs: they need keys and a mail sender")
	}
	if err := c.Retention.Check(); err != nil {
		return fmt.Errorf("register auth jobs: %w", err)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	mailer, err := newMailer(s, c)
	if err != nil {
		return fmt.Errorf("register auth jobs: %w", err)
	}
	worker.HandleEntering(h, authjobs.MailConfirmation(), mailer.confirm)
	for _, def := range authjobs.AccountMails() {
		worker.HandleEntering(h, def, mailer.account(def.Kind()))
	}
	worker.Handle(h, authjobs.Answer(), func(ctx context.Context, j worker.Job[authjobs.Request]) error {
		return s.InTx(ctx, func(tx Tx) error { return a.Answer(ctx, tx, j.Args.RequestID) })
	})
	handleSweeps(h, sweeper[Tx]{ledger: s, sweeps: s, logger: c.Logger, tell: c.OnSweep, now: c.Now}, a, c.Retention)
	return nil
}
