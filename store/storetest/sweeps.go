package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/sweep"
)

// expire deletes up to limit registrations, and requests by address, whose time is over.
func (s suite[Tx]) expire(ctx context.Context, limit int) (n int, err error) {
	for _, w := range sweep.Expiry() {
		if n < limit && err == nil {
			var b sweep.Batch
			b, err = s.DB.SweepBatch(ctx, w, limit-n)
			n += b.Gone
		}
	}
	return n, err
}

// lift clears up to limit lockouts that are over.
func (s suite[Tx]) lift(limit int) (n int, err error) {
	err = s.DB.InTx(s.Context(), func(tx Tx) error {
		lifted, err := s.DB.LiftLockouts(s.Context(), tx, limit, false)
		n = len(lifted)
		return err
	})
	return n, err
}

// forget deletes up to limit counters of attempts that are a month old.
func (s suite[Tx]) forget(limit int) (n int, err error) {
	err = s.DB.InTx(s.Context(), func(tx Tx) (err error) {
		n, err = s.DB.ForgetAttempts(s.Context(), tx, month, limit)
		return err
	})
	return n, err
}

const (
	day   = 24 * time.Hour
	month = 30 * day
)

func sweepTests[Tx any]() []test[Tx] {
	return append(forgetTests[Tx](), []test[Tx]{
		{"where nothing is due a sweep changes nothing", func(s suite[Tx]) {
			for _, address := range []string{"da@example.org", "lan@example.org"} { // before and after there is something
				n, err := s.expire(s.Context(), 10)
				must(s, err)
				equal(s, "registrations", 0, n)
				n, err = s.lift(10)
				must(s, err)
				equal(s, "lockouts", 0, n)
				s.save(newPending(address))
				s.charge(accounts.Lockout{Limit: 2, For: time.Hour}, true)
			}
		}},
		{"expired registrations are deleted, the oldest first, in batches, and live ones stay", func(s suite[Tx]) {
			for i := range 5 {
				s.save(newPending(fmt.Sprintf("%d@example.org", i)))
				s.backdate(time.Second)
			}
			s.backdate(time.Hour)
			s.save(newPending("live@example.org"))
			for _, want := range []struct{ swept, left int }{{2, 4}, {2, 2}, {1, 1}, {0, 1}} {
				n, err := s.expire(s.Context(), 2)
				must(s, err)
				equal(s, "swept", want.swept, n)
				equal(s, "left", fmt.Sprint(want.left), s.scalar("SELECT count(*) FROM pending_users"))
				if want.left == 4 {
					equal(s, "the third is next", true, s.state("a1@example.org").Pending == nil && s.state("a2@example.org").Pending != nil)
				}
			}
			equal(s, "the live one", true, s.state("alive@example.org").Pending != nil)
		}},
		{"lockouts that are over are cleared with their counters, the oldest first, in batches", func(s suite[Tx]) {
			once := accounts.Lockout{Limit: 1, For: time.Minute}
			lock := func(address string, l accounts.Lockout) {
				_, err := s.DB.ChargeAttempt(s.Context(), address, l)
				must(s, err)
			}
			for i := range 3 {
				lock(fmt.Sprintf("%d@example.org", i), once)
				s.backdate(time.Second)
			}
			s.backdate(time.Minute)
			lock("locked@example.org", once)
			lock("failed@example.org", threeTries())
			for _, want := range []int{2, 1, 0} {
				n, err := s.lift(2)
				must(s, err)
				equal(s, "swept", want, n)
				if want == 2 {
					equal(s, "the third is next", 1, s.state("2@example.org").FailedAttempts)
				}
			}
			for i := range 3 {
				equal(s, "state", accounts.State{}, s.state(fmt.Sprintf("%d@example.org", i)))
			}
			equal(s, "a lock that holds", true, s.state("locked@example.org").Locked)
			equal(s, "a failure without a lock", 1, s.state("failed@example.org").FailedAttempts)
		}},
		{"sweeps that run at once change every row once", func(s suite[Tx]) {
			for i := range 40 {
				s.save(newPending(fmt.Sprintf("%d@example.org", i)))
			}
			s.backdate(time.Hour)
			swept := make([]int, 4)
			for _, err := range race(4, func(i int) error {
				for range 100 { // an empty batch may mean that others have locked what is left
					n, err := s.expire(s.Context(), 7)
					if err != nil {
						return err
					}
					swept[i] += n
				}
				return nil
			}) {
				must(s, err)
			}
			equal(s, "swept", 40, swept[0]+swept[1]+swept[2]+swept[3])
			equal(s, "left", "0", s.scalar("SELECT count(*) FROM pending_users"))
		}},
		{"a sweep that races with logins costs nobody a lock", func(s suite[Tx]) {
			s.lock()
			s.backdate(threeTries().For)
			allowed := make([]int, 20)
			for _, err := range race(20, func(i int) error {
				if i%4 == 0 {
					_, err := s.lift(10)
					return err
				}
				charge, err := s.DB.ChargeAttempt(s.Context(), someone, threeTries())
				if charge.Allowed {
					allowed[i]++
				}
				return err
			}) {
				must(s, err)
			}
			total := 0
			for _, n := range allowed {
				total += n
			}
			equal(s, "allowed after the lock", 3, total)
		}},
	}...)
}

