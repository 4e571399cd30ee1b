package docs_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/relay"
	"github.com/sealq/sealq/signing"
	"github.com/sealq/sealq/store/sqlite"
	"github.com/sealq/sealq/worker"
	"github.com/sealq/sealq/worker/janitor"
)

// WelcomeArgs travel as JSON.
type WelcomeArgs struct {
	UserID int64 `json:"user_id"`
}

// Welcome is a kind: a value that whoever enqueues and the worker share.
var Welcome = jobs.Define[WelcomeArgs]("mail:welcome", jobs.Policy{
	Queue:  "letters",
	MaxAge: 6 * time.Hour, // nobody wants to be welcomed later than that
})

type InvoiceArgs struct {
	OrderID int64 `json:"order_id"`
}

var Invoice = jobs.Define[InvoiceArgs]("orders:invoice", jobs.Policy{Queue: "orders"})

// Mailer is the app's own. It keeps a message ID, so that a second try is no second mail.
type Mailer interface {
	Welcome(ctx context.Context, userID int64, messageID string) error
}

var ErrNoSuchUser = errors.New("no such user")

func Handlers(db *sqlite.DB, mailer Mailer) *worker.Handlers {
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: db})
	worker.Handle(h, Welcome, func(ctx context.Context, j worker.Job[WelcomeArgs]) error {
		err := mailer.Welcome(ctx, j.Args.UserID, j.Effect().ID) // the same ID on every try
		if errors.Is(err, ErrNoSuchUser) {
			return worker.Permanent(err)
		}
		return err
	})
	worker.HandleTx(h, db, Invoice, func(ctx context.Context, tx *sql.Tx, j worker.Job[InvoiceArgs]) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO invoices (order_id) VALUES (?)`, j.Args.OrderID)
		return err
	})
	return h
}

// Run relays and works until ctx ends.
func Run(ctx context.Context, db *sqlite.DB, client redis.UniversalClient, keys *signing.Keys, mailer Mailer) error {
	catalog, err := jobs.NewCatalog(Welcome, Invoice)
	if err != nil {
		return err
	}
	handlers := Handlers(db, mailer)
	if err := handlers.Check(catalog); err != nil {
		return err
	}

	verify, err := worker.New(keys, worker.Config{Quarantine: db, Effects: db, Logger: slog.Default()})
	if err != nil {
		return err
	}
	server, err := worker.NewServer(client, verify, handlers, worker.ServerConfig{
		Queues: map[string]int{"letters": 1, "orders": 1}, Logger: slog.Default(),
	})
	if err != nil {
		return err
	}

	relaying, err := relay.New(db, catalog, keys, client, relay.Config{Logger: slog.Default()})
	if err != nil {
		return err
	}
	tidy, err := janitor.New(client, db, janitor.Config{Queues: []string{"letters", "orders"}, Logger: slog.Default()})
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() error { return relaying.Run(ctx) })
	g.Go(func() error { return tidy.Run(ctx) })
	g.Go(func() error { return server.Run(ctx) })
	return g.Wait()
}

func EnqueueWelcome(ctx context.Context, enqueuer *jobs.Enqueuer, userID int64) error {
	job := Welcome.With(WelcomeArgs{UserID: userID}, jobs.In(10*time.Minute))
	receipt, err := enqueuer.Enqueue(ctx, job)
	if err != nil {
		return err // of a faulty job, or because Redis is away
	}
	_ = receipt.ID // receipt.Queue, receipt.KID, receipt.ExpiresAt
	return nil
}

// openApp opens a migrated database in which the app has its own tables too.
func openApp(t *testing.T) (*sqlite.DB, *sql.DB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	app, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Close() })
	for _, table := range []string{
		`CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL)`,
		`CREATE TABLE invoices (order_id INTEGER PRIMARY KEY)`,
	} {
		if _, err := app.ExecContext(t.Context(), table); err != nil {
			t.Fatal(err)
		}
	}
	return db, app
}

// mailer sends to a channel.
type mailer chan int64

func (m mailer) Welcome(_ context.Context, userID int64, _ string) error {
	m <- userID
	return nil
}

type ring struct{ *signing.Ring }

func (r ring) Load(context.Context) (*signing.Ring, error) { return r.Ring, nil }
func (ring) String() string                                { return "memory" }

func openKeys(t *testing.T) *signing.Keys {
	t.Helper()
	fresh, err := signing.NewRing(time.Now(), 30*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signing.OpenWith(context.WithoutCancel(t.Context()), ring{fresh}, "docs", signing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	return keys
}

func TestAKindOfOnesOwnTravelsFromTheOutboxToItsHandler(t *testing.T) {
	t.Parallel()
	db, app := openApp(t)
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	mails := make(mailer, 1)
	ctx, cancel := context.WithCancel(t.Context())
	keys := openKeys(t)
	ended := make(chan error)
	go func() { ended <- Run(ctx, db, client, keys, mails) }()

	if err := db.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := db.EnqueueTx(t.Context(), tx, Welcome.With(WelcomeArgs{UserID: 7}))
		if err == nil {
			_, err = db.EnqueueTx(t.Context(), tx, Invoice.With(InvoiceArgs{OrderID: 17}))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := <-mails; got != 7 {
		t.Errorf("user %d was welcomed", got)
	}
	eventually(t, "the invoice is there and both rows are done", func() bool {
		var invoices, done int
		err := app.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM invoices WHERE order_id = 17),
			(SELECT count(*) FROM outbox WHERE state = 'done')`).Scan(&invoices, &done)
		return err == nil && invoices == 1 && done == 2
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAKindOfOnesOwnIsEnqueuedDirectly(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: server.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	enqueuer, err := jobs.NewEnqueuer(client, openKeys(t), jobs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := EnqueueWelcome(t.Context(), enqueuer, 7); err != nil {
		t.Fatal(err)
	}
	inspector := asynq.NewInspector(asynq.RedisClientOpt{Addr: server.Addr()})
	t.Cleanup(func() { _ = inspector.Close() })
	tasks, err := inspector.ListScheduledTasks("letters")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, task := range tasks {
		got = append(got, task.Type+" "+string(task.Payload))
	}
	if diff := cmp.Diff([]string{`mail:welcome {"user_id":7}`}, got); diff != "" {
		t.Errorf("scheduled tasks (-want +got):\n%s", diff)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("did not happen: %s", what)
		case <-tick.C:
		}
	}
}
