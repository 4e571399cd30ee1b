package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/store/postgres"
)

// between notes how many trips there were when the charge had come back, between which and the record the password is hashed.
type between struct {
	*postgres.DB
	link    *link
	charged int64
}

func (b *between) ChargeAttempt(ctx context.Context, norm string, l accounts.Lockout) (accounts.Charge, error) {
	c, err := b.DB.ChargeAttempt(ctx, norm, l)
	b.charged = b.link.trips.Load()
	return c, err
}

func TestALoginIsOneRoundTripBeforeTheHashAndOneAfterIt(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	l, pool := openPool(t, raw.Config().ConnString(), nil)
	b := &between{DB: postgres.Over(pool), link: l}
	a, err := accounts.New(b, authjobs.NewNotifier[pgx.Tx](b.DB), accounts.Config{
		Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}, Lockout: accounts.Lockout{Limit: 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	const email, password = "ada@example.org", "Violets-are-9-blue"
	err = db.InTx(t.Context(), func(tx pgx.Tx) error {
		p, err := a.Register(t.Context(), tx, accounts.Registration{Email: email, Password: password})
		if err != nil {
			return err
		}
		_, err = tx.Exec(t.Context(), `INSERT INTO users (id, email, email_norm, password_hash) SELECT id, email, email_norm, password_hash FROM pending_users WHERE id = $1`, p.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(t.Context(), email, password); err != nil { // prepares the statements
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, email, password string
		want                  error
		before, after         int64
	}{
		{"the right password", email, password, nil, 1, 1},
		{"a wrong password", email, "a wrong guess", accounts.ErrRefused, 1, 0},
		{"nobody's address", "nobody@example.org", password, accounts.ErrRefused, 1, 0},
		{"what nobody can have", "ada", password, accounts.ErrRefused, 0, 0},
		{"a wrong password again", email, "a wrong guess", accounts.ErrRefused, 1, 0},
		{"a third one", email, "a wrong guess", accounts.ErrRefused, 1, 0},
		{"the fourth, which locks", email, "a wrong guess", accounts.ErrRefused, 1, 0},
		{"locked, as the database knows", email, password, accounts.ErrRefused, 1, 0},
		{"locked, as memory knows", email, password, accounts.ErrRefused, 0, 0},
	} {
		began := l.trips.Load()
		b.charged = began
		if _, err := a.Authenticate(t.Context(), test.email, test.password); !errors.Is(err, test.want) {
			t.Errorf("%s: want %v, got %v", test.name, test.want, err)
		}
		if before, after := b.charged-began, l.trips.Load()-b.charged; before != test.before || after != test.after {
			t.Errorf("%s: %d round trips before the hash and %d after it, want %d and %d", test.name, before, after, test.before, test.after)
		}
	}
}

func TestGuessesWithinTransactionsThatAreRolledBackLock(t *testing.T) {
	t.Parallel()
	db, raw := open(t)
	a, err := accounts.New(db, authjobs.NewNotifier[pgx.Tx](db), accounts.Config{Hash: accounts.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	rollBack := errors.New("rolled back")
	for range 100 {
		err := db.InTx(t.Context(), func(pgx.Tx) error {
			if _, err := a.Authenticate(t.Context(), "ada@example.org", "a wrong guess"); !errors.Is(err, accounts.ErrRefused) {
				t.Errorf("got %v", err)
			}
			return rollBack
		})
		if !errors.Is(err, rollBack) {
			t.Fatal(err)
		}
	}
	if n := a.Stats().Hashes; n != 5 {
		t.Errorf("%d passwords were looked at, want 5", n)
	}
	if got := scalar(t, raw, "SELECT locked_until > now() FROM login_state"); got != "true" {
		t.Errorf("locked: %s", got)
	}
}
