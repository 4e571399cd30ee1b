package storetest

import (
	"time"

	"github.com/sealq/sealq/accounts"
)

func activationTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a key moves its registration into users, ID, address and password with it", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.bind(s.save(p), "key")
			user, err := s.activate(s.Context(), "key")
			must(s, err)
			equal(s, "user", accounts.User{ID: p.ID, Email: p.Email}, user)
			state := s.state(p.EmailNorm)
			if state.User == nil || state.Pending != nil {
				s.Fatalf("want a user and no registration, got %+v", state)
			}
			equal(s, "user in the row", user, state.User.User)
			equal(s, "disabled", false, state.User.Disabled)
			s.wantPassword(p.ID, p.PasswordHash)
		}},
		{"a key works once", func(s suite[Tx]) {
			s.bind(s.save(newPending("da@example.org")), "key")
			_, err := s.activate(s.Context(), "key")
			must(s, err)
			_, err = s.activate(s.Context(), "key")
			want(s, err, accounts.ErrUnknownKey)
		}},
		{"an unknown key activates nothing, and the transaction stays usable", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.bind(s.save(p), "key")
			s.tx(func(tx Tx) error {
				_, err := s.DB.ActivatePending(s.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("another key")})
				want(s, err, accounts.ErrUnknownKey)
				_, err = s.DB.ActivatePending(s.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key")})
				return err
			})
			equal(s, "a user", true, s.state(p.EmailNorm).User != nil)
		}},
		{"a registration whose key is not bound yet is activated by no key, not even by 32 zero bytes", func(s suite[Tx]) {
			s.save(newPending("da@example.org"))
			s.tx(func(tx Tx) error {
				_, err := s.DB.ActivatePending(s.Context(), tx, accounts.Activation{})
				want(s, err, accounts.ErrUnknownKey)
				return nil
			})
		}},
		{"an expired registration's key is unknown before any sweep", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.bind(s.save(p), "key")
			s.backdate(p.TTL)
			_, err := s.activate(s.Context(), "key")
			want(s, err, accounts.ErrUnknownKey)
			equal(s, "the registration is there, expired", true, s.state(p.EmailNorm).Pending.Expired)
		}},
		{"a registration shortly before its end is activated", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.bind(s.save(p), "key")
			s.backdate(p.TTL - 30*time.Second)
			_, err := s.activate(s.Context(), "key")
			must(s, err)
		}},
		{"where sending is required a key works only after the mail was accepted", func(s suite[Tx]) {
			saved := s.save(newPending("da@example.org"))
			s.bind(saved, "key")
			strict := func() error {
				return s.DB.InTx(s.Context(), func(tx Tx) error {
					_, err := s.DB.ActivatePending(s.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key"), RequireSent: true})
					return err
				})
			}
			want(s, strict(), accounts.ErrUnknownKey)
			s.sent(saved)
			must(s, strict())
		}},
		{"where the address has a user already the registration goes and the user stays as it is", func(s suite[Tx]) {
			first, second := newPending("da@example.org"), newPending("lan@example.org")
			user := s.user(first)
			s.bind(s.save(second), "key")
			s.exec("UPDATE pending_users SET email_norm = 'ada@example.org' WHERE email_norm = 'alan@example.org'")
			s.tx(func(tx Tx) error {
				_, err := s.DB.ActivatePending(s.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key")})
				want(s, err, accounts.ErrAlreadyActive)
				return nil
			})
			state := s.state(first.EmailNorm)
			equal(s, "registration gone", true, state.Pending == nil)
			equal(s, "user", user, state.User.User)
			s.wantPassword(user.ID, first.PasswordHash)
		}},
		{"a rolled back activation leaves the key to work", func(s suite[Tx]) {
			s.bind(s.save(newPending("da@example.org")), "key")
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				_, err := s.DB.ActivatePending(s.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key")})
				must(s, err)
				return errRollback
			}), errRollback)
			_, err := s.activate(s.Context(), "key")
			must(s, err)
		}},
		{"of forty racers one gets the user", func(s suite[Tx]) {
			s.bind(s.save(newPending("da@example.org")), "key")
			outcomes := race(40, func(int) error {
				_, err := s.activate(s.Context(), "key")
				return err
			})
			won, lost := tally(s, outcomes, accounts.ErrUnknownKey)
			equal(s, "won", 1, won)
			equal(s, "lost", 39, lost)
			equal(s, "users", "1", s.scalar("SELECT count(*) FROM users"))
		}},
	}
}
