package authworker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

const (
	// leaseSlack is how much longer than any delivery a lease lasts: for what comes before it.
	leaseSlack = 30 * time.Second
	// lostPause is the pause before a mail is claimed again whose lease was lost. The claim then says until when another run has it.
	lostPause = 5 * time.Second
)

// mailer sends mails: each is claimed, written, sent and recorded.
type mailer[Tx any] struct {
	store     Store[Tx]
	keys      *signing.Keys
	sender    *mail.Sender
	templates *mail.Templates
	app       url.URL
	paths     paths
	product   string
	domain    string
	server    string
	lease     time.Duration
	limits    authjobs.MailLimits
	onMail    func(context.Context, authjobs.MailOutcome)
	logger    *slog.Logger
	now       func() time.Time
	taken     taken
}

func newMailer[Tx any](s Store[Tx], c Config) (*mailer[Tx], error) {
	app, host, err := parseApp(c.BaseURL)
	if err != nil {
		return nil, err
	}
	m := &mailer[Tx]{
		store: s, keys: c.Keys, sender: c.Sender, templates: c.Templates, app: app, paths: c.paths(),
		product: c.Product, domain: c.MailDomain, server: c.Server, lease: c.Lease, limits: c.Limits, onMail: c.OnMail, logger: c.Logger, now: c.Now,
	}
	if m.product == "" {
		m.product = host
	}
	if m.domain == "" {
		m.domain = c.Sender.Domain()
	}
	longest := c.Sender.Timeout()
	if kind := authjobs.MailConfirmation().Policy().Timeout; longest >= kind {
		return nil, fmt.Errorf("the mail server may take %v for one delivery, which is not less than the %v that a run of %s has: a delivery would be cut off; "+
			"shorten the SMTP URL's timeout", longest, kind, authjobs.KindMailConfirmation)
	}
	if m.lease == 0 {
		m.lease = authjobs.MailConfirmation().Policy().Timeout + time.Minute
	}
	if m.lease < longest+leaseSlack {
		return nil, fmt.Errorf("a lease of %v is too short for a mail server that may take %v for one delivery: another worker would send the mail too; "+
			"give Config.Lease at least %v, or shorten the SMTP URL's timeout", m.lease, longest, longest+leaseSlack)
	}
	if m.now == nil {
		m.now = time.Now
	}
	if m.onMail == nil {
		m.onMail = func(context.Context, authjobs.MailOutcome) {}
	}
	if m.templates == nil {
		if m.templates, err = mail.DefaultTemplates(); err != nil {
			return nil, err
		}
	}
	if err := m.templates.Check(m.product); err != nil { // now, and not when the first mail is due
		return nil, err
	}
	if err := mail.CheckID(m.messageID(strings.Repeat("x", longestMailID))); err != nil {
		return nil, fmt.Errorf("mail domain %q makes a Message-ID of which %w", m.domain, err)
	}
	return m, nil
}

// longestMailID is the length of a row's ID in the outbox, which is what a mail is called.
const longestMailID = 36

func (m *mailer[Tx]) messageID(mailID string) string { return mailID + "@" + m.domain }

// steps are what differs from one mail to another.
type steps struct {
	claim func(ctx context.Context) (authjobs.MailDraft, error)
	write func(ctx context.Context, d authjobs.MailDraft) (mail.Content, error)
	// wanted looks again, just before the mail leaves.
	wanted func(ctx context.Context, d authjobs.MailDraft) error
}

// deliver sends one mail: claim it, derive the link, send, record. The order is such that a crash between the server's 250 and its record is the
// only way to a second copy, which carries the same Message-ID. What ends before the server was asked says nothing of it.
func (m *mailer[Tx]) deliver(ctx context.Context, effect jobs.Effect, s steps) error {
	draft, err := s.claim(ctx)
	if leased, ok := errors.AsType[*authjobs.LeasedError](err); ok {
		return worker.Defer(leased.Until, err)
	}
	if limited, ok := errors.AsType[*authjobs.LimitedError](err); ok {
		m.onMail(ctx, authjobs.MailLimited)
		return worker.Defer(limited.Until, limited)
	}
	if _, suppressed := errors.AsType[*authjobs.SuppressedError](err); suppressed {
		m.onMail(ctx, authjobs.MailSuppressed)
		return notNeeded(m.close(ctx, effect, err))
	}
	if over(err) {
		return notNeeded(m.close(ctx, effect, err))
	}
	if err != nil {
		return fmt.Errorf("claim mail: %w", err)
	}
	content, err := s.write(ctx, draft)
	if err != nil {
		return notNeeded(m.failed(ctx, effect, draft, err))
	}
	message := mail.Message{
		ID: draft.MessageID, To: draft.To, Subject: content.Subject, Text: content.Text, HTML: content.HTML, Date: draft.Date,
	}
	asked := false
	answer, err := m.send(ctx, message, func(ctx context.Context) error { // the server has taken the recipient
		asked = true
		m.taken.note(draft.StartedAt)
		return s.wanted(ctx, draft)
	})
	if err == nil {
		return m.sent(ctx, effect, draft, answer)
	}
	failure, bySMTP := errors.AsType[*mail.SendError](err)
	if bySMTP {
		m.judge(ctx, draft, failure)
	}
	if err = m.failed(ctx, effect, draft, err); err != nil && (bySMTP && failure.Answered() || !bySMTP && asked) {
		return worker.Answered(MailSystem, err)
	}
	return err
}

// over says that there is nothing left to do for a mail.
func over(err error) bool {
	return errors.Is(err, authjobs.ErrNotWanted) || errors.Is(err, authjobs.ErrSent)
}

// notNeeded ends a job for which the mail server was not asked.
func notNeeded(err error) error {
	if err == nil {
		return worker.ErrNotNeeded
	}
	return err
}

// claim asks for the right to send the effect's mail.
func (m *mailer[Tx]) claim(effect jobs.Effect, generation uint64) authjobs.MailClaim {
	return authjobs.MailClaim{MailID: effect.ID, Generation: generation, MessageID: m.messageID(effect.ID), Lease: m.lease, Limits: m.limits}
}

// key derives the key of a link. Every try derives the same one, so that a link that is out stays good.
func (m *mailer[Tx]) key(d authjobs.MailDraft, purpose string) (key, kid string, err error) {
	var used signing.KID
	if d.KID != "" {
		if used, err = signing.ParseKID(d.KID); err != nil {
			return "", "", fmt.Errorf("account %s: %w", d.AccountID(), err)
		}
	}
	key, used, err = m.keys.Token(used, purpose, d.AccountID(), d.Generation, d.Nonce)
	if err != nil {
		return "", "", fmt.Errorf("derive key: %w", err)
	}
	return key, used.String(), nil
}

// link leads to the kind's page of the app, which takes the key.
func (m *mailer[Tx]) link(kind mail.Kind, key string) string {
	return linkTo(m.app, m.paths.of(kind), key)
}

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("stopped: %w", context.Cause(ctx))
	case <-timer.C:
		return nil
	}
}
