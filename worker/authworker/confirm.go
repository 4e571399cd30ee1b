package authworker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/worker"
)

// purposeConfirmation names what a link's token is for; a token for one purpose is none for another.
const purposeConfirmation = "confirmation"

const (
	// busy is what a mail server answers that serves nobody now (RFC 5321, section 3.8).
	busy = 421
	// recordFor is how long an accepted mail is tried to be recorded while the database is away: as good as for ever.
	// Not recording it is the one way to send it twice.
	recordFor = 24 * time.Hour
)

// confirmer mails confirmations.
type confirmer[Tx any] struct {
	store     Store[Tx]
	keys      *signing.Keys
	sender    *mail.Sender
	templates *mail.Templates
	link      url.URL // without its key
	product   string
	domain    string
	lease     time.Duration
	logger    *slog.Logger
}

func newConfirmer[Tx any](s Store[Tx], c Config) (*confirmer[Tx], error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("base URL %q: it must be http:// or https:// with a host", c.BaseURL)
	}
	if c.ConfirmPath == "" {
		c.ConfirmPath = "/confirm"
	}
	m := &confirmer[Tx]{
		store: s, keys: c.Keys, sender: c.Sender, templates: c.Templates, link: *base.JoinPath(c.ConfirmPath),
		product: c.Product, domain: c.MailDomain, lease: c.Lease, logger: c.Logger,
	}
	if m.product == "" {
		m.product = base.Hostname()
	}
	if m.domain == "" {
		m.domain = base.Hostname()
	}
	if m.lease == 0 {
		m.lease = authjobs.MailConfirmation().Policy().Timeout + time.Minute
	}
	if m.templates == nil {
		if m.templates, err = mail.DefaultTemplates(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// confirm sends one confirmation mail: claim it, derive the link, send, record. The order is such that a crash
// between the server's 250 and its record is the only way to a second copy, which carries the same Message-ID.
func (m *confirmer[Tx]) confirm(ctx context.Context, j worker.Job[authjobs.Confirmation]) error {
	effect := j.Effect()
	draft, err := m.store.ClaimConfirmation(ctx, authjobs.MailClaim{
		MailID: effect.ID, PendingID: j.Args.PendingID, Generation: j.Args.Generation,
		MessageID: effect.ID + "@" + m.domain, Lease: m.lease,
	})
	if leased, ok := errors.AsType[*authjobs.LeasedError](err); ok {
		return worker.Defer(leased.Until, err)
	}
	if errors.Is(err, authjobs.ErrNotWanted) || errors.Is(err, authjobs.ErrSent) {
		return m.close(ctx, effect, err)
	}
	if err != nil {
		return fmt.Errorf("claim mail: %w", err)
	}
	message, err := m.write(ctx, draft)
	if err != nil {
		return m.failed(ctx, effect, draft, err)
	}
	answer, err := m.send(ctx, message, func(ctx context.Context) error {
		return m.store.ConfirmationWanted(ctx, draft)
	})
	if err != nil {
		return m.failed(ctx, effect, draft, err)
	}
	return m.sent(ctx, effect, draft, answer)
}

// write derives the link's key and renders the mail. Every try derives the same key, so that a link that is out
// stays good.
func (m *confirmer[Tx]) write(ctx context.Context, d authjobs.MailDraft) (mail.Message, error) {
	var kid signing.KID
	if d.KID != "" {
		var err error
		if kid, err = signing.ParseKID(d.KID); err != nil {
			return mail.Message{}, fmt.Errorf("pending user %s: %w", d.PendingID, err)
		}
	}
	key, kid, err := m.keys.Token(kid, purposeConfirmation, d.PendingID, d.Generation, d.Nonce)
	if err != nil {
		return mail.Message{}, fmt.Errorf("derive activation key: %w", err)
	}
	if err := m.store.BindActivationKey(ctx, d, kid.String(), accounts.KeyHash(key)); err != nil {
		return mail.Message{}, fmt.Errorf("bind activation key: %w", err)
	}
	link := m.link
	link.RawQuery = url.Values{"key": {key}}.Encode()
	content, err := m.templates.Confirmation(mail.ConfirmationData{Product: m.product, Link: link.String(), ExpiresAt: d.ExpiresAt})
	if err != nil {
		return mail.Message{}, fmt.Errorf("write mail: %w", err)
	}
	return mail.Message{
		ID: d.MessageID, To: d.To, Subject: content.Subject, Text: content.Text, HTML: content.HTML, Date: d.Date,
	}, nil
}

// sent records the acceptance together with the ledger's entry and the outbox row, and does not give up while
// the database is away: the mail is out.
func (m *confirmer[Tx]) sent(ctx context.Context, e jobs.Effect, d authjobs.MailDraft, a mail.Answer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordFor)
	defer cancel()
	for try := 1; ; try++ {
		done, err := m.store.Once(ctx, e, func(ctx context.Context, tx Tx) error {
			return m.store.MailSent(ctx, tx, d, authjobs.MailAnswer{Code: a.Code, Reply: a.Reply})
		})
		if err == nil && done {
			m.logger.ErrorContext(ctx, "mail was sent, and had been recorded by another run before: its reader has two copies",
				slog.String("mail", d.MailID), slog.Int("smtp_code", a.Code))
			return nil
		}
		if err == nil {
			m.logger.InfoContext(ctx, "mail sent", slog.String("mail", d.MailID), slog.Int("smtp_code", a.Code))
			return nil
		}
		m.logger.ErrorContext(ctx, "mail was accepted but cannot be recorded, trying again",
			slog.String("mail", d.MailID), slog.Int("try", try), slog.Any("error", err))
		if waitErr := rest(ctx, jobs.WithJitter(min(100*time.Millisecond<<min(try, 6), 5*time.Second))); waitErr != nil {
			return fmt.Errorf("record accepted mail: %w", err)
		}
	}
}

// failed records a try that did not succeed and says what comes of the job.
func (m *confirmer[Tx]) failed(ctx context.Context, e jobs.Effect, d authjobs.MailDraft, err error) error {
	var answer authjobs.MailAnswer
	failure, bySMTP := errors.AsType[*mail.SendError](err)
	if bySMTP {
		answer = authjobs.MailAnswer{Code: failure.Code, Reply: failure.Reply}
	}
	if recordErr := m.store.MailFailed(context.WithoutCancel(ctx), d, answer, err.Error()); recordErr != nil {
		err = errors.Join(err, fmt.Errorf("record failed mail: %w", recordErr))
	}
	switch {
	case errors.Is(err, authjobs.ErrNotWanted):
		return m.close(ctx, e, err)
	case bySMTP && failure.Outcome == mail.OutcomePermanent:
		return worker.Permanent(err)
	case bySMTP && (failure.Outcome == mail.OutcomeConfiguration || failure.Code == busy):
		// No recipient is to blame, and no try is used up.
		m.logger.ErrorContext(ctx, "the mail server cannot be used, mails wait", slog.Any("error", err))
		return worker.Outage(MailSystem, err)
	default: // temporary, ambiguous or the database: again, with the same Message-ID
		return err
	}
}

// close ends a job that has nothing left to do.
func (m *confirmer[Tx]) close(ctx context.Context, e jobs.Effect, why error) error {
	m.logger.InfoContext(ctx, "no mail to send", slog.String("mail", e.ID), slog.String("why", why.Error()))
	_, err := m.store.Once(ctx, e, func(context.Context, Tx) error { return nil })
	return err
}
