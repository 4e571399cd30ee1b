package accounts_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

// proof is of a user who gives the right password.
func (s system) proof(t testing.TB, u accounts.User) accounts.Proof {
	t.Helper()
	p, err := s.Prove(t.Context(), u.ID, goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s system) change(t testing.TB, p accounts.Proof, password string) error {
	t.Helper()
	_, err := s.ChangePassword(t.Context(), s.db.begin(), p, password)
	return err
}

func TestAChangeOfPasswordEndsSessionsAndLinksAndTellsTheOwner(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	key := s.resetKey(t, u)
	s.db.Advance(time.Minute)
	got, err := s.ChangePassword(t.Context(), s.db.begin(), s.proof(t, u), otherPassword)
	if err != nil {
		t.Fatal(err)
	}
	u.SessionsValidAfter = s.db.Now()
	if diff := cmp.Diff(u, got); diff != "" {
		t.Error(diff)
	}
	s.mustRefuse(t, goodEmail, goodPassword)
	s.mustLogIn(t, goodEmail, otherPassword)
	wantErr(t, s.reset(t, key, goodPassword), accounts.ErrUnknownToken)
	if diff := cmp.Diff([]string{"password_reset", "password_changed"}, s.db.mailed()); diff != "" {
		t.Error(diff)
	}
}

func TestNoOtherPathIsWithoutALockout(t *testing.T) {
	t.Parallel()
	s := newSystem(t, threeStrikes)
	u := s.activated(t, goodEmail, goodPassword)
	for range 100 { // whatever transaction the caller has, and rolls back
		tx := s.db.begin()
		if _, err := s.Prove(t.Context(), u.ID, "a wrong guess"); err != accounts.ErrRefused { //nolint:errorlint // the very value
			t.Fatalf("got %v, want ErrRefused itself", err)
		}
		tx.rollback()
	}
	if _, err := s.Prove(t.Context(), u.ID, goodPassword); err != accounts.ErrRefused { //nolint:errorlint // likewise
		t.Errorf("while locked: got %v", err)
	}
	s.mustRefuse(t, goodEmail, goodPassword) // one counter
	s.db.Advance(lockFor)
	s.guess(t, goodEmail, 2)
	s.proof(t, u)
	s.guess(t, goodEmail, 2) // a success has reset the counter
	s.mustLogIn(t, goodEmail, goodPassword)
}

func TestAProofIsWorthNothingAfterTheNextChange(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	first, second := s.proof(t, u), s.proof(t, u)
	if err := s.change(t, first, otherPassword); err != nil {
		t.Fatal(err)
	}
	wantErr(t, s.change(t, second, "Lilies-are-7-white"), accounts.ErrRefused)
	wantErr(t, s.change(t, first, "Lilies-are-7-white"), accounts.ErrRefused)
	wantErr(t, s.change(t, accounts.Proof{}, "Lilies-are-7-white"), accounts.ErrRefused)
	s.mustLogIn(t, goodEmail, otherPassword)
}

func TestNobodyProvesAnythingForAUserWhoIsNot(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	charges := s.db.charges
	for _, password := range []string{"", "a\x00b", "\xff", strings.Repeat("x", 1025)} {
		if _, err := s.Prove(t.Context(), u.ID, password); err != accounts.ErrRefused { //nolint:errorlint // the very value
			t.Errorf("%q: got %v", password, err)
		}
	}
	for _, id := range []string{"", "no such", "\x00"} {
		if _, err := s.Prove(t.Context(), id, goodPassword); err != accounts.ErrRefused { //nolint:errorlint // likewise
			t.Errorf("user %q: got %v", id, err)
		}
	}
	if s.db.charges != charges {
		t.Error("attempts that cannot succeed were charged")
	}
	s.db.users[goodEmail].Disabled = true
	if _, err := s.Prove(t.Context(), u.ID, goodPassword); err != accounts.ErrRefused { //nolint:errorlint // likewise
		t.Errorf("disabled: got %v", err)
	}
}

func TestPasswordsThatCannotBeChangedTo(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	p := s.proof(t, u)
	for _, password := range []string{"", "short", goodEmail, "a\x00bcdefgh", "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8", strings.Repeat("x", 1025)} {
		wantErr(t, s.change(t, p, password), accounts.ErrInvalidPassword)
	}
	if len(s.db.mailed()) != 0 {
		t.Error("the owner was told of nothing")
	}
	if err := s.change(t, p, strings.Repeat("x", 72)); err != nil {
		t.Error(err)
	}
}

func TestAProofPrintsNoHash(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	p := s.proof(t, u)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if got := fmt.Sprintf(verb, p); got != "proof of user/"+u.ID {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if p.UserID() != u.ID {
		t.Errorf("it is %s's", p.UserID())
	}
}

func TestAnUpgradedHashIsProof(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	costlier := system{Accounts: over(t, s.db, accounts.Config{Hash: accounts.HashCost{MemoryKiB: 16, Passes: 1, Lanes: 1}}), db: s.db}
	if err := costlier.change(t, costlier.proof(t, u), otherPassword); err != nil {
		t.Error(err)
	}
}

// moving is a store in which the user's address goes to another account as soon as he has been read.
type moving struct {
	*model
	to accounts.User
}

func (m moving) UserByID(ctx context.Context, id string) (accounts.Owner, error) {
	owner, err := m.model.UserByID(ctx, id)
	m.users[owner.EmailNorm].User = m.to
	return owner, err
}

func TestAPasswordOfWhoeverHasTheAddressNowProvesNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	a, err := accounts.New(moving{s.db, accounts.User{ID: "another", Email: goodEmail}}, s.db, accounts.Config{Hash: cheap})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := a.Prove(t.Context(), u.ID, goodPassword); err != accounts.ErrRefused { //nolint:errorlint // the very value
		t.Errorf("got %v, %v", p, err)
	}
}

func TestNobodyWithoutAProofMakesUsHash(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	wantErr(t, s.change(t, accounts.Proof{}, otherPassword), accounts.ErrRefused)
	if n := s.Stats().Hashes; n != 0 {
		t.Errorf("%d hashes", n)
	}
}
