package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
)

// newReset asks for a link to reset the password of an address, for an hour.
func newReset(emailNorm string) accounts.NewToken {
	return accounts.NewToken{EmailNorm: emailNorm, Purpose: accounts.MailPasswordReset, Nonce: newPending("").Nonce, TTL: time.Hour}
}

// newChange asks for a link to change an address.
func newChange(emailNorm, to string) accounts.NewToken {
	return accounts.NewToken{
		EmailNorm: emailNorm, Purpose: accounts.MailEmailChange, NewEmail: "N" + to, NewEmailNorm: "n" + to, Nonce: newPending("").Nonce, TTL: time.Hour,
	}
}

func (s suite[Tx]) askToken(t accounts.NewToken) (saved accounts.SavedToken, err error) {
	s.Helper()
	err = s.DB.InTx(s.Context(), func(tx Tx) (err error) {
		saved, err = s.DB.SaveToken(s.Context(), tx, t)
		return err
	})
	return saved, err
}

func (s suite[Tx]) token(t accounts.NewToken) accounts.SavedToken {
	s.Helper()
	saved, err := s.askToken(t)
	must(s, err)
	return saved
}

// bindToken gives a token the key of that text, of that signing key.
func (s suite[Tx]) bindToken(kid string, t accounts.SavedToken, key string) {
	s.Helper()
	must(s, s.DB.BindTokenKey(s.Context(), tokenDraft(t), kid, accounts.KeyHash(key)))
}

func tokenDraft(t accounts.SavedToken) authjobs.MailDraft {
	return authjobs.MailDraft{UserID: t.UserID, Mail: string(t.Purpose), Generation: t.Generation}
}

// tokenUser tells whose key it is.
func (s suite[Tx]) tokenUser(purpose accounts.Mail, key string) (owner accounts.Owner, err error) {
	s.Helper()
	err = s.DB.InTx(s.Context(), func(tx Tx) (err error) {
		owner, err = s.DB.TokenUser(s.Context(), tx, purpose, accounts.KeyHash(key))
		return err
	})
	again, errAgain := s.DB.LinkUser(s.Context(), purpose, accounts.KeyHash(key))
	equal(s, "without a transaction", owner, again)
	if !errors.Is(errAgain, err) {
		s.Errorf("without a transaction: want %v, got %v", err, errAgain)
	}
	return owner, err
}

func (s suite[Tx]) disable(id string) {
	s.Helper()
	s.exec("UPDATE users SET disabled_at = created_at WHERE id = '" + id + "'")
}

func tokenTests[Tx any]() []test[Tx] {
	return append(tokenRules[Tx](), tokenRenewals[Tx]()...)
}

