package storetest

import (
	"fmt"
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
		{"a key with a password gives its account that one, whatever the registration's was", func(s suite[Tx]) {
			without := newPending("lan@example.org")
			without.PasswordHash = accounts.PasswordHash{}
			for _, p := range []accounts.NewPending{newPending("da@example.org"), without} {
				s.bind(s.save(p), p.Email)
				use := accounts.Activation{KeyHash: accounts.KeyHash(p.Email), PasswordHash: accounts.NewPasswordHash("the owner's")}
				var user accounts.User
				s.tx(func(tx Tx) (err error) {
					user, err = s.DB.ActivatePending(s.Context(), tx, use)
					return err
				})
				equal(s, "user", accounts.User{ID: p.ID, Email: p.Email}, user)
				s.wantPassword(user.ID, use.PasswordHash)
			}
		}},
		{"a registration without a password becomes no account without one: it stays, and its key is good still", func(s suite[Tx]) {
			p := newPending("da@example.org")
			p.PasswordHash = accounts.PasswordHash{}
			s.bind(s.save(p), "key")
			s.tx(func(tx Tx) error {
				_, err := s.DB.ActivatePending(s.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key")})
				want(s, err, accounts.ErrNoPassword)
				_, err = s.DB.ActivatePending(s.Context(), tx, accounts.Activation{KeyHash: accounts.KeyHash("key"), RequireSent: true})
				want(s, err, accounts.ErrUnknownKey)
				return nil
			})
			equal(s, "no user", true, s.state(p.EmailNorm).User == nil)
			s.tx(func(tx Tx) error {
				_, err := s.DB.ActivatePending(s.Context(), tx, accounts.Activation{
					KeyHash: accounts.KeyHash("key"), PasswordHash: accounts.NewPasswordHash("the owner's"),
				})
				return err
			})
		}},
		{"whose registration a key activates is told while it does, and nothing is changed by it", func(s suite[Tx]) {
			p := newPending("da@example.org")
			saved := s.save(p)
			told := func(a accounts.Activation) (got accounts.PendingUser, err error) {
				s.tx(func(tx Tx) error {
					got, err = s.DB.PendingUser(s.Context(), tx, a)
					return nil
				})
				without, errWithout := s.DB.RegistrationOf(s.Context(), a)
				equal(s, "without a transaction", got, without)
				equal(s, "the error without a transaction", err == nil, errWithout == nil)
				return got, err
			}
			key := accounts.Activation{KeyHash: accounts.KeyHash("key")}
			for _, none := range []accounts.Activation{{}, key} {
				_, err := told(none)
				want(s, err, accounts.ErrUnknownKey)
			}
			s.bind(saved, "key")
			got, err := told(key)
			must(s, err)
			equal(s, "registration", accounts.PendingUser{ID: p.ID, Email: p.Email, EmailNorm: p.EmailNorm, PasswordHash: p.PasswordHash}, got)
			strict := key
			strict.RequireSent = true
			_, err = told(strict)
			want(s, err, accounts.ErrUnknownKey)
			s.sent(saved)
			_, err = told(strict)
			must(s, err)
			s.backdate(p.TTL)
			_, err = told(key)
			want(s, err, accounts.ErrUnknownKey)
		}},
		{"whoever registers an address first has no password in the account that its owner confirms", func(s suite[Tx]) {
			a := s.accounts(accounts.Config{RegisterAgain: accounts.NewGeneration})
			register := func(r accounts.Registration) error {
				return s.DB.InTx(s.Context(), func(tx Tx) error {
					_, err := a.Register(s.Context(), tx, r)
					return err
				})
			}
			must(s, register(accounts.Registration{Email: someone, Password: "the stranger's one"}))
			want(s, register(accounts.Registration{Email: someone, PasswordLater: true}), accounts.ErrThrottled)
			p, key := s.state(someone).Pending, newKey()
			s.bind(accounts.SavedPending{ID: p.ID, Generation: p.Generation}, key)
			s.tx(func(tx Tx) error {
				_, err := a.ActivateWithPassword(s.Context(), tx, key, rightPassword)
				return err
			})
			_, err := a.Authenticate(s.Context(), someone, "the stranger's one")
			want(s, err, accounts.ErrRefused)
			_, err = a.Authenticate(s.Context(), someone, rightPassword)
			must(s, err)
		}},
		{"of forty racers with a key, half of them with a password of their own, one gets the user, and his password is the account's", func(s suite[Tx]) {
			a := s.accounts(accounts.Config{})
			s.tx(func(tx Tx) error {
				_, err := a.Register(s.Context(), tx, accounts.Registration{Email: someone, Password: rightPassword})
				return err
			})
			p, key := s.state(someone).Pending, newKey()
			s.bind(accounts.SavedPending{ID: p.ID, Generation: p.Generation}, key)
			own := func(i int) string { return fmt.Sprintf("the racer's own %d", i) }
			outcomes := race(40, func(i int) error {
				return s.DB.InTx(s.Context(), func(tx Tx) (err error) {
					if i%2 == 0 {
						_, err = a.ActivateWithPassword(s.Context(), tx, key, own(i))
					} else {
						_, err = a.ActivateProving(s.Context(), tx, key, rightPassword)
					}
					return err
				})
			})
			won, _ := tally(s, outcomes, accounts.ErrUnknownKey)
			equal(s, "won", 1, won)
			for i, err := range outcomes {
				if err != nil {
					continue
				}
				password := rightPassword
				if i%2 == 0 {
					password = own(i)
				}
				_, err := a.Authenticate(s.Context(), someone, password)
				must(s, err)
			}
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
