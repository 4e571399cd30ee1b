package accounts_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

// from logs in with a device, and returns the one to keep.
func (s system) from(t testing.TB, d accounts.Device, password string) (accounts.Device, error) {
	t.Helper()
	_, d, err := s.AuthenticateDevice(t.Context(), goodEmail, password, d)
	return d, err
}

func (s system) mustRefuseDevice(t testing.TB, d accounts.Device, password string) {
	t.Helper()
	if _, err := s.from(t, d, password); err != accounts.ErrRefused { //nolint:errorlint // the very value, so that no answer differs
		t.Errorf("got %v, want ErrRefused itself", err)
	}
}

func TestAStrangerCannotKeepAnOwnerLockedOutOfHisOwnBrowser(t *testing.T) {
	t.Parallel()
	c := threeStrikes
	c.GateSize = -1 // what memory answers would hide what the store says
	s := newSystem(t, c)
	s.activated(t, goodEmail, goodPassword)
	device, err := s.from(t, accounts.Device{}, goodPassword)
	must(t, err)
	for range 5 {
		s.guess(t, goodEmail, 4) // locked, again and again
		same, err := s.from(t, device, goodPassword)
		if err != nil || same != device {
			t.Fatalf("the owner is kept out: %v", err)
		}
		s.mustRefuse(t, goodEmail, goodPassword) // his success does not open the door to strangers
		s.db.Advance(lockFor)
	}
}

func TestADeviceIsLockedByItselfAndLocksNobodyElse(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	s.activated(t, goodEmail, goodPassword)
	device, err := s.from(t, accounts.Device{}, goodPassword)
	must(t, err)
	for range 3 {
		s.mustRefuseDevice(t, device, "a wrong guess")
	}
	s.mustRefuseDevice(t, device, goodPassword)
	s.mustLogIn(t, goodEmail, goodPassword)
	s.db.Advance(lockFor)
	s.mustRefuseDevice(t, device, "a wrong guess")
	s.mustRefuseDevice(t, device, "a wrong guess")
	_, err = s.from(t, device, goodPassword)
	must(t, err)
}

func TestALoginByThePasswordBeforeGetsNoDevice(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(t *testing.T, s system, u accounts.User, p accounts.Proof){
		"a new password": func(t *testing.T, s system, _ accounts.User, p accounts.Proof) {
			t.Helper()
			must(t, s.change(t, p, otherPassword))
		},
		"a disabled account": func(t *testing.T, s system, u accounts.User, _ accounts.Proof) {
			t.Helper()
			must(t, s.operator().Disable(t.Context(), s.db.begin(), u.ID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, threeStrikes)
			u := s.activated(t, goodEmail, goodPassword)
			proof := s.proof(t, u)
			s.db.onSaveDevice = func() { meanwhile(t, s, u, proof) }
			_, device, err := s.AuthenticateDevice(t.Context(), goodEmail, goodPassword, accounts.Device{})
			wantErr(t, err, accounts.ErrRefused)
			if !device.IsZero() || len(s.db.devices) > 0 {
				t.Error("it got a device all the same")
			}
		})
	}
}

func TestWhatIsNoDeviceOfTheAccountIsChargedLikeAnyOtherAttempt(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, s system, d accounts.Device) accounts.Device{
		"none":  func(*testing.T, system, accounts.Device) accounts.Device { return accounts.Device{} },
		"blank": func(*testing.T, system, accounts.Device) accounts.Device { return accounts.ParseDevice("") },
		"foreign": func(*testing.T, system, accounts.Device) accounts.Device {
			return accounts.ParseDevice(strings.Repeat("A", 43))
		},
		"malformed": func(_ *testing.T, _ system, d accounts.Device) accounts.Device {
			return accounts.ParseDevice(d.RevealText() + "\n")
		},
		"over": func(_ *testing.T, s system, d accounts.Device) accounts.Device {
			s.db.Advance(180 * 24 * time.Hour)
			return d
		},
		"of another account": func(t *testing.T, s system, _ accounts.Device) accounts.Device {
			t.Helper()
			s.activated(t, "joe@example.com", goodPassword)
			_, d, err := s.AuthenticateDevice(t.Context(), "joe@example.com", goodPassword, accounts.Device{})
			must(t, err)
			return d
		},
		"from before a reset": func(t *testing.T, s system, d accounts.Device) accounts.Device {
			t.Helper()
			u := s.db.users[goodEmail].User
			must(t, s.reset(t, s.resetKey(t, u), goodPassword+"!"))
			return d
		},
		"from before a change": func(t *testing.T, s system, d accounts.Device) accounts.Device {
			t.Helper()
			must(t, s.change(t, s.proof(t, s.db.users[goodEmail].User), goodPassword+"!"))
			return d
		},
		"of an account that an operator locked": func(t *testing.T, s system, d accounts.Device) accounts.Device {
			t.Helper()
			must(t, s.operator().Lock(t.Context(), s.db.begin(), goodEmail, time.Hour))
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, threeStrikes)
			s.activated(t, goodEmail, goodPassword)
			device, err := s.from(t, accounts.Device{}, goodPassword)
			must(t, err)
			device = spoil(t, s, device)
			charges := s.db.login().failed
			for range 2 {
				s.mustRefuseDevice(t, device, "a wrong guess")
			}
			if got := s.db.login().failed - charges; got != 2 && name != "of an account that an operator locked" {
				t.Errorf("the address was charged %d times", got)
			}
			s.mustRefuseDevice(t, device, "a wrong guess")
			s.mustRefuseDevice(t, device, goodPassword)
		})
	}
}

func TestADeviceOpensNothingAndPrintsNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.activated(t, goodEmail, goodPassword)
	device, err := s.from(t, accounts.Device{}, goodPassword)
	must(t, err)
	for _, password := range []string{"", "\x00", strings.Repeat("x", 1025)} {
		s.mustRefuseDevice(t, device, password)
	}
	s.db.users[goodEmail].Disabled = true
	s.mustRefuseDevice(t, device, goodPassword)
	text, err := json.Marshal(map[string]any{"device": device})
	must(t, err)
	for _, printed := range []string{fmt.Sprintf("%v %+v %#v %s %q %x", device, device, device, device, device, device), string(text)} {
		if strings.Contains(printed, device.RevealText()) {
			t.Errorf("it prints %s", printed)
		}
	}
	for hash := range s.db.devices {
		if string(hash[:]) == device.RevealText() {
			t.Error("the store has the token itself")
		}
	}
	if back := accounts.ParseDevice(device.RevealText()); back != device || back.IsZero() {
		t.Error("the cookie's value is not the device")
	}
}

func TestCountersThatCountNoMoreAreForgottenWithTheLockouts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ window, kept time.Duration }{
		"after the time in which failures count":       {48 * time.Hour, 48 * time.Hour},
		"after 30 days where they count for ever":      {0, 30 * 24 * time.Hour},
		"and no sooner where that is longer than that": {60 * 24 * time.Hour, 60 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := threeStrikes
			c.Lockout.Window = test.window
			s := newSystem(t, c)
			lift := func(limit, want int) {
				t.Helper()
				n, err := s.LiftLockouts(t.Context(), s.db.begin(), limit)
				if err != nil || n != want {
					t.Errorf("swept %d, want %d: %v", n, want, err)
				}
			}
			s.guess(t, "nobody@example.com", 3) // locked
			for i := range 3 {
				s.guess(t, fmt.Sprintf("stranger%d@example.com", i), 1)
			}
			before := len(s.db.changes)
			s.db.Advance(test.kept - time.Millisecond)
			lift(10, 1) // the lockout
			s.guess(t, "nobody@example.com", 1)
			s.db.Advance(time.Millisecond)
			lift(2, 2)
			lift(2, 1)
			if len(s.db.logins) != 1 {
				t.Errorf("%d counters are left, want that of the last attempt", len(s.db.logins))
			}
			if got := len(s.db.changes) - before; got != 1 { // of the lockout
				t.Errorf("%d entries in the log, want 1", got)
			}
		})
	}
}

func TestLiftedLockoutsAreRecordedAndByOptionTheirOwnersAreTold(t *testing.T) {
	t.Parallel()
	for _, notice := range []bool{false, true} {
		t.Run(fmt.Sprint("notice: ", notice), func(t *testing.T) {
			t.Parallel()
			c := threeStrikes
			c.LockoutNotice = notice
			s := newSystem(t, c)
			u := s.activated(t, goodEmail, goodPassword)
			s.activated(t, "held@example.com", goodPassword)
			s.guess(t, goodEmail, 4)
			s.guess(t, "nobody@example.com", 3)
			must(t, s.operator().Lock(t.Context(), s.db.begin(), "held@example.com", time.Minute))
			lift := func(want int) {
				t.Helper()
				n, err := s.LiftLockouts(t.Context(), s.db.begin(), 10)
				if err != nil || n != want {
					t.Errorf("lifted %d, want %d: %v", n, want, err)
				}
			}
			before := len(s.db.changes)
			lift(0)
			s.db.Advance(lockFor)
			lift(3)
			lift(0)
			want := []accounts.Change{{
				Actor: "sweep", Action: "account.lockouts_lifted", Subject: "identifiers", Detail: map[string]string{"lockouts": "3"},
			}}
			if diff := cmp.Diff(want, s.db.changes[before:]); diff != "" {
				t.Error(diff)
			}
			var told []accountMail
			if notice {
				told = []accountMail{{"lockout_notice", u.ID, 1}}
			}
			if diff := cmp.Diff(told, s.db.told); diff != "" {
				t.Error(diff)
			}
			if _, err := s.LiftLockouts(t.Context(), s.db.begin(), 0); err == nil {
				t.Error("a limit of nothing was accepted")
			}
		})
	}
}
