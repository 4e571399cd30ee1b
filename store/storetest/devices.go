package storetest

import (
	"fmt"
	"time"

	"github.com/sealq/sealq/accounts"
)

// device writes a device of a user who has his first password still, for an hour; two are kept.
func (s suite[Tx]) device(userID, token string) {
	s.Helper()
	equal(s, "current", true, s.saveDevice(userID, token, newPending("da@example.org").PasswordHash))
}

func (s suite[Tx]) saveDevice(userID, token string, verified accounts.PasswordHash) (current bool) {
	s.Helper()
	current, err := s.DB.SaveDevice(s.Context(), accounts.NewDevice{
		UserID: userID, Verified: verified, TokenHash: accounts.KeyHash(token), TTL: time.Hour, Keep: 2,
	})
	must(s, err)
	return current
}

// chargeDevice charges an attempt of someone's device, which is to be known, and allowed or not.
func (s suite[Tx]) chargeDevice(token string, allowed bool) accounts.Charge {
	s.Helper()
	charge, known, err := s.DB.ChargeDevice(s.Context(), someone, accounts.KeyHash(token), threeTries())
	must(s, err)
	equal(s, "known", true, known)
	equal(s, "allowed", allowed, charge.Allowed)
	return charge
}

func (s suite[Tx]) wantUnknownDevice(emailNorm, token string) {
	s.Helper()
	charge, known, err := s.DB.ChargeDevice(s.Context(), emailNorm, accounts.KeyHash(token), threeTries())
	must(s, err)
	equal(s, "known", false, known)
	equal(s, "charge", accounts.Charge{}, charge)
}

func deviceTests[Tx any]() []test[Tx] {
	return append(liftTests[Tx](), []test[Tx]{
		{"a device is counted and locked by itself, and its lock leaves a clean slate", func(s suite[Tx]) {
			p := newPending("da@example.org")
			user := s.user(p)
			s.device(user.ID, "token")
			charge := s.chargeDevice("token", true)
			equal(s, "user", user, charge.User.User)
			equal(s, "password", p.PasswordHash, charge.User.PasswordHash)
			equal(s, "locked for", 0, charge.LockedFor)
			s.chargeDevice("token", true)
			if charge := s.chargeDevice("token", true); charge.LockedFor <= 9*time.Minute || charge.LockedFor > 10*time.Minute {
				s.Errorf("locked for: want 10 min, got %v", charge.LockedFor)
			}
			s.chargeDevice("token", false)
			s.backdate(5 * time.Minute)
			if charge := s.chargeDevice("token", false); charge.LockedFor > 5*time.Minute {
				s.Errorf("an attempt while locked prolonged the lock: %v", charge.LockedFor)
			}
			equal(s, "failed_attempts of the address", 0, s.state(someone).FailedAttempts)
			s.backdate(5 * time.Minute)
			s.chargeDevice("token", true)
			equal(s, "failed_attempts", "1", s.scalar("SELECT failed_attempts FROM login_devices"))
		}},
		{"an address that is locked does not lock its user's devices, but an operator's lock does", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			s.device(user.ID, "token")
			s.lock()
			s.chargeDevice("token", true)
			s.wantChange("locked", true, s.setLock(30*time.Minute))
			s.wantUnknownDevice(someone, "token")
			s.backdate(30 * time.Minute)
			s.chargeDevice("token", true)
		}},
		{"an unknown token, another account's or one that is over is no device, and nothing is written", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			s.user(newPending("lan@example.org"))
			s.device(user.ID, "token")
			s.wantUnknownDevice(someone, "another")
			s.wantUnknownDevice("alan@example.org", "token")
			s.wantUnknownDevice("anobody@example.org", "token")
			s.backdate(time.Hour)
			s.wantUnknownDevice(someone, "token")
			equal(s, "failed_attempts", "0", s.scalar("SELECT failed_attempts FROM login_devices"))
			equal(s, "login_state", "0", s.scalar("SELECT count(*) FROM login_state"))
		}},
		{"a login with a device resets its counter, renews it, and leaves the address's alone", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			s.device(p.ID, "token")
			s.lock()
			for i, upgraded := range []accounts.PasswordHash{{}, otherHash()} {
				s.chargeDevice("token", true)
				s.backdate(time.Minute)
				login := accounts.Login{UserID: p.ID, EmailNorm: someone, Verified: p.PasswordHash, Upgraded: upgraded}
				current, err := s.DB.RecordDevice(s.Context(), login, accounts.KeyHash("token"), 2*time.Hour)
				must(s, err)
				equal(s, "current", true, current)
				equal(s, "failed_attempts", "0", s.scalar("SELECT failed_attempts FROM login_devices"))
				equal(s, "locked", true, s.state(someone).Locked)
				if i == 1 {
					current, err = s.DB.RecordDevice(s.Context(), login, accounts.KeyHash("token"), 2*time.Hour)
					must(s, err)
					equal(s, "current with the hash before", false, current)
				}
			}
			s.backdate(90 * time.Minute)
			s.chargeDevice("token", true)
			s.wantPassword(p.ID, otherHash())
		}},
		{"the devices that expire last are kept, and a new password or an operator ends them all", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			for i := range 4 {
				s.device(p.ID, fmt.Sprint("token ", i))
				s.backdate(time.Second)
			}
			s.wantUnknownDevice(someone, "token 1")
			s.chargeDevice("token 2", true)
			s.chargeDevice("token 3", true)
			_, err := s.changePassword(accounts.PasswordChange{UserID: p.ID, Verified: p.PasswordHash, PasswordHash: otherHash()})
			must(s, err)
			equal(s, "devices", "0", s.scalar("SELECT count(*) FROM login_devices"))
			equal(s, "by the password before", false, s.saveDevice(p.ID, "late", p.PasswordHash))
			equal(s, "devices", "0", s.scalar("SELECT count(*) FROM login_devices"))
			equal(s, "by the new one", true, s.saveDevice(p.ID, "token", otherHash()))
			s.wantChange("disabled", true, s.setDisabled(p.ID, true))
			equal(s, "devices", "0", s.scalar("SELECT count(*) FROM login_devices"))
			for _, id := range []string{p.ID, newPending("").ID, "", "no UUID"} {
				equal(s, "of nobody", false, s.saveDevice(id, "of nobody", otherHash()))
			}
			equal(s, "devices", "0", s.scalar("SELECT count(*) FROM login_devices"))
		}},
		{"of twenty guesses from a device at once three are allowed", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			s.device(user.ID, "token")
			allowed := 0
			for _, err := range race(20, func(int) error {
				charge, known, err := s.DB.ChargeDevice(s.Context(), someone, accounts.KeyHash("token"), threeTries())
				if err == nil && (!known || !charge.Allowed) {
					err = errRollback
				}
				return err
			}) {
				if err == nil {
					allowed++
				}
			}
			equal(s, "allowed", 3, allowed)
		}},
	}...)
}

func liftTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"lockouts that are over are lifted with what they were, the oldest first, if the transaction commits", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			off := s.user(newPending("ff@example.org"))
			once := accounts.Lockout{Limit: 1, For: time.Minute}
			for _, norm := range []string{someone, "aff@example.org", "anobody@example.org"} {
				_, err := s.DB.ChargeAttempt(s.Context(), norm, once)
				must(s, err)
				s.backdate(time.Second)
			}
			s.disable(off.ID)
			s.tx(func(tx Tx) error {
				_, err := s.DB.SetLock(s.Context(), tx, "aheld@example.org", time.Minute)
				return err
			})
			s.backdate(time.Minute)
			_, err := s.DB.ChargeAttempt(s.Context(), "alive@example.org", once)
			must(s, err)
			lift := func(end error) (lifted []accounts.Lifted) {
				s.Helper()
				err := s.DB.InTx(s.Context(), func(tx Tx) (err error) {
					if lifted, err = s.DB.LiftLockouts(s.Context(), tx, 2, true); err == nil {
						err = end
					}
					return err
				})
				want(s, err, end)
				return lifted
			}
			equal(s, "rolled back", 2, len(lift(errRollback)))
			all := make(map[accounts.Lifted]int)
			for batch, n := range []int{2, 2, 0} {
				lifted := lift(nil)
				equal(s, "lifted", n, len(lifted))
				for _, l := range lifted {
					all[l] = batch
				}
			}
			for l, batch := range map[accounts.Lifted]int{
				{EmailNorm: someone, UserID: user.ID}: 0, {EmailNorm: "aff@example.org"}: 0,
				{EmailNorm: "anobody@example.org"}: 1, {EmailNorm: "aheld@example.org", ByOperator: true}: 1,
			} {
				got, ok := all[l]
				equal(s, l.EmailNorm+" is lifted", true, ok)
				equal(s, "batch of "+l.EmailNorm, batch, got)
			}
			equal(s, "the live one", true, s.state("alive@example.org").Locked)
		}},
		{"lockouts are lifted without a look at users where no owner is told", func(s suite[Tx]) {
			user := s.user(newPending("da@example.org"))
			_, err := s.DB.ChargeAttempt(s.Context(), someone, accounts.Lockout{Limit: 1, For: time.Minute})
			must(s, err)
			s.backdate(time.Minute)
			lift := func(owners bool) (lifted []accounts.Lifted) {
				s.Helper()
				err := s.DB.InTx(s.Context(), func(tx Tx) (err error) {
					if lifted, err = s.DB.LiftLockouts(s.Context(), tx, 2, owners); err == nil {
						err = errRollback
					}
					return err
				})
				want(s, err, errRollback)
				return lifted
			}
			equal(s, "with owners", accounts.Lifted{EmailNorm: someone, UserID: user.ID}, lift(true)[0])
			equal(s, "without", accounts.Lifted{EmailNorm: someone}, lift(false)[0])
		}},
		{"sweeps that tell owners, and resets that lift their locks, end without a deadlock", func(s suite[Tx]) {
			const users = 10
			for i := range users {
				p := newPending(fmt.Sprint(i, "@example.org"))
				s.user(p)
				s.bindToken(boundKID, s.token(newReset(p.EmailNorm)), fmt.Sprint("key ", i))
				_, err := s.DB.ChargeAttempt(s.Context(), p.EmailNorm, accounts.Lockout{Limit: 1, For: time.Minute})
				must(s, err)
			}
			s.backdate(time.Minute)
			for i, err := range race(users+4, func(i int) error {
				if i < users {
					_, err := s.resetPassword(fmt.Sprint("key ", i), otherHash())
					return err
				}
				return s.DB.InTx(s.Context(), func(tx Tx) error {
					lifted, err := s.DB.LiftLockouts(s.Context(), tx, users, true)
					for _, l := range lifted {
						if err == nil {
							_, err = s.DB.SaveNotice(s.Context(), tx, newNotice(l.UserID))
						}
					}
					return err
				})
			}) {
				if err != nil {
					s.Errorf("racer %d ended with %v", i, err)
				}
			}
		}},
	}
}
