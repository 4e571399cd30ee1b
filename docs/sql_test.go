package docs_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/worker"
)

// MigrateShop is what an app with kinds of its own does before anybody enqueues them in SQL.
func MigrateShop(ctx context.Context, db *postgres.DB) error {
	if _, err := db.Migrate(ctx); err != nil {
		return err
	}
	catalog, err := jobs.NewCatalog(Invoice)
	if err != nil {
		return err
	}
	return db.RecordKinds(ctx, catalog)
}

// shop is the database of an app that speaks SQL alone, and the connection of its role.
func shop(t *testing.T) (*postgres.DB, *pgxpool.Pool, *pgx.Conn) {
	t.Helper()
	ctx := t.Context()
	address := testservers.Postgres(t)
	db, err := postgres.Open(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := MigrateShop(ctx, db); err != nil {
		t.Fatal(err)
	}
	owner, err := pgxpool.New(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(owner.Close)
	role := "shop_" + strings.ToLower(rand.Text()) // roles belong to the server, which others share
	if _, err := owner.Exec(ctx, fmt.Sprintf(`CREATE ROLE %[1]s LOGIN PASSWORD 'shop';
		CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text NOT NULL); GRANT ALL ON orders TO %[1]s;
		CREATE TABLE invoices (order_id bigint PRIMARY KEY)`, role)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := owner.Exec(context.WithoutCancel(ctx), fmt.Sprintf(`DROP OWNED BY %[1]s; DROP ROLE %[1]s`, role)); err != nil {
			t.Error(err)
		}
	})
	if err := db.GrantEnqueue(ctx, role, Invoice.Kind()); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "shop")
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(ctx)) })
	return db, owner, conn
}

// Every SQL block of every guide runs, in order, as the role of an app that holds nothing but a grant.
func TestSQLInGuidesRuns(t *testing.T) {
	t.Parallel()
	_, owner, conn := shop(t)
	blocks := 0
	for _, path := range append(files(t, ".", ".md"), "../README.md") {
		all := blocksOf(read(t, path), "sql")
		for _, at := range slices.Sorted(maps.Keys(all)) {
			blocks++
			for range 2 { // what a guide shows can be done again
				if _, err := conn.PgConn().Exec(t.Context(), strings.Join(all[at], "\n")).ReadAll(); err != nil {
					t.Errorf("%s:%d: %v", path, at, err)
				}
			}
		}
	}
	if blocks < 2 {
		t.Errorf("only %d SQL blocks are found", blocks)
	}
	rows, err := owner.Query(t.Context(), `SELECT convert_from(payload, 'UTF8') || ' in ' || (not_before - created_at) FROM outbox ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`{"order_id": 1} in 00:00:00`, `{"order_id": 2} in 00:00:00`, `{"order_id": 17} in 01:00:00`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

// From a role that holds nothing but a grant, through relay, signature, queue and verification, to the effect in the
// database, which happens once.
func TestAJobInSQLTravelsToItsHandler(t *testing.T) {
	t.Parallel()
	db, owner, conn := shop(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = client.Close() })
	keys := openKeys(t)
	ended := make(chan error, 1)
	go func() { ended <- runShop(ctx, db, client, keys) }()

	for order := 1; order <= 3; order++ {
		if _, err := conn.Exec(ctx, `SELECT sealq_enqueue($1, $2)`, "orders:invoice", map[string]int{"order_id": order}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Exec(ctx, `SELECT sealq_enqueue('orders:invoice', '{"order": 4}')`); err != nil { // not what the kind takes
		t.Fatal(err)
	}
	eventually(t, "three invoices are there, and their rows done", func() bool {
		var invoices, done int
		err := owner.QueryRow(ctx, `SELECT (SELECT count(*) FROM invoices WHERE order_id IN (1, 2, 3)), (SELECT count(*) FROM outbox WHERE state = 'done')`).Scan(&invoices, &done)
		return err == nil && invoices == 3 && done == 3
	})
	eventually(t, "the row that does not decode is left, with the reason", func() bool {
		var cause string
		err := owner.QueryRow(ctx, `SELECT cause FROM outbox WHERE state = 'queued'`).Scan(&cause)
		return err == nil && strings.Contains(cause, "invalid arguments")
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// runShop relays and works until ctx ends.
func runShop(ctx context.Context, db *postgres.DB, client redis.UniversalClient, keys *signing.Keys) error {
	catalog, err := jobs.NewCatalog(Invoice)
	if err != nil {
		return err
	}
	handlers := worker.NewHandlers(worker.HandlersConfig{Outbox: db})
	HandleInvoices(handlers, db)
	verify, err := worker.New(keys, worker.Config{Quarantine: db, Effects: db, Logger: slog.Default()})
	if err != nil {
		return err
	}
	srv := asynq.NewServerFromRedisClient(client, verify.Config(asynq.Config{Queues: map[string]int{"orders": 1}}))
	if err := srv.Start(verify.Handler(handlers)); err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	defer srv.Shutdown()
	relaying, err := relay.New(db, catalog, keys, client, relay.Config{Logger: slog.Default()})
	if err != nil {
		return err
	}
	return relaying.Run(ctx)
}
