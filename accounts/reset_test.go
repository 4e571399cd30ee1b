package accounts_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

const otherPassword = "Roses-are-8-red"

// askedReset asks for a link, which must succeed.
func (s system) askedReset(t testing.TB, email string) {
	t.Helper()
	if err := s.RequestReset(t.Context(), s.db.begin(), email); err != nil {
		t.Fatal(err)
	}
	s.answer(t)
}

// answer plays the worker that answers what was asked for.
func (s system) answer(t testing.TB) {
	t.Helper()
	s.db.mu.Lock()
	asked := s.db.asked
	s.db.asked = nil
	s.db.mu.Unlock()
	for _, id := range asked {
		if err := s.Answer(t.Context(), s.db.begin(), id); err != nil {
			t.Fatal(err)
		}
	}
}

// resetKey asks for a link, and is its key.
func (s system) resetKey(t testing.TB, u accounts.User) string {
	t.Helper()
	s.askedReset(t, u.Email)
	return s.db.tokenKey(t, u.ID, accounts.MailPasswordReset)
}

func (s system) reset(t testing.TB, key, password string) error {
	t.Helper()
	_, err := s.ResetPassword(t.Context(), s.db.begin(), key, password)
	return err
}

func TestAResetGivesANewPasswordOnceEndsSessionsAndTellsTheOwner(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	key := s.resetKey(t, u)
	s.db.Advance(time.Minute)
	got, err := s.ResetPassword(t.Context(), s.db.begin(), key, otherPassword)
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
	want := []string{"account.registered", "account.activated", "account.reset_asked", "account.password_reset"}
	if diff := cmp.Diff(want, s.db.actions()); diff != "" {
		t.Error(diff)
	}
}

func TestAResetLiftsALockWhoeverSetItButAnOperator(t *testing.T) {
	t.Parallel()
	for _, byOperator := range []bool{false, true} {
		t.Run(fmt.Sprint("by an operator: ", byOperator), func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, threeStrikes)
			u := s.activated(t, goodEmail, goodPassword)
			s.guess(t, goodEmail, 4)
			s.db.logins[goodEmail].byOperator = byOperator
			if err := s.reset(t, s.resetKey(t, u), otherPassword); err != nil {
				t.Fatal(err)
			}
			if byOperator {
				s.mustRefuse(t, goodEmail, otherPassword)
				return
			}
			s.mustLogIn(t, goodEmail, otherPassword)
		})
	}
}

func TestAnAnswerToAResetDoesNotTellWhetherTheAddressIsKnown(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.activated(t, goodEmail, goodPassword)
	s.registered(t, "pending@example.com", goodPassword)
	s.activated(t, "disabled@example.com", goodPassword)
	s.db.users["disabled@example.com"].Disabled = true
	changes := len(s.db.actions())
	for _, email := range []string{goodEmail, "JANE@example.com", "nobody@example.com", "pending@example.com", "disabled@example.com"} {
		if err := s.RequestReset(t.Context(), s.db.begin(), email); err != nil {
			t.Errorf("%s: %v", email, err)
		}
	}
	if n := len(s.db.asked); n != 4 { // one for each address, in whatever spelling
		t.Errorf("%d requests are to be answered, want 4", n)
	}
	s.answer(t)
	if diff := cmp.Diff([]string{"password_reset"}, s.db.mailed()); diff != "" {
		t.Errorf("one of them is mailed, once: %s", diff)
	}
	if n := len(s.db.actions()) - changes; n != 1 {
		t.Errorf("%d entries, want that of the one request", n)
	}
	if err := s.RequestReset(t.Context(), s.db.begin(), "Jane <jane@example.com>"); !errors.Is(err, accounts.ErrInvalidEmail) {
		t.Errorf("got %v", err)
	}
}

func TestARequestIsAnsweredOnceAndOneThatIsRolledBackNever(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.activated(t, goodEmail, goodPassword)
	tx := s.db.begin()
	if err := s.RequestReset(t.Context(), tx, goodEmail); err != nil {
		t.Fatal(err)
	}
	id := s.db.asked[0]
	tx.rollback()
	if err := s.Answer(t.Context(), s.db.begin(), id); err != nil || len(s.db.mailed()) > 0 {
		t.Errorf("one that was rolled back: %v, mailed %v", err, s.db.mailed())
	}
	if err := s.RequestReset(t.Context(), s.db.begin(), goodEmail); err != nil { // which the other has not throttled
		t.Fatal(err)
	}
	id = s.db.asked[0]
	for range 3 {
		s.db.Advance(2 * time.Minute)
		if err := s.Answer(t.Context(), s.db.begin(), id); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"password_reset"}, s.db.mailed()); diff != "" {
		t.Error(diff)
	}
}

func TestARequestLooksAtNothingThatKnowsOfAccounts(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.activated(t, goodEmail, goodPassword)
	for _, email := range []string{goodEmail, "nobody@example.com"} {
		for _, want := range []int{2, 1} { // a row and its job; then nothing, as it was asked for a moment ago
			before := s.db.touched
			if err := s.RequestReset(t.Context(), s.db.begin(), email); err != nil {
				t.Fatal(err)
			}
			if n := s.db.touched - before; n != want {
				t.Errorf("%s: %d calls of the store, want %d", email, n, want)
			}
		}
	}
}

