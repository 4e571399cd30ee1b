package accounts_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

func (s system) renewed(t testing.TB, limit, want int) {
	t.Helper()
	n, err := s.RenewKeys(t.Context(), s.db.begin(), signingKID, limit)
	if err != nil || n != want {
		t.Errorf("renewed %d, want %d: %v", n, want, err)
	}
}

func TestRenewedKeysDieAndAreMailedAnew(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	p := s.registered(t, goodEmail, goodPassword)
	old := s.db.mailKey(t, goodEmail)
	nonce := s.db.pendings[goodEmail].Nonce
	s.db.Advance(time.Hour)
	s.renewed(t, 10, 1)

	_, err := s.Activate(t.Context(), s.db.begin(), old)
	wantErr(t, err, accounts.ErrUnknownKey)
	want := []wanted{{p.ID, 1, p.ExpiresAt}, {p.ID, 2, p.ExpiresAt}} // not a moment longer than was promised
	if diff := cmp.Diff(want, s.db.mails); diff != "" {
		t.Error(diff)
	}
	if fresh := s.db.pendings[goodEmail].Nonce; len(fresh) != 16 || string(fresh) == string(nonce) {
		t.Errorf("nonce %x after %x", fresh, nonce)
	}
	if _, err := s.Activate(t.Context(), s.db.begin(), s.db.mailKey(t, goodEmail)); err != nil {
		t.Error(err)
	}
	s.mustLogIn(t, goodEmail, goodPassword)
}

func TestRenewingLeavesAloneWhatTheKeyCannotOpen(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*testing.T, system){
		"not mailed yet": func(t *testing.T, s system) {
			t.Helper()
			s.registered(t, goodEmail, goodPassword)
		},
		"of another signing key": func(t *testing.T, s system) {
			t.Helper()
			s.registered(t, goodEmail, goodPassword)
			s.db.mailKey(t, goodEmail)
			s.db.pendings[goodEmail].kid = "0badc0de"
		},
		"expired": func(t *testing.T, s system) {
			t.Helper()
			s.registered(t, goodEmail, goodPassword)
			s.db.mailKey(t, goodEmail)
			s.db.Advance(24 * time.Hour)
		},
		"activated": func(t *testing.T, s system) {
			t.Helper()
			s.activated(t, goodEmail, goodPassword)
		},
		"renewed already": func(t *testing.T, s system) {
			t.Helper()
			s.registered(t, goodEmail, goodPassword)
			s.db.mailKey(t, goodEmail)
			s.renewed(t, 10, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, accounts.Config{})
			prepare(t, s)
			mails := len(s.db.mails)
			s.renewed(t, 10, 0)
			if len(s.db.mails) != mails {
				t.Errorf("mails were asked for: %v", s.db.mails[mails:])
			}
		})
	}
}

func TestRenewingGoesInBatches(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	for i := range 5 {
		email := fmt.Sprintf("jane%d@example.com", i)
		s.registered(t, email, goodPassword)
		s.db.mailKey(t, email)
	}
	for _, want := range []int{2, 2, 1, 0} {
		s.renewed(t, 2, want)
	}
	if len(s.db.mails) != 10 {
		t.Errorf("%d mails were asked for, want one more for each", len(s.db.mails))
	}
	touched := s.db.touched
	for _, limit := range []int{0, -1} {
		if n, err := s.RenewKeys(t.Context(), s.db.begin(), signingKID, limit); err == nil || n != 0 {
			t.Errorf("a limit of %d renewed %d", limit, n)
		}
	}
	if s.db.touched != touched {
		t.Error("the store was asked for a limit that cannot be meant")
	}
}

func TestARolledBackRenewalLeavesTheKeyAlive(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.registered(t, goodEmail, goodPassword)
	key := s.db.mailKey(t, goodEmail)
	tx := s.db.begin()
	down := errors.New("the outbox is full")
	s.db.failMail = down
	n, err := s.RenewKeys(t.Context(), tx, signingKID, 10)
	wantErr(t, err, down)
	if n != 0 {
		t.Errorf("renewed %d in spite of the error", n)
	}
	tx.rollback()
	if _, err := s.Activate(t.Context(), s.db.begin(), key); err != nil {
		t.Error(err)
	}
}
