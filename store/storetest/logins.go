package storetest

import (
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

const someone = "ada@example.org"

// threeTries is a lockout: it locks for ten minutes after three attempts.
func threeTries() accounts.Lockout { return accounts.Lockout{Limit: 3, For: 10 * time.Minute} }

// charge charges one attempt, which is to be allowed or not, and returns the state after it.
func (s suite[Tx]) charge(l accounts.Lockout, allowed bool) accounts.State {
	s.Helper()
	charge, err := s.DB.ChargeAttempt(s.Context(), someone, l)
	must(s, err)
	equal(s, "allowed", allowed, charge.Allowed)
	state := s.state(someone)
	equal(s, "locked", state.Locked, charge.LockedFor > 0)
	return state
}

// lock uses up three tries.
func (s suite[Tx]) lock() accounts.State {
	s.Helper()
	s.charge(threeTries(), true)
	s.charge(threeTries(), true)
	return s.charge(threeTries(), true)
}

func loginTests[Tx any]() []test[Tx] {
	return append(chargeTests[Tx](), recordTests[Tx]()...)
}

func chargeTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"the attempt that reaches the limit is allowed and locks, the next one is refused", func(s suite[Tx]) {
			for n := 1; n < 3; n++ {
				before := s.now()
				state := s.charge(threeTries(), true)
				equal(s, "failed_attempts", n, state.FailedAttempts)
				equal(s, "locked", false, state.Locked)
				near(s, "last_failed_at", before, s.now(), *state.LastFailedAt)
			}
			before := s.now()
			charge, err := s.DB.ChargeAttempt(s.Context(), someone, threeTries())
			must(s, err)
			after := s.now()
			equal(s, "allowed", true, charge.Allowed)
			if charge.LockedFor <= threeTries().For-time.Minute || charge.LockedFor > threeTries().For {
				s.Errorf("locked for: want %v, got %v", threeTries().For, charge.LockedFor)
			}
			state := s.state(someone)
			equal(s, "failed_attempts", 3, state.FailedAttempts)
			equal(s, "locked", true, state.Locked)
			near(s, "locked_until", before.Add(threeTries().For), after.Add(threeTries().For), *state.LockedUntil)
			s.charge(threeTries(), false)
		}},
		{"while locked an attempt is counted and prolongs nothing", func(s suite[Tx]) {
			locked := s.lock()
			s.backdate(5 * time.Minute)
			state := s.charge(threeTries(), false)
			equal(s, "failed_attempts", 4, state.FailedAttempts)
			equal(s, "locked_until", locked.LockedUntil.Add(-5*time.Minute), *state.LockedUntil)
			equal(s, "last_failed_at moves", true, state.LastFailedAt.After(*locked.LastFailedAt))
			charge, err := s.DB.ChargeAttempt(s.Context(), someone, threeTries())
			must(s, err)
			if charge.LockedFor <= 4*time.Minute || charge.LockedFor > 5*time.Minute {
				s.Errorf("locked for: want what is left of the lock, 5 min, got %v", charge.LockedFor)
			}
		}},
		{"a lock that is over leaves a clean slate before any sweep", func(s suite[Tx]) {
			s.lock()
			s.charge(threeTries(), false)
			s.backdate(threeTries().For)
			over := s.state(someone)
			equal(s, "locked", false, over.Locked)
			equal(s, "locked_until stands", true, over.LockedUntil != nil)
			state := s.charge(threeTries(), true)
			equal(s, "failed_attempts", 1, state.FailedAttempts)
			equal(s, "locked_until", true, state.LockedUntil == nil)
		}},
		{"without a window an old failure counts", func(s suite[Tx]) {
			s.charge(threeTries(), true)
			s.backdate(1000 * time.Hour)
			equal(s, "failed_attempts", 2, s.charge(threeTries(), true).FailedAttempts)
		}},
		{"with a window only a recent failure counts", func(s suite[Tx]) {
			recent := threeTries()
			recent.Window = time.Hour
			s.charge(recent, true)
			s.backdate(time.Hour - time.Minute)
			equal(s, "failed_attempts", 2, s.charge(recent, true).FailedAttempts)
			s.backdate(time.Hour)
			equal(s, "failed_attempts", 1, s.charge(recent, true).FailedAttempts)
		}},
		{"a window shorter than the lock does not open it", func(s suite[Tx]) {
			short := threeTries()
			short.Window = time.Minute
			s.lock()
			s.backdate(2 * time.Minute)
			equal(s, "failed_attempts", 4, s.charge(short, false).FailedAttempts)
		}},
		{"a limit of one locks with the first attempt", func(s suite[Tx]) {
			once := accounts.Lockout{Limit: 1, For: time.Minute}
			equal(s, "locked", true, s.charge(once, true).Locked)
			s.charge(once, false)
		}},
		{"a lowered limit still allows the attempt that finds no lock", func(s suite[Tx]) {
			ten := accounts.Lockout{Limit: 10, For: time.Minute}
			for range 5 {
				s.charge(ten, true)
			}
			equal(s, "locked", true, s.charge(threeTries(), true).Locked)
			s.charge(threeTries(), false)
		}},
		{"a raised limit does not open a lock", func(s suite[Tx]) {
			s.lock()
			s.charge(accounts.Lockout{Limit: 100, For: time.Minute}, false)
		}},
		{"a lock that was set by hand holds", func(s suite[Tx]) {
			s.save(newPending("lan@example.org")) // its end is a time in the future
			s.charge(threeTries(), true)
			s.exec("UPDATE login_state SET locked_until = (SELECT expires_at FROM pending_users)")
			s.charge(threeTries(), false)
		}},
		{"an address without an account is counted like one with an account", func(s suite[Tx]) {
			user := newPending("da@example.org")
			s.user(user)
			for n := 1; n <= 4; n++ {
				known, err := s.DB.ChargeAttempt(s.Context(), user.EmailNorm, threeTries())
				must(s, err)
				unknown, err := s.DB.ChargeAttempt(s.Context(), "nobody@example.org", threeTries())
				must(s, err)
				if known.User == nil || unknown.User != nil {
					s.Fatalf("users: want one and none, got %v and %v", known.User, unknown.User)
				}
				equal(s, "allowed", known.Allowed, unknown.Allowed)
				equal(s, "locked", known.LockedFor > 0, unknown.LockedFor > 0)
				equal(s, "failed_attempts", s.state(user.EmailNorm).FailedAttempts, s.state("nobody@example.org").FailedAttempts)
			}
		}},
		{"a charge brings the user's credentials", func(s suite[Tx]) {
			p := newPending("da@example.org")
			user := s.user(p)
			charge, err := s.DB.ChargeAttempt(s.Context(), p.EmailNorm, threeTries())
			must(s, err)
			equal(s, "user", user, charge.User.User)
			equal(s, "password hash", p.PasswordHash.RevealText(), charge.User.PasswordHash.RevealText())
			equal(s, "disabled", false, charge.User.Disabled)
			s.exec("UPDATE users SET disabled_at = created_at, sessions_valid_after = created_at")
			charge, err = s.DB.ChargeAttempt(s.Context(), p.EmailNorm, threeTries())
			must(s, err)
			equal(s, "disabled", true, charge.User.Disabled)
			equal(s, "sessions_valid_after", false, charge.User.SessionsValidAfter.IsZero())
		}},
		{"of sixty clients with ten guesses each, three guesses are allowed", func(s suite[Tx]) {
			for round := range 2 { // without a row, and with one whose lock is over
				allowed := make([]int, 60)
				for _, err := range race(60, func(i int) error {
					for range 10 {
						charge, err := s.DB.ChargeAttempt(s.Context(), someone, threeTries())
						if err != nil {
							return err
						}
						if charge.Allowed {
							allowed[i]++
						}
					}
					return nil
				}) {
					must(s, err)
				}
				total := 0
				for _, n := range allowed {
					total += n
				}
				equal(s, "allowed", 3, total)
				equal(s, "failed_attempts", 600, s.state(someone).FailedAttempts)
				if round == 0 {
					s.backdate(threeTries().For)
				}
			}
		}},
	}
}

