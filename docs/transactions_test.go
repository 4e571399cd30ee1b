package docs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealq/sealq/accounts"
	"github.com/sealq/sealq/internal/testservers"
	"github.com/sealq/sealq/jobs"
	"github.com/sealq/sealq/jobs/authjobs"
	"github.com/sealq/sealq/jobs/jobstest"
	"github.com/sealq/sealq/store/postgres"
	"github.com/sealq/sealq/store/sqlite"
	"github.com/sealq/sealq/worker"
)

func PlaceOrder(ctx context.Context, tx pgx.Tx, outbox jobs.Outbox[pgx.Tx], item string) error {
	var id int64
	if err := tx.QueryRow(ctx, `INSERT INTO orders (item) VALUES ($1) RETURNING id`, item).Scan(&id); err != nil {
		return err
	}
	_, err := outbox.EnqueueTx(ctx, tx, Invoice.With(InvoiceArgs{OrderID: id}))
	return err
}

func BuyWithPgx(ctx context.Context, pool *pgxpool.Pool, db *postgres.DB, item string) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { // the app's own pool
		return PlaceOrder(ctx, tx, db, item)
	})
}

func BuyInOneTripLess(ctx context.Context, pool *pgxpool.Pool, db *postgres.DB, item string) error {
	return postgres.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		return PlaceOrder(ctx, tx, db, item)
	})
}