func TestAStrangerWhoAsksAgainAndAgainDoesNotVoidTheOwnersLink(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{ResetTTL: time.Hour, MailEvery: time.Minute})
	u := s.activated(t, goodEmail, goodPassword)
	key := s.resetKey(t, u)
	for range 30 {
		s.db.Advance(time.Minute)
		s.askedReset(t, goodEmail)
	}
	if got := s.db.told; len(got) != 31 || got[30] != got[0] {
		t.Errorf("want the same link 31 times, got %v", got)
	}
	if err := s.reset(t, key, otherPassword); err != nil {
		t.Error(err)
	}
}

func TestALinkThatIsAskedForInItsSecondHalfIsAFreshOne(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{ResetTTL: time.Hour})
	u := s.activated(t, goodEmail, goodPassword)
	old := s.resetKey(t, u)
	s.db.Advance(31 * time.Minute)
	fresh := s.resetKey(t, u)
	wantErr(t, s.reset(t, old, otherPassword), accounts.ErrUnknownToken)
	s.db.Advance(time.Hour - time.Second)
	if err := s.reset(t, fresh, otherPassword); err != nil {
		t.Error(err)
	}
}

func TestKeysThatResetNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	key := s.resetKey(t, u)
	touched, hashes := s.db.touched, s.Stats().Hashes
	for name, bad := range map[string]string{
		"blank": "", "a space": " ", "short": key[:42], "long": key + "A", "padded": key + "=", "NUL": key[:42] + "\x00",
		"a line end": key[:42] + "\n", "invalid UTF-8": key[:42] + "\xff", "another alphabet": strings.Repeat("+", 43),
	} {
		if err := s.reset(t, bad, otherPassword); !errors.Is(err, accounts.ErrUnknownToken) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if s.db.touched != touched {
		t.Error("the store was asked for keys that cannot be")
	}
	wantErr(t, s.reset(t, strings.Repeat("A", 43), otherPassword), accounts.ErrUnknownToken)
	s.registered(t, "joe@example.com", goodPassword)
	wantErr(t, s.reset(t, s.db.mailKey(t, "joe@example.com"), otherPassword), accounts.ErrUnknownToken)
	if s.Stats().Hashes != hashes+1 { // of the registration
		t.Error("hashed for whoever has no key")
	}
	s.db.Advance(time.Hour)
	wantErr(t, s.reset(t, key, otherPassword), accounts.ErrUnknownToken)
	s.mustLogIn(t, goodEmail, goodPassword)
}

func TestPasswordsThatCannotBeResetTo(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	key := s.resetKey(t, u)
	changes := len(s.db.actions())
	for password, cause := range map[string]error{
		"":                        accounts.ErrPasswordTooShort,
		"short":                   accounts.ErrPasswordTooShort,
		goodEmail:                 accounts.ErrPasswordIsEmail,
		"password123":             accounts.ErrPasswordCommon,
		"nul\x00nul\x00nul":       accounts.ErrPasswordNotText,
		"invalid\xff\xfe\xfd":     accounts.ErrPasswordNotText,
		strings.Repeat("x", 1025): accounts.ErrPasswordTooLong,
	} {
		wantErr(t, s.reset(t, key, password), accounts.ErrInvalidPassword, cause)
	}
	if len(s.db.actions()) != changes {
		t.Error("something was recorded")
	}
	if err := s.reset(t, key, strings.Repeat("x", 1024)); err != nil {
		t.Errorf("the key should be good still: %v", err)
	}
}

func TestOfFortyRacersForAResetOneWins(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{HashParallel: 40})
	key := s.resetKey(t, s.activated(t, goodEmail, goodPassword))
	errs := make([]error, 40)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { _, errs[i] = s.ResetPassword(t.Context(), s.db.begin(), key, fmt.Sprint("Violets-are-", i)) })
	}
	all.Wait()
	won := slices.Index(errs, nil)
	for i, err := range errs {
		if i != won && !errors.Is(err, accounts.ErrUnknownToken) {
			t.Errorf("a racer ended with %v", err)
		}
	}
	s.mustLogIn(t, goodEmail, fmt.Sprint("Violets-are-", won))
}

func TestAResetThatIsRolledBackNeverHappened(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	key := s.resetKey(t, s.activated(t, goodEmail, goodPassword))
	tx := s.db.begin()
	if _, err := s.ResetPassword(t.Context(), tx, key, otherPassword); err != nil {
		t.Fatal(err)
	}
	tx.rollback()
	s.mustLogIn(t, goodEmail, goodPassword)
	if err := s.reset(t, key, otherPassword); err != nil {
		t.Error(err)
	}
}

func TestALeakedKeyVoidsTheLinksThatItMadeAndMailsThemAnew(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	s.registered(t, "joe@example.com", goodPassword)
	s.db.mailKey(t, "joe@example.com")
	old := s.resetKey(t, u)
	for want := range 3 { // one each, then nothing
		n, err := s.RenewKeys(t.Context(), s.db.begin(), signingKID, 1)
		if err != nil || n != min(1, 2-want) {
			t.Fatalf("renewed %d: %v", n, err)
		}
	}
	wantErr(t, s.reset(t, old, otherPassword), accounts.ErrUnknownToken)
	if err := s.reset(t, s.db.tokenKey(t, u.ID, accounts.MailPasswordReset), otherPassword); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"password_reset", "password_reset", "password_changed"}, s.db.mailed()); diff != "" {
		t.Error(diff)
	}
}

func TestNoRecordHoldsASecretOrAnAddress(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	key := s.resetKey(t, u)
	if err := s.reset(t, key, otherPassword); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.db.changes {
		text := fmt.Sprint(c)
		for _, secret := range []string{goodEmail, "jane", goodPassword, otherPassword, key, "$argon2id"} {
			if strings.Contains(text, secret) {
				t.Errorf("the entry %s shows %s", text, secret)
			}
		}
	}
}