func recordTests[Tx any]() []test[Tx] {
	login := func(p accounts.NewPending) accounts.Login {
		return accounts.Login{UserID: p.ID, EmailNorm: p.EmailNorm, Verified: p.PasswordHash}
	}
	return []test[Tx]{
		{"a recorded login leaves the counter as if never charged", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			never := s.state(someone)
			s.lock()
			current, err := s.DB.RecordLogin(s.Context(), login(p))
			must(s, err)
			equal(s, "current", true, current)
			if diff := cmp.Diff(never, s.state(someone), cmp.Comparer(func(a, b accounts.PasswordHash) bool { return a == b })); diff != "" {
				s.Errorf("state (-never charged +recorded):\n%s", diff)
			}
			equal(s, "failed_attempts", 1, s.charge(threeTries(), true).FailedAttempts)
		}},
		{"a recorded login leaves the counters of others alone", func(s suite[Tx]) {
			p := newPending("lan@example.org")
			s.user(p)
			s.charge(threeTries(), true)
			_, err := s.DB.RecordLogin(s.Context(), login(p))
			must(s, err)
			equal(s, "failed_attempts", 1, s.state(someone).FailedAttempts)
		}},
		{"an upgraded hash replaces the verified one", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			upgrade := login(p)
			upgrade.Upgraded = accounts.NewPasswordHash("a costlier hash")
			current, err := s.DB.RecordLogin(s.Context(), upgrade)
			must(s, err)
			equal(s, "current", true, current)
			s.wantPassword(p.ID, upgrade.Upgraded)
			again, err := s.DB.RecordLogin(s.Context(), login(p))
			must(s, err)
			equal(s, "the replaced hash is current", false, again)
		}},
		{"of twenty racing upgrades one is recorded", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			recorded := make([]bool, 20)
			for _, err := range race(20, func(i int) (err error) {
				upgrade := login(p)
				upgrade.Upgraded = accounts.NewPasswordHash("a costlier hash")
				recorded[i], err = s.DB.RecordLogin(s.Context(), upgrade)
				return err
			}) {
				must(s, err)
			}
			n := 0
			for _, current := range recorded {
				if current {
					n++
				}
			}
			equal(s, "recorded", 1, n)
		}},
		{"a login whose password has changed, or whose account is disabled or gone, is not current and changes nothing", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.user(p)
			s.charge(threeTries(), true)
			changed, unknown, nonsense := login(p), login(p), login(p)
			changed.Verified = accounts.NewPasswordHash("the hash before")
			unknown.UserID = newPending("x").ID
			nonsense.UserID = "no such user"
			refuse := func(what string, l accounts.Login) {
				for _, upgraded := range []accounts.PasswordHash{{}, accounts.NewPasswordHash("a costlier hash")} {
					l.Upgraded = upgraded
					current, err := s.DB.RecordLogin(s.Context(), l)
					must(s, err)
					equal(s, what+" is current", false, current)
				}
				equal(s, "failed_attempts", 1, s.state(someone).FailedAttempts)
			}
			refuse("a changed password", changed)
			refuse("an unknown user", unknown)
			refuse("nonsense", nonsense)
			s.exec("UPDATE users SET disabled_at = created_at")
			refuse("a disabled account", login(p))
			s.exec("UPDATE users SET disabled_at = NULL")
			s.wantPassword(p.ID, p.PasswordHash)
		}},
		{"an unknown address has the zero state", func(s suite[Tx]) {
			equal(s, "state", accounts.State{}, s.state("nobody@example.org"))
		}},
		{"a state judges by the database's clock", func(s suite[Tx]) {
			p := newPending("da@example.org")
			s.save(p)
			s.lock()
			state := s.state(someone)
			equal(s, "locked", true, state.Locked)
			equal(s, "expired", false, state.Pending.Expired)
			s.backdate(p.TTL)
			state = s.state(someone)
			equal(s, "locked", false, state.Locked)
			equal(s, "expired", true, state.Pending.Expired)
			equal(s, "failed_attempts stand", 3, state.FailedAttempts)
		}},
	}
}
