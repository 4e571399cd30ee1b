package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

func TestParallelGuessesCannotBeatTheLockout(t *testing.T) {
	t.Parallel()
	for _, account := range []string{goodEmail, "nobody@example.com"} {
		t.Run(account, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, threeStrikes)
			s.activated(t, goodEmail, goodPassword)
			before := s.Stats().Hashes
			var wg sync.WaitGroup
			for i := range 60 {
				wg.Go(func() {
					if _, err := s.Authenticate(t.Context(), account, fmt.Sprint("guess number ", i)); err != accounts.ErrRefused { //nolint:errorlint // the very value
						t.Errorf("got %v", err)
					}
				})
			}
			wg.Wait()
			if got := s.Stats().Hashes - before; got != 3 {
				t.Errorf("%d of 60 parallel guesses were verified, want 3", got)
			}
		})
	}
}

func TestTheAttemptAfterTheLimitIsNotVerified(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	s.activated(t, goodEmail, goodPassword)
	s.guess(t, goodEmail, 3)
	before := s.Stats().Hashes
	s.mustRefuse(t, goodEmail, goodPassword)
	if got := s.Stats().Hashes; got != before {
		t.Error("a password was verified while locked")
	}
	if row := s.db.login(); row.failed != 4 {
		t.Errorf("%d attempts are recorded, want 4", row.failed)
	}
}

func TestTheAttemptAtTheLimitIsVerifiedAndResets(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	s.activated(t, goodEmail, goodPassword)
	for range 4 { // far more than three attempts in all
		s.guess(t, goodEmail, 2)
		s.mustLogIn(t, goodEmail, goodPassword)
	}
	if diff := cmp.Diff(0, s.db.login().failed); diff != "" {
		t.Error("a success must reset:", diff)
	}
}

// The answer, and what it costs, must be the same at each attempt for an account and for none.
func TestNoAnswerTellsWhetherTheAccountExists(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	s.activated(t, goodEmail, goodPassword)
	s.activated(t, "off@example.com", goodPassword)
	s.db.users["off@example.com"].Disabled = true
	s.registered(t, "waiting@example.com", goodPassword)
	cost := func(email string) (costs []uint64) {
		for range 6 {
			before, charges := s.Stats().Hashes, s.db.charges
			s.mustRefuse(t, email, "a wrong guess")
			costs = append(costs, s.Stats().Hashes-before, uint64(s.db.charges-charges))
		}
		return costs
	}
	// Hashes and charges per attempt: three verified, one refused by the store, the rest from memory.
	want := []uint64{1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0}
	for _, email := range []string{goodEmail, "nobody@example.com", "off@example.com", "waiting@example.com"} {
		if diff := cmp.Diff(want, cost(email)); diff != "" {
			t.Errorf("%s: %s", email, diff)
		}
	}
}

func TestADisabledAccountIsRefusedLikeAWrongPassword(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	s.activated(t, goodEmail, goodPassword)
	s.db.users[goodEmail].Disabled = true
	before, touched := s.Stats().Hashes, s.db.touched
	s.mustRefuse(t, goodEmail, goodPassword)
	if s.Stats().Hashes-before != 1 || s.db.touched-touched != 1 || s.db.login().failed != 1 {
		t.Error("it must cost one hash and one visit to the store, and stay charged")
	}
}

func TestAStrangerCannotKeepALockUp(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	s.activated(t, goodEmail, goodPassword)
	s.guess(t, goodEmail, 3)
	until := *s.db.login().lockedUntil
	for range 59 {
		s.db.Advance(lockFor / 60)
		s.mustRefuse(t, goodEmail, "another guess")
	}
	if got := *s.db.login().lockedUntil; !got.Equal(until) {
		t.Errorf("the lock moved from %s to %s", until, got)
	}
	if got := s.db.login().failed; got != 62 { // GateFor has passed between any two
		t.Errorf("%d attempts are recorded, want all 62", got)
	}
	s.db.Advance(lockFor / 60) // its very end
	s.mustLogIn(t, goodEmail, goodPassword)
}

func TestTheSlateIsCleanWhenTheTimeIsOver(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	s.activated(t, goodEmail, goodPassword)
	s.guess(t, goodEmail, 5)
	s.db.Advance(lockFor)
	s.guess(t, goodEmail, 2) // a dirty slate would lock at once
	s.mustLogIn(t, goodEmail, goodPassword)
}

func TestOnlyRecentFailuresCountWithinAWindow(t *testing.T) {
	t.Parallel()
	c := threeStrikes
	c.Lockout.Window = time.Minute
	s := newSystem(t, c)
	s.activated(t, goodEmail, goodPassword)
	for range 5 {
		s.guess(t, goodEmail, 2)
		s.db.Advance(time.Minute)
	}
	s.mustLogIn(t, goodEmail, goodPassword)
}

func TestASecondSpellingHasNoBudgetOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	s.activated(t, "jos\u00e9@b\u00fccher.example", goodPassword)
	s.guess(t, "jos\u00e9@b\u00fccher.example", 1)
	s.guess(t, "JOSE\u0301@B\u00fccher.EXAMPLE", 1)
	s.guess(t, "Jos\u00e9@xn--bcher-kva.example", 1)
	s.mustRefuse(t, "jos\u00e9@b\u00fccher.example", goodPassword)
}

