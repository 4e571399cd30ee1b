package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealq/sealq/internal/testservers"
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
