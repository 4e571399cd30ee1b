package storetest

import (
	"fmt"
	"time"

	"github.com/sealq/sealq/accounts"
)

func (s suite[Tx]) changeEmail(key string) (change accounts.EmailChange, err error) {
	s.Helper()
	err = s.DB.InTx(s.Context(), func(tx Tx) (err error) {
		change, err = s.DB.ChangeEmail(s.Context(), tx, accounts.KeyHash(key))
		return err
	})
	return change, err
}

func emailTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a link gives its user the new address once, and ends all links", func(s suite[Tx]) {
			p := newPending("da@example.org")
			user := s.user(p)
			s.token(newReset(someone))
			s.bindToken(boundKID, s.token(newChange(someone, "ew@example.org")), "key")
			change, err := s.changeEmail("key")
			must(s, err)
			equal(s, "change", accounts.EmailChange{
				Owner: accounts.Owner{User: accounts.User{ID: user.ID, Email: "New@example.org"}, EmailNorm: "new@example.org"}, OldEmail: p.Email,
			}, change)
			equal(s, "user in the row", change.User, s.state("new@example.org").User.User)
			equal(s, "the old address is free", accounts.State{}, s.state(someone))
			equal(s, "tokens", "0", s.scalar("SELECT count(*) FROM user_tokens"))
			_, err = s.changeEmail("key")
			want(s, err, accounts.ErrUnknownToken)
		}},
		{"an address that somebody has is refused, nothing is written, and the transaction stays usable", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			s.user(newPending("lan@example.org"))
			change := newChange(someone, "")
			change.NewEmail, change.NewEmailNorm = "Alan@example.org", "alan@example.org"
			s.bindToken(boundKID, s.token(change), "key")
			s.tx(func(tx Tx) error {
				_, err := s.DB.ChangeEmail(s.Context(), tx, accounts.KeyHash("key"))
				want(s, err, accounts.ErrAlreadyActive)
				_, err = s.DB.SavePending(s.Context(), tx, newPending("third@example.org"))
				return err
			})
			equal(s, "the old address", true, s.state(someone).User != nil)
			_, err := s.tokenUser(accounts.MailEmailChange, "key")
			must(s, err)
		}},
		{"another spelling of one's own address is no other user's", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			change := newChange(someone, "")
			change.NewEmail, change.NewEmailNorm = "ADA@example.org", someone
			s.bindToken(boundKID, s.token(change), "key")
			_, err := s.changeEmail("key")
			must(s, err)
			equal(s, "address", "ADA@example.org", s.state(someone).User.Email)
		}},
		{"a key that is unknown, unbound, expired, of another purpose, of a disabled user or of one whom an operator has locked changes nothing", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			s.bindToken(boundKID, s.token(newReset(someone)), "reset")
			saved := s.token(newChange(someone, "ew@example.org"))
			s.tx(func(tx Tx) error {
				_, err := s.DB.ChangeEmail(s.Context(), tx, [32]byte{})
				want(s, err, accounts.ErrUnknownToken)
				return nil
			})
			s.bindToken(boundKID, saved, "key")
			refuse := func(key string) {
				s.Helper()
				_, err := s.changeEmail(key)
				want(s, err, accounts.ErrUnknownToken)
			}
			refuse("another")
			refuse("reset")
			s.disable(p.ID)
			refuse("key")
			s.exec("UPDATE users SET disabled_at = NULL")
			s.lock()
			s.exec("UPDATE login_state SET by_operator = TRUE")
			refuse("key")
			s.exec("DELETE FROM login_state")
			s.backdate(time.Hour)
			refuse("key")
			equal(s, "the old address", true, s.state(someone).User != nil)
		}},
		{"a link is asked for with the password that was proved, or not at all", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			change := newChange(someone, "ew@example.org")
			change.Verified = otherHash()
			_, err := s.askToken(change)
			want(s, err, accounts.ErrNoSuchUser)
			change.Verified = p.PasswordHash
			s.token(change)
		}},
		{"of forty racers for a change one wins", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			s.bindToken(boundKID, s.token(newChange(someone, "ew@example.org")), "key")
			outcomes := race(40, func(int) error {
				_, err := s.changeEmail("key")
				return err
			})
			won, lost := tally(s, outcomes, accounts.ErrUnknownToken)
			equal(s, "won", 1, won)
			equal(s, "lost", 39, lost)
		}},
		{"of twenty users who change to one address at once, and one who activates it, one gets it", func(s suite[Tx]) {
			for i := range 20 {
				p := newPending(fmt.Sprint(i, "@example.org"))
				s.user(p)
				s.bindToken(boundKID, s.token(newChange(p.EmailNorm, "ew@example.org")), fmt.Sprint("key ", i))
			}
			pending := newPending("x")
			pending.Email, pending.EmailNorm = "New@example.org", "new@example.org"
			s.bind(s.save(pending), "activation")
			outcomes := race(21, func(i int) (err error) {
				if i == 20 {
					_, err = s.activate(s.Context(), "activation")
				} else {
					_, err = s.changeEmail(fmt.Sprint("key ", i))
				}
				return err
			})
			won, lost := tally(s, outcomes, accounts.ErrAlreadyActive)
			equal(s, "won", 1, won)
			equal(s, "lost", 20, lost)
			equal(s, "users of the address", "1", s.scalar("SELECT count(*) FROM users WHERE email_norm = 'new@example.org'"))
		}},
	}
}