func BuyInABatch(ctx context.Context, tx pgx.Tx, db *postgres.DB, item string, job jobs.Job) error {
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO orders (item) VALUES ($1)`, item)
	if _, err := db.EnqueueBatch(b, job); err != nil {
		return err
	}
	return tx.SendBatch(ctx, b).Close() // jobs.ErrDuplicate among others
}

func BuyWithSQL(ctx context.Context, db *sqlite.DB, item string) error {
	return db.InTx(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, `INSERT INTO orders (item) VALUES (?)`, item)
		if err != nil {
			return err
		}
		id, err := result.LastInsertId()
		if err != nil {
			return err
		}
		_, err = db.EnqueueTx(ctx, tx, Invoice.With(InvoiceArgs{OrderID: id}))
		return err
	})
}

func BuyOnce(ctx context.Context, tx *sql.Tx, outbox jobs.Outbox[*sql.Tx], orderID int64) error {
	job := Invoice.With(InvoiceArgs{OrderID: orderID}, jobs.UniqueKey(fmt.Sprintf("invoice:%d", orderID)))
	_, err := outbox.EnqueueTx(ctx, tx, job)
	if errors.Is(err, jobs.ErrDuplicate) {
		return nil // one is under way; tx goes on
	}
	return err
}

func HandleInvoices(h *worker.Handlers, db *postgres.DB) {
	worker.HandleTx(h, db, Invoice, func(ctx context.Context, tx pgx.Tx, j worker.Job[InvoiceArgs]) error {
		_, err := tx.Exec(ctx, `INSERT INTO invoices (order_id) VALUES ($1)`, j.Args.OrderID)
		return err
	})
}

func openPostgres(t *testing.T) (*postgres.DB, *pgxpool.Pool) {
	t.Helper()
	url := testservers.Postgres(t)
	db, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	_, err = pool.Exec(t.Context(), `CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text NOT NULL);
		CREATE TABLE invoices (order_id bigint PRIMARY KEY)`)
	if err != nil {
		t.Fatal(err)
	}
	return db, pool
}

func TestAnOrderAndItsJobCommitTogetherInPostgreSQL(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, pool := openPostgres(t)
	errChanged := errors.New("changed my mind")
	if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		return errors.Join(PlaceOrder(ctx, tx, db, "a hat"), errChanged)
	}); !errors.Is(err, errChanged) {
		t.Fatal(err)
	}
	recorded := jobstest.FromSQL(pool.Query)
	jobstest.RequireNotEnqueued(t, recorded, Invoice)

	if err := BuyWithPgx(ctx, pool, db, "a coat"); err != nil {
		t.Fatal(err)
	}
	job := jobstest.RequireOneEnqueued(t, recorded, Invoice)

	catalog, err := jobs.NewCatalog(Invoice)
	if err != nil {
		t.Fatal(err)
	}
	h := worker.NewHandlers(worker.HandlersConfig{Outbox: db})
	HandleInvoices(h, db)
	w := jobstest.NewWorker(t, catalog, h, jobstest.Config{Effects: db})
	for _, want := range []jobstest.Outcome{jobstest.Done, jobstest.Duplicate} {
		if got := w.WorkRow(t, job.Row); got.Outcome != want {
			t.Errorf("ended %v, want %s", got, want)
		}
	}
	var invoiced int64
	if err := pool.QueryRow(ctx, `SELECT order_id FROM invoices`).Scan(&invoiced); err != nil || invoiced != job.Args.OrderID {
		t.Errorf("invoiced is order %d, want %d: %v", invoiced, job.Args.OrderID, err)
	}
	if state := jobstest.RequireOneEnqueued(t, recorded, Invoice).State; state != jobs.RowDone {
		t.Errorf("the row is %s", state)
	}
}

func TestAnOrdersJobTravelsWithItsCommit(t *testing.T) {
	t.Parallel()
	db, pool := openPostgres(t)
	if err := BuyInOneTripLess(t.Context(), pool, db, "a coat"); err != nil {
		t.Fatal(err)
	}
	jobstest.RequireEnqueued(t, jobstest.FromSQL(pool.Query), Invoice, InvoiceArgs{OrderID: 1})
}

func TestAnOrderAndItsJobTravelInOneBatch(t *testing.T) {
	t.Parallel()
	db, pool := openPostgres(t)
	job := Invoice.With(InvoiceArgs{OrderID: 1}, jobs.UniqueKey("invoice:1"))
	for _, want := range []error{nil, jobs.ErrDuplicate} {
		if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			return BuyInABatch(t.Context(), tx, db, "a coat", job)
		}); !errors.Is(err, want) {
			t.Errorf("want %v, got %v", want, err)
		}
	}
	jobstest.RequireEnqueued(t, jobstest.FromSQL(pool.Query), Invoice, InvoiceArgs{OrderID: 1})
}

func TestAnOrderAndItsJobCommitTogetherInSQLite(t *testing.T) {
	t.Parallel()
	db, app := openApp(t)
	if err := BuyWithSQL(t.Context(), db, "a coat"); err != nil {
		t.Fatal(err)
	}
	jobstest.RequireEnqueued(t, jobstest.FromSQL(app.QueryContext), Invoice, InvoiceArgs{OrderID: 1})
}

func TestAUniqueJobThatIsRecordedTwiceLeavesTheTransactionUsable(t *testing.T) {
	t.Parallel()
	db, app := openApp(t)
	if err := db.InTx(t.Context(), func(tx *sql.Tx) error {
		for _, id := range []int64{1, 1, 2, 1} {
			if err := BuyOnce(t.Context(), tx, db, id); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	jobstest.RequireEnqueued(t, jobstest.FromSQL(app.QueryContext), Invoice, InvoiceArgs{OrderID: 1}, InvoiceArgs{OrderID: 2})
}

// Register is what getting-started.md shows.
func Register(ctx context.Context, url, email string) error {
	db, err := postgres.Open(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	users, err := accounts.New(db, authjobs.NewNotifier[pgx.Tx](db), accounts.Config{})
	if err != nil {
		return err
	}
	return db.InTx(ctx, func(tx pgx.Tx) error { // or any pgx.Tx of yours
		_, err := users.Register(ctx, tx, accounts.Registration{Email: email, PasswordLater: true})
		return err
	})
}

func TestARegistrationRecordsItsMail(t *testing.T) {
	t.Parallel()
	url := testservers.Postgres(t)
	db, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := Register(t.Context(), url, "ada@example.org"); err != nil {
		t.Fatal(err)
	}
	if err := db.InTx(t.Context(), func(tx pgx.Tx) error {
		jobstest.RequireOneEnqueued(t, jobstest.FromSQL(tx.Query), authjobs.MailConfirmation())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