func tokenRules[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a user is read by his ID, and no other ID is anybody's", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			owner, err := s.DB.UserByID(s.Context(), user.ID)
			must(s, err)
			equal(s, "owner", accounts.Owner{User: user, EmailNorm: someone}, owner)
			for _, id := range []string{newPending("").ID, "", "no UUID", "\x00", "\xff"} {
				_, err := s.DB.UserByID(s.Context(), id)
				want(s, err, accounts.ErrNoSuchUser)
			}
		}},
		{"a link is asked for by address, or by ID and address, and expires after its TTL by the database's clock", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			before := s.now()
			saved := s.token(newReset(someone))
			near(s, "expires_at", before.Add(time.Hour), s.now().Add(time.Hour), saved.ExpiresAt)
			equal(s, "token", accounts.SavedToken{UserID: user.ID, Purpose: accounts.MailPasswordReset, Generation: 1, ExpiresAt: saved.ExpiresAt}, saved)
			change := newChange(someone, "ew@example.org")
			change.UserID = user.ID
			equal(s, "the other's generation", 2, s.token(change).Generation)
		}},
		{"nobody's address, a pending one, a disabled one and another user's ID get no link", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			s.save(newPending("lan@example.org"))
			off := s.user(newPending("ff@example.org"))
			s.disable(off.ID)
			others := newReset(someone)
			others.UserID = off.ID
			malformed := newReset(someone)
			malformed.UserID = "no UUID"
			for _, t := range []accounts.NewToken{newReset("anobody@example.org"), newReset("alan@example.org"), newReset("aff@example.org"), newReset(""), others, malformed} {
				_, err := s.askToken(t)
				want(s, err, accounts.ErrNoSuchUser)
			}
			equal(s, "tokens", "0", s.scalar("SELECT count(*) FROM user_tokens"))
			equal(s, "numbers", "0", s.scalar("SELECT sum(mail_generation) FROM users"))
			equal(s, "user", true, user.ID != "")
		}},
		{"a link that was asked for a short while ago is refused with the time when that is over, and the transaction stays usable", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			again := newReset(someone)
			again.NotWithin = time.Minute
			before := s.now()
			s.token(newReset(someone))
			after := s.now()
			s.tx(func(tx Tx) error {
				_, err := s.DB.SaveToken(s.Context(), tx, again)
				throttled, ok := errors.AsType[*accounts.ThrottledError](err)
				if !ok {
					s.Fatalf("want a *ThrottledError, got %v", err)
				}
				near(s, "retry at", before.Add(time.Minute), after.Add(time.Minute), throttled.RetryAt)
				_, err = s.DB.SaveToken(s.Context(), tx, newChange(someone, "ew@example.org"))
				return err // another purpose is not held back
			})
			s.backdate(time.Minute)
			s.token(again)
		}},
		{"a link is mailed once more in its first half, and made anew after that: the old key is dead", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			first := s.token(newReset(someone))
			s.bindToken(boundKID, first, "key")
			equal(s, "token", first, s.token(newReset(someone)))
			s.backdate(29 * time.Minute)
			equal(s, "generation", 1, s.token(newReset(someone)).Generation)
			_, err := s.tokenUser(accounts.MailPasswordReset, "key")
			must(s, err)
			s.backdate(2 * time.Minute)
			before := s.now()
			fresh := s.token(newReset(someone))
			equal(s, "generation", 2, fresh.Generation)
			near(s, "expires_at", before.Add(time.Hour), s.now().Add(time.Hour), fresh.ExpiresAt)
			_, err = s.tokenUser(accounts.MailPasswordReset, "key")
			want(s, err, accounts.ErrUnknownToken)
			equal(s, "kid", "", s.scalar("SELECT kid FROM user_tokens"))
		}},
		{"another new address makes the link anew at once", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			s.bindToken(boundKID, s.token(newChange(someone, "ew@example.org")), "key")
			equal(s, "generation", 2, s.token(newChange(someone, "other@example.org")).Generation)
			_, err := s.tokenUser(accounts.MailEmailChange, "key")
			want(s, err, accounts.ErrUnknownToken)
		}},
		{"a key is its user's, for its purpose, until it expires or he is disabled", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			saved := s.token(newReset(someone))
			_, err := s.tokenUser(accounts.MailPasswordReset, "key")
			want(s, err, accounts.ErrUnknownToken)
			s.bindToken(boundKID, saved, "key")
			owner, err := s.tokenUser(accounts.MailPasswordReset, "key")
			must(s, err)
			equal(s, "owner", accounts.Owner{User: user, EmailNorm: someone}, owner)
			_, err = s.tokenUser(accounts.MailEmailChange, "key")
			want(s, err, accounts.ErrUnknownToken)
			s.tx(func(tx Tx) error {
				_, err := s.DB.TokenUser(s.Context(), tx, accounts.MailPasswordReset, [32]byte{})
				want(s, err, accounts.ErrUnknownToken)
				return nil
			})
			s.backdate(59 * time.Minute)
			_, err = s.tokenUser(accounts.MailPasswordReset, "key")
			must(s, err)
			s.backdate(time.Minute)
			_, err = s.tokenUser(accounts.MailPasswordReset, "key")
			want(s, err, accounts.ErrUnknownToken)
			s.bindToken(boundKID, s.token(newReset(someone)), "key")
			s.disable(user.ID)
			_, err = s.tokenUser(accounts.MailPasswordReset, "key")
			want(s, err, accounts.ErrUnknownToken)
		}},
		{"of twenty who ask at once one makes the link", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			asked := newReset(someone)
			asked.NotWithin = time.Minute
			outcomes := race(20, func(int) error {
				_, err := s.askToken(asked)
				return err
			})
			won, lost := tally(s, outcomes, accounts.ErrThrottled)
			equal(s, "won", 1, won)
			equal(s, "lost", 19, lost)
		}},
		{"a user who goes takes his links with him", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			s.token(newReset(someone))
			s.exec("DELETE FROM users WHERE id = '" + user.ID + "'")
			equal(s, "tokens", "0", s.scalar("SELECT count(*) FROM user_tokens"))
		}},
	}
}