func TestImpossibleCredentialsAreNotCharged(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	s.activated(t, goodEmail, goodPassword)
	touched := s.db.touched
	for _, email := range badEmails {
		s.mustRefuse(t, email, goodPassword)
	}
	for _, password := range []string{"", "NUL\x00inside", "\xff\xfe invalid", strings.Repeat("x", 1025)} {
		s.mustRefuse(t, goodEmail, password)
	}
	if s.db.touched != touched {
		t.Error("the store was asked")
	}
}

func TestAPasswordChangedMeanwhileDoesNotLogIn(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*accounts.Credentials){
		"another password": func(u *accounts.Credentials) { u.PasswordHash = accounts.NewPasswordHash("another") },
		"disabled":         func(u *accounts.Credentials) { u.Disabled = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, threeStrikes)
			s.activated(t, goodEmail, goodPassword)
			s.db.onRecord = func() { change(s.db.users[goodEmail]) }
			s.mustRefuse(t, goodEmail, goodPassword)
			if s.db.login().failed != 1 {
				t.Error("the charge must stay")
			}
		})
	}
}

func TestMemoryForgetsALockThatEndsElsewhere(t *testing.T) {
	t.Parallel()
	c := threeStrikes
	c.GateFor = 5 * time.Second
	s := newSystem(t, c)
	s.activated(t, goodEmail, goodPassword)
	s.guess(t, goodEmail, 4) // the fourth closes the gate
	delete(s.db.logins, goodEmail)
	s.mustRefuse(t, goodEmail, goodPassword)
	if got := s.Stats(); got.AnsweredFromMemory != 1 || got.Remembered != 1 {
		t.Errorf("got %+v, want one answer from memory", got)
	}
	s.db.Advance(5 * time.Second)
	s.mustLogIn(t, goodEmail, goodPassword)
	if got := s.Stats().Remembered; got != 0 {
		t.Errorf("%d identifiers are remembered after the success", got)
	}
}

func TestMemoryNeverOutlastsTheLock(t *testing.T) {
	t.Parallel()
	c := threeStrikes
	c.GateFor = 24 * time.Hour
	s := newSystem(t, c)
	s.activated(t, goodEmail, goodPassword)
	s.guess(t, goodEmail, 3)
	s.db.Advance(lockFor - time.Second)
	s.mustRefuse(t, goodEmail, goodPassword) // now remembered
	s.db.Advance(time.Second)
	s.mustLogIn(t, goodEmail, goodPassword)
}

// The third attempt is right and at the limit. A fourth, charged while the third is being recorded, finds the identifier locked. However
// late the fourth comes back from the store, memory must not keep the owner out after the success.
func TestASuccessRacingTheThresholdOpensTheGate(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"the store answers before the success": false, "the store answers after the success": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, threeStrikes)
			s.activated(t, goodEmail, goodPassword)
			s.guess(t, goodEmail, 2)
			refused, success := make(chan struct{}), make(chan struct{})
			if !late {
				close(success)
			}
			s.db.onRefused = func() { close(refused); <-success }
			var fourth sync.WaitGroup
			s.db.onRecord = func() {
				s.db.onRecord = nil
				fourth.Go(func() { s.mustRefuse(t, goodEmail, "a wrong guess") })
				<-refused
				if !late {
					fourth.Wait()
				}
			}
			s.mustLogIn(t, goodEmail, goodPassword)
			if late {
				close(success)
			}
			fourth.Wait()
			s.mustLogIn(t, goodEmail, goodPassword)
		})
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ size, want int }{
		"at its size":        {40, 40},
		"none when negative": {-1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, accounts.Config{Lockout: accounts.Lockout{Limit: 1}, GateSize: tc.size})
			for i := range 200 {
				s.guess(t, fmt.Sprintf("user%d@example.com", i), 2)
			}
			if got := s.Stats().Remembered; got != tc.want {
				t.Errorf("%d identifiers are remembered, want %d", got, tc.want)
			}
		})
	}
}

func TestHashingIsBoundedAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, accounts.Config{HashParallel: 2})
		release := accounts.HoldHashSlots(s.Accounts)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		before := s.Stats().Hashes
		_, err := s.Authenticate(ctx, goodEmail, goodPassword)
		wantErr(t, err, context.DeadlineExceeded)
		_, err = s.Register(ctx, s.db.begin(), accounts.Registration{Email: goodEmail, Password: goodPassword})
		wantErr(t, err, context.DeadlineExceeded)
		if s.Stats().Hashes != before || len(s.db.pendings) != 0 {
			t.Error("something went past the bound")
		}
		if s.db.login().failed != 1 {
			t.Error("the attempt must be charged before it waits for its hash")
		}
		release()
		s.registered(t, goodEmail, goodPassword)
	})
}

func TestAnEndedContextIsNoRefusal(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // select must not choose by chance
		if _, err := s.Authenticate(ctx, fmt.Sprintf("user%d@example.com", s.db.charges), goodPassword); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestLocksAreLoggedWithoutTheAddress(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	c := threeStrikes
	c.Logger = slog.New(slog.NewTextHandler(&out, nil))
	s := newSystem(t, c)
	s.guess(t, goodEmail, 10)
	if got := strings.Count(out.String(), "locked after too many"); got != 1 {
		t.Errorf("%d locks were logged, want 1: %s", got, &out)
	}
	if strings.Contains(out.String(), goodEmail) {
		t.Errorf("the address is in the log: %s", &out)
	}
}

func BenchmarkFloodOnALockedIdentifier(b *testing.B) {
	s := newSystem(b, accounts.Config{Lockout: accounts.Lockout{Limit: 1}, Now: time.Now})
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), goodEmail, goodPassword); err == nil {
			b.Fatal("a locked identifier logged in")
		}
	}
}
