package accounts_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/store/sqlite"
)

// hashed runs do, which must compute so many hashes.
func (s system) hashed(t *testing.T, want uint64, do func()) {
	t.Helper()
	before := s.Stats().Hashes
	do()
	if got := s.Stats().Hashes - before; got != want {
		t.Errorf("want %d hashes computed, got %d", want, got)
	}
}

func TestWhatIsPreparedIsNotHashedInTheTransaction(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	var r accounts.Registration
	s.hashed(t, 1, func() {
		var err error
		if r, err = s.PrepareRegistration(t.Context(), accounts.Registration{Email: goodEmail, Password: goodPassword}); err != nil {
			t.Fatal(err)
		}
	})
	s.hashed(t, 0, func() {
		if _, err := s.Register(t.Context(), s.db.begin(), r); err != nil {
			t.Fatal(err)
		}
	})
	u, err := s.Activate(t.Context(), s.db.begin(), s.db.mailKey(t, goodEmail))
	if err != nil {
		t.Fatal(err)
	}
	s.mustLogIn(t, goodEmail, goodPassword)

	change, err := s.PrepareChange(t.Context(), s.proof(t, u), otherPassword)
	if err != nil {
		t.Fatal(err)
	}
	s.hashed(t, 0, func() {
		if _, err := s.SetPassword(t.Context(), s.db.begin(), change); err != nil {
			t.Fatal(err)
		}
	})
	s.mustLogIn(t, goodEmail, otherPassword)
	_, err = s.SetPassword(t.Context(), s.db.begin(), change) // by the password that it has replaced
	wantErr(t, err, accounts.ErrRefused)

	key := s.resetKey(t, u)
	reset, err := s.PrepareReset(t.Context(), key, goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	s.hashed(t, 0, func() {
		if _, err := s.SetPassword(t.Context(), s.db.begin(), reset); err != nil {
			t.Fatal(err)
		}
	})
	s.mustLogIn(t, goodEmail, goodPassword)
	_, err = s.SetPassword(t.Context(), s.db.begin(), reset)
	wantErr(t, err, accounts.ErrUnknownToken)
}

func TestARegistrationThatWasChangedAfterItWasPreparedIsJudgedAnew(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	r, err := s.PrepareRegistration(t.Context(), accounts.Registration{Email: goodEmail, Password: goodPassword})
	if err != nil {
		t.Fatal(err)
	}
	worse := r
	worse.Password = "password123"
	_, err = s.Register(t.Context(), s.db.begin(), worse)
	wantErr(t, err, accounts.ErrPasswordCommon)
	same := r
	same.Email = goodPassword + "@example.com"
	_, err = s.Register(t.Context(), s.db.begin(), same)
	wantErr(t, err, accounts.ErrPasswordIsEmail)

	r.Password = otherPassword
	s.hashed(t, 1, func() {
		if _, err := s.Register(t.Context(), s.db.begin(), r); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := s.Activate(t.Context(), s.db.begin(), s.db.mailKey(t, goodEmail)); err != nil {
		t.Fatal(err)
	}
	s.mustLogIn(t, goodEmail, otherPassword)
}

func TestWhatCannotBePreparedIsRefusedBeforeAHash(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	proof := s.proof(t, u)
	key := s.resetKey(t, u)
	registration := func(email, password, language string) func() error {
		return func() error {
			_, err := s.PrepareRegistration(t.Context(), accounts.Registration{Email: email, Password: password, Language: language})
			return err
		}
	}
	reset := func(key, password string) func() error {
		return func() error {
			_, err := s.PrepareReset(t.Context(), key, password)
			return err
		}
	}
	change := func(p accounts.Proof, password string) func() error {
		return func() error {
			_, err := s.PrepareChange(t.Context(), p, password)
			return err
		}
	}
	for name, test := range map[string]struct {
		prepare func() error
		want    error
	}{
		"a registration of no address":                {registration("nobody", goodPassword, ""), accounts.ErrInvalidEmail},
		"a registration in no language":               {registration(goodEmail, goodPassword, "no language"), accounts.ErrInvalidLanguage},
		"a registration with a password of the worst": {registration(goodEmail, "password123", ""), accounts.ErrPasswordCommon},
		"a reset with a malformed key":                {reset("no key", goodPassword), accounts.ErrUnknownToken},
		"a reset with a foreign key":                  {reset(strings.Repeat("A", 43), goodPassword), accounts.ErrUnknownToken},
		"a reset to a password of the worst":          {reset(key, "password123"), accounts.ErrPasswordCommon},
		"a reset to no password":                      {reset(key, ""), accounts.ErrPasswordTooShort},
		"a reset to the owner's address":              {reset(key, goodEmail), accounts.ErrPasswordIsEmail},
		"a change without a proof":                    {change(accounts.Proof{}, goodPassword), accounts.ErrRefused},
		"a change to the owner's address":             {change(proof, goodEmail), accounts.ErrPasswordIsEmail},
	} {
		s.hashed(t, 0, func() {
			if err := test.prepare(); err == nil {
				t.Errorf("%s: want %v, got no error", name, test.want)
			} else {
				wantErr(t, err, test.want)
			}
		})
	}
	_, err := s.SetPassword(t.Context(), s.db.begin(), accounts.NewPassword{})
	wantErr(t, err, accounts.ErrRefused)
}

func TestANewPasswordPrintsNothingOfItself(t *testing.T) {
	t.Parallel()
	s := newSystem(t, accounts.Config{})
	u := s.activated(t, goodEmail, goodPassword)
	n, err := s.PrepareReset(t.Context(), s.resetKey(t, u), otherPassword)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %d", n, n, n, n, &n), string(text), n.LogValue().String()} {
		if strings.Contains(shown, "argon2") || strings.Contains(shown, otherPassword) || !strings.Contains(shown, "redacted") {
			t.Errorf("shown: %s", shown)
		}
	}
}

// SQLite has one writer at a time: a registration whose password waits for its hash, behind those of a flood of logins, must keep nobody waiting.
func TestARegistrationThatWaitsForItsHashHoldsNoWriterOfSQLite(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "sealq.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	hashes := make(chan struct{})
	a, err := accounts.New(db, authjobs.NewNotifier[*sql.Tx](db), accounts.Config{
		Hash:           cheap,
		PasswordPolicy: func(context.Context, accounts.Email, string) error { close(hashes); return nil }, // the hash is next
	})
	if err != nil {
		t.Fatal(err)
	}
	release := accounts.HoldHashSlots(a)
	registered := make(chan error, 1)
	go func() {
		r, err := a.PrepareRegistration(t.Context(), accounts.Registration{Email: goodEmail, Password: goodPassword})
		if err == nil {
			err = db.InTx(t.Context(), func(tx *sql.Tx) error {
				_, err := a.Register(t.Context(), tx, r)
				return err
			})
		}
		registered <- err
	}()
	<-hashes
	if err := db.InTx(t.Context(), func(tx *sql.Tx) error {
		return a.Operator("test").Lock(t.Context(), tx, "joe@example.com", time.Hour)
	}); err != nil {
		t.Errorf("another writer: %v", err)
	}
	select {
	case err := <-registered:
		t.Errorf("it did not wait for its hash: %v", err)
	default:
	}
	release()
	if err := <-registered; err != nil {
		t.Error(err)
	}
}
