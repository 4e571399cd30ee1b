package accounts_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sealq/sealq/accounts"
)

func TestRegistrationAndItsMailAreOneTransaction(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	tx := s.db.begin()
	p, err := s.Register(t.Context(), tx, accounts.Registration{Email: "Jane@Example.com", Password: goodPassword})
	if err != nil {
		t.Fatal(err)
	}
	expires := s.db.Now().Add(24 * time.Hour)
	want := accounts.Pending{ID: p.ID, Email: "Jane@Example.com", Generation: 1, ExpiresAt: expires}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	if id, err := uuid.Parse(p.ID); err != nil || id.Version() != 7 {
		t.Errorf("ID %q is not a UUIDv7", p.ID)
	}
	if diff := cmp.Diff([]wanted{{p.ID, 1, expires}}, s.db.mails); diff != "" {
		t.Error(diff)
	}
	row := s.db.pendings[goodEmail]
	if len(row.Nonce) != 16 || string(row.Nonce) == strings.Repeat("\x00", 16) {
		t.Errorf("nonce of %d bytes: %x", len(row.Nonce), row.Nonce)
	}
	if !strings.HasPrefix(row.PasswordHash.RevealText(), "$argon2id$v=19$m=8,t=1,p=1$") {
		t.Errorf("stored %q", row.PasswordHash.RevealText())
	}
	tx.rollback()
	if len(s.db.pendings)+len(s.db.mails) != 0 {
		t.Error("a rolled back registration left something behind")
	}
}

func TestBadInputWritesNothing(t *testing.T) {
	t.Parallel()
	refuse := func(t *testing.T, r accounts.Registration, want error) {
		t.Helper()
		s := newSystem(t, accounts.Config{})
		p, err := s.Register(t.Context(), s.db.begin(), r)
		wantErr(t, err, want)
		if p != (accounts.Pending{}) {
			t.Errorf("a refused registration gave %+v", p)
		}
		if s.db.touched != 0 {
			t.Error("the store was asked")
		}
		if len(r.Password) > 5 && strings.Contains(err.Error(), r.Password) {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
	for name, email := range badEmails {
		t.Run("address: "+name, func(t *testing.T) {
			t.Parallel()
			refuse(t, accounts.Registration{Email: email, Password: goodPassword}, accounts.ErrInvalidEmail)
		})
	}
	for name, tc := range map[string]struct {
		password string
		cause    error
	}{
		"0 bytes":                     {"", accounts.ErrPasswordTooShort},
		"7 bytes":                     {"xk7#pQz", accounts.ErrPasswordTooShort},
		"7 characters in 14 bytes":    {"éàüöäßñ", accounts.ErrPasswordTooShort},
		"4 letters in 8 code points":  {"e\u0301a\u0300o\u0308u\u0308", accounts.ErrPasswordTooShort},
		"1,025 bytes":                 {strings.Repeat("x", 1025), accounts.ErrPasswordTooLong},
		"a megabyte":                  {strings.Repeat("x", 1<<20), accounts.ErrPasswordTooLong},
		"NUL":                         {"violets\x00are blue", accounts.ErrPasswordNotText},
		"invalid UTF-8":               {"violets\xffare blue", accounts.ErrPasswordNotText},
		"a common one":                {"password123", accounts.ErrPasswordCommon},
		"a common one in other cases": {"PassWord123", accounts.ErrPasswordCommon},
		"a row of keys":               {"1qaz2wsx", accounts.ErrPasswordCommon},
		"the address":                 {"Longname@Example.com", accounts.ErrPasswordIsEmail},
		"its local part":              {"longName", accounts.ErrPasswordIsEmail},
	} {
		t.Run("password: "+name, func(t *testing.T) {
			t.Parallel()
			r := accounts.Registration{Email: "longname@example.com", Password: tc.password}
			refuse(t, r, accounts.ErrInvalidPassword)
			refuse(t, r, tc.cause)
		})
	}
}

func TestPasswordsOfEveryLengthInBoundsLogIn(t *testing.T) {
	t.Parallel()
	for _, size := range []int{8, 72, 73, 1024} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, accounts.Config{})
			password := strings.Repeat("Zq", size/2) + strings.Repeat("!", size%2)
			s.activated(t, goodEmail, password)
			s.mustLogIn(t, goodEmail, password)
			s.mustRefuse(t, goodEmail, password[:size-1])
			s.mustRefuse(t, goodEmail, password[:size-1]+"?")
			s.mustRefuse(t, goodEmail, password+"!")
		})
	}
}

func TestReRegistrationCannotSwapThePassword(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	first := s.registered(t, goodEmail, goodPassword)
	key := s.db.mailKey(t, goodEmail)

	_, err := s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: "JANE@example.com", Password: "the attacker's own"})
	wantErr(t, err, accounts.ErrPending)
	if pending, ok := errors.AsType[*accounts.PendingError](err); !ok || !pending.ExpiresAt.Equal(first.ExpiresAt) {
		t.Errorf("got %v, want a PendingError until %s", err, first.ExpiresAt)
	}
	if len(s.db.mails) != 1 {
		t.Errorf("%d mails were asked for, want 1", len(s.db.mails))
	}
	if _, err := s.Activate(t.Context(), s.db.begin(), key); err != nil {
		t.Fatal("the first key:", err)
	}
	s.mustRefuse(t, goodEmail, "the attacker's own")
	s.mustLogIn(t, goodEmail, goodPassword)
}

