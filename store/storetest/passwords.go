package storetest

import (
	"fmt"
	"time"

	"github.com/sealq/sealq/accounts"
)

func otherHash() accounts.PasswordHash { return accounts.NewPasswordHash("another hash") }

func (s suite[Tx]) resetPassword(key string, hash accounts.PasswordHash) (owner accounts.Owner, err error) {
	s.Helper()
	err = s.DB.InTx(s.Context(), func(tx Tx) (err error) {
		owner, err = s.DB.ResetPassword(s.Context(), tx, accounts.PasswordReset{KeyHash: accounts.KeyHash(key), PasswordHash: hash})
		return err
	})
	return owner, err
}

func (s suite[Tx]) changePassword(c accounts.PasswordChange) (owner accounts.Owner, err error) {
	s.Helper()
	err = s.DB.InTx(s.Context(), func(tx Tx) (err error) {
		owner, err = s.DB.ChangePassword(s.Context(), tx, c)
		return err
	})
	return owner, err
}

func passwordTests[Tx any]() []test[Tx] {
	return append(resetTests[Tx](), changeTests[Tx]()...)
}

func resetTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a link gives its user a new password once, ends sessions and all links, and lifts a lock", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			s.lock()
			s.bindToken(boundKID, s.token(newReset(someone)), "key")
			s.bindToken(boundKID, s.token(newChange(someone, "ew@example.org")), "change")
			before := s.now()
			owner, err := s.resetPassword("key", otherHash())
			must(s, err)
			near(s, "sessions_valid_after", before, s.now(), owner.SessionsValidAfter)
			user.SessionsValidAfter = owner.SessionsValidAfter
			equal(s, "owner", accounts.Owner{User: user, EmailNorm: someone}, owner)
			s.wantPassword(user.ID, otherHash())
			state := s.state(someone)
			equal(s, "user in the row", user, state.User.User)
			equal(s, "locked", false, state.Locked)
			equal(s, "failures", 0, state.FailedAttempts)
			equal(s, "tokens", "0", s.scalar("SELECT count(*) FROM user_tokens"))
			_, err = s.resetPassword("key", accounts.NewPasswordHash("a third hash"))
			want(s, err, accounts.ErrUnknownToken)
			s.wantPassword(user.ID, otherHash())
		}},
		{"another user's password, links and lock stay", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			other := newPending("lan@example.org")
			s.user(other)
			s.bindToken(boundKID, s.token(newReset(someone)), "key")
			s.bindToken(boundKID, s.token(newReset(other.EmailNorm)), "other key")
			_, err := s.DB.ChargeAttempt(s.Context(), other.EmailNorm, accounts.Lockout{Limit: 1, For: time.Hour})
			must(s, err)
			_, err = s.resetPassword("key", otherHash())
			must(s, err)
			s.wantPassword(other.ID, other.PasswordHash)
			equal(s, "locked", true, s.state(other.EmailNorm).Locked)
			_, err = s.tokenUser(accounts.MailPasswordReset, "other key")
			must(s, err)
		}},
		{"a key that is unknown, unbound, expired, of another purpose or of a disabled user resets nothing, and the transaction stays usable", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			saved := s.token(newReset(someone))
			s.tx(func(tx Tx) error {
				_, err := s.DB.ResetPassword(s.Context(), tx, accounts.PasswordReset{PasswordHash: otherHash()})
				want(s, err, accounts.ErrUnknownToken)
				_, err = s.DB.SavePending(s.Context(), tx, newPending("lan@example.org"))
				return err
			})
			s.bindToken(boundKID, saved, "key")
			s.bindToken(boundKID, s.token(newChange(someone, "ew@example.org")), "change")
			for _, key := range []string{"another", "change"} {
				_, err := s.resetPassword(key, otherHash())
				want(s, err, accounts.ErrUnknownToken)
			}
			s.backdate(time.Hour)
			_, err := s.resetPassword("key", otherHash())
			want(s, err, accounts.ErrUnknownToken)
			s.bindToken(boundKID, s.token(newReset(someone)), "key")
			s.disable(p.ID)
			_, err = s.resetPassword("key", otherHash())
			want(s, err, accounts.ErrUnknownToken)
			s.exec("UPDATE users SET disabled_at = NULL")
			s.wantPassword(p.ID, p.PasswordHash)
		}},
		{"a rolled back reset leaves the key to work", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			s.bindToken(boundKID, s.token(newReset(someone)), "key")
			want(s, s.DB.InTx(s.Context(), func(tx Tx) error {
				_, err := s.DB.ResetPassword(s.Context(), tx, accounts.PasswordReset{KeyHash: accounts.KeyHash("key"), PasswordHash: otherHash()})
				must(s, err)
				return errRollback
			}), errRollback)
			s.wantPassword(p.ID, p.PasswordHash)
			_, err := s.resetPassword("key", otherHash())
			must(s, err)
		}},
		{"of forty racers for a reset one wins", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			s.bindToken(boundKID, s.token(newReset(someone)), "key")
			outcomes := race(40, func(i int) error {
				_, err := s.resetPassword("key", accounts.NewPasswordHash(fmt.Sprint("hash ", i)))
				return err
			})
			won, lost := tally(s, outcomes, accounts.ErrUnknownToken)
			equal(s, "won", 1, won)
			equal(s, "lost", 39, lost)
			for i, err := range outcomes {
				if err == nil {
					s.wantPassword(p.ID, accounts.NewPasswordHash(fmt.Sprint("hash ", i)))
				}
			}
		}},
		{"resets, changes, requests and renewals of one user at once end without a deadlock", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			s.bindToken(boundKID, s.token(newReset(someone)), "key")
			for i, err := range race(20, func(i int) (err error) {
				switch i % 4 {
				case 0:
					_, err = s.resetPassword("key", otherHash())
				case 1:
					_, err = s.changePassword(accounts.PasswordChange{UserID: p.ID, Verified: p.PasswordHash, PasswordHash: accounts.NewPasswordHash("changed")})
				case 2:
					_, err = s.askToken(newChange(someone, fmt.Sprint(i, "@example.org")))
				case 3:
					_, err = s.renewedTokens(s.Context(), boundKID, 10)
				}
				return err
			}) {
				switch {
				case err == nil, i%4 == 0 && isAny(err, accounts.ErrUnknownToken), i%4 == 1 && isAny(err, accounts.ErrRefused):
				default:
					s.Errorf("racer %d ended with %v", i, err)
				}
			}
		}},
	}
}

func changeTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a password that was verified is replaced, sessions and links end, and failures are forgotten", func(s suite[Tx]) {
			p := newPending("da@example.org")
			user := s.user(p)
			s.charge(threeTries(), true)
			s.token(newReset(someone))
			before := s.now()
			owner, err := s.changePassword(accounts.PasswordChange{UserID: p.ID, Verified: p.PasswordHash, PasswordHash: otherHash()})
			must(s, err)
			near(s, "sessions_valid_after", before, s.now(), owner.SessionsValidAfter)
			user.SessionsValidAfter = owner.SessionsValidAfter
			equal(s, "owner", accounts.Owner{User: user, EmailNorm: someone}, owner)
			s.wantPassword(p.ID, otherHash())
			equal(s, "tokens", "0", s.scalar("SELECT count(*) FROM user_tokens"))
			equal(s, "failures", 0, s.state(someone).FailedAttempts)
		}},
		{"a password that was changed since, another's or a disabled user's is not replaced, and the transaction stays usable", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			s.tx(func(tx Tx) error {
				for _, c := range []accounts.PasswordChange{
					{UserID: p.ID, Verified: otherHash(), PasswordHash: otherHash()},
					{UserID: p.ID, PasswordHash: otherHash()},
					{UserID: newPending("").ID, Verified: p.PasswordHash, PasswordHash: otherHash()},
					{UserID: "no UUID", Verified: p.PasswordHash, PasswordHash: otherHash()},
				} {
					_, err := s.DB.ChangePassword(s.Context(), tx, c)
					want(s, err, accounts.ErrRefused)
				}
				return nil
			})
			s.disable(p.ID)
			_, err := s.changePassword(accounts.PasswordChange{UserID: p.ID, Verified: p.PasswordHash, PasswordHash: otherHash()})
			want(s, err, accounts.ErrRefused)
			s.exec("UPDATE users SET disabled_at = NULL")
			s.wantPassword(p.ID, p.PasswordHash)
		}},
		{"of twenty changes of one password at once one is made", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			outcomes := race(20, func(i int) error {
				_, err := s.changePassword(accounts.PasswordChange{
					UserID: p.ID, Verified: p.PasswordHash, PasswordHash: accounts.NewPasswordHash(fmt.Sprint("hash ", i)),
				})
				return err
			})
			won, _ := tally(s, outcomes, accounts.ErrRefused)
			equal(s, "won", 1, won)
		}},
	}
}
