package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
)

func pendingTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a free address becomes generation 1 and expires after its TTL by the database's clock", func(s suite[Tx]) {
			p := newPending("da@example.org")
			before := s.now()
			saved := s.save(p)
			after := s.now()
			near(s, "expires_at", before.Add(p.TTL), after.Add(p.TTL), saved.ExpiresAt)
			equal(s, "id", p.ID, saved.ID)
			equal(s, "generation", 1, saved.Generation)
			state := s.state(p.EmailNorm)
			if state.User != nil || state.Pending == nil {
				s.Fatalf("want a registration and no user, got %+v", state)
			}
			got := *state.Pending
			equal(s, "expires_at in the row", true, got.ExpiresAt.Equal(saved.ExpiresAt))
			got.ExpiresAt = time.Time{}
			equal(s, "registration", accounts.PendingState{ID: p.ID, Email: p.Email, Generation: 1}, got)
		}},
		{"an address with a user is already active, and the transaction stays usable", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			again, other := newPending("da@example.org"), newPending("lan@example.org")
			again.ReplaceLive = true
			s.tx(func(tx Tx) error {
				_, err := s.DB.SavePending(s.Context(), tx, again)
				want(s, err, accounts.ErrAlreadyActive)
				_, err = s.DB.SavePending(s.Context(), tx, other)
				return err
			})
			equal(s, "no registration beside the user", true, s.state(p.EmailNorm).Pending == nil)
			equal(s, "the other registration", true, s.state(other.EmailNorm).Pending != nil)
		}},
		{"a live registration is in the way: it is told until when, stays as it is, and the transaction stays usable", func(s suite[Tx]) {
			p, again, other := newPending("da@example.org"), newPending("da@example.org"), newPending("lan@example.org")
			saved := s.save(p)
			s.bind(saved, "key")
			s.tx(func(tx Tx) error {
				_, err := s.DB.SavePending(s.Context(), tx, again)
				inTheWay, ok := errors.AsType[*accounts.PendingError](err)
				if !ok || !inTheWay.ExpiresAt.Equal(saved.ExpiresAt) {
					s.Errorf("want a *PendingError until %v, got %v", saved.ExpiresAt, err)
				}
				_, err = s.DB.SavePending(s.Context(), tx, other)
				return err
			})
			equal(s, "the other registration", true, s.state(other.EmailNorm).Pending != nil)
			user, err := s.activate(s.Context(), "key")
			must(s, err)
			equal(s, "user", p.ID, user.ID)
		}},
		{"a live registration is replaced where that is wanted: same ID, next generation, and the old key is dead", func(s suite[Tx]) {
			p, again := newPending("da@example.org"), newPending("da@example.org")
			again.ReplaceLive, again.Email, again.TTL = true, "ADA@example.org", 2*time.Hour
			again.PasswordHash = accounts.NewPasswordHash("another hash")
			saved := s.save(p)
			s.bind(saved, "old key")
			s.sent(saved)
			before := s.now()
			replaced := s.save(again)
			near(s, "expires_at", before.Add(again.TTL), s.now().Add(again.TTL), replaced.ExpiresAt)
			equal(s, "id", p.ID, replaced.ID)
			equal(s, "generation", 2, replaced.Generation)
			equal(s, "sent_at is cleared", true, s.state(p.EmailNorm).Pending.SentAt == nil)
			equal(s, "kid", "", s.scalar("SELECT kid FROM pending_users"))
			equal(s, "resend_count", "1", s.scalar("SELECT resend_count FROM pending_users"))
			_, err := s.activate(s.Context(), "old key")
			want(s, err, accounts.ErrUnknownKey)
			s.bind(replaced, "new key")
			user, err := s.activate(s.Context(), "new key")
			must(s, err)
			equal(s, "user", accounts.User{ID: p.ID, Email: again.Email}, user)
			s.wantPassword(user.ID, again.PasswordHash)
		}},
		{"an expired registration is replaced without asking, and its key is dead", func(s suite[Tx]) {
			p := newPending("da@example.org")
			live := p
			live.ReplaceLive = true
			s.save(p)
			saved := s.save(live) // so that resend_count has something to lose
			s.bind(saved, "old key")
			s.backdate(p.TTL)
			replaced := s.save(newPending("da@example.org"))
			equal(s, "id", p.ID, replaced.ID)
			equal(s, "generation", 3, replaced.Generation)
			equal(s, "resend_count", "0", s.scalar("SELECT resend_count FROM pending_users"))
			equal(s, "expired", false, s.state(p.EmailNorm).Pending.Expired)
			_, err := s.activate(s.Context(), "old key")
			want(s, err, accounts.ErrUnknownKey)
		}},
		{"after the sweep an address is free again", func(s suite[Tx]) {
			p, again := newPending("da@example.org"), newPending("da@example.org")
			s.save(p)
			s.backdate(p.TTL)
			n, err := s.expire(s.Context(), 10)
			must(s, err)
			equal(s, "swept", 1, n)
			saved := s.save(again)
			equal(s, "id", again.ID, saved.ID)
			equal(s, "generation", 1, saved.Generation)
		}},
		{"addresses are compared byte by byte", func(s suite[Tx]) {
			lower, upper := newPending("da@example.org"), newPending("da@example.org")
			upper.EmailNorm = "Ada@example.org"
			s.save(lower)
			equal(s, "generation", 1, s.save(upper).Generation)
			equal(s, "a third spelling is unknown", accounts.State{}, s.state("ADA@example.org"))
		}},
		{"what a rolled back transaction saved was never there", func(s suite[Tx]) {
			p := newPending("da@example.org")
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				_, err := s.DB.SavePending(s.Context(), tx, p)
				must(s, err)
				return errRollback
			}), errRollback)
			equal(s, "state", accounts.State{}, s.state(p.EmailNorm))
		}},
		{"of forty racing registrations one is saved, the others find it in the way", func(s suite[Tx]) {
			outcomes := race(40, func(int) error {
				return s.DB.InTx(s.Context(), func(tx Tx) error {
					_, err := s.DB.SavePending(s.Context(), tx, newPending("da@example.org"))
					return err
				})
			})
			saved, refused := tally(s, outcomes, accounts.ErrPending)
			equal(s, "saved", 1, saved)
			equal(s, "refused", 39, refused)
			equal(s, "generation", 1, s.state("ada@example.org").Pending.Generation)
		}},
		{"forty racing replacements end as one row with forty generations", func(s suite[Tx]) {
			generations := make([]uint64, 40)
			outcomes := race(40, func(i int) error {
				p := newPending("da@example.org")
				p.ReplaceLive = true
				return s.DB.InTx(s.Context(), func(tx Tx) error {
					saved, err := s.DB.SavePending(s.Context(), tx, p)
					generations[i] = saved.Generation
					return err
				})
			})
			saved, _ := tally(s, outcomes, nil)
			equal(s, "saved", 40, saved)
			seen := make(map[uint64]bool)
			for _, g := range generations {
				seen[g] = true
			}
			equal(s, "distinct generations", 40, len(seen))
			equal(s, "last generation", 40, s.state("ada@example.org").Pending.Generation)
		}},
		{"a registration that races with an activation never stands beside the user", func(s suite[Tx]) {
			const addresses = 20
			address := func(i int) string { return fmt.Sprintf("%d@example.org", i) }
			for i := range addresses {
				s.bind(s.save(newPending(address(i))), "key of "+address(i))
			}
			outcomes := race(2*addresses, func(i int) error {
				if i%2 == 0 {
					_, err := s.activate(s.Context(), "key of "+address(i/2))
					return err
				}
				p := newPending(address(i / 2))
				p.ReplaceLive = true
				return s.DB.InTx(s.Context(), func(tx Tx) error {
					_, err := s.DB.SavePending(s.Context(), tx, p)
					return err
				})
			})
			for i := range addresses {
				state := s.state(newPending(address(i)).EmailNorm)
				activated, saved := outcomes[2*i], outcomes[2*i+1]
				switch {
				case activated == nil && errors.Is(saved, accounts.ErrAlreadyActive) && state.User != nil && state.Pending == nil:
				case errors.Is(activated, accounts.ErrUnknownKey) && saved == nil && state.User == nil && state.Pending.Generation == 2:
				default:
					s.Errorf("activation ended with %v, registration with %v, in state %+v", activated, saved, state)
				}
			}
		}},
	}
}

// sent records that the confirmation mail of a registration was accepted.
func (s suite[Tx]) sent(saved accounts.SavedPending) {
	s.Helper()
	id := fmt.Sprintf("mail-%s-%d", saved.ID, saved.Generation)
	d, err := s.DB.ClaimConfirmation(s.Context(), authjobs.MailClaim{
		MailID: id, PendingID: saved.ID, Generation: saved.Generation, MessageID: id + "@example.org", Lease: time.Minute,
	})
	must(s, err)
	s.tx(func(tx Tx) error {
		return s.DB.MailSent(s.Context(), tx, d, authjobs.MailAnswer{Code: 250, Reply: "2.0.0 OK"})
	})
}

// wantPassword holds a user to its password hash.
func (s suite[Tx]) wantPassword(userID string, hash accounts.PasswordHash) {
	s.Helper()
	current, err := s.DB.RecordLogin(s.Context(), accounts.Login{UserID: userID, EmailNorm: "nobody@example.org", Verified: hash})
	must(s, err)
	equal(s, "the user has the password hash", true, current)
}