func TestAPasswordDiesWithItsKey(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		config accounts.Config
		wait   time.Duration
	}{
		"an expired registration that nobody swept":  {accounts.Config{PendingTTL: time.Hour}, time.Hour},
		"a live one, when the configuration says so": {accounts.Config{RegisterAgain: accounts.NewGeneration, MailEvery: -1}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, tc.config)
			first := s.registered(t, goodEmail, "the stranger's one")
			oldKey, oldNonce := s.db.mailKey(t, goodEmail), s.db.pendings[goodEmail].Nonce
			s.db.Advance(tc.wait)

			second := s.registered(t, "Jane@example.com", goodPassword)
			if second.ID != first.ID || second.Generation != 2 || !second.ExpiresAt.After(first.ExpiresAt) {
				t.Errorf("replaced %+v by %+v, want the same ID, generation 2 and a later end", first, second)
			}
			if cmp.Equal(oldNonce, s.db.pendings[goodEmail].Nonce) {
				t.Error("the nonce stayed")
			}
			if diff := cmp.Diff(wanted{second.ID, 2, second.ExpiresAt}, s.db.mails[len(s.db.mails)-1]); diff != "" {
				t.Error(diff)
			}
			_, err := s.Activate(t.Context(), s.db.begin(), oldKey)
			wantErr(t, err, accounts.ErrUnknownKey)

			if _, err := s.Activate(t.Context(), s.db.begin(), s.db.mailKey(t, goodEmail)); err != nil {
				t.Fatal(err)
			}
			s.mustRefuse(t, goodEmail, "the stranger's one")
			s.mustLogIn(t, goodEmail, goodPassword)
		})
	}
}

func TestAnActiveAddressInAnySpellingIsTaken(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{RegisterAgain: accounts.NewGeneration, MailEvery: -1})
	s.activated(t, "jos\u00e9@b\u00fccher.example", goodPassword)
	before := s.Stats().Hashes
	for _, spelling := range []string{"jos\u00e9@b\u00fccher.example", "JOSE\u0301@B\u00dcCHER.example", "Jose\u0301@xn--bcher-kva.EXAMPLE"} {
		_, err := s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: spelling, Password: goodPassword})
		wantErr(t, err, accounts.ErrAlreadyActive)
	}
	if got := s.Stats().Hashes - before; got != 3 {
		t.Errorf("%d hashes for three taken addresses: a free one costs one each", got)
	}
	if len(s.db.pendings) != 0 || len(s.db.mails) != 1 {
		t.Error("a registration of a taken address wrote something")
	}
}

func TestAPolicyOfOnesOwn(t *testing.T) {
	t.Parallel()
	errWeak := errors.New("it was seen in a breach")
	var sawEmail, sawPassword string
	s := newSystem(t, accounts.Config{PasswordPolicy: func(_ context.Context, e accounts.Email, p string) error {
		sawEmail, sawPassword = e.Norm(), p
		if p == "bad" {
			return errWeak
		}
		return nil
	}})
	_, err := s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: goodEmail, Password: "bad"})
	wantErr(t, err, accounts.ErrInvalidPassword, errWeak)
	if sawEmail != goodEmail || sawPassword != "bad" {
		t.Errorf("the policy saw %q, %q", sawEmail, sawPassword)
	}
	s.registered(t, goodEmail, "ok") // shorter than the default allows
}

func TestFailuresOfOthersAreNamed(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	down := errors.New("connection refused")
	s.db.failWith = down
	_, err := s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: goodEmail, Password: goodPassword})
	wantErr(t, err, down)
	_, err = s.Activate(t.Context(), s.db.begin(), strings.Repeat("A", 43))
	wantErr(t, err, down)
	_, err = s.RenewKeys(t.Context(), s.db.begin(), signingKID, 1)
	wantErr(t, err, down)
	_, err = s.Authenticate(t.Context(), goodEmail, goodPassword)
	wantErr(t, err, down)
	_, err = s.Show(t.Context(), goodEmail)
	wantErr(t, err, down)
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-and-more"
	values := map[string]any{
		"registration":         accounts.Registration{Email: goodEmail, Password: secret},
		"its pointer":          &accounts.Registration{Email: goodEmail, Password: secret},
		"hash":                 accounts.NewPasswordHash(secret),
		"credentials":          accounts.Credentials{PasswordHash: accounts.NewPasswordHash(secret)},
		"pointer in a charge":  accounts.Charge{User: &accounts.Credentials{PasswordHash: accounts.NewPasswordHash(secret)}},
		"login":                accounts.Login{Verified: accounts.NewPasswordHash(secret)},
		"pending to be stored": accounts.NewPending{PasswordHash: accounts.NewPasswordHash(secret)},
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log strings.Builder
			slog.New(slog.NewJSONHandler(&log, nil)).Info("seen", slog.Any("v", v))
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out := log.String() + string(text)
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				out += fmt.Sprintf(verb, v)
			}
			if strings.Contains(out, secret) || strings.Contains(out, fmt.Sprintf("%x", secret)) {
				t.Errorf("printed: %s", out)
			}
		})
	}
}
