package accounts_test

import (
	"testing"
	"time"

	"github.com/sealq/sealq/accounts"
)

func TestAStrangerCannotKeepAnOwnerFromChangingHisPasswordInHisOwnBrowser(t *testing.T) {
	t.Parallel()
	c := threeStrikes
	c.GateSize = -1 // what memory answers would hide what the store says
	s := newSystem(t, c)
	u := s.activated(t, goodEmail, goodPassword)
	device, err := s.from(t, accounts.Device{}, goodPassword)
	must(t, err)
	s.guess(t, goodEmail, 4)
	_, err = s.Prove(t.Context(), u.ID, goodPassword)
	wantErr(t, err, accounts.ErrRefused)
	_, err = s.ProveDevice(t.Context(), u.ID, goodPassword, accounts.Device{})
	wantErr(t, err, accounts.ErrRefused)
	p, err := s.ProveDevice(t.Context(), u.ID, goodPassword, device)
	must(t, err)
	s.mustRefuse(t, goodEmail, goodPassword) // his success does not open the door to strangers
	must(t, s.change(t, p, otherPassword))
	_, err = s.ProveDevice(t.Context(), u.ID, otherPassword, device)
	must(t, err) // the device is over, but so is the lock: a new password lifts it
}

func TestAPasswordIsNotGuessedWithADeviceBesideItsCounter(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	u := s.activated(t, goodEmail, goodPassword)
	device, err := s.from(t, accounts.Device{}, goodPassword)
	must(t, err)
	for range 3 {
		_, err := s.ProveDevice(t.Context(), u.ID, "a wrong guess", device)
		wantErr(t, err, accounts.ErrRefused)
	}
	_, err = s.ProveDevice(t.Context(), u.ID, goodPassword, device)
	wantErr(t, err, accounts.ErrRefused)
	s.mustRefuseDevice(t, device, goodPassword) // one counter for both
	s.mustLogIn(t, goodEmail, goodPassword)
	s.db.Advance(lockFor)
	_, err = s.ProveDevice(t.Context(), u.ID, goodPassword, device)
	must(t, err)
}

func TestAnotherAccountsDeviceProvesNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	u := s.activated(t, goodEmail, goodPassword)
	s.activated(t, "joe@example.com", goodPassword)
	_, joes, err := s.AuthenticateDevice(t.Context(), "joe@example.com", goodPassword, accounts.Device{})
	must(t, err)
	s.guess(t, goodEmail, 4)
	_, err = s.ProveDevice(t.Context(), u.ID, goodPassword, joes)
	wantErr(t, err, accounts.ErrRefused)
	_, mine, err := s.AuthenticateDevice(t.Context(), "joe@example.com", goodPassword, joes)
	if err != nil || mine != joes {
		t.Errorf("Joe's own device is charged: %v", err)
	}
	must(t, s.operator().Unlock(t.Context(), s.db.begin(), goodEmail))
	device, err := s.from(t, accounts.Device{}, goodPassword)
	must(t, err)
	must(t, s.operator().Lock(t.Context(), s.db.begin(), goodEmail, time.Hour))
	_, err = s.ProveDevice(t.Context(), u.ID, goodPassword, device)
	wantErr(t, err, accounts.ErrRefused) // an operator's lock holds for all
}
