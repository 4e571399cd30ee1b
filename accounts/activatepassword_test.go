package accounts_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealq/sealq/accounts"
)

const (
	strangersPassword = "the stranger's one"
	ownersPassword    = "Roses-are-8-red"
)

// registeredLater is a registration without a password, which must succeed.
func (s system) registeredLater(t *testing.T, email string) accounts.Pending {
	t.Helper()
	p, err := s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: email, PasswordLater: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A stranger registers the address of somebody who then registers it himself, and opens the link that comes to his mailbox.
func TestWhoeverRegistersAnAddressFirstHasNoPasswordInTheAccountThatItsOwnerConfirms(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]accounts.RegisterAgain{"refuse": accounts.RefuseWhilePending, "new generation": accounts.NewGeneration} {
		for between, wait := range map[string]time.Duration{"at once": 0, "later": time.Hour} {
			t.Run(name+", "+between, func(t *testing.T) {
				t.Parallel()
				s := newSystem(t, accounts.Config{RegisterAgain: again})
				s.registered(t, goodEmail, strangersPassword)
				s.db.Advance(wait)
				// Whether it is throttled, refused or mailed: nobody is told, and the owner has a link.
				_, _ = s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: goodEmail, PasswordLater: true})
				_, _ = s.Resend(t.Context(), s.db.begin(), goodEmail)
				key := s.db.mailKey(t, goodEmail)
				if _, err := s.ActivateWithPassword(t.Context(), s.db.begin(), key, ownersPassword); err != nil {
					t.Fatal(err)
				}
				s.mustRefuse(t, goodEmail, strangersPassword)
				s.mustLogIn(t, goodEmail, ownersPassword)
			})
		}
	}
}

// An app that asks for the password when somebody registers asks for it again behind the link.
func TestWhoeverOpensTheLinkOfAnothersRegistrationDoesNotActivateIt(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	p := s.registered(t, goodEmail, strangersPassword)
	key := s.db.mailKey(t, goodEmail)
	for name, password := range map[string]string{
		"the owner's": ownersPassword, "none": "", "one too long": strings.Repeat("x", 1025), "no text": "\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		_, err := s.ActivateProving(t.Context(), s.db.begin(), key, password)
		wantErr(t, err, accounts.ErrRefused)
		if len(s.db.users) != 0 {
			t.Fatalf("%s password activated it", name)
		}
	}
	u, err := s.ActivateProving(t.Context(), s.db.begin(), key, strangersPassword)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(accounts.User{ID: p.ID, Email: goodEmail}, u); diff != "" {
		t.Error(diff)
	}
	s.mustLogIn(t, goodEmail, strangersPassword)
	_, err = s.ActivateProving(t.Context(), s.db.begin(), key, strangersPassword)
	wantErr(t, err, accounts.ErrUnknownKey)
}

func TestAPasswordChosenBehindTheLinkIsHeldToThePolicyAndTheKeyStaysGood(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	p := s.registeredLater(t, "Jane@Example.com")
	key := s.db.mailKey(t, goodEmail)
	for password, cause := range map[string]error{
		"": accounts.ErrPasswordTooShort, "short": accounts.ErrPasswordTooShort, "password123": accounts.ErrPasswordCommon,
		goodEmail: accounts.ErrPasswordIsEmail, strings.Repeat("x", 1025): accounts.ErrPasswordTooLong, "violets\x00are blue": accounts.ErrPasswordNotText,
	} {
		_, err := s.ActivateWithPassword(t.Context(), s.db.begin(), key, password)
		wantErr(t, err, accounts.ErrInvalidPassword, cause)
	}
	u, err := s.ActivateWithPassword(t.Context(), s.db.begin(), key, ownersPassword)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(accounts.User{ID: p.ID, Email: "Jane@Example.com"}, u); diff != "" {
		t.Error(diff)
	}
	_, err = s.ActivateWithPassword(t.Context(), s.db.begin(), key, goodPassword)
	wantErr(t, err, accounts.ErrUnknownKey)
	s.mustLogIn(t, goodEmail, ownersPassword)
	if got := s.db.actions(); !cmp.Equal(got, []string{"account.registered", "account.activated"}) {
		t.Errorf("the record has %q", got)
	}
}

func TestARegistrationWithoutAPasswordOpensNothingWithoutOne(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.registeredLater(t, goodEmail)
	key := s.db.mailKey(t, goodEmail)
	_, err := s.Activate(t.Context(), s.db.begin(), key)
	wantErr(t, err, accounts.ErrNoPassword)
	_, err = s.ActivateProving(t.Context(), s.db.begin(), key, "")
	wantErr(t, err, accounts.ErrNoPassword)
	_, err = s.ActivateProving(t.Context(), s.db.begin(), key, goodPassword)
	wantErr(t, err, accounts.ErrNoPassword)
	if len(s.db.users) != 0 || len(s.db.pendings) != 1 {
		t.Error("something was done")
	}
	if _, err := s.ActivateWithPassword(t.Context(), s.db.begin(), key, goodPassword); err != nil {
		t.Error(err)
	}
}

