package accounts_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

const newEmail = "Jane.Doe@example.org"

func (s system) askedEmail(t testing.TB, u accounts.User, to string) error {
	t.Helper()
	return s.RequestEmailChange(t.Context(), s.db.begin(), s.proof(t, u), to)
}

// emailKey asks for a change of address, and is the key that goes to the new one.
func (s system) emailKey(t testing.TB, u accounts.User, to string) string {
	t.Helper()
	if err := s.askedEmail(t, u, to); err != nil {
		t.Fatal(err)
	}
	return s.db.tokenKey(t, u.ID, accounts.MailEmailChange)
}

func (s system) confirmEmail(t testing.TB, key string) error {
	t.Helper()
	_, err := s.ConfirmEmailChange(t.Context(), s.db.begin(), key)
	return err
}

func TestAChangeOfAddressTellsBothAndConfirmsTheNewOne(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	key := s.emailKey(t, u, newEmail)
	s.mustLogIn(t, goodEmail, goodPassword) // nothing has changed yet
	got, err := s.ConfirmEmailChange(t.Context(), s.db.begin(), key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(accounts.User{ID: u.ID, Email: newEmail}, got); diff != "" {
		t.Error(diff)
	}
	s.mustLogIn(t, "jane.doe@example.org", goodPassword)
	s.mustRefuse(t, goodEmail, goodPassword)
	wantErr(t, s.confirmEmail(t, key), accounts.ErrUnknownToken)
	var stages []string
	for _, n := range s.db.notices {
		if n.Email != goodEmail || n.Detail != "j***@example.org" {
			t.Errorf("told %+v", n)
		}
		stages = append(stages, n.Stage)
	}
	if diff := cmp.Diff([]string{accounts.StageAsked, accounts.StageChanged}, stages); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"email_change", "email_change", "email_change"}, s.db.mailed()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"account.email_change_asked", "account.email_changed"}, s.db.actions()[2:]); diff != "" {
		t.Error(diff)
	}
	for _, c := range s.db.changes {
		for _, fact := range c.Detail {
			if strings.Contains(strings.ToLower(fact), "jane") {
				t.Errorf("the record shows an address: %+v", c)
			}
		}
	}
}

func TestAStaleChangeOfAddressIsRefused(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]struct {
		happens func(t *testing.T, s system, u accounts.User)
		want    error
	}{
		"another change is asked for": {func(t *testing.T, s system, u accounts.User) {
			t.Helper()
			s.emailKey(t, u, "third@example.org")
		}, accounts.ErrUnknownToken},
		"the password is changed": {func(t *testing.T, s system, u accounts.User) {
			t.Helper()
			if err := s.change(t, s.proof(t, u), otherPassword); err != nil {
				t.Fatal(err)
			}
		}, accounts.ErrUnknownToken},
		"the password is reset": {func(t *testing.T, s system, u accounts.User) {
			t.Helper()
			if err := s.reset(t, s.resetKey(t, u), otherPassword); err != nil {
				t.Fatal(err)
			}
		}, accounts.ErrUnknownToken},
		"its time is over": {func(_ *testing.T, s system, _ accounts.User) { s.db.Advance(24 * time.Hour) }, accounts.ErrUnknownToken},
		"the new address is activated by somebody else": {func(t *testing.T, s system, _ accounts.User) {
			t.Helper()
			s.activated(t, "JANE.DOE@example.org", goodPassword)
		}, accounts.ErrAlreadyActive},
		"the user is disabled": {func(_ *testing.T, s system, _ accounts.User) { s.db.users[goodEmail].Disabled = true }, accounts.ErrUnknownToken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, accounts.Config{MailEvery: -1})
			u := s.activated(t, goodEmail, goodPassword)
			key := s.emailKey(t, u, newEmail)
			between.happens(t, s, u)
			changes := len(s.db.actions())
			wantErr(t, s.confirmEmail(t, key), between.want)
			if len(s.db.actions()) != changes || s.db.users[goodEmail] == nil {
				t.Error("something was changed")
			}
		})
	}
}

func TestAnAddressThatIsTakenIsNotToldToWhoeverWantsIt(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	s.activated(t, newEmail, goodPassword)
	key := s.emailKey(t, u, newEmail)
	wantErr(t, s.confirmEmail(t, key), accounts.ErrAlreadyActive)
	s.mustLogIn(t, goodEmail, goodPassword)
}

func TestAddressesThatCannotBeChangedTo(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	for _, to := range []string{
		"", goodEmail, "Jane <jane@example.org>", "a@example.org, b@example.org", "a@example.org\r\nBcc: b@example.org", "a\x00@example.org",
		"a\u200b@example.org", "\u212aate@example.org", "\u0130@example.org", "\xff@example.org", strings.Repeat("x", 65) + "@example.org",
	} {
		wantErr(t, s.askedEmail(t, u, to), accounts.ErrInvalidEmail)
	}
	if len(s.db.tokens) != 0 || len(s.db.mailed()) != 0 {
		t.Error("something was written")
	}
	if err := s.askedEmail(t, u, "JANE@example.com"); err != nil {
		t.Errorf("another spelling of the same address: %v", err)
	}
	throttled, ok := errors.AsType[*accounts.ThrottledError](s.askedEmail(t, u, "third@example.org"))
	if !ok || !throttled.RetryAt.Equal(s.db.Now().Add(time.Minute)) {
		t.Errorf("got %v", throttled)
	}
}

func TestNoAddressIsChangedWithoutAPassword(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	old := s.proof(t, u)
	if err := s.change(t, old, otherPassword); err != nil {
		t.Fatal(err)
	}
	for _, p := range []accounts.Proof{{}, old} {
		err := s.RequestEmailChange(t.Context(), s.db.begin(), p, newEmail)
		wantErr(t, err, accounts.ErrRefused)
	}
}

func TestOfFortyRacersForAChangeOfAddressOneWins(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	key := s.emailKey(t, s.activated(t, goodEmail, goodPassword), newEmail)
	errs := make([]error, 40)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { _, errs[i] = s.ConfirmEmailChange(t.Context(), s.db.begin(), key) })
	}
	all.Wait()
	won := slices.Index(errs, nil)
	for i, err := range errs {
		if i != won && !errors.Is(err, accounts.ErrUnknownToken) {
			t.Errorf("a racer ended with %v", err)
		}
	}
}
