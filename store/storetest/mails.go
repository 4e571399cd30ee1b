package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
)

// accepted is what a mail server says that has taken a mail.
func accepted() authjobs.MailAnswer {
	return authjobs.MailAnswer{Code: 250, Reply: "2.0.0 queued as 4711"}
}

// mailClaim asks for the mail "mail-1" of a registration, for a minute.
func mailClaim(saved accounts.SavedPending) authjobs.MailClaim {
	return authjobs.MailClaim{
		MailID: "mail-1", PendingID: saved.ID, Generation: saved.Generation, MessageID: "first@example.org", Lease: time.Minute,
	}
}

func (s suite[Tx]) claimMail(c authjobs.MailClaim) authjobs.MailDraft {
	s.Helper()
	d, err := s.DB.ClaimConfirmation(s.Context(), c)
	must(s, err)
	return d
}

func (s suite[Tx]) mailSent(d authjobs.MailDraft) {
	s.Helper()
	s.tx(func(tx Tx) error { return s.DB.MailSent(s.Context(), tx, d, accepted()) })
}

// wantLeased holds a claim to be in another's hands.
func (s suite[Tx]) wantLeased(c authjobs.MailClaim) (until time.Time) {
	s.Helper()
	return s.wantLeasedErr(s.claims(c))
}

func (s suite[Tx]) wantLeasedErr(err error) (until time.Time) {
	s.Helper()
	leased, ok := errors.AsType[*authjobs.LeasedError](err)
	if !ok {
		s.Fatalf("want a *LeasedError, got %v", err)
	}
	return leased.Until
}

func mailTests[Tx any]() []test[Tx] {
	return slices.Concat(mailClaimTests[Tx](), mailLeaseTests[Tx](), mailOutcomeTests[Tx]())
}

func mailClaimTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"the first claim makes the mail of the registration as it stands", func(s suite[Tx]) {
			p := newPending("da@example.org")
			saved := s.save(p)
			before := s.now()
			d := s.claimMail(mailClaim(saved))
			near(s, "date", before, s.now(), d.Date)
			equal(s, "expires_at", saved.ExpiresAt, d.ExpiresAt)
			equal(s, "nonce", true, bytes.Equal(p.Nonce, d.Nonce))
			equal(s, "to", p.Email, d.To)
			equal(s, "message ID", "first@example.org", d.MessageID)
			equal(s, "mail", "mail-1", d.MailID)
			equal(s, "registration", saved, accounts.SavedPending{ID: d.PendingID, Generation: d.Generation, ExpiresAt: d.ExpiresAt})
			equal(s, "kid", "", d.KID)
			equal(s, "a lease token", true, d.LeaseToken != "")
		}},
		{"a lease keeps others off until it ends by itself, and the mail stays the same", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			before := s.now()
			first := s.claimMail(claim)
			near(s, "lease", before.Add(time.Minute), s.now().Add(time.Minute), s.wantLeased(claim))
			s.backdate(time.Minute)
			claim.MessageID = "second@example.org"
			second := s.claimMail(claim)
			equal(s, "message ID", "first@example.org", second.MessageID)
			equal(s, "date", first.Date.Add(-time.Minute), second.Date)
			equal(s, "the token is another", true, first.LeaseToken != second.LeaseToken)
			s.wantLeased(claim)
		}},
		{"of twenty claims at once one gets the lease", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			won := 0
			for _, err := range race(20, func(int) error {
				_, err := s.DB.ClaimConfirmation(s.Context(), claim)
				return err
			}) {
				leased, lost := errors.AsType[*authjobs.LeasedError](err)
				switch {
				case err == nil:
					won++
				case !lost || leased.Until.IsZero():
					s.Errorf("a racer ended with %v", err)
				}
			}
			equal(s, "won", 1, won)
		}},
		{"a mail is not wanted for a registration that is unknown, replaced, over or confirmed", func(s suite[Tx]) {
			saved := s.save(newPending("da@example.org"))
			refuse := func(pendingID string, generation uint64) {
				s.Helper()
				claim := mailClaim(accounts.SavedPending{ID: pendingID, Generation: generation})
				_, err := s.DB.ClaimConfirmation(s.Context(), claim)
				want(s, err, authjobs.ErrNotWanted)
				want(s, s.DB.ConfirmationWanted(s.Context(), authjobs.MailDraft{PendingID: pendingID, Generation: generation}), authjobs.ErrNotWanted)
			}
			refuse(newPending("x").ID, 1)
			refuse("no UUID", 1)
			refuse("", 1)
			refuse(saved.ID, 0)
			refuse(saved.ID, 2)
			refuse(saved.ID, 1<<63)
			equal(s, "mails", "0", s.scalar("SELECT count(*) FROM mails"))
			d := s.claimMail(mailClaim(saved))
			must(s, s.DB.ConfirmationWanted(s.Context(), d))
			s.exec("DELETE FROM mails")

			again := newPending("da@example.org")
			again.ReplaceLive = true
			replaced := s.save(again)
			refuse(saved.ID, 1)
			s.bind(replaced, "key")
			_, err := s.activate(s.Context(), "key")
			must(s, err)
			refuse(saved.ID, 2)

			over := s.save(newPending("lan@example.org"))
			s.backdate(time.Hour)
			refuse(over.ID, 1)
		}},
		{"a key is bound once: the same again is no error, another is another run's", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			d := s.claimMail(claim)
			key, other := accounts.KeyHash("key"), accounts.KeyHash("another key")
			must(s, s.DB.BindActivationKey(s.Context(), d, "f7e2c87f", key))
			must(s, s.DB.BindActivationKey(s.Context(), d, "f7e2c87f", key))
			want(s, s.DB.BindActivationKey(s.Context(), d, "f7e2c87f", other), authjobs.ErrLeaseLost)
			stale, unknown := d, d
			stale.Generation = 2
			unknown.PendingID = "no UUID"
			want(s, s.DB.BindActivationKey(s.Context(), stale, "f7e2c87f", key), authjobs.ErrNotWanted)
			want(s, s.DB.BindActivationKey(s.Context(), unknown, "f7e2c87f", key), authjobs.ErrNotWanted)
			s.backdate(time.Minute)
			equal(s, "kid in a later draft", "f7e2c87f", s.claimMail(claim).KID)
			_, err := s.activate(s.Context(), "key")
			must(s, err)
		}},
		{"of twenty keys bound at once one is the registration's", func(s suite[Tx]) {
			d := s.claimMail(mailClaim(s.save(newPending("da@example.org"))))
			outcomes := race(20, func(i int) error {
				return s.DB.BindActivationKey(s.Context(), d, "f7e2c87f", accounts.KeyHash(fmt.Sprint("key ", i)))
			})
			won, lost := tally(s, outcomes, authjobs.ErrLeaseLost)
			equal(s, "won", 1, won)
			equal(s, "lost", 19, lost)
		}},
	}
}

func mailOutcomeTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"an accepted mail is recorded with the answer, at the registration too, and is not sent again", func(s suite[Tx]) {
			p := newPending("da@example.org")
			claim := mailClaim(s.save(p))
			before := s.now()
			s.mailSent(s.claimMail(claim))
			near(s, "sent_at", before, s.now(), *s.state(p.EmailNorm).Pending.SentAt)
			equal(s, "code", "250", s.scalar("SELECT smtp_code FROM mails"))
			equal(s, "reply", accepted().Reply, s.scalar("SELECT smtp_reply FROM mails"))
			_, err := s.DB.ClaimConfirmation(s.Context(), claim)
			want(s, err, authjobs.ErrSent)
			s.backdate(2 * time.Minute)
			_, err = s.DB.ClaimConfirmation(s.Context(), claim)
			want(s, err, authjobs.ErrSent)
		}},
		{"an acceptance counts whatever became of the lease", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			first := s.claimMail(claim)
			s.backdate(time.Minute)
			second := s.claimMail(claim)
			s.mailSent(first)
			must(s, s.DB.MailFailed(s.Context(), second, authjobs.MailAnswer{Code: 450}, "greylisted"))
			_, err := s.DB.ClaimConfirmation(s.Context(), claim)
			want(s, err, authjobs.ErrSent)
		}},
		{"a second acceptance leaves the record of the first", func(s suite[Tx]) {
			d := s.claimMail(mailClaim(s.save(newPending("da@example.org"))))
			s.mailSent(d)
			s.tx(func(tx Tx) error {
				return s.DB.MailSent(s.Context(), tx, d, authjobs.MailAnswer{Code: 250, Reply: "second"})
			})
			equal(s, "reply", accepted().Reply, s.scalar("SELECT smtp_reply FROM mails"))
		}},
		{"an acceptance that is rolled back was not recorded", func(s suite[Tx]) {
			p := newPending("da@example.org")
			claim := mailClaim(s.save(p))
			d := s.claimMail(claim)
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				must(s, s.DB.MailSent(s.Context(), tx, d, accepted()))
				return errRollback
			}), errRollback)
			equal(s, "sent_at", true, s.state(p.EmailNorm).Pending.SentAt == nil)
			s.wantLeased(claim)
		}},
		{"an acceptance is recorded when the registration has been confirmed meanwhile", func(s suite[Tx]) {
			saved := s.save(newPending("da@example.org"))
			d := s.claimMail(mailClaim(saved))
			s.bind(saved, "key")
			_, err := s.activate(s.Context(), "key")
			must(s, err)
			s.mailSent(d)
			equal(s, "sent mails", "1", s.scalar("SELECT count(*) FROM mails WHERE sent_at IS NOT NULL"))
		}},
		{"an acceptance says nothing about a later generation", func(s suite[Tx]) {
			p := newPending("da@example.org")
			d := s.claimMail(mailClaim(s.save(p)))
			again := newPending("da@example.org")
			again.ReplaceLive = true
			s.save(again)
			s.mailSent(d)
			equal(s, "sent_at", true, s.state(p.EmailNorm).Pending.SentAt == nil)
		}},
		{"a failed try is recorded and ends its lease", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			d := s.claimMail(claim)
			must(s, s.DB.MailFailed(s.Context(), d, authjobs.MailAnswer{Code: 450, Reply: "4.2.0 grey\x00listed\xff"}, "temporary\x00\xff"))
			equal(s, "code", "450", s.scalar("SELECT smtp_code FROM mails"))
			equal(s, "a cause", "1", s.scalar("SELECT count(*) FROM mails WHERE cause <> ''"))
			s.claimMail(claim)
		}},
		{"a failure that comes after its lease ended leaves the other's lease alone", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			first := s.claimMail(claim)
			s.backdate(time.Minute)
			s.claimMail(claim)
			must(s, s.DB.MailFailed(s.Context(), first, authjobs.MailAnswer{Code: 450}, "late"))
			s.wantLeased(claim)
		}},
	}
}
