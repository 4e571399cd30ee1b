package storetest

import (
	"context"
	"time"

	"github.com/sealq/sealq/jobs/authjobs"
)

// mailLeaseTests are of runs that meet at one mail. Only a mail that has lost its reason is over; one that is another run's is not.
func mailLeaseTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a run whose mail another has taken over is told so, and not that the mail is over", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			first := s.claimMail(claim)
			s.backdate(time.Minute)
			second := s.claimMail(claim)
			want(s, s.DB.ConfirmationWanted(s.Context(), first), authjobs.ErrLeaseLost)
			must(s, s.DB.ConfirmationWanted(s.Context(), second))
			must(s, s.DB.MailFailed(s.Context(), second, authjobs.MailAnswer{}, "it died"))
			want(s, s.DB.ConfirmationWanted(s.Context(), first), authjobs.ErrLeaseLost)
			s.mailSent(second)
			want(s, s.DB.ConfirmationWanted(s.Context(), first), authjobs.ErrSent)
		}},
		{"so is one whose mail was put off by a limit", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			first := s.claimMail(claim)
			s.backdate(time.Minute)
			claim.Limits = authjobs.MailLimits{Hourly: 1}
			s.claimMail(s.limitedClaim(7, "example.com", claim.Limits))
			s.wantLimited(claim, authjobs.HeldByHour)
			want(s, s.DB.ConfirmationWanted(s.Context(), first), authjobs.ErrLeaseLost)
		}},
		{"so is one whose lease ends before its delivery may, though nobody else has the mail", func(s suite[Tx]) {
			claim := mailClaim(s.save(newPending("da@example.org")))
			d := s.claimMail(claim) // for a minute
			for delivery, wanted := range map[time.Duration]error{30 * time.Second: nil, 2 * time.Minute: authjobs.ErrLeaseLost} {
				ctx, cancel := context.WithTimeout(s.Context(), delivery)
				if err := s.DB.ConfirmationWanted(ctx, d); wanted == nil {
					must(s, err)
				} else {
					want(s, err, wanted)
				}
				cancel()
			}
			s.backdate(time.Minute)
			want(s, s.DB.ConfirmationWanted(s.Context(), d), authjobs.ErrLeaseLost)
		}},
		{"a mail that loses its reason while a run is sending it is that run's to end", func(s suite[Tx]) {
			saved := s.save(newPending("da@example.org"))
			claim := mailClaim(saved)
			d := s.claimMail(claim)
			s.bind(saved, "key")
			_, err := s.activate(s.Context(), "key")
			must(s, err)
			s.wantLeased(claim)
			want(s, s.DB.ConfirmationWanted(s.Context(), d), authjobs.ErrNotWanted)
			s.backdate(time.Minute)
			want(s, s.claims(claim), authjobs.ErrNotWanted)
			s.mailSent(d)
			want(s, s.claims(claim), authjobs.ErrSent)
		}},
		{"a mail to an owner is held to the same", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			token := s.token(newReset(someone))
			claim := authjobs.MailClaim{
				MailID: "mail-1", UserID: token.UserID, Mail: "password_reset", Generation: token.Generation, MessageID: "first@example.org", Lease: time.Minute,
			}
			claims := func() authjobs.MailDraft {
				s.Helper()
				d, err := s.DB.ClaimAccountMail(s.Context(), claim)
				must(s, err)
				return d
			}
			first := claims()
			must(s, s.DB.BindTokenKey(s.Context(), first, "f7e2c87f", [32]byte{1}))
			want(s, s.DB.BindTokenKey(s.Context(), first, "f7e2c87f", [32]byte{2}), authjobs.ErrLeaseLost)
			must(s, s.DB.AccountMailWanted(s.Context(), first))
			s.backdate(time.Minute)
			want(s, s.DB.AccountMailWanted(s.Context(), first), authjobs.ErrLeaseLost)
			second := claims()
			want(s, s.DB.AccountMailWanted(s.Context(), first), authjobs.ErrLeaseLost)
			s.exec("DELETE FROM user_tokens")
			want(s, s.DB.BindTokenKey(s.Context(), second, "f7e2c87f", [32]byte{1}), authjobs.ErrNotWanted)
			want(s, s.DB.AccountMailWanted(s.Context(), first), authjobs.ErrLeaseLost) // the other run is to end it
			want(s, s.DB.AccountMailWanted(s.Context(), second), authjobs.ErrNotWanted)
			_, err := s.DB.ClaimAccountMail(s.Context(), claim)
			s.wantLeasedErr(err)
			s.mailSent(second)
			want(s, s.DB.AccountMailWanted(s.Context(), first), authjobs.ErrSent)
		}},
	}
}
