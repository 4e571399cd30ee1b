package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/bench/internal/rounds"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/store/postgres"
)

const (
	clients  = 32
	parallel = 2 // hashes at once: as many as the machine of docs/benchmarks.md has cores
	logins   = 256
	floods   = 200_000
	password = "Violets-are-9-blue"
)

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// open gives accounts over a fresh database with a user for each client.
func open(b *testing.B) *accounts.Accounts[pgx.Tx] {
	b.Helper()
	ctx := b.Context()
	db, err := postgres.Open(ctx, testservers.Postgres(b))
	must(b, err)
	b.Cleanup(func() { _ = db.Close() })
	_, err = db.Migrate(ctx)
	must(b, err)
	a, err := accounts.New(db, authjobs.NewNotifier[pgx.Tx](db), accounts.Config{HashParallel: parallel, GateFor: time.Hour})
	must(b, err)
	for client := range clients {
		must(b, db.InTx(ctx, func(tx pgx.Tx) error {
			p, err := a.Register(ctx, tx, accounts.Registration{Email: address(client), Password: password})
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `INSERT INTO users (id, email, email_norm, password_hash) SELECT id, email, email_norm, password_hash FROM pending_users WHERE id = $1`, p.ID)
			return err
		}))
	}
	return a
}

func address(client int) string { return fmt.Sprintf("user%d@example.org", client) }

// together divides n between the clients.
func together(n int, each func(client int) error) error {
	var g errgroup.Group
	for client := range clients {
		g.Go(func() error {
			for range n / clients {
				if err := each(client); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func timed(do func(n int) error) func(int, *rounds.Timer) error {
	return func(n int, t *rounds.Timer) error {
		t.Start()
		defer t.Stop()
		return do(n)
	}
}

// BenchmarkLoginsTable prints the table of logins.
func BenchmarkLoginsTable(b *testing.B) {
	a := open(b)
	cost := accounts.DefaultHashCost()
	slots := make(chan struct{}, parallel)
	salt := make([]byte, 16)
	rounds.Table{
		Title: fmt.Sprintf("logins, argon2id m=%d t=%d p=%d, %d clients, %d hashes at once", cost.MemoryKiB, cost.Passes, cost.Lanes, clients, parallel),
		N:     logins,
		Turns: 2,
		CPU:   []rounds.Meter{rounds.OwnCPU()},
		Ways: []rounds.Way{
			{Name: "bare argon2id", Run: timed(func(n int) error {
				return together(n, func(int) error {
					slots <- struct{}{}
					argon2.IDKey([]byte(password), salt, cost.Passes, cost.MemoryKiB, cost.Lanes, 32)
					<-slots
					return nil
				})
			})},
			{Name: "Authenticate", Run: timed(func(n int) error {
				return together(n, func(client int) error {
					_, err := a.Authenticate(b.Context(), address(client), password)
					return err
				})
			})},
		},
	}.Print(b)
}

// BenchmarkFloodTable prints how fast attempts on an identifier that is locked are answered.
func BenchmarkFloodTable(b *testing.B) {
	a := open(b)
	const locked = "locked@example.org"
	for range 6 {
		if _, err := a.Authenticate(b.Context(), locked, password); !errors.Is(err, accounts.ErrRefused) {
			b.Fatal(err)
		}
	}
	refused := func(ctx context.Context) error {
		if _, err := a.Authenticate(ctx, locked, password); !errors.Is(err, accounts.ErrRefused) {
			return fmt.Errorf("a locked identifier: %w", err)
		}
		return nil
	}
	hashes := a.Stats().Hashes
	rounds.Table{
		Title: "attempts on a locked identifier",
		N:     floods,
		CPU:   []rounds.Meter{rounds.OwnCPU()},
		Ways: []rounds.Way{
			{Name: "one client", Run: timed(func(n int) error {
				for range n {
					if err := refused(b.Context()); err != nil {
						return err
					}
				}
				return nil
			})},
			{Name: fmt.Sprintf("%d clients", clients), Run: timed(func(n int) error {
				return together(n, func(int) error { return refused(b.Context()) })
			})},
		},
	}.Print(b)
	if got := a.Stats().Hashes; got != hashes {
		b.Errorf("%d hashes were computed", got-hashes)
	}
}
