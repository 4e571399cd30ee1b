package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/store/postgres"
)

// A host that vanishes leaves connections that stay open and say nothing. Whoever uses one goes on over another.
func TestAConnectionThatFallsSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testservers.PostgresServer(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	line := testservers.NewLine(t, u.Host)
	u.Host = line.Addr()
	db, err := postgres.OpenPatient(t.Context(), u.String(), 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for what, use := range map[string]func(context.Context) error{
		"a statement":   func(ctx context.Context) error { _, _, err := db.OutboxDepth(ctx); return err },
		"a transaction": func(ctx context.Context) error { return db.InTx(ctx, func(pgx.Tx) error { return nil }) },
	} {
		if err := use(t.Context()); err != nil { // it leaves its connection in the pool
			t.Fatalf("%s before: %v", what, err)
		}
		line.Strand()
		began := time.Now()
		if err := use(t.Context()); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s over the silent connection: %v, want that it was given up", what, err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s over the silent connection took %v", what, took)
		}
		if err := use(t.Context()); err != nil {
			t.Errorf("%s after: %v", what, err)
		}
	}
}

// The server does not see that a host has vanished. It must not keep the locks of that host's transactions.
func TestATransactionThatFallsSilentLocksNothingForLong(t *testing.T) {
	t.Parallel()
	address := testservers.PostgresServer(t).URL()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	line := testservers.NewLine(t, u.Host)
	u.Host = line.Addr()
	vanishing, other := opened(t, u.String()), opened(t, address)
	if _, err := other.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	effect := jobs.Effect{Kind: "k:k", ID: "e", Direct: true, Keep: time.Hour}
	for what, hold := range map[string]func(ctx context.Context, db *postgres.DB, meanwhile func(context.Context) error) error{
		"an effect": func(ctx context.Context, db *postgres.DB, meanwhile func(context.Context) error) error {
			_, err := db.Once(ctx, effect, func(ctx context.Context, _ pgx.Tx) error { return meanwhile(ctx) })
			return err
		},
		"a table": func(ctx context.Context, db *postgres.DB, meanwhile func(context.Context) error) error {
			return db.InTx(ctx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `LOCK TABLE ledger`)
				return errors.Join(err, meanwhile(ctx))
			})
		},
	} {
		soon, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := hold(soon, vanishing, func(ctx context.Context) error {
			line.Strand()
			<-ctx.Done()
			return ctx.Err()
		})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s was not held until the host vanished: %v", what, err)
		}
		waiting, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := hold(waiting, other, func(context.Context) error { return nil }); err != nil {
			t.Errorf("%s is still locked: %v", what, err)
		}
		cancel()
	}
}

func opened(t *testing.T, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestAStatementMayTakeAsLongAsItsCallerSays(t *testing.T) {
	t.Parallel()
	const patience = 300 * time.Millisecond
	db, err := postgres.OpenPatient(t.Context(), testservers.Postgres(t), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	sleep := func(ctx context.Context) error {
		return db.InTx(ctx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `SELECT pg_sleep(1)`)
			return err
		})
	}
	if err := sleep(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a bound of its own: error %v, want that it was given up", err)
	}
	bounded, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := sleep(bounded); err != nil {
		t.Errorf("with a bound of its own: %v", err)
	}
}
