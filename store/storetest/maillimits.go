package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
)

// limitedClaim is the claim of the n-th mail, to an address of its own in the domain, under limits.
func (s suite[Tx]) limitedClaim(n int, domain string, limits authjobs.MailLimits) authjobs.MailClaim {
	s.Helper()
	c := mailClaim(s.save(newPending(fmt.Sprintf("%d@%s", n, domain))))
	c.MailID, c.MessageID, c.Limits = fmt.Sprint("mail-", n), fmt.Sprintf("%d@example.org", n), limits
	return c
}

// wantLimited holds a claim to find no room.
func (s suite[Tx]) wantLimited(c authjobs.MailClaim, by authjobs.Hold) (until time.Time) {
	s.Helper()
	_, err := s.DB.ClaimConfirmation(s.Context(), c)
	limited, ok := errors.AsType[*authjobs.LimitedError](err)
	if !ok {
		s.Fatalf("want a *LimitedError, got %v", err)
	}
	equal(s, "by", by, limited.By)
	return limited.Until
}

func mailLimitTests[Tx any]() []test[Tx] {
	perDomain := authjobs.MailLimits{PerDomain: authjobs.Rate{N: 1, Per: time.Minute}}
	caps := authjobs.MailLimits{Hourly: 2, Daily: 3}
	return append(limitRaceTests[Tx](), []test[Tx]{
		{"a domain that has had its mails gets no more until there is room, and others go on", func(s suite[Tx]) {
			s.claimMail(s.limitedClaim(1, "example.org", perDomain))
			before := s.now()
			second, third := s.limitedClaim(2, "example.org", perDomain), s.limitedClaim(3, "example.org", perDomain)
			until := s.wantLimited(second, authjobs.HeldByDomain)
			near(s, "the second is due", before.Add(55*time.Second), before.Add(100*time.Second), until)
			if later := s.wantLimited(third, authjobs.HeldByDomain); later.Sub(until) < 30*time.Second {
				s.Errorf("the third is due at %v, the second at %v", later, until)
			}
			s.claimMail(s.limitedClaim(4, "example.com", perDomain))
			s.backdate(time.Minute)
			s.claimMail(second)
			s.wantLimited(third, authjobs.HeldByDomain)
			s.backdate(time.Minute)
			s.claimMail(third)
		}},
		{"a domain's mails do not wait for as long as the database's clock was set back", func(s suite[Tx]) {
			claim := s.limitedClaim(1, "example.org", perDomain)
			must(s, s.DB.MailFailed(s.Context(), s.claimMail(claim), authjobs.MailAnswer{Outcome: authjobs.MailAmbiguous}, "perhaps"))
			s.backdate(-24 * time.Hour)
			before := s.now()
			until := s.wantLimited(claim, authjobs.HeldByDomain)
			near(s, "due", before, before.Add(time.Hour+2*time.Minute), until) // those that wait are lined up for an hour at most
			s.backdate(2 * time.Minute)
			s.claimMail(claim)
		}},
		{"the caps hold for all domains together", func(s suite[Tx]) {
			s.claimMail(s.limitedClaim(1, "example.org", caps))
			s.claimMail(s.limitedClaim(2, "example.com", caps))
			third, fourth := s.limitedClaim(3, "example.net", caps), s.limitedClaim(4, "example.org", caps)
			s.wantLimited(third, authjobs.HeldByHour)
			s.backdate(61 * time.Minute)
			s.longLived()
			s.claimMail(third)
			until := s.wantLimited(fourth, authjobs.HeldByDay)
			if until.Before(s.now().Add(22 * time.Hour)) {
				s.Errorf("the fourth is due at %v", until)
			}
			s.backdate(24 * time.Hour)
			s.longLived()
			s.claimMail(fourth)
		}},
		{"a mail that was not sent gives its share back, one that was or may have been does not", func(s suite[Tx]) {
			limits := authjobs.MailLimits{PerDomain: perDomain.PerDomain, Hourly: 1, Daily: 1}
			first := s.limitedClaim(1, "example.org", limits)
			other := s.limitedClaim(2, "example.org", limits)
			for _, outcome := range []authjobs.MailOutcome{authjobs.MailTemporary, authjobs.MailWithdrawn, authjobs.MailConfiguration, ""} {
				d := s.claimMail(first)
				s.wantLimited(other, authjobs.HeldByDay)
				must(s, s.DB.MailFailed(s.Context(), d, authjobs.MailAnswer{Outcome: outcome}, "not sent"))
				s.claimMail(first)
				s.exec("UPDATE mails SET lease_until = NULL, lease_token = NULL") // its worker ended in the middle
				s.exec("DELETE FROM mail_limits")
			}
			must(s, s.DB.MailFailed(s.Context(), s.claimMail(first), authjobs.MailAnswer{Outcome: authjobs.MailAmbiguous}, "perhaps"))
			s.wantLimited(first, authjobs.HeldByDay)
		}},
		{"a mail that is held is told with why and until when, and that was no try of it", func(s suite[Tx]) {
			saved := s.save(newPending("da@example.org"))
			claim := mailClaim(saved)
			claim.MailID, claim.Limits = s.confirmationOf(saved), perDomain
			s.claimMail(s.limitedClaim(1, "example.org", perDomain))
			for range 2 {
				until := s.wantLimited(claim, authjobs.HeldByDomain)
				h := s.mailOf(claim.MailID)
				equal(s, "held by", authjobs.HeldByDomain, h.HeldBy)
				near(s, "held until", until, until, h.HeldUntil)
				equal(s, "no try", true, h.Tries == 0 && h.FirstTry.IsZero() && h.LeaseUntil.IsZero() && h.Cause != "")
			}
			s.backdate(2 * time.Minute)
			d := s.claimMail(claim)
			equal(s, "try", 1, d.Try)
			h := s.mailOf(claim.MailID)
			equal(s, "nothing holds it", true, h.HeldBy == "" && h.HeldUntil.IsZero() && h.Cause == "")
			must(s, s.DB.MailFailed(s.Context(), d, authjobs.MailAnswer{}, "failed"))
			s.claimMail(s.limitedClaim(2, "example.org", perDomain))
			s.wantLimited(claim, authjobs.HeldByDomain)
			equal(s, "tries", 1, s.mailOf(claim.MailID).Tries)
			s.backdate(3 * time.Minute)
			equal(s, "next try", 2, s.claimMail(claim).Try)
		}},
		{"a claim that ends otherwise takes no share", func(s suite[Tx]) {
			first := s.limitedClaim(1, "example.org", authjobs.MailLimits{Hourly: 3})
			d := s.claimMail(first)
			s.wantLeased(first)
			s.mailSent(d)
			want(s, s.claims(first), authjobs.ErrSent)
			gone := s.limitedClaim(2, "example.org", first.Limits)
			gone.Generation++
			want(s, s.claims(gone), authjobs.ErrNotWanted)
			must(s, s.DB.MailFailed(s.Context(), authjobs.MailDraft{MailID: "mail-1", To: "A3@example.org", Try: 2}, bounced(), "no such user"))
			s.wantSuppressed(s.limitedClaim(3, "example.org", first.Limits), func(c authjobs.MailClaim) error {
				c.MailID = "mail-3"
				_, err := s.DB.ClaimConfirmation(s.Context(), c)
				return err
			})
			equal(s, "taken", "1", s.scalar("SELECT sum(taken) FROM mail_usage"))
		}},
		{"limits that nobody needs any more are forgotten", func(s suite[Tx]) {
			s.claimMail(s.limitedClaim(1, "example.org", perDomain))
			s.backdate(26 * time.Hour)
			s.claimMail(s.limitedClaim(2, "example.com", authjobs.MailLimits{PerDomain: perDomain.PerDomain, Hourly: 5}))
			equal(s, "limits", "domain/example.com,hour", s.scalar("SELECT string_agg(name, ',') FROM (SELECT name FROM mail_limits ORDER BY name) AS l"))
			s.backdate(26 * time.Hour)
			s.claimMail(s.limitedClaim(3, "example.com", authjobs.MailLimits{Hourly: 5}))
			equal(s, "slices", "1", s.scalar("SELECT count(*) FROM mail_usage"))
		}},
	}...)
}

