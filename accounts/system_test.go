package accounts_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sealq/sealq/accounts"
)

const (
	goodEmail    = "jane@example.com"
	goodPassword = "Violets-are-9-blue"
)

// cheap is a cost that keeps the tests quick.
var cheap = accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}

// system is Accounts over a model.
type system struct {
	*accounts.Accounts[*modelTx]
	db *model
}

func newSystem(t testing.TB, c accounts.Config) system {
	t.Helper()
	db := newModel()
	return system{Accounts: over(t, db, c), db: db}
}

// over builds another process over the same database.
func over(t testing.TB, db *model, c accounts.Config) *accounts.Accounts[*modelTx] {
	t.Helper()
	if c.Hash == (accounts.HashCost{}) {
		c.Hash = cheap
	}
	if c.Now == nil {
		c.Now = db.Now
	}
	a, err := accounts.New(db, db, c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// registered returns a registration that must succeed.
func (s system) registered(t testing.TB, email, password string) accounts.Pending {
	t.Helper()
	p, err := s.Register(t.Context(), s.db.begin(), accounts.Registration{Email: email, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// activated registers and activates.
func (s system) activated(t *testing.T, email, password string) accounts.User {
	t.Helper()
	s.registered(t, email, password)
	parsed, err := accounts.ParseEmail(email)
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.Activate(t.Context(), s.db.begin(), s.db.mailKey(t, parsed.Norm()))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// imported puts goodEmail with a foreign hash into the database.
func (s system) imported(hash string) {
	s.db.users[goodEmail] = &accounts.Credentials{
		User: accounts.User{ID: "imported", Email: goodEmail}, PasswordHash: accounts.NewPasswordHash(hash),
	}
}

func (s system) mustLogIn(t *testing.T, email, password string) {
	t.Helper()
	if _, err := s.Authenticate(t.Context(), email, password); err != nil {
		t.Errorf("the right password: %v", err)
	}
}

func (s system) mustRefuse(t *testing.T, email, password string) {
	t.Helper()
	if _, err := s.Authenticate(t.Context(), email, password); err != accounts.ErrRefused { //nolint:errorlint // the very value, so that no answer differs
		t.Errorf("got %v, want ErrRefused itself", err)
	}
}

// guess fails n times.
func (s system) guess(t *testing.T, email string, n int) {
	t.Helper()
	for range n {
		s.mustRefuse(t, email, "a wrong guess")
	}
}

func wantErr(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("got error %v, want one that is %v", err, target)
		}
	}
}

const lockFor = 10 * time.Minute

// threeStrikes locks after three attempts for lockFor.
var threeStrikes = accounts.Config{Lockout: accounts.Lockout{Limit: 3, For: lockFor}}