func forgetTests[Tx any]() []test[Tx] {
	return []test[Tx]{
		{"attempts that are old enough are forgotten, the oldest first, in batches, and no lock is", func(s suite[Tx]) {
			attempt := func(address string) {
				s.Helper()
				_, err := s.DB.ChargeAttempt(s.Context(), address, threeTries())
				must(s, err)
			}
			for i := range 3 {
				attempt(fmt.Sprintf("old%d@example.org", i))
				s.backdate(day)
			}
			s.lock() // which is over
			s.wantChange("locked", true, func(tx Tx) (bool, error) { return s.DB.SetLock(s.Context(), tx, "held@example.org", 3*month) })
			attempt("late@example.org")
			s.backdate(month - day)
			attempt("late@example.org")
			s.backdate(2 * day)
			attempt("new@example.org")
			left := int64(3)
			for _, want := range []int{2, 1, 0} {
				due, err := s.DB.CountDue(s.Context(), sweep.Walk{Part: sweep.Attempts, Keep: month}, true)
				must(s, err)
				equal(s, "counted before", left, due)
				n, err := s.forget(2)
				must(s, err)
				left -= int64(n)
				equal(s, "forgotten", want, n)
				if want == 2 {
					equal(s, "the third is next", 1, s.state("old2@example.org").FailedAttempts)
				}
			}
			equal(s, "an attempt within the month", 2, s.state("late@example.org").FailedAttempts)
			equal(s, "a new attempt", 1, s.state("new@example.org").FailedAttempts)
			equal(s, "a lock by hand", true, s.state("held@example.org").ByOperator)
			equal(s, "a lock that is over, which is another sweep's", 3, s.state(someone).FailedAttempts)
			equal(s, "rows", "4", s.scalar("SELECT count(*) FROM login_state"))
			s.wantSwept(1)
		}},
		{"a sweep that forgets attempts and races with new ones costs nobody a try, and gives nobody one", func(s suite[Tx]) {
			recent := threeTries()
			recent.Window = month
			s.charge(recent, true)
			s.charge(recent, true)
			s.backdate(month + 2*day)
			allowed := make([]int, 20)
			for _, err := range race(20, func(i int) error {
				if i%4 == 0 {
					_, err := s.forget(10)
					return err
				}
				charge, err := s.DB.ChargeAttempt(s.Context(), someone, recent)
				if charge.Allowed {
					allowed[i]++
				}
				return err
			}) {
				must(s, err)
			}
			total := 0
			for _, n := range allowed {
				total += n
			}
			equal(s, "allowed", 3, total)
		}},
	}
}