// renewedTokens voids up to limit links of a key in a transaction of its own.
func (s suite[Tx]) renewedTokens(ctx context.Context, kid string, limit int) (list []accounts.SavedToken, err error) {
	err = s.DB.InTx(ctx, func(tx Tx) (err error) {
		list, err = s.DB.RenewTokens(ctx, tx, kid, limit, func() []byte { return newPending("").Nonce })
		return err
	})
	return list, err
}

func tokenRenewals[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"renewed links are of the next generations, and the old keys are dead", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			reset, change := s.token(newReset(someone)), s.token(newChange(someone, "ew@example.org"))
			s.bindToken(boundKID, reset, "reset")
			s.bindToken(boundKID, change, "change")
			renewed, err := s.renewedTokens(s.Context(), boundKID, 10)
			must(s, err)
			equal(s, "renewed", 2, len(renewed))
			generations := map[uint64]bool{}
			for _, t := range renewed {
				generations[t.Generation] = true
				equal(s, "user", user.ID, t.UserID)
				equal(s, "expires_at stays", true, t.ExpiresAt.Equal(reset.ExpiresAt) || t.ExpiresAt.Equal(change.ExpiresAt))
			}
			equal(s, "generations 3 and 4", true, generations[3] && generations[4])
			equal(s, "the user's number", "4", s.scalar("SELECT mail_generation FROM users"))
			_, err = s.tokenUser(accounts.MailPasswordReset, "reset")
			want(s, err, accounts.ErrUnknownToken)
			s.bindToken(boundKID, renewed[0], "another key")
		}},
		{"only live links of the key are renewed, up to the limit, those that expire first first", func(s suite[Tx]) {
			for i, name := range []string{"0", "1", "2"} {
				s.user(newPending(name + "@example.org"))
				t := newReset("a" + name + "@example.org")
				t.TTL += time.Duration(i) * time.Minute
				s.bindToken(boundKID, s.token(t), "key "+name)
			}
			s.user(newPending("da@example.org"))
			s.token(newReset(someone)) // not bound
			s.user(newPending("ther@example.org"))
			s.bindToken("0badc0de", s.token(newReset("ather@example.org")), "another key")
			s.backdate(time.Hour + 30*time.Second) // the first is over, and those two
			renewed, err := s.renewedTokens(s.Context(), boundKID, 1)
			must(s, err)
			equal(s, "renewed", 1, len(renewed))
			_, err = s.tokenUser(accounts.MailPasswordReset, "key 1")
			want(s, err, accounts.ErrUnknownToken)
			_, err = s.tokenUser(accounts.MailPasswordReset, "key 2")
			must(s, err)
			for _, rest := range []int{1, 0} {
				renewed, err = s.renewedTokens(s.Context(), boundKID, 10)
				must(s, err)
				equal(s, "renewed", rest, len(renewed))
			}
			none, err := s.renewedTokens(s.Context(), "\x00\xff", 10)
			must(s, err)
			equal(s, "of no key", 0, len(none))
		}},
		{"a key is needed by the live tokens that were bound to it and whose mail was not accepted", func(s suite[Tx]) {
			need := func(n int) {
				s.Helper()
				got, err := s.DB.RowsNeedingKey(s.Context(), boundKID)
				must(s, err)
				equal(s, "rows", n, got)
			}
			s.user(newPending("da@example.org"))
			reset := s.token(newReset(someone))
			need(0)
			s.bindToken(boundKID, reset, "key")
			s.bindToken(boundKID, s.token(newChange(someone, "ew@example.org")), "second key")
			need(2)
			s.mailSent(s.claimAccountMail(accountClaim(reset)))
			need(1)
			s.backdate(time.Hour)
			need(0)
		}},
	}
}
