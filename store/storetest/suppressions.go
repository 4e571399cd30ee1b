package storetest

import (
	"errors"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs/authjobs"
)

// bounced is what a mail server says that knows no such mailbox.
func bounced() authjobs.MailAnswer {
	return authjobs.MailAnswer{Code: 550, Reply: "5.1.1 no such user\x00", Stage: "rcpt", Outcome: authjobs.MailPermanent, Bounced: true}
}

// suppressed lets the mail of a registration bounce.
func (s suite[Tx]) suppressed(address string) {
	s.Helper()
	must(s, s.DB.MailFailed(s.Context(), s.claimMail(mailClaim(s.save(newPending(address)))), bounced(), "smtp rcpt: 550"))
}

func (s suite[Tx]) suppressions(limit int) []authjobs.Suppression {
	s.Helper()
	list, err := s.DB.Suppressions(s.Context(), limit)
	must(s, err)
	return list
}

func (s suite[Tx]) wantSuppressed(c authjobs.MailClaim, claim func(c authjobs.MailClaim) error) (since time.Time) {
	s.Helper()
	err := claim(c)
	e, ok := errors.AsType[*authjobs.SuppressedError](err)
	if !ok {
		s.Fatalf("want a *SuppressedError, got %v", err)
	}
	equal(s, "reason", authjobs.ReasonHardBounce, e.Reason)
	equal(s, "code", 550, e.SMTPCode)
	return e.Since
}

func (s suite[Tx]) claims(c authjobs.MailClaim) error {
	_, err := s.DB.ClaimConfirmation(s.Context(), c)
	return err
}

func suppressionTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"an address that bounced is suppressed together with the record of the try", func(s suite[Tx]) {
			before := s.now()
			s.suppressed("da@example.org")
			list := s.suppressions(10)
			if len(list) != 1 {
				s.Fatalf("suppressions: %v", list)
			}
			near(s, "since", before, s.now(), list[0].Since)
			want := authjobs.Suppression{
				Address: "ada@example.org", Reason: authjobs.ReasonHardBounce, SMTPCode: 550, SMTPReply: "5.1.1 no such user\uFFFD", MailID: "mail-1", Since: list[0].Since,
			}
			if diff := cmp.Diff(want, list[0]); diff != "" {
				s.Errorf("-want +got:\n%s", diff)
			}
			one, err := s.DB.SuppressionOf(s.Context(), "ada@example.org")
			must(s, err)
			equal(s, "by its address", want, one)
			equal(s, "tries", "1", s.scalar("SELECT count(*) FROM mail_attempts"))
		}},
		{"another refusal suppresses nothing", func(s suite[Tx]) {
			full := bounced()
			full.Bounced = false
			must(s, s.DB.MailFailed(s.Context(), s.claimMail(mailClaim(s.save(newPending("da@example.org")))), full, "full"))
			equal(s, "suppressions", 0, len(s.suppressions(10)))
		}},
		{"no mail is claimed for a suppressed address, however it is spelt, and what was held is told", func(s suite[Tx]) {
			s.suppressed("da@example.org")
			p := newPending("da@example.org")
			p.Email, p.ReplaceLive = "ADA@Example.ORG", true
			saved := s.save(p)
			row := s.confirmationOf(saved)
			claim := mailClaim(saved)
			claim.MailID, claim.MessageID = row, "other@example.org"
			since := s.wantSuppressed(claim, s.claims)
			equal(s, "since", s.suppressions(1)[0].Since, since)
			s.wantSuppressed(claim, s.claims)
			h := s.mailOf(row)
			equal(s, "held by", authjobs.HeldBySuppressed, h.HeldBy)
			equal(s, "until", true, h.HeldUntil.IsZero() && h.LeaseUntil.IsZero() && h.FirstTry.IsZero())
			equal(s, "tries", 0, h.Tries)
			equal(s, "a cause", true, h.Cause != "")
			other := mailClaim(s.save(newPending("da@example.com")))
			other.MailID, other.MessageID = "mail-3", "third@example.org"
			s.claimMail(other)
		}},
		{"nor is a mail to the owner of an account", func(s suite[Tx]) {
			p := newPending("da@example.org")
			user := s.user(p)
			token := s.token(newReset(someone))
			claim := authjobs.MailClaim{
				MailID: "mail-1", UserID: user.ID, Mail: "password_reset", Generation: token.Generation, MessageID: "first@example.org", Lease: time.Minute,
			}
			claims := func(c authjobs.MailClaim) error {
				_, err := s.DB.ClaimAccountMail(s.Context(), c)
				return err
			}
			d, err := s.DB.ClaimAccountMail(s.Context(), claim)
			must(s, err)
			must(s, s.DB.MailFailed(s.Context(), d, bounced(), "no such user"))
			s.wantSuppressed(claim, claims)
			equal(s, "held by", "suppressed", s.scalar("SELECT held_by FROM mails"))
			s.tx(func(tx Tx) error { return s.DB.RemoveSuppression(s.Context(), tx, someone) })
			must(s, claims(claim))
		}},
		{"a mail that was sent, or is being sent, is told as such though its address is suppressed", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			d := s.claimMail(claim)
			must(s, s.DB.MailFailed(s.Context(), authjobs.MailDraft{MailID: "mail-1", To: "Ada@example.org", Try: 9}, bounced(), "another's"))
			s.wantLeased(claim)
			s.mailSent(d)
			want(s, s.claims(claim), authjobs.ErrSent)
		}},
		{"the first refusal stays, and the newest address is listed first", func(s suite[Tx]) {
			s.suppressed("da@example.org")
			s.backdate(2 * time.Minute)
			must(s, s.DB.MailFailed(s.Context(), authjobs.MailDraft{MailID: "mail-1", To: "ada@example.org", Try: 2}, authjobs.MailAnswer{Code: 551, Bounced: true}, "again"))
			must(s, s.DB.MailFailed(s.Context(), authjobs.MailDraft{MailID: "mail-1", To: "ada@example.com", Try: 3}, bounced(), "another"))
			list := s.suppressions(10)
			equal(s, "suppressions", 2, len(list))
			equal(s, "newest", "ada@example.com", list[0].Address)
			equal(s, "code of the first", 550, list[1].SMTPCode)
			equal(s, "limited", 1, len(s.suppressions(1)))
		}},
		{"an address that is taken off is mailed again, and its next try is counted on", func(s suite[Tx]) {
			s.suppressed("da@example.org")
			p := newPending("da@example.org")
			p.ReplaceLive = true
			claim := mailClaim(s.save(p))
			claim.MailID, claim.MessageID = "mail-2", "second@example.org"
			s.wantSuppressed(claim, s.claims)
			remove := func(address string) error {
				return s.DB.InTx(s.Context(), func(tx Tx) error { return s.DB.RemoveSuppression(s.Context(), tx, address) })
			}
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				must(s, s.DB.RemoveSuppression(s.Context(), tx, "ada@example.org"))
				return errRollback
			}), errRollback)
			s.wantSuppressed(claim, s.claims)
			must(s, remove("ada@example.org"))
			d := s.claimMail(claim)
			equal(s, "try", 1, d.Try)
			equal(s, "nothing holds it", "", s.scalar("SELECT held_by FROM mails WHERE id = 'mail-2'"))
			equal(s, "cause", "", s.scalar("SELECT cause FROM mails WHERE id = 'mail-2'"))
			for _, address := range []string{"ada@example.org", "", "a\x00b\xff"} {
				want(s, remove(address), authjobs.ErrNotSuppressed)
				_, err := s.DB.SuppressionOf(s.Context(), address)
				want(s, err, authjobs.ErrNotSuppressed)
			}
		}},
		{"suppressions are counted, and taken off the list, by code and by age, up to a number", func(s suite[Tx]) {
			refused := func(address string, code int) {
				must(s, s.DB.MailFailed(s.Context(), authjobs.MailDraft{MailID: "mail-1", To: address, Try: 1}, authjobs.MailAnswer{Code: code, Bounced: true}, "no"))
			}
			s.claimMail(mailClaim(s.save(newPending("da@example.org"))))
			refused("old@example.org", 550)
			s.backdate(time.Hour)
			refused("other@example.org", 551)
			refused("new@example.org", 550)
			recent := s.now().Add(-30 * time.Minute)
			for _, c := range []struct {
				filter authjobs.SuppressionFilter
				n      int64
			}{
				{authjobs.SuppressionFilter{}, 3},
				{authjobs.SuppressionFilter{SMTPCode: 550}, 2},
				{authjobs.SuppressionFilter{SMTPCode: 553}, 0},
				{authjobs.SuppressionFilter{Since: recent}, 2},
				{authjobs.SuppressionFilter{SMTPCode: 550, Since: recent}, 1},
				{authjobs.SuppressionFilter{Since: recent.Add(24 * time.Hour)}, 0},
			} {
				n, err := s.DB.CountSuppressions(s.Context(), c.filter)
				must(s, err)
				equal(s, "counted", c.n, n)
			}
			remove := func(f authjobs.SuppressionFilter, limit int) (n int64) {
				s.tx(func(tx Tx) (err error) {
					n, err = s.DB.RemoveSuppressions(s.Context(), tx, f, limit)
					return err
				})
				return n
			}
			equal(s, "of one code, lately", 1, remove(authjobs.SuppressionFilter{SMTPCode: 550, Since: recent}, 10))
			equal(s, "the rest", 2, len(s.suppressions(10)))
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				_, err := s.DB.RemoveSuppressions(s.Context(), tx, authjobs.SuppressionFilter{}, 10)
				must(s, err)
				return errRollback
			}), errRollback)
			equal(s, "up to a number", 1, remove(authjobs.SuppressionFilter{}, 1))
			equal(s, "the oldest first", "other@example.org", s.suppressions(10)[0].Address)
			equal(s, "all", 1, remove(authjobs.SuppressionFilter{}, 10))
			equal(s, "none", 0, remove(authjobs.SuppressionFilter{}, 10))
		}},
	}
}
