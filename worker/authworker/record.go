package authworker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/mail"
	"github.com/sealq/sealq/worker"
)

const (
	// recordFor is how long an accepted mail is tried to be recorded while the database is away: as good as for ever.
	// Not recording it is the one way to send it twice.
	recordFor = 24 * time.Hour
	// recordTry bounds one try of it: a host that vanishes with the record's transaction must not lock the mail for longer, and a statement
	// that was lost on its way is to be said again.
	recordTry = 30 * time.Second
	// mostCopies is how many times a mail is sent whole whose answer never comes. A server, or a firewall before it, that drops each answer
	// would else have a reader get the mail with every try.
	mostCopies = 3
)

// sent records the acceptance together with the ledger's entry and the outbox row, and does not give up while
// the database is away: the mail is out.
func (m *mailer[Tx]) sent(ctx context.Context, e jobs.Effect, d authjobs.MailDraft, a mail.Answer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordFor)
	defer cancel()
	m.onMail(ctx, authjobs.MailDelivered)
	for try := 1; ; try++ {
		copies, err := m.record(ctx, e, d, a)
		if err == nil {
			if copies > 1 {
				m.logger.ErrorContext(ctx, "mail was sent, and had been sent by another run before: its reader has more than one copy",
					slog.String("mail", d.MailID), slog.Int("copies", copies), slog.Int("smtp_code", a.Code))
			} else {
				m.logger.InfoContext(ctx, "mail sent", slog.String("mail", d.MailID), slog.Int("smtp_code", a.Code))
			}
			return nil
		}
		m.logger.ErrorContext(ctx, "mail was accepted but cannot be recorded, trying again",
			slog.String("mail", d.MailID), slog.Int("try", try), slog.Any("error", err))
		if waitErr := rest(ctx, jobs.WithJitter(min(100*time.Millisecond<<min(try, 6), 5*time.Second))); waitErr != nil {
			return fmt.Errorf("record accepted mail: %w", err)
		}
	}
}

// record records the acceptance once, and says how many acceptances of the mail there are.
func (m *mailer[Tx]) record(ctx context.Context, e jobs.Effect, d authjobs.MailDraft, a mail.Answer) (copies int, err error) {
	ctx, cancel := context.WithTimeout(ctx, recordTry)
	defer cancel()
	sent := func(ctx context.Context, tx Tx) error {
		return m.store.MailSent(ctx, tx, d, authjobs.MailAnswer{
			Code: a.Code, Reply: a.Reply, Server: m.server, Outcome: authjobs.MailDelivered,
		})
	}
	done, err := m.store.Once(ctx, e, sent)
	if err != nil || !done {
		return 1, err
	}
	// Another run has entered the effect: with an acceptance of its own, because the mail was not wanted any more, or it was this one,
	// whose commit's answer was lost.
	if err := m.store.InTx(ctx, func(tx Tx) error { return sent(ctx, tx) }); err != nil {
		return 0, err
	}
	return m.tries(ctx, d, authjobs.MailDelivered)
}

// tries counts the tries of a mail that ended so.
func (m *mailer[Tx]) tries(ctx context.Context, d authjobs.MailDraft, outcome authjobs.MailOutcome) (n int, err error) {
	tries, err := m.store.AttemptsOf(ctx, d.MailID)
	for _, t := range tries {
		if t.Outcome == outcome {
			n++
		}
	}
	return n, err
}

// failed records a try that did not succeed and says what comes of the job.
func (m *mailer[Tx]) failed(ctx context.Context, e jobs.Effect, d authjobs.MailDraft, err error) error {
	answer := authjobs.MailAnswer{Outcome: authjobs.MailError}
	failure, bySMTP := errors.AsType[*mail.SendError](err)
	switch {
	case bySMTP:
		answer = authjobs.MailAnswer{
			Code: failure.Code, Reply: failure.Reply, Server: m.server, Stage: string(failure.Stage), Outcome: authjobs.MailOutcome(failure.Outcome),
			Bounced: failure.HardBounce() && speltAsNormed(d.To),
		}
	case over(err):
		answer.Outcome = authjobs.MailWithdrawn
	}
	m.onMail(ctx, answer.Outcome)
	if recordErr := m.store.MailFailed(context.WithoutCancel(ctx), d, answer, err.Error()); recordErr != nil {
		err = errors.Join(err, fmt.Errorf("record failed mail: %w", recordErr))
	}
	switch {
	case over(err):
		return m.close(ctx, e, err)
	case errors.Is(err, authjobs.ErrLeaseLost):
		return worker.Defer(m.now().Add(jobs.WithJitter(lostPause)), err)
	case !bySMTP: // ours, or the database's
		return err
	case failure.Outage(): // no recipient is to blame, and no try is used up
		m.logger.ErrorContext(ctx, "the mail server cannot be used, mails wait", slog.Any("error", err))
		return worker.Outage(MailSystem, err)
	case failure.Outcome == mail.OutcomePermanent:
		return worker.Permanent(err)
	case failure.Outcome == mail.OutcomeAmbiguous:
		return m.perhaps(ctx, d, err)
	}
	return err // again, with the same Message-ID
}

// perhaps says what comes of a mail that may have been sent: a further copy, but for a few.
func (m *mailer[Tx]) perhaps(ctx context.Context, d authjobs.MailDraft, err error) error {
	copies, countErr := m.tries(context.WithoutCancel(ctx), d, authjobs.MailAmbiguous)
	switch {
	case countErr != nil:
		return errors.Join(err, fmt.Errorf("count copies: %w", countErr))
	case copies < mostCopies:
		return err
	}
	return worker.Permanent(fmt.Errorf("the mail was sent whole %d times and may have arrived as often, but no answer came: "+
		"ask the mail server's log for its Message-ID; a reissue sends one copy more: %w", copies, err))
}

// speltAsNormed says that the address is spelt as it is normalised, but for its domain. Of another spelling a server may say that there is no such
// mailbox where it knows the normal one, which must not suffer for it.
func speltAsNormed(address string) bool {
	email, err := accounts.ParseEmail(address)
	if err != nil {
		return false
	}
	return mailbox(address) == mailbox(email.Norm())
}

// close ends a job that has nothing left to do.
func (m *mailer[Tx]) close(ctx context.Context, e jobs.Effect, why error) error {
	m.logger.InfoContext(ctx, "no mail to send", slog.String("mail", e.ID), slog.String("why", why.Error()))
	_, err := m.store.Once(ctx, e, func(context.Context, Tx) error { return nil })
	return err
}