// longLived keeps all registrations pending, however the clock was moved.
func (s suite[Tx]) longLived() {
	s.Helper()
	s.exec("UPDATE pending_users SET expires_at = (SELECT max(expires_at) FROM (SELECT expires_at FROM pending_users) AS p)")
	s.save(newPending("other@example.org"))
	s.exec("UPDATE pending_users SET expires_at = (SELECT max(expires_at) FROM (SELECT expires_at FROM pending_users) AS p)")
	s.exec("DELETE FROM pending_users WHERE email_norm = 'aother@example.org'")
}

func limitRaceTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"of twenty claims at once no more go through than the limits allow", func(s suite[Tx]) {
			limits := authjobs.MailLimits{PerDomain: authjobs.Rate{N: 100, Per: time.Hour}, Hourly: 7}
			claims := make([]authjobs.MailClaim, 20)
			for i := range claims {
				claims[i] = s.limitedClaim(i, "example.org", limits)
			}
			won, times := 0, make(map[time.Time]bool)
			for _, err := range race(len(claims), func(i int) error { return s.claims(claims[i]) }) {
				limited, lost := errors.AsType[*authjobs.LimitedError](err)
				switch {
				case err == nil:
					won++
				case !lost || limited.By != authjobs.HeldByHour:
					s.Errorf("a racer ended with %v", err)
				default:
					times[limited.Until] = true
				}
			}
			equal(s, "won", 7, won)
			equal(s, "the others come back one by one", 13, len(times))
		}},
		{"claims and failures of one domain at once lock none another out", func(s suite[Tx]) {
			limits := authjobs.MailLimits{PerDomain: authjobs.Rate{N: 1000, Per: time.Minute}, Hourly: 1000, Daily: 1000}
			claims := make([]authjobs.MailClaim, 20)
			for i := range claims {
				claims[i] = s.limitedClaim(i, fmt.Sprintf("example%d.org", i%2), limits)
			}
			for _, err := range race(len(claims), func(i int) error {
				for range 5 {
					d, err := s.DB.ClaimConfirmation(s.Context(), claims[i])
					if err == nil {
						err = s.DB.MailFailed(s.Context(), d, authjobs.MailAnswer{Outcome: authjobs.MailTemporary}, "later")
					}
					if err != nil {
						return err
					}
				}
				return nil
			}) {
				must(s, err)
			}
			equal(s, "taken", "0", s.scalar("SELECT sum(taken) FROM mail_usage"))
		}},
	}
}
