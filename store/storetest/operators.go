package storetest

import (
	"errors"
	"slices"
	"time"

	"github.com/sealq/sealq/accounts"
)

// changes runs one change in a transaction of its own, and says whether it was one.
func (s suite[Tx]) changes(change func(tx Tx) (bool, error)) (changed bool, err error) {
	s.Helper()
	err = s.DB.InTx(s.Context(), func(tx Tx) (err error) {
		changed, err = change(tx)
		return err
	})
	return changed, err
}

func (s suite[Tx]) wantChange(what string, want bool, change func(tx Tx) (bool, error)) {
	s.Helper()
	changed, err := s.changes(change)
	must(s, err)
	equal(s, what, want, changed)
}

func (s suite[Tx]) setDisabled(id string, disabled bool) func(tx Tx) (bool, error) {
	return func(tx Tx) (bool, error) { return s.DB.SetDisabled(s.Context(), tx, id, disabled) }
}

func (s suite[Tx]) setLock(d time.Duration) func(tx Tx) (bool, error) {
	return func(tx Tx) (bool, error) { return s.DB.SetLock(s.Context(), tx, someone, d) }
}

func (s suite[Tx]) setRole(id, role string, has bool) func(tx Tx) (bool, error) {
	return func(tx Tx) (bool, error) { return s.DB.SetRole(s.Context(), tx, id, role, has) }
}

// wantSwept holds the sweep of lockouts to lift so many.
func (s suite[Tx]) wantSwept(want int) {
	s.Helper()
	n, err := s.lift(10)
	must(s, err)
	equal(s, "lifted", want, n)
}

func operatorTests[Tx any]() []test[Tx] {
	return append(lockTests[Tx](), []test[Tx]{
		{"disabling ends sessions and links once, and enabling brings neither back", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			s.bindToken(boundKID, s.token(newReset(someone)), "key")
			before := s.now()
			s.wantChange("disabled", true, s.setDisabled(p.ID, true))
			state := s.state(someone)
			equal(s, "disabled", true, state.User.Disabled)
			near(s, "sessions_valid_after", before, s.now(), state.User.SessionsValidAfter)
			equal(s, "tokens", "0", s.scalar("SELECT count(*) FROM user_tokens"))
			s.wantChange("disabled again", false, s.setDisabled(p.ID, true))
			equal(s, "sessions_valid_after stays", state.User.SessionsValidAfter, s.state(someone).User.SessionsValidAfter)
			s.wantChange("enabled", true, s.setDisabled(p.ID, false))
			s.wantChange("enabled again", false, s.setDisabled(p.ID, false))
			s.wantPassword(p.ID, p.PasswordHash)
			for _, id := range []string{newPending("").ID, "", "no UUID"} {
				for _, disabled := range []bool{true, false} {
					_, err := s.changes(s.setDisabled(id, disabled))
					want(s, err, accounts.ErrNoSuchUser)
				}
			}
		}},
		{"roles are given and taken once, and are listed by their bytes", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			list := func(disabled bool, roles ...string) {
				s.Helper()
				got, off, err := s.DB.Roles(s.Context(), p.ID)
				must(s, err)
				equal(s, "disabled", disabled, off)
				equal(s, "roles", true, slices.Equal(roles, got))
			}
			list(false)
			for _, role := range []string{"b", "a:1", "a"} {
				s.wantChange("given", true, s.setRole(p.ID, role, true))
				s.wantChange("given again", false, s.setRole(p.ID, role, true))
			}
			list(false, "a", "a:1", "b")
			s.wantChange("taken", true, s.setRole(p.ID, "a:1", false))
			s.wantChange("taken again", false, s.setRole(p.ID, "a:1", false))
			s.wantChange("disabled", true, s.setDisabled(p.ID, true))
			list(true, "a", "b")
			for _, id := range []string{newPending("").ID, "", "no UUID"} {
				_, _, err := s.DB.Roles(s.Context(), id)
				want(s, err, accounts.ErrNoSuchUser)
				for _, has := range []bool{true, false} {
					_, err := s.changes(s.setRole(id, "a", has))
					want(s, err, accounts.ErrNoSuchUser)
				}
			}
			given := 0
			for _, changed := range race(20, func(int) error {
				changed, err := s.changes(s.setRole(p.ID, "raced", true))
				if err == nil && !changed {
					err = errRollback
				}
				return err
			}) {
				if changed == nil {
					given++
				}
			}
			equal(s, "given by racers", 1, given)
		}},
	}...)
}

func lockTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a lock by hand refuses every attempt until its time is over, which leaves a clean slate", func(s suite[Tx]) {
			before := s.now()
			s.wantChange("locked", true, s.setLock(time.Hour))
			state := s.state(someone)
			near(s, "locked_until", before.Add(time.Hour), s.now().Add(time.Hour), *state.LockedUntil)
			equal(s, "by an operator", true, state.ByOperator)
			for range 3 {
				s.charge(threeTries(), false)
			}
			s.backdate(time.Hour)
			equal(s, "by an operator, when it is over", false, s.state(someone).ByOperator)
			equal(s, "failed_attempts", 1, s.charge(threeTries(), true).FailedAttempts)
			equal(s, "by hand", "0", s.scalar("SELECT count(*) FROM login_state WHERE by_operator"))
		}},
		{"a lock by hand replaces one after failures, and is lifted by hand with its counter", func(s suite[Tx]) {
			s.lock()
			s.wantChange("locked", true, s.setLock(time.Hour))
			equal(s, "failed_attempts", 3, s.state(someone).FailedAttempts)
			s.wantChange("lifted", true, s.setLock(0))
			state := s.state(someone)
			equal(s, "locked", false, state.Locked)
			equal(s, "failed_attempts", 0, state.FailedAttempts)
			s.wantChange("lifted again", false, s.setLock(0))
			s.lock() // which is one after failures again
			equal(s, "by an operator", false, s.state(someone).ByOperator)
			equal(s, "by hand", "0", s.scalar("SELECT count(*) FROM login_state WHERE by_operator"))
		}},
		{"failures are forgotten by hand without a lock too, and that is told once", func(s suite[Tx]) {
			s.charge(threeTries(), true)
			s.wantChange("forgotten", true, s.setLock(0))
			equal(s, "failed_attempts", 0, s.state(someone).FailedAttempts)
			s.wantChange("forgotten again", false, s.setLock(0))
		}},
		{"of two locks the longer stands: one by hand that is shorter than another changes nothing, one after failures becomes one by hand", func(s suite[Tx]) {
			s.wantChange("locked", true, s.setLock(time.Hour))
			until := *s.state(someone).LockedUntil
			s.wantChange("locked for less", false, s.setLock(time.Minute))
			equal(s, "until the longer is over", true, s.state(someone).LockedUntil.Equal(until))
			s.wantChange("locked for longer", true, s.setLock(2*time.Hour))
			equal(s, "until the longer still is over", true, s.state(someone).LockedUntil.After(until))
			s.backdate(2 * time.Hour)
			s.wantChange("locked when both are over", true, s.setLock(time.Minute))
			s.wantChange("lifted", true, s.setLock(0))
			s.lock()
			until = *s.state(someone).LockedUntil
			s.wantChange("locked for less than after failures", true, s.setLock(time.Second))
			state := s.state(someone)
			equal(s, "until", true, state.LockedUntil.Equal(until))
			equal(s, "by an operator", true, state.ByOperator)
		}},
		{"who has an address is told, disabled or not", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			s.save(newPending("lan@example.org"))
			s.wantChange("disabled", true, s.setDisabled(p.ID, true))
			s.tx(func(tx Tx) error {
				for address, want := range map[string]string{someone: p.ID, "alan@example.org": "", "anobody@example.org": ""} {
					id, err := s.DB.UserOf(s.Context(), tx, address)
					must(s, err)
					equal(s, address, want, id)
				}
				return nil
			})
		}},
		{"a lock by hand is lifted by no sweep before its time is over", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			s.lock()
			s.wantChange("locked", true, s.setLock(time.Hour))
			s.wantSwept(0)
			s.backdate(time.Hour - time.Minute) // the lock after failures, which it has replaced, would be over
			s.wantSwept(0)
			equal(s, "by an operator", true, s.state(someone).ByOperator)
			s.backdate(time.Minute)
			s.wantSwept(1)
		}},
		{"operators who lock and disable at once, and owners who change their passwords meanwhile, end without a deadlock", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			s.charge(threeTries(), true)
			for _, err := range race(12, func(i int) error {
				if i%2 == 0 {
					_, err := s.changePassword(accounts.PasswordChange{UserID: p.ID, Verified: p.PasswordHash, PasswordHash: p.PasswordHash})
					if errors.Is(err, accounts.ErrRefused) { // while he is disabled
						err = nil
					}
					return err
				}
				return s.DB.InTx(s.Context(), func(tx Tx) error {
					for _, change := range []func(tx Tx) (bool, error){s.setLock(time.Hour), s.setDisabled(p.ID, true), s.setLock(0), s.setDisabled(p.ID, false)} {
						if _, err := change(tx); err != nil {
							return err
						}
					}
					return nil
				})
			}) {
				must(s, err)
			}
			equal(s, "locked", false, s.state(someone).Locked)
			s.wantPassword(p.ID, p.PasswordHash)
		}},
		{"a lock by hand is lifted by neither a login that was under way nor a new password", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			s.charge(threeTries(), true)
			s.bindToken(boundKID, s.token(newReset(someone)), "key")
			s.wantChange("locked", true, s.setLock(time.Hour))
			for _, upgraded := range []accounts.PasswordHash{{}, otherHash()} {
				current, err := s.DB.RecordLogin(s.Context(), accounts.Login{UserID: p.ID, EmailNorm: someone, Verified: p.PasswordHash, Upgraded: upgraded})
				must(s, err)
				equal(s, "current", false, current)
			}
			_, err := s.resetPassword("key", otherHash())
			must(s, err)
			_, err = s.changePassword(accounts.PasswordChange{UserID: p.ID, Verified: otherHash(), PasswordHash: p.PasswordHash})
			must(s, err)
			equal(s, "locked", true, s.state(someone).Locked)
			s.wantChange("lifted", true, s.setLock(0))
			s.wantPassword(p.ID, p.PasswordHash)
		}},
	}
}

