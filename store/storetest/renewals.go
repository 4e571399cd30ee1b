package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
)

// renewed voids up to limit links of a key in a transaction of its own.
func (s suite[Tx]) renewed(ctx context.Context, kid string, limit int) (list []accounts.SavedPending, err error) {
	err = s.DB.InTx(ctx, func(tx Tx) (err error) {
		list, err = s.DB.RenewPending(ctx, tx, kid, limit, func() []byte { return newPending("").Nonce })
		return err
	})
	return list, err
}

// bound saves and binds a registration of each address, which expire one second after the other. The address's key is
// "key of ADDRESS".
func (s suite[Tx]) bound(addresses ...string) []accounts.SavedPending {
	s.Helper()
	list := make([]accounts.SavedPending, len(addresses))
	for i, address := range addresses {
		p := newPending(address)
		p.TTL += time.Duration(i) * time.Second
		list[i] = s.save(p)
		s.bind(list[i], "key of "+address)
	}
	return list
}

// idsOf are the registrations' IDs.
func idsOf(list []accounts.SavedPending) []string {
	var ids []string
	for _, p := range list {
		ids = append(ids, p.ID)
	}
	return ids
}

func renewalTests[Tx any]() []test[Tx] {
	return append(renewalRules[Tx](), renewalRaces[Tx]()...)
}

func renewalRules[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a renewed registration is of the next generation, and the old link is dead", func(s suite[Tx]) {
			p := newPending("da@example.org")
			saved := s.save(p)
			s.bind(saved, "old key")
			s.sent(saved)
			nonce := []byte("a nonce that is 25 bytes!")
			var renewed []accounts.SavedPending
			s.tx(func(tx Tx) (err error) {
				renewed, err = s.DB.RenewPending(s.Context(), tx, boundKID, 10, func() []byte { return nonce })
				return err
			})
			if diff := cmp.Diff([]accounts.SavedPending{{ID: saved.ID, Generation: 2, ExpiresAt: saved.ExpiresAt}}, renewed); diff != "" {
				s.Fatalf("renewed (-want +got):\n%s", diff)
			}
			equal(s, "registration", accounts.PendingState{ID: p.ID, Email: p.Email, Generation: 2, ExpiresAt: saved.ExpiresAt}, *s.state(p.EmailNorm).Pending)
			equal(s, "kid", "", s.scalar("SELECT kid FROM pending_users"))
			equal(s, "resend_count", "1", s.scalar("SELECT resend_count FROM pending_users"))
			_, err := s.activate(s.Context(), "old key")
			want(s, err, accounts.ErrUnknownKey)
			want(s, s.DB.BindActivationKey(s.Context(), authjobs.MailDraft{PendingID: saved.ID, Generation: 1}, boundKID, accounts.KeyHash("old key")), authjobs.ErrNotWanted)

			claim := mailClaim(renewed[0])
			claim.MailID, claim.MessageID = "mail-2", "second@example.org"
			d := s.claimMail(claim)
			equal(s, "nonce", true, bytes.Equal(nonce, d.Nonce))
			equal(s, "kid of the mail", "", d.KID)
			s.bindTo("0badc0de", renewed[0], "new key")
			user, err := s.activate(s.Context(), "new key")
			must(s, err)
			equal(s, "user", accounts.User{ID: p.ID, Email: p.Email}, user)
			s.wantPassword(p.ID, p.PasswordHash)
		}},
		{"a mail of the old link that was under way does not count for the new one", func(s suite[Tx]) {
			saved := s.bound("da@example.org")[0]
			old := s.claimMail(mailClaim(saved))
			_, err := s.renewed(s.Context(), boundKID, 10)
			must(s, err)
			want(s, s.DB.ConfirmationWanted(s.Context(), old), authjobs.ErrNotWanted)
			s.mailSent(old)
			equal(s, "the new mail was not sent", true, s.state("ada@example.org").Pending.SentAt == nil)
		}},
		{"registrations of another key, without one, expired or confirmed are left alone", func(s suite[Tx]) {
			s.bound("expired@example.org")
			s.backdate(time.Hour)
			other := newPending("other@example.org")
			s.bindTo("0badc0de", s.save(other), "other key")
			s.save(newPending("unbound@example.org"))
			s.user(newPending("active@example.org"))
			live := s.bound("live@example.org")
			for _, kid := range []string{"", "F7E2C87F", "f7e2c87", "\x00\xff"} {
				renewed, err := s.renewed(s.Context(), kid, 10)
				must(s, err)
				equal(s, "renewed under "+kid, 0, len(renewed))
			}
			renewed, err := s.renewed(s.Context(), boundKID, 10)
			must(s, err)
			if diff := cmp.Diff(idsOf(live), idsOf(renewed)); diff != "" {
				s.Errorf("renewed (-want +got):\n%s", diff)
			}
			equal(s, "generations", "1", s.scalar("SELECT max(generation) FROM pending_users WHERE email_norm <> 'alive@example.org'"))
			_, err = s.activate(s.Context(), "other key")
			must(s, err)
		}},
		{"registrations are renewed in batches, those that expire first first, each with a nonce of its own and once", func(s suite[Tx]) {
			saved := s.bound("0@example.org", "1@example.org", "2@example.org", "3@example.org", "4@example.org")
			nonces := make(map[string]bool)
			for _, want := range [][]accounts.SavedPending{saved[:2], saved[2:4], saved[4:], nil} {
				renewed, err := s.renewed(s.Context(), boundKID, 2)
				must(s, err)
				if diff := cmp.Diff(idsOf(want), idsOf(renewed)); diff != "" {
					s.Errorf("renewed (-want +got):\n%s", diff)
				}
				for _, p := range renewed {
					claim := mailClaim(p)
					claim.MailID, claim.MessageID = "mail of "+p.ID, p.ID
					nonces[string(s.claimMail(claim).Nonce)] = true
				}
			}
			equal(s, "nonces", 5, len(nonces))
		}},
		{"a rolled back renewal leaves the link to work", func(s suite[Tx]) {
			s.bound("da@example.org")
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				renewed, err := s.DB.RenewPending(s.Context(), tx, boundKID, 10, func() []byte { return newPending("").Nonce })
				must(s, err)
				equal(s, "renewed", 1, len(renewed))
				return errRollback
			}), errRollback)
			_, err := s.activate(s.Context(), "key of da@example.org")
			must(s, err)
		}},
	}
}

