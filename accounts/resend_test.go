package accounts_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

func TestAConfirmationIsMailedOnceMoreWithTheSameKeyButNotTooOften(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{MailEvery: time.Minute})
	p := s.registered(t, goodEmail, goodPassword)
	key := s.db.mailKey(t, goodEmail)
	resend := func(email string) (accounts.Pending, error) { return s.Resend(t.Context(), s.db.begin(), email) }
	_, err := resend(goodEmail)
	throttled, ok := errors.AsType[*accounts.ThrottledError](err)
	if !ok || !throttled.RetryAt.Equal(s.db.Now().Add(time.Minute)) {
		t.Fatalf("got %v", err)
	}
	wantErr(t, err, accounts.ErrThrottled)
	s.db.Advance(time.Minute)
	again, err := resend("JANE@example.com")
	must(t, err)
	p.Email = "JANE@example.com"
	if diff := cmp.Diff(p, again); diff != "" {
		t.Error(diff)
	}
	if len(s.db.mails) != 2 || s.db.mails[0] != s.db.mails[1] {
		t.Errorf("mails: %v", s.db.mails)
	}
	if _, err := s.Activate(t.Context(), s.db.begin(), key); err != nil {
		t.Errorf("the first mail's key: %v", err)
	}
	for _, email := range []string{goodEmail, "nobody@example.com"} {
		_, err := resend(email)
		wantErr(t, err, accounts.ErrNotPending)
	}
	_, err = resend("Jane <jane@example.com>")
	wantErr(t, err, accounts.ErrInvalidEmail)
	if len(s.db.mails) != 2 {
		t.Error("something else was mailed")
	}
}

func TestRegisteringAgainAndAgainDoesNotFloodAMailbox(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{RegisterAgain: accounts.NewGeneration})
	s.registered(t, goodEmail, goodPassword)
	key := s.db.mailKey(t, goodEmail)
	_, err := s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: goodEmail, Password: otherPassword})
	wantErr(t, err, accounts.ErrThrottled)
	if len(s.db.mails) != 1 {
		t.Errorf("%d mails", len(s.db.mails))
	}
	s.db.Advance(time.Minute)
	s.registered(t, goodEmail, otherPassword)
	_, err = s.Activate(t.Context(), s.db.begin(), key)
	wantErr(t, err, accounts.ErrUnknownKey)
}

func TestWhoeverRegistersAnActiveAddressIsToldNothingAndItsOwnerIs(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{TellOwner: true})
	u := s.activated(t, goodEmail, goodPassword)
	for range 3 {
		p := s.registered(t, "JANE@example.com", otherPassword)
		if diff := cmp.Diff(accounts.Pending{Email: "JANE@example.com"}, p); diff != "" {
			t.Error(diff)
		}
	}
	if len(s.db.told) > 0 {
		t.Error("the owner was told before the answer, whose time tells nothing then")
	}
	s.answer(t)
	if diff := cmp.Diff([]accountMail{{"account_exists", u.ID, 1}}, s.db.told); diff != "" {
		t.Error(diff)
	}
	if n := s.db.notices; len(n) != 1 || n[0].Email != goodEmail {
		t.Errorf("told %+v", n)
	}
	s.mustLogIn(t, goodEmail, goodPassword)
	s.db.Advance(time.Minute)
	s.registered(t, goodEmail, otherPassword)
	s.answer(t)
	if len(s.db.told) != 2 {
		t.Error("after a while the owner should be told again")
	}
	s.db.users[goodEmail].Disabled = true
	s.db.Advance(time.Minute)
	s.registered(t, goodEmail, otherPassword)
	s.answer(t)
	if len(s.db.told) != 2 {
		t.Error("the owner of a disabled account was told")
	}
}