func (s suite[Tx]) resend(emailNorm string, notWithin time.Duration) (saved accounts.SavedPending, err error) {
	s.Helper()
	err = s.DB.InTx(s.Context(), func(tx Tx) (err error) {
		saved, err = s.DB.ResendPending(s.Context(), tx, emailNorm, notWithin)
		return err
	})
	return saved, err
}

func resendTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"a live registration is mailed once more as it is, but not within a while", func(s suite[Tx]) {
			before := s.now()
			saved := s.save(newPending("da@example.org"))
			after := s.now()
			s.bind(saved, "key")
			_, err := s.resend(someone, time.Minute)
			throttled, ok := errors.AsType[*accounts.ThrottledError](err)
			if !ok {
				s.Fatalf("want a *ThrottledError, got %v", err)
			}
			near(s, "retry at", before.Add(time.Minute), after.Add(time.Minute), throttled.RetryAt)
			again, err := s.resend(someone, 0)
			must(s, err)
			equal(s, "registration", saved, again)
			s.backdate(time.Minute)
			outcomes := race(20, func(int) error {
				_, err := s.resend(someone, time.Minute)
				return err
			})
			won, _ := tally(s, outcomes, accounts.ErrThrottled)
			equal(s, "mailed once more", 1, won)
			equal(s, "resend_count", "2", s.scalar("SELECT resend_count FROM pending_users"))
			_, err = s.activate(s.Context(), "key")
			must(s, err)
		}},
		{"what is unknown, expired or confirmed is not mailed once more, and the transaction stays usable", func(s suite[Tx]) {
			s.user(newPending("da@example.org"))
			s.save(newPending("lan@example.org"))
			s.backdate(time.Hour)
			s.tx(func(tx Tx) error {
				for _, norm := range []string{someone, "alan@example.org", "anobody@example.org"} {
					_, err := s.DB.ResendPending(s.Context(), tx, norm, time.Minute)
					want(s, err, accounts.ErrNotPending)
				}
				_, err := s.DB.SavePending(s.Context(), tx, newPending("third@example.org"))
				return err
			})
		}},
		{"a live registration is not replaced within a while of its mail, an expired one is", func(s suite[Tx]) {
			s.save(newPending("da@example.org"))
			p := newPending("da@example.org")
			p.ReplaceLive, p.NotWithin = true, 2*time.Hour
			s.tx(func(tx Tx) error {
				_, err := s.DB.SavePending(s.Context(), tx, p)
				want(s, err, accounts.ErrThrottled)
				return nil
			})
			equal(s, "generation", 1, s.state(someone).Pending.Generation)
			s.backdate(time.Hour)
			equal(s, "generation", 2, s.save(p).Generation)
			s.backdate(30 * time.Minute)
			p.NotWithin = 30 * time.Minute
			equal(s, "generation", 3, s.save(p).Generation)
		}},
		{"a notice by address goes to its user where he has it, unless he is disabled", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			n := accounts.NewNotice{EmailNorm: someone, Mail: accounts.MailAccountExists, TTL: time.Hour}
			saved := s.notice(n)
			equal(s, "user", p.ID, saved.UserID)
			equal(s, "to", p.Email, s.claimAccountMail(accountClaim(saved)).To)
			s.disable(p.ID)
			_, err := s.tryNotice(n)
			want(s, err, accounts.ErrNoSuchUser)
			n.EmailNorm = "anobody@example.org"
			_, err = s.tryNotice(n)
			want(s, err, accounts.ErrNoSuchUser)
		}},
	}
}
