package storetest

import (
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/jobs/authjobs"
)

// tries lists the tries of the mail "mail-1" without their times, which it holds to lie between began and now.
func (s suite[Tx]) tries(began time.Time) []authjobs.MailAttempt {
	s.Helper()
	tries, err := s.DB.AttemptsOf(s.Context(), "mail-1")
	must(s, err)
	for i := range tries {
		near(s, "start", began, s.now(), tries[i].StartedAt)
		near(s, "end", tries[i].StartedAt, s.now(), tries[i].EndedAt)
		tries[i].StartedAt, tries[i].EndedAt = time.Time{}, time.Time{}
	}
	return tries
}

func mailAttemptTests[Tx any]() []test[Tx] {
	greylisted := authjobs.MailAnswer{
		Code: 450, Reply: "4.2.0 grey\x00listed\xff", Server: "mx.example", Stage: "rcpt", Outcome: authjobs.MailTemporary,
	}
	return []test[Tx]{
		{"every try is kept with what the mail server said to it", func(s suite[Tx]) {
			began := s.now()
			claim := mailClaim(s.save(newPending("da@example.org")))
			must(s, s.DB.MailFailed(s.Context(), s.claimMail(claim), greylisted, "smtp rcpt: 450"))
			must(s, s.DB.MailFailed(s.Context(), s.claimMail(claim), authjobs.MailAnswer{}, "no template"))
			taken := accepted()
			taken.Server = "mx.example"
			d := s.claimMail(claim)
			s.tx(func(tx Tx) error { return s.DB.MailSent(s.Context(), tx, d, taken) })
			if diff := cmp.Diff([]authjobs.MailAttempt{
				{Try: 1, Server: "mx.example", Stage: "rcpt", Outcome: authjobs.MailTemporary, SMTPCode: 450, SMTPReply: "4.2.0 grey\uFFFDlisted\uFFFD", Cause: "smtp rcpt: 450"},
				{Try: 2, Outcome: authjobs.MailError, Cause: "no template"},
				{Try: 3, Server: "mx.example", Outcome: authjobs.MailDelivered, SMTPCode: 250, SMTPReply: accepted().Reply},
			}, s.tries(began)); diff != "" {
				s.Errorf("-want +got:\n%s", diff)
			}
			none, err := s.DB.AttemptsOf(s.Context(), "a\x00b\xff")
			must(s, err)
			equal(s, "tries of no mail", 0, len(none))
		}},
		{"a try whose run ended in the middle has no entry, and its number is not given again", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			s.claimMail(claim)
			s.backdate(time.Minute)
			began := s.now()
			d := s.claimMail(claim)
			equal(s, "try", 2, d.Try)
			near(s, "claimed", began, s.now(), d.StartedAt)
			must(s, s.DB.MailFailed(s.Context(), d, greylisted, "later"))
			tries := s.tries(began)
			equal(s, "tries", "1 2", fmt.Sprint(len(tries), " ", tries[0].Try))
		}},
		{"a try that ends after its lease is kept too, and both of two acceptances", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			first := s.claimMail(claim)
			s.backdate(time.Minute)
			second := s.claimMail(claim)
			s.backdate(time.Minute)
			third := s.claimMail(claim)
			must(s, s.DB.MailFailed(s.Context(), first, greylisted, "late"))
			s.mailSent(second)
			s.mailSent(third)
			s.mailSent(third)
			must(s, s.DB.MailFailed(s.Context(), first, greylisted, "again"))
			tries, err := s.DB.AttemptsOf(s.Context(), "mail-1")
			must(s, err)
			var got []authjobs.MailOutcome
			for _, t := range tries {
				got = append(got, t.Outcome)
			}
			if diff := cmp.Diff([]authjobs.MailOutcome{"temporary", "delivered", "delivered"}, got); diff != "" {
				s.Errorf("-want +got:\n%s", diff)
			}
			equal(s, "cause of the first", "late", tries[0].Cause)
		}},
		{"of very many tries the newest are kept", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			began := s.now()
			for range authjobs.MaxAttempts + 3 {
				must(s, s.DB.MailFailed(s.Context(), s.claimMail(claim), greylisted, "later"))
			}
			tries := s.tries(began)
			equal(s, "tries", authjobs.MaxAttempts, len(tries))
			equal(s, "the first that is kept", 4, tries[0].Try)
		}},
		{"an acceptance that is rolled back leaves no try", func(s suite[Tx]) {
			d := s.claimMail(mailClaim(s.save(newPending("da@example.org"))))
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				must(s, s.DB.MailSent(s.Context(), tx, d, accepted()))
				return errRollback
			}), errRollback)
			equal(s, "tries", "0", s.scalar("SELECT count(*) FROM mail_attempts"))
		}},
	}
}