func TestAPasswordThatIsToComeLaterDoesNotComeAtOnce(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	_, err := s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: goodEmail, Password: goodPassword, PasswordLater: true})
	wantErr(t, err, accounts.ErrInvalidPassword)
	if s.db.touched != 0 {
		t.Error("the store was asked")
	}
}

// Whoever registers it again has the same link mailed, but not more often than MailEvery.
func TestAStrangerWhoRegistersAgainAndAgainDoesNotVoidTheOwnersLinkWithoutAPassword(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]accounts.RegisterAgain{"refuse": accounts.RefuseWhilePending, "new generation": accounts.NewGeneration} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, accounts.Config{RegisterAgain: again})
			first := s.registeredLater(t, goodEmail)
			key := s.db.mailKey(t, goodEmail)
			_, err := s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: goodEmail, PasswordLater: true})
			wantErr(t, err, accounts.ErrThrottled)
			for range 3 {
				s.db.Advance(time.Minute)
				if diff := cmp.Diff(first, s.registeredLater(t, goodEmail)); diff != "" {
					t.Error(diff)
				}
			}
			if len(s.db.mails) != 4 {
				t.Errorf("%d mails were asked for, want 4", len(s.db.mails))
			}
			if _, err := s.ActivateWithPassword(t.Context(), s.db.begin(), key, ownersPassword); err != nil {
				t.Error("the first link:", err)
			}
			if got := s.Stats().Hashes; got != 1 {
				t.Errorf("%d hashes, want that of the activation alone", got)
			}
		})
	}
}

func TestNobodyWithoutAKeyMakesUsHash(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{RequireSent: true})
	s.registered(t, goodEmail, goodPassword)
	key := s.db.mailKey(t, goodEmail) // which is not sent yet
	before := s.Stats().Hashes
	for _, key := range []string{strings.Repeat("A", 43), key, "", "no key"} {
		_, err := s.ActivateWithPassword(t.Context(), s.db.begin(), key, goodPassword)
		wantErr(t, err, accounts.ErrUnknownKey)
		_, err = s.ActivateProving(t.Context(), s.db.begin(), key, goodPassword)
		wantErr(t, err, accounts.ErrUnknownKey)
	}
	if got := s.Stats().Hashes - before; got != 0 {
		t.Errorf("%d hashes", got)
	}
}

func TestAPasswordIsHashedBeforeTheTransactionOfAnActivation(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	s.registered(t, goodEmail, strangersPassword)
	key := s.db.mailKey(t, goodEmail)
	_, err := s.PrepareActivation(t.Context(), key, "short")
	wantErr(t, err, accounts.ErrPasswordTooShort)
	_, err = s.PrepareActivation(t.Context(), strings.Repeat("A", 43), ownersPassword)
	wantErr(t, err, accounts.ErrUnknownKey)
	_, err = s.ActivatePrepared(t.Context(), s.db.begin(), accounts.PreparedActivation{})
	wantErr(t, err, accounts.ErrUnknownKey)
	p, err := s.PrepareActivation(t.Context(), key, ownersPassword)
	if err != nil || len(s.db.users) != 0 {
		t.Fatalf("%d users, %v", len(s.db.users), err)
	}
	before := s.Stats().Hashes
	if _, err := s.ActivatePrepared(t.Context(), s.db.begin(), p); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Hashes - before; n != 0 {
		t.Errorf("%d hashes within the transaction", n)
	}
	s.mustLogIn(t, goodEmail, ownersPassword)
	s.mustRefuse(t, goodEmail, strangersPassword)
	_, err = s.ActivatePrepared(t.Context(), s.db.begin(), p)
	wantErr(t, err, accounts.ErrUnknownKey)
	if text := fmt.Sprintf("%v %+v %#v", p, p, p); strings.Contains(text, "argon2id") {
		t.Error(text)
	}
}

func TestAnOperatorsRegistrationAndActivationAreEnteredAsHis(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	_, err := s.Operator("").Register(t.Context(), s.db.begin(), accounts.Registration{Email: goodEmail, Password: goodPassword})
	wantErr(t, err, accounts.ErrNoActor)
	operator := s.Operator("cli:alice")
	p, err := operator.Register(t.Context(), s.db.begin(), accounts.Registration{Email: goodEmail, Password: goodPassword})
	if err != nil {
		t.Fatal(err)
	}
	key := s.db.mailKey(t, goodEmail)
	_, err = s.Operator("").Activate(t.Context(), s.db.begin(), key)
	wantErr(t, err, accounts.ErrNoActor)
	if _, err = operator.Activate(t.Context(), s.db.begin(), key); err != nil {
		t.Fatal(err)
	}
	want := []accounts.Change{
		{Actor: "cli:alice", Action: "account.registered", Subject: "pending/" + p.ID, Detail: map[string]string{"generation": "1"}},
		{Actor: "cli:alice", Action: "account.activated", Subject: "user/" + p.ID},
	}
	if diff := cmp.Diff(want, s.db.changes); diff != "" {
		t.Error(diff)
	}
}