func renewalRaces[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"renewals that run at once renew every registration once", func(s suite[Tx]) {
			addresses := make([]string, 40)
			for i := range addresses {
				addresses[i] = fmt.Sprintf("%d@example.org", i)
			}
			saved := s.bound(addresses...)
			renewed := make([][]accounts.SavedPending, 4)
			for _, err := range race(4, func(i int) error {
				for range 100 { // an empty batch may mean that others have locked what is left
					list, err := s.renewed(s.Context(), boundKID, 7)
					if err != nil {
						return err
					}
					renewed[i] = append(renewed[i], list...)
				}
				return nil
			}) {
				must(s, err)
			}
			generations := make(map[string]uint64)
			total := 0
			for _, list := range renewed {
				for _, p := range list {
					generations[p.ID] += p.Generation
					total++
				}
			}
			equal(s, "renewals", 40, total)
			for _, p := range saved {
				equal(s, "generation of "+p.ID, 2, generations[p.ID])
			}
		}},
		{"a renewal that races with activations: who was activated is not renewed, and who was renewed is not activated", func(s suite[Tx]) {
			const addresses = 40
			address := func(i int) string { return fmt.Sprintf("%d@example.org", i) }
			for i := range addresses {
				s.bound(address(i))
			}
			renewed := make([][]accounts.SavedPending, addresses+5)
			outcomes := race(addresses+5, func(i int) (err error) {
				if i < addresses {
					_, err = s.activate(s.Context(), "key of "+address(i))
					return err
				}
				for range 5 {
					list, err := s.renewed(s.Context(), boundKID, 4)
					if err != nil {
						return err
					}
					renewed[i] = append(renewed[i], list...)
				}
				return nil
			})
			generations := make(map[string]uint64)
			for i, list := range renewed {
				if outcomes[i] != nil && i >= addresses {
					s.Errorf("a renewal ended with %v", outcomes[i])
				}
				for _, p := range list {
					generations[p.ID] += p.Generation
				}
			}
			for i := range addresses {
				state := s.state(newPending(address(i)).EmailNorm)
				switch {
				case outcomes[i] == nil && state.User != nil && state.Pending == nil && generations[state.User.ID] == 0:
				case errors.Is(outcomes[i], accounts.ErrUnknownKey) && state.User == nil && state.Pending.Generation == 2 && generations[state.Pending.ID] == 2:
				default:
					s.Errorf("%s: activation ended with %v, in state %+v, renewed %v", address(i), outcomes[i], state, generations)
				}
			}
		}},
	}
}
